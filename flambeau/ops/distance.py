"""Distances between the rows of two matrices."""

from __future__ import annotations

import math
from typing import Any

from .. import core
from ..core import Tensor
from ..kernels.lazy import distances as planner
from .lapack import broadcast_batches
from .matmul import matmul
from .norms import vector_norm_along
from .plans import planned
from .record import composite, primitive
from .windows import zeros_plain


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
_FEW = 1 << 12  # differences that are not worth a kernel of their own
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
    if x1.numel() * x2.shape[-2] < _FEW or x1.dtype is not x2.dtype or x1.dtype.itemsize < 4:
        return _measure_in_steps(x1, x2, p)
    x1, x2 = broadcast_batches("cdist", x1, x2)
    batch = x1.shape[:-2]
    flat = [x.reshape(math.prod(batch), *x.shape[-2:]) for x in (x1, x2)]
    found = row_distances(*flat, float(p))
    return found.reshape(*batch, *found.shape[1:])


def _measure_in_steps(x1: Tensor, x2: Tensor, p: float) -> Tensor:
    """The distances by way of all differences."""
    difference = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    if difference.shape[-1] == 0:
        return difference.sum(-1)
    return vector_norm_along(difference, p, (-1,), False)


def _expand_euclidean(x1: Tensor, x2: Tensor) -> Tensor:
    x1, x2 = broadcast_batches("cdist", x1, x2)
    return euclidean(x1, x2)


# ---- kernels -------------------------------------------------------------------------------------


@primitive(register=False, name="cdist")
def row_distances(x1: Tensor, x2: Tensor, p: float) -> Tensor:
    """The distance of each row of x1 (B, P, M) from each of x2 (B, R, M): (B, P, R)."""
    out = core.empty((*x1.shape[:2], x2.shape[1]), x1.dtype)
    _measure(out, x1, x2, p, False)
    return out


@row_distances.vjp
def _row_distances_vjp(g, x1, x2, p, out, needs):
    if core.grad_enabled():
        return _differentiate_again(_measure_in_steps(x1, x2, p), g, (x1, x2), needs)
    factors = _find_factors(g, out, p)
    return (
        _find_slopes(factors, out, x1, x2, p) if needs[0] else None,
        _find_slopes(factors.mT, out.mT, x2, x1, p) if needs[1] else None,
    )


@composite(name="pdist", namespaces=("", "nn.functional"), method=False)
def pdist(input: Tensor, p: Any = 2.0) -> Tensor:
    """The p-norm distance of every pair of rows of (N, M): N (N - 1) / 2 values in row order."""
    if input.dim() != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.dim()}D")
    if not input.is_floating_point():
        raise RuntimeError(f"pdist only supports floating-point dtypes, got {input.dtype}")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    if input.dtype.itemsize < 4:
        return pair_distances(input.float(), float(p)).to(input.dtype)
    return pair_distances(input, float(p))


@primitive(register=False, name="pdist")
def pair_distances(input: Tensor, p: float) -> Tensor:
    """The distances of all pairs of different rows."""
    n = input.shape[0]
    out = core.empty((n * (n - 1) // 2,), input.dtype)
    x = core.view(core.contiguous_plain(input), (1, *input.shape))
    _measure(out, x, x, p, True)
    return out


@pair_distances.vjp
def _pair_distances_vjp(g, input, p, out):
    n = input.shape[0]
    if p == 0 or not out.numel():
        return core.empty(input.shape, input.dtype).zero_()
    if core.grad_enabled():
        found = _measure_in_steps(input, input, p).reshape(-1)[_upper_places(n)]
        return _differentiate_again(found, g, (input,), (True,))[0]
    whole, distances = (_mirror(t, n) for t in (g, out))
    x = core.view(core.contiguous_plain(input), (1, *input.shape))
    return _find_slopes(_find_factors(whole, distances, p), distances, x, x, p).reshape(n, -1)


def _upper_places(n: int) -> Tensor:
    """The row-major places above the diagonal of a square of n rows."""
    from .filled import ones

    return ones(n, n, dtype=core.dtypes[0]).triu(1).reshape(-1).nonzero().reshape(-1)


def _mirror(pairs: Tensor, n: int) -> Tensor:
    """The symmetric square (1, n, n) of what belongs to pairs."""
    size, upper = pairs.dtype.itemsize, core.empty((1, n, n), pairs.dtype)
    plan = planned(("pairs square", size, n), lambda threads: planner.plan_square(size, n))
    plan.run(upper, core.contiguous_plain(pairs))
    return upper + upper.mT


def _measure(out: Tensor, x1: Tensor, x2: Tensor, p: float, pairs: bool) -> None:
    if not out.numel():
        return
    if x1.shape[-1] == 0:
        out.zero_()
        return
    facts = (x1.dtype.short, *x1.shape[:2], *x2.shape[1:], p)
    plan = planned(
        ("distances", *facts, pairs),
        lambda threads: planner.plan(planner.Problem(*facts), pairs, threads),
    )
    plan.run(out, core.contiguous_plain(x1), _pack(x2))


def _pack(x: Tensor) -> Tensor:
    """Rows (B, R, M) in panels of rows side by side: (B, panels, M, rows of a panel)."""
    batch, rows, width = x.shape
    wide = planner.panel(x.dtype.short, rows)
    packed = zeros_plain((batch, -(-rows // wide), width, wide), x.dtype)
    panels = core.permute(packed, (0, 1, 3, 2))
    whole = rows // wide
    first = core.basic_index(x, (slice(None), slice(0, whole * wide))).reshape(
        batch, whole, wide, width
    )
    core.copy_plain(core.basic_index(panels, (slice(None), slice(0, whole))), first)
    if rows % wide:
        rest = core.basic_index(x, (slice(None), slice(whole * wide, None)))
        last = core.basic_index(panels, (slice(None), whole, slice(0, rows % wide)))
        core.copy_plain(last, rest)
    return packed


def _find_factors(g: Tensor, distances: Tensor, p: float) -> Tensor:
    """What the slope of each difference is multiplied with."""
    if p in (1, math.inf):
        return g
    powers = distances if p == 2 else distances.pow(p - 1)
    return (g / powers).masked_fill(distances == 0, 0)


def _find_slopes(factors: Tensor, distances: Tensor, x1: Tensor, x2: Tensor, p: float) -> Tensor:
    """The gradient of x1 (B, P, M)."""
    out = core.empty(x1.shape, x1.dtype)
    if p == 0 or not out.numel() or not factors.numel():
        return out.zero_()
    facts = (x1.dtype.short, *x1.shape[:2], *x2.shape[1:], p)
    plan = planned(
        ("distance_slopes", *facts), lambda threads: planner.plan_slopes(planner.Problem(*facts))
    )
    plan.run(out, *(core.contiguous_plain(t) for t in (factors, distances, x1, x2)))
    return out


def _differentiate_again(found: Tensor, g: Tensor, tensors: Any, needs: Any) -> tuple:
    """The derivative in recorded ops, for derivatives of higher order."""
    wanted = [t for t, need in zip(tensors, needs, strict=True) if need]
    grads = iter(core.run_backward([found], [g], True, True, wanted, False))
    return tuple(next(grads) if need else None for need in needs)
