"""Triangular systems against NumPy: both triangles, every layout, odd sizes."""

import numpy as np
import pytest

from flambeau.kernels import triangular_vector
from flambeau.kernels.target import NEON, host
from flambeau.kernels.triangular import plan_triangular, source
from flambeau.kernels.triangular_vector import plan_vectors
from tests.kernels.harness import assemble, run_plan, runnable

HOST = host()
NUMPY = {"f32": np.float32, "f64": np.float64}
SIZES = [(1, 1, 1), (7, 1, 3), (8, 16, 2), (33, 5, 3), (50, 70, 1), (129, 49, 2), (20, 0, 1)]


def check(dtype, n, columns, count, *, upper, unit, a_turned=False, b_turned=False, threads=1,
          target=HOST):  # fmt: skip
    """What the other triangle holds must not be read: it is NaN."""
    rng = np.random.default_rng(n)
    whole = rng.standard_normal((count, n, n)) * 0.3 + 4 * np.eye(n)
    triangle = np.triu(whole) if upper else np.tril(whole)
    a = np.where(triangle != 0, whole, np.nan).astype(NUMPY[dtype])
    if unit:
        a[:, range(n), range(n)] = np.nan
        triangle[:, range(n), range(n)] = 1
        triangle = np.where(np.eye(n) > 0, 1, triangle * 0.2)
        a = np.where(np.eye(n) > 0, np.nan, a * NUMPY[dtype](0.2))
    b = rng.standard_normal((count, n, columns)).astype(NUMPY[dtype])
    x = np.empty_like(b)
    stored, strides = [], []
    for values, turned in ((a, a_turned), (b, b_turned)):
        kept = np.ascontiguousarray(values.transpose(0, 2, 1) if turned else values)
        steps = [step // kept.itemsize for step in kept.strides]
        stored.append(kept)
        strides.append((steps[0], steps[2], steps[1]) if turned else tuple(steps))
    expected = np.linalg.solve(triangle, b.astype(np.float64))
    tolerance = (1e-5 if dtype == "f32" else 1e-12) * np.abs(expected).max(initial=1)
    for make in (plan_triangular, plan_vectors) if x.size else (plan_triangular,):
        x[...] = np.nan
        plan = make(
            dtype, n, columns, count, *strides, threads, upper=upper, unit=unit, target=target
        )
        run_plan(plan, [x, *stored], target, threads)
        np.testing.assert_allclose(
            x, expected, rtol=0, atol=tolerance * np.abs(expected).max(initial=1)
        )


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_every_layout(dtype, target, upper, unit):
    for size in SIZES:
        for turned in range(4):
            layout = {"a_turned": bool(turned & 1), "b_turned": bool(turned & 2)}
            check(dtype, *size, upper=upper, unit=unit, target=target, **layout)
        check(dtype, *size, upper=upper, unit=unit, target=target, threads=3)


def test_a_zero_pivot_gives_infinity_and_nan():
    """As LAPACK does, and only from its row on."""
    a = np.array([[1, 0, 0], [2, 0, 0], [1, 1, 1]], np.float32)
    b, x = np.ones((3, 2), np.float32), np.empty((3, 2), np.float32)
    for make in (plan_triangular, plan_vectors):
        plan = make("f32", 3, 2, 1, (9, 3, 1), (6, 2, 1), 1, upper=False, unit=False)
        run_plan(plan, [x, a, b], HOST)
        np.testing.assert_array_equal(x[:, 0], [1, -np.inf, np.inf])


@pytest.mark.parametrize("dtype", NUMPY)
def test_emits_arm64(dtype):
    """Valid for arm64, calling nothing outside itself."""
    for kernel in (source(dtype, NEON), triangular_vector.source(dtype, NEON)):
        lines = assemble(kernel.build(), NEON).splitlines()
        calls = [line.split()[1] for line in lines if "\tbl\t" in line]
        assert all(name.startswith(("tile", "pack")) for name in calls)
