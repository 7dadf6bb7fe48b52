"""Functions whose results become half types: shorter polynomials, half a unit and a bit more."""

from __future__ import annotations

import math

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau.kernels import elementary, mathlib, scalar
from flambeau.kernels.lower import find_rough_calls
from tests.kernels.bodies import over

UNITS = {"float16": (11, -24), "bfloat16": (8, -133)}  # digits, exponent of the smallest number


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x * math.sqrt(0.5))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


FUNCTIONS = {
    "exp": (torch.exp, math.exp),
    "exp2": (torch.exp2, lambda x: 2.0**x),
    "expm1": (torch.expm1, math.expm1),
    "tanh": (torch.tanh, math.tanh),
    "sigmoid": (torch.sigmoid, _sigmoid),
    "log": (torch.log, math.log),
    "log2": (torch.log2, math.log2),
    "erf": (torch.erf, math.erf),
    "gelu": (F.gelu, lambda x: x * _normal(x)),
    "silu": (F.silu, lambda x: x * _sigmoid(x)),
}


def _every(dtype: str, low: float, high: float) -> torch.Tensor:
    """Every number of a half type in an interval."""
    bits = np.arange(65536, dtype=np.uint16).view(np.int16)
    x = torch.from_numpy(bits).view(getattr(torch, dtype))
    return x[(x.float() > low) & (x.float() < high)]


def _units(got: torch.Tensor, want: np.ndarray, dtype: str) -> np.ndarray:
    """|got - want| in units of the last place of the half type."""
    digits, smallest = UNITS[dtype]
    exponent = np.frexp(np.where(want == 0, 1e-300, want))[1] - digits
    unit = np.ldexp(1.0, np.maximum(exponent, smallest))
    return np.abs(got.double().numpy() - want) / unit


@pytest.mark.parametrize("dtype", list(UNITS))
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_half_types_are_as_good_as_rounded(name: str, dtype: str) -> None:
    function, exact = FUNCTIONS[name]
    low = 0.0 if name.startswith("log") else -11.0 if dtype == "float16" else -12.5
    x = _every(dtype, low, 11.0)
    error = _units(function(x), over(exact)(x.double().numpy()), dtype)
    worst = int(np.argmax(error))
    # gelu's tail is 2**(t P(t)): the rounding of the exponent grows with it
    assert error[worst] < (0.6 if name == "gelu" else 0.54), float(x[worst])


@pytest.mark.parametrize("dtype", list(UNITS))
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_special_values(name: str, dtype: str) -> None:
    values = [0.0, -0.0, math.inf, -math.inf, math.nan]
    function = FUNCTIONS[name][0]
    got = function(torch.tensor(values, dtype=getattr(torch, dtype))).double().numpy()
    expected = function(torch.tensor(values, dtype=torch.float64)).numpy()
    np.testing.assert_array_equal(got, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(expected[numbers]))


def _rough(*roots: scalar.Expr) -> set[str]:
    return {n.value for n in find_rough_calls(list(roots))}


def test_only_what_ends_in_half_types_is_rough() -> None:
    with scalar.tracing():
        x = scalar.cast(scalar.input(0, "f16"), "f32")
        product = scalar.cast(x * mathlib.exp(x) / mathlib.tanh(x), "f16")
        assert _rough(product) == {"exp", "tanh"}
        assert _rough(x * mathlib.exp(x)) == set()
        assert _rough(scalar.cast(1.0 + mathlib.erf(x), "f16")) == set()  # may cancel
        assert _rough(scalar.cast(mathlib.log(mathlib.exp(x)), "f16")) == {"log"}
        both = mathlib.exp(x)
        assert _rough(scalar.cast(both, "f16"), both + x) == set()
        chosen = scalar.where(mathlib.log(x) > 1.0, both, x)
        assert _rough(scalar.cast(chosen, "bf16")) == {"exp"}
        assert _rough(scalar.cast(mathlib.exp(scalar.cast(x, "f64")), "f16")) == set()


def test_rough_expansions_are_of_single_precision_functions() -> None:
    rough = {n for n, f in elementary.FUNCTIONS.items() if elementary.ROUGH in f.expand}
    assert {"exp", "tanh", "sigmoid", "erf", "log", "normal_cdf"} <= rough
    assert all("f32" in elementary.FUNCTIONS[n].expand for n in rough)


@pytest.mark.parametrize("size", [1, 15, 16, 40])
def test_every_float32_rounds_to_the_nearest_bfloat16(size: int) -> None:
    rng = np.random.default_rng(size)
    bits = rng.integers(0, 1 << 32, (2000, size), dtype=np.uint32)
    bits[:500] &= 0x807FFFFF  # subnormal
    bits[500:1000] = bits[500:1000] & 0xFFFF0000 | 0x8000  # ties
    bits[1000:1100] |= 0x7F800000  # NaN
    x = bits.view(np.float32)
    got = torch.from_numpy(x).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    nan = np.isnan(x)
    rounded = ((bits.astype(np.uint64) + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    np.testing.assert_array_equal(got[~nan], rounded[~nan])
    assert np.isnan((got.astype(np.uint32) << 16).view(np.float32)[nan]).all()
