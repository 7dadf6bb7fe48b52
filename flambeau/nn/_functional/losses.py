"""Losses of regression and classification.

The deprecated arguments `size_average` and `reduce` stand for a `reduction`; `weight` scales
elements.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import flambeau

from ... import core
from ...ops import class_loss
from ...ops import paired_losses as forms
from ...ops.paired_losses import PairedLoss
from . import primitives
from .reduction import reduce_loss, resolve_reduction

if TYPE_CHECKING:
    from flambeau import Tensor


def _broadcast_pair(name: str, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if input.shape == target.shape:
        return input, target
    core.not_replayable()
    warnings.warn(
        f"Using a target size ({target.size()}) that is different to the input size "
        f"({input.size()}). "
        f"This will likely lead to incorrect results due to broadcasting in {name}. "
        "Please ensure they have the same size.",
        stacklevel=4,
    )
    return flambeau.broadcast_tensors(input, target)


def _reduce_weighted(loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Reduce element losses; a weighted mean divides by the sum of the weights."""
    if weight is None:
        return reduce_loss(loss, reduction)
    if weight.shape != loss.shape:
        raise ValueError("Inputs and weights must have the same size.")
    if reduction == "mean":
        return (loss * weight).sum() / weight.sum()
    return reduce_loss(loss * weight, reduction)


