"""Functions of two arguments in float32 and float64: pow, hypot, fmod.

float32 results are computed in float64 arithmetic; float64 powers carry the logarithm as the
unevaluated sum of two doubles, high + low. The polynomials are our own Remez fits.
"""

from __future__ import annotations

import math

from .elementary import expansion, polynomial
from .expand_exp import exp_and_tail
from .expand_log import split
from .scalar import (
    Expr,
    absolute,
    bitcast,
    bitwise,
    cast,
    const,
    copysign,
    eq,
    floor,
    fma,
    ne,
    node,
    rarely,
    sqrt,
    trunc,
    where,
)

Pair = tuple[Expr, Expr]

# log2(1 + m) / m for 2/3 <= 1 + m <= 4/3, and 2**f for |f| <= 1/2, to float32's precision
_LOG2_SHORT = [
    0.15755219372793192,
    -0.16611617333454418,
    0.12355965041716802,
    -0.13745809493220013,
    0.16089158638400244,
    -0.18080636173768705,
    0.20607595466243947,
    -0.2404336477453532,
    0.2885394421883974,
    -0.36067397882900565,
    0.48089834395746256,
    -0.7213475195683414,
    1.4426950408923367,
]
_EXP2_SHORT = [
    0.0001534567426004234,
    0.0013400062950167505,
    0.009618490484061302,
    0.055503284522051985,
    0.2402264686698903,
    0.6931472058858609,
    1.000000000558681,
]
# (2 atanh s - 2s - 2/3 s**3) / s**5 in s**2, |s| <= 1/5
_ATANH = [
    0.22120441419988623,
    0.08650319607859944,
    0.11883647223602127,
    0.13329356468194636,
    0.15384689431731832,
    0.1818181743119232,
    0.2222222222596413,
    0.2857142857142146,
    0.4,
]
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
_LN2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)
_MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding it rounds, leaving the integer in the low bits


# ---- pow -----------------------------------------------------------------------------------------


def _apply_cases(x: Expr, y: Expr, magnitude: Expr) -> Expr:
    """The power of x from that of |x|, by C99's table of special cases."""
    nan = const(math.nan, x.dtype)
    whole = eq(floor(y), y)
    half = 0.5 * y
    odd = whole & ne(floor(half), half)
    result = where(odd, copysign(magnitude, x), magnitude)
    result = where((x < 0.0) & (x > -math.inf) & ~whole, nan, result)
    result = where(eq(x, x), result, nan)
    return where(eq(y, 0.0) | eq(x, 1.0), const(1.0, x.dtype), result)


def _at_limits(x: Expr, logarithm: Expr) -> Expr:
    """The logarithm of |x|, also of zero and infinity."""
    logarithm = where(eq(x, 0.0), const(-math.inf, "f64"), logarithm)
    return where(eq(absolute(x), math.inf), const(math.inf, "f64"), logarithm)


@expansion("pow", "f32")
def _pow_f32(x: Expr, y: Expr) -> Expr:
    wide = cast(x, "f64")
    k, m = _split_normal(absolute(wide))
    logarithm = _at_limits(wide, fma(m, polynomial(m, _LOG2_SHORT), k))
    product = where(eq(logarithm, 0.0), const(0.0, "f64"), cast(y, "f64") * logarithm)
    product = where(product < -200.0, const(-200.0, "f64"), product)
    product = where(product > 200.0, const(200.0, "f64"), product)
    shifted = product + (_MAGIC + 1023)
    f = product - (shifted - (_MAGIC + 1023))
    scale = bitcast(bitwise("shl", bitcast(shifted, "i64"), 52), "f64")
    return _apply_cases(x, y, cast(polynomial(f, _EXP2_SHORT) * scale, "f32"))


def _split_normal(x: Expr) -> Pair:
    """(k, m) with x = 2**k (1 + m): every float32 is a normal float64."""
    raised = bitcast(x, "u64") - 0x3FE5555555555555
    number = bitwise("shr", raised + (1 << 63), 52)
    k = bitcast(bitwise("or", number, 0x4330000000000000), "f64") - (2.0**52 + 2048)
    shifted = bitwise("and", raised, 0xFFF0000000000000)
    return k, bitcast(bitcast(x, "u64") - shifted, "f64") - 1.0


