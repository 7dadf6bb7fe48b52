"""Linear algebra: norms, decompositions, solvers, inverses and products of matrices."""

from __future__ import annotations

from .ops import NAMESPACES
from .ops.lapack import LinAlgError

globals().update(NAMESPACES["linalg"])

__all__ = ["LinAlgError", *sorted(NAMESPACES["linalg"])]
