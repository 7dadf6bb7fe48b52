"""Pooling against windows in NumPy."""

import itertools
import math

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau.autograd import gradcheck, gradgradcheck

MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
ADAPTIVE_MEAN = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
UNPOOL = {1: F.max_unpool1d, 2: F.max_unpool2d, 3: F.max_unpool3d}


def distinct(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers far enough apart for numerical derivatives of maxima."""
    return np.random.default_rng(seed).permutation(math.prod(shape)).reshape(shape) / 10


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(distinct(*shape, seed=seed), requires_grad=True)


def windows(x, kernel, stride, padding, dilation=None):
    """(output place, window) pairs; the padding is NaN."""
    n = len(kernel)
    dilation = dilation or (1,) * n
    x = np.pad(x, [(0, 0)] * (x.ndim - n) + [(p, p) for p in padding], constant_values=np.nan)
    sizes = [
        (s - d * (k - 1) - 1) // st + 1
        for s, k, st, d in zip(x.shape[-n:], kernel, stride, dilation, strict=True)
    ]
    for place in itertools.product(*map(range, sizes)):
        at = tuple(
            slice(p * st, p * st + d * (k - 1) + 1, d)
            for p, st, k, d in zip(place, stride, kernel, dilation, strict=True)
        )
        yield place, x[(..., *at)]


def reduce_windows(x, function, kernel, *rest):
    axes = tuple(range(-len(kernel), 0))
    found = {place: function(window, axes) for place, window in windows(x, kernel, *rest)}
    sizes = [max(p[k] for p in found) + 1 for k in range(len(kernel))]
    out = np.empty((*x.shape[: -len(kernel)], *sizes))
    for place, value in found.items():
        out[(..., *place)] = value
    return out


CASES = [
    # shape, kernel, stride, padding
    ((2, 3, 9), (3,), (2,), (1,)),
    ((2, 3, 8, 7), (2, 2), (2, 2), (0, 0)),
    ((1, 2, 9, 8), (3, 2), (2, 1), (1, 1)),
    ((1, 2, 5, 6, 4), (2, 3, 2), (2, 1, 2), (0, 1, 1)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_maxima_and_means(case: tuple, dtype: str) -> None:
    shape, kernel, stride, padding = case
    t = torch.tensor(distinct(*shape)).to(getattr(torch, dtype))
    x, n = t.double().numpy(), len(kernel)
    found = MAX[n](t, kernel, stride, padding)
    assert found.dtype is t.dtype
    np.testing.assert_array_equal(
        found.double().numpy(), reduce_windows(x, np.nanmax, kernel, stride, padding)
    )
    means = MEAN[n](t, kernel, stride, padding).double().numpy()
    sums = reduce_windows(x, np.nansum, kernel, stride, padding)
    tolerance = 1e-12 if dtype == "float64" else torch.finfo(t.dtype).eps * 2
    np.testing.assert_allclose(means, sums / math.prod(kernel), rtol=tolerance, atol=1e-12)
    means = MEAN[n](t, kernel, stride, padding, count_include_pad=False).double().numpy()
    wanted = reduce_windows(x, np.nanmean, kernel, stride, padding)
    np.testing.assert_allclose(means, wanted, rtol=tolerance, atol=1e-12)


def test_indices_point_at_the_maxima() -> None:
    x = distinct(2, 3, 6, 7)
    values, indices = F.max_pool2d(torch.tensor(x), 3, 2, 1, return_indices=True)
    flat = x.reshape(2, 3, -1)
    read = np.take_along_axis(flat, indices.numpy().reshape(2, 3, -1), 2)
    np.testing.assert_array_equal(read.reshape(values.shape), values.numpy())


def test_settings() -> None:
    x = distinct(1, 2, 7, 7)
    t = torch.tensor(x)
    wanted = reduce_windows(x, np.nanmax, (2, 2), (1, 1), (0, 0), (3, 2))
    np.testing.assert_array_equal(F.max_pool2d(t, 2, 1, 0, (3, 2)).numpy(), wanted)
    assert F.max_pool2d(t, 2, ceil_mode=True).shape == (1, 2, 4, 4)
    assert F.avg_pool2d(t, 2, ceil_mode=True)[0, 0, 3, 3].item() == pytest.approx(x[0, 0, 6, 6])
    sums = reduce_windows(x, np.sum, (2, 2), (2, 2), (0, 0))
    np.testing.assert_allclose(F.avg_pool2d(t, 2, divisor_override=3).numpy(), sums / 3)
    assert F.max_pool2d(t[0], 2).shape == (2, 3, 3)
    np.testing.assert_array_equal(
        F.max_pool2d(t.transpose(2, 3), 2).numpy(), F.max_pool2d(t, 2).numpy().swapaxes(2, 3)
    )
    assert F.max_pool2d(t[:0], 2).shape == (0, 2, 3, 3)


def test_nan_is_the_maximum() -> None:
    x = torch.tensor([[[1.0, math.nan, 0.0, 2.0]]])
    found = F.max_pool1d(x, 2)
    assert found.isnan().tolist() == [[[True, False]]]


@pytest.mark.parametrize(
    ("shape", "sizes"), [((2, 3, 7), (3,)), ((2, 2, 5, 8), (3, 4)), ((1, 2, 4, 5, 6), (2, 5, 1))]
)
def test_adaptive(shape: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    x, n = distinct(*shape), len(sizes)
    means, maxima = np.empty((*shape[:2], *sizes)), np.empty((*shape[:2], *sizes))
    for place in itertools.product(*map(range, sizes)):
        at = tuple(
            slice(p * s // o, -(-(p + 1) * s // o))
            for p, s, o in zip(place, shape[2:], sizes, strict=True)
        )
        window = x[(..., *at)]
        axes = tuple(range(2, 2 + n))
        means[(..., *place)], maxima[(..., *place)] = window.mean(axes), window.max(axes)
    np.testing.assert_allclose(ADAPTIVE_MEAN[n](torch.tensor(x), sizes).numpy(), means)
    found, indices = ADAPTIVE_MAX[n](torch.tensor(x), sizes, return_indices=True)
    np.testing.assert_array_equal(found.numpy(), maxima)
    assert indices.dtype is torch.int64
    assert F.adaptive_avg_pool2d(torch.ones(1, 1, 3, 4), (None, 2)).shape == (1, 1, 3, 2)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_unpooling_puts_values_back(n: int) -> None:
    t = torch.tensor(distinct(1, 2, *(4,) * n) + 1)
    values, indices = MAX[n](t, 2, return_indices=True)
    back = UNPOOL[n](values, indices, 2)
    assert back.shape == t.shape
    kept = back != 0
    assert int(kept.sum()) == values.numel()
    np.testing.assert_array_equal(back[kept].numpy(), t[kept].numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int32])
def test_unpooling_keeps_the_last_of_several(dtype: torch.dtype) -> None:
    x = torch.arange(1, 9).to(dtype).reshape(1, 2, 4)
    places = torch.tensor([[[1, 5, 5, 0], [7, 7, 2, 7]]])
    made = F.max_unpool1d(x, places, 2)
    assert made.tolist() == [[[4, 1, 0, 0, 0, 3, 0, 0], [0, 0, 7, 0, 0, 0, 0, 8]]]
    for wrong in (-1, 8):
        with pytest.raises(RuntimeError, match=f"max_unpool1d: .* max index: {wrong}"):
            F.max_unpool1d(x, torch.full_like(places, wrong), 2)


def test_derivatives_of_unpooling() -> None:
    values, places = F.max_pool2d(double(2, 1, 4, 6), 2, return_indices=True)
    values = values.detach().requires_grad_()
    assert gradcheck(lambda v: F.max_unpool2d(v, places, 2), (values,))
    assert gradgradcheck(lambda v: F.max_unpool2d(v, places, 2), (values,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("shape", [(3, 200), (2, 37, 41), (2, 5, 9, 23)])
@pytest.mark.parametrize("sizes", [1, 3, 7])
def test_adaptive_maxima_of_wide_windows(dtype: torch.dtype, shape: tuple, sizes: int) -> None:
    n = len(shape) - 1
    a = np.random.default_rng(0).integers(-9, 9, shape)  # many ties: the first place counts
    x = torch.tensor(a, dtype=dtype)
    sizes = min(sizes, *shape[1:])
    values, places = ADAPTIVE_MAX[n](x, (sizes,) * n, return_indices=True)
    for at in np.ndindex(*values.shape):
        bounds = [
            (o * s // sizes, -(-(o + 1) * s // sizes))
            for o, s in zip(at[1:], shape[1:], strict=True)
        ]
        inside = np.full(shape[1:], -np.inf)
        window = tuple(slice(*b) for b in bounds)
        inside[window] = a[at[0]][window]
        assert values[at].item() == inside.max()
        assert places[at].item() == inside.argmax()


@pytest.mark.parametrize("count", [3, 21, 64])
def test_the_last_nan_of_a_window_is_its_maximum(count: int) -> None:
    x = torch.arange(float(count)).reshape(1, 1, count)
    x[0, 0, 1] = x[0, 0, count - 2] = float("nan")
    values, places = F.adaptive_max_pool1d(x, 1, return_indices=True)
    assert values.isnan().all()
    assert places.item() == count - 2
    lowest = torch.full((1, 1, count), -math.inf)
    values, places = F.adaptive_max_pool1d(lowest, 1, return_indices=True)
    assert (values.item(), places.item()) == (-math.inf, 0)


DERIVATIVES = {
    "max": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max dilated": lambda x: F.max_pool2d(x, 2, 1, 0, 2),
    "mean": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "mean of what is there": lambda x: F.avg_pool2d(x, 2, 2, 1, count_include_pad=False),
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, (2, 3)),
    "adaptive mean": lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives(name: str) -> None:
    assert gradcheck(DERIVATIVES[name], (double(1, 2, 5, 4),))
    assert gradgradcheck(DERIVATIVES[name], (double(1, 1, 4, 4),))


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: F.max_pool2d(torch.ones(3, 3), 2), RuntimeError, ("max_pool2d", "(3, 3)")),
        (
            lambda: F.max_pool2d(torch.ones(1, 0, 3, 3), 2),
            RuntimeError,
            ("max_pool2d", "(1, 0, 3, 3)"),
        ),
        (
            lambda: F.max_pool2d(torch.ones(1, 1, 3, 3), (2, 2, 2)),
            RuntimeError,
            ("kernel_size", "(2, 2, 2)"),
        ),
        (lambda: F.max_pool2d(torch.ones(1, 1, 3, 3), 2, padding=2), RuntimeError, ("pad",)),
        (
            lambda: F.max_pool2d(torch.ones(1, 1, 3, 3, dtype=torch.bool), 2),
            RuntimeError,
            ("bool",),
        ),
        (
            lambda: F.avg_pool2d(torch.ones(1, 1, 3, 3), 2, divisor_override=0),
            RuntimeError,
            ("divisor",),
        ),
        (lambda: F.avg_pool2d(torch.ones(1, 1, 3, 3), 4), RuntimeError, ("avg_pool",)),
        (lambda: F.adaptive_avg_pool2d(torch.ones(2, 2), 2), ValueError, ("at least 3", "(2, 2)")),
        (
            lambda: F.adaptive_avg_pool2d(torch.ones(1, 2, 2), (-1, 2)),
            RuntimeError,
            ("output_size", "-1"),
        ),
        (
            lambda: F.max_unpool1d(torch.ones(1, 1, 2), torch.tensor([[[0, 9]]]), 2),
            RuntimeError,
            ("max_unpool1d", "9"),
        ),
    ],
)
def test_errors_name_the_op(call, error: type, parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("size", [(8, 8), (2, 4), (4,), (1, 1, 1, 4, 4)])
def test_max_unpool_refuses_sizes_that_pooling_cannot_come_from(size) -> None:
    values, places = F.max_pool2d(torch.arange(16.0).view(1, 1, 4, 4), 2, return_indices=True)
    with pytest.raises(ValueError, match=r"max_unpool2d: .*output_size"):
        F.max_unpool2d(values, places, 2, output_size=size)


@pytest.mark.parametrize("size", [(5, 4), (1, 1, 4, 5)])
def test_max_unpool_takes_sizes_that_pooling_rounds_down(size) -> None:
    values, places = F.max_pool2d(torch.arange(16.0).view(1, 1, 4, 4), 2, return_indices=True)
    assert F.max_unpool2d(values, places, 2, output_size=size).shape == (1, 1, *size[-2:])


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
def test_maxima_without_places(stride):
    """Without a gradient to come, maxima are found without their places: the same values."""
    x = torch.randn(2, 3, 9, 70)
    alone = torch.nn.functional.max_pool2d(x, 3, stride, 1)
    values = torch.nn.functional.max_pool2d(x.requires_grad_(), 3, stride, 1)
    assert torch.equal(alone, values.detach())
