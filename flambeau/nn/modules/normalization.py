"""Normalization within a sample: layer, group, root mean square, local response."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import flambeau

from .. import functional as F
from .. import init
from ..parameter import Parameter
from ._affine import AffineModule
from .module import Module

if TYPE_CHECKING:
    from flambeau import Tensor

__all__ = ["CrossMapLRN2d", "GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


class LocalResponseNorm(Module):
    """Divides by (k + alpha mean of x^2 over `size` neighbouring channels)^beta: (N, C, *).

    >>> import flambeau as torch
    >>> torch.nn.LocalResponseNorm(3)(torch.randn(1, 4, 2, 2)).shape
    torch.Size([1, 4, 2, 2])
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """`LocalResponseNorm` under its older name, for (N, C, H, W).

    >>> import flambeau as torch
    >>> torch.nn.CrossMapLRN2d(3)(torch.randn(1, 4, 2, 2)).shape
    torch.Size([1, 4, 2, 2])
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__(size, alpha, beta, k)


class LayerNorm(AffineModule):
    """Normalizes over the last dimensions: y = (x - mean) / sqrt(var + eps) * weight + bias.

    Args:
        normalized_shape: sizes of the dimensions to normalize over, or one size.
        elementwise_affine: have `weight`, and `bias` when `bias`, of that shape.

    Reference: Ba et al., Layer Normalization (2016).

    >>> import flambeau as torch
    >>> torch.nn.LayerNorm(2)(torch.tensor([[1.0, 3.0]])).round().tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        used = elementwise_affine, elementwise_affine and bias
        self._add_parameters(self.normalized_shape, *used, device=device, dtype=dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


def _as_shape(normalized_shape: Any) -> tuple[int, ...]:
    if isinstance(normalized_shape, numbers.Integral):
        return (int(normalized_shape),)
    return tuple(normalized_shape)


class GroupNorm(AffineModule):
    """Normalizes each sample over groups of channels and all positions: (N, C, *).

    Args:
        num_groups: number of groups; divides `num_channels`.
        affine: have weight and bias of shape (C).

    Reference: Wu and He, Group Normalization (2018).

    Errors:
        ValueError: `num_groups` does not divide `num_channels`.

    >>> import flambeau as torch
    >>> torch.nn.GroupNorm(2, 4)(torch.randn(3, 4, 5)).shape
    torch.Size([3, 4, 5])
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_groups <= 0:
            raise ValueError(f"num_groups must be positive, got {num_groups}")
        if num_channels % num_groups:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        used = affine, affine and bias
        self._add_parameters(num_channels, *used, device=device, dtype=dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Divides by the root mean square over the last dimensions: y = x / sqrt(mean(x^2) + eps) *
    weight.

    Args:
        normalized_shape: sizes of the dimensions to normalize over, or one size.
        eps: None for the machine epsilon of the input's dtype.

    Reference: Zhang and Sennrich, Root Mean Square Layer Normalization (2019).

    >>> import flambeau as torch
    >>> torch.nn.RMSNorm(2, eps=0.0)(torch.tensor([3.0, 3.0])).detach()
    tensor([1., 1.])
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        parameter = None
        if elementwise_affine:
            parameter = Parameter(flambeau.empty(self.normalized_shape, device=device, dtype=dtype))
        self.register_parameter("weight", parameter)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )
