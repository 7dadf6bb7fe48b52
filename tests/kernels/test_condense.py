"""Reductions to tridiagonal and bidiagonal form, and bisection, for every target."""

import numpy as np
import pytest

from flambeau.kernels import bidiagonal, bisection, tridiagonal
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
        d, e, tau, u = (np.full(s, np.nan, a.dtype) for s in ((3, n), (3, n), (3, n), a.shape))
        plan = tridiagonal.plan_tridiagonal(dtype, n, 3, 2, vectors=True, target=target)
        run_plan(plan, [d, e, u, tau, np.tril(a)], target, 2)
        values = np.empty_like(d)
        plan = bisection.plan_bisection(dtype, n, 3, 2, singular=False, target=target)
        run_plan(plan, [values, d, e], target, 2)
        for i in range(3):
            for k in range(1, n):
                v = u[i, k].astype(float)
                assert v[k - 1] == 1
                assert not v[k:].any()
            t = tridiagonal_of(*(x[i].astype(float) for x in (d, e))) * e[i, 0]
            q = np.eye(n)
            for k in range(n - 1, 0, -1):
                v = u[i, k].astype(float)
                q = q @ (np.eye(n) - tau[i, k] * np.outer(v, v))
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
    for source in (tridiagonal.source, bidiagonal.source, bisection.source):
        lines = assemble(source(dtype, NEON).build(), NEON).splitlines()
        calls = [line.split()[1] for line in lines if "\tbl\t" in line]
        assert all(name.startswith(("sweep", "update", "multiply", "count")) for name in calls)
