"""Comparisons, logical and bitwise ops."""

from __future__ import annotations

from ..kernels import dtypes as dt
from ..kernels import scalar
from ..kernels.scalar import where
from .promotion import Promote
from .record import composite, pointwise


def _comparison(name, aliases, predicate, doc, accepts="buif"):
    def body(input, other):
        return scalar.compare(predicate, input, other)

    body.__doc__ = doc
    return pointwise(
        name=name, aliases=aliases, promote=Promote.BOOL, accepts=accepts, inplace=True
    )(body)


eq = _comparison("eq", (), "eq", "input == other.", "buifc")
ne = _comparison("ne", ("not_equal",), "ne", "input != other.", "buifc")
lt = _comparison("lt", ("less",), "lt", "input < other.")
le = _comparison("le", ("less_equal",), "le", "input <= other.")
gt = _comparison("gt", ("greater",), "gt", "input > other.")
ge = _comparison("ge", ("greater_equal",), "ge", "input >= other.")


def _test(name, test, doc, accepts="buifc"):
    def body(input):
        return test(input)

    body.__doc__ = doc
    return pointwise(name=name, promote=Promote.BOOL, accepts=accepts)(body)


isnan = _test("isnan", scalar.isnan, "Is the element NaN?")
isinf = _test("isinf", scalar.isinf, "Is the element infinite?")
isfinite = _test("isfinite", scalar.isfinite, "Is the element neither infinite nor NaN?")


def _is_infinite(sign):
    def test(x):
        if not dt.is_float(x.dtype):
            return scalar.const(False, "bool")
        return scalar.eq(x, sign * float("inf"))

    return test


isposinf = _test("isposinf", _is_infinite(1), "Is the element +inf?", "buif")
isneginf = _test("isneginf", _is_infinite(-1), "Is the element -inf?", "buif")
isreal = _test(
    "isreal",
    lambda x: (
        scalar.eq(scalar.imag(x), 0) if dt.is_complex(x.dtype) else scalar.const(True, "bool")
    ),
    "Is the imaginary part 0?",
)
signbit = _test(
    "signbit",
    lambda x: (
        scalar.copysign(scalar.const(1, x.dtype), x) < 0
        if dt.is_float(x.dtype)
        else (x < 0 if dt.kind(x.dtype) == "i" else scalar.const(False, "bool"))
    ),
    "Is the sign bit set (-0.0 included)?",
    "buif",
)


def _extreme(name, function, wins, doc):
    def body(input, other):
        return function(input, other)

    body.__doc__ = doc
    op = pointwise(name=name, accepts="buif", tensors=("input", "other"))(body)

    def vjp(g, input, other):
        # ties share the cotangent
        half = where(scalar.eq(input, other), g * 0.5, scalar.const(0, g.dtype))
        first = wins(input, other)
        return where(first, g, half), where(wins(other, input), g, half)

    op.vjp = vjp
    return op


maximum = _extreme(
    "maximum", scalar.maximum, lambda a, b: a > b, "The larger of both; NaN if either is."
)
minimum = _extreme(
    "minimum", scalar.minimum, lambda a, b: a < b, "The smaller of both; NaN if either is."
)


def _skip_nan(choose):
    def function(a, b):
        if not dt.is_float(a.dtype):
            return choose(a, b)
        return where(scalar.isnan(a), b, where(scalar.isnan(b), a, choose(a, b)))

    return function


@pointwise(accepts="buif", tensors=("input", "other"))
def fmax(input, other):
    """The larger of both; a NaN loses to a number."""
    return _skip_nan(scalar.maximum)(input, other)


@pointwise(accepts="buif", tensors=("input", "other"))
def fmin(input, other):
    """The smaller of both; a NaN loses to a number."""
    return _skip_nan(scalar.minimum)(input, other)


def _fmax_vjp(first):
    def vjp(g, input, other):
        zero = scalar.const(0, g.dtype)
        take = first(input, other) | scalar.isnan(other)
        return where(take, g, zero), where(take, zero, g)

    return vjp


fmax.vjp = _fmax_vjp(lambda a, b: a >= b)
fmin.vjp = _fmax_vjp(lambda a, b: a <= b)


# ---- logical -------------------------------------------------------------------------------------


def _truth(x):
    return scalar.cast(x, "bool")


@pointwise(promote=Promote.BOOL, inplace=True)
def logical_not(input):
    """Is the element zero?"""
    return ~_truth(input)


@pointwise(promote=Promote.BOOL, inplace=True, tensors=("input", "other"))
def logical_and(input, other):
    """Are both nonzero?"""
    return _truth(input) & _truth(other)


