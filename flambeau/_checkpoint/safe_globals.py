"""Which globals a checkpoint may use: those of checkpoints, and those that the user has added."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterator
from typing import Any

from .rebuild import _set_attributes, get_allowed_globals
from .unpickler import Allowed

_added: dict[str, Any] = {}
SafeGlobal = Callable | tuple[Callable, str]


def add_safe_globals(safe_globals: list[SafeGlobal]) -> None:
    """Let `load` use these functions and classes: a file may then call them, with any arguments.

    An entry is a function or class, or a pair with the full name that it has in files, where that
    differs.

    >>> import flambeau as torch
    >>> torch.serialization.add_safe_globals([range])
    >>> torch.serialization.get_safe_globals()
    [<class 'range'>]
    >>> torch.serialization.clear_safe_globals()
    """
    for entry in safe_globals:
        _added[_name_of(entry)] = entry


def get_safe_globals() -> list[SafeGlobal]:
    """The functions and classes that were added."""
    return list(_added.values())


def clear_safe_globals() -> None:
    """Forget all that were added."""
    _added.clear()


@contextlib.contextmanager
def safe_globals(safe_globals: list[SafeGlobal]) -> Iterator[None]:
    """`add_safe_globals` for the length of a with block."""
    before = dict(_added)
    add_safe_globals(safe_globals)
    try:
        yield
    finally:
        _added.clear()
        _added.update(before)


def _name_of(entry: SafeGlobal) -> str:
    if isinstance(entry, tuple):
        if len(entry) != 2 or not isinstance(entry[1], str):
            raise ValueError(
                f"add_safe_globals: an entry is a callable or (callable, full name): {entry}"
            )
        return entry[1]
    if not callable(entry):
        raise TypeError(f"add_safe_globals: functions and classes are wanted, not {entry!r}")
    return f"{entry.__module__}.{entry.__qualname__}"


def find_global(module: str, name: str) -> Allowed:
    """The meaning of a global in a file; UnpicklingError when it is not allowed."""
    full = get_full_name(module, name)
    entry = _find_added(full)
    if entry is not None:
        return _allow(full, entry[0] if isinstance(entry, tuple) else entry)
    known = get_allowed_globals().get(full)
    if known is None:
        raise pickle.UnpicklingError(_explain(full))
    return known


def get_full_name(module: str, name: str) -> str:
    """`module.name`, with the name that Python 3 gives the module of the builtins."""
    return f"{'builtins' if module == '__builtin__' else module}.{name}"


def _find_added(full: str) -> Any:
    if full in _added:
        return _added[full]
    # PyTorch's classes are ours in a file of either.
    package, dot, rest = full.partition(".")
    return _added.get("flambeau" + dot + rest) if package == "torch" else None


def _allow(full: str, target: Any) -> Allowed:
    make = (
        (lambda *arguments: target.__new__(target, *arguments))
        if isinstance(target, type)
        else None
    )
    return Allowed(full, target, call=target, make=make)


def _explain(full: str) -> str:
    return (
        f"Weights only load failed. Unsupported global: GLOBAL {full} was not an allowed global"
        " by default. If you trust it, allow it with"
        f" `flambeau.serialization.add_safe_globals([{full}])` or the"
        f" `flambeau.serialization.safe_globals([{full}])` context manager; load(...,"
        " weights_only=False) allows everything, and can run any code that the file holds: only"
        " do that for a file from a trusted source."
    )


def find_build(instance: Any) -> Callable | None:
    """What BUILD does to an instance: restore its attributes; None where a file must not."""
    kind = type(instance)
    if kind.__name__ == "OrderedDict" and kind.__module__ == "collections":
        return _set_attributes
    is_added = any(
        (entry[0] if isinstance(entry, tuple) else entry) is kind for entry in _added.values()
    )
    return _restore_state if is_added else None


def _restore_state(instance: Any, state: Any) -> None:
    """As `pickle` does it: `__setstate__`, else attributes and slots."""
    if hasattr(instance, "__setstate__"):
        instance.__setstate__(state)
        return
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        instance.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(instance, name, value)
