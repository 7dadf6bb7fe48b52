"""What may intercept every op: the stack of modes, and the `__torch_function__` of tensor-like
types.

The core tests one thread-local counter per call; only when a mode is active or an argument's type
overrides ops does a call come here. `Mode` is what graph capture, batching, autocast and profiling
build on; `TorchFunctionMode` is the public form of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import core
from .core import Tensor
from .core._core import _disabled_torch_function_impl

__all__ = [
    "Mode",
    "TorchFunctionMode",
    "active_modes",
    "find_overloaded",
    "no_modes",
]


class _Stack(threading.local):
    """The active modes of a thread, innermost last."""

    def __init__(self) -> None:
        self.modes: list[Mode] = []


_stack = _Stack()


class Mode:
    """Sees every op called in its `with` block; subclasses define `intercept`.

    While `intercept` runs, this mode is off, so calling the op there runs it (or the next outer
    mode).
    """

    def intercept(self, op: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Answer the call `op(*args, **kwargs)`; NotImplemented lets it go on without this mode."""
        raise NotImplementedError(f"{type(self).__name__} must define intercept(op, args, kwargs)")

    def __enter__(self) -> Any:
        _stack.modes.append(self)
        core.set_depth(len(_stack.modes))
        return self

    def __exit__(self, *exc: object) -> None:
        left = _stack.modes.pop()
        core.set_depth(len(_stack.modes))
        if left is not self:
            raise RuntimeError(
                f"modes must be left in the reverse order of entering: left {type(self).__name__}, "
                f"but {type(left).__name__} was entered last"
            )


def active_modes() -> tuple[Mode, ...]:
    """The modes of this thread, outermost first."""
    return tuple(_stack.modes)


def insert_outermost(mode: Mode) -> None:
    """Make a mode active, around all others, until `remove_mode`."""
    _stack.modes.insert(0, mode)
    core.set_depth(len(_stack.modes))


def remove_mode(mode: Mode) -> None:
    """Undo `insert_outermost`."""
    _stack.modes.remove(mode)
    core.set_depth(len(_stack.modes))


@contextmanager
def no_modes() -> Iterator[None]:
    """Run a block without any mode."""
    held, _stack.modes = _stack.modes, []
    core.set_depth(0)
    try:
        yield
    finally:
        _stack.modes = held
        core.set_depth(len(held))


