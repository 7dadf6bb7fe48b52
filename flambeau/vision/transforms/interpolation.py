"""Interpolation of images: the modes, and resizing as a product with a matrix of weights.

A separable filter turns `in` pixels of a row into `out` pixels by a fixed linear map. Written as a
matrix W of shape (out, in), resizing an image is W_rows @ image @ W_columns.T: two matrix products,
differentiable, for every filter, with and without antialiasing.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import lru_cache

import flambeau as torch


class InterpolationMode(Enum):
    """How pixels between pixels are made up."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def triangle(x: float) -> float:
    """Linear filter, 1 - |x| within (-1, 1)."""
    return max(0.0, 1.0 - abs(x))


def cubic(x: float, a: float) -> float:
    """Cubic convolution filter of R. Keys, 1981, with parameter `a`, nonzero within (-2, 2)."""
    x = abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    if x < 2:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


def _choose_filter(mode: InterpolationMode, antialias: bool) -> tuple[Callable, float]:
    if mode is InterpolationMode.BILINEAR:
        return triangle, 1.0
    if mode is InterpolationMode.BICUBIC:
        # The two values in use: -0.5 is exact for quadratics, -0.75 is sharper.
        return (lambda x: cubic(x, -0.5 if antialias else -0.75)), 2.0
    raise ValueError(f"resize: a tensor cannot be resized with {mode}; use a Pillow image")


@lru_cache(maxsize=64)
def make_weights(size: int, out: int, mode: InterpolationMode, antialias: bool) -> torch.Tensor:
    """Make the float32 matrix (out, size) that resizes a row of pixels; its rows sum to 1."""
    kernel, radius = _choose_filter(mode, antialias)
    step = size / out
    stretch = max(step, 1.0) if antialias else 1.0
    rows = [[0.0] * size for _ in range(out)]
    for index, row in enumerate(rows):
        center = (index + 0.5) * step - 0.5
        first, last = int(center - radius * stretch), int(center + radius * stretch) + 1
        _add_taps(row, center, range(first, last + 1), kernel, stretch, clamp=not antialias)
    return torch.tensor(rows, dtype=torch.float32)


def _add_taps(
    row: list[float], center: float, taps: range, kernel: Callable, stretch: float, clamp: bool
) -> None:
    # Past the border the last pixel is repeated, or (antialiased) the filter is cut and normalised.
    for tap in taps:
        if clamp or 0 <= tap < len(row):
            place = min(max(tap, 0), len(row) - 1)
            row[place] += kernel((tap - center) / stretch)
    total = sum(row)
    row[:] = [weight / total for weight in row]


def list_nearest(size: int, out: int, exact: bool) -> list[int]:
    """List the pixel that nearest-neighbour resizing takes for each of `out` pixels."""
    shift = 0.5 if exact else 0.0
    return [min(int((index + shift) * size / out), size - 1) for index in range(out)]
