"""Settings of saving and loading, as PyTorch names them."""

from __future__ import annotations

import mmap
import sys
import threading
from enum import Enum
from types import TracebackType

from ..utils.serialization import config


class LoadEndianness(Enum):
    """Byte order of files that do not say theirs: the machine's, little or big."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


def get_default_load_endianness() -> LoadEndianness | None:
    """The byte order taken for files that do not say theirs; None stands for little."""
    return config.load.endianness


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """Choose the byte order of files that do not say theirs; TypeError for another type."""
    if endianness is not None and not isinstance(endianness, LoadEndianness):
        raise TypeError(
            "Invalid argument type in function set_default_load_endianness: a LoadEndianness or"
            f" None is wanted, not {endianness!r}"
        )
    config.load.endianness = endianness


def choose_byte_order() -> str:
    """ "little" or "big", for a file that does not say."""
    if config.load.endianness is LoadEndianness.NATIVE:
        return sys.byteorder
    return "big" if config.load.endianness is LoadEndianness.BIG else "little"


def get_crc32_options() -> bool:
    """Whether checksums are written and checked."""
    return config.save.compute_crc32


def set_crc32_options(compute_crc32: bool) -> None:
    """Turn CRC-32 checksums of records on (default) or off, for writing and for reading."""
    config.save.compute_crc32 = bool(compute_crc32)


def get_default_mmap_options() -> int | None:
    """How `load(..., mmap=True)` maps: `mmap.MAP_PRIVATE` (default) or `mmap.MAP_SHARED`."""
    return config.load.mmap_flags


class set_default_mmap_options:
    """Choose how `load(..., mmap=True)` maps files, for good or for a with block.

    Args:
        flags: `mmap.MAP_PRIVATE`: writing to a loaded tensor leaves the file alone.
            `mmap.MAP_SHARED`: it changes the file.

    Raises ValueError for other flags, RuntimeError on Windows.
    """

    def __init__(self, flags: int) -> None:
        if sys.platform == "win32":
            raise RuntimeError("set_default_mmap_options: Windows has no such flags")
        if flags not in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
            raise ValueError(
                "set_default_mmap_options: expected mmap.MAP_PRIVATE or mmap.MAP_SHARED, but got"
                f" {flags}"
            )
        self.prev = config.load.mmap_flags
        config.load.mmap_flags = flags

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        config.load.mmap_flags = self.prev


class _Local(threading.local):
    skips_data = False


_local = _Local()


def skips_data() -> bool:
    """Whether this thread is inside `skip_data`."""
    return _local.skips_data


class skip_data:
    """In this with block `save` leaves out the values of tensors, and `load` does not read them.

    The room for the values stays in the file, to be filled later. Loaded tensors hold zeros.

    Args:
        materialize_fake_tensors: accepted for PyTorch's sake: there are no fake tensors here.

    >>> import io, flambeau as torch
    >>> file = io.BytesIO()
    >>> with torch.serialization.skip_data():
    ...     torch.save(torch.ones(2), file)
    >>> torch.load(io.BytesIO(file.getvalue()))
    tensor([0., 0.])
    """

    def __init__(self, materialize_fake_tensors: bool = False) -> None:
        self.materialize_fake_tensors = materialize_fake_tensors

    def __enter__(self) -> None:
        self._before = _local.skips_data
        _local.skips_data = True

    def __exit__(
        self,
        type: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        _local.skips_data = self._before