def _dispatch_mode(op: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Give a call to the innermost mode, which is off meanwhile."""
    stack = _stack.modes
    mode = stack.pop()
    core.set_depth(len(stack))
    try:
        result = mode.intercept(op, args, kwargs)
        return op(*args, **kwargs) if result is NotImplemented else result
    finally:
        stack.append(mode)
        core.set_depth(len(stack))


# ---- __torch_function__
# ------------------------------------------------------------------------------


def _overrides(value: Any) -> bool:
    handler = getattr(type(value), "__torch_function__", None)
    return (
        handler is not None
        and type(value) is not Tensor
        and handler is not _disabled_torch_function_impl
        and not isinstance(value, type)
    )


def find_overloaded(args: Any, kwargs: dict[str, Any] | None = None) -> list[Any]:
    """One argument per overriding type: from left to right, subclasses before their bases.

    Looks into lists and tuples one level deep.
    """
    found: list[Any] = []
    if core.overrides_disabled():
        return found
    for value in (*args, *(kwargs or {}).values()):
        for item in value if isinstance(value, list | tuple) else (value,):
            if _overrides(item) and all(type(item) is not type(other) for other in found):
                _insert(found, item)
    return found


def _insert(found: list[Any], item: Any) -> None:
    for i, other in enumerate(found):
        if issubclass(type(item), type(other)):
            found.insert(i, item)
            return
    found.append(item)


def _dispatch_override(op: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    found = find_overloaded(args, kwargs)
    if not found:  # the core sends calls on sparse tensors the same way
        from .ops.sparse import dispatch

        return dispatch(op, args, kwargs)
    return call_overrides(op, found, args, kwargs)


def call_overrides(op: Callable, overloaded: list[Any], args: tuple, kwargs: dict[str, Any]) -> Any:
    """Ask each overriding argument in turn; the first answer other than NotImplemented counts."""
    types = tuple([type(x) for x in overloaded])
    for x in overloaded:
        result = x.__torch_function__(op, types, args, kwargs)
        if result is not NotImplemented:
            return result
    name = getattr(op, "__name__", repr(op))
    raise TypeError(
        f"no implementation found for '{name}' on types that implement __torch_function__: "
        f"{[f'{t.__module__}.{t.__qualname__}' for t in types]}"
    )


def _tensor_torch_function(
    cls: type, func: Callable, types: tuple, args: tuple = (), kwargs: dict[str, Any] | None = None
) -> Any:
    """Run the op as usual; results become instances of the subclass it was called on.

    A subclass may override it (and call `super().__torch_function__`), or set it to
    `torch._C._disabled_torch_function_impl` to get plain tensors.
    """
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    before = core.disable_overrides(True)
    try:
        result = func(*args, **(kwargs or {}))
    finally:
        core.disable_overrides(before)
    return _convert(result, cls)


def _convert(result: Any, cls: type) -> Any:
    """Tensors in a result as instances of cls."""
    if cls is Tensor:
        return result
    if isinstance(result, Tensor):
        keep = isinstance(result, cls) or core.any_sparse([result])
        return result if keep else core.as_subclass(result, cls)
    if isinstance(result, tuple | list):
        parts = [_convert(r, cls) for r in result]
        make = getattr(type(result), "_make", type(result))
        return make(parts)
    return result


class TorchFunctionMode(Mode):
    """Sees every op called in its `with` block through `__torch_function__(func, types, args,
    kwargs)`.

    >>> import flambeau as torch
    >>> from flambeau.overrides import TorchFunctionMode
    >>> class Log(TorchFunctionMode):
    ...     def __torch_function__(self, func, types, args=(), kwargs=None):
    ...         print(func.__name__)
    ...         return func(*args, **(kwargs or {}))
    >>> with Log():
    ...     _ = torch.ones(2).exp()
    ones
    exp
    """

    inner: TorchFunctionMode

    def __init__(self) -> None:
        pass

    def __torch_function__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __torch_function__")

    def intercept(self, op: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Hand the call on as PyTorch's protocol spells it."""
        types = tuple([type(x) for x in find_overloaded(args, kwargs)])
        return self.__torch_function__(op, types, args, kwargs)

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> TorchFunctionMode:
        """An instance (older spelling)."""
        return cls(*args, **kwargs)


def _make_subclass(cls: type, data: Tensor, require_grad: bool = False) -> Tensor:
    """An instance of a tensor subclass over data's memory, without its history."""
    return core.make_subclass(cls, data, require_grad)


def _as_subclass(self: Tensor, cls: type) -> Tensor:
    """The same tensor, with its history, as an instance of the subclass cls."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"as_subclass: cls must be a subclass of Tensor, got {cls!r}")
    return core.as_subclass(self, cls)


def _make_without_data(op: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    from . import _meta

    return _meta.answer(op, args, kwargs)


def _enter_device(device: Any, entering: bool) -> None:
    from . import _meta

    _meta.enter_device(device, entering)


def _backward(*args: Any) -> None:
    from .autograd import backward_from

    backward_from(*args)


def connect() -> None:
    """Wire the core's interception to this module, and give Tensor the protocol's methods."""
    core.set_dispatch_hooks(_disabled_torch_function_impl, _dispatch_override, _dispatch_mode)
    core.set_backward_hook(_backward)
    core.set_meta_hooks(_make_without_data, _enter_device)
    core.install("__torch_function__", classmethod(_tensor_torch_function))
    core.install("_make_subclass", staticmethod(_make_subclass))
    core.install("as_subclass", _as_subclass)


connect()
