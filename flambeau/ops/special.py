"""Special functions."""

from __future__ import annotations

import functools
import math

from .. import core
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.lazy import special as functions
from ..kernels.scalar import where
from . import elementary
from .promotion import Promote
from .record import METHODS, alias, composite, make_inplace, pointwise

_BOTH, _SPECIAL = ("", "special"), ("special",)


def _define(
    name, function, doc, *, namespaces=_SPECIAL, aliases=(), method=False, inplace=False, vjp=None
):
    module, public = function

    def body(input):
        return getattr(module, public)(input)

    body.__doc__ = doc
    op = pointwise(
        name=name,
        aliases=aliases,
        promote=Promote.FLOAT,
        accepts="buif",
        namespaces=namespaces,
        method=method,
        inplace=inplace,
    )(body)
    if vjp is not None:
        op.vjp = vjp
    return op


erf = _define(
    "erf", (mathlib, "erf"), "Error function.", namespaces=_BOTH, method=True, inplace=True
)
erfc = _define(
    "erfc",
    (mathlib, "erfc"),
    "1 - erf(input), exact for large input.",
    namespaces=_BOTH,
    method=True,
    inplace=True,
)
erfinv = _define(
    "erfinv",
    (mathlib, "erfinv"),
    "Inverse of erf.",
    namespaces=_BOTH,
    method=True,
    inplace=True,
    vjp=lambda g, input: _erfinv_vjp(g, mathlib.erfinv(input)),
)


def _erfinv_vjp(g, value):
    return g * mathlib.exp(value * value) * (0.5 * math.sqrt(math.pi))


lgamma = _define(
    "lgamma",
    (mathlib, "lgamma"),
    "log |Gamma(input)|.",
    method=True,
    inplace=True,
    namespaces=("",),
)
alias("gammaln", lgamma, namespaces=_SPECIAL)
digamma = _define(
    "digamma",
    (mathlib, "digamma"),
    "Derivative of lgamma.",
    method=True,
    inplace=True,
    namespaces=("",),
)
alias("digamma", digamma, namespaces=_SPECIAL)
alias("psi", digamma, namespaces=_SPECIAL)
i0 = _define(
    "i0",
    (functions, "i0"),
    "Modified Bessel function of order 0.",
    namespaces=_BOTH,
    method=True,
    inplace=True,
)
i0e = _define("i0e", (functions, "i0e"), "exp(-|input|) i0(input).")
i1 = _define("i1", (functions, "i1"), "Modified Bessel function of order 1.")
i1e = _define("i1e", (functions, "i1e"), "exp(-|input|) i1(input).")
bessel_j0 = _define(
    "bessel_j0", (functions, "bessel_j0"), "Bessel function of the first kind, order 0."
)
bessel_j1 = _define(
    "bessel_j1", (functions, "bessel_j1"), "Bessel function of the first kind, order 1."
)
bessel_y0 = _define(
    "bessel_y0", (functions, "bessel_y0"), "Bessel function of the second kind, order 0."
)
bessel_y1 = _define(
    "bessel_y1", (functions, "bessel_y1"), "Bessel function of the second kind, order 1."
)
modified_bessel_i0 = _define(
    "modified_bessel_i0", (functions, "i0"), "Modified Bessel function of order 0."
)
modified_bessel_i1 = _define(
    "modified_bessel_i1", (functions, "i1"), "Modified Bessel function of order 1."
)
modified_bessel_k0 = _define(
    "modified_bessel_k0",
    (functions, "modified_bessel_k0"),
    "Modified Bessel function of the second kind, order 0.",
)
modified_bessel_k1 = _define(
    "modified_bessel_k1",
    (functions, "modified_bessel_k1"),
    "Modified Bessel function of the second kind, order 1.",
)
scaled_modified_bessel_k0 = _define(
    "scaled_modified_bessel_k0",
    (functions, "scaled_modified_bessel_k0"),
    "exp(input) modified_bessel_k0(input).",
)
scaled_modified_bessel_k1 = _define(
    "scaled_modified_bessel_k1",
    (functions, "scaled_modified_bessel_k1"),
    "exp(input) modified_bessel_k1(input).",
)
spherical_bessel_j0 = _define(
    "spherical_bessel_j0", (functions, "spherical_bessel_j0"), "sin(input) / input."
)
entr = _define("entr", (functions, "entr"), "-input log(input), 0 at 0, -inf below.")
ndtr = _define("ndtr", (functions, "ndtr"), "The normal distribution function.")
ndtri = _define("ndtri", (functions, "ndtri"), "Inverse of ndtr.")
log_ndtr = _define("log_ndtr", (functions, "log_ndtr"), "log(ndtr(input)).")
erfcx = _define("erfcx", (functions, "erfcx"), "exp(input**2) erfc(input).")


