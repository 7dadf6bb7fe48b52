"""Views: the same memory with other sizes and strides. No op copies unless it says so."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from ..core import dtype as Dtype
from . import dims
from .convert import cast
from .dims import wrap
from .parts import (
    as_strided,
    broadcast_shapes,
    broadcast_tensors,
    broadcast_to,
    diagonal,
    expand,
    expand_as,
    iterate,
    narrow,
    select,
    unbind,
    unfold,
)
from .record import METHODS, alias, composite, function, pointwise, primitive
from .windows import embed, put_slice, take_slice

__all__ = [
    "as_strided",
    "broadcast_shapes",
    "broadcast_tensors",
    "broadcast_to",
    "diagonal",
    "embed",
    "expand",
    "expand_as",
    "iterate",
    "narrow",
    "put_slice",
    "select",
    "take_slice",
    "unbind",
    "unfold",
]

# ---- copies that views fall back on --------------------------------------------------------------


@pointwise(name="clone", register=False)
def _clone(input):
    """The elements themselves, in new memory."""
    return input


@composite(name="clone")
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy in new memory, which gradients flow through.

    >>> import flambeau as torch
    >>> torch.ones(2).clone()
    tensor([1., 1.])
    """
    if memory_format is None or memory_format._name == "preserve_format":
        return _clone(input)
    if memory_format._name == "contiguous_format":
        return _contiguous_copy(input)
    return cast(input, input.dtype, memory_format)


@primitive(name="contiguous", register=False)
def _contiguous_copy(input: Tensor) -> Tensor:
    """A row-major copy."""
    made = core.empty(input.shape, input.dtype)
    core.copy_plain(made, input)
    return made


@_contiguous_copy.vjp
def _(g):
    return g


@function("contiguous", method=True, namespaces=(), shortcut=True)
def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself if its memory is in row-major (or the given) order, else a copy that is."""
    if memory_format is None or memory_format._name in ("contiguous_format", "preserve_format"):
        return self if self.is_contiguous() else _contiguous_copy(self)
    return self if self.is_contiguous(memory_format) else cast(self, self.dtype, memory_format)


@function("detach")
def detach(input: Tensor) -> Tensor:
    """The same memory without history."""
    return input.detach()


@function("detach_")
def detach_(input: Tensor) -> Tensor:
    """Forget, in place, how the tensor was made."""
    return input.detach_()


def _in_place(name: str, op: Any) -> None:
    """Register `name_`: the tensor itself takes the sizes and strides that the view has."""

    def change(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if core.needs_history(self) and self.is_leaf:
            raise RuntimeError(
                f"{name}_: a leaf Variable that requires grad is being used in an in-place "
                "operation."
            )
        made = op(self.detach(), *args, **kwargs)
        if core.needs_history(self):
            geometry = (
                tuple(made.shape),
                made.stride(),
                made.storage_offset() - self.storage_offset(),
            )
            shape, strides = tuple(self.shape), self.stride()
            node = core.new_node(
                f"{name.capitalize()}Backward0",
                lambda _, g: (embed(g, shape, strides, geometry),),
                (self,),
            )
            core.attach(node, (self,))
        core.swap_contents(self, made)
        return self

    change.__name__ = f"{name}_"
    change.__doc__ = f"In-place {name}: changes the tensor's own sizes and strides."
    function(f"{name}_", method=True, namespaces=())(change)


# ---- other sizes ---------------------------------------------------------------------------------


@function("view", method=True, namespaces=(), shortcut=True)
def view(self: Tensor, *shape: Any) -> Tensor:
    """The same elements in row-major order with other sizes, or the same bytes as another dtype.

    One size may be -1: it follows from the others. Raises where only a copy would do.

    >>> import flambeau as torch
    >>> torch.arange(6).view(2, -1).shape
    torch.Size([2, 3])
    """
    if len(shape) == 1:
        first = shape[0]
        if type(first) is Dtype:
            from .complex_views import view_dtype

            return view_dtype(self, first)
        if type(first) is not int:
            shape = dims.read_ints("view", shape)
    return core.view(self, shape)


@function("view_as", method=True, namespaces=(), shortcut=True)
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """A view with the other tensor's sizes."""
    return core.view(self, other.shape)


def reshape_copy(input: Tensor, shape: Any) -> Tensor:
    """The elements with other sizes, in new memory."""
    return core.view(_contiguous_copy(input), shape)


