"""Reading checkpoints: PyTorch's ZIP format and the one before it."""

from __future__ import annotations

import contextlib
import ctypes
import io
import mmap
import pickle
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

import flambeau
from flambeau.core import from_address  # type: ignore[attr-defined]

from .location import restore_location
from .pickler import view_storage
from .rebuild import StorageKind, TypedBytes, get_allowed_globals
from .safe_globals import find_build, find_global, get_full_name
from .unpickler import Allowed, RestrictedUnpickler
from .zip_file import LARGE, Record, ZipReader

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_COUNT_SIZE = 8  # bytes of the element count in front of a legacy storage


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
        self.check_crc = check_crc
        self.pickle_module = pickle_module
        self.pickle_options = pickle_options or {}

    def unpickle(
        self, data: bytes, load_persistent: Callable, position: int = 0
    ) -> tuple[Any, int]:
        """The object pickled at `position`, and the position behind it."""
        if self.weights_only:
            machine = RestrictedUnpickler(data, find_global, load_persistent, find_build, position)
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


# ---- ZIP -----------------------------------------------------------------------------------------


def load_zip(file: BinaryIO, loader: Loader, mapped: bool) -> Any:
    """The object in a ZIP checkpoint; with `mapped` its storages are views of the file."""
    reader = ZipReader(file)
    if reader.find("data.pkl") is None:
        raise RuntimeError(_explain_missing_pickle(reader))
    with contextlib.closing(_ZipStorages(reader, file, loader, mapped)) as source:
        return loader.unpickle(reader.read("data.pkl", loader.check_crc), source.load)[0]


def _explain_missing_pickle(reader: ZipReader) -> str:
    if reader.find("constants.pkl") is not None:
        return "load: this is a TorchScript archive: it holds a program, not a checkpoint"
    return f"load: no checkpoint: the ZIP file has no record 'data.pkl' in {reader.prefix!r}"


