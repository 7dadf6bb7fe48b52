"""Adafactor."""

from __future__ import annotations

from typing import Any

import flambeau

from ._gradient import GradientOptimizer
from ._multi_tensor import make_step
from .optimizer import Params

__all__ = ["Adafactor"]


class Adafactor(GradientOptimizer):
    r"""Adafactor (Shazeer and Stern, 2018, https://arxiv.org/abs/1804.04235).

    The running mean of squares of a matrix is kept as one vector a row and one a column, of
    everything else as a whole. With t the step count from 1, b = t^beta2_decay and g the gradient:
    v = (1 - b) * v + b * g^2, factored as outer(row, column) / mean(row); u = g / sqrt(v);
    a = min(lr, 1 / sqrt(t)) * max(eps[1], rms(p)); p = p * (1 - lr * weight_decay) - a * u /
    max(1, rms(u) / d).

    Args:
        params: real tensors or groups of them.
        lr: largest relative rate, a number or a one-element tensor.
        beta2_decay: exponent of the forgetting, at most 0.
        eps: (smallest root of v, None for the dtype's epsilon; smallest size of a parameter).
        d: the root mean square that clips the update, at least 1.
        weight_decay: as above.
        foreach: accepted for PyTorch's sake.
        maximize: go up the gradient instead of down.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.ones(2, 3))
    >>> optimizer = torch.optim.Adafactor([weight], lr=0.25)
    >>> (weight * 3).sum().backward(); optimizer.step(); weight[0].tolist()
    [0.75, 0.75, 0.75]
    >>> optimizer.state[weight]["row_var"].shape, optimizer.state[weight]["col_var"].shape
    (torch.Size([2, 1]), torch.Size([1, 3]))
    """

    _added_options = {"foreach": None}
    _counts = ("step",)

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, flambeau.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        _check(lr >= 0, "Learning rate should be >= 0", lr)
        _check(beta2_decay <= 0, "beta2_decay should be <= 0", beta2_decay)
        _check(eps[0] is None or eps[0] >= 0, "epsilon1 should be >= 0", eps[0])
        _check(eps[1] >= 0, "epsilon2 should be >= 0", eps[1])
        _check(d >= 1, "Clipping threshold d should be >= 1", d)
        _check(weight_decay >= 0, "weight_decay should be >= 0", weight_decay)
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], param: Any, grad: Any) -> None:
        if param.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        grad = -grad if group["maximize"] else grad
        state = self.state[param]
        if not state:
            _init_state(state, grad)
        state["step"] += 1
        step = state["step"].item()
        weight = step ** group["beta2_decay"]
        floor, smallest = group["eps"]
        floor = flambeau.finfo(param.dtype).eps if floor is None else floor
        lr = float(group["lr"])
        rate = max(smallest, _rms(param)) * min(lr, 1 / step**0.5)
        if group["weight_decay"] != 0:
            param.mul_(1 - lr * group["weight_decay"])
        squares = _estimate_squares(state, grad, weight, floor)
        update = squares.clamp_(min=floor * floor).rsqrt_().mul_(grad)
        param.add_(update, alpha=-rate / max(1.0, _rms(update) / group["d"]))


def _check(holds: Any, rule: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"{rule} but is: {value}")


def _init_state(state: dict[str, Any], grad: Any) -> None:
    if grad.is_sparse:
        raise RuntimeError("Adafactor does not support sparse gradients")
    state["step"] = make_step()
    if grad.dim() > 1:
        state["row_var"] = grad.new_zeros((*grad.shape[:-1], 1))
        state["col_var"] = grad.new_zeros((*grad.shape[:-2], 1, grad.shape[-1]))
    else:
        state["variance"] = flambeau.zeros_like(grad)


def _estimate_squares(state: dict[str, Any], grad: Any, weight: float, floor: float) -> Any:
    """Advance the running means of squares; return the squares they stand for."""
    squares = grad * grad
    if grad.dim() < 2:
        return state["variance"].lerp_(squares, weight).clone()
    rows = state["row_var"].lerp_(squares.mean(-1, keepdim=True), weight)
    columns = state["col_var"].lerp_(squares.mean(-2, keepdim=True), weight)
    return (rows @ columns).div_(rows.mean(-2, keepdim=True).clamp_(min=floor))


def _rms(x: Any) -> float:
    """The root mean square."""
    return x.norm(2).item() / x.numel() ** 0.5
