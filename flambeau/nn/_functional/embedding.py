"""Table look-ups: embeddings, bags of embeddings, one-hot vectors; and the bilinear map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flambeau

from ... import core
from ...ops.bags import bag_rows
from . import primitives

if TYPE_CHECKING:
    from flambeau import Tensor


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of `weight` (V, D) picked by the integers of `input`, of shape (*) -> (*, D).

    Args:
        padding_idx: a row that gets no gradient.
        max_norm: scale the rows that are used down to this `norm_type`-norm, in place, first.
        scale_grad_by_freq: divide each row's gradient by how often the row occurs in `input`.
        sparse: the gradient of `weight` is a sparse tensor of the rows that were picked.

    Errors:
        IndexError: an index outside 0 .. V - 1.
    """
    if padding_idx is not None:
        padding_idx = _resolve_padding_index(padding_idx, weight.size(0))
    if max_norm is not None:
        _limit_row_norms(weight, input, max_norm, norm_type)
    if padding_idx is None and not scale_grad_by_freq and not sparse:
        return primitives.embedding(input, weight)
    return primitives.embedding(
        input, weight, padding_idx, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse
    )


def _resolve_padding_index(padding_idx: int, rows: int) -> int:
    if not -rows <= padding_idx < rows:
        raise AssertionError(
            f"embedding: padding_idx {padding_idx} must be within the {rows} rows of weight"
        )
    return padding_idx + rows if padding_idx < 0 else padding_idx


