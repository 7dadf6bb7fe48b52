"""What kernels do lane by lane only where some lane needs it: huge angles, quotients, divisions."""

import numpy as np
import pytest

import flambeau as torch
from flambeau.ops.arithmetic import c_mod, floor_div, python_mod

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def _operands(dtype: str, wide: bool) -> tuple[np.ndarray, np.ndarray]:
    """Dividends over the whole range with divisors of every size, or small numbers."""
    rng, limits = np.random.default_rng(3), np.iinfo(dtype)
    a = rng.integers(limits.min, limits.max, 3001, dtype=dtype, endpoint=True)
    b = rng.integers(limits.min, limits.max, 3001, dtype=dtype, endpoint=True)
    b >>= rng.integers(0, limits.bits, 3001).astype(dtype)
    if not wide:
        a, b = a % np.array(101, dtype), b % np.array(11, dtype)
    corners = np.array([limits.min, limits.max, 0, 1, limits.max - 1, limits.min + 1], dtype)
    a[:36], b[:36] = np.repeat(corners, 6), np.tile(corners, 6)
    if limits.min < 0:
        a[36:42], b[36:42] = corners, -1
    b[b == 0] = 3
    return a, b


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_division_is_exact_in_vectors(dtype: str, wide: bool) -> None:
    a, b = _operands(dtype, wide)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    with np.errstate(over="ignore"):
        expected = np.floor_divide(a, b), np.remainder(a, b), np.fmod(a, b)
    assert np.array_equal(floor_div(x, y).numpy(), expected[0])
    assert np.array_equal(python_mod(x, y).numpy(), expected[1])
    assert np.array_equal(c_mod(x, y).numpy(), expected[2])
    assert np.array_equal(c_mod(x[::2], y[::2]).numpy(), expected[2][::2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fmod_is_exact_for_any_quotient(dtype: str) -> None:
    rng = np.random.default_rng(4)
    spread = 15 if dtype == "float32" else 200
    values = rng.standard_normal((2, 20_003)) * np.exp(rng.uniform(-spread, spread, (2, 20_003)))
    a, b = values.astype(dtype)
    tiny = np.finfo(dtype).smallest_subnormal
    corners = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, tiny, -3 * tiny, 1e30], dtype)
    a[:100], b[:100] = np.repeat(corners, 10), np.tile(corners, 10)
    a[100:1100], b[100:1100] = np.arange(1000) * np.array(0.1, dtype), 0.1
    with np.errstate(invalid="ignore"):
        expected = np.fmod(a, b)
    found = torch.fmod(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert np.array_equal(found, expected, equal_nan=True)
    numbers = ~np.isnan(expected)
    assert np.array_equal(np.signbit(found[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_angles_of_any_size_share_a_vector(name: str) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal(5003) * 10.0 ** rng.uniform(-5, 18, 5003)
    x[::701] = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, 2.0**27, -(2.0**27)]
    with np.errstate(invalid="ignore"):
        expected = getattr(np, name)(x.astype(np.longdouble)).astype(np.float64)
    found = getattr(torch, name)(torch.from_numpy(x)).numpy()
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    good = ~np.isnan(expected)
    error = np.abs(found[good] - expected[good]) / np.spacing(np.abs(expected[good]))
    assert error.max() <= 2.0
