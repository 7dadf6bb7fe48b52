"""Sums, means and maxima of embeddings in bags."""

from __future__ import annotations

from .. import core
from ..core import Tensor
from ..kernels.lazy import bags as planner
from .gather import select_rows, spread_rows
from .plans import planned
from .record import primitive

_INT64 = core.dtypes[5]


@primitive(register=False, name="embedding_bag")
def bag_rows(
    weight: Tensor,
    index: Tensor,
    offsets: Tensor | None,
    factors: Tensor | None,
    bags: int,
    last: bool,
    mode: str,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The sum, mean or maximum of the rows of each bag (bags, width).

    Also the bag of each index, unless bags are of one length, and for maxima the rows they are
    from. Indices and offsets are vectors of int64; without offsets bags are of one length. `last`:
    the last offset is the end of the last bag, not the start of one.
    """
    table, even, largest = core.contiguous_plain(weight), offsets is None, mode == "max"
    count, shape = index.shape[0], (bags, table.shape[1])
    out = core.empty(shape, table.dtype)
    owner = None if even else core.empty((count,), _INT64)
    winners = core.empty(shape, _INT64) if largest else None
    if bags == 0:
        return out, owner, winners
    facts = (largest, factors is not None, even), count, bags, tuple(table.shape), last
    plan = planned(
        ("bags", table.dtype.code, *facts, mode == "mean"),
        lambda threads: planner.plan(
            table.dtype.short, planner.Form(*facts[0]), *facts[1:], mode == "mean"
        ),
    )
    wrong = core.empty((1,), _INT64).fill_(0)
    given = [None if t is None else core.contiguous_plain(t) for t in (index, offsets, factors)]
    plan.run(out, table, *given, owner, winners, wrong)
    if core.read_flag(wrong) == 2:
        raise RuntimeError(
            f"embedding_bag: offsets must begin with 0 and rise to at most {count}, the number of "
            "indices"
        )
    if core.read_flag(wrong):
        raise IndexError(f"embedding_bag: an index is out of range of {table.shape[0]} rows")
    return out, owner, winners


@bag_rows.vjp
def _bag_rows_vjp(g, weight, index, offsets, factors, bags, last, mode, out, needs):
    shares, (_, owner, winners) = g[0], out
    starts = () if offsets is None else (None,)
    if mode == "max":
        return _spread_largest(shares, weight, winners), None, *starts
    if last and offsets is not None:  # indices may lie behind the last bag
        used = int(offsets[-1])
        index, owner = index[:used], owner[:used]
        factors = None if factors is None else factors[:used]
    if mode == "mean":
        shares = shares / _sizes_of(index, offsets, bags, last).to(shares.dtype)
    rows = _repeat(shares, index, owner, bags)
    by_factors = None
    if factors is not None:
        if needs[-1]:
            by_factors = (select_rows(weight, 0, index, False, "embedding") * rows).sum(-1)
            behind = out[1].shape[0] - index.shape[0] if owner is not None else 0
            by_factors = _extend(by_factors, behind)
        rows = rows * factors.unsqueeze(1)
    by_weight = spread_rows(rows, tuple(weight.shape), 0, index, False) if needs[0] else None
    return by_weight, None, *starts, by_factors


def _repeat(shares: Tensor, index: Tensor, owner: Tensor | None, bags: int) -> Tensor:
    """The gradient of each bag for each of its indices."""
    if owner is not None:
        return select_rows(shares, 0, owner, False, "embedding")
    length, width = index.shape[0] // bags, shares.shape[1]
    return shares.unsqueeze(1).expand(bags, length, width).reshape(-1, width)


def _spread_largest(g: Tensor, weight: Tensor, winners: Tensor) -> Tensor:
    """Zeros with the gradient of each maximum at the element it is."""
    from .scatter import scatter_into_zeros

    none = winners < 0  # of empty bags
    g, rows = g.masked_fill(none, 0), winners.clamp_min(0)
    return scatter_into_zeros(g, tuple(weight.shape), 0, rows)


def _sizes_of(index: Tensor, offsets: Tensor | None, bags: int, last: bool) -> Tensor:
    """How many indices each bag has, at least 1: (bags, 1)."""
    if offsets is None:
        return core.from_data(max(1, index.shape[0] // bags), _INT64)
    ends = offsets[1:] if last else _with_end(offsets, index.shape[0])
    return (ends - (offsets[:-1] if last else offsets)).clamp_min(1).unsqueeze(1)


def _with_end(offsets: Tensor, count: int) -> Tensor:
    from .join import cat

    return cat((offsets[1:], core.from_data(count, _INT64).reshape(1)))


def _extend(x: Tensor, count: int) -> Tensor:
    """A vector with so many zeros behind it."""
    from .padding import pad_constant

    return pad_constant(x, (0, count), 0) if count else x
