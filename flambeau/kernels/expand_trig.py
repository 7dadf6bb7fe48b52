"""Trigonometric functions of float32 and float64: sin, cos, tan and their inverses.

The polynomials are our own Remez fits. Angles are reduced to n quarter turns and a rest of at most
an eighth: for float32 in float64 arithmetic, right for every argument; for float64 by Cody and
Waite's method up to 2**27, past which the C library is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from .elementary import expansion, polynomial
from .scalar import (
    Expr,
    absolute,
    bitcast,
    bitwise,
    cast,
    const,
    copysign,
    eq,
    fma,
    node,
    rarely,
    sqrt,
    where,
)

_TWO_OVER_PI = (0.6366197723675813, 7.166494911215068e-17)  # the rest positive: keeps -0
_PI_OVER_2 = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
# positive, which keeps -0
_PI_OVER_2_F32 = (1.570796251296997, 7.549789415861596e-08, 5.390302953474238e-15)
_MAGIC_F32 = 12582912.0
_MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding it rounds, leaving the integer in the low bits


@dataclass(frozen=True)
class _Format:
    """Polynomials in the square of the argument, highest power first."""

    sin: list[float]  # (sin x - x) / x**3, |x| <= pi/4 (for float32 a tenth more)
    cos: list[float]  # (cos x - 1 + x**2 / 2) / x**4, likewise
    atan: list[float]  # (atan x - x) / x**3, |x| <= 1
    asin: list[float]  # (asin x - x) / x**3, |x| <= 0.55
    half_pi: tuple[float, float]


_F32 = _Format(
    sin=[-1.9443859e-04, 8.331589e-03, -1.6666645e-01],
    cos=[2.4346698e-05, -1.3886486e-03, 4.1666627e-02],
    atan=[
        -1.7834874e-03,
        1.0870721e-02,
        -3.1099422e-02,
        5.7882827e-02,
        -8.399349e-02,
        1.09508865e-01,
        -1.4264016e-01,
        1.999853e-01,
        -3.33333e-01,
    ],
    asin=[4.529351e-02, 8.577813e-03, 3.3443376e-02, 4.4310994e-02, 7.501627e-02, 1.666664e-01],
    half_pi=(1.57079637, -4.37113883e-8),
)

_F64 = _Format(
    sin=[
        1.5895434702562294e-10,
        -2.5050734413099386e-08,
        2.755731353865841e-06,
        -0.00019841269829358894,
        0.00833333333332184,
        -0.1666666666666663,
    ],
    cos=[
        -1.1358616103411586e-11,
        2.0875703122147364e-09,
        -2.7557314202955546e-07,
        2.4801587288964847e-05,
        -0.0013888888888873307,
        0.041666666666666595,
    ],
    atan=[
        -8.658362020849094e-06,
        0.00010391900918929689,
        -0.0005931408478243417,
        0.0021523891121293538,
        -0.0056141742602861195,
        0.01132056689067367,
        -0.01861780552689966,
        0.026155119845400615,
        -0.03278802150430538,
        0.038211600645093186,
        -0.042864629215301764,
        0.047449527181383074,
        -0.052594414843862174,
        0.05881717877143245,
        -0.06666584016238904,
        0.0769229974884446,
        -0.09090908550606833,
        0.11111111086653191,
        -0.14285714285044543,
        0.19999999999990611,
        -0.33333333333333287,
    ],
    asin=[
        0.05287858630829828,
        -0.06225883862960373,
        0.05512477873387238,
        -0.01430022214665851,
        0.014856807170425384,
        0.008407139738862148,
        0.011753438983505326,
        0.013943522653057809,
        0.017354342703235978,
        0.0223720797239464,
        0.03038194701965125,
        0.04464285709343387,
        0.07500000000047846,
        0.16666666666666505,
    ],
    half_pi=_PI_OVER_2[:2],
)

# Enough of sin and cos for float32 results computed in float64.
_SIN_SHORT = [
    2.709808007023155e-06,
    -0.00019838347471596446,
    0.00833332597532768,
    -0.1666666660880488,
]
_COS_SHORT = [
    -2.712707442362013e-07,
    2.4798396429771397e-05,
    -0.0013888878968807395,
    0.04166666655994062,
]

# 2 / pi without the part whose product with any float32 of at least the bound is whole turns.
_LATER_TWO_OVER_PI = [
    (2.0**44, 2.0449648759307553e-07, 6.074026489649846e-24),
    (2.0**71, 2.93709554037182e-16, 1.018166438749971e-32),
    (2.0**102, -5.434184107743751e-25, 3.8858987075186823e-41),
]


def _format(x: Expr) -> _Format:
    return _F32 if x.dtype == "f32" else _F64


# ---- reduction -----------------------------------------------------------------------------------


def _quarters_f32(t: Expr) -> tuple[Expr, Expr]:
    """(n modulo 2**32 as i32, rest in quarter turns as f64) of a float32."""
    high, low = (const(part, "f64") for part in _TWO_OVER_PI)
    for bound, later_high, later_low in _LATER_TWO_OVER_PI:
        beyond = absolute(t) >= bound
        high, low = where(beyond, later_high, high), where(beyond, later_low, low)
    x = cast(t, "f64")
    shifted = fma(x, high, _MAGIC)
    rest = fma(x, low, fma(x, high, -(shifted - _MAGIC)))
    return cast(bitcast(shifted, "i64"), "i32"), rest


def _near_quarters_f32(x: Expr) -> tuple[Expr, Expr]:
    """(n modulo 2**22 as i32, rest in radians) of a float32 |x| < 2**17 (Cody and Waite 1980).

    Fused, the first step is exact, and the products of the other two are.
    """
    shifted = fma(x, _TWO_OVER_PI[0], _MAGIC_F32)
    j = shifted - _MAGIC_F32
    rest = x
    for part in _PI_OVER_2_F32:
        rest = fma(j, -part, rest)
    return bitcast(shifted, "i32"), rest


def _quarters_f64(t: Expr) -> tuple[Expr, Expr, Expr]:
    """(n, rest, rest's own error) of a float64 0 <= t < 2**27, the rest in radians."""
    shifted = fma(t, _TWO_OVER_PI[0], _MAGIC)
    j = shifted - _MAGIC
    first = fma(j, -_PI_OVER_2[0], t)
    product = j * _PI_OVER_2[1]
    r = first - product
    back = first - r  # Knuth's two-sum: either part may be the larger
    error = (first - (r + back)) + (back - product)
    error = error - fma(j, _PI_OVER_2[1], -product) - j * _PI_OVER_2[2]
    return bitcast(shifted, "i64"), r, error


def _flip(value: Expr, sign: Expr) -> Expr:
    """value with its sign turned where the top bit of `sign` is set."""
    top = bitwise("and", sign, -(1 << (31 if value.dtype == "f32" else 63)))
    return bitcast(bitwise("xor", bitcast(value, sign.dtype), top), value.dtype)


def _choose(n: Expr, even: Expr, odd: Expr) -> Expr:
    """One of the two by the parity of the quarter turns."""
    return where(eq(bitwise("and", n, 1), 0), even, odd)


def _sin_cos_f32(r: Expr) -> tuple[Expr, Expr]:
    q = r * r
    sine = fma(q * r, polynomial(q, _F32.sin), r)
    return sine, fma(q * q, polynomial(q, _F32.cos), fma(q, -0.5, 1.0))


def _sin_cos_f64(r: Expr, error: Expr) -> tuple[Expr, Expr]:
    q = r * r
    sine = r + fma(q * r, polynomial(q, _F64.sin), error)
    half = 0.5 * q
    whole = 1.0 - half
    lost = (1.0 - whole) - half
    return sine, whole + (fma(q * q, polynomial(q, _F64.cos), lost) - r * error)


def sin_cos_small(r: Expr) -> tuple[Expr, Expr]:
    """Sine and cosine of a float64 |r| <= pi / 4."""
    return _sin_cos_f64(r, const(0.0, "f64"))


# ---- functions -----------------------------------------------------------------------------------


def _all_quarters_f32(x: Expr) -> tuple[Expr, Expr]:
    """(n, rest in radians) of any float32."""
    n, r = _near_quarters_f32(x)
    far_n, far_rest = _quarters_f32(x)
    is_far = absolute(x) >= 2.0**17
    far_r = cast(far_rest * _PI_OVER_2[0], "f32")
    return rarely(is_far, far_n, n), rarely(is_far, far_r, r)


@expansion("sin", "f32")
def _sin_f32(x: Expr) -> Expr:
    n, r = _all_quarters_f32(x)
    sine, cosine = _sin_cos_f32(r)
    return _flip(_choose(n, copysign(sine, r), cosine), bitwise("shl", n, 30))  # keeps -0


@expansion("cos", "f32")
def _cos_f32(x: Expr) -> Expr:
    n, r = _all_quarters_f32(x)
    sine, cosine = _sin_cos_f32(r)
    return _flip(_choose(n, cosine, sine), bitwise("shl", n + 1, 30))


@expansion("tan", "f32")
def _tan_f32(x: Expr) -> Expr:
    n, rest = _quarters_f32(absolute(x))
    r = rest * _PI_OVER_2[0]
    q = r * r
    sine = fma(q * r, polynomial(q, _SIN_SHORT), r)
    cosine = fma(q * q, polynomial(q, _COS_SHORT), fma(q, -0.5, 1.0))
    odd = eq(bitwise("and", n, 1), 1)
    quotient = where(odd, -cosine, sine) / where(odd, sine, cosine)
    return _flip(cast(quotient, "f32"), bitcast(x, "i32"))


def _with_library(name: str, x: Expr, quick: Expr) -> Expr:
    """`quick` below 2**27; the C library's result from there on."""
    return rarely(absolute(x) >= 2.0**27, node("extern", (x,), "f64", name), quick)


@expansion("sin", "f64")
def _sin_f64(x: Expr) -> Expr:
    n, r, error = _quarters_f64(absolute(x))
    sine, cosine = _sin_cos_f64(r, error)
    sign = bitwise("xor", bitwise("shl", n, 62), bitcast(x, "i64"))
    return _with_library("sin", x, _flip(_choose(n, sine, cosine), sign))


@expansion("cos", "f64")
def _cos_f64(x: Expr) -> Expr:
    n, r, error = _quarters_f64(absolute(x))
    sine, cosine = _sin_cos_f64(r, error)
    return _with_library("cos", x, _flip(_choose(n, cosine, sine), bitwise("shl", n + 1, 62)))


@expansion("tan", "f64")
def _tan_f64(x: Expr) -> Expr:
    n, r, error = _quarters_f64(absolute(x))
    sine, cosine = _sin_cos_f64(r, error)
    odd = eq(bitwise("and", n, 1), 1)
    quotient = where(odd, -cosine, sine) / where(odd, sine, cosine)
    return _with_library("tan", x, _flip(quotient, bitcast(x, "i64")))


def _atan_unit(z: Expr) -> Expr:
    """atan(z) for |z| <= 1."""
    q = z * z
    return fma(q * z, polynomial(q, _format(z).atan), z)


@expansion("atan", "f32", "f64")
def _atan(x: Expr) -> Expr:
    form = _format(x)
    t = absolute(x)
    large = t > 1.0
    p = _atan_unit(where(large, 1.0 / t, t))
    return copysign(where(large, form.half_pi[0] - (p - form.half_pi[1]), p), x)


@expansion("atan2", "f32", "f64")
def _atan2(y: Expr, x: Expr) -> Expr:
    """Polar angle: atan of the smaller coordinate over the larger, then reflected into place."""
    form = _format(x)
    a, b = absolute(y), absolute(x)
    steep = a > b
    small, large = where(steep, b, a), where(steep, a, b)
    ratio = where(eq(small, large), const(1.0, x.dtype), small / large)  # inf / inf counts as 1
    ratio = where(eq(large, 0.0), const(0.0, x.dtype), ratio)
    p = _atan_unit(ratio)
    p = where(steep, form.half_pi[0] - (p - form.half_pi[1]), p)
    left = copysign(const(1.0, x.dtype), x) < 0.0
    p = where(left, 2 * form.half_pi[0] - (p - 2 * form.half_pi[1]), p)
    p = where(eq(y, y), copysign(p, y), y)
    return where(eq(x, x), p, x)


def _asin_parts(t: Expr) -> tuple[Expr, Expr]:
    """(t > 0.55, asin(z)) with z = t below 0.55 and sqrt((1 - t) / 2) above."""
    large = t > 0.55
    q = where(large, fma(t, -0.5, 0.5), t * t)
    z = where(large, sqrt(q), t)
    return large, fma(q * z, polynomial(q, _format(t).asin), z)


@expansion("asin", "f32", "f64")
def _asin(x: Expr) -> Expr:
    form = _format(x)
    large, p = _asin_parts(absolute(x))
    return copysign(where(large, form.half_pi[0] - (2.0 * p - form.half_pi[1]), p), x)


@expansion("acos", "f32", "f64")
def _acos(x: Expr) -> Expr:
    form = _format(x)
    large, p = _asin_parts(absolute(x))
    double = 2.0 * p
    outer = where(x < 0.0, 2 * form.half_pi[0] - (double - 2 * form.half_pi[1]), double)
    return where(large, outer, form.half_pi[0] - (copysign(p, x) - form.half_pi[1]))
