"""Eigenvalues and eigenvectors of symmetric matrices, and singular values, by generated kernels:
launches, without checks or history."""

from __future__ import annotations

import math

from .. import core
from ..core import Tensor
from ..kernels.lazy import bidiagonal, bisection, golub_kahan, ql, tridiagonal
from .lapack import INT32, INT64
from .linalg_factor import plain
from .linalg_qr import decompose_singular, decompose_symmetric, factor_qr
from .plans import planned

_TALL = 1.6  # as many times as many rows as columns: a triangle takes their place first


def rotates(n: int, count: int) -> bool:
    """Whether Jacobi's rotations, with a matrix in each lane, are the quickest way to the values
    of matrices of up to n rows: few lanes are used where there are few matrices."""
    return n <= 4 or (n <= 12 and 2 * count >= n)


def symmetric_values(a: Tensor, lower: bool) -> Tensor:
    """The eigenvalues, ascending, of a batch of real symmetric matrices, of which one triangle is
    read."""
    n, batch, dtype, short = a.shape[-1], a.shape[:-2], a.dtype, a.dtype.short
    count = math.prod(batch)
    if rotates(n, count):
        return decompose_symmetric(a, lower)[0]
    values, d, e = (core.empty((*batch, n), dtype) for _ in range(3))
    if not values.numel():
        return values
    plan = planned(
        ("tridiagonal", short, n, count),
        lambda t: tridiagonal.plan_tridiagonal(short, n, count, t),
    )
    plan.run(d, e, None, plain(a if lower else a.mT))
    return _search(values, d, e, n, count, False)


def symmetric_vectors(a: Tensor, lower: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """(eigenvalues ascending, eigenvectors, failed) of a batch of real symmetric matrices; failed
    (i32), where there is such a number, is 1 where the iteration did not converge."""
    n, batch, dtype, short = a.shape[-1], a.shape[:-2], a.dtype, a.dtype.short
    count = math.prod(batch)
    if rotates(n, count) or not count:
        return *decompose_symmetric(a, lower), None
    values, e = (core.empty((*batch, n), dtype) for _ in range(2))
    vectors, failed = core.empty(a.shape, dtype), core.empty((count,), INT32)
    columns, notes, turns = ql.room(short, n)
    z = core.empty((count, n, columns), dtype)
    plan = planned(
        ("tridiagonal", short, n, count, columns),
        lambda t: tridiagonal.plan_tridiagonal(short, n, count, t, columns=columns),
    )
    plan.run(values, e, z, plain(a if lower else a.mT))
    plan = planned(("ql", short, n, count), lambda t: ql.plan_ql(short, n, count, t))
    sweeps = core.empty((count, notes), INT64)
    plan.run(values, vectors, e, z, failed, sweeps, core.empty((count, turns), dtype))
    return values, vectors, failed


def find_singular_values(a: Tensor) -> Tensor:
    """The singular values, descending, of a batch of real matrices."""
    if a.shape[-2] < a.shape[-1]:
        a = a.mT
    m, n = a.shape[-2:]
    batch, dtype, short = a.shape[:-2], a.dtype, a.dtype.short
    count = math.prod(batch)
    values, d, e = (core.empty((*batch, n), dtype) for _ in range(3))
    if not values.numel():
        return values
    if rotates(m, count):
        return decompose_singular(a, False)[1]
    if m >= _TALL * n:
        a, m = factor_qr(a, False, form=False)[1], n
    plan = planned(
        ("bidiagonal", short, m, n, count),
        lambda t: bidiagonal.plan_bidiagonal(short, m, n, count, t),
    )
    plan.run(d, e, None, None, plain(a))
    return _search(values, d, e, n, count, True)


def singular_vectors(a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(U, S descending, V^T, failed) of a batch of real matrices that are not empty; failed (i32)
    is 1 where the iteration did not converge."""
    m, n = a.shape[-2:]
    if m < n:
        v, s, ut, failed = singular_vectors(a.mT)
        return ut.mT, s, v.mT, failed
    if m >= _TALL * n:
        q, r = factor_qr(a, False)
        u, s, vt, failed = singular_vectors(r)
        return q @ u, s, vt, failed  # type: ignore[operator]
    batch, dtype, short = a.shape[:-2], a.dtype, a.dtype.short
    count = math.prod(batch)
    s, e = (core.empty((*batch, n), dtype) for _ in range(2))
    u, v = core.empty(a.shape, dtype), core.empty((*batch, n, n), dtype)
    failed = core.empty((count,), INT32)
    columns, notes, turns = ql.room(short, n)
    rows = ql.room(short, m)[0]
    left, right = (core.empty((count, n, c), dtype) for c in (rows, columns))
    plan = planned(
        ("bidiagonal", short, m, n, count, rows, columns),
        lambda t: bidiagonal.plan_bidiagonal(short, m, n, count, t, columns=(rows, columns)),
    )
    plan.run(s, e, left, right, plain(a))
    plan = planned(
        ("golub_kahan", short, m, n, count),
        lambda t: golub_kahan.plan_golub_kahan(short, m, n, count, t),
    )
    sweeps = core.empty((count, notes), INT64)
    turned = [core.empty((count, turns), dtype) for _ in range(2)]
    plan.run(s, u, e, left, failed, sweeps, turned[0], v, right, turned[1])
    return u, s, v.mT, failed


def _search(values: Tensor, d: Tensor, e: Tensor, n: int, count: int, singular: bool) -> Tensor:
    short = values.dtype.short
    plan = planned(
        ("bisection", short, n, count, singular),
        lambda t: bisection.plan_bisection(short, n, count, t, singular=singular),
    )
    plan.run(values, d, e)
    return values
