"""The lazy forms of linear, convolution and normalization layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flambeau

from ..parameter import UninitializedBuffer, UninitializedParameter
from .batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .instancenorm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from .lazy import LazyModuleMixin
from .linear import Linear

if TYPE_CHECKING:
    from flambeau import Tensor

__all__ = [
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
    "LazyLinear",
]


class LazyLinear(LazyModuleMixin, Linear):
    """`Linear` whose `in_features` is the last size of the first input: (*, H) -> (*,
    out_features).

    Args:
        out_features: size of the outputs.
        bias: whether to add one.

    >>> import flambeau as torch
    >>> layer = torch.nn.LazyLinear(2)
    >>> layer(torch.ones(4, 3)).shape, layer.in_features
    (torch.Size([4, 2]), 3)
    """

    cls_to_become = Linear
    weight: Any
    bias: Any

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(0, 0, False)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters, once they have a shape."""
        if self.in_features != 0 and not self.has_uninitialized_params():
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """Take `in_features` from the input."""
        if self.has_uninitialized_params():
            with flambeau.no_grad():
                self.in_features = input.shape[-1]
                self._materialize((self.out_features, self.in_features), "weight")
                self._materialize((self.out_features,), "bias")
                self.reset_parameters()


class _LazyConvBase(LazyModuleMixin):
    """What the lazy convolutions share."""

    in_channels: int
    out_channels: int
    groups: int
    kernel_size: tuple[int, ...]
    transposed: bool
    weight: Any
    bias: Any

    def _make_lazy(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        self.out_channels = out_channels
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters, once they have a shape."""
        if self.in_channels != 0 and not self.has_uninitialized_params():
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Take `in_channels` from the input."""
        if not self.has_uninitialized_params():
            return
        self.in_channels = self._find_channels(input)
        if self.in_channels % self.groups:
            raise ValueError("in_channels must be divisible by groups")
        outer, inner = self.out_channels, self.in_channels
        if self.transposed:
            outer, inner = inner, outer
        self._materialize((outer, inner // self.groups, *self.kernel_size), "weight")
        self._materialize((self.out_channels,), "bias")
        self.reset_parameters()

    def _find_channels(self, input: Tensor) -> int:
        dims = len(self.kernel_size)
        if input.dim() not in (dims + 1, dims + 2):
            raise RuntimeError(
                f"Expected {dims + 1}D (unbatched) or {dims + 2}D (batched) input to"
                f" {type(self).__name__}, but got input of size: {input.shape}"
            )
        return input.shape[-dims - 1]


class _LazyConv(_LazyConvBase):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode, device, dtype
        )
        self._make_lazy(out_channels, bias, device, dtype)


class LazyConv1d(_LazyConv, Conv1d):
    """`Conv1d` whose `in_channels` comes from the first input (N, C, L) or (C, L).

    >>> import flambeau as torch
    >>> torch.nn.LazyConv1d(4, 3)(torch.ones(1, 2, 8)).shape
    torch.Size([1, 4, 6])
    """

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """`Conv2d` whose `in_channels` comes from the first input (N, C, H, W) or (C, H, W).

    >>> import flambeau as torch
    >>> torch.nn.LazyConv2d(4, 3)(torch.ones(1, 2, 8, 8)).shape
    torch.Size([1, 4, 6, 6])
    """

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """`Conv3d` whose `in_channels` comes from the first input (N, C, D, H, W) or (C, D, H, W).

    >>> import flambeau as torch
    >>> torch.nn.LazyConv3d(4, 3)(torch.ones(1, 2, 4, 4, 4)).shape
    torch.Size([1, 4, 2, 2, 2])
    """

    cls_to_become = Conv3d


class _LazyConvTranspose(_LazyConvBase):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            0,
            0,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            False,
            dilation,
            padding_mode,
            device,
            dtype,
        )
        self._make_lazy(out_channels, bias, device, dtype)


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    """`ConvTranspose1d` whose `in_channels` comes from the first input (N, C, L) or (C, L).

    >>> import flambeau as torch
    >>> torch.nn.LazyConvTranspose1d(4, 3)(torch.ones(1, 2, 8)).shape
    torch.Size([1, 4, 10])
    """

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    """`ConvTranspose2d` whose `in_channels` comes from the first input (N, C, H, W) or (C, H, W).

    >>> import flambeau as torch
    >>> torch.nn.LazyConvTranspose2d(4, 3)(torch.ones(1, 2, 8, 8)).shape
    torch.Size([1, 4, 10, 10])
    """

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    """`ConvTranspose3d` whose `in_channels` comes from the first input (N, C, D, H, W).

    >>> import flambeau as torch
    >>> torch.nn.LazyConvTranspose3d(4, 3)(torch.ones(1, 2, 2, 2, 2)).shape
    torch.Size([1, 4, 4, 4, 4])
    """

    cls_to_become = ConvTranspose3d


class _LazyNorm(LazyModuleMixin):
    """What the lazy normalizations share: parameters and statistics of as many channels as come."""

    num_features: int
    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        # Without parameters at first, so that no sizes are needed.
        super().__init__(0, eps, momentum, False, False, device, dtype)
        self.affine, self.track_running_stats = affine, track_running_stats
        if affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                self.bias = UninitializedParameter(device=device, dtype=dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = flambeau.tensor(0, dtype=flambeau.long, device=device)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, once they have a shape."""
        if self.num_features != 0 and not self.has_uninitialized_params():
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self, input: Tensor) -> None:
        """Take `num_features` from the input."""
        if self.has_uninitialized_params():
            self.num_features = self._find_features(input)
            names = ("weight", "bias", "running_mean", "running_var")
            self._materialize((self.num_features,), *names)
            self.reset_parameters()

    def _find_features(self, input: Tensor) -> int:
        return input.shape[1]


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """`BatchNorm1d` whose `num_features` comes from the first input (N, C) or (N, C, L).

    >>> import flambeau as torch
    >>> layer = torch.nn.LazyBatchNorm1d()
    >>> _ = layer(torch.ones(4, 3)); layer.num_features
    3
    """

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """`BatchNorm2d` whose `num_features` comes from the first input (N, C, H, W).

    >>> import flambeau as torch
    >>> layer = torch.nn.LazyBatchNorm2d()
    >>> _ = layer(torch.ones(4, 3, 2, 2)); layer.num_features
    3
    """

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """`BatchNorm3d` whose `num_features` comes from the first input (N, C, D, H, W).

    >>> import flambeau as torch
    >>> layer = torch.nn.LazyBatchNorm3d()
    >>> _ = layer(torch.ones(4, 3, 2, 2, 2)); layer.num_features
    3
    """

    cls_to_become = BatchNorm3d


class _LazyInstanceNorm(_LazyNorm):
    _batched_dims: int

    def _find_features(self, input: Tensor) -> int:
        # Without a batch dimension the channels come first.
        return input.shape[1 - self._batched_dims]


class LazyInstanceNorm1d(_LazyInstanceNorm, InstanceNorm1d):
    """`InstanceNorm1d` whose `num_features` comes from the first input (N, C, L) or (C, L).

    >>> import flambeau as torch
    >>> layer = torch.nn.LazyInstanceNorm1d()
    >>> _ = layer(torch.ones(4, 3, 2)); layer.num_features
    3
    """

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, InstanceNorm2d):
    """`InstanceNorm2d` whose `num_features` comes from the first input (N, C, H, W) or (C, H, W).

    >>> import flambeau as torch
    >>> layer = torch.nn.LazyInstanceNorm2d()
    >>> _ = layer(torch.ones(4, 3, 2, 2)); layer.num_features
    3
    """

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, InstanceNorm3d):
    """`InstanceNorm3d` whose `num_features` comes from the first input (N, C, D, H, W).

    >>> import flambeau as torch
    >>> layer = torch.nn.LazyInstanceNorm3d()
    >>> _ = layer(torch.ones(4, 3, 2, 2, 2)); layer.num_features
    3
    """

    cls_to_become = InstanceNorm3d
