"""Storages seen from Python: typed ones, setting a tensor's storage, and memory that processes
share.
"""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from typing import Any

from .. import core
from ..core import Tensor, UntypedStorage
from ..core import dtype as Dtype
from .factory import DTYPES, dense_strides
from .record import NAMESPACES, function


class TypedStorage:
    """A block of memory seen as elements of one dtype; tensors view it.

    >>> import flambeau as torch
    >>> torch.arange(3).storage().tolist()
    [0, 1, 2]
    """

    def __init__(self, untyped: UntypedStorage, dtype: Dtype) -> None:
        self._untyped_storage = untyped
        self.dtype = dtype

    @property
    def device(self) -> core.device:
        """Where the memory is."""
        return self._untyped_storage.device

    def untyped(self) -> UntypedStorage:
        """The memory as bytes."""
        return self._untyped_storage

    def nbytes(self) -> int:
        """Size in bytes."""
        return self._untyped_storage.nbytes()

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def size(self) -> int:
        """Number of elements."""
        return self.nbytes() // self.dtype.itemsize

    __len__ = size

    def data_ptr(self) -> int:
        """Address of the first byte."""
        return self._untyped_storage.data_ptr()

    def _tensor(self) -> Tensor:
        return core.from_storage(self._untyped_storage, self.dtype, 0, (self.size(),), (1,))

    def tolist(self) -> list:
        """The elements as Python numbers."""
        return self._tensor().tolist()

    def __getitem__(self, i: Any) -> Any:
        found = core.basic_index(self._tensor(), i)
        return found.tolist()

    def __setitem__(self, i: Any, value: Any) -> None:
        core.fill_number(core.basic_index(self._tensor(), i), value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypedStorage) and self._untyped_storage == other._untyped_storage

    def __hash__(self) -> int:
        return hash(self._untyped_storage)

    def is_shared(self) -> bool:
        """Can other processes see the memory?"""
        return find_block(self._untyped_storage) is not None

    def __repr__(self) -> str:
        lines = "".join(f" {value}\n" for value in self.tolist())
        kind = f"dtype={self.dtype}, device=cpu"
        return f"{lines}[torch.storage.TypedStorage({kind}) of size {self.size()}]"


TypedStorage.__module__ = "flambeau"
NAMESPACES[""]["TypedStorage"] = TypedStorage


def is_storage(obj: Any) -> bool:
    """Is it a storage?"""
    return isinstance(obj, TypedStorage | UntypedStorage)


@function("storage", method=True, namespaces=())
def storage(self: Tensor) -> TypedStorage:
    """The tensor's memory as elements of its dtype."""
    return TypedStorage(self.untyped_storage(), self.dtype)


@function("set_", method=True, namespaces=())
def set_(
    self: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None
) -> Tensor:
    """Make the tensor a view of a storage or of another tensor's memory; without a source, empty.

    RuntimeError where sizes and strides reach past the storage's end.
    """
    if source is None:
        source, size = core.empty((0,), self.dtype).untyped_storage(), (0,)
    elif isinstance(source, Tensor):
        if source.dtype is not self.dtype:
            raise RuntimeError(
                f"set_: a tensor of {self.dtype} cannot view memory of {source.dtype}"
            )
        if size is None:
            storage_offset, size, stride = source.storage_offset(), source.shape, source.stride()
        source = source.untyped_storage()
    elif isinstance(source, TypedStorage):
        source = source.untyped()
    if size is None:
        size = ((source.nbytes() - storage_offset * self.element_size()) // self.element_size(),)
    size = tuple(size) if not isinstance(size, int) else (size,)
    return core.set_(
        self, source, storage_offset, size, dense_strides(size) if stride is None else tuple(stride)
    )


@function("is_set_to", method=True, namespaces=())
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Do both view the same elements of the same storage in the same order?"""
    same = self.untyped_storage() == tensor.untyped_storage()
    places = (self.storage_offset(), tuple(self.shape), self.stride())
    return same and places == (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())


# ---- memory that processes share -----------------------------------------------------------------

_WINDOWS = sys.platform == "win32"
_blocks: weakref.WeakValueDictionary[int, SharedBlock] = weakref.WeakValueDictionary()  # by address


class SharedBlock:
    """Bytes that every process which maps the same file sees; the file has no name in the file
    system.
    """

    def __init__(self, nbytes: int, descriptor: int | None = None) -> None:
        import ctypes
        import mmap

        self.nbytes = nbytes
        self.descriptor = _open_anonymous(nbytes) if descriptor is None else descriptor
        self._mapping = mmap.mmap(self.descriptor, nbytes)
        # Keeps the mapping from being closed.
        self._anchor = ctypes.c_char.from_buffer(self._mapping)
        self.address = ctypes.addressof(self._anchor)
        if self.descriptor >= 0:
            weakref.finalize(self, _close, self.descriptor)
        _blocks[self.address] = self

    def view(self, dtype: Dtype, size: Any, stride: Any, offset: int = 0) -> Tensor:
        """A tensor over the block, which lives as long as the tensor."""
        whole = core.from_address(self.address, DTYPES["uint8"], (self.nbytes,), (1,), self)
        return core.from_storage(whole.untyped_storage(), dtype, offset, size, stride)


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # at the interpreter's exit it may be closed already
        os.close(descriptor)


def _open_anonymous(nbytes: int) -> int:
    if _WINDOWS:
        return -1  # memory of the paging file, shared by inheritance only
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("flambeau-tensor", os.MFD_CLOEXEC)
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, nbytes)
    return descriptor


def find_block(source: UntypedStorage) -> SharedBlock | None:
    """The shared block behind a storage, if there is one."""
    return _blocks.get(source.data_ptr())


@function("is_shared", method=True, namespaces=())
def is_shared(self: Tensor) -> bool:
    """Is the memory shared with other processes (see share_memory_)?"""
    return find_block(self.untyped_storage()) is not None


@function("share_memory_", method=True, namespaces=())
def share_memory_(self: Tensor) -> Tensor:
    """Move the tensor's memory to where processes started later, or sent the tensor, see it too.

    Other tensors over the old memory stay with that memory.
    """
    import ctypes

    source = self.untyped_storage()
    if find_block(source) is not None:
        return self
    block = SharedBlock(max(source.nbytes(), 1))
    ctypes.memmove(block.address, source.data_ptr(), source.nbytes())
    shared = block.view(DTYPES["uint8"], (block.nbytes,), (1,))
    return core.set_(
        self, shared.untyped_storage(), self.storage_offset(), self.shape, self.stride()
    )
