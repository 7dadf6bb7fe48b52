"""The error function and its relatives: erf, erfc, erfcx, erfinv, ndtri, log_ndtr.

The polynomials are our own Remez fits; the change of variable for erfcx, q = (x - K) / (x + K), is
M. M. Shepherd and J. G. Laframboise's (Math. Comp. 36, 1981), the variables of erfinv are
M. Giles's ("Approximating the erfinv function", 2010).
"""

from __future__ import annotations

import math

from .elementary import ROUGH, define, erf, exp, expansion, log, log1p, polynomial
from .expand_exp import exp2_of_moderate, exp2_of_product, exp_and_tail, exp_of_moderate
from .scalar import Expr, absolute, cast, const, copysign, eq, fma, sqrt, where

_TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)

erfcx = define("erfcx", lambda out, x: [2 * (x * out) - _TWO_OVER_SQRT_PI], libm=None)
ndtri = define("ndtri", lambda out, p: [math.sqrt(2 * math.pi) * exp(0.5 * (out * out))], libm=None)
log_ndtr = define(
    "log_ndtr",
    lambda out, x: [math.sqrt(2 / math.pi) / erfcx(x * -math.sqrt(0.5))],
    libm=None,
)

# erf(x) / x - 1 in x**2: |x| < 0.93; |x| < 1
_ERF_F32 = [
    -0.0005959101,
    0.004987274,
    -0.026762927,
    0.1128173,
    -0.3761249,
    0.12837915,
]
_ERF_F64 = [
    1.487760232989515e-10,
    -1.6760321496774656e-09,
    1.608421269185345e-08,
    -1.6566823790682398e-07,
    1.6481887854928978e-06,
    -1.4926927525339561e-05,
    0.00012055387863661176,
    -0.0008548328574463108,
    0.005223977653234456,
    -0.026866170648072688,
    0.1128379167097124,
    -0.376126389031841,
    0.1283791670955126,
]
# log2(erfc(t)) / t in t, and log(erfc(t)) in t - 2.5, up to where erf is 1
_LOG2_ERFC_F32 = [
    -1.6203812e-05,
    0.0004657117,
    -0.0052549727,
    0.03428144,
    -0.15326744,
    -0.9163296,
    -1.6282955,
]
_LOG_ERFC_F64 = [
    -5.109883502088992e-12,
    -5.6218707646347296e-12,
    5.7015695120739874e-11,
    -1.007095909691127e-10,
    7.7801434390001e-10,
    -3.735083940324426e-09,
    1.0881815194979005e-08,
    -1.231605545490651e-08,
    -1.5573192735102997e-07,
    1.7688739644868304e-06,
    -1.275603258062444e-05,
    7.70307715991597e-05,
    -0.0004209325152063318,
    0.0021654769191268015,
    -0.010858072739760553,
    -0.9438937335257936,
    -5.352680750986536,
    -7.806815272727254,
]
# 2**f for |f| < 0.5, as far as 1 - erfc shows it
_EXP2_SHORT = [
    0.0013264894,
    0.009671485,
    0.05550733,
    0.24022242,
    0.693147,
    1.0,
]
# The same three for results that are rounded to a half type: relative errors of 3e-6.
_ERF_ROUGH = [0.0036855905, -0.025764729, 0.11250338, -0.37609005, 0.12837852]
_LOG2_ERFC_ROUGH = [0.01317197, -0.11545399, -0.94745596, -1.618692]
_EXP2_ROUGH = [0.0095698932, 0.055917835, 0.24024749, 0.69312182, 0.99999926]
# log2(2 Q(t)) / t in t, Q(t) the normal distribution's tail, t < 13. The error in Q: 3e-8, growing
# to 1e-8 / Q and 1e-2 far out (1 + erf(x / sqrt 2) has six times that); 7e-6, growing to 2e-4.
_LOG2_TAIL_F32 = [
    5.0026122e-10,
    -2.8617954e-08,
    6.8119379e-07,
    -8.7229355e-06,
    6.3978456e-05,
    -0.00024196548,
    -6.6016575e-05,
    0.0070141559,
    -0.0524792,
    -0.45921046,
    -1.1511052,
]
_LOG2_TAIL_ROUGH = [
    -1.9086144e-09,
    1.426866e-07,
    -4.6348155e-06,
    8.6740169e-05,
    -0.0010502574,
    0.0088192075,
    -0.054380413,
    -0.45821509,
    -1.1512862,
]
_NO_TAIL = 13.0  # the exponent there is -127: 2**-127 comes out as 0
# erfcx(x) (1 + 2x) in (x - 3) / (x + 3), to float32's precision; in (x - 4) / (x + 4), to float64's
_ERFCX_SHORT = [
    7.57670356884005e-05,
    -9.292933661758947e-05,
    -0.000722397235620921,
    0.0018759846230794964,
    0.002495275083192532,
    -0.023764313740927905,
    0.06831814017430428,
    -0.11927503445180966,
    0.12964385610095816,
    -0.047562183819948804,
    -0.1356210578183621,
    1.2530080568322783,
]
_ERFCX = [
    -2.5623235537533946e-10,
    9.306240591853616e-10,
    3.112156465366944e-09,
    -1.234387759358013e-08,
    -2.0412546246131985e-08,
    1.0633156825168722e-07,
    7.725094667102616e-08,
    -8.210847031737475e-07,
    2.921782059025024e-07,
    5.706596929719855e-06,
    -1.1221413273273257e-05,
    -2.4397742539629068e-05,
    0.00015062154175915954,
    -0.0001992571478893641,
    -0.0007577732752813283,
    0.005031970067914618,
    -0.01619773405744028,
    0.03716751552652672,
    -0.06633036581242174,
    0.0937328349990959,
    -0.10103906603628857,
    0.06809705425466907,
    0.015379652102619367,
    -0.1396211168405623,
    1.2329951186255526,
]
# erfinv(x) / x with w = -log(1 - x**2): in w - 2.5 up to 5, in sqrt(w) - 3.125 beyond
_INVERSE_F32 = [
    -1.7330833e-09,
    2.7770827e-08,
    3.6782964e-07,
    -3.5189703e-06,
    -4.5085785e-06,
    0.00021856249,
    -0.0012535156,
    -0.004177657,
    0.24664064,
    1.5014094,
]
_INVERSE_TAIL_F32 = [
    0.00020810729,
    -0.00017329544,
    -0.00046766028,
    0.0013090599,
    -0.0024327128,
    0.0037828807,
    -0.00532102,
    0.0070487903,
    1.0037199,
    2.9583201,
]
# in w - 3.125 up to 6.25; in sqrt(w) - 3.25 up to 4; in sqrt(w) - 5.25 up to 6.5
_INVERSE = [
    -4.323717050014136e-21,
    -1.6926610475442277e-19,
    1.3222286570316827e-18,
    1.1197172411845493e-17,
    -1.341577319452414e-16,
    2.0102336241065002e-17,
    6.648600906289369e-15,
    -4.053487242253272e-14,
    -8.160800319246874e-14,
    2.633427311224982e-12,
    -1.2974673382606214e-11,
    -5.41537270560006e-11,
    1.0512107445216915e-09,
    -4.1126351636946075e-09,
    -2.9070366797241703e-08,
    4.234787804184019e-07,
    -1.3654692038836069e-06,
    -1.3882523364911839e-05,
    0.00018673420803639104,
    -0.0007407025341652987,
    -0.006033670871430705,
    0.24015818242558948,
    1.653654562683103,
]
_INVERSE_TAIL = [
    3.228983296825572e-09,
    9.087637044271469e-08,
    -2.777479993101575e-07,
    1.7949269808742522e-08,
    1.5054585025262712e-06,
    -4.013577836557312e-06,
    2.9218976764488487e-06,
    1.2475151158152447e-05,
    -4.7317715963762345e-05,
    6.828489766496954e-05,
    2.4031010518194596e-05,
    -0.00035503752825974047,
    0.0009532893906490268,
    -0.001688275555307986,
    0.0024914420955112516,
    -0.003751208507598343,
    0.005370914553602606,
    1.0052589676941597,
    3.0838856104922203,
]
_INVERSE_FAR = [
    2.192843450267321e-12,
    -4.389950388930459e-12,
    -1.3918809654514744e-11,
    5.992034036140445e-11,
    -1.3383183940138244e-10,
    3.4374433885350543e-10,
    -8.360368397406593e-10,
    1.662267350781033e-09,
    -3.197505339747064e-09,
    7.798431283002342e-09,
    -2.8157727006906954e-08,
    1.3092692127663783e-07,
    -6.473472424489574e-07,
    3.118797171724689e-06,
    -1.4023132981568939e-05,
    5.5148726725689074e-05,
    -0.00015004600196125362,
    -0.00027432268761302963,
    1.0101951772794828,
    5.102469766505421,
]
# erfinv(x) / x / sqrt(w) in 1 / sqrt(w) - 0.095, past that (only the quantiles of tiny p)
_INVERSE_FARTHEST = [
    2.4006049945515668e16,
    -2291152419992148.5,
    -208358999964096.38,
    16551897434328.775,
    2006349212656.1536,
    -175131791408.51816,
    1943488024.685809,
    -487863982.38722056,
    114202346.21021101,
    -13380188.651470266,
    1588294.8522486177,
    -208847.4314916303,
    28489.261599644302,
    -4060.322499215191,
    617.4375472680995,
    -102.23779669400776,
    19.063865633997565,
    -4.644097036865802,
    1.726374822583637,
    -0.37503042654218205,
    -0.16546393319155073,
    0.9898973957284022,
]


