"""How gradients that are sparse add up."""

from __future__ import annotations

from typing import Any

from ... import core
from ...core import Tensor
from . import pointwise
from .compressed import to_coo
from .tensor import SparseTensor, make


def add(a: Tensor, b: Tensor) -> Tensor:
    """The sum of two gradients of one tensor, at least one of them sparse."""
    a, b = to_coo(a), to_coo(b)
    if isinstance(b, SparseTensor):
        return pointwise.add(a, b)
    return pointwise.add(b, a)


def accumulate(have: Tensor | None, grad: Tensor) -> Tensor:
    """What .grad of a leaf becomes when `grad` arrives; either may be sparse, or both.

    A dense .grad is added to in place; a sparse one is replaced, by a dense one if `grad` is dense.
    """
    have, grad = to_coo(have), to_coo(grad)
    if have is None:
        return _own(grad)
    if isinstance(have, SparseTensor) or core.grad_enabled():
        return add(have, grad)
    return pointwise.add_(have, grad)


def _own(grad: Any) -> Any:
    """A gradient whose values may be written in place: no element of theirs stands for several."""
    if core.grad_enabled():
        return make(grad.index, grad.value.clone(), grad.shape, grad.coalesced)
    value = grad.value.detach() if grad.value.requires_grad else grad.value
    return make(grad.index, core.contiguous_plain(value), grad.shape, grad.coalesced)
