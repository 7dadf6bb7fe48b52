"""Losses of class indices: negative log-likelihood of log-probabilities or of logits.

One kernel gives the loss of every row, or their sum, and what the mean divides by; the derivative
is one kernel too. Of the log-softmax only the logarithm of the sum is kept, one number a row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache as cache_result
from typing import Any

from .. import core
from ..core import Tensor
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import count, detach, reduce, where
from .record import primitive
from .row_program import ROW, TOTAL, RowProgram

_EXACT = 2**24  # integers up to here are numbers of any compute type


def _loss_body(logits: bool, weighted: bool, smooth: bool) -> Callable:
    """The losses' program: operands input, target[, weight], numbers ignore_index, smoothing."""

    def body(x, target, *rest):
        *weight, ignored, smoothing = rest
        hit = scalar.eq(scalar.position(), target)
        zero, one = scalar.const(0, x.dtype), scalar.const(1, x.dtype)
        valid = scalar.ne(target, scalar.cast(ignored, "i64"))
        inside = (target >= 0) & (target < count("i64"))
        factor = reduce.add(where(hit, weight[0], zero)) if weighted else one
        top = detach(reduce.max(x)) if logits else zero
        log_sum = mathlib.log(reduce.add(mathlib.exp(x - top))) if logits else zero
        loss = (log_sum - (reduce.add(where(hit, x, zero)) - top)) * factor
        if smooth:
            spread = weight[0] if weighted else one
            weights = reduce.add(weight[0]) if weighted else count(x.dtype)
            even = log_sum * weights - reduce.add((x - top) * spread)
            loss = (1 - smoothing) * loss + smoothing / count(x.dtype) * even
        wrong = where(valid & ~inside, one, zero)
        return where(valid, loss, zero), where(valid, factor, zero), wrong, log_sum + top

    return body


def _gradient_body(logits: bool, weighted: bool, smooth: bool) -> Callable:
    """The derivative's: operands g, divisor, input, target, logarithm of the sum[, weight]."""

    def body(g, divisor, x, target, log_sum, *rest):
        *weight, ignored, smoothing = rest
        hit = scalar.eq(scalar.position(), target)
        zero, one = scalar.const(0, x.dtype), scalar.const(1, x.dtype)
        valid = scalar.ne(target, scalar.cast(ignored, "i64"))
        factor = reduce.add(where(hit, weight[0], zero)) if weighted else one
        share = where(valid, g / divisor, zero)
        picked = share * factor * (1 - smoothing) if smooth else share * factor
        if not logits:
            return (where(hit, -picked, zero),)
        p = mathlib.exp(x - log_sum)
        base = p * picked
        if smooth:
            spread = weight[0] if weighted else one
            weights = reduce.add(weight[0]) if weighted else count(x.dtype)
            base = base + share * (smoothing / count(x.dtype)) * (p * weights - spread)
        return (where(hit, base - picked, base),)

    return body


@cache_result
def _programs(logits: bool, weighted: bool, smooth: bool, each: bool) -> tuple:
    flags = (logits, weighted, smooth)
    places = (ROW if each else TOTAL, TOTAL, TOTAL, ROW)
    return (
        RowProgram("class_loss", _loss_body(*flags), places),
        RowProgram("class_loss_vjp", _gradient_body(*flags), (0,)),
    )


def _layout(input: Tensor, target: Tensor, weight: Tensor | None) -> tuple:
    """Shape, class dimension, shape of one element a row, target and weight so shaped."""
    shape = tuple(input.shape)
    dim = 1 if len(shape) > 1 else 0
    rows = (*shape[:dim], 1, *shape[dim + 1 :])
    target = core.view(core.contiguous_plain(target), rows)
    if weight is not None:
        weight = core.view(weight, (-1, *(1 for _ in shape[dim + 1 :])))
    return shape, dim, rows, target, weight


def fits(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str
) -> bool:
    """Can the kernels take these (checked) arguments?"""
    return (
        input.is_floating_point()
        and input.numel() > 0
        and target.dtype.code == 5
        and (weight is None or (weight.dtype is input.dtype and not weight.requires_grad))
        and -_EXACT < ignore_index < _EXACT
        and reduction in ("mean", "sum", "none")
    )


@primitive(register=False)
def class_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    smoothing: float,
    reduction: str,
    logits: bool,
) -> Any:
    """(loss, divisor, logarithm of the sum of each row); the loss is that of each row for "none".

    Raises IndexError for a class outside 0 .. C - 1.
    """
    shape, dim, rows, places, weights = _layout(input, target, weight)
    flags = (logits, weight is not None, smoothing != 0.0, reduction == "none")
    program = _programs(*flags)[0]
    operands = [t for t in (input, places, weights) if t is not None]
    ones = tuple([1] * len(shape))
    footprints = (ones if reduction != "none" else rows, ones, ones, rows)
    numbers = (float(ignore_index), float(smoothing))
    found = program.run(operands, shape, 1 << dim, numbers, footprints)
    if found is None:
        raise RuntimeError(f"cross_entropy: no kernel for an input of shape {shape}")
    loss, divisor, wrong, log_sum = found
    if wrong.item():
        _name_wrong(target, shape[dim], ignore_index)
    if reduction == "none":
        loss = core.view(loss, target.shape)
    elif reduction == "mean":
        from .pointwise import div

        loss = div(loss, divisor)
    if loss.dtype is not input.dtype:
        from .convert import to_dtype

        loss = to_dtype(loss, input.dtype)
    return loss, divisor, log_sum


def _name_wrong(target: Tensor, classes: int, ignored: int) -> None:
    bad = next(t for t in target.reshape(-1).tolist() if t != ignored and not 0 <= t < classes)
    raise IndexError(f"Target {bad} is out of bounds.")


@class_loss.vjp
def _(g, input, target, weight, ignore_index, smoothing, reduction, logits, out):
    g = g[0]
    _, divisor, log_sum = out
    shape, dim, rows, places, weights = _layout(input, target, weight)
    ones = tuple([1] * len(shape))
    if reduction != "mean":
        divisor = core.from_data(1.0, divisor.dtype)
    g = g.reshape(rows if reduction == "none" else ones)
    if core.grad_enabled():
        gradient = _differentiable(
            g / divisor.detach(), input, places, weights, ignore_index, smoothing, dim, logits
        )
        return gradient, None, None
    flags = (logits, weight is not None, smoothing != 0.0, reduction == "none")
    operands = [g, core.view(divisor, ones), input, places, core.view(log_sum, rows)]
    operands += [] if weights is None else [weights]
    numbers = (float(ignore_index), float(smoothing))
    return _programs(*flags)[1].run(operands, shape, 1 << dim, numbers, (shape,))[0], None, None


def _differentiable(share, input, places, weights, ignored, smoothing, dim, logits):
    """The derivative in terms of other ops, so that it can be differentiated."""
    from .masked import where as choose
    from .reduce import sum as total
    from .rows import softmax_body

    classes = input.shape[dim]
    valid = places != ignored
    safe = choose(valid, places, 0)
    hit = core.empty(input.shape, input.dtype).fill_(0).scatter(dim, safe, 1.0)
    spread = 1.0 if weights is None else weights
    factor = (hit * spread).sum(dim, True)
    share = choose(valid, share.to(input.dtype), 0.0)
    if not logits:
        return -hit * factor * share
    p = softmax_body(input, dim)
    result = (1 - smoothing) * factor * (p - hit)
    if smoothing:
        weight_sum = classes if weights is None else total(weights)
        result = result + smoothing / classes * (p * weight_sum - spread)
    return result * share
