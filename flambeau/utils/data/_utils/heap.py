"""The C library's heap, for datasets that make and drop large arrays."""

from __future__ import annotations

import ctypes
import functools
import sys

_LARGEST = (32 << 20) - (1 << 16)  # glibc raises its bound for freed blocks below 32 MiB


@functools.cache
def keep_freed_memory() -> None:
    """Let the heap keep what is freed, up to some 64 MiB, for the next sample.

    Until a program has freed a large block, glibc maps every array of 128 KiB and more anew and
    gives it back at once: NumPy then spends more time in page faults than in arithmetic. Freeing
    one block of that size raises the bound, as larger programs do without noticing.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.free.restype, libc.free.argtypes = None, (ctypes.c_void_p,)
    libc.free(libc.malloc(_LARGEST))
