"""Storages: the blocks of memory that tensors view."""

from __future__ import annotations

from flambeau.core import UntypedStorage
from flambeau.ops.storage import TypedStorage

__all__ = ["TypedStorage", "UntypedStorage"]
