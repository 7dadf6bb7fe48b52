"""The older spelling of mixed precision on GPUs: without one, everything is handed through."""

from __future__ import annotations

from typing import Any

import flambeau
from flambeau.amp import GradScaler as _GradScaler
from flambeau.amp import autocast as _autocast

__all__ = ["GradScaler", "autocast"]


class autocast(_autocast):
    """`torch.autocast("cuda", ...)`: without a GPU it does nothing, and says so."""

    def __init__(
        self,
        enabled: bool = True,
        dtype: flambeau.dtype | None = None,
        cache_enabled: bool = True,
    ) -> None:
        super().__init__("cuda", dtype or flambeau.float16, enabled, cache_enabled)


class GradScaler(_GradScaler):
    """`torch.amp.GradScaler("cuda", ...)`: without a GPU it is disabled, and says so."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("cuda", *args, **kwargs)
