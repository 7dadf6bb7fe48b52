"""Discrete Fourier transforms and what goes with them."""

from __future__ import annotations

from .ops import NAMESPACES

globals().update(NAMESPACES["fft"])

__all__ = sorted(NAMESPACES["fft"])
