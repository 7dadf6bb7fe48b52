"""Adam for gradients that touch few rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau

from ._fused import specialise, sqrt
from ._gradient import GradientOptimizer
from ._multi_tensor import check_betas
from ._rows import update_rows
from .optimizer import Params

__all__ = ["SparseAdam"]


def sparse_adam_update(p, g, m, v, *, size, beta1, beta2, eps, maximize: bool):
    """m and v are moved towards g and g^2; p - size * m / (sqrt(v) + eps)."""
    g = -g if maximize else g
    m = m + (1 - beta1) * (g - m)
    v = v + (1 - beta2) * (g * g - v)
    return p - size * (m / (sqrt(v) + eps)), m, v


class SparseAdam(GradientOptimizer):
    r"""Adam on the rows that a sparse gradient holds; the other rows and their moments stay.

    With t the step count from 1, for each row in the gradient g: m = beta1 * m + (1 - beta1) * g,
    v = beta2 * v + (1 - beta2) * g^2, p = p - lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m /
    (sqrt(v) + eps).

    Gradients must be sparse, as those of `Embedding(sparse=True)` are; a row that one holds several
    times counts once, with the sum.

    Args:
        params: dense real tensors or groups of them.
        lr: learning rate, a number or a one-element tensor.
        betas: (beta1, beta2), each in [0, 1).
        eps: added to the denominator.
        maximize: go up the gradient instead of down.

    >>> import flambeau as torch
    >>> table = torch.nn.Embedding.from_pretrained(torch.ones(3, 1), freeze=False, sparse=True)
    >>> optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.5)
    >>> table(torch.tensor([1])).sum().backward(); optimizer.step()
    >>> table.weight.data.round(decimals=3).tolist()
    [[1.0], [0.5], [1.0]]
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
        if not grad._values().numel():
            return
        (beta1, beta2), step = group["betas"], state["step"]
        scalars = {
            "size": float(group["lr"]) * (1 - beta2**step) ** 0.5 / (1 - beta1**step),
            "beta1": beta1,
            "beta2": beta2,
            "eps": group["eps"],
        }
        rule = specialise(sparse_adam_update, group.get("maximize", False))
        update_rows(rule, param, grad, [state["exp_avg"], state["exp_avg_sq"]], scalars)


def _refuse(groups: list[list], predicate: Callable[[Any], bool], reason: str) -> None:
    if any(predicate(param) for params in groups for param in params):
        raise ValueError(f"SparseAdam {reason}")
