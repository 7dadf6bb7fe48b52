"""Scaled dot-product attention whose scores are never in memory."""

from __future__ import annotations

import math

from .. import core
from ..core import Tensor
from ..kernels.lazy import attention as planner
from .plans import planned
from .record import primitive

_FLOAT32 = core.dtypes[8]


def _problem(query, key, value, mask, causal, scale, out):
    """The sizes and strides that a plan depends on, hashable."""
    batch, heads, length, depth = query.shape
    source, width = value.shape[2:]
    return (
        query.dtype.short, batch, heads, heads // key.shape[1], length, source, depth, width,
        query.stride()[:3], key.stride()[:3], value.stride()[:3], out.stride()[:3],
        None if mask is None else mask.stride()[:3], causal, scale,
    )  # fmt: skip


def _rows_in_place(t: Tensor) -> Tensor:
    """The tensor, or a copy, with the numbers of each row side by side."""
    return t if t.stride(-1) == 1 or t.shape[-1] == 1 else core.contiguous_plain(t)


def _empty_heads(like: Tensor, heads: int, length: int, width: int) -> Tensor:
    """(batch, heads, length, width), stored so that the heads of a position lie side by side."""
    return core.empty((like.shape[0], length, heads, width), like.dtype).transpose(1, 2)


@primitive(register=False)
def attend(query, key, value, mask, causal, scale):
    """softmax(scale q k^T + mask) v, and the log-sum-exp of each row's scores in base 2.

    query (N, H, L, E), key (N, G, S, E), value (N, G, S, Ev) with G dividing H; mask (N, H, L, S)
    of the same type, any strides, or None; causal: position i sees positions up to i.
    """
    query, key, value = (_rows_in_place(t) for t in (query, key, value))
    mask = None if mask is None else _rows_in_place(mask)
    batch, heads, length, _ = query.shape
    out = _empty_heads(query, heads, length, value.shape[3])
    lse = core.empty((batch, heads, length), query.dtype)
    problem = _problem(query, key, value, mask, causal, scale, out)
    plan = planned(
        ("attend", problem),
        lambda threads: planner.plan_forward(planner.Attention(*problem), threads),
    )
    plan.run(out, lse, query, key, value, mask)
    return out, lse


@primitive(register=False)
def attend_few(query, key, value, mask, scale):
    """softmax(scale q k^T + mask) v for a few queries: nothing is packed, half types are widened.

    Shapes as `attend`'s; mask and the result are of the type the inputs are computed in.
    """
    query, key, value = (_rows_in_place(t) for t in (query, key, value))
    mask = None if mask is None else _rows_in_place(mask)
    batch, heads, length, _ = query.shape
    computed = _computed_in(query.dtype)
    out = core.empty((batch, heads, length, value.shape[3]), computed)
    lse = core.empty((batch, heads, length), computed)
    problem = _problem(query, key, value, mask, False, scale, out)
    plan = planned(
        ("attend_few", problem),
        lambda threads: planner.plan_few(planner.Attention(*problem), threads),
    )
    plan.run(out, lse, query, key, value, mask)
    return out


def _computed_in(dtype):
    return dtype if dtype.itemsize > 2 else _FLOAT32


@attend_few.vjp
def _attend_few_vjp(g, query, key, value, mask, scale):
    inputs = (query, key, value)
    q, k, v = (t.to(_computed_in(t.dtype)) for t in inputs)
    grads = _differentiable_vjp(g, q, k, v, mask, False, scale)
    grads = (t.to(like.dtype) for t, like in zip(grads, inputs, strict=True))
    return (*grads, *([] if mask is None else [None]))


@attend.vjp
def _attend_vjp(g, query, key, value, mask, causal, scale, out):
    grads = [] if mask is None else [None]
    if core.grad_enabled():
        return (*_differentiable_vjp(g[0], query, key, value, mask, causal, scale), *grads)
    return (*_vjp(g[0], query, key, value, mask, causal, scale, *out), *grads)


def _vjp(g, query, key, value, mask, causal, scale, out, lse):
    query, key, value, g = (_rows_in_place(t) for t in (query, key, value, g))
    mask = None if mask is None else _rows_in_place(mask)
    heads, length, depth = query.shape[1:]
    groups, source, width = value.shape[1:]
    dq = _empty_heads(query, heads, length, depth)
    dk, dv = (_empty_heads(key, heads, source, size) for size in (depth, width))
    problem = _problem(query, key, value, mask, causal, scale, out)
    strides = [t.stride()[:3] for t in (g, dq, dk, dv)]
    plan = planned(
        ("attend_vjp", problem, strides[0]),
        lambda threads: planner.plan_backward(planner.Attention(*problem), *strides, threads),
    )
    plan.run(dq, dk, dv, g, out, lse, query, key, value, mask)
    if heads != groups:
        dk, dv = (t.unflatten(1, (groups, heads // groups)).sum(2) for t in (dk, dv))
    return dq, dk, dv


def _differentiable_vjp(g, query, key, value, mask, causal, scale):
    """The same in recorded ops, with the scores in memory."""
    group = query.shape[1] // key.shape[1]
    k, v = (t.repeat_interleave(group, 1) if group > 1 else t for t in (key, value))
    weights = attention_weights(query, k, mask, causal, scale)
    change = weights * (g @ v.mT - (g @ v.mT * weights).sum(-1, keepdim=True)) * scale
    grads = [change @ k, change.mT @ query, weights.mT @ g]
    if group > 1:
        grads[1:] = (t.unflatten(1, (key.shape[1], group)).sum(2) for t in grads[1:])
    return grads


def attention_weights(query, key, mask, causal, scale):
    """softmax(scale q k^T + mask) in recorded ops; rows that see nothing are zeros."""
    from .filled import ones
    from .rows import softmax

    scores = (query * scale) @ key.mT
    if causal:
        visible = ones(scores.shape[-2:], dtype=core.dtypes[0]).tril()
        scores = scores.masked_fill(~visible, -math.inf)
    elif mask is not None:
        scores = scores + mask
    if mask is None:
        return softmax(scores, -1)
    blind = (scores == -math.inf).all(-1, keepdim=True)
    return softmax(scores.masked_fill(blind, 0.0), -1).masked_fill(blind, 0.0)
