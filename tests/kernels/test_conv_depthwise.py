"""Convolution with a filter for each channel: strides, paddings, dilations, ragged sizes."""

import numpy as np
import pytest

from flambeau.kernels.conv import plan_conv_backward_data, plan_conv_forward
from flambeau.kernels.conv_weight_plan import plan_conv_backward_weight
from flambeau.kernels.target import host
from tests.kernels.harness import run_plan, runnable
from tests.kernels.samples import draw
from tests.kernels.test_conv import check

# input, filter, stride, padding, dilation, groups
CASES = [
    ((2, 5, 9, 20), (5, 1, 3, 3), (1, 1), (1, 1), (1, 1), 5),
    ((2, 5, 9, 20), (5, 1, 3, 3), (2, 2), (1, 1), (1, 1), 5),
    ((2, 5, 10, 37), (5, 1, 3, 3), (2, 2), (0, 1), (1, 1), 5),
    ((2, 5, 10, 37), (5, 1, 5, 5), (2, 2), (2, 2), (1, 1), 5),
    ((1, 3, 10, 37), (3, 1, 5, 5), (1, 1), (2, 2), (1, 1), 3),
    ((1, 3, 12, 40), (3, 1, 3, 3), (1, 1), (2, 2), (2, 2), 3),
    ((1, 3, 12, 40), (3, 1, 3, 3), (2, 2), (2, 2), (2, 2), 3),
    ((2, 3, 7, 7), (3, 1, 7, 7), (1, 1), (3, 3), (1, 1), 3),
    ((1, 3, 3, 100), (3, 1, 1, 3), (1, 2), (0, 1), (1, 1), 3),
    ((2, 3, 100), (3, 1, 5), (1,), (4,), (1,), 3),
    ((2, 3, 101), (3, 1, 5), (2,), (2,), (1,), 3),
    ((2, 3, 9, 9), (3, 1, 2, 2), (2, 2), (0, 0), (1, 1), 3),
    ((2, 3, 9, 9), (3, 1, 4, 4), (2, 2), (1, 1), (1, 1), 3),
    ((1, 3, 5, 5), (3, 1, 3, 3), (1, 1), (5, 5), (1, 1), 3),  # padding beyond the filter
    ((1, 3, 9, 9), (3, 1, 3, 3), (3, 3), (1, 1), (1, 1), 3),  # left to the general kernels
    ((1, 3, 20, 20), (3, 1, 9, 9), (1, 1), (4, 4), (1, 1), 3),
    ((1, 2, 51, 101), (2, 1, 3, 3), (1, 1), (1, 1), (1, 1), 2),  # beyond a first-level cache
    ((1, 2, 102, 70), (2, 1, 5, 5), (2, 2), (2, 2), (1, 1), 2),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cases(case):
    check("f32", case, bias=True, threads=2)


@pytest.mark.parametrize("dtype", ["f64", "f16", "bf16"])
def test_types(dtype):
    for case in CASES[:4]:
        check(dtype, case, bias=True, relu=True)


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
def test_targets(target):
    for case in CASES[:4]:
        check("f32", case, target=target)


def test_one_phase_without_workspace():
    """A strided depthwise convolution and its gradients copy nothing."""
    plans = [
        plan_conv_forward("f32", *CASES[1], 1, bias=False),
        plan_conv_backward_data("f32", *CASES[1], 1),
        plan_conv_backward_weight("f32", *CASES[1], 1),
    ]
    if host().masked:
        assert [(len(plan.phases), plan.workspace) for plan in plans] == [(1, 0)] * 3


def test_infinity_stays_in_its_windows():
    case = CASES[0]
    x = draw("f32", case[0], 1)
    x[0, 2, 4, 10] = np.inf
    y = np.zeros_like(x)
    w = np.ones(case[1], np.float32)
    run_plan(plan_conv_forward("f32", *case, 1, bias=False), [y, x, w, None], host())
    hit = np.zeros(x.shape, bool)
    hit[0, 2, 3:6, 9:12] = True
    np.testing.assert_array_equal(np.isinf(y), hit)
