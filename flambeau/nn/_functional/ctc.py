"""Connectionist temporal classification."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import flambeau

from ...ops.ctc import Alignment, align
from .reduction import reduce_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flambeau import Tensor


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Negative log-likelihood of label sequences, summed over all their alignments to the input.

    Args:
        log_probs: log-probabilities (T, N, C) or (T, C).
        targets: int64 labels (N, S), or one after the other in 1-D; none of them `blank`.
        input_lengths, target_lengths: (N) used lengths.
        reduction: "mean" divides each loss by its target length first.
        zero_infinity: a sequence too long for its input gives 0 (and no gradient) instead of
            infinity.

    The gradient is PyTorch's: it holds exp(log_probs) too, which a log_softmax before it cancels.

    Reference: Graves et al., Connectionist Temporal Classification (2006).

    Errors:
        RuntimeError: shapes, lengths or `blank` do not fit.
    """
    is_batched = log_probs.dim() == 3
    if not is_batched:
        log_probs = log_probs.unsqueeze(1)
    if not log_probs.is_floating_point() or log_probs.dtype.itemsize < 4:
        raise RuntimeError(f"\"ctc_loss\" not implemented for '{log_probs.dtype}'")
    times, batch, class_count = log_probs.shape
    lengths_in = _as_ints(input_lengths)
    lengths_out = _as_ints(target_lengths)
    _check_lengths(lengths_in, lengths_out, times, batch, class_count, blank)
    labels, starts = _find_labels(targets, lengths_out)
    given = (log_probs.shape, lengths_in, lengths_out, starts, blank, zero_infinity)
    loss = align(log_probs, labels, Alignment(*given))[0]
    if zero_infinity:
        loss = flambeau.where(loss == math.inf, loss.new_zeros(()), loss)
    if reduction == "mean":
        divisor = flambeau.tensor(lengths_out, dtype=loss.dtype, device=loss.device).clamp_min(1)
        return (loss / divisor).mean()
    return reduce_loss(loss if is_batched else loss.squeeze(0), reduction)


def _as_ints(lengths: Tensor | Sequence[int]) -> list[int]:
    values = lengths.tolist() if isinstance(lengths, flambeau.Tensor) else list(lengths)
    return [int(v) for v in values] if isinstance(values, list) else [int(values)]


def _check_lengths(
    lengths_in: list[int],
    lengths_out: list[int],
    times: int,
    batch: int,
    class_count: int,
    blank: int,
) -> None:
    if not 0 <= blank < class_count:
        raise RuntimeError(
            f"ctc_loss: blank must be in label range 0 .. {class_count - 1}, got {blank}"
        )
    for name, lengths in (("input_lengths", lengths_in), ("target_lengths", lengths_out)):
        if len(lengths) != batch:
            raise RuntimeError(
                f"ctc_loss: {name} must be of size batch_size {batch}, got {len(lengths)}"
            )
        if min(lengths, default=0) < 0:
            raise RuntimeError(f"ctc_loss: {name} must not be negative, got {min(lengths)}")
    if max(lengths_in, default=0) > times:
        raise RuntimeError(
            f"ctc_loss: Expected input_lengths to have value at most {times}, but got value "
            f"{max(lengths_in)}"
        )


def _find_labels(targets: Tensor, lengths: list[int]) -> tuple[Tensor, list[int]]:
    """The labels one after the other, and where those of each row begin."""
    if targets.dim() == 2:
        longest, columns = max(lengths, default=0), targets.shape[1]
        if columns < longest:
            raise RuntimeError(
                f"ctc_loss: Expected targets to have size at least {longest} at dimension 1, but "
                f"got {list(targets.shape)}"
            )
        return targets.long(), [row * columns for row in range(len(lengths))]
    if targets.numel() != sum(lengths):
        raise RuntimeError(
            f"ctc_loss: Expected {sum(lengths)} concatenated targets, the sum of target_lengths, "
            f"got {targets.numel()}"
        )
    return targets.long(), list(itertools.accumulate(lengths, initial=0))[:-1]
