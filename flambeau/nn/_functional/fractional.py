"""Fractional max-pooling: windows at random steps between one size and the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import flambeau

from ...ops.fractional import fractional_max

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
        RuntimeError: a window does not fit, or the samples' shape or type.

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
    else:
        _check_samples(samples, planes, dims)
    samples = samples[: len(planes)]  # without a batch dimension there may be more
    values, indices = fractional_max(planes, samples, kernel, wanted)
    if not batched:
        values, indices = values.squeeze(0), indices.squeeze(0)
    return (values, indices) if with_indices else values


def _check_samples(samples: Tensor, planes: Tensor, dims: int) -> None:
    if samples.dtype != planes.dtype:
        raise RuntimeError("Expect _random_samples to have the same dtype as input")
    if samples.dim() != 3:
        raise RuntimeError(
            f"Expect _random_samples to have 3 dimensions, got {tuple(samples.shape)}"
        )
    if samples.shape[0] < len(planes):
        raise RuntimeError("Expect _random_samples.size(0) no less then input batch size.")
    if samples.shape[1] != planes.shape[1]:
        raise RuntimeError("Expect _random_samples.size(1) equals to input channel size.")
    if samples.shape[2] != dims:
        raise RuntimeError(
            f"Expect _random_samples.size(2) equals to {dims}; got {samples.shape[2]}."
        )


def _spread(value: Any, dims: int) -> tuple:
    return tuple(value) if isinstance(value, Sequence) else (value,) * dims


def _find_output_size(name: str, sizes: tuple[int, ...], size: Any, ratio: Any) -> tuple[int, ...]:
    if size is not None:
        return _spread(size, len(sizes))
    if ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    parts = _spread(ratio, len(sizes))
    return tuple(int(length * part) for length, part in zip(sizes, parts, strict=True))
