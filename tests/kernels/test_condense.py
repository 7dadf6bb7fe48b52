"""Reductions to tridiagonal and bidiagonal form, and bisection, for every target."""

import numpy as np
import pytest

from flambeau.kernels import bidiagonal, bisection, ql, tridiagonal
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
        plan = bidiagonal.plan_bidiagonal(dtype, m, n, 3, 2, target=target)
        run_plan(plan, [d, e, a], target, 2)
        plan = bisection.plan_bisection(dtype, n, 3, 2, singular=True, target=target)
        run_plan(plan, [values, d, e], target, 2)
        expected = np.linalg.svd(a.astype(float), compute_uv=False)
        norm = expected[:, :1]
        assert (np.abs(values - expected) <= (4 + m) * EPSILON[dtype] * norm).all()


@DTYPES
def test_other_targets_assemble(dtype):
    sources = [module.source(dtype, NEON) for module in (tridiagonal, bidiagonal, bisection)]
    for source in (*sources, ql.source(dtype, "iterate", NEON)):
        lines = assemble(source.build(), NEON).splitlines()
        calls = [line.split()[1] for line in lines if "\tbl\t" in line]
        assert all(
            name.startswith(("sweep", "apply", "update", "multiply", "count")) for name in calls
        )
