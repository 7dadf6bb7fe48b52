"""Hooks on tensors, nodes, saved tensors and several gradients at once."""

import gc
import weakref

import pytest

import flambeau as torch
from flambeau import autograd
from flambeau.autograd.graph import (
    disable_saved_tensors_hooks,
    increment_version,
    register_multi_grad_hook,
    save_on_cpu,
    saved_tensors_hooks,
)


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor([float(v) for v in values], requires_grad=True)


def test_tensor_hooks_run_in_order_change_the_gradient_and_can_be_removed() -> None:
    x = leaf(1, 2)
    log = []
    y = x * 3
    y.register_hook(lambda g: log.append(("first", g.tolist())))
    y.register_hook(lambda g: g + 1)
    y.register_hook(lambda g: log.append(("third", g.tolist())))
    handle = x.register_hook(lambda g: g * 2)
    y.sum().backward(retain_graph=True)
    assert log == [("first", [1, 1]), ("third", [2, 2])]
    assert x.grad.tolist() == [12, 12]
    handle.remove()
    x.grad = None
    y.sum().backward()
    assert x.grad.tolist() == [6, 6]


def test_hooks_see_what_grad_returns() -> None:
    x = leaf(1)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    dy, dx = autograd.grad(y.sum(), [y, x])
    assert (dy.item(), dx.item()) == (10, 21)


def test_hook_must_return_a_tensor_or_none() -> None:
    x = leaf(1)
    x.register_hook(lambda g: 3)
    with pytest.raises(TypeError, match="hook must return None or a Tensor"):
        x.sum().backward()


def test_hook_on_a_tensor_without_gradient_is_refused() -> None:
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        torch.ones(1).register_hook(print)


def test_node_hooks() -> None:
    x = leaf(1, 2)
    y = x * 3
    log = []
    y.grad_fn.register_prehook(lambda grads: (grads[0] * 10,))
    handle = y.grad_fn.register_hook(
        lambda inputs, outputs: log.append((inputs[0].tolist(), outputs[0].tolist()))
    )
    y.sum().backward(retain_graph=True)
    assert log == [([30, 30], [10, 10])]
    handle.remove()
    y.sum().backward()
    assert len(log) == 1


def test_retain_grad_follows_in_place_writes() -> None:
    x = leaf(1, 2)
    y = x * 3
    y.retain_grad()
    assert y.retains_grad
    assert not x.retains_grad
    y.mul_(2)
    (y * y).sum().backward()
    assert y.grad.tolist() == [12, 24]
    assert x.grad.tolist() == [72, 144]


def test_post_accumulate_grad_hook() -> None:
    x = leaf(1, 2)
    log = []
    handle = x.register_post_accumulate_grad_hook(lambda p: log.append(p.grad.tolist()))
    (x * x).sum().backward()
    (x * x).sum().backward()
    handle.remove()
    (x * x).sum().backward()
    assert log == [[2, 4], [4, 8]]
    with pytest.raises(RuntimeError, match="non-leaf"):
        (x * 1).register_post_accumulate_grad_hook(print)


def test_post_accumulate_hook_may_free_the_gradient() -> None:
    x = leaf(1, 2)

    def step(p):
        with torch.no_grad():
            p -= p.grad
        p.grad = None

    x.register_post_accumulate_grad_hook(step)
    (x * 3).sum().backward()
    assert x.tolist() == [-2, -1]
    assert x.grad is None


def test_saved_tensor_hooks_pack_and_unpack() -> None:
    log = []
    x = leaf(1, 2)
    with saved_tensors_hooks(
        lambda t: (log.append("pack"), t.tolist())[1],
        lambda v: (log.append("unpack"), torch.tensor(v))[1],
    ):
        y = (x * x).exp().sum()
    y.backward()
    assert log == ["pack"] * 3 + ["unpack"] * 3
    assert x.grad.tolist() == pytest.approx([2 * 2.7182817, 4 * 54.59815])


def test_saved_tensor_hooks_allow_second_derivatives() -> None:
    x = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    with saved_tensors_hooks(lambda t: t.clone(), lambda t: t.clone()):
        y = (x * x * x).exp().sum()
        (g,) = autograd.grad(y, x, create_graph=True)
        (h,) = autograd.grad(g, x)
    value = 0.5
    expected = (6 * value + 9 * value**4) * 2.718281828459045 ** (value**3)
    assert h.item() == pytest.approx(expected)


def test_save_on_cpu_keeps_copies() -> None:
    x = leaf(1, 2)
    y = x * 1
    with save_on_cpu():
        z = (y * y).sum()
    with torch.no_grad():
        y.mul_(100)  # the graph has its own copy
    z.backward()
    assert x.grad.tolist() == [2, 4]


def test_saved_tensor_hooks_can_be_forbidden() -> None:
    with (
        disable_saved_tensors_hooks("not here"),
        pytest.raises(RuntimeError, match="not here"),
        saved_tensors_hooks(lambda t: t, lambda t: t),
    ):
        pass


def test_increment_version_invalidates_saved_tensors() -> None:
    x = leaf(1, 2)
    y = x * 1
    z = y.exp()
    increment_version(z)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_multi_grad_hook_waits_for_all() -> None:
    x, y = leaf(1), leaf(1)
    log = []
    handle = register_multi_grad_hook(
        (x, y), lambda grads: log.append([None if g is None else g.item() for g in grads])
    )
    (x * y).sum().backward()
    (x * 2).sum().backward()
    handle.remove()
    (x * y).sum().backward()
    assert log == [[1, 1], [2, None]]


def test_multi_grad_hook_any_takes_the_first() -> None:
    x, y = leaf(1), leaf(1)
    log = []
    register_multi_grad_hook((x, y), lambda grad: log.append(grad.item()), mode="any")
    (x * y).sum().backward()
    (x * y).sum().backward()
    assert len(log) == 2


def test_backward_inside_a_hook() -> None:
    x, w = leaf(1), leaf(2)
    y = x * 3

    def hook(grad):
        assert not torch.is_grad_enabled()
        with torch.enable_grad():
            (w * w * x.detach()).sum().backward()

    y.register_hook(hook)
    y.sum().backward()
    assert (x.grad.item(), w.grad.item()) == (3, 4)


class Exp(autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y, x)
        return y

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.exp(),
        lambda x: x.sigmoid(),
        lambda x: x.tanh() * x,
        lambda x: Exp.apply(x),
        lambda x: torch.softmax(x, 0),
        lambda x: x.clone().mul_(2),
    ],
)
def test_results_die_without_the_garbage_collector(make) -> None:
    x = leaf(1, 2)
    gc.disable()
    try:
        y = make(x)
        y.register_hook(lambda g: None)
        y.retain_grad()
        y.sum().backward(retain_graph=True)
        (g,) = autograd.grad(y.sum(), x, create_graph=True)
        seen = [weakref.ref(y), weakref.ref(g), weakref.ref(y.grad_fn)]
        del y, g
        assert [s() for s in seen] == [None, None, None]
    finally:
        gc.enable()


def test_cycles_through_hooks_are_collected() -> None:
    x = leaf(1)
    y = x * 2
    y.register_hook(lambda g, keep=y: keep)
    y.note = y
    seen = weakref.ref(y)
    del y
    gc.collect()
    assert seen() is None