@pointwise(promote=Promote.FLOAT, namespaces=_BOTH, inplace=True)
def sinc(input):
    """sin(pi input) / (pi input), 1 at 0."""
    zero = scalar.eq(input, 0)
    x = where(zero, scalar.const(1, input.dtype), input * math.pi)
    return where(zero, scalar.const(1, input.dtype), mathlib.sin(x) / x)


def _sinc_vjp(g, input):
    x = input * math.pi
    zero = scalar.eq(input, 0)
    safe = where(zero, scalar.const(1, input.dtype), input)
    slope = (mathlib.cos(x) * x - mathlib.sin(x)) / (safe * safe * math.pi)
    return g * scalar.conj(where(zero, scalar.const(0, input.dtype), slope))


sinc.vjp = _sinc_vjp


@pointwise(promote=Promote.FLOAT, register=False, accepts="buif")
def xlog1py_body(input, other):
    """input * log1p(other), 0 where input is 0."""
    value = where(scalar.eq(input, 0), scalar.const(0, input.dtype), input * mathlib.log1p(other))
    return where(scalar.isnan(other), other, value)


xlog1py_body.vjp = lambda g, input, other: (
    g * where(scalar.eq(input, 0) & (other <= -1), scalar.const(0, g.dtype), mathlib.log1p(other)),
    g * input / (other + 1),
)


@composite(namespaces=_SPECIAL, method=False, out=True)
def xlog1py(input, other):
    """input * log1p(other), 0 where input is 0."""
    return xlog1py_body(input, other)


@pointwise(promote=Promote.FLOAT, register=False, accepts="buif")
def zeta_body(input, other):
    """Hurwitz zeta function."""
    return functions.zeta(input, other)


zeta_body.vjp = lambda g, input, other: (None, -g * input * functions.zeta(input + 1, other))


@composite(namespaces=_SPECIAL, method=False, out=True)
def zeta(input, other):
    """Hurwitz zeta function: the sum of (k + other) ** -input over k >= 0."""
    return zeta_body(input, other)


_polygammas: dict[int, object] = {}


def _polygamma_op(n):
    op = _polygammas.get(n)
    if op is None:

        def body(input):
            return functions.polygamma(n, input)

        op = pointwise(
            name=f"polygamma_{n}", promote=Promote.FLOAT, accepts="buif", register=False
        )(body)
        op.vjp = lambda g, input: g * functions.polygamma(n + 1, input)
        _polygammas[n] = op
    return op


@composite(namespaces=_BOTH, method=False, out=True)
def polygamma(n, input):
    """n-th derivative of digamma."""
    if isinstance(input, int) and hasattr(n, "dtype"):
        n, input = input, n
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return _polygamma_op(n)(input)


def _polygamma_method(self, n):
    """n-th derivative of digamma."""
    return polygamma(n, self)


METHODS["polygamma"] = composite(name="polygamma_method", register=False)(_polygamma_method)
METHODS["polygamma_"] = make_inplace(METHODS["polygamma"], "polygamma")


@composite(inplace=True, out=True, namespaces=_BOTH)
def mvlgamma(input, p):
    """Logarithm of the p-dimensional gamma function."""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    if input.numel() and float(input.min()) <= (p - 1) / 2:
        raise RuntimeError(f"All elements must be greater than (p-1)/2 = {(p - 1) / 2}")
    x = input if input.dtype.is_floating_point else input.to(core.get_default_dtype())
    total = sum(lgamma(x - 0.5 * i) for i in range(p))
    return total + p * (p - 1) / 4 * math.log(math.pi)


alias("multigammaln", mvlgamma, namespaces=_SPECIAL)


@pointwise(promote=Promote.FLOAT, register=False, accepts="buif")
def logit_body(input):
    """log(input / (1 - input))."""
    return mathlib.log(input / (1 - input))


logit_body.vjp = lambda g, input: where(
    (input < 0) | (input > 1), scalar.const(math.nan, g.dtype), g / (input * (1 - input))
)


@pointwise(promote=Promote.FLOAT, register=False, accepts="buif")
def logit_clamped(input, *, eps):
    """logit of input limited to [eps, 1 - eps]."""
    x = where(input < eps, eps, where(input > 1 - eps, 1 - eps, input))
    return mathlib.log(x / (1 - x))


logit_clamped.vjp = lambda g, input, eps: where(
    (input < eps) | (input > 1 - eps), scalar.const(0, g.dtype), g / (input * (1 - input))
)


@composite(inplace=True, out=True, namespaces=_BOTH)
def logit(input, eps=None):
    """log(input / (1 - input)), the inverse of the sigmoid.

    With eps, of input limited to [eps, 1 - eps].
    """
    return logit_body(input) if eps is None else logit_clamped(input, eps=float(eps))


alias("logit", logit, namespaces=_SPECIAL)
alias("round", elementary.round, namespaces=_SPECIAL)


