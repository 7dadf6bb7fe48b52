"""checkpoint gives the values and gradients of the plain call, and computes again."""

import weakref

import pytest

import flambeau as torch
from flambeau import autograd
from flambeau.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor([float(v) for v in values], requires_grad=True)


@pytest.mark.parametrize("reentrant", [True, False])
def test_same_values_and_gradients(reentrant: bool) -> None:
    x, w = leaf(1, 2), leaf(3, 4)
    calls = []

    def f(a, k):
        calls.append(1)
        return (a * w).sin().exp() * k, a * 2

    expected = autograd.grad(sum(t.sum() for t in f(x, 2)), [x, w])
    calls.clear()
    y, z = checkpoint(f, x, 2, use_reentrant=reentrant)
    (y.sum() + z.sum()).backward()
    assert x.grad.tolist() == expected[0].tolist()
    assert w.grad.tolist() == expected[1].tolist()
    assert len(calls) == 2


@pytest.mark.parametrize("reentrant", [True, False])
def test_the_same_random_numbers(reentrant: bool) -> None:
    x = torch.ones(64, requires_grad=True)

    def f(a):
        return a * torch.rand(64)

    y = checkpoint(f, x, use_reentrant=reentrant)
    after = torch.rand(4)
    y.sum().backward()
    assert x.grad.tolist() == y.tolist()
    torch.manual_seed(20250101)
    torch.rand(64)
    assert torch.rand(4).tolist() == after.tolist()


def test_activations_are_not_kept() -> None:
    inner = []

    def f(a):
        y = a.exp()
        inner.append(weakref.ref(y))
        return y.exp()

    x = leaf(1)
    out = checkpoint(f, x, use_reentrant=False)
    assert inner[0]() is None
    out.sum().backward()
    assert inner[1]() is None


def test_works_with_grad_retain_graph_and_second_derivatives() -> None:
    x = leaf(0.5)
    y = checkpoint(lambda a: (a * a * a).exp(), x, use_reentrant=False).sum()
    (first,) = autograd.grad(y, x, retain_graph=True)
    (again,) = autograd.grad(y, x, create_graph=True)
    assert first.item() == again.item()
    (second,) = autograd.grad(again, x)
    assert second.item() == pytest.approx((6 * 0.5 + 9 * 0.5**4) * 2.7182817 ** (0.5**3), rel=1e-5)


def test_nested() -> None:
    x = leaf(0.3)

    def inner(a):
        return a.sin().exp()

    def outer(a):
        return checkpoint(inner, a * 2, use_reentrant=False).cos()

    plain = autograd.grad((inner(x * 2).cos()).sum(), x)[0]
    checkpoint(outer, x, use_reentrant=False).sum().backward()
    assert x.grad.item() == plain.item()


def test_keyword_arguments() -> None:
    x = leaf(2)
    checkpoint(lambda a, *, k: a * a * k, x, k=3, use_reentrant=False).sum().backward()
    assert x.grad.item() == 12
    with pytest.raises(ValueError, match="Unexpected keyword"):
        checkpoint(lambda a, *, k: a * k, x, k=3, use_reentrant=True)


def test_a_different_second_computation_is_an_error() -> None:
    x = leaf(1, 2)
    sizes = iter([2, 1])

    def f(a):
        return a[: next(sizes)].exp()

    y = checkpoint(f, x, use_reentrant=False)
    with pytest.raises(CheckpointError, match="different metadata"):
        y.sum().backward()


def test_reentrant_without_inputs_that_need_gradients_warns() -> None:
    w = leaf(1)
    with pytest.warns(UserWarning, match="None of the inputs"):
        checkpoint(lambda a: a * w, torch.ones(1), use_reentrant=True)
    with pytest.warns(UserWarning, match="use_reentrant"):
        checkpoint(lambda a: a * w, leaf(1))


def test_sequential() -> None:
    x = leaf(0.1)
    calls = []

    def layer(a):
        calls.append(1)
        return a.sin() + a

    plain = autograd.grad(layer(layer(layer(layer(x)))).sum(), x)[0]
    calls.clear()
    checkpoint_sequential([layer] * 4, 2, x, use_reentrant=False).sum().backward()
    assert x.grad.item() == plain.item()
    assert len(calls) == 6
    with pytest.raises(ValueError, match="segments"):
        checkpoint_sequential([layer], 2, x, use_reentrant=False)
