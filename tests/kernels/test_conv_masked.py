"""Convolutions that read planes where they lie, with masks for the margins."""

import numpy as np
import pytest

from flambeau.kernels import conv_masked_plan
from flambeau.kernels.conv import plan_conv_backward_data, plan_conv_forward
from flambeau.kernels.target import AVX512, host
from tests.kernels.harness import run_plan
from tests.kernels.samples import draw
from tests.kernels.test_conv import check

pytestmark = pytest.mark.skipif(host() is not AVX512, reason="no masks for single lanes")

# input, filter, stride, padding, dilation, groups
CASES = [
    ((2, 3, 7, 5), (9, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 8, 28, 28), (16, 4, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    ((1, 1, 33, 70), (6, 1, 5, 5), (1, 1), (2, 2), (1, 1), 1),
    ((2, 3, 9, 20), (7, 3, 5, 3), (1, 1), (0, 1), (1, 1), 1),  # rows lost
    ((2, 3, 9, 20), (7, 3, 3, 5), (1, 1), (3, 1), (1, 1), 1),  # columns lost, rows won
    ((1, 4, 12, 13), (5, 4, 3, 3), (1, 1), (2, 2), (2, 2), 1),
    ((1, 2, 3, 3), (4, 2, 3, 3), (1, 1), (4, 1), (1, 1), 1),  # rows that meet nothing
    ((1, 1, 1, 40), (3, 1, 1, 9), (1, 1), (0, 4), (1, 1), 1),
    ((3, 2, 101), (9, 2, 4), (1,), (1,), (1,), 1),
    ((2, 3, 4, 6, 17), (10, 3, 1, 3, 3), (1, 1, 1), (0, 1, 1), (1, 1, 1), 1),
]


@pytest.fixture
def always(monkeypatch):
    """Also where another kernel would take less time."""
    monkeypatch.setattr(conv_masked_plan, "_cost", lambda *_: -1e12)


@pytest.mark.parametrize("dtype", ["f32", "f64", "i32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_cases(always, case, dtype):
    plan = plan_conv_forward(dtype, *case, 2, bias=True)
    assert [p.kernel.symbol for p in plan.phases] == ["planes"]
    assert not plan.workspace
    check(dtype, case, bias=True, relu=True, threads=2)
    check(dtype, case)


def test_planes_in_parts(always, monkeypatch):
    """Several tasks a plane: the same bits from one thread and from three."""
    monkeypatch.setattr(conv_masked_plan, "WORKSPACE", 1 << 12)
    case = CASES[1]
    x, w = draw("f32", case[0], 1), draw("f32", case[1], 2)
    results = []
    for threads in (1, 3):
        plan = plan_conv_forward("f32", *case, threads, bias=False)
        assert plan.phases[0].tasks > case[0][0] * case[-1]
        results.append(np.empty((2, 16, 28, 28), np.float32))
        run_plan(plan, [results[-1], x, w, None], host(), threads)
    np.testing.assert_array_equal(*results)
    check("f32", case, threads=3)


def test_gradient(always):
    """The gradient of a convolution without a stride is one too."""
    for case in CASES[:2]:
        plan = plan_conv_backward_data("f32", *case, 1)
        assert plan.phases[0].kernel.key.startswith("conv_masked")


def test_margins_do_not_mix(always):
    """What is not finite stays in its windows: a mask, not a product with zero."""
    case = ((1, 1, 6, 20), (1, 1, 3, 3), (1, 1), (1, 1), (1, 1), 1)
    x, w = draw("f32", case[0], 1), draw("f32", case[1], 2)
    x[0, 0, 2, 19] = np.inf
    y = np.empty(case[0], np.float32)
    run_plan(plan_conv_forward("f32", *case, 1, bias=False), [y, x, w, None], host())
    met = np.zeros((6, 20), bool)
    met[1:4, 18:] = True
    np.testing.assert_array_equal(np.isfinite(y[0, 0]), ~met)


def test_groups_of_few_channels_are_not_copied():
    """ResNeXt's layers."""
    case = ((4, 256, 28, 28), (256, 8, 3, 3), (1, 1), (1, 1), (1, 1), 32)
    assert not plan_conv_forward("f32", *case, 2, bias=False).workspace