@function("reshape", method=True, shortcut=True)
def reshape(input: Tensor, *shape: Any, **named: Any) -> Tensor:
    """The elements in row-major order with other sizes: a view where that is possible, else a copy.

    >>> import flambeau as torch
    >>> torch.ones(2, 3).t().reshape(6).shape
    torch.Size([6])
    """
    if named:
        shape = (named["shape"],)
    if len(shape) == 1 and type(shape[0]) is not int:
        shape = dims.read_ints("reshape", shape, "shape")
    made = core.try_view(input, shape)
    return made if made is not None else reshape_copy(input, shape)


@function("reshape_as", method=True, namespaces=())
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """The elements with the other tensor's sizes."""
    return reshape(self, other.shape)


@function("squeeze", method=True, shortcut=True)
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without its dimensions of size 1: all of them, or the given ones that have size 1.

    >>> import flambeau as torch
    >>> torch.zeros(1, 3, 1).squeeze(0).shape
    torch.Size([3, 1])
    """
    shape = input.shape
    if dim is None:
        kept = [n for n in shape if n != 1]
    elif isinstance(dim, tuple | list):
        gone = dims.wrap_all("squeeze", dim, len(shape))
        kept = [n for d, n in enumerate(shape) if n != 1 or d not in gone]
    else:
        dim = wrap("squeeze", dim, len(shape))
        kept = list(shape)
        if kept and kept[dim] == 1:
            del kept[dim]
    return core.name_view(core.view(input, kept), "SqueezeBackward0")


alias("squeeze_multiple", squeeze, namespaces=())


@function("unsqueeze", method=True, shortcut=True)
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1 at a position.

    >>> import flambeau as torch
    >>> torch.zeros(3).unsqueeze(-1).shape
    torch.Size([3, 1])
    """
    sizes = list(input.shape)
    sizes.insert(wrap("unsqueeze", dim, len(sizes) + 1), 1)
    return core.name_view(core.view(input, sizes), "UnsqueezeBackward0")


@function("flatten", method=True, shortcut=True)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions start_dim..end_dim as one; a view where possible, else a copy.

    >>> import flambeau as torch
    >>> torch.zeros(2, 3, 4).flatten(1).shape
    torch.Size([2, 12])
    """
    shape = input.shape
    n = len(shape)
    first, last = wrap("flatten", start_dim, n), wrap("flatten", end_dim, n)
    if first > last:
        raise RuntimeError(
            f"flatten() has invalid args: start_dim cannot come after end_dim, got {start_dim} and "
            f"{end_dim}"
        )
    if n == 0:
        return reshape(input, 1)
    if first == last:
        return input
    size = 1
    for k in shape[first : last + 1]:
        size *= k
    return reshape(input, (*shape[:first], size, *shape[last + 1 :]))


@function("ravel", method=True)
def ravel(input: Tensor) -> Tensor:
    """All dimensions as one."""
    return contiguous(reshape(input, (-1,)))


@function("unflatten", method=True)
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dimension as several; one of the sizes may be -1.

    >>> import flambeau as torch
    >>> torch.zeros(6).unflatten(0, (2, -1)).shape
    torch.Size([2, 3])
    """
    shape = input.shape
    d = wrap("unflatten", dim, len(shape))
    if not len(sizes):
        raise RuntimeError("unflatten: sizes must be non-empty")
    if not shape:
        raise IndexError("unflatten: Dimension specified as 0 but tensor has no dimensions")
    sizes = list(dims.read_ints("unflatten", (sizes,), "sizes"))
    _fill_missing(sizes, shape[d], d)
    return core.view(input, (*shape[:d], *sizes, *shape[d + 1 :]))


def _fill_missing(sizes: list[int], total: int, dim: int) -> None:
    """Replace a -1 among the sizes; they must multiply to total."""
    known = 1
    for n in sizes:
        known *= n if n != -1 else 1
    if sizes.count(-1) > 1:
        raise RuntimeError("unflatten: only one dimension can be inferred")
    if -1 in sizes and known and total % known == 0:
        sizes[sizes.index(-1)] = total // known
    elif -1 in sizes or known != total:
        raise RuntimeError(
            f"unflatten: Provided sizes {sizes} don't multiply up to the size of dim {dim} "
            f"({total}) in the input tensor"
        )


# ---- other orders --------------------------------------------------------------------------------


