"""Power-average pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import primitives

if TYPE_CHECKING:
    from flambeau import Tensor


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """p-norm of each window: (sum x^p)^(1/p), p being `norm_type`; 0 where the sum is not
    positive.
    """
    means = primitives.avg_pool1d(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    return _root_of_sums(means, _count_elements(kernel_size, 1), norm_type)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """p-norm of each window of (N, C, H, W)."""
    means = primitives.avg_pool2d(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    return _root_of_sums(means, _count_elements(kernel_size, 2), norm_type)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """p-norm of each window of (N, C, D, H, W)."""
    means = primitives.avg_pool3d(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    return _root_of_sums(means, _count_elements(kernel_size, 3), norm_type)


def _count_elements(kernel_size: Any, dims: int) -> int:
    count = 1
    for size in _expand(kernel_size, dims):
        count *= size
    return count


def _root_of_sums(means: Tensor, count: int, norm_type: float) -> Tensor:
    return (primitives.relu(means) * count).pow(1.0 / norm_type)


def _expand(value: Any, dims: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dims
    value = tuple(value)
    return value * dims if len(value) == 1 else value
