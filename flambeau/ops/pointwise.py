"""Arithmetic and elementary functions, element by element."""

from __future__ import annotations

import math

from ..kernels import dtypes as dt
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import where
from .promotion import Promote
from .record import METHODS, NAMESPACES, alias, composite, function, pointwise

# ---- arithmetic ----------------------------------------------------------------------------------


@pointwise(inplace=True)
def add(input, other, *, alpha=1):
    """input + alpha * other."""
    return input + other * scalar.cast(alpha, other.dtype)


@pointwise(inplace=True, aliases=("subtract",), accepts="uifc")
def sub(input, other, *, alpha=1):
    """input - alpha * other."""
    return input - other * scalar.cast(alpha, other.dtype)


@pointwise(name="sub", register=False, accepts="uifc")
def sub_any(input, other):
    """input - other where either may be a number."""
    return input - other


def need_tensor(op, value, name="input", position=1):
    """Raise TypeError unless the value is a tensor."""
    if not hasattr(value, "dtype"):
        raise TypeError(
            f"{op}(): argument '{name}' (position {position}) must be Tensor, not "
            f"{type(value).__name__}: "
            "wrap it in torch.tensor(...)"
        )


@composite
def rsub(input, other, *, alpha=1):
    """other - alpha * input."""
    need_tensor("rsub", input)
    if not hasattr(other, "dtype"):
        from .creation import scalar_tensor

        other = scalar_tensor(other, dtype=result_dtype(input, other))
    return sub(other, input, alpha=alpha)


def result_dtype(input, other):
    """The common dtype of a tensor and a number or tensor."""
    from .type_info import result_type

    return result_type(input, other)


@pointwise(inplace=True, aliases=("multiply",))
def mul(input, other):
    """input * other."""
    return input * other


@pointwise(name="div", register=False, promote=Promote.FLOAT)
def true_div(input, other):
    """input / other, in floating point."""
    return input / other


# The result itself is not read: programs change it in place.
true_div.vjp = lambda g, input, other: (
    g / scalar.conj(other),
    -g * scalar.conj((input / other) / other),
)


@pointwise(name="div", register=False, accepts="buif")
def trunc_div(input, other):
    """input / other rounded towards zero."""
    return scalar.trunc(input / other)


@pointwise(name="floor_divide", register=False, accepts="buif")
def floor_div(input, other):
    """input / other rounded down."""
    if dt.is_float(input.dtype):
        return _floor_div_float(input, other)
    quotient = input / other
    if dt.kind(input.dtype) != "i":
        return quotient
    remainder = input - quotient * other
    off = scalar.ne(remainder, 0) & scalar.ne(remainder < 0, other < 0)
    return quotient - scalar.cast(off, input.dtype)


def _floor_div_float(a, b):
    """As Python divides.

    The remainder's sign is the divisor's, so the quotient does not jump by one.
    """
    mod = mathlib.fmod(a, b)
    quotient = (a - mod) / b
    quotient = where(scalar.ne(mod, 0) & scalar.ne(b < 0, mod < 0), quotient - 1, quotient)
    floored = scalar.floor(quotient)
    floored = where(quotient - floored > 0.5, floored + 1, floored)
    floored = where(
        scalar.eq(quotient, 0), scalar.copysign(scalar.const(0, a.dtype), a / b), floored
    )
    return where(scalar.eq(b, 0), a / b, floored)


@composite(aliases=("divide", "true_divide"), inplace=True, out=True)
def div(input, other, *, rounding_mode=None):
    """input / other; rounding_mode None, 'trunc' or 'floor'."""
    if rounding_mode is None:
        return true_div(input, other)
    if rounding_mode == "trunc":
        return _check_zero(trunc_div, input, other, "div")
    if rounding_mode == "floor":
        return floor_divide(input, other)
    raise RuntimeError(
        "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
        f"'{rounding_mode}'"
    )


def _integral(x) -> bool:
    return (
        not x.dtype.is_floating_point and not x.dtype.is_complex
        if hasattr(x, "dtype")
        else isinstance(x, int)
    )


def _check_zero(op, input, other, name):
    """Integer division by zero is an error, not a number."""
    if _integral(input) and _integral(other):
        zero = bool((other == 0).any()) if hasattr(other, "dtype") else other == 0
        if zero and getattr(input, "numel", lambda: 1)() and getattr(other, "numel", lambda: 1)():
            raise RuntimeError(
                f"{name}: ZeroDivisionError: an integer divisor is zero; convert to float for inf "
                "and nan"
            )
    return op(input, other)