def _erf_single(x: Expr, near: list[float], log2_erfc: list[float], exp2: list[float]) -> Expr:
    t, q = absolute(x), x * x
    bounded = where(t > 4.0, const(4.0, "f32"), t)
    large = 1.0 - exp2_of_moderate(bounded * polynomial(bounded, log2_erfc), exp2)
    small = fma(polynomial(q, near), t, t)
    return copysign(where(t > 0.927734375, large, small), x)


@expansion("erf", "f32")
def _erf_f32(x: Expr) -> Expr:
    return _erf_single(x, _ERF_F32, _LOG2_ERFC_F32, _EXP2_SHORT)


@expansion("erf", ROUGH)
def _erf_rough(x: Expr) -> Expr:
    return _erf_single(x, _ERF_ROUGH, _LOG2_ERFC_ROUGH, _EXP2_ROUGH)


@expansion("erf", "f64")
def _erf_f64(x: Expr) -> Expr:
    t, q = absolute(x), x * x
    bounded = where(t > 6.0, const(6.0, "f64"), t)
    large = 1.0 - exp_of_moderate(polynomial(bounded - 2.5, _LOG_ERFC_F64))
    small = fma(polynomial(q, _ERF_F64), t, t)
    return copysign(where(t > 1.0, large, small), x)


