"""Pooling layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import functional as F
from .module import Module
from .utils import _pair, _single, _triple

if TYPE_CHECKING:
    from flambeau import Tensor

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]


class _MaxPoolNd(Module):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )

    def _settings(self) -> tuple:
        return (
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )


class MaxPool1d(_MaxPoolNd):
    """Largest value in each window: (N, C, L) -> (N, C, L_out), N optional.

    L_out = floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1, or ceil with
    `ceil_mode`.

    Args:
        stride: step between windows; `kernel_size` by default.
        padding: positions of -inf added at both ends, at most half the kernel.
        return_indices: also return where the largest values are, for `MaxUnpool1d`.

    >>> import flambeau as torch
    >>> torch.nn.MaxPool1d(2)(torch.tensor([[1.0, 3.0, 4.0, 8.0]]))
    tensor([[3., 8.]])
    """

    def forward(self, input: Tensor) -> Any:
        return F.max_pool1d(input, *self._settings())


class MaxPool2d(_MaxPoolNd):
    """Largest value in each window: (N, C, H, W) -> (N, C, H_out, W_out), N optional; arguments as
    `MaxPool1d`.

    >>> import flambeau as torch
    >>> torch.nn.MaxPool2d(2)(torch.arange(4.0).reshape(1, 1, 2, 2))
    tensor([[[[3.]]]])
    """

    def forward(self, input: Tensor) -> Any:
        return F.max_pool2d(input, *self._settings())


class MaxPool3d(_MaxPoolNd):
    """Largest value in each window: (N, C, D, H, W) -> (N, C, *), N optional; arguments as
    `MaxPool1d`.

    >>> import flambeau as torch
    >>> torch.nn.MaxPool3d(2)(torch.randn(2, 3, 8, 6, 4)).shape
    torch.Size([2, 3, 4, 3, 2])
    """

    def forward(self, input: Tensor) -> Any:
        return F.max_pool3d(input, *self._settings())


class _MaxUnpoolNd(Module):
    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpoolNd):
    """Puts the values of `MaxPool1d` back at the indices it returned, zeros elsewhere.

    (N, C, L), indices of that shape -> (N, C, L_out), N optional; L_out = (L - 1) stride - 2
    padding + kernel_size, or `output_size` given to the call.

    >>> import flambeau as torch
    >>> pool = torch.nn.MaxPool1d(2, return_indices=True)
    >>> torch.nn.MaxUnpool1d(2)(*pool(torch.tensor([[1.0, 3.0, 8.0, 4.0]])))
    tensor([[0., 3., 8., 0.]])
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = _single(kernel_size)
        self.stride = _single(stride if stride is not None else kernel_size)
        self.padding = _single(padding)

    def forward(
        self, input: Tensor, indices: Tensor, output_size: list[int] | None = None
    ) -> Tensor:
        return F.max_unpool1d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )


class MaxUnpool2d(_MaxUnpoolNd):
    """Puts the values of `MaxPool2d` back at the indices it returned, zeros elsewhere.

    (N, C, H, W), indices of that shape -> (N, C, H_out, W_out), N optional; sizes as in
    `MaxUnpool1d`.

    >>> import flambeau as torch
    >>> pool = torch.nn.MaxPool2d(2, return_indices=True)
    >>> unpool = torch.nn.MaxUnpool2d(2)
    >>> unpool(*pool(torch.randn(2, 3, 8, 6))).shape
    torch.Size([2, 3, 8, 6])
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride if stride is not None else kernel_size)
        self.padding = _pair(padding)

    def forward(
        self, input: Tensor, indices: Tensor, output_size: list[int] | None = None
    ) -> Tensor:
        return F.max_unpool2d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )


class MaxUnpool3d(_MaxUnpoolNd):
    """Puts the values of `MaxPool3d` back at the indices it returned, zeros elsewhere.

    (N, C, D, H, W), indices of that shape -> (N, C, D_out, H_out, W_out), N optional; sizes as in
    `MaxUnpool1d`.

    >>> import flambeau as torch
    >>> pool = torch.nn.MaxPool3d(2, return_indices=True)
    >>> unpool = torch.nn.MaxUnpool3d(2)
    >>> unpool(*pool(torch.randn(2, 3, 8, 6, 4))).shape
    torch.Size([2, 3, 8, 6, 4])
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = _triple(kernel_size)
        self.stride = _triple(stride if stride is not None else kernel_size)
        self.padding = _triple(padding)

    def forward(
        self, input: Tensor, indices: Tensor, output_size: list[int] | None = None
    ) -> Tensor:
        return F.max_unpool3d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )


