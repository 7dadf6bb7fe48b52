"""Fractional max-pooling: windows at random steps between one size and the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import flambeau

if TYPE_CHECKING:
    from flambeau import Tensor


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """Maxima of `output_size` windows whose steps are drawn at random (Graham, 2014).

    (N, C, H, W) or (C, H, W) -> the same with the output's sizes. With u uniform in [0, 1) for each
    channel and dimension and a = (size - kernel) / (output - 1), window i starts at
    floor((i + u) a) - floor(u a), the last one at size - kernel.

    Args:
        kernel_size: of the windows, one number or one a dimension.
        output_size: so many windows, one number or one a dimension; or
        output_ratio: as a part of the input's size, in (0, 1).
        return_indices: return the places of the maxima too, in the flattened plane.
        _random_samples: u, (N, C, 2).

    Errors:
        ValueError: neither size nor ratio is given.
        RuntimeError: a window does not fit.

    >>> import flambeau as torch
    >>> x = torch.arange(16.0).view(1, 1, 4, 4)
    >>> torch.nn.functional.fractional_max_pool2d(x, 2, output_size=(2, 2)).shape
    torch.Size([1, 1, 2, 2])
    """
    return _pool(2, return_indices, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`fractional_max_pool2d` with the places of the maxima."""
    return _pool(2, True, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """`fractional_max_pool2d` over three dimensions: (N, C, D, H, W) or (C, D, H, W)."""
    return _pool(3, return_indices, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`fractional_max_pool3d` with the places of the maxima."""
    return _pool(3, True, input, kernel_size, output_size, output_ratio, _random_samples)


def _pool(
    dims: int,
    with_indices: bool,
    input: Tensor,
    kernel: Any,
    size: Any,
    ratio: Any,
    samples: Tensor | None,
) -> Any:
    name = f"fractional_max_pool{dims}d"
    kernel = _spread(kernel, dims)
    batched = input.dim() == dims + 2
    if not batched and input.dim() != dims + 1:
        raise RuntimeError(
            f"{name}: Expected {dims + 1}D or {dims + 2}D tensor, but got: {list(input.shape)}"
        )
    planes = input if batched else input.unsqueeze(0)
    sizes = tuple(planes.shape[2:])
    wanted = _find_output_size(name, sizes, size, ratio)
    for length, window, count in zip(sizes, kernel, wanted, strict=True):
        if count + window - 1 > length:
            raise RuntimeError(
                f"{name}(): pool size {window} too large relative to input size {length}: no room"
                f" for {count} windows"
            )
    if samples is None:
        samples = flambeau.rand(*planes.shape[:2], dims, dtype=input.dtype, device=input.device)
    samples = samples[: len(planes)]  # without a batch dimension there may be more
    values, indices = _take_maxima(planes, samples, kernel, wanted)
    if not batched:
        values, indices = values.squeeze(0), indices.squeeze(0)
    return (values, indices) if with_indices else values


def _spread(value: Any, dims: int) -> tuple:
    return tuple(value) if isinstance(value, Sequence) else (value,) * dims


def _find_output_size(name: str, sizes: tuple[int, ...], size: Any, ratio: Any) -> tuple[int, ...]:
    if size is not None:
        return _spread(size, len(sizes))
    if ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    parts = _spread(ratio, len(sizes))
    return tuple(int(length * part) for length, part in zip(sizes, parts, strict=True))


def _take_maxima(
    planes: Tensor, samples: Tensor, kernel: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Gather every window, (N, C, outputs, elements of a window), and take its maximum."""
    sizes = tuple(planes.shape[2:])
    place: Any = 0
    # In two dimensions PyTorch's first sample is that of the width.
    order = range(len(sizes)) if len(sizes) == 3 else (1, 0)
    for dim, which in enumerate(order):
        starts = _draw_starts(samples[..., which], sizes[dim], kernel[dim], wanted[dim])
        rows = starts.unsqueeze(-1) + flambeau.arange(kernel[dim], device=planes.device)
        place = place * sizes[dim] + _lay_out(rows, dim, len(sizes))
    shape = (*planes.shape[:2], *wanted)
    place = place.reshape(*shape, math.prod(kernel))
    flat = planes.flatten(2)
    windows = flat.detach().gather(2, place.flatten(2)).reshape(place.shape)
    best = windows.argmax(-1, keepdim=True)
    indices = place.gather(-1, best).squeeze(-1)
    return flat.gather(2, indices.flatten(2)).reshape(shape), indices


def _lay_out(rows: Tensor, dim: int, dims: int) -> Tensor:
    """(N, C, outputs, window) with both axes at their place among those of all dimensions."""
    ones = [1] * (2 * dims)
    ones[dim], ones[dims + dim] = rows.shape[2], rows.shape[3]
    return rows.reshape(*rows.shape[:2], *ones)


def _draw_starts(u: Tensor, size: int, kernel: int, count: int) -> Tensor:
    """Where the windows of each channel start: (N, C, count)."""
    last = flambeau.full_like(u, size - kernel).unsqueeze(-1).long()
    if count == 1:
        return last
    step = flambeau.full_like(u, size - kernel) / (count - 1)
    index = flambeau.arange(count - 1, device=u.device).to(u.dtype)
    starts = ((index + u.unsqueeze(-1)) * step.unsqueeze(-1)).long()
    return flambeau.cat([starts - (u * step).long().unsqueeze(-1), last], -1)
