"""Softmax over many classes, most of them rare."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import flambeau

from .. import functional as F
from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module

if TYPE_CHECKING:
    from flambeau import Tensor

__all__ = ["AdaptiveLogSoftmaxWithLoss"]

_ASMoutput = namedtuple("_ASMoutput", ["output", "loss"])


class AdaptiveLogSoftmaxWithLoss(Module):
    """Softmax whose rare classes share an output each cluster, and have smaller projections.

    (N, in_features) or (in_features), and classes (N) or () -> `output`, the log-probability of
    each target, and `loss`, the mean of -output. Classes must be sorted from frequent to rare.

    Args:
        in_features: size of an input.
        n_classes: number of classes.
        cutoffs: where each cluster ends: [10, 100] makes classes 0 to 9 the head, 10 to 99 one
            cluster and the rest another.
        div_value: cluster i projects to in_features / div_value^(i + 1) features.
        head_bias: whether the head adds a bias.

    Reference: Grave et al., Efficient softmax approximation for GPUs (2016).

    Errors:
        ValueError: cutoffs are not increasing numbers in 1 .. n_classes - 1.
        RuntimeError: shapes do not fit, or a target is out of range.

    >>> import flambeau as torch
    >>> softmax = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 20, cutoffs=[5, 10])
    >>> output, loss = softmax(torch.randn(4, 16), torch.tensor([0, 7, 19, 3]))
    >>> output.shape, softmax.log_prob(torch.randn(4, 16)).shape
    (torch.Size([4]), torch.Size([4, 20]))
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        _check_cutoffs(cutoffs, n_classes)
        self.in_features, self.n_classes = in_features, n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        options = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **options)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            inner = int(in_features // div_value ** (i + 1))
            classes = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(
                Sequential(
                    Linear(in_features, inner, bias=False, **options),
                    Linear(inner, classes, bias=False, **options),
                )
            )

    def reset_parameters(self) -> None:
        """Draw the parameters of the head and of all clusters anew."""
        self.head.reset_parameters()
        for projection, output in self.tail:
            projection.reset_parameters()
            output.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        """Log-probabilities of the targets, and the mean of their negatives."""
        _check_shapes(input_, target_)
        is_batched = target_.dim() > 0
        input = input_ if is_batched else input_.unsqueeze(0)
        target = target_ if is_batched else target_.unsqueeze(0)
        if target.numel() and not bool(((target >= 0) & (target < self.n_classes)).all()):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range"
                f" [{target.min().item()}, {target.max().item()}] were found. "
            )
        head = F.log_softmax(self.head(input), 1)
        column = flambeau.where(target < self.shortlist_size, target, 0)
        output = head.new_zeros(len(target))
        for i, cluster in enumerate(self.tail):
            low, high = self.cutoffs[i], self.cutoffs[i + 1]
            inside = (target >= low) & (target < high)
            rows = inside.nonzero().squeeze(1)
            if rows.numel():
                log_probabilities = F.log_softmax(cluster(input.index_select(0, rows)), 1)
                chosen = (target.index_select(0, rows) - low).unsqueeze(1)
                found = log_probabilities.gather(1, chosen).squeeze(1)
                output = output.index_add(0, rows, found.to(output.dtype))
            column = flambeau.where(inside, self.shortlist_size + i, column)
        output = output + head.gather(1, column.unsqueeze(1)).squeeze(1)
        loss = (-output).mean()
        return _ASMoutput(output if is_batched else output.squeeze(0), loss)

    def _get_full_log_prob(self, input: Tensor, head_output: Tensor) -> Tensor:
        """Log-probabilities of all classes, given those of the head's outputs before softmax."""
        head = F.log_softmax(head_output, dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            inner = F.log_softmax(cluster(input), dim=1)
            parts.append(inner + head[:, self.shortlist_size + i].unsqueeze(1))
        return flambeau.cat(parts, 1)

    def log_prob(self, input: Tensor) -> Tensor:
        """Log-probabilities of all classes: (N, in_features) -> (N, n_classes)."""
        return self._get_full_log_prob(input, self.head(input))

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class: (N, in_features) -> (N). Clusters are computed where needed."""
        head = self.head(input)
        output = flambeau.argmax(head, dim=1)
        rare = output >= self.shortlist_size
        if bool(rare.any()):
            rows = rare.nonzero().squeeze(1)
            full = self._get_full_log_prob(input.index_select(0, rows), head.index_select(0, rows))
            output = output.index_copy(0, rows, flambeau.argmax(full, dim=1))
        return output


def _check_cutoffs(cutoffs: list[int], n_classes: int) -> None:
    if not cutoffs:
        raise ValueError("cutoffs should be a sequence of length larger than 0")
    if (
        cutoffs != sorted(set(cutoffs))
        or cutoffs[0] <= 0
        or cutoffs[-1] > n_classes - 1
        or any(int(c) != c for c in cutoffs)
    ):
        raise ValueError(
            "cutoffs should be a sequence of unique, positive integers sorted in an increasing"
            " order, where each value is between 1 and n_classes-1"
        )


def _check_shapes(input: Tensor, target: Tensor) -> None:
    if target.dim() > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if target.dim() == 0:
        if input.dim() != 1:
            raise RuntimeError(
                "0D target tensor expects 1D input tensors, but found inputs with size"
                f" {input.size()}"
            )
    elif input.size(0) != target.size(0):
        raise RuntimeError("Input and target should have the same size in the batch dimension.")
    elif input.dim() != 2:
        raise RuntimeError(
            f"1D target tensor expects 2D input tensors, but found inputs with size {input.size()}"
        )
