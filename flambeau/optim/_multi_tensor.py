"""The part that optimisers with an elementwise update rule share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau
from flambeau import core

from ._fused import apply_rule, fused_update
from ._gradient import GradientOptimizer


class MultiTensorOptimizer(GradientOptimizer):
    """An optimiser given by one rule: each step is one kernel per group of parameters.

    Subclasses say which state the rule uses (`_state_names`), how it starts unless as zeros
    (`_init_state`), and the rule with its scalars, given the key that `_keys` returned for the
    parameters at hand.
    """

    _counts: tuple[str, ...] = ("step",)
    _sparse_refusal = ""  # what to say of sparse gradients instead of the plain sentence

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Names of the state tensors: the rule's operands after (param, grad); it writes all."""
        raise NotImplementedError

    def _init_state(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        """Fill the empty `state` of `param`: a step count, and zeros for each state tensor."""
        state["step"] = make_step()
        for name in self._state_names(group):
            state[name] = flambeau.zeros_like(param).detach()

    def _rule(self, group: dict[str, Any], key: Any) -> Callable:
        """The update rule for this group's options."""
        raise NotImplementedError

    def _scalars(self, group: dict[str, Any], key: Any) -> dict[str, Any]:
        """The rule's keyword arguments."""
        raise NotImplementedError

    def _group_keys(self, group: dict[str, Any], params: list, states: list[dict]) -> list:
        """`_keys`, for rules whose keys depend on the group's options."""
        return self._keys(params, states)

    def _keys(self, params: list, states: list[dict[str, Any]]) -> list:
        """What parameters updated together must share: here the step count, which this advances."""
        steps = [state["step"] for state in states]
        for step in steps:
            step += 1
        return [step.item() for step in steps]

    def _update_group(self, group: dict[str, Any], params: list, grads: list) -> None:
        if core.any_sparse(grads):
            params, grads = self._update_sparse_ones(group, params, grads)
            if not params:
                return
        names = self._state_names(group)
        if not names:
            self._apply(group, None, [params, grads])
            return
        states = self._find_states(group, params)
        keys = self._group_keys(group, params, states)
        tensors = [params, grads, *([state[name] for state in states] for name in names)]
        if keys.count(keys[0]) == len(keys):
            self._apply(group, keys[0], tensors)
            return
        for key in dict.fromkeys(keys):
            chosen = [i for i, other in enumerate(keys) if other == key]
            self._apply(group, key, [[row[i] for i in chosen] for row in tensors])

    def _find_states(self, group: dict[str, Any], params: list) -> list[dict]:
        known = self.state
        states = [known[param] for param in params]
        if not all(states):
            for param, state in zip(params, states, strict=True):
                if not state:
                    self._init_state(group, param, state)
        return states

    def _update_sparse_ones(
        self, group: dict[str, Any], params: list, grads: list
    ) -> tuple[list, list]:
        """Update the parameters whose gradients are sparse; the others and their gradients."""
        dense: tuple[list, list] = ([], [])
        for param, grad in zip(params, grads, strict=True):
            if core.any_sparse([grad]):
                with flambeau.no_grad():
                    self._update_sparse(group, param, grad)
            else:
                dense[0].append(param)
                dense[1].append(grad)
        return dense

    def _update_sparse(self, group: dict[str, Any], param: Any, grad: Any) -> None:
        """Update a parameter from a sparse gradient: RuntimeError unless a subclass can."""
        plain = f"{type(self).__name__} does not support sparse gradients"
        raise RuntimeError(self._sparse_refusal or plain)

    def _apply(self, group: dict[str, Any], key: Any, tensors: list[list]) -> None:
        update = apply_rule if group["differentiable"] else fused_update
        written = _WRITTEN[len(tensors)]
        update(self._rule(group, key), tensors, self._scalars(group, key), written)


# By number of operands: all but the gradient, which is operand 1.
_WRITTEN = {count: (0, *range(2, count)) for count in range(2, 10)}


def check_option(name: str, value: Any) -> None:
    """ValueError unless `value` is at least 0 (NaN is not)."""
    if not value >= 0.0:
        raise ValueError(f"Invalid {name}: {value}")


def check_betas(betas: tuple[Any, Any]) -> None:
    """ValueError unless both are in [0, 1), and both numbers or both tensors."""
    if isinstance(betas[0], flambeau.Tensor) != isinstance(betas[1], flambeau.Tensor):
        raise ValueError("betas must be either both floats or both Tensors")
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


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
