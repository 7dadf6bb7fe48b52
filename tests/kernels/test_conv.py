"""Convolution and both gradients against NumPy: one to three dimensions, every option and type."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flambeau.kernels import (
    conv_filters,
    conv_images,
    conv_images_plan,
    conv_pixel_plan,
    conv_pixels,
    conv_strip,
    conv_weight,
    conv_winograd_weight_plan,
)
from flambeau.kernels.bfloat_pairs import multiplies_pairs
from flambeau.kernels.conv import plan_conv_backward_data, plan_conv_forward
from flambeau.kernels.conv_weight_plan import plan_conv_backward_weight
from flambeau.kernels.element import Element
from flambeau.kernels.target import AVX512, NEON, host
from tests.kernels import reference
from tests.kernels.harness import assemble, run_plan, runnable
from tests.kernels.samples import NUMPY, assert_near, draw, wide

HOST = host()
TARGETS = runnable()

# input, filter, stride, padding, dilation, groups
CASES = [
    ((2, 3, 8, 8), (6, 3, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 8, 8), (6, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((4, 3, 32, 32), (6, 3, 5, 5), (1, 1), (0, 0), (1, 1), 1),
    ((4, 6, 14, 14), (16, 6, 5, 5), (1, 1), (0, 0), (1, 1), 1),
    ((1, 1, 5, 5), (1, 1, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 4, 9, 11), (8, 4, 3, 2), (2, 2), (1, 1), (1, 1), 1),
    ((2, 4, 9, 11), (8, 2, 3, 2), (2, 3), (1, 0), (1, 2), 2),
    ((1, 6, 7, 7), (6, 1, 3, 3), (1, 1), (1, 1), (1, 1), 6),
    ((2, 5, 9, 20), (10, 1, 3, 3), (2, 2), (1, 1), (1, 1), 5),
    ((2, 8, 13, 10), (12, 8, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    ((2, 8, 13, 10), (12, 8, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((1, 2, 6, 6), (3, 2, 3, 3), (1, 1), (4, 4), (1, 1), 1),  # padding beyond the filter
    ((16, 8, 7, 3), (32, 8, 1, 3), (1, 1), (2, 3), (1, 1), 1),
    ((1, 2, 12, 12), (3, 2, 3, 3), (3, 1), (2, 2), (2, 3), 1),
    ((1, 2, 9, 9), (2, 2, 2, 2), (3, 3), (1, 1), (1, 1), 1),  # inputs that no output meets
    ((1, 70, 7, 7), (50, 70, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 3, 10, 40), (20, 3, 7, 7), (2, 2), (3, 3), (1, 1), 1),
    ((1, 2, 40), (4, 2, 5), (2,), (2,), (2,), 1),
    ((3, 2, 17), (4, 1, 3), (1,), (0,), (2,), 2),
    ((2, 2, 5, 6, 7), (3, 2, 3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1),
    ((1, 2, 7, 8, 9), (4, 2, 2, 3, 3), (2, 1, 2), (1, 0, 1), (1, 2, 1), 1),
    ((1, 4, 5, 6, 7), (6, 2, 3, 2, 1), (2, 2, 3), (2, 1, 0), (2, 1, 1), 2),
    ((2, 3, 4, 5, 6), (4, 3, 2, 2, 2), (1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
]


def check(dtype, case, *, bias=False, relu=False, threads=1, target=HOST):
    """Compare the convolution and both gradients."""
    x_shape, w_shape, *options, groups = case
    x, w = draw(dtype, x_shape, 1), draw(dtype, w_shape, 2)
    offset = draw(dtype, (w_shape[0],), 3) if bias else None
    expected = reference.conv_forward(wide(dtype, x), wide(dtype, w), *options, groups)
    dy = draw(dtype, expected.shape, 4)
    if bias:
        expected = expected + wide(dtype, offset).reshape(-1, *(1,) * (len(x_shape) - 2))
    if relu:
        expected = np.maximum(expected, 0)
    arguments = (dtype, x_shape, w_shape, *options, groups, threads)
    y = draw(dtype, expected.shape, 5)
    plan = plan_conv_forward(
        *arguments, bias=bias, activation="relu" if relu else None, target=target
    )
    run_plan(plan, [y, x, w, offset], target, threads)
    assert_near(dtype, y, expected)

    gradients = reference.conv_backward(
        wide(dtype, x), wide(dtype, w), wide(dtype, dy), *options, groups
    )
    dx, dw = draw(dtype, x_shape, 6), draw(dtype, w_shape, 7)
    run_plan(plan_conv_backward_data(*arguments, target=target), [dx, dy, w, None], target, threads)
    assert_near(dtype, dx, gradients[0])
    run_plan(plan_conv_backward_weight(*arguments, target=target), [dw, x, dy], target, threads)
    assert_near(dtype, dw, gradients[1])


@pytest.mark.parametrize(
    ("dtype", "target"),
    [(dtype, HOST) for dtype in NUMPY if dtype not in ("bool", "i8", "i16")]
    + [(dtype, target) for dtype in ("f32", "bf16", "c64") for target in TARGETS[1:]],
)
def test_cases(dtype, target):
    """Every case; with bias and activation on two threads."""
    for case in CASES if dtype == "f32" else CASES[1::3]:
        check(dtype, case, target=target)
        check(dtype, case, bias=True, relu=dtype[0] in "bfi", threads=2, target=target)


@st.composite
def convolutions(draw_):
    """Any convolution of one to three dimensions that has an output."""
    spatial = draw_(st.sampled_from([1, 2, 2, 2, 3]))
    numbers = lambda low, high: draw_(st.tuples(*[st.integers(low, high)] * spatial))
    groups = draw_(st.integers(1, 3))
    kernel, stride, dilation = numbers(1, 4), numbers(1, 3), numbers(1, 2)
    padding, size = numbers(0, 3), numbers(1, 20 if spatial < 3 else 8)
    x_shape = (draw_(st.integers(1, 3)), groups * draw_(st.integers(1, 9)), *size)
    w_shape = (groups * draw_(st.integers(1, 20)), x_shape[1] // groups, *kernel)
    case = (x_shape, w_shape, stride, padding, dilation, groups)
    assume(min(reference.conv_output(*case[:-1])) > 0)
    return case


@given(
    case=convolutions(),
    dtype=st.sampled_from(["f32", "f64", "f16", "c64"]),
    threads=st.integers(1, 3),
    bias=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_any_convolution(case, dtype, threads, bias):
    """Any sizes and options at all."""
    check(dtype, case, threads=threads, bias=bias)


# Strided convolutions whose gradients with respect to the input have phases of several shapes.
STRIDED = [
    ((2, 19, 9, 11), (6, 19, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((1, 8, 57, 33), (4, 8, 2, 2), (2, 2), (0, 0), (1, 1), 1),  # a last row and column unmet
    ((2, 40, 14, 13), (5, 40, 1, 1), (2, 2), (0, 0), (1, 1), 1),  # phases without taps
    ((2, 18, 12, 12), (6, 9, 4, 4), (2, 2), (1, 1), (1, 1), 2),
    ((1, 16, 9, 20), (3, 16, 3, 5), (3, 4), (0, 2), (1, 1), 1),
    ((1, 16, 20, 9), (3, 16, 3, 2), (1, 2), (2, 1), (2, 3), 1),
    ((1, 9, 30), (4, 9, 5), (2,), (2,), (1,), 1),
    ((1, 8, 5, 8, 9), (4, 8, 3, 3, 3), (1, 2, 2), (1, 1, 1), (1, 1, 1), 1),
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", ["f32", "f64", "bf16", "i32"])
def test_strided_gradients_with_filters_along_vectors(monkeypatch, dtype, target):
    """The kernel that interleaves the phases, also where another one would take less time."""
    monkeypatch.setattr(conv_pixel_plan, "_cost", lambda *_: 1e-9)
    for case in STRIDED:
        if Element(dtype, target).compute.lanes % case[2][-1] == 0:
            plan = plan_conv_backward_data(dtype, *case, 1, target=target)
            assert plan.phases[1].kernel.key.startswith("conv_pixels")
        check(dtype, case, target=target)
        check(dtype, case, threads=2, target=target)


LONG = [
    ((1, 20, 450), (16, 20, 3), (1,), (1,), (1,), 1),
    ((2, 6, 931), (20, 3, 4), (2,), (3,), (1,), 2),
    ((1, 5, 1, 805), (17, 5, 1, 1), (1, 1), (0, 0), (1, 1), 1),  # read in place
    ((1, 9, 7, 410), (33, 9, 3, 2), (1, 1), (1, 2), (2, 1), 1),
    ((1, 3, 2, 4, 420), (16, 3, 2, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1),
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", ["f32", "f64", "bf16"])
def test_long_rows_are_cut(monkeypatch, dtype, target):
    """Into strips whose copies stay in the caches: the last overlaps the one before it."""
    monkeypatch.setattr(conv_pixel_plan, "_cost", lambda *_: 1e-9)
    monkeypatch.setattr(conv_pixel_plan, "WORKSPACE", 1 << 15)
    for case in LONG:
        plan = plan_conv_forward(dtype, *case, 2, bias=True, target=target)
        if plan.phases[-1].kernel.symbol == "pixels":  # not a product of bfloat16 pairs
            assert plan.phases[1].desc[conv_pixels.FIELDS.names.index("sides")] > 1
        check(dtype, case, bias=True, threads=2, target=target)


@pytest.mark.parametrize("stride", [8, 14, 32])
def test_patches_take_filters_along_vectors(stride):
    """Strides as long as the filter."""
    case = ((2, 3, 4 * stride + 1, 7 * stride), (64, 3, stride, stride), (stride, stride))
    case += ((0, 0), (1, 1), 1)
    plan = plan_conv_forward("f32", *case, 1, bias=False)
    assert plan.phases[-1].kernel.key.startswith("conv_pixels")
    check("f32", case, bias=True)


def test_a_long_line_of_many_channels_is_cut():
    """A strip of whole rows would copy 4.6 MB."""
    case = ((1, 384, 3000), (384, 384, 3), (2,), (1,), (1,), 1)
    for threads in (1, 2):
        plan = plan_conv_forward("f32", *case, threads, bias=True, target=AVX512)
        assert plan.phases[1].kernel.symbol == "pixels"
        assert plan.phases[1].desc[conv_pixels.FIELDS.names.index("sides")] > 1


@pytest.mark.skipif(not multiplies_pairs(HOST), reason="needs products of bfloat16 pairs")
def test_pointwise_filters_of_bfloat_numbers_are_products():
    """One tap, no stride: a matrix product an image, its sums in float32."""
    for x_shape, w_shape in (
        ((3, 33, 9, 13), (40, 33, 1, 1)),
        ((2, 64, 130), (20, 64, 1)),
        ((2, 20, 3, 8, 9), (31, 20, 1, 1, 1)),
    ):
        ones = (1,) * (len(x_shape) - 2)
        case = (x_shape, w_shape, ones, (0,) * len(ones), ones, 1)
        plan = plan_conv_forward("bf16", *case, 1, bias=True)
        assert plan.phases[0].kernel.key.startswith("gemm_")
        check("bf16", case)
        check("bf16", case, bias=True, relu=True, threads=2)


PAIRED = [
    ((2, 7, 9, 11), (40, 7, 3, 3), (2, 2), (1, 1), (1, 1), 1),  # an odd channel; phases
    ((1, 2, 12, 12), (16, 2, 5, 5), (1, 1), (2, 2), (1, 1), 1),  # more taps than lanes
    ((2, 12, 8, 8), (48, 4, 3, 2), (1, 2), (1, 0), (2, 1), 3),
    ((1, 5, 4, 6, 7), (17, 5, 3, 2, 3), (1, 1, 2), (1, 1, 0), (1, 1, 1), 1),
    ((2, 3, 30), (20, 3, 4), (3,), (2,), (2,), 1),
    ((3, 33, 6, 5), (31, 33, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    ((2, 6, 7, 5), (20, 6, 5, 3), (1, 1), (6, 1), (1, 1), 1),  # rows that meet no input
    ((1, 6, 4, 9), (32, 6, 7, 1), (2, 1), (5, 0), (2, 1), 1),
    ((2, 3, 35, 33), (40, 3, 16, 16), (16, 16), (0, 0), (1, 1), 1),  # patches
    ((1, 33, 9, 9), (40, 33, 3, 5), (2, 2), (1, 2), (1, 1), 1),  # runs across channels
]


@pytest.mark.skipif(not multiplies_pairs(HOST), reason="no instruction for pairs")
@pytest.mark.parametrize("case", PAIRED)
def test_bfloat_channels_are_multiplied_by_pairs(case):
    x_shape, w_shape, *options, groups = case
    plan = plan_conv_forward("bf16", x_shape, w_shape, *options, groups, 1, bias=False)
    assert plan.phases[0].kernel.key.endswith(":pairs")
    check("bf16", case)
    check("bf16", case, bias=True, relu=True, threads=2)


@pytest.mark.skipif(not multiplies_pairs(HOST), reason="no instruction for pairs")
def test_pairs_do_not_mix_what_is_not_finite():
    """An odd channel's partner is zero in the filter too: zero times infinity would be NaN."""
    case = ((1, 3, 6, 6), (16, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1)
    x, w = draw("bf16", case[0], 1), draw("bf16", case[1], 2)
    x[0, 2, 5, 5] = 0x7F80
    y = draw("bf16", (1, 16, 6, 6), 3)
    run_plan(plan_conv_forward("bf16", *case, 1, bias=False), [y, x, w, None], HOST)
    finite = np.isfinite(wide("bf16", y)).all((0, 1))
    assert not finite[4:, 4:].any()
    assert finite[:4].all()
    assert finite[:, :4].all()


# Numbers of images, rows and columns that are odd; large sums; strips; lines; slices; groups.
PAIRED_GRADIENTS = [
    ((5, 7, 9, 11), (20, 7, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((1, 4, 9, 11), (20, 4, 3, 2), (2, 3), (1, 0), (1, 2), 1),
    ((3, 3, 41, 47), (17, 3, 3, 3), (1, 1), (1, 2), (1, 1), 1),
    ((4, 40, 7, 7), (96, 40, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((11, 70, 5, 6), (130, 70, 4, 4), (1, 1), (2, 2), (1, 1), 1),
    ((4, 24, 6, 5), (40, 12, 1, 1), (2, 2), (0, 0), (1, 1), 2),
    ((1, 3, 901), (17, 3, 4), (2,), (3,), (1,), 1),
    ((3, 5, 30), (24, 5, 3), (1,), (1,), (2,), 1),
    ((1, 5, 1), (12, 5, 1), (1,), (0,), (1,), 1),
    ((3, 2, 4, 5, 7), (10, 2, 3, 2, 3), (1, 2, 2), (1, 1, 0), (1, 1, 1), 1),
    ((0, 4, 6, 6), (16, 4, 3, 3), (2, 2), (1, 1), (1, 1), 1),
]


@pytest.mark.skipif(not multiplies_pairs(HOST), reason="no instruction for pairs")
@pytest.mark.parametrize("case", PAIRED_GRADIENTS)
def test_bfloat_pixels_are_multiplied_by_pairs(monkeypatch, case):
    """Also where Winograd's tiles would take less time; the same bits for any number of threads."""
    monkeypatch.setattr(conv_winograd_weight_plan, "choose", lambda *_: None)
    x_shape, w_shape, *options, groups = case
    dy_shape = (x_shape[0], w_shape[0], *reference.conv_output(x_shape, w_shape, *options))
    x, dy = draw("bf16", x_shape, 1), draw("bf16", dy_shape, 2)
    w = np.zeros(w_shape)
    expected = reference.conv_backward(wide("bf16", x), w, wide("bf16", dy), *options, groups)[1]
    found = []
    for threads in (1, 2, 3):
        plan = plan_conv_backward_weight("bf16", x_shape, w_shape, *options, groups, threads)
        assert plan.phases[0].kernel.key.startswith("conv_weight_pairs")
        found.append(draw("bf16", w_shape, 3))
        run_plan(plan, [found[-1], x, dy], HOST, threads)
        assert_near("bf16", found[-1], expected)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.skipif(not multiplies_pairs(HOST), reason="no instruction for pairs")
def test_pixels_without_partner_do_not_mix_what_is_not_finite():
    """The last row of a single image has no partner; the filter's last row alone meets infinity."""
    case = ((1, 2, 7, 6), (16, 2, 3, 1), (1, 1), (0, 0), (1, 1), 1)
    x, dy = draw("bf16", case[0], 1), draw("bf16", (1, 16, 5, 6), 2)
    x[0, 0, 6, 3] = 0x7F80
    dw = draw("bf16", case[1], 3)
    run_plan(plan_conv_backward_weight("bf16", *case, 1), [dw, x, dy], HOST)
    finite = np.isfinite(wide("bf16", dw))
    assert not finite[:, 0, 2].any()
    assert finite[:, 0, :2].all()
    assert finite[:, 1].all()


IMAGES = [
    ((16, 1, 28, 28), (6, 1, 5, 5), (1, 1), (2, 2), (1, 1), 1),
    ((33, 6, 14, 14), (16, 6, 5, 5), (1, 1), (0, 0), (1, 1), 1),
    ((17, 2, 9, 20), (3, 2, 1, 4), (1, 1), (0, 3), (1, 1), 1),
    ((20, 6, 7, 5), (9, 2, 3, 3), (1, 1), (1, 1), (1, 1), 3),
    ((16, 2, 9, 9), (4, 2, 3, 2), (1, 1), (2, 2), (2, 3), 1),
    ((19, 3, 4, 3), (5, 3, 3, 3), (1, 1), (2, 2), (1, 1), 1),  # rows that meet one row of filters
    ((16, 2, 3, 3), (3, 2, 1, 1), (1, 1), (3, 0), (1, 1), 1),  # rows that meet none
    ((40, 2, 11), (3, 2, 4), (1,), (1,), (2,), 1),
]


@pytest.mark.parametrize("case", IMAGES)
@pytest.mark.parametrize(
    ("dtype", "target"),
    [(dtype, HOST) for dtype in ("f32", "f64", "bf16", "f16")] + [("f32", t) for t in TARGETS[1:]],
    ids=str,
)
def test_images_along_vectors(monkeypatch, case, dtype, target):
    monkeypatch.setattr(conv_images_plan, "_cost", lambda *_: -1e9)
    x_shape, w_shape, *options, groups = case
    arguments = (dtype, x_shape, w_shape, *options, groups, 1)
    plan = plan_conv_forward(*arguments, bias=False, target=target)
    assert plan.phases[-1].kernel.symbol == "images"
    check(dtype, case, bias=True, relu=True, threads=2, target=target)


def test_a_batch_of_small_planes_puts_images_along_vectors():
    """The gradient of LeNet's second layer: its margins would double the work."""
    arguments = ("f32", (64, 6, 14, 14), (16, 6, 5, 5), (1, 1), (0, 0), (1, 1), 1, 2)
    assert plan_conv_backward_data(*arguments).phases[-1].kernel.symbol == "images"


def test_weight_gradient_does_not_depend_on_threads():
    """The same bits from one thread and from three."""
    case = ((7, 5, 20, 20), (9, 5, 3, 3), (1, 1), (1, 1), (1, 1), 1)
    x, dy = draw("f32", case[0], 1), draw("f32", (7, 9, 20, 20), 2)
    results = []
    for threads in (1, 3):
        dw = np.empty(case[1], np.float32)
        plan = plan_conv_backward_weight("f32", *case, threads, target=HOST)
        run_plan(plan, [dw, x, dy], HOST, threads)
        results.append(dw)
    np.testing.assert_array_equal(*results)


def test_no_images():
    """An empty batch: no outputs, and a gradient of zeros for the filter."""
    case = ((0, 3, 8, 8), (4, 3, 3, 3), (1, 1), (0, 0), (1, 1), 1)
    assert plan_conv_forward("f32", *case, 1, bias=False, target=HOST).phases == ()
    assert plan_conv_backward_data("f32", *case, 1, target=HOST).phases == ()
    dw = np.full(case[1], 7, np.float32)
    plan = plan_conv_backward_weight("f32", *case, 1, target=HOST)
    run_plan(plan, [dw, np.empty(0), np.empty(0)], HOST)
    assert not dw.any()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (((1, 3, 8, 8), (4, 2, 3, 3), (1, 1), (0, 0), (1, 1), 1), "expected input with 2 channels"),
        (((1, 3, 8, 8), (4, 3, 9, 9), (1, 1), (0, 0), (1, 1), 1), "larger than the padded input"),
        (((1, 4, 8, 8), (3, 2, 3, 3), (1, 1), (0, 0), (1, 1), 2), "cannot be divided"),
        (((1, 3, 8, 8), (4, 3, 3, 3), (0, 1), (0, 0), (1, 1), 1), "stride must be"),
        (((1, 3, 8, 8), (4, 3, 3, 3), (1, 1), (-1, 0), (1, 1), 1), "padding must be"),
        (((3, 8, 8), (4, 3, 3, 3), (1, 1), (0, 0), (1, 1), 1), "expected input of 4 dimensions"),
    ],
)
def test_impossible_arguments(case, message):
    """Sizes that do not fit are errors that name them."""
    with pytest.raises(RuntimeError, match=message):
        plan_conv_forward("f32", *case, 1, bias=False, target=HOST)


@pytest.mark.parametrize("dtype", list(NUMPY))
def test_emits_arm64(dtype):
    """Every module is valid for arm64 and calls nothing outside itself."""
    kernels = [
        conv_strip.source(dtype, NEON, 6, 4),
        conv_weight.sources(dtype, NEON, 12, 2)[0],
        conv_filters.source(dtype, NEON),
    ]
    if not Element(dtype, NEON).complex:
        kernels.append(conv_images.source(dtype, NEON, 6, 4))
    for kernel in kernels:
        lines = assemble(kernel.build(), NEON).splitlines()
        calls = [line.split()[1] for line in lines if "\tbl\t" in line]
        assert all(name.startswith(("tile", "pack", "pad")) for name in calls)
