"""Adadelta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._fused import specialise, sqrt
from ._multi_tensor import MultiTensorOptimizer, check_lr, check_option
from .optimizer import Params

__all__ = ["Adadelta"]


def adadelta_update(
    p, g, square, change, *, lr, rho, rho_rest, eps, weight_decay, decay: bool, maximize: bool
):
    """One step: the change has the units of p, by the ratio of two running roots."""
    g = -g if maximize else g
    g = g + weight_decay * p if decay else g
    square = rho * square + rho_rest * g * g
    delta = sqrt(change + eps) / sqrt(square + eps) * g
    change = rho * change + rho_rest * delta * delta
    return p - lr * delta, square, change


class Adadelta(MultiTensorOptimizer):
    r"""Adadelta (Zeiler, 2012, https://arxiv.org/abs/1212.5701).

    With g the gradient plus `weight_decay` * p: s = rho * s + (1 - rho) * g^2,
    d = sqrt(c + eps) / sqrt(s + eps) * g, c = rho * c + (1 - rho) * d^2, p = p - lr * d.

    Args:
        params: tensors or groups of them.
        lr: factor of the change, a number or a one-element tensor.
        rho, eps, weight_decay: as above.
        maximize: go up the gradient instead of down.
        differentiable: let autograd run through the step.
        foreach, capturable: accepted for PyTorch's sake; every step is one fused kernel.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.Adadelta([weight], rho=0.75, eps=0.25)
    >>> (weight * 1).sum().backward(); optimizer.step(); round(weight.item(), 4)
    0.2929
    """

    _added_options = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "capturable": False,
    }

    def __init__(
        self,
        params: Params,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_option("epsilon value", eps)
        check_option("weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    def _keys(self, params: list, states: list[dict[str, Any]]) -> list:
        super()._keys(params, states)
        return [None] * len(states)  # the rule does not depend on the step count

    def _rule(self, group: dict[str, Any], key: Any) -> Callable:
        return specialise(adadelta_update, group["weight_decay"] != 0, group["maximize"])

    def _scalars(self, group: dict[str, Any], key: Any) -> dict[str, Any]:
        return {
            "lr": group["lr"],
            "rho": group["rho"],
            "rho_rest": 1 - group["rho"],
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
        }
