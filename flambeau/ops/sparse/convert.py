"""Sparse from dense and back, coalescing, other dtypes, copies."""

from __future__ import annotations

from math import prod
from typing import Any

from ... import core
from ...core import Tensor
from .. import convert as dense_convert
from ..gather import select_rows, spread_rows
from ..record import METHODS
from ..type_info import can_cast
from ..unique import unique
from .dispatch import implements
from .tensor import (
    INT64,
    SparseTensor,
    from_keys,
    keys_of,
    like,
    make,
    take_over,
)

# ---- coalescing ----------------------------------------------------------------------------------


@implements("coalesce")
def coalesce(t: Any) -> Any:
    """The same tensor with sorted, distinct coordinates; values that share one are added."""
    if t.coalesced:
        return t
    if t._nnz() < 2:
        return make(t.index, t.value, t.shape, True)
    sizes = t.shape[: t.sparse_dim()]
    keys, places = unique(keys_of(t), return_inverse=True)
    value = spread_rows(t.value, (keys.shape[0], *t.value.shape[1:]), 0, places, False)
    return make(from_keys(keys, sizes), value, t.shape, True)


# ---- dense ---------------------------------------------------------------------------------------


def to_dense(t: Any) -> Tensor:
    """The strided tensor (*shape) with the same elements."""
    split = t.sparse_dim()
    rows = prod(t.shape[:split])
    if not rows or not t._nnz():
        return core.fill_number(core.empty(t.shape, t.dtype), 0)
    flat = spread_rows(t.value, (rows, *t.shape[split:]), 0, keys_of(t), False)
    return core.view(flat, t.shape)


