"""LU and Cholesky factors and solutions: matrices in lanes, by rows; odd sizes, every target."""

import numpy as np
import pytest

from flambeau.kernels import factor_rows, lane_factors
from flambeau.kernels.lane_factors import ADJOINT, IDENTITY, UNIT, UPPER, plan_lanes
from flambeau.kernels.target import NEON
from tests.kernels.harness import assemble, run_plan, runnable

NUMPY = {"f32": np.float32, "f64": np.float64}
EPSILON = {"f32": 2.0**-23, "f64": 2.0**-52}
TARGETS = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
LANE_CASES = [(1, 7), (2, 16), (3, 37), (4, 5), (5, 17), (16, 9)]
ROW_CASES = [(1, 1), (5, 9), (9, 5), (16, 16), (17, 17), (33, 70), (70, 33), (100, 100)]


def random(dtype, *shape):
    return np.random.default_rng(shape[-1]).standard_normal(shape).astype(NUMPY[dtype])


def eliminate(a):
    """(P, the rows in the order of the pivots; L; U) of one matrix in double precision."""
    lu, k = a.astype(np.float64), min(a.shape)
    pivots = np.zeros(k, int)
    for j in range(k):
        p = j + int(np.abs(lu[j:, j]).argmax())
        pivots[j] = p + 1
        lu[[j, p]] = lu[[p, j]]
        lu[j + 1 :, j] /= lu[j, j]
        lu[j + 1 :, j + 1 :] -= np.outer(lu[j + 1 :, j], lu[j, j + 1 :])
    return pivots


def check_factors(a, lu, pivots, parity, epsilon):
    """P A = L U within a small multiple of eps, |L| <= 1, the pivots that a plain loop takes."""
    m, n = a.shape
    k = min(m, n)
    lower, upper = (
        np.tril(lu[:, :k], -1).astype(float) + np.eye(m, k),
        np.triu(lu[:k]).astype(float),
    )
    rows, swaps = a.astype(float), 0
    for j, p in enumerate(pivots - 1):
        rows[[j, p]] = rows[[p, j]]
        swaps += p != j
    bound = 4 * k * epsilon * (np.abs(lower) @ np.abs(upper)).max(initial=1e-30)
    assert np.abs(rows - lower @ upper).max(initial=0) <= bound
    assert np.abs(lower).max() <= 1
    assert parity == (-1) ** swaps
    np.testing.assert_array_equal(pivots, eliminate(a))


@TARGETS
@pytest.mark.parametrize("dtype", NUMPY)
def test_lu_in_lanes(dtype, target):
    for n, count in LANE_CASES:
        a = random(dtype, count, n, n)
        lu, pivots = np.empty_like(a), np.empty((count, n), np.int32)
        info, parity = np.empty(count, np.int32), np.empty(count, NUMPY[dtype])
        run_plan(
            plan_lanes("lu", dtype, n, count, 1, target=target),
            [lu, a, pivots, info, parity],
            target,
        )
        assert not info.any()
        for i in range(count):
            check_factors(a[i], lu[i], pivots[i], parity[i], EPSILON[dtype])
        for adjoint in (0, ADJOINT):
            b = random(dtype, count, n, 3)
            x = np.empty_like(b)
            plan = plan_lanes("solve", dtype, n, count, 1, columns=3, flags=adjoint, target=target)
            run_plan(plan, [x, lu, pivots, b], target)
            check_solution(a.swapaxes(1, 2) if adjoint else a, x, b, EPSILON[dtype])
        x = np.empty_like(a)
        plan = plan_lanes("solve", dtype, n, count, 1, columns=n, flags=IDENTITY, target=target)
        run_plan(plan, [x, lu, pivots, None], target)
        check_solution(a, x, np.broadcast_to(np.eye(n), a.shape), EPSILON[dtype])


def check_solution(a, x, b, epsilon):
    """The residual of a backward stable solver."""
    a, x = a.astype(float), x.astype(float)
    size = np.abs(a).sum(-1).max(-1)[:, None, None] * np.abs(x).max((-1, -2), keepdims=True)
    assert (np.abs(a @ x - b) <= 16 * a.shape[-1] * epsilon * size + 1e-30).all()


@TARGETS
@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("upper", [False, True])
def test_cholesky(dtype, upper, target):
    """What the other triangle holds must not be read: it is NaN."""
    for n, count in [*LANE_CASES, (17, 2), (64, 2), (101, 1)]:
        a = random(dtype, count, n, n)
        a = (a @ a.swapaxes(1, 2) + np.eye(n)).astype(NUMPY[dtype])
        kept = np.triu(np.ones((n, n))) if upper else np.tril(np.ones((n, n)))
        given, factor = np.where(kept > 0, a, np.nan), np.empty_like(a)
        info = np.zeros(count, np.int32)
        if n <= 16:
            flags = UPPER if upper else 0
            plan = plan_lanes("cholesky", dtype, n, count, 1, flags=flags, target=target)
        else:
            plan = factor_rows.plan_cholesky(
                dtype, n, count, n, n * n, 1, upper=upper, target=target
            )
        run_plan(plan, [factor, given.astype(NUMPY[dtype]), info], target)
        assert not info.any()
        assert not factor[:, kept == 0].any()
        lower = factor.astype(float).swapaxes(1, 2) if upper else factor.astype(float)
        error = np.abs(lower @ lower.swapaxes(1, 2) - a).max((1, 2))
        assert (error <= 4 * n * EPSILON[dtype] * np.abs(a).max((1, 2))).all()


