"""The last elements of a row, fewer than a vector holds: the same bits as in the midst of one."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

import flambeau as torch
from flambeau.kernels import cache, loops, scalar
from flambeau.kernels.target import Target
from tests.kernels.harness import SIGNATURE, runnable

SIZES = [0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 67]
# cheap, costly, with a rare branch; a pair of types
CASES = [
    ("neg", "float32"), ("tanh", "float32"), ("sin", "float32"), ("erf", "float64"),
    ("exp", "float16"), ("exp", "bfloat16"), ("sign", "int8"), ("exp", "complex64"),
    ("tanh", "complex128"), ("isnan", "float64"),
]  # fmt: skip


def _kernel(name: str, dtype: str, accesses: str, target: Target) -> Callable[..., None]:
    """The op's kernel of the form that these accesses ask for."""
    record = getattr(torch, name).record
    with scalar.tracing():
        plain = record._plain_spec([dtype])
        operands = [
            o._replace(access=a) for o, a in zip((*plain.outs, *plain.ins), accesses, strict=True)
        ]
        form = "nest" if "g" in accesses else "flat"
        spec = plain._replace(form=form, outs=(operands[0],), ins=(operands[1],))
        return SIGNATURE(cache.function(loops.build(spec, target), "k", target))


def _values(dtype: str, count: int) -> np.ndarray:
    """`count` numbers of this type, bfloat16 as its bits."""
    x = np.random.default_rng(7).standard_normal(count) * 3
    if dtype == "bfloat16":
        return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if dtype.startswith("complex"):
        return (x + 1j * x[::-1]).astype(dtype)
    return x.astype(dtype)


def _result(name: str, dtype: str) -> type:
    return np.bool_ if name == "isnan" else np.uint16 if dtype == "bfloat16" else np.dtype(dtype)


def _call(kernel: Callable, arrays: list[np.ndarray], desc: list[int], end: int) -> None:
    pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    kernel(pointers, (ctypes.c_int64 * len(desc))(*desc), 0, end, 0)


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_the_end_of_a_line_is_as_the_rest(name: str, dtype: str, target: Target) -> None:
    kernel = _kernel(name, dtype, "cc", target)
    x, result = _values(dtype, 128), _result(name, dtype)
    whole = np.zeros(128, result)
    _call(kernel, [whole, x], [0], 128)
    for size in SIZES:
        out = np.full(size + 8, 77).astype(result)
        _call(kernel, [out, np.ascontiguousarray(x[:size])], [0], size)
        assert out[:size].tobytes() == whole[:size].tobytes(), size
        assert (out[size:] == np.full(8, 77).astype(result)).all(), size


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
@pytest.mark.parametrize(("name", "dtype"), CASES)
@pytest.mark.parametrize("accesses", ["cg", "gc", "gg"])
def test_the_ends_of_rows_with_steps(name: str, dtype: str, accesses: str, target: Target) -> None:
    flat, kernel = (_kernel(name, dtype, a, target) for a in ("cc", accesses))
    step, rows, result = 3, 3, _result(name, dtype)
    for size in SIZES[1:]:
        x = _values(dtype, rows * size * step).reshape(rows, size * step)
        source = np.ascontiguousarray(x if accesses[1] == "g" else x[:, :size])
        taken = source[:, ::step] if accesses[1] == "g" else source
        expected = np.zeros((rows, size), result)
        _call(flat, [expected, np.ascontiguousarray(taken)], [0], rows * size)
        out = np.full((rows, size * step if accesses[0] == "g" else size), 77).astype(result)
        untouched, put = out.copy(), out[:, ::step] if accesses[0] == "g" else out
        strides = [s for a in (put, taken) for s in a.strides]
        _call(kernel, [out, source], [size, *strides], rows)
        untouched[:, :: step if accesses[0] == "g" else 1] = expected
        assert out.tobytes() == untouched.tobytes(), (size, accesses)


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
@pytest.mark.parametrize(("name", "dtype"), [("tanh", "float32"), ("exp", "complex64")])
def test_in_place(name: str, dtype: str, target: Target) -> None:
    kernel = _kernel(name, dtype, "cc", target)
    for size in SIZES:
        x = _values(dtype, size)
        out = np.zeros_like(x)
        _call(kernel, [out, x], [0], size)
        _call(kernel, [x, x], [0], size)
        assert x.tobytes() == out.tobytes(), size
