"""Joining tensors: concatenation, stacking, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import core
from ..core import Tensor
from . import launch_index as launch
from .convert import to_dtype
from .dims import check_sequence, check_tensor, wrap
from .factory import DTYPES
from .record import alias, composite, deliver, primitive
from .splitting import narrow_plain


def _common_dtype(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """The tensors in their common type."""
    first = tensors[0].dtype
    for t in tensors:
        if t.dtype is not first:
            break
    else:
        return tensors
    from .promotion import result_type

    short = result_type([(t.dtype.code, 0 if t.ndim else 1) for t in tensors])
    dtype = next(d for d in DTYPES.values() if d.short == short)
    return [to_dtype(t, dtype) for t in tensors]


def _fill(out: Tensor, tensors: Sequence[Tensor], dim: int, sizes: Sequence[int]) -> None:
    """Copy the tensors, `sizes` positions of dim each, into out one after the other."""
    start = 0
    for t, n in zip(tensors, sizes, strict=True):
        part = narrow_plain(out, dim, start, n)
        core.copy_plain(part, t if t.ndim == out.ndim else core.view(t, part.shape))
        start += n


# ---- cat -----------------------------------------------------------------------------------------


@primitive(register=False, name="cat")
def join(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """Tensors of one type and of sizes that differ only in dim, one after the other."""
    made = core.join_dense(tensors, dim, False)
    if made is not None:
        return made
    shape = list(tensors[0].shape)
    sizes = [t.shape[dim] for t in tensors]
    shape[dim] = sum(sizes)
    made = core.empty(shape, tensors[0].dtype)
    _fill(made, tensors, dim, sizes)
    return made


@join.vjp
def _(g, tensors_like, dim):
    parts, start = [], 0
    for like in tensors_like:
        n = like.shape[dim]
        parts.append(narrow_plain(g, dim, start, n))
        start += n
    return (parts,)


def _check_cat(tensors: Sequence[Tensor], dim: Any) -> tuple[Sequence[Tensor], int]:
    """Without the legacy empty tensors of shape (0,); the dimension."""
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for i, t in enumerate(tensors):
        if not t.ndim:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    kept = tensors
    for t in tensors:
        if t.ndim == 1 and not t.numel():
            kept = [t for t in tensors if t.shape != (0,)] or tensors[:1]
            break
    first = kept[0].shape
    dim = wrap("cat", dim, len(first))
    before, after = first[:dim], first[dim + 1 :]
    for i, t in enumerate(kept):
        shape = t.shape
        if shape[:dim] == before and shape[dim + 1 :] == after and len(shape) == len(first):
            continue
        if len(shape) != len(first):
            raise RuntimeError(
                f"cat: Tensors must have same number of dimensions: got {len(first)} and "
                f"{len(shape)}"
            )
        for d in range(len(first)):
            if d != dim and shape[d] != first[d]:
                raise RuntimeError(
                    f"cat: Sizes of tensors must match except in dimension {dim}. Expected size "
                    f"{first[d]} but got "
                    f"size {shape[d]} for tensor number {i} in the list ({tuple(first)} and "
                    f"{tuple(shape)})."
                )
    return kept, dim


def _join_parts(
    grads: Sequence[Tensor | None], shape: tuple, dim: int, rows: bool, sizes: Sequence[int]
) -> Tensor:
    """The gradient of a tensor that was cut into parts, from theirs."""
    dtype = next(g.dtype for g in grads if g is not None)
    before, after = shape[:dim], shape[dim + 1 :]
    whole = []
    for g, n in zip(grads, sizes, strict=True):
        if g is None:
            g = core.fill_number(core.empty((*before, n, *after), dtype), 0)
        elif rows:
            g = g.unsqueeze(dim)
        whole.append(g)
    return join(whole, dim)


core.set_parts_gradient(_join_parts)


@composite(aliases=("concat", "concatenate"), method=False, shortcut="cat")
def cat(
    tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None, out: Tensor | None = None
) -> Tensor:
    """Tensors one after the other along a dimension; their other sizes agree.

    >>> import flambeau as torch
    >>> torch.cat([torch.tensor([1, 2]), torch.tensor([3])])
    tensor([1, 2, 3])
    """
    tensors = check_sequence("cat", tensors)
    if out is not None:
        launch.check_out("cat", out, *tensors)
        return deliver("cat", out, cat(tensors, dim, axis=axis))
    kept, dim = _check_cat(tensors, dim if axis is None else axis)
    dtyped = _common_dtype(tensors)
    if len(kept) != len(tensors):
        dtyped = [t for t in dtyped if t.shape != (0,)] or dtyped[:1]
    return join(dtyped, dim)


# ---- stack ---------------------------------------------------------------------------------------


@primitive(register=False, name="stack")
def pile(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """Tensors of one shape and type along a new dimension."""
    made = core.join_dense(tensors, dim, True)
    if made is not None:
        return made
    shape = list(tensors[0].shape)
    shape.insert(dim, len(tensors))
    made = core.empty(shape, tensors[0].dtype)
    _fill(made, tensors, dim, [1] * len(tensors))
    return made


@pile.vjp
def _(g, dim):
    from .views import unbind

    return (list(unbind(g, dim)),)


@composite(method=False, out=True, shortcut="stack")
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new dimension.

    >>> import flambeau as torch
    >>> torch.stack([torch.tensor([1, 2]), torch.tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]])
    """
    check_sequence("stack", tensors)
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    shape = tensors[0].shape
    for i, t in enumerate(tensors):
        if t.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                f"{list(t.shape)} at entry {i}"
            )
    return pile(_common_dtype(tensors), wrap("stack", dim, len(shape) + 1))


