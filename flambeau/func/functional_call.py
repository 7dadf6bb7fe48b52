"""Calling a module with given parameters; the parameters of several modules as one set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flambeau
from flambeau import Tensor, nn
from flambeau.nn.utils.stateless import call_with


def functional_call(
    module: nn.Module,
    parameter_and_buffer_dicts: dict[str, Tensor] | Sequence[dict[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call `module` with other tensors in place of its parameters and buffers.

    Gradients reach the tensors that are given; the module's own come back afterwards.

    Args:
        parameter_and_buffer_dicts: tensors by dotted name, in one dictionary or several; what is
            not named stays.
        args: positional arguments, a tuple or the only one.
        kwargs: keyword arguments.
        tie_weights: a tensor given for one name stands for all names that share the original.
        strict: RuntimeError unless exactly all names are given.

    Errors:
        ValueError: a name is in two dictionaries, or it is neither a dictionary nor several.

    >>> import flambeau as torch
    >>> layer, w = torch.nn.Linear(2, 1, bias=False), torch.ones(1, 2, requires_grad=True)
    >>> torch.func.functional_call(layer, {"weight": w}, torch.tensor([3.0, 4.0])).backward()
    >>> w.grad
    tensor([[3., 4.]])
    """
    tensors = _merge(parameter_and_buffer_dicts)
    return call_with(module, tensors, args, kwargs, tie_weights, strict)


def _merge(given: Any) -> dict[str, Tensor]:
    if isinstance(given, dict):
        return given
    if not isinstance(given, Sequence) or not all(isinstance(part, dict) for part in given):
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got"
            f" {type(given)}"
        )
    names = [name for part in given for name in part]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(
            f"{twice} appeared in multiple dictionaries; behavior of functional call is ambiguous"
        )
    return {name: tensor for part in given for name, tensor in part.items()}


def stack_module_state(
    models: Sequence[nn.Module] | nn.ModuleList,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters of equal modules, and their buffers, stacked along a new first dimension.

    Errors:
        RuntimeError: no module, classes that differ, or modules of which some train.

    >>> import flambeau as torch
    >>> parameters, _ = torch.func.stack_module_state([torch.nn.Linear(2, 3) for _ in range(4)])
    >>> parameters["weight"].shape
    torch.Size([4, 3, 2])
    """
    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({model.training for model in models}) > 1:
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if len({type(model) for model in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = _stack([dict(model.named_parameters()) for model in models])
    return parameters, _stack([dict(model.named_buffers()) for model in models])


def _stack(parts: list[dict[str, Any]]) -> dict[str, Tensor]:
    return {name: _stack_one(name, [part[name] for part in parts]) for name in parts[0]}


def _stack_one(name: str, tensors: list[Tensor]) -> Tensor:
    kinds = {tensor.requires_grad for tensor in tensors}
    if len(kinds) > 1:
        raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
    return flambeau.stack([tensor.detach() for tensor in tensors]).requires_grad_(kinds.pop())
