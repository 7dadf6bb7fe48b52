"""Sorting, selecting and counting."""

from __future__ import annotations
