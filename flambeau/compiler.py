"""What programs ask of a graph compiler, where none is at work: nothing is compiled or exported.

>>> import flambeau as torch
>>> torch.compiler.is_compiling()
False
"""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = [
    *("allow_in_graph", "cudagraph_mark_step_begin", "disable", "is_compiling"),
    *("is_dynamo_compiling", "is_exporting", "reset"),
]

T = TypeVar("T")


def is_compiling() -> bool:
    """False: code runs as Python."""
    return False


def is_dynamo_compiling() -> bool:
    """False: code runs as Python."""
    return False


def is_exporting() -> bool:
    """False: code runs as Python."""
    return False


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Give back the function: there is nothing to keep it from. `@disable` or `@disable()`."""
    return allow_in_graph if fn is None else fn


def allow_in_graph(fn: T) -> T:
    """Give back the function."""
    return fn


def reset() -> None:
    """Nothing to forget."""


def cudagraph_mark_step_begin() -> None:
    """Nothing to mark."""


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"compiler.{name}: Flambeau has no graph compiler; every op runs a compiled kernel at once"
    )
