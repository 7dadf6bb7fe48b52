"""The script compiler's names, with the compiler off: what PyTorch does under `PYTORCH_JIT=0`.

Every op runs a compiled kernel at once, so functions and modules stay the Python they are: `script`
and the other markers give their argument back. There is no saved form of a program.

>>> import flambeau as torch
>>> @torch.jit.script
... def double(x):
...     return x * 2
>>> double(torch.tensor(2))
tensor(4)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..nn import Module

__all__ = [
    *("Attribute", "Final", "ScriptFunction", "ScriptModule", "annotate", "export", "ignore"),
    *("interface", "is_scripting", "is_tracing", "script", "script_if_tracing", "unused"),
]

T = TypeVar("T")


class ScriptModule(Module):
    """A base class that PyTorch compiles the methods of; here a `Module` like any other."""


class ScriptFunction:
    """The type of compiled functions, of which there are none."""

    def __init__(self) -> None:
        raise TypeError("jit.ScriptFunction: functions stay Python functions in Flambeau")


def script(obj: T, *args: Any, **kwargs: Any) -> T:
    """Give back the function, class or module: nothing is compiled."""
    return obj


def script_if_tracing(fn: T) -> T:
    """Give back the function: there is no tracing."""
    return fn


def export(fn: T) -> T:
    """Give back the method: nothing is compiled, so none needs marking."""
    return fn


def interface(obj: T) -> T:
    """Give back the class."""
    return obj


def unused(fn: T) -> T:
    """Give back the method."""
    return fn


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """Give back the function; used as `@ignore` or `@ignore(drop=True)`."""
    return drop if callable(drop) else unused


def is_scripting() -> bool:
    """False: code runs as Python."""
    return False


def is_tracing() -> bool:
    """False: code runs as Python."""
    return False


def annotate(the_type: Any, the_value: T) -> T:
    """Give the value back; the type speaks to a compiler."""
    return the_value


def Attribute(value: T, type: Any) -> T:
    """Give the value back; the type speaks to a compiler."""
    return value


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"jit.{name}: models stay Python programs in Flambeau; save their state_dict() instead"
    )
