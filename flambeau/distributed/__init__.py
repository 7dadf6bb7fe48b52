"""Programs run in one process: `is_available()` says so, as PyTorch built without this package.

>>> import flambeau as torch
>>> torch.distributed.is_available()
False
"""

from __future__ import annotations

from typing import Any

__all__ = ["is_available", "is_initialized"]


def is_available() -> bool:
    """False: there are no process groups."""
    return False


def is_initialized() -> bool:
    """False: there is no default process group."""
    return False


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"distributed.{name}: Flambeau runs programs in one process; "
        "ask distributed.is_available() first"
    )