def _limit_row_norms(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale rows that occur in `input` down to `max_norm`, in place and outside the graph."""
    with flambeau.no_grad():
        used = input.reshape(-1).unique()
        rows = weight[used]
        norms = flambeau.linalg.vector_norm(rows, norm_type, dim=1, keepdim=True)
        scale = flambeau.where(
            norms > max_norm, max_norm / (norms + 1e-7), flambeau.ones_like(norms)
        )
        weight[used] = rows * scale


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sum, mean or max of the rows of `weight` in each bag of indices: -> (bags, D).

    Args:
        input: (bags, n) with `offsets` None, or 1-D with `offsets` giving where each bag starts.
        per_sample_weights: factors of the rows, shaped like `input`; only with mode "sum".
        include_last_offset: the last offset is the end, not the start of a bag.
        padding_idx: a row that is left out of the bags.
        sparse: the gradient of `weight` is a sparse tensor; not with mode "max".

    Errors:
        ValueError: `input` and `offsets` do not fit, or an unknown mode.
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if sparse and mode == "max":
        raise ValueError("max mode does not support sparse weights")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            "for "
            f"mode='sum' (got mode='{mode}'). Please open a feature request on GitHub."
        )
    if (
        max_norm is None
        and padding_idx is None
        and not (scale_grad_by_freq or sparse)
        and _in_one_launch(input, weight, offsets, per_sample_weights, include_last_offset)
    ):
        last = offsets is not None and bool(include_last_offset)
        bags = (input if offsets is None else offsets).shape[0] - last
        factors = None if per_sample_weights is None else per_sample_weights.reshape(-1)
        starts = None if offsets is None else offsets.long()
        return bag_rows(weight, input.reshape(-1).long(), starts, factors, bags, last, mode)[0]
    if input.dim() == 2 and offsets is None and padding_idx is None and input.numel():
        rows = embedding(input, weight, None, max_norm, norm_type, scale_grad_by_freq, sparse)
        if per_sample_weights is not None:
            rows = rows * per_sample_weights.unsqueeze(2)
        return rows.amax(1) if mode == "max" else rows.sum(1) if mode == "sum" else rows.mean(1)
    indices, bags, count = _assign_bags(input, offsets, include_last_offset)
    factors = None if per_sample_weights is None else per_sample_weights.reshape(-1)
    if padding_idx is not None:
        kept = indices != _resolve_padding_index(padding_idx, weight.size(0))
        indices, bags = indices[kept], bags[kept]
        factors = None if factors is None else factors[kept]
    rows = embedding(indices, weight, None, max_norm, norm_type, scale_grad_by_freq, sparse)
    if factors is not None:
        rows = rows * factors.unsqueeze(1)
    return _pool_bags(rows, bags, count, mode)


def _in_one_launch(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None,
    factors: Tensor | None,
    include_last: bool,
) -> bool:
    """Is this a call for the kernels? What is not is left to fail, or to be put together."""
    kinds = (flambeau.int64, flambeau.int32)
    if not weight.is_floating_point() or weight.dim() != 2 or input.dtype not in kinds:
        return False
    if factors is not None and (factors.dtype, factors.shape) != (weight.dtype, input.shape):
        return False
    if offsets is None:
        return input.dim() == 2 and input.numel() > 0
    return (
        input.dim() == offsets.dim() == 1
        and offsets.dtype in kinds
        and offsets.numel() > bool(include_last)
    )


def _assign_bags(
    input: Tensor, offsets: Tensor | None, include_last: bool
) -> tuple[Tensor, Tensor, int]:
    """Flat indices, the bag each belongs to, and the number of bags."""
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                "of fixed "
                f"length sequences. However, found offsets of type {type(offsets)}"
            )
        count, length = input.shape
        bags = flambeau.arange(count, device=input.device).repeat_interleave(length)
        return input.reshape(-1), bags, count
    if input.dim() != 1:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}"
        )
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if offsets.dim() != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    starts = offsets[:-1] if include_last else offsets
    positions = flambeau.arange(input.numel(), dtype=offsets.dtype, device=input.device)
    bags = flambeau.searchsorted(starts.contiguous(), positions, right=True) - 1
    return input, bags, starts.numel()


def _pool_bags(rows: Tensor, bags: Tensor, count: int, mode: str) -> Tensor:
    if mode == "max":
        index = bags.unsqueeze(1).expand_as(rows)
        return rows.new_zeros(count, rows.size(1)).scatter_reduce(
            0, index, rows, "amax", include_self=False
        )
    total = rows.new_zeros(count, rows.size(1)).index_add(0, bags, rows)
    if mode == "sum":
        return total
    sizes = rows.new_zeros(count).index_add(0, bags, rows.new_ones(bags.numel()))
    return total / sizes.clamp_min(1).unsqueeze(1)


@core.Remembered
def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Vectors that are 1 at the given class and 0 elsewhere: int64 (*) -> int64 (*, num_classes).

    Args:
        num_classes: -1 for one more than the largest class in `input`.

    Errors:
        RuntimeError: a negative class, or one that is not below `num_classes`.

    >>> import flambeau as torch
    >>> torch.nn.functional.one_hot(torch.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    if input.dtype != flambeau.int64:
        raise RuntimeError(
            f"one_hot is only applicable to index tensor of type LongTensor, got {input.dtype}"
        )
    if input.numel() == 0 and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    if input.numel() and bool((input < 0).any()):
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = int(input.max()) + 1
    elif input.numel() and bool((input >= num_classes).any()):
        raise RuntimeError("Class values must be smaller than num_classes.")
    zeros = flambeau.zeros(*input.shape, num_classes, dtype=flambeau.int64, device=input.device)
    return zeros.scatter_(-1, input.unsqueeze(-1), 1)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_k = sum_ij x1_i W_kij x2_j + b_k over the last dimensions.

    Args:
        input1, input2: (*, I) and (*, J) with equal leading dimensions.
        weight: (K, I, J); bias: (K).
    """
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: {tuple(input1.shape)} and "
            f"{tuple(input2.shape)}"
        )
    if input1.shape[-1] != weight.shape[1] or input2.shape[-1] != weight.shape[2]:
        raise RuntimeError(
            f"bilinear(): input sizes {input1.shape[-1]} and {input2.shape[-1]} do not match "
            f"weight {tuple(weight.shape)}"
        )
    output = flambeau.einsum("...i,kij,...j->...k", input1, weight, input2)
    return output if bias is None else output + bias
