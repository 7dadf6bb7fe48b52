"""Linear algebra, through LAPACK."""

from __future__ import annotations
