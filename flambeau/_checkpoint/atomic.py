"""Files that are whole or not there: written under another name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from typing import IO

from ..utils.serialization import config

_WORTH_RESERVING = 1 << 20  # bytes


@contextlib.contextmanager
def replace_file(path: str | os.PathLike, expected: int) -> Iterator[IO[bytes]]:
    """A new file that replaces `path` once all is written; an error leaves `path` alone.

    The new file has the permissions of the old one. A link stays a link: what it points to is
    replaced. With `config.save.sync` the bytes are on the disk before the name changes.

    Args:
        path: of the file. A pipe or a device is written to directly.
        expected: bytes that will come; room for them is reserved.

    Raises RuntimeError when the folder does not exist, OSError as writing does.
    """
    path = os.path.realpath(os.fspath(path))
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {folder} does not exist.")
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:  # a pipe or a device (a directory is an error here)
            yield file
        return
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)[:200]}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            _reserve(descriptor, expected)
            yield file
            file.truncate()
            if config.save.sync:
                file.flush()
                os.fsync(descriptor)
        os.chmod(temporary, _choose_mode(path))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if config.save.sync:
        sync_folder(folder)


def sync_folder(folder: str) -> None:
    """Wait until the names in a folder are on the disk (Windows has no way, and needs none)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reserve(descriptor: int, nbytes: int) -> None:
    """Room on the disk beforehand: the system need not find it page by page, nor when renaming."""
    if nbytes < _WORTH_RESERVING or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, nbytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # such a file system has no way
            raise


def _choose_mode(path: str) -> int:
    """The permissions of the file that is replaced, else what `open` would give."""
    if os.path.exists(path):
        return stat.S_IMODE(os.stat(path).st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
