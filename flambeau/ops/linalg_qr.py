"""QR factors of real matrices, and eigen- and singular vectors of small ones, by generated kernels:
launches, without checks or history.

A large matrix goes by panels of columns. The reflections of a panel together are I - V S^-1 V^T,
with S the strict upper triangle of V^T V and the diagonal 1 / tau (Puglisi 1992), so that what they
do to other columns is two matrix products and a triangular solve.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .. import core
from ..core import Tensor
from ..kernels.lazy import lane_orthogonal, lane_svd, reflect
from .linalg_factor import Large, plain, solve_triangle
from .plans import planned

FACTOR, FORM, RAW, VECTORS, APPLY, TRANSPOSED = 1, 2, 4, 8, 16, 32  # flags of kernels/reflect.py
_LANE_ELEMENTS = 16 * 16  # of matrices that are factored one in each lane
_LONE_ELEMENTS = 6 * 6  # where there are too few matrices to fill the lanes
_WHOLE = 64  # columns factored at once
_PANEL = 32
_APPLIED = 160  # reflections that are applied one by one


def factor_qr(a: Tensor, complete: bool, form: bool = True) -> tuple[Tensor | None, Tensor]:
    """(Q or None, R) of a batch of real matrices."""
    m, n = a.shape[-2:]
    batch, k = a.shape[:-2], min(m, n)
    columns = m if complete else k
    count = math.prod(batch)
    q = core.empty((*batch, m, columns), a.dtype) if form else None
    r = core.empty((*batch, columns, n), a.dtype)
    if not r.numel() and (q is None or not q.numel()):
        return q, r
    if not k:
        return _fill_identity(q), r
    short = a.dtype.short
    if form and columns == n and m * n <= (_LANE_ELEMENTS if count >= 4 else _LONE_ELEMENTS):
        plan = planned(
            ("lanes_qr", short, m, n, count),
            lambda t: lane_orthogonal.plan_qr(short, m, n, count, t),
        )
        plan.run(q, r, plain(a))
        return q, r
    if k > _WHOLE:
        _factor_large(a.reshape(count, m, n), q, r, columns)
        return q, r
    flags = FACTOR | (FORM if form else 0)
    plan = planned(
        ("qr", short, m, n, count, columns, flags),
        lambda t: reflect.plan_reflections(short, m, n, count, t, flags=flags, q=columns),
    )
    plan.run(q, r, plain(a), core.empty((*batch, k), a.dtype), None)
    return q, r


def _fill_identity(q: Tensor | None) -> Tensor | None:
    if q is not None:
        core.fill_number(q, 0)
        core.fill_number(q.diagonal(0, -2, -1), 1)
    return q


def factor_raw(a: Tensor) -> tuple[Tensor, Tensor]:
    """(R above the diagonal and the vectors below it, tau) of a batch of real matrices."""
    m, n = a.shape[-2:]
    k, count, short = min(m, n), math.prod(a.shape[:-2]), a.dtype.short
    raw, tau = core.empty(a.shape, a.dtype), core.empty((*a.shape[:-2], k), a.dtype)
    plan = planned(
        ("geqrf", short, m, n, count),
        lambda t: reflect.plan_reflections(short, m, n, count, t, flags=FACTOR | RAW),
    )
    plan.run(None, raw, plain(a), tau, None)
    return raw, tau


def form_q(a: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of the reflections below the diagonal of real a."""
    m, n = a.shape[-2:]
    k, count, short = tau.shape[-1], math.prod(a.shape[:-2]), a.dtype.short
    q = core.empty(a.shape, a.dtype)
    if not q.numel():
        return q
    if not k:
        return _fill_identity(q)  # type: ignore[return-value]
    vectors = a[..., :k]
    if k > _APPLIED:
        panels = _panels(vectors.reshape(count, m, k), tau.reshape(count, k))
        for x, each in zip(_fill_identity(q).reshape(count, m, n), panels, strict=True):  # type: ignore[union-attr]
            for panel in reversed(each):
                _reflect(x, panel, panel.at, True)
        return q
    plan = planned(
        ("orgqr", short, m, n, k, count),
        lambda t: reflect.plan_reflections(short, m, k, count, t, flags=FORM, q=n),
    )
    plan.run(q, None, plain(vectors), plain(tau), None)
    return q


def apply_q(a: Tensor, tau: Tensor, other: Tensor, transposed: bool) -> Tensor:
    """Q other, or Q^T other, for the square Q of the reflections below the diagonal of real a."""
    m, columns = other.shape[-2:]
    k, count, short = tau.shape[-1], math.prod(other.shape[:-2]), a.dtype.short
    vectors, other = a[..., :k], plain(other)
    if not other.numel() or not k:
        return core.clone_plain(other)
    if k > _APPLIED:
        x = core.clone_plain(other)
        panels = _panels(vectors.reshape(count, m, k), tau.reshape(count, k))
        for one, each in zip(x.reshape(count, m, columns), panels, strict=True):
            for panel in each if transposed else reversed(each):
                _reflect(one, panel, 0, not transposed)
        return x
    flags = FORM | APPLY | (TRANSPOSED if transposed else 0)
    q = core.empty(other.shape, other.dtype)
    plan = planned(
        ("ormqr", short, m, k, columns, count, transposed),
        lambda t: reflect.plan_reflections(short, m, k, count, t, flags=flags, q=columns),
    )
    plan.run(q, other, plain(vectors), plain(tau), None)
    return q


