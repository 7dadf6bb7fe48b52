"""Tensors that a module owns: `Parameter` (trained) and `Buffer` (kept, not trained)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flambeau
from flambeau import Tensor
from flambeau._C import _disabled_torch_function_impl

__all__ = ["Buffer", "Parameter"]


class _ParameterMeta(type(Tensor)):  # type: ignore[misc]
    """Counts a tensor subclass that was wrapped by `Parameter` as a parameter."""

    def __instancecheck__(cls, instance: object) -> bool:
        if (
            cls is Parameter
            and isinstance(instance, Tensor)
            and getattr(instance, "_is_param", False)
        ):
            return True
        return super().__instancecheck__(instance)


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that a `Module` registers as trainable when it is assigned to an attribute.

    Args:
        data: the values; shared, not copied. An empty float32 tensor when left out.
        requires_grad: whether backward fills `.grad`; needs a floating or complex dtype.

    >>> import flambeau as torch
    >>> torch.nn.Parameter(torch.zeros(2))
    Parameter containing:
    tensor([0., 0.], requires_grad=True)
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = flambeau.empty(0)
        if type(data) is Tensor or type(data) is Parameter:
            parameter = Tensor.__new__(cls)
            parameter.data = data
            return parameter.requires_grad_(requires_grad)
        return _mark_subclass_as_parameter(data, requires_grad)  # type: ignore[return-value]

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]
        values = self.data.clone(memory_format=flambeau.preserve_format)
        copied = type(self)(values, self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __repr__(self) -> str:
        plain = self.detach().requires_grad_(self.requires_grad)  # prints as tensor(...)
        return f"Parameter containing:\n{plain!r}"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: Any) -> tuple:
        hooks: OrderedDict = (
            OrderedDict()
        )  # backward hooks do not travel; the slot is part of the format
        state = self.__dict__
        if not state:
            return _rebuild_parameter, (self.data, self.requires_grad, hooks)
        return _rebuild_parameter_with_state, (self.data, self.requires_grad, hooks, state)

    # Results of operations on parameters are plain tensors, not parameters.
    __torch_function__ = _disabled_torch_function_impl


def _mark_subclass_as_parameter(data: Tensor, requires_grad: bool) -> Tensor:
    """Turn a tensor of a user's subclass into a parameter without losing its class."""
    marked = data.detach().requires_grad_(requires_grad)
    if type(marked) is not type(data):
        raise RuntimeError(
            f"Parameter: detach() of {type(data).__name__} gave {type(marked).__name__}; "
            f"a subclass used as a parameter must return its own class from detach()"
        )
    marked._is_param = True
    return marked


def _rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: OrderedDict) -> Parameter:
    """Unpickle a parameter (the counterpart of `torch._utils._rebuild_parameter`)."""
    parameter = Parameter(data, requires_grad)
    parameter._backward_hooks = backward_hooks
    return parameter


def _rebuild_parameter_with_state(
    data: Tensor, requires_grad: bool, backward_hooks: OrderedDict, state: dict[str, Any]
) -> Parameter:
    """Unpickle a parameter that carries attributes of its own."""
    parameter = _rebuild_parameter(data, requires_grad, backward_hooks)
    parameter.__dict__.update(state)
    return parameter


class _BufferMeta(type(Tensor)):  # type: ignore[misc]
    """Makes `isinstance(tensor, Buffer)` true for tensors that `Buffer(...)` returned."""

    def __instancecheck__(cls, instance: object) -> bool:
        if (
            cls is Buffer
            and isinstance(instance, Tensor)
            and getattr(instance, "_is_buffer", False)
        ):
            return True
        return super().__instancecheck__(instance)


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that a `Module` registers as state that is kept but not trained.

    Args:
        data: the values; shared, not copied.
        persistent: whether `state_dict` includes it.

    >>> import flambeau as torch
    >>> class Counter(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.steps = torch.nn.Buffer(torch.zeros(1))
    >>> list(Counter().state_dict())
    ['steps']
    """

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Tensor:  # type: ignore[misc]
        if data is None:
            data = flambeau.empty(0)
        marked = data.detach().requires_grad_(data.requires_grad)
        marked.persistent = persistent
        marked._is_buffer = True
        return marked

    __torch_function__ = _disabled_torch_function_impl
