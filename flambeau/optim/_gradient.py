"""The step of the optimisers that need gradients and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau

from .optimizer import Optimizer


class GradientOptimizer(Optimizer):
    """An optimiser whose step takes each group's parameters and their gradients.

    Subclasses define `_update`, for one parameter, or `_update_group`, for all of a group at once.
    """

    # Options that old checkpoints lack, and the state that they keep as numbers.
    _added_options: dict[str, Any] = {}
    _counts: tuple[str, ...] = ()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self._added_options.items():
                group.setdefault(name, value)
        for values in self.state.values():
            for name in self._counts:
                if name in values and not isinstance(values[name], flambeau.Tensor):
                    values[name] = flambeau.tensor(float(values[name]), dtype=flambeau.float32)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients; returns what `closure` returned, if given."""
        loss = None
        if closure is not None:
            with flambeau.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params, grads = [], []
            for param in group["params"]:
                grad = param.grad
                if grad is not None:
                    params.append(param)
                    grads.append(grad)
            if params:
                self._update_group(group, params, grads)
        return loss

    @flambeau.no_grad()
    def _update_group(self, group: dict[str, Any], params: list, grads: list) -> None:
        for param, grad in zip(params, grads, strict=True):
            self._update(group, param, grad)

    def _update(self, group: dict[str, Any], param: Any, grad: Any) -> None:
        """Update `param` and its state."""
        raise NotImplementedError
