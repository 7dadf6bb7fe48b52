"""The named tuples that ops return, printed as PyTorch prints them."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

# By name and fields. Pickles find the classes through `flambeau.return_types`.
KINDS: dict[tuple[str, ...], type] = {}


def named_result(name: str, fields: Sequence[str], *values: Any) -> Any:
    """Values as the named tuple `torch.return_types.<name>`.

    >>> named_result("max", ("values", "indices"), 3, 1)
    torch.return_types.max(
    values=3,
    indices=1)
    """
    kind = KINDS.get((name, *fields)) or define_kind(name, fields)
    return kind(*values)


def named_pair(
    name: str, values: Any, indices: Any, fields: Sequence[str] = ("values", "indices")
) -> Any:
    """The named tuple (values, indices) that selecting ops return."""
    return named_result(name, fields, values, indices)


def define_kind(name: str, fields: Sequence[str]) -> type:
    """Make, and note, the class of a named result."""
    base = namedtuple(name, fields)  # type: ignore[misc]
    body = {"__slots__": (), "__repr__": _show, "__module__": "flambeau.return_types"}
    kind = KINDS[(name, *fields)] = type(name, (base,), body)
    return kind


def _show(result: Any) -> str:
    parts = ",\n".join(f"{f}={v!r}" for f, v in zip(result._fields, result, strict=True))
    return f"torch.return_types.{type(result).__name__}(\n{parts})"
