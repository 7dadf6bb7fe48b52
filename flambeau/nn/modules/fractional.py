"""Fractional max-pooling layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import functional as F
from .module import Module
from .utils import _pair, _triple

if TYPE_CHECKING:
    from flambeau import Tensor

__all__ = ["FractionalMaxPool2d", "FractionalMaxPool3d"]


class _FractionalMaxPool(Module):
    _random_samples: Any
    _spread: Callable[[Any], tuple]  # a number to as many as there are dimensions

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        spread = self._spread
        self.kernel_size = spread(kernel_size)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else spread(output_size)
        self.output_ratio = None if output_ratio is None else spread(output_ratio)
        if output_size is None and output_ratio is None:
            raise ValueError(
                f"{type(self).__name__} requires specifying either an output size, or a pooling"
                " ratio"
            )
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < part < 1 for part in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def _settings(self) -> tuple:
        return (
            self.kernel_size,
            self.output_size,
            self.output_ratio,
            self.return_indices,
            self._random_samples,
        )


class FractionalMaxPool2d(_FractionalMaxPool):
    """Maxima of so many windows at random steps: (N, C, H, W) -> (N, C, H_out, W_out), N optional.

    Args:
        kernel_size: of the windows, one number or two.
        output_size: numbers of windows, one number or two; or
        output_ratio: as parts of the input's size, in (0, 1).
        return_indices: return the places of the maxima too.

    Reference: Graham, Fractional max-pooling (2014).

    Errors:
        ValueError: not exactly one of size and ratio is given.

    >>> import flambeau as torch
    >>> pool = torch.nn.FractionalMaxPool2d(3, output_ratio=0.5)
    >>> pool(torch.randn(2, 4, 10, 8)).shape
    torch.Size([2, 4, 5, 4])
    """

    _spread = staticmethod(_pair)

    def forward(self, input: Tensor) -> Any:
        return F.fractional_max_pool2d(input, *self._settings())


class FractionalMaxPool3d(_FractionalMaxPool):
    """`FractionalMaxPool2d` for (N, C, D, H, W).

    >>> import flambeau as torch
    >>> pool = torch.nn.FractionalMaxPool3d(2, output_size=(2, 3, 4))
    >>> pool(torch.randn(1, 2, 6, 6, 6)).shape
    torch.Size([1, 2, 2, 3, 4])
    """

    _spread = staticmethod(_triple)

    def forward(self, input: Tensor) -> Any:
        return F.fractional_max_pool3d(input, *self._settings())
