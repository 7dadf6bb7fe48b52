"""Transforms that draw from the default generator.

The draws and their order are torchvision's: one seed, the same augmented images.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import flambeau as torch
from flambeau import nn
from flambeau.vision.transforms import functional as F
from flambeau.vision.transforms.interpolation import InterpolationMode

Transforms = Sequence[Callable[[Any], Any]]
Range = tuple[float, float]


def draw_uniform(low: float, high: float) -> float:
    """Draw a number from [low, high)."""
    return float(torch.empty(1).uniform_(float(low), float(high)).item())


def draw_place(count: int) -> int:
    """Draw an integer from 0..count-1."""
    return int(torch.randint(0, count, size=(1,)).item())


def happens(probability: float) -> bool:
    """Draw whether an event of that probability happens."""
    return bool(torch.rand(1).item() < probability)


def parse_range(value: float | Sequence[float], name: str) -> Range:
    """Give (low, high); one number means -number..number."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"If {name} is a single number, it must be positive, got {value}")
        return -float(value), float(value)
    if len(value) != 2:
        raise ValueError(f"{name} should be a number or 2 numbers, got {value}")
    return float(value[0]), float(value[1])


class RandomHorizontalFlip(nn.Module):
    """Mirrors left and right with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """Flip one image, or not."""
        return F.hflip(img) if happens(self.p) else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomVerticalFlip(RandomHorizontalFlip):
    """Mirrors top and bottom with probability `p`."""

    def forward(self, img: Any) -> Any:
        """Flip one image, or not."""
        return F.vflip(img) if happens(self.p) else img


class RandomGrayscale(nn.Module):
    """Converts to grey, keeping the number of channels, with probability `p`."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """Convert one image, or not."""
        channels = F.get_image_num_channels(img)
        return F.rgb_to_grayscale(img, channels) if happens(self.p) else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomCrop(nn.Module):
    """Cuts out a rectangle of `size` at a random place, after an optional border.

    Raises ValueError when the image is smaller than `size`; `pad_if_needed` pads it instead.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: F.Fill = 0,
        padding_mode: str = "constant",
    ) -> None:
        super().__init__()
        self.size = F.parse_size(size)
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        self.padding_mode = padding_mode

    @staticmethod
    def get_params(img: Any, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Draw top and left; give them with height and width."""
        _, h, w = F.get_dimensions(img)
        height, width = output_size
        if h < height or w < width:
            raise ValueError(
                f"Required crop size {(height, width)} is larger than input image size {(h, w)}"
            )
        if (h, w) == (height, width):
            return 0, 0, h, w
        return draw_place(h - height + 1), draw_place(w - width + 1), height, width

    def forward(self, img: Any) -> Any:
        """Crop one image."""
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        if self.pad_if_needed:
            img = self._enlarge(img)
        return F.crop(img, *self.get_params(img, self.size))

    def _enlarge(self, img: Any) -> Any:
        _, h, w = F.get_dimensions(img)
        missing = [max(self.size[1] - w, 0), max(self.size[0] - h, 0)]
        return F.pad(img, missing, self.fill, self.padding_mode) if any(missing) else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, padding={self.padding})"


class RandomResizedCrop(nn.Module):
    """Cuts out a random part of the area with a random aspect ratio and resizes it to `size`."""

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Range = (0.08, 1.0),
        ratio: Range = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        self.size = F.parse_size(size)
        self.scale = scale
        self.ratio = ratio
        self.interpolation = interpolation
        self.antialias = antialias

    @staticmethod
    def get_params(img: Any, scale: Range, ratio: Range) -> tuple[int, int, int, int]:
        """Draw top, left, height and width; after ten misfits take the middle."""
        _, h, w = F.get_dimensions(img)
        for _ in range(10):
            height, width = draw_shape(h * w, scale, ratio)
            if 0 < width <= w and 0 < height <= h:
                return draw_place(h - height + 1), draw_place(w - width + 1), height, width
        height, width = h, w
        if w / h < min(ratio):
            height = round(w / min(ratio))
        elif w / h > max(ratio):
            width = round(h * max(ratio))
        return (h - height) // 2, (w - width) // 2, height, width

    def forward(self, img: Any) -> Any:
        """Crop and resize one image."""
        top, left, height, width = self.get_params(img, self.scale, self.ratio)
        return F.resized_crop(
            img, top, left, height, width, self.size, self.interpolation, self.antialias
        )

    def __repr__(self) -> str:
        ranges = f"scale={rounded(self.scale)}, ratio={rounded(self.ratio)}"
        mode = f"interpolation={self.interpolation.value}, antialias={self.antialias}"
        return f"{type(self).__name__}(size={self.size}, {ranges}, {mode})"


def rounded(numbers: Sequence[float]) -> tuple[float, ...]:
    """Round to the four digits that a `repr` shows."""
    return tuple(round(number, 4) for number in numbers)


def draw_shape(area: int, scale: Range, ratio: Range) -> tuple[int, int]:
    """Draw height and width of a rectangle: a part of the area, and a ratio width / height.

    The ratio is uniform in its logarithm.
    """
    low, high = torch.log(torch.tensor(ratio)).tolist()
    target = area * draw_uniform(*scale)
    aspect = torch.exp(torch.empty(1).uniform_(low, high)).item()
    return round(math.sqrt(target / aspect)), round(math.sqrt(target * aspect))


class RandomRotation(nn.Module):
    """Rotates by an angle from -degrees..degrees, or from the range `degrees`."""

    def __init__(
        self,
        degrees: float | Sequence[float],
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: F.Fill = 0,
    ) -> None:
        super().__init__()
        self.degrees = parse_range(degrees, "degrees")
        self.interpolation = interpolation
        self.expand = expand
        self.center = center
        self.fill = fill

    @staticmethod
    def get_params(degrees: Range) -> float:
        """Draw the angle."""
        return draw_uniform(*degrees)

    def forward(self, img: Any) -> Any:
        """Rotate one image."""
        angle = self.get_params(self.degrees)
        return F.rotate(img, angle, self.interpolation, self.expand, self.center, self.fill)

    def __repr__(self) -> str:
        detail = f"interpolation={self.interpolation.value}, expand={self.expand}, fill={self.fill}"
        return f"{type(self).__name__}(degrees={list(self.degrees)}, {detail})"


class RandomAffine(nn.Module):
    """Rotates, shifts (by a part of the size), scales and shears at random, about the middle."""

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: float | Sequence[float] | None = None,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        fill: F.Fill = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.degrees = parse_range(degrees, "degrees")
        if translate is not None and not all(0 <= part <= 1 for part in translate):
            raise ValueError("translation values should be between 0 and 1")
        if scale is not None and min(scale) <= 0:
            raise ValueError("scale values should be positive")
        self.translate = translate
        self.scale = scale
        self.shear = self._parse_shear(shear)
        self.interpolation = interpolation
        self.fill = fill
        self.center = center

    @staticmethod
    def _parse_shear(shear: float | Sequence[float] | None) -> list[float] | None:
        if shear is None:
            return None
        if not isinstance(shear, (int, float)) and len(shear) == 4:
            return [float(angle) for angle in shear]
        return list(parse_range(shear, "shear"))

    @staticmethod
    def get_params(
        degrees: Range,
        translate: Sequence[float] | None,
        scale_ranges: Sequence[float] | None,
        shears: Sequence[float] | None,
        img_size: Sequence[int],
    ) -> tuple[float, tuple[int, int], float, tuple[float, float]]:
        """Draw angle, shift (x, y) in pixels, scale and shear; `img_size` = width, height."""
        angle = draw_uniform(*degrees)
        shift = (0, 0)
        if translate is not None:
            reach = [float(part * size) for part, size in zip(translate, img_size, strict=True)]
            shift = (
                round(draw_uniform(-reach[0], reach[0])),
                round(draw_uniform(-reach[1], reach[1])),
            )
        scale = 1.0 if scale_ranges is None else draw_uniform(*scale_ranges)
        skew_x = skew_y = 0.0
        if shears is not None:
            skew_x = draw_uniform(shears[0], shears[1])
            skew_y = draw_uniform(shears[2], shears[3]) if len(shears) == 4 else 0.0
        return angle, shift, scale, (skew_x, skew_y)

    def forward(self, img: Any) -> Any:
        """Transform one image."""
        size = F.get_image_size(img)
        drawn = self.get_params(self.degrees, self.translate, self.scale, self.shear, size)
        return F.affine(
            img, *drawn, interpolation=self.interpolation, fill=self.fill, center=self.center
        )

    def __repr__(self) -> str:
        names = ("translate", "scale", "shear")
        given = [
            f"{name}={getattr(self, name)}" for name in names if getattr(self, name) is not None
        ]
        return f"{type(self).__name__}({', '.join([f'degrees={list(self.degrees)}', *given])})"


class ColorJitter(nn.Module):
    """Changes brightness, contrast, saturation and hue at random, in random order.

    One number x means the range max(0, 1-x)..1+x, for the hue -x..x; None or 0 leaves it alone.
    """

    def __init__(
        self,
        brightness: float | Sequence[float] = 0,
        contrast: float | Sequence[float] = 0,
        saturation: float | Sequence[float] = 0,
        hue: float | Sequence[float] = 0,
    ) -> None:
        super().__init__()
        self.brightness = self._parse(brightness, "brightness")
        self.contrast = self._parse(contrast, "contrast")
        self.saturation = self._parse(saturation, "saturation")
        self.hue = self._parse(hue, "hue", center=0.0, bounds=(-0.5, 0.5))

    @staticmethod
    def _parse(
        value: float | Sequence[float],
        name: str,
        center: float = 1.0,
        bounds: Range = (0.0, math.inf),
    ) -> Range | None:
        if isinstance(value, (int, float)):
            low, high = parse_range(value, name)
            low, high = center + low, center + high
            low = max(low, 0.0) if center else low
        else:
            low, high = parse_range(value, name)
        if not bounds[0] <= low <= high <= bounds[1]:
            raise ValueError(f"{name} values should be between {bounds}, but got {[low, high]}.")
        return None if low == high == center else (low, high)

    @staticmethod
    def get_params(
        brightness: Range | None,
        contrast: Range | None,
        saturation: Range | None,
        hue: Range | None,
    ) -> tuple[torch.Tensor, float | None, float | None, float | None, float | None]:
        """Draw the order and the four factors; None where nothing changes."""
        order = torch.randperm(4)
        ranges = (brightness, contrast, saturation, hue)
        b, c, s, h = (None if r is None else draw_uniform(*r) for r in ranges)
        return order, b, c, s, h

    def forward(self, img: Any) -> Any:
        """Change one image."""
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        order, *factors = self.get_params(*ranges)
        adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
        for place in order.tolist():
            if factors[place] is not None:
                img = adjust[place](img, factors[place])
        return img

    def __repr__(self) -> str:
        names = ("brightness", "contrast", "saturation", "hue")
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)}' for n in names)})"


class RandomErasing(nn.Module):
    """Overwrites a random rectangle of a tensor with probability `p` (Zhong et al., 2017).

    `value` is a number, one number per channel, or "random" for normal noise.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Range = (0.02, 0.33),
        ratio: Range = (0.3, 3.3),
        value: float | Sequence[float] | str = 0,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(value, str) and value != "random":
            raise ValueError("If value is str, it should be 'random'")
        if not 0 <= p <= 1:
            raise ValueError("Random erasing probability should be between 0 and 1")
        self.p = p
        self.scale = scale
        self.ratio = ratio
        self.value = value
        self.inplace = inplace

    @staticmethod
    def get_params(
        img: torch.Tensor, scale: Range, ratio: Range, value: Sequence[float] | None = None
    ) -> tuple[int, int, int, int, torch.Tensor]:
        """Draw row, column, height, width and content; after ten misfits the whole image stays."""
        channels, h, w = img.shape[-3:]
        for _ in range(10):
            # The ratio is height over width here, so the two swap places.
            width, height = draw_shape(h * w, scale, ratio)
            if height >= h or width >= w:
                continue
            if value is None:
                content = torch.empty([channels, height, width], dtype=torch.float32).normal_()
            else:
                content = torch.tensor(value)[:, None, None]
            return draw_place(h - height + 1), draw_place(w - width + 1), height, width, content
        return 0, 0, h, w, img

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        """Erase in one image, or not."""
        if not happens(self.p):
            return img
        value = self._content_per_channel(img.shape[-3])
        i, j, h, w, content = self.get_params(img, self.scale, self.ratio, value)
        return F.erase(img, i, j, h, w, content, self.inplace)

    def _content_per_channel(self, channels: int) -> list[float] | None:
        if isinstance(self.value, str):
            return None
        value = self.value if not isinstance(self.value, (int, float)) else [self.value]
        if len(value) not in (1, channels):
            raise ValueError(
                f"If value is a sequence, it should have 1 or {channels} items, got {len(value)}"
            )
        return [float(number) for number in value]

    def __repr__(self) -> str:
        parts = [f"{n}={getattr(self, n)}" for n in ("p", "scale", "ratio", "value", "inplace")]
        return f"{type(self).__name__}({', '.join(parts)})"


class RandomApply(nn.Module):
    """Applies all the transforms with probability `p`, or none."""

    def __init__(self, transforms: Transforms, p: float = 0.5) -> None:
        super().__init__()
        self.transforms = transforms
        self.p = p

    def forward(self, img: Any) -> Any:
        """Transform one image, or not."""
        if not self.p < torch.rand(1).item():
            for transform in self.transforms:
                img = transform(img)
        return img

    def __repr__(self) -> str:
        lines = (f"    {transform}" for transform in self.transforms)
        return "\n".join([f"{type(self).__name__}(", f"    p={self.p}", *lines, ")"])


class RandomOrder:
    """Applies the transforms in random order, drawn from Python's `random`."""

    def __init__(self, transforms: Transforms) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        """Transform one image."""
        order = list(range(len(self.transforms)))
        random.shuffle(order)
        for place in order:
            img = self.transforms[place](img)
        return img


class RandomChoice:
    """Applies one of the transforms, drawn from Python's `random` with weights `p`."""

    def __init__(self, transforms: Transforms, p: Sequence[float] | None = None) -> None:
        self.transforms = transforms
        self.p = p

    def __call__(self, img: Any) -> Any:
        """Transform one image."""
        return random.choices(self.transforms, weights=self.p)[0](img)
