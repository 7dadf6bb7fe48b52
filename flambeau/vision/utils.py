"""Drawing tensors as pictures: `make_grid` and `save_image`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import flambeau as torch
from flambeau import Tensor
from flambeau.vision._lazy import require_pillow

__all__ = ["make_grid", "save_image"]


def make_grid(
    tensor: Tensor | Sequence[Tensor],
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Lay images out in a grid: from (B, C, H, W) or a list of (C, H, W), one tensor (C, H', W').

    `nrow` images in a row, `padding` pixels of `pad_value` between them. One channel becomes three.
    `normalize` maps `value_range` (by default the smallest and largest value, of each image where
    `scale_each`) to 0..1.

    >>> make_grid(torch.zeros(6, 1, 8, 8), nrow=3).shape
    torch.Size([3, 22, 32])
    """
    images = _to_batch(tensor)
    if normalize:
        images = _normalize_batch(images, value_range, scale_each)
    if len(images) == 1:
        return images[0]
    columns = min(nrow, len(images))
    rows = -(-len(images) // columns)
    height, width = images.shape[2] + padding, images.shape[3] + padding
    shape = (images.shape[1], height * rows + padding, width * columns + padding)
    grid = images.new_full(shape, pad_value)
    for index, image in enumerate(images):
        top, left = index // columns * height + padding, index % columns * width + padding
        grid[:, top : top + image.shape[1], left : left + image.shape[2]] = image
    return grid


def _to_batch(tensor: Tensor | Sequence[Tensor]) -> Tensor:
    images: Any = tensor
    if isinstance(tensor, (list, tuple)) and all(isinstance(image, Tensor) for image in tensor):
        images = torch.stack(list(tensor), dim=0)
    if not isinstance(images, Tensor):
        raise TypeError(f"make_grid: tensor or list of tensors expected, got {type(tensor)}")
    if not 2 <= images.ndim <= 4:
        raise ValueError(f"make_grid: expected 2 to 4 dimensions, got {tuple(images.shape)}")
    while images.ndim < 4:
        images = images.unsqueeze(0)
    return torch.cat([images] * 3, 1) if images.shape[1] == 1 else images


def _normalize_batch(
    images: Tensor, value_range: tuple[float, float] | None, scale_each: bool
) -> Tensor:
    if value_range is not None and not isinstance(value_range, tuple):
        raise TypeError("value_range has to be a tuple (min, max) if specified")
    parts = images.unbind(0) if scale_each else [images]
    scaled = []
    for part in parts:
        low, high = value_range or (float(part.min()), float(part.max()))
        scaled.append((part.clamp(low, high) - low) / max(high - low, 1e-5))
    return torch.stack(scaled, 0) if scale_each else scaled[0]


def save_image(
    tensor: Tensor | Sequence[Tensor], fp: Any, format: str | None = None, **kwargs: Any
) -> None:
    """Save images with values 0..1 as one picture, a grid if they are several.

    `fp` is a path or an open file (then `format` is needed); the rest goes to `make_grid`.
    """
    grid = make_grid(tensor, **kwargs)
    pixels = grid.mul(255).add(0.5).clamp(0, 255).permute(1, 2, 0).to("cpu", torch.uint8)
    image = require_pillow().fromarray(pixels.contiguous().numpy())
    image.save(os.fspath(fp) if isinstance(fp, os.PathLike) else fp, format=format)
