"""Approximate decompositions of low rank from random projections (Halko, Martinsson and Tropp
2009).
"""

from __future__ import annotations

from typing import Any

from ..core import Tensor
from .lapack import check_matrix
from .linalg_decompose import linalg_qr, linalg_svd
from .matmul import matmul
from .random import randn
from .record import composite


def _basis(a: Tensor, q: int, niter: int) -> Tensor:
    """Orthonormal columns that nearly span the range of a (algorithm 4.4, subspace iteration)."""
    columns = linalg_qr(matmul(a, randn(a.shape[-1], q, dtype=a.dtype)))[0]
    for _ in range(niter):
        rows = linalg_qr(matmul(a.mH, columns))[0]
        columns = linalg_qr(matmul(a, rows))[0]
    return columns


@composite(method=False)
def svd_lowrank(A: Tensor, q: int | None = 6, niter: int = 2, M: Tensor | None = None) -> Any:
    """(U, S, V) with A - M close to U diag(S) V^H, of rank q at most.

    The random projection draws from the default generator; niter subspace iterations sharpen it.
    """
    check_matrix("svd_lowrank", A)
    q = 6 if q is None else q
    if not 0 <= q <= min(A.shape[-2:]):
        raise ValueError(
            f"svd_lowrank: q(={q}) must be non-negative integer and not greater than min(m, "
            f"n)={min(A.shape[-2:])}"
        )
    a = A if M is None else A - M.expand(A.shape)
    wide = a.shape[-2] < a.shape[-1]
    a = a.mH if wide else a
    columns = _basis(a, q, niter)
    u, s, vh = linalg_svd(matmul(columns.mH, a), full_matrices=False)
    u, v = matmul(columns, u), vh.mH
    return (v, s, u) if wide else (u, s, v)


@composite(method=False)
def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """(U, S, V): the principal components of the rows of A are the columns of V."""
    check_matrix("pca_lowrank", A)
    m, n = A.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(
            f"pca_lowrank: q(={q}) must be non-negative integer and not greater than min(m, "
            f"n)={min(m, n)}"
        )
    if niter < 0:
        raise ValueError(f"pca_lowrank: niter(={niter}) must be non-negative integer")
    if center:
        A = A - A.mean((-2,), keepdim=True)
    return svd_lowrank(A, q, niter)
