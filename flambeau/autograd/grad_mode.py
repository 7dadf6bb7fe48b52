"""Whether operations are recorded: `no_grad`, `enable_grad`, `set_grad_enabled`, `inference_mode`.

Each is a context manager and a decorator of functions, generator functions and classes' methods.
The setting belongs to the thread.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from .. import core

__all__ = [
    "enable_grad",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_grad_enabled",
]

F = TypeVar("F", bound=Callable[..., Any])

is_grad_enabled = core.grad_enabled
is_inference_mode_enabled = core.inference_enabled


def _decorate(make_context: Callable[[], Any], function: F) -> F:
    """The function with its body run inside a fresh context at every call."""
    if inspect.isclass(function):
        raise TypeError(
            f"cannot decorate the class {function.__name__} with a gradient mode: decorate its "
            "methods"
        )
    if inspect.isgeneratorfunction(function):
        return _decorate_generator(make_context, function)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with make_context():
            return function(*args, **kwargs)

    return wrapped  # type: ignore[return-value]


def _decorate_generator(make_context: Callable[[], Any], function: F) -> F:
    """The generator function with the context active only while its own code runs."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        try:
            with make_context():
                item = next(generator)
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    with make_context():
                        generator.close()
                    raise
                except BaseException as error:
                    with make_context():
                        item = generator.throw(error)
                else:
                    with make_context():
                        item = generator.send(sent)
        except StopIteration as stop:
            return stop.value

    return wrapped  # type: ignore[return-value]


class no_grad(core.NoGradGuard):
    """Record nothing: results do not require gradients. A context manager and a decorator.

    >>> import flambeau as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    __slots__ = ()

    def __new__(cls, function: Callable | None = None) -> Any:
        # `@torch.no_grad` without parentheses is the decorator too
        return core.NoGradGuard.__new__(cls) if function is None else _decorate(cls, function)

    def __call__(self, function: F) -> F:
        """Decorate a function."""
        return _decorate(type(self), function)

    def clone(self) -> no_grad:
        """Another context of the same kind."""
        return type(self)()


class enable_grad(core.EnableGradGuard):
    """Record again inside `no_grad`. A context manager and a decorator.

    >>> import flambeau as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad(), torch.enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    __slots__ = ()

    def __new__(cls, function: Callable | None = None) -> Any:
        return core.EnableGradGuard.__new__(cls) if function is None else _decorate(cls, function)

    def __call__(self, function: F) -> F:
        """Decorate a function."""
        return _decorate(type(self), function)

    def clone(self) -> enable_grad:
        """Another context of the same kind."""
        return type(self)()


class set_grad_enabled:
    """Turn recording on or off: takes effect at once, and as a context manager until the block
    ends.

    >>> import flambeau as torch
    >>> with torch.set_grad_enabled(False):
    ...     torch.is_grad_enabled()
    False
    >>> torch.is_grad_enabled()
    True
    """

    __slots__ = ("mode", "prev")

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self.prev = core.set_grad_enabled(self.mode)

    def __call__(self, function: F) -> F:
        """Decorate a function; calling the constructor for that leaves the setting as it was."""
        core.set_grad_enabled(self.prev)
        mode = self.mode
        return _decorate(lambda: set_grad_enabled(mode), function)

    def __enter__(self) -> None:
        core.set_grad_enabled(self.mode)

    def __exit__(self, *exc: object) -> None:
        core.set_grad_enabled(self.prev)

    def clone(self) -> set_grad_enabled:
        """Another context of the same kind."""
        return type(self)(self.mode)

    def __repr__(self) -> str:
        return f"set_grad_enabled(mode={self.mode})"


class inference_mode(core.InferenceGuard):
    """`no_grad` whose results may never take part in recording, which spares their bookkeeping.

    Args:
        mode: False turns inference mode off inside the block.

    >>> import flambeau as torch
    >>> with torch.inference_mode():
    ...     y = torch.ones(2) * 2
    >>> y.is_inference()
    True
    """

    __slots__ = ()

    def __new__(cls, mode: bool | Callable = True) -> Any:
        if isinstance(mode, bool):
            return core.InferenceGuard.__new__(cls)
        return _decorate(cls, mode)

    def __call__(self, function: F) -> F:
        """Decorate a function."""
        kind, mode = type(self), self.mode
        return _decorate(lambda: kind(mode), function)

    def clone(self) -> inference_mode:
        """Another context of the same kind."""
        return type(self)(self.mode)
