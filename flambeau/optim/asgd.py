"""Averaged stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau

from ._fused import specialise
from ._multi_tensor import MultiTensorOptimizer, check_lr, check_option, make_step
from .optimizer import Params

__all__ = ["ASGD"]


def asgd_update(
    p,
    g,
    average,
    *,
    eta,
    shrink,
    mu,
    weight_decay,
    decay: bool,
    maximize: bool,
    averaging: bool,
):
    """p = shrink * p - eta * g; the average follows p, by mu of the way once averaging began."""
    g = -g if maximize else g
    g = g + weight_decay * p if decay else g
    p = p * shrink - eta * g
    return p, (average + mu * (p - average) if averaging else p)


class ASGD(MultiTensorOptimizer):
    r"""Averaged stochastic gradient descent (Polyak and Juditsky, 1992).

    With g the gradient plus `weight_decay` * p, t the step count from 1 and eta the rate, lr at
    first: p = (1 - lambd * eta) * p - eta * g, a = a + (p - a) / max(1, t - 1 - t0), then
    eta = lr / (1 + lambd * lr * t)^alpha. The average a is `state[p]["ax"]`.

    Args:
        params: tensors or groups of them.
        lr: first learning rate, a number or a one-element tensor.
        lambd, alpha, weight_decay: as above.
        t0: the step after which averaging begins.
        maximize: go up the gradient instead of down.
        differentiable: let autograd run through the step.
        foreach, capturable: accepted for PyTorch's sake; every step is one fused kernel.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.ASGD([weight], lr=0.5, lambd=0)
    >>> (weight * 3).sum().backward(); optimizer.step(); weight.tolist()
    [-0.5]
    """

    _added_options = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "capturable": False,
    }
    _counts = ("step", "eta", "mu")

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_option("weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("ax",)

    def _init_state(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        state["step"] = make_step()
        state["eta"] = flambeau.tensor(float(group["lr"]), dtype=flambeau.float32)
        state["mu"] = flambeau.ones((), dtype=flambeau.float32)
        state["ax"] = flambeau.zeros_like(param).detach()

    def _group_keys(self, group: dict[str, Any], params: list, states: list[dict]) -> list:
        """The rate and the averaging weight of this step; the state gets those of the next."""
        keys = []
        for step, state in zip(self._keys(params, states), states, strict=True):
            keys.append((state["eta"].item(), state["mu"].item()))
            lr, lambd = float(group["lr"]), group["lambd"]
            state["eta"].fill_(lr / (1 + lambd * lr * step) ** group["alpha"])
            state["mu"].fill_(1 / max(1, step - group["t0"]))
        return keys

    def _rule(self, group: dict[str, Any], key: Any) -> Callable:
        return specialise(asgd_update, group["weight_decay"] != 0, group["maximize"], key[1] != 1)

    def _scalars(self, group: dict[str, Any], key: Any) -> dict[str, Any]:
        eta, mu = key
        return {
            "eta": eta,
            "shrink": 1 - group["lambd"] * eta,
            "mu": mu,
            "weight_decay": group["weight_decay"],
        }
