"""Interpolation, and sliding blocks: values read at other places."""

from __future__ import annotations

import math
import warnings

from .. import core
from ..kernels.lazy import axis_maps
from .mix import mix_axes
from .padding import pad_constant
from .record import composite, primitive

_F = ("nn.functional",)
_INT64 = core.dtypes[5]


# ---- interpolation -------------------------------------------------------------------------------


def _sizes(input, size, scale_factor, recompute):
    """(output sizes, scales to compute source places with)."""
    n = input.dim() - 2
    if (size is None) == (scale_factor is None):
        raise ValueError(
            "either size or scale_factor should be defined"
            if size is None
            else "only one of size or scale_factor should be defined"
        )
    if size is not None:
        sizes = [int(size)] * n if not isinstance(size, tuple | list) else [int(s) for s in size]
        if len(sizes) != n:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input "
                f"with spatial dimensions of {list(input.shape[2:])} and output size of {size}. "
                "Please provide input tensor in (N, C, d1, d2, ...,dK) format and output size in "
                "(o1, o2, ...,oK) format."
            )
        return sizes, [None] * n
    factors = (
        [float(scale_factor)] * n
        if not isinstance(scale_factor, tuple | list)
        else [float(s) for s in scale_factor]
    )
    if len(factors) != n:
        raise ValueError(
            "Input and scale_factor must have the same number of spatial dimensions, but got "
            f"input with spatial dimensions of {list(input.shape[2:])} and scale_factor of shape "
            f"{scale_factor}."
        )
    sizes = [math.floor(s * f) for s, f in zip(input.shape[2:], factors, strict=True)]
    return sizes, [None] * n if recompute else factors


_MODES = {
    "nearest": None,
    "nearest-exact": None,
    "linear": 3,
    "bilinear": 4,
    "bicubic": 4,
    "trilinear": 5,
    "area": None,
}


def _check_interpolation(input, mode, align_corners, antialias, recompute, scale_factor):
    """Raise for options that do not go together."""
    if mode not in _MODES:
        raise NotImplementedError(
            f"Input Error: unknown interpolation mode {mode!r}; expected one of {', '.join(_MODES)}"
        )
    if mode in ("nearest", "area", "nearest-exact") and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | "
            "bilinear | bicubic | trilinear"
        )
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D "
            "tensor as input"
        )
    if (_MODES[mode] is not None and input.dim() != _MODES[mode]) or not 3 <= input.dim() <= 5:
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.dim()}D) for "
            "the modes: nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact "
            f"(got {mode})"
        )
    if recompute and scale_factor is None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")


def _axis_map(mode, size, out, factor, align, antialias):
    if mode.startswith("nearest"):
        return axis_maps.AxisMap("nearest", size, out, (factor, mode == "nearest-exact"))
    cubic = mode == "bicubic"
    if antialias:
        return axis_maps.AxisMap("antialias", size, out, (factor, align, cubic))
    return axis_maps.AxisMap("cubic" if cubic else "linear", size, out, (factor, align))


@composite(namespaces=_F, method=False)
def interpolate(
    input,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=None,
    recompute_scale_factor=None,
    antialias=False,
):
    """Resample the spatial dimensions of (N, C, *) to a size or by a factor."""
    _check_interpolation(
        input, mode, align_corners, antialias, recompute_scale_factor, scale_factor
    )
    sizes, factors = _sizes(input, size, scale_factor, bool(recompute_scale_factor))
    if min(sizes) < 1 or min(input.shape[1:]) < 1:
        raise RuntimeError(
            "Input and output sizes should be greater than 0, but got input (N, C, *): "
            f"{tuple(input.shape)} output: {tuple(sizes)}"
        )
    if mode == "area":
        from . import pooling

        return getattr(pooling, f"adaptive_avg_pool{len(sizes)}d")(input, tuple(sizes))
    if not input.is_floating_point() and mode.startswith("nearest"):
        return _nearest(input, sizes, factors, mode == "nearest-exact")
    maps = tuple(
        _axis_map(mode, size, out, factor, bool(align_corners), antialias)
        for size, out, factor in zip(input.shape[2:], sizes, factors, strict=True)
    )
    if input.is_floating_point():
        return mix_axes(input, maps)
    x = mix_axes(input.to(core.dtypes[8]), maps)
    return x.round().clamp(0, 255).to(input.dtype) if input.dtype.code == 1 else x


def _nearest(input, sizes, factors, exact):
    """Nearest neighbours of integers: copies."""
    from .creation import tensor

    x = input
    for k, (out, factor) in enumerate(zip(sizes, factors, strict=True)):
        rows = axis_maps.AxisMap("nearest", x.shape[k + 2], out, (factor, exact)).rows()
        x = x.index_select(k + 2, tensor([row[0][0] for row in rows], dtype=_INT64))
    return x


def _upsample(name, mode, **fixed):
    def op(input, size=None, scale_factor=None, align_corners=None):
        extra = {} if align_corners is None else {"align_corners": align_corners}
        return interpolate(input, size, scale_factor, mode, **{**fixed, **extra})

    op.__doc__ = f"interpolate with mode {mode}."
    return composite(name=name, namespaces=_F, method=False)(op)


upsample_bilinear = _upsample("upsample_bilinear", "bilinear", align_corners=True)
upsample_nearest = _upsample("upsample_nearest", "nearest")


@composite(namespaces=_F, method=False)
def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """The older name of interpolate."""
    core.not_replayable()
    warnings.warn(
        "`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return interpolate(input, size, scale_factor, mode, align_corners)


# ---- sliding blocks ------------------------------------------------------------------------------


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))


