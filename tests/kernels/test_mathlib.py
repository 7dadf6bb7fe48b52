"""The expansions of elementary functions: errors in units of the last place, and special values."""

import math

import numpy as np
import pytest

from flambeau.kernels import mathlib
from flambeau.kernels.oracle_math import FORMULAS
from flambeau.kernels.target import AVX2, AVX512, NEON, host
from tests.kernels.bodies import (
    SPECIAL,
    TYPES,
    any_bits,
    between,
    compiled,
    function_body,
    interpret,
    module_text,
    over,
    special_pairs,
    worst,
)
from tests.kernels.harness import assemble

HOST = host()
TARGETS = [HOST] + [AVX2] * (HOST is AVX512)


@pytest.fixture(autouse=True)
def _quiet():
    """Points of every bit pattern make NumPy warn; the results are compared, NaN for NaN."""
    with np.errstate(all="ignore"):
        yield


def _log(function):
    return lambda x: -math.inf if x == 0 else function(x)


def _log1p(x):
    return -math.inf if x == -1 else math.log1p(x)


def _overflowing(function):
    def safe(x):
        try:
            return function(x)
        except OverflowError:
            return math.copysign(math.inf, x) if function in (math.sinh,) else math.inf

    return safe


def _periodic(function):
    return lambda x: math.nan if math.isinf(x) else function(x)


def _atanh(x):
    return math.copysign(math.inf, x) if abs(x) == 1 else math.atanh(x)


def _lgamma(x):
    return math.inf if math.isinf(x) or (x <= 0 and x == math.floor(x)) else math.lgamma(x)


def _pow(x, y):
    try:
        return math.pow(x, y)
    except OverflowError:
        return math.copysign(math.inf, x) if y % 2 == 1 else math.inf
    except ValueError:
        if x != 0:
            return math.nan
        return math.copysign(math.inf, x) if y % 2 == 1 else math.inf


def _fmod(x, y):
    return math.nan if math.isinf(x) or y == 0 else math.fmod(x, y)


# name: reference, an interval that matters, largest error for float32 and float64 (the reference
# for float64 being itself up to one unit off); None where the C library's function is used
UNARY = {
    "exp": (_overflowing(math.exp), (-20, 20), 1.0, 1.9),
    "exp2": (_overflowing(math.exp2), (-20, 20), 1.0, 1.9),
    "expm1": (_overflowing(math.expm1), (-4, 4), 1.5, 2.5),
    "log": (_log(math.log), (0, 30), 1.0, 1.9),
    "log2": (_log(math.log2), (0, 30), 1.5, 2.5),
    "log10": (_log(math.log10), (0, 30), 1.2, 2.0),
    "log1p": (_log1p, (-1, 4), 1.6, 2.2),
    "sin": (_periodic(math.sin), (-20, 20), 1.7, 1.9),
    "cos": (_periodic(math.cos), (-20, 20), 1.7, 1.9),
    "tan": (_periodic(math.tan), (-8, 8), 0.6, 3.0),
    "asin": (math.asin, (-1, 1), 1.5, 2.5),
    "acos": (math.acos, (-1, 1), 1.2, 2.0),
    "atan": (math.atan, (-4, 4), 1.5, 2.4),
    "sinh": (_overflowing(math.sinh), (-8, 8), 1.7, 2.5),
    "cosh": (_overflowing(math.cosh), (-8, 8), 1.6, 2.5),
    "tanh": (math.tanh, (-4, 4), 1.5, 2.4),
    "asinh": (math.asinh, (-8, 8), 1.9, 2.7),
    "acosh": (math.acosh, (1, 8), 2.0, 2.7),
    "atanh": (_atanh, (-1, 1), 2.1, 2.9),
    "erf": (math.erf, (-4, 4), 1.3, 2.5),
    "erfc": (math.erfc, (-4, 12), 0.7, 6.0),
    "lgamma": (_lgamma, (0, 8), 1.6, None),
}
BINARY = {
    "pow": (_pow, (0.1, 8), 0.7, 2.2),
    "atan2": (math.atan2, (-4, 4), 1.5, 2.4),
    "hypot": (math.hypot, (-4, 4), 0.6, 1.6),
    "fmod": (_fmod, (-40, 40), 0.0, None),
}
CASES = [
    pytest.param(name, dtype, row[0], row[1], bound, id=f"{name}-{dtype}")
    for table in (UNARY, BINARY)
    for name, row in table.items()
    for dtype, bound in (("f32", row[2]), ("f64", row[3]))
    if bound is not None
]


def _points(name, dtype, interval, count):
    """Argument arrays: every size of number, an interval, special values."""
    if name in UNARY:
        with np.errstate(over="ignore"):
            special = SPECIAL.astype(TYPES[dtype])
        parts = [any_bits(dtype, count), between(dtype, *interval, count), special]
        return (np.concatenate(parts),)
    first, second = special_pairs(dtype)
    x = [any_bits(dtype, count, 2), between(dtype, *interval, count, 4), first]
    y = [any_bits(dtype, count, 3), between(dtype, -8, 8, count, 5), second]
    return np.concatenate(x), np.concatenate(y)


