"""Sparse tensors with their dimensions in another order, and several as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import core
from .. import join
from ..dims import check_sequence, wrap
from .convert import result_type
from .dispatch import implements
from .tensor import INT64, SparseTensor, make


@implements("transpose", "swapaxes", "swapdims")
def transpose(t: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions exchanged, both sparse or both dense."""
    order = list(range(t.dim()))
    a, b = wrap("transpose", dim0, t.dim()), wrap("transpose", dim1, t.dim())
    if order:
        order[a], order[b] = order[b], order[a]
    return permute(t, order)


@implements("permute")
def permute(t: Any, *dims: Any) -> Any:
    """Dimensions in another order; sparse ones stay in front of dense ones."""
    given = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    order = [wrap("permute", d, t.dim()) for d in given]
    if sorted(order) != list(range(t.dim())):
        raise RuntimeError(f"permute(sparse): {tuple(given)} is no order of {t.dim()} dimensions")
    split = t.sparse_dim()
    if any(d >= split for d in order[:split]):
        raise RuntimeError("transpose: can't transpose sparse and dense dimensions")
    index, value = t.index, t.value
    if order[:split] != list(range(split)):
        index = index.index_select(0, core.from_data(order[:split], INT64))
    if order[split:] != list(range(split, t.dim())):
        value = value.permute(0, *[d - split + 1 for d in order[split:]])
    shape = [t.shape[d] for d in order]
    same = index is t.index
    return make(index, value, shape, t.coalesced and (same or t._nnz() < 2))


@implements("t")
def t_(t: Any) -> Any:
    """The transpose of a matrix."""
    if t.dim() > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {t.dim()}D")
    return transpose(t, 0, 1) if t.dim() == 2 else t


SparseTensor.T = property(t_)  # type: ignore[attr-defined]


def _in_place(name: str, plain: Any) -> None:
    from .tensor import take_over

    @implements(name)
    def _(t: Any, *args: Any) -> Any:
        return take_over(t, plain(t, *args))


_in_place("t_", t_)
_in_place("transpose_", transpose)


@implements("unsqueeze")
def unsqueeze(t: Any, dim: int) -> Any:
    """A new dimension of size 1."""
    dim = wrap("unsqueeze", dim, t.dim() + 1)
    shape = (*t.shape[:dim], 1, *t.shape[dim:])
    split = t.sparse_dim()
    if dim > split:
        return make(t.index, t.value.unsqueeze(dim - split + 1), shape, t.coalesced)
    row = core.fill_number(core.empty((1, t._nnz()), INT64), 0)
    above, below = (core.basic_index(t.index, s) for s in (slice(0, dim), slice(dim, None)))
    return make(join.cat([above, row, below]), t.value, shape, t.coalesced)


@implements("squeeze")
def squeeze(t: Any, dim: Any = None) -> Any:
    """Without dimensions of size 1."""
    dims = range(t.dim()) if dim is None else (dim if isinstance(dim, tuple) else (dim,))
    gone = {wrap("squeeze", d, t.dim()) for d in dims}
    gone = {d for d in gone if t.shape[d] == 1}
    split = t.sparse_dim()
    rows = [d for d in range(split) if d not in gone]
    shape = [n for d, n in enumerate(t.shape) if d not in gone]
    value = t.value.reshape(t._nnz(), *shape[len(rows) :])
    return make(t.index.index_select(0, core.from_data(rows, INT64)), value, shape, t.coalesced)


@implements("cat", "concat", "concatenate")
def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Sparse tensors one after another along a dimension."""
    for t in check_sequence("cat", tensors):
        if not isinstance(t, SparseTensor):
            raise RuntimeError("Concatenating sparse tensors, but a dense tensor was found")
    first = tensors[0]
    dim = wrap("cat", dim, first.dim())
    split = first.sparse_dim()
    for t in tensors:
        same = [n for d, n in enumerate(t.shape) if d != dim]
        if t.sparse_dim() != split or same != [n for d, n in enumerate(first.shape) if d != dim]:
            raise RuntimeError(
                f"cat: sparse tensors of shapes {tuple(first.shape)} and {tuple(t.shape)}"
                f" ({split} and {t.sparse_dim()} sparse dimensions) do not fit"
            )
    dtype = first.dtype
    for t in tensors[1:]:
        dtype = result_type(core.empty((0,), dtype), t)
    shape = list(first.shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    if dim < split:
        values = join.cat([t.value.to(dtype) for t in tensors])
        return make(_shifted(tensors, dim), values, shape)
    return make(join.cat([t.index for t in tensors], 1), _placed(tensors, dim, dtype), shape)


def _shifted(tensors: Sequence[Any], dim: int) -> Any:
    """All coordinates, those of a dimension moved behind the tensors before."""
    moved, start = [], 0
    for t in tensors:
        step = [[start if d == dim else 0] for d in range(t.sparse_dim())]
        moved.append(t.index + core.from_data(step, INT64))
        start += t.shape[dim]
    return join.cat(moved, 1)


def _placed(tensors: Sequence[Any], dim: int, dtype: core.dtype) -> Any:
    """All values, each tensor's with zeros around it along a dense dimension."""
    at = dim - tensors[0].sparse_dim() + 1
    total = sum(t.shape[dim] for t in tensors)
    made, start = [], 0
    for t in tensors:
        around = [list(t.value.shape), list(t.value.shape)]
        around[0][at], around[1][at] = start, total - start - t.shape[dim]
        zeros = [core.fill_number(core.empty(size, dtype), 0) for size in around]
        made.append(join.cat([zeros[0], t.value.to(dtype), zeros[1]], at))
        start += t.shape[dim]
    return join.cat(made)


@implements("stack")
def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Sparse tensors along a new dimension."""
    return cat([unsqueeze(t, dim) for t in check_sequence("stack", tensors)], dim)
