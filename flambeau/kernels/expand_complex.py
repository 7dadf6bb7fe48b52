"""The elementary functions of complex numbers, in terms of the real ones.

Branch cuts follow C99 Annex G, signed zeros choosing the side; the inverse functions are W. Kahan's
("Branch cuts for complex elementary functions", 1987).
"""

from __future__ import annotations

import math

from .elementary import (
    asinh,
    atan2,
    cos,
    cosh,
    exp,
    expansion,
    expm1,
    hypot,
    log,
    log1p,
    sin,
    sinh,
)
from .scalar import (
    Expr,
    absolute,
    conj,
    const,
    copysign,
    eq,
    fma,
    imag,
    isinf,
    make_complex,
    real,
    sqrt,
    where,
)


def _times_i(z: Expr) -> Expr:
    return make_complex(-imag(z), real(z))


def _times_minus_i(z: Expr) -> Expr:
    return make_complex(imag(z), -real(z))


def _one_plus(z: Expr) -> Expr:
    # a plain 1 + z would add 0 to the imaginary part and lose its sign
    return make_complex(1.0 + real(z), imag(z))


def _one_minus(z: Expr) -> Expr:
    return make_complex(1.0 - real(z), -imag(z))


# ---- exponentials and logarithms -----------------------------------------------------------------


@expansion("exp", "complex")
def _exp(z: Expr) -> Expr:
    r, y = exp(real(z)), imag(z)
    real_axis = eq(y, 0.0)  # infinity times the sine of 0 would be NaN
    return make_complex(where(real_axis, r, r * cos(y)), where(real_axis, y, r * sin(y)))


expansion("exp2", "complex")(lambda z: exp(_scaled(z, math.log(2))))


expansion("sigmoid", "complex")(lambda z: 1 / (1 + exp(-z)))


@expansion("expm1", "complex")
def _expm1(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    s = sin(y * 0.5)
    return make_complex(expm1(x) * cos(y) - 2.0 * s * s, exp(x) * sin(y))


def _log_modulus(x: Expr, y: Expr) -> Expr:
    """log |x + iy|, by log1p near the unit circle."""
    a, b = absolute(x), absolute(y)
    swap = b > a
    large, small = where(swap, b, a), where(swap, a, b)
    near = (large > 0.5) & (large < 2.0)
    bounded = where(near, large, const(1.0, x.dtype))
    rest = where(near, small, const(0.0, x.dtype))
    close = 0.5 * log1p(fma(bounded - 1.0, bounded + 1.0, rest * rest))
    return where(near, close, log(hypot(x, y)))


@expansion("log", "complex")
def _log(z: Expr) -> Expr:
    return make_complex(_log_modulus(real(z), imag(z)), atan2(imag(z), real(z)))


def _scaled(z: Expr, factor: float) -> Expr:
    return make_complex(real(z) * factor, imag(z) * factor)


expansion("log2", "complex")(lambda z: _scaled(log(z), 1 / math.log(2)))
expansion("log10", "complex")(lambda z: _scaled(log(z), 1 / math.log(10)))


@expansion("log1p", "complex")
def _log1p(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    large = (absolute(x) > 0.5) | (absolute(y) > 0.5)
    bounded = where(large, const(0.0, x.dtype), x)
    rest = where(large, const(0.0, x.dtype), y)
    close = 0.5 * log1p(fma(rest, rest, bounded * (2.0 + bounded)))
    return make_complex(where(large, _log_modulus(1.0 + x, y), close), atan2(y, 1.0 + x))


@expansion("sqrt", "complex")
def _sqrt(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    t = sqrt(0.5 * absolute(x) + 0.5 * hypot(x, y))
    other = where(eq(t, 0.0), const(0.0, x.dtype), 0.5 * (absolute(y) / t))
    other = where(isinf(y), t, other)
    other = where(isinf(x) & ~isinf(y), const(0.0, x.dtype), other)
    right = copysign(const(1.0, x.dtype), x) > 0.0
    return make_complex(where(right, t, other), copysign(where(right, other, t), y))


@expansion("pow", "complex")
def _pow(z: Expr, w: Expr) -> Expr:
    """exp(w log z); 0 ** 0 = 1 and otherwise 0 ** w = 0."""
    zero = eq(z, 0)
    safe = where(zero, const(1, z.dtype), z)
    result = where(zero, const(0, z.dtype), exp(w * log(safe)))
    return where(eq(w, 0), const(1, z.dtype), result)


# ---- trigonometric and hyperbolic functions ------------------------------------------------------


def _product(a: Expr, b: Expr) -> Expr:
    """a b, where a zero a wins over an overflowed b."""
    return where(eq(a, 0.0), a * copysign(const(1.0, b.dtype), b), a * b)


@expansion("sin", "complex")
def _sin(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    return make_complex(_product(sin(x), cosh(y)), cos(x) * sinh(y))


@expansion("cos", "complex")
def _cos(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    return make_complex(cos(x) * cosh(y), -_product(sin(x), sinh(y)))


expansion("sinh", "complex")(lambda z: _times_minus_i(_sin(_times_i(z))))


@expansion("cosh", "complex")
def _cosh(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    return make_complex(cosh(x) * cos(y), _product(sin(y), sinh(x)))


@expansion("tanh", "complex")
def _tanh(z: Expr) -> Expr:
    """(sinh x cosh x + i sin y cos y) / (sinh(x)**2 + cos(y)**2)."""
    x, y = real(z), imag(z)
    large = absolute(x) > 20.0  # there the real part is 1 to the last bit, and squares overflow
    bounded = where(large, const(0.0, x.dtype), x)
    s, c = sinh(bounded), cos(y)
    d = fma(s, s, c * c)
    re = where(large, copysign(const(1.0, x.dtype), x), s * cosh(bounded) / d)
    both = sin(y) * c
    return make_complex(re, where(large, 4.0 * both * exp(-2.0 * absolute(x)), both / d))


expansion("tan", "complex")(lambda z: _times_minus_i(_tanh(_times_i(z))))


@expansion("asin", "complex")
def _asin(z: Expr) -> Expr:
    a, b = sqrt(_one_minus(z)), sqrt(_one_plus(z))
    return make_complex(atan2(real(z), real(a * b)), asinh(imag(conj(a) * b)))


@expansion("acos", "complex")
def _acos(z: Expr) -> Expr:
    a, b = sqrt(_one_minus(z)), sqrt(_one_plus(z))
    return make_complex(2.0 * atan2(real(a), real(b)), asinh(imag(conj(b) * a)))


@expansion("acosh", "complex")
def _acosh(z: Expr) -> Expr:
    a, b = sqrt(make_complex(real(z) - 1.0, imag(z))), sqrt(_one_plus(z))
    return make_complex(asinh(real(conj(a) * b)), 2.0 * atan2(imag(a), real(b)))


expansion("asinh", "complex")(lambda z: _times_minus_i(_asin(_times_i(z))))


@expansion("atanh", "complex")
def _atanh(z: Expr) -> Expr:
    """log((1 + z) / (1 - z)) / 2."""
    x, y = real(z), imag(z)
    t = absolute(x)
    gap = fma(y, y, (1.0 - t) * (1.0 - t))
    re = copysign(0.25 * log1p(4.0 * (t / gap)), x)
    return make_complex(re, 0.5 * atan2(2.0 * y, fma(-y, y, (1.0 - x) * (1.0 + x))))


expansion("atan", "complex")(lambda z: _times_minus_i(_atanh(_times_i(z))))