def _normal_single(x: Expr, log2_tail: list[float], exp2: list[float]) -> Expr:
    """2**(t P(t) - 1), t = |x|, is what lies beyond t; nothing beyond what has no exponent."""
    t = absolute(x)
    t = where(t > _NO_TAIL, const(_NO_TAIL, "f32"), t)
    tail = exp2_of_product(t, polynomial(t, log2_tail), exp2, -1)
    return where(x > 0.0, 1.0 - tail, tail)


@expansion("normal_cdf", "f32")
def _normal_f32(x: Expr) -> Expr:
    return _normal_single(x, _LOG2_TAIL_F32, _EXP2_SHORT)


@expansion("normal_cdf", ROUGH)
def _normal_rough(x: Expr) -> Expr:
    return _normal_single(x, _LOG2_TAIL_ROUGH, _EXP2_ROUGH)


@expansion("normal_cdf", "f64")
def _normal_f64(x: Expr) -> Expr:
    return 0.5 * (1.0 + erf(x * math.sqrt(0.5)))


def _gaussian(t: Expr) -> Expr:
    """exp(-t**2), the rounding of t**2 made good."""
    square = t * t
    return exp_and_tail(-square, -fma(t, t, -square))


def _erfcx_positive(t: Expr, coefficients: list[float], center: float) -> Expr:
    q = (t - center) / (t + center)
    value = 0.5 * polynomial(q, coefficients) / (0.5 + t)  # 1 + 2t would overflow
    return where(eq(t, math.inf), const(0.0, "f64"), value)


@expansion("erfc", "f32")
def _erfc_f32(x: Expr) -> Expr:
    wide = cast(x, "f64")
    t = absolute(wide)
    t = where(t > 15.0, const(15.0, "f64"), t)
    tail = _erfcx_positive(t, _ERFCX_SHORT, 3.0) * exp(-(t * t))
    return cast(where(wide < 0.0, 2.0 - tail, tail), "f32")


