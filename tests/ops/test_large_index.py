"""Index kernels on sizes that threads share, on indices that repeat a vector, and on misuse."""

import numpy as np
import pytest

import flambeau as torch

RNG = np.random.default_rng(0)
PLACES = 500
MANY = 140_003  # values for which private tables pay
INDEX = RNG.integers(0, PLACES, MANY)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_adding_many_values_to_few_places(dtype: str) -> None:
    values = RNG.integers(-9, 9, MANY).astype(dtype)
    wanted = np.zeros(PLACES, dtype)
    np.add.at(wanted, INDEX, values)
    zero = torch.zeros(PLACES, dtype=getattr(torch, dtype))
    index, source = torch.tensor(INDEX), torch.tensor(values)
    np.testing.assert_array_equal(zero.index_add(0, index, source).numpy(), wanted)
    np.testing.assert_array_equal(zero.scatter_add(0, index, source).numpy(), wanted)
    np.testing.assert_array_equal(zero.index_put((index,), source, True).numpy(), wanted)
    np.testing.assert_array_equal(torch.bincount(index).numpy(), np.bincount(INDEX))


def test_sums_are_the_same_for_every_number_of_threads() -> None:
    index, source = torch.tensor(INDEX), torch.randn(MANY)
    rows, wide = torch.tensor(INDEX[:20_000]), torch.randn(20_000, 5)
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            narrow = torch.zeros(PLACES).index_add(0, index, source)
            made.append((narrow.numpy(), torch.zeros(PLACES, 5).index_add(0, rows, wide).numpy()))
    finally:
        torch.set_num_threads(before)
    for other in made[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(made[0], other, strict=True))


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_an_index_that_repeats_a_vector_means_rows(dim: int) -> None:
    shape = (40, 30, 20)
    a = RNG.standard_normal(shape).astype("f4")
    vector = torch.tensor(RNG.integers(0, shape[dim], 50))
    sizes = [9, 8, 7]
    sizes[dim] = 50
    at = [1, 1, 1]
    at[dim] = 50
    index = vector.view(at).expand(sizes)
    x = torch.tensor(a)
    made = x.gather(dim, index)
    assert torch.equal(made, x.gather(dim, index.contiguous()))
    for reduce in ("sum", "amax", "prod"):
        source = torch.randn(sizes)
        spread = x.scatter_reduce(dim, index, source, reduce)
        assert torch.equal(spread, x.scatter_reduce(dim, index.contiguous(), source, reduce))
    leaf = torch.tensor(a, requires_grad=True)
    (grad,) = torch.autograd.grad(leaf.gather(dim, index).sum(), leaf)
    (same,) = torch.autograd.grad(leaf.gather(dim, index.contiguous()).sum(), leaf)
    assert torch.equal(grad, same)


@pytest.mark.parametrize("bad", [-1, 64, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("place", [0, 777, 4095])
def test_one_index_out_of_range_is_found(bad: int, place: int) -> None:
    x = torch.zeros(8, 64)
    index = torch.zeros(8, 512, dtype=torch.int64)
    index.view(-1)[place] = bad
    with pytest.raises(RuntimeError, match="out of bounds"):
        x.gather(1, index)
    with pytest.raises(RuntimeError, match="out of bounds"):
        x.scatter_add_(1, index, torch.ones(8, 512))
    assert x.abs().sum().item() == 0
    with pytest.raises(IndexError, match="out of bounds"):
        x.view(-1)[:64].index_select(0, index.view(-1))


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_few_indices_in_each_of_many_rows(columns: int) -> None:
    a = RNG.standard_normal((3000, 16)).astype("f4")
    index = RNG.integers(0, 16, (3000, columns))
    x, i = torch.tensor(a), torch.tensor(index)
    np.testing.assert_array_equal(x.gather(1, i).numpy(), np.take_along_axis(a, index, 1))
    wanted = np.zeros_like(a)
    np.put_along_axis(wanted, index[:, :1], 1, 1)
    np.testing.assert_array_equal(torch.zeros(3000, 16).scatter_(1, i[:, :1], 1.0).numpy(), wanted)


@pytest.mark.parametrize("size", [0, 1, 2, 7, 1000])
@pytest.mark.parametrize("dtype", ["f4", "f2", "i8", "u1"])
def test_places_in_sorted_sequences(size: int, dtype: str) -> None:
    edges = np.sort(RNG.integers(0, 100, size)).astype(dtype)
    values = RNG.integers(0, 100, (7, 13)).astype(dtype)
    for side in ("left", "right"):
        found = torch.searchsorted(torch.tensor(edges), torch.tensor(values), side=side)
        np.testing.assert_array_equal(found.numpy(), np.searchsorted(edges, values, side))
        rows = torch.tensor(np.tile(edges, (7, 1)))
        lines = torch.searchsorted(rows, torch.tensor(values), side=side, out_int32=True)
        assert lines.dtype is torch.int32
        np.testing.assert_array_equal(lines.numpy(), found.numpy())


def test_padding_rows_and_frequencies_of_an_embedding() -> None:
    weight = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[1, 2, 1], [0, 5, 1]])
    look_up = torch.nn.functional.embedding
    (grad,) = torch.autograd.grad(look_up(index, weight, padding_idx=2).sum(), weight)
    assert grad[:, 0].tolist() == [1, 3, 0, 0, 0, 1]
    (grad,) = torch.autograd.grad(look_up(index, weight, scale_grad_by_freq=True).sum(), weight)
    assert grad[:, 0].tolist() == [1, 1, 1, 0, 0, 1]
    f = lambda w: look_up(index, w, padding_idx=2)
    assert torch.autograd.gradgradcheck(f, weight)
