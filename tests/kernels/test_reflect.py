"""QR by reflections: orthogonality, the product, signs, odd sizes, extreme scales, every target."""

import numpy as np
import pytest

from flambeau.kernels.reflect import FACTOR, FORM, RAW, VECTORS, plan_reflections, source
from flambeau.kernels.target import NEON
from tests.kernels.harness import assemble, run_plan, runnable

NUMPY = {"f32": np.float32, "f64": np.float64}
EPSILON = {"f32": 2.0**-23, "f64": 2.0**-52}
SIZES = [(1, 1), (1, 4), (4, 1), (3, 3), (7, 4), (4, 7), (17, 16), (16, 33), (70, 33), (64, 64)]
TARGETS = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)


def random(dtype, *shape):
    return np.random.default_rng(shape[-1]).standard_normal(shape).astype(NUMPY[dtype])


def decompose(dtype, a, complete, target, threads=1):
    count, m, n = a.shape
    k = min(m, n)
    q_columns = m if complete else k
    q, r = np.empty((count, m, q_columns), a.dtype), np.empty((count, q_columns, n), a.dtype)
    tau = np.empty((count, k), a.dtype)
    plan = plan_reflections(
        dtype, m, n, count, threads, flags=FACTOR | FORM, q=q_columns, target=target
    )
    run_plan(plan, [q, r, a, tau, None], target, threads)
    return q, r, tau


@TARGETS
@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("complete", [False, True])
def test_factors(dtype, complete, target):
    for m, n in SIZES:
        a = random(dtype, 3, m, n)
        q, r, _ = decompose(dtype, a, complete, target, 2)
        bound = 8 * max(m, n) * EPSILON[dtype]
        wide = q.astype(float)
        assert np.abs(wide.swapaxes(1, 2) @ wide - np.eye(q.shape[2])).max() <= bound
        assert np.abs(wide @ r - a).max() <= bound * np.abs(a).max() * n
        assert not np.tril(r, -1).any()
        expected = np.linalg.qr(a.astype(float))[1]
        np.testing.assert_array_equal(
            np.sign(np.diagonal(r, 0, 1, 2)), np.sign(np.diagonal(expected, 0, 1, 2))
        )


@TARGETS
@pytest.mark.parametrize("dtype", NUMPY)
def test_raw_vectors_form_q_again(dtype, target):
    for m, n in [(5, 3), (33, 20), (16, 16)]:
        a = random(dtype, 2, m, n)
        raw, tau, v = np.empty_like(a), np.empty((2, n), a.dtype), np.empty_like(a)
        plan = plan_reflections(dtype, m, n, 2, 1, flags=FACTOR | RAW | VECTORS, target=target)
        run_plan(plan, [None, raw, a, tau, v], target)
        q = np.empty_like(a)
        run_plan(
            plan_reflections(dtype, m, n, 2, 1, flags=FORM, q=n, target=target),
            [q, None, raw, tau, None],
            target,
        )
        np.testing.assert_array_equal(q, decompose(dtype, a, False, target)[0])
        np.testing.assert_array_equal(np.tril(v, -1), np.tril(raw, -1))
        np.testing.assert_array_equal(np.diagonal(v, 0, 1, 2), tau != 0)
        assert not np.triu(v, 1).any()


@TARGETS
@pytest.mark.parametrize("dtype", NUMPY)
def test_extreme_scales(dtype, target):
    """Squares that would overflow or vanish."""
    edge = {"f32": 126, "f64": 1020}[dtype]
    plain = random(dtype, 1, 9, 6)
    q, r, _ = decompose(dtype, plain, False, target)
    for exponent in (edge - 6, 20 - edge):
        scaled = np.ldexp(plain, exponent)
        q2, r2, _ = decompose(dtype, scaled, False, target)
        np.testing.assert_allclose(q2, q, rtol=0, atol=100 * EPSILON[dtype])
        np.testing.assert_allclose(np.ldexp(r2, -exponent), r, rtol=0, atol=500 * EPSILON[dtype])


@TARGETS
def test_zero_columns_and_triangles_reflect_nothing(target):
    a = np.triu(random("f32", 1, 5, 5))
    q, r, tau = decompose("f32", a, False, target)
    np.testing.assert_array_equal(q[0], np.eye(5))
    np.testing.assert_array_equal(r, a)
    assert not tau.any()


@TARGETS
def test_nan_spreads(target):
    a = random("f32", 1, 6, 4)
    a[0, 3, 1] = np.nan
    q, r, _ = decompose("f32", a, False, target)
    assert np.isnan(r[0, 1, 1])
    assert np.isnan(q[0]).any()


@pytest.mark.parametrize("dtype", NUMPY)
def test_emits_arm64(dtype):
    """Valid for arm64, calling nothing outside itself."""
    lines = assemble(source(dtype, NEON).build(), NEON).splitlines()
    calls = [line.split()[1] for line in lines if "\tbl\t" in line]
    assert all(name.startswith(("apply", "pack", "unpack")) for name in calls)