def decompose_symmetric(a: Tensor, lower: bool) -> tuple[Tensor, Tensor]:
    """(values ascending, vectors) of real symmetric matrices, by rotations."""
    n, batch, short = a.shape[-1], a.shape[:-2], a.dtype.short
    values, vectors = core.empty((*batch, n), a.dtype), core.empty(a.shape, a.dtype)
    count = math.prod(batch)
    if not values.numel():
        return values, vectors
    plan = planned(
        ("lanes_eigh", short, n, count, lower),
        lambda t: lane_orthogonal.plan_eigh(short, n, count, t, upper=not lower),
    )
    plan.run(values, vectors, plain(a))
    return values, vectors


def decompose_singular(a: Tensor, vectors: bool) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """(U, S descending, V^T) of small real matrices, by rotations; maybe S alone.

    A column of U for a singular value that is 0, or as small as its square is, has no direction.
    """
    m, n = a.shape[-2:]
    if m < n:
        v, s, ut = decompose_singular(a.mT, vectors)
        return (None, s, None) if ut is None or v is None else (ut.mT, s, v.mT)
    batch, dtype, short = a.shape[:-2], a.dtype, a.dtype.short
    count = math.prod(batch)
    s = core.empty((*batch, n), dtype)
    u = core.empty(a.shape, dtype) if vectors else None
    vt = core.empty((*batch, n, n), dtype) if vectors else None
    plan = planned(
        ("lanes_svd", short, m, n, count, vectors),
        lambda t: lane_svd.plan_svd(short, m, n, count, t, vectors=vectors),
    )
    plan.run(s, u, vt, plain(a))
    return u, s, vt


class _Panel(NamedTuple):
    """Reflections from row `at` on: I - V S^-1 V^T."""

    at: int
    v: Tensor
    minus: Tensor
    s: Tensor


def _factor_large(a: Tensor, q: Tensor | None, r: Tensor, columns: int) -> None:
    count, m, n = a.shape
    flat_r = r.reshape(count, columns, n)
    flat_q = None if q is None else _fill_identity(q).reshape(count, m, columns)  # type: ignore[union-attr]
    for i in range(count):
        work = core.clone_plain(a[i]) if a[i].is_contiguous() else core.contiguous_plain(a[i])
        panels = [_factor_panel(work, j) for j in range(0, min(m, n), _PANEL)]
        core.copy_(flat_r[i], work[:columns].triu())
        if flat_q is not None:
            for panel in reversed(panels):
                _reflect(flat_q[i], panel, panel.at, True)


def _panels(vectors: Tensor, tau: Tensor) -> list[list[_Panel]]:
    """The panels of each matrix of reflections below its diagonal."""
    found = []
    for a, factors in zip(vectors, tau, strict=True):
        k, each = factors.shape[0], []
        for j in range(0, k, _PANEL):
            end = min(j + _PANEL, k)
            t = factors[j:end]
            v = a[j:, j:end].tril(-1)
            core.fill_number(v.diagonal(), 1)
            each.append(_join_panel(j, v * (t != 0), t))
        found.append(each)
    return found


def _join_panel(j: int, v: Tensor, tau: Tensor) -> _Panel:
    """The panel of some vectors; those with a factor of 0 are zeros."""
    s = (v.mT @ v).triu(1)
    core.copy_(s.diagonal(), (tau + (tau == 0)).reciprocal())
    return _Panel(j, v, -v, s)


def _factor_panel(work: Tensor, j: int) -> _Panel:
    """Factor some columns in place and apply their reflections to those on the right."""
    m, n = work.shape
    height, width = m - j, min(_PANEL, n - j, m - j)
    dtype, short = work.dtype, work.dtype.short
    v, tau = core.empty((height, width), dtype), core.empty((width,), dtype)
    r = core.empty((width, width), dtype)
    plan = planned(
        ("qr_panel", short, height, width, n),
        lambda t: reflect.plan_reflections(
            short, height, width, 1, t, flags=FACTOR | VECTORS, row=n
        ),
    )
    plan.run(None, r, work.data_ptr() + (j * n + j) * work.element_size(), tau, v)
    core.copy_(work[j : j + width, j : j + width], r)
    panel = _join_panel(j, v, tau)
    if j + width < n:
        _reflect(work, panel, j + width, False)
    return panel


def _reflect(x: Tensor, panel: _Panel, column: int, forward: bool) -> None:
    """Apply a panel's reflections (the transpose unless `forward`) to columns of x in place."""
    target = x[panel.at :, column:]
    along = panel.v.mT @ target
    s = panel.s if forward else panel.s.mT
    along = solve_triangle(s, along, forward, False)
    (height, width), row = panel.v.shape, x.shape[1]
    large = Large(x.dtype, row, x.data_ptr())
    large.add_product(
        large.at(panel.at, column), panel.minus.data_ptr(), along.data_ptr(), height,
        row - column, width, (width, 1), (row - column, 1),
    )  # fmt: skip
