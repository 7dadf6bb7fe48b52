"""Reductions to tridiagonal and bidiagonal form, bisection and QR iterations, for every
target."""

import numpy as np
import pytest

from flambeau.kernels import bidiagonal, bisection, golub_kahan, ql, tridiagonal
from flambeau.kernels.target import NEON
from tests.kernels.harness import assemble, run_plan, runnable

NUMPY = {"f32": np.float32, "f64": np.float64}
EPSILON = {"f32": 2.0**-23, "f64": 2.0**-52}
TARGETS = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
DTYPES = pytest.mark.parametrize("dtype", NUMPY)
SIZES = [1, 2, 3, 4, 5, 8, 9, 17, 33, 70]


def random(dtype, *shape):
    return np.random.default_rng(shape[-1]).standard_normal(shape).astype(NUMPY[dtype])


def tridiagonal_of(d, e):
    return np.diag(d) + np.diag(e[1:], 1) + np.diag(e[1:], -1)


@TARGETS
@DTYPES
def test_symmetric_matrices(dtype, target):
    for n in SIZES:
        a = random(dtype, 3, n, n)
        a = a + a.swapaxes(1, 2)
        d, e = (np.full((3, n), np.nan, a.dtype) for _ in range(2))
        columns, notes, turns = ql.room(dtype, n, target)
        z = np.full((3, n, columns), np.nan, a.dtype)
        plan = tridiagonal.plan_tridiagonal(dtype, n, 3, 2, columns=columns, target=target)
        run_plan(plan, [d, e, z, np.tril(a)], target, 2)
        own_q = z.astype(float)
        values = np.empty_like(d)
        plan = bisection.plan_bisection(dtype, n, 3, 2, singular=False, target=target)
        run_plan(plan, [values, d, e], target, 2)
        for i in range(3):
            t = tridiagonal_of(*(x[i].astype(float) for x in (d, e))) * e[i, 0]
            q = own_q[i, :, :n].T
            assert not own_q[i, :, n:].any()
            bound = (4 + n) * EPSILON[dtype]
            assert np.abs(q.T @ q - np.eye(n)).max() <= bound
            expected = np.linalg.eigvalsh(a[i].astype(float))
            norm = np.abs(expected).max()
            assert np.abs(q @ t @ q.T - a[i]).max() <= bound * norm
            assert np.abs(values[i] - expected).max() <= bound * norm
            own = np.linalg.eigvalsh(t)
            assert (
                np.abs(values[i] - own).max() <= (4 + n) * 2.0**-52 * norm + EPSILON[dtype] * norm
            )

        vectors, failed = np.full_like(a, np.nan), np.full(3, 7, np.int32)
        sweeps, room = np.empty((3, notes), np.int64), np.empty((3, turns), a.dtype)
        plan = ql.plan_ql(dtype, n, 3, 2, target=target)
        run_plan(plan, [d, vectors, e, z, failed, sweeps, room], target, 2)
        assert not failed.any()
        wide, bound = vectors.astype(float), (8 + n) * EPSILON[dtype]
        assert np.abs(wide.swapaxes(1, 2) @ wide - np.eye(n)).max() <= bound
        norm = np.abs(d).max()
        assert np.abs(a @ wide - wide * d[:, None, :]).max() <= bound * norm
        assert np.abs(d - values).max() <= bound * norm
        assert (np.diff(d) >= 0).all()


@TARGETS
@DTYPES
def test_any_matrices(dtype, target):
    for m, n in [(n + more, n) for n in SIZES for more in (0, 1, 6)]:
        a = random(dtype, 3, m, n)
        d, e, values = (np.full((3, n), np.nan, a.dtype) for _ in range(3))
        columns, notes, turns = ql.room(dtype, n, target)
        rows = ql.room(dtype, m, target)[0]
        left, right = (np.full((3, n, c), np.nan, a.dtype) for c in (rows, columns))
        plan = bidiagonal.plan_bidiagonal(dtype, m, n, 3, 2, columns=(rows, columns), target=target)
        run_plan(plan, [d, e, left, right, a], target, 2)
        check_bidiagonal(a, d, e, left[..., :m], right[..., :n], (8 + m) * EPSILON[dtype])
        plan = bisection.plan_bisection(dtype, n, 3, 2, singular=True, target=target)
        run_plan(plan, [values, d, e], target, 2)
        expected = np.linalg.svd(a.astype(float), compute_uv=False)
        norm = expected[:, :1]
        assert (np.abs(values - expected) <= (4 + m) * EPSILON[dtype] * norm).all()
        plan = bidiagonal.plan_bidiagonal(dtype, m, n, 3, 2, target=target)
        alone = [np.full((3, n), np.nan, a.dtype) for _ in range(2)]
        run_plan(plan, [*alone, None, None, a], target, 2)
        np.testing.assert_array_equal(alone, [d, e])
        u, v = np.full_like(a, np.nan), np.full((3, n, n), np.nan, a.dtype)
        failed = np.full(3, 7, np.int32)
        sweeps, *room = np.empty((3, notes), np.int64), *np.empty((2, 3, turns), a.dtype)
        plan = golub_kahan.plan_golub_kahan(dtype, m, n, 3, 2, target=target)
        run_plan(plan, [d, u, e, left, failed, sweeps, room[0], v, right, room[1]], target, 2)
        assert not failed.any()
        wide_u, wide_v, bound = u.astype(float), v.astype(float), (16 + 2 * m) * EPSILON[dtype]
        product = (wide_u * d[:, None, :]) @ wide_v.swapaxes(1, 2)
        assert np.abs(product - a).max() <= bound * norm.max()
        for q in (wide_u, wide_v):
            assert np.abs(q.swapaxes(1, 2) @ q - np.eye(n)).max() <= bound
        assert np.abs(d - expected).max() <= bound * norm.max()


def check_bidiagonal(a, d, e, left, right, bound):
    """A = Q B P^T, from the rows of Q^T and P^T."""
    for i in range(a.shape[0]):
        q, p = left[i].astype(float), right[i].astype(float)
        b = (np.diag(d[i]) + np.diag(e[i, 1:], 1)).astype(float) * e[i, 0]
        eye = np.eye(len(d[i]))
        assert np.abs(q @ q.T - eye).max() <= bound
        assert np.abs(p @ p.T - eye).max() <= bound
        assert np.abs(q.T @ b @ p - a[i]).max() <= bound * np.abs(b).sum(1).max()


@DTYPES
def test_other_targets_assemble(dtype):
    modules = (tridiagonal, bidiagonal, bisection, golub_kahan)
    sources = [module.source(dtype, NEON) for module in modules]
    for source in (*sources, ql.source(dtype, "iterate", NEON)):
        lines = assemble(source.build(), NEON).splitlines()
        calls = [line.split()[1] for line in lines if "\tbl\t" in line]
        assert all(
            name.startswith(("sweep", "apply", "update", "multiply", "count")) for name in calls
        )
