"""Maps along the axes of planes against dense matrices, and their transposes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.kernels.axis_maps import AxisMap
from flambeau.kernels.mix import plan_mix
from flambeau.kernels.target import host
from tests.kernels.harness import run_plan, runnable
from tests.kernels.samples import NUMPY, assert_near, draw, wide


def matrix(axis: AxisMap) -> np.ndarray:
    m = np.zeros((axis.outputs, axis.inputs))
    for i, row in enumerate(axis.rows()):
        for source, weight in row:
            m[i, source] += weight
    return m


@st.composite
def maps(draw_):
    kind = draw_(st.sampled_from(["same", "nearest", "linear", "cubic", "antialias", "adaptive"]))
    size, out = draw_(st.integers(1, 90)), draw_(st.integers(1, 90))
    options = {
        "nearest": (None, draw_(st.booleans())),
        "linear": (None, draw_(st.booleans())),
        "cubic": (None, draw_(st.booleans())),
        "antialias": (None, False, draw_(st.booleans())),
    }
    out = size if kind == "same" else out
    return AxisMap(kind, size, out, options.get(kind, ()), draw_(st.booleans()))


def apply(axes, x):
    for k, axis in enumerate(axes):
        x = np.moveaxis(np.tensordot(matrix(axis), x, (1, k + 1)), 0, k + 1)
    return x


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
@given(
    axes=st.lists(maps(), min_size=1, max_size=2),
    dtype=st.sampled_from(["f32", "f64", "f16", "bf16"]),
    threads=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_any_maps(target, axes, dtype, threads):
    x = draw(dtype, (3, *(axis.inputs for axis in axes)), 1)
    y = np.zeros((3, *(axis.outputs for axis in axes)), NUMPY[dtype])
    run_plan(plan_mix(dtype, 3, axes, threads, target), [y, x], target, threads)
    assert_near(dtype, y, apply(axes, wide(dtype, x)))


def test_three_axes():
    axes = [AxisMap("linear", 4, 7, (None, True)), AxisMap("adaptive", 9, 4), AxisMap("same", 5, 5)]
    x = draw("f32", (2, 4, 9, 5), 1)
    y = np.zeros((2, 7, 4, 5), np.float32)
    run_plan(plan_mix("f32", 2, axes, 2), [y, x], host(), 2)
    assert_near("f32", y, apply(axes, x.astype(np.float64)))


@given(axis=maps())
def test_flip_transposes(axis):
    np.testing.assert_allclose(matrix(axis.flip()), matrix(axis).T)


def test_nearest_copies_what_is_not_finite():
    """No output depends on an input that its row does not name."""
    x = np.array([[1, np.inf, -2, np.nan, 5]], np.float32)
    y = np.zeros((1, 10), np.float32)
    run_plan(plan_mix("f32", 1, [AxisMap("nearest", 5, 10, (None, False))], 1), [y, x], host())
    np.testing.assert_array_equal(y, np.repeat(x, 2, axis=1))
    back = np.zeros((1, 5), np.float32)
    flipped = AxisMap("nearest", 5, 10, (None, False), flipped=True)
    run_plan(plan_mix("f32", 1, [flipped], 1), [back, y], host())
    np.testing.assert_array_equal(back, x + x)
