"""Special functions: Bessel functions, the Hurwitz zeta function, polygamma, entropy and the like.

Each is computed in float64; float32 results are rounded from that. The polynomials are our own
Remez fits, on intervals like those of S. Moshier's Cephes; the formulas are Abramowitz and
Stegun's.
"""

from __future__ import annotations

import math

from .elementary import (
    FUNCTIONS,
    Call,
    cos,
    define,
    digamma,
    erfc,
    erfinv,
    exp,
    expansion,
    log,
    log1p,
    polynomial,
    sin,
)
from .expand_erf import erfcx, log_ndtr, ndtri
from .expand_gamma import sin_cos_pi
from .scalar import (
    Expr,
    absolute,
    call,
    cast,
    const,
    copysign,
    eq,
    floor,
    fma,
    isnan,
    ne,
    rint,
    sqrt,
    where,
)
from .special_tables import (
    I0_LARGE,
    I0_SMALL,
    I1_LARGE,
    I1_SMALL,
    J0_SMALL,
    J0_ZEROS,
    J1_SMALL,
    J1_ZEROS,
    K0_LARGE,
    K0_SMALL,
    K1_LARGE,
    K1_SMALL,
    P0,
    P1,
    Q0,
    Q1,
    Y0_SMALL,
    Y1_SMALL,
)

__all__ = [
    "bessel_j0",
    "bessel_j1",
    "bessel_y0",
    "bessel_y1",
    "entr",
    "erfcx",
    "erfinv",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "log_ndtr",
    "modified_bessel_k0",
    "modified_bessel_k1",
    "ndtr",
    "ndtri",
    "polygamma",
    "scaled_modified_bessel_k0",
    "scaled_modified_bessel_k1",
    "sinc",
    "spherical_bessel_j0",
    "xlog1py",
    "xlogy",
    "zeta",
]


def _sign(x: Expr) -> Expr:
    zero, one = const(0.0, x.dtype), const(1.0, x.dtype)
    return where(eq(x, 0.0), zero, copysign(one, x))


def _over(value: Expr, x: Expr, at_zero: float) -> Expr:
    """value / x, and its limit at 0."""
    return where(eq(x, 0.0), const(at_zero, x.dtype), value / x)


def through_f64(name: str) -> None:
    """Give a function its float32 form: computed in float64, rounded once."""
    body = FUNCTIONS[name].expand["f64"]
    expansion(name, "f32")(lambda *args: cast(body(*(cast(a, "f64") for a in args)), "f32"))


# ---- modified Bessel functions -------------------------------------------------------------------

i0: Call = define("i0", lambda out, x: [i1(x)], libm=None)
i1: Call = define("i1", lambda out, x: [i0(x) - _over(out, x, 0.5)], libm=None)
i0e: Call = define("i0e", lambda out, x: [i1e(x) - _sign(x) * out], libm=None)
i1e: Call = define(
    "i1e",
    lambda out, x: [i0e(x) - _sign(x) * out - _over(out, x, 0.5)],
    libm=None,
)
modified_bessel_k0: Call = define("k0", lambda out, x: [-modified_bessel_k1(x)], libm=None)
modified_bessel_k1: Call = define(
    "k1", lambda out, x: [-modified_bessel_k0(x) - out / x], libm=None
)
scaled_modified_bessel_k0: Call = define(
    "k0e", lambda out, x: [out - scaled_modified_bessel_k1(x)], libm=None
)
scaled_modified_bessel_k1: Call = define(
    "k1e", lambda out, x: [out - scaled_modified_bessel_k0(x) - out / x], libm=None
)


def _i_parts(t: Expr, small: list[float], large: list[float]) -> tuple[Expr, Expr]:
    """The power series of I in (t / 2)**2 for t <= 8; sqrt(t) exp(-t) I's for t >= 8."""
    half = 0.5 * where(t > 8.0, const(8.0, "f64"), t)
    beyond = where(t < 8.0, const(8.0, "f64"), t)
    return polynomial(half * half, small), polynomial(16.0 / beyond - 1.0, large) / sqrt(beyond)


def _i_plain(t: Expr, small: Expr, large: Expr) -> Expr:
    # exp(t) overflows before I does
    root = exp(0.5 * t)
    result = where(t < 8.0, small, root * large * root)
    return where(eq(t, math.inf), t, result)


