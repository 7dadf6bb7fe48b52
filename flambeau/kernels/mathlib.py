"""The elementary functions: derivative, expansion into machine operations, NumPy counterpart.

Each function is written once over scalar handles, so every backend has it. Where no expansion is given
for a type, the LLVM backend calls the C library's function lane by lane.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from . import dtypes as dt
from .scalar import (
    Expr,
    call,
    cast,
    compare,
    const,
    copysign,
    eq,
    fma,
    imag,
    real,
    sqrt,
    where,
)


@dataclass(slots=True)
class Function:
    """One elementary function `name(*args)`."""

    name: str
    arity: int
    partials: Callable | None  # partials(out, *args) -> one derivative per argument
    libm: str | None  # C name for float64; the float32 name has an f behind it
    expand: dict[str, Callable] = field(
        default_factory=dict
    )  # by dtype; "complex" for complex types


FUNCTIONS: dict[str, Function] = {}


def define(name: str, partials: Callable | None, arity: int = 1, libm: str | None = "") -> Callable:
    """Register a function and return the Python callable that builds a call of it."""
    FUNCTIONS[name] = Function(name, arity, partials, name if libm == "" else libm)

    def build(*args: Expr) -> Expr:
        if len(args) != arity:
            raise TypeError(f"{name} takes {arity} arguments, got {len(args)}")
        like = next(a.dtype for a in args if isinstance(a, Expr))
        return call(name, *(a if isinstance(a, Expr) else const(a, like) for a in args))

    build.__name__ = name
    return build


def expansion(name: str, *types: str) -> Callable:
    """Decorator: this body computes function `name` on these types."""

    def register(body: Callable) -> Callable:
        for dtype in types:
            FUNCTIONS[name].expand[dtype] = body
        return body

    return register


TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)

exp = define("exp", lambda out, x: [out])
exp2 = define("exp2", lambda out, x: [out * math.log(2)])
expm1 = define("expm1", lambda out, x: [out + 1])
log = define("log", lambda out, x: [1 / x])
log2 = define("log2", lambda out, x: [1 / (x * math.log(2))])
log10 = define("log10", lambda out, x: [1 / (x * math.log(10))])
log1p = define("log1p", lambda out, x: [1 / (x + 1)])
sin = define("sin", lambda out, x: [cos(x)])
cos = define("cos", lambda out, x: [-sin(x)])
tan = define("tan", lambda out, x: [1 + out * out])
asin = define("asin", lambda out, x: [1 / sqrt(1 - x * x)])
acos = define("acos", lambda out, x: [-1 / sqrt(1 - x * x)])
atan = define("atan", lambda out, x: [1 / (1 + x * x)])
sinh = define("sinh", lambda out, x: [cosh(x)])
cosh = define("cosh", lambda out, x: [sinh(x)])
tanh = define("tanh", lambda out, x: [1 - out * out])
asinh = define("asinh", lambda out, x: [1 / sqrt(x * x + 1)])
acosh = define("acosh", lambda out, x: [1 / (sqrt(x - 1) * sqrt(x + 1))])
atanh = define("atanh", lambda out, x: [1 / (1 - x * x)])
erf = define("erf", lambda out, x: [TWO_OVER_SQRT_PI * exp(-x * x)])
erfinv = define("erfinv", lambda out, x: [0.5 * math.sqrt(math.pi) * exp(out * out)], libm=None)
erfc = define("erfc", lambda out, x: [-TWO_OVER_SQRT_PI * exp(-x * x)])
lgamma = define("lgamma", lambda out, x: [digamma(x)])
digamma = define("digamma", None, libm=None)
atan2 = define("atan2", lambda out, y, x: [x / (x * x + y * y), -y / (x * x + y * y)], 2)
hypot = define("hypot", lambda out, x, y: [_ratio(x, out), _ratio(y, out)], 2)
fmod = define("fmod", lambda out, x, y: [const(1, x.dtype), -_truncated(x / y)], 2)
_sqrt_of_complex = define("sqrt", lambda out, x: [0.5 / out])
pow = define(
    "pow",
    lambda out, x, y: [
        where(eq(y, 0), const(0, x.dtype), y * pow(x, y - 1)),
        where(eq(x, 0) & _not_negative(y), const(0, x.dtype), out * log(x)),
    ],
    2,
)


def _truncated(x: Expr) -> Expr:
    from .scalar import trunc

    return trunc(x)


def _ratio(x: Expr, norm: Expr) -> Expr:
    return where(eq(norm, 0), const(0, x.dtype), x / norm)


def _not_negative(y: Expr) -> Expr:
    if dt.is_complex(y.dtype):
        return compare("ge", real(y), 0) & eq(imag(y), 0)
    return compare("ge", y, 0)


def polynomial(x: Expr, coefficients: list[float]) -> Expr:
    """Horner's rule with fused multiply-adds, highest power first."""
    result = const(coefficients[0], x.dtype)
    for c in coefficients[1:]:
        result = fma(result, x, c)
    return result


@expansion("digamma", "f64")
def _digamma(x: Expr) -> Expr:
    """Recurrence up to 10, then the asymptotic series; reflection for negative arguments."""
    from .scalar import floor, trunc

    negative = compare("le", x, 0.0)
    y = where(negative, 1.0 - x, x)
    shift = const(0.0, x.dtype)
    for _ in range(10):
        small = compare("lt", y, 10.0)
        shift = where(small, shift - 1.0 / y, shift)
        y = where(small, y + 1.0, y)
    r = 1.0 / (y * y)
    series = polynomial(
        r,
        [1 / 12, -691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12],
    )
    value = log(y) - 0.5 / y - r * series + shift
    fraction = x - floor(x)
    reflected = value - math.pi / tan(fraction * math.pi)
    pole = negative & eq(trunc(x), x)
    result = where(negative, reflected, value)
    result = where(pole, const(math.nan, x.dtype), result)
    return where(eq(x, 0.0), copysign(const(-math.inf, x.dtype), -x), result)


@expansion("digamma", "f32")
def _digamma_f32(x: Expr) -> Expr:
    return cast(_digamma(cast(x, "f64")), "f32")


# The expansions register themselves; they are written with the names above, hence the late imports.
from . import expand_complex, expand_erf, expand_exp, expand_log, expand_trig  # noqa: E402, F401
