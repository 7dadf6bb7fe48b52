"""Views that repeat or show parts: expanding, selecting, slicing, diagonals, windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import core
from ..core import Tensor
from . import dims
from .dims import wrap
from .record import function
from .splitting import ALL, narrow_plain

# ---- broadcasting --------------------------------------------------------------------------------


@function("expand", method=True, namespaces=(), shortcut=True)
def expand(self: Tensor, *sizes: Any, implicit: bool = False) -> Tensor:
    """With dimensions of size 1 repeated without copying; -1 keeps a size.

    >>> import flambeau as torch
    >>> torch.zeros(3, 1).expand(2, -1, 4).shape
    torch.Size([2, 3, 4])
    """
    return core.expand(self, dims.read_ints("expand", sizes))


@function("expand_as", method=True, namespaces=())
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """Expanded to the other tensor's sizes."""
    return core.expand(self, other.shape)


@function("broadcast_to", method=True)
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """Expanded to a shape."""
    return core.expand(input, dims.read_ints("broadcast_to", (size,)))


@function("broadcast_shapes")
def broadcast_shapes(*shapes: Any) -> core.Size:
    """The shape that tensors of these shapes broadcast to.

    >>> import flambeau as torch
    >>> torch.broadcast_shapes((2, 1), (3,))
    torch.Size([2, 3])
    """
    sizes = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    rank = max((len(s) for s in sizes), default=0)
    result = [1] * rank
    for shape in sizes:
        for d, n in enumerate(shape, rank - len(shape)):
            if n < 0:
                raise RuntimeError(
                    f"Trying to create tensor with negative dimension ({n}): {shape}"
                )
            if n not in (1, result[d]) and result[d] != 1:
                raise RuntimeError(
                    "Shape mismatch: objects cannot be broadcast to a single shape: "
                    f"{', '.join(map(str, sizes))} differ in dimension {d - rank}"
                )
            result[d] = n if n != 1 else result[d]
    return core.Size(result)


@function("broadcast_tensors")
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], tuple | list):
        tensors = tuple(tensors[0])
    if not tensors:
        raise RuntimeError("broadcast_tensors: expected at least one tensor")
    shape = broadcast_shapes(*[x.shape for x in tensors])
    return tuple([core.expand(x, shape) for x in tensors])


# ---- parts ---------------------------------------------------------------------------------------


@function("select", method=True, shortcut=True)
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The part at one position of a dimension, without that dimension.

    >>> import flambeau as torch
    >>> torch.tensor([[1, 2], [3, 4]]).select(1, 0)
    tensor([1, 3])
    """
    shape = input.shape
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = wrap("select", dim, len(shape))
    n = shape[d]
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(shape)} at dimension "
            f"{d}"
        )
    made = core.basic_index(input, (*ALL[:d], int(index)))
    return core.name_view(made, "SelectBackward0")


@function("narrow", method=True, shortcut=True)
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` positions of a dimension from `start` on.

    >>> import flambeau as torch
    >>> torch.arange(5).narrow(0, 1, 2)
    tensor([1, 2])
    """
    shape = input.shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if length < 0:
        raise RuntimeError(f"narrow(): length must be non-negative, got {length}")
    d = wrap("narrow", dim, len(shape))
    if isinstance(start, Tensor):
        start = _start_of(start)
    n = shape[d]
    if not -n <= start <= n:
        raise IndexError(
            f"narrow: start out of range (expected to be in range of [{-n}, {n}], but got {start})"
        )
    start = start + n if start < 0 else start
    if start + length > n:
        raise RuntimeError(
            f"narrow: start ({start}) + length ({length}) exceeds dimension size ({n})."
        )
    return core.name_view(narrow_plain(input, d, start, length), "SliceBackward0")


def _start_of(start: Tensor) -> int:
    if (
        start.ndim
        or start.dtype.is_floating_point
        or start.dtype.is_complex
        or start.dtype.name == "bool"
    ):
        raise RuntimeError("narrow: start must be an 0-dim integral Tensor.")
    return int(start.item())


@function("unbind", method=True, shortcut=True)
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The parts at every position of a dimension."""
    if not input.ndim:
        raise IndexError("unbind: Dimension specified as 0 but tensor has no dimensions")
    d = wrap("unbind", dim, input.ndim)
    return core.unbind_views(input, d)


def iterate(input: Tensor) -> Iterator[Tensor]:
    """The parts at every position of the first dimension."""
    if not input.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(unbind(input, 0))


@function("diagonal", method=True)
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonals over two dimensions, as a last dimension; offset > 0 is above the main one.

    >>> import flambeau as torch
    >>> torch.tensor([[1, 2], [3, 4]]).diagonal()
    tensor([1, 4])
    """
    shape, steps = input.shape, input.stride()
    a, b = wrap("diagonal", dim1, len(shape)), wrap("diagonal", dim2, len(shape))
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rows, columns = shape[a], shape[b]
    n = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    start = max(-offset, 0) * steps[a] + max(offset, 0) * steps[b]
    rest = [d for d in range(len(shape)) if d not in (a, b)]
    made = core.restride(
        input,
        (*[shape[d] for d in rest], n),
        (*[steps[d] for d in rest], steps[a] + steps[b]),
        start if n else 0,
    )
    return core.name_view(made, "DiagonalBackward0")


@function("unfold", method=True, namespaces=())
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size` positions every `step` positions of a dimension, as a last dimension.

    >>> import flambeau as torch
    >>> torch.arange(5).unfold(0, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """
    shape, steps = tuple(self.shape), self.stride()
    d = wrap("unfold", dimension, len(shape))
    n, stride = (shape[d], steps[d]) if shape else (1, 1)
    if size < 0:
        raise RuntimeError(f"unfold: size is {size} but must be >= 0")
    if size > n:
        raise RuntimeError(
            f"unfold: maximum size for tensor at dimension {d} is {n} but size is {size}"
        )
    if step <= 0:
        raise RuntimeError(f"unfold: step is {step} but must be > 0")
    if not shape:
        return core.name_view(core.restride(self, (size,), (1,)), "UnfoldBackward0")
    count = (n - size) // step + 1
    made = core.restride(
        self,
        (*shape[:d], count, *shape[d + 1 :], size),
        (*steps[:d], stride * step, *steps[d + 1 :], stride),
    )
    return core.name_view(made, "UnfoldBackward0")


@function("as_strided", method=True)
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """Any window of the tensor's storage: sizes, strides and offset in elements."""
    offset = 0 if storage_offset is None else storage_offset - input.storage_offset()
    return core.restride(input, size, stride, offset)
