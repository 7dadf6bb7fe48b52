"""Where masks hold: positions, coordinates and elements of long masks, beside NumPy's."""

import numpy as np
import pytest

import flambeau as torch

SHARES = [0, 0.01, 0.05, 0.3, 0.99, 1]


def _mask(shape, share):
    return np.random.default_rng(len(shape)).random(shape) < share


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("n", [4096, 4097, 65535, 65536, 65537, 140001])
def test_positions_of_a_long_mask(n, share):
    mask = _mask((n,), share)
    found = torch.from_numpy(mask).nonzero()
    assert found.shape == (mask.sum(), 1)
    np.testing.assert_array_equal(found[:, 0].numpy(), mask.nonzero()[0])


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("shape", [(513, 129), (7, 1, 900), (3, 4, 5, 6, 70), (1, 5000), (5000, 1)])
def test_coordinates(shape, share):
    mask = _mask(shape, share)
    np.testing.assert_array_equal(torch.from_numpy(mask).nonzero().numpy(), np.argwhere(mask))
    turned = torch.from_numpy(mask).transpose(0, 1)
    np.testing.assert_array_equal(turned.nonzero().numpy(), np.argwhere(mask.swapaxes(0, 1)))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "int32", "float32", "float64", "complex64", "complex128"]
)
def test_elements_of_a_long_mask(dtype, share):
    for shape in ((5000,), (65537,), (301, 257)):
        mask = _mask(shape, share)
        x = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
        found = torch.from_numpy(x).masked_select(torch.from_numpy(mask))
        np.testing.assert_array_equal(found.numpy(), x[mask])


def test_elements_of_broadcast_and_turned_operands():
    x = np.random.default_rng(0).standard_normal((80, 90))
    mask = _mask((80, 90), 0.4)
    a, k = torch.from_numpy(x), torch.from_numpy(mask)
    np.testing.assert_array_equal(a.t().masked_select(k.t()).numpy(), x.T[mask.T])
    rows = a.masked_select(k[:, :1]).numpy()
    np.testing.assert_array_equal(rows, x[np.broadcast_to(mask[:, :1], x.shape)])


def test_the_gradient_of_a_long_selection():
    x = torch.randn(100, 100, requires_grad=True)
    mask = torch.rand(100, 100) > 0.5
    x.masked_select(mask).sum().backward()
    assert torch.equal(x.grad, mask.float())


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_runs_of_a_long_vector(dtype):
    x = np.random.default_rng(0).integers(0, 3, 30000).astype(dtype)
    starts = np.flatnonzero(np.r_[True, x[1:] != x[:-1]])
    values, inverse, counts = torch.from_numpy(x).unique_consecutive(True, True)
    np.testing.assert_array_equal(values.numpy(), x[starts])
    np.testing.assert_array_equal(counts.numpy(), np.diff(np.r_[starts, x.size]))
    np.testing.assert_array_equal(values[inverse].numpy(), x)
