"""Products and convolutions over tensors laid out in other ways."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import flambeau

from . import primitives

if TYPE_CHECKING:
    from flambeau import Tensor


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """1-d convolution of (time, batch, channels) with (width, channels, outputs).

    Args:
        bias: (outputs).
        pad: zeros added at both ends of time.

    >>> import flambeau as torch
    >>> x, w = torch.ones(5, 2, 3), torch.ones(3, 3, 4)
    >>> torch.nn.functional.conv_tbc(x, w, torch.zeros(4)).shape
    torch.Size([3, 2, 4])
    """
    if input.dim() != 3 or weight.dim() != 3 or bias.dim() != 1:
        raise RuntimeError(
            "conv_tbc: expected input (T, B, C), weight (k, C, O) and bias (O), got"
            f" {tuple(input.shape)}, {tuple(weight.shape)} and {tuple(bias.shape)}"
        )
    filters = weight.permute(2, 1, 0)
    return primitives.conv1d(input.permute(1, 2, 0), filters, bias, padding=pad).permute(2, 0, 1)


def grouped_mm(
    mat_a: Tensor,
    mat_b: Tensor,
    *,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: Any = None,
) -> Tensor:
    """Products of groups of matrices; `offs` holds where each group ends in a shared dimension.

    (G, M, K) @ (G, K, N) -> (G, M, N); (M, K) @ (G, K, N) -> (M, N), rows in groups;
    (G, M, K) @ (K, N) -> (M, N), columns in groups; (M, K) @ (K, N) -> (G, M, N), sums in groups.

    Errors:
        RuntimeError: other dimensions, or `offs` missing where a dimension is shared.

    >>> import flambeau as torch
    >>> a, b = torch.ones(5, 2), torch.ones(2, 2, 3)
    >>> torch.nn.functional.grouped_mm(a, b, offs=torch.tensor([2, 5])).shape
    torch.Size([5, 3])
    """
    if mat_a.dim() not in (2, 3) or mat_b.dim() not in (2, 3):
        raise RuntimeError(
            f"grouped_mm: expected 2 or 3 dimensions, got {mat_a.dim()} and {mat_b.dim()}"
        )
    if bias is not None:
        raise RuntimeError("grouped_mm: Bias not supported yet")
    result = _multiply_groups(mat_a, mat_b, offs)
    return result if out_dtype is None else result.to(out_dtype)


def _multiply_groups(a: Tensor, b: Tensor, offs: Tensor | None) -> Tensor:
    if a.dim() == b.dim() == 3:
        return flambeau.bmm(a, b)
    if offs is None:
        raise RuntimeError("grouped_mm: need `offs` where a matrix holds all groups")
    ends = [0, *offs.tolist()]
    spans = [slice(low, high) for low, high in itertools.pairwise(ends)]
    if a.dim() == 3:
        return flambeau.cat([x @ b[:, span] for x, span in zip(a, spans, strict=True)], 1)
    if b.dim() == 3:
        return flambeau.cat([a[span] @ y for y, span in zip(b, spans, strict=True)], 0)
    return flambeau.stack([a[:, span] @ b[span] for span in spans])