@composite(inplace=True, out=True)
def floor_divide(input, other):
    """input / other rounded down."""
    return _check_zero(floor_div, input, other, "floor_divide")


@pointwise(name="remainder", register=False, accepts="buif")
def python_mod(input, other):
    """Remainder with the sign of other."""
    if dt.is_float(input.dtype):
        mod = mathlib.fmod(input, other)
        return where(scalar.ne(mod, 0) & scalar.ne(mod < 0, other < 0), mod + other, mod)
    mod = scalar.rem(input, other)
    if dt.kind(input.dtype) != "i":
        return mod
    return where(scalar.ne(mod, 0) & scalar.ne(mod < 0, other < 0), mod + other, mod)


def _remainder_vjp(g, input, other):
    quotient = scalar.floor(input / other) if dt.is_float(g.dtype) else input / other
    return g, -g * quotient


python_mod.vjp = _remainder_vjp


@composite(inplace=True, out=True)
def remainder(input, other):
    """input - other * floor(input / other): the sign of other, as Python's %."""
    return _check_zero(python_mod, input, other, "remainder")


@pointwise(name="fmod", register=False, accepts="buif")
def c_mod(input, other):
    """Remainder with the sign of input."""
    return scalar.rem(input, other)


c_mod.vjp = lambda g, input, other: (g, -g * scalar.trunc(input / other))


@composite(inplace=True, out=True)
def fmod(input, other):
    """input - other * trunc(input / other): the sign of input, as C's fmod."""
    need_tensor("fmod", input)
    return _check_zero(c_mod, input, other, "fmod")


@pointwise(inplace=True, aliases=("negative",), accepts="uifc")
def neg(input):
    """-input."""
    return -input


@composite
def positive(input):
    """input itself."""
    if input.dtype.code == 0:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@pointwise(register=False)
def copy(input):
    """The elements themselves: copies and conversions."""
    return input


@pointwise(inplace=True, aliases=("absolute",), promote=Promote.REAL)
def abs(input):
    """|input|; the modulus of complex numbers."""
    if input.dtype == "bool":
        return input
    return scalar.absolute(input)


def _abs_vjp(g, input):
    if dt.is_complex(input.dtype):
        size = scalar.absolute(input)
        return where(
            scalar.eq(size, 0),
            scalar.const(0, input.dtype),
            scalar.cast(g / size, input.dtype) * input,
        )
    return g * _sign(input)


abs.vjp = _abs_vjp


def _real_abs_inplace(written):
    def inplace(self):
        if self.dtype.is_complex:
            raise RuntimeError(
                f"abs_: In-place abs is not supported for complex tensors, got {self.dtype}: use "
                "x.abs()"
            )
        return written(self)

    inplace.__doc__ = written.__doc__
    return inplace


_abs_inplace = _real_abs_inplace(METHODS["abs_"])
for _public in ("abs_", "absolute_"):
    METHODS[_public] = NAMESPACES[""][_public] = function(_public, method=True)(_abs_inplace)


def _sign(x):
    one, zero = scalar.const(1, x.dtype), scalar.const(0, x.dtype)
    positive_ = where(x > 0, one, zero)
    return (
        positive_
        if dt.kind(x.dtype) == "u"
        else where(x < 0, -one, where(scalar.isnan(x), zero, positive_))
    )


@pointwise(inplace=True, accepts="buif")
def sign(input):
    """-1, 0 or 1."""
    return input if input.dtype == "bool" else _sign(input)


@pointwise(inplace=True)
def sgn(input):
    """The sign; input / |input| for complex numbers, 0 at 0."""
    if input.dtype == "bool":
        return input
    if not dt.is_complex(input.dtype):
        return _sign(input)
    norm = scalar.absolute(input)
    return where(
        scalar.eq(norm, 0), scalar.const(0, input.dtype), input / scalar.cast(norm, input.dtype)
    )


def _sgn_vjp(g, input, out):
    if not dt.is_complex(input.dtype):
        return None
    norm = scalar.absolute(input)
    along = scalar.real(scalar.conj(out) * g)
    result = (g - out * scalar.cast(along, input.dtype)) / scalar.cast(norm, input.dtype)
    return where(scalar.eq(norm, 0), scalar.const(0, input.dtype), result)


sgn.vjp = _sgn_vjp


@pointwise(name="pow", register=False)
def square_of(input):
    """input * input."""
    return input * input


@composite(inplace=True, out=True)
def square(input):
    """input * input."""
    return square_of(input if input.dtype.code else input.long())


