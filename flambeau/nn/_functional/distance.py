"""Distances and similarities between rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flambeau

from ... import core

if TYPE_CHECKING:
    from flambeau import Tensor


@core.Remembered
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine of the angle between vectors along `dim`: x1.x2 / (max(|x1|, eps) max(|x2|, eps)).

    The inputs broadcast; both must be floating, and are promoted to a common dtype.

    >>> import flambeau as torch
    >>> x = torch.tensor([[1.0, 0.0]])
    >>> torch.nn.functional.cosine_similarity(x, 2 * x)
    tensor([1.])
    """
    common = flambeau.promote_types(x1.dtype, x2.dtype)
    if not common.is_floating_point:
        raise RuntimeError(
            f"expected common dtype to be floating point, yet common dtype is {common}"
        )
    x1, x2 = flambeau.broadcast_tensors(x1.to(common), x2.to(common))
    return (_scale_to_unit(x1, dim, eps) * _scale_to_unit(x2, dim, eps)).sum(dim)


def _scale_to_unit(x: Tensor, dim: int, eps: float) -> Tensor:
    norm = flambeau.linalg.vector_norm(x, 2, dim=dim, keepdim=True)
    # The floor changes the value only: no gradient passes through it, the norm keeps its own.
    return x / (norm + (norm.detach().clamp_min(eps) - norm.detach()))


@core.Remembered
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """p-norm of the difference along the last dimension: |x1 - x2 + eps|_p."""
    return flambeau.linalg.vector_norm(x1 - x2 + eps, p, dim=-1, keepdim=keepdim)
