"""Fourier transforms: values against NumPy, derivatives, errors, short-time transforms."""

import numpy as np
import pytest

import flambeau as torch
from flambeau.autograd import gradcheck, gradgradcheck

NORMS = [None, "backward", "ortho", "forward"]


def same(actual, expected, tolerance=1e-9):
    assert tuple(actual.shape) == expected.shape
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


def signal(*shape, complex_=False):
    return torch.randn(*shape, dtype=torch.complex128 if complex_ else torch.float64)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
@pytest.mark.parametrize("n", [None, 4, 5, 9])
def test_one_dimension(name, norm, n):
    x = signal(2, 6, complex_=name in ("fft", "ifft", "irfft", "hfft"))
    same(getattr(torch.fft, name)(x, n, 1, norm), getattr(np.fft, name)(x.numpy(), n, 1, norm))
    same(getattr(torch.fft, name)(x, n, dim=0), getattr(np.fft, name)(x.numpy(), n, 0))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft"])
def test_many_dimensions(name, norm):
    x = signal(3, 4, 6, complex_=name != "rfft")
    reference = getattr(np.fft, name + "n")
    same(
        getattr(torch.fft, name + "n")(x, norm=norm),
        reference(x.numpy(), axes=(0, 1, 2), norm=norm),
    )
    same(getattr(torch.fft, name + "2")(x, norm=norm), reference(x.numpy(), axes=(1, 2), norm=norm))
    same(
        getattr(torch.fft, name + "n")(x, (5, 3), (2, 0), norm),
        reference(x.numpy(), (5, 3), (2, 0), norm),
    )


def test_hermitian_pair_inverts():
    x = signal(3, 4, 6)
    same(torch.fft.hfftn(torch.fft.ihfftn(x), x.shape), x.numpy())
    same(torch.fft.irfftn(torch.fft.rfftn(x), x.shape), x.numpy())


@pytest.mark.parametrize(
    ("given", "result"),
    [
        (torch.float32, torch.complex64),
        (torch.float64, torch.complex128),
        (torch.int64, torch.complex64),
        (torch.bool, torch.complex64),
    ],
)
def test_types(given, result):
    assert torch.fft.fft(torch.ones(4).to(given)).dtype is result
    assert torch.fft.rfft(torch.ones(4).to(given)).dtype is result
    assert torch.fft.irfft(torch.fft.rfft(torch.ones(4).to(given))).dtype is result.to_real()


@pytest.mark.parametrize(
    "name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft", "fftn", "rfftn", "irfftn"]
)
@pytest.mark.parametrize("norm", ["backward", "ortho"])
def test_derivatives(name, norm):
    x = signal(2, 3, complex_=not name.startswith(("rfft", "ihfft"))).requires_grad_()
    assert gradcheck(lambda x: getattr(torch.fft, name)(x, norm=norm), (x,))
    assert gradgradcheck(lambda x: getattr(torch.fft, name)(x, norm=norm), (x,))


def test_shifts_and_frequencies():
    x = torch.arange(15).reshape(3, 5)
    for dim in (None, 0, (0, 1)):
        same(torch.fft.fftshift(x, dim), np.fft.fftshift(x.numpy(), dim))
        same(torch.fft.ifftshift(x, dim), np.fft.ifftshift(x.numpy(), dim))
    for n in (4, 5):
        same(torch.fft.fftfreq(n, 0.5, dtype=torch.float64), np.fft.fftfreq(n, 0.5))
        same(torch.fft.rfftfreq(n, 0.5, dtype=torch.float64), np.fft.rfftfreq(n, 0.5))


def test_errors():
    with pytest.raises(RuntimeError, match="real input"):
        torch.fft.rfft(torch.ones(3, dtype=torch.complex64))
    with pytest.raises(RuntimeError, match="Invalid number of data points"):
        torch.fft.fft(torch.ones(3), 0)
    with pytest.raises(RuntimeError, match="normalization mode"):
        torch.fft.fft(torch.ones(3), norm="best")
    with pytest.raises(IndexError):
        torch.fft.fft(torch.ones(3), dim=2)
    with pytest.raises(RuntimeError, match="Unsupported dtype"):
        torch.fft.fft(torch.ones(3, dtype=torch.bfloat16))
    with pytest.raises(RuntimeError, match="appears multiple times"):
        torch.fft.fftn(torch.ones(3, 3), dim=(0, 0))


def test_short_time_transform_and_back():
    x, window = signal(2, 64), torch.ones(8, dtype=torch.float64)
    spectra = torch.stft(x, 16, 4, 8, window, return_complex=True)
    frames = np.pad(x.numpy(), ((0, 0), (8, 8)), mode="reflect")
    padded = np.pad(np.ones(8), 4)
    expected = np.stack([np.fft.rfft(frames[:, i : i + 16] * padded) for i in range(0, 65, 4)], -1)
    same(spectra, expected)
    same(torch.istft(spectra, 16, 4, 8, window, length=64), x.numpy())
    with pytest.raises(RuntimeError, match="return_complex"):
        torch.stft(x, 16)
    with pytest.raises(RuntimeError, match="overlap add"):
        torch.istft(spectra, 16, 4, 8, window * 0)


@pytest.mark.parametrize(("n", "hop"), [(8, 2), (8, 3), (7, 7), (5, 8), (1, 1)])
def test_frames_overlap_where_they_were_cut(n, hop):
    """The sum of frames is the transpose of cutting them."""
    from flambeau.ops.stft import overlap_add

    frames = signal(2, 6, n).requires_grad_()
    total = overlap_add(frames, hop)
    expected = np.zeros((2, 5 * hop + n))
    for k in range(6):
        expected[:, k * hop : k * hop + n] += frames.detach().numpy()[:, k]
    same(total, expected)
    assert gradcheck(lambda x: overlap_add(x, hop), (frames,))
    assert gradgradcheck(lambda x: overlap_add(x, hop), (frames,))


def test_frequencies_of_few_samples():
    for n in (1, 2, 3):
        same(torch.fft.fftfreq(n, dtype=torch.float64), np.fft.fftfreq(n))
        same(torch.fft.rfftfreq(n, dtype=torch.float64), np.fft.rfftfreq(n))
