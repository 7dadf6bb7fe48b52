"""Views: the same memory with other sizes and strides. No op here copies, except where it says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import core
from ..core import Tensor
from ..core import dtype as Dtype
from . import dims
from .convert import cast
from .dims import wrap
from .record import METHODS, alias, composite, function, pointwise, primitive
from .splitting import ALL, narrow_plain
from .windows import embed, put_slice, take_slice

__all__ = ["embed", "put_slice", "take_slice"]

# ---- copies that views fall back on --------------------------------------------------------------------


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


@function("contiguous", method=True, namespaces=())
def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself if its memory is in row-major order (or the given order), else a copy that is."""
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
                f"{name}_: a leaf Variable that requires grad is being used in an in-place operation."
            )
        made = op(self.detach(), *args, **kwargs)
        if core.needs_history(self):
            geometry = (tuple(made.shape), made.stride(), made.storage_offset() - self.storage_offset())
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


# ---- other sizes ---------------------------------------------------------------------------------------


@function("view", method=True, namespaces=())
def view(self: Tensor, *shape: Any) -> Tensor:
    """The same elements in row-major order with other sizes, or the same bytes as another dtype.

    One size may be -1: it follows from the others. Raises where only a copy would do: use `reshape`.

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


@function("view_as", method=True, namespaces=())
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """A view with the other tensor's sizes."""
    return core.view(self, other.shape)


def reshape_copy(input: Tensor, shape: Any) -> Tensor:
    """The elements with other sizes, in new memory."""
    return core.view(_contiguous_copy(input), shape)


@function("reshape", method=True)
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


@function("squeeze", method=True)
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


@function("unsqueeze", method=True)
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of size 1 at a position.

    >>> import flambeau as torch
    >>> torch.zeros(3).unsqueeze(-1).shape
    torch.Size([3, 1])
    """
    sizes = list(input.shape)
    sizes.insert(wrap("unsqueeze", dim, len(sizes) + 1), 1)
    return core.name_view(core.view(input, sizes), "UnsqueezeBackward0")


@function("flatten", method=True)
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
            f"flatten() has invalid args: start_dim cannot come after end_dim, got {start_dim} and {end_dim}"
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
            f"unflatten: Provided sizes {sizes} don't multiply up to the size of dim {dim} ({total}) in the input tensor"
        )


# ---- other orders --------------------------------------------------------------------------------------


@function("permute", method=True)
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
            f"permute: number of dimensions in the tensor input does not match the length of the desired ordering: "
            f"input.dim() = {n} is not equal to len(dims) = {len(order)} (dims {tuple(order)})"
        )
    return core.permute(input, dims.wrap_all("permute", order, n))


@function("transpose", method=True)
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


@function("t", method=True)
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
            f"movedim: Invalid source or destination dims: source ({list(sources)} dims) should contain the same number "
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
        raise RuntimeError("adjoint: expected a tensor with at least two dimensions (or none), got 1")
    return _conjugate(_transposed("adjoint", input))


def _conjugate(input: Tensor) -> Tensor:
    return input.conj() if input.is_complex() else input


def _transposed(name: str, input: Tensor) -> Tensor:
    if input.ndim < 2 and input.ndim != 0:
        raise RuntimeError(
            f"tensor.{name} is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor."
        )
    return transpose(input, -2, -1) if input.ndim else input


def _reversed(input: Tensor) -> Tensor:
    """Dimensions in reverse order."""
    return core.permute(input, range(input.ndim - 1, -1, -1))


def _conjugate_transpose(input: Tensor) -> Tensor:
    if input.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {input.ndim}-D tensor. For batches of matrices, consider using tensor.mH"
        )
    return _conjugate(_transposed("H", input))


METHODS["T"] = property(_reversed, doc="Dimensions in reverse order.")
METHODS["mT"] = property(lambda self: _transposed("mT", self), doc="The last two dimensions swapped.")
METHODS["H"] = property(_conjugate_transpose, doc="A matrix's conjugate transpose.")
METHODS["mH"] = property(
    lambda self: _conjugate(_transposed("mH", self)), doc="The last two dimensions swapped, conjugated."
)


# ---- broadcasting --------------------------------------------------------------------------------------


@function("expand", method=True, namespaces=())
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
                raise RuntimeError(f"Trying to create tensor with negative dimension ({n}): {shape}")
            if n not in (1, result[d]) and result[d] != 1:
                raise RuntimeError(
                    f"Shape mismatch: objects cannot be broadcast to a single shape: {', '.join(map(str, sizes))} differ in dimension {d - rank}"
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


# ---- parts ---------------------------------------------------------------------------------------------


@function("select", method=True)
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
            f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {d}"
        )
    made = core.basic_index(input, (*ALL[:d], int(index)))
    return core.name_view(made, "SelectBackward0")


@function("narrow", method=True)
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
        raise RuntimeError(f"narrow: start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return core.name_view(narrow_plain(input, d, start, length), "SliceBackward0")


def _start_of(start: Tensor) -> int:
    if start.ndim or start.dtype.is_floating_point or start.dtype.is_complex or start.dtype.name == "bool":
        raise RuntimeError("narrow: start must be an 0-dim integral Tensor.")
    return int(start.item())


@function("unbind", method=True)
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The parts at every position of a dimension."""
    if not input.ndim:
        raise IndexError("unbind: Dimension specified as 0 but tensor has no dimensions")
    d = wrap("unbind", dim, input.ndim)
    before = ALL[:d]
    return tuple([core.basic_index(input, (*before, i)) for i in range(input.shape[d])])


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
        raise RuntimeError(f"unfold: maximum size for tensor at dimension {d} is {n} but size is {size}")
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
    own = input.storage_offset()
    offset = 0 if storage_offset is None else storage_offset - own
    return core.restride(input, size, stride, offset)


for _name, _op in {
    "squeeze": squeeze, "unsqueeze": unsqueeze, "t": t, "transpose": transpose, "swapaxes": transpose,
    "swapdims": transpose, "as_strided": as_strided,
}.items():  # fmt: skip
    _in_place(_name, _op)
