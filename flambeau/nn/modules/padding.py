"""Padding layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import functional as F
from .module import Module
from .utils import _ntuple, _pair, _quadruple

if TYPE_CHECKING:
    from flambeau import Tensor

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]

_sextuple = _ntuple(6)


class _PadNd(Module):
    """Pads with `F.pad`; a number stands for every side."""

    mode: str
    padding: tuple[int, ...]

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(_PadNd):
    mode = "constant"
    value: float

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _CircularPadNd(_PadNd):
    dims: tuple[int, int]

    def forward(self, input: Tensor) -> Tensor:
        """The padded input; ValueError for another number of dimensions."""
        if input.dim() not in self.dims:
            few, many = self.dims
            raise ValueError(f"expected {few}D or {many}D input (got {input.dim()}D input)")
        return super().forward(input)


class CircularPad1d(_CircularPadNd):
    """Pads (N, C, L) with the values of the opposite end; `padding` is one number or (left,
    right).

    >>> import flambeau as torch
    >>> torch.nn.CircularPad1d(1)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 1., 2., 3., 1.]])
    """

    mode = "circular"
    dims = (2, 3)

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _pair(padding)


class CircularPad2d(_CircularPadNd):
    """Pads (N, C, H, W) with the values of the opposite end; `padding` is one number or (left,
    right, top, bottom).

    >>> import flambeau as torch
    >>> torch.nn.CircularPad2d(1)(torch.randn(2, 3, 8, 6)).shape
    torch.Size([2, 3, 10, 8])
    """

    mode = "circular"
    dims = (3, 4)

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _quadruple(padding)


class CircularPad3d(_CircularPadNd):
    """Pads (N, C, D, H, W) with the values of the opposite end; `padding` is one number or (left,
    right, top, bottom, front, back).

    >>> import flambeau as torch
    >>> torch.nn.CircularPad3d(1)(torch.randn(2, 3, 8, 6, 4)).shape
    torch.Size([2, 3, 10, 8, 6])
    """

    mode = "circular"
    dims = (4, 5)

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _sextuple(padding)


class ConstantPad1d(_ConstantPadNd):
    """Pads (N, C, L) with `value`; `padding` is one number or (left, right).

    >>> import flambeau as torch
    >>> torch.nn.ConstantPad1d(1, 2.5)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[2.5000, 1.0000, 2.0000, 3.0000, 2.5000]])
    """

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__()
        self.padding = _pair(padding)
        self.value = value


class ConstantPad2d(_ConstantPadNd):
    """Pads (N, C, H, W) with `value`; `padding` is one number or (left, right, top, bottom).

    >>> import flambeau as torch
    >>> torch.nn.ConstantPad2d(1, 2.5)(torch.randn(2, 3, 8, 6)).shape
    torch.Size([2, 3, 10, 8])
    """

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__()
        self.padding = _quadruple(padding)
        self.value = value


class ConstantPad3d(_ConstantPadNd):
    """Pads (N, C, D, H, W) with `value`; `padding` is one number or (left, right, top, bottom,
    front, back).

    >>> import flambeau as torch
    >>> torch.nn.ConstantPad3d(1, 2.5)(torch.randn(2, 3, 8, 6, 4)).shape
    torch.Size([2, 3, 10, 8, 6])
    """

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__()
        self.padding = _sextuple(padding)
        self.value = value


class ReflectionPad1d(_PadNd):
    """Pads (N, C, L) with its reflection at the edge, which is not repeated; `padding` is one
    number or (left, right).

    >>> import flambeau as torch
    >>> torch.nn.ReflectionPad1d(2)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 2., 1., 2., 3., 2., 1.]])
    """

    mode = "reflect"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _pair(padding)


class ReflectionPad2d(_PadNd):
    """Pads (N, C, H, W) with its reflection at the edge, which is not repeated; `padding` is one
    number or (left, right, top, bottom).

    >>> import flambeau as torch
    >>> torch.nn.ReflectionPad2d(1)(torch.randn(2, 3, 8, 6)).shape
    torch.Size([2, 3, 10, 8])
    """

    mode = "reflect"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _quadruple(padding)


class ReflectionPad3d(_PadNd):
    """Pads (N, C, D, H, W) with its reflection at the edge, which is not repeated; `padding` is one
    number or (left, right, top, bottom, front, back).

    >>> import flambeau as torch
    >>> torch.nn.ReflectionPad3d(1)(torch.randn(2, 3, 8, 6, 4)).shape
    torch.Size([2, 3, 10, 8, 6])
    """

    mode = "reflect"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _sextuple(padding)


class ReplicationPad1d(_PadNd):
    """Pads (N, C, L) with its edge values; `padding` is one number or (left, right).

    >>> import flambeau as torch
    >>> torch.nn.ReplicationPad1d(1)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[1., 1., 2., 3., 3.]])
    """

    mode = "replicate"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _pair(padding)


class ReplicationPad2d(_PadNd):
    """Pads (N, C, H, W) with its edge values; `padding` is one number or (left, right, top,
    bottom).

    >>> import flambeau as torch
    >>> torch.nn.ReplicationPad2d(1)(torch.randn(2, 3, 8, 6)).shape
    torch.Size([2, 3, 10, 8])
    """

    mode = "replicate"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _quadruple(padding)


class ReplicationPad3d(_PadNd):
    """Pads (N, C, D, H, W) with its edge values; `padding` is one number or (left, right, top,
    bottom, front, back).

    >>> import flambeau as torch
    >>> torch.nn.ReplicationPad3d(1)(torch.randn(2, 3, 8, 6, 4)).shape
    torch.Size([2, 3, 10, 8, 6])
    """

    mode = "replicate"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _sextuple(padding)


class ZeroPad1d(ConstantPad1d):
    """Pads (N, C, L) with zeros; `padding` is one number or (left, right).

    >>> import flambeau as torch
    >>> torch.nn.ZeroPad1d(1)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[0., 1., 2., 3., 0.]])
    """

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """Pads (N, C, H, W) with zeros; `padding` is one number or (left, right, top, bottom).

    >>> import flambeau as torch
    >>> torch.nn.ZeroPad2d(1)(torch.randn(2, 3, 8, 6)).shape
    torch.Size([2, 3, 10, 8])
    """

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """Pads (N, C, D, H, W) with zeros; `padding` is one number or (left, right, top, bottom, front,
    back).

    >>> import flambeau as torch
    >>> torch.nn.ZeroPad3d(1)(torch.randn(2, 3, 8, 6, 4)).shape
    torch.Size([2, 3, 10, 8, 6])
    """

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"
