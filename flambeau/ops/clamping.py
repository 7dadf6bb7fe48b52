"""Values kept within bounds, cleaned of NaN, moved to the next number or taken apart."""

from __future__ import annotations

import math

from ..kernels import dtypes as dt
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import where
from .arithmetic import is_integral, need_tensor
from .record import composite, pointwise


@pointwise(name="clamp", register=False, accepts="buif")
def clamp_both(input, low, high):
    """input limited to [low, high]."""
    return scalar.minimum(scalar.maximum(input, low), high)


@pointwise(name="clamp", register=False, accepts="buif")
def clamp_low(input, low):
    """input, at least low."""
    return scalar.maximum(input, low)


@pointwise(name="clamp", register=False, accepts="buif")
def clamp_high(input, high):
    """input, at most high."""
    return scalar.minimum(input, high)


def _zero(g):
    return scalar.const(0, g.dtype)


clamp_both.vjp = lambda g, input, low, high: (
    where((input < low) | (input > high), _zero(g), g),
    where((input < low) & (low < high), g, _zero(g)),
    where((input > high) | (high < low), g, _zero(g)),
)
clamp_low.vjp = lambda g, input, low: (
    where(input < low, _zero(g), g),
    where(input < low, g, _zero(g)),
)
clamp_high.vjp = lambda g, input, high: (
    where(input > high, _zero(g), g),
    where(input > high, g, _zero(g)),
)


@composite(aliases=("clip",), inplace=True, out=True)
def clamp(input, min=None, max=None):
    """input limited to [min, max]; either may be missing."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if max is None:
        return clamp_low(input, min)
    if min is None:
        return clamp_high(input, max)
    return clamp_both(input, min, max)


@composite(inplace=True, out=True)
def clamp_min(input, min):
    """input, at least min."""
    need_tensor("clamp_min", input)
    return clamp_low(input, min)


@composite(inplace=True, out=True)
def clamp_max(input, max):
    """input, at most max."""
    need_tensor("clamp_max", input)
    return clamp_high(input, max)


@pointwise(name="nan_to_num", register=False)
def nan_to_num_body(input, *, nan, high, low):
    """Replace NaN and the infinities."""

    def clean(x):
        y = where(scalar.isnan(x), scalar.cast(nan, x.dtype), x)
        y = where(scalar.eq(x, math.inf), scalar.cast(high, x.dtype), y)
        return where(scalar.eq(x, -math.inf), scalar.cast(low, x.dtype), y)

    if dt.is_complex(input.dtype):
        return scalar.make_complex(clean(scalar.real(input)), clean(scalar.imag(input)))
    return clean(input) if dt.is_float(input.dtype) else input


def _nan_to_num_vjp(g, input):
    def kept(g, x):
        return where(scalar.isfinite(x), g, _zero(g))

    if dt.is_complex(input.dtype):
        return scalar.make_complex(
            kept(scalar.real(g), scalar.real(input)), kept(scalar.imag(g), scalar.imag(input))
        )
    return kept(g, input)


nan_to_num_body.vjp = _nan_to_num_vjp
_LARGEST = {
    "f16": 65504.0,
    "bf16": 3.3895313892515355e38,
    "f64": 1.7976931348623157e308,
    "c128": 1.7976931348623157e308,
}


@composite(inplace=True, out=True)
def nan_to_num(input, nan=0.0, posinf=None, neginf=None):
    """NaN, inf and -inf replaced.

    They become nan, posinf and neginf (the type's largest numbers by default).
    """
    if is_integral(input):
        return input.clone()
    largest = _LARGEST.get(input.dtype.short, 3.4028234663852886e38)
    return nan_to_num_body(
        input,
        nan=0.0 if nan is None else nan,
        high=largest if posinf is None else posinf,
        low=-largest if neginf is None else neginf,
    )


@pointwise(accepts="f", inplace=True, tensors=("input", "other"))
def nextafter(input, other):
    """The next floating-point number after input in the direction of other."""
    bits = "i32" if input.dtype == "f32" else "i64"
    steps = scalar.bitcast(input, bits)
    up = scalar.eq(input < other, input > 0)
    moved = where(up, steps + 1, steps - 1)
    tiny = scalar.copysign(scalar.bitcast(scalar.const(1, bits), input.dtype), other)
    result = where(scalar.eq(input, 0), tiny, scalar.bitcast(moved, input.dtype))
    result = where(scalar.eq(input, other), other, result)
    return where(scalar.isnan(input) | scalar.isnan(other), input + other, result)


nextafter.vjp = lambda g, input, other: (where(scalar.eq(input, other), _zero(g), g), None)


@composite(out=True)
def frexp(input):
    """(mantissa, exponent) with input = mantissa * 2**exponent and |mantissa| in [0.5, 1)."""
    from .. import core

    if not input.dtype.is_floating_point:
        raise RuntimeError(f"torch.frexp() only supports floating-point dtypes, got {input.dtype}")
    exponent = frexp_exponent(input).to(core.dtypes[4])
    return return_frexp(frexp_mantissa(input), exponent)


def return_frexp(mantissa, exponent):
    """The named pair frexp returns."""
    from .named_results import named_result

    return named_result("frexp", ("mantissa", "exponent"), mantissa, exponent)


def _frexp_parts(x):
    """Mantissa and exponent (a float) of a finite nonzero x.

    In f64, where every float is normal enough.
    """
    wide = scalar.cast(x, "f64")
    tiny = scalar.absolute(wide) < 2.2250738585072014e-308
    scaled = where(tiny, wide * 2.0**54, wide)
    bits = scalar.bitcast(scaled, "i64")
    raw = (bits >> 52) & 0x7FF
    exponent = scalar.cast(raw - 1022, "f64") - where(
        tiny, scalar.const(54.0, "f64"), scalar.const(0.0, "f64")
    )
    mantissa = scalar.bitcast((bits & ~(0x7FF << 52)) | (1022 << 52), "f64")
    plain = scalar.eq(wide, 0) | ~scalar.isfinite(wide)
    return where(plain, wide, mantissa), where(plain, scalar.const(0.0, "f64"), exponent)


@pointwise(name="frexp", register=False, accepts="f")
def frexp_mantissa(input):
    """The mantissa of frexp."""
    return scalar.cast(_frexp_parts(input)[0], input.dtype)


@pointwise(name="frexp", register=False, accepts="f")
def frexp_exponent(input):
    """The exponent of frexp."""
    return scalar.cast(_frexp_parts(input)[1], input.dtype)


frexp_mantissa.vjp = lambda g, input: (
    g * mathlib.exp2(-scalar.cast(_frexp_parts(input)[1], g.dtype))
)
frexp_exponent.vjp = lambda g: None
