"""Elements in another order or repeated: flips, rolls, repeats, triangles, diagonals, grids."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache as remember_result
from typing import Any

from .. import core
from ..core import Tensor
from .dims import check_tensor, read_ints, wrap, wrap_all
from .masked import choose
from .pieces import Piece, Pieces, compose, whole
from .record import composite, function, primitive
from .views import _contiguous_copy, clone, contiguous, diagonal, reshape, transpose
from .windows import zeros_plain

# ---- reversing and rotating ----------------------------------------------------------------------


def _count(n: int, start: int = 0) -> Tensor:
    from .sequences import arange

    return arange(start, start + n)


@composite
def flip(input: Tensor, *dims: Any, **named: Any) -> Tensor:
    """A copy with the given dimensions in reverse order.

    >>> import flambeau as torch
    >>> torch.arange(3).flip(0)
    tensor([2, 1, 0])
    """
    given = read_ints("flip", (named["dims"],) if named else dims, "dims")
    pieces = _pieces_of_flip(input.shape, tuple([d.__index__() for d in given]))
    return compose(input, pieces) if pieces else clone(input)


@remember_result(maxsize=4096)
def _pieces_of_flip(shape: tuple[int, ...], dims: tuple[int, ...]) -> Pieces:
    dims = wrap_all("flip", dims, len(shape))
    return tuple([((0, n, n - 1, -1),) if d in dims else whole(n) for d, n in enumerate(shape)])


@composite
def fliplr(input: Tensor) -> Tensor:
    """A copy with dimension 1 in reverse order."""
    if input.ndim < 2:
        raise RuntimeError(f"fliplr: Input must be >= 2-d, got {input.ndim}-d")
    return flip(input, 1)


@composite
def flipud(input: Tensor) -> Tensor:
    """A copy with dimension 0 in reverse order."""
    if input.ndim < 1:
        raise RuntimeError("flipud: Input must be >= 1-d, got 0-d")
    return flip(input, 0)


@composite
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """A copy rotated k quarter turns, from the first dimension towards the second.

    >>> import flambeau as torch
    >>> torch.tensor([[1, 2], [3, 4]]).rot90()
    tensor([[2, 4],
            [1, 3]])
    """
    if len(dims) != 2:
        raise RuntimeError(f"rot90: expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"rot90: expected total dims >= 2, but got total dims = {input.ndim}")
    if dims[0] == dims[1] or abs(dims[0] - dims[1]) == input.ndim:
        raise RuntimeError(
            f"rot90: expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = "
            f"{dims[1]}"
        )
    a, b = (wrap("rot90", d, input.ndim) for d in dims)
    k %= 4
    if k == 1:
        return transpose(flip(input, b), a, b)
    if k == 2:
        return flip(input, a, b)
    return transpose(flip(input, a), a, b) if k == 3 else clone(input)


@composite
def roll(input: Tensor, shifts: Any, dims: Any = ()) -> Tensor:
    """A copy moved by `shifts` positions along dims, what falls off re-entering on the other side.

    >>> import flambeau as torch
    >>> torch.arange(4).roll(1)
    tensor([3, 0, 1, 2])
    """
    shifts = read_ints(
        "roll", (shifts,) if not isinstance(shifts, tuple | list) else (tuple(shifts),), "shifts"
    )
    dims = (dims,) if isinstance(dims, int) else tuple(dims if dims is not None else ())
    if not shifts:
        raise RuntimeError("`shifts` required")
    if not dims and len(shifts) == 1:
        return reshape(roll(reshape(input, -1), shifts, 0), input.shape)
    if len(shifts) != len(dims):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
        )
    moved = [0] * input.ndim
    for shift, dim in zip(shifts, dims, strict=True):
        if not input.ndim:
            raise IndexError(f"roll: Dimension specified as {dim} but tensor has no dimensions")
        moved[wrap("roll", dim, input.ndim)] += shift
    return compose(
        input, tuple([_rolled(n, shift) for n, shift in zip(input.shape, moved, strict=True)])
    )


def _rolled(size: int, shift: int) -> tuple[Piece, ...]:
    """The pieces of a dimension that is moved by `shift` positions."""
    shift = shift % size if size else 0
    if not shift:
        return whole(size)
    return (0, shift, size - shift, 1), (shift, size - shift, 0, 1)


# ---- repeating -----------------------------------------------------------------------------------


@function("repeat", method=True, namespaces=())
def repeat(self: Tensor, *repeats: Any, **named: Any) -> Tensor:
    """A copy repeated so many times along each dimension; further numbers add dimensions in front.

    >>> import flambeau as torch
    >>> torch.tensor([1, 2]).repeat(2)
    tensor([1, 2, 1, 2])
    """
    counts = read_ints("repeat", (named["repeats"],) if named else repeats, "repeats")
    extra = len(counts) - self.ndim
    if extra < 0:
        raise RuntimeError(
            "repeat: Number of dimensions of repeat dims can not be smaller than number of "
            "dimensions of tensor: "
            f"{tuple(counts)} for shape {tuple(self.shape)}"
        )
    if any(n < 0 for n in counts):
        raise RuntimeError(
            f"repeat: Trying to create tensor with negative dimension: repeats {tuple(counts)}"
        )
    shape = (1,) * extra + tuple(self.shape)
    apart = [n for s in shape for n in (1, s)]
    wide = [n for c, s in zip(counts, shape, strict=True) for n in (c, s)]
    spread = core.expand(core.view(self, apart), wide)
    return core.view(_contiguous_copy(spread), [c * s for c, s in zip(counts, shape, strict=True)])


@function("tile", method=True)
def tile(input: Tensor, *dims: Any, **named: Any) -> Tensor:
    """A copy repeated so many times along the last dimensions."""
    counts = tuple(read_ints("tile", (named["dims"],) if named else dims, "dims"))
    return repeat(input, (1,) * (input.ndim - len(counts)) + counts)


# ---- triangles -----------------------------------------------------------------------------------


def _triangle(input: Tensor, diagonal: int, lower: bool, name: str) -> Tensor:
    check_tensor(name, input)
    if input.ndim < 2:
        raise RuntimeError(
            f"{name}: input tensor must have at least 2 dimensions, got {input.ndim}"
        )
    if not input.is_contiguous():
        input = contiguous(input)  # a copy goes by tiles, what follows element by element
    rows, columns = input.shape[-2:]
    across = core.view(_count(columns, -diagonal), (1, columns))
    down = core.view(_count(rows), (rows, 1))
    keep = across <= down if lower else across >= down
    return choose(keep, input, zeros_plain((), input.dtype))


@composite(inplace=True, out=True)
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two dimensions, up to a diagonal; zero above.

    >>> import flambeau as torch
    >>> torch.ones(2, 2).tril()
    tensor([[1., 0.],
            [1., 1.]])
    """
    return _triangle(input, diagonal, True, "tril")