class AvgPool1d(Module):
    """Mean of each window: (N, C, L) -> (N, C, L_out), N optional.

    Args:
        stride: step between windows; `kernel_size` by default.
        count_include_pad: whether padded zeros count as values.

    >>> import flambeau as torch
    >>> torch.nn.AvgPool1d(2)(torch.tensor([[1.0, 3.0, 4.0, 8.0]]))
    tensor([[2., 6.]])
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = _single(kernel_size)
        self.stride = _single(stride if stride is not None else kernel_size)
        self.padding = _single(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPoolNd(Module):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"

    def _settings(self) -> tuple:
        return (
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class AvgPool2d(_AvgPoolNd):
    """Mean of each window: (N, C, H, W) -> (N, C, H_out, W_out), N optional; arguments as
    `AvgPool1d`.

    Args:
        divisor_override: divide the sums by this number instead of the count.

    >>> import flambeau as torch
    >>> torch.nn.AvgPool2d(2)(torch.randn(2, 3, 8, 6)).shape
    torch.Size([2, 3, 4, 3])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(input, *self._settings())


class AvgPool3d(_AvgPoolNd):
    """Mean of each window: (N, C, D, H, W) -> (N, C, *), N optional; arguments as `AvgPool2d`.

    >>> import flambeau as torch
    >>> torch.nn.AvgPool3d(2)(torch.randn(2, 3, 8, 6, 4)).shape
    torch.Size([2, 3, 4, 3, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool3d(input, *self._settings())


class _LPPoolNd(Module):
    def __init__(
        self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPoolNd):
    """p-norm of each window, (sum x^p)^(1/p) with p = `norm_type`: (N, C, L) -> (N, C, L_out).

    >>> import flambeau as torch
    >>> torch.nn.LPPool1d(2, 2)(torch.randn(2, 3, 8)).shape
    torch.Size([2, 3, 4])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool1d(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )


class LPPool2d(_LPPoolNd):
    """p-norm of each window: (N, C, H, W) -> (N, C, H_out, W_out).

    >>> import flambeau as torch
    >>> torch.nn.LPPool2d(2, 2)(torch.randn(2, 3, 8, 6)).shape
    torch.Size([2, 3, 4, 3])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool2d(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )


class LPPool3d(_LPPoolNd):
    """p-norm of each window: (N, C, D, H, W) -> (N, C, *).

    >>> import flambeau as torch
    >>> torch.nn.LPPool3d(2, 2)(torch.randn(2, 3, 8, 6, 4)).shape
    torch.Size([2, 3, 4, 3, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool3d(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )


class _AdaptiveAvgPoolNd(Module):
    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    """Means of `output_size` nearly equal windows: (N, C, L) -> (N, C, output_size).

    >>> import flambeau as torch
    >>> torch.nn.AdaptiveAvgPool1d(2)(torch.randn(2, 3, 8)).shape
    torch.Size([2, 3, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    """Means of an H x W grid of nearly equal windows: (N, C, *, *) -> (N, C, H, W); None keeps a
    size.

    >>> import flambeau as torch
    >>> torch.nn.AdaptiveAvgPool2d(2)(torch.randn(2, 3, 8, 6)).shape
    torch.Size([2, 3, 2, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    """Means of D x H x W windows of nearly equal sizes: (N, C, *) -> (N, C, *output_size), N
    optional.

    Args:
        output_size: number of windows in each direction, or one number; None keeps a size.

    >>> import flambeau as torch
    >>> torch.nn.AdaptiveAvgPool3d(2)(torch.randn(2, 3, 8, 6, 4)).shape
    torch.Size([2, 3, 2, 2, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool3d(input, self.output_size)


class _AdaptiveMaxPoolNd(Module):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    """Largest values of `output_size` nearly equal windows: (N, C, L) -> (N, C, output_size).

    >>> import flambeau as torch
    >>> torch.nn.AdaptiveMaxPool1d(2)(torch.randn(2, 3, 8)).shape
    torch.Size([2, 3, 2])
    """

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    """Largest values of H x W windows of nearly equal sizes: (N, C, *) -> (N, C, *output_size), N
    optional.

    Args:
        output_size: number of windows in each direction, or one number; None keeps a size.
        return_indices: also return where in its plane each value stands.

    >>> import flambeau as torch
    >>> torch.nn.AdaptiveMaxPool2d(2)(torch.randn(2, 3, 8, 6)).shape
    torch.Size([2, 3, 2, 2])
    """

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    """Largest values of D x H x W windows of nearly equal sizes: (N, C, *) -> (N, C, *output_size),
    N optional.

    Args:
        output_size: number of windows in each direction, or one number; None keeps a size.
        return_indices: also return where in its volume each value stands.

    >>> import flambeau as torch
    >>> torch.nn.AdaptiveMaxPool3d(2)(torch.randn(2, 3, 8, 6, 4)).shape
    torch.Size([2, 3, 2, 2, 2])
    """

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool3d(input, self.output_size, self.return_indices)
