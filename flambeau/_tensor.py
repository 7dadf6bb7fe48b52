"""What makes tensors good Python objects: printing, formatting, copying and pickling."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Any

from . import core
from .core import Tensor, UntypedStorage
from .ops.record import METHODS

__all__ = ["install"]


# ---- text ----------------------------------------------------------------------------------------


def _repr(self: Tensor, *, tensor_contents: str | None = None) -> str:
    from ._tensor_str import tensor_to_str

    return tensor_to_str(self, tensor_contents)


def _format(self: Tensor, format_spec: str) -> str:
    """A 0-d tensor formats as its number."""
    if self.dim() == 0 and type(self) is Tensor:
        return self.item().__format__(format_spec)
    return object.__format__(self, format_spec)


# ---- copies --------------------------------------------------------------------------------------


def _deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """A copy of a leaf with its memory, gradient and attributes; shared memory stays shared among
    the copies.
    """
    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment. "
            f"This tensor was made by {self.grad_fn.name()}: use .detach().clone() for a copy of "
            "its values."
        )
    source = self.untyped_storage()
    key = ("storage", source._cdata_key())
    copied = memo.get(key)  # type: ignore[call-overload]
    if copied is None:
        copied = memo[key] = _copy_storage(source)  # type: ignore[index]
    plain = core.from_storage(copied, self.dtype, self.storage_offset(), self.shape, self.stride())
    made = plain if type(self) is Tensor else core.make_subclass(type(self), plain)
    if self.requires_grad:
        made.requires_grad_()
    memo[id(self)] = made
    if self.grad is not None:
        made.grad = self.grad.__deepcopy__(memo)
    _copy_attributes(self, made, memo)
    return made


def _copy(self: Tensor) -> Tensor:
    """Another leaf over the same memory, with the same attributes; gradients and history stay
    behind. A class that says how it is reduced (parameters, sparse and meta tensors) is rebuilt
    from its parts.
    """
    kind = type(self)
    if kind.__reduce_ex__ is not Tensor.__reduce_ex__:
        reduced: Any = self.__reduce_ex__(4)
        rebuild, parts, *state = reduced
        made = rebuild(*parts)
        if state and state[0]:
            made.__setstate__(state[0])
        return made
    plain = self.data
    made = plain if kind is Tensor else core.make_subclass(kind, plain)
    made.__dict__.update(self.__dict__)
    return made.requires_grad_(self.requires_grad)


def _copy_attributes(source: Tensor, target: Tensor, memo: dict[int, Any]) -> None:
    from copy import deepcopy

    if source.__dict__:
        target.__dict__.update(deepcopy(source.__dict__, memo))


def _copy_storage(source: UntypedStorage) -> UntypedStorage:
    size = source.nbytes()
    return core.clone_plain(
        core.from_storage(source, core.dtypes[1], 0, (size,), (1,))
    ).untyped_storage()


# ---- pickling ------------------------------------------------------------------------------------


class StoredBytes:
    """A storage on its way through a pickle; one object per storage, so that what is shared stays
    shared.
    """

    _alive: weakref.WeakValueDictionary[int, StoredBytes] = weakref.WeakValueDictionary()

    def __init__(self, storage: UntypedStorage) -> None:
        self.storage = storage

    @classmethod
    def of(cls, storage: UntypedStorage) -> StoredBytes:
        """The object that stands for a storage while a pickler holds it."""
        key = storage._cdata_key()
        found = cls._alive.get(key)
        if found is None:
            found = cls._alive[key] = cls(storage)
        return found

    def __reduce_ex__(self, protocol: int) -> tuple:  # type: ignore[override]
        size = self.storage.nbytes()
        whole = core.from_storage(self.storage, core.dtypes[1], 0, (size,), (1,))
        if protocol >= 5:
            from pickle import PickleBuffer

            return _restore_storage, (PickleBuffer(_view_bytes(whole)),)
        return _restore_storage, (core.read_bytes(whole),)


def _view_bytes(whole: Tensor) -> Any:
    """The memory as a buffer, without NumPy."""
    import ctypes

    kind = ctypes.c_ubyte * whole.numel()
    if not whole.numel():
        return kind()
    view = kind.from_address(whole.data_ptr())
    view.keeper = core.keeper(whole)
    return view


def _restore_storage(data: Any) -> UntypedStorage:
    """A storage of its own with these bytes."""
    if type(data) is bytearray:  # the unpickler's own copy: no other object writes to it
        return core.from_buffer(data, core.dtypes[1], (len(data),), (1,)).untyped_storage()
    data = bytes(data)
    made = core.empty((len(data),), core.dtypes[1])
    core.write_bytes(made, data)
    return made.untyped_storage()


def _reduce(self: Tensor, protocol: int) -> tuple:
    """Tensors pickle as their storage and how they view it; the history is left out."""
    _check_picklable(self)
    plain = (  # type: ignore[var-annotated]
        StoredBytes.of(self.untyped_storage()),
        self.dtype,
        self.storage_offset(),
        tuple(self.shape),
        self.stride(),
        self.requires_grad,
        OrderedDict(),
    )
    if type(self) is Tensor and not self.__dict__:
        return _rebuild_tensor, plain
    return _rebuild_from_type, (type(self), plain, self.__dict__)


def _check_picklable(self: Tensor) -> None:
    if self.requires_grad and not self.is_leaf:
        import warnings

        warnings.warn(
            "Pickling a non-leaf tensor that requires grad: the copy is a leaf, without the "
            "history.",
            UserWarning,
            stacklevel=4,
        )


def _rebuild_tensor(
    storage: UntypedStorage,
    dtype: core.dtype,
    offset: int,
    size: tuple,
    stride: tuple,
    requires_grad: bool,
    backward_hooks: Any,
) -> Tensor:
    """Unpickle a tensor."""
    made = core.from_storage(storage, dtype, offset, size, stride)
    return made.requires_grad_() if requires_grad else made


def _rebuild_from_type(kind: type, plain: tuple, state: dict[str, Any]) -> Tensor:
    """Unpickle an instance of a subclass, or a tensor with attributes."""
    made = _rebuild_tensor(*plain)
    if kind is not Tensor:
        made = core.make_subclass(kind, made.detach(), made.requires_grad)
    made.__dict__.update(state)
    return made


def _restore(self: Tensor, state: Any) -> None:
    """Attributes that a subclass's own __reduce__ returned as state."""
    self.__dict__.update(state)


def install() -> None:
    """Give Tensor these methods."""
    METHODS.update(
        {
            "__repr__": _repr,
            "__format__": _format,
            "__copy__": _copy,
            "__deepcopy__": _deepcopy,
            "__reduce_ex__": _reduce,
            "__setstate__": _restore,
        }
    )
    core.install_all(METHODS)


install()
