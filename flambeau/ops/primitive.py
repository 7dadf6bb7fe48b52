"""Primitives: Python functions with a derivative of their own, and what that derivative reads."""

from __future__ import annotations

from collections.abc import Callable

from .. import core


class Primitive:
    """The record of one primitive: forward, derivative, and which arguments that reads.

    The core keeps the history of its calls (core/primitive.pxi).
    """

    def __init__(self, name: str, forward: Callable) -> None:
        self.name = name
        self.forward = forward
        self.derivative: Callable | None = None
        code = forward.__code__
        count = code.co_argcount
        positional = code.co_varnames[:count]
        keyword = code.co_varnames[count : count + code.co_kwonlyargcount]
        given = forward.__defaults__ or ()
        defaults = dict(zip(positional[::-1], given[::-1], strict=False))
        self.history = core.History(
            name,
            "".join(p.capitalize() for p in name.split("_")) + "Backward0",
            forward,
            positional + keyword,
            count,
            defaults | (forward.__kwdefaults__ or {}),
        )

    def set_vjp(self, derivative: Callable) -> Callable:
        """Use `derivative(g, <saved by name>...)`."""
        code = derivative.__code__
        self.derivative = derivative
        self.history.set_derivative(derivative, code.co_varnames[1 : code.co_argcount])
        return derivative
