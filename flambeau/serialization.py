"""Saving and loading objects with tensors, in PyTorch's file format.

`load` runs no code from the file: unless `weights_only=False`, a pickle may only use the types of
checkpoints and those that `add_safe_globals` names.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pickle
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from typing import IO, Any

from ._checkpoint.location import default_restore_location, location_tag
from ._checkpoint.pickler import CheckpointPickler, view_storage
from ._checkpoint.reader import Loader, list_unsafe_globals, load_legacy, load_zip
from ._checkpoint.safe_globals import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    safe_globals,
)
from ._checkpoint.zip_file import ALIGNMENT, ZipReader, ZipWriter, starts_zip

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "default_restore_location",
    "get_crc32_options",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "location_tag",
    "safe_globals",
    "save",
    "set_crc32_options",
]

DEFAULT_PROTOCOL = 2
_FORMAT_VERSION = b"3\n"
_TAR_MARK_AT, _TAR_MARK = 257, b"ustar"
_WORTH_RESERVING = 1 << 20  # bytes
_crc_enabled = True
FileLike = str | os.PathLike | IO[bytes]


def get_crc32_options() -> bool:
    """Whether checksums are written and checked."""
    return _crc_enabled


def set_crc32_options(compute_crc32: bool) -> None:
    """Turn CRC-32 checksums of records on (default) or off, for writing and for reading."""
    global _crc_enabled
    _crc_enabled = bool(compute_crc32)


# ---- saving --------------------------------------------------------------------------------------


def save(
    obj: object,
    f: FileLike,
    pickle_module: Any = pickle,
    pickle_protocol: int = DEFAULT_PROTOCOL,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write `obj` to a file that `load`, and PyTorch's, can read.

    Tensors are written with the whole of their storage, once for all that share it. A path is
    written to a temporary file first and renamed, so that a program that ends half-way never leaves
    half a checkpoint in its place. (The system writes to the disk when it sees fit: `os.sync()`
    waits for it.)

    Args:
        obj: anything that can be pickled.
        f: a path, or a file open for writing.
        pickle_module: only Python's `pickle`.
        pickle_protocol: 2 by default, which every version of PyTorch reads.

    Raises RuntimeError when the folder does not exist or tensors of different dtypes share memory.

    >>> import io, flambeau as torch
    >>> buffer = io.BytesIO()
    >>> torch.save({"weight": torch.ones(2)}, buffer)
    >>> torch.load(io.BytesIO(buffer.getvalue()))
    {'weight': tensor([1., 1.])}
    """
    if pickle_module is not pickle or not _use_new_zipfile_serialization:
        raise ValueError(
            "save: checkpoints are written with Python's pickle, in the ZIP format only"
        )
    stream = io.BytesIO()
    pickler = CheckpointPickler(stream, pickle_protocol)
    pickler.dump(obj)
    expected = sum(storage.nbytes() for storage in pickler.storages.values())
    with _open_for_writing(f, expected) as (file, name):
        writer = ZipWriter(file, name, _crc_enabled)
        _write_records(writer, stream.getvalue(), pickler.storages, not _disable_byteorder_record)
        writer.close()


def _write_records(
    writer: ZipWriter, text: bytes, storages: dict[str, Any], with_byteorder: bool
) -> None:
    writer.write_record("data.pkl", text)
    writer.write_record(".format_version", b"1")
    writer.write_record(".storage_alignment", str(ALIGNMENT).encode())
    if with_byteorder:
        writer.write_record("byteorder", sys.byteorder.encode())
    hosts = {k: s if s.device.type == "cpu" else s.cpu() for k, s in storages.items()}
    writer.write_records({f"data/{key}": view_storage(host) for key, host in hosts.items()})
    writer.write_record("version", _FORMAT_VERSION)
    writer.write_record(".data/serialization_id", f"{uuid.uuid4().int:040d}"[:40].encode())