@TARGETS
@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("unit", [0, UNIT])
@pytest.mark.parametrize("upper", [0, UPPER])
def test_triangles_in_lanes(dtype, upper, unit, target):
    for n, count in LANE_CASES:
        a = random(dtype, count, n, n) * 0.3 + 2 * np.eye(n, dtype=NUMPY[dtype])
        triangle = np.triu(a) if upper else np.tril(a)
        given = np.where(triangle != 0, a, np.nan).astype(NUMPY[dtype])
        if unit:
            triangle[:, range(n), range(n)] = 1
        b = random(dtype, count, n, 2)
        x = np.empty_like(b)
        plan = plan_lanes(
            "triangle", dtype, n, count, 1, columns=2, flags=upper | unit, target=target
        )
        run_plan(plan, [x, given, b], target)
        check_solution(triangle, x, b, EPSILON[dtype])


@TARGETS
@pytest.mark.parametrize("dtype", NUMPY)
def test_lu_by_rows(dtype, target):
    for m, n in ROW_CASES:
        a = random(dtype, 2, m, n)
        k = min(m, n)
        lu, pivots, info = a.copy(), np.empty((2, k), np.int32), np.zeros(2, np.int32)
        parity = np.ones(2, NUMPY[dtype])
        plan = factor_rows.plan_lu(dtype, m, n, 2, n, m * n, k, 2, target=target)
        run_plan(plan, [lu, pivots, info, parity], target, 2)
        assert not info.any()
        for i in range(2):
            check_factors(a[i], lu[i], pivots[i], parity[i], EPSILON[dtype])


@TARGETS
def test_rows_interchange_forth_and_back(target):
    a, pivots = random("f32", 2, 9, 70), np.array([[3, 9, 3, 4]] * 2, np.int32)
    x = a.copy()
    plan = factor_rows.plan_interchange("f32", 70, 2, 70, 630, 4, 4, 1, target=target)
    run_plan(plan, [x, pivots], target)
    order = [2, 8, 0, 3, 4, 5, 6, 7, 1]
    np.testing.assert_array_equal(x, a[:, order])
    plan = factor_rows.plan_interchange("f32", 70, 2, 70, 630, 4, 4, 1, reverse=True, target=target)
    run_plan(plan, [x, pivots], target)
    np.testing.assert_array_equal(x, a)


def test_zero_pivots_and_minors_are_noted():
    """In info, from 1; the first of each matrix."""
    a = np.array([[[1, 2], [2, 4]], [[0, 0], [0, 0]], [[1, 0], [0, 1]]], np.float32)
    lu, pivots = np.empty_like(a), np.empty((3, 2), np.int32)
    info, parity = np.empty(3, np.int32), np.empty(3, np.float32)
    run_plan(plan_lanes("lu", "f32", 2, 3, 1), [lu, a, pivots, info, parity], runnable()[0])
    np.testing.assert_array_equal(info, [2, 1, 0])
    by_rows = np.zeros(3, np.int32)
    plan = factor_rows.plan_lu("f32", 2, 2, 3, 2, 4, 2, 1)
    run_plan(plan, [a.copy(), pivots, by_rows, np.ones(3, np.float32)], runnable()[0])
    np.testing.assert_array_equal(by_rows, info)
    s = np.array([[[1, 2], [2, 1]], [[-1, 0], [0, -1]], [[1, 0], [0, np.nan]]], np.float32)
    run_plan(plan_lanes("cholesky", "f32", 2, 3, 1), [lu, s, info], runnable()[0])
    np.testing.assert_array_equal(info, [2, 1, 2])


@pytest.mark.parametrize("dtype", NUMPY)
def test_emits_arm64(dtype):
    """Valid for arm64, calling nothing outside itself."""
    sources = [lane_factors.source(op, dtype, n, NEON) for op in ("lu", "solve", "triangle",
               "cholesky") for n in (0, 3)]  # fmt: skip
    sources += [factor_rows.lu_source(dtype, NEON), factor_rows.cholesky_source(dtype, NEON),
                factor_rows.swap_source(dtype, NEON)]  # fmt: skip
    for source in sources:
        lines = assemble(source.build(), NEON).splitlines()
        calls = [line.split()[1] for line in lines if "\tbl\t" in line]
        assert all(name.startswith(("tile", "pack", "unpack")) for name in calls), calls
