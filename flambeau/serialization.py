"""Saving and loading objects with tensors, in PyTorch's file format.

`load` runs no code from the file: unless `weights_only=False`, a pickle may only use the types of
checkpoints and those that `add_safe_globals` names.
"""

from __future__ import annotations

import contextlib
import io
import mmap as mapping
import os
import pickle
import sys
import uuid
import warnings
from collections.abc import Iterator
from typing import IO, Any

from ._checkpoint.atomic import replace_file
from ._checkpoint.errors import CheckpointError, EmptyFileError
from ._checkpoint.legacy import load_legacy, save_legacy
from ._checkpoint.location import (
    default_restore_location,
    location_tag,
    register_package,
    validate_cuda_device,
)
from ._checkpoint.options import (
    LoadEndianness,
    get_crc32_options,
    get_default_load_endianness,
    get_default_mmap_options,
    set_crc32_options,
    set_default_load_endianness,
    set_default_mmap_options,
    skip_data,
    skips_data,
)
from ._checkpoint.pickler import make_pickler, view_storage
from ._checkpoint.reader import Loader, load_zip
from ._checkpoint.safe_globals import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    safe_globals,
)
from ._checkpoint.survey import list_unsafe_globals
from ._checkpoint.zip_file import ZipReader, ZipWriter, bound_size, starts_zip
from .utils.serialization import config

__all__ = [
    "CheckpointError",
    "LoadEndianness",
    "add_safe_globals",
    "check_module_version_greater_or_equal",
    "clear_safe_globals",
    "default_restore_location",
    "get_crc32_options",
    "get_default_load_endianness",
    "get_default_mmap_options",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "location_tag",
    "register_package",
    "safe_globals",
    "save",
    "set_crc32_options",
    "set_default_load_endianness",
    "set_default_mmap_options",
    "skip_data",
    "validate_cuda_device",
]

