"""Operations on images that are Pillow images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.vision._lazy import require_numpy, require_pillow
from flambeau.vision.transforms.interpolation import InterpolationMode

Image = Any

# Pillow's numbers of its resampling filters.
_FILTERS = {
    InterpolationMode.NEAREST: 0,
    InterpolationMode.NEAREST_EXACT: 0,
    InterpolationMode.LANCZOS: 1,
    InterpolationMode.BILINEAR: 2,
    InterpolationMode.BICUBIC: 3,
    InterpolationMode.BOX: 4,
    InterpolationMode.HAMMING: 5,
}


def get_dimensions(image: Image) -> list[int]:
    """Give channels, height and width."""
    width, height = image.size
    return [len(image.getbands()), height, width]


def hflip(image: Image) -> Image:
    """Mirror left and right."""
    return image.transpose(require_pillow().Transpose.FLIP_LEFT_RIGHT)


def vflip(image: Image) -> Image:
    """Mirror top and bottom."""
    return image.transpose(require_pillow().Transpose.FLIP_TOP_BOTTOM)


def crop(image: Image, top: int, left: int, height: int, width: int) -> Image:
    """Cut out a rectangle; what lies outside the image is zero."""
    return image.crop((left, top, left + width, top + height))


def pad(image: Image, padding: Sequence[int], fill: Any, mode: str) -> Image:
    """Add a border of `padding` = left, top, right, bottom pixels."""
    left, top, right, bottom = padding
    if mode == "constant":
        color = _match_bands(fill, image)
        return require_pillow("ImageOps").expand(image, border=tuple(padding), fill=color)
    np = require_numpy()
    pixels = np.asarray(image)
    widths = ((top, bottom), (left, right)) + ((0, 0),) * (pixels.ndim - 2)
    padded = require_pillow().fromarray(np.pad(pixels, widths, mode=mode))
    if image.mode == "P":
        padded.putpalette(image.getpalette())
    return padded


def _match_bands(fill: Any, image: Image) -> Any:
    # Pillow wants one number per band, integers for every mode but "F".
    bands = len(image.getbands())
    values = [0 if fill is None else fill] if not isinstance(fill, (list, tuple)) else list(fill)
    values = values * bands if len(values) == 1 else values
    if len(values) != bands:
        raise ValueError(f"fill has {len(values)} values, the image of mode {image.mode} {bands}")
    if image.mode != "F":
        values = [int(value) for value in values]
    return values[0] if bands == 1 else tuple(values)


def resize(image: Image, size: Sequence[int], mode: InterpolationMode) -> Image:
    """Resize to `size` = height, width; Pillow always antialiases."""
    return image.resize((size[1], size[0]), _FILTERS[mode])


def affine(image: Image, matrix: Sequence[float], mode: InterpolationMode, fill: Any) -> Image:
    """Show at (x, y) the image's point `matrix` @ (x, y, 1), measured from the corner."""
    transform = require_pillow().Transform.AFFINE
    color = _match_bands(fill, image)
    return image.transform(image.size, transform, matrix, _FILTERS[mode], fillcolor=color)


def rotate(
    image: Image,
    angle: float,
    mode: InterpolationMode,
    expand: bool,
    center: Sequence[float] | None,
    fill: Any,
) -> Image:
    """Turn counter-clockwise by `angle` degrees."""
    color = _match_bands(fill, image)
    middle = tuple(center) if center is not None else None
    return image.rotate(angle, _FILTERS[mode], expand, middle, fillcolor=color)


def to_grayscale(image: Image, channels: int) -> Image:
    """Convert to one grey channel, or three equal ones."""
    if channels not in (1, 3):
        raise ValueError(f"num_output_channels should be either 1 or 3, got {channels}")
    gray = image.convert("L")
    return gray if channels == 1 else require_pillow().merge("RGB", (gray, gray, gray))


def adjust_brightness(image: Image, factor: float) -> Image:
    """Mix with black."""
    return require_pillow("ImageEnhance").Brightness(image).enhance(factor)


def adjust_contrast(image: Image, factor: float) -> Image:
    """Mix with the mean grey of the image."""
    return require_pillow("ImageEnhance").Contrast(image).enhance(factor)


def adjust_saturation(image: Image, factor: float) -> Image:
    """Mix with the grey version of the image."""
    return require_pillow("ImageEnhance").Color(image).enhance(factor)


def adjust_hue(image: Image, factor: float) -> Image:
    """Turn the colour circle by `factor` of a full turn."""
    if image.mode in {"1", "L", "I", "F"}:
        return image
    hue, saturation, value = image.convert("HSV").split()
    shift = int(factor * 255) % 256
    turned = hue.point([(level + shift) % 256 for level in range(256)])
    return require_pillow().merge("HSV", (turned, saturation, value)).convert(image.mode)


def adjust_gamma(image: Image, gamma: float, gain: float) -> Image:
    """Give gain * image ** gamma on the scale 0..1."""
    table = [int((255 + 1 - 1e-3) * gain * pow(level / 255.0, gamma)) for level in range(256)]
    clipped = [min(level, 255) for level in table]
    return image.convert("RGB").point(clipped * 3).convert(image.mode)


def invert(image: Image) -> Image:
    """Give the negative."""
    return require_pillow("ImageOps").invert(image)
