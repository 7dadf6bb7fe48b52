"""Counting numbers, and values between edges."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from .. import core
from ..core import Tensor
from ..kernels import scalar
from ..kernels.lazy import count as planner
from ..kernels.scalar import where
from .plans import planned
from .promotion import Promote
from .record import composite, deliver, pointwise
from .search import searchsorted
from .unique import from_numpy, to_numpy
from .windows import zeros_plain

_INT64, _FLOAT32, _FLOAT64 = core.dtypes[5], core.dtypes[8], core.dtypes[9]


def _count(places: Tensor, weights: Tensor | None, bins: int) -> Tensor:
    """How often each of 0..bins-1 is among the places (integers), or the sum of its weights."""
    kind, count = _INT64 if weights is None else weights.dtype, places.numel()
    parts, lines = planner.shape_of(count, bins)
    copies = zeros_plain((parts * lines, bins), kind)
    if count and bins:
        facts = (places.dtype.short, "" if weights is None else kind.short, count, bins)
        plan = planned(("count", *facts), lambda threads: planner.plan(*facts))
        given = None if weights is None else core.contiguous_plain(weights.detach())
        plan.run(copies, core.contiguous_plain(places), given)
    return copies.reshape(bins) if len(copies) == 1 else copies.sum(0)


@composite
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each non-negative integer occurs, or the sum of its weights.

    >>> import flambeau as torch
    >>> torch.bincount(torch.tensor([1, 3, 1]))
    tensor([0, 2, 0, 1])
    """
    if input.dim() != 1 or (input.dtype.is_floating_point or input.dtype.is_complex):
        raise RuntimeError(
            f"bincount only supports 1-d non-negative integral inputs, got {input.dtype} of shape "
            f"{tuple(input.shape)}"
        )
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, got {minlength}")
    if weights is not None and weights.shape != input.shape:
        raise RuntimeError(
            f"weights should be 1-d and have the same length as input: {tuple(weights.shape)} and "
            f"{tuple(input.shape)}"
        )
    input = input.detach()
    if input.dtype.code == 0:
        input = input.to(core.dtypes[1])
    low, high = (int(v) for v in input.aminmax()) if input.numel() else (0, -1)
    if low < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs")
    if weights is not None and weights.dtype is not _FLOAT32:
        weights = weights.to(_FLOAT64)
    return _count(input, weights, max(high + 1, minlength))


def _range(name, input, low, high, around=1.0):
    """The range to count in: as given, or the data's; `around` widens it where it has no width."""
    if low > high:
        raise RuntimeError(f"{name}: max must be larger than min, got {low} and {high}")
    if low == high and input.numel():
        low, high = (float(v) for v in input.detach().aminmax())
    if low == high:
        low, high = low - around, high + around
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise RuntimeError(f"{name}: range of [{low}, {high}] is not finite")
    return low, high


@composite(out=True)
def histc(input: Tensor, bins: int = 100, min: Any = 0, max: Any = 0) -> Tensor:
    """Counts in `bins` equal bins between min and max (the data's when equal)."""
    if bins <= 0:
        raise RuntimeError(f"bins must be > 0, got {bins}")
    low, high = _range("torch.histc", input, min, max)
    x = input.detach().reshape(-1)
    if not x.is_floating_point():
        x = x.to(_FLOAT64)
    places = bin_of(x, low=low, high=high, width=high - low, bins=bins)
    return _count(places, None, bins + 1)[:bins].to(input.dtype)


@pointwise(name="histc", register=False, promote=Promote.LONG, accepts="f", integers=("bins",))
def bin_of(input, *, low, high, width, bins):
    """The bin of each value; `bins`, one more than the last, for values that are not inside."""
    place = scalar.cast((input - low) * scalar.cast(bins, input.dtype) / width, "i64")
    place = scalar.minimum(place, bins - 1)  # the last edge belongs to the last bin
    return where((input >= low) & (input <= high), place, bins)


@composite
def histogram(
    input: Tensor,
    bins: Any,
    *,
    range: Any = None,
    weight: Tensor | None = None,
    density: bool = False,
    out: Any = None,
) -> Any:
    """(counts, bin edges) of the elements."""
    from .named_results import named_pair

    if isinstance(bins, Tensor):
        edges = bins.detach()
    else:
        low, high = (0, 0) if range is None else range
        edges = _even_edges("torch.histogram", input, bins, low, high)
    points = input.detach().reshape(-1, 1)
    weights = None if weight is None else weight.detach().reshape(-1)
    counts = _count_points(points, [edges], weights, density).to(input.dtype)
    pair = named_pair("histogram", counts, edges.to(input.dtype), ("hist", "bin_edges"))
    return pair if out is None else deliver("histogram", out, pair)


