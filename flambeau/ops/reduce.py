"""Reductions: sums, products, extremes and statistics along dimensions."""

from __future__ import annotations

from ..kernels.scalar import count, reduce
from .promotion import Promote
from .record import reduction


@reduction(promote=Promote.SUM, dim=None, dtype=True)
def sum(input):
    """Sum of the elements along dim."""
    return reduce.add(input)


@reduction(promote=Promote.DEFAULT, dim=None, dtype=True, accepts="fc")
def mean(input):
    """Mean of the elements along dim."""
    total = reduce.add(input)
    return total / count(total.dtype)