def _compare(
    loss: PairedLoss,
    input: Tensor,
    target: Tensor,
    reduction: str,
    weight: Tensor | None = None,
    **scalars: float,
) -> Tensor:
    """A loss of pairs of elements, reduced in the kernel that computes it unless it is weighted."""
    if weight is not None:
        return _reduce_weighted(loss.none(input, target, **scalars), weight, reduction)
    if reduction == "mean":
        return loss.mean(input, target, **scalars)
    if reduction == "sum":
        return loss.sum(input, target, **scalars)
    return reduce_loss(loss.none(input, target, **scalars), reduction)


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Squared error (x - t)^2.

    >>> import flambeau as torch
    >>> torch.nn.functional.mse_loss(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    tensor(2.)
    """
    if size_average is not None or reduce is not None:
        reduction = resolve_reduction(size_average, reduce, reduction)
    if input.shape != target.shape:
        input, target = _broadcast_pair("mse_loss", input, target)
    return _compare(forms.squared_error, input, target, reduction, weight)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Absolute error |x - t|."""
    if size_average is not None or reduce is not None:
        reduction = resolve_reduction(size_average, reduce, reduction)
    if input.shape != target.shape:
        input, target = _broadcast_pair("l1_loss", input, target)
    if not (input.is_floating_point() and target.is_floating_point()):
        return _reduce_weighted((input - target).abs(), weight, reduction)
    return _compare(forms.absolute_error, input, target, reduction, weight)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """0.5 d^2 / beta where d = |x - t| is below beta, d - 0.5 beta elsewhere.

    Reference: Girshick, Fast R-CNN (2015).
    """
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if size_average is not None or reduce is not None:
        reduction = resolve_reduction(size_average, reduce, reduction)
    if input.shape != target.shape:
        input, target = _broadcast_pair("smooth_l1_loss", input, target)
    if beta == 0:
        return _compare(forms.absolute_error, input, target, reduction)
    return _compare(forms.smooth_error, input, target, reduction, beta=float(beta))


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """0.5 d^2 where d = |x - t| is at most delta, delta (d - 0.5 delta) elsewhere."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    if input.shape != target.shape:
        input, target = _broadcast_pair("huber_loss", input, target)
    return _compare(forms.huber_error, input, target, reduction, weight, delta=float(delta))


@core.Remembered
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood -w_t x_t of the target classes.

    Args:
        input: log-probabilities (C), (N, C) or (N, C, d1, ...).
        target: int64 classes (), (N) or (N, d1, ...).
        weight: (C) factors of the classes; "mean" divides by the sum of the factors used.
        ignore_index: a target value that contributes nothing.

    Errors:
        ValueError: the shapes do not fit.
        IndexError: a class outside 0 .. C - 1.
    """
    reduction = resolve_reduction(size_average, reduce, reduction)
    fused = class_loss.nll_loss(
        input, target, weight, ignore_index, 0.0, reduction, _check_likelihood
    )
    if fused is not None:
        return fused
    class_dim = 0 if input.dim() == 1 else 1
    valid = target != ignore_index
    classes = flambeau.where(valid, target, target.new_zeros(())).long()
    loss = -_pick_classes(input, classes, class_dim)
    factors = (
        valid.to(input.dtype)
        if weight is None
        else _pick_class_weights(weight, classes, valid, input)
    )
    # where, not a product: an ignored log-probability of -inf must not turn into NaN
    loss = flambeau.where(valid, loss * factors, loss.new_zeros(()))
    if reduction == "mean":
        return loss.sum() / factors.sum()
    return reduce_loss(loss, reduction)


def _check_class_shapes(name: str, input: Tensor, target: Tensor) -> None:
    if input.dim() == 0:
        raise ValueError(f"{name}: expected an input of at least 1 dimension (C), got a 0-d tensor")
    if input.dim() == 1:
        expected: tuple[int, ...] = ()
    else:
        expected = (input.shape[0], *input.shape[2:])
        if target.dim() and input.shape[0] != target.shape[0]:
            raise ValueError(
                f"Expected input batch_size ({input.shape[0]}) to match target batch_size "
                f"({target.shape[0]})."
            )
    if tuple(target.shape) != expected:
        raise RuntimeError(
            f"{name}: expected target of shape {expected} for input of shape {tuple(input.shape)}, "
            f"got {tuple(target.shape)}"
        )
    if target.is_floating_point() or target.is_complex() or target.dtype == flambeau.bool:
        raise RuntimeError(f"{name}: expected class indices of dtype int64, got {target.dtype}")


def _pick_classes(input: Tensor, classes: Tensor, class_dim: int) -> Tensor:
    try:
        return input.gather(class_dim, classes.unsqueeze(class_dim)).squeeze(class_dim)
    except (RuntimeError, IndexError) as error:
        # gather has looked at every index already; look again only to name the culprit
        wrong = classes[(classes < 0) | (classes >= input.shape[class_dim])].reshape(-1)
        if wrong.numel():
            raise IndexError(f"Target {int(wrong[0])} is out of bounds.") from error
        raise


def _check_likelihood(input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    _check_class_shapes("nll_loss", input, target)
    _check_class_weights(weight, input)


def _check_entropy(input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    _check_class_shapes("cross_entropy", input, target)
    _check_class_weights(weight, input)


def _check_class_weights(weight: Tensor | None, input: Tensor) -> None:
    if weight is None:
        return
    class_count = input.shape[0] if input.dim() == 1 else input.shape[1]
    if weight.dim() != 1 or weight.numel() != class_count:
        raise RuntimeError(
            "weight tensor should be defined either for all or no classes, or it should have the "
            "length of the "
            f"classes: {class_count}, got {tuple(weight.shape)}"
        )


def _pick_class_weights(weight: Tensor, classes: Tensor, valid: Tensor, input: Tensor) -> Tensor:
    _check_class_weights(weight, input)
    return flambeau.where(valid, weight[classes], weight.new_zeros(()))


@core.Remembered
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy of softmax(input) against target classes or class probabilities.

    Args:
        input: logits (C), (N, C) or (N, C, d1, ...).
        target: int64 classes without the C dimension, or probabilities shaped like `input`.
        weight: (C) factors of the classes.
        ignore_index: a target class that contributes nothing.
        label_smoothing: share of the target given evenly to all classes, in [0, 1].

    Errors:
        ValueError, RuntimeError: shapes or the smoothing do not fit.
        IndexError: a class outside 0 .. C - 1.

    >>> import flambeau as torch
    >>> torch.nn.functional.cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
    tensor(1.3863)
    """
    if size_average is not None or reduce is not None:
        reduction = resolve_reduction(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    class_dim = 0 if input.dim() == 1 else 1
    if input.shape == target.shape and target.is_floating_point():
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _cross_entropy_of_probabilities(input, target, weight, reduction, label_smoothing)
    fused = class_loss.cross_entropy(
        input, target, weight, ignore_index, label_smoothing, reduction, _check_entropy
    )
    if fused is not None:
        return fused
    log_probabilities = primitives.log_softmax(input, class_dim)
    if label_smoothing == 0.0:
        return nll_loss(
            log_probabilities, target, weight, ignore_index=ignore_index, reduction=reduction
        )
    return _smoothed_nll(
        log_probabilities, target, weight, ignore_index, reduction, label_smoothing
    )


def _spread_over_classes(weight: Tensor, dims: int) -> Tensor:
    return weight if dims == 1 else weight.reshape(1, -1, *(1 for _ in range(dims - 2)))


def _cross_entropy_of_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    class_dim = 0 if input.dim() == 1 else 1
    class_count = input.shape[class_dim]
    if smoothing > 0.0:
        target = target * (1 - smoothing) + smoothing / class_count
    weighted = primitives.log_softmax(input, class_dim) * target
    if weight is not None:
        weighted = weighted * _spread_over_classes(weight, input.dim())
    loss = -weighted.sum(class_dim)
    if reduction == "mean":
        return loss.sum() / max(input.numel() // class_count, 1)
    return reduce_loss(loss, reduction)


def _smoothed_nll(
    log_probabilities: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    smoothing: float,
) -> Tensor:
    class_dim = 0 if log_probabilities.dim() == 1 else 1
    class_count = log_probabilities.shape[class_dim]
    nll = nll_loss(
        log_probabilities, target, weight, ignore_index=ignore_index, reduction=reduction
    )
    weighted = log_probabilities
    if weight is not None:
        weighted = weighted * _spread_over_classes(weight, log_probabilities.dim())
    valid = target != ignore_index
    even = flambeau.where(valid, -weighted.sum(class_dim), weighted.new_zeros(()))
    if reduction == "mean":
        factors = valid if weight is None else weight[flambeau.where(valid, target, 0)] * valid
        even = even.sum() / factors.sum()
    else:
        even = reduce_loss(even, reduction)
    return (1 - smoothing) * nll + smoothing / class_count * even


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(t log x + (1 - t) log(1 - x)) of probabilities x; logarithms are kept above -100.

    Errors:
        ValueError: shapes differ.
        RuntimeError: an input outside [0, 1].
    """
    reduction = resolve_reduction(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size "
            f"({input.size()}) is "
            "deprecated. Please ensure they have the same size."
        )
    if forms.outside_unit_interval(input.detach()):
        raise RuntimeError("all elements of input should be between 0 and 1")
    if weight is None:
        return _compare(forms.binary_entropy, input, target, reduction)
    return reduce_loss(forms.binary_entropy.none(input, target) * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy of sigmoid(x) against targets t, computed from the logits x without
    overflow.

    Args:
        pos_weight: factor of the positive part, broadcast to the target.

    Errors:
        ValueError: shapes differ.
    """
    reduction = resolve_reduction(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"Target size ({target.size()}) must be the same as input size ({input.size()})"
        )
    if weight is None and pos_weight is None:
        return _compare(forms.logit_entropy, input, target, reduction)
    log_sigmoid = primitives.logsigmoid(input)
    if pos_weight is not None:
        log_sigmoid = ((pos_weight - 1) * target + 1) * log_sigmoid
    loss = (1 - target) * input - log_sigmoid
    return reduce_loss(loss if weight is None else loss * weight, reduction)


@core.Remembered
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Pointwise Kullback-Leibler divergence t (log t - x) of log-probabilities x from probabilities
    t.

    Args:
        reduction: also "batchmean", which divides the sum by the batch size, as the mathematics has
            it.
        log_target: the target holds log-probabilities.
    """
    reduction = resolve_reduction(size_average, reduce, reduction)
    if reduction == "mean":
        core.not_replayable()
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            stacklevel=2,
        )
    loss = forms.log_divergence if log_target else forms.divergence
    if reduction == "batchmean":
        total = loss.sum(input, target)
        return total / input.shape[0] if input.dim() else total
    return _compare(loss, input, target, reduction)


@core.Remembered
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of counts under a Poisson distribution: exp(x) - t x, x being the log
    rate.

    Args:
        log_input: False when the input is the rate itself: x - t log(x + eps).
        full: add Stirling's approximation t log t - t + log(2 pi t) / 2 where t > 1.
    """
    reduction = resolve_reduction(size_average, reduce, reduction)
    if log_input:
        loss = forms.full_poisson_of_log if full else forms.poisson_of_log
        return _compare(loss, input, target, reduction)
    loss = forms.full_poisson_of_rate if full else forms.poisson_of_rate
    return _compare(loss, input, target, reduction, eps=float(eps))


@core.Remembered
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood under a normal distribution: (log v + (x - t)^2 / v) / 2, with v =
    max(var, eps).

    Args:
        var: a number, or a tensor shaped like `input`, with dimensions of 1, or without the last.
        full: add the constant log(2 pi) / 2.

    Errors:
        ValueError: a negative variance or one of the wrong shape.
    """
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = flambeau.full_like(input, float(var))
    elif forms.any_negative(var.detach()):
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape:  # type: ignore[union-attr]
        var = _fit_variance(input, var)  # type: ignore[arg-type]
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    constant = 0.5 * math.log(2 * math.pi) if full else 0.0
    form = getattr(forms.gaussian_error, reduction)
    return form(input, target, var, eps=float(eps), constant=constant)


def _fit_variance(input: Tensor, var: Tensor) -> Tensor:
    if tuple(input.shape[:-1]) == tuple(var.shape):
        return var.unsqueeze(-1)
    sizes = zip(var.shape, input.shape, strict=False)
    if var.dim() == input.dim() and all(mine in (1, size) for mine, size in sizes):
        return var
    raise ValueError(f"var is of incorrect size: {tuple(var.shape)} for input {tuple(input.shape)}")
