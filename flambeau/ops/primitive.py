"""Primitives: Python functions with a derivative of their own, and the saving their derivative
asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import core
from ..core import Tensor


class Like(NamedTuple):
    """What is left of a tensor whose data the derivative does not need."""

    shape: tuple[int, ...]
    dtype: core.dtype
    strides: tuple[int, ...]


class Primitive:
    """The record of one primitive: forward, derivative, and which arguments that reads."""

    def __init__(self, name: str, forward: Callable) -> None:
        self.name = name
        self.forward = forward
        self.derivative: Callable | None = None
        self.node_name = "".join(p.capitalize() for p in name.split("_")) + "Backward0"
        code = forward.__code__
        self.positional = code.co_varnames[: code.co_argcount]
        self.keyword = code.co_varnames[
            code.co_argcount : code.co_argcount + code.co_kwonlyargcount
        ]
        self.defaults = dict(
            zip(self.positional[::-1], (forward.__defaults__ or ())[::-1], strict=False)
        ) | (forward.__kwdefaults__ or {})

    def set_vjp(self, derivative: Callable) -> Callable:
        """Use `derivative(g, <saved by name>...)`."""
        code = derivative.__code__
        self.derivative = derivative
        self.reads = code.co_varnames[1 : code.co_argcount]
        return derivative

    def bind(self, args: tuple, kwargs: dict) -> dict[str, Any]:
        """Arguments by parameter name, defaults included."""
        bound = dict(self.defaults)
        bound.update(zip(self.positional, args, strict=False))
        bound.update(kwargs)
        return bound

    def call_with_history(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """The forward call, recorded."""
        if out is not None:
            raise RuntimeError(
                f"{self.name}(): functions with out=... arguments don't support automatic "
                f"differentiation, "
                "but one of the arguments requires grad."
            )
        before = core.set_grad_enabled(False)
        try:
            result = self.forward(*args, **kwargs)
        finally:
            core.set_grad_enabled(before)
        if self.derivative is None:
            return result
        bound = self.bind(args, kwargs)
        inputs = [t for name in self._order(bound) for t in _tensors(bound[name])]
        if not core.needs_history(*inputs):
            return result
        return self._record(result, bound, inputs)

    def _order(self, bound: dict[str, Any]) -> list[str]:
        return [n for n in (*self.positional, *self.keyword) if n in bound]

    def _record(self, result: Any, bound: dict[str, Any], inputs: list[Tensor]) -> Any:
        outputs = result if isinstance(result, tuple | list) else (result,)
        node = core.new_node(self.node_name, self._backward, inputs)
        differentiable = [
            o if isinstance(o, Tensor) and (o.is_floating_point() or o.is_complex()) else None
            for o in outputs
        ]
        core.attach(node, differentiable)
        saved: list[Tensor | None] = []
        context: list[tuple] = []
        for name in self.reads:
            if name == "needs":
                context.append((name, tuple(t.requires_grad for t in inputs)))
            elif name == "out":
                context.append(
                    (name, len(saved), len(outputs) if isinstance(result, tuple | list) else -1)
                )
                saved.extend(o if isinstance(o, Tensor) else None for o in outputs)
            elif name.endswith("_like") and name not in bound:
                context.append((name, _like(bound[name[:-5]])))
            else:
                _keep(name, bound[name], saved, context)
        node.save(saved, [o for o in outputs if isinstance(o, Tensor)])
        groups = [
            len(bound[n]) if isinstance(bound[n], tuple | list) else -1
            for n in self._order(bound)
            if _tensors(bound[n])
        ]
        node.context = (context, groups)
        node.output_metas = [
            None if o is None else (tuple(o.shape), o.dtype) for o in differentiable
        ]
        return result

    def _backward(self, node: Any, *grads: Tensor | None) -> tuple:
        context, groups = node.context
        saved = node.saved_tensors
        values = {}
        for entry in context:
            if len(entry) == 2:
                values[entry[0]] = entry[1]
            else:
                name, start, count = entry
                values[name] = saved[start] if count < 0 else tuple(saved[start : start + count])
        g = grads[0] if len(grads) == 1 else grads
        result = self.derivative(g, **values)  # type: ignore[misc]
        if len(groups) == 1 and groups[0] < 0:
            return (result if not isinstance(result, tuple) else result[0],)
        if not isinstance(result, tuple):
            result = (result,)
        flat: list[Tensor | None] = []
        for size, part in zip(groups, result, strict=False):
            if size < 0:
                flat.append(part)
            else:
                flat.extend(part if part is not None else [None] * size)
        return tuple(flat)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple | list) and value and isinstance(value[0], Tensor):
        return list(value)
    return []


def _like(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Like(tuple(value.shape), value.dtype, value.stride())
    if isinstance(value, tuple | list):
        return [_like(v) for v in value]
    return value


def _keep(name: str, value: Any, saved: list, context: list) -> None:
    tensors = _tensors(value)
    if not tensors:
        context.append((name, value))
    elif isinstance(value, Tensor):
        context.append((name, len(saved), -1))
        saved.append(value)
    else:
        context.append((name, len(saved), len(tensors)))
        saved.extend(tensors)
