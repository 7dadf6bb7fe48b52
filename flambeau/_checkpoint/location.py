"""Where the storages of a checkpoint go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import flambeau

from .errors import CheckpointError

Tagger = Callable[[Any], str | None]
Deserializer = Callable[[Any, str], Any]
_packages: list[tuple[int, Tagger, Deserializer]] = []


def register_package(priority: int, tagger: Tagger, deserializer: Deserializer) -> None:
    """Teach `save` and `load` a kind of device.

    Args:
        priority: the lowest is asked first; 10 is the CPU, 20 are CUDA devices.
        tagger: `tagger(storage)` gives the name that the file keeps for where the storage is, or
            None to leave that to the next.
        deserializer: `deserializer(storage, location)` puts a storage where the name says, or gives
            None to leave that to the next.

    >>> import flambeau as torch
    >>> torch.serialization.register_package(
    ...     30, lambda storage: None, lambda storage, name: storage if name == "npu:0" else None)
    >>> storage = torch.ones(2).untyped_storage()
    >>> torch.serialization.default_restore_location(storage, "npu:0") is storage
    True
    """
    _packages.append((priority, tagger, deserializer))
    _packages.sort(key=lambda package: package[0])


def location_tag(storage: Any) -> str:
    """The device of a storage, as checkpoints name it."""
    for _, tagger, _ in _packages:
        location = tagger(storage)
        if location:
            return location
    raise RuntimeError(f"don't know how to determine data location of {type(storage).__name__}")


def default_restore_location(storage: Any, location: str) -> Any:
    """`storage` on the device that `location` names; RuntimeError when it is not there."""
    for _, _, deserializer in _packages:
        restored = deserializer(storage, location)
        if restored is not None:
            return restored
    raise CheckpointError(
        f"don't know how to restore data location of a storage (tagged with {location}):"
        " load with map_location='cpu'"
    )


def restore_location(storage: Any, location: str, map_location: Any) -> Any:
    """`storage`, which was saved on the device `location`, on the device that `map_location` says.

    `map_location` is None (the same device), a device or its name, a dict of names, or a function
    `(storage, location) -> storage or None`. Raises RuntimeError for a device that is not there.
    """
    if callable(map_location):
        moved = map_location(storage, location)
        return default_restore_location(storage, location) if moved is None else moved
    if isinstance(map_location, dict):
        location = map_location.get(location, location)
    elif isinstance(map_location, bytes):
        location = map_location.decode()
    elif map_location is not None:
        location = str(map_location)
    return default_restore_location(storage, str(location))


def validate_cuda_device(location: str) -> int:
    """The index of the CUDA device that `location` names, as "cuda:1"; RuntimeError if there is
    none.
    """
    if find_spec("flambeau.cuda") is None or not flambeau.cuda.is_available():
        raise CheckpointError(
            f"Attempting to deserialize object on a CUDA device ({location}) but"
            " torch.cuda.is_available() is False: load with map_location='cpu' to map the storages"
            " to the CPU."
        )
    index = flambeau.device(location).index or 0
    if index >= flambeau.cuda.device_count():
        raise CheckpointError(
            f"Attempting to deserialize object on CUDA device {index} but there are"
            f" {flambeau.cuda.device_count()}: load with map_location to map the storages to an"
            " existing device."
        )
    return index


def _tag_device(kind: str) -> Tagger:
    return lambda storage: str(storage.device) if storage.device.type == kind else None


def _keep_on_cpu(storage: Any, location: str) -> Any:
    return storage if location.partition(":")[0] == "cpu" else None


def _restore_to_cuda(storage: Any, location: str) -> Any:
    if location.partition(":")[0] != "cuda":
        return None
    index = validate_cuda_device(location)
    return storage.to(device=flambeau.device("cuda", index))


@dataclass(frozen=True)
class MetaStorage:
    """Stands for the storage of tensors without data."""

    size: int

    def nbytes(self) -> int:
        """The bytes there would be."""
        return self.size

    @property
    def device(self) -> flambeau.device:
        """The device: meta."""
        return flambeau.device("meta")


def _drop_data(storage: Any, location: str) -> Any:
    return MetaStorage(storage.nbytes()) if location == "meta" else None


register_package(10, _tag_device("cpu"), _keep_on_cpu)
register_package(20, _tag_device("cuda"), _restore_to_cuda)
register_package(23, _tag_device("meta"), _drop_data)
