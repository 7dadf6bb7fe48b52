"""Cumulative ops, differences, integrals and numerical gradients against NumPy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau.autograd import gradcheck, gradgradcheck

TRAPEZOID = getattr(np, "trapezoid", None) or np.trapz  # NumPy 1 has the older name


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, shape)


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(uniform(*shape, seed=seed), requires_grad=True)


def logcumsumexp(x: np.ndarray, axis: int) -> np.ndarray:
    return np.logaddexp.accumulate(x, axis)


SCANS = {
    "cumsum": np.cumsum, "cumprod": np.cumprod, "logcumsumexp": logcumsumexp,
    "cummax": np.maximum.accumulate, "cummin": np.minimum.accumulate,
}  # fmt: skip


def values(result) -> torch.Tensor:
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_along_every_dimension(name: str, dim: int) -> None:
    x = uniform(5, 11, 9)
    t = torch.tensor(x)
    scan = getattr(torch, name)
    np.testing.assert_allclose(values(scan(t, dim)).numpy(), SCANS[name](x, axis=dim), rtol=1e-12)
    turned = values(scan(t.transpose(0, 2)[::2], dim)).numpy()
    np.testing.assert_allclose(turned, SCANS[name](x.T[::2], axis=dim), rtol=1e-12)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=3), st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_any_shape(shape: list[int], dim: int) -> None:
    dim %= len(shape)
    x = np.random.default_rng(1).integers(-9, 9, shape)
    assert torch.tensor(x).cumsum(dim).tolist() == x.cumsum(dim).tolist()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "int64"])
def test_integers_accumulate_in_int64(dtype: str) -> None:
    x = torch.tensor([1, 1, 0, 1]).to(getattr(torch, dtype))
    assert x.cumsum(0).dtype is torch.int64
    assert x.cumsum(0).tolist() == [1, 2, 2, 3]
    assert x.cumprod(0).tolist() == [1, 1, 0, 0]
    assert x.cummax(0).values.dtype is x.dtype


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_sums_are_carried_precisely(dtype: str) -> None:
    x = torch.full((2000,), 0.1, dtype=getattr(torch, dtype))
    found, exact = x.cumsum(0).double().numpy(), x.double().cumsum(0).numpy()
    np.testing.assert_allclose(found, exact, rtol=torch.finfo(x.dtype).eps)


def test_complex_numbers() -> None:
    z = uniform(4, 6) + 1j * uniform(4, 6, seed=1)
    t = torch.tensor(z)
    np.testing.assert_allclose(t.cumsum(0).numpy(), z.cumsum(0))
    np.testing.assert_allclose(t.cumprod(1).numpy(), z.cumprod(1))
    np.testing.assert_allclose(np.exp(t.logcumsumexp(1).numpy()), np.exp(z).cumsum(1), rtol=1e-10)
    large = torch.tensor([1e4 + 1j, 1e4 - 1j, -1e4 + 2j])
    assert large.logcumsumexp(0).isfinite().all()


def test_logcumsumexp_does_not_overflow() -> None:
    x = torch.tensor([-math.inf, -1000.0, -1000.0, 1000.0], dtype=torch.float64)
    wanted = [-math.inf, -1000, -1000 + math.log(2), 1000]
    assert x.logcumsumexp(0).tolist() == pytest.approx(wanted)


def test_extremes_return_the_last_of_equal_places_and_keep_nan() -> None:
    pair = torch.tensor([1.0, 3.0, 3.0, 2.0]).cummax(0)
    assert pair.values.tolist() == [1, 3, 3, 3]
    assert pair.indices.tolist() == [0, 1, 2, 2]
    pair = torch.tensor([1.0, math.nan, 0.0]).cummin(0)
    assert pair.values.isnan().tolist() == [False, True, True]
    assert pair.indices.tolist() == [0, 1, 1]


def test_0d_and_empty() -> None:
    for name in SCANS:
        assert values(getattr(torch, name)(torch.tensor(2.0), 0)).item() == 2
        assert values(getattr(torch, name)(torch.ones(0, 3), 0)).shape == (0, 3)


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("dim", [0, 1])
def test_derivatives(name: str, dim: int) -> None:
    def scan(x: torch.Tensor) -> torch.Tensor:
        return values(getattr(torch, name)(x, dim))

    assert gradcheck(scan, (double(3, 4),))
    assert gradgradcheck(scan, (double(2, 3),))


def test_cumprod_gradient_with_zeros() -> None:
    x = torch.tensor([2.0, 0.0, 3.0, 0.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: x.cumprod(0), (x,))
    x.cumprod(0).sum().backward()
    assert x.grad.tolist() == [1, 8, 0, 0]


def test_in_place_dtype_and_out() -> None:
    x = torch.ones(3)
    assert x.cumsum_(0) is x
    assert x.tolist() == [1, 2, 3]
    assert torch.ones(2).cumsum(0, dtype=torch.int32).dtype is torch.int32
    out = torch.empty(3, dtype=torch.int64)
    torch.cumsum(torch.tensor([0.6, 1.7, 2.5]), 0, out=out)
    assert out.tolist() == [0, 1, 3]  # accumulated in the type of out


# ---- differences and integrals -------------------------------------------------------------------


def test_diff() -> None:
    x = uniform(4, 6)
    t = torch.tensor(x)
    for n in range(3):
        np.testing.assert_allclose(torch.diff(t, n, 0).numpy(), np.diff(x, n, 0))
    np.testing.assert_allclose(
        torch.diff(t, prepend=t[:, :2], append=t[:, :1]).numpy(),
        np.diff(x, prepend=x[:, :2], append=x[:, :1]),
    )
    assert torch.diff(torch.tensor([True, False, False])).tolist() == [True, False]
    assert torch.diff(torch.ones(1)).shape == (0,)


def test_trapezoids() -> None:
    y, x = uniform(3, 5), np.sort(uniform(5, seed=1))
    t = torch.tensor(y)
    np.testing.assert_allclose(torch.trapezoid(t, torch.tensor(x)).numpy(), TRAPEZOID(y, x))
    np.testing.assert_allclose(
        torch.trapezoid(t, dx=0.5, dim=0).numpy(), TRAPEZOID(y, dx=0.5, axis=0)
    )
    running = torch.cumulative_trapezoid(t, torch.tensor(x)).numpy()
    np.testing.assert_allclose(running[:, -1], TRAPEZOID(y, x))


@pytest.mark.parametrize("edge_order", [1, 2])
def test_gradient(edge_order: int) -> None:
    y = uniform(5, 6)
    t = torch.tensor(y)
    at = np.sort(uniform(6, seed=1))
    for found, wanted in zip(
        torch.gradient(t, edge_order=edge_order), np.gradient(y, edge_order=edge_order), strict=True
    ):
        np.testing.assert_allclose(found.numpy(), wanted)
    (found,) = torch.gradient(t, spacing=(torch.tensor(at),), dim=1, edge_order=edge_order)
    np.testing.assert_allclose(
        found.numpy(), np.gradient(y, at, axis=1, edge_order=edge_order), rtol=1e-9
    )
    (found,) = torch.gradient(t, spacing=0.5, dim=0, edge_order=edge_order)
    np.testing.assert_allclose(found.numpy(), np.gradient(y, 0.5, axis=0, edge_order=edge_order))
    assert gradcheck(lambda x: torch.gradient(x, edge_order=edge_order), (double(3, 4),))
    assert torch.gradient(torch.arange(4))[0].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: torch.ones(2).cumsum(1), IndexError, ("Dimension out of range", "1")),
        (lambda: torch.ones(2).cumsum(0.5), TypeError, ("cumsum", "dim", "float")),
        (lambda: torch.tensor([1j]).cummax(0), RuntimeError, ("cummax", "complex64")),
        (lambda: torch.tensor([1]).logcumsumexp(0), RuntimeError, ("logcumsumexp", "int64")),
        (
            lambda: torch.tensor([1, 2]).int().cumsum_(0, dtype=torch.float32),
            RuntimeError,
            ("cast",),
        ),
        (lambda: torch.diff(torch.tensor(1)), RuntimeError, ("diff", "one-dimensional")),
        (lambda: torch.gradient(torch.ones(1)), RuntimeError, ("gradient", "edge_order+1")),
        (
            lambda: torch.gradient(torch.ones(3), edge_order=3),
            RuntimeError,
            ("gradient", "edge_order"),
        ),
        (
            lambda: torch.gradient(torch.ones(3, 3), spacing=[1.0]),
            RuntimeError,
            ("gradient", "length"),
        ),
        (lambda: torch.gradient(torch.ones(3), dim=(0, 0)), RuntimeError, ("dim 0 appears",)),
    ],
)
def test_errors_name_the_op(call, error: type, parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("shape", [(40, 300), (3, 5000), (70_001,), (2, 16, 200)])
def test_long_running_logarithms(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape) * 20
    x.reshape(-1)[:3] = -np.inf
    x.reshape(-1)[-2:] = np.inf, 0
    with np.errstate(invalid="ignore"):
        wanted = np.logaddexp.accumulate(x, axis=-1)
    found = torch.tensor(x).logcumsumexp(-1)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)
    single = torch.tensor(x).float().logcumsumexp(-1)
    np.testing.assert_allclose(single.numpy(), wanted, rtol=2e-6, atol=2e-6)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert torch.equal(torch.tensor(x).logcumsumexp(-1), found)
    finally:
        torch.set_num_threads(before)
    leaf = torch.tensor(x[..., 3:-2], requires_grad=True)
    (g,) = torch.autograd.grad(leaf.logcumsumexp(-1).sum(), leaf)
    assert g.isfinite().all()
