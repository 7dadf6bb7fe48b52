"""QR and symmetric eigenvectors of small matrices in lanes, on every target."""

import numpy as np
import pytest

from flambeau.kernels.lane_orthogonal import plan_eigh, plan_qr, source
from flambeau.kernels.lane_svd import plan_svd
from flambeau.kernels.target import NEON
from tests.kernels.harness import assemble, run_plan, runnable

NUMPY = {"f32": np.float32, "f64": np.float64}
EPSILON = {"f32": 2.0**-23, "f64": 2.0**-52}
TARGETS = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
DTYPES = pytest.mark.parametrize("dtype", NUMPY)


def random(dtype, *shape):
    return np.random.default_rng(shape[-1]).standard_normal(shape).astype(NUMPY[dtype])


def decompose(dtype, a, target):
    count, m, n = a.shape
    q, r = np.empty_like(a), np.empty((count, n, n), a.dtype)
    run_plan(plan_qr(dtype, m, n, count, 2, target=target), [q, r, a], target, 2)
    return q, r


@TARGETS
@DTYPES
def test_qr(dtype, target):
    for m, n, count in [(1, 1, 3), (2, 2, 17), (3, 3, 5), (4, 4, 40), (7, 3, 9), (16, 16, 18)]:
        a = random(dtype, count, m, n)
        q, r = decompose(dtype, a, target)
        bound = 8 * m * EPSILON[dtype]
        wide = q.astype(float)
        assert np.abs(wide.swapaxes(1, 2) @ wide - np.eye(n)).max() <= bound
        assert np.abs(wide @ r - a).max() <= bound * np.abs(a).max() * n
        assert not np.tril(r, -1).any()
        expected = np.linalg.qr(a.astype(float))[1]
        np.testing.assert_allclose(r, expected, 0, bound * np.abs(expected).max() * 8)


@TARGETS
@DTYPES
def test_qr_at_extreme_scales_and_of_triangles(dtype, target):
    edge = {"f32": 120, "f64": 1014}[dtype]
    plain = random(dtype, 1, 6, 4)
    q, r = decompose(dtype, plain, target)
    for exponent in (edge, 14 - edge):
        q2, r2 = decompose(dtype, np.ldexp(plain, exponent), target)
        np.testing.assert_allclose(q2, q, rtol=0, atol=100 * EPSILON[dtype])
        np.testing.assert_allclose(np.ldexp(r2, -exponent), r, rtol=0, atol=500 * EPSILON[dtype])
    a = np.triu(random(dtype, 2, 5, 5))
    a[1] = 0
    q, r = decompose(dtype, a, target)
    np.testing.assert_array_equal(q, np.broadcast_to(np.eye(5), q.shape))
    np.testing.assert_array_equal(r, a)


@TARGETS
@DTYPES
@pytest.mark.parametrize("upper", [False, True])
def test_eigh(dtype, upper, target):
    """What the other triangle holds must not be read: it is NaN."""
    for n, count in [(1, 3), (2, 17), (3, 5), (4, 40), (7, 9), (16, 10)]:
        a = random(dtype, count, n, n)
        a = a + a.swapaxes(1, 2)
        a[0] = np.diag(np.arange(n, 0, -1))
        a[-1] = 0
        if count > 3:
            a[1], a[2] = 1, np.ldexp(a[2], -60)
        check_eigh(dtype, a, upper, target)


def check_eigh(dtype, a, upper, target):
    count, n, _ = a.shape
    kept = np.triu(np.ones((n, n))) if upper else np.tril(np.ones((n, n)))
    given = np.where(kept > 0, a, np.nan).astype(a.dtype)
    values, vectors = np.empty((count, n), a.dtype), np.empty_like(a)
    plan = plan_eigh(dtype, n, count, 2, upper=upper, target=target)
    run_plan(plan, [values, vectors, given], target, 2)
    assert (np.diff(values, axis=-1) >= 0).all()
    bound = 8 * n * EPSILON[dtype] * np.abs(a).max((1, 2), initial=1e-30)[:, None, None] * n
    wide = vectors.astype(float)
    assert np.abs(wide.swapaxes(1, 2) @ wide - np.eye(n)).max() <= 16 * n * EPSILON[dtype]
    assert (np.abs(a @ wide - wide * values[:, None]) <= bound).all()
    expected = np.linalg.eigvalsh(a.astype(float))
    assert (np.abs(values - expected) <= bound[..., 0]).all()


@DTYPES
def test_emits_arm64(dtype):
    """Valid for arm64, calling nothing outside itself."""
    for op in ("qr", "eigh"):
        for n in (0, 3):
            lines = assemble(source(op, dtype, n, NEON).build(), NEON).splitlines()
            calls = [line.split()[1] for line in lines if "\tbl\t" in line]
            assert all(name.startswith(("pack", "unpack")) for name in calls)


@TARGETS
@DTYPES
def test_svd(dtype, target):
    for m, n, count in [(1, 1, 3), (2, 2, 17), (4, 4, 40), (7, 3, 9), (16, 16, 10)]:
        a = random(dtype, count, m, n)
        a[0] = np.ldexp(a[0], 90)
        a[1] = np.ldexp(a[1], -90)
        if n > 1:  # nearly parallel columns
            a[2, :, 1] = a[2, :, 0] * 2 + a[2, :, 1] * 2.0**-16
        s, u, vt = np.empty((count, n), a.dtype), np.empty_like(a), np.empty((count, n, n), a.dtype)
        plan = plan_svd(dtype, m, n, count, 2, vectors=True, target=target)
        run_plan(plan, [s, u, vt, a], target, 2)
        assert (np.diff(s, axis=-1) <= 0).all()
        bound, largest = 16 * m * EPSILON[dtype], np.abs(a).max((1, 2), keepdims=True)
        u, vt = u.astype(float), vt.astype(float)
        for q in (u, vt):
            assert np.abs(q.swapaxes(1, 2) @ q - np.eye(n)).max() <= bound
        assert (np.abs(u * s[:, None] @ vt - a) <= bound * n * largest).all()
        expected = np.linalg.svd(a.astype(float), compute_uv=False)
        assert (np.abs(s - expected) <= bound * n * largest[..., 0]).all()
        values = np.empty_like(s)
        plan = plan_svd(dtype, m, n, count, 1, vectors=False, target=target)
        run_plan(plan, [values, None, None, a], target)
        np.testing.assert_array_equal(values, s)


def test_svd_of_low_rank_ends_with_zeros():
    a = np.zeros((3, 4, 3), np.float64)
    a[1, :, 0] = a[1, :, 2] = 1
    a[2] = np.arange(12).reshape(4, 3)
    s = np.empty((3, 3))
    run_plan(plan_svd("f64", 4, 3, 3, 1, vectors=False), [s, None, None, a], runnable()[0])
    np.testing.assert_allclose(s, np.linalg.svd(a, compute_uv=False), 1e-14, 1e-14)
