"""Runs scalar bodies on arrays, interpreted or compiled, and measures their errors."""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Callable

import numpy as np

from flambeau.kernels import cache, ir, lower, oracle, scalar
from flambeau.kernels.llvm import Emitter
from flambeau.kernels.target import Target
from tests.kernels.harness import SIGNATURE

TYPES = {"f32": np.float32, "f64": np.float64}
_LLVM = {"f32": "float", "f64": "double"}
_BITS = {"f32": np.int32, "f64": np.int64}

SPECIAL = [0.0, 1e-45, 1e-40, 2.0**-126, 1e-20, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 10.0, 88.8, 104.0]
SPECIAL += [1000.0, 65536.5, 2.0**31, 3e9, 1e20, 3.4e38, np.inf]
SPECIAL = np.array([*SPECIAL, *(-s for s in SPECIAL), np.nan])


def function_body(name: str) -> Callable:
    """A body that calls one function of the library."""
    return lambda *args: scalar.call(name, *args)


def interpret(body: Callable, *arrays: np.ndarray) -> np.ndarray:
    """Run a body lowered, operation by operation in NumPy."""
    names = {np.dtype(t): n for n, t in TYPES.items()}
    with scalar.tracing():
        handles = [scalar.input(k, names[a.dtype]) for k, a in enumerate(arrays)]
        return oracle.evaluate(lower.lower([body(*handles)]), arrays)[0]


def compiled(body: Callable, dtype: str, arity: int, target: Target) -> Callable:
    """A body as vector code of the target, callable on arrays of equal length."""
    lanes = target.vector_bytes // np.dtype(TYPES[dtype]).itemsize
    run = SIGNATURE(cache.function(module_text(body, dtype, arity, target), "k", target))

    def call(*arrays: np.ndarray) -> np.ndarray:
        size = len(arrays[0])
        padded = -(-size // lanes) * lanes
        inputs = [np.resize(a.astype(TYPES[dtype]), padded) for a in arrays]
        out = np.empty(padded, TYPES[dtype])
        pointers = (ctypes.c_void_p * (arity + 1))(
            out.ctypes.data, *(a.ctypes.data for a in inputs)
        )
        run(pointers, None, 0, padded, 0)
        return out[:size]

    return call


def module_text(body: Callable, dtype: str, arity: int, target: Target) -> str:
    """LLVM IR of a loop over whole vectors."""
    lanes = target.vector_bytes // np.dtype(TYPES[dtype]).itemsize
    builder = ir.Builder(target)
    with scalar.tracing(), builder.kernel("k"):
        roots = lower.lower([body(*(scalar.input(k, dtype) for k in range(arity)))])
        pointers = [builder.argument(k) for k in range(arity + 1)]
        emitter = Emitter(builder, lanes)
        with builder.loop("%begin", "%end", lanes) as loop:
            places = [builder.offset(p, loop.index, _LLVM[dtype]) for p in pointers]

            def load(e: scalar.Expr) -> str | None:
                return emitter.load(dtype, places[1 + e.value]) if e.op == "input" else None

            (value,) = emitter.graph(roots, load, {})
            emitter.store(value, dtype, places[0])
    return builder.module()


def any_bits(dtype: str, count: int, seed: int = 0) -> np.ndarray:
    """Numbers of every size and sign, subnormal ones, infinities and NaN included."""
    limits = np.iinfo(_BITS[dtype])
    rng = np.random.default_rng(seed)
    return rng.integers(limits.min, limits.max, count, _BITS[dtype]).view(TYPES[dtype])


def between(dtype: str, low: float, high: float, count: int, seed: int = 1) -> np.ndarray:
    """Numbers drawn evenly from an interval."""
    return np.random.default_rng(seed).uniform(low, high, count).astype(TYPES[dtype])


def special_pairs(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of special values."""
    with np.errstate(over="ignore"):
        pairs = np.array(list(itertools.product(SPECIAL, SPECIAL))).astype(TYPES[dtype])
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """|got - want| in units of the last place of want, which may be of a wider type.

    Infinite where NaN, infinity or the sign of 0 differ.
    """
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        unit = np.abs(np.spacing(np.minimum(np.abs(rounded), np.finfo(got.dtype).max)))
        error = np.abs(got.astype(np.float64) - want.astype(np.float64)) / unit.astype(np.float64)
    same = (got == rounded) & ((got != 0) | (np.signbit(got) == np.signbit(rounded)))
    same |= np.isnan(got) & np.isnan(rounded)
    exact = ~np.isfinite(got) | ~np.isfinite(rounded) | ((got == 0) & (rounded == 0))
    return np.where(exact, np.where(same, 0.0, np.inf), error)


def worst(got: np.ndarray, want: np.ndarray, *arguments: np.ndarray) -> tuple[float, str]:
    """The largest error in units of the last place, and where it is."""
    error = ulps(got, want)
    at = int(np.argmax(error))
    point = ", ".join(repr(float(a[at])) for a in arguments)
    return float(error[at]), f"f({point}) = {float(got[at])!r}, expected {float(want[at])!r}"


@functools.cache
def over(function: Callable[..., float], arity: int = 1) -> Callable[..., np.ndarray]:
    """A function of Python floats over arrays; where it refuses, NaN."""

    def guarded(*args: float) -> float:
        try:
            return function(*args)
        except (ValueError, ZeroDivisionError):
            return float("nan")

    vectorised = np.frompyfunc(guarded, arity, 1)
    return lambda *arrays: vectorised(*(a.astype(np.float64) for a in arrays)).astype(np.float64)