def _i_scaled(t: Expr, small: Expr, large: Expr) -> Expr:
    return where(t < 8.0, exp(-t) * small, large)


@expansion("i0", "f64")
def _i0(x: Expr) -> Expr:
    t = absolute(x)
    return _i_plain(t, *_i_parts(t, I0_SMALL, I0_LARGE))


@expansion("i0e", "f64")
def _i0e(x: Expr) -> Expr:
    t = absolute(x)
    return _i_scaled(t, *_i_parts(t, I0_SMALL, I0_LARGE))


@expansion("i1", "f64")
def _i1(x: Expr) -> Expr:
    t = absolute(x)
    small, large = _i_parts(t, I1_SMALL, I1_LARGE)
    return copysign(_i_plain(t, 0.5 * t * small, large), x)


@expansion("i1e", "f64")
def _i1e(x: Expr) -> Expr:
    t = absolute(x)
    small, large = _i_parts(t, I1_SMALL, I1_LARGE)
    return copysign(_i_scaled(t, 0.5 * t * small, large), x)


def _k_large(x: Expr, coefficients: list[float]) -> Expr:
    """exp(x) K(x) for x >= 2."""
    beyond = where(x < 2.0, const(2.0, "f64"), x)
    return polynomial(4.0 / beyond - 1.0, coefficients) / sqrt(beyond)


def _k0_small(x: Expr) -> Expr:
    """K0 for x <= 2: -log(x / 2) I0(x) and a power series in (x / 2)**2."""
    half = 0.5 * where(x > 2.0, const(2.0, "f64"), x)
    t = half * half
    return polynomial(t, K0_SMALL) - log(half) * polynomial(t, I0_SMALL)


def _k1_small(x: Expr) -> Expr:
    half = 0.5 * where(x > 2.0, const(2.0, "f64"), x)
    t = half * half
    result = 0.5 * polynomial(t, K1_SMALL) / half + log(half) * (half * polynomial(t, I1_SMALL))
    return where(eq(x, 0.0), const(math.inf, "f64"), result)


expansion("k0", "f64")(lambda x: where(x > 2.0, exp(-x) * _k_large(x, K0_LARGE), _k0_small(x)))
expansion("k1", "f64")(lambda x: where(x > 2.0, exp(-x) * _k_large(x, K1_LARGE), _k1_small(x)))
expansion("k0e", "f64")(lambda x: where(x > 2.0, _k_large(x, K0_LARGE), exp(x) * _k0_small(x)))
expansion("k1e", "f64")(lambda x: where(x > 2.0, _k_large(x, K1_LARGE), exp(x) * _k1_small(x)))


# ---- Bessel functions ----------------------------------------------------------------------------

bessel_j0: Call = define("bessel_j0", lambda out, x: [-bessel_j1(x)], libm=None)
bessel_j1: Call = define("bessel_j1", lambda out, x: [bessel_j0(x) - _over(out, x, 0.5)], libm=None)
bessel_y0: Call = define("bessel_y0", lambda out, x: [-bessel_y1(x)], libm=None)
bessel_y1: Call = define("bessel_y1", lambda out, x: [bessel_y0(x) - out / x], libm=None)


def _near(t: Expr, coefficients: list[float], zeros: list[tuple[float, float]]) -> Expr:
    """A polynomial for t <= 8, its zeros (squared, in two parts) divided out."""
    bounded = where(t > 8.0, const(8.0, "f64"), t)
    w = bounded * bounded
    value = polynomial(fma(w, 1 / 32, -1.0), coefficients)
    for high, low in zeros:
        value = value * ((w - high) - low)
    return value


def _far(t: Expr, p: list[float], q: list[float]) -> tuple[Expr, Expr, Expr, Expr]:
    """(P, Q, sin t + cos t, sin t - cos t), P and Q over sqrt(pi t), for t >= 8 (A&S 9.2.5)."""
    beyond = where(t < 8.0, const(8.0, "f64"), t)
    r = 8.0 / beyond
    v = fma(r, 2.0 * r, -1.0)
    scale = sqrt(1.0 / (math.pi * beyond))
    finite = where(eq(beyond, math.inf), const(0.0, "f64"), beyond)
    s, c = sin(finite), cos(finite)
    return scale * polynomial(v, p), scale * r * polynomial(v, q), s + c, s - c


