"""Limited-memory BFGS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau

from ._wolfe import search_strong_wolfe
from .optimizer import Optimizer, Params

__all__ = ["LBFGS"]

# A pair of changes with less curvature would spoil the estimate of the Hessian.
LEAST_CURVATURE = 1e-10


class LBFGS(Optimizer):
    r"""Limited-memory BFGS (Nocedal, 1980), after minFunc.

    Each iteration goes along d = -H g, H the inverse Hessian as the last `history_size` changes of
    parameters and gradient estimate it; as far as lr, or as the line search finds. A step has up to
    `max_iter` iterations, each calling the closure at least once.

    Args:
        params: tensors; one group only.
        lr: length of the step along d, a number or a one-element tensor.
        max_iter: iterations a step.
        max_eval: calls of the closure a step; None for max_iter * 5 / 4.
        tolerance_grad: stop where no element of the gradient is larger.
        tolerance_change: stop where neither parameters nor loss change more.
        history_size: pairs of changes kept; each takes twice the memory of the parameters.
        line_search_fn: None, or "strong_wolfe".

    >>> import flambeau as torch
    >>> x = torch.nn.Parameter(torch.tensor([-1.0, 2.0]))
    >>> optimizer = torch.optim.LBFGS([x], max_iter=50, line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
    ...     loss.backward()
    ...     return loss
    >>> _ = optimizer.step(closure)
    >>> [round(value, 3) for value in x.tolist()]
    [1.0, 1.0]
    """

    def __init__(
        self,
        params: Params,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if isinstance(lr, flambeau.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    @flambeau.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Run up to `max_iter` iterations.

        Args:
            closure: clears the gradients, computes the loss, calls backward and returns the loss.

        Returns:
            The loss before the step.
        """
        group = self.param_groups[0]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        objective = flambeau.enable_grad()(closure)
        first = objective()
        state["func_evals"] += 1
        loss, gradient = float(first), self._gather_gradient()
        if gradient.abs().max() <= group["tolerance_grad"]:
            return first
        evaluations = 1
        for iteration in range(1, group["max_iter"] + 1):
            before = loss
            direction, length = _advance(state, group, gradient)
            state["prev_flat_grad"], state["prev_loss"] = gradient.clone(), loss
            slope = gradient.dot(direction)
            state["d"], state["t"] = direction, length
            if slope > -group["tolerance_change"]:
                break
            last = iteration == group["max_iter"]
            loss, gradient, length, calls = self._move(
                objective, direction, length, (loss, gradient, slope), last
            )
            state["t"] = length
            state["func_evals"] += calls
            evaluations += calls
            if last or evaluations >= group["max_eval"]:
                break
            if _has_converged(group, gradient, direction * length, loss - before):
                break
        return first

    def _move(
        self,
        objective: Callable,
        direction: Any,
        length: Any,
        start: tuple[float, Any, Any],
        last: bool,
    ) -> tuple[float, Any, Any, int]:
        """Go along the direction; return loss, gradient, length, and the closure's calls."""
        search = self.param_groups[0]["line_search_fn"]
        if search is None:
            self._add(length, direction)
            if last:  # nobody looks at the loss any more
                return start[0], start[1], length, 0
            return float(objective()), self._gather_gradient(), length, 1
        if search != "strong_wolfe":
            raise RuntimeError("only 'strong_wolfe' is supported")
        origin = [p.clone(memory_format=flambeau.contiguous_format) for p in self._params]

        def evaluate(length: Any) -> tuple[float, Any]:
            self._add(length, direction)
            loss = float(objective())
            gradient = self._gather_gradient()
            for parameter, value in zip(self._params, origin, strict=True):
                parameter.copy_(value)
            return loss, gradient

        point, calls = search_strong_wolfe(evaluate, direction, length, *start)
        self._add(point.length, direction)
        return point.loss, point.gradient, point.length, calls

    def _gather_gradient(self) -> Any:
        """All gradients as one vector; complex ones as pairs of reals."""
        parts = []
        for parameter in self._params:
            grad = parameter.grad
            if grad is None:
                part = parameter.new_zeros(parameter.numel())
            else:
                part = (grad.to_dense() if grad.is_sparse else grad).reshape(-1)
            parts.append(flambeau.view_as_real(part).reshape(-1) if part.is_complex() else part)
        return flambeau.cat(parts, 0)

    def _add(self, length: Any, direction: Any) -> None:
        offset = 0
        for parameter in self._params:
            real = flambeau.view_as_real(parameter) if parameter.is_complex() else parameter
            part = direction[offset : offset + real.numel()].view_as(real)
            real.add_(part, alpha=float(length))
            offset += real.numel()


def _advance(state: dict[str, Any], group: dict[str, Any], gradient: Any) -> tuple[Any, Any]:
    """Learn from the last move; return the next direction and the length to try."""
    state["n_iter"] += 1
    lr = group["lr"]
    if state["n_iter"] == 1:
        state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
        return gradient.neg(), min(1.0, 1.0 / gradient.abs().sum()) * lr
    change = gradient - state["prev_flat_grad"]
    move = state["d"] * state["t"]
    curvature = change.dot(move)
    if curvature > LEAST_CURVATURE:
        for name, value in (("old_dirs", change), ("old_stps", move), ("ro", 1.0 / curvature)):
            if len(state[name]) == group["history_size"]:
                state[name].pop(0)
            state[name].append(value)
        state["H_diag"] = curvature / change.dot(change)
    return _apply_inverse_hessian(state, group["history_size"], gradient.neg()), lr


def _apply_inverse_hessian(state: dict[str, Any], size: int, q: Any) -> Any:
    """H q, by the two loops over the stored changes."""
    changes, moves, ro = state["old_dirs"], state["old_stps"], state["ro"]
    weights = state.setdefault("al", [None] * size)
    for i in range(len(changes) - 1, -1, -1):
        weights[i] = moves[i].dot(q) * ro[i]
        q.add_(changes[i], alpha=-weights[i].item())
    q = q * state["H_diag"]
    for i in range(len(changes)):
        q.add_(moves[i], alpha=(weights[i] - changes[i].dot(q) * ro[i]).item())
    return q


def _has_converged(group: dict[str, Any], gradient: Any, move: Any, gain: float) -> bool:
    return bool(
        gradient.abs().max() <= group["tolerance_grad"]
        or move.abs().max() <= group["tolerance_change"]
        or abs(gain) < group["tolerance_change"]
    )
