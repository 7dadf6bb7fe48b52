"""Tensors that a module owns: `Parameter` (trained) and `Buffer` (kept, not trained)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flambeau
from flambeau import Tensor
from flambeau._C import _disabled_torch_function_impl

__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "UninitializedTensorMixin",
    "is_lazy",
]


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


# What a tensor without a shape can do: say what it is, change its type, be written over.
_CONVERSIONS = ("half", "float", "double", "bfloat16", "char", "short", "int", "long", "type")
_MOVES = ("cuda", "cpu", "to", "get_device", "copy_", "requires_grad_")
_QUERIES = ("__hash__", "__get__", "size", "is_complex", "is_floating_point")
_ALLOWED = frozenset((*_CONVERSIONS, *_MOVES, *_QUERIES))


class UninitializedTensorMixin:
    """A parameter or buffer whose shape is not known yet; `materialize` gives it one."""

    cls_to_become: type
    device: Any
    dtype: Any
    data: Any
    requires_grad: bool

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become an ordinary parameter or buffer of a shape, with uninitialised values.

        Args:
            shape: sizes.
            device, dtype: of the values; those it has by default.
        """
        device = self.device if device is None else device
        dtype = self.dtype if dtype is None else dtype
        self.data = flambeau.empty(shape, device=device, dtype=dtype)
        self.__class__ = self.cls_to_become

    @property
    def shape(self) -> Any:
        """Raises RuntimeError: there is none yet."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually"
            " happens in `load_state_dict` when trying to load an uninitialized parameter into an"
            " initialized one. Call `forward` to initialize the parameters before accessing their"
            " attributes."
        )

    def share_memory_(self) -> Any:
        """Raises RuntimeError: there is no memory yet."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to"
            " initialize the parameters before calling `module.share_memory()`."
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = self._make_another()
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return type(self), (self.requires_grad,)

    def _make_another(self) -> Any:
        return type(self)(self.requires_grad, self.device, self.dtype)  # type: ignore[call-arg]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    __str__ = __repr__

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Refuse ops: ValueError for all but conversions."""
        if func.__name__ not in _ALLOWED:
            raise ValueError(
                f"Attempted to use an uninitialized parameter in {func}. This error happens when"
                " you are using a `LazyModule` or explicitly manipulating"
                f" `torch.nn.parameter.{cls.__name__}` objects. When using LazyModules Call"
                " `forward` with a dummy batch to initialize the parameters before calling torch"
                " functions"
            )
        if func.__name__ in _CONVERSIONS or func.__name__ in _MOVES[:3]:
            # Ops ask for the shape, which the values have.
            args = tuple(x.data if is_lazy(x) else x for x in args)
        return _disabled_torch_function_impl(func, types, args, kwargs or {})


def is_lazy(param: Any) -> bool:
    """Whether a parameter or buffer has no shape yet."""
    return isinstance(param, UninitializedTensorMixin)


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter that gets its shape from the first input of a lazy module.

    Args:
        requires_grad: whether backward will fill `.grad`.
        device, dtype: of the values to come.

    >>> import flambeau as torch
    >>> weight = torch.nn.UninitializedParameter()
    >>> weight
    <UninitializedParameter>
    >>> weight.materialize((2, 3)); weight.shape
    torch.Size([2, 3])
    """

    cls_to_become = Parameter

    def __new__(
        cls, requires_grad: bool = True, device: Any = None, dtype: Any = None
    ) -> UninitializedParameter:
        parameter = Tensor.__new__(cls)
        parameter.data = flambeau.empty(0, device=device, dtype=dtype)
        return parameter.requires_grad_(requires_grad)


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer that gets its shape from the first input of a lazy module.

    Args:
        requires_grad: whether it requires gradients.
        device, dtype: of the values to come.
        persistent: whether `state_dict` includes it.

    >>> import flambeau as torch
    >>> torch.nn.UninitializedBuffer()
    <UninitializedBuffer>
    """

    cls_to_become = Buffer

    def __new__(
        cls,
        requires_grad: bool = False,
        device: Any = None,
        dtype: Any = None,
        persistent: bool = True,
    ) -> UninitializedBuffer:
        buffer = Tensor.__new__(cls)
        buffer.data = flambeau.empty(0, device=device, dtype=dtype)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer.requires_grad_(requires_grad)
