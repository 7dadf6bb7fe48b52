"""Roots of unity, as the kernels of Fourier transforms read them.

Every number is the cosine or sine of an angle of at most an eighth of a turn, so that it is as
exact as its type, and quarter turns are exact.
"""

from __future__ import annotations

import math
from functools import lru_cache

from .. import core
from ..core import Tensor
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import where
from .record import pointwise

# cos(t + k quarters) for exp(-i t) = cos(t) - i sin(t) and -i exp(-i t) = -sin(t) - i cos(t)
_COSINE, _MINUS_SINE, _MINUS_COSINE, _SINE = 0, 1, 2, 3
_F64 = core.dtypes[9]


@pointwise(register=False, accepts="f")
def _cosine_of_turns(j, k, *, n=1.0, quarters=0.0):
    """cos(2 pi j k / n + quarters pi / 2) for whole numbers, below 2**53 when multiplied."""
    product = j * k
    left = product - scalar.floor(product / n) * n
    turn = left * 4.0 + n * quarters  # in units of a turn / (4 n)
    turn = where(turn >= n * 4.0, turn - n * 4.0, turn)
    turn = where(turn > n * 2.0, n * 4.0 - turn, turn)
    beyond = turn > n
    turn = where(beyond, n * 2.0 - turn, turn)
    nearer_sine = turn * 2.0 > n
    angle = where(nearer_sine, n - turn, turn) / n * (math.pi / 2)
    value = where(nearer_sine, mathlib.sin(angle), mathlib.cos(angle))
    return where(beyond, -value, value)


def _numbers(first: int, count: int, *shape: int) -> Tensor:
    from .sequences import arange

    return arange(first, first + count, dtype=_F64).view(*shape)


def _pairs(j: Tensor, k: Tensor, n: int, quarters: tuple[int, int], dim: int, dtype: str) -> Tensor:
    """Two tables beside each other in a new dimension."""
    from .join import stack

    parts = [_cosine_of_turns(j, k, n=float(n), quarters=float(q)) for q in quarters]
    made = stack(parts, dim)
    return made if dtype == "f64" else made.float()


def _plainly(make):
    """Modes that watch ops are not to see how tables are made; the latest ones are kept."""

    def run(*args) -> Tensor:
        depth = core.set_depth(0)
        try:
            return make(*args)
        finally:
            core.set_depth(depth)

    run.__doc__ = make.__doc__
    return lru_cache(maxsize=64)(run)


@_plainly
def twiddles(columns: int, radix: int, whole: bool, dtype: str) -> Tensor:
    """exp(-2 pi i p k / n) for p < columns and k < radix, without k = 0 unless `whole`."""
    first = 0 if whole else 1
    p = _numbers(0, columns, columns, 1)
    k = _numbers(first, radix - first, 1, radix - first)
    return _pairs(p, k, columns * radix, (_COSINE, _MINUS_SINE), 2, dtype)


@_plainly
def prime_roots(prime: int, dtype: str) -> Tensor:
    """For 0 < j, k <= prime // 2: cosines of j k turns / prime, then sines, for each j."""
    half = prime // 2
    j, k = _numbers(1, half, half, 1), _numbers(1, half, 1, half)
    return _pairs(j, k, prime, (_COSINE, _SINE), 1, dtype)


@_plainly
def turn_roots(half: int, conjugate: bool, dtype: str) -> Tensor:
    """-i exp(-pi i k / half) for k <= half / 2, or its conjugate."""
    count = half // 2 + 1
    parts = _MINUS_SINE, _COSINE if conjugate else _MINUS_COSINE
    return _pairs(_numbers(0, count, count), _numbers(1, 1, 1), 2 * half, parts, 1, dtype)


@_plainly
def roots(rows: int, step: int, columns: int, n: int, width: int, dtype: str) -> Tensor:
    """exp(-2 pi i j k step / n) for k < rows and j < columns, in blocks of `width` columns."""
    j = _numbers(0, columns, 1, columns // width, width)
    k = _numbers(0, rows, rows, 1, 1) * float(step)
    return _pairs(j, k, n, (_COSINE, _MINUS_SINE), 2, dtype)


@_plainly
def chirp(n: int, dtype: str) -> Tensor:
    """exp(-pi i j j / n) for j < n."""
    from .complex_views import view_as_complex

    j = _numbers(0, n, n)
    return view_as_complex(_pairs(j, j, 2 * n, (_COSINE, _MINUS_SINE), 1, dtype))
