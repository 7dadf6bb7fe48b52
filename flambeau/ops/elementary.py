"""Exponentials, logarithms, angles and rounding, element by element."""

from __future__ import annotations

import math

from ..kernels import dtypes as dt
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import where
from .promotion import Promote
from .record import alias, composite, pointwise


def _elementary(name, function, doc, aliases=(), accepts="buifc", vjp=None, namespaces=("",)):
    def body(input):
        return getattr(mathlib, name)(input) if function is None else function(input)

    body.__doc__ = doc
    op = pointwise(
        name=name,
        aliases=aliases,
        promote=Promote.FLOAT,
        inplace=True,
        accepts=accepts,
        namespaces=namespaces,
    )(body)
    if vjp is not None:
        op.vjp = vjp
    return op


exp = _elementary("exp", None, "e to the input.")
exp2 = _elementary("exp2", None, "2 to the input.", namespaces=("", "special"))
expm1 = _elementary("expm1", None, "exp(input) - 1, exact near 0.", namespaces=("", "special"))
log = _elementary("log", None, "Natural logarithm.")
log2 = _elementary("log2", None, "Logarithm to base 2.")
log10 = _elementary("log10", None, "Logarithm to base 10.")
log1p = _elementary("log1p", None, "log(1 + input), exact near 0.", namespaces=("", "special"))
sqrt = _elementary(
    "sqrt", scalar.sqrt, "Square root.", vjp=lambda g, out: g / (2 * scalar.conj(out))
)
rsqrt = _elementary(
    "rsqrt",
    lambda x: 1 / scalar.sqrt(x),
    "1 / sqrt(input).",
    vjp=lambda g, out: -0.5 * g * scalar.conj(out * out * out),
)
sin = _elementary("sin", None, "Sine of an angle in radians.")
cos = _elementary("cos", None, "Cosine of an angle in radians.")
tan = _elementary("tan", None, "Tangent of an angle in radians.")
asin = _elementary("asin", None, "Inverse sine, in radians.", ("arcsin",))
acos = _elementary("acos", None, "Inverse cosine, in radians.", ("arccos",))
atan = _elementary("atan", None, "Inverse tangent, in radians.", ("arctan",))
sinh = _elementary("sinh", None, "Hyperbolic sine.")
cosh = _elementary("cosh", None, "Hyperbolic cosine.")
tanh = _elementary(
    "tanh",
    None,
    "Hyperbolic tangent, in (-1, 1).",
    vjp=lambda g, out: g * scalar.conj(1 - out * out),
    namespaces=("", "nn.functional"),
)
asinh = _elementary("asinh", None, "Inverse hyperbolic sine.", ("arcsinh",))
acosh = _elementary("acosh", None, "Inverse hyperbolic cosine.", ("arccosh",))
atanh = _elementary("atanh", None, "Inverse hyperbolic tangent.", ("arctanh",))


def sigmoid_body(x):
    return mathlib.sigmoid(x)


sigmoid = _elementary(
    "sigmoid",
    sigmoid_body,
    "Logistic function 1 / (1 + exp(-input)), in (0, 1).",
    vjp=lambda g, out: g * scalar.conj(out * (1 - out)),
    namespaces=("", "nn.functional", "special"),
)
alias("expit", sigmoid, namespaces=("special",))


@pointwise(
    inplace=True,
    promote=Promote.FLOAT,
    aliases=("arctan2",),
    accepts="buif",
    tensors=("input", "other"),
)
def atan2(input, other):
    """The angle of (other, input), in radians, in (-pi, pi]."""
    return mathlib.atan2(input, other)


@pointwise(inplace=True, accepts="f")
def hypot(input, other):
    """sqrt(input**2 + other**2) without overflow."""
    return mathlib.hypot(input, other)


@pointwise(inplace=True, promote=Promote.FLOAT, accepts="buif")
def copysign(input, other):
    """|input| with the sign of other."""
    return scalar.copysign(input, other)


copysign.vjp = lambda g, input, out: (
    where(
        scalar.eq(input, 0),
        scalar.const(0, g.dtype),
        g * where(scalar.eq(input, out), scalar.const(1, g.dtype), scalar.const(-1, g.dtype)),
    ),
    None,
)


@pointwise(inplace=True, promote=Promote.FLOAT, accepts="buif")
def deg2rad(input):
    """Degrees to radians."""
    return input * (math.pi / 180)


@pointwise(inplace=True, promote=Promote.FLOAT, accepts="buif")
def rad2deg(input):
    """Radians to degrees."""
    return input * (180 / math.pi)


@pointwise(inplace=True, accepts="buif")
def ceil(input):
    """The smallest integer not below input."""
    return scalar.ceil(input)


@pointwise(inplace=True, accepts="buif")
def floor(input):
    """The largest integer not above input."""
    return scalar.floor(input)


@pointwise(inplace=True, aliases=("fix",), accepts="buif")
def trunc(input):
    """input without its fraction."""
    return scalar.trunc(input)


@pointwise(name="round", register=False, accepts="buif")
def rint(input):
    """The nearest integer, ties to even."""
    return scalar.rint(input)


@pointwise(name="round", register=False, accepts="f")
def round_scaled(input, *, scale):
    """rint(input * scale) / scale."""
    return scalar.rint(input * scale) / scale


@pointwise(name="round", register=False, accepts="f")
def round_tens(input, *, scale):
    """rint(input / scale) * scale."""
    return scalar.rint(input / scale) * scale


@composite(inplace=True, out=True)
def round(input, *, decimals=0):
    """The nearest number with that many decimals, ties to even."""
    if decimals == 0 or not input.dtype.is_floating_point:
        return rint(input)
    if decimals > 0:
        return round_scaled(input, scale=10.0**decimals)
    return round_tens(input, scale=10.0**-decimals)


@pointwise(inplace=True, accepts="f")
def frac(input):
    """input - trunc(input)."""
    return input - scalar.trunc(input)


@pointwise(promote=Promote.FLOAT_REAL, namespaces=("",))
def angle(input):
    """The argument of a complex number; 0 or pi for a real one."""
    if dt.is_complex(input.dtype):
        return mathlib.atan2(scalar.imag(input), scalar.real(input))
    zero = scalar.const(0, input.dtype)
    return where(
        scalar.isnan(input), input, where(input < 0, scalar.const(math.pi, input.dtype), zero)
    )


def _angle_vjp(g, input):
    if not dt.is_complex(input.dtype):
        return None
    square_norm = scalar.real(input) * scalar.real(input) + scalar.imag(input) * scalar.imag(input)
    zero = scalar.eq(square_norm, 0)
    scale = where(zero, scalar.const(0, g.dtype), g / square_norm)
    return scalar.make_complex(-scalar.imag(input) * scale, scalar.real(input) * scale)


angle.vjp = _angle_vjp
