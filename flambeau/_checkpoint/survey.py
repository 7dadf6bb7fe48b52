"""Looking at a pickle without building anything: which globals and storages it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import CheckpointError
from .rebuild import StorageKind, get_allowed_globals
from .safe_globals import find_global, get_full_name
from .unpickler import Allowed, Placeholder, RestrictedUnpickler


def list_unsafe_globals(data: bytes) -> list[str]:
    """The globals of a pickle that the restricted unpickler would refuse."""
    refused: dict[str, None] = {}

    def look_up(module: str, name: str) -> Allowed:
        try:
            find_global(module, name)
        except CheckpointError:
            refused[get_full_name(module, name)] = None
        return _ignore_global(module, name)

    survey(data, 0, look_up, _ignore)
    return list(refused)


def list_storages(
    data: bytes, position: int, encoding: str, weights_only: bool
) -> tuple[list[Any], int]:
    """The persistent ids of the pickle at `position`, and the position behind it.

    With `weights_only`, CheckpointError for the first global that is not allowed.
    """
    found: list[Any] = []

    def look_up(module: str, name: str) -> Allowed:
        known = get_allowed_globals().get(get_full_name(module, name))
        if known is not None and isinstance(known.value, StorageKind):
            return known
        if weights_only:
            find_global(module, name)
        return _ignore_global(module, name)

    end = survey(data, position, look_up, found.append, encoding)
    return found, end


def survey(
    data: bytes,
    position: int,
    look_up: Callable[[str, str], Allowed],
    note_persistent: Callable[[Any], Any],
    encoding: str = "utf-8",
) -> int:
    """Go through a pickle, with placeholders for all that it would build; the position behind it.

    `look_up(module, name)` gives what stands for a global, `note_persistent(id)` sees every id.
    """

    def load_persistent(identity: Any) -> Placeholder:
        note_persistent(identity)
        return Placeholder()

    machine = RestrictedUnpickler(
        data, look_up, load_persistent, lambda instance: _ignore, position, encoding
    )
    machine.load()
    return machine.position


def _ignore_global(module: str, name: str) -> Allowed:
    return Allowed(f"{module}.{name}", Placeholder(), _ignore, _ignore)


def _ignore(*arguments: Any, **options: Any) -> Placeholder:
    return Placeholder()


def is_module_class(identity: Any) -> bool:
    """Whether a persistent id stands for a module's class (and its source), not for a storage."""
    return isinstance(identity, tuple) and identity[:1] in (("module",), (b"module",))
