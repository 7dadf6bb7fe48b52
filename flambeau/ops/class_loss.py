"""Losses of class indices: negative log-likelihood of log-probabilities or of logits.

One kernel gives the loss of every row, or their sum, and what the mean divides by; the derivative
is one kernel too. Of the log-softmax only the logarithm of the sum is kept, one number a row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache as cache_result
from typing import Any, NamedTuple

from .. import core
from ..core import Op, Tensor
from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import count, detach, reduce, where
from .arithmetic import div
from .convert import to_dtype
from .record import composite
from .row_program import MOST_LAUNCHES, ROW, TOTAL, Launch, RowProgram

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


class _Plan(NamedTuple):
    """How to launch both kernels for inputs of one shape and type."""

    forward: Launch
    backward: Launch
    dim: int
    rows: tuple[int, ...]  # the input's shape with one class


_plans: dict[tuple, _Plan | None] = {}


def _find_plan(input, target, weight, smooth, reduction, logits, check) -> _Plan | None:
    kinds = () if weight is None else (weight.shape, weight.dtype)
    key = (input.shape, target.shape, input.dtype, target.dtype, *kinds, smooth, reduction, logits)
    if key not in _plans:
        check(input, target, weight)
        fits = _fits(input, target, weight, reduction)
        if len(_plans) > MOST_LAUNCHES:
            _plans.clear()
        each = reduction == "none"
        _plans[key] = _plan(input, target, weight, smooth, each, logits) if fits else None
    return _plans[key]


def _plan(input, target, weight, smooth: bool, each: bool, logits: bool) -> _Plan | None:
    shape = tuple(input.shape)
    dim = 1 if len(shape) > 1 else 0
    rows, ones = (*shape[:dim], 1, *shape[dim + 1 :]), (1,) * len(shape)
    target = core.empty(rows, target.dtype)
    weights = []
    if weight is not None:
        weights = [core.empty((shape[dim], *ones[dim + 1 :]), weight.dtype)]
    forward, backward = _programs(logits, weight is not None, smooth, each)
    footprints = (rows if each else ones, ones, ones, rows)
    first = forward.plan([input, target, *weights], shape, 1 << dim, 2, footprints)
    if first is None:
        return None
    of_sums = first.results[0][1]
    g = core.empty(rows if each else ones, input.dtype)
    divisor, log_sum = core.empty(ones, of_sums), core.empty(rows, of_sums)
    operands = [g, divisor, input, target, log_sum, *weights]
    second = backward.plan(operands, shape, 1 << dim, 2, (shape,))
    return None if second is None else _Plan(first, second, dim, rows)


def _class_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    smoothing: float,
    reduction: str,
    logits: bool,
    check: Callable[[Tensor, Tensor, Tensor | None], None],
) -> Tensor | None:
    """The loss; None where the kernels don't take the arguments, which `check` has checked.

    Shapes and types that were seen before are not checked again. Raises IndexError for a class
    outside 0 .. C - 1.
    """
    plan = _find_plan(input, target, weight, smoothing != 0.0, reduction, logits, check)
    if plan is None or not -_EXACT < ignore_index < _EXACT:
        return None
    if weight is not None and weight.requires_grad:
        return None
    operands = (input, target) if weight is None else (input, target, weight)
    numbers = (float(ignore_index), float(smoothing))
    loss, divisor, wrong, log_sum = plan.forward.run(operands, numbers)
    if core.read_flag(wrong):
        _name_wrong(target, input.shape[plan.dim], ignore_index)
    if reduction == "none":
        loss = core.view(loss, target.shape)
    elif reduction == "mean":
        loss = div(loss, divisor)
    if loss.dtype is not input.dtype:
        loss = to_dtype(loss, input.dtype)
    if core.needs_history(input):
        divisor = divisor if reduction == "mean" else core.from_data(1.0, divisor.dtype)
        saved = [input, target, weight, divisor, log_sum]
        context = (plan, numbers, logits)
        core.record_call("NllLossBackward0", _backward, [input], [loss], saved, context)
    return loss


def _make_op(name: str, logits: bool) -> Op:
    def op(input, target, weight, ignore_index, smoothing, reduction, check):
        return _class_loss(input, target, weight, ignore_index, smoothing, reduction, logits, check)

    op.__doc__ = _class_loss.__doc__
    return composite(name=name, register=False)(op)


cross_entropy = _make_op("cross_entropy", True)
nll_loss = _make_op("nll_loss", False)


def _fits(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> bool:
    return (
        input.is_floating_point()
        and input.numel() > 0
        and target.dtype.code == 5
        and (weight is None or weight.dtype is input.dtype)
        and reduction in ("mean", "sum", "none")
    )


def _name_wrong(target: Tensor, classes: int, ignored: int) -> None:
    bad = next(t for t in target.reshape(-1).tolist() if t != ignored and not 0 <= t < classes)
    raise IndexError(f"Target {bad} is out of bounds.")


def _backward(node: Any, g: Tensor) -> tuple:
    plan, numbers, logits = node.context
    input, target, weight, divisor, log_sum = node.saved_tensors
    if core.grad_enabled():
        return (_differentiable(g, divisor, input, target, weight, plan, numbers, logits),)
    operands = [g, divisor, input, target, log_sum] + ([] if weight is None else [weight])
    return (plan.backward.run(operands, numbers)[0],)


def _differentiable(g, divisor, input, target, weight, plan, numbers, logits):
    """The derivative in terms of other ops, so that it can be differentiated."""
    from .masked import where as choose
    from .reduce import sum as total
    from .rows import softmax_body

    dim, (ignored, smoothing) = plan.dim, numbers
    classes, target = input.shape[dim], target.reshape(plan.rows)
    if g.dim():
        g = g.reshape(plan.rows)
    valid = target != ignored
    hit = core.empty(input.shape, input.dtype).fill_(0)
    hit = hit.scatter(dim, choose(valid, target, 0), 1.0)
    spread = 1.0 if weight is None else weight.reshape((-1, *(1 for _ in input.shape[dim + 1 :])))
    factor = (hit * spread).sum(dim, True)
    share = choose(valid, (g / divisor).to(input.dtype), 0.0)
    if not logits:
        return -hit * factor * share
    p = softmax_body(input, dim)
    result = (1 - smoothing) * factor * (p - hit)
    if smoothing:
        weight_sum = classes if weight is None else total(weight)
        result = result + smoothing / classes * (p * weight_sum - spread)
    return result * share