# ---- by direction --------------------------------------------------------------------------------


def atleast(name: str, input: Tensor, rank: int) -> Tensor:
    """With at least `rank` dimensions."""
    check_tensor(name, input)
    shape = input.shape
    if len(shape) >= rank:
        return input
    if rank == 3:
        sizes = {0: (1, 1, 1), 1: (1, *shape, 1), 2: (*shape, 1)}[len(shape)]
    else:
        sizes = (1,) * (rank - len(shape)) + tuple(shape)
    return core.view(input, sizes)


def _atleast(rank: int) -> None:
    name = f"atleast_{rank}d"

    def op(*tensors: Any) -> Any:
        if len(tensors) == 1:
            if isinstance(tensors[0], Tensor):
                return atleast(name, tensors[0], rank)
            tensors = tuple(tensors[0])
        return tuple([atleast(name, t, rank) for t in tensors])

    op.__name__ = name
    op.__doc__ = f"Each tensor as a view with at least {rank} dimensions."
    composite(name=name, method=False)(op)


for _rank in (1, 2, 3):
    _atleast(_rank)


def _stacked(name: str, tensors: Any, rank: int, dim: int) -> Tensor:
    check_sequence(name, tensors)
    if not tensors:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    raised = [atleast(name, t, rank) for t in tensors]
    return cat(raised, 0 if raised[0].ndim == 1 else dim)


@composite(method=False, out=True)
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Side by side: along dimension 1, or 0 for vectors."""
    return _stacked("hstack", tensors, 1, 1)


@composite(method=False, out=True)
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """One below the other: along dimension 0, vectors as rows."""
    return _stacked("vstack", tensors, 2, 0)


alias("row_stack", vstack)


@composite(method=False, out=True)
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """In depth: along dimension 2."""
    return _stacked("dstack", tensors, 3, 2)


@composite(method=False, out=True)
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Side by side, vectors as columns."""
    check_sequence("column_stack", tensors)
    if not tensors:
        raise RuntimeError("column_stack expects a non-empty TensorList")
    return cat([t if t.ndim > 1 else core.view(_flat(t), (t.numel(), 1)) for t in tensors], 1)


def _flat(t: Tensor) -> Tensor:
    from .views import reshape

    return reshape(t, -1)


@composite(method=False)
def block_diag(*tensors: Any) -> Tensor:
    """The matrices (vectors as rows, scalars as 1 x 1) along the diagonal of a matrix of zeros.

    >>> import flambeau as torch
    >>> torch.block_diag(torch.tensor([[1]]), torch.tensor([2, 3]))
    tensor([[1, 0, 0],
            [0, 2, 3]])
    """
    if not tensors:
        return core.empty((1, 0), core.get_default_dtype())
    for i, t in enumerate(tensors):
        check_tensor("torch.block_diag", t, f"tensors[{i}]")
        if t.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has "
                f"{t.ndim} dimensions"
            )
    return _place_blocks([atleast("block_diag", t, 2) for t in _common_dtype(tensors)])


@primitive(register=False, name="block_diag")
def _place_blocks(blocks: Sequence[Tensor]) -> Tensor:
    """Zeros with the matrices along the diagonal."""
    from .windows import zeros_plain

    shape = (sum(b.shape[0] for b in blocks), sum(b.shape[1] for b in blocks))
    whole = zeros_plain(shape, blocks[0].dtype)
    for b, corner in zip(blocks, _corners([tuple(b.shape) for b in blocks]), strict=True):
        core.copy_plain(core.basic_index(whole, corner), b)
    return whole


@_place_blocks.vjp
def _place_blocks_vjp(g, blocks_like):
    return [g[corner] for corner in _corners([tuple(b.shape) for b in blocks_like])]


def _corners(shapes: Sequence[tuple[int, ...]]) -> list[tuple[slice, slice]]:
    """Where each of some matrices is in their block-diagonal one."""
    top, left, found = 0, 0, []
    for height, width in shapes:
        found.append((slice(top, top + height), slice(left, left + width)))
        top, left = top + height, left + width
    return found
