"""The NumPy interpreter: each operation against what NumPy or Python computes directly."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.kernels import dtypes as dt
from flambeau.kernels import scalar
from flambeau.kernels.oracle import NUMPY, evaluate
from flambeau.kernels.scalar import reduce


@pytest.fixture(autouse=True)
def _tracing():
    with scalar.tracing():
        yield


def run(body, *arrays, axes=()):
    """One body on arrays."""
    names = {np.dtype(t): n for n, t in NUMPY.items()}
    arrays = [np.asarray(a) for a in arrays]
    handles = [scalar.input(k, names[a.dtype]) for k, a in enumerate(arrays)]
    return evaluate([body(*handles)], arrays, axes)[0]


REALS = np.array([-3.5, -1.0, -0.0, 0.0, 0.5, 2.5, np.inf, -np.inf, np.nan])


def test_arithmetic_of_floats():
    a, b = (m.ravel() for m in np.meshgrid(REALS, REALS))
    with np.errstate(all="ignore"):
        for op in ("add", "sub", "mul", "div"):
            want = getattr(np, {"div": "divide", "sub": "subtract", "mul": "multiply"}.get(op, op))
            np.testing.assert_array_equal(run(getattr(scalar, op), a, b), want(a, b))
        np.testing.assert_array_equal(run(scalar.rem, a, b), np.fmod(a, b))
    np.testing.assert_array_equal(run(scalar.copysign, a, b), np.copysign(a, b))


@pytest.mark.parametrize("name", ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"])
def test_integers_wrap_and_never_trap(name):
    low, high = dt.integer_limits(name)
    values = sorted({low, low + 1, max(low, -7), max(low, -1), 0, 1, 2, 7, high - 1, high})
    pairs = [(a, b) for a in values for b in values]
    a, b = (np.array([p[k] for p in pairs], NUMPY[name]) for k in (0, 1))

    def wrap(value):
        return (value - low) % (high - low + 1) + low

    def quotient(x, y):
        return 0 if y == 0 else (abs(x) // abs(y)) * (1 if (x < 0) == (y < 0) else -1)

    def remainder(x, y):
        return 0 if y == 0 else x - quotient(x, y) * y

    rules = {
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "div": quotient,
        "rem": remainder,
    }
    for op, rule in rules.items():
        want = [wrap(rule(x, y)) for x, y in pairs]
        assert run(getattr(scalar, op), a, b).tolist() == want, op
    assert run(scalar.neg, a).tolist() == [wrap(-x) for x, _ in pairs]
    assert run(lambda x: ~x, a).tolist() == [wrap(~x) for x, _ in pairs]


def test_shifts():
    a = np.array([-8, -1, 1, 127, 5], np.int8)
    np.testing.assert_array_equal(run(lambda x: x << 2, a), np.int8([-32, -4, 4, -4, 20]))
    np.testing.assert_array_equal(run(lambda x: x >> 1, a), np.int8([-4, -1, 0, 63, 2]))
    by = np.full(5, 9, np.int8)
    np.testing.assert_array_equal(run(lambda x, n: x << n, a, by), np.int8([0] * 5))
    np.testing.assert_array_equal(run(lambda x, n: x >> n, a, by), np.int8([-1, -1, 0, 0, 0]))
    np.testing.assert_array_equal(run(lambda x: x >> 1, np.uint8([255])), np.uint8([127]))


@pytest.mark.parametrize("target", ["i8", "u8", "i16", "i32", "u32", "i64", "u64"])
@pytest.mark.parametrize("source", ["f32", "f64"])
def test_float_to_integer_saturates(source, target):
    low, high = dt.integer_limits(target)
    limits = [float(low), float(high), low * 2.0 - 5, high * 2.0 + 5]
    values = np.array([-1.9, -0.5, 0.0, 0.9, 1.5, 100.7, np.inf, -np.inf, np.nan, *limits])
    values = values.astype(NUMPY[source])

    def convert(x):
        if math.isnan(x):
            return 0
        return min(max(low, math.trunc(x) if math.isfinite(x) else (high if x > 0 else low)), high)

    got = run(lambda x: scalar.cast(x, target), values)
    assert got.dtype == NUMPY[target]
    assert got.tolist() == [convert(float(x)) for x in values]


def test_other_casts():
    assert run(lambda x: scalar.cast(x, "u8"), np.int32([-1, 300])).tolist() == [255, 44]
    assert run(lambda x: scalar.cast(x, "bool"), np.float32([0, -0.0, 0.2, np.nan])).tolist() == [
        False,
        False,
        True,
        True,
    ]
    assert run(lambda x: scalar.cast(x, "f16"), np.float32([1e6, 0.1])).tolist() == [
        np.inf,
        np.float16(0.1),
    ]
    assert run(lambda x: scalar.cast(x, "c64"), np.float32([2])).tolist() == [2 + 0j]
    assert run(lambda x: scalar.bitcast(x, "i32"), np.float32([1.0])).tolist() == [0x3F800000]


def test_bfloat_has_no_array():
    with pytest.raises(TypeError, match="bfloat16"):
        run(lambda x: scalar.cast(x, "bf16"), np.float32([1]))


def test_inputs_are_checked():
    with pytest.raises(TypeError, match="input 0 is float64, the graph expects f32"):
        evaluate([scalar.neg(scalar.input(0, "f32"))], [np.ones(2)])


finite = st.floats(-1e100, 1e100, allow_subnormal=False)


@settings(max_examples=200, deadline=None)
@given(finite, finite, finite)
def test_fma_of_float64_rounds_once(a, b, c):
    with scalar.tracing():
        got = run(scalar.fma, *(np.array([v]) for v in (a, b, c)))[0]
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if a * b != 0 and abs(a * b) <= 1e-280:
        return
    # half a unit, and a hair for ties rounded after the sum of the two small parts
    assert abs(Fraction(float(got)) - exact) <= Fraction(float(np.spacing(abs(got)))) * Fraction(
        51, 100
    )


@settings(max_examples=200, deadline=None)
@given(
    *[
        st.floats(
            width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60
        )
    ]
    * 3
)
def test_fma_of_float32_rounds_once(a, b, c):
    with scalar.tracing():
        got = run(scalar.fma, *(np.array([v], np.float32) for v in (a, b, c)))[0]
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    half = Fraction(float(np.spacing(abs(got)))) / 2
    assert abs(Fraction(float(got)) - exact) <= half * Fraction(1000001, 1000000)


def test_complex_arithmetic():
    z = np.array([1 + 2j, -0.5j, 3.0, -1 - 1j], np.complex64)
    w = np.array([2 - 1j, 1 + 1j, -2j, 0.5], np.complex64)
    np.testing.assert_allclose(
        run(lambda a, b: a * b / (a + 2) - b, z, w), z * w / (z + 2) - w, 1e-6
    )
    np.testing.assert_array_equal(run(scalar.conj, z), z.conj())
    np.testing.assert_array_equal(run(scalar.real, z), z.real)
    np.testing.assert_allclose(run(abs, z), abs(z), 1e-6)
    np.testing.assert_allclose(run(lambda a: scalar.call("exp", a), z), np.exp(z), 1e-6)
    infinite = run(scalar.make_complex, np.float64([np.inf]), np.float64([2]))[0]
    assert infinite == complex(np.inf, 2)  # and not NaN


def test_select_and_compare():
    a, b = np.float32([1, 2, np.nan]), np.float32([2, 2, 2])
    assert run(scalar.maximum, a, b).tolist()[:2] == [2, 2]
    assert math.isnan(run(scalar.maximum, a, b)[2])
    assert run(lambda x, y: x >= y, a, b).tolist() == [False, True, False]
    assert run(scalar.ne, a, b).tolist() == [True, False, True]
    assert run(scalar.isfinite, np.float32([1, np.inf, np.nan])).tolist() == [True, False, False]


def test_rounding():
    x = np.array([-2.5, -1.5, -0.4, 0.5, 1.5, 2.5, 2.6])
    for op in ("floor", "ceil", "trunc", "rint"):
        np.testing.assert_array_equal(run(getattr(scalar, op), x), getattr(np, op)(x))


REDUCTIONS = {
    "add": np.add.reduce,
    "mul": np.multiply.reduce,
    "max": np.maximum.reduce,
    "min": np.minimum.reduce,
}


@pytest.mark.parametrize("axes", [(0,), (1,), (-1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("dtype", ["f32", "f64", "i32", "u8"])
def test_reductions_keep_their_axes(dtype, axes):
    x = np.random.default_rng(0).integers(0, 5, (3, 4, 2)).astype(NUMPY[dtype])
    for name, function in REDUCTIONS.items():
        got = run(getattr(reduce, name), x, axes=axes)
        assert got.dtype == x.dtype
        np.testing.assert_array_equal(got, function(x, axis=axes, keepdims=True, dtype=x.dtype))


def test_positions_of_extremes():
    x = np.float32([[3, 1, 3], [np.nan, 5, np.nan]])
    assert run(reduce.argmax, x, axes=(1,)).tolist() == [[0], [0]]
    assert run(reduce.argmin, x, axes=(1,)).tolist() == [[1], [0]]
    assert run(reduce.argmax, x[:1], axes=(0, 1)).tolist() == [[0]]
    y = np.arange(12).reshape(2, 3, 2)
    assert run(reduce.argmax, y, axes=(0, 2)).tolist() == [[[3], [3], [3]]]


def test_any_and_all():
    x = np.array([[True, False], [True, True]])
    assert run(reduce.any, x, axes=(1,)).tolist() == [[True], [True]]
    assert run(reduce.all, x, axes=(1,)).tolist() == [[False], [True]]


def test_sums_of_float32_are_carried_in_double():
    x = np.full(2**20, 0.1, np.float32)
    assert run(reduce.add, x, axes=(0,))[0] == np.float32(np.float64(np.float32(0.1)) * 2**20)


def test_rows_broadcast():
    x = np.float64([[1, 2, 3], [4, 5, 6]])
    row = np.float64([[10], [20]])
    got = run(lambda a, r: (a - reduce.add(a) / scalar.count("f64")) * r, x, row, axes=(1,))
    np.testing.assert_allclose(got, (x - x.mean(1, keepdims=True)) * row)
    # a sum of a per-row value counts it once an element
    first = evaluate(
        [reduce.add(scalar.input(1, "f64")) + 0 * scalar.input(0, "f64")], [x, row], (1,)
    )
    np.testing.assert_array_equal(first[0], np.repeat(3 * row, 3, 1))


def test_position_and_count():
    x = np.zeros((2, 3), np.float32)
    got = evaluate([scalar.position(), scalar.count("i32")], [x], (0, 1))
    assert got[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert got[1] == 6
    assert evaluate([scalar.position()], [], (0,), count=4)[0].tolist() == [0, 1, 2, 3]


def test_functions_of_half_precision_round_once():
    x = np.float16([0.1, 1.0, 5.0])
    got = run(lambda a: scalar.call("exp", a), x)
    np.testing.assert_array_equal(got, np.exp(x.astype(np.float64)).astype(np.float16))