# ---- orthogonal polynomials ----------------------------------------------------------------------


_FUSED = (3, 6, 12, 24)  # degrees up to which a polynomial is one kernel


def _recurrence(name, first, step, doc, start=1.0):
    """P_0 = start, P_1 = first(x), P_{k+1} = step(k, x, P_k, P_{k-1}), for integer degrees."""

    def evaluate(x, degree, top, choose):
        previous, current = x * 0 + start, first(x)
        result = choose(degree < 0, x * 0, choose(degree < 1, previous, current))
        for k in range(1, top):
            previous, current = current, step(k, x, current, previous)
            result = choose(degree > k, current, result)
        return result

    @functools.cache
    def fuse(top):
        def body(x, degree):
            return evaluate(x, degree, top, where)

        return pointwise(name=f"{name}_to_{top}", register=False, accepts="f")(body)

    def op(input, n):
        from .creation import scalar_tensor
        from .masked import where as choose
        from .type_info import promote_types

        if not hasattr(input, "dtype") and not hasattr(n, "dtype"):
            raise TypeError(f"{name}(): expected a Tensor in input or n")
        if not hasattr(n, "dtype"):
            n = scalar_tensor(n)
        if not hasattr(input, "dtype"):
            input = scalar_tensor(input, dtype=n.dtype if n.dtype.is_floating_point else None)
        kind = promote_types(input.dtype, n.dtype)
        kind = kind if kind.is_floating_point else core.get_default_dtype()
        x, degree = input.detach().to(kind), n.detach().to(kind).trunc()
        top = int(degree.max()) if degree.numel() else 0
        if top <= _FUSED[-1]:
            return fuse(min(most for most in _FUSED if most >= top))(x, degree)
        return evaluate(x, degree, min(top, 10000), choose)

    op.__doc__ = doc
    return composite(name=name, namespaces=_SPECIAL, method=False, out=True)(op)


chebyshev_polynomial_t = _recurrence(
    "chebyshev_polynomial_t",
    lambda x: x,
    lambda k, x, p, q: 2 * x * p - q,
    "Chebyshev polynomial of the first kind.",
)
chebyshev_polynomial_u = _recurrence(
    "chebyshev_polynomial_u",
    lambda x: 2 * x,
    lambda k, x, p, q: 2 * x * p - q,
    "Chebyshev polynomial of the second kind.",
)
chebyshev_polynomial_v = _recurrence(
    "chebyshev_polynomial_v",
    lambda x: 2 * x - 1,
    lambda k, x, p, q: 2 * x * p - q,
    "Chebyshev polynomial of the third kind.",
)
chebyshev_polynomial_w = _recurrence(
    "chebyshev_polynomial_w",
    lambda x: 2 * x + 1,
    lambda k, x, p, q: 2 * x * p - q,
    "Chebyshev polynomial of the fourth kind.",
)
shifted_chebyshev_polynomial_t = _recurrence(
    "shifted_chebyshev_polynomial_t",
    lambda x: 2 * x - 1,
    lambda k, x, p, q: (4 * x - 2) * p - q,
    "chebyshev_polynomial_t(2 input - 1).",
)
shifted_chebyshev_polynomial_u = _recurrence(
    "shifted_chebyshev_polynomial_u",
    lambda x: 4 * x - 2,
    lambda k, x, p, q: (4 * x - 2) * p - q,
    "chebyshev_polynomial_u(2 input - 1).",
)
shifted_chebyshev_polynomial_v = _recurrence(
    "shifted_chebyshev_polynomial_v",
    lambda x: 4 * x - 3,
    lambda k, x, p, q: (4 * x - 2) * p - q,
    "chebyshev_polynomial_v(2 input - 1).",
)
shifted_chebyshev_polynomial_w = _recurrence(
    "shifted_chebyshev_polynomial_w",
    lambda x: 4 * x - 1,
    lambda k, x, p, q: (4 * x - 2) * p - q,
    "chebyshev_polynomial_w(2 input - 1).",
)
hermite_polynomial_h = _recurrence(
    "hermite_polynomial_h",
    lambda x: 2 * x,
    lambda k, x, p, q: 2 * x * p - 2 * k * q,
    "Hermite polynomial (physicists').",
)
hermite_polynomial_he = _recurrence(
    "hermite_polynomial_he",
    lambda x: x,
    lambda k, x, p, q: x * p - k * q,
    "Hermite polynomial (probabilists').",
)
laguerre_polynomial_l = _recurrence(
    "laguerre_polynomial_l",
    lambda x: 1 - x,
    lambda k, x, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1),
    "Laguerre polynomial.",
)
legendre_polynomial_p = _recurrence(
    "legendre_polynomial_p",
    lambda x: x,
    lambda k, x, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1),
    "Legendre polynomial.",
)
