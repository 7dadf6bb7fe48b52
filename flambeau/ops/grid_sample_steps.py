"""Grid sampling as a chain of recorded ops, for derivatives of higher order."""

from __future__ import annotations

from collections.abc import Sequence

from .. import core
from ..core import Tensor
from ..kernels.lazy import axis_maps

_INT64 = core.dtypes[5]


def sample_in_steps(input: Tensor, grid: Tensor, mode: str, padding: str, align: bool) -> Tensor:
    """Images (N, C, *) at the places of grid (N, P, axes): (N, C, P)."""
    sizes = input.shape[2:]
    n = len(sizes)
    places = [_unnormalise(grid[..., n - 1 - k], sizes[k], align) for k in range(n)]  # D, H, W
    if mode == "bicubic":
        return _sample_cubic(input, places, padding, align)
    places = [_border(p, s, padding, align) for p, s in zip(places, sizes, strict=True)]
    if mode == "nearest":
        values = _read(input, [p.detach().round() for p in places])
        # a grid that wants a gradient gets zeros
        return values + (grid.nan_to_num(0.0)[..., 0] * 0).unsqueeze(1)
    return _sample_linear(input, places)


def _unnormalise(x: Tensor, size: int, align: bool) -> Tensor:
    return (x + 1) / 2 * (size - 1) if align else ((x + 1) * size - 1) / 2


def _reflect(x: Tensor, low2: int, high2: int) -> Tensor:
    if low2 == high2:
        return x * 0
    low, span = low2 / 2, (high2 - low2) / 2
    x = (x - low).abs()
    extra = x.fmod(span)
    even = (x / span).floor().remainder(2) == 0
    from .masked import where

    return where(even, extra + low, span - extra + low)


def _border(x: Tensor, size: int, mode: str, align: bool) -> Tensor:
    if mode == "border":
        return x.clamp(0, size - 1)
    if mode == "reflection":
        x = _reflect(x, 0, 2 * (size - 1)) if align else _reflect(x, -1, 2 * size - 1)
        return x.clamp(0, size - 1)
    return x


def _read(input: Tensor, at: Sequence[Tensor]) -> Tensor:
    """input at integer places (floats, one tensor a dimension), zero outside."""
    sizes = input.shape[2:]
    inside: Tensor | None = None
    flat: Tensor | None = None
    for p, s in zip(at, sizes, strict=True):
        ok = (p >= 0) & (p <= s - 1)
        inside = ok if inside is None else inside & ok
        i = p.nan_to_num(0.0).clamp(0, s - 1).to(_INT64)
        flat = i if flat is None else flat * s + i
    assert flat is not None
    assert inside is not None
    n, c = input.shape[:2]
    values = input.reshape(n, c, -1).gather(2, flat.unsqueeze(1).expand(n, c, -1))
    return values * inside.unsqueeze(1).to(input.dtype)


def _sample_linear(input: Tensor, places: Sequence[Tensor]) -> Tensor:
    n = len(places)
    low = [p.detach().floor() for p in places]
    part = [p - q for p, q in zip(places, low, strict=True)]
    total: Tensor | None = None
    for corner in range(2**n):
        bits = [(corner >> k) & 1 for k in range(n)]
        term = _read(input, [q + b for q, b in zip(low, bits, strict=True)])
        for b, t in zip(bits, part, strict=True):
            term = term * (t if b else 1 - t).unsqueeze(1)
        total = term if total is None else total + term
    assert total is not None
    return total


def _sample_cubic(input: Tensor, places: Sequence[Tensor], padding: str, align: bool) -> Tensor:
    low = [p.detach().floor() for p in places]
    weights = [axis_maps.cubic_coefficients(p - q) for p, q in zip(places, low, strict=True)]
    total: Tensor | None = None
    for j in range(4):
        for i in range(4):
            at = [
                _border(low[0] + (j - 1), input.shape[2], padding, align),
                _border(low[1] + (i - 1), input.shape[3], padding, align),
            ]
            term = _read(input, at) * (weights[0][j] * weights[1][i]).unsqueeze(1)
            total = term if total is None else total + term
    assert total is not None
    return total
