"""Anonymous memory that two processes map."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
import tempfile
import weakref
from typing import Any

_WINDOWS = sys.platform == "win32"
_FAILED = ctypes.c_void_p(-1).value


class SharedBlock:
    """`nbytes` bytes that the process which made them and the one that gets `handle` both see.

    The block has no name in the file system: it vanishes with the last process that maps it.
    `handle` is a file descriptor to be sent, or on Windows the number of the process whose tag
    names the block.
    """

    def __init__(self, number: int, nbytes: int, handle: int | None = None) -> None:
        self.number = number
        self.nbytes = nbytes
        if _WINDOWS:
            self.handle = os.getpid() if handle is None else handle
            tag = f"flambeau-{self.handle}-{number}"
            self._mapping: Any = mmap.mmap(-1, nbytes, tagname=tag)  # type: ignore[call-arg]
            return
        self.handle = _open_anonymous_file(nbytes) if handle is None else handle
        self._mapping = _Mapping(self.handle, nbytes)

    def view(self, offset: int, nbytes: int) -> Any:
        """Part of the block as a writable buffer, a ctypes array, which keeps the memory mapped."""
        kind = ctypes.c_ubyte * nbytes
        if _WINDOWS:
            return kind.from_buffer(self._mapping, offset)
        view = kind.from_address(self._mapping.address + offset)
        view.mapping = self._mapping  # type: ignore[attr-defined]
        return view

    def close_handle(self) -> None:
        """Give up the file descriptor; the mapping stays."""
        if not _WINDOWS:
            os.close(self.handle)


def _open_anonymous_file(nbytes: int) -> int:
    if hasattr(os, "memfd_create"):
        # Not a file in /dev/shm: containers often limit that to 64 MB.
        descriptor = os.memfd_create("flambeau-batch", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, nbytes)
    return descriptor


class _Mapping:
    """A shared mapping of a file, unmapped when the object dies.

    Not `mmap.mmap`, which keeps a descriptor open for each mapping: a program that holds a thousand
    batches would run out of them.
    """

    def __init__(self, descriptor: int, nbytes: int) -> None:
        libc = _load_libc()
        access, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED
        self.address = libc.mmap(None, nbytes, access, flags, descriptor, 0)
        if self.address == _FAILED:
            code = ctypes.get_errno()
            raise OSError(code, f"DataLoader: mapping {nbytes} bytes failed: {os.strerror(code)}")
        unmap = weakref.finalize(self, libc.munmap, self.address, nbytes)
        unmap.atexit = False  # tensors may still look at it


@functools.cache
def _load_libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    size, number = ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes = (ctypes.c_void_p, size, number, number, number, ctypes.c_long)
    libc.mmap.restype = ctypes.c_void_p
    libc.munmap.argtypes = (ctypes.c_void_p, size)
    return libc
