"""Steps on other tensors than the optimiser's own."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from .optimizer import Optimizer

__all__ = ["swap_in_optimizer_params_and_state"]


@contextlib.contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer,
    swapin_parameters: dict[str, Any],
    swapin_optim_state: dict[str, Any],
) -> Iterator[None]:
    """Within the context the optimiser works on other parameters with a state of their own.

    Args:
        optimizer: the optimiser; its own parameters, options and state come back at the end.
        swapin_parameters: tensors by name, in the order of the optimiser's parameters.
        swapin_optim_state: what `state_dict` returned; its tensors are changed in place.

    Raises ValueError when numbers of parameters or groups differ.

    >>> import flambeau as torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.Adam([weight], lr=0.5)
    >>> weight.grad = torch.ones(1); optimizer.step()
    >>> other = torch.tensor([5.0], requires_grad=True); other.grad = torch.ones(1)
    >>> from flambeau.optim import swap_in_optimizer_params_and_state as swap
    >>> with swap(optimizer, {"weight": other}, optimizer.state_dict()):
    ...     optimizer.step()
    >>> round(other.item(), 4), round(weight.item(), 4)
    (4.5, 0.5)
    """
    groups = swapin_optim_state["param_groups"]
    tensors = _assign_numbers(optimizer, list(swapin_parameters.values()), groups)
    state: defaultdict[Any, Any] = defaultdict(dict)
    for number, values in swapin_optim_state["state"].items():
        state[tensors.get(number, number)] = dict(values)
    kept_state, kept_groups = optimizer.state, [dict(group) for group in optimizer.param_groups]
    try:
        optimizer.state = state
        for group, given in zip(optimizer.param_groups, groups, strict=True):
            group.update(given)
            group["params"] = [tensors[number] for number in given["params"]]
        yield
    finally:
        optimizer.state = kept_state
        for group, kept in zip(optimizer.param_groups, kept_groups, strict=True):
            group.clear()
            group.update(kept)


def _assign_numbers(optimizer: Optimizer, tensors: list[Any], groups: list[dict]) -> dict[int, Any]:
    """The tensor for each number of the state."""
    numbers = [number for group in groups for number in group["params"]]
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if len(tensors) != len(numbers) or [len(group["params"]) for group in groups] != sizes:
        raise ValueError(
            f"swap_in_optimizer_params_and_state: the optimizer has groups of {sizes} parameters,"
            f" got {len(tensors)} tensors and a state with groups of"
            f" {[len(group['params']) for group in groups]}"
        )
    return dict(zip(numbers, tensors, strict=True))
