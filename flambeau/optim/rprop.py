"""Resilient backpropagation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau

from ._fused import maximum, minimum, sign, specialise, where
from ._multi_tensor import MultiTensorOptimizer, check_lr, make_step
from .optimizer import Params

__all__ = ["Rprop"]


def rprop_update(p, g, previous, size, *, shrink, grow, smallest, largest, maximize: bool):
    """A step by `size` against the sign of g; where the sign has turned, only size shrinks."""
    g = -g if maximize else g
    agreement = sign(g * previous)
    factor = where(agreement > 0, grow, where(agreement < 0, shrink, agreement + 1))
    size = minimum(maximum(size * factor, smallest), largest)
    g = where(agreement < 0, 0.0, g)
    return p - sign(g) * size, g, size


class Rprop(MultiTensorOptimizer):
    r"""Resilient backpropagation (Riedmiller and Braun, 1993).

    Each element has a step size s of its own, lr at first. Where the gradient g has the sign it had
    before, s = min(s * etas[1], step_sizes[1]); where it has turned, s = max(s * etas[0],
    step_sizes[0]) and g counts as 0. Then p = p - sign(g) * s.

    Args:
        params: tensors or groups of them.
        lr: first step size, a number or a one-element tensor.
        etas: (shrinking factor below 1, growing factor above 1).
        step_sizes: the smallest and the largest step.
        maximize: go up the gradient instead of down.
        differentiable: let autograd run through the step.
        foreach, capturable: accepted for PyTorch's sake; every step is one fused kernel.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.Rprop([weight], lr=0.5)
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
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("prev", "step_size")

    def _init_state(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        lr = float(group["lr"])
        state["step"] = make_step()
        state["prev"] = flambeau.zeros_like(param).detach()
        start = complex(lr, lr) if param.is_complex() else lr  # each real part has a step
        state["step_size"] = flambeau.full_like(param, start).detach()

    def _keys(self, params: list, states: list[dict[str, Any]]) -> list:
        super()._keys(params, states)
        return [None] * len(states)  # the rule does not depend on the step count

    def _rule(self, group: dict[str, Any], key: Any) -> Callable:
        return specialise(rprop_update, group["maximize"])

    def _scalars(self, group: dict[str, Any], key: Any) -> dict[str, Any]:
        (shrink, grow), (smallest, largest) = group["etas"], group["step_sizes"]
        return {"shrink": shrink, "grow": grow, "smallest": smallest, "largest": largest}
