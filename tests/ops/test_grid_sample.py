"""The kernels of grid sampling against the same in recorded ops, for images of every form."""

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau.autograd import gradgradcheck
from flambeau.kernels import sample
from flambeau.ops.grid_sample_steps import sample_in_steps
from tests.kernels.harness import run_plan, runnable

MODES = ["nearest", "bilinear", "bicubic"]
PADDINGS = ["zeros", "border", "reflection"]
SHAPES = [
    ((2, 1, 5, 7), (6, 5)),
    ((3, 3, 4, 2), (1, 33)),
    ((1, 4, 3, 1), (2, 9)),  # one column: there are no pairs
    ((2, 5, 6, 4), (5, 5)),
    ((1, 16, 1, 1), (3, 3)),
    ((2, 37, 9, 6), (17, 1)),
    ((2, 3, 3, 5, 4), (3, 2, 4)),
    ((1, 18, 2, 1, 5), (2, 5, 3)),
]


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def places(shape: tuple, size: tuple, padding: str = "zeros") -> np.ndarray:
    """A grid that reaches outside; some of it on edges and centres, where slopes are one-sided."""
    grid = uniform(shape[0], *size, len(shape) - 2, seed=1) * 1.7
    grid.reshape(-1)[:2] = 2.91, -2.83
    if padding == "zeros":
        grid.reshape(-1)[2:5] = -1, 1, 0
    return grid


def sample_and_gradients(x: np.ndarray, grid: np.ndarray, *options, dtype=None) -> list[np.ndarray]:
    a, b = (torch.tensor(t).to(dtype).requires_grad_() for t in (x, grid))
    out = F.grid_sample(a, b, *options)
    weights = torch.tensor(uniform(*out.shape, seed=2)).to(dtype)
    grads = torch.autograd.grad(out, (a, b), weights)
    return [t.detach().double().numpy() for t in (out, *grads)]


def in_steps(x: np.ndarray, grid: np.ndarray, *options) -> list[np.ndarray]:
    a, b = (torch.tensor(t, requires_grad=True) for t in (x, grid))
    flat = b.reshape(b.shape[0], -1, b.shape[-1])
    out = sample_in_steps(a, flat, *options).reshape(*a.shape[:2], *b.shape[1:-1])
    grads = torch.autograd.grad(out, (a, b), torch.tensor(uniform(*out.shape, seed=2)))
    return [t.detach().numpy() for t in (out, *grads)]


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_values_and_gradients(mode: str, padding: str, align: bool) -> None:
    for shape, size in SHAPES:
        if mode == "bicubic" and len(shape) == 5:
            continue
        x, grid = uniform(*shape), places(shape, size, padding)
        expected = in_steps(x, grid, mode, padding, align)
        for found, wanted in zip(
            sample_and_gradients(x, grid, mode, padding, align, dtype=torch.float64), expected,
            strict=True,
        ):  # fmt: skip
            np.testing.assert_allclose(found, wanted, atol=1e-12, err_msg=str(shape))
        if mode != "nearest":  # a place may round to another element
            single = sample_and_gradients(x, grid, mode, padding, align, dtype=torch.float32)
            np.testing.assert_allclose(single[0], expected[0], atol=2e-5, err_msg=str(shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(dtype: torch.dtype) -> None:
    x, grid = (torch.tensor(t).to(dtype) for t in (uniform(2, 5, 6, 4), uniform(2, 3, 3, 2)))
    found = F.grid_sample(x, grid, align_corners=False)
    assert found.dtype is dtype
    wide = F.grid_sample(x.float(), grid.float(), align_corners=False)
    assert torch.equal(found, wide.to(dtype))


@pytest.mark.parametrize("channels", [1, 16])
def test_what_is_outside_does_not_count(channels: int) -> None:
    x = torch.full((1, channels, 2, 2), float("inf"))
    grid = torch.tensor([[[[5.0, 0.0], [0.0, -7.0]]]])
    assert not F.grid_sample(x, grid, align_corners=True).any()
    nan = torch.full((1, 1, 1, 2), float("nan"))
    one = torch.ones(1, channels, 2, 2)
    assert F.grid_sample(one, nan, align_corners=True).isnan().all()
    edges = torch.tensor([[[[-1.0, 1.0], [0.0, 0.0]]]], requires_grad=True)
    rising = torch.arange(9.0).reshape(1, 1, 3, 3).expand(1, channels, 3, 3)
    found = F.grid_sample(rising, edges, padding_mode="border", align_corners=True)
    (slopes,) = torch.autograd.grad(found.sum(), edges)
    assert slopes.flatten().tolist() == [0, 0, channels, 3 * channels]
    border = F.grid_sample(one, nan, padding_mode="border", align_corners=True)
    assert border.eq(1).all()


def test_other_layouts_and_no_places() -> None:
    x = torch.tensor(uniform(2, 6, 5, 4)).to(memory_format=torch.channels_last)
    grid = torch.tensor(uniform(2, 2, 3, 4)).permute(0, 2, 3, 1)
    found = F.grid_sample(x, grid, align_corners=False)
    same = F.grid_sample(x.contiguous(), grid.contiguous(), align_corners=False)
    assert torch.equal(found, same)
    empty = torch.zeros(2, 0, 3, 2, dtype=torch.float64, requires_grad=True)
    out = F.grid_sample(x, empty, align_corners=False)
    assert out.shape == (2, 6, 0, 3)
    assert torch.autograd.grad(out.sum(), empty)[0].shape == empty.shape


def test_the_number_of_threads_does_not_matter() -> None:
    x, grid = uniform(3, 40, 30, 20), places((3, 40, 30, 20), (50, 60))
    before = torch.get_num_threads()
    try:
        kept = []
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            kept.append(sample_and_gradients(x, grid, "bilinear", dtype=torch.float32))
    finally:
        torch.set_num_threads(before)
    for other in kept[1:]:
        for found, wanted in zip(other, kept[0], strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_second_derivatives(mode: str) -> None:
    def read(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(x, grid, mode, align_corners=True)

    x = torch.tensor(uniform(1, 2, 3, 4), requires_grad=True)
    grid = torch.tensor(uniform(1, 2, 2, 2, seed=3) * 0.9, requires_grad=True)
    assert gradgradcheck(read, (x, grid))


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
@pytest.mark.parametrize("kind", ["sample", "planes"])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_every_processor(target, kind: str, dtype: str) -> None:
    number = {"f32": np.float32, "f64": np.float64}[dtype]
    x, grid = uniform(2, 3, 5, 7).astype(number), places((2, 3, 5, 7), (23,)).astype(number)
    s = sample.Sampling(dtype, x.shape, 23, "bilinear", "zeros", False)
    planes = kind == "planes"
    image = x if planes else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    out = np.zeros((2, 3, 23) if planes else (2, 23, 3), number)
    run_plan(sample.plan(kind, s, 2, target), [out, image, grid], target, 2)
    wanted = in_steps(x.astype(float), grid.astype(float)[:, None], "bilinear", "zeros", False)[0]
    found = out if planes else out.transpose(0, 2, 1)
    np.testing.assert_allclose(found, wanted[:, :, 0], atol=1e-5)
