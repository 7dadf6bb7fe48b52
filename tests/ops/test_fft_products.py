"""Transforms by matrix products, against NumPy's in double precision."""

import numpy as np
import pytest

import flambeau as torch
from flambeau.ops import fft_products

LENGTHS = [1, 2, 3, 5, 7, 12, 16, 31, 64, 100, 127, 128, 360, 1024, 4096]


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("n", LENGTHS)
def test_rows(n, dtype):
    torch.manual_seed(n)
    x = torch.randn(3, n, dtype=dtype)
    for forward, norm in ((True, "backward"), (True, "ortho"), (False, "backward")):
        name = "fft" if forward else "ifft"
        expected = getattr(np.fft, name)(x.numpy().astype(np.complex128), norm=norm)
        got = getattr(torch.fft, name)(x, norm=norm).numpy()
        bound = 5e-7 if dtype == torch.complex64 else 1e-14
        assert abs(got - expected).max() <= bound * abs(expected).max() + 1e-30


def test_any_dimensions_and_layouts():
    """Transposed inputs, several dimensions in any order."""
    torch.manual_seed(0)
    x = torch.randn(6, 20, 9, dtype=torch.complex64).transpose(0, 2)
    for dims in ((0,), (1,), (-1,), (0, 2), (2, 1, 0)):
        got = torch.fft.fftn(x, dim=dims)
        expected = np.fft.fftn(x.numpy().astype(np.complex128), axes=dims)
        assert abs(got.numpy() - expected).max() <= 5e-7 * abs(expected).max()
        assert got.shape == x.shape


def test_what_splits():
    """Small factors, for which the products are worth it; a long prime has none."""
    assert fft_products.split(4096, torch.complex64) == (64, 64)
    assert fft_products.split(360, torch.complex64) == (18, 20)
    assert fft_products.split(131, torch.complex64) is None
    assert fft_products.split(4096, torch.complex128) is None


def test_a_constant_and_a_wave_of_whole_quarters_are_exact():
    x = torch.tensor([1, 1j, -1, -1j] * 4, dtype=torch.complex64)
    expected = torch.zeros(16, dtype=torch.complex64)
    expected[4] = 16
    assert torch.equal(torch.fft.fft(x), expected)


def test_the_number_of_threads_does_not_matter():
    torch.manual_seed(1)
    x = torch.randn(64, 1024, dtype=torch.complex64)
    threads = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(torch.fft.fft(x))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
