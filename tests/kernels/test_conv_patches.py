"""Convolutions of few pixels with many filters, that are dot products of patches and filters."""

import numpy as np
import pytest

from flambeau.kernels import conv_patches_plan
from flambeau.kernels.conv import plan_conv_forward
from flambeau.kernels.element import Element
from flambeau.kernels.target import host
from tests.kernels import reference
from tests.kernels.harness import run_plan
from tests.kernels.samples import assert_near, draw, wide

HOST = host()
pytestmark = pytest.mark.skipif(not Element("f32", HOST).gathers, reason="no gathers")

# input, filter, stride, padding, dilation, groups
CASES = [
    ((1, 33, 4, 4), (40, 33, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 37, 7, 7), (21, 37, 1, 1), (1, 1), (0, 0), (1, 1), 1),  # in place
    ((3, 70, 7, 5), (9, 70, 1, 1), (2, 2), (0, 0), (1, 1), 1),  # in place, with a stride
    ((2, 5, 9, 9), (50, 5, 3, 2), (2, 3), (1, 2), (2, 1), 1),
    ((1, 2, 4, 4), (1, 2, 4, 4), (1, 1), (0, 0), (1, 1), 1),  # one pixel, one filter
    ((2, 34, 3, 3), (26, 17, 3, 3), (1, 1), (2, 2), (1, 1), 2),
    ((1, 600, 2, 2), (7, 600, 2, 2), (1, 1), (0, 0), (1, 1), 1),  # several runs of steps
    ((2, 40, 19), (30, 40, 5), (2,), (2,), (1,), 1),
    ((2, 3, 4, 5, 6), (14, 3, 3, 3, 3), (1, 2, 1), (1, 1, 0), (1, 1, 1), 1),
    ((1, 36, 3, 4, 4), (14, 36, 2, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
]


@pytest.fixture
def always(monkeypatch):
    """Also where another kernel would take less time."""
    monkeypatch.setattr(conv_patches_plan, "_cost", lambda *_: -1e12)


def check(dtype, case, threads, *, bias=True, relu=False):
    """Compare with the definition; the result's bits must not depend on the threads."""
    x_shape, w_shape, *options, groups = case
    x, w, offset = (draw(dtype, s, k) for k, s in enumerate((x_shape, w_shape, w_shape[:1])))
    expected = reference.conv_forward(wide(dtype, x), wide(dtype, w), *options, groups)
    if bias:
        expected = expected + wide(dtype, offset).reshape(-1, *(1,) * (len(x_shape) - 2))
    expected = np.maximum(expected, 0) if relu else expected
    plan = plan_conv_forward(
        dtype, *case, threads, bias=bias, activation="relu" if relu else None, target=HOST
    )
    assert [p.kernel.symbol for p in plan.phases] == ["patches", "dots"]
    y = draw(dtype, expected.shape, 5)
    run_plan(plan, [y, x, w, offset if bias else None], HOST, threads)
    assert_near(dtype, y, expected)
    return y


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("case", CASES)
def test_cases(always, case, dtype):
    one = check(dtype, case, 1, relu=True)
    np.testing.assert_array_equal(one, check(dtype, case, 3, relu=True))
    check(dtype, case, 2, bias=False)


def test_not_finite(always):
    """An infinity stays in the outputs that meet it, also behind the last step of a filter."""
    case = ((1, 5, 5, 5), (8, 5, 3, 3), (1, 1), (0, 0), (1, 1), 1)
    x, w = draw("f32", case[0], 1), draw("f32", case[1], 2)
    x[0, 0, 0, 0] = w[3, 0, 0, 0] = np.inf
    y = np.empty((1, 8, 3, 3), np.float32)
    run_plan(plan_conv_forward("f32", *case, 1, bias=False), [y, x, w, None], HOST)
    finite = np.isfinite(y[0])
    assert not finite[3].any()
    assert not finite[:, 0, 0].any()
    assert finite[[0, 1, 2, 4, 5, 6, 7]].reshape(7, 9)[:, 1:].all()


def test_many_filters_on_few_pixels():
    """The last layers of residual networks at batch one; their first layers are of another kind."""
    last = ((1, 512, 4, 4), (512, 512, 3, 3), (1, 1), (1, 1), (1, 1), 1)
    assert plan_conv_forward("f32", *last, 2, bias=False).phases[0].kernel.symbol == "patches"
    first = ((1, 3, 224, 224), (64, 3, 7, 7), (2, 2), (3, 3), (1, 1), 1)
    assert plan_conv_forward("f32", *first, 2, bias=False).phases[0].kernel.symbol != "patches"
