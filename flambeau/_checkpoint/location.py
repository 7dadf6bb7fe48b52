"""Where the storages of a checkpoint go."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import flambeau


def restore_location(storage: Any, location: str, map_location: Any) -> Any:
    """`storage`, which was saved on the device `location`, on the device that `map_location` says.

    `map_location` is None (the same device), a device or its name, a dict of names, or a function
    `(storage, location) -> storage or None`. Raises RuntimeError for a device that is not there.
    """
    if callable(map_location):
        moved = map_location(storage, location)
        return _place(storage, location) if moved is None else moved
    if isinstance(map_location, dict):
        location = map_location.get(location, location)
    elif map_location is not None:
        location = str(map_location)
    return _place(storage, str(location))


def location_tag(storage: Any) -> str:
    """The device of a storage, as checkpoints name it."""
    return str(storage.device)


def default_restore_location(storage: Any, location: str) -> Any:
    """`storage` on the device that `location` names; RuntimeError when it is not there."""
    return _place(storage, location)


def _place(storage: Any, location: str) -> Any:
    kind = location.partition(":")[0]
    if kind == "cpu":
        return storage
    if kind != "cuda":
        raise RuntimeError(
            f"don't know how to restore data location of a storage (tagged with {location}):"
            " load with map_location='cpu'"
        )
    if not _has_cuda():
        raise RuntimeError(
            f"Attempting to deserialize object on a CUDA device ({location}) but no CUDA device is"
            " available: load with map_location='cpu' to map the storages to the CPU."
        )
    return storage.to(device=flambeau.device(location))


def _has_cuda() -> bool:
    return find_spec("flambeau.cuda") is not None and flambeau.cuda.is_available()
