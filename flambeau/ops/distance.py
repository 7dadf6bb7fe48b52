"""Distances between the rows of two matrices."""

from __future__ import annotations

from typing import Any

from ..core import Tensor
from .lapack import broadcast_batches
from .matmul import matmul
from .record import composite, primitive
from .reduce import vector_norm_along

# ----------------------------------------------------------------------------------


@primitive(register=False)
def euclidean(x1, x2):
    """|x - y| for every row x of x1 and y of x2, from |x|^2 + |y|^2 - 2 xy."""
    squares = (x1 * x1).sum(-1, keepdim=True) + (x2 * x2).sum(-1).unsqueeze(-2)
    return (squares - matmul(x1, x2.mT) * 2).clamp(min=0).sqrt()


@euclidean.vjp
def _(g, x1, x2, out):
    zero = (out == 0).to(out.dtype)
    weight = g * (1 - zero) / (out + zero)
    g1 = x1 * weight.sum(-1, keepdim=True) - matmul(weight, x2)
    g2 = x2 * weight.sum(-2).unsqueeze(-1) - matmul(weight.mT, x1)
    return g1, g2


# Below this many rows on both sides the distances are computed from differences, without
# cancellation.
_MANY_ROWS = 25
_MODES = (
    "use_mm_for_euclid_dist_if_necessary",
    "use_mm_for_euclid_dist",
    "donot_use_mm_for_euclid_dist",
)


def _use_product(x1: Tensor, x2: Tensor, p: float, mode: Any) -> bool:
    mode = 0 if mode is None else _MODES.index(mode) if isinstance(mode, str) else mode
    many = x1.shape[-2] > _MANY_ROWS or x2.shape[-2] > _MANY_ROWS
    return p == 2 and many and mode != 2


@composite(method=False)
def cdist(
    x1: Tensor, x2: Tensor, p: Any = 2.0, compute_mode: Any = "use_mm_for_euclid_dist_if_necessary"
) -> Tensor:
    """The p-norm distance between every row of x1 (..., P, M) and of x2 (..., R, M): (..., P, R).

    >>> import flambeau as torch
    >>> torch.cdist(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[5.]])
    """
    for what, x in (("X1", x1), ("X2", x2)):
        if not x.is_floating_point():
            raise RuntimeError(
                f"cdist only supports floating-point dtypes, {what} got: {x.dtype}: convert with "
                ".float()"
            )
        if x.dim() < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {what} got: {x.dim()}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: "
            f"{x2.shape[-1]} (cdist)"
        )
    if p < 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got {p}")
    if _use_product(x1, x2, p, compute_mode):
        return _expand_euclidean(x1, x2)
    difference = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    if difference.shape[-1] == 0:
        return difference.sum(-1)
    return vector_norm_along(difference, p, (-1,), False)


def _expand_euclidean(x1: Tensor, x2: Tensor) -> Tensor:
    x1, x2 = broadcast_batches("cdist", x1, x2)
    return euclidean(x1, x2)
