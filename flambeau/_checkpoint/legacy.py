"""The format before PyTorch 1.6: three pickles of numbers, that of the object, the list of its
storages, and then their bytes.
"""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

import flambeau
from flambeau.core import from_address  # type: ignore[attr-defined]

from .errors import CheckpointError
from .location import restore_location
from .options import skips_data
from .pickler import view_storage
from .reader import Loader, make_storage, parse_identity, set_dtype, swap_bytes
from .rebuild import StorageKind
from .survey import is_module_class, list_storages

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_COUNT_SIZE = 8  # bytes of the element count in front of a storage
_TYPE_SIZES = {"short": 2, "int": 4, "long": 8}


def save_legacy(obj: object, file: Any, pickler: Any, protocol: int) -> None:
    """Write `obj` to an open file."""
    info = {
        "protocol_version": _VERSION,
        "little_endian": sys.byteorder == "little",
        "type_sizes": _TYPE_SIZES,
    }
    stream = io.BytesIO()  # what cannot be pickled leaves the file alone
    for value in (_MAGIC, _VERSION, info):
        pickle.dump(value, stream, protocol)
    writer = pickler(stream, protocol, is_legacy=True)
    writer.dump(obj)
    keys = sorted(writer.storages)
    pickle.dump(keys, stream, protocol)
    file.write(stream.getvalue())
    for key in keys:
        storage, itemsize = writer.storages[key], writer.itemsizes[key]
        file.write((storage.nbytes() // itemsize).to_bytes(_COUNT_SIZE, sys.byteorder))
        file.write(view_storage(storage if storage.device.type == "cpu" else storage.cpu()))


def load_legacy(data: bytes, loader: Loader) -> Any:
    """The object in a checkpoint of before PyTorch 1.6.

    Where the bytes of a storage are follows from the object's pickle, which comes before them: so
    that is looked through first, without building anything, and then loaded.
    """
    loader.file_size = len(data)
    header, start = _read_header(data, loader)
    found, position = list_storages(data, start, loader.encoding, loader.weights_only)
    keys, position = loader.unpickle(data, _refuse_persistent, position)
    order = "little" if header.get("little_endian", True) else "big"
    wanted = _collect_sizes(found)
    source = _Storages(data, _find_storages(data, position, keys, wanted, order), order, loader)
    return loader.unpickle(data, source.load, start)[0]


def _read_header(data: bytes, loader: Loader) -> tuple[dict, int]:
    magic, position = loader.unpickle(data, _refuse_persistent)
    if magic != _MAGIC:
        raise CheckpointError("Invalid magic number; corrupt file?")
    version, position = loader.unpickle(data, _refuse_persistent, position)
    if version != _VERSION:
        raise CheckpointError(f"Invalid protocol version: {version}")
    header, position = loader.unpickle(data, _refuse_persistent, position)
    if not isinstance(header, dict):
        raise CheckpointError("the checkpoint's system information is no dict")
    return header, position


def _refuse_persistent(identity: Any) -> Any:
    raise CheckpointError("a persistent id outside the object")


def _collect_sizes(found: list[Any]) -> dict[str, tuple[StorageKind, int]]:
    """(kind, bytes) of every storage that the object names, by key."""
    sizes: dict[str, tuple[StorageKind, int]] = {}
    for identity in found:
        if is_module_class(identity):
            continue
        kind, key, _, nbytes = parse_identity(identity)
        if sizes.setdefault(key, (kind, nbytes))[1] < nbytes:
            raise CheckpointError(f"load: storage {key!r} is named with different sizes")
    return sizes


def _find_storages(
    data: bytes, position: int, keys: Any, wanted: dict[str, tuple[StorageKind, int]], order: Any
) -> dict[str, tuple[int, int]]:
    """(first byte, number of bytes) of every storage, by key."""
    is_list = isinstance(keys, list) and all(type(key) is str for key in keys)
    if not is_list or sorted(keys) != sorted(wanted):
        raise CheckpointError("the checkpoint's list of storages does not match it")
    places = {}
    for key in keys:
        kind, nbytes = wanted[key]
        count = int.from_bytes(data[position : position + _COUNT_SIZE], order, signed=True)
        position += _COUNT_SIZE
        if count * kind.itemsize != nbytes or position + nbytes > len(data):
            raise CheckpointError(f"load: storage {key!r} is cut off or of another size")
        places[key] = position, nbytes
        position += nbytes
    return places


class _Storages:
    """The storages of the file, each copied when it is first asked for."""

    def __init__(
        self, data: bytes, places: dict[str, tuple[int, int]], order: str, loader: Loader
    ) -> None:
        self._data = memoryview(data)
        self._places = places
        self._order = order
        self._loader = loader
        self._loaded: dict[str, Any] = {}

    def load(self, identity: Any) -> Any:
        if is_module_class(identity) and not self._loader.weights_only:
            return identity[1]  # a module's class, followed by its source code
        kind, key, location, nbytes = parse_identity(identity)
        if key not in self._loaded:
            storage = self._read(key, kind)
            self._loaded[key] = restore_location(storage, location, self._loader.map_location)
        storage = self._loaded[key]
        if nbytes > storage.nbytes():
            raise CheckpointError(f"load: storage {key!r} is named with different sizes")
        view = identity[5] if len(identity) > 5 else None
        return set_dtype(storage if view is None else _view(storage, kind, view), kind)

    def _read(self, key: str, kind: StorageKind) -> Any:
        if key not in self._places:
            raise CheckpointError(f"load: the checkpoint has no storage {key!r}")
        start, nbytes = self._places[key]
        if skips_data():
            return flambeau.zeros(nbytes, dtype=flambeau.uint8).untyped_storage()
        storage = make_storage(nbytes)
        view = view_storage(storage)
        view[:] = self._data[start : start + nbytes]
        if self._order != sys.byteorder:
            swap_bytes(view, kind)
        return storage


def _view(storage: Any, kind: StorageKind, view: Any) -> Any:
    """A part of a storage, which files of PyTorch before 0.4 have: (key, offset, size)."""
    if not isinstance(view, tuple) or len(view) != 3 or any(type(n) is not int for n in view[1:]):
        raise CheckpointError("a view of a storage must be (key, offset, size)")
    offset, size = (n * kind.itemsize for n in view[1:])
    if offset < 0 or size < 0 or offset + size > storage.nbytes():
        raise CheckpointError(f"a view of {size} bytes at {offset} reaches outside its storage")
    address = storage.data_ptr() + offset
    return from_address(address, flambeau.uint8, (size,), (1,), storage).untyped_storage()
