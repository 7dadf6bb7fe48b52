"""Overriding ops for types that act like tensors: the `__torch_function__` protocol's tools."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from . import _modes, core, ops
from ._modes import TorchFunctionMode
from .core import Tensor

__all__ = [
    "TorchFunctionMode",
    "get_default_nowrap_functions",
    "get_ignored_functions",
    "get_overridable_functions",
    "handle_torch_function",
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
    "is_tensor_like",
    "is_tensor_method_or_property",
    "resolve_name",
    "wrap_torch_function",
]


def is_tensor_like(inp: Any) -> bool:
    """Is this a tensor, or of a type that implements `__torch_function__`?

    >>> import flambeau as torch
    >>> torch.overrides.is_tensor_like([1.0]), torch.overrides.is_tensor_like(torch.ones(1))
    (False, True)
    """
    return type(inp) is Tensor or hasattr(inp, "__torch_function__")


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Must a function with these arguments go through `handle_torch_function`?"""
    return core.mode_depth() > 0 or bool(_modes.find_overloaded(tuple(relevant_args)))


def has_torch_function_unary(arg: Any) -> bool:
    """`has_torch_function` for a single argument."""
    return has_torch_function((arg,))


def has_torch_function_variadic(*args: Any) -> bool:
    """`has_torch_function` for the arguments given."""
    return has_torch_function(args)


def handle_torch_function(
    public_api: Callable, relevant_args: Iterable[Any], *args: Any, **kwargs: Any
) -> Any:
    """Answer a call of `public_api` from the innermost mode, or the arguments'
    `__torch_function__`.

    Args:
        public_api: the function as users call it.
        relevant_args: the arguments to look for overriding types in.
    """
    overloaded = _modes.find_overloaded(tuple(relevant_args))
    if core.mode_depth() == 0:
        return _modes.call_overrides(public_api, overloaded, args, kwargs)
    return _modes._dispatch_mode(public_api, args, kwargs)


def wrap_torch_function(dispatcher: Callable) -> Callable[[Callable], Callable]:
    """Let a function take part in the protocol; `dispatcher(*args)` gives what to look at."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return function(*args, **kwargs)

        return wrapped

    return decorate


def get_default_nowrap_functions() -> set[Callable]:
    """Functions whose results are never converted to a subclass; none here."""
    return set()


def get_ignored_functions() -> set[Callable]:
    """Public functions that do not take part in the protocol."""
    from .autograd import grad_mode

    return {grad_mode.is_grad_enabled, grad_mode.is_inference_mode_enabled, is_tensor_like}


def get_overridable_functions() -> dict[Any, list[Callable]]:
    """The functions that take part in the protocol, by the namespace they are in."""
    import importlib

    spaces: dict[Any, list[Callable]] = {}
    for name, table in ops.NAMESPACES.items():
        module = importlib.import_module(f"flambeau.{name}" if name else "flambeau")
        spaces[module] = list(dict.fromkeys(table.values()))
    spaces[Tensor] = list(dict.fromkeys(ops.METHODS.values()))
    return spaces


def is_tensor_method_or_property(func: Callable) -> bool:
    """Is it one of Tensor's methods?"""
    return any(func is method for method in ops.METHODS.values())


def resolve_name(f: Callable) -> str | None:
    """The public dotted name of a function or method, None if it is not known."""
    name = getattr(f, "__name__", None)
    if name is None:
        return None
    for space, table in ops.NAMESPACES.items():
        if table.get(name) is f:
            return f"torch.{space}.{name}" if space else f"torch.{name}"
    return f"torch.Tensor.{name}" if ops.METHODS.get(name) is f else None


def _get_current_function_mode() -> TorchFunctionMode | None:
    modes = _modes.active_modes()
    return modes[-1] if modes else None  # type: ignore[return-value]


def _get_current_function_mode_stack() -> list[Any]:
    return list(_modes.active_modes())