@expansion("pow", "f64")
def _pow_f64(x: Expr, y: Expr) -> Expr:
    k, m = split(absolute(x))
    high, low = _log_pair(k, m)
    high = _at_limits(x, high)
    product = where(eq(high, 0.0), const(0.0, "f64"), y * high)
    rest = fma(y, high, -product) + y * low
    # past overflow, and for infinite powers of one, the rest is NaN
    rest = where((absolute(product) < 1e4) & ne(high, 0.0), rest, const(0.0, "f64"))
    return _apply_cases(x, y, exp_and_tail(product, rest))


def _log_pair(k: Expr, m: Expr) -> Pair:
    """k ln2 + log(1 + m) to some 68 bits: 2 atanh(s) with s = m / (2 + m)."""
    s = _quotient_pair(m)
    q = _product_pair(s, s)
    rest = q[0] * polynomial(q[0], _ATANH)
    factor = _sum_pair(const(_TWO_THIRDS[0], "f64"), rest, _TWO_THIRDS[1])
    cubic = _product_pair(_product_pair(s, q), factor)
    series = _sum_pair(2.0 * s[0], cubic[0], 2.0 * s[1] + cubic[1])
    # either part may be the larger where k is 0: then the first is 0 and nothing is lost
    return _sum_pair(k * _LN2[0], series[0], fma(k, _LN2[1], series[1]))


def _quotient_pair(m: Expr) -> Pair:
    """m / (2 + m)."""
    below = m + 2.0
    lost = m - (below - 2.0)
    high = m / below
    return high, (fma(-high, below, m) - high * lost) / below


def _product_pair(a: Pair, b: Pair) -> Pair:
    high = a[0] * b[0]
    return high, fma(a[0], b[0], -high) + (a[0] * b[1] + a[1] * b[0])


def _sum_pair(a: Expr, b: Expr, low: Expr | float) -> Pair:
    """a + b + low for |a| >= |b|, or a = 0."""
    high = a + b
    rest = ((a - high) + b) + low
    return high + rest, (high - (high + rest)) + rest


# ---- hypot ---------------------------------------------------------------------------------------


def _with_infinity(x: Expr, y: Expr, result: Expr) -> Expr:
    """An infinite side makes the hypotenuse infinite, even beside NaN."""
    infinite = eq(absolute(x), math.inf) | eq(absolute(y), math.inf)
    return where(infinite, const(math.inf, x.dtype), result)


@expansion("hypot", "f32")
def _hypot_f32(x: Expr, y: Expr) -> Expr:
    a, b = cast(x, "f64"), cast(y, "f64")
    return _with_infinity(x, y, cast(sqrt(fma(a, a, b * b)), "f32"))


@expansion("hypot", "f64")
def _hypot_f64(x: Expr, y: Expr) -> Expr:
    """Scaled by a power of two where squares would leave the range."""
    a, b = absolute(x), absolute(y)
    swap = b > a
    large, small = where(swap, b, a), where(swap, a, b)
    one = const(1.0, "f64")
    scale = where(large > 2.0**500, 2.0**-600, where(large < 2.0**-400, 2.0**600, one))
    unscale = where(large > 2.0**500, 2.0**600, where(large < 2.0**-400, 2.0**-600, one))
    large, small = large * scale, small * scale
    return _with_infinity(x, y, sqrt(fma(large, large, small * small)) * unscale)


# ---- fmod ----------------------------------------------------------------------------------------


def _fmod_in_steps(x: Expr, y: Expr) -> Expr:
    """Of float32, whatever the quotient: each step takes 51 bits off it, which has at most 277.

    The products are exact in a fused multiply-add, because what is left fits a float64.
    """
    rest, b = absolute(cast(x, "f64")), absolute(cast(y, "f64"))
    inverse = 1.0 / b
    for _ in range(6):
        rest = fma(-trunc(rest * inverse), b, rest)
    rest = where(rest < 0.0, rest + b, rest)
    rest = where(rest >= b, rest - b, rest)
    return copysign(cast(rest, "f32"), x)


@expansion("fmod", "f32", "f64")
def _fmod(x: Expr, y: Expr) -> Expr:
    """x - trunc(x / y) y, exactly, while the quotient is an exact integer; else in steps, or by the
    C library.

    The quotient may have been rounded up to the next integer: then what is left is negative.
    """
    a, b = absolute(x), absolute(y)
    quotient = trunc(a / b)
    rest = fma(-quotient, b, a)
    rest = copysign(where(rest < 0.0, rest + b, rest), x)
    rest = where(eq(quotient, 0.0), x, rest)  # also where y is infinite
    if x.dtype == "f32":
        return rarely(quotient >= 2.0**23, _fmod_in_steps(x, y), rest)
    return rarely(quotient >= 2.0**52, node("extern", (x, y), "f64", "fmod"), rest)
