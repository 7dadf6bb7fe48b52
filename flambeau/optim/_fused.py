"""Update rules applied to many tensors at once.

A rule is a plain function of scalars, written with operators and the functions of this module:

    def update(p, g, buffer, *, lr, momentum): ...; return p, buffer

It gives the new values of the operands listed in `written`. The same function runs on scalar
handles, which the kernel compiler turns into one multi-tensor kernel, and on tensors
(`apply_rule`), where autograd must see it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flambeau
from flambeau.kernels import scalar


def sqrt(x: Any) -> Any:
    """Square root of a scalar handle or a tensor."""
    return x.sqrt() if isinstance(x, flambeau.Tensor) else scalar.sqrt(x)


def maximum(x: Any, y: Any) -> Any:
    """The larger of two scalar handles or tensors; NaN if either is."""
    return flambeau.maximum(x, y) if isinstance(x, flambeau.Tensor) else scalar.maximum(x, y)


@functools.cache
def specialise(rule: Callable, **flags: bool) -> Callable:
    """`rule` with its flags fixed: one object for the same flags, so its kernel is found again."""
    return functools.partial(rule, **flags)


def fused_update(
    rule: Callable,
    tensors: Sequence[Sequence[Any]],
    scalars: dict[str, float],
    written: tuple[int, ...],
) -> None:
    """Apply `rule` to every parameter in place.

    `tensors[k][i]` is operand k of parameter i; operands of one parameter have one shape. `scalars`
    are the rule's keyword arguments. `written` lists the operands that the rule's results replace,
    in order.
    """
    with flambeau.no_grad():
        apply_rule(rule, tensors, scalars, written)


def apply_rule(
    rule: Callable,
    tensors: Sequence[Sequence[Any]],
    scalars: dict[str, Any],
    written: tuple[int, ...],
) -> None:
    """`fused_update` op by op, seen by autograd; scalars may be tensors."""
    for operands in zip(*tensors, strict=True):
        results = rule(*operands, **scalars)
        for k, result in zip(written, results, strict=True):
            operands[k].copy_(result)
