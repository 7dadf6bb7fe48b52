"""Sharded modules, of which there are none: programs run in one process."""

from __future__ import annotations

from typing import Any

from ..nn import Module

__all__ = ["FullyShardedDataParallel"]


class FullyShardedDataParallel(Module):
    """A module in shards; making one is a RuntimeError, as there is one process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            "distributed.fsdp.FullyShardedDataParallel: Flambeau runs programs in one process"
        )