@pointwise(promote=Promote.BOOL, inplace=True, tensors=("input", "other"))
def logical_or(input, other):
    """Is one nonzero?"""
    return _truth(input) | _truth(other)


@pointwise(promote=Promote.BOOL, inplace=True, tensors=("input", "other"))
def logical_xor(input, other):
    """Is just one nonzero?"""
    return _truth(input) ^ _truth(other)


# ---- bitwise -------------------------------------------------------------------------------------


@pointwise(accepts="bui", inplace=True)
def bitwise_not(input):
    """~input; logical not on bool."""
    return ~input


@pointwise(accepts="bui", inplace=True, tensors=())
def bitwise_and(input, other):
    """input & other."""
    return input & other


@pointwise(accepts="bui", inplace=True, tensors=())
def bitwise_or(input, other):
    """input | other."""
    return input | other


@pointwise(accepts="bui", inplace=True, tensors=())
def bitwise_xor(input, other):
    """input ^ other."""
    return input ^ other


@pointwise(accepts="ui", inplace=True, tensors=())
def bitwise_left_shift(input, other):
    """input << other; everything is shifted out when other is negative or too large."""
    return input << other


@pointwise(accepts="ui", inplace=True, tensors=())
def bitwise_right_shift(input, other):
    """input >> other, keeping the sign."""
    return input >> other


@composite(inplace=True, out=True)
def gcd(input, other):
    """Greatest common divisor, not negative."""
    import numpy

    from .creation import from_numpy
    from .type_info import result_type

    kind = result_type(input, other)
    if kind.is_floating_point or kind.is_complex:
        raise RuntimeError(f"\"gcd_cpu\" not implemented for '{kind.name}': it takes integers")
    if kind.code == 0:
        return logical_or(input, other)
    found = numpy.asarray(numpy.gcd(input.to(kind).numpy(), other.to(kind).numpy()))
    return from_numpy(numpy.asarray(found, order="C")).to(kind)


@composite(inplace=True, out=True)
def lcm(input, other):
    """Least common multiple, not negative."""
    from .arithmetic import abs, trunc_div

    divisor = gcd(input, other)
    safe = divisor + (divisor == 0).to(divisor.dtype)
    return abs(trunc_div(input, safe) * other)


@pointwise(register=False, promote=Promote.BOOL)
def close(input, other, *, rtol, atol, equal_nan):
    """|input - other| <= atol + rtol * |other|, or equal."""
    same = scalar.eq(input, other)
    if dt.kind(input.dtype) in "fc":
        both_nan = scalar.isnan(input) & scalar.isnan(other) & scalar.ne(equal_nan, 0)
        limit = scalar.absolute(other) * rtol + atol
        near = scalar.absolute(input - other) <= limit
        return same | both_nan | (near & scalar.isfinite(input) & scalar.isfinite(other))
    wide_a, wide_b = scalar.cast(input, "f64"), scalar.cast(other, "f64")
    limit = scalar.absolute(wide_b) * scalar.cast(rtol, "f64") + scalar.cast(atol, "f64")
    return same | (scalar.absolute(wide_a - wide_b) <= limit)


@composite
def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Are elements equal within atol + rtol * |other|?"""
    if input.dtype != other.dtype:
        raise RuntimeError(
            f"isclose: {input.dtype} did not match {other.dtype}: convert one of them first"
        )
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"isclose: rtol and atol must not be negative, got {rtol} and {atol}")
    if not (input.dtype.is_floating_point or input.dtype.is_complex):
        from .. import core

        wide = core.dtypes[9]
        return (input == other) | close(
            input.to(wide), other.to(wide), rtol=rtol, atol=atol, equal_nan=0.0
        )
    return close(input, other, rtol=rtol, atol=atol, equal_nan=float(equal_nan))


@composite
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Are all elements equal within atol + rtol * |other|? A Python bool."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@composite(shortcut="equal", replay=False)
def equal(input, other):
    """Same shape and same elements? A Python bool."""
    if input.shape != other.shape:
        return False
    return bool(eq(input, other).all())


@pointwise(accepts="buif", inplace=True, tensors=("input", "values"))
def heaviside(input, values):
    """0 for negative, 1 for positive, `values` at 0."""
    zero, one = scalar.const(0, input.dtype), scalar.const(1, input.dtype)
    if input.dtype == "bool":
        return input | values
    return where(
        scalar.eq(input, 0), values, where(input < 0, zero, where(scalar.isnan(input), zero, one))
    )
