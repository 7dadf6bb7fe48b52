"""Muon."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flambeau

from ._gradient import GradientOptimizer
from .optimizer import Params

__all__ = ["Muon"]


class Muon(GradientOptimizer):
    r"""Momentum, orthogonalised by Newton and Schulz's iteration (Jordan et al., 2024,
    https://kellerjordan.github.io/posts/muon/).

    With g the gradient: b = momentum * b + (1 - momentum) * g; u = b, with `nesterov`
    (1 - momentum) * g + momentum * b; X = u / max(|u|, eps); `ns_steps` times
    X = a * X + (b * A + c * A^2) X with A = X X^T and (a, b, c) the `ns_coefficients`, in bfloat16;
    then p = p * (1 - lr * weight_decay) - r * lr * X.

    Args:
        params: matrices (2-d tensors) or groups of them.
        lr, weight_decay, momentum, nesterov, ns_coefficients, eps, ns_steps: as above.
        adjust_lr_fn: r for a matrix of (rows, columns): "original" (the default)
            sqrt(max(1, rows / columns)), "match_rms_adamw" 0.2 * sqrt(max(rows, columns)).

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.eye(2))
    >>> optimizer = torch.optim.Muon([weight], lr=0.5, weight_decay=0)
    >>> (weight.diagonal() * 3).sum().backward(); optimizer.step()
    >>> bool((weight.diagonal() < 1).all()), weight[0, 1].item()
    (True, 0.0)
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        if isinstance(lr, flambeau.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for name, value in (
            ("Learning rate", lr),
            ("momentum", momentum),
            ("weight decay", weight_decay),
        ):
            if not value >= 0.0:
                raise ValueError(f"{name} should be >= 0 but is: {value}")
        if adjust_lr_fn is not None and adjust_lr_fn not in _ADJUSTMENTS:
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for param in group["params"]:
                if param.dim() != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with size:"
                        f" {param.size()}"
                    )

    def _update(self, group: dict[str, Any], param: Any, grad: Any) -> None:
        if param.is_complex():
            raise RuntimeError("Muon does not support complex parameters")
        if grad.is_sparse:
            raise RuntimeError("Muon does not support sparse gradients")
        state, momentum, lr = self.state[param], group["momentum"], float(group["lr"])
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = flambeau.zeros_like(grad)
        buffer = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        update = grad.lerp(buffer, momentum) if group["nesterov"] else buffer
        update = orthogonalise(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        factor = _ADJUSTMENTS[group["adjust_lr_fn"] or "original"](*param.shape)
        param.mul_(1 - lr * group["weight_decay"])
        param.add_(update, alpha=-lr * factor)


def orthogonalise(
    matrix: Any, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Any:
    """U V^T of the singular value decomposition U S V^T, roughly: singular values near 1.

    Newton and Schulz's iteration in bfloat16, X = a X + (b A + c A^2) X with A = X X^T.
    """
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if matrix.dim() != 2:
        raise ValueError("Input tensor gradient must be a 2D matrix")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = (x / x.norm().clamp(min=eps)).float()
    for _ in range(steps):
        gram = _round(x @ x.T)
        change = _round(flambeau.addmm(gram, gram, gram, beta=b, alpha=c))
        x = _round(flambeau.addmm(x, change, x, beta=a))
    x = x.bfloat16()
    return x.T if tall else x


def _round(x: Any) -> Any:
    """To bfloat16's precision: each sum of products is rounded once, at its end."""
    return x.bfloat16().float()


_ADJUSTMENTS: dict[str, Callable[[int, int], float]] = {
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}
