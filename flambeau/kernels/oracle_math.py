"""Elementary and special functions for the oracle, in float64: NumPy's, Python's, or a series."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def elementwise(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of one Python float over arrays; where it refuses (a pole, a domain), NaN."""

    def guarded(x: float) -> float:
        try:
            return function(x)
        except (ValueError, OverflowError, ZeroDivisionError):
            return math.nan

    over = np.frompyfunc(guarded, 1, 1)
    return lambda x: np.asarray(over(x), dtype=np.float64)


def _lgamma(x: float) -> float:
    if math.isinf(x) or x > 2.5e305 or (x <= 0 and x == math.floor(x)):
        return math.inf
    return math.lgamma(x)


def _cotangent_pi(f: float) -> float:
    """cot(pi f) for |f| <= 1/2, measured from its zeros at the ends where it is small."""
    if abs(f) > 0.25:
        return math.copysign(math.tan(math.pi * (0.5 - abs(f))), f)
    return 1 / math.tan(math.pi * f)


def _digamma(x: float) -> float:
    """Reflection for negative x, recurrence up to 30, then the asymptotic series."""
    if x == 0:
        return -math.copysign(math.inf, x)
    if x < 0:
        if x == math.floor(x):
            return math.nan
        return _digamma(1 - x) - math.pi * _cotangent_pi(x - round(x))
    terms = []
    while x < 30:
        terms.append(-1 / x)
        x += 1
    r = 1 / (x * x)
    series = r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132))))
    return math.fsum([*terms, math.log(x), -0.5 / x, -series])


def _erfinv(y: float) -> float:
    """A rational start (Winitzki's formula), then Newton's method on erf or, near 1, on erfc."""
    if not -1 < y < 1:
        return math.copysign(math.inf, y) if abs(y) == 1 else math.nan
    if y == 0:
        return y
    size = abs(y)
    tail = 1 - size
    logarithm = math.log(tail * (1 + size))
    a = 2 / (math.pi * 0.147) + logarithm / 2
    x = size * math.sqrt(math.pi) / 2
    if size > 1e-8:
        x = math.sqrt(math.sqrt(a * a - logarithm / 0.147) - a)
    for _ in range(6):
        error = math.erf(x) - size if size < 0.5 else tail - math.erfc(x)
        step = error / (2 / math.sqrt(math.pi) * math.exp(-x * x))
        x -= step / (1 + x * step)
    return math.copysign(x, y)


def _complex_log1p(z: np.ndarray) -> np.ndarray:
    real = 0.5 * np.log1p(z.real * (2 + z.real) + z.imag * z.imag)
    return real + 1j * np.angle(1 + z)


def _log1p(x: np.ndarray) -> np.ndarray:
    return _complex_log1p(x) if np.iscomplexobj(x) else np.log1p(x)


FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": _log1p,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "hypot": np.hypot,
    "fmod": np.fmod,
    "pow": np.power,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "erf": elementwise(math.erf),
    "erfc": elementwise(math.erfc),
    "erfinv": elementwise(_erfinv),
    "lgamma": elementwise(_lgamma),
    "digamma": elementwise(_digamma),
}