@pointwise(inplace=True, promote=Promote.FLOAT)
def reciprocal(input):
    """1 / input."""
    return 1 / input


reciprocal.vjp = lambda g, input, out: -g * scalar.conj(out * out)


# ---- elementary functions ------------------------------------------------------------------------


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


def _sigmoid(x):
    return mathlib.sigmoid(x)


sigmoid = _elementary(
    "sigmoid",
    _sigmoid,
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


# ---- powers --------------------------------------------------------------------------------------


@pointwise(name="pow", register=False)
def power(input, other):
    """input ** other."""
    if dt.kind(input.dtype) in "bui":
        return _integer_power(input, other)
    return mathlib.pow(input, other)


def _power_vjp(g, input, other, out):
    one_less = other - 1
    zero = scalar.const(0, g.dtype)
    base = where(scalar.eq(other, 0), zero, g * scalar.conj(other * mathlib.pow(input, one_less)))
    at_zero = scalar.eq(input, 0) & (
        (scalar.real(other) >= 0) if dt.is_complex(other.dtype) else (other >= 0)
    )
    exponent = where(at_zero, zero, g * scalar.conj(out * mathlib.log(input)))
    return base, exponent


power.vjp = _power_vjp


def _integer_power(base, exponent):
    """Squaring and multiplying, bit by bit; a negative exponent leaves 1, -1 or 0."""
    one = scalar.const(1, base.dtype)
    zero = scalar.const(0, base.dtype)
    result, factor, e = one, base, exponent
    if base.dtype == "bool":
        return where(exponent, base, scalar.const(True, "bool"))
    bits = dt.INFO[base.dtype].size * 8
    for _ in range(min(bits, 6)):
        odd = scalar.ne(e & 1, 0)
        result = where(odd, result * factor, result)
        factor = factor * factor
        e = e >> 1
    if dt.kind(base.dtype) == "u":
        return result
    sign_ = where(scalar.ne(exponent & 1, 0), base, one)
    negative = where(scalar.eq(base, 1), one, where(scalar.eq(base, -1), sign_, zero))
    return where(exponent < 0, negative, result)


@pointwise(name="pow", register=False)
def cube_of(input):
    """input ** 3."""
    return input * input * input


@pointwise(name="pow", register=False, accepts="fc")
def root_of(input):
    """input ** 0.5."""
    return scalar.sqrt(input)


# Unlike `sqrt` and `reciprocal`, a power leaves its result free to be changed in place.
root_of.vjp = lambda g, input: g / (2 * scalar.conj(scalar.sqrt(input)))


@pointwise(name="pow", register=False, accepts="fc")
def inverse_of(input):
    """input ** -1."""
    return 1 / input


inverse_of.vjp = lambda g, input: -g * scalar.conj((1 / input) / input)

_QUICK_POWERS = {2: square_of, 3: cube_of}


@composite(inplace=True, out=True)
def pow(input, exponent):
    """input ** exponent."""
    if not hasattr(exponent, "dtype"):
        if not isinstance(exponent, complex):
            quick = _QUICK_POWERS.get(exponent)
            if (
                quick is not None
                and input.dtype.code
                and (isinstance(exponent, int) or not _integral(input))
            ):
                return quick(input)
            if exponent == 0.5 and isinstance(exponent, float) and not _integral(input):
                return root_of(input)
            if exponent == -1 and not _integral(input):
                return inverse_of(input)
        if isinstance(exponent, int) and exponent < 0 and _integral(input):
            raise RuntimeError("Integers to negative integer powers are not allowed.")
    elif not hasattr(input, "dtype") and input == 1:
        from .filled import full_like

        return full_like(exponent, 1, dtype=result_dtype(exponent, input))
    return power(input, exponent)


@composite(out=True)
def float_power(input, exponent):
    """input ** exponent in double precision."""
    from .. import core

    if not hasattr(input, "dtype"):
        need_tensor("float_power", exponent, "exponent", 2)

    def wide(x):
        if hasattr(x, "dtype"):
            return x.to(core.dtypes[11] if x.dtype.is_complex else core.dtypes[9])
        return complex(x) if isinstance(x, complex) else float(x)

    if not hasattr(input, "dtype") and not isinstance(input, complex):
        from .creation import scalar_tensor

        input = scalar_tensor(input, dtype=core.dtypes[9])
    if isinstance(input, complex):
        from .creation import scalar_tensor

        input = scalar_tensor(input, dtype=core.dtypes[11])
    return pow(wide(input), wide(exponent))


@function("float_power_", method=True)
def float_power_(self, exponent):
    """In-place float_power, of double precision tensors only."""
    result = float_power(self, exponent)
    if result.dtype != self.dtype:
        raise RuntimeError(
            f"float_power_: the base given to float_power_ has dtype {self.dtype} "
            f"but the operation's result requires dtype {result.dtype}"
        )
    return self.copy_(result)


@composite(out=True, inplace=True)
def ldexp(input, other):
    """input * 2 ** other."""
    need_tensor("ldexp", other, "other", 2)
    return mul(input, pow(2.0, other))


# ---- fused forms ---------------------------------------------------------------------------------


@pointwise(inplace=True, accepts="uifc")
def addcmul(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 * tensor2."""
    return input + scalar.cast(value, input.dtype) * tensor1 * tensor2


@pointwise(inplace=True, accepts="fc")
def addcdiv(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 / tensor2."""
    return input + scalar.cast(value, input.dtype) * tensor1 / tensor2


@pointwise(name="lerp", register=False, accepts="fc")
def lerp_body(input, end, weight):
    """input + weight * (end - input), exact at both ends."""
    near = scalar.absolute(weight) < 0.5
    return where(near, input + weight * (end - input), end - (end - input) * (1 - weight))


lerp_body.vjp = lambda g, input, end, weight: (
    g * (1 - scalar.conj(weight)),
    g * scalar.conj(weight),
    g * scalar.conj(end - input),
)


@composite(inplace=True, out=True)
def lerp(input, end, weight):
    """input + weight * (end - input)."""
    for other, what in ((end, "end"), (weight, "weight")):
        if hasattr(other, "dtype") and other.dtype != input.dtype:
            raise RuntimeError(
                f"lerp: expected dtype {input.dtype} for `{what}` but got dtype {other.dtype}"
            )
    return lerp_body(input, end, weight)


@pointwise(name="xlogy", promote=Promote.FLOAT, register=False, accepts="buif")
def xlogy_body(input, other):
    """input * log(other), 0 where input is 0."""
    zero = scalar.const(0, input.dtype)
    value = where(scalar.eq(input, 0), zero, input * mathlib.log(other))
    return where(scalar.isnan(other), other, value)


xlogy_body.vjp = lambda g, input, other: (
    g * where(scalar.eq(input, 0) & (other <= 0), scalar.const(0, g.dtype), mathlib.log(other)),
    g * input / other,
)


@composite(inplace=True, out=True, namespaces=("", "special"))
def xlogy(input, other):
    """input * log(other), 0 where input is 0."""
    return xlogy_body(input, other)


@pointwise(promote=Promote.FLOAT, accepts="fc", tensors=("input", "other"))
def logaddexp(input, other):
    """log(exp(input) + exp(other)) without overflow."""
    if dt.is_complex(input.dtype):
        return _logaddexp_complex(input, other)
    high, low = scalar.maximum(input, other), scalar.minimum(input, other)
    return where(
        scalar.eq(high, low) & scalar.isinf(high),
        high,
        high + mathlib.log1p(mathlib.exp(low - high)),
    )


def _logaddexp_complex(a, b):
    """Relative to the one with the larger real part."""
    first = scalar.real(a) >= scalar.real(b)
    high, low = where(first, a, b), where(first, b, a)
    value = high + mathlib.log1p(mathlib.exp(low - high))
    top = scalar.real(high)
    both = scalar.isinf(top) & scalar.eq(top, scalar.real(low))
    return where(
        both, where(top < 0, low, mathlib.log(mathlib.exp(low) + mathlib.exp(high))), value
    )


logaddexp.vjp = lambda g, input, other: (
    g * scalar.conj(_sigmoid(input - other)),
    g * scalar.conj(_sigmoid(other - input)),
)


@pointwise(promote=Promote.FLOAT, accepts="f", tensors=("input", "other"))
def logaddexp2(input, other):
    """log2(2**input + 2**other) without overflow."""
    high, low = scalar.maximum(input, other), scalar.minimum(input, other)
    value = high + mathlib.log1p(mathlib.exp2(low - high)) * (1 / math.log(2))
    return where(scalar.eq(high, low) & scalar.isinf(high), high, value)


logaddexp2.vjp = lambda g, input, other: (
    g * _sigmoid((input - other) * math.log(2)),
    g * _sigmoid((other - input) * math.log(2)),
)


# ---- complex parts -------------------------------------------------------------------------------


@pointwise(name="conj", register=False)
def conj_values(input):
    """Complex conjugate."""
    return scalar.conj(input)


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


# ---- clamping and cleaning -----------------------------------------------------------------------


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
    if _integral(input):
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
