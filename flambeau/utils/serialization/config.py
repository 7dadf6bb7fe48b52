"""Defaults of `flambeau.save` and `flambeau.load`, for the whole process.

>>> from flambeau.utils.serialization import config
>>> config.save.compute_crc32, config.save.storage_alignment
(True, 64)
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flambeau.serialization import LoadEndianness


class load:
    """Of `flambeau.load`."""

    mmap: bool = False  # when the argument is left out
    mmap_flags: int | None = None if sys.platform == "win32" else 2  # mmap.MAP_PRIVATE
    endianness: LoadEndianness | None = None  # of files that do not say; None: little


class save:
    """Of `flambeau.save`."""

    compute_crc32: bool = True
    storage_alignment: int = 64  # bytes, a power of two
    # Flambeau's own: wait for the disk, so that a power failure leaves the old or the new file.
    sync: bool = False
