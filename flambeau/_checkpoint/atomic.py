"""Files that are whole or not there: written under another name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from typing import IO

from .. import core
from ..utils.serialization import config

_WORTH_RESERVING = 1 << 25  # bytes: making room costs more than it spares below


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
    with _make_file(path) as (file, descriptor, give_name):
        _reserve(descriptor, expected)
        yield file
        file.truncate()
        file.flush()
        if config.save.sync:
            os.fsync(descriptor)
        _rename(give_name(), path)
    if config.save.sync:
        sync_folder(folder)


@contextlib.contextmanager
def _make_file(path: str) -> Iterator[tuple[IO[bytes], int, Callable[[], str]]]:
    """An open file beside `path`, its descriptor, and a function that gives it a name."""
    folder, name = os.path.split(path)
    prefix = f".{name[:200]}."
    unnamed = _open_unnamed(folder)
    if unnamed is not None:
        with os.fdopen(unnamed, "wb") as file:
            yield file, unnamed, lambda: _link(unnamed, os.path.join(folder, prefix))
        return
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=prefix)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, descriptor, lambda: _close(file, temporary)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # it has its new name already
            os.unlink(temporary)
        raise


def _open_unnamed(folder: str) -> int | None:
    """A file without a name, of which nothing stays when the program is killed; None where the
    system has no such files, as all but Linux.
    """
    flag = getattr(os, "O_TMPFILE", 0)
    if not flag:
        return None
    try:
        descriptor = os.open(folder, flag | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError:  # of the file system; where it is another fault, mkstemp will show it
        return None
    if not os.path.exists(f"/proc/self/fd/{descriptor}"):
        os.close(descriptor)
        return None
    return descriptor


def _link(descriptor: int, prefix: str) -> str:
    """Give a file its first name; the name."""
    name = prefix + os.urandom(6).hex()
    # Python follows the link in /proc only when a folder is given, which a full path then ignores.
    os.link(f"/proc/self/fd/{descriptor}", name, src_dir_fd=descriptor)
    return name


def _close(file: IO[bytes], name: str) -> str:
    file.close()  # Windows does not rename open files
    return name


def _rename(temporary: str, path: str) -> None:
    try:
        os.chmod(temporary, _choose_mode(path))
        _take_place(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _take_place(temporary: str, path: str) -> None:
    """Give a file the name of another, which is removed, if there is one.

    By an exchange where the system has it: some (ext4) begin to write to the disk all of a file
    that is renamed onto another, and wait for it.
    """
    if core.exchange_names(os.fsencode(temporary), os.fsencode(path)):
        os.unlink(temporary)
    else:
        os.replace(temporary, path)


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
