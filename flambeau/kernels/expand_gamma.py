"""The logarithm of the gamma function (float32) and its derivative, computed in float64.

Both shift the argument up by recurrence, apply Stirling's series (Abramowitz and Stegun 6.1.41 and
6.3.18), and reflect negative arguments.
"""

from __future__ import annotations

import math

from .elementary import expansion, log, polynomial
from .expand_trig import sin_cos_small
from .scalar import Expr, absolute, cast, const, copysign, eq, rint, trunc, where

_STEPS = 10  # of the recurrence, for arguments below 10


def sin_cos_pi(f: Expr) -> tuple[Expr, Expr]:
    """sin(pi f) and cos(pi f) for |f| <= 1/2, the zeros exact."""
    t = absolute(f)
    outer = t > 0.25
    sine, cosine = sin_cos_small(math.pi * where(outer, 0.5 - t, t))
    return copysign(where(outer, cosine, sine), f), where(outer, sine, cosine)


def _shifted(y: Expr) -> tuple[Expr, Expr, Expr]:
    """(z, product of the factors passed, sum of their inverses times it), z = y or y + 10 >= 10."""
    small = y < float(_STEPS)
    product, total = const(1.0, y.dtype), const(0.0, y.dtype)
    for k in range(_STEPS):
        factor = y + float(k)
        total = total * factor + product
        product = product * factor
    one, zero = const(1.0, y.dtype), const(0.0, y.dtype)
    return (
        where(small, y + float(_STEPS), y),
        where(small, product, one),
        where(small, total, zero),
    )


@expansion("lgamma", "f32")
def _lgamma_f32(x32: Expr) -> Expr:
    x = cast(x32, "f64")
    reflect = x <= 0.0
    z, product, _ = _shifted(where(reflect, 1.0 - x, x))
    r = 1.0 / z
    correction = r * polynomial(r * r, [1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12])
    stirling = (z - 0.5) * (log(z) - 1.0) + (correction + 0.5 * math.log(2 * math.pi) - 0.5)
    # one logarithm serves the recurrence and pi / sin(pi x) of the reflection
    sine, _ = sin_cos_pi(x - rint(x))
    mirrored = math.pi * product / absolute(sine)
    shift = log(where(reflect, mirrored, product))
    result = where(reflect, shift - stirling, stirling - shift)
    result = where(eq(absolute(x), math.inf), const(math.inf, "f64"), result)
    # the series leaves some 1e-14 of its two exact zeros
    return cast(where(eq(x, 1.0) | eq(x, 2.0), const(0.0, "f64"), result), "f32")


@expansion("digamma", "f64")
def _digamma(x: Expr) -> Expr:
    reflect = x < 0.0
    z, product, total = _shifted(where(reflect, 1.0 - x, x))
    r = 1.0 / (z * z)
    series = r * polynomial(r, [1 / 12, -691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12])
    value = log(z) - 0.5 / z - series - total / product
    sine, cosine = sin_cos_pi(x - rint(x))
    result = where(reflect, value - math.pi * cosine / sine, value)
    result = where(reflect & eq(trunc(x), x), const(math.nan, "f64"), result)
    return where(eq(x, 0.0), copysign(const(math.inf, "f64"), -x), result)


@expansion("digamma", "f32")
def _digamma_f32(x: Expr) -> Expr:
    return cast(_digamma(cast(x, "f64")), "f32")
