"""Parts of sparse tensors: slices and chosen places of a dimension."""

from __future__ import annotations

from typing import Any

from ... import core
from ...core import Tensor
from .. import index as dense_index
from .. import parts
from ..dims import wrap
from ..gather import select_rows
from ..join import cat
from .dispatch import answer, implements
from .tensor import INT64, SparseTensor, make


@implements("select")
def select(t: Any, dim: int, index: int) -> Any:
    """The slice at one place of a dimension: sparse, or dense where no sparse dimension is left."""
    dim = wrap("select", dim, t.dim())
    size = t.shape[dim]
    if not -size <= index < size:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(t.shape)} at"
            f" dimension {dim}"
        )
    index = index + size if index < 0 else index
    shape = (*t.shape[:dim], *t.shape[dim + 1 :])
    split = t.sparse_dim()
    if dim >= split:
        return make(t.index, t.value.select(dim - split + 1, index), shape, t.coalesced)
    kept = (core.basic_index(t.index, dim) == index).nonzero().reshape(-1)
    value = select_rows(t.value, 0, kept, False, "select")
    if split == 1:
        return value.sum(0) if value.shape[0] != 1 else value.reshape(shape)
    return make(_without(t.index, dim, kept), value, shape, t.coalesced)


def _without(index: Tensor, dim: int, kept: Tensor) -> Tensor:
    """Chosen coordinates, without one of their dimensions."""
    rows = cat(
        [core.basic_index(index, slice(0, dim)), core.basic_index(index, slice(dim + 1, None))]
    )
    return rows.index_select(1, kept)


@implements("index_select")
def index_select(t: Any, dim: int, index: Tensor) -> Any:
    """The places `index` (1-d) of a dimension."""
    dim = wrap("index_select", dim, t.dim())
    split = t.sparse_dim()
    shape = (*t.shape[:dim], index.shape[0], *t.shape[dim + 1 :])
    if dim >= split:
        value = t.value.index_select(dim - split + 1, index)
        return make(t.index, value, shape, t.coalesced)
    wanted = index.to(INT64)
    if index.numel() and not (
        -t.shape[dim] <= int(wanted.min()) <= int(wanted.max()) < t.shape[dim]
    ):
        raise IndexError(f"index_select(): index out of range for dimension of size {t.shape[dim]}")
    wanted = wanted.where(wanted >= 0, wanted + t.shape[dim])
    pairs = (core.basic_index(t.index, dim).unsqueeze(1) == wanted).nonzero()
    listed, place = pairs.unbind(1)
    rows = t.index.index_select(1, listed.contiguous())
    rows[dim] = place
    return make(rows, select_rows(t.value, 0, listed.contiguous(), False, "index_select"), shape)


def getitem(t: Tensor, key: Any) -> Any:
    """t[i], t[i, j, ...] for ints."""
    keys = key if isinstance(key, tuple) else (key,)
    if not isinstance(t, SparseTensor) or not all(type(k) is int for k in keys):
        raise NotImplementedError("sparse tensors are indexed by ints only: call to_dense() first")
    if len(keys) > t.dim():
        raise IndexError(f"too many indices for tensor of dimension {t.dim()}")
    for k in keys:
        t = t.select(0, k)
    return t


answer(dense_index.getitem, getitem)


def iterate(t: Any) -> Any:
    """The slices along the first dimension."""
    return iter([t.select(0, i) for i in range(len(t))])


@implements("unbind")
def _(t: Any, dim: int = 0) -> tuple:
    return tuple([t.select(dim, i) for i in range(t.shape[dim])])


answer(parts.iterate, iterate)
