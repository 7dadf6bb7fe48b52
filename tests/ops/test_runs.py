"""Runs of any lengths: repeated positions, triangles, choices; matrices of blocks and diagonals."""

import itertools

import numpy as np
import pytest

import flambeau as torch
from flambeau.autograd import gradcheck, gradgradcheck


@pytest.mark.parametrize("count", [0, 1, 5, 300, 20_000])
@pytest.mark.parametrize("most", [1, 3, 40])
def test_repeats_given_one_by_one(count: int, most: int) -> None:
    rng = np.random.default_rng(count + most)
    counts, x = rng.integers(0, most + 1, count), rng.standard_normal((count, 2))
    wanted = np.repeat(x, counts, 0)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for dtype in (torch.int64, torch.int32):
                repeats = torch.tensor(counts, dtype=dtype)
                found = torch.repeat_interleave(torch.tensor(x), repeats, 0)
                np.testing.assert_array_equal(found.numpy(), wanted)
                places = torch.repeat_interleave(repeats)
                assert places.dtype is dtype
                np.testing.assert_array_equal(places.numpy(), np.repeat(np.arange(count), counts))
    finally:
        torch.set_num_threads(before)
    with pytest.raises(RuntimeError, match="negative"):
        torch.repeat_interleave(torch.tensor([2, -1]))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (4, 7), (9, 2), (60, 33)])
@pytest.mark.parametrize("offset", [-50, -3, -1, 0, 1, 5, 40])
def test_triangles(shape: tuple, offset: int) -> None:
    for ours, theirs in (
        (torch.tril_indices, np.tril_indices),
        (torch.triu_indices, np.triu_indices),
    ):
        found = ours(*shape, offset)
        np.testing.assert_array_equal(found.numpy(), np.stack(theirs(shape[0], offset, shape[1])))
    assert torch.tril_indices(*shape, offset, dtype=torch.int32).dtype is torch.int32


@pytest.mark.parametrize("again", [False, True])
def test_choices(again: bool) -> None:
    choose = itertools.combinations_with_replacement if again else itertools.combinations
    for n, r in ((0, 2), (1, 2), (2, 2), (9, 2), (5, 3), (4, 1)):
        found = torch.combinations(torch.arange(n), r, again)
        assert found.shape == (len(list(choose(range(n), r))), r)
        assert found.tolist() == [list(row) for row in choose(range(n), r)]


def test_diagonals_and_blocks() -> None:
    for shape, offset, dims in (((3,), 0, (-2, -1)), ((2, 4), -2, (0, 2)), ((2, 3), 1, (2, 0))):
        x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        made = torch.diag_embed(x, offset, *dims)
        assert torch.equal(made.diagonal(offset, *dims), x)
        assert int((made != 0).sum()) == x.numel()
        assert gradcheck(lambda t, o=offset, d=dims: torch.diag_embed(t, o, *d), (x,))
        assert gradgradcheck(lambda t, o=offset, d=dims: torch.diag_embed(t, o, *d), (x,))
    a, b = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((2, 3), (1, 2)))
    c = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    found = torch.block_diag(a, b, c)
    assert found.shape == (4, 6)
    assert torch.equal(found[:2, :3], a)
    assert found[2, 3:].tolist() == [*b[0].tolist(), 0]
    assert found[3].tolist() == [0] * 5 + [5]
    assert gradcheck(torch.block_diag, (a, b, c))
    assert torch.block_diag(torch.tensor([1]), torch.tensor([2.5])).dtype is torch.float32


@pytest.mark.parametrize("n", [1, 2, 9])
def test_trapezoids(n: int) -> None:
    y, x = np.random.default_rng(n).standard_normal((2, 3, n))
    for axis in (0, 1):
        found = torch.trapezoid(torch.tensor(y), dx=0.5, dim=axis)
        np.testing.assert_allclose(found.numpy(), np.trapezoid(y, dx=0.5, axis=axis), atol=1e-14)
        found = torch.trapezoid(torch.tensor(y), torch.tensor(x), dim=axis)
        np.testing.assert_allclose(found.numpy(), np.trapezoid(y, x, axis=axis), atol=1e-14)
    assert torch.trapezoid(torch.ones(2, 0)).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool])
def test_distinct_bytes(dtype: torch.dtype) -> None:
    numbers = np.random.default_rng(0).integers(0, 200, (7, 40))
    numbers = numbers.astype(np.uint8) if dtype is torch.uint8 else numbers > 100
    values, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    found = torch.unique(torch.tensor(numbers), return_inverse=True, return_counts=True)
    for ours, wanted in zip(found, (values, inverse.reshape(7, 40), counts), strict=True):
        np.testing.assert_array_equal(ours.numpy(), wanted)
    assert found[0].dtype is dtype
    assert torch.unique(torch.zeros(0, dtype=dtype)).shape == (0,)


def test_consecutive_values() -> None:
    x = torch.tensor([[1.0, 1.0, 2.0], [2.0, 1.0, 1.0]])
    assert torch.unique_consecutive(x).tolist() == [1, 2, 1]
    assert torch.unique_consecutive(x, return_counts=True)[1].tolist() == [2, 2, 2]
    nan = torch.tensor([float("nan"), float("nan"), 0.0, -0.0])
    assert torch.unique_consecutive(nan).shape == (3,)


def test_cross_products_of_many_rows() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1500, 3))
    x, y = (torch.tensor(t, requires_grad=True) for t in (a, b))
    found = torch.linalg.cross(x, y)
    assert found.is_contiguous()
    np.testing.assert_array_equal(found.detach().numpy(), np.cross(a, b))
    g = torch.tensor(rng.standard_normal((1500, 3)))
    dx, dy = torch.autograd.grad(found, (x, y), g)
    np.testing.assert_allclose(dx.numpy(), np.cross(b, g.numpy()), atol=1e-12)
    np.testing.assert_allclose(dy.numpy(), np.cross(g.numpy(), a), atol=1e-12)


def test_triangles_of_other_layouts() -> None:
    x = torch.randn(2, 5, 7, requires_grad=True)
    for t in (x.mT, x.permute(2, 0, 1), x[:, ::2]):
        assert torch.equal(t.tril(1), t.contiguous().tril(1))
        assert torch.equal(t.triu(-1), t.contiguous().triu(-1))
    (g,) = torch.autograd.grad(x.mT.tril().sum(), x)
    assert torch.equal(g, torch.ones(2, 7, 5).tril().mT)


@pytest.mark.parametrize("base", [10.0, 2, 0.5, -2.0, 0.0])
def test_logarithmic_steps(base: float) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        powers = torch.linspace(-3, 4, 8, dtype=dtype)
        found = torch.logspace(-3, 4, 8, base, dtype=dtype)
        with np.errstate(divide="ignore", invalid="ignore"):
            wanted = np.power(np.float64(base), powers.double().numpy())
        same = torch.tensor(wanted).to(dtype)
        assert torch.equal(found.nan_to_num(), same.nan_to_num())
