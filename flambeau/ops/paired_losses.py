"""Losses of elements, of an input and a target or more, summed in the kernel that computes them.

Each comes in the three forms of the argument `reduction`: by element, their sum, their mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ..kernels import scalar
from ..kernels.lazy import mathlib
from ..kernels.scalar import count, detach, reduce, where
from .promotion import Promote
from .record import pointwise, reduction


class PairedLoss(NamedTuple):
    """The three forms of a loss; called with its tensors and then its scalars by name."""

    none: Any
    sum: Any
    mean: Any


def _make(name: str, body: Callable, **options: Any) -> PairedLoss:
    """The forms of a loss from its formula for one element; options of the op records."""

    def total(*tensors, **scalars):
        return reduce.add(body(*tensors, **scalars))

    def mean(*tensors, **scalars):
        loss = body(*tensors, **scalars)
        return reduce.add(loss) / count(loss.dtype)

    code = body.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    common: dict[str, Any] = {
        "register": False,
        "accepts": "f",
        "operands": code.co_argcount,
        "names": names,
        "doc": body.__doc__,
        **options,
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


def _floored(x, low):
    """x, at least low, with the derivative of `clamp_min`."""
    return where(x < low, scalar.const(low, x.dtype), x)


def _binary_entropy(input, target):
    """-(t log x + (1 - t) log(1 - x)) with logarithms of at least -100."""
    positive = _floored(mathlib.log(input), -100.0)
    negative = _floored(mathlib.log1p(-input), -100.0)
    return (target - 1) * negative - target * positive


def _binary_entropy_vjp(g, input, target):
    product = (1 - input) * input
    slope = (input - target) / _floored(product, 1e-12)
    positive = _floored(mathlib.log(input), -100.0)
    return g * slope, g * (_floored(mathlib.log1p(-input), -100.0) - positive)


def _divergence(input, target):
    """t (log t - x), with 0 log 0 = 0."""
    product = where(
        scalar.eq(target, 0), scalar.const(0, target.dtype), target * mathlib.log(target)
    )
    return product - target * input


def _divergence_vjp(g, input, target):
    log = mathlib.log(target)
    log = where(scalar.eq(target, 0), scalar.const(0, g.dtype), log) + target / target
    return -g * target, g * (log - input)


def _log_divergence(input, target):
    """e^t (t - x) of the logarithms t."""
    return mathlib.exp(target) * (target - input)


def _stirling(target):
    """t log t - t + log(2 pi t) / 2 where t > 1, 0 elsewhere: nearly log(t!)."""
    zero, one = scalar.const(0, target.dtype), scalar.const(1, target.dtype)
    t = where(target > 1, target, one)
    return where(target > 1, t * mathlib.log(t) - t + 0.5 * mathlib.log(2 * math.pi * t), zero)


def _poisson_of_log(input, target):
    """exp(x) - t x."""
    return mathlib.exp(input) - target * input


def _poisson_of_rate(input, target, *, eps):
    """x - t log(x + eps)."""
    return input - target * mathlib.log(input + eps)


def _full_poisson_of_log(input, target):
    """exp(x) - t x + log(t!)."""
    return _poisson_of_log(input, target) + _stirling(target)


def _full_poisson_of_rate(input, target, *, eps):
    """x - t log(x + eps) + log(t!)."""
    return _poisson_of_rate(input, target, eps=eps) + _stirling(target)


def _gaussian(input, target, var, *, eps, constant):
    """(log v + (x - t)^2 / v) / 2 + constant; v = max(var, eps) passes the gradient always."""
    shortfall = where(var < eps, eps - var, scalar.const(0, var.dtype))
    v = var + detach(shortfall)
    d = input - target
    return 0.5 * (mathlib.log(v) + d * d / v) + constant


def _ranking_error(input1, input2, target, *, margin):
    """max(0, -t (x1 - x2) + margin)."""
    return _floored(-target * (input1 - input2) + margin, 0.0)


def _hinge_error(input, target, *, margin):
    """x where t = 1, max(0, margin - x) where t = -1, their sum elsewhere."""
    zero = scalar.const(0, input.dtype)
    far = where(scalar.ne(target, 1), _floored(margin - input, 0.0), zero)
    return far + where(scalar.ne(target, -1), input, zero)


def _soft_margin_error(input, target):
    """log(1 + exp(-t x))."""
    return mathlib.log1p(mathlib.exp(-target * input))


squared_error = _make("mse_loss", _squared_error)
absolute_error = _make("l1_loss", _absolute_error)
smooth_error = _make("smooth_l1_loss", _smooth_error)
huber_error = _make("huber_loss", _huber_error)
logit_entropy = _make("binary_cross_entropy_with_logits", _logit_entropy)
binary_entropy = _make("binary_cross_entropy", _binary_entropy)
binary_entropy.none.vjp = binary_entropy.sum.vjp = _binary_entropy_vjp
binary_entropy.mean.vjp = lambda g, input, target: _binary_entropy_vjp(
    g / count(g.dtype), input, target
)
divergence = _make("kl_div", _divergence)
divergence.none.vjp = divergence.sum.vjp = _divergence_vjp
divergence.mean.vjp = lambda g, input, target: _divergence_vjp(g / count(g.dtype), input, target)
log_divergence = _make("kl_div", _log_divergence)
_make_poisson = partial(_make, "poisson_nll_loss", promote=Promote.FLOAT, accepts="buif")
poisson_of_log = _make_poisson(_poisson_of_log)
poisson_of_rate = _make_poisson(_poisson_of_rate)
full_poisson_of_log = _make_poisson(_full_poisson_of_log)
full_poisson_of_rate = _make_poisson(_full_poisson_of_rate)
gaussian_error = _make("gaussian_nll_loss", _gaussian)
ranking_error = _make("margin_ranking_loss", _ranking_error)
hinge_error = _make("hinge_embedding_loss", _hinge_error, over=("input",))
soft_margin_error = _make("soft_margin_loss", _soft_margin_error)


@reduction(
    name="outside_unit_interval", promote=Promote.BOOL, dim=None, register=False, accepts="f"
)
def outside_unit_interval(input):
    """Is any element not in [0, 1]?"""
    return reduce.any(~((input >= 0) & (input <= 1)))


@reduction(promote=Promote.BOOL, dim=None, register=False, accepts="uif")
def any_negative(input):
    """Is any element below 0?"""
    return reduce.any(input < 0)
