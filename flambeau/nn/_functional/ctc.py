"""Connectionist temporal classification."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import flambeau

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
    times, batch, class_count = log_probs.shape
    lengths_in = _as_ints(input_lengths)
    lengths_out = _as_ints(target_lengths)
    _check_lengths(lengths_in, lengths_out, times, batch, class_count, blank)
    labels = _pad_labels(targets, lengths_out)
    loss = _sum_alignments(log_probs, labels, lengths_in, lengths_out, blank)
    if log_probs.requires_grad:
        loss = loss + _add_softmax_gradient(log_probs, lengths_in)
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


def _pad_labels(targets: Tensor, lengths: list[int]) -> Tensor:
    """Labels as (N, longest), zeros behind each end."""
    longest = max(lengths, default=0)
    if targets.dim() == 2:
        if targets.shape[1] < longest:
            raise RuntimeError(
                f"ctc_loss: Expected targets to have size at least {longest} at dimension 1, but "
                f"got {list(targets.shape)}"
            )
        return targets[:, :longest].long()
    if targets.numel() != sum(lengths):
        raise RuntimeError(
            f"ctc_loss: Expected {sum(lengths)} concatenated targets, the sum of target_lengths, "
            f"got {targets.numel()}"
        )
    padded = flambeau.zeros(len(lengths), longest, dtype=flambeau.int64, device=targets.device)
    start = 0
    for row, length in enumerate(lengths):
        padded[row, :length] = targets[start : start + length]
        start += length
    return padded


def _sum_alignments(
    log_probs: Tensor, labels: Tensor, lengths_in: list[int], lengths_out: list[int], blank: int
) -> Tensor:
    """The forward algorithm over blank, label 1, blank, label 2, ..., blank, in logarithms."""
    batch, longest = labels.shape
    device = log_probs.device
    states = labels.new_full((batch, 2 * longest + 1), blank)
    states[:, 1::2] = labels
    may_skip = flambeau.zeros(states.shape, dtype=flambeau.bool, device=device)
    may_skip[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])
    emissions = log_probs.gather(2, states.unsqueeze(0).expand(log_probs.shape[0], -1, -1))
    never = log_probs.new_full((batch, 2), -math.inf)
    first = flambeau.arange(states.shape[1], device=device) < 2
    alpha = flambeau.where(first, flambeau.zeros_like(emissions[0]), never[:, :1])
    history = [alpha + emissions[0]] if len(emissions) else []
    for emission in emissions[1:]:
        alpha = history[-1]
        stepped = flambeau.cat([never[:, :1], alpha[:, :-1]], 1)
        skipped = flambeau.cat([never, alpha], 1)[:, : alpha.shape[1]]
        skipped = flambeau.where(may_skip, skipped, never[:, :1])
        history.append(_add_logs(flambeau.stack([alpha, stepped, skipped])) + emission)
    return -flambeau.stack(
        [
            _end_of_row(history, row, lengths_in[row], lengths_out[row], never)
            for row in range(batch)
        ]
    )


def _add_softmax_gradient(log_probs: Tensor, lengths: list[int]) -> Tensor:
    """Zeros (N) whose gradient is exp(log_probs) at the times used."""
    times = flambeau.arange(log_probs.shape[0], device=log_probs.device).unsqueeze(1)
    used = times < flambeau.tensor(lengths, device=log_probs.device)
    probabilities = log_probs.exp() * used.unsqueeze(2)
    return (probabilities - probabilities.detach()).sum((0, 2))


def _add_logs(logs: Tensor) -> Tensor:
    """logsumexp over dimension 0 that gives -inf, with zero gradient, where everything is -inf."""
    highest = logs.detach().max(0)[0]
    highest = flambeau.where(highest == -math.inf, highest.new_zeros(()), highest)
    total = (logs - highest).exp().sum(0)
    impossible = total == 0
    safe = flambeau.where(impossible, total.new_ones(()), total).log() + highest
    return flambeau.where(impossible, safe.new_full((), -math.inf), safe)


def _end_of_row(history: list[Tensor], row: int, time: int, length: int, never: Tensor) -> Tensor:
    """Log-probability of being at the last label or the blank behind it at the last time."""
    if time == 0:
        return never[row, 0] if length else never.new_zeros(())
    last = history[time - 1][row, max(2 * length - 1, 0) : 2 * length + 1]
    return _add_logs(last)