def _block_places(size, kernel, dilation, padding, stride):
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


@primitive(register=False)
def take_blocks(input, kernel, dilation, padding, stride):
    """Sliding blocks of (N, C, H, W) as columns: (N, C * kh * kw, blocks)."""
    n, c, h, w = input.shape
    oh, ow = (
        _block_places(*row) for row in zip((h, w), kernel, dilation, padding, stride, strict=True)
    )
    x = pad_constant.function(
        core.contiguous_plain(input), (padding[1], padding[1], padding[0], padding[0]), 0
    )
    sn, sc, sh, sw = x.stride()
    blocks = core.restride(
        x,
        (n, c, kernel[0], kernel[1], oh, ow),
        (sn, sc, sh * dilation[0], sw * dilation[1], sh * stride[0], sw * stride[1]),
    )
    return core.clone_plain(blocks).contiguous().view(n, c * kernel[0] * kernel[1], oh * ow)


@take_blocks.vjp
def _take_blocks_vjp(g, input_like, kernel, dilation, padding, stride):
    return sum_blocks(g, tuple(input_like.shape[2:]), kernel, dilation, padding, stride)


@primitive(register=False)
def sum_blocks(input, size, kernel, dilation, padding, stride):
    """Columns of blocks added into (N, C, H, W)."""
    n = input.shape[0]
    c = input.shape[1] // (kernel[0] * kernel[1])
    h, w = size
    oh, ow = (
        _block_places(*row) for row in zip((h, w), kernel, dilation, padding, stride, strict=True)
    )
    blocks = core.contiguous_plain(input).view(n, c, kernel[0], kernel[1], oh, ow)
    added = core.add_blocks((n, c, h, w), blocks, dilation, padding, stride)
    if added is not None:
        return added
    out = core.empty((n, c, h + 2 * padding[0], w + 2 * padding[1]), input.dtype).zero_()
    if dilation == (1, 1) and all(s >= k for s, k in zip(stride, kernel, strict=True)):
        # Blocks do not overlap: one copy.
        sn, sc, sh, sw = out.stride()
        steps = (sn, sc, sh, sw, sh * stride[0], sw * stride[1])
        core.copy_plain(core.restride(out, blocks.shape, steps), blocks)
        kernel = (0, 0)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = slice(i * dilation[0], i * dilation[0] + stride[0] * (oh - 1) + 1, stride[0])
            columns = slice(j * dilation[1], j * dilation[1] + stride[1] * (ow - 1) + 1, stride[1])
            window = core.basic_index(out, (slice(None), slice(None), rows, columns))
            window.add_(blocks[:, :, i, j])
    return core.clone_plain(
        out[:, :, padding[0] : padding[0] + h, padding[1] : padding[1] + w]
    ).contiguous()


@sum_blocks.vjp
def _sum_blocks_vjp(g, kernel, dilation, padding, stride):
    return take_blocks(g, kernel, dilation, padding, stride)


def _check_blocks(name, kernel, dilation, padding, stride):
    for what, values, least in (
        ("kernel_size", kernel, 1),
        ("dilation", dilation, 1),
        ("padding", padding, 0),
        ("stride", stride, 1),
    ):
        if min(values) < least:
            raise RuntimeError(f"{name}: {what} should be at least {least}, but got {values}")


@composite(namespaces=_F, method=False)
def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """Sliding blocks of (N, C, H, W) as columns: (N, C * kh * kw, blocks)."""
    settings = tuple(_pair(v) for v in (kernel_size, dilation, padding, stride))
    _check_blocks("unfold", *settings)
    if input.dim() not in (3, 4) or 0 in input.shape[-3:]:
        raise RuntimeError(
            "unfold: Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other "
            f"non-zero dimensions for input, but got: {list(input.shape)}"
        )
    x = input if input.dim() == 4 else input.unsqueeze(0)
    counts = [_block_places(*row) for row in zip(x.shape[2:], *settings, strict=True)]
    if min(counts) < 1:
        raise RuntimeError(
            f"unfold: Given input with spatial size {tuple(x.shape[2:])}, "
            f"kernel_size={settings[0]}, dilation={settings[1]}, padding={settings[2]}, "
            f"calculated shape of the array of sliding blocks as {tuple(counts)}, but its "
            "components must be at least one."
        )
    out = take_blocks(x, *settings)
    return out if input.dim() == 4 else out.squeeze(0)


@composite(namespaces=_F, method=False)
def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Columns of sliding blocks added into (N, C, *output_size): the transpose of unfold."""
    size = _pair(output_size)
    settings = tuple(_pair(v) for v in (kernel_size, dilation, padding, stride))
    _check_blocks("fold", *settings)
    if input.dim() not in (2, 3):
        raise RuntimeError(
            "fold: Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size "
            f"and non-zero dimensions for input, but got: {list(input.shape)}"
        )
    x = input if input.dim() == 3 else input.unsqueeze(0)
    area = settings[0][0] * settings[0][1]
    counts = [_block_places(*row) for row in zip(size, *settings, strict=True)]
    if x.shape[1] % area or x.shape[2] != counts[0] * counts[1]:
        raise RuntimeError(
            f"fold: Given output_size={size}, kernel_size={settings[0]}, dilation={settings[1]}, "
            f"padding={settings[2]}, stride={settings[3]}, expected input of (N, multiple of "
            f"{area}, {counts[0] * counts[1]}), but got {tuple(x.shape)}"
        )
    out = sum_blocks(x, size, *settings)
    return out if input.dim() == 3 else out.squeeze(0)
