"""Copies made of pieces, and their transposes: what flips, rolls and paddings are.

A piece of a dimension is (to, count, start, step): positions to..to+count-1 of the result are
positions start, start + step, .. of the input; step is 1, -1, 0 (one position repeated) or FILL.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache as remember_result

from .. import core
from ..core import Tensor
from .record import primitive
from .splitting import narrow_plain

FILL = 2

Piece = tuple[int, int, int, int]
Pieces = tuple[tuple[Piece, ...], ...]


def whole(size: int) -> tuple[Piece, ...]:
    """A dimension as it is."""
    return ((0, size, 0, 1),)


def length(pieces: Sequence[Piece]) -> int:
    """The size of a dimension made of pieces."""
    return sum(count for _, count, _, _ in pieces)


def runs(positions: Sequence[int], to: int = 0) -> list[Piece]:
    """Positions as pieces, the first of which goes to position `to`."""
    found: list[Piece] = []
    k = 0
    while k < len(positions):
        first, count, step = positions[k], 1, 1
        if k + 1 < len(positions) and positions[k + 1] - first in (-1, 0, 1):
            step = positions[k + 1] - first
            while k + count < len(positions) and positions[k + count] == first + count * step:
                count += 1
        found.append((to + k, count, first, step))
        k += count
    return found


@remember_result(maxsize=4096)
def _shape_of(pieces: Pieces) -> tuple[int, ...]:
    return tuple([length(p) for p in pieces])


@primitive(register=False, name="flip")
def compose(input: Tensor, pieces: Pieces) -> Tensor:
    """The copy that the pieces describe; none of them a fill."""
    return core.copy_pieces(_shape_of(pieces), input, pieces)


@compose.vjp
def _(g, input_like, pieces):
    return collect(g, input_like.shape, pieces)


@primitive(register=False)
def collect(g: Tensor, shape: tuple[int, ...], pieces: Pieces) -> Tensor:
    """The transpose of `compose`: each element added where it was taken from."""
    if not _only_moves(shape, pieces):
        added = core.add_pieces(shape, core.contiguous_plain(g), pieces)
        if added is not None:
            return added
    for dim, parts in enumerate(pieces):
        if parts != whole(shape[dim]):
            g = _collect_along(g, dim, shape[dim], parts)
    unchanged = all(p == whole(n) for p, n in zip(pieces, shape, strict=True))
    return core.clone_plain(g) if unchanged else g


@collect.vjp
def _(g, pieces):
    return compose(g, pieces)


@remember_result(maxsize=4096)
def _only_moves(shape: tuple[int, ...], pieces: Pieces) -> bool:
    """Is every position taken once, so that the transpose is a copy made of pieces too?"""
    straight = [[_forwards(p) for p in parts if p[3]] for parts in pieces]
    taken = all(p[3] for parts in pieces for p in parts)
    return taken and all(_cover(s, n) is not None for s, n in zip(straight, shape, strict=True))


def _collect_along(g: Tensor, dim: int, size: int, parts: Sequence[Piece]) -> Tensor:
    straight = [_forwards(p) for p in parts if p[3]]
    covered = _cover(straight, size)
    if covered is not None:  # every position was taken once: the inverse is made of pieces too
        pieces = [whole(n) for n in g.shape]
        pieces[dim] = covered
        if all(p[3] for p in parts):
            return core.copy_pieces([*g.shape[:dim], size, *g.shape[dim + 1 :]], g, tuple(pieces))
    from .windows import zeros_plain

    made = zeros_plain((*g.shape[:dim], size, *g.shape[dim + 1 :]), g.dtype)
    for to, count, start, step in parts:
        part = narrow_plain(g, dim, to, count)
        if step == 0:
            narrow_plain(made, dim, start, 1).add_(part.sum(dim, True))
            continue
        if step < 0:
            pieces = [whole(n) for n in part.shape]
            pieces[dim] = ((0, count, count - 1, -1),)
            part = core.copy_pieces(part.shape, part, tuple(pieces))
        narrow_plain(made, dim, min(start, start + (count - 1) * step), count).add_(part)
    return made


def _forwards(piece: Piece) -> Piece:
    """The piece of the inverse copy."""
    to, count, start, step = piece
    return (start, count, to, 1) if step > 0 else (start - count + 1, count, to + count - 1, -1)


def _cover(pieces: Sequence[Piece], size: int) -> tuple[Piece, ...] | None:
    """The pieces in order, if they cover 0..size-1 without overlap."""
    end = 0
    ordered = sorted(pieces)
    for to, count, _, _ in ordered:
        if to != end:
            return None
        end += count
    return tuple(ordered) if end == size else None
