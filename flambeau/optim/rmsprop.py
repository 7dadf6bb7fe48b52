"""RMSprop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._fused import specialise, sqrt
from ._multi_tensor import (
    MultiTensorOptimizer,
    check_lr,
    check_option,
)
from .optimizer import Params

__all__ = ["RMSprop"]


def rmsprop_update(
    p,
    g,
    square,
    *rest,
    lr,
    alpha,
    alpha_rest,
    eps,
    weight_decay,
    momentum,
    decay: bool,
    maximize: bool,
    centered: bool,
    has_momentum: bool,
):
    """One RMSprop step; `rest` holds the momentum buffer and the mean gradient, where used."""
    buffer: Any = rest[0] if has_momentum else None
    mean: Any = rest[-1] if centered else None
    g = -g if maximize else g
    g = g + weight_decay * p if decay else g
    square = alpha * square + alpha_rest * g * g
    if centered:
        mean = mean + alpha_rest * (g - mean)
    spread = sqrt(square - mean * mean) if centered else sqrt(square)
    change = g / (spread + eps)
    if has_momentum:
        change = buffer = momentum * buffer + change
    return p - lr * change, square, *(x for x in (buffer, mean) if x is not None)


class RMSprop(MultiTensorOptimizer):
    r"""RMSprop (Hinton, Neural Networks for Machine Learning, lecture 6; centered: Graves, 2013).

    With g the gradient plus `weight_decay` * p: s = alpha * s + (1 - alpha) * g^2,
    b = momentum * b + g / (sqrt(s) + eps), p = p - lr * b. `centered` subtracts the squared mean
    gradient from s.

    Args:
        params: tensors or groups of them.
        lr: learning rate, a number or a one-element tensor.
        alpha, eps, weight_decay, momentum, centered: as above.
        maximize: go up the gradient instead of down.
        differentiable: let autograd run through the step.
        foreach, capturable: accepted for PyTorch's sake; every step is one fused kernel.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.RMSprop([weight], lr=0.25, alpha=0.75)
    >>> (weight * 3).sum().backward(); optimizer.step(); weight.tolist()
    [0.5]
    """

    _added_options = {
        "momentum": 0,
        "centered": False,
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "capturable": False,
    }

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_option("epsilon value", eps)
        check_option("momentum value", momentum)
        check_option("weight_decay value", weight_decay)
        check_option("alpha value", alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        names = ["square_avg"]
        if group["momentum"] > 0:
            names.append("momentum_buffer")
        if group["centered"]:
            names.append("grad_avg")
        return tuple(names)

    def _rule(self, group: dict[str, Any], key: Any) -> Callable:
        return specialise(
            rmsprop_update,
            group["weight_decay"] != 0,
            group["maximize"],
            group["centered"],
            group["momentum"] > 0,
        )

    def _scalars(self, group: dict[str, Any], key: Any) -> dict[str, Any]:
        return {
            "lr": group["lr"],
            "alpha": group["alpha"],
            "alpha_rest": 1 - group["alpha"],
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
            "momentum": group["momentum"],
        }