@expansion("bessel_j0", "f64")
def _j0(x: Expr) -> Expr:
    t = absolute(x)
    p, q, plus, minus = _far(t, P0, Q0)
    near = where(t < 1e-9, const(1.0, "f64"), _near(t, J0_SMALL, J0_ZEROS))
    return where(t > 8.0, p * plus - q * minus, near)


@expansion("bessel_j1", "f64")
def _j1(x: Expr) -> Expr:
    t = absolute(x)
    p, q, plus, minus = _far(t, P1, Q1)
    result = where(t > 8.0, p * minus + q * plus, t * _near(t, J1_SMALL, J1_ZEROS))
    return where(x < 0.0, -result, result)


@expansion("bessel_y0", "f64")
def _y0(x: Expr) -> Expr:
    p, q, plus, minus = _far(x, P0, Q0)
    wave = (2 / math.pi) * log(x) * _near(x, J0_SMALL, J0_ZEROS)
    return where(x > 8.0, p * minus + q * plus, wave + _near(x, Y0_SMALL, []))


@expansion("bessel_y1", "f64")
def _y1(x: Expr) -> Expr:
    p, q, plus, minus = _far(x, P1, Q1)
    wave = x * _near(x, J1_SMALL, J1_ZEROS) * log(x) - 1.0 / x
    near = fma(x, _near(x, Y1_SMALL, []), (2 / math.pi) * wave)
    near = where(eq(x, 0.0), const(-math.inf, "f64"), near)
    return where(x > 8.0, q * minus - p * plus, near)


def spherical_bessel_j0(x: Expr) -> Expr:
    """sin(x) / x."""
    result = where(eq(x, 0), const(1, x.dtype), sin(x) / x)
    return where(eq(absolute(x), math.inf), const(0.0, x.dtype), result)


# ---- zeta and polygamma --------------------------------------------------------------------------

_BERNOULLI = [1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510]
_BERNOULLI += [43867 / 798, -174611 / 330, 854513 / 138, -236364091 / 2730]

zeta: Call = define(
    "zeta", lambda out, x, q: [NotImplemented, -x * zeta(x + 1, q)], arity=2, libm=None
)


@expansion("zeta", "f64")
def _zeta(x: Expr, q: Expr) -> Expr:
    """The sum of (q + k)**-x, k >= 0: ten terms and Euler and Maclaurin's formula; for q > -4."""
    odd = ne(floor(0.5 * x), 0.5 * x)
    total = const(0.0, "f64")
    for k in range(10):
        base = q + float(k)
        term = exp(-x * log(absolute(base)))
        total = total + where((base < 0.0) & odd, -term, term)
    a = q + 10.0
    power = exp(-x * log(a))
    total = total + power * (a / (x - 1.0) + 0.5)
    factor, inverse = x * power / a, 1.0 / (a * a)
    for j, number in enumerate(_BERNOULLI, 1):
        total = fma(factor, number / math.factorial(2 * j), total)
        factor = factor * ((x + (2.0 * j - 1)) * (x + 2.0 * j) * inverse)
    total = where(power > 0.0, total, exp(-x * log(absolute(q))))  # nothing but the first term left
    return _zeta_domain(x, q, total)


def _zeta_domain(x: Expr, q: Expr, value: Expr) -> Expr:
    nan, infinity = const(math.nan, "f64"), const(math.inf, "f64")
    value = where((q < 0.0) & (ne(floor(x), x) | (q <= -4.0)), nan, value)
    value = where((q <= 0.0) & eq(floor(q), q), infinity, value)
    value = where(eq(q, math.inf), where(isnan(x), x, const(0.0, "f64")), value)
    value = where(eq(x, 1.0), infinity, where(x > 1.0, value, nan))
    return where(isnan(q), q, value)


def polygamma(n: int, x: Expr) -> Expr:
    """The n-th derivative of digamma, n >= 0."""
    if n < 0:
        raise RuntimeError(f"polygamma: n = {n} is negative: expected n >= 0")
    if n == 0:
        return digamma(x)
    name = f"polygamma{n}"
    if name not in FUNCTIONS:
        define(name, lambda out, x: [polygamma(n + 1, x)], libm=None)
        expansion(name, "f64")(lambda x: _polygamma(n, x))
        through_f64(name)
    return call(name, x)


