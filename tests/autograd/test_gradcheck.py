"""gradcheck must accept right derivatives and reject wrong ones."""

import random

import pytest

import flambeau as torch
from flambeau.autograd import Function, gradcheck, gradgradcheck
from flambeau.autograd.gradcheck import GradcheckError


def values(*shape: int, complex_: bool = False, seed: int = 0) -> torch.Tensor:
    draw = random.Random(seed)

    def nested(sizes: tuple[int, ...]):
        if sizes:
            return [nested(sizes[1:]) for _ in range(sizes[0])]
        x = draw.uniform(0.3, 1.5)
        return complex(x, draw.uniform(-1, 1)) if complex_ else x

    dtype = torch.complex128 if complex_ else torch.float64
    return torch.tensor(nested(shape), dtype=dtype, requires_grad=True)


class WrongSquare(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return 2.01 * grad * ctx.saved_tensors[0]


class WrongSecond(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0].detach()


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, y: x * y + x.exp() / y,
        lambda x, y: (x.sin(), (x * y).sum(0)),
        lambda x, y: x.t()[1:] * y.t()[:-1],
        lambda x, y: (x * 1).mul_(y).log(),
    ],
)
def test_right_derivatives_pass(fn) -> None:
    inputs = values(2, 3), values(2, 3, seed=1)
    assert gradcheck(fn, inputs, fast_mode=True)
    assert gradgradcheck(fn, inputs)


def test_complex_functions() -> None:
    x, y = values(3, complex_=True), values(3, complex_=True, seed=1)
    assert gradcheck(lambda x, y: x * y.conj() + x * x, (x, y))
    assert gradcheck(lambda x: x.abs(), (x,))
    assert gradcheck(lambda x: x.real * x.imag, (x,))
    assert gradgradcheck(lambda x, y: x * y.conj(), (x, y))


def test_real_input_complex_output() -> None:
    x = values(3)
    assert gradcheck(lambda x: x * (2 + 3j), (x,))


def test_not_contiguous_inputs() -> None:
    x = values(2, 3).t().detach().requires_grad_()
    assert gradcheck(lambda x: x * x, (x,))


def test_wrong_first_derivative_is_found() -> None:
    with pytest.raises(
        GradcheckError,
        match=r"Jacobian mismatch for output 0 with respect to input 0[\s\S]*numer[\s\S]*analy",
    ):
        gradcheck(WrongSquare.apply, (values(3),))
    assert not gradcheck(WrongSquare.apply, (values(3),), raise_exception=False)


def test_wrong_second_derivative_is_found() -> None:
    assert gradcheck(WrongSecond.apply, (values(3),))
    with pytest.raises(GradcheckError):
        gradgradcheck(WrongSecond.apply, (values(3),))


def test_nondeterministic_backward_is_found() -> None:
    noise = iter(range(1, 10_000))

    def backward(ctx, grad):
        return grad * (1 + 1e-9 * next(noise))

    made = type(
        "Noisy",
        (Function,),
        {"forward": staticmethod(lambda ctx, x: x * 1), "backward": staticmethod(backward)},
    )
    with pytest.raises(GradcheckError, match="not reentrant"):
        gradcheck(made.apply, (values(2),))
    assert gradcheck(made.apply, (values(2),), nondet_tol=1e-4)


def test_lost_history_is_found() -> None:
    with pytest.raises(GradcheckError, match="expected to be zero"):
        gradcheck(lambda x: (x * x).detach(), (values(2),))


def test_batched_gradients() -> None:
    assert gradcheck(lambda x: x * x, (values(2),), check_batched_grad=True)


def test_inputs_are_checked() -> None:
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        gradcheck(lambda x: x, (torch.ones(2),))
    with (
        pytest.warns(UserWarning, match="not a double precision"),
        pytest.raises(GradcheckError),
    ):
        gradcheck(lambda x: x * x, (torch.ones(2, requires_grad=True),))
    with pytest.raises(RuntimeError, match="stride 0"):
        gradcheck(lambda x: x * x, (torch.ones(1, dtype=torch.float64).expand(2).requires_grad_(),))
    with pytest.raises(NotImplementedError, match="forward-mode"):
        gradcheck(lambda x: x, (values(1),), check_forward_ad=True)
