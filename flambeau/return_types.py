"""The classes of the named tuples that ops return: `return_types.max`, `return_types.sort`, ...

A class appears once an op has returned it.
"""

from __future__ import annotations

from .ops.named_results import KINDS

__all__: list[str] = []


def __getattr__(name: str) -> type:
    for key, kind in KINDS.items():
        if key[0] == name:
            return kind
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}: no op has returned it yet"
    )


def __dir__() -> list[str]:
    return sorted({key[0] for key in KINDS})
