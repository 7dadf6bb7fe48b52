"""Pooling: the choice between values and values with indices, power-average pooling, unpooling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flambeau

from . import primitives

if TYPE_CHECKING:
    from flambeau import Tensor


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Largest value in each window of (N, C, L); with `return_indices` also its position in L."""
    pool = primitives.max_pool1d_with_indices if return_indices else primitives.max_pool1d
    return pool(input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Largest value in each window of (N, C, H, W); with `return_indices` also its position in H
    W.
    """
    pool = primitives.max_pool2d_with_indices if return_indices else primitives.max_pool2d
    return pool(input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Largest value in each window of (N, C, D, H, W); with `return_indices` also its position in D
    H W.
    """
    pool = primitives.max_pool3d_with_indices if return_indices else primitives.max_pool3d
    return pool(input, kernel_size, stride, padding, dilation, ceil_mode)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Largest values of `output_size` nearly equal windows of (N, C, L)."""
    values, indices = primitives.adaptive_max_pool1d_with_indices(input, output_size)
    return (values, indices) if return_indices else values


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Largest values of an `output_size` grid of nearly equal windows of (N, C, H, W)."""
    values, indices = primitives.adaptive_max_pool2d_with_indices(input, output_size)
    return (values, indices) if return_indices else values


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Largest values of an `output_size` grid of nearly equal windows of (N, C, D, H, W)."""
    values, indices = primitives.adaptive_max_pool3d_with_indices(input, output_size)
    return (values, indices) if return_indices else values


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


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put pooled values back at their `indices` in (N, C, L), zeros elsewhere."""
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put pooled values back at their `indices` in (N, C, H, W), zeros elsewhere."""
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put pooled values back at their `indices` in (N, C, D, H, W), zeros elsewhere."""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)


def _unpool(
    dims: int,
    input: Tensor,
    indices: Tensor,
    kernel: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
) -> Tensor:
    name = f"max_unpool{dims}d"
    if input.shape != indices.shape:
        raise RuntimeError(
            f"{name}: expected shape of indices to be same as that of the input tensor "
            f"({list(input.shape)}) "
            f"but got indices tensor with shape: {list(indices.shape)}"
        )
    if input.dim() not in (dims + 1, dims + 2):
        raise RuntimeError(
            f"{name}: expected a {dims + 1}D or {dims + 2}D input, got {input.dim()}D: "
            f"{tuple(input.shape)}"
        )
    kernel, padding = _expand(kernel, dims), _expand(padding, dims)
    stride = kernel if stride is None else _expand(stride, dims)
    default = tuple(
        (size - 1) * s + k - 2 * p
        for size, s, k, p in zip(input.shape[-dims:], stride, kernel, padding, strict=True)
    )
    space = (
        default
        if output_size is None
        else _check_unpool_size(name, output_size, default, stride, dims)
    )
    lead = tuple(input.shape[:-dims])
    count = 1
    for size in space:
        count *= size
    if indices.numel() and not (int(indices.min()) >= 0 and int(indices.max()) < count):
        raise RuntimeError(
            f"{name}: found an invalid index outside 0 .. {count - 1} for output size {space}"
        )
    flat = flambeau.zeros(*lead, count, dtype=input.dtype, device=input.device)
    filled = flat.scatter(-1, indices.reshape(*lead, -1), input.reshape(*lead, -1))
    return filled.reshape(*lead, *space)


def _check_unpool_size(
    name: str, output_size: Any, default: tuple[int, ...], stride: tuple[int, ...], dims: int
) -> tuple[int, ...]:
    size = tuple(output_size)[-dims:]
    if len(output_size) not in (dims, dims + 1, dims + 2):
        raise ValueError(
            f"output_size should be a sequence containing {dims} or {dims + 2} elements, but it "
            "has a length of "
            f"'{len(output_size)}'"
        )
    for axis, (wanted, usual, step) in enumerate(zip(size, default, stride, strict=True)):
        if not usual - step < wanted < usual + step:
            raise ValueError(
                f'invalid output_size "{list(size)}" '
                f"(dim {axis} must be between {usual - step} and {usual + step})"
            )
    return size
