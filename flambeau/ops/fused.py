"""Ops of several steps that are one kernel each: addcmul, lerp, xlogy, logaddexp."""

from __future__ import annotations

import math

from ..kernels import dtypes as dt
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import where
from .elementary import sigmoid_body
from .promotion import Promote
from .record import composite, pointwise


@pointwise(inplace=True, accepts="uifc")
def addcmul(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 * tensor2."""
    return input + scalar.cast(value, input.dtype) * tensor1 * tensor2


@pointwise(inplace=True, accepts="fc")
def addcdiv(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 / tensor2."""
    return input + scalar.cast(value, input.dtype) * tensor1 / tensor2


@pointwise(name="lerp", register=False, accepts="fc")
def lerp_body(input, end, weight):
    """input + weight * (end - input), exact at both ends."""
    near = scalar.absolute(weight) < 0.5
    return where(near, input + weight * (end - input), end - (end - input) * (1 - weight))


lerp_body.vjp = lambda g, input, end, weight: (
    g * (1 - scalar.conj(weight)),
    g * scalar.conj(weight),
    g * scalar.conj(end - input),
)


@composite(inplace=True, out=True)
def lerp(input, end, weight):
    """input + weight * (end - input)."""
    for other, what in ((end, "end"), (weight, "weight")):
        if hasattr(other, "dtype") and other.dtype != input.dtype:
            raise RuntimeError(
                f"lerp: expected dtype {input.dtype} for `{what}` but got dtype {other.dtype}"
            )
    return lerp_body(input, end, weight)


@pointwise(name="xlogy", promote=Promote.FLOAT, register=False, accepts="buif")
def xlogy_body(input, other):
    """input * log(other), 0 where input is 0."""
    zero = scalar.const(0, input.dtype)
    value = where(scalar.eq(input, 0), zero, input * mathlib.log(other))
    return where(scalar.isnan(other), other, value)


xlogy_body.vjp = lambda g, input, other: (
    g * where(scalar.eq(input, 0) & (other <= 0), scalar.const(0, g.dtype), mathlib.log(other)),
    g * input / other,
)


@composite(inplace=True, out=True, namespaces=("", "special"))
def xlogy(input, other):
    """input * log(other), 0 where input is 0."""
    return xlogy_body(input, other)


@pointwise(promote=Promote.FLOAT, accepts="fc", tensors=("input", "other"))
def logaddexp(input, other):
    """log(exp(input) + exp(other)) without overflow."""
    if dt.is_complex(input.dtype):
        return _logaddexp_complex(input, other)
    high, low = scalar.maximum(input, other), scalar.minimum(input, other)
    return where(
        scalar.eq(high, low) & scalar.isinf(high),
        high,
        high + mathlib.log1p(mathlib.exp(low - high)),
    )


def _logaddexp_complex(a, b):
    """Relative to the one with the larger real part."""
    first = scalar.real(a) >= scalar.real(b)
    high, low = where(first, a, b), where(first, b, a)
    value = high + mathlib.log1p(mathlib.exp(low - high))
    top = scalar.real(high)
    both = scalar.isinf(top) & scalar.eq(top, scalar.real(low))
    return where(
        both, where(top < 0, low, mathlib.log(mathlib.exp(low) + mathlib.exp(high))), value
    )


logaddexp.vjp = lambda g, input, other: (
    g * scalar.conj(sigmoid_body(input - other)),
    g * scalar.conj(sigmoid_body(other - input)),
)


@pointwise(promote=Promote.FLOAT, accepts="f", tensors=("input", "other"))
def logaddexp2(input, other):
    """log2(2**input + 2**other) without overflow."""
    high, low = scalar.maximum(input, other), scalar.minimum(input, other)
    value = high + mathlib.log1p(mathlib.exp2(low - high)) * (1 / math.log(2))
    return where(scalar.eq(high, low) & scalar.isinf(high), high, value)


logaddexp2.vjp = lambda g, input, other: (
    g * sigmoid_body((input - other) * math.log(2)),
    g * sigmoid_body((other - input) * math.log(2)),
)
