"""Vector norms, counts and log-sum-exp along dimensions."""

from __future__ import annotations

import math

from ..kernels import dtypes as dt
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import reduce, where
from .extremes import amax, amin
from .promotion import Promote
from .record import composite, reduction
from .reduce import sum


@reduction(dim=None, dtype=True, promote=Promote.FLOAT, accepts="fc", register=False)
def logsumexp_body(input):
    """log(sum(exp(input))) without overflow."""
    if dt.is_complex(input.dtype):
        top = scalar.detach(reduce.max(scalar.real(input)))
        top = scalar.cast(where(scalar.isinf(top), scalar.const(0, top.dtype), top), input.dtype)
        return mathlib.log(reduce.add(mathlib.exp(input - top))) + top
    top = scalar.detach(reduce.max(input))
    top = where(scalar.isinf(top), scalar.const(0, top.dtype), top)
    return mathlib.log(reduce.add(mathlib.exp(input - top))) + top


logsumexp_body.vjp = lambda g, input, out: (
    g
    * scalar.conj(
        mathlib.exp(input - out)
        if dt.is_complex(input.dtype)
        else where(
            scalar.isinf(out) & scalar.eq(input, out),
            scalar.const(1, input.dtype),
            mathlib.exp(input - out),
        )
    )
)


@composite(out=True, namespaces=("", "special"))
def logsumexp(input, dim, keepdim=False):
    """log(sum(exp(input))) along dim, without overflow."""
    if input.numel() == 0:
        from .elementary import exp, log

        return log(sum(exp(input), dim, keepdim))
    return logsumexp_body(input, dim, keepdim)


@reduction(dim=None, promote=Promote.SUM, register=False)
def count_nonzero_body(input):
    """How many elements are nonzero."""
    return reduce.add(scalar.cast(scalar.cast(input, "bool"), "i64"))


@composite
def count_nonzero(input, dim=None):
    """How many elements along dim are nonzero (int64)."""
    return sum((input != 0), dim)


@reduction(dim=None, dtype=True, accepts="fc", promote=Promote.FLOAT_REAL, register=False)
def norm2_body(input):
    """Euclidean norm."""
    return scalar.sqrt(reduce.add(_square_norm(input)))


def _square_norm(x):
    if dt.is_complex(x.dtype):
        return scalar.real(x) * scalar.real(x) + scalar.imag(x) * scalar.imag(x)
    return x * x


def _norm2_vjp(g, input, out):
    scale = where(scalar.eq(out, 0), scalar.const(0, out.dtype), g / out)
    return input * scalar.cast(scale, input.dtype)


norm2_body.vjp = _norm2_vjp


@reduction(dim=None, dtype=True, accepts="fc", promote=Promote.FLOAT_REAL, register=False)
def norm1_body(input):
    """Sum of moduli."""
    return reduce.add(scalar.absolute(input))


def _norm1_vjp(g, input):
    if dt.is_complex(input.dtype):
        norm = scalar.absolute(input)
        direction = input / scalar.cast(norm, input.dtype)
        direction = where(scalar.eq(norm, 0), scalar.const(0, input.dtype), direction)
        return direction * scalar.cast(g, input.dtype)
    zero, one = scalar.const(0, g.dtype), scalar.const(1, g.dtype)
    return g * where(input > 0, one, where(input < 0, -one, zero))


norm1_body.vjp = _norm1_vjp


@reduction(dim=None, dtype=True, accepts="fc", promote=Promote.FLOAT_REAL, register=False)
def norm0_body(input):
    """How many elements are nonzero, as a float."""
    return reduce.add(
        scalar.cast(scalar.ne(input, 0), dt.COMPLEX_PART.get(input.dtype, input.dtype))
    )


norm0_body.vjp = lambda g, input: None


def vector_norm_along(x, ord, dim, keepdim, dtype=None):
    """The p-norm of the elements along dim (None: all of them)."""
    if ord == 2:
        return norm2_body(x, dim, keepdim, dtype=dtype)
    if ord == 1:
        return norm1_body(x, dim, keepdim, dtype=dtype)
    if ord == 0:
        return norm0_body(x, dim, keepdim, dtype=dtype)
    from .arithmetic import abs

    if dtype is not None:
        x = x.to(dtype)
    size = abs(x)
    if ord in (math.inf, -math.inf):
        return (amax if ord > 0 else amin)(size, () if dim is None else dim, keepdim)
    return _p_norm(size, float(ord), dim, keepdim)


@reduction(dim=None, accepts="f", register=False)
def p_norm_body(input, *, p):
    """(sum of input**p)**(1/p) of non-negative input."""
    return mathlib.pow(reduce.add(mathlib.pow(input, p)), 1 / p)


def _p_norm_vjp(g, input, p, out):
    zero = scalar.const(0, g.dtype)
    ratio = where(scalar.eq(out, 0), zero, input / out)
    inner = where(scalar.eq(input, 0) & (p < 1), zero, mathlib.pow(ratio, p - 1))
    return where(scalar.eq(out, 0), zero, g * inner)


p_norm_body.vjp = _p_norm_vjp


def _p_norm(size, p, dim, keepdim):
    return p_norm_body(size, dim, keepdim, p=p)