@function("permute", method=True, shortcut=True)
def permute(input: Tensor, *dims_: Any, **named: Any) -> Tensor:
    """The dimensions in another order: result dimension i is input dimension dims[i].

    >>> import flambeau as torch
    >>> torch.zeros(2, 3, 4).permute(2, 0, 1).shape
    torch.Size([4, 2, 3])
    """
    order = dims.read_ints("permute", (named["dims"],) if named else dims_, "dims")
    n = input.ndim
    if len(order) != n:
        raise RuntimeError(
            "permute: number of dimensions in the tensor input does not match the length of the "
            "desired ordering: "
            f"input.dim() = {n} is not equal to len(dims) = {len(order)} (dims {tuple(order)})"
        )
    return core.permute(input, dims.wrap_all("permute", order, n))


@function("transpose", method=True, shortcut=True)
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """With two dimensions swapped.

    >>> import flambeau as torch
    >>> torch.zeros(2, 3).transpose(0, 1).shape
    torch.Size([3, 2])
    """
    n = input.ndim
    a, b = wrap("transpose", dim0, n), wrap("transpose", dim1, n)
    order = list(range(n))
    if n:
        order[a], order[b] = b, a
    return core.name_view(core.permute(input, order), "TransposeBackward0")


for _name in ("swapaxes", "swapdims"):
    alias(_name, transpose, method=True)


@function("t", method=True, shortcut=True)
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; vectors and scalars are returned as they are."""
    n = input.ndim
    if n > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {n}D")
    return core.name_view(core.permute(input, (1, 0) if n == 2 else range(n)), "TBackward0")


@function("movedim", method=True)
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """With the dimensions `source` at the positions `destination`, the others in their order."""
    n = input.ndim
    sources = (source,) if isinstance(source, int) else tuple(source)
    targets = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(sources) != len(targets):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(sources)} dims) should "
            "contain the same number "
            f"of dims as destination ({list(targets)} dims)"
        )
    sources = dims.wrap_all("movedim", sources, n)
    targets = dims.wrap_all("movedim", targets, n)
    if n == 0:
        return alias_view(input)
    placed = dict(zip(targets, sources, strict=True))
    rest = iter([d for d in range(n) if d not in sources])
    return core.permute(input, [placed[d] if d in placed else next(rest) for d in range(n)])


alias("moveaxis", movedim, method=True)


def alias_view(input: Tensor) -> Tensor:
    """A view of the same sizes."""
    return core.alias(input)


@function("adjoint", method=True)
def adjoint(input: Tensor) -> Tensor:
    """The conjugate transpose of the last two dimensions."""
    if input.ndim == 1:
        raise RuntimeError(
            "adjoint: expected a tensor with at least two dimensions (or none), got 1"
        )
    return _conjugate(_transposed("adjoint", input))


def _conjugate(input: Tensor) -> Tensor:
    return input.conj() if input.is_complex() else input


def _transposed(name: str, input: Tensor) -> Tensor:
    if input.ndim < 2 and input.ndim != 0:
        raise RuntimeError(
            f"tensor.{name} is only supported on matrices or batches of matrices. Got "
            f"{input.ndim}-D tensor."
        )
    return transpose(input, -2, -1) if input.ndim else input


def _reversed(input: Tensor) -> Tensor:
    """Dimensions in reverse order."""
    return core.permute(input, range(input.ndim - 1, -1, -1))


def _conjugate_transpose(input: Tensor) -> Tensor:
    if input.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {input.ndim}-D tensor. For "
            "batches of matrices, consider using tensor.mH"
        )
    return _conjugate(_transposed("H", input))


METHODS["T"] = property(_reversed, doc="Dimensions in reverse order.")
METHODS["mT"] = property(
    lambda self: _transposed("mT", self), doc="The last two dimensions swapped."
)
METHODS["H"] = property(_conjugate_transpose, doc="A matrix's conjugate transpose.")
METHODS["mH"] = property(
    lambda self: _conjugate(_transposed("mH", self)),
    doc="The last two dimensions swapped, conjugated.",
)


for _name, _op in (("squeeze", squeeze), ("unsqueeze", unsqueeze), ("t", t)):
    _in_place(_name, _op)
for _name in ("transpose", "swapaxes", "swapdims"):
    _in_place(_name, transpose)
_in_place("as_strided", as_strided)
