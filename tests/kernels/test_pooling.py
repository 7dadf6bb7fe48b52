"""Pooling and its gradients against NumPy: one to three dimensions, every option and type."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flambeau.kernels import mix, pool_adaptive, pool_backward, pool_window, pooling
from flambeau.kernels.target import NEON, host
from tests.kernels import reference
from tests.kernels.harness import assemble, run_plan, runnable
from tests.kernels.samples import NUMPY, assert_near, draw, wide

HOST = host()
TARGETS = runnable()
REAL = ["f32", "f64", "f16", "bf16", "i8", "u8", "i16", "i32", "i64"]
FLOATS = ["f32", "f64", "f16", "bf16"]


def each_plane(spatial, function, *arrays):
    """Apply to every plane and stack the results."""
    planes = math.prod(arrays[0].shape[:-spatial])
    flat = [a.reshape(planes, *a.shape[-spatial:]) for a in arrays]
    results = [function(*(a[k] for a in flat)) for k in range(planes)]
    stacked = [np.stack(part) for part in zip(*results, strict=True)]
    return [s.reshape(*arrays[0].shape[:-spatial], *s.shape[1:]) for s in stacked]


def window_axes(x_shape, kernel, stride, padding, dilation, ceil):
    """The windows of each axis."""
    rows = zip(x_shape[-len(kernel) :], kernel, stride, padding, dilation, strict=True)
    return [reference.windows(*row, ceil) for row in rows]


def check_max(dtype, x, kernel, stride, padding, dilation, ceil, threads, target):
    """Values with and without places, and the gradient."""
    n = len(kernel)
    axes = window_axes(x.shape, kernel, stride, padding, dilation, ceil)
    y, at = each_plane(n, lambda p: reference.max_pool(p, axes), wide(dtype, x))
    arguments = (dtype, x.shape, kernel, stride, padding, dilation, ceil, threads)
    got, places = np.zeros(y.shape, NUMPY[dtype]), np.zeros(y.shape, np.int64)
    run_plan(pooling.plan_max_pool(*arguments, target=target), [got, places, x], target, threads)
    np.testing.assert_array_equal(wide(dtype, got), y)
    np.testing.assert_array_equal(places, at)
    alone = np.zeros(y.shape, NUMPY[dtype])
    plan = pooling.plan_max_pool(*arguments, indices=False, target=target)
    run_plan(plan, [alone, x], target, threads)
    np.testing.assert_array_equal(wide(dtype, alone), y)
    if dtype in FLOATS:
        check_index_backward(dtype, x.shape, places, n, threads, target)


def check_index_backward(dtype, x_shape, places, spatial, threads, target):
    """Gradients arrive where the places say."""
    dy, dx = draw(dtype, places.shape, 2), draw(dtype, x_shape, 3)
    plan = pooling.plan_index_backward(
        dtype, x_shape, places.shape, spatial, threads, target=target
    )
    run_plan(plan, [dx, dy, places], target, threads)

    def scatter(gradient, where):
        size = math.prod(x_shape[-spatial:])
        flat = np.zeros(size)
        np.add.at(flat, where.ravel(), gradient.ravel())
        return (flat.reshape(x_shape[-spatial:]),)

    assert_near(dtype, dx, each_plane(spatial, scatter, wide(dtype, dy), places)[0])


def check_average(dtype, x, kernel, stride, padding, ceil, include_pad, divisor, threads, target):
    """Means and their gradient."""
    n = len(kernel)
    axes = window_axes(x.shape, kernel, stride, padding, (1,) * n, ceil)
    (y,) = each_plane(
        n, lambda p: (reference.avg_pool(p, axes, include_pad, divisor),), wide(dtype, x)
    )
    arguments = (dtype, x.shape, kernel, stride, padding, ceil, threads)
    options = {"count_include_pad": include_pad, "divisor_override": divisor, "target": target}
    got = np.zeros(y.shape, NUMPY[dtype])
    run_plan(pooling.plan_avg_pool(*arguments, **options), [got, x], target, threads)
    assert_near(dtype, got, y)
    dy, dx = draw(dtype, y.shape, 2), draw(dtype, x.shape, 3)
    run_plan(pooling.plan_avg_pool_backward(*arguments, **options), [dx, dy], target, threads)
    shape = x.shape[-n:]
    expected = each_plane(
        n,
        lambda p: (reference.avg_pool_backward(p, shape, axes, include_pad, divisor),),
        wide(dtype, dy),
    )[0]
    assert_near(dtype, dx, expected)


def check_adaptive(dtype, x, outputs, threads, target):
    """Both adaptive poolings and their gradients."""
    n = len(outputs)
    pairs = zip(x.shape[-n:], outputs, strict=True)
    axes = [reference.adaptive_windows(*pair) for pair in pairs]
    values = wide(dtype, x)
    (mean,) = each_plane(n, lambda p: (reference.avg_pool(p, axes, False, None),), values)
    got = np.zeros(mean.shape, NUMPY[dtype])
    plan = pooling.plan_adaptive_pool(dtype, x.shape, outputs, threads, "average", target=target)
    run_plan(plan, [got, x], target, threads)
    assert_near(dtype, got, mean)
    dy, dx = draw(dtype, mean.shape, 2), draw(dtype, x.shape, 3)
    plan = pooling.plan_adaptive_avg_pool_backward(dtype, x.shape, outputs, threads, target=target)
    run_plan(plan, [dx, dy], target, threads)
    spread = lambda p: (reference.avg_pool_backward(p, x.shape[-n:], axes, False, None),)
    assert_near(dtype, dx, each_plane(n, spread, wide(dtype, dy))[0])
    y, at = each_plane(n, lambda p: reference.max_pool(p, axes), values)
    places = np.zeros(y.shape, np.int64)
    plan = pooling.plan_adaptive_pool(dtype, x.shape, outputs, threads, "max", target=target)
    run_plan(plan, [got, places, x], target, threads)
    np.testing.assert_array_equal(wide(dtype, got), y)
    np.testing.assert_array_equal(places, at)


@st.composite
def poolings(draw_):
    """Sizes and options of a pooling in which no window lies wholly in the padding."""
    spatial = draw_(st.sampled_from([1, 2, 2, 2, 3]))
    numbers = lambda low, high: draw_(st.tuples(*[st.integers(low, high)] * spatial))
    kernel, stride, dilation = numbers(1, 5), numbers(1, 5), numbers(1, 2)
    padding = tuple(draw_(st.integers(0, k // 2)) for k in kernel)
    size = numbers(1, 40 if spatial < 3 else 9)
    ceil = draw_(st.booleans())
    x_shape = (draw_(st.integers(1, 2)), draw_(st.integers(1, 3)), *size)
    for windows in (dilation, (1,) * spatial):
        axes = window_axes(x_shape, kernel, stride, padding, windows, ceil)
        assume(all(axis and all(inside for inside, _ in axis) for axis in axes))
    return x_shape, kernel, stride, padding, dilation, ceil


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@given(
    case=poolings(),
    dtype=st.sampled_from(REAL),
    threads=st.integers(1, 3),
    include_pad=st.booleans(),
    divisor=st.sampled_from([None, None, 3, -2]),
)
@settings(max_examples=80, deadline=None)
def test_any_pooling(target, case, dtype, threads, include_pad, divisor):
    """Any sizes and options at all."""
    x_shape, kernel, stride, padding, dilation, ceil = case
    x = draw(dtype, x_shape, 1)
    check_max(dtype, x, kernel, stride, padding, dilation, ceil, threads, target)
    if dtype in FLOATS:
        check_average(
            dtype, x, kernel, stride, padding, ceil, include_pad, divisor, threads, target
        )


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", REAL)
def test_halving(dtype, target):
    """Two by two, stride two, in rows of every length up to several vectors."""
    for width in [*range(2, 20), 31, 32, 33, 64, 65, 130]:
        x = draw(dtype, (2, 2, 6, width), width)
        check_max(dtype, x, (2, 2), (2, 2), (0, 0), (1, 1), False, 2, target)
        if dtype in FLOATS:
            check_average(dtype, x, (2, 2), (2, 2), (0, 0), False, True, None, 1, target)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", REAL)
def test_long_rows_without_stride(dtype, target):
    """Several vectors together, then one by one, then the margin."""
    for width in (63, 64, 67, 130, 200, 300):
        x = draw(dtype, (1, 2, 3, width), width)
        check_max(dtype, x, (2, 3), (1, 1), (1, 1), (1, 2), False, 2, target)
        if dtype in FLOATS:
            check_average(dtype, x, (2, 3), (1, 1), (1, 1), False, True, None, 1, target)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 9)), min_size=1, max_size=3),
    dtype=st.sampled_from(FLOATS),
    threads=st.integers(1, 2),
)
@settings(max_examples=40, deadline=None)
def test_any_adaptive_pooling(sizes, dtype, threads):
    """Any input and output sizes, outputs larger than inputs among them."""
    x = draw(dtype, (2, 2, *(size for size, _ in sizes)), 1)
    check_adaptive(dtype, x, tuple(outputs for _, outputs in sizes), threads, HOST)


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_wins(dtype):
    """A window with NaN gives NaN and its last one's place; -inf alone its first place."""
    x = draw(dtype, (1, 1, 8, 70), 1)
    x[..., 2:4, 10:40] = np.array(0x7FC0, np.uint16) if dtype == "bf16" else np.nan
    x[..., 4:6, 20:30] = np.array(0xFF80, np.uint16) if dtype == "bf16" else -np.inf
    check_max(dtype, x, (2, 2), (2, 2), (0, 0), (1, 1), False, 1, HOST)
    check_max(dtype, x, (3, 3), (1, 1), (1, 1), (1, 1), False, 1, HOST)


