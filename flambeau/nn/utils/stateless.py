"""Calling a module with other parameters than its own."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from flambeau import Tensor

from ..modules.module import Module

__all__ = ["functional_call"]


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call `module` with other tensors in place of its parameters and buffers.

    Args:
        parameters_and_buffers: tensors by dotted name; what is not named stays.
        args: positional arguments, a tuple or the only one.
        kwargs: keyword arguments.
        tie_weights: a tensor given for one name stands for all names that share the original.
        strict: RuntimeError unless exactly all names are given.

    >>> import warnings
    >>> import flambeau as torch
    >>> layer, one = torch.nn.Linear(1, 1), torch.ones(1, 1)
    >>> with warnings.catch_warnings(action="ignore"):  # it is deprecated
    ...     call = torch.nn.utils.stateless.functional_call
    ...     call(layer, {"weight": one, "bias": one[0]}, one).item()
    2.0
    """
    warnings.warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be"
        " removed in a future version of PyTorch. Please use `torch.func.functional_call` instead"
        " which is a drop-in replacement.",
        FutureWarning,
        stacklevel=2,
    )
    return call_with(module, parameters_and_buffers, args, kwargs, tie_weights, strict)


def call_with(
    module: Module,
    tensors: dict[str, Tensor],
    args: Any,
    kwargs: dict[str, Any] | None,
    tie_weights: bool,
    strict: bool,
) -> Any:
    """`functional_call` without its warning."""
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    with replace_members(module, tensors, tie_weights, strict):
        return module(*args, **(kwargs or {}))


@contextlib.contextmanager
def replace_members(
    module: Module, tensors: dict[str, Tensor], tie_weights: bool = True, strict: bool = False
) -> Iterator[None]:
    """Within the context the module has other tensors; its own come back at the end."""
    members = _find_members(module)
    if strict:
        _check_names(module, set(members), set(tensors))
    if tie_weights:
        tensors = _spread_to_ties(members, tensors)
    kept: list[tuple[dict, str, Any]] = []
    try:
        for name, tensor in tensors.items():
            if name in members:
                holder, leaf, original = members[name]
                kept.append((holder, leaf, original))
                holder[leaf] = tensor
        yield
    finally:
        for holder, leaf, original in reversed(kept):
            holder[leaf] = original


def _find_members(module: Module) -> dict[str, tuple[dict, str, Any]]:
    """Where each parameter and buffer is: the dictionary, its key there, the tensor."""
    found: dict[str, tuple[dict, str, Any]] = {}
    for prefix, child in module.named_modules(remove_duplicate=False):
        for holder in (child._parameters, child._buffers):
            for leaf, tensor in holder.items():
                if tensor is not None:
                    found[f"{prefix}.{leaf}" if prefix else leaf] = (holder, leaf, tensor)
    return found


def _check_names(module: Module, known: set[str], given: set[str]) -> None:
    problems = [
        f"{title} key(s): {', '.join(map(repr, sorted(names)))}."
        for title, names in (("Unexpected", given - known), ("Missing", known - given))
        if names
    ]
    if problems:
        raise RuntimeError(
            f"Error(s) in reparametrizing for {module._get_name()}:\n\t" + "\n\t".join(problems)
        )


def _spread_to_ties(
    members: dict[str, tuple[dict, str, Any]], tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Give every name of a shared tensor the one replacement; ValueError if there are two."""
    chosen: dict[int, Tensor] = {}
    for name, tensor in tensors.items():
        if name not in members:
            continue
        original = id(members[name][2])
        if chosen.setdefault(original, tensor) is not tensor:
            raise ValueError(
                f"functional_call got multiple values for {name}, which shares its tensor with"
                " another name given. Consider using tie_weights=False"
            )
    ties = {
        name: chosen[id(original)]
        for name, (_, _, original) in members.items()
        if id(original) in chosen
    }
    return {**tensors, **ties}
