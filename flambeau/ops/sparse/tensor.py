"""The type of sparse tensors in coordinate (COO) format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from math import prod
from typing import Any

from ... import core
from ...core import Tensor

INT64 = core.dtypes[5]
_COO = core._core._LAYOUTS["sparse_coo"]


class SparseTensor(Tensor):
    """Elements by coordinate: indices (sparse_dim, nnz), values (nnz, *sizes of the dense dims).

    Elements that are not listed are 0; those listed several times are the sum. The history of
    a sparse tensor is that of its values, so ops on it are ordinary ops on indices and values, and
    need no derivatives of their own. `coalesced` says that the coordinates are sorted and distinct.
    """

    __slots__ = ("coalesced", "index", "value")

    index: Tensor
    value: Tensor
    coalesced: bool
    # Subclasses with overrides come first; the core brings all other calls to `dispatch`.
    __torch_function__ = core._core._disabled_torch_function_impl

    # ---- parts

    def _indices(self) -> Tensor:
        """The coordinates (sparse_dim, nnz), whether or not they are distinct."""
        return self.index

    def _values(self) -> Tensor:
        """The values (nnz, ...), outside the graph."""
        return self.value.detach() if self.value.requires_grad else self.value

    def indices(self) -> Tensor:
        """The coordinates (sparse_dim, nnz) of a coalesced tensor."""
        _check_coalesced(self, "indices")
        return self.index

    def values(self) -> Tensor:
        """The values (nnz, ...) of a coalesced tensor."""
        _check_coalesced(self, "values")
        return self.value

    def _nnz(self) -> int:
        """How many elements are listed."""
        return self.index.shape[1]

    def sparse_dim(self) -> int:
        """Number of dimensions that coordinates are for."""
        return self.index.shape[0]

    def dense_dim(self) -> int:
        """Number of dimensions that every listed element has itself."""
        return self.dim() - self.index.shape[0]

    _dimI, _dimV = sparse_dim, dense_dim  # noqa: N815

    def is_coalesced(self) -> bool:
        """Are the coordinates known to be sorted and distinct?"""
        return self.coalesced

    def _coalesced_(self, coalesced: bool) -> SparseTensor:
        """Say that the coordinates are sorted and distinct, or that they may not be."""
        self.coalesced = bool(coalesced)
        return self

    def __radd__(self, other: Any) -> Any:
        # Python asks the operand of the subclass first: `dense + sparse` comes here.
        return other.add(self) if isinstance(other, Tensor) else Tensor.__add__(self, other)

    # ---- what it is

    is_sparse = property(lambda self: True, doc="Is the layout sparse_coo?")
    layout = property(lambda self: _COO, doc="flambeau.sparse_coo.")

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """False: there is no one block of memory."""
        return False

    def stride(self, dim: Any = None) -> Any:
        """0 for every dimension."""
        return (0,) * self.dim() if dim is None else 0

    def _no_memory(self, *_: Any) -> Any:
        raise NotImplementedError(
            "Cannot access storage of a sparse tensor: use those of _indices() and _values(), or"
            " to_dense()"
        )

    data_ptr = untyped_storage = storage_offset = storage = typed_storage = _no_memory
    tolist = __dlpack__ = share_memory_ = _no_memory  # type: ignore[assignment]
    nbytes = property(_no_memory)

    def numpy(self, *_: Any, **__: Any) -> Any:
        """TypeError: NumPy has no sparse arrays."""
        raise TypeError("can't convert Sparse layout tensor to numpy. Use Tensor.to_dense() first.")

    __array__ = numpy

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.numel() != 1:
            raise RuntimeError(
                f"a Tensor with {self.numel()} elements cannot be converted to Scalar"
            )
        return self.value.detach().sum().to(self.dtype).item()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        return self.item().__index__()

    # ---- history: that of the values

    is_leaf = property(lambda self: self.value.is_leaf, doc="Did no recorded op make it?")
    grad_fn = property(lambda self: self.value.grad_fn, doc="The node that made the values.")
    output_nr = property(lambda self: self.value.output_nr)
    _version = property(lambda self: self.value._version)
    retains_grad = property(lambda self: self.value.retains_grad)

    @property  # type: ignore[override]
    def requires_grad(self) -> bool:
        """Does autograd follow the values?"""
        return self.value.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> SparseTensor:
        """Set requires_grad in place; returns self."""
        if requires_grad and self.value.is_leaf and not self.value.requires_grad:
            self.value = self.value.detach()  # the caller's own tensor stays as it is
        self.value.requires_grad_(requires_grad)
        return self

    @property  # type: ignore[override]
    def grad(self) -> SparseTensor | None:
        """The accumulated gradient at the listed elements, or None."""
        found = self.value.grad
        return None if found is None else like(self, found)

    @grad.setter
    def grad(self, value: Any) -> None:
        self.value.grad = None if value is None else part_of(self, value)

    @grad.deleter
    def grad(self) -> None:
        self.value.grad = None

    @property  # type: ignore[override]
    def data(self) -> SparseTensor:
        """The same elements without history."""
        return like(self, self.value.data)

    @data.setter
    def data(self, value: Any) -> None:
        take_over(self, value.detach())

    def detach(self) -> SparseTensor:
        """The same elements without history."""
        return like(self, self.value.detach())

    def detach_(self) -> SparseTensor:
        """Forget the history, in place; returns self."""
        self.value = self.value.detach()
        return self

    def retain_grad(self) -> None:
        """Keep .grad of a non-leaf tensor."""
        self.value.retain_grad()

    def register_hook(self, hook: Callable) -> Any:
        """Call hook(grad) with the sparse gradient; it may return another."""

        def on_values(grad: Tensor) -> Tensor | None:
            changed = hook(like(self, grad))
            return None if changed is None else part_of(self, changed)

        return self.value.register_hook(on_values)

    def register_post_accumulate_grad_hook(self, hook: Callable) -> Any:
        """Call hook(tensor) after .grad of a leaf was accumulated."""
        return self.value.register_post_accumulate_grad_hook(lambda _: hook(self))

    # ---- copies

    def __deepcopy__(self, memo: dict[int, Any]) -> SparseTensor:
        if id(self) in memo:
            return memo[id(self)]
        copied = memo[id(self)] = like(self, self.value.__deepcopy__(memo))
        copied.index = self.index.clone()
        copied.__dict__.update(deepcopy(self.__dict__, memo))
        return copied

    def __reduce_ex__(self, protocol: int) -> tuple:  # type: ignore[override]
        return _rebuild, (*_parts_of(self), self.requires_grad), self.__dict__ or None


def make(index: Tensor, value: Tensor, size: Sequence[int], coalesced: bool = False) -> Any:
    """A sparse tensor of parts that are known to fit together."""
    return _fill(
        core.make_subclass(SparseTensor, _body(size, value.dtype)), index, value, coalesced
    )


def _fill(made: Any, index: Tensor, value: Tensor, coalesced: bool) -> Any:
    made.index, made.value, made.coalesced = index, value, coalesced
    return made


def _body(size: Sequence[int], dtype: core.dtype) -> Tensor:
    """What a sparse tensor is to the core: one element, repeated. It is never read."""
    check_count(size)
    one = _ELEMENTS.get(dtype)
    if one is None:
        value = float("nan") if dtype.is_floating_point or dtype.is_complex else 0
        one = _ELEMENTS[dtype] = core.from_data(value, dtype)
    return core.expand(one, tuple(size))


_ELEMENTS: dict[core.dtype, Tensor] = {}


def check_count(size: Sequence[int]) -> None:
    """RuntimeError where a shape has more elements than can be counted."""
    if prod(size) >= 1 << 63:
        raise RuntimeError("numel: integer multiplication overflow")


def like(t: Any, value: Tensor) -> Any:
    """t with other values at the same coordinates."""
    return make(t.index, value, t.shape, t.coalesced)


def take_over(t: Any, other: Any) -> Any:
    """Make t, in place, the tensor that `other` is; returns t."""
    core.swap_contents(t, _body(other.shape, other.value.dtype))
    return _fill(t, other.index, other.value, other.coalesced)


def part_of(t: Any, other: Tensor) -> Tensor:
    """What a tensor, sparse or dense, has at t's coordinates, in t's order."""
    from .convert import sparse_mask

    if tuple(other.shape) != tuple(t.shape):
        raise RuntimeError(
            f"a gradient of shape {tuple(other.shape)} for a tensor of shape {tuple(t.shape)}"
        )
    if isinstance(other, SparseTensor) and other.index is t.index:
        return other.value
    return sparse_mask(other, t).value


def _parts_of(t: Any) -> tuple:
    """What a file keeps of a sparse tensor."""
    return t.index, t._values(), tuple(t.shape), t.coalesced


def _rebuild(index: Tensor, value: Tensor, size: tuple, coalesced: bool, grad: bool) -> Any:
    """Unpickle a sparse tensor."""
    made = make(index, value, size, coalesced)
    return made.requires_grad_() if grad else made


def _check_coalesced(t: Any, part: str) -> None:
    if not t.coalesced:
        raise RuntimeError(
            f"Cannot get {part} on an uncoalesced tensor, please call .coalesce() first"
        )


# ---- places --------------------------------------------------------------------------------------


def flat_keys(index: Tensor, sizes: Sequence[int]) -> Tensor:
    """Row-major positions (nnz,) of coordinates (len(sizes), nnz)."""
    if len(sizes) == 1:
        return core.contiguous_plain(core.basic_index(index, 0))
    keys = core.fill_number(core.empty((index.shape[1],), INT64), 0)
    for d, size in enumerate(sizes):
        keys = keys * size + core.basic_index(index, d)
    return keys


def from_keys(keys: Tensor, sizes: Sequence[int]) -> Tensor:
    """Coordinates (len(sizes), nnz) of row-major positions (nnz,)."""
    if len(sizes) == 1:
        return core.view(keys, (1, keys.shape[0]))
    rows = []
    for size in reversed(sizes):
        rows.append(keys.remainder(max(size, 1)))
        keys = keys.div(max(size, 1), rounding_mode="floor")
    if not rows:
        return core.empty((0, keys.shape[0]), INT64)
    from ..join import stack

    return stack(rows[::-1])


def keys_of(t: Any) -> Tensor:
    """Row-major positions of t's elements among the sparse dimensions."""
    return flat_keys(t.index, t.shape[: t.sparse_dim()])