@composite(inplace=True, out=True)
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two dimensions, from a diagonal on; zero below.

    >>> import flambeau as torch
    >>> torch.ones(2, 2).triu()
    tensor([[1., 1.],
            [0., 1.]])
    """
    return _triangle(input, diagonal, False, "triu")


# ---- diagonals -----------------------------------------------------------------------------------


@composite
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dimension as a diagonal over two new dimensions of zeros.

    >>> import flambeau as torch
    >>> torch.tensor([1, 2]).diag_embed()
    tensor([[1, 0],
            [0, 2]])
    """
    if not input.ndim:
        raise IndexError(
            "diag_embed: expected an input of at least one dimension, got a 0-d tensor"
        )
    a, b = wrap("diag_embed", dim1, input.ndim + 1), wrap("diag_embed", dim2, input.ndim + 1)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return _embed_diagonal(input, offset, a, b)


@primitive(register=False, name="diag_embed")
def _embed_diagonal(input: Tensor, offset: int, dim1: int, dim2: int) -> Tensor:
    """Zeros with the last dimension on a diagonal of two new dimensions."""
    n = input.shape[-1] + abs(offset)
    shape = list(input.shape[:-1])
    for d in sorted((dim1, dim2)):
        shape.insert(d, n)
    whole = zeros_plain(tuple(shape), input.dtype)
    strides = list(whole.stride())
    rows, columns = strides[dim1], strides[dim2]
    kept = [d for d in range(len(shape)) if d not in (dim1, dim2)]
    steps = (*(strides[d] for d in kept), rows + columns)
    first = offset * columns if offset > 0 else -offset * rows
    core.copy_plain(core.restride(whole, input.shape, steps, first), input)
    return whole