def _polygamma(n: int, x: Expr) -> Expr:
    """Recurrence by 10 + n and the asymptotic series (A&S 6.4.11); reflection below 1/2."""
    reflect = x < 0.5
    value = _polygamma_right(n, where(reflect, 1.0 - x, x))
    sine, cosine = sin_cos_pi(x - rint(x))
    mirrored = (value if n % 2 == 0 else -value) - math.pi ** (n + 1) * _cotangent(n, cosine / sine)
    pole = const(math.inf if n % 2 else -math.inf, "f64")
    result = where(reflect, mirrored, value)
    return where((x <= 0.0) & eq(floor(x), x), pole, result)


def _polygamma_right(n: int, y: Expr) -> Expr:
    total = const(0.0, "f64")
    for k in range(10 + n):
        inverse = 1.0 / (y + float(k))
        total = total + _integer_power(inverse, n + 1)
    inverse = 1.0 / (y + (10.0 + n))
    square = inverse * inverse
    weights = [
        b * math.factorial(2 * j + n - 1) / (math.factorial(2 * j) * math.factorial(n))
        for j, b in enumerate(_BERNOULLI, 1)
    ]
    tail = fma(square, polynomial(square, weights[::-1]), fma(inverse, 0.5, 1.0 / n))
    total = total + _integer_power(inverse, n) * tail
    sign = 1.0 if n % 2 else -1.0
    return total * (sign * math.factorial(n))


def _integer_power(x: Expr, n: int) -> Expr:
    result = x
    for bit in bin(n)[3:]:
        result = result * result
        if bit == "1":
            result = result * x
    return result


def _cotangent(n: int, c: Expr) -> Expr:
    """The n-th derivative of the cotangent, a polynomial in it: p' = -(1 + c**2) dp/dc."""
    p = [0, 1]  # lowest power first
    for _ in range(n):
        slope = [k * v for k, v in enumerate(p)][1:]
        p = [0] * (len(slope) + 2)
        for k, v in enumerate(slope):
            p[k] -= v
            p[k + 2] -= v
    return polynomial(c, [float(v) for v in p[::-1]])


# ---- entropy -------------------------------------------------------------------------------------


def _xlogy_slope(x: Expr, y: Expr) -> Expr:
    return where(eq(x, 0.0) & (y <= 0.0), const(0.0, x.dtype), log(y))


def _xlog1py_slope(x: Expr, y: Expr) -> Expr:
    return where(eq(x, 0.0) & (y <= -1.0), const(0.0, x.dtype), log1p(y))


xlogy: Call = define("xlogy", lambda out, x, y: [_xlogy_slope(x, y), x / y], arity=2, libm=None)
xlog1py: Call = define(
    "xlog1py", lambda out, x, y: [_xlog1py_slope(x, y), x / (y + 1)], arity=2, libm=None
)
entr: Call = define("entr", lambda out, x: [-1 - log(x)], libm=None)


@expansion("xlogy", "f32", "f64")
def _xlogy(x: Expr, y: Expr) -> Expr:
    return where(isnan(y), y, where(eq(x, 0.0), const(0.0, x.dtype), x * log(y)))


@expansion("xlog1py", "f32", "f64")
def _xlog1py(x: Expr, y: Expr) -> Expr:
    return where(isnan(y), y, where(eq(x, 0.0), const(0.0, x.dtype), x * log1p(y)))


@expansion("entr", "f32", "f64")
def _entr(x: Expr) -> Expr:
    zero, low = const(0.0, x.dtype), const(-math.inf, x.dtype)
    at_most_zero = where(eq(x, 0.0), zero, where(x < 0.0, low, x))
    return where(x > 0.0, -x * log(x), at_most_zero)


# ---- plain bodies --------------------------------------------------------------------------------


def sinc(x: Expr) -> Expr:
    """sin(pi x) / (pi x), 1 at 0; of real and complex numbers."""
    t = x * math.pi
    return where(eq(x, 0), const(1, x.dtype), sin(t) / t)


def ndtr(x: Expr) -> Expr:
    """The normal distribution function, (1 + erf(x / sqrt 2)) / 2."""
    return 0.5 * erfc(x * -math.sqrt(0.5))


for _name in ("i0", "i1", "i0e", "i1e", "k0", "k1", "k0e", "k1e", "zeta"):
    through_f64(_name)
for _name in ("bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1"):
    through_f64(_name)
