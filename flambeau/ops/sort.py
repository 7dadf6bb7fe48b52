"""Sorting and selecting along a dimension: by value and place, so that results are stable.

NaN counts as largest, -0 equals 0. Every op asks one kernel for the elements of some ranks.
"""

from __future__ import annotations

import math

from .. import core
from ..core import Tensor
from ..kernels.lazy import sort as sorts
from ..kernels.lazy import sort_long
from ..kernels.lazy import target as targets
from .named_results import named_pair
from .plans import planned
from .record import composite, primitive

_INT64 = core.dtypes[5]
_FIXED, _MEDIAN, _NANMEDIAN = 0, 1, 2  # as in kernels/sort_line.py
_LONG = 1 << 15


def wrap_dim(dim: int, n: int) -> int:
    """A dimension number in 0..n-1; negative ones count from the end."""
    low = max(n, 1)
    if not -low <= dim < low:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-low}, {low - 1}], but got "
            f"{dim})"
        )
    return dim % low


# ---- elements of some ranks ----------------------------------------------------------------------


@primitive(register=False, name="sort")
def take_ranks(
    input: Tensor, dim: int, first: int, span: int, descending: bool, mode: int = _FIXED
) -> tuple[Tensor, Tensor]:
    """(values, indices) of the ranks first..first+span-1 along dim, or of the median (mode)."""
    if input.dtype.is_complex:
        raise RuntimeError(f"sort: complex numbers have no order, got {input.dtype}")
    inner = input.ndim - 1
    if dim >= inner:
        return _ranks_of_lines(core.contiguous_plain(input), first, span, descending, mode)
    order = [*[d for d in range(inner + 1) if d != dim], dim]
    lines = core.contiguous_plain(core.permute(input, order))
    found = _ranks_of_lines(lines, first, span, descending, mode)
    back = [*range(dim), inner, *range(dim, inner)]
    values, indices = (core.contiguous_plain(core.permute(t, back)) for t in found)
    return values, indices


@take_ranks.vjp
def _(g, out_1, input_like, dim):
    from .scatter import scatter_into_zeros

    return scatter_into_zeros(g[0], input_like.shape, dim, out_1)


def _ranks_of_lines(
    lines: Tensor, first: int, span: int, descending: bool, mode: int
) -> tuple[Tensor, Tensor]:
    shape = lines.shape
    n = shape[-1] if shape else 1
    made = (*shape[:-1], span) if shape else ()
    values, indices = core.empty(made, lines.dtype), core.empty(made, _INT64)
    if not values.numel():
        return values, indices
    if n >= 1 << 32:
        raise RuntimeError(f"sort: at most {(1 << 32) - 1} elements along a dimension, got {n}")
    count = values.numel() // span
    key = (lines.dtype.code, count, n, first, span, descending, mode)
    if n >= _LONG and count < core.threads():
        _run_long(key, values, indices, lines)
        return values, indices

    def make(threads):
        ranks = (first, first + span)
        name = lines.dtype.short
        return sorts.plan_lines(name, count, n, ranks, descending, mode, threads, targets.host())

    planned(("sort", key), make).run(values, indices, lines)
    return values, indices


def _run_long(key: tuple, values: Tensor, indices: Tensor, lines: Tensor) -> None:
    """Fewer lines than threads: line by line, each with all threads."""
    _, count, n, first, span, descending, mode = key

    def make(threads):
        ranks = (first, first + span)
        name = lines.dtype.short
        return sort_long.plan_long(name, n, ranks, descending, mode, threads, targets.host())

    plan = planned(("sort long", key), make)
    size = lines.element_size()
    for line in range(count):
        at = line * span
        plan.run(
            values.data_ptr() + at * size,
            indices.data_ptr() + at * 8,
            lines.data_ptr() + line * n * size,
        )


# ---- sorting -------------------------------------------------------------------------------------


def _length(input: Tensor, dim: int) -> int:
    return input.shape[dim] if input.ndim else 1


def _sorted(input: Tensor, dim: int, descending: bool) -> tuple[Tensor, Tensor]:
    dim = wrap_dim(dim, input.ndim)
    return take_ranks(input, dim, 0, _length(input, dim), bool(descending))


@composite(out=True)
def sort(input, dim=-1, descending=False, stable=False):
    """(values, indices) sorted along dim; always stable."""
    return named_pair("sort", *_sorted(input, dim, descending))


