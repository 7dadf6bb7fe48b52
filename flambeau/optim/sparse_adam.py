"""Adam for gradients that touch few rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau

from ._gradient import GradientOptimizer
from ._multi_tensor import check_betas
from .optimizer import Params

__all__ = ["SparseAdam"]


class SparseAdam(GradientOptimizer):
    r"""Adam on the rows that a sparse gradient holds; the other rows and their moments stay.

    With t the step count from 1, for each row in the gradient g: m = beta1 * m + (1 - beta1) * g,
    v = beta2 * v + (1 - beta2) * g^2, p = p - lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m /
    (sqrt(v) + eps).

    A gradient must have the sparse layout, with the methods `coalesce`, `_indices`, `_values` and
    `_nnz`. Flambeau makes no such tensors itself yet: `Embedding(sparse=True)` has dense gradients,
    which this refuses, as PyTorch does.

    Args:
        params: dense real tensors or groups of them.
        lr: learning rate, a number or a one-element tensor.
        betas: (beta1, beta2), each in [0, 1).
        eps: added to the denominator.
        maximize: go up the gradient instead of down.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.ones(3, 2))
    >>> torch.optim.SparseAdam([weight], lr=0.5).defaults["betas"]
    (0.9, 0.999)
    """

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, flambeau.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr > 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps > 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize}
        super().__init__(params, defaults)
        groups = [group["params"] for group in self.param_groups]
        _refuse(groups, lambda p: p.is_sparse, "requires dense parameter tensors")
        _refuse(groups, lambda p: p.is_complex(), "does not support complex parameters")

    def _update(self, group: dict[str, Any], param: Any, grad: Any) -> None:
        if not grad.is_sparse:
            raise RuntimeError(
                "SparseAdam does not support dense gradients, please consider Adam instead"
            )
        state = self.state[param]
        if not state:
            state["step"] = 0
            state["exp_avg"] = flambeau.zeros_like(param).detach()
            state["exp_avg_sq"] = flambeau.zeros_like(param).detach()
        state["step"] += 1
        grad = grad.coalesce()  # the update is not linear, so no row may come twice
        if grad._nnz():
            values = -grad._values() if group["maximize"] else grad._values()
            _update_rows(group, state, param, tuple(grad._indices()), values)


def _refuse(groups: list[list], predicate: Callable[[Any], bool], reason: str) -> None:
    if any(predicate(param) for params in groups for param in params):
        raise ValueError(f"SparseAdam {reason}")


def _update_rows(
    group: dict[str, Any], state: dict[str, Any], param: Any, rows: tuple[Any, ...], grad: Any
) -> None:
    """Adam on `param[rows]`."""
    (beta1, beta2), step = group["betas"], state["step"]
    m = state["exp_avg"][rows]
    m = m + (1 - beta1) * (grad - m)
    v = state["exp_avg_sq"][rows]
    v = v + (1 - beta2) * (grad * grad - v)
    state["exp_avg"][rows] = m
    state["exp_avg_sq"][rows] = v
    size = float(group["lr"]) * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
    param[rows] = param[rows] - size * (m / (v.sqrt() + group["eps"]))
