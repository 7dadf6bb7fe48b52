"""Special functions: gamma and Bessel functions, orthogonal polynomials, error functions and their
kin.
"""

from __future__ import annotations

from .ops import NAMESPACES

globals().update(NAMESPACES["special"])

__all__ = sorted(NAMESPACES["special"])
