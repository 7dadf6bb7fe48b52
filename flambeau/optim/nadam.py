"""NAdam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau

from ._fused import specialise, sqrt
from ._multi_tensor import MultiTensorOptimizer, check_betas, check_lr, check_option, make_step
from .optimizer import Params

__all__ = ["NAdam"]


def nadam_update(
    p,
    g,
    m,
    v,
    *,
    gradient_size,
    moment_size,
    shrink,
    beta1_rest,
    beta2,
    beta2_rest,
    eps,
    weight_decay,
    correction2,
    decay: bool,
    decoupled: bool,
    maximize: bool,
):
    """One step; the sizes are lr times the weights of g and m, correction2 is 1 - beta2^t."""
    g = -g if maximize else g
    if decay and decoupled:
        p = p * shrink
    elif decay:
        g = g + weight_decay * p
    m = m + beta1_rest * (g - m)
    v = beta2 * v + beta2_rest * g * g
    spread = sqrt(v / correction2) + eps
    return p - gradient_size * (g / spread) - moment_size * (m / spread), m, v


class NAdam(MultiTensorOptimizer):
    r"""Adam with Nesterov's momentum (Dozat, 2016, Incorporating Nesterov Momentum into Adam).

    With g the gradient plus `weight_decay` * p, t the step count from 1, m and v as in `Adam`,
    mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2) and M_t the product of mu_1 to mu_t:
    p = p - lr * ((1 - mu_t) / (1 - M_t) * g + mu_(t+1) / (1 - M_(t+1)) * m)
    / (sqrt(v / (1 - beta2^t)) + eps).

    Args:
        params: tensors or groups of them.
        lr: learning rate, a number or a one-element tensor.
        betas: (beta1, beta2), each in [0, 1).
        eps: added to the denominator.
        weight_decay: as above; with `decoupled_weight_decay` p is scaled by 1 - lr * weight_decay
            instead.
        momentum_decay: how slowly the momentum grows to beta1.
        maximize: go up the gradient instead of down.
        differentiable: let autograd run through the step.
        foreach, capturable: accepted for PyTorch's sake; every step is one fused kernel.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.NAdam([weight], lr=0.1)
    >>> (weight * 3).sum().backward(); optimizer.step(); weight.item() < 1
    True
    """

    _added_options = {
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
    }
    _counts = ("step", "mu_product")

    def __init__(
        self,
        params: Params,
        lr: Any = 2e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_option("momentum_decay value", momentum_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _init_state(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        state["step"] = make_step()
        state["mu_product"] = flambeau.ones((), dtype=flambeau.float32)
        for name in self._state_names(group):
            state[name] = flambeau.zeros_like(param).detach()

    def _group_keys(self, group: dict[str, Any], params: list, states: list[dict]) -> list:
        """The step count and the product of the momenta so far, which this advances."""
        keys = []
        for step, state in zip(self._keys(params, states), states, strict=True):
            state["mu_product"] *= _momentum(group, step)
            keys.append((step, state["mu_product"].item()))
        return keys

    def _rule(self, group: dict[str, Any], key: Any) -> Callable:
        return specialise(
            nadam_update,
            group["weight_decay"] != 0,
            group["decoupled_weight_decay"],
            group["maximize"],
        )

    def _scalars(self, group: dict[str, Any], key: Any) -> dict[str, Any]:
        (beta1, beta2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
        step, product = key
        now, following = _momentum(group, step), _momentum(group, step + 1)
        return {
            "gradient_size": lr * (1 - now) / (1 - product),
            "moment_size": lr * following / (1 - product * following),
            "shrink": 1 - lr * decay,
            "beta1_rest": 1 - beta1,
            "beta2": beta2,
            "beta2_rest": 1 - beta2,
            "eps": group["eps"],
            "weight_decay": decay,
            "correction2": 1 - beta2**step,
        }


def _momentum(group: dict[str, Any], step: float) -> Any:
    return group["betas"][0] * (1 - 0.5 * 0.96 ** (step * group["momentum_decay"]))
