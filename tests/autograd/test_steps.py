"""Gradients of functions that are constant wherever they have a slope: zeros, not missing ones."""

import pytest

import flambeau as torch

STEPS = ["sign", "sgn", "floor", "ceil", "round", "trunc"]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("shape", [(), (0,), (3, 4)])
def test_gradient_is_zero(name: str, shape: tuple[int, ...]) -> None:
    x = torch.full(shape, 1.5, requires_grad=True)
    getattr(torch, name)(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros(shape))


@pytest.mark.parametrize("name", STEPS)
def test_a_gradient_that_is_not_finite_does_not_spread(name: str) -> None:
    x = torch.tensor([1.5, -2.5], dtype=torch.float64, requires_grad=True)
    given = torch.tensor([float("nan"), float("inf")], dtype=torch.float64)
    (found,) = torch.autograd.grad(getattr(torch, name)(x), x, given)
    assert found.tolist() == [0.0, 0.0]


def test_operands_are_zero_in_their_own_shapes() -> None:
    x = torch.rand(3, 1, requires_grad=True)
    y = torch.full((4,), 2.0, requires_grad=True)
    torch.floor_divide(x, y).sum().backward()
    assert torch.equal(x.grad, torch.zeros(3, 1))
    assert torch.equal(y.grad, torch.zeros(4))


def test_derivatives_of_the_gradient_are_zero() -> None:
    x = torch.tensor([0.3, 1.7], requires_grad=True)
    (first,) = torch.autograd.grad((torch.sign(x) * x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert first.tolist() == [1.0, 1.0]
    assert second.tolist() == [0.0, 0.0]