DEFAULT_PROTOCOL = 2
_FORMAT_VERSION = b"3\n"
_TAR_MARK_AT, _TAR_MARK = 257, b"ustar"
_LEAST_DILL = (0, 3, 1)
FileLike = str | os.PathLike | IO[bytes]


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
        pickle_module: Python's `pickle`, or a module whose Pickler derives from Python's own, as
            `dill`.
        pickle_protocol: 2 by default, which every version of PyTorch reads.
        _use_new_zipfile_serialization: False writes the format before PyTorch 1.6.

    Raises RuntimeError when the folder does not exist or tensors of different dtypes share memory.

    >>> import io, flambeau as torch
    >>> buffer = io.BytesIO()
    >>> torch.save({"weight": torch.ones(2)}, buffer)
    >>> torch.load(io.BytesIO(buffer.getvalue()))
    {'weight': tensor([1., 1.])}
    """
    _check_version_of_dill(pickle_module)
    pickler_type = make_pickler(pickle_module.Pickler)
    if not _use_new_zipfile_serialization:
        if skips_data():
            raise RuntimeError(
                "Cannot use skip_data=True with _use_new_zipfile_serialization=False"
            )
        with _open_for_writing(f, []) as (file, _):
            save_legacy(obj, file, pickler_type, pickle_protocol)
        return
    stream = io.BytesIO()
    pickler = pickler_type(stream, pickle_protocol)
    pickler.dump(obj)
    sizes = [len(stream.getbuffer()), *(s.nbytes() for s in pickler.storages.values())]
    with _open_for_writing(f, sizes) as (file, name):
        is_new = isinstance(f, str | os.PathLike) and file.seekable()
        writer = ZipWriter(file, name, get_crc32_options(), config.save.storage_alignment, is_new)
        _write_records(writer, stream.getvalue(), pickler.storages, not _disable_byteorder_record)
        writer.close()


def _write_records(
    writer: ZipWriter, text: bytes, storages: dict[str, Any], with_byteorder: bool
) -> None:
    writer.write_record("data.pkl", text)
    writer.write_record(".format_version", b"1")
    writer.write_record(".storage_alignment", str(config.save.storage_alignment).encode())
    if with_byteorder:
        writer.write_record("byteorder", sys.byteorder.encode())
    if skips_data():
        for key, storage in storages.items():
            writer.write_room(f"data/{key}", storage.nbytes())
        storages = {}
    for key, storage in storages.items():
        host = storage if storage.device.type == "cpu" else storage.cpu()
        writer.write_record(f"data/{key}", view_storage(host))
    writer.write_record("version", _FORMAT_VERSION)
    writer.write_record(".data/serialization_id", f"{uuid.uuid4().int:040d}"[:40].encode())


@contextlib.contextmanager
def _open_for_writing(f: FileLike, sizes: list[int]) -> Iterator[tuple[Any, str]]:
    """The file to write to, and the name of the folder in the archive; records of these sizes will
    come."""
    if isinstance(f, str | os.PathLike):
        name = os.path.splitext(os.path.basename(os.fspath(f)))[0] or "archive"
        with replace_file(f, bound_size(name, sizes, config.save.storage_alignment)) as file:
            yield file, name
    elif hasattr(f, "write"):
        yield f, "archive"
        if hasattr(f, "flush"):
            f.flush()
    else:
        raise AttributeError(
            "expected 'f' to be string, path, or a file-like object with a 'write' attribute"
        )


def _check_version_of_dill(pickle_module: Any) -> None:
    if getattr(pickle_module, "__name__", "") != "dill":
        return
    if not check_module_version_greater_or_equal(pickle_module, _LEAST_DILL, False):
        raise ValueError(
            f"dill >= 0.3.1 is needed, but dill {pickle_module.__version__} is installed: upgrade"
            " it or use pickle"
        )


def check_module_version_greater_or_equal(
    module: Any, req_version_tuple: tuple, error_if_malformed: bool = True
) -> bool:
    """Whether a module's `__version__` is at least `req_version_tuple`.

    Raises RuntimeError for a version that cannot be compared, or, without `error_if_malformed`,
    warns and says True.

    >>> import flambeau as torch, json
    >>> torch.serialization.check_module_version_greater_or_equal(json, (2, 0))
    True
    """
    try:
        parts = module.__version__.split(".")
        pairs = zip(req_version_tuple, parts[: len(req_version_tuple)], strict=True)
        return tuple(type(wanted)(part) for wanted, part in pairs) >= req_version_tuple
    except (AttributeError, TypeError, ValueError) as error:
        message = (
            f"'{module.__name__}' module version string is malformed"
            f" '{getattr(module, '__version__', None)}' and cannot be compared with tuple"
            f" {req_version_tuple}"
        )
        if error_if_malformed:
            raise RuntimeError(message) from error
        warnings.warn(f"{message}, but continuing assuming that requirement is met")
        return True


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
    """Read what `save`, or PyTorch's, has written; also a file `*.safetensors`.

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
            first used, and not checked against their checksums.
        pickle_load_args: `encoding` of the text in files of Python 2; others as the unpickler of
            `pickle_module` has them, with `weights_only=False` only.

    Tensors that shared memory when they were saved share it again. The environment variable
    TORCH_FORCE_WEIGHTS_ONLY_LOAD=1 refuses `weights_only=False` throughout.

    Raises CheckpointError, which is both an UnpicklingError and a RuntimeError, for a file that is
    damaged or holds what is not allowed (for one that is empty, an EOFError too); RuntimeError for
    a device that is not there.

    >>> import io, flambeau as torch
    >>> file = io.BytesIO()
    >>> torch.save([torch.arange(3), {"lr": 0.1}], file)
    >>> torch.load(io.BytesIO(file.getvalue()))
    [tensor([0, 1, 2]), {'lr': 0.1}]
    """
    weights_only = _decide_weights_only(weights_only, pickle_module)
    if weights_only and pickle_load_args:
        warnings.warn("pickle_load_args only works if `weights_only=False`.")
    _check_version_of_dill(pickle_module)
    is_path = isinstance(f, str | os.PathLike)
    if is_path and os.fspath(f).endswith(".safetensors"):  # type: ignore[arg-type]
        return _load_safetensors(f, map_location)
    mmap = config.load.mmap if mmap is None else mmap
    if mmap and not is_path:
        raise ValueError("f must be a file path in order to use the mmap argument")
    loader = Loader(
        map_location, weights_only, get_crc32_options(), pickle_module or pickle, pickle_load_args
    )
    shared = mmap and get_default_mmap_options() == getattr(mapping, "MAP_SHARED", None)
    with _open_for_reading(f, "r+b" if shared else "rb") as file:
        return _load_file(file, loader, bool(mmap))


def _decide_weights_only(weights_only: bool | None, pickle_module: Any) -> bool:
    if weights_only is None:
        weights_only = pickle_module is None
    forced = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "").lower()
    if forced in ("1", "y", "yes", "true"):
        weights_only = True
    if weights_only and pickle_module is not None:
        raise RuntimeError(
            "Can not safely load weights when explicit pickle_module is specified: pass"
            " weights_only=False"
        )
    return bool(weights_only)


def _load_safetensors(f: Any, map_location: Any) -> dict[str, Any]:
    if callable(map_location) or isinstance(map_location, dict):
        raise RuntimeError(
            "load: for a safetensors file map_location must be a device or its name, not"
            f" {type(map_location).__name__}"
        )
    from .safetensors import load_file

    return load_file(f, device="cpu" if map_location is None else str(map_location))


def _load_file(file: Any, loader: Loader, mapped: bool) -> Any:
    start = file.tell()
    first = file.read(_TAR_MARK_AT + len(_TAR_MARK))
    file.seek(start)
    if not first:
        raise EmptyFileError("Ran out of input")
    if starts_zip(first):
        return load_zip(file, loader, mapped)
    if mapped:
        raise RuntimeError("mmap can only be used with files saved in the ZIP format")
    if first[_TAR_MARK_AT:] == _TAR_MARK:
        raise CheckpointError("load: the tar format (before PyTorch 0.1.10) cannot be read")
    return load_legacy(file.read(), loader)


@contextlib.contextmanager
def _open_for_reading(f: FileLike, mode: str = "rb") -> Iterator[Any]:
    if isinstance(f, str | os.PathLike):
        with open(f, mode) as file:
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
        return list_unsafe_globals(reader.read("data.pkl", get_crc32_options()))