@expansion("erfc", "f64")
def _erfc_f64(x: Expr) -> Expr:
    t = absolute(x)
    bounded = where(t > 30.0, const(30.0, "f64"), t)
    tail = _erfcx_positive(bounded, _ERFCX, 4.0) * _gaussian(bounded)
    far = where(x < 0.0, 2.0 - tail, tail)
    q = x * x
    return where(t < 0.5, 1.0 - fma(polynomial(q, _ERF_F64), x, x), far)


@expansion("erfcx", "f64")
def _erfcx_f64(x: Expr) -> Expr:
    """exp(x**2) erfc(x); by reflection 2 exp(x**2) - erfcx(-x) for negative x."""
    t = absolute(x)
    tail = _erfcx_positive(t, _ERFCX, 4.0)
    bounded = where(t > 27.0, const(27.0, "f64"), t)
    square = bounded * bounded
    growth = exp_and_tail(square, fma(bounded, bounded, -square))
    return where(x < 0.0, 2.0 * growth - tail, tail)


def _inverse_f64(w: Expr, far: bool) -> Expr:
    """erfinv(x) / x for w = -log(1 - x**2)."""
    s = sqrt(w)
    result = where(
        w < 6.25,
        polynomial(w - 3.125, _INVERSE),
        where(s < 4.0, polynomial(s - 3.25, _INVERSE_TAIL), polynomial(s - 5.25, _INVERSE_FAR)),
    )
    if not far:
        return result
    return where(s < 6.5, result, s * polynomial(1.0 / s - 0.095, _INVERSE_FARTHEST))


def _at_ends(x: Expr, result: Expr) -> Expr:
    """Infinite at -1 and 1, NaN outside."""
    t = absolute(x)
    end = copysign(const(math.inf, x.dtype), x)
    return where(t < 1.0, result, where(eq(t, 1.0), end, const(math.nan, x.dtype)))


@expansion("erfinv", "f32")
def _erfinv_f32(x: Expr) -> Expr:
    w = -log(fma(-x, x, 1.0))
    inner = polynomial(w - 2.5, _INVERSE_F32)
    outer = polynomial(sqrt(w) - 3.125, _INVERSE_TAIL_F32)
    return _at_ends(x, where(w < 5.0, inner, outer) * x)


@expansion("erfinv", "f64")
def _erfinv_f64(x: Expr) -> Expr:
    return _at_ends(x, _inverse_f64(-log(fma(-x, x, 1.0)), far=False) * x)


@expansion("ndtri", "f64")
def _ndtri_f64(p: Expr) -> Expr:
    """The normal distribution's quantile: sqrt(2) erfinv(2p - 1), with w from p (1 - p)."""
    x = fma(p, 2.0, -1.0)
    w = -(log(p) + log1p(-p) + math.log(4))
    central = -log(fma(-x, x, 1.0))
    w = where(absolute(x) < 0.5, central, w)
    result = math.sqrt(2) * (_inverse_f64(w, far=True) * x)
    ends = where(eq(p, 0.0), const(-math.inf, "f64"), const(math.nan, "f64"))
    ends = where(eq(p, 1.0), const(math.inf, "f64"), ends)
    return where((p > 0.0) & (p < 1.0), result, ends)


@expansion("log_ndtr", "f64")
def _log_ndtr_f64(x: Expr) -> Expr:
    """log((1 + erf(x / sqrt 2)) / 2), from erfcx where that underflows."""
    y = x * math.sqrt(0.5)
    scaled = _erfcx_positive(absolute(y), _ERFCX, 4.0)
    left = log(0.5 * scaled) - (0.5 * x) * x
    far = scaled * exp(-(y * y))
    right = log1p(-0.5 * where(y < 0.0, 2.0 - far, far))
    return where(x < -1.0, left, right)


def _through_f64(name: str, body_f64) -> None:
    expansion(name, "f32")(lambda x: cast(body_f64(cast(x, "f64")), "f32"))


for _name, _body in (("erfcx", _erfcx_f64), ("ndtri", _ndtri_f64), ("log_ndtr", _log_ndtr_f64)):
    _through_f64(_name, _body)
