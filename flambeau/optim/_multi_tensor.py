"""The part that optimisers with an elementwise update rule share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import flambeau

from ._fused import apply_rule, fused_update
from .optimizer import Optimizer

_dtype_of, _device_of = attrgetter("dtype"), attrgetter("device")


class MultiTensorOptimizer(Optimizer):
    """An optimiser given by one rule: each step is one kernel per group of alike parameters.

    Subclasses say which state the rule uses (`_state_names`), how it starts (`_init_state`), and
    the rule with its scalars, given the key that `_keys` returned for the parameters at hand.
    """

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Names of the state tensors: the rule's operands after (param, grad); it writes all."""
        raise NotImplementedError

    def _init_state(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        """Fill the empty `state` of `param`."""
        raise NotImplementedError

    def _rule(self, group: dict[str, Any], key: Any) -> Callable:
        """The update rule for this group's options."""
        raise NotImplementedError

    def _scalars(self, group: dict[str, Any], key: Any) -> dict[str, Any]:
        """The rule's keyword arguments."""
        raise NotImplementedError

    def _keys(self, params: list, states: list[dict[str, Any]]) -> list:
        """What parameters updated together must share: here the step count, which this advances."""
        steps = [state["step"] for state in states]
        for step in steps:
            step += 1
        return [step.item() for step in steps]

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

    def _update_group(self, group: dict[str, Any], params: list, grads: list) -> None:
        names = self._state_names(group)
        states = self._find_states(group, params, grads) if names else []
        keys = self._keys(params, states) if names else [None] * len(params)
        tensors = [params, grads, *([state[name] for state in states] for name in names)]
        for key, alike in _split(tensors, keys):
            self._apply(group, key, alike)

    def _find_states(self, group: dict[str, Any], params: list, grads: list) -> list[dict]:
        states = [self.state[param] for param in params]
        for param, grad, state in zip(params, grads, states, strict=True):
            if not state:
                self._check_gradient(grad)
                self._init_state(group, param, state)
        return states

    def _check_gradient(self, grad: Any) -> None:
        if grad.layout != flambeau.strided:
            raise RuntimeError(
                f"{type(self).__name__} does not support sparse gradients, please consider"
                " SparseAdam instead"
            )

    def _apply(self, group: dict[str, Any], key: Any, tensors: list[list]) -> None:
        written = (0, *range(2, len(tensors)))
        rule, scalars = self._rule(group, key), self._scalars(group, key)
        if tensors[0][0].is_complex():
            # The rules are elementwise on the two real parts, as PyTorch's are.
            tensors = [[flambeau.view_as_real(tensor) for tensor in row] for row in tensors]
        if group["differentiable"]:
            apply_rule(rule, tensors, scalars, written)
        else:
            fused_update(rule, tensors, _as_floats(scalars), written)


def _as_floats(scalars: dict[str, Any]) -> dict[str, float]:
    """The learning rate and its kin may be tensors; a kernel wants numbers."""
    return {name: float(value) for name, value in scalars.items()}


def _split(tensors: list[list], keys: list) -> Iterator[tuple[Any, list[list]]]:
    """Batches of parameters that share key, dtype and device: one batch, as a rule."""
    params = tensors[0]
    if (
        keys.count(keys[0]) == len(keys)
        and len(set(map(_dtype_of, params))) == 1
        and len(set(map(_device_of, params))) == 1
    ):
        yield keys[0], tensors
        return
    batches: dict[tuple, list[int]] = {}
    for i, (key, param) in enumerate(zip(keys, params, strict=True)):
        batches.setdefault((key, param.dtype, param.device), []).append(i)
    for (key, _, _), chosen in batches.items():
        yield key, [[row[i] for i in chosen] for row in tensors]


def check_option(name: str, value: Any) -> None:
    """ValueError unless `value` is at least 0 (NaN is not)."""
    if not value >= 0.0:
        raise ValueError(f"Invalid {name}: {value}")


def check_lr(lr: Any, foreach: bool | None = None, capturable: bool = False) -> None:
    """ValueError unless `lr` is a number of at least 0, or a tensor holding one."""
    if isinstance(lr, flambeau.Tensor):
        if foreach and not capturable:
            raise ValueError(
                "lr as a Tensor is not supported for capturable=False and foreach=True"
            )
        if lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
    check_option("learning rate", lr)


def check_implementation(fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
    """RuntimeError for PyTorch's choices of implementation that exclude one another.

    Every step is fused here, whatever is chosen; the options are kept for checkpoints.
    """
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def make_step() -> Any:
    """A step count of 0: a float32 tensor, as checkpoints have it."""
    return flambeau.zeros((), dtype=flambeau.float32)


def turn_steps_into_tensors(states: dict[Any, dict[str, Any]]) -> None:
    """Old checkpoints keep the step count as a number."""
    for state in states.values():
        if "step" in state and not isinstance(state["step"], flambeau.Tensor):
            state["step"] = flambeau.tensor(float(state["step"]), dtype=flambeau.float32)
