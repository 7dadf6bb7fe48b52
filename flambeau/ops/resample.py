"""Padding, interpolation, grid sampling."""

from __future__ import annotations