def _even_edges(name: str, x: Tensor, bins: int, low: float, high: float) -> Tensor:
    from .sequences import linspace

    low, high = _range(name, x, low, high, 0.5)
    return linspace(low, high, bins + 1, dtype=x.dtype)


@composite
def histogramdd(
    input: Tensor,
    bins: Any,
    *,
    range: Any = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Any:
    """(counts, edges of each dimension) of points whose coordinates are in the last dimension."""
    from .named_results import named_pair

    points = input.detach().reshape(-1, input.shape[-1])
    weights = None if weight is None else weight.detach().reshape(-1)
    n = points.shape[1]
    if isinstance(bins, int):
        bins = [bins] * n
    if len(bins) != n:
        raise RuntimeError(
            "histogramdd: The size of bins must be equal to the innermost dimension of the "
            f"input: {len(bins)} and {n}"
        )
    if all(isinstance(b, Tensor) for b in bins):
        edges = [b.detach() for b in bins]
    else:
        limits = [(0, 0)] * n
        if range is not None:
            limits = [tuple(range[2 * i : 2 * i + 2]) for i in builtins.range(n)]
        edges = [
            _even_edges("torch.histogramdd", points[:, i], b, *limits[i])
            for i, b in enumerate(bins)
        ]
    counts = _count_points(points, edges, weights, density).to(input.dtype)
    made = tuple(e.to(input.dtype) for e in edges)
    return named_pair("histogramdd", counts, made, ("hist", "bin_edges"))


def _count_points(
    points: Tensor, edges: Sequence[Tensor], weights: Tensor | None, density: bool
) -> Tensor:
    """Points (n, d) counted in the cells between the edges of each dimension."""
    shape = [len(e) - 1 for e in edges]
    cell = inside = None
    for i, (own, size) in enumerate(zip(edges, shape, strict=True)):
        x = core.contiguous_plain(points[:, i])
        place = _find_bins(x, own.to(x.dtype), size)
        cell = place if cell is None else cell.mul_(size).add_(place)
        here = (x >= float(own[0])) & (x <= float(own[-1]))
        inside = here if inside is None else inside & here
    assert cell is not None
    assert inside is not None
    total = _product(shape)
    cell.masked_fill_(inside.logical_not_(), total)
    if weights is not None:
        weights = weights.to(_FLOAT64)
    counts = _count(cell, weights, total + 1)[:total].to(_FLOAT64).reshape(shape)
    return _to_density(counts, edges) if density else counts


def _product(sizes: Sequence[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _to_density(counts: Tensor, edges: Sequence[Tensor]) -> Tensor:
    counts = counts / counts.sum()
    for k, e in enumerate(edges):
        width = e.to(_FLOAT64).diff()
        counts = counts / width.reshape([-1 if i == k else 1 for i in range(counts.dim())])
    return counts


def _find_bins(x: Tensor, edges: Tensor, bins: int) -> Tensor:
    """The bin of each value that is inside; the last edge belongs to the last bin."""
    if bool((edges[1:] >= edges[:-1]).all()):
        place = searchsorted(edges, x, right=True)
    else:
        place = _upper_bound(edges, x)
    return (place - 1).clamp_(0, bins - 1).masked_fill_(x == float(edges[-1]), bins - 1)


def _upper_bound(edges: Tensor, x: Tensor) -> Tensor:
    """The first edge above each value.

    Found by halving (what it finds in unsorted edges is part of the contract).
    """
    import numpy

    ends, values = to_numpy(edges), to_numpy(x)
    first = numpy.zeros(len(values), numpy.int64)
    length = numpy.full(len(values), len(ends), numpy.int64)
    while (length > 0).any():
        half = length >> 1
        middle = numpy.minimum(first + half, len(ends) - 1)
        right = (length > 0) & ~(values < ends[middle])
        first = numpy.where(right, middle + 1, first)
        length = numpy.where(right, length - half - 1, numpy.where(length > 0, half, 0))
    return from_numpy(first)
