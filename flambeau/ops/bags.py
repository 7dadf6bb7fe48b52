"""Sums and means of embeddings in bags."""

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
    weight: Tensor, index: Tensor, offsets: Tensor, last: bool, mean: bool
) -> tuple[Tensor, Tensor]:
    """The sum or mean of the rows of each bag (bags, width), and the bag of each index.

    `last`: the last offset is the end of the last bag, not the start of one. Indices and offsets
    are vectors of int64.
    """
    table = core.contiguous_plain(weight)
    count, bags = index.shape[0], offsets.shape[0] - last
    out, owner = core.empty((bags, table.shape[1]), table.dtype), core.empty((count,), _INT64)
    if bags == 0:
        return out, owner
    wrong = core.empty((1,), _INT64).fill_(0)
    plan = planned(
        ("bags", table.dtype.code, count, bags, tuple(table.shape), last, mean),
        lambda threads: planner.plan(table.dtype.short, count, bags, table.shape, last, mean),
    )
    index, offsets = core.contiguous_plain(index), core.contiguous_plain(offsets)
    plan.run(out, owner, table, index, offsets, wrong)
    if wrong.item() == 2:
        raise RuntimeError(
            f"embedding_bag: offsets must begin with 0 and rise to at most {count}, the number of "
            "indices"
        )
    if wrong.item():
        raise IndexError(f"embedding_bag: an index is out of range of {table.shape[0]} rows")
    return out, owner


@bag_rows.vjp
def _bag_rows_vjp(g, weight_like, index, offsets, last, mean, out):
    shares, owner = g[0], out[1]
    if last:  # indices may lie behind the last bag
        used = int(offsets[-1])
        index, owner = index[:used], owner[:used]
    if mean:
        ends = offsets[1:] if last else _with_end(offsets, index.shape[0])
        sizes = (ends - (offsets[:-1] if last else offsets)).clamp_min(1)
        shares = shares / sizes.to(shares.dtype).unsqueeze(1)
    rows = select_rows(shares, 0, owner, False, "embedding")
    return spread_rows(rows, tuple(weight_like.shape), 0, index, False), None, None


def _with_end(offsets: Tensor, count: int) -> Tensor:
    from .join import cat

    return cat((offsets[1:], core.from_data(count, _INT64).reshape(1)))
