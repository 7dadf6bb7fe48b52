"""Fourier transforms, through pocketfft."""

from __future__ import annotations
