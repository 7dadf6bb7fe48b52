"""Copies between layouts: every permutation, element size, gap and repeat."""

import itertools

import numpy as np
import pytest

import flambeau as torch

DTYPES = ["uint8", "int16", "float32", "float64", "complex128"]
SHAPES = [
    (3, 5),
    (17, 33),
    (64, 100),
    (130, 2, 70),
    (2, 3, 500),
    (500, 4),
    (5, 3, 16, 24),
    (2, 12291),
]


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_permutation(dtype: str, shape: tuple[int, ...]) -> None:
    a = numbers(shape, dtype)
    x = torch.tensor(a)
    for order in itertools.permutations(range(len(shape))):
        made = x.permute(order).contiguous()
        assert made.is_contiguous()
        np.testing.assert_array_equal(made.numpy(), a.transpose(order))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gaps_and_repeats(dtype: str, shape: tuple[int, ...]) -> None:
    a = numbers(shape, dtype)
    x = torch.tensor(a)
    for d in range(a.ndim):
        key = (slice(None),) * d + (slice(1, None, 2),)
        np.testing.assert_array_equal(x[key].contiguous().numpy(), a[key])
        y, b = torch.zeros(shape, dtype=x.dtype), np.zeros_like(a)
        y[key], b[key] = x[key], a[key]
        np.testing.assert_array_equal(y.numpy(), b)
        y[key], b[key] = 1, 1
        np.testing.assert_array_equal(y.numpy(), b)
        wide = x.unsqueeze(d).expand(*shape[:d], 5, *shape[d:]).contiguous()
        np.testing.assert_array_equal(wide.numpy(), np.repeat(np.expand_dims(a, d), 5, d))


@pytest.mark.parametrize("n", [1, 15, 8191, 8193, 100_003])
def test_long_rows_are_shared_by_threads(n: int) -> None:
    a = numbers((3, n), "float32")
    x = torch.tensor(a)
    np.testing.assert_array_equal(x.t().contiguous().numpy(), a.T)
    np.testing.assert_array_equal(x[:, ::2].clone().contiguous().numpy(), a[:, ::2])
    np.testing.assert_array_equal(x[1].expand(4, n).contiguous().numpy(), np.tile(a[1], (4, 1)))
