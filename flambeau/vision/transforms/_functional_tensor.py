"""Operations on images that are tensors of shape (..., C, H, W)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import flambeau as torch
from flambeau import Tensor
from flambeau.vision.transforms.interpolation import (
    InterpolationMode,
    list_nearest,
    make_weights,
)

_INTEGER_MAX = {
    torch.uint8: 255,
    torch.int8: 127,
    torch.int16: 32767,
    torch.int32: 2147483647,
    torch.int64: 9223372036854775807,
}


def get_dimensions(image: Tensor) -> list[int]:
    """Give channels, height and width; an image of two dimensions has one channel."""
    if image.ndim < 2:
        raise TypeError(f"an image has at least 2 dimensions, got shape {tuple(image.shape)}")
    channels = 1 if image.ndim == 2 else image.shape[-3]
    return [channels, image.shape[-2], image.shape[-1]]


def max_value(dtype: torch.dtype) -> int:
    """Give the value that means full brightness: 1 for floats, the largest integer otherwise."""
    return _INTEGER_MAX.get(dtype, 1)


def hflip(image: Tensor) -> Tensor:
    """Mirror left and right."""
    return image.flip(-1)


def vflip(image: Tensor) -> Tensor:
    """Mirror top and bottom."""
    return image.flip(-2)


def crop(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """Cut out a rectangle; what lies outside the image is zero."""
    _, h, w = get_dimensions(image)
    bottom, right = top + height, left + width
    inside = image[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if left >= 0 and top >= 0 and right <= w and bottom <= h:
        return inside
    before = [max(min(-left, width), 0), max(min(-top, height), 0)]
    after = [width - before[0] - inside.shape[-1], height - before[1] - inside.shape[-2]]
    return pad(inside, before + after, 0, "constant")


def pad(image: Tensor, padding: Sequence[int], fill: float | Sequence[float], mode: str) -> Tensor:
    """Add a border of `padding` = left, top, right, bottom pixels."""
    left, top, right, bottom = padding
    _, h, w = get_dimensions(image)
    if mode != "constant":
        rows = list_padded(h, top, bottom, mode)
        columns = list_padded(w, left, right, mode)
        image = image.index_select(-2, _to_index(rows, image))
        return image.index_select(-1, _to_index(columns, image))
    shape = (*image.shape[:-2], h + top + bottom, w + left + right)
    result = image.new_zeros(shape)
    result[...] = _expand_fill(fill, image)
    result[..., top : top + h, left : left + w] = image
    return result


def _expand_fill(fill: float | Sequence[float], image: Tensor) -> Tensor:
    values = list(fill) if isinstance(fill, (list, tuple)) else [fill]
    return torch.tensor(values, device=image.device).to(image.dtype).reshape(-1, 1, 1)


def _to_index(places: list[int], image: Tensor) -> Tensor:
    return torch.tensor(places, dtype=torch.int64, device=image.device)


def list_padded(size: int, before: int, after: int, mode: str) -> list[int]:
    """List the pixel shown at each place of a padded row, for edge, reflect and symmetric padding.

    >>> list_padded(3, 2, 2, "reflect")
    [2, 1, 0, 1, 2, 1, 0]
    """
    places = range(-before, size + after)
    if mode == "edge":
        return [min(max(place, 0), size - 1) for place in places]
    if mode == "reflect":
        if max(before, after) >= size:
            raise ValueError(f"pad: reflect needs a border below the image's {size} pixels")
        return [size - 1 - abs(size - 1 - abs(place)) for place in places]
    period = 2 * size
    return [min(place % period, period - 1 - place % period) for place in places]


def resize(
    image: Tensor, size: Sequence[int], mode: InterpolationMode, antialias: bool | None
) -> Tensor:
    """Resize to `size` = height, width; integers are computed in float32 and rounded."""
    _, h, w = get_dimensions(image)
    if mode in (InterpolationMode.NEAREST, InterpolationMode.NEAREST_EXACT):
        exact = mode is InterpolationMode.NEAREST_EXACT
        rows, columns = list_nearest(h, size[0], exact), list_nearest(w, size[1], exact)
        taken = image.index_select(-2, _to_index(rows, image))
        return taken.index_select(-1, _to_index(columns, image))
    smooth = bool(antialias)
    dtype = image.dtype if image.is_floating_point() else torch.float32
    left = make_weights(h, size[0], mode, smooth).to(image.device, dtype)
    right = make_weights(w, size[1], mode, smooth).to(image.device, dtype)
    return to_dtype_of(torch.matmul(torch.matmul(left, image.to(dtype)), right.t()), image)


def to_dtype_of(result: Tensor, image: Tensor) -> Tensor:
    """Cast a computed image back to the dtype it had; integers are rounded and kept in range."""
    if image.is_floating_point():
        return result.to(image.dtype)
    return result.round().clamp(0, max_value(image.dtype)).to(image.dtype)


def warp(
    image: Tensor,
    matrix: Sequence[float],
    mode: InterpolationMode,
    fill: float | Sequence[float] | None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Show at (x, y) the image's point `matrix` @ (x, y, 1), both measured from the image's centre.

    `size` = height, width of the result, by default the image's. Outside the image is `fill`, by
    default zero. Modes: NEAREST and BILINEAR.
    """
    _, h, w = get_dimensions(image)
    out_h, out_w = size or (h, w)
    x = torch.arange(out_w, dtype=torch.float32) + (0.5 - out_w / 2)
    y = (torch.arange(out_h, dtype=torch.float32) + (0.5 - out_h / 2)).unsqueeze(1)
    source_x = matrix[0] * x + matrix[1] * y + (matrix[2] + w / 2 - 0.5)
    source_y = matrix[3] * x + matrix[4] * y + (matrix[5] + h / 2 - 0.5)
    sample = {
        InterpolationMode.NEAREST: _sample_nearest,
        InterpolationMode.BILINEAR: _sample_linear,
    }
    if mode not in sample:
        raise ValueError(f"warp: a tensor cannot be warped with {mode}; use NEAREST or BILINEAR")
    pixels = image.to(image.dtype if image.is_floating_point() else torch.float32)
    result, covered = sample[mode](pixels, source_x.to(image.device), source_y.to(image.device))
    if fill is not None:
        # torchvision's mixture at the border, where a pixel is covered in part.
        result = result * covered + (1 - covered) * _expand_fill(fill, pixels)
    return to_dtype_of(result, image)


