"""What a loop record computes, as a string that is the same in every process.

With it the kernel cache knows a signature's machine code without tracing the body. The string
covers the body's code and all it holds on to; helper functions that a body calls by name are
covered by a hash of the sources of the two floors where bodies live. A body from anywhere else
has no identity: its kernels are found by their IR.
"""

from __future__ import annotations

import enum
import hashlib
import types
from functools import cache as remember_result
from pathlib import Path
from typing import Any

from ..kernels import lazy
from ..kernels.source_hash import hash_sources

_HOME = ("flambeau.ops.", "flambeau.kernels.")
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(NotImplemented), type(Ellipsis))
_NOT_MEANING = frozenset(("op", "doc", "samples", "identity"))


class _UnknownError(Exception):
    """Something whose meaning cannot be written down."""


@remember_result
def floor_version() -> str:
    """A hash of the sources that bodies are made of."""
    here = Path(__file__).parent
    return hash_sources(here) + hash_sources(here.parent / "kernels")


def identify(value: Any) -> str | None:
    """The identity of a record, a function or a plain value; None where it has none."""
    try:
        text = _describe(value, 0)
    except _UnknownError:
        return None
    return hashlib.sha256(f"{floor_version()}{text}".encode()).hexdigest()


def _describe(value: Any, depth: int) -> str:
    if depth > 40:
        raise _UnknownError
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, enum.Enum):
        return str(value)
    if isinstance(value, types.FunctionType):
        return _describe_function(value, depth + 1)
    if isinstance(value, types.CodeType):
        return _describe_code(value, depth + 1)
    if isinstance(value, tuple | list):
        return f"[{','.join(_describe(v, depth + 1) for v in value)}]"
    if isinstance(value, set | frozenset):
        return f"{{{','.join(sorted(_describe(v, depth + 1) for v in value))}}}"
    if isinstance(value, dict):
        pairs = (f"{_describe(k, depth + 1)}:{_describe(v, depth + 1)}" for k, v in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, lazy._Module):
        return f"module {value._name}"
    if type(value).__name__ == "LoopRecord":
        meaning = {k: v for k, v in vars(value).items() if k not in _NOT_MEANING}
        return f"record{_describe(meaning, depth + 1)}"
    raise _UnknownError


def _describe_function(function: types.FunctionType, depth: int) -> str:
    if not (function.__module__ or "").startswith(_HOME):
        raise _UnknownError
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    held = (cells, function.__defaults__, function.__kwdefaults__)
    code = _describe_code(function.__code__, depth)
    return f"{function.__module__}.{function.__qualname__}({code}{_describe(held, depth)})"


def _describe_code(code: types.CodeType, depth: int) -> str:
    constants = _describe(code.co_consts, depth)
    return (
        f"{code.co_firstlineno},{code.co_code.hex()},{code.co_names},{code.co_freevars},{constants}"
    )
