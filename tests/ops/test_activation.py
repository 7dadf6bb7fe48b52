"""Activation functions against their formulas."""

import math

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau.autograd import gradcheck, gradgradcheck

X = np.array([-7.3, -3.2, -1.5, -0.7, -0.2, 0.1, 0.4, 0.9, 1.6, 2.4, 3.3, 6.5])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


ERF = np.vectorize(math.erf)
FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "hardsigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "logsigmoid": lambda x: np.log(sigmoid(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "tanhshrink": lambda x: x - np.tanh(x),
    "softplus": softplus,
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "celu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "hardshrink": lambda x: np.where(abs(x) > 0.5, x, 0),
    "softshrink": lambda x: np.sign(x) * np.maximum(abs(x) - 0.5, 0),
    "gelu": lambda x: 0.5 * x * (1 + ERF(x / math.sqrt(2))),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
}
TOLERANCE = {"float16": 3e-3, "bfloat16": 3e-2, "float32": 2e-6, "float64": 1e-12}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_values(name: str, dtype: str) -> None:
    x = torch.tensor(X).to(getattr(torch, dtype))
    found = getattr(F, name)(x)
    assert found.dtype is x.dtype
    wanted = FORMULAS[name](x.double().numpy())
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(found.double().numpy(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", FORMULAS)
def test_derivatives(name: str) -> None:
    x = torch.tensor(X, requires_grad=True)
    assert gradcheck(getattr(F, name), (x,))
    assert gradgradcheck(getattr(F, name), (x,))


@pytest.mark.parametrize("name", FORMULAS)
def test_nan_stays_and_shapes_are_kept(name: str) -> None:
    function = getattr(F, name)
    assert math.isnan(function(torch.tensor(math.nan)).item())
    assert function(torch.ones(0, 3)).shape == (0, 3)
    x = torch.tensor(X.reshape(3, 4))
    np.testing.assert_array_equal(function(x.t()).numpy(), function(x).numpy().T)
    np.testing.assert_array_equal(function(x[:, ::2]).numpy(), function(x).numpy()[:, ::2])


IN_PLACE = [
    "relu", "relu6", "hardtanh", "silu", "mish", "hardsigmoid", "hardswish", "elu",
    "selu", "celu", "leaky_relu",
]  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name: str) -> None:
    x = torch.tensor(X)
    wanted = getattr(F, name)(x).tolist()
    assert getattr(F, name)(x, inplace=True) is x
    assert x.tolist() == wanted


@pytest.mark.parametrize("name", ["silu", "softsign", "tanhshrink", "tanh", "sigmoid"])
def test_complex_numbers(name: str) -> None:
    z = X + 1j * X[::-1] / 3
    np.testing.assert_allclose(
        getattr(F, name)(torch.tensor(z)).numpy(), FORMULAS[name](z), rtol=1e-10
    )
    assert gradcheck(getattr(F, name), (torch.tensor(z[2:5], requires_grad=True),))


def test_settings() -> None:
    x = torch.tensor(X)
    np.testing.assert_allclose(F.elu(x, 2.0).numpy(), np.where(X > 0, X, 2 * np.expm1(X)))
    np.testing.assert_allclose(F.celu(x, 2.0).numpy(), np.where(X > 0, X, 2 * np.expm1(X / 2)))
    np.testing.assert_allclose(F.softplus(x, beta=2).numpy(), softplus(2 * X) / 2)
    assert F.softplus(torch.tensor([100.0]), beta=1, threshold=20).item() == 100
    np.testing.assert_allclose(F.leaky_relu(x, 0.3).numpy(), np.where(X > 0, X, 0.3 * X))
    np.testing.assert_allclose(F.threshold(x, 0.5, -9).numpy(), np.where(X > 0.5, X, -9))
    np.testing.assert_allclose(F.hardtanh(x, -2, 0.5).numpy(), np.clip(X, -2, 0.5))
    inner = math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)
    np.testing.assert_allclose(
        F.gelu(x, approximate="tanh").numpy(), 0.5 * X * (1 + np.tanh(inner))
    )


def test_prelu_and_glu() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, 4))
    weight = np.array([0.1, 0.2, 0.3])
    found = F.prelu(torch.tensor(x), torch.tensor(weight))
    np.testing.assert_allclose(found.numpy(), np.where(x > 0, x, weight.reshape(3, 1) * x))
    np.testing.assert_allclose(F.glu(torch.tensor(x), 2).numpy(), x[..., :2] * sigmoid(x[..., 2:]))
    t = torch.tensor(x, requires_grad=True)
    assert gradcheck(F.prelu, (t, torch.tensor(weight, requires_grad=True)))
    assert gradcheck(F.glu, (t,))
    assert gradgradcheck(F.glu, (t,))
    for dim in (0, 1, -1):
        y = torch.randn(4, 6, 2, dtype=torch.float64).transpose(0, 1).requires_grad_()
        assert gradcheck(lambda y, dim=dim: F.glu(y, dim), (y,))


def test_integers() -> None:
    assert F.relu(torch.tensor([-2, 3])).tolist() == [0, 3]
    assert F.hardtanh(torch.tensor([-2, 3])).tolist() == [-1, 1]


def test_relu_does_not_pass_gradients_at_zero() -> None:
    x = torch.tensor([0.0, -1.0, 1.0], requires_grad=True)
    F.relu(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 1]


def test_out() -> None:
    out = torch.empty(12, dtype=torch.float64)
    for name in ("softplus", "softshrink", "hardshrink", "gelu", "logsigmoid"):
        assert getattr(F, name)(torch.tensor(X), out=out) is out
        np.testing.assert_allclose(out.numpy(), FORMULAS[name](X), atol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: F.relu(torch.tensor([True])), RuntimeError, ("relu", "bool")),
        (lambda: F.relu(torch.tensor([1j])), RuntimeError, ("relu", "complex64")),
        (lambda: F.hardtanh(torch.ones(1), 2, 1), ValueError, ("hardtanh", "2", "1")),
        (lambda: F.celu(torch.ones(1), 0), RuntimeError, ("CELU",)),
        (lambda: F.softshrink(torch.ones(1), -1), RuntimeError, ("softshrink", "-1")),
        (lambda: F.gelu(torch.ones(1), approximate="x"), RuntimeError, ("approximate",)),
        (lambda: F.glu(torch.ones(3)), RuntimeError, ("even", "3")),
        (lambda: F.prelu(torch.ones(2, 3), torch.ones(2)), RuntimeError, ("prelu", "2", "3")),
        (lambda: F.relu(torch.ones(1, requires_grad=True), inplace=True), RuntimeError, ("leaf",)),
    ],
)
def test_errors_name_the_op(call, error: type, parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
