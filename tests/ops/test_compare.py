"""Comparisons, extremes of two tensors, logical and bitwise ops against NumPy."""

import math

import numpy as np
import pytest

import flambeau as torch
from flambeau.autograd import gradcheck

DTYPES = ["uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
COMPARISONS = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal,
}  # fmt: skip


def pair(dtype: str) -> tuple[torch.Tensor, torch.Tensor]:
    a = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]]).to(getattr(torch, dtype))
    return a, torch.tensor([1, 1, 2, 2]).to(getattr(torch, dtype))


def numbers(x: torch.Tensor) -> np.ndarray:
    return (x.float() if x.dtype is torch.bfloat16 else x).numpy()


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("dtype", [*DTYPES, "bool"])
def test_comparisons(name: str, dtype: str) -> None:
    a, b = pair(dtype)
    found = getattr(torch, name)(a, b)
    assert found.dtype is torch.bool
    np.testing.assert_array_equal(found.numpy(), COMPARISONS[name](numbers(a), numbers(b)))
    strided = getattr(torch, name)(a.t(), 1)
    np.testing.assert_array_equal(strided.numpy(), COMPARISONS[name](numbers(a).T, 1))


@pytest.mark.parametrize("name", COMPARISONS)
def test_nan_compares_unequal_to_everything(name: str) -> None:
    x = torch.tensor([math.nan, 1.0, math.inf])
    found = getattr(torch, name)(x, torch.tensor([math.nan, math.nan, math.inf]))
    assert found.tolist() == COMPARISONS[name](x.numpy(), [np.nan, np.nan, np.inf]).tolist()


def test_complex_numbers_are_equal_or_not_but_have_no_order() -> None:
    z = torch.tensor([1 + 2j, 1 - 2j])
    assert (z == z.conj()).tolist() == [False, False]
    assert (z != 1 + 2j).tolist() == [False, True]
    with pytest.raises(RuntimeError, match=r"lt.*complex64"):
        torch.lt(z, z)


def test_comparison_of_different_types_promotes() -> None:
    assert (torch.tensor([1, 2]) < torch.tensor([1.5, 1.5])).tolist() == [True, False]
    assert (torch.tensor([True]) == 1).tolist() == [True]
    assert torch.tensor([1, 2]).lt_(2).tolist() == [1, 0]


def test_tests_of_numbers() -> None:
    x = torch.tensor([0.0, -0.0, 1.0, -math.inf, math.inf, math.nan])
    assert x.isnan().tolist() == [False] * 5 + [True]
    assert x.isinf().tolist() == [False] * 3 + [True, True, False]
    assert x.isfinite().tolist() == [True] * 3 + [False] * 3
    assert x.isposinf().tolist() == [False] * 4 + [True, False]
    assert x.isneginf().tolist() == [False] * 3 + [True, False, False]
    assert x[:5].signbit().tolist() == [False, True, False, True, False]
    assert torch.isreal(torch.tensor([1j, 1 + 0j])).tolist() == [False, True]
    assert torch.isnan(torch.tensor([complex(0, math.nan), 0j])).tolist() == [True, False]
    for op in (torch.isnan, torch.isinf, torch.isfinite):
        assert op(torch.tensor([1, 2])).tolist() == [op is torch.isfinite] * 2


@pytest.mark.parametrize("dtype", [*DTYPES, "bool"])
def test_extremes_of_two(dtype: str) -> None:
    a, b = pair(dtype)
    np.testing.assert_array_equal(numbers(torch.maximum(a, b)), np.maximum(numbers(a), numbers(b)))
    np.testing.assert_array_equal(numbers(torch.fmin(a, b)), np.minimum(numbers(a), numbers(b)))
    assert torch.minimum(a, b).dtype is a.dtype


def test_extremes_and_nan() -> None:
    a, b = torch.tensor([math.nan, 1.0, math.nan]), torch.tensor([1.0, math.nan, math.nan])
    for op in (torch.maximum, torch.minimum):
        assert op(a, b).isnan().all()
    for op in (torch.fmax, torch.fmin):
        np.testing.assert_array_equal(op(a, b).numpy(), [1, 1, np.nan])


@pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin"])
def test_derivatives_of_extremes(name: str) -> None:
    a = torch.tensor([[0.3], [1.7], [-2.0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([1.0, -1.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(getattr(torch, name), (a, b))


def test_ties_share_the_gradient() -> None:
    a = torch.ones(2, requires_grad=True)
    b = torch.ones(2, requires_grad=True)
    torch.maximum(a, b).sum().backward()
    assert a.grad.tolist() == b.grad.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("dtype", ["bool", "int64", "float32", "complex64", "float16"])
def test_logical(dtype: str) -> None:
    a = torch.tensor([0, 1, 2, 0]).to(getattr(torch, dtype))
    b = torch.tensor([0, 0, 3, 1]).to(getattr(torch, dtype))
    x, y = a.numpy(), b.numpy()
    assert torch.logical_and(a, b).tolist() == np.logical_and(x, y).tolist()
    assert torch.logical_or(a, b).tolist() == np.logical_or(x, y).tolist()
    assert torch.logical_xor(a, b).tolist() == np.logical_xor(x, y).tolist()
    assert torch.logical_not(a).tolist() == np.logical_not(x).tolist()
    assert torch.logical_not(a).dtype is torch.bool


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "bool"])
def test_bitwise(dtype: str) -> None:
    a = torch.tensor([0, 1, 5, 12]).to(getattr(torch, dtype))
    b = torch.tensor([1, 1, 3, 10]).to(getattr(torch, dtype))
    x, y = a.numpy(), b.numpy()
    assert (a & b).tolist() == (x & y).tolist()
    assert (a | b).tolist() == (x | y).tolist()
    assert (a ^ b).tolist() == (x ^ y).tolist()
    assert (~a).tolist() == (~x).tolist()


def test_shifts() -> None:
    x = torch.tensor([1, -8, 3])
    assert (x << 2).tolist() == [4, -32, 12]
    assert (x >> torch.tensor([0, 1, 5])).tolist() == [1, -4, 0]


def test_gcd_and_lcm() -> None:
    a, b = np.array([[12], [0], [-9]]), np.array([8, 0, 6])
    assert torch.gcd(torch.tensor(a), torch.tensor(b)).tolist() == np.gcd(a, b).tolist()
    assert torch.lcm(torch.tensor(a), torch.tensor(b)).tolist() == np.lcm(a, b).tolist()
    scalar = torch.gcd(torch.tensor(12), torch.tensor(18))
    assert scalar.shape == ()
    assert scalar.item() == 6


def test_closeness() -> None:
    a = torch.tensor([1.0, 1.0, math.inf, math.nan])
    b = torch.tensor([1.0 + 1e-6, 1.1, math.inf, math.nan])
    assert torch.isclose(a, b).tolist() == [True, False, True, False]
    assert torch.isclose(a, b, equal_nan=True).tolist() == [True, False, True, True]
    assert torch.allclose(a[:1], b[:1])
    assert not torch.allclose(a[:2], b[:2])
    assert torch.isclose(torch.tensor([100]), torch.tensor([101]), rtol=0.02).item()
    assert torch.isclose(torch.tensor([1 + 1j]), torch.tensor([1 + 1.000001j])).item()


def test_equal_and_heaviside() -> None:
    assert torch.equal(torch.ones(2), torch.ones(2))
    assert not torch.equal(torch.ones(2), torch.ones(3))
    assert torch.heaviside(torch.tensor([-1.0, 0.0, 2.0]), torch.tensor(0.5)).tolist() == [
        0,
        0.5,
        1,
    ]


def test_empty_and_0d() -> None:
    assert (torch.ones(0, 3) < 1).shape == (0, 3)
    assert (torch.tensor(1) < 2).shape == ()


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: torch.ones(2) < torch.ones(3), RuntimeError, ("lt", "2", "3")),
        (lambda: torch.ones(2) & torch.ones(2), RuntimeError, ("bitwise_and", "float32")),
        (
            lambda: torch.maximum(torch.tensor(1j), torch.tensor(1j)),
            RuntimeError,
            ("maximum", "complex64"),
        ),
        (lambda: torch.gcd(torch.ones(1), torch.ones(1)), RuntimeError, ("gcd", "float32")),
        (
            lambda: torch.isclose(torch.ones(1), torch.ones(1).double()),
            RuntimeError,
            ("isclose", "float64"),
        ),
        (
            lambda: torch.isclose(torch.ones(1), torch.ones(1), rtol=-1),
            RuntimeError,
            ("isclose", "-1"),
        ),
        (lambda: torch.maximum(torch.ones(1), 2), TypeError, ("maximum", "Tensor")),
        (lambda: torch.isposinf(torch.tensor(1j)), RuntimeError, ("isposinf", "complex64")),
    ],
)
def test_errors_name_the_op(call, error: type, parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
