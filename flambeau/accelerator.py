"""Which accelerator there is, whatever its kind: none.

>>> import flambeau as torch
>>> torch.accelerator.current_accelerator() is None
True
"""

from __future__ import annotations

from typing import Any

from .core import device

__all__ = ["current_accelerator", "device_count", "empty_cache", "is_available", "synchronize"]


def is_available() -> bool:
    """False: programs run on the processor."""
    return False


def device_count() -> int:
    """0: no accelerator."""
    return 0


def current_accelerator(check_available: bool = False) -> device | None:
    """None: no accelerator."""
    return None


def synchronize(device: Any = None) -> None:
    """Nothing to wait for."""


def empty_cache() -> None:
    """Nothing to empty."""


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"accelerator.{name}: Flambeau computes on the processor; "
        "ask accelerator.is_available() first"
    )
