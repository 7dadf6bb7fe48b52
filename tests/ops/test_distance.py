"""Distances between rows against NumPy's differences: every norm, odd sizes, gradients."""

import math

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau.autograd import gradcheck, gradgradcheck
from flambeau.kernels import distances
from tests.kernels.harness import run_plan, runnable

NORMS = [0.0, 0.7, 1.0, 1.5, 2.0, 3.0, math.inf]
SIZES = [(1, 1, 1), (9, 17, 3), (31, 70, 1), (23, 33, 20), (40, 129, 70), (3, 300, 5)]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def norms(x: np.ndarray, y: np.ndarray, p: float) -> np.ndarray:
    return np.linalg.norm(x[..., :, None, :] - y[..., None, :, :], p, axis=-1)


def leaf(x: np.ndarray, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(x).to(dtype).requires_grad_()


@pytest.mark.parametrize("p", NORMS)
def test_cdist(p: float) -> None:
    for rows, columns, width in SIZES:
        x, y = normal(2, rows, width), normal(2, columns, width, seed=1)
        y[:, 0] = x[:, 0]  # a distance of zero
        wanted = norms(x, y, p)
        for dtype, close in ((torch.float64, 1e-11), (torch.float32, 2e-5)):
            a, b = (torch.tensor(t).to(dtype) for t in (x, y))
            found = torch.cdist(a, b, p, "donot_use_mm_for_euclid_dist")
            scale = np.abs(wanted).max() + 1
            np.testing.assert_allclose(found.double().numpy(), wanted, atol=close * scale)


@pytest.mark.parametrize("p", NORMS)
def test_pdist(p: float) -> None:
    for rows, width in ((0, 3), (1, 3), (2, 1), (17, 5), (65, 33), (150, 2)):
        x = normal(rows, width)
        places = np.triu_indices(rows, 1)
        wanted = norms(x, x, p)[places] if rows else np.zeros(0)
        found = F.pdist(torch.tensor(x), p)
        np.testing.assert_allclose(
            found.numpy(), wanted, atol=1e-11 * (1 + abs(wanted).max(initial=0))
        )


@pytest.mark.parametrize("p", NORMS)
def test_gradients_are_those_of_the_differences(p: float) -> None:
    mode = "donot_use_mm_for_euclid_dist"
    for rows, columns, width in SIZES[1:]:
        x, y = leaf(normal(rows, width)), leaf(normal(columns, width, seed=1))
        g = torch.tensor(normal(rows, columns, seed=2))
        found = torch.autograd.grad(torch.cdist(x, y, p, mode), (x, y), g, allow_unused=True)
        if p == 0:
            assert all(not t.any() for t in found if t is not None)
            continue
        difference = x.unsqueeze(1) - y
        if p == math.inf:
            slow = difference.abs().amax(-1)
        else:
            slow = (difference.abs() ** p).sum(-1) ** (1 / p)
        wanted = torch.autograd.grad(slow, (x, y), g)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, math.inf])
def test_pdist_derivatives(p: float) -> None:
    x = leaf(normal(7, 4))
    assert gradcheck(lambda t: F.pdist(t, p), (x,))
    if p not in (1.0, math.inf):
        assert gradgradcheck(lambda t: F.pdist(t, p), (x,))


def test_equal_rows_have_no_slope() -> None:
    x = torch.ones(40, 30, requires_grad=True)
    for p in (1.0, 1.5, 2.0, 3.0, math.inf):
        for found in (F.pdist(x, p), torch.cdist(x, x, p, "donot_use_mm_for_euclid_dist")):
            (g,) = torch.autograd.grad(found.sum(), x)
            assert not g.any()


def test_nan_and_the_number_of_threads() -> None:
    x, y = torch.tensor(normal(100, 40)), torch.tensor(normal(90, 40, seed=1))
    x[3, 2] = math.nan
    before = torch.get_num_threads()
    try:
        kept = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            kept.append([torch.cdist(x, y, p) for p in (1.0, 3.0, math.inf)] + [F.pdist(x)])
    finally:
        torch.set_num_threads(before)
    for other in kept[1:]:
        for a, b in zip(kept[0], other, strict=True):
            assert torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))
    for found in kept[0][:3]:
        assert found[3].isnan().all()
        assert not found[:3].isnan().any()


def test_errors() -> None:
    with pytest.raises(RuntimeError, match="2D"):
        F.pdist(torch.ones(3))
    with pytest.raises(RuntimeError, match="non-negative"):
        torch.pdist(torch.ones(3, 3), -1)
    with pytest.raises(RuntimeError, match="floating"):
        F.pdist(torch.ones(3, 3).long())


@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
@pytest.mark.parametrize(("dtype", "number"), [("f32", np.float32), ("f64", np.float64)])
@pytest.mark.parametrize("p", [1.0, 2.0, 2.5])
def test_every_processor(target, dtype: str, number: type, p: float) -> None:
    s = distances.Problem(dtype, 2, 11, 37, 9, p)
    x, y = normal(2, 11, 9).astype(number), normal(2, 37, 9, seed=1).astype(number)
    wide = distances.panel(dtype, 37, target)
    panels = -(-37 // wide)
    padded = np.zeros((2, panels * wide, 9), number)
    padded[:, :37] = y
    packed = np.ascontiguousarray(padded.reshape(2, panels, wide, 9).transpose(0, 1, 3, 2))
    out = np.zeros((2, 11, 37), number)
    run_plan(distances.plan(s, False, 2, target), [out, x, packed], target, 2)
    np.testing.assert_allclose(out, norms(x.astype(float), y.astype(float), p), rtol=2e-5)
    slopes = np.zeros((2, 11, 9), number)
    factors = normal(2, 11, 37, seed=2).astype(number)
    run_plan(distances.plan_slopes(s, target), [slopes, factors, out, x, y], target, 2)
    difference = x[:, :, None].astype(float) - y[:, None]
    slope = {1.0: np.sign(difference), 2.0: difference}
    wanted = slope.get(p, np.sign(difference) * np.abs(difference) ** (p - 1))
    np.testing.assert_allclose(slopes, (wanted * factors[..., None]).sum(2), atol=2e-4)
