"""`Variable`, the old name of a tensor that autograd follows."""

from __future__ import annotations

from typing import Any

from ..core import Tensor

__all__ = ["Variable"]


class _VariableMeta(type):
    def __instancecheck__(cls, other: object) -> bool:
        return isinstance(other, Tensor)


class Variable(metaclass=_VariableMeta):
    """Makes the tensor given require a gradient; isinstance holds for every tensor."""

    def __new__(cls, data: Tensor, requires_grad: bool = False, volatile: Any = None) -> Tensor:  # type: ignore[misc]
        result = data.detach()
        return result.requires_grad_() if requires_grad else result
