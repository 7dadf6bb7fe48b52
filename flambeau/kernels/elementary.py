"""The table of elementary functions and their derivatives; `mathlib` adds how they are computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from . import dtypes as dt
from .scalar import (
    Expr,
    call,
    compare,
    const,
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
    # partials(out, *args) -> one derivative per argument, NotImplemented for one there is none for
    partials: Callable | None
    libm: str | None  # C name for float64; the float32 name has an f behind it
    # bodies by dtype; "complex" serves both complex types, ROUGH what ends in a half type
    expand: dict[str, Callable] = field(default_factory=dict)


Call = Callable[..., Expr]  # what `define` gives: makes a node that calls the function

FUNCTIONS: dict[str, Function] = {}


def define(name: str, partials: Callable | None, arity: int = 1, libm: str | None = "") -> Call:
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


ROUGH = "rough"  # computes in float32, with relative errors of 1e-5 at most

TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)

exp: Call = define("exp", lambda out, x: [out])
exp2: Call = define("exp2", lambda out, x: [out * math.log(2)])
expm1: Call = define("expm1", lambda out, x: [out + 1])
log: Call = define("log", lambda out, x: [1 / x])
log2: Call = define("log2", lambda out, x: [1 / (x * math.log(2))])
log10: Call = define("log10", lambda out, x: [1 / (x * math.log(10))])
log1p: Call = define("log1p", lambda out, x: [1 / (x + 1)])
sin: Call = define("sin", lambda out, x: [cos(x)])
cos: Call = define("cos", lambda out, x: [-sin(x)])
tan: Call = define("tan", lambda out, x: [1 + out * out])
asin: Call = define("asin", lambda out, x: [1 / sqrt(1 - x * x)])
acos: Call = define("acos", lambda out, x: [-1 / sqrt(1 - x * x)])
atan: Call = define("atan", lambda out, x: [1 / (1 + x * x)])
sinh: Call = define("sinh", lambda out, x: [cosh(x)])
cosh: Call = define("cosh", lambda out, x: [sinh(x)])
tanh: Call = define("tanh", lambda out, x: [1 - out * out])
sigmoid: Call = define("sigmoid", lambda out, x: [out * (1 - out)], libm=None)
asinh: Call = define("asinh", lambda out, x: [1 / sqrt(x * x + 1)])
acosh: Call = define("acosh", lambda out, x: [1 / (sqrt(x - 1) * sqrt(x + 1))])
atanh: Call = define("atanh", lambda out, x: [1 / (1 - x * x)])
erf: Call = define("erf", lambda out, x: [TWO_OVER_SQRT_PI * exp(-x * x)])
erfinv: Call = define(
    "erfinv", lambda out, x: [0.5 * math.sqrt(math.pi) * exp(out * out)], libm=None
)
# the normal distribution function; special.ndtr is more exact far out on the left
normal_cdf: Call = define(
    "normal_cdf", lambda out, x: [exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))], libm=None
)
erfc: Call = define("erfc", lambda out, x: [-TWO_OVER_SQRT_PI * exp(-x * x)])
lgamma: Call = define("lgamma", lambda out, x: [digamma(x)])
digamma: Call = define("digamma", lambda out, x: [_trigamma(x)], libm=None)
atan2: Call = define("atan2", lambda out, y, x: [x / (x * x + y * y), -y / (x * x + y * y)], 2)
hypot: Call = define("hypot", lambda out, x, y: [_ratio(x, out), _ratio(y, out)], 2)
fmod: Call = define("fmod", lambda out, x, y: [const(1, x.dtype), -_truncated(x / y)], 2)
define("sqrt", lambda out, x: [0.5 / out])
pow: Call = define(
    "pow",
    lambda out, x, y: [
        where(eq(y, 0), const(0, x.dtype), y * pow(x, y - 1)),
        where(eq(x, 0) & _not_negative(y), const(0, x.dtype), out * log(x)),
    ],
    2,
)


def _trigamma(x: Expr) -> Expr:
    from .special import polygamma

    return polygamma(1, x)


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