class _ZipStorages:
    """The storages of a ZIP checkpoint, each read when it is first asked for.

    A large file is read ahead by two threads, in the order of its records: copying and checking
    run at twice the rate of one, and a storage is complete when it is handed out.
    """

    def __init__(self, reader: ZipReader, file: BinaryIO, loader: Loader, mapped: bool) -> None:
        self._reader = reader
        self._loader = loader
        self._loaded: dict[str, Any] = {}
        self._swaps = _is_foreign_byte_order(reader)
        self._memory = None
        if mapped:
            if self._swaps:
                raise RuntimeError("load: mmap=True cannot read a file of the other byte order")
            # A private map: writing to a loaded tensor does not change the file.
            self._memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        self._ahead: dict[str, Future] = {}
        self._threads: ThreadPoolExecutor | None = None
        if not mapped and not self._swaps and reader.reads_in_parallel:
            self._read_ahead()

    def _read_ahead(self) -> None:
        records = {k: r for k, r in self._reader.records.items() if k.startswith("data/")}
        if sum(record.size for record in records.values()) < LARGE:
            return
        from concurrent.futures import ThreadPoolExecutor

        self._threads = ThreadPoolExecutor(2)
        for name, record in records.items():
            self._ahead[name] = self._threads.submit(self._read_storage, name, record)

    def close(self) -> None:
        """Stop reading ahead."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def load(self, identity: Any) -> TypedBytes:
        kind, key, location, nbytes = parse_identity(identity)
        if key not in self._loaded:
            record = self._reader.find(f"data/{key}")
            if record is None:
                raise RuntimeError(f"load: the checkpoint has no record for storage {key!r}")
            self._check_size(key, record.size, nbytes)
            storage = self._read(f"data/{key}", record, kind)
            self._loaded[key] = restore_location(storage, location, self._loader.map_location)
        storage = self._loaded[key]
        self._check_size(key, storage.nbytes(), nbytes)
        return TypedBytes(storage, kind)

    def _check_size(self, key: str, present: int, wanted: int) -> None:
        if wanted > present:
            raise RuntimeError(
                f"load: storage {key!r} should have {wanted} bytes, but the file has {present}"
            )

    def _read(self, name: str, record: Record, kind: StorageKind) -> Any:
        if self._memory is not None and record.size:
            part = self._memory[record.offset : record.offset + record.size]
            return _borrow_storage(part)
        if name in self._ahead:
            return self._ahead.pop(name).result()
        storage = self._read_storage(name, record)
        if self._swaps:
            swap_bytes(view_storage(storage), kind)
        return storage

    def _read_storage(self, name: str, record: Record) -> Any:
        storage = make_storage(record.size)
        self._reader.read_into(record, view_storage(storage), name, self._loader.check_crc)
        return storage


def _borrow_storage(part: memoryview) -> Any:
    """A storage over writable memory, which it keeps alive."""
    owner = (ctypes.c_ubyte * part.nbytes).from_buffer(part)
    address = ctypes.addressof(owner)
    return from_address(address, flambeau.uint8, (part.nbytes,), (1,), owner).untyped_storage()


def _is_foreign_byte_order(reader: ZipReader) -> bool:
    if reader.find("byteorder") is None:
        return False
    order = reader.read("byteorder")
    if order not in (b"little", b"big"):
        raise RuntimeError(f"load: unknown byte order {order[:20]!r}")
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
    if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
        raise pickle.UnpicklingError("an unknown persistent id: only storages have one")
    kind, key, location, count = identity[1:5]
    if not isinstance(kind, StorageKind):
        raise pickle.UnpicklingError(f"a storage of an unknown class: {kind!r}")
    if not isinstance(key, str) or not isinstance(location, str):
        raise pickle.UnpicklingError("a storage's key and location must be text")
    if type(count) is not int or count < 0:
        raise pickle.UnpicklingError(f"a storage of {count!r} elements is impossible")
    return kind, key, location, count * kind.itemsize


# ---- the format before ---------------------------------------------------------------------------


def load_legacy(data: bytes, loader: Loader) -> Any:
    """The object in a checkpoint of before PyTorch 1.6: pickles, then raw storages."""
    source = _LegacyStorages(loader, len(data))
    header, position = _read_legacy_header(data, loader)
    value, position = loader.unpickle(data, source.load, position)
    keys, position = loader.unpickle(data, _refuse_persistent, position)
    source.fill(keys, memoryview(data), position, header.get("little_endian", True))
    return value


def _read_legacy_header(data: bytes, loader: Loader) -> tuple[dict, int]:
    magic, position = loader.unpickle(data, _refuse_persistent)
    if magic != _LEGACY_MAGIC:
        raise pickle.UnpicklingError("Invalid magic number; corrupt file?")
    version, position = loader.unpickle(data, _refuse_persistent, position)
    if version != _LEGACY_VERSION:
        raise RuntimeError(f"Invalid protocol version: {version}")
    header, position = loader.unpickle(data, _refuse_persistent, position)
    if not isinstance(header, dict):
        raise pickle.UnpicklingError("the checkpoint's system information is no dict")
    return header, position


def _refuse_persistent(identity: Any) -> Any:
    raise pickle.UnpicklingError("a persistent id outside the object")


class _LegacyStorages:
    """Storages that the pickle names first and whose bytes follow after it."""

    def __init__(self, loader: Loader, limit: int) -> None:
        self._loader = loader
        self._left = limit  # bytes that the file can hold: a bound on what may be allocated
        self._loaded: dict[str, tuple[Any, StorageKind, int]] = {}

    def load(self, identity: Any) -> TypedBytes:
        kind, key, location, nbytes = parse_identity(identity)
        if len(identity) > 5 and identity[5] is not None:
            raise pickle.UnpicklingError("storages that are views of storages cannot be loaded")
        if key not in self._loaded:
            self._left -= nbytes
            if self._left < 0:
                raise RuntimeError(f"load: storage {key!r} of {nbytes} bytes is not in the file")
            storage = make_storage(nbytes)
            storage = restore_location(storage, location, self._loader.map_location)
            self._loaded[key] = storage, kind, nbytes
        storage, _, present = self._loaded[key]
        if nbytes > present:
            raise RuntimeError(f"load: storage {key!r} is named with different sizes")
        return TypedBytes(storage, kind)

    def fill(self, keys: Any, data: memoryview, position: int, little: Any) -> None:
        """Read the bytes of all storages, in the order of `keys`."""
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(self._loaded):
            raise pickle.UnpicklingError("the checkpoint's list of storages does not match it")
        for key in keys:
            storage, kind, nbytes = self._loaded[key]
            order: Any = "little" if little else "big"
            count = int.from_bytes(data[position : position + _COUNT_SIZE], order, signed=True)
            position += _COUNT_SIZE
            if count * kind.itemsize != nbytes or position + nbytes > len(data):
                raise RuntimeError(f"load: storage {key!r} is cut off or of another size")
            view = view_storage(storage)
            view[:] = data[position : position + nbytes]
            position += nbytes
            if order != sys.byteorder:
                swap_bytes(view, kind)


# ---- looking without loading ---------------------------------------------------------------------


def list_unsafe_globals(data: bytes) -> list[str]:
    """The globals of a pickle that the restricted unpickler would refuse; nothing is built."""
    refused: dict[str, None] = {}

    def look_up(module: str, name: str) -> Allowed:
        try:
            find_global(module, name)
        except pickle.UnpicklingError:
            refused[get_full_name(module, name)] = None
        return Allowed(name, _Ignored(), _ignore, _ignore)

    machine = RestrictedUnpickler(data, look_up, _ignore, lambda instance: _ignore)
    machine.load()
    return list(refused)


class _Ignored(dict):
    """In place of anything that a file would build."""

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]


def _ignore(*arguments: Any) -> _Ignored:
    return _Ignored()
