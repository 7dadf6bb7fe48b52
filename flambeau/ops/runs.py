"""Positions repeated, and the positions of triangles: runs of any lengths, one behind the other."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from ..kernels.lazy import runs as planner
from .convert import to_dtype
from .dims import wrap
from .gather import select_rows
from .launch_index import INT32, INT64
from .plans import planned
from .record import function
from .sequences import arange
from .splitting import ALL
from .views import _contiguous_copy, reshape, transpose
from .windows import zeros_plain


def number_runs(counts: Tensor, starts: Tensor | None = None) -> Tensor:
    """The number of its run for each element of runs of `counts` (int64) elements.

    With `starts` (int64), (2, total): below them the places, which begin with a run's start.
    """
    ends = core.contiguous_plain(counts).cumsum(0)
    count = counts.shape[0]
    total = int(ends[-1]) if count else 0
    found = core.empty((total,) if starts is None else (2, total), INT64)
    if total:
        places = None if starts is None else core.basic_index(found, 1)
        plan = planned(
            ("runs", count, total, starts is not None),
            lambda threads: planner.plan(count, total, starts is not None),
        )
        plan.run(found, places, ends, starts)
    return found


# ---- repeated positions --------------------------------------------------------------------------


@function("repeat_interleave", method=True)
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each position repeated in place; without dim the input is flattened.

    Alone, a tensor of counts gives the positions themselves.

    >>> import flambeau as torch
    >>> torch.tensor([1, 2]).repeat_interleave(2)
    tensor([1, 1, 2, 2])
    """
    if repeats is None:
        return _repeated_positions(input)
    if dim is None:
        input, dim = reshape(input, -1), 0
    d = wrap("repeat_interleave", dim, input.ndim)
    if not input.ndim:
        input = core.view(input, (1,))
    n = input.shape[d]
    if isinstance(repeats, Tensor):
        index = to_dtype(_repeated_positions(_counts(repeats, n)), INT64)
    elif repeats < 0:
        raise RuntimeError(f"repeat_interleave: Repeats must be non-negative, got {repeats}")
    else:
        if output_size is not None and output_size != n * repeats:
            _wrong_output_size(output_size, n * repeats)
        shape = input.shape
        apart = core.basic_index(input, (*ALL[: d + 1], None))
        spread = core.expand(apart, (*shape[: d + 1], repeats, *shape[d + 1 :]))
        return core.view(_contiguous_copy(spread), (*shape[:d], n * repeats, *shape[d + 1 :]))
    if output_size is not None and output_size != index.numel():
        _wrong_output_size(output_size, index.numel())
    return select_rows(input, d, index, False, "repeat_interleave")


def _wrong_output_size(given: int, needed: int) -> None:
    raise RuntimeError(
        f"repeat_interleave: Allocated size does not match required size: {given} and {needed}"
    )


def _counts(repeats: Tensor, n: int) -> Tensor:
    """One count a position."""
    if repeats.ndim > 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    if repeats.numel() == 1:
        return core.expand(core.view(repeats, (1,)), (n,))
    if repeats.numel() != n:
        raise RuntimeError(
            "repeat_interleave: repeats must have the same size as input along dim, but got "
            "repeats.size(0) = "
            f"{repeats.numel()} and input.size = {n}"
        )
    return repeats


def _repeated_positions(counts: Tensor) -> Tensor:
    if counts.ndim != 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    if counts.dtype not in (INT64, INT32):
        raise RuntimeError("repeats has to be Long or Int tensor")
    if counts.numel() and int(counts.min()) < 0:
        raise RuntimeError("repeats can not be negative")
    return to_dtype(number_runs(to_dtype(counts.detach(), INT64)), counts.dtype)


# ---- triangles and choices -----------------------------------------------------------------------


def _triangle_indices(
    name: str, row: int, col: int, offset: int, dtype: Any, lower: bool
) -> Tensor:
    from .factory import read_dtype

    if row < 0 or col < 0:
        raise RuntimeError(f"{name}: row and col must be non-negative, got {row} and {col}")
    dtype = INT64 if dtype is None else read_dtype(dtype)
    if dtype not in (INT64, INT32):
        raise RuntimeError(
            f"\"{name}\" not implemented for '{dtype.name}': expected int64 or int32"
        )
    # Row i has columns from i + offset on, or up to there.
    edge = (arange(offset, row + offset) + int(lower)).clamp_(0, col)
    starts = zeros_plain((row,), INT64) if lower else edge
    found = number_runs(edge if lower else col - edge, starts)
    return to_dtype(found, dtype)


@function("tril_indices")
def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype=None, device=None, layout=None
) -> Tensor:
    """Row and column numbers of a matrix's lower triangle, (2, count)."""
    return _triangle_indices("tril_indices", row, col, offset, dtype, True)


@function("triu_indices")
def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype=None, device=None, layout=None
) -> Tensor:
    """Row and column numbers of a matrix's upper triangle, (2, count)."""
    return _triangle_indices("triu_indices", row, col, offset, dtype, False)


@function("combinations")
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of r elements of a vector, in order: (count, r)."""
    import itertools

    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return core.empty((0,), input.dtype)
    if r == 2:
        n = input.shape[0]
        offset = 0 if with_replacement else 1
        pairs = _triangle_indices("combinations", n, n, offset, None, False)
        pairs = _contiguous_copy(transpose(pairs, 0, 1))
        return select_rows(input, 0, pairs, False, "combinations")
    choose_from = (
        itertools.combinations_with_replacement if with_replacement else itertools.combinations
    )
    rows = list(choose_from(range(input.shape[0]), r))
    index = core.from_data(rows, INT64) if rows else core.empty((0, r), INT64)
    return select_rows(input, 0, index, False, "combinations")
