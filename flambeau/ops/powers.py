"""Powers, roots and scaling by powers of two."""

from __future__ import annotations

from ..kernels import dtypes as dt
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import where
from .arithmetic import is_integral, mul, need_tensor, result_dtype, square_of
from .record import composite, function, pointwise


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
                and (isinstance(exponent, int) or not is_integral(input))
            ):
                return quick(input)
            if exponent == 0.5 and isinstance(exponent, float) and not is_integral(input):
                return root_of(input)
            if exponent == -1 and not is_integral(input):
                return inverse_of(input)
        if isinstance(exponent, int) and exponent < 0 and is_integral(input):
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
