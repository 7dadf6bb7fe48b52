"""Losses that compare scores, or distances of embeddings, against a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flambeau

from ... import core
from ...ops import margin_losses as margins
from ...ops import paired_losses as forms
from .distance import pairwise_distance
from .reduction import reduce_loss, resolve_reduction

if TYPE_CHECKING:
    from collections.abc import Callable

    from flambeau import Tensor


def _form(loss: forms.PairedLoss, reduction: str) -> Callable[..., Tensor]:
    """The form of a loss that a reduction asks for."""
    return getattr(loss, _check_reduction(reduction))


def _check_reduction(reduction: str) -> str:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -t (x1 - x2) + margin): t = 1 wants x1 ranked above x2, t = -1 below."""
    reduction = resolve_reduction(size_average, reduce, reduction)
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    if not input1.is_floating_point():
        return reduce_loss((-target * (input1 - input2) + margin).clamp_min(0), reduction)
    return _form(forms.ranking_error, reduction)(input1, input2, target, margin=float(margin))


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """x where t = 1, max(0, margin - x) where t = -1; x is usually a distance."""
    reduction = resolve_reduction(size_average, reduce, reduction)
    return _form(forms.hinge_error, reduction)(input, target, margin=float(margin))


@core.Remembered
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(x1, x2) where t = 1, max(0, cos(x1, x2) - margin) where t = -1.

    Args:
        input1, input2: (N, D) or (D). target: (N) or ().
    """
    reduction = resolve_reduction(size_average, reduce, reduction)
    if target.dim() not in (0, 1):
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if not input1.dim() == input2.dim() == target.dim() + 1:
        raise RuntimeError(
            f"{target.dim()}D target tensor expects {target.dim() + 1}D input tensors, but found "
            "inputs with sizes "
            f"{list(input1.shape)} and {list(input2.shape)}."
        )
    tiny = 1e-12
    squares = ((input1 * input1).sum(-1) + tiny) * ((input2 * input2).sum(-1) + tiny)
    cosine = (input1 * input2).sum(-1) / squares.sqrt()
    zero = cosine.new_zeros(())
    similar = flambeau.where(target == 1, 1 - cosine, zero)
    different = flambeau.where(target == -1, (cosine - margin).clamp_min(0), zero)
    return reduce_loss(similar + different, reduction)


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-t x)) with t of 1 or -1."""
    reduction = resolve_reduction(size_average, reduce, reduction)
    return _form(forms.soft_margin_error, reduction)(input, target)


@core.Remembered
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean over classes (last dimension) of the binary cross entropy of sigmoid(x) against t in {0,
    1}.
    """
    reduction = resolve_reduction(size_average, reduce, reduction)
    if weight is None and reduction == "mean" and input.shape == target.shape:
        return forms.logit_entropy.mean(input, target)
    loss = forms.logit_entropy.none(input, target)
    if weight is not None:
        loss = loss * weight
    return reduce_loss(loss.mean(-1), reduction)


@core.Remembered
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum_{j != t} max(0, w_t (margin - x_t + x_j))^p / C.

    Args:
        input: scores (N, C) or (C). target: int64 classes (N) or (). p: 1 or 2. weight: (C).

    Errors:
        ValueError: p is neither 1 nor 2, or `weight` has dimensions beyond one.
        RuntimeError: shapes do not fit, or a class outside 0 .. C - 1.
    """
    reduction = _check_reduction(resolve_reduction(size_average, reduce, reduction))
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    scores = input.reshape(1, -1) if input.dim() < 2 else input
    classes = target.reshape(-1)
    if input.dim() > 2 or classes.numel() != scores.shape[0]:
        raise RuntimeError(
            f"inconsistent target size, expected {scores.shape[0]} but got {list(target.shape)} "
            f"for input {list(input.shape)}"
        )
    if margins.outside(classes, end=scores.shape[1]):
        raise RuntimeError("target out of range")
    form = margins.class_margin if p == 1 else margins.squared_class_margin
    loss = form(scores, classes.unsqueeze(1), 1, margin=float(margin))
    if weight is not None:
        loss = loss * weight[classes]
    return reduce_loss(loss if input.dim() == 2 else loss.squeeze(0), reduction)


@core.Remembered
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum over target classes j and other classes i of max(0, 1 - (x_j - x_i)) / C.

    Args:
        input: scores (N, C) or (C).
        target: int64 class lists shaped like `input`; a list ends at its first -1.

    Errors:
        RuntimeError: shapes or types do not fit, or a class outside 0 .. C - 1.
    """
    reduction = _check_reduction(resolve_reduction(size_average, reduce, reduction))
    if target.dtype != flambeau.int64:
        raise RuntimeError(f"expected classes of type int64 but found {target.dtype}")
    if input.shape != target.shape or input.dim() > 2:
        raise RuntimeError(
            f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}"
        )
    scores = input if input.dim() == 2 else input.reshape(1, -1)
    classes = target if target.dim() == 2 else target.reshape(1, -1)
    loss = margins.list_margin(scores, classes)[0]
    return reduce_loss(loss if input.dim() == 2 else loss.squeeze(0), reduction)


@core.Remembered
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(a, p) - d(a, n) + margin) with the p-norm distance d along the last dimension.

    Args:
        swap: use d(p, n) when it is smaller than d(a, n).

    Reference: Balntas et al., Learning Shallow Convolutional Feature Descriptors with Triplet
        Losses (2016).
    """
    reduction = resolve_reduction(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            "dimensions, but "
            f"got: anchor {anchor.dim()}D, positive {positive.dim()}D, and negative "
            f"{negative.dim()}D inputs"
        )
    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=lambda x, y: pairwise_distance(x, y, p, eps),
        margin=margin,
        swap=swap,
        reduction=reduction,
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with any distance function; the Euclidean distance by default."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    measure = pairwise_distance if distance_function is None else distance_function
    near = measure(anchor, positive)
    far = measure(anchor, negative)
    if swap:
        far = flambeau.minimum(far, measure(positive, negative))
    return reduce_loss((near - far + margin).clamp_min(0), reduction)
