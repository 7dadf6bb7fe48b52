"""Operations on images as functions; each takes a Pillow image or a tensor (..., C, H, W)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flambeau as torch
from flambeau import Tensor
from flambeau.vision._lazy import is_pil_image, require_numpy, require_pillow
from flambeau.vision.transforms import _functional_pil as pil
from flambeau.vision.transforms import _functional_tensor as tensors
from flambeau.vision.transforms.interpolation import InterpolationMode

Image = Any
Fill = float | Sequence[float] | None

_PADDING_MODES = ("constant", "edge", "reflect", "symmetric")
# Modes whose numbers are not bytes, and NumPy's type of them.
_WIDE_MODES = {"I": "int32", "I;16": "int16", "F": "float32"}
_MODES_BY_CHANNELS = {
    1: ("L",),
    2: ("LA",),
    3: ("RGB", "YCbCr", "HSV", "LAB"),
    4: ("RGBA", "CMYK", "RGBX"),
}


def _check_image(image: Image) -> bool:
    """Say whether an image is a tensor; TypeError when it is neither tensor nor Pillow image."""
    if isinstance(image, Tensor):
        return True
    if is_pil_image(image):
        return False
    raise TypeError(f"img should be PIL Image or Tensor. Got {type(image)}")


def get_dimensions(img: Image) -> list[int]:
    """Give channels, height and width."""
    return (tensors if _check_image(img) else pil).get_dimensions(img)


def get_image_size(img: Image) -> list[int]:
    """Give width and height."""
    return get_dimensions(img)[:0:-1]


def get_image_num_channels(img: Image) -> int:
    """Give the number of channels."""
    return get_dimensions(img)[0]


# --------------------------------------------------------------------------------- conversion


def to_tensor(pic: Any) -> Tensor:
    """Convert a Pillow image or an array (H, W[, C]) to a tensor (C, H, W).

    Bytes 0..255 become floats of the default dtype in 0..1; other numbers keep value and dtype.

    >>> import numpy as np
    >>> to_tensor(np.full((2, 2, 1), 255, dtype=np.uint8)).max()
    tensor(1.)
    """
    np = require_numpy()
    if is_pil_image(pic):
        pixels = np.array(pic, dtype=_WIDE_MODES.get(pic.mode, "uint8"), copy=True)
        if pic.mode == "1":
            pixels = 255 * pixels
    elif isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        pixels = pic
    else:
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    image = _move_channels_first(pixels)
    return image.to(torch.get_default_dtype()).div(255) if image.dtype == torch.uint8 else image


def _move_channels_first(pixels: Any) -> Tensor:
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return torch.from_numpy(require_numpy().ascontiguousarray(pixels.transpose(2, 0, 1)))


def pil_to_tensor(pic: Image) -> Tensor:
    """Convert a Pillow image to a tensor (C, H, W) of the same numbers, uint8 for most modes."""
    if not is_pil_image(pic):
        raise TypeError(f"pic should be PIL Image. Got {type(pic)}")
    return _move_channels_first(require_numpy().array(pic, copy=True))


def convert_image_dtype(image: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Convert to a dtype (float32 by default), scaling so that full brightness stays full.

    Floats have the range 0..1, integers 0..largest. Raises RuntimeError for conversions that lose
    the value of full brightness: float32 to int32 or int64, float64 to int64.
    """
    dtype = torch.float32 if dtype is None else dtype
    if not isinstance(image, Tensor):
        raise TypeError("Input img should be Tensor Image")
    if image.dtype == dtype:
        return image
    if image.is_floating_point():
        return image.to(dtype) if dtype.is_floating_point else _quantize(image, dtype)
    largest = tensors.max_value(image.dtype)
    if dtype.is_floating_point:
        return image.to(dtype) / largest
    goal = tensors.max_value(dtype)
    if largest > goal:
        factor = (largest + 1) // (goal + 1)
        return image.div(factor, rounding_mode="floor").to(dtype)
    return image.to(dtype) * ((goal + 1) // (largest + 1))


def _quantize(image: Tensor, dtype: torch.dtype) -> Tensor:
    wide = (torch.int32, torch.int64) if image.dtype == torch.float32 else (torch.int64,)
    if dtype in wide:
        raise RuntimeError(f"The cast from {image.dtype} to {dtype} cannot be performed safely.")
    # Equal steps for all integers, and 1.0 just below the step after the largest.
    return image.mul(tensors.max_value(dtype) + 1.0 - 1e-3).to(dtype)


def to_pil_image(pic: Any, mode: str | None = None) -> Image:
    """Convert a tensor (C, H, W) or an array (H, W, C) to a Pillow image.

    Floats of a tensor mean 0..1 and become bytes, except for mode "F". `mode` chooses among those
    that fit the number of channels, by default L, LA, RGB and RGBA.
    """
    np = require_numpy()
    if isinstance(pic, Tensor):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        if pic.is_floating_point() and mode != "F":
            pic = pic.mul(255).to(torch.uint8)
        pixels = pic.detach().cpu().numpy()
        pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels[:, :, None]
    elif isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        pixels = pic if pic.ndim == 3 else pic[:, :, None]
    else:
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    return _array_to_pil(np.ascontiguousarray(pixels), mode)


def _array_to_pil(pixels: Any, mode: str | None) -> Image:
    height, width, channels = pixels.shape
    if channels not in _MODES_BY_CHANNELS:
        raise ValueError(f"pic should not have > 4 channels. Got {channels} channels.")
    image = require_pillow()
    if pixels.dtype != "uint8":
        return _wide_array_to_pil(pixels, mode)
    allowed = _MODES_BY_CHANNELS[channels]
    if mode is not None and mode not in allowed:
        raise ValueError(f"Only modes {allowed} are supported for {channels} channels, got {mode}")
    return image.frombytes(mode or allowed[0], (width, height), pixels.tobytes())


def _wide_array_to_pil(pixels: Any, mode: str | None) -> Image:
    kinds = {"int16": "I;16", "uint16": "I;16", "int32": "I", "float32": "F"}
    kind = kinds.get(str(pixels.dtype))
    if kind is None or pixels.shape[2] != 1:
        raise TypeError(f"Input type {pixels.dtype} with shape {pixels.shape} is not supported")
    if mode not in (None, kind):
        raise ValueError(f"Incorrect mode ({mode}) supplied for {pixels.dtype}. Should be {kind}")
    flat = pixels[:, :, 0]
    return require_pillow().fromarray(flat.view("uint16") if kind == "I;16" else flat)


def normalize(
    tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False
) -> Tensor:
    """Give (tensor - mean) / std for each channel of a float tensor (..., C, H, W).

    Raises TypeError for integers, ValueError for fewer than 3 dimensions or a std of zero.

    >>> normalize(torch.ones(1, 2, 2), [0.5], [0.5]).max()
    tensor(1.)
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(tensor)}")
    if not tensor.is_floating_point():
        raise TypeError(f"Input tensor should be a float tensor. Got {tensor.dtype}.")
    if tensor.ndim < 3:
        raise ValueError(f"expected a tensor (..., C, H, W), got shape {tuple(tensor.shape)}")
    center = torch.as_tensor(mean, dtype=tensor.dtype, device=tensor.device).reshape(-1, 1, 1)
    spread = torch.as_tensor(std, dtype=tensor.dtype, device=tensor.device).reshape(-1, 1, 1)
    if 0 in spread.flatten().tolist():
        raise ValueError(f"std evaluated to zero after conversion to {tensor.dtype}")
    return tensor.sub_(center).div_(spread) if inplace else tensor.sub(center).div_(spread)


# ----------------------------------------------------------------------------------- geometry


def compute_resized_size(
    height: int, width: int, size: int | Sequence[int], max_size: int | None = None
) -> list[int]:
    """Give height and width after a resize: one number is the length of the shorter side.

    >>> compute_resized_size(100, 200, 50)
    [50, 100]
    """
    sizes = [size] if isinstance(size, int) else list(size)
    if len(sizes) == 2:
        if max_size is not None:
            raise ValueError("max_size should only be passed if size is a single number")
        return sizes
    if len(sizes) != 1:
        raise ValueError(f"size should be an int or 1 or 2 numbers, got {size}")
    short, long = sorted((height, width))
    new_short, new_long = sizes[0], int(sizes[0] * long / short)
    if max_size is not None and max_size <= sizes[0]:
        raise ValueError(f"max_size = {max_size} must be greater than the size = {sizes[0]}")
    if max_size is not None and new_long > max_size:
        new_short, new_long = int(max_size * new_short / new_long), max_size
    return [new_long, new_short] if width <= height else [new_short, new_long]


def resize(
    img: Image,
    size: int | Sequence[int],
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Image:
    """Resize to `size` = (height, width), or so that the shorter side has `size` pixels."""
    is_tensor = _check_image(img)
    _, height, width = get_dimensions(img)
    goal = compute_resized_size(height, width, size, max_size)
    if goal == [height, width]:
        return img
    if is_tensor:
        return tensors.resize(img, goal, interpolation, antialias)
    return pil.resize(img, goal, interpolation)


def parse_padding(padding: int | Sequence[int]) -> list[int]:
    """Give left, top, right and bottom from 1, 2 (left/right, top/bottom) or 4 numbers."""
    numbers = [padding] if isinstance(padding, int) else list(padding)
    if len(numbers) not in (1, 2, 4):
        raise ValueError(f"Padding must be an int or 1, 2 or 4 numbers, got {padding}")
    if min(numbers) < 0:
        raise ValueError(f"Padding must not be negative, got {padding}; use crop to cut")
    return numbers * (4 // len(numbers))


def pad(
    img: Image, padding: int | Sequence[int], fill: Fill = 0, padding_mode: str = "constant"
) -> Image:
    """Add a border: constant (`fill`), edge, reflect or symmetric."""
    if padding_mode not in _PADDING_MODES:
        raise ValueError(f"Padding mode should be one of {_PADDING_MODES}, got {padding_mode!r}")
    backend: Any = tensors if _check_image(img) else pil
    return backend.pad(img, parse_padding(padding), fill, padding_mode)


def crop(img: Image, top: int, left: int, height: int, width: int) -> Image:
    """Cut out a rectangle; what lies outside the image is zero."""
    backend: Any = tensors if _check_image(img) else pil
    return backend.crop(img, top, left, height, width)


def center_crop(img: Image, output_size: int | Sequence[int]) -> Image:
    """Cut out the middle; a smaller image gets a border of zeros first."""
    height, width = parse_size(output_size)
    _, h, w = get_dimensions(img)
    if width > w or height > h:
        extra_w, extra_h = max(width - w, 0), max(height - h, 0)
        border = [extra_w // 2, extra_h // 2, (extra_w + 1) // 2, (extra_h + 1) // 2]
        img = pad(img, border, fill=0)
        _, h, w = get_dimensions(img)
    return crop(img, round((h - height) / 2.0), round((w - width) / 2.0), height, width)


def parse_size(size: int | Sequence[int]) -> tuple[int, int]:
    """Give height and width from one or two numbers."""
    numbers = [size] if isinstance(size, int) else list(size)
    if len(numbers) not in (1, 2):
        raise ValueError(f"Please provide only two dimensions (h, w) for size, got {size}")
    return numbers[0], numbers[-1]


def resized_crop(
    img: Image,
    top: int,
    left: int,
    height: int,
    width: int,
    size: int | Sequence[int],
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Image:
    """Cut out a rectangle and resize it."""
    cut = crop(img, top, left, height, width)
    return resize(cut, size, interpolation, antialias=antialias)


def hflip(img: Image) -> Image:
    """Mirror left and right."""
    return (tensors if _check_image(img) else pil).hflip(img)


def vflip(img: Image) -> Image:
    """Mirror top and bottom."""
    return (tensors if _check_image(img) else pil).vflip(img)


def invert_affine(
    center: Sequence[float],
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: Sequence[float],
) -> list[float]:
    """Give the 2x3 matrix that leads from a point of the result to the point of the image.

    The forward map is T C R S C^-1: shift by `translate`, about `center` rotate clockwise by
    `angle` degrees with `scale`, and shear by two angles in degrees.
    """
    turn, (skew_x, skew_y) = math.radians(angle), map(math.radians, shear)
    a = math.cos(turn - skew_y) / math.cos(skew_y)
    b = -a * math.tan(skew_x) - math.sin(turn)
    c = math.sin(turn - skew_y) / math.cos(skew_y)
    d = -c * math.tan(skew_x) + math.cos(turn)
    inverse = [d / scale, -b / scale, -c / scale, a / scale]  # the determinant is scale ** 2
    (cx, cy), (tx, ty) = center, translate
    x = inverse[0] * (-cx - tx) + inverse[1] * (-cy - ty) + cx
    y = inverse[2] * (-cx - tx) + inverse[3] * (-cy - ty) + cy
    return [inverse[0], inverse[1], x, inverse[2], inverse[3], y]


def affine(
    img: Image,
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: float | Sequence[float],
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    fill: Fill = None,
    center: Sequence[float] | None = None,
) -> Image:
    """Shift, rotate (clockwise, degrees), scale and shear about the middle or `center` (x, y)."""
    if scale <= 0:
        raise ValueError(f"Argument scale should be positive, got {scale}")
    skews = [shear, 0.0] if isinstance(shear, (int, float)) else [*shear, 0.0][:2]
    is_tensor = _check_image(img)
    _, h, w = get_dimensions(img)
    middle = list(center) if center is not None else [w * 0.5, h * 0.5]
    if is_tensor:
        middle = [middle[0] - w * 0.5, middle[1] - h * 0.5]
        matrix = invert_affine(middle, angle, translate, scale, skews)
        return tensors.warp(img, matrix, interpolation, fill)
    matrix = invert_affine(middle, angle, translate, scale, skews)
    return pil.affine(img, matrix, interpolation, fill)


def rotate(
    img: Image,
    angle: float,
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[float] | None = None,
    fill: Fill = None,
) -> Image:
    """Rotate counter-clockwise by degrees; `expand` makes room for the corners."""
    if not _check_image(img):
        return pil.rotate(img, angle, interpolation, expand, center, fill)
    _, h, w = get_dimensions(img)
    middle = [0.0, 0.0] if center is None else [center[0] - w * 0.5, center[1] - h * 0.5]
    matrix = invert_affine(middle, -angle, [0.0, 0.0], 1.0, [0.0, 0.0])
    size = tensors.measure_rotated(matrix, h, w) if expand else None
    return tensors.warp(img, matrix, interpolation, fill, size)


# ------------------------------------------------------------------------------------- colour


def to_grayscale(img: Image, num_output_channels: int = 1) -> Image:
    """Convert a Pillow image to grey."""
    if not is_pil_image(img):
        raise TypeError("Input should be PIL Image; use rgb_to_grayscale for a tensor")
    return pil.to_grayscale(img, num_output_channels)


def rgb_to_grayscale(img: Image, num_output_channels: int = 1) -> Image:
    """Convert to grey with one channel, or three equal ones."""
    if not _check_image(img):
        return pil.to_grayscale(img, num_output_channels)
    if num_output_channels not in (1, 3):
        raise ValueError(f"num_output_channels should be either 1 or 3, got {num_output_channels}")
    if img.ndim < 3 or img.shape[-3] not in (1, 3):
        raise TypeError(f"expected an image of 1 or 3 channels, got shape {tuple(img.shape)}")
    return tensors.rgb_to_grayscale(img, num_output_channels)


def _adjust(name: str, img: Image, factor: float) -> Image:
    if _check_image(img) and (img.ndim < 3 or img.shape[-3] not in (1, 3)):
        raise TypeError(f"{name}: expected 1 or 3 channels, got shape {tuple(img.shape)}")
    if name != "adjust_hue" and factor < 0:
        raise ValueError(f"{name}: factor ({factor}) is not non-negative.")
    return getattr(tensors if isinstance(img, Tensor) else pil, name)(img, factor)


def adjust_brightness(img: Image, brightness_factor: float) -> Image:
    """Darken (0 is black), keep (1) or lighten."""
    return _adjust("adjust_brightness", img, brightness_factor)


def adjust_contrast(img: Image, contrast_factor: float) -> Image:
    """Lower (0 is grey), keep (1) or raise the contrast."""
    return _adjust("adjust_contrast", img, contrast_factor)


def adjust_saturation(img: Image, saturation_factor: float) -> Image:
    """Lower (0 is black and white), keep (1) or raise the saturation."""
    return _adjust("adjust_saturation", img, saturation_factor)


def adjust_hue(img: Image, hue_factor: float) -> Image:
    """Turn the colours by a part of the circle, -0.5..0.5."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    return _adjust("adjust_hue", img, hue_factor)


def adjust_gamma(img: Image, gamma: float, gain: float = 1) -> Image:
    """Give gain * image ** gamma on the scale 0..1."""
    if gamma < 0:
        raise ValueError(f"Gamma should be a non-negative real number, got {gamma}")
    return (tensors if _check_image(img) else pil).adjust_gamma(img, gamma, gain)


def invert(img: Image) -> Image:
    """Give the negative."""
    return (tensors if _check_image(img) else pil).invert(img)


def erase(
    img: Tensor, i: int, j: int, h: int, w: int, v: Tensor | float, inplace: bool = False
) -> Tensor:
    """Write `v` over the rectangle of `h` x `w` pixels at row `i`, column `j` of a tensor."""
    if not isinstance(img, Tensor):
        raise TypeError(f"img should be Tensor. Got {type(img)}; use ToTensor first")
    return tensors.erase(img, i, j, h, w, v, inplace)
