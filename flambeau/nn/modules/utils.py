"""Arguments that may be one number or one per dimension."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def _ntuple(count: int) -> Callable[[Any], tuple]:
    """A function that repeats a number `count` times, and leaves sequences as they are."""

    def parse(value: Any) -> tuple:
        return tuple(value) if isinstance(value, Iterable) else (value,) * count

    return parse


_single = _ntuple(1)
_pair = _ntuple(2)
_triple = _ntuple(3)
_quadruple = _ntuple(4)


def _reverse_repeat_tuple(values: tuple, count: int) -> tuple:
    """Each value `count` times, last dimension first: the order `pad` takes."""
    return tuple(value for value in reversed(values) for _ in range(count))
