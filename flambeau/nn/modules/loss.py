"""Losses as layers; the formulas are in `nn.functional`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import functional as F
from .._functional.reduction import resolve_reduction
from .distance import PairwiseDistance
from .module import Module

if TYPE_CHECKING:
    from collections.abc import Callable

    from flambeau import Tensor

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "NLLLoss2d",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
]


class _Loss(Module):
    """A loss with a `reduction`: "mean", "sum" or "none"."""

    reduction: str

    def __init__(
        self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        self.reduction = resolve_reduction(size_average, reduce, reduction)


class _WeightedLoss(_Loss):
    """A loss with factors for elements or classes, kept as the buffer `weight`."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class L1Loss(_Loss):
    """Absolute error |x - t|: averaged, summed or left alone, as `reduction` says.

    Input and target (*), of one shape; the result is (), or (*) with reduction="none".

    >>> import flambeau as torch
    >>> torch.nn.L1Loss()(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(1.)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class MSELoss(_Loss):
    """Squared error (x - t)^2: averaged, summed or left alone, as `reduction` says.

    Input and target (*), of one shape; the result is (), or (*) with reduction="none".

    >>> import flambeau as torch
    >>> torch.nn.MSELoss()(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    tensor(2.)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class NLLLoss(_WeightedLoss):
    """Negative log-likelihood -w_t x_t of target classes t given log-probabilities x.

    Input (N, C, *) or (C), classes (N, *) or (); the mean divides by the sum of w_t. See
    `F.nll_loss`.

    Args:
        weight: (C) factors w of the classes.
        ignore_index: a target class that contributes nothing.

    Errors:
        IndexError: a class is out of range.

    >>> import flambeau as torch
    >>> torch.nn.NLLLoss()(torch.tensor([[-1.0, -2.0]]), torch.tensor([1]))
    tensor(2.)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class NLLLoss2d(NLLLoss):
    """Deprecated name of `NLLLoss`: input (N, C, H, W), classes (N, H, W).

    >>> import flambeau as torch
    >>> torch.nn.NLLLoss2d()(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
    tensor(0.)
    """


class CrossEntropyLoss(_WeightedLoss):
    """Cross entropy of logits: -w_t log softmax(x)_t.

    Logits (N, C, *) or (C) against classes (N, *) or (), or probabilities shaped as the logits; the
    mean divides by the sum of w_t. See `F.cross_entropy`.

    Args:
        weight: (C) factors w of the classes.
        ignore_index: a target class that contributes nothing.
        label_smoothing: share of the target given evenly to all classes.

    Errors:
        IndexError: a class is out of range.

    >>> import flambeau as torch
    >>> torch.nn.CrossEntropyLoss()(torch.zeros(1, 4), torch.tensor([2]))
    tensor(1.3863)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class PoissonNLLLoss(_Loss):
    """Negative log-likelihood of counts t under a Poisson distribution: exp(x) - t x.

    Input and target (*), of one shape; the result is (), or (*) with reduction="none".

    Args:
        log_input: x is the logarithm of the rate; otherwise x is the rate: x - t log(x + eps).
        full: add Stirling's approximation t log t - t + 0.5 log(2 pi t) where t > 1.

    >>> import flambeau as torch
    >>> torch.nn.PoissonNLLLoss()(torch.zeros(2), torch.tensor([1.0, 2.0]))
    tensor(1.)
    """

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        return F.poisson_nll_loss(
            log_input,
            target,
            log_input=self.log_input,
            full=self.full,
            eps=self.eps,
            reduction=self.reduction,
        )


class GaussianNLLLoss(_Loss):
    """Negative log-likelihood under normal distributions: 0.5 (log v + (x - t)^2 / v).

    Input x and target t (*), variances v of that shape, or with a last size of 1 or without it.

    Args:
        full: add 0.5 log(2 pi).
        eps: the least variance.

    Errors:
        ValueError: a variance is negative, or the shapes do not fit.

    Reference: Nix and Weigend, Estimating the mean and variance of the target probability
        distribution (1994).

    >>> import flambeau as torch
    >>> x, t = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])
    >>> torch.nn.GaussianNLLLoss()(x, t, torch.ones(2))
    tensor(1.)
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(None, None, reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        return F.gaussian_nll_loss(
            input, target, var, full=self.full, eps=self.eps, reduction=self.reduction
        )


class KLDivLoss(_Loss):
    """Divergence t (log t - x) of log-probabilities x from probabilities t.

    Input and target (*), of one shape; the result is (), or (*) with reduction="none".
    reduction="batchmean" divides the sum by the first size, as the divergence is defined; "mean"
    divides by the number of elements.

    Args:
        log_target: the target holds log t.

    Reference: Kullback and Leibler, On Information and Sufficiency (1951).

    >>> import flambeau as torch
    >>> torch.nn.KLDivLoss(reduction="batchmean")(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
    tensor(-0.6931)
    """

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class BCELoss(_WeightedLoss):
    """Binary cross entropy of probabilities x against targets t in [0, 1].

    -w (t log x + (1 - t) log(1 - x)), the logarithms no lower than -100. Input and target (*), of
    one shape; the result is (), or (*) with reduction="none".

    Args:
        weight: factors w, broadcast to the input.

    Errors:
        RuntimeError: an element of x lies outside [0, 1].

    >>> import flambeau as torch
    >>> torch.nn.BCELoss()(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Binary cross entropy of sigmoid(x) against targets t in [0, 1], without overflow.

    -w (p t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))). Input and target (*), of one shape; the
    result is (), or (*) with reduction="none".

    Args:
        weight: factors w, broadcast to the input.
        pos_weight: factors p of the positive part, broadcast to the target.

    >>> import flambeau as torch
    >>> torch.nn.BCEWithLogitsLoss()(torch.zeros(2), torch.tensor([1.0, 0.0]))
    tensor(0.6931)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class _MarginLoss(_Loss):
    margin: float

    def __init__(
        self,
        margin: float,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin


class HingeEmbeddingLoss(_MarginLoss):
    """x where t = 1, max(0, margin - x) where t = -1.

    Input and target (*), of one shape; the result is (), or (*) with reduction="none".

    >>> import flambeau as torch
    >>> torch.nn.HingeEmbeddingLoss()(torch.tensor([0.5, 0.25]), torch.tensor([1, -1]))
    tensor(0.6250)
    """

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(margin, size_average, reduce, reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class MultiLabelMarginLoss(_Loss):
    """sum_{i in T, j not in T} max(0, 1 - (x_i - x_j)) / C over the target classes T.

    Input (N, C) or (C); target classes likewise, ended by -1.

    >>> import flambeau as torch
    >>> torch.nn.MultiLabelMarginLoss()(torch.tensor([0.1, 0.2, 0.4]), torch.tensor([2, -1, 0]))
    tensor(0.5000)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """0.5 d^2 / beta where d = |x - t| < beta, d - 0.5 beta elsewhere.

    Input and target (*), of one shape; the result is (), or (*) with reduction="none".

    Reference: Girshick, Fast R-CNN (2015).

    >>> import flambeau as torch
    >>> torch.nn.SmoothL1Loss()(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(0.7500)
    """

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """0.5 d^2 where d = |x - t| <= delta, delta (d - 0.5 delta) elsewhere.

    Input and target (*), of one shape; the result is (), or (*) with reduction="none".

    Reference: Huber, Robust Estimation of a Location Parameter (1964).

    >>> import flambeau as torch
    >>> torch.nn.HuberLoss()(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(0.7500)
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        if not isinstance(delta, (float, int)):
            raise TypeError(f"delta must be a float or int, got: {type(delta)}")
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class SoftMarginLoss(_Loss):
    """log(1 + exp(-t x)) with t of 1 or -1.

    Input and target (*), of one shape; the result is (), or (*) with reduction="none".

    >>> import flambeau as torch
    >>> torch.nn.SoftMarginLoss()(torch.zeros(2), torch.tensor([1, -1]))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(_WeightedLoss):
    """Mean over classes of the binary cross entropy of sigmoid(x) against t in {0, 1}.

    Input and target (N, C) or (C); the result is (), or (N) with reduction="none".

    Args:
        weight: (C) factors of the classes.

    >>> import flambeau as torch
    >>> torch.nn.MultiLabelSoftMarginLoss()(torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 1.0]]))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_soft_margin_loss(
            input, target, weight=self.weight, reduction=self.reduction
        )


class CosineEmbeddingLoss(_MarginLoss):
    """1 - cos(x1, x2) where t = 1, max(0, cos(x1, x2) - margin) where t = -1.

    Inputs (N, D) or (D), targets (N) or ().

    >>> import flambeau as torch
    >>> torch.nn.CosineEmbeddingLoss()(torch.eye(2), torch.eye(2), torch.tensor([1, 1]))
    tensor(0.)
    """

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(margin, size_average, reduce, reduction)

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return F.cosine_embedding_loss(
            input1, input2, target, margin=self.margin, reduction=self.reduction
        )


class MarginRankingLoss(_MarginLoss):
    """max(0, -t (x1 - x2) + margin) with t = 1 where x1 should be larger, -1 where x2 should.

    Inputs and target (N) or (); the result is (), or (N) with reduction="none".

    >>> import flambeau as torch
    >>> x1, x2 = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])
    >>> torch.nn.MarginRankingLoss()(x1, x2, torch.tensor([1, 1]))
    tensor(1.)
    """

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(margin, size_average, reduce, reduction)

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return F.margin_ranking_loss(
            input1, input2, target, margin=self.margin, reduction=self.reduction
        )


class MultiMarginLoss(_WeightedLoss):
    """sum_{j != t} max(0, w_t (margin - x_t + x_j))^p / C for target classes t.

    Input (N, C) or (C), classes (N) or ().

    Args:
        p: 1 or 2.
        weight: (C) factors w of the classes.

    >>> import flambeau as torch
    >>> torch.nn.MultiMarginLoss()(torch.tensor([[0.1, 0.2, 0.4]]), torch.tensor([2]))
    tensor(0.5000)
    """

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        if p not in (1, 2):
            raise ValueError("only p == 1 and p == 2 supported")
        if weight is not None and weight.dim() != 1:
            raise ValueError(f"weight must be None or 1-dimensional, got {weight.dim()} dimensions")
        self.p = p
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multi_margin_loss(
            input,
            target,
            p=self.p,
            margin=self.margin,
            weight=self.weight,
            reduction=self.reduction,
        )


class TripletMarginLoss(_Loss):
    """max(0, d(a, p) - d(a, n) + margin) with the p-norm distance d.

    Anchor a, positive p and negative n (N, D) or (D); the result is (), or (N) with
    reduction="none".

    Args:
        eps: added to the differences before the norm.
        swap: use the lesser of d(a, n) and d(p, n).

    Errors:
        ValueError: `margin` is not positive.

    Reference: Balntas et al., Learning shallow convolutional feature descriptors with triplet
        losses (2016).

    >>> import flambeau as torch
    >>> torch.nn.TripletMarginLoss()(torch.zeros(1, 2), torch.zeros(1, 2), torch.full((1, 2), 3.0))
    tensor(0.)
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        if margin <= 0:
            raise ValueError(
                f"TripletMarginLoss: expected margin to be greater than 0, got {margin} instead"
            )
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )


class TripletMarginWithDistanceLoss(_Loss):
    """max(0, d(a, p) - d(a, n) + margin) with any distance d; the Euclidean by default.

    Anchor a, positive p and negative n (N, *); the result is (), or d's shape with
    reduction="none".

    Args:
        distance_function: d, a function of two tensors.
        swap: use the lesser of d(a, n) and d(p, n).

    Errors:
        ValueError: `margin` is not positive.

    >>> import flambeau as torch
    >>> anchor, far = torch.zeros(1, 2), torch.full((1, 2), 3.0)
    >>> torch.nn.TripletMarginWithDistanceLoss()(anchor, anchor, far)
    tensor(0.)
    """

    def __init__(
        self,
        *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        if margin <= 0:
            raise ValueError(
                "TripletMarginWithDistanceLoss: expected margin to be greater than 0, got "
                f"{margin} instead"
            )
        self.distance_function = distance_function or PairwiseDistance()
        self.margin = margin
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )


class CTCLoss(_Loss):
    """-log of the sum, over all alignments of a label sequence to the times, of their probability.

    Log-probabilities (T, N, C) or (T, C), targets (N, S) or all in one row, and the lengths (N) of
    both; the mean divides each sequence's loss by its target length. See `F.ctc_loss`.

    Args:
        blank: the class of no label.
        zero_infinity: a sequence without any alignment costs 0 instead of infinity.

    Reference: Graves et al., Connectionist Temporal Classification (2006).

    >>> import flambeau as torch
    >>> log_probs = torch.zeros(3, 1, 2).log_softmax(2)
    >>> torch.nn.CTCLoss()(log_probs, torch.tensor([[1]]), torch.tensor([3]), torch.tensor([1]))
    tensor(0.2877)
    """

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any
    ) -> Tensor:
        return F.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
        )