@contextlib.contextmanager
def _open_for_writing(f: FileLike, expected: int) -> Iterator[tuple[Any, str]]:
    """The file to write to, and the name of the folder in the archive; `expected` bytes will
    come."""
    if isinstance(f, str | os.PathLike):
        path = os.path.realpath(os.fspath(f))  # through links: the file itself is replaced
        name = os.path.splitext(os.path.basename(os.fspath(f)))[0] or "archive"
        with _replace_file(path, expected) as file:
            yield file, name
    elif hasattr(f, "write"):
        yield f, "archive"
    else:
        raise AttributeError(
            "expected 'f' to be string, path, or a file-like object with a 'write' attribute"
        )


@contextlib.contextmanager
def _replace_file(path: str, expected: int) -> Iterator[IO[bytes]]:
    """A new file that replaces `path` once all is written; an error leaves `path` alone."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {folder} does not exist.")
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:  # a pipe or a device (a directory is an error here)
            yield file
        return
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            _reserve(descriptor, expected)
            yield file
            file.truncate()
        os.chmod(temporary, _choose_mode(path))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


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


# ---- loading -------------------------------------------------------------------------------------


def load(
    f: FileLike,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what `save`, or PyTorch's, has written.

    Args:
        f: a path, or a file open for reading that can seek.
        map_location: the device for the tensors: a device or its name, a dict from names to names,
            or a function `(storage, location) -> storage`; None keeps the device they were saved
            from.
        pickle_module: another unpickler, with `weights_only=False` only.
        weights_only: True (default) allows tensors, containers, numbers, text and
            `add_safe_globals`. False unpickles anything, and so runs whatever code the file holds:
            only for files that you trust.
        mmap: True maps the file instead of reading it: tensors are read from disk when they are
            first used.

    Tensors that shared memory when they were saved share it again.
    Raises UnpicklingError for a pickle that is damaged or not allowed, RuntimeError for a damaged
    file, EOFError for an empty one.
    """
    if weights_only is None:
        weights_only = pickle_module is None
    if weights_only and pickle_module is not None:
        raise RuntimeError(
            "Can not safely load weights when explicit pickle_module is specified: pass"
            " weights_only=False"
        )
    if mmap and not isinstance(f, str | os.PathLike):
        raise ValueError("f must be a file path in order to use the mmap argument")
    loader = Loader(
        map_location,
        weights_only,
        _crc_enabled,
        pickle_module or pickle,
        {} if weights_only else pickle_load_args,
    )
    with _open_for_reading(f) as file:
        return _load_file(file, loader, bool(mmap))


def _load_file(file: Any, loader: Loader, mapped: bool) -> Any:
    start = file.tell()
    first = file.read(_TAR_MARK_AT + len(_TAR_MARK))
    file.seek(start)
    if not first:
        raise EOFError("Ran out of input")
    if starts_zip(first):
        return load_zip(file, loader, mapped)
    if mapped:
        raise RuntimeError("mmap can only be used with files saved in the ZIP format")
    if first[_TAR_MARK_AT:] == _TAR_MARK:
        raise RuntimeError("load: the tar format (before PyTorch 0.1.10) cannot be read")
    return load_legacy(file.read(), loader)


@contextlib.contextmanager
def _open_for_reading(f: FileLike) -> Iterator[Any]:
    if isinstance(f, str | os.PathLike):
        with open(f, "rb") as file:
            yield file
        return
    for method in ("read", "readinto", "seek", "tell"):
        if not hasattr(f, method):
            raise AttributeError(
                f"load: the file has no {method!r} method: it must be readable, binary and able"
                " to seek. Read it into an io.BytesIO first."
            )
    yield f


def get_unsafe_globals_in_checkpoint(f: FileLike) -> list[str]:
    """Full names of the globals in a checkpoint that `load` would refuse; nothing is run."""
    with _open_for_reading(f) as file:
        if not starts_zip(file.read(4)):
            raise ValueError("Expected input to be a checkpoint returned by torch.save")
        file.seek(-4, io.SEEK_CUR)
        reader = ZipReader(file)
        return list_unsafe_globals(reader.read("data.pkl", _crc_enabled))
