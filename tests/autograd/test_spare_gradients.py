"""Backward reuses the memory of gradients that nobody else refers to, and of no others."""

import numpy as np

import flambeau as torch

N = 10_000


def _peak(run) -> int:
    """Most bytes in use during run(), above what was in use before."""
    torch.core.empty_cache()
    before = torch.core.memory_stats()["allocated"]
    torch.core.reset_peak_memory()
    run()
    return torch.core.memory_stats()["peak"] - before


def test_a_chain_of_pointwise_ops_keeps_one_gradient() -> None:
    x, g = torch.rand(N, requires_grad=True), torch.ones(N)
    y = x
    for _ in range(6):
        y = (y * 1.5).tanh().relu()
    # the first gradient computed, and nothing beside it: each derivative overwrites the one before
    assert _peak(lambda: y.backward(g)) < 2 * 4 * N
    assert torch.equal(g, torch.ones(N))  # the caller's gradient is never written


def test_gradients_somebody_holds_are_not_overwritten() -> None:
    x = torch.rand(N, requires_grad=True)
    kept, copies = [], []
    a = x * 2
    b = a.exp()
    c = b.tanh()
    for t in (a, b, c):
        t.register_hook(lambda grad: (kept.append(grad), copies.append(grad.clone()))[0])
        t.retain_grad()
    c.backward(torch.rand(N))
    for grad, copy in zip(kept, copies, strict=True):
        assert torch.equal(grad, copy)
    a_grad, b_grad, c_grad = a.grad, b.grad, c.grad
    assert torch.equal(b_grad, c_grad * (1 - c * c))
    assert torch.equal(a_grad, b_grad * b)
    assert torch.equal(x.grad, a_grad * 2)


def test_views_and_foreign_memory_are_not_overwritten() -> None:
    array = np.ones(N, np.float32)
    x = torch.rand(N, requires_grad=True)
    x.exp().tanh().backward(torch.from_numpy(array))
    assert (array == 1).all()
    whole = torch.ones(2, N)
    x.exp().tanh().backward(whole[0])
    assert torch.equal(whole, torch.ones(2, N))


def test_a_gradient_sent_two_ways_reaches_both() -> None:
    x, y = torch.rand(N, requires_grad=True), torch.rand(N, requires_grad=True)
    ((x + y) * 3).tanh().backward(torch.ones(N))
    slope = 3 * (1 - ((x + y) * 3).tanh() ** 2)
    assert torch.allclose(x.grad, slope)
    assert torch.allclose(y.grad, slope)
    x.grad = None
    a = x * 2
    (a.exp() + a.sin() + a.relu() + a).backward(torch.ones(N))
    assert torch.allclose(x.grad, 2 * (a.exp() + a.cos() + 2))


def test_a_kept_graph_gives_the_same_gradients_again() -> None:
    x = torch.rand(N, requires_grad=True)
    y = ((x * 2).exp().tanh() * x).sum()
    y.backward(retain_graph=True)
    first = x.grad.clone()
    x.grad = None
    y.backward()
    assert torch.equal(x.grad, first)


def test_second_derivatives_keep_the_first() -> None:
    x = torch.rand(N, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(x.exp().tanh().sum(), x, create_graph=True)
    before = g.detach().clone()
    (h,) = torch.autograd.grad(g.sum(), x)
    assert torch.equal(g, before)
    e = x.detach().exp()
    t = e.tanh()
    assert torch.allclose(h, (1 - t * t) * e * (1 - 2 * t * e))
