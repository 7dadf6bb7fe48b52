"""Losses of pairs of elements, of an input and a target, summed in the kernel that computes them.

Each comes in the three forms of the argument `reduction`: by element, their sum, their mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import count, reduce, where
from .record import pointwise, reduction


class PairedLoss(NamedTuple):
    """The three forms of a loss; called with (input, target, scalars by name)."""

    none: Any
    sum: Any
    mean: Any


def _make(name: str, body: Callable) -> PairedLoss:
    """The forms of a loss from its formula for one element."""

    def total(input, target, **scalars):
        return reduce.add(body(input, target, **scalars))

    def mean(input, target, **scalars):
        loss = body(input, target, **scalars)
        return reduce.add(loss) / count(loss.dtype)

    code = body.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    common = {
        "register": False,
        "accepts": "f",
        "operands": 2,
        "names": names,
        "doc": body.__doc__,
    }
    return PairedLoss(
        pointwise(name=name, **common)(body),
        reduction(name=f"{name}_sum", dim=None, **common)(total),
        reduction(name=f"{name}_mean", dim=None, **common)(mean),
    )


def _squared_error(input, target):
    """(x - t)^2."""
    difference = input - target
    return difference * difference


def _absolute_error(input, target):
    """|x - t|."""
    return abs(input - target)


def _smooth_error(input, target, *, beta):
    """0.5 d^2 / beta where d = |x - t| is below beta, d - 0.5 beta elsewhere."""
    d = abs(input - target)
    return where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta)


def _huber_error(input, target, *, delta):
    """0.5 d^2 where d = |x - t| is at most delta, delta (d - 0.5 delta) elsewhere."""
    d = abs(input - target)
    return where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta))


def _logit_entropy(input, target):
    """-(t log s + (1 - t) log(1 - s)) for s = sigmoid(x), without leaving the logarithm's range."""
    negative = where(input < 0, input, -input)  # -|x|, whose derivative keeps NaN
    excess = where(input >= 0, scalar.const(0, input.dtype), -input)
    return (1 - target) * input + excess + mathlib.log1p(mathlib.exp(negative))


squared_error = _make("mse_loss", _squared_error)
absolute_error = _make("l1_loss", _absolute_error)
smooth_error = _make("smooth_l1_loss", _smooth_error)
huber_error = _make("huber_loss", _huber_error)
logit_entropy = _make("binary_cross_entropy_with_logits", _logit_entropy)