def _sample_nearest(image: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return _take(image, x.round(), y.round())


def _sample_linear(image: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    left, top = x.floor(), y.floor()
    result, covered = torch.zeros_like(image[..., :1, :1]), torch.zeros_like(x[:1, :1])
    for dx, wx in ((0, left + 1 - x), (1, x - left)):
        for dy, wy in ((0, top + 1 - y), (1, y - top)):
            pixels, inside = _take(image, left + dx, top + dy)
            result = result + pixels * (wx * wy)
            covered = covered + inside * (wx * wy)
    return result, covered


def _take(image: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    # Pixels at whole places, zero outside, and 1 where the place is inside.
    _, h, w = get_dimensions(image)
    inside = ((x >= 0) & (x < w) & (y >= 0) & (y < h)).to(image.dtype)
    place = y.clamp(0, h - 1).to(torch.int64) * w + x.clamp(0, w - 1).to(torch.int64)
    flat = image.reshape(*image.shape[:-2], h * w).index_select(-1, place.reshape(-1))
    return flat.reshape(*image.shape[:-2], *place.shape) * inside, inside


def measure_rotated(matrix: Sequence[float], height: int, width: int) -> tuple[int, int]:
    """Give height and width of the smallest image that holds a rotated one whole."""
    corners = [(sx * width / 2, sy * height / 2) for sx in (-1, 1) for sy in (-1, 1)]
    columns = [matrix[0] * x + matrix[1] * y + width / 2 for x, y in corners]
    rows = [matrix[3] * x + matrix[4] * y + height / 2 for x, y in corners]
    return _span(rows), _span(columns)


def _span(places: list[float]) -> int:
    low, high = min(places), max(places)
    # Right angles need exactly the image's size, whatever the rounding errors.
    if abs(high - low - round(high - low)) < 1e-4:
        return round(high - low)
    return math.ceil(high) - math.floor(low)


def rgb_to_grayscale(image: Tensor, channels: int = 1) -> Tensor:
    """Weigh red, green and blue by ITU-R 601: 0.2989, 0.587 and 0.114."""
    if image.shape[-3] == 1:
        gray = image
    else:
        red, green, blue = image.unbind(-3)
        gray = (0.2989 * red + 0.587 * green + 0.114 * blue).to(image.dtype).unsqueeze(-3)
    return gray.expand(*gray.shape[:-3], channels, *gray.shape[-2:]) if channels > 1 else gray


def blend(image: Tensor, other: Tensor | float, ratio: float) -> Tensor:
    """Mix two images: ratio * image + (1 - ratio) * other, kept in the range of the dtype."""
    mixed = ratio * image + (1.0 - ratio) * other
    return mixed.clamp(0, max_value(image.dtype)).to(image.dtype)


def adjust_brightness(image: Tensor, factor: float) -> Tensor:
    """Mix with black."""
    return blend(image, 0.0, factor)


def adjust_contrast(image: Tensor, factor: float) -> Tensor:
    """Mix with the mean grey of the image."""
    dtype = image.dtype if image.is_floating_point() else torch.float32
    gray = rgb_to_grayscale(image) if image.shape[-3] == 3 else image
    return blend(image, gray.to(dtype).mean(dim=(-3, -2, -1), keepdim=True), factor)


def adjust_saturation(image: Tensor, factor: float) -> Tensor:
    """Mix with the grey version of the image."""
    return image if image.shape[-3] == 1 else blend(image, rgb_to_grayscale(image), factor)


def adjust_hue(image: Tensor, factor: float) -> Tensor:
    """Turn the colour circle by `factor` of a full turn."""
    if image.shape[-3] == 1:
        return image
    scale = max_value(image.dtype)
    pixels = image if image.is_floating_point() else image.to(torch.float32) / scale
    hue, saturation, value = _split_hsv(pixels)
    turned = _join_hsv((hue + factor) % 1.0, saturation, value)
    return turned if image.is_floating_point() else to_dtype_of(turned * scale, image)


def _split_hsv(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    red, green, blue = image.unbind(-3)
    value, low = image.amax(-3), image.amin(-3)
    spread = value - low
    divisor = torch.where(spread == 0, torch.ones_like(spread), spread)
    # The place on the colour circle, in sixths, counted from the largest of the three.
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    saturation = spread / torch.where(value == 0, torch.ones_like(value), value)
    return (sixths / 6.0) % 1.0, saturation, value


def _join_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    channels = []
    for offset in (5.0, 3.0, 1.0):
        sixths = (hue * 6.0 + offset) % 6.0
        ramp = torch.minimum(sixths, 4.0 - sixths).clamp(0.0, 1.0)
        channels.append(value - value * saturation * ramp)
    return torch.stack(channels, dim=-3)


def adjust_gamma(image: Tensor, gamma: float, gain: float) -> Tensor:
    """Give gain * image ** gamma on the scale 0..1."""
    scale = max_value(image.dtype)
    pixels = image if image.is_floating_point() else image.to(torch.float32) / scale
    result = (gain * pixels**gamma).clamp(0, 1)
    if image.is_floating_point():
        return result
    return (result * (scale + 1.0 - 1e-3)).to(image.dtype)


def invert(image: Tensor) -> Tensor:
    """Give the negative."""
    return max_value(image.dtype) - image


def erase(
    image: Tensor, i: int, j: int, h: int, w: int, v: Tensor | float, inplace: bool
) -> Tensor:
    """Write `v` over the rectangle at row `i`, column `j`."""
    if not inplace:
        image = image.clone()
    image[..., i : i + h, j : j + w] = v
    return image
