"""Logarithms of float32 and float64: log, log2, log10, log1p, asinh, acosh, atanh.

All stand on one reduction, x = 2**k (1 + m) with 1 + m between 2/3 and 4/3 (found by integer
arithmetic on the bits), and log(1 + m) = m + m**2 R(m) with R a minimax polynomial (our own fits).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .elementary import ROUGH, expansion, log1p, polynomial
from .scalar import Expr, absolute, bitcast, bitwise, cast, const, copysign, eq, fma, sqrt, where


@dataclass(frozen=True)
class _Format:
    """What the reduction needs to know of one floating-point type."""

    integer: str
    mantissa: int  # bits of the fraction
    bias: int
    two_thirds: int  # the bits of 2/3
    tiny: float  # the smallest normal number
    log: list[float]  # R


_F32 = _Format(
    integer="i32",
    mantissa=23,
    bias=127,
    two_thirds=0x3F2AAAAB,
    tiny=2.0**-126,
    log=[
        -1.2489417e-01,
        1.4060305e-01,
        -1.2273463e-01,
        1.3989685e-01,
        -1.667444e-01,
        2.0011435e-01,
        -2.499992e-01,
        3.3333197e-01,
        -0.5,
    ],
)

_F64 = _Format(
    integer="i64",
    mantissa=52,
    bias=1023,
    two_thirds=0x3FE5555555555555,
    tiny=2.0**-1022,
    log=[
        -0.07951119012203185,
        0.08573090228692272,
        -0.04049155317832227,
        0.04137177093255135,
        -0.056978404056577496,
        0.060602148017687534,
        -0.06237076902200562,
        0.06649624569729666,
        -0.07143600639876284,
        0.07693342234641325,
        -0.0833330618510538,
        0.09090869201294464,
        -0.10000000609796764,
        0.11111112058509522,
        -0.12499999992166783,
        0.14285714272821146,
        -0.16666666666716265,
        0.20000000000086715,
        -0.24999999999999892,
        0.3333333333333313,
        -0.5,
    ],
)

# R for results that are rounded to a half type: a relative error of 1.2e-6
_LOG_ROUGH = [0.17017381, -0.19388337, 0.19813302, -0.24844741, 0.33336949, -0.50002132]


def _format(x: Expr) -> _Format:
    return _F32 if x.dtype == "f32" else _F64


def _exponent(x: Expr, subnormal: Expr | None = None) -> tuple[Expr, Expr]:
    """(k, k in the place of an exponent) for a positive x; less the scaling of subnormals."""
    form = _format(x)
    raised = bitcast(x, form.integer) - form.two_thirds
    shifted = bitwise("and", raised, -(1 << form.mantissa))
    if x.dtype == "f32":
        k = bitwise("shr", raised, form.mantissa)
        if subnormal is not None:
            k = k - where(subnormal, const(form.mantissa, "i32"), const(0, "i32"))
        return cast(k, "f32"), shifted
    # few machines convert int64: set k + 2048 into the low bits of 2**52 instead
    number = bitwise("shr", bitcast(raised, "u64") + (1 << 63), form.mantissa)
    k = bitcast(bitwise("or", number, 0x4330000000000000), "f64")
    offset = const(2.0**52 + 2048, "f64")
    if subnormal is not None:
        offset = where(subnormal, const(2.0**52 + 2048 + form.mantissa, "f64"), offset)
    return k - offset, shifted


def split(x: Expr) -> tuple[Expr, Expr]:
    """(k, m) with x = 2**k (1 + m), for positive finite x, subnormal ones included."""
    form = _format(x)
    subnormal = x < form.tiny
    scaled = where(subnormal, x * 2.0**form.mantissa, x)
    k, shifted = _exponent(scaled, subnormal)
    return k, bitcast(bitcast(scaled, form.integer) - shifted, x.dtype) - 1.0


def _tail(m: Expr) -> Expr:
    """log(1 + m) - m."""
    return m * m * polynomial(m, _format(m).log)


def _domain(x: Expr, result: Expr, zero: float = 0.0) -> Expr:
    """-inf at `zero`, NaN below, infinity and NaN as they are."""
    outside = where(eq(x, zero), const(-math.inf, x.dtype), const(math.nan, x.dtype))
    return where(x > zero, where(x < math.inf, result, x), outside)


@expansion("log", "f32", "f64")
def _log(x: Expr) -> Expr:
    k, m = split(x)
    return _domain(x, _combine(k, m))


@expansion("log", ROUGH)
def _log_rough(x: Expr) -> Expr:
    k, m = split(x)
    return _domain(x, fma(k, math.log(2), fma(m * m, polynomial(m, _LOG_ROUGH), m)))


def _combine(k: Expr, m: Expr) -> Expr:
    """k ln2 + log(1 + m)."""
    if m.dtype == "f32":
        return fma(k, math.log(2), fma(m * m, polynomial(m, _F32.log), m))
    high, low = 6.93147180369123816490e-01, 1.90821492927058770002e-10
    return fma(k, high, m + fma(k, low, _tail(m)))


def _to_base(m: Expr, high: float, low: float) -> Expr:
    """log(1 + m) times the factor high + low."""
    return fma(m, high, fma(m, low, _tail(m) * high))


@expansion("log2", "f32")
def _log2_f32(x: Expr) -> Expr:
    k, m = split(x)
    return _domain(x, k + _to_base(m, 1.44269502, 1.9259629e-8))


@expansion("log2", ROUGH)
def _log2_rough(x: Expr) -> Expr:
    k, m = split(x)
    return _domain(x, fma(fma(m * m, polynomial(m, _LOG_ROUGH), m), 1 / math.log(2), k))


@expansion("log2", "f64")
def _log2_f64(x: Expr) -> Expr:
    k, m = split(x)
    return _domain(x, k + _to_base(m, 1.4426950408889634, 2.0355273740931033e-17))


@expansion("log10", "f32")
def _log10_f32(x: Expr) -> Expr:
    k, m = split(x)
    part = _to_base(m, 0.43429449, -1.0103052e-8)
    return _domain(x, fma(k, 3.01025390625e-01, fma(k, 4.6050389811953e-06, part)))


@expansion("log10", "f64")
def _log10_f64(x: Expr) -> Expr:
    k, m = split(x)
    part = _to_base(m, 0.4342944819032518, 1.098319650216765e-17)
    # the high part of log10(2) is fdlibm's, with trailing zeros: k times it is exact
    high, low = 3.01029995663611771306e-01, 3.69423907715893078616e-13
    return _domain(x, fma(k, high, fma(k, low, part)))


@expansion("log1p", "f32", "f64")
def _log1p(x: Expr) -> Expr:
    """1 + m = (1 + x) / 2**k without rounding 1 + x: m = x / 2**k + (1 / 2**k - 1)."""
    form = _format(x)
    k, shifted = _exponent(x + 1.0)
    # four times the scale, which for the largest x would be subnormal
    scale = bitcast(((form.bias + 2) << form.mantissa) - shifted, x.dtype)
    m = fma(x * scale, 0.25, fma(scale, 0.25, -1.0))
    return _domain(x, copysign(_combine(k, m), x), -1.0)


@expansion("asinh", "f32", "f64")
def _asinh(x: Expr) -> Expr:
    """log(t + sqrt(t**2 + 1)) for t = |x|; log(2t) where t**2 hides the 1 and might overflow."""
    t = absolute(x)
    large = t > 2.0**60
    square = where(large, const(0.0, x.dtype), t * t)
    inner = log1p(t + square / (1.0 + sqrt(square + 1.0)))
    return copysign(where(large, inner + math.log(2), inner), x)


@expansion("acosh", "f32", "f64")
def _acosh(x: Expr) -> Expr:
    large = x > 2.0**60
    t = x - 1.0
    root = where(large, const(0.0, x.dtype), sqrt(fma(t, t, t + t)))
    inner = log1p(t + root)
    # below 1 only NaN is right; sqrt gives it down to -1, this the rest
    result = where(large, inner + math.log(2), inner)
    return where(x < 1.0, const(math.nan, x.dtype), result)


@expansion("atanh", "f32", "f64")
def _atanh(x: Expr) -> Expr:
    t = absolute(x)
    return copysign(0.5 * log1p(2.0 * t / (1.0 - t)), x)