@_embed_diagonal.vjp
def _embed_diagonal_vjp(g, offset, dim1, dim2):
    return diagonal(g, offset, dim1, dim2)


@composite(out=True)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A matrix with a vector on its diagonal, or the diagonal of a matrix (as a copy)."""
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim == 2:
        return clone(_diagonal(input, diagonal, 0, 1))
    raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")


_diagonal = diagonal


@composite
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with the flattened input on its diagonal."""
    return diag_embed(reshape(input, -1), offset)


# ---- writing into a part of a copy ---------------------------------------------------------------


def _written(name: str, input: Tensor, src: Tensor, part: Tensor) -> Tensor:
    """input with src in place of `part`, a view of it."""
    from .windows import replace

    check_tensor(name, src, "src")
    if src.shape != part.shape:
        raise RuntimeError(
            f"{name}: expected src to have a size equal to the slice of self. src size = "
            f"{list(src.shape)}, slice size = {list(part.shape)}"
        )
    geometry = (tuple(part.shape), part.stride(), core.offset_between(part, input))
    src = src if src.dtype is input.dtype else src.to(input.dtype)
    return replace(input, src, tuple(input.shape), input.stride(), geometry)


@composite(out=True)
def diagonal_scatter(
    input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """A copy of input with src on a diagonal."""
    return _written("diagonal_scatter", input, src, _diagonal(input.detach(), offset, dim1, dim2))


@composite(out=True)
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of input with src at one position of a dimension."""
    from .views import select

    return _written("select_scatter", input, src, select(input.detach(), dim, index))


@composite(out=True)
def slice_scatter(
    input: Tensor,
    src: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    """A copy of input with src at a slice of a dimension."""
    d = wrap("slice_scatter", dim, input.ndim)
    part = core.basic_index(input.detach(), (*[slice(None)] * d, slice(start, end, step)))
    return _written("slice_scatter", input, src, part)


@composite(out=True)
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None
) -> Tensor:
    """A copy of input with src in a strided window."""
    from .views import as_strided

    return _written(
        "as_strided_scatter", input, src, as_strided(input.detach(), size, stride, storage_offset)
    )


# ---- grids and products --------------------------------------------------------------------------


@function("meshgrid")
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Grids of coordinates from 1-d (or 0-d) tensors; views.

    indexing "ij" (the default) has one dimension a tensor, in order; "xy" swaps the first two.
    """
    if len(tensors) == 1 and isinstance(tensors[0], tuple | list):
        tensors = tuple(tensors[0])
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing is not None and indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    for t in tensors:
        check_tensor("meshgrid", t, "tensors")
        if t.ndim > 1:
            raise RuntimeError(
                "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: shape "
                f"{tuple(t.shape)}"
            )
        if t.dtype is not tensors[0].dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(tensors) > 1
    given = (tensors[1], tensors[0], *tensors[2:]) if swap else tensors
    shape = [t.numel() for t in given]
    grids = []
    for d, t in enumerate(given):
        sizes = [1] * len(given)
        sizes[d] = t.numel()
        grids.append(core.expand(core.view(t, sizes), shape))
    if swap:
        grids[:2] = grids[1::-1]
    return tuple(grids)


@function("cartesian_prod")
def cartesian_prod(*tensors: Any) -> Tensor:
    """All combinations of one element from each 1-d tensor: (count, tensors)."""
    if len(tensors) == 1 and isinstance(tensors[0], tuple | list):
        tensors = tuple(tensors[0])
    for t in tensors:
        if t.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    from .join import stack

    return stack([reshape(g, -1) for g in meshgrid(*tensors, indexing="ij")], 1)
