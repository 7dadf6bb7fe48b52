"""Adamax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._fused import maximum, specialise
from ._multi_tensor import MultiTensorOptimizer, check_betas, check_lr, check_option
from .optimizer import Params

__all__ = ["Adamax"]


def adamax_update(
    p,
    g,
    m,
    largest,
    *,
    step_size,
    beta1_rest,
    beta2,
    eps,
    weight_decay,
    decay: bool,
    maximize: bool,
):
    """One step, with step_size = lr / (1 - beta1^t)."""
    g = -g if maximize else g
    g = g + weight_decay * p if decay else g
    m = m + beta1_rest * (g - m)
    largest = maximum(beta2 * largest, abs(g) + eps)
    return p - step_size * (m / largest), m, largest


class Adamax(MultiTensorOptimizer):
    r"""Adamax, Adam with the maximum norm (Kingma and Ba, 2014, https://arxiv.org/abs/1412.6980).

    With g the gradient plus `weight_decay` * p, and t the step count from 1:
    m = beta1 * m + (1 - beta1) * g, u = max(beta2 * u, |g| + eps),
    p = p - lr / (1 - beta1^t) * m / u.

    Args:
        params: tensors or groups of them.
        lr: learning rate, a number or a one-element tensor.
        betas: (beta1, beta2), each in [0, 1).
        eps, weight_decay: as above.
        maximize: go up the gradient instead of down.
        differentiable: let autograd run through the step.
        foreach, capturable: accepted for PyTorch's sake; every step is one fused kernel.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.Adamax([weight], lr=0.5)
    >>> (weight * 3).sum().backward(); optimizer.step(); weight.tolist()
    [0.5]
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
        lr: Any = 2e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_option("epsilon value", eps)
        check_betas(betas)
        check_option("weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")

    def _rule(self, group: dict[str, Any], key: Any) -> Callable:
        return specialise(adamax_update, group["weight_decay"] != 0, group["maximize"])

    def _scalars(self, group: dict[str, Any], key: Any) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {
            "step_size": group["lr"] / (1 - beta1**key),
            "beta1_rest": 1 - beta1,
            "beta2": beta2,
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
        }