@implements("to_dense")
def _(t: Any, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
    made = to_dense(t)
    return made if dtype is None else made.to(dtype)


def to_sparse(x: Tensor, sparse_dim: int | None = None) -> Any:
    """The elements of a dense tensor that are not 0, by their first `sparse_dim` dimensions."""
    split = x.dim() if sparse_dim is None else sparse_dim
    if not 0 <= split <= x.dim() or (split == 0 and x.dim()):
        raise RuntimeError(
            f"to_sparse: sparse_dim argument must be in >0 and <={x.dim()}, but got {split}"
        )
    listed = x.detach() != 0
    if split < x.dim():
        listed = listed.reshape(*x.shape[:split], -1).any(-1)
    keys = listed.reshape(-1).nonzero().reshape(-1)
    index = from_keys(keys, x.shape[:split])
    rows = x.reshape(prod(x.shape[:split]), *x.shape[split:])
    return make(index, select_rows(rows, 0, keys, False, "to_sparse"), x.shape, True)


@implements("to_sparse", "to_sparse_coo")
def _(t: Any, sparse_dim: Any = None, *, layout: Any = None, **_: Any) -> Any:
    if sparse_dim not in (None, t.sparse_dim()) and sparse_dim is not t.layout:
        raise RuntimeError("to_sparse: conversion from Sparse to Sparse with another sparse_dim")
    return t


@implements("to_sparse_csr")
def _(t: Any, dense_dim: int | None = None) -> Any:
    from .compressed import to_csr

    return to_csr(t)


def sparse_mask(x: Tensor, mask: Any) -> Any:
    """What a tensor, sparse or dense, has at the coordinates of the sparse `mask`."""
    if tuple(x.shape) != tuple(mask.shape):
        raise RuntimeError(
            "sparse_mask(): operands have incompatible sizes; self has size"
            f" {list(x.shape)} but mask has size {list(mask.shape)}"
        )
    split = mask.sparse_dim()
    keys = keys_of(mask)
    if isinstance(x, SparseTensor):
        return like(mask, _look_up(x, mask, keys))
    rows = x.reshape(prod(x.shape[:split]), *x.shape[split:])
    return like(mask, select_rows(rows, 0, keys, False, "sparse_mask"))


implements("sparse_mask")(sparse_mask)


def _look_up(t: Any, mask: Any, keys: Tensor) -> Tensor:
    """t's values at row-major positions; 0 where t has none."""
    if t.sparse_dim() != mask.sparse_dim():
        raise RuntimeError(
            "sparse_mask(): the operands have different numbers of sparse dimensions:"
            f" {t.sparse_dim()} and {mask.sparse_dim()}"
        )
    t = coalesce(t)
    if not t._nnz():
        return t.value.new_zeros((keys.shape[0], *t.value.shape[1:]))
    at, found = find(keys_of(t), keys)
    value = select_rows(t.value, 0, at, False, "sparse_mask")
    return value.masked_fill(~found.reshape(-1, *(1,) * t.dense_dim()), 0)


def find(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Where each of `wanted` is among sorted keys (at least one), and whether it is there."""
    from ..search import searchsorted

    at = searchsorted(keys, wanted).clamp(max=keys.shape[0] - 1)
    return at, select_rows(keys, 0, at, False, "sparse") == wanted


# ---- the same coordinates, other values ----------------------------------------------------------


def _on_values(name: str) -> None:
    """Answer an op by that op on the values."""
    op = METHODS[name]

    @implements(name)
    def _(t: Any, *args: Any, **kwargs: Any) -> Any:
        value = op(t.value, *args, **kwargs)
        return t if value is t.value else like(t, value)


for _name in (
    *("bool", "byte", "char", "short", "int", "long", "half", "bfloat16", "float", "double"),
    *("cfloat", "cdouble", "cpu", "positive", "conj", "resolve_conj", "resolve_neg"),
):
    if _name in METHODS:
        _on_values(_name)


@implements("to")
def _(t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    args = tuple([_stand_in(x) for x in args])
    kwargs = {name: _stand_in(x) for name, x in kwargs.items()}
    if not isinstance(t, SparseTensor):
        return dense_convert.to(t, *args, **kwargs)
    value = dense_convert.to(t.value, *args, **kwargs)
    return t if value is t.value else like(t, value)


def _stand_in(x: Any) -> Any:
    """The values in place of a sparse tensor, where only its dtype counts."""
    return x.value if isinstance(x, SparseTensor) else x


@implements("type_as")
def _(t: Tensor, other: Tensor) -> Tensor:
    return t.to(other.dtype)


@implements("clone")
def clone(t: Any, *, memory_format: Any = None) -> Any:
    """A copy, differentiable."""
    return make(t.index.clone(), t.value.clone(), t.shape, t.coalesced)


@implements("contiguous")
def _(t: Any, memory_format: Any = None) -> Any:
    return t


@implements("is_floating_point")
def _(t: Any) -> bool:
    return t.dtype.is_floating_point


@implements("is_complex")
def _(t: Any) -> bool:
    return t.dtype.is_complex


@implements("is_signed")
def _(t: Any) -> bool:
    return t.dtype.is_signed


@implements("is_nonzero")
def _(t: Any) -> bool:
    return bool(t)


@implements("is_pinned", "is_shared", "is_inference")
def _(t: Any, *_: Any) -> bool:
    return False


@implements("is_tensor")
def _(t: Any) -> bool:
    return True


@implements("numel")
def _(t: Any) -> int:
    return t.numel()


@implements("get_device")
def _(t: Any) -> int:
    return -1


@implements("is_same_size")
def _(t: Tensor, other: Tensor) -> bool:
    return tuple(t.shape) == tuple(other.shape)


@implements("result_type")
def result_type(a: Any, b: Any) -> Any:
    """The dtype that the operands combine in."""
    from ..record import NAMESPACES

    return NAMESPACES[""]["result_type"](_shaped(a), _shaped(b))


def _shaped(x: Any) -> Any:
    """A dense tensor of x's dtype, with dimensions if x has any."""
    return core.empty((0,) if x.dim() else (), x.dtype) if isinstance(x, SparseTensor) else x


# ---- none listed ---------------------------------------------------------------------------------


def empty(size: Any, dtype: core.dtype, split: int | None = None) -> Any:
    """A sparse tensor without any element listed."""
    split = len(size) if split is None else split
    value = core.empty((0, *size[split:]), dtype)
    return make(core.empty((split, 0), INT64), value, size, True)


@implements("zeros_like", "empty_like")
def _(t: Any, *, dtype: Any = None, layout: Any = None, requires_grad: bool = False, **_: Any):
    dtype = t.dtype if dtype is None else dtype
    if layout is not None and layout is not t.layout:
        made = core.fill_number(core.empty(t.shape, dtype), 0)
    else:
        made = empty(t.shape, dtype, t.sparse_dim())
    return made.requires_grad_() if requires_grad else made


# ---- in place ------------------------------------------------------------------------------------


def write(t: Any, other: Any, name: str) -> Any:
    """Make t, in place, what the sparse tensor `other` is; returns t."""
    if t.requires_grad and t.is_leaf and core.grad_enabled():
        raise RuntimeError(
            f"{name}: a leaf Variable that requires grad is being used in an in-place operation."
        )
    if tuple(other.shape) != tuple(t.shape):
        raise RuntimeError(
            f"{name}: a result of shape {list(other.shape)} does not fit a sparse tensor of shape"
            f" {list(t.shape)}"
        )
    if not can_cast(other.dtype, t.dtype):
        raise RuntimeError(
            f"result type {other.dtype.name} can't be cast to the desired output type"
            f" {t.dtype.name}"
        )
    other = other if other.dtype is t.dtype else other.to(t.dtype)
    if not (t.requires_grad and t.is_leaf):
        return take_over(t, other)
    grad = t.grad  # it stays, although its coordinates may not be those of the new values
    take_over(t, coalesce(other.detach())).requires_grad_()
    t.grad = None if grad is None else coalesce(grad)
    return t


@implements("zero_")
def _(t: Any) -> Any:
    return write(t, empty(t.shape, t.dtype, t.sparse_dim()), "zero_")


@implements("copy_")
def _(t: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    if not isinstance(t, SparseTensor) or not isinstance(source, SparseTensor):
        raise RuntimeError(
            "copy_() between dense and sparse Tensors is not implemented! Found self type ="
            f" {_layout_name(t)} and src type = {_layout_name(source)}"
        )
    if tuple(t.shape) != tuple(source.shape) and t._nnz() and source.dim() != t.dim():
        raise RuntimeError(
            f"copy_: a sparse tensor of shape {list(source.shape)} into one of {list(t.shape)}"
        )
    copied = clone(source.to(t.dtype))
    if t.requires_grad and t.is_leaf and core.grad_enabled():
        return write(t, copied, "copy_")
    return take_over(t, copied)


def _layout_name(t: Tensor) -> str:
    return "sparse" if isinstance(t, SparseTensor) else "dense"
