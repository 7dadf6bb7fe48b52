"""Fourier transforms: single lines, batches, images, and sound."""

from collections.abc import Iterator

from .common import Maker, Workload, function_of, normal

COMPLEX = "complex64"


def hann(n: int) -> Maker:
    """Return a maker of the usual window."""
    return lambda torch: torch.hann_window(n)


FORWARD: dict[str, tuple[str, dict[str, Maker]]] = {
    "fft, 16": ("torch.fft.fft(x)", {"x": normal(16, dtype=COMPLEX)}),
    "fft, 8192x8": ("torch.fft.fft(x)", {"x": normal(8192, 8, dtype=COMPLEX)}),
    "fft, 640x101": ("torch.fft.fft(x)", {"x": normal(640, 101, dtype=COMPLEX)}),
    "fft, 64x1000": ("torch.fft.fft(x)", {"x": normal(64, 1000, dtype=COMPLEX)}),
    "fft, 64x1024": ("torch.fft.fft(x)", {"x": normal(64, 1024, dtype=COMPLEX)}),
    "fft, 64x1024, complex128": (
        "torch.fft.fft(x)",
        {"x": normal(64, 1024, dtype="complex128")},
    ),
    "fft of columns, 512^2": ("torch.fft.fft(x, dim=0)", {"x": normal(512, 512, dtype=COMPLEX)}),
    "fft, 2^20": ("torch.fft.fft(x)", {"x": normal(1 << 20, dtype=COMPLEX)}),
    "rfft and irfft, 64x1024": ("torch.fft.irfft(torch.fft.rfft(x))", {"x": normal(64, 1024)}),
    "rfft, 16x1009": ("torch.fft.rfft(x)", {"x": normal(16, 1009)}),
    "fft2, (3,224,224)": ("torch.fft.fft2(x)", {"x": normal(3, 224, 224, dtype=COMPLEX)}),
    "rfft2 and irfft2, (16,256,256)": (
        "torch.fft.irfft2(torch.fft.rfft2(x))",
        {"x": normal(16, 256, 256)},
    ),
    "stft, 8 x 2 s of 16 kHz": (
        "torch.stft(x, 400, 160, window=w, return_complex=True)",
        {"x": normal(8, 32000), "w": hann(400)},
    ),
}
BACKWARD: dict[str, tuple[str, dict[str, Maker]]] = {
    "power spectrum, with backward, 64x1024": (
        "torch.fft.rfft(x).abs().square()",
        {"x": normal(64, 1024)},
    ),
    "stft and istft, with backward, 8 x 2 s": (
        "torch.istft(torch.stft(x, 512, 128, window=w, return_complex=True), 512, 128, window=w)",
        {"x": normal(8, 32000), "w": hann(512)},
    ),
}


def workloads() -> Iterator[Workload]:
    """Yield every row."""
    for name, (text, makers) in FORWARD.items():
        yield Workload("spectral", name, function_of(text, **makers), target=0.8)
    for name, (text, makers) in BACKWARD.items():
        yield Workload("spectral", name, function_of(text, backward=True, **makers), target=0.8)


WORKLOADS = tuple(workloads())
