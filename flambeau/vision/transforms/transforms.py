"""Transforms that do the same to every image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flambeau as torch
from flambeau import nn
from flambeau.vision.transforms import functional as F
from flambeau.vision.transforms.interpolation import InterpolationMode


class Compose:
    """Applies transforms one after the other.

    >>> Compose([lambda x: x + 1, lambda x: x * 10])(1)
    20
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        """Transform one sample."""
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        lines = (f"    {transform}" for transform in self.transforms)
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


class ToTensor:
    """Converts a Pillow image or array (H, W[, C]) of bytes to a float tensor (C, H, W) in 0..1."""

    def __call__(self, pic: Any) -> torch.Tensor:
        """Convert one image."""
        return F.to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class PILToTensor:
    """Converts a Pillow image to a tensor (C, H, W) of the same numbers."""

    def __call__(self, pic: Any) -> torch.Tensor:
        """Convert one image."""
        return F.pil_to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ToPILImage:
    """Converts a tensor (C, H, W) or array (H, W, C) to a Pillow image, of mode `mode` if given."""

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        """Convert one image."""
        return F.to_pil_image(pic, self.mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.mode is None else f'mode={self.mode}'})"


class Lambda:
    """Applies a function."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        """Transform one sample."""
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ConvertImageDtype(nn.Module):
    """Converts a tensor to a dtype, scaling so that full brightness stays full."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Convert one image."""
        return F.convert_image_dtype(image, self.dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Normalize(nn.Module):
    """Gives (tensor - mean) / std for each channel of a float tensor (..., C, H, W)."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.std = std
        self.inplace = inplace

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        """Normalise one image."""
        return F.normalize(tensor, self.mean, self.std, self.inplace)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mean={self.mean}, std={self.std})"


class Resize(nn.Module):
    """Resizes to `size` = (height, width), or so that the shorter side has `size` pixels."""

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        self.size = size
        self.interpolation = interpolation
        self.max_size = max_size
        self.antialias = antialias

    def forward(self, img: Any) -> Any:
        """Resize one image."""
        return F.resize(img, self.size, self.interpolation, self.max_size, self.antialias)

    def __repr__(self) -> str:
        detail = f"interpolation={self.interpolation.value}, max_size={self.max_size}"
        return f"{type(self).__name__}(size={self.size}, {detail}, antialias={self.antialias})"


class CenterCrop(nn.Module):
    """Cuts out the middle; a smaller image gets a border of zeros first."""

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self.size = F.parse_size(size)

    def forward(self, img: Any) -> Any:
        """Crop one image."""
        return F.center_crop(img, self.size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"


class Pad(nn.Module):
    """Adds a border: constant (`fill`), edge, reflect or symmetric."""

    def __init__(
        self, padding: int | Sequence[int], fill: F.Fill = 0, padding_mode: str = "constant"
    ) -> None:
        super().__init__()
        F.parse_padding(padding)
        self.padding = padding
        self.fill = fill
        self.padding_mode = padding_mode

    def forward(self, img: Any) -> Any:
        """Pad one image."""
        return F.pad(img, self.padding, self.fill, self.padding_mode)

    def __repr__(self) -> str:
        detail = f"fill={self.fill}, padding_mode={self.padding_mode}"
        return f"{type(self).__name__}(padding={self.padding}, {detail})"


class Grayscale(nn.Module):
    """Converts to grey with one channel, or three equal ones."""

    def __init__(self, num_output_channels: int = 1) -> None:
        super().__init__()
        self.num_output_channels = num_output_channels

    def forward(self, img: Any) -> Any:
        """Convert one image."""
        return F.rgb_to_grayscale(img, self.num_output_channels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_output_channels={self.num_output_channels})"
