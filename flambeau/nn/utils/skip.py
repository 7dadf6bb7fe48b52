"""Modules without drawn values."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

from .. import init

__all__ = ["skip_init"]

_lock = threading.RLock()
_DRAWS = [name for name in vars(init) if name.endswith("_") and not name.startswith("_")]


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """Make a module whose parameters are left uninitialized, for values that are loaded next.

    Nothing is drawn: random numbers afterwards are those that would have come now.

    Errors:
        RuntimeError: `module_cls` is not a Module class, or takes no `device`.

    >>> import flambeau as torch
    >>> layer = torch.nn.utils.skip_init(torch.nn.Linear, 3, 4)
    >>> layer.load_state_dict(torch.nn.Linear(3, 4).state_dict())
    <All keys matched successfully>
    """
    from ..modules.module import Module

    if not isinstance(module_cls, type) or not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    with _without_draws():
        return module_cls(*args, **kwargs)


@contextlib.contextmanager
def _without_draws() -> Iterator[None]:
    """Within the context the functions of `nn.init` leave tensors alone, in this thread."""
    thread = threading.get_ident()

    def skipping(function: Callable) -> Callable:
        def skip(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return function(tensor, *args, **kwargs)
            return tensor

        return skip

    with _lock:
        originals = {name: getattr(init, name) for name in _DRAWS}
        try:
            for name, function in originals.items():
                setattr(init, name, skipping(function))
            yield
        finally:
            for name, function in originals.items():
                setattr(init, name, function)
