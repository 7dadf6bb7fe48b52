"""Moving values between channels and space, and sampling grids."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import flambeau

from ... import core
from . import primitives

if TYPE_CHECKING:
    from flambeau import Tensor


@core.Remembered
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Rearrange (*, C r^2, H, W) to (*, C, H r, W r), r being the upscale factor.

    Errors:
        RuntimeError: fewer than three dimensions, or channels that r^2 does not divide.
    """
    r = upscale_factor
    if input.dim() < 3:
        raise RuntimeError(
            "pixel_shuffle expects input to have at least 3 dimensions, but got input with "
            f"{input.dim()} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *batch, channels, height, width = input.shape
    if channels % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            "of "
            f"upscale_factor, but input.size(-3)={channels} is not divisible by {r * r}"
        )
    n = len(batch)
    blocks = input.reshape(*batch, channels // (r * r), r, r, height, width)
    ordered = blocks.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return ordered.reshape(*batch, channels // (r * r), height * r, width * r)


@core.Remembered
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Rearrange (*, C, H r, W r) to (*, C r^2, H, W): the inverse of `pixel_shuffle`.

    Errors:
        RuntimeError: fewer than three dimensions, or a height or width that r does not divide.
    """
    r = downscale_factor
    if input.dim() < 3:
        raise RuntimeError(
            "pixel_unshuffle expects input to have at least 3 dimensions, but got input with "
            f"{input.dim()} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *batch, channels, height, width = input.shape
    for name, size in (("height", height), ("width", width)):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but {size} "
                f"is not divisible by {r}"
            )
    n = len(batch)
    blocks = input.reshape(*batch, channels, height // r, r, width // r, r)
    ordered = blocks.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return ordered.reshape(*batch, channels * r * r, height // r, width // r)


@core.Remembered
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Interleave the channels of (N, C, *) between `groups` groups.

    Errors:
        RuntimeError: fewer than three dimensions, or channels that `groups` does not divide.
    """
    if input.dim() < 3:
        raise RuntimeError(
            "channel_shuffle expects input with > 2 dims, but got input with sizes "
            f"{list(input.shape)}"
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    batch, channels, *space = input.shape
    if channels % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and {groups} "
            "groups."
        )
    grouped = input.reshape(batch, groups, channels // groups, *space)
    return grouped.transpose(1, 2).reshape(input.shape)


@core.Remembered
def native_channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Another name of `channel_shuffle`."""
    return channel_shuffle(input, groups)


def affine_grid(theta: Tensor, size: list[int], align_corners: bool | None = None) -> Tensor:
    """Sampling grid for `grid_sample` that applies an affine map to normalized coordinates in [-1,
    1].

    Args:
        theta: (N, 2, 3) for images, (N, 3, 4) for volumes.
        size: the target's (N, C, H, W) or (N, C, D, H, W).
        align_corners: whether -1 and 1 are the centres of the corner pixels or their outer edges.

    Returns:
        (N, H, W, 2) or (N, D, H, W, 3), with x first.
    """
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since "
            "1.3.0. "
            "Please specify align_corners=True if the old behavior is desired.",
            stacklevel=2,
        )
        align_corners = False
    space = len(size) - 2
    if space not in (2, 3) or theta.dim() != 3 or tuple(theta.shape[-2:]) != (space, space + 1):
        raise ValueError(
            f"Expected a batch of {space}D affine matrices of shape Nx{space}x{space + 1} for size "
            f"{list(size)}. "
            f"Got {tuple(theta.shape)}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {list(size)}")
    axes = [_normalized_coordinates(theta, length, align_corners) for length in size[2:]]
    grids = flambeau.meshgrid(*axes, indexing="ij")
    base = flambeau.stack([*reversed(grids), flambeau.ones_like(grids[0])], dim=-1)
    mapped = base.reshape(1, -1, space + 1) @ theta.transpose(1, 2)
    return mapped.reshape(size[0], *size[2:], space)


def _normalized_coordinates(like: Tensor, length: int, align_corners: bool) -> Tensor:
    if length == 1:
        return flambeau.zeros(1, dtype=like.dtype, device=like.device)
    ends = flambeau.linspace(-1, 1, length, dtype=like.dtype, device=like.device)
    return ends if align_corners else ends * ((length - 1) / length)


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Deprecated name of `interpolate`."""
    warnings.warn(
        "`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return primitives.interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Deprecated: `interpolate` with mode "nearest"."""
    warnings.warn(
        "`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return primitives.interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Deprecated: `interpolate` with mode "bilinear" and align_corners=True."""
    warnings.warn(
        "`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return primitives.interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
