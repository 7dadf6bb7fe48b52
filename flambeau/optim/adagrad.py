"""Adagrad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau

from ._fused import specialise, sqrt
from ._multi_tensor import (
    MultiTensorOptimizer,
    check_implementation,
    check_lr,
    check_option,
    make_step,
)
from ._rows import update_rows
from .optimizer import Params

__all__ = ["Adagrad"]


def adagrad_update(p, g, total, *, lr, eps, weight_decay, decay: bool, maximize: bool):
    """total = total + g^2; p - lr * g / (sqrt(total) + eps), lr decayed already."""
    g = -g if maximize else g
    g = g + weight_decay * p if decay else g
    total = total + g * g
    return p - lr * (g / (sqrt(total) + eps)), total


class Adagrad(MultiTensorOptimizer):
    r"""Adagrad (Duchi, Hazan and Singer, 2011, https://jmlr.org/papers/v12/duchi11a.html).

    With g the gradient plus `weight_decay` * p, and t the step count from 1:
    s = s + g^2, p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps).

    Args:
        params: tensors or groups of them.
        lr: learning rate, a number or a one-element tensor.
        lr_decay, weight_decay, eps: as above.
        initial_accumulator_value: s before the first step.
        maximize: go up the gradient instead of down.
        differentiable: let autograd run through the step.
        foreach, fused: accepted for PyTorch's sake; every step is one fused kernel.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.Adagrad([weight], lr=0.5)
    >>> (weight * 3).sum().backward(); optimizer.step(); weight.tolist()
    [0.5]
    """

    _added_options = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "fused": None,
    }

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_option("lr_decay value", lr_decay)
        check_option("weight_decay value", weight_decay)
        check_option("initial_accumulator_value value", initial_accumulator_value)
        check_option("epsilon value", eps)
        check_implementation(fused, foreach, differentiable)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for param in group["params"]:
                self._init_state(group, param, self.state[param])

    def share_memory(self) -> None:
        """Move the state into shared memory, for training by several processes."""
        for state in self.state.values():
            state["step"].share_memory_()
            state["sum"].share_memory_()

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def _init_state(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        start = group["initial_accumulator_value"]
        if param.is_complex():
            start = complex(start, start)  # each real part starts there
        state["step"] = make_step()
        state["sum"] = flambeau.full_like(param, start).detach()

    def _rule(self, group: dict[str, Any], key: Any) -> Callable:
        return specialise(adagrad_update, group["weight_decay"] != 0, group["maximize"])

    def _scalars(self, group: dict[str, Any], key: Any) -> dict[str, Any]:
        return {
            "lr": group["lr"] / (1 + (key - 1) * group["lr_decay"]),
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
        }

    def _update_sparse(self, group: dict[str, Any], param: Any, grad: Any) -> None:
        """The step for the rows of a sparse gradient; the other rows and their sums stay."""
        if group["fused"]:
            raise RuntimeError("`fused` does not support sparse grad or complex param")
        if group["weight_decay"] != 0:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        (state,) = self._find_states(group, [param])
        (count,) = self._keys([param], [state])
        grad = grad.coalesce()  # the update is not linear, so no row may come twice
        scalars = self._scalars(group, count)
        update_rows(self._rule(group, count), param, grad, [state["sum"]], scalars)
