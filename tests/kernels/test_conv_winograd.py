"""Convolution by Winograd's tiles: every cut into tasks, what is not finite, and rounding."""

import numpy as np
import pytest

from flambeau.kernels import (
    conv,
    conv_weight_plan,
    conv_winograd,
    conv_winograd_plan,
    conv_winograd_weight_plan,
)
from flambeau.kernels.target import AVX512, NEON, host
from tests.kernels import reference
from tests.kernels.harness import assemble, run_plan, runnable
from tests.kernels.samples import assert_near, draw, wide

# input, filter, padding, dilation, groups
CASES = [
    ((2, 16, 8, 8), (16, 16, 3, 3), (1, 1), (1, 1), 1),
    ((3, 20, 7, 7), (40, 20, 3, 3), (1, 1), (1, 1), 1),
    ((3, 5, 13, 29), (23, 5, 3, 3), (0, 2), (1, 1), 1),
    ((1, 16, 12, 12), (16, 16, 3, 3), (3, 3), (1, 1), 1),
    ((1, 4, 3, 3), (4, 4, 3, 3), (0, 0), (1, 1), 1),
    ((1, 16, 28, 28), (24, 16, 3, 3), (2, 2), (2, 2), 1),
    ((1, 16, 20, 28), (24, 16, 3, 3), (2, 2), (3, 2), 1),
    ((1, 16, 20, 20), (32, 8, 3, 3), (1, 1), (1, 1), 2),
    ((1, 8, 6, 300), (8, 8, 3, 3), (1, 1), (1, 1), 1),
    ((1, 8, 6, 50), (8, 8, 1, 3), (0, 1), (1, 1), 1),
    ((2, 16, 1000), (24, 16, 3), (1,), (1,), 1),
    ((2, 16, 100), (24, 16, 3), (4,), (4,), 1),
    ((1, 16, 6, 9, 10), (24, 16, 3, 3, 3), (1, 1, 1), (1, 1, 1), 1),
    ((1, 8, 6, 9, 10), (8, 8, 2, 3, 3), (0, 1, 1), (2, 1, 1), 1),
]


@pytest.fixture
def always(monkeypatch):
    """Tiles wherever the kernel serves, whatever the estimate."""
    monkeypatch.setattr(conv, "WORTHWHILE", 0.0)
    monkeypatch.setattr(conv_weight_plan, "WORTHWHILE", 0.0)


@pytest.fixture
def kept(always, monkeypatch):
    """A phase of its own makes the filters' factors."""
    monkeypatch.setattr(conv_winograd_plan, "_making_cost", lambda *_: float("inf"))


@pytest.fixture
def made(always, monkeypatch):
    """Each task makes the filters' factors that it needs, of a block of channels at a time."""
    monkeypatch.setattr(conv_winograd_plan, "_filter_cost", lambda *_: float("inf"))
    monkeypatch.setattr(conv_winograd_plan, "PANEL", 1)


def settings_of(case):
    x_shape, w_shape, padding, dilation, groups = case
    return x_shape, w_shape, (1,) * (len(x_shape) - 2), padding, dilation, groups


