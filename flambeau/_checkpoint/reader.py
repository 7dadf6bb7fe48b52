"""Reading checkpoints in PyTorch's ZIP format."""

from __future__ import annotations

import io
import mmap
import pickle
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import flambeau
from flambeau.core import from_buffer  # type: ignore[attr-defined]
from flambeau.ops.storage import TypedStorage

from .errors import CheckpointError
from .location import restore_location
from .options import choose_byte_order, get_default_mmap_options, skips_data
from .pickler import view_storage
from .rebuild import StorageKind, get_allowed_globals
from .safe_globals import find_build, find_global
from .unpickler import RestrictedUnpickler
from .zip_file import Record, ZipReader

_WIDEST = 16  # bytes of the widest element, which its address must be a multiple of


class Loader:
    """How a load is to be done: placement of storages, and whether the pickle is restricted."""

    def __init__(
        self,
        map_location: Any = None,
        weights_only: bool = True,
        check_crc: bool = True,
        pickle_module: Any = pickle,
        pickle_options: dict[str, Any] | None = None,
    ) -> None:
        self.map_location = map_location
        self.weights_only = weights_only
        self.file_size = 0  # bytes, set when the file is opened
        self.check_crc = check_crc
        self.pickle_module = pickle_module
        self.pickle_options = {"encoding": "utf-8", **(pickle_options or {})}
        self.encoding = self.pickle_options["encoding"]

    def unpickle(
        self, data: bytes, load_persistent: Callable, position: int = 0
    ) -> tuple[Any, int]:
        """The object pickled at `position`, and the position behind it."""
        if self.weights_only:
            machine = RestrictedUnpickler(
                data,
                find_global,
                load_persistent,
                find_build,
                position,
                self.encoding,
                self.file_size,
            )
            return machine.load(), machine.position
        return self._unpickle_freely(data, load_persistent, position)

    def _unpickle_freely(self, data: bytes, load_persistent: Callable, position: int) -> tuple:
        class FreeUnpickler(self.pickle_module.Unpickler):  # type: ignore[name-defined]
            def find_class(self, module: str, name: str) -> Any:
                return _find_class(super().find_class, module, name)

            def persistent_load(self, identity: Any) -> Any:
                return load_persistent(identity)

        stream = io.BytesIO(data)
        stream.seek(position)
        value = FreeUnpickler(stream, **self.pickle_options).load()
        return value, stream.tell()


def _find_class(find: Callable, module: str, name: str) -> Any:
    known = get_allowed_globals().get(f"{module}.{name}")
    if known is not None and module.partition(".")[0] == "torch":
        return known.value
    package, dot, rest = module.partition(".")
    return find("flambeau" + dot + rest if package == "torch" else module, name)


def make_storage(nbytes: int) -> Any:
    """A new storage of `nbytes` bytes."""
    return flambeau.UntypedStorage(nbytes)


def set_dtype(storage: Any, kind: StorageKind) -> TypedStorage:
    """A storage of the file with the dtype that it was saved under."""
    return TypedStorage(storage, flambeau.uint8 if kind.dtype is None else kind.dtype)


# ---- ZIP -----------------------------------------------------------------------------------------


def load_zip(file: BinaryIO, loader: Loader, mapped: bool) -> Any:
    """The object in a ZIP checkpoint; with `mapped` its storages are views of the file."""
    reader = ZipReader(file)
    loader.file_size = reader.size
    if reader.find("data.pkl") is None:
        raise CheckpointError(_explain_missing_pickle(reader))
    source = _ZipStorages(reader, file, loader, mapped)
    return loader.unpickle(reader.read("data.pkl", loader.check_crc), source.load)[0]


def _explain_missing_pickle(reader: ZipReader) -> str:
    if reader.find("constants.pkl") is not None:
        return "load: this is a TorchScript archive: it holds a program, not a checkpoint"
    return f"load: no checkpoint: the ZIP file has no record 'data.pkl' in {reader.prefix!r}"


