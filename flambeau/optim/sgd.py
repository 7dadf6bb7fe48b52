"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau

from ._fused import specialise
from ._multi_tensor import MultiTensorOptimizer, check_implementation, check_lr, check_option
from .optimizer import Params

__all__ = ["SGD"]


def sgd_update(p, g, *, lr, weight_decay, decay: bool, maximize: bool):
    """p - lr * g."""
    g = -g if maximize else g
    g = g + weight_decay * p if decay else g
    return (p - lr * g,)


def sgd_momentum_update(
    p,
    g,
    buffer,
    *,
    lr,
    momentum,
    dampening,
    weight_decay,
    first: bool,
    nesterov: bool,
    decay: bool,
    maximize: bool,
):
    """buffer = momentum * buffer + (1 - dampening) * g; p - lr * (buffer or its lookahead)."""
    g = -g if maximize else g
    g = g + weight_decay * p if decay else g
    buffer = g if first else momentum * buffer + (1 - dampening) * g
    g = g + momentum * buffer if nesterov else buffer
    return p - lr * g, buffer


class SGD(MultiTensorOptimizer):
    r"""Stochastic gradient descent, with momentum (Sutskever et al., 2013) if asked for.

    With g the gradient plus `weight_decay` * p, and b the momentum buffer (g itself at the first
    step): b = momentum * b + (1 - dampening) * g, then p = p - lr * b; with `nesterov` p = p - lr *
    (g + momentum * b).

    Args:
        params: tensors or groups of them.
        lr: learning rate, a number or a one-element tensor.
        momentum, dampening, weight_decay, nesterov: as above.
        maximize: go up the gradient instead of down.
        differentiable: let autograd run through the step.
        foreach, fused: accepted for PyTorch's sake; every step is one fused kernel.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.SGD([weight], lr=0.5)
    >>> (weight * 3).sum().backward(); optimizer.step(); weight.tolist()
    [-0.5]
    """

    _added_options = {
        "nesterov": False,
        "maximize": False,
        "foreach": None,
        "differentiable": False,
        "fused": None,
    }

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: Any = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_option("momentum value", momentum)
        check_option("weight_decay value", weight_decay)
        check_implementation(fused, foreach, differentiable)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def _init_state(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        """Nothing: the buffer starts with the first gradient."""

    def _keys(self, params: list, states: list[dict[str, Any]]) -> list:
        """Whether this is the parameter's first step: its buffer is then only written."""
        keys = []
        for param, state in zip(params, states, strict=True):
            first = state.get("momentum_buffer") is None
            if first:
                state["momentum_buffer"] = flambeau.empty_like(param).detach()
            keys.append(first)
        return keys

    def _rule(self, group: dict[str, Any], key: Any) -> Callable:
        decay, maximize = bool(group["weight_decay"] != 0), group["maximize"]
        if group["momentum"] == 0:
            return specialise(sgd_update, decay, maximize)
        return specialise(sgd_momentum_update, key, group["nesterov"], decay, maximize)

    def _scalars(self, group: dict[str, Any], key: Any) -> dict[str, Any]:
        scalars = {"lr": group["lr"], "weight_decay": group["weight_decay"]}
        if group["momentum"] != 0:
            scalars["momentum"] = group["momentum"]
            scalars["dampening"] = group["dampening"]
        return scalars

    def _update_sparse(self, group: dict[str, Any], param: Any, grad: Any) -> None:
        """The step with a sparse gradient; the momentum buffer is sparse, too."""
        if group["fused"]:
            raise RuntimeError("`_fused_sgd` does not support sparse gradients")
        grad = -grad if group["maximize"] else grad
        if group["weight_decay"] != 0:
            grad = grad.add(param, alpha=group["weight_decay"])  # raises: the sum is not sparse
        if group["momentum"] != 0:
            grad = self._add_momentum(group, self.state[param], grad)
        param.add_(grad, alpha=-float(group["lr"]))

    def _add_momentum(self, group: dict[str, Any], state: dict[str, Any], grad: Any) -> Any:
        buffer = state.get("momentum_buffer")
        if buffer is None:
            buffer = state["momentum_buffer"] = grad.detach().clone()
        else:
            buffer.mul_(group["momentum"]).add_(grad, alpha=1 - group["dampening"])
            if buffer.is_sparse:  # else it would list the rows of every step that there has been
                state["momentum_buffer"] = buffer = buffer.coalesce()
        return grad.add(buffer, alpha=group["momentum"]) if group["nesterov"] else buffer
