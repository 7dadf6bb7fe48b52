"""Exponential functions of real numbers: exp, exp2, expm1, sinh, cosh, tanh, sigmoid.

All stand on one reduction, x = j ln2 + f with |f| <= ln2 / 2, and a minimax polynomial in f.
Adding 1.5 * 2**23 (2**52 for doubles) rounds to an integer and leaves it in the low bits, ready to
be shifted into an exponent. The polynomials are our own Remez fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from .elementary import ROUGH, expansion, polynomial
from .scalar import Expr, absolute, bitcast, bitwise, const, copysign, fma, where


@dataclass(frozen=True)
class _Format:
    """What the reduction needs to know of one floating-point type."""

    integer: str
    magic: float  # adding it rounds to an integer
    mantissa: int  # bits of the fraction
    bias: int
    ln2: tuple[float, float]  # high part with trailing zeros, so that j * high is exact; rest
    smallest: float  # exp of less is 0
    largest: float  # exp of more is infinite
    one: float  # expm1 of less than -one is -1; tanh of more than one is 1
    exp: list[float]  # e**f
    exp2: list[float]  # 2**f
    expm1: list[float]  # (e**f - 1 - f) / f**2
    tanh: list[float]  # (tanh x - x) / x**3 in x**2, for |x| < 0.6
    sinh: list[float]  # (sinh x - x) / x**3 in x**2, for |x| < 1


_F32 = _Format(
    integer="i32",
    magic=12582912.0,
    mantissa=23,
    bias=127,
    ln2=(6.93145752e-1, 1.42860677e-6),
    smallest=-104.0,
    largest=89.0,
    one=18.0,
    exp=[1.4036181e-3, 8.372454e-3, 4.1665543e-2, 1.6666487e-1, 0.5, 1.0, 1.0],
    exp2=[
        1.5772789e-4,
        1.3415047e-3,
        9.617107e-3,
        5.5502776e-2,
        2.4022655e-1,
        6.9314724e-1,
        1.0,
    ],
    expm1=[1.5015656e-4, 1.3930533e-3, 8.341509e-3, 4.166651e-2, 1.6666636e-1, 0.5],
    tanh=[2.1852711e-3, -8.221448e-3, 2.1717666e-2, -5.394971e-2, 1.3333228e-1, -3.333333e-1],
    sinh=[2.7822132e-06, 1.9842896e-04, 8.3333105e-03, 1.6666667e-01],
)

_F64 = _Format(
    integer="i64",
    magic=6755399441055744.0,
    mantissa=52,
    bias=1023,
    ln2=(6.93147180369123816490e-01, 1.90821492927058770002e-10),
    smallest=-746.0,
    largest=710.0,
    one=40.0,
    exp=[
        2.096206921689242e-09,
        2.511366784329585e-08,
        2.755710864871135e-07,
        2.7557229358662348e-06,
        2.4801587524946586e-05,
        0.00019841269902846513,
        0.0013888888888787805,
        0.008333333333314008,
        0.04166666666666682,
        0.16666666666666688,
        0.5,
        1.0,
        1.0,
    ],
    exp2=[
        2.863097407384169e-11,
        4.473745155136756e-10,
        7.052986528811786e-09,
        1.0177930473886352e-07,
        1.3215491297766473e-06,
        1.5252734169169532e-05,
        0.0001540353038888554,
        0.001333355814603256,
        0.009618129107630236,
        0.05550410866482338,
        0.2402265069591007,
        0.6931471805599453,
        1.0,
    ],
    expm1=[
        2.08881888321089e-09,
        2.5109316862260934e-08,
        2.755740777160305e-07,
        2.7557246859820638e-06,
        2.4801587249529466e-05,
        0.0001984126988405848,
        0.0013888888888886114,
        0.008333333333321886,
        0.04166666666666669,
        0.16666666666666677,
        0.5,
    ],
    tanh=[
        -1.933918235165537e-06,
        1.1012898292929782e-05,
        -3.582608303233791e-05,
        9.527543512735232e-05,
        -0.00023858850787968793,
        0.000589902129894429,
        -0.0014558139599396061,
        0.0035921257250462867,
        -0.00886323535340136,
        0.021869488527503138,
        -0.053968253968003956,
        0.1333333333333297,
        -0.3333333333333333,
    ],
    sinh=[
        7.776958679215865e-13,
        1.6056649425527711e-10,
        2.505213109723195e-08,
        2.755731910630205e-06,
        0.00019841269841594343,
        0.008333333333332912,
        0.16666666666666669,
    ],
)

# in float32, for results that are rounded to a half type: relative errors of 3e-6
_ROUGH = replace(
    _F32,
    exp=[0.041457704, 0.167909, 0.50004367, 0.99996342, 0.99999926],
    exp2=[0.0095698932, 0.055917835, 0.24024749, 0.69312182, 0.99999926],
    expm1=[0.0083386123, 0.041872693, 0.16666825, 0.49999401],
    tanh=[-0.041385776, 0.13086336, -0.33319067],
)


def _each_precision(name: str) -> Callable:
    """Decorator: this body computes function `name` with the polynomials it is given."""

    def register(body: Callable[..., Expr]) -> Callable[..., Expr]:
        for key, form in (("f32", _F32), ("f64", _F64), (ROUGH, _ROUGH)):
            expansion(name, key)(partial(body, form=form))
        return body

    return register


def _format(x: Expr) -> _Format:
    return _F32 if x.dtype == "f32" else _F64


def _clamp(x: Expr, low: float, high: float) -> Expr:
    # x sits in the else slot so that NaN passes through
    x = where(x < low, const(low, x.dtype), x)
    return where(x > high, const(high, x.dtype), x)


def _split(x: Expr, offset: int) -> tuple[Expr, Expr]:
    """(bits whose low end is j + offset, f) where x = j ln2 + f."""
    form = _format(x)
    shifted = fma(x, 1 / math.log(2), form.magic + offset)
    j = shifted - (form.magic + offset)
    f = fma(j, -form.ln2[0], x)
    return bitcast(shifted, form.integer), fma(j, -form.ln2[1], f)


def _power(bits: Expr, dtype: str) -> Expr:
    """2**(k - bias) where the low end of `bits` is k."""
    form = _F32 if dtype == "f32" else _F64
    return bitcast(bitwise("shl", bits, form.mantissa), dtype)


def _scale(p: Expr, bits: Expr) -> Expr:
    """p * 2**(k - 2 bias) in two exact steps, so that results reach into the subnormals."""
    half = bitwise("shr", bits, 1)
    return p * _power(half, p.dtype) * _power(bits - half, p.dtype)


@_each_precision("exp")
def _exp(x: Expr, form: _Format) -> Expr:
    bits, f = _split(_clamp(x, form.smallest, form.largest), 2 * form.bias)
    return _scale(polynomial(f, form.exp), bits)


def exp_of_moderate(x: Expr) -> Expr:
    """exp(x) where the result is a normal number or the argument NaN: one scaling, no limits."""
    form = _format(x)
    bits, f = _split(x, form.bias)
    return polynomial(f, form.exp) * _power(bits, x.dtype)


@_each_precision("exp2")
def _exp2(x: Expr, form: _Format) -> Expr:
    x = _clamp(x, form.smallest / math.log(2) - 1, form.bias + 2.0)
    magic = form.magic + 2 * form.bias
    shifted = x + magic
    f = x - (shifted - magic)
    return _scale(polynomial(f, form.exp2), bitcast(shifted, form.integer))


def exp2_or_zero(x: Expr) -> Expr:
    """2**x for x below the largest exponent, where what would be subnormal is 0."""
    form = _format(x)
    magic = form.magic + form.bias
    shifted = x + magic
    p = polynomial(x - (shifted - magic), form.exp2)
    return where(x < 1.0 - form.bias, 0.0, p * _power(bitcast(shifted, form.integer), x.dtype))


def exp2_of_moderate(x: Expr, power: list[float]) -> Expr:
    """2**x where the result is a normal number or x NaN; power: 2**f as a polynomial."""
    form = _format(x)
    shifted = x + (form.magic + form.bias)
    p = polynomial(x - (shifted - (form.magic + form.bias)), power)
    return p * _power(bitcast(shifted, form.integer), x.dtype)


def exp2_of_product(x: Expr, y: Expr, power: list[float], exponent: int) -> Expr:
    """2**(x y + exponent), x y not rounded, where that is a normal number or 0, or x y NaN."""
    form = _format(x)
    magic = form.magic + form.bias + exponent
    shifted = fma(x, y, magic)
    p = polynomial(fma(x, y, magic - shifted), power)
    return p * _power(bitcast(shifted, form.integer), x.dtype)


def exp_and_tail(x: Expr, tail: Expr) -> Expr:
    """exp(x + tail) for a tail far below the last bit of x."""
    form = _format(x)
    bits, f = _split(_clamp(x, form.smallest, form.largest), 2 * form.bias)
    p = polynomial(f, form.exp)
    return _scale(fma(p, tail, p), bits)


def _half_exp(t: Expr) -> Expr:
    """exp(t) / 2 for t >= 0, which overflows later than exp(t)."""
    form = _format(t)
    limit = form.largest + 0.5
    bits, f = _split(where(t > limit, const(limit, t.dtype), t), form.bias - 2)
    em = fma(f * f, polynomial(f, form.expm1), f)
    s = _power(bits, t.dtype)
    return 2.0 * fma(em, s, s)


@_each_precision("expm1")
def _expm1(x: Expr, form: _Format) -> Expr:
    bits, f = _split(_clamp(x, -form.one, form.largest), form.bias - 1)
    em = fma(f * f, polynomial(f, form.expm1), f)
    s = _power(bits, x.dtype)  # 2**(j - 1): 2**j would overflow early
    result = 2.0 * fma(em, s, s - 0.5)
    # half of the tiniest numbers would lose a bit, and -0 its sign
    return where(absolute(x) < 2.0**-60, x, result)


@expansion("sinh", "f32", "f64")
def _sinh(x: Expr) -> Expr:
    """(e**t - e**-t) / 2 for t >= 1, a polynomial below."""
    form = _format(x)
    t = absolute(x)
    half = _half_exp(t)
    q = t * t
    small = fma(q * t, polynomial(q, form.sinh), t)
    return copysign(where(t < 1.0, small, half - 0.25 / half), x)


@expansion("cosh", "f32", "f64")
def _cosh(x: Expr) -> Expr:
    half = _half_exp(absolute(x))
    return half + 0.25 / half


@_each_precision("sigmoid")
def _sigmoid(x: Expr, form: _Format) -> Expr:
    """1 / (1 + exp(-x)) as 0.5 / (0.5 + exp(-x) / 2); 0 where exp(-x) overflows."""
    highest = form.largest + 0.5  # there the power of two is an infinity, bit for bit
    bits, f = _split(_clamp(-x, -form.largest + 2.0, highest), form.bias - 1)
    return 0.5 / fma(polynomial(f, form.exp), _power(bits, x.dtype), 0.5)


@_each_precision("tanh")
def _tanh(x: Expr, form: _Format) -> Expr:
    """1 - 2 / (exp(2t) + 1) for t >= 0.6, a polynomial below."""
    t = absolute(x)
    bounded = where(t > form.one, const(form.one, x.dtype), t)
    shifted = fma(bounded, 2 / math.log(2), form.magic + form.bias)
    j = shifted - (form.magic + form.bias)
    f = fma(j, -0.5 * form.ln2[1], fma(j, -0.5 * form.ln2[0], bounded))
    # f is half of what the exponential wants: double each coefficient's share
    degree = len(form.exp) - 1
    p = polynomial(f, [c * 2.0 ** (degree - k) for k, c in enumerate(form.exp)])
    e = p * _power(bitcast(shifted, form.integer), x.dtype)
    large = 1.0 - 2.0 / (e + 1.0)
    q = t * t
    small = fma(q * t, polynomial(q, form.tanh), t)
    return copysign(where(t < 0.6, small, large), x)
