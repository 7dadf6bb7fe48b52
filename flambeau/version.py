"""The version of Flambeau, and of the platforms it was built for: none but the processor."""

from __future__ import annotations

import flambeau

__all__ = ["__version__", "cuda", "debug", "git_version", "hip", "pytorch", "xpu"]

__version__ = flambeau.__version__
pytorch = "2.13.0"  # whose API this is
cuda: str | None = None
hip: str | None = None
xpu: str | None = None
git_version: str | None = None
debug = False
