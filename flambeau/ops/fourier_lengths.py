"""Lengths of Fourier transforms: as products of radices, and as matrices; what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from ..kernels.lazy import target as targets
from ..kernels.plan import ceil_div

COMPLEX, TO_HALF, FROM_HALF = 0, 1, 2  # to complex; real to half the coefficients, and back

# About how many cycles a pass of a radix takes for a row.
COSTS = {2: 6, 3: 7, 4: 7, 5: 8, 6: 9, 7: 10, 8: 9, 9: 11, 10: 11}
GREATEST_PRIME = 200  # a longer prime's pass takes more than Bluestein's detour
MOVES = 14  # cycles to bring a row in and out
MOST_ROWS = 1 << 15  # the most rows of a block
NEAREST, NEAR = 1 << 15, 1 << 19  # bytes of a processor's own caches


@lru_cache(maxsize=4096)
def radices(n: int) -> tuple[int, tuple[int, ...]] | None:
    """(cycles a row, radices) of the cheapest passes; None where a prime factor is too great."""
    if n == 1:
        return 0, ()
    best = None
    for radix, cost in COSTS.items():
        if n % radix == 0 and (rest := radices(n // radix)) is not None:
            found = rest[0] + cost, (*rest[1], radix)
            best = found if best is None or found < best else best
    if best is not None:
        return best[0], tuple(sorted(best[1], key=lambda r: (r in COSTS, r)))
    prime = next((p for p in range(11, GREATEST_PRIME, 2) if n % p == 0), 0)
    if not prime:
        return None
    rest = radices(n // prime)
    return rest and (rest[0] + 10 + prime, (prime, *rest[1]))


@lru_cache(maxsize=1024)
def split(n: int, width: int) -> tuple[int, int, int] | None:
    """(cycles, n1, n2) of the cheapest way to make a matrix of a line; None where there is none."""
    best = None
    for n1 in _divisors(n):
        n2 = n // n1
        if (
            max(n1, n2) > MOST_ROWS
            or (first := radices(n1)) is None
            or (second := radices(n2)) is None
        ):
            continue
        cycles = n1 * ceil_div(n2, width) * (first[0] * spread(n1) + MOVES)
        cycles += n2 * ceil_div(n1, width) * (second[0] * spread(n2) + MOVES + 4)
        found = int(cycles) + n1 + n2, n1, n2
        best = found if best is None or found < best else best
    return best


def spread(rows: int) -> float:
    """How much longer passes take because two buffers of so many rows are not near."""
    near = 4 * rows * targets.host().vector_bytes
    return 1.0 if near <= NEAREST else 1.4 if near <= NEAR else 4.0


def _divisors(n: int) -> Sequence[int]:
    small = [d for d in range(2, int(n**0.5) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)})


def reads_columns(n: int) -> bool:
    """Can the first pass of a length read columns itself?"""
    found = radices(n)
    return found is not None and found[1] != () and found[1][0] in COSTS


def writes_columns(n: int) -> bool:
    """Can the last pass of a length write columns itself?"""
    found = radices(n)
    return found is not None and found[1] != () and found[1][-1] in COSTS


def inner_length(kind: int, n: int) -> int:
    """The length of the complex transform that one of n makes."""
    return n if kind == COMPLEX or n % 2 else n // 2
