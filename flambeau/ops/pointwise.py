"""Arithmetic, element by element: what the operators + - * / and their kin call."""

from __future__ import annotations

from ..kernels import scalar
from .record import pointwise
from .promotion import Promote


@pointwise(inplace=True, operator="add")
def add(input, other, *, alpha=1):
    """input + alpha * other."""
    return input + other * scalar.cast(alpha, other.dtype)


@pointwise(inplace=True, aliases=("subtract",), operator="sub", accepts="uifc")
def sub(input, other, *, alpha=1):
    """input - alpha * other."""
    return input - other * scalar.cast(alpha, other.dtype)


@pointwise(inplace=True, aliases=("multiply",), operator="mul")
def mul(input, other):
    """input * other."""
    return input * other


@pointwise(register=False, promote=Promote.FLOAT)
def true_divide(input, other):
    """input / other, in floating point."""
    return input / other


@pointwise(inplace=True, aliases=("negative",), accepts="uifc")
def neg(input):
    """-input."""
    return -input


@pointwise(register=False)
def copy(input):
    """The elements themselves: copies and conversions."""
    return input
