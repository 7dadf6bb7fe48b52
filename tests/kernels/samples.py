"""Test data of every element type, and how near results must come."""

from __future__ import annotations

import numpy as np

NUMPY = {
    "bool": np.uint8, "u8": np.uint8, "i8": np.int8, "i16": np.int16, "i32": np.int32,
    "i64": np.int64, "f16": np.float16, "bf16": np.uint16, "f32": np.float32, "f64": np.float64,
    "c64": np.complex64, "c128": np.complex128,
}  # fmt: skip
# Relative to the largest value of the result.
TOLERANCE = {"f16": 2e-3, "bf16": 1.6e-2, "f32": 1e-5, "f64": 1e-12, "c64": 1e-5, "c128": 1e-12}


def to_bfloat(x: np.ndarray) -> np.ndarray:
    """float32 to the bits of bfloat16, to nearest even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat(bits: np.ndarray) -> np.ndarray:
    """The float32 that bits of bfloat16 stand for."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def draw(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Values as they lie in memory."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(np.uint8)
    if dtype[0] in "ui":
        return rng.integers(-4, 5, shape).astype(NUMPY[dtype])
    x = rng.standard_normal(shape)
    if dtype[0] == "c":
        x = x + 1j * rng.standard_normal(shape)
    return to_bfloat(x.astype(np.float32)) if dtype == "bf16" else x.astype(NUMPY[dtype])


def wide(dtype: str, x: np.ndarray) -> np.ndarray:
    """Values to compute a reference with."""
    if dtype == "bf16":
        return from_bfloat(x).astype(np.float64)
    if dtype[0] in "fc":
        return x.astype(np.complex128 if dtype[0] == "c" else np.float64)
    return x.astype(np.int64)


def assert_near(dtype: str, got: np.ndarray, expected: np.ndarray) -> None:
    """Equal for integers (modulo their width), near for the rest."""
    if dtype == "bool":
        np.testing.assert_array_equal(got != 0, expected != 0)
    elif dtype[0] in "ui":
        np.testing.assert_array_equal(got, expected.astype(NUMPY[dtype]))
    else:
        largest = np.abs(expected).max(initial=1.0)
        np.testing.assert_allclose(
            wide(dtype, got), expected, rtol=0, atol=TOLERANCE[dtype] * largest
        )
