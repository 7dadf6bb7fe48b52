"""Half precision by integer arithmetic against NumPy's conversions, bit for bit."""

import ctypes

import numpy as np
import pytest

from flambeau.kernels import cache
from flambeau.kernels.half import float_to_half, half_to_float
from flambeau.kernels.ir import Builder
from flambeau.kernels.target import host
from tests.kernels.harness import SIGNATURE

LANES = 4


def convert(x: np.ndarray, to: type, emit) -> np.ndarray:
    """Run a conversion over an array whose length is a multiple of LANES."""
    source, result = ("half", "float") if x.dtype == np.float16 else ("float", "half")
    b = Builder(host())
    with b.kernel(), b.loop("%begin", "%end", LANES) as i:
        at = b.offset(b.argument(1), b.mul(i.index, x.itemsize))
        value = emit(b, b.load(f"<{LANES} x {source}>", at, x.itemsize), LANES)
        to_at = b.offset(b.argument(0), b.mul(i.index, np.dtype(to).itemsize))
        b.store(f"<{LANES} x {result}>", value, to_at, 2)
    out = np.empty(x.shape, to)
    args = (ctypes.c_void_p * 2)(out.ctypes.data, x.ctypes.data)
    SIGNATURE(cache.function(b.module()))(args, None, 0, x.size, 0)
    return out


def assert_same(got: np.ndarray, expected: np.ndarray) -> None:
    """NaN where expected, the same bits elsewhere."""
    word = f"u{got.itemsize}"
    real = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(got), ~real)
    np.testing.assert_array_equal(got.view(word)[real], expected.view(word)[real])


def every_half() -> np.ndarray:
    """All 65536 of them."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def test_half_to_float_is_exact():
    """Every half there is."""
    assert_same(convert(every_half(), np.float32, half_to_float), every_half().astype(np.float32))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow is among what is tested
def test_float_to_half_rounds_to_even():
    """Every half, every tie between two, their neighbours, and random bits."""
    halves = every_half().astype(np.float32)
    ties = ((halves[:-1].astype(np.float64) + halves[1:]) / 2).astype(np.float32)
    ties = np.append(ties, np.float32(65520))
    near = [np.nextafter(ties, np.float32(s) * np.inf) for s in (1, -1)]
    bits = np.random.default_rng(0).integers(0, 2**32, 1 << 18).astype(np.uint32)
    x = np.concatenate([halves, ties, *near, bits.view(np.float32)])
    assert_same(convert(x, np.float16, float_to_half), x.astype(np.float16))
