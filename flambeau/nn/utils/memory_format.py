"""The order of memory of convolutions' weights."""

from __future__ import annotations

from typing import Any

from ..modules.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"]


def convert_conv2d_weight_memory_format(module: Any, memory_format: Any) -> Any:
    """Lay out the weights of all 2-d convolutions in `module`, in place; returns it.

    >>> import flambeau as torch
    >>> conv = torch.nn.Conv2d(2, 3, 3)
    >>> _ = torch.nn.utils.convert_conv2d_weight_memory_format(conv, torch.channels_last)
    >>> conv.weight.is_contiguous(memory_format=torch.channels_last)
    True
    """
    return _convert(module, (Conv2d, ConvTranspose2d), memory_format)


def convert_conv3d_weight_memory_format(module: Any, memory_format: Any) -> Any:
    """Lay out the weights of all 3-d convolutions in `module`, in place; returns it."""
    return _convert(module, (Conv3d, ConvTranspose3d), memory_format)


def _convert(module: Any, kinds: Any, memory_format: Any) -> Any:
    for child in module.modules():
        if isinstance(child, kinds):
            weight: Any = child.weight
            weight.data = weight.detach().contiguous(memory_format=memory_format)
    return module
