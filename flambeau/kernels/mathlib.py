"""The elementary functions: values, derivatives, and their expansion into machine operations.

Each function is written once over scalar handles, so every backend has it. Where no expansion is
given for a type, the LLVM backend calls the C library's function lane by lane.
"""

from __future__ import annotations

# Importing a module of expansions registers them.
from . import (
    expand_complex,  # noqa: F401
    expand_erf,  # noqa: F401
    expand_exp,  # noqa: F401
    expand_gamma,  # noqa: F401
    expand_log,  # noqa: F401
    expand_power,  # noqa: F401
    expand_trig,  # noqa: F401
)
from .elementary import (
    FUNCTIONS,
    Function,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cos,
    cosh,
    define,
    digamma,
    erf,
    erfc,
    erfinv,
    exp,
    exp2,
    expansion,
    expm1,
    fmod,
    hypot,
    lgamma,
    log,
    log1p,
    log2,
    log10,
    normal_cdf,
    polynomial,
    pow,
    sigmoid,
    sin,
    sinh,
    tan,
    tanh,
)

__all__ = [
    "FUNCTIONS",
    "Function",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cos",
    "cosh",
    "define",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expansion",
    "expm1",
    "fmod",
    "hypot",
    "lgamma",
    "log",
    "log1p",
    "log2",
    "log10",
    "normal_cdf",
    "polynomial",
    "pow",
    "sigmoid",
    "sin",
    "sinh",
    "tan",
    "tanh",
]
