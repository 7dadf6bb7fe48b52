"""Batch norms in evaluation mode folded into the layer before them."""

from __future__ import annotations

import copy
from typing import Any

import flambeau
from flambeau import Tensor

from ..parameter import Parameter

__all__ = [
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
]


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A convolution that gives bn(conv(x)), both in evaluation mode.

    Args:
        conv: a convolution; with `transpose` a transposed one.
        bn: a batch norm with running statistics.

    Errors:
        AssertionError: one is in training mode, or there are no statistics.

    >>> import flambeau as torch
    >>> conv, bn = torch.nn.Conv2d(2, 3, 1).eval(), torch.nn.BatchNorm2d(3).eval()
    >>> fused = torch.nn.utils.fuse_conv_bn_eval(conv, bn)
    >>> x = torch.randn(1, 2, 4, 4)
    >>> torch.allclose(fused(x), bn(conv(x)), atol=1e-6)
    True
    """
    _check_modes("fuse_conv_bn_eval", conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight,
        fused.bias,
        bn.running_mean,
        bn.running_var,
        bn.eps,
        bn.weight,
        bn.bias,
        transpose,
    )
    return fused


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the fused convolution: w * s and (b - mean) * s + bias of the norm, with
    s = its weight / sqrt(var + eps).

    >>> import flambeau as torch
    >>> one = torch.ones(1)
    >>> w, b = torch.nn.utils.fuse_conv_bn_weights(
    ...     torch.ones(1, 1, 1), None, one, one, 0.0, 2 * one, 5 * one)
    >>> w.tolist(), b.tolist()
    ([[[2.0]]], [3.0])
    """
    scale, bias = _find_map(conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
    shape = [1] * conv_w.dim()
    shape[1 if transpose else 0] = -1
    weight = (conv_w * scale.reshape(shape)).to(conv_w.dtype)
    bias = bias.to(conv_w.dtype if conv_b is None else conv_b.dtype)
    trains_bias = conv_w.requires_grad if conv_b is None else conv_b.requires_grad
    return Parameter(weight.detach(), conv_w.requires_grad), Parameter(bias.detach(), trains_bias)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A linear layer that gives bn(linear(x)), both in evaluation mode.

    Errors:
        AssertionError: one is in training mode, or the features differ and are not 1.

    >>> import flambeau as torch
    >>> linear, bn = torch.nn.Linear(2, 3).eval(), torch.nn.BatchNorm1d(3).eval()
    >>> fused = torch.nn.utils.fuse_linear_bn_eval(linear, bn)
    >>> torch.allclose(fused(torch.ones(1, 2)), bn(linear(torch.ones(1, 2))), atol=1e-6)
    True
    """
    _check_modes("fuse_linear_bn_eval", linear, bn)
    if bn.num_features not in (linear.out_features, 1):
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1; got"
            f" {linear.out_features} and {bn.num_features}"
        )
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor,
    bn_b: Tensor,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the fused linear layer, as `fuse_conv_bn_weights`.

    >>> import flambeau as torch
    >>> one = torch.ones(1)
    >>> w, b = torch.nn.utils.fuse_linear_bn_weights(
    ...     torch.ones(1, 1), one, one, one, 0.0, 2 * one, 5 * one)
    >>> w.tolist(), b.tolist()
    ([[2.0]], [5.0])
    """
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def _check_modes(name: str, layer: Any, bn: Any) -> None:
    if layer.training or bn.training:
        raise AssertionError(f"{name}: Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError(f"{name}: the batch norm needs running statistics")


def _find_map(
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    scale: Tensor | None,
    shift: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Factor and offset of what a layer computes: the norm as an affine map."""
    factor = flambeau.rsqrt(variance + eps)
    if scale is not None:
        factor = factor * scale
    offset = (-mean if bias is None else bias - mean) * factor
    return factor, offset if shift is None else offset + shift
