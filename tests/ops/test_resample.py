"""Padding, interpolation, grid sampling and sliding blocks against NumPy."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import flambeau as torch
import flambeau.nn.functional as F
from flambeau.autograd import gradcheck, gradgradcheck


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(uniform(*shape, seed=seed), requires_grad=True)


# ---- padding -------------------------------------------------------------------------------------

NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int64", "float16", "bfloat16", "float32", "complex64"]
)
def test_constant_padding(dtype: str) -> None:
    x = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(getattr(torch, dtype))
    found = F.pad(x, (1, 2, 0, 1), value=1)
    assert found.dtype is x.dtype
    wanted = np.pad(x.to(torch.complex64).numpy(), [(0, 1), (1, 2)], constant_values=1)
    np.testing.assert_array_equal(found.to(torch.complex64).numpy(), wanted)


def test_negative_widths_cut() -> None:
    x = uniform(2, 4, 5)
    t = torch.tensor(x)
    np.testing.assert_array_equal(F.pad(t, (-1, -2)).numpy(), x[..., 1:3])
    found = F.pad(t, (-1, 2, 1, -2), value=7).numpy()
    np.testing.assert_array_equal(
        found, np.pad(x[:, :2, 1:], [(0, 0), (1, 0), (0, 2)], constant_values=7)
    )
    found = F.pad(t, (-1, 2), mode="circular").numpy()
    np.testing.assert_array_equal(found, np.pad(x[..., 1:], [(0, 0), (0, 0), (0, 2)], "wrap"))


@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize("widths", [(1, 2), (2, 1, 0, 2), (1, 0, 2, 2, 1, 1)])
def test_padding_with_other_elements(mode: str, widths: tuple[int, ...]) -> None:
    n = len(widths) // 2
    x = uniform(2, 3, *(3, 4, 5)[:n])
    pairs = [(0, 0), (0, 0), *[widths[2 * k : 2 * k + 2] for k in reversed(range(n))]]
    wanted = np.pad(x, pairs, NUMPY_MODES[mode])
    np.testing.assert_array_equal(F.pad(torch.tensor(x), widths, mode).numpy(), wanted)
    np.testing.assert_array_equal(F.pad(torch.tensor(x)[0], widths, mode).numpy(), wanted[0])


@pytest.mark.parametrize("mode", ["constant", *NUMPY_MODES])
def test_padding_derivatives(mode: str) -> None:
    assert gradcheck(lambda x: F.pad(x, (1, 2), mode), (double(1, 2, 3),))
    assert gradgradcheck(lambda x: F.pad(x, (1, 1), mode), (double(1, 1, 3),))


# ---- interpolation -------------------------------------------------------------------------------


def linear_weights(size: int, out: int, align: bool) -> np.ndarray:
    """The matrix (out, size) of linear interpolation."""
    m = np.zeros((out, size))
    for i in range(out):
        at = i * (size - 1) / max(out - 1, 1) if align else max((i + 0.5) * size / out - 0.5, 0)
        low = min(int(at), size - 1)
        m[i, low] += 1 - (at - low)
        m[i, min(low + 1, size - 1)] += at - low
    return m


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize(
    ("mode", "shape", "size"),
    [
        ("linear", (2, 3, 5), (8,)),
        ("bilinear", (1, 2, 4, 6), (7, 3)),
        ("trilinear", (1, 1, 3, 2, 4), (5, 4, 2)),
    ],
)
def test_linear_interpolation(
    mode: str, shape: tuple[int, ...], size: tuple[int, ...], align: bool
) -> None:
    wanted = x = uniform(*shape)
    for k, out in enumerate(size):
        m = linear_weights(shape[k + 2], out, align)
        wanted = np.moveaxis(np.tensordot(wanted, m, ([k + 2], [1])), -1, k + 2)
    found = F.interpolate(torch.tensor(x), size, mode=mode, align_corners=align)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12, atol=1e-14)


def test_nearest_interpolation() -> None:
    x = uniform(1, 2, 3, 4)
    t = torch.tensor(x)
    np.testing.assert_array_equal(
        F.interpolate(t, scale_factor=2).numpy(), x.repeat(2, 2).repeat(2, 3)
    )
    np.testing.assert_array_equal(F.interpolate(t, (3, 2)).numpy(), x[..., ::2])
    exact = F.interpolate(t, (3, 2), mode="nearest-exact").numpy()
    np.testing.assert_array_equal(exact, x[..., 1::2])
    assert F.interpolate(torch.ones(1, 1, 4, dtype=torch.uint8), 2).dtype is torch.uint8


def test_cubic_interpolation_keeps_samples_and_constants() -> None:
    x = uniform(1, 1, 4, 4)
    t = torch.tensor(x)
    found = F.interpolate(t, (7, 7), mode="bicubic", align_corners=True)
    np.testing.assert_allclose(found.numpy()[..., ::2, ::2], x, atol=1e-12)
    for antialias in (False, True):
        flat = F.interpolate(torch.ones(1, 1, 5, 5), (3, 9), mode="bicubic", antialias=antialias)
        np.testing.assert_allclose(flat.numpy(), 1, rtol=1e-6)


def test_area_and_antialias_average() -> None:
    x = uniform(1, 1, 4, 6)
    means = x.reshape(1, 1, 2, 2, 3, 2).mean((3, 5))
    np.testing.assert_allclose(F.interpolate(torch.tensor(x), (2, 3), mode="area").numpy(), means)
    ramp = torch.arange(8.0).reshape(1, 1, 1, 8)
    found = F.interpolate(ramp, (1, 4), mode="bilinear", antialias=True)
    np.testing.assert_allclose(found.flatten().numpy()[1:3], [2.5, 4.5], rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "nearest"}, {"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True},
        {"mode": "bicubic"}, {"mode": "area"}, {"mode": "bilinear", "antialias": True},
    ],
    ids=str,
)  # fmt: skip
def test_interpolation_derivatives(options: dict) -> None:
    assert gradcheck(lambda x: F.interpolate(x, (2, 5), **options), (double(1, 2, 3, 4),))
    assert gradgradcheck(lambda x: F.interpolate(x, (3, 2), **options), (double(1, 1, 2, 3),))


# ---- grid sampling -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_the_identity_grid_reads_the_image(mode: str) -> None:
    x = torch.tensor(uniform(2, 3, 4, 5))
    theta = torch.tensor([[1.0, 0, 0], [0, 1, 0]], dtype=torch.float64).expand(2, 2, 3)
    for align in (False, True):
        grid = F.affine_grid(theta, [2, 3, 4, 5], align_corners=align)
        found = F.grid_sample(x, grid, mode, align_corners=align)
        np.testing.assert_allclose(found.numpy(), x.numpy(), atol=1e-12)


def test_places_outside() -> None:
    x = torch.tensor([[[[1.0, 2.0]]]])
    grid = torch.tensor([[[[-3.0, 0.0], [3.0, 0.0]]]])
    assert F.grid_sample(x, grid, padding_mode="zeros", align_corners=True).tolist() == [[[[0, 0]]]]
    assert F.grid_sample(x, grid, padding_mode="border", align_corners=True).tolist() == [
        [[[1, 2]]]
    ]
    grid = torch.tensor([[[[2.0, 0.0], [-1.5, 0.0]]]])
    reflected = F.grid_sample(x, grid, padding_mode="reflection", align_corners=True)
    assert reflected.tolist() == [[[[1.5, 1.25]]]]


def test_half_way_between_four_pixels() -> None:
    x = uniform(1, 2, 2, 2)
    found = F.grid_sample(torch.tensor(x), torch.zeros(1, 1, 1, 2).double(), align_corners=True)
    np.testing.assert_allclose(found.numpy()[..., 0, 0], x.mean((2, 3)))
    volume = uniform(1, 2, 2, 2, 2)
    found = torch.grid_sampler_3d(
        torch.tensor(volume), torch.zeros(1, 1, 1, 1, 3).double(), 0, 0, True
    )
    np.testing.assert_allclose(found.numpy()[..., 0, 0, 0], volume.mean((2, 3, 4)))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sampling_derivatives(mode: str, padding: str) -> None:
    def sample(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(x, grid, mode, padding, align_corners=False)

    grid = torch.tensor(uniform(1, 2, 2, 2, seed=3) * 0.9, requires_grad=True)
    assert gradcheck(sample, (double(1, 2, 3, 4), grid))


# ---- sliding blocks ------------------------------------------------------------------------------


def test_unfold_and_fold() -> None:
    x = uniform(2, 3, 5, 6)
    found = F.unfold(torch.tensor(x), (2, 3), padding=1, stride=2).numpy()
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    columns = [
        padded[:, :, i : i + 2, j : j + 3].reshape(2, -1)
        for i, j in itertools.product(range(0, 6, 2), range(0, 6, 2))
    ]
    np.testing.assert_array_equal(found, np.stack(columns, 2))
    blocks = torch.tensor(x[..., :4, :])
    back = F.fold(F.unfold(blocks, 2, stride=2), (4, 6), 2, stride=2)
    np.testing.assert_array_equal(back.numpy(), blocks.numpy())
    assert gradcheck(lambda x: F.unfold(x, 2, padding=1), (double(1, 2, 3, 3),))
    assert gradcheck(lambda x: F.fold(x, (3, 3), 2), (double(1, 4, 4),))


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: F.pad(torch.ones(2), (1,)), RuntimeError, ("divisible by 2",)),
        (lambda: F.pad(torch.ones(2), (1, 1, 1, 1)), RuntimeError, ("4", "dimension 1")),
        (lambda: F.pad(torch.ones(2), (-3, 0)), RuntimeError, ("pad", "(2,)", "negative")),
        (lambda: F.pad(torch.ones(1, 3), (3, 0), "reflect"), RuntimeError, ("less than", "[1, 3]")),
        (lambda: F.pad(torch.ones(1, 3), (4, 0), "circular"), RuntimeError, ("wrapping", "[1, 3]")),
        (lambda: F.pad(torch.ones(3), (1, 1), "mirror"), NotImplementedError, ("mirror",)),
        (lambda: F.interpolate(torch.ones(1, 1, 3)), ValueError, ("size or scale_factor",)),
        (
            lambda: F.interpolate(torch.ones(1, 1, 3), 2, mode="cubic"),
            NotImplementedError,
            ("cubic",),
        ),
        (
            lambda: F.interpolate(torch.ones(1, 1, 3), 2, mode="bilinear"),
            NotImplementedError,
            ("3D", "bilinear"),
        ),
        (lambda: F.interpolate(torch.ones(1, 1, 3), (2, 2)), ValueError, ("spatial", "[3]")),
        (
            lambda: F.interpolate(torch.ones(1, 1, 3), 0),
            RuntimeError,
            ("greater than 0", "(1, 1, 3)"),
        ),
        (
            lambda: F.interpolate(torch.ones(1, 1, 3), 2, align_corners=True),
            ValueError,
            ("align_corners",),
        ),
        (
            lambda: F.grid_sample(torch.ones(1, 1, 3, 3), torch.ones(1, 2, 2, 3)),
            RuntimeError,
            ("grid_sampler", "[1, 2, 2, 3]", "[1, 1, 3, 3]"),
        ),
        (lambda: F.fold(torch.ones(1, 4, 3), (3, 3), 2), RuntimeError, ("fold", "(1, 4, 3)")),
    ],
)
def test_errors_name_the_op(call, error: type, parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("stride", [3, 4])
def test_fold_of_blocks_that_do_not_overlap(stride):
    """fold puts the blocks of unfold back, zeros between them."""
    x = torch.randn(2, 3, 11, 12)
    blocks = torch.nn.functional.unfold(x, 3, stride=stride)
    back = torch.nn.functional.fold(blocks, (11, 12), 3, stride=stride)
    covered = torch.nn.functional.unfold(torch.ones(2, 3, 11, 12), 3, stride=stride)
    mask = torch.nn.functional.fold(covered, (11, 12), 3, stride=stride)
    assert torch.equal(back, x * mask)


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    stride=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    channels=st.integers(1, 4),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16]),
    threads=st.integers(1, 3),
)
@settings(max_examples=80, deadline=None)
def test_fold_adds_every_block_where_it_was_taken(
    kernel, dilation, padding, stride, channels, dtype, threads
):
    size = (7, 9)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    assume(all(s + 2 * p >= r for s, p, r in zip(size, padding, reach, strict=True)))
    counts = [
        (s + 2 * p - r) // t + 1 for s, p, r, t in zip(size, padding, reach, stride, strict=True)
    ]
    rng = np.random.default_rng(0)
    blocks = rng.integers(-8, 8, (2, channels, *kernel, *counts))  # sums are exact in every type
    wanted = np.zeros((2, channels, size[0] + 2 * padding[0], size[1] + 2 * padding[1]))
    for i, j, y, x in np.ndindex(*kernel, *counts):
        at = y * stride[0] + i * dilation[0], x * stride[1] + j * dilation[1]
        wanted[:, :, at[0], at[1]] += blocks[:, :, i, j, y, x]
    wanted = wanted[:, :, padding[0] :, padding[1] :][:, :, : size[0], : size[1]]
    columns = torch.tensor(blocks.reshape(2, -1, counts[0] * counts[1]), dtype=dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        made = F.fold(columns, size, kernel, dilation, padding, stride)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(made.double().numpy(), wanted)
