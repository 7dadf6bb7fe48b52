"""Sums and softmax of sparse tensors."""

from __future__ import annotations

from typing import Any

from ... import core
from ...core import Tensor
from ..dims import wrap
from ..gather import select_rows, spread_rows
from ..record import METHODS
from ..unique import unique
from .convert import coalesce
from .dispatch import implements
from .tensor import INT64, flat_keys, like, make


@implements("sum")
def sum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum of all elements, or along dimensions.

    Sparse, but dense where no sparse dimension is left.
    """
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        total = input.value.sum(dtype=dtype)
        return total.reshape((1,) * input.dim()) if keepdim and dim is not None else total
    given = dim if isinstance(dim, list | tuple) else (dim,)
    dims = {wrap("sum", d, input.dim()) for d in given}
    if len(dims) != len(given):
        raise RuntimeError(f"sum: a dimension appears more than once in {tuple(given)}")
    input = coalesce(input)
    split = input.sparse_dim()
    value = _sum_dense(input, [d - split + 1 for d in dims if d >= split], dtype)
    kept = [d for d in range(split) if d not in dims]
    if not kept:
        value = value.sum(0)
        made: Any = value
    else:
        shape = [input.shape[d] for d in kept]
        made = _sum_rows(input, kept, shape, value)
    for d in sorted(dims) if keepdim else ():
        made = made.unsqueeze(d)
    return made


def _sum_dense(t: Any, dims: list[int], dtype: Any) -> Tensor:
    wide = METHODS["sum"](core.empty((0,), t.dtype), dtype=dtype).dtype
    value = t.value.to(wide)
    return value.sum(dims) if dims else value


def _sum_rows(t: Any, kept: list[int], shape: list[int], value: Tensor) -> Any:
    shape = [*shape, *value.shape[1:]]
    if len(kept) == t.sparse_dim():
        return make(t.index, value, shape, t.coalesced)
    return coalesce(make(t.index.index_select(0, core.from_data(kept, INT64)), value, shape))


@implements("norm")
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None):
    """The p-norm of all elements."""
    if keepdim or (dim is not None and len(dim) != 0):
        raise RuntimeError(
            "norm_sparse currently only supports full reductions, so 'dim' must be empty"
        )
    return METHODS["norm"](coalesce(input).value, p, dtype=dtype)


# ---- softmax -------------------------------------------------------------------------------------


def softmax(input: Any, dim: int, dtype: Any = None, log: bool = False) -> Any:
    """(log-)softmax along a dimension over the elements that are listed."""
    t = coalesce(input)
    t = t if dtype is None else t.to(dtype)
    dim = wrap("softmax", dim, t.dim())
    split = t.sparse_dim()
    if dim >= split:
        op = METHODS["log_softmax" if log else "softmax"]
        return like(t, op(t.value, dim - split + 1))
    if not t._nnz():
        return t
    others = [d for d in range(split) if d != dim]
    keys = flat_keys(
        t.index.index_select(0, core.from_data(others, INT64)), [t.shape[d] for d in others]
    )
    groups, group = unique(keys, return_inverse=True)
    shape = (groups.shape[0], *t.value.shape[1:])
    shifted = t.value - _largest(t.value.detach(), group, shape)
    powers = shifted.exp()
    totals = spread_rows(powers, shape, 0, group, False)
    if log:
        return like(t, shifted - select_rows(totals.log(), 0, group, False, "log_softmax"))
    return like(t, powers / select_rows(totals, 0, group, False, "softmax"))


def _largest(value: Tensor, group: Tensor, shape: tuple[int, ...]) -> Tensor:
    """For every value the largest of its group."""
    start = core.fill_number(core.empty(shape, value.dtype), float("-inf"))
    largest = start.index_reduce(0, group, value, "amax")
    return select_rows(largest, 0, group, False, "softmax")


@implements("softmax")
def _(input: Any, dim: int, dtype: Any = None) -> Any:
    return softmax(input, dim, dtype)


@implements("log_softmax")
def _(input: Any, dim: int, dtype: Any = None) -> Any:
    return softmax(input, dim, dtype, log=True)
