"""Discrete Fourier transforms as matrix products, for lengths with two small factors.

With n = n1 n2, j = n2 j1 + j2 and k = k1 + n1 k2 (Cooley and Tukey, 1965):

    X[k] = sum_j2 F2[k2, j2] (W^(j2 k1) sum_j1 F1[k1, j1] x[j]),    W = exp(-2 pi i / n)

Both sums are products with small matrices of roots of unity. They need more multiplications than
the fast transform, but at the rate of matrix products, and on several threads.
"""

from __future__ import annotations

import math
from functools import lru_cache

from .. import core
from ..core import Tensor
from .array import from_array

# The greatest n1 + n2, the multiplications per element, that is worth it.
MOST = {"complex64": 128, "complex128": 64}


def split(n: int, dtype: core.dtype) -> tuple[int, int] | None:
    """(n1, n2) as near to each other as can be; None where products would take too long."""
    small = max(d for d in range(1, math.isqrt(n) + 1) if n % d == 0)
    return (small, n // small) if small + n // small <= MOST[dtype.name] else None


def transform(input: Tensor, dims: tuple[int, ...], power: float, forward: bool) -> Tensor | None:
    """The transform of a complex tensor over dims, divided by n**power for each; None where a
    length does not split.
    """
    splits = [found for d in dims if (found := split(input.shape[d], input.dtype))]
    if len(splits) < len(dims):
        return None
    for d, (n1, n2) in zip(dims, splits, strict=True):
        turned = core.contiguous_plain(input.movedim(d, -1))
        scale = (n1 * n2) ** -power
        input = _transform_rows(turned, n1, n2, scale, forward).movedim(-1, d)
    return core.contiguous_plain(input)


def _transform_rows(input: Tensor, n1: int, n2: int, scale: float, forward: bool) -> Tensor:
    """The transform over the last dimension of a contiguous tensor."""
    first, twiddles, second = _tables(n1, n2, scale, forward, input.dtype.name)
    rows = input.view(-1, n1, n2)
    if n1 > 1:
        rows = core.product(first, rows)
        rows *= twiddles
    return core.product(second, rows, tb=True).view(*input.shape)


@lru_cache(maxsize=32)
def _tables(n1: int, n2: int, scale: float, forward: bool, dtype: str) -> tuple[Tensor, ...]:
    """F1, the factors between the products, and F2 times scale."""
    import numpy

    def roots(rows: int, columns: int, n: int) -> numpy.ndarray:
        turns = numpy.outer(numpy.arange(rows), numpy.arange(columns)) % n / n
        values = numpy.exp((-2j if forward else 2j) * math.pi * turns)
        for part in (values.real, values.imag):
            part[abs(part) < 1e-15] = 0  # quarter turns are exact
        return values

    tables = roots(n1, n1, n1), roots(n1, n2, n1 * n2), roots(n2, n2, n2) * scale
    return tuple(from_array(table.astype(dtype)) for table in tables)
