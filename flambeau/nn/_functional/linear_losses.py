"""Cross entropy of a linear layer's outputs, in one function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .losses import cross_entropy
from .primitives import linear

if TYPE_CHECKING:
    from flambeau import Tensor


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """cross_entropy(linear(input, linear_weight, linear_bias), target).

    Args:
        input: (F) or (N, F).
        linear_weight: (C, F), or (C, d1, ..., F) for logits (N, C, d1, ...).
        target: classes (N, d1, ...), or probabilities (N, C, d1, ...).
        linear_bias: (C) or (C, d1, ...).
        weight, reduction, label_smoothing: as for `cross_entropy`.
        ignore_index: a class that contributes nothing; None for -100.
        options: how PyTorch splits the work; accepted, and everything is computed at once.

    Errors:
        RuntimeError: the last sizes of input and weight differ; integer class probabilities.
        ValueError: batch sizes differ.

    >>> import flambeau as torch
    >>> x, w = torch.ones(2, 3), torch.zeros(4, 3)
    >>> torch.nn.functional.linear_cross_entropy(x, w, torch.tensor([0, 1]))
    tensor(1.3863)
    """
    _check_sizes(input, linear_weight, linear_bias)
    _check_target(input, linear_weight, target, ignore_index)
    classes, *places, size = linear_weight.shape
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = linear(input, linear_weight.reshape(classes * math.prod(places), size), bias)
    return cross_entropy(
        logits.reshape(*input.shape[:-1], classes, *places),
        target,
        weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def _check_sizes(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if input.dim() not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if weight.dim() < 2:
        raise RuntimeError(
            f"expected linear_weight with dimensionality at least 2, got {weight.dim()}"
        )
    if input.shape[-1] != weight.shape[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), got"
            f" {input.shape[-1]} and {weight.shape[-1]}, respectively"
        )
    if weight.dim() > 2 and input.dim() == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(weight.shape)} requires"
            f" batched input, (N, {input.shape[-1]}), got unbatched input with shape"
            f" {tuple(input.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:-1]:
        raise RuntimeError(
            f"expected linear_bias shape {tuple(weight.shape[:-1])}, got {tuple(bias.shape)}"
        )


def _check_target(input: Tensor, weight: Tensor, target: Tensor, ignore_index: int | None) -> None:
    batch = tuple(input.shape[:-1])
    if batch and (not target.dim() or target.shape[0] != batch[0]):
        got = target.shape[0] if target.dim() else 0
        raise ValueError(
            f"Expected input batch_size ({batch[0]}) to match target batch_size ({got})."
        )
    if tuple(target.shape) != (*batch, *weight.shape[:-1]):
        return
    if not target.is_floating_point():
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {target.dtype}"
        )
    if ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