class _ZipStorages:
    """The storages of a ZIP checkpoint, each read when it is first asked for."""

    def __init__(self, reader: ZipReader, file: BinaryIO, loader: Loader, mapped: bool) -> None:
        self._reader = reader
        self._loader = loader
        self._loaded: dict[str, Any] = {}
        self._swaps = _is_foreign_byte_order(reader)
        self._memory = None
        if mapped:
            if self._swaps:
                raise CheckpointError("load: mmap=True cannot read a file of the other byte order")
            self._memory = map_file(file)
        self._skips = skips_data()

    def load(self, identity: Any) -> TypedStorage:
        kind, key, location, nbytes = parse_identity(identity)
        if key not in self._loaded:
            record = self._reader.find(f"data/{key}")
            if record is None:
                raise CheckpointError(f"load: the checkpoint has no record for storage {key!r}")
            self._check_size(key, record.size, nbytes)
            storage = self._read(f"data/{key}", record, kind)
            self._loaded[key] = restore_location(storage, location, self._loader.map_location)
        storage = self._loaded[key]
        self._check_size(key, storage.nbytes(), nbytes)
        return set_dtype(storage, kind)

    def _check_size(self, key: str, present: int, wanted: int) -> None:
        if wanted > present:
            raise CheckpointError(
                f"load: storage {key!r} should have {wanted} bytes, but the file has {present}"
            )

    def _read(self, name: str, record: Record, kind: StorageKind) -> Any:
        if self._skips:
            return flambeau.zeros(record.size, dtype=flambeau.uint8).untyped_storage()
        if self._memory is not None and record.size and record.offset % _WIDEST == 0:
            return borrow_storage(self._memory[record.offset : record.offset + record.size])
        storage = make_storage(record.size)
        view = view_storage(storage)
        self._reader.read_into(record, view, name, self._loader.check_crc)
        if self._swaps:
            swap_bytes(view, kind)
        return storage


def map_file(file: BinaryIO) -> memoryview:
    """The file as memory: private, unless `set_default_mmap_options` wants it shared."""
    if get_default_mmap_options() == getattr(mmap, "MAP_SHARED", -1):
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE))
    # Writing to a loaded tensor does not change the file.
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def borrow_storage(part: memoryview) -> Any:
    """A storage over writable memory, which it keeps alive."""
    return from_buffer(part, flambeau.uint8, (part.nbytes,), (1,)).untyped_storage()


def _is_foreign_byte_order(reader: ZipReader) -> bool:
    if reader.find("byteorder") is None:
        return choose_byte_order() != sys.byteorder
    order = reader.read("byteorder")
    if order not in (b"little", b"big"):
        raise CheckpointError(f"load: unknown byte order {order[:20]!r}")
    return order.decode() != sys.byteorder


def swap_bytes(view: memoryview, kind: StorageKind) -> None:
    """Reverse the bytes of every number."""
    size = kind.itemsize
    if kind.dtype is not None and kind.dtype.is_complex:
        size //= 2  # its two parts are swapped one by one
    whole = view.nbytes - view.nbytes % size
    for i in range(size // 2):
        j = size - 1 - i
        low, high = bytes(view[i:whole:size]), bytes(view[j:whole:size])
        view[i:whole:size], view[j:whole:size] = high, low


def parse_identity(identity: Any) -> tuple[StorageKind, str, str, int]:
    """(kind, key, location, bytes) of a storage's persistent id, checked."""
    is_storage = isinstance(identity, tuple) and len(identity) >= 5
    if not is_storage or identity[0] not in ("storage", b"storage"):
        raise CheckpointError("an unknown persistent id: only storages have one")
    kind, key, location, count = identity[1:5]
    if not isinstance(kind, StorageKind):
        raise CheckpointError(f"a storage of an unknown class: {kind!r}")
    if isinstance(location, bytes):
        location = location.decode("ascii")  # of Python 2
    if not isinstance(key, str) or not isinstance(location, str):
        raise CheckpointError("a storage's key and location must be text")
    if type(count) is not int or count < 0:
        raise CheckpointError(f"a storage of {count!r} elements is impossible")
    return kind, key, location, count * kind.itemsize