@composite(out=True)
def argsort(input, dim=-1, descending=False, stable=False):
    """Indices that sort along dim."""
    return _sorted(input.detach(), dim, descending)[1]


@composite(out=True)
def msort(input):
    """Sorted along the first dimension."""
    return _sorted(input, 0, False)[0]


@composite(out=True)
def topk(input, k, dim=-1, largest=True, sorted=True):
    """(values, indices) of the k largest (or smallest) elements along dim, in order."""
    dim = wrap_dim(dim, input.ndim)
    size = _length(input, dim)
    if not 0 <= k <= size:
        raise RuntimeError(
            f"topk: selected index k out of range: k = {k}, dimension {dim} has size {size}"
        )
    return named_pair("topk", *take_ranks(input, dim, 0, k, bool(largest)))


# ---- one rank ------------------------------------------------------------------------------------


def _one_rank(name, input, dim, keepdim, rank, mode=_FIXED):
    values, indices = take_ranks(input, dim, rank, 1, False, mode)
    if input.ndim and not keepdim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return named_pair(name, values, indices)


@composite(out=True)
def kthvalue(input, k, dim=-1, keepdim=False):
    """(value, index) of the k-th smallest element along dim, counted from 1."""
    dim = wrap_dim(dim, input.ndim)
    size = _length(input, dim)
    if not 1 <= k <= size:
        raise RuntimeError(
            f"kthvalue(): selected number k out of range for dimension {dim}: k = {k}, size {size}"
        )
    return _one_rank("kthvalue", input, dim, keepdim, k - 1)


def check_not_empty(name: str, input: Tensor, dim: int) -> None:
    """Raise where there is nothing to choose from."""
    if input.ndim and input.shape[dim] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")


def _median(name, mode):
    def op(input, dim=None, keepdim=False):
        if input.dtype.is_complex or input.dtype.code == 0:
            raise RuntimeError(
                f"{name}: \"median_out_impl\" not implemented for '{input.dtype.name}'"
            )
        if dim is None:
            flat = input.reshape(-1)
            if flat.numel() == 0:
                return core.empty((), input.dtype).fill_(
                    math.nan if input.dtype.is_floating_point else -(2**63)
                )
            return take_ranks(flat, 0, 0, 1, False, mode)[0].squeeze(0)
        dim = wrap_dim(dim, input.ndim)
        check_not_empty(name, input, dim)
        return _one_rank(name, input, dim, keepdim, 0, mode)

    what = "Lower median of the numbers" if mode == _NANMEDIAN else "Lower median"
    op.__doc__ = f"{what}: of all elements, or (values, indices) along dim."
    return composite(name=name, out=True)(op)


median = _median("median", _MEDIAN)
nanmedian = _median("nanmedian", _NANMEDIAN)


@composite(out=True)
def mode(input, dim=-1, keepdim=False):
    """(values, indices) of the most frequent element along dim.

    The smallest of several, at its last place.
    """
    dim = wrap_dim(dim, input.ndim)
    check_not_empty("mode", input, dim)
    if not input.ndim:
        return named_pair("mode", input.clone(), core.empty((), _INT64).fill_(0))
    from .gather import gather

    index = _most_frequent(input.detach(), dim)
    values = gather(input, dim, index)
    if not keepdim:
        values, index = values.squeeze(dim), index.squeeze(dim)
    return named_pair("mode", values, index)


def _most_frequent(input: Tensor, dim: int) -> Tensor:
    """Where, along dim, the last of the most frequent elements is."""
    from .masked import where
    from .sequences import arange

    values, order = take_ranks(input, dim, 0, input.shape[dim], False)
    n = input.shape[dim]
    shape = [1] * input.ndim
    shape[dim] = n
    place = arange(n).view(shape)
    if n == 1:
        return order
    # starts: the place of the first of each run of equal elements, for every element of it
    new = values.narrow(dim, 1, n - 1) != values.narrow(dim, 0, n - 1)
    inner = where(new, place.narrow(dim, 1, n - 1), 0).cummax(dim)[0]
    length = place.narrow(dim, 1, n - 1) - inner
    longest, at = length.max(dim, True)  # the first of several
    chosen = order.gather(dim, where(longest > 0, at + 1, 0 * at))
    least = values.narrow(dim, 0, 1)
    return chosen if not input.is_floating_point() else where(least == least, chosen, n - 1)