@pytest.mark.parametrize(("name", "dtype", "reference", "interval", "bound"), CASES)
def test_interpreted(name, dtype, reference, interval, bound):
    """The body, operation by operation in NumPy."""
    points = _points(name, dtype, interval, 2000)
    got = interpret(function_body(name), *points)
    error, where = worst(got, over(reference, len(points))(*points), *points)
    assert error <= bound, f"{name} {dtype}: {error:.2f} units off: {where}"


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize(("name", "dtype", "reference", "interval", "bound"), CASES)
def test_compiled(name, dtype, reference, interval, bound, target):
    """The body as vector code."""
    points = _points(name, dtype, interval, 20000)
    got = compiled(function_body(name), dtype, len(points), target)(*points)
    error, where = worst(got, over(reference, len(points))(*points), *points)
    assert error <= bound, f"{name} {dtype}: {error:.2f} units off: {where}"


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_erfinv(dtype):
    """Against Newton's method on erf; infinite at the ends, NaN beyond."""
    tail = 1 - np.geomspace(1e-7 if dtype == "f32" else 1e-15, 0.5, 2000)
    x = np.concatenate([between(dtype, -1, 1, 4000), tail.astype(TYPES[dtype]), [0, 1, -1, 2]])
    x = x.astype(TYPES[dtype])
    error, where = worst(interpret(function_body("erfinv"), x), FORMULAS["erfinv"](x), x)
    assert error <= (3.5 if dtype == "f32" else 8.0), f"{error:.2f} units off: {where}"


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_sigmoid(dtype):
    """Relative accuracy in both tails; past the overflow of exp(-x) it is 0, as in PyTorch."""
    limit = 88.0 if dtype == "f32" else 709.0
    x = np.concatenate([between(dtype, -20, 20, 4000), between(dtype, -limit, limit, 4000)])
    want = over(lambda v: 1 / (1 + math.exp(-v)))(x)
    for run in (interpret, lambda body, *a: compiled(body, dtype, 1, HOST)(*a)):
        error, where = worst(run(function_body("sigmoid"), x), want, x)
        assert error <= 2.9, f"{error:.2f} units off: {where}"
        ends = np.array([np.inf, -np.inf, np.nan, -2 * limit, 2 * limit, 0.0], TYPES[dtype])
        got = run(function_body("sigmoid"), ends)
        np.testing.assert_array_equal(got, [1, 0, np.nan, 0, 1, 0.5])


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_digamma(dtype):
    """Away from its roots to a few units; at the poles NaN, at 0 infinite against the sign."""
    x = np.concatenate([between(dtype, -20, 40, 3000), any_bits(dtype, 1000)])
    want = FORMULAS["digamma"](x)
    got = interpret(function_body("digamma"), x)
    finite = np.abs(want) < np.finfo(TYPES[dtype]).max
    relative = np.abs(got[finite] - want[finite]) / np.maximum(1, np.abs(want[finite]))
    assert relative.max() < (1e-7 if dtype == "f32" else 2e-13)
    ends = interpret(function_body("digamma"), np.array([0.0, -0.0, -3.0, np.inf], TYPES[dtype]))
    np.testing.assert_array_equal(ends, [-np.inf, np.inf, np.nan, np.inf])


def test_large_angles_reduce_exactly():
    """sin of the float32 nearest to multiples of pi / 2, up to the largest number there is."""
    x = np.float32([2.0**k * math.pi / 2 for k in range(0, 127, 3)] + [3.4e38, 16367173.0 * 2**72])
    for name in ("sin", "cos", "tan"):
        got = interpret(function_body(name), x)
        error, where = worst(got, over(getattr(math, name))(x), x)
        assert error < 1.7, where


def test_every_expansion_assembles_for_other_machines():
    """Vector code for arm64 exists for every function without a call of the C library."""
    for name, function in mathlib.FUNCTIONS.items():
        if "f32" in function.expand:
            assembly = assemble(module_text(function_body(name), "f32", function.arity, NEON), NEON)
            libm = {f"{other}f" for other in mathlib.FUNCTIONS}
            called = {line.split()[-1] for line in assembly.splitlines() if "\tbl\t" in line}
            assert not called & libm, f"{name} calls {called & libm}"


def test_every_function_has_float32_code():
    """No function falls back to the C library for float32."""
    missing = [n for n, f in mathlib.FUNCTIONS.items() if "f32" not in f.expand and n != "sqrt"]
    assert missing == []


def test_normal_distribution_keeps_small_tails():
    """Where (1 + erf(x / sqrt 2)) / 2 has lost its digits there are some left, and then 0."""
    x = between("f32", -14, 14, 100_000)
    wide = x.astype(np.float64) * -math.sqrt(0.5)
    exact = 0.5 * over(math.erfc)(wide)
    got = compiled(function_body("normal_cdf"), "f32", 1, HOST)(x)
    allowed = np.maximum(4e-7, np.minimum(2e-8 / np.maximum(exact, 1e-300), 2e-2))
    inside = x > -12.9
    assert (np.abs(got[inside] - exact[inside]) <= allowed[inside] * exact[inside]).all()
    assert (got[x < -13] == 0).all()
    ends = compiled(function_body("normal_cdf"), "f32", 1, HOST)(SPECIAL[np.abs(SPECIAL) > 14])
    assert set(ends.tolist()) == {0.0, 1.0}
    assert math.isnan(compiled(function_body("normal_cdf"), "f32", 1, HOST)(np.array([np.nan]))[0])
