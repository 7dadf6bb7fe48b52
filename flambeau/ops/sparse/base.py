"""What sparse tensors of every layout are: values, whose history is theirs, at some places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from math import prod
from typing import Any

from ... import core
from ...core import Tensor


class SparseBase(Tensor):
    """A tensor of which only some elements are listed; the others are 0.

    Subclasses say where the elements are. The history of a sparse tensor is that of its values, so
    ops on it are ordinary ops on indices and values, and need no derivatives of their own.
    """

    __slots__ = ("value",)

    value: Tensor
    # Subclasses with overrides come first; the core brings all other calls to `dispatch`.
    __torch_function__ = core._core._disabled_torch_function_impl

    def _like(self, value: Tensor) -> Any:
        """Other values at the same places."""
        raise NotImplementedError

    def _part_of(self, other: Tensor) -> Tensor:
        """What a tensor, sparse or dense, has at these places, in their order."""
        raise NotImplementedError

    def _become(self, other: Any) -> Any:
        """Make self, in place, the tensor that `other` is; returns self."""
        raise NotImplementedError

    def _values(self) -> Tensor:
        """The values (nnz, ...), outside the graph."""
        return self.value.detach() if self.value.requires_grad else self.value

    def _nnz(self) -> int:
        """How many elements are listed."""
        return self.value.shape[0]

    def dense_dim(self) -> int:
        """Number of dimensions that every listed element has itself."""
        return self.value.dim() - 1

    def sparse_dim(self) -> int:
        """Number of dimensions that the places are in."""
        return self.dim() - self.dense_dim()

    def __radd__(self, other: Any) -> Any:
        # Python asks the operand of the subclass first: `dense + sparse` comes here.
        return other.add(self) if isinstance(other, Tensor) else Tensor.__add__(self, other)

    # ---- what it is

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

    def requires_grad_(self, requires_grad: bool = True) -> SparseBase:
        """Set requires_grad in place; returns self."""
        if requires_grad and self.value.is_leaf and not self.value.requires_grad:
            self.value = self.value.detach()  # the caller's own tensor stays as it is
        self.value.requires_grad_(requires_grad)
        return self

    @property  # type: ignore[override]
    def grad(self) -> SparseBase | None:
        """The accumulated gradient at the listed elements, or None."""
        found = self.value.grad
        return None if found is None else self._like(found)

    @grad.setter
    def grad(self, value: Any) -> None:
        self.value.grad = None if value is None else self._part_of(value)

    @grad.deleter
    def grad(self) -> None:
        self.value.grad = None

    @property  # type: ignore[override]
    def data(self) -> SparseBase:
        """The same elements without history."""
        return self._like(self.value.data)

    @data.setter
    def data(self, value: Any) -> None:
        self._become(value.detach())

    def detach(self) -> SparseBase:
        """The same elements without history."""
        return self._like(self.value.detach())

    def detach_(self) -> SparseBase:
        """Forget the history, in place; returns self."""
        self.value = self.value.detach()
        return self

    def retain_grad(self) -> None:
        """Keep .grad of a non-leaf tensor."""
        self.value.retain_grad()

    def register_hook(self, hook: Callable) -> Any:
        """Call hook(grad) with the sparse gradient; it may return another."""

        def on_values(grad: Tensor) -> Tensor | None:
            changed = hook(self._like(grad))
            return None if changed is None else self._part_of(changed)

        return self.value.register_hook(on_values)

    def register_post_accumulate_grad_hook(self, hook: Callable) -> Any:
        """Call hook(tensor) after .grad of a leaf was accumulated."""
        return self.value.register_post_accumulate_grad_hook(lambda _: hook(self))

    # ---- copies

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        copied = memo[id(self)] = self.detach().clone()
        copied.value = self.value.__deepcopy__(memo)
        copied.__dict__.update(deepcopy(self.__dict__, memo))
        return copied


def body(size: Sequence[int], dtype: core.dtype) -> Tensor:
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
