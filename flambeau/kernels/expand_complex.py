"""The elementary functions of complex numbers, in terms of the real ones.

Branch cuts and signed zeros follow C99 Annex G where the formulas give them.
"""

from __future__ import annotations

import math

from .mathlib import (
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
    compare,
    conj,
    const,
    copysign,
    eq,
    imag,
    make_complex,
    real,
    sqrt,
    where,
)


@expansion("exp", "complex")
def _exp_complex(z: Expr) -> Expr:
    r = exp(real(z))
    return make_complex(r * cos(imag(z)), where(eq(imag(z), 0), imag(z), r * sin(imag(z))))


@expansion("log", "complex")
def _log_complex(z: Expr) -> Expr:
    return make_complex(log(hypot(real(z), imag(z))), atan2(imag(z), real(z)))


def _scaled_log(z: Expr, scale: float) -> Expr:
    w = _log_complex(z)
    return make_complex(real(w) * scale, imag(w) * scale)


expansion("log2", "complex")(lambda z: _scaled_log(z, 1 / math.log(2)))
expansion("log10", "complex")(lambda z: _scaled_log(z, 1 / math.log(10)))


@expansion("log1p", "complex")
def _log1p_complex(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    return make_complex(0.5 * log1p(x * (2 + x) + y * y), atan2(y, x + 1))


@expansion("expm1", "complex")
def _expm1_complex(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    s = sin(y * 0.5)
    return make_complex(expm1(x) * cos(y) - 2 * s * s, exp(x) * sin(y))


expansion("exp2", "complex")(lambda z: exp(z * math.log(2)))


@expansion("sin", "complex")
def _sin_complex(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    return make_complex(sin(x) * cosh(y), cos(x) * sinh(y))


@expansion("cos", "complex")
def _cos_complex(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    return make_complex(cos(x) * cosh(y), -(sin(x) * sinh(y)))


@expansion("sinh", "complex")
def _sinh_complex(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    return make_complex(sinh(x) * cos(y), cosh(x) * sin(y))


@expansion("cosh", "complex")
def _cosh_complex(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    return make_complex(cosh(x) * cos(y), sinh(x) * sin(y))


@expansion("tanh", "complex")
def _tanh_complex(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    # past 20 the quotient of exponentials overflows while tanh is 1 to the last bit
    large = compare("gt", absolute(x), 20.0)
    x2 = where(large, const(0.0, x.dtype), 2 * x)
    d = cosh(x2) + cos(2 * y)
    re = where(large, copysign(const(1.0, x.dtype), x), sinh(x2) / d)
    im_large = 4 * sin(y) * cos(y) * exp(-2 * absolute(x))
    return make_complex(re, where(large, im_large, sin(2 * y) / d))


def _times_i(z: Expr) -> Expr:
    return make_complex(-imag(z), real(z))


def _times_minus_i(z: Expr) -> Expr:
    return make_complex(imag(z), -real(z))


expansion("tan", "complex")(lambda z: _times_minus_i(_tanh_complex(_times_i(z))))


@expansion("sqrt", "complex")
def _sqrt_complex(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    t = sqrt((absolute(x) + hypot(x, y)) * 0.5)
    other = where(eq(t, 0), const(0, x.dtype), absolute(y) / (2 * t))
    right = compare("ge", x, 0)
    return make_complex(where(right, t, other), copysign(where(right, other, t), y))


@expansion("asinh", "complex")
def _asinh_complex(z: Expr) -> Expr:
    return _times_minus_i(_asin_complex(_times_i(z)))


@expansion("asin", "complex")
def _asin_complex(z: Expr) -> Expr:
    # Kahan's formulas: no cancellation on the branch cuts
    a, b = sqrt(1 - z), sqrt(1 + z)
    re = atan2(real(z), real(a * b))
    return make_complex(re, asinh(imag(conj(a) * b)))


@expansion("acos", "complex")
def _acos_complex(z: Expr) -> Expr:
    a, b = sqrt(1 - z), sqrt(1 + z)
    re = 2 * atan2(real(a), real(b))
    return make_complex(re, asinh(imag(conj(b) * a)))


@expansion("acosh", "complex")
def _acosh_complex(z: Expr) -> Expr:
    a, b = sqrt(z - 1), sqrt(z + 1)
    return make_complex(asinh(real(conj(a) * b)), 2 * atan2(imag(a), real(b)))


@expansion("atanh", "complex")
def _atanh_complex(z: Expr) -> Expr:
    x, y = real(z), imag(z)
    near = (1 - x) * (1 - x) + y * y
    re = 0.25 * log1p(4 * x / near)
    return make_complex(re, 0.5 * atan2(2 * y, (1 - x) * (1 + x) - y * y))


expansion("atan", "complex")(lambda z: _times_minus_i(_atanh_complex(_times_i(z))))


@expansion("pow", "complex")
def _pow_complex(z: Expr, w: Expr) -> Expr:
    zero = eq(z, 0)
    safe = where(zero, const(1, z.dtype), z)
    at_zero = where(eq(w, 0), const(1, z.dtype), const(0, z.dtype))
    return where(zero, at_zero, exp(w * log(safe)))
