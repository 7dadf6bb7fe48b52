"""Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau

from ._fused import maximum, specialise, sqrt
from ._multi_tensor import (
    MultiTensorOptimizer,
    check_betas,
    check_implementation,
    check_lr,
    check_option,
)
from .optimizer import Params

__all__ = ["Adam"]


def adam_update(
    p,
    g,
    m,
    v,
    v_max=None,
    *,
    step_size,
    shrink,
    beta1_rest,
    beta2,
    beta2_rest,
    eps,
    weight_decay,
    correction2_sqrt,
    decay: bool,
    decoupled: bool,
    maximize: bool,
    amsgrad: bool,
):
    """One step, with step_size = lr / (1 - beta1^t) and correction2_sqrt = sqrt(1 - beta2^t)."""
    g = -g if maximize else g
    if decay and decoupled:
        p = p * shrink
    elif decay:
        g = g + weight_decay * p
    m = m + beta1_rest * (g - m)
    v = beta2 * v + beta2_rest * g * g
    if not amsgrad:
        return p - step_size * (m / (sqrt(v) / correction2_sqrt + eps)), m, v
    v_max = maximum(v_max, v)
    return p - step_size * (m / (sqrt(v_max) / correction2_sqrt + eps)), m, v, v_max


class Adam(MultiTensorOptimizer):
    r"""Adam (Kingma and Ba, 2014, https://arxiv.org/abs/1412.6980).

    With g the gradient plus `weight_decay` * p, and t the step count from 1:
    m = beta1 * m + (1 - beta1) * g, v = beta2 * v + (1 - beta2) * g^2,
    p = p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps).

    Args:
        params: tensors or groups of them.
        lr: learning rate, a number or a one-element tensor.
        betas: (beta1, beta2), each in [0, 1).
        eps: added to the denominator.
        weight_decay: as above; with `decoupled_weight_decay` (AdamW) p is scaled by 1 - lr *
            weight_decay instead.
        amsgrad: use the largest v so far (Reddi et al., 2018).
        maximize: go up the gradient instead of down.
        differentiable: let autograd run through the step.
        foreach, fused, capturable: accepted for PyTorch's sake; every step is one fused kernel.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.Adam([weight], lr=0.5)
    >>> (weight * 3).sum().backward(); optimizer.step(); weight.tolist()
    [0.5]
    """

    _added_options = {
        "amsgrad": False,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "fused": None,
        "decoupled_weight_decay": False,
    }
    _sparse_refusal = "Adam does not support sparse gradients, please consider SparseAdam instead"

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_lr(lr, foreach, capturable)
        check_option("epsilon value", eps)
        check_betas(betas)
        _refuse_tensor_betas(betas, foreach, capturable)
        check_option("weight_decay value", weight_decay)
        check_implementation(fused, foreach, differentiable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        names = ("exp_avg", "exp_avg_sq")
        return (*names, "max_exp_avg_sq") if group["amsgrad"] else names

    def _rule(self, group: dict[str, Any], key: Any) -> Callable:
        return specialise(
            adam_update,
            group["weight_decay"] != 0,
            group["decoupled_weight_decay"],
            group["maximize"],
            group["amsgrad"],
        )

    def _scalars(self, group: dict[str, Any], key: Any) -> dict[str, Any]:
        (beta1, beta2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
        return {
            "step_size": lr / (1 - beta1**key),
            "shrink": 1 - lr * decay,
            "beta1_rest": 1 - beta1,
            "beta2": beta2,
            "beta2_rest": 1 - beta2,
            "eps": group["eps"],
            "weight_decay": decay,
            "correction2_sqrt": (1 - beta2**key) ** 0.5,
        }


def _refuse_tensor_betas(betas: tuple[Any, Any], foreach: bool | None, capturable: bool) -> None:
    for i, beta in enumerate(betas):
        if isinstance(beta, flambeau.Tensor) and foreach and not capturable:
            raise ValueError(
                f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True"
            )
