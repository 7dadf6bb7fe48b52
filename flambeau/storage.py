"""Storages: the blocks of memory that tensors view."""

from __future__ import annotations

import io
from typing import Any

from flambeau.core import UntypedStorage
from flambeau.ops.storage import TypedStorage

__all__ = ["TypedStorage", "UntypedStorage"]


def _load_from_bytes(data: bytes) -> Any:
    """The storage inside a plain pickle of PyTorch's, where it stands as a file of its own."""
    from .serialization import load

    return load(io.BytesIO(data), weights_only=False)