def test_integer_average_truncates():
    """Integers divide towards zero."""
    x = np.array([[[-3, 0, 7, 2, -1, -1]]], np.int64)
    y = np.zeros((1, 1, 3), np.int64)
    plan = pooling.plan_avg_pool("i64", x.shape, (2,), (2,), (0,), False, 1, target=HOST)
    run_plan(plan, [y, x], HOST)
    np.testing.assert_array_equal(y, [[[-1, 4, -1]]])


def test_place_outside_its_plane_is_dropped():
    """A place that no plane has (a window wholly in the padding) touches nothing."""
    dx, dy = np.full((1, 2, 4), 9, np.float32), np.ones((1, 2, 2), np.float32)
    places = np.array([[[0, 4], [-1, 3]]], np.int64)
    plan = pooling.plan_index_backward("f32", dx.shape, dy.shape, 1, 1, target=HOST)
    run_plan(plan, [dx, dy, places], HOST)
    np.testing.assert_array_equal(dx, [[[1, 0, 0, 0], [0, 0, 0, 1]]])


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "message"),
    [
        ((0, 2), (1, 1), (0, 0), "kernel_size must be at least 1"),
        ((2, 2), (0, 1), (0, 0), "stride must be at least 1"),
        ((2, 2), (1, 1), (2, 0), "at most half"),
        ((9, 9), (1, 1), (0, 0), "too small"),
    ],
)
def test_impossible_arguments(kernel, stride, padding, message):
    """Windows that do not fit are errors that name the numbers."""
    with pytest.raises(RuntimeError, match=message):
        pooling.plan_max_pool(
            "f32", (1, 1, 8, 8), kernel, stride, padding, (1, 1), False, 1, target=HOST
        )


def test_divisor_of_zero():
    """divisor_override=0 is refused."""
    with pytest.raises(RuntimeError, match="must not be zero"):
        pooling.plan_avg_pool(
            "f32", (1, 1, 8), (2,), (2,), (0,), False, 1, divisor_override=0, target=HOST
        )


@pytest.mark.parametrize("dtype", REAL)
def test_emits_arm64(dtype):
    """Every module is valid for arm64 and calls nothing."""
    kernels = [pool_window.source(dtype, NEON, kind) for kind in ("max", "max_index", "average")]
    kernels += [pool_backward.index_source(dtype, NEON), pool_backward.unpool_source(dtype, NEON)]
    if dtype in FLOATS:
        kernels += [pool_adaptive.source(dtype, NEON, kind) for kind in ("adaptive", "fractional")]
        kernels.append(mix.source(dtype, NEON))
    for kernel in kernels:
        assert "\tbl\t" not in assemble(kernel.build(), NEON)
