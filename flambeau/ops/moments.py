"""Variances and standard deviations along dimensions."""

from __future__ import annotations

import math

from .. import core
from ..kernels import dtypes as dt
from ..kernels import scalar
from ..kernels.scalar import count, reduce, where
from .promotion import Promote
from .record import composite, reduction
from .reduce import mean


def _squared_deviations(input):
    """Sum of |x - mean|^2 in two passes."""
    total = reduce.add(input)
    n = count(total.dtype)
    # the mean's own derivative cancels: the deviations sum to zero
    deviation = input - scalar.detach(total / n)
    if dt.is_complex(input.dtype):
        re, im = scalar.real(deviation), scalar.imag(deviation)
        return reduce.add(re * re + im * im)
    return reduce.add(deviation * deviation)


@reduction(dim=None, accepts="fc", promote=Promote.REAL, register=False)
def var_body(input, *, correction):
    """Variance with the divisor max(0, n - correction)."""
    squares = _squared_deviations(input)
    n = count(squares.dtype) - scalar.cast(correction, squares.dtype)
    n = where(n < 0, scalar.const(0, n.dtype), n)
    return squares / n


def _var_vjp(g, input, correction):
    mean_ = reduce.add(input) / count(input.dtype)
    part = dt.COMPLEX_PART.get(
        g.dtype, g.dtype
    )  # g is complex when this derivative is derived again
    n = count(part) - scalar.cast(correction, part)
    n = where(n < 0, scalar.const(0, part), n)
    return scalar.cast(2 * g / scalar.cast(n, g.dtype), input.dtype) * (input - mean_)


var_body.vjp = _var_vjp


def _correction(unbiased, correction):
    if correction is not None:
        return correction
    return 1 if unbiased is None or unbiased else 0


def _moment_arguments(dim, unbiased):
    """var(x, True) means unbiased; var(x, 1) means dim 1."""
    if isinstance(dim, bool):
        return None, dim
    return dim, unbiased


def _check_float(name, input):
    if not (input.dtype.is_floating_point or input.dtype.is_complex):
        raise RuntimeError(
            f"{name} only support floating point and complex dtypes, got {input.dtype}: convert "
            "with .float()"
        )


def _warn_few(name, input, dim, correction):
    n = (
        input.numel()
        if dim is None or dim == () or dim == []
        else math.prod(input.size(d) for d in (dim if isinstance(dim, tuple | list) else (dim,)))
        if input.dim()
        else 1
    )
    if n - correction <= 0:
        import warnings

        core.not_replayable()
        warnings.warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the "
            "reduction factor (input numel divided by output numel).",
            stacklevel=4,
        )


@composite(out=True)
def var(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """Variance along dim, with the divisor n - correction (1 by default)."""
    dim, unbiased = _moment_arguments(dim, unbiased)
    _check_float("var", input)
    c = _correction(unbiased, correction)
    _warn_few("var", input, dim, c)
    return var_body(input, dim, keepdim, correction=float(c))


@composite(out=True)
def std(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """Standard deviation along dim, with the divisor n - correction (1 by default)."""
    dim, unbiased = _moment_arguments(dim, unbiased)
    _check_float("std", input)
    c = _correction(unbiased, correction)
    _warn_few("std", input, dim, c)
    return _safe_sqrt(var_body(input, dim, keepdim, correction=float(c)))


def _safe_sqrt(x):
    from .elementary import sqrt

    return sqrt(x)


@composite
def var_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """(variance, mean) along dim."""
    dim, unbiased = _moment_arguments(dim, unbiased)
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


@composite
def std_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """(standard deviation, mean) along dim."""
    dim, unbiased = _moment_arguments(dim, unbiased)
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)
