"""Indexing: reading and assignment in all forms, gather and scatter."""

from __future__ import annotations
