"""Which globals a checkpoint may use: those of checkpoints, and those that the user has added."""

from __future__ import annotations

import _compat_pickle
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from .errors import CheckpointError
from .rebuild import get_allowed_globals, restore_state, set_attributes
from .unpickler import Allowed

_added: dict[str, Any] = {}
# Not even when the user adds something of theirs, as PyTorch has it.
_BLOCKED = ("sys", "os", "posix", "nt")
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
    """The meaning of a global in a file; CheckpointError when it is not allowed."""
    full = get_full_name(module, name)
    entry = _find_added(full)
    if entry is not None:
        if full.rpartition(".")[0] in _BLOCKED:
            raise CheckpointError(f"GLOBAL {full}: nothing of {module} may be in a checkpoint")
        return _allow(full, entry[0] if isinstance(entry, tuple) else entry)
    known = get_allowed_globals().get(full)
    if known is None:
        raise CheckpointError(_explain(full))
    return known


def get_full_name(module: str, name: str) -> str:
    """`module.name`, with Python 3's names for those of Python 2, which protocol 2 uses."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        module, name = _compat_pickle.NAME_MAPPING[module, name]
    return f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}"


def _find_added(full: str) -> Any:
    if full in _added:
        return _added[full]
    # PyTorch's classes are ours in a file of either.
    package, dot, rest = full.partition(".")
    return _added.get("flambeau" + dot + rest) if package == "torch" else None


def _allow(full: str, target: Any) -> Allowed:
    def make(*arguments: Any, **options: Any) -> Any:
        return target.__new__(target, *arguments, **options)

    kept = make if isinstance(target, type) else None
    return Allowed(full, target, call=target, make=kept, trusted=True)


_ABSENT = {
    "torch._utils._rebuild_qtensor": "quantised tensors: save tensor.dequantize()",
    "torch._utils._rebuild_nested_tensor": "nested tensors: save the list tensor.unbind()",
    "torch._utils._rebuild_wrapper_subclass": "tensors that wrap others",
}


def _explain(full: str) -> str:
    if full in _ABSENT:
        return f"Weights only load failed. GLOBAL {full}: Flambeau does not load {_ABSENT[full]}"
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
        return set_attributes
    is_added = any(
        (entry[0] if isinstance(entry, tuple) else entry) is kind for entry in _added.values()
    )
    return restore_state if is_added else None