def check(dtype, case, *, bias=True, relu=False, threads=1, target=None):
    target = target or host()
    x_shape, w_shape, *options = arguments = settings_of(case)
    x, w, offset = draw(dtype, x_shape, 1), draw(dtype, w_shape, 2), draw(dtype, w_shape[:1], 3)
    expected = reference.conv_forward(wide(dtype, x), wide(dtype, w), *options)
    dy, y, dx = (
        draw(dtype, expected.shape, 4),
        draw(dtype, expected.shape, 5),
        draw(dtype, x_shape, 6),
    )
    gradients = reference.conv_backward(wide(dtype, x), wide(dtype, w), wide(dtype, dy), *options)
    if bias:
        expected = expected + wide(dtype, offset).reshape(-1, *(1,) * (len(x_shape) - 2))
    activation = "relu" if relu else None
    expected = np.maximum(expected, 0) if relu else expected
    plan = conv.plan_conv_forward(
        dtype, *arguments, threads, bias=bias, activation=activation, target=target
    )
    assert plan.otherwise
    run_plan(plan, [y, x, w, offset], target, threads)
    assert_near(dtype, y, expected)
    plan = conv.plan_conv_backward_data(dtype, *arguments, threads, target=target)
    assert plan.otherwise
    run_plan(plan, [dx, dy, w, None], target, threads)
    assert_near(dtype, dx, gradients[0])
    plan = conv_weight_plan.plan_conv_backward_weight(dtype, *arguments, threads, target=target)
    assert plan.otherwise
    dw = draw(dtype, w_shape, 7)
    run_plan(plan, [dw, x, dy], target, threads)
    assert_near(dtype, dw, gradients[1])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cases(kept, case):
    check("f32", case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_factors_made_by_tasks(made, case):
    check("f32", case, threads=2)


@pytest.mark.parametrize("dtype", ["f64", "bf16"])
def test_factors_made_by_tasks_of_other_types(made, dtype):
    check(dtype, CASES[1], threads=3)
    check(dtype, CASES[12])


def test_same_bits_wherever_factors_are_made(always, monkeypatch):
    case = ((3, 40, 7, 7), (72, 40, 3, 3), (1, 1), (1, 1), 1)
    x, w, results = draw("f32", case[0], 1), draw("f32", case[1], 2), []
    for cost, panel in (("_making_cost", 1), ("_filter_cost", 1), ("_filter_cost", 1 << 20)):
        with monkeypatch.context() as patch:
            patch.setattr(conv_winograd_plan, cost, lambda *_: float("inf"))
            patch.setattr(conv_winograd_plan, "PANEL", panel)
            plan = conv.plan_conv_forward("f32", *settings_of(case), 2, bias=False)
        y = np.zeros((3, 72, 7, 7), np.float32)
        run_plan(plan, [y, x, w, None], host(), 2)
        results.append((len(plan.phases), y.tobytes()))
    assert [phases for phases, _ in results] == [2, 1, 1]
    assert len({y for _, y in results}) == 1


@pytest.mark.parametrize("dtype", ["f64", "f16", "bf16"])
def test_types(always, dtype):
    for case in CASES[:3]:
        check(dtype, case, relu=True, threads=2)


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
def test_targets(always, target):
    if conv_winograd_plan.serves(conv_winograd_plan.Element("f32", target)):
        check("f32", CASES[1], bias=False, threads=2, target=target)
        check("f16", CASES[2], target=target)


def test_neon_assembles():
    assert "fmla" in assemble(conv_winograd.sources("f32", NEON, 3)[0].build(), NEON)


def test_filters_in_slices(kept, monkeypatch):
    monkeypatch.setattr(conv_winograd_plan, "FACTORS", 1 << 16)
    case = ((5, 40, 6, 6), (100, 40, 3, 3), (1, 1), (1, 1), 1)
    plan = conv.plan_conv_forward("f32", *settings_of(case), 2, bias=False)
    assert len(plan.phases) > 4
    check("f32", case, threads=2)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_keep_to_factors_of_their_own(kept, monkeypatch, threads):
    chosen, choose = [], conv_winograd_plan.choose
    monkeypatch.setattr(
        conv_winograd_plan, "choose", lambda c: chosen.append(choose(c)) or chosen[-1]
    )
    # Factors of 512 filters of 512 channels: far more than a thread's own cache holds.
    case = (8, 512, 7, 7), (512, 512, 3, 3), (1, 1), (1, 1), 1
    conv.plan_conv_forward("f32", *settings_of(case), threads, bias=False, target=AVX512)
    (found,) = chosen
    assert found.slice == threads * found.k_block


@pytest.mark.parametrize("threads", [2, 3])
def test_slices_shared_by_threads(kept, monkeypatch, threads):
    monkeypatch.setattr(conv_winograd_plan, "FACTORS", 36 * 4 * 16 * 100)  # about 96 filters
    monkeypatch.setattr(conv_winograd_plan, "KEPT", 0)
    check("f32", ((5, 16, 9, 8), (208, 16, 3, 3), (1, 1), (1, 1), 1), threads=threads)
    check("f32", ((3, 32, 9, 8), (208, 16, 3, 3), (1, 1), (1, 1), 2), threads=threads)


def test_same_bits_for_any_number_of_threads(always):
    case = CASES[1]
    x, w = draw("f32", case[0], 1), draw("f32", case[1], 2)
    dy, results = draw("f32", (3, 40, 7, 7), 3), []
    for threads in (1, 2, 5):
        y, dw = np.zeros((3, 40, 7, 7), np.float32), np.zeros(case[1], np.float32)
        plan = conv.plan_conv_forward("f32", *settings_of(case), threads, bias=False)
        run_plan(plan, [y, x, w, None], host(), threads)
        plan = conv_weight_plan.plan_conv_backward_weight("f32", *settings_of(case), threads)
        run_plan(plan, [dw, x, dy], host(), threads)
        results.append((y.tobytes(), dw.tobytes()))
    assert len(set(results)) == 1


def test_sums_in_slices_and_runs(always, monkeypatch):
    monkeypatch.setattr(conv_winograd_weight_plan, "WHOLE", 0)
    monkeypatch.setattr(conv_winograd_weight_plan, "SUMS", 1 << 16)
    monkeypatch.setattr(conv_winograd_weight_plan, "FACTORS", 1 << 16)
    case = ((5, 40, 6, 6), (100, 40, 3, 3), (1, 1), (1, 1), 1)
    plan = conv_weight_plan.plan_conv_backward_weight("f32", *settings_of(case), 2)
    assert len(plan.phases) > 9
    check("f32", case, threads=2)


def test_sums_kept_in_memory(always, monkeypatch):
    monkeypatch.setattr(conv_winograd_weight_plan, "WHOLE", 0)
    for case in CASES:
        check("f32", case)


@pytest.mark.parametrize("whole", [0, 1 << 25])
def test_filter_gradient_not_finite(always, monkeypatch, whole):
    monkeypatch.setattr(conv_winograd_weight_plan, "WHOLE", whole)
    case = CASES[0]
    x, dy = draw("f32", case[0], 1), draw("f32", (2, 16, 8, 8), 2)
    dy[0, 5, 3, 3] = np.inf
    dw, expected = np.zeros((2, *case[1]), np.float32)
    plan = conv_weight_plan.plan_conv_backward_weight("f32", *settings_of(case), 1)
    run_plan(plan, [dw, x, dy], host())
    run_plan(plan.otherwise(), [expected, x, dy], host())
    np.testing.assert_array_equal(dw, expected)
    assert np.isfinite(dw[4]).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_not_finite(always, value):
    """One such value spoils only the outputs that its window meets, as without tiles."""
    case = CASES[0]
    x, w = draw("f32", case[0], 1), np.abs(draw("f32", case[1], 2)) + 2
    x[1, 3, 4, 4] = value
    y, expected = np.zeros((2, 2, 16, 8, 8), np.float32)
    plan = conv.plan_conv_forward("f32", *settings_of(case), 1, bias=False)
    run_plan(plan, [y, x, w, None], host())
    run_plan(plan.otherwise(), [expected, x, w, None], host())
    np.testing.assert_array_equal(y, expected)
    assert np.isfinite(y[0]).all()
    assert np.isfinite(y[1, :, 0]).all()
    assert not np.isfinite(y[1, :, 4, 4]).any()


@pytest.mark.parametrize("channels", [64, 512])
def test_rounding(channels):
    """As near to float64 as a plain sum of float32 products is, within a factor of four."""
    case = ((2, channels, 8, 8), (32, channels, 3, 3), (1, 1), (1, 1), 1)
    x, w = draw("f32", case[0], 1), draw("f32", case[1], 2)
    y = np.zeros((2, 32, 8, 8), np.float32)
    plan = conv.plan_conv_forward("f32", *settings_of(case), 1, bias=False)
    assert plan.otherwise
    run_plan(plan, [y, x, w, None], host())
    expected = reference.conv_forward(
        x.astype(np.float64), w.astype(np.float64), *settings_of(case)[2:]
    )
    assert np.linalg.norm(y - expected) <= 3e-6 * np.linalg.norm(expected)
    assert np.abs(y - expected).max() <= 8e-6 * np.abs(expected).max()
