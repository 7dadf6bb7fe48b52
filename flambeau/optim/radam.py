"""RAdam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._fused import specialise, sqrt
from ._multi_tensor import MultiTensorOptimizer, check_betas, check_lr, check_option
from .optimizer import Params

__all__ = ["RAdam"]


def radam_update(
    p,
    g,
    m,
    v,
    *,
    step_size,
    shrink,
    beta1_rest,
    beta2,
    beta2_rest,
    eps,
    weight_decay,
    decay: bool,
    decoupled: bool,
    maximize: bool,
    rectified: bool,
):
    """One step; step_size holds the corrections, and the rectification where there is one."""
    g = -g if maximize else g
    if decay and decoupled:
        p = p * shrink
    elif decay:
        g = g + weight_decay * p
    m = m + beta1_rest * (g - m)
    v = beta2 * v + beta2_rest * g * g
    change = m / (sqrt(v) + eps) if rectified else m
    return p - step_size * change, m, v


class RAdam(MultiTensorOptimizer):
    r"""Rectified Adam (Liu et al., 2019, https://arxiv.org/abs/1908.03265).

    With g the gradient plus `weight_decay` * p, t the step count from 1, m and v as in `Adam`,
    r_inf = 2 / (1 - beta2) - 1 and r = r_inf - 2 * t * beta2^t / (1 - beta2^t): while r <= 5,
    p = p - lr * m / (1 - beta1^t); later p = p - lr * c * m / (1 - beta1^t) * sqrt(1 - beta2^t) /
    (sqrt(v) + eps), c = sqrt((r - 4) (r - 2) r_inf / ((r_inf - 4) (r_inf - 2) r)).

    Args:
        params: tensors or groups of them.
        lr: learning rate, a number or a one-element tensor.
        betas: (beta1, beta2), each in [0, 1).
        eps: added to the denominator.
        weight_decay: as above; with `decoupled_weight_decay` p is scaled by 1 - lr * weight_decay
            instead.
        maximize: go up the gradient instead of down.
        differentiable: let autograd run through the step.
        foreach, capturable: accepted for PyTorch's sake; every step is one fused kernel.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.RAdam([weight], lr=0.5)
    >>> (weight * 3).sum().backward(); optimizer.step(); round(weight.item(), 4)
    -0.5
    """

    _added_options = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
        "capturable": False,
    }

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
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
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _rule(self, group: dict[str, Any], key: Any) -> Callable:
        return specialise(
            radam_update,
            group["weight_decay"] != 0,
            group["decoupled_weight_decay"],
            group["maximize"],
            _find_length(group["betas"][1], key) > 5,
        )

    def _scalars(self, group: dict[str, Any], key: Any) -> dict[str, Any]:
        (beta1, beta2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
        return {
            "step_size": lr * _rectification(beta2, key) / (1 - beta1**key),
            "shrink": 1 - lr * decay,
            "beta1_rest": 1 - beta1,
            "beta2": beta2,
            "beta2_rest": 1 - beta2,
            "eps": group["eps"],
            "weight_decay": decay,
        }


def _find_length(beta2: Any, step: float) -> Any:
    """The length of a simple average as uncertain as the running one."""
    return 2 / (1 - beta2) - 1 - 2 * step * beta2**step / (1 - beta2**step)


def _rectification(beta2: Any, step: float) -> Any:
    """The factor of the step; 1 while the variance is not defined."""
    most, length = 2 / (1 - beta2) - 1, _find_length(beta2, step)
    if not length > 5:
        return 1.0
    wide = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
    return wide**0.5 * (1 - beta2**step) ** 0.5
