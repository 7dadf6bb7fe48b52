"""Sums, products, quotients and remainders, signs."""

from __future__ import annotations

from ..kernels import dtypes as dt
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import where
from .promotion import Promote
from .record import METHODS, NAMESPACES, composite, function, pointwise


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


def is_integral(x) -> bool:
    return (
        not x.dtype.is_floating_point and not x.dtype.is_complex
        if hasattr(x, "dtype")
        else isinstance(x, int)
    )


def _check_zero(op, input, other, name):
    """Integer division by zero is an error, not a number."""
    if is_integral(input) and is_integral(other):
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


@composite(shortcut="real")
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


@pointwise(name="conj", register=False)
def conj_values(input):
    """Complex conjugate."""
    return scalar.conj(input)
