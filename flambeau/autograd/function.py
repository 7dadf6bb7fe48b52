"""Operations with a derivative of their own: `Function`, its context, and `once_differentiable`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from .. import core
from ..core import Tensor

_STRIDED = core._core._LAYOUTS["strided"]

__all__ = [
    "BackwardCFunction",
    "Function",
    "FunctionCtx",
    "FunctionMeta",
    "InplaceFunction",
    "once_differentiable",
]


class FunctionCtx:
    """What `forward` leaves for `backward`: tensors, flags, and any attributes."""

    # Class-level defaults keep the common case free of per-call work.
    to_save: tuple = ()
    non_differentiable: tuple = ()
    dirty_tensors: tuple = ()
    materialize_grads: bool = True
    needs_input_grad: tuple = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs or outputs for `backward`, which finds them in `saved_tensors`.

        Call it at most once, from `forward` or `setup_context`. None entries stay None.
        """
        for i, t in enumerate(tensors):
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {i} is of type "
                    f"{type(t).__name__}: keep it as an attribute of ctx"
                )
        self.to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for `jvp`; forward mode is not used, so nothing is kept."""

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say which inputs `forward` wrote in place; they must be among its outputs."""
        self.dirty_tensors = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say which outputs have no gradient."""
        self.non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether missing output gradients reach `backward` as zeros (the default) or as None."""
        self.materialize_grads = value


class BackwardCFunction(core.PythonNode, FunctionCtx):
    """The node a `Function` leaves in the graph; it is also the `ctx` of its calls."""

    _forward_cls: type[Function]
    input_metas: list[tuple | None]  # (shape, dtype) of the arguments that need a gradient


class FunctionMeta(type):
    """Gives every `Function` its node class, `<name>Backward`."""

    def __init__(cls, name: str, bases: tuple, namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        cls._node_name = name + "Backward"
        cls._backward_cls = type(cls._node_name, (BackwardCFunction,), {"_forward_cls": cls})
        cls._separate_setup = "setup_context" in {
            key for base in cls.__mro__[:-1] if base.__name__ != "Function" for key in vars(base)
        }


def _unimplemented(method: str) -> Callable[..., Any]:
    def missing(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(
            f"You must implement the {method} function for custom autograd.Function."
        )

    return staticmethod(missing)  # type: ignore[return-value]


class Function(metaclass=FunctionMeta):
    """Base of operations with a hand-written derivative.

    `forward(ctx, *args)` computes; `backward(ctx, *grads)` returns one gradient per argument of
    `forward` (None for those that are not tensors or need none). Alternatively `forward(*args)` and
    `setup_context(ctx, inputs, output)`. Call it through `apply`.

    >>> import flambeau as torch
    >>> class Exp(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         y = x.exp()
    ...         ctx.save_for_backward(y)
    ...         return y
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (y,) = ctx.saved_tensors
    ...         return grad * y
    >>> x = torch.zeros(1, requires_grad=True)
    >>> Exp.apply(x).backward()
    >>> x.grad
    tensor([1.])
    """

    _node_name: str
    _backward_cls: type[BackwardCFunction]
    _separate_setup: bool
    generate_vmap_rule = False

    forward = _unimplemented("forward")
    setup_context = _unimplemented("setup_context")
    backward = _unimplemented("backward")
    vjp = backward
    jvp = _unimplemented("jvp")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            f"{type(self).__name__} should not be instantiated. Methods on autograd functions "
            "are all "
            "static, so you should invoke them on the class itself: "
            f"{type(self).__name__}.apply(...)"
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """A batching rule; not used."""
        raise NotImplementedError(
            "To use autograd.Function with vmap, you must either override the vmap staticmethod "
            "or set "
            "generate_vmap_rule=True."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`, and record it when an argument needs a gradient."""
        if kwargs or cls._separate_setup:
            args = _bind(cls, args, kwargs)
        tensors = [a if isinstance(a, Tensor) else None for a in args]
        needs = tuple([t is not None and t.requires_grad for t in tensors])
        recording = core.grad_enabled() and True in needs
        node = core.new_function_node(
            cls._backward_cls, cls._node_name, _run_backward, tensors if recording else ()
        )
        node.needs_input_grad = needs
        before = core.set_grad_enabled(False)
        try:
            if cls._separate_setup:
                result = cls.forward(*args)
                cls.setup_context(node, args, result)
            else:
                result = cls.forward(node, *args)
        finally:
            core.set_grad_enabled(before)
        return _finish(node, tensors, result, recording)


class InplaceFunction(Function):
    """A `Function` that may work in place (kept for old code)."""


@functools.lru_cache(maxsize=256)
def _signature_of(forward: Callable) -> inspect.Signature:
    return inspect.signature(forward)


def _bind(cls: type[Function], args: tuple, kwargs: dict[str, Any]) -> tuple:
    """All arguments in the order of forward's signature, defaults filled in."""
    signature = _signature_of(cls.forward)
    if not cls._separate_setup:
        bound = signature.bind(None, *args, **kwargs)
        bound.apply_defaults()
        return tuple(bound.args[1:])
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.args


def _is_any(t: object, tensors: Any) -> bool:
    return any(t is other for other in tensors)


def _finish(node: BackwardCFunction, inputs: list, result: Any, recording: bool) -> Any:
    """Give the outputs their history and save what backward asked for."""
    if type(result) is Tensor and not (node.dirty_tensors or node.non_differentiable):
        return _finish_one(node, inputs, result, recording)
    outputs = result if isinstance(result, tuple) else (result,)
    for t in node.dirty_tensors:
        if not _is_any(t, inputs):
            raise RuntimeError(
                "mark_dirty: a tensor was marked dirty that is not an input of forward"
            )
        if not _is_any(t, outputs):
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as "
                "output. "
                "The inputs that are modified inplace must all be outputs of the Function."
            )
    outputs = tuple([_own_output(node, inputs, o, recording) for o in outputs])
    if recording:
        _record(node, inputs, outputs)
    return outputs if isinstance(result, tuple) else outputs[0]


def _finish_one(node: BackwardCFunction, inputs: list, output: Tensor, recording: bool) -> Tensor:
    """`_finish` for one tensor without marks, as nearly all Functions return."""
    if not recording:
        return output.detach() if output.requires_grad else output
    for t in inputs:
        if t is output:
            output = output.detach()
    core.attach(node, (output if output.is_floating_point() or output.is_complex() else None,))
    if node.to_save:
        node.save(node.to_save, (output,))
        node.to_save = ()
    node.input_metas = _describe_inputs(node, inputs)
    return output


def _describe_inputs(node: BackwardCFunction, inputs: list) -> list[tuple | None]:
    for t, need in zip(inputs, node.needs_input_grad, strict=True):
        if need and t.layout is not _STRIDED:
            raise NotImplementedError(
                f"{node.name()}: gradients of sparse inputs ({t.layout}) of a Function are not "
                "supported; give it the indices and the values"
            )
    return [
        (t.shape, t.dtype) if need else None
        for t, need in zip(inputs, node.needs_input_grad, strict=True)
    ]


def _own_output(node: BackwardCFunction, inputs: list, output: Any, recording: bool) -> Any:
    """An output that may carry its own history: an input returned as it is becomes an alias."""
    if not isinstance(output, Tensor) or _is_any(output, node.dirty_tensors):
        return output
    if not recording:
        return output.detach() if output.requires_grad else output
    return output.detach() if _is_any(output, inputs) else output


def _record(node: BackwardCFunction, inputs: list, outputs: tuple) -> None:
    attached: list[Tensor | None] = []
    dirty = node.dirty_tensors
    for o in outputs:
        differentiable = (
            isinstance(o, Tensor)
            and (o.is_floating_point() or o.is_complex())
            and not _is_any(o, node.non_differentiable)
        )
        attached.append(o if differentiable and not _is_any(o, dirty) else None)
    _check_dirty(dirty, outputs)
    core.attach(node, attached)
    for i, o in enumerate(outputs):
        if _is_any(o, dirty) and not _is_any(o, node.non_differentiable):
            core.rebase(o, node, i)
    if node.to_save:
        node.save(node.to_save, outputs)
        node.to_save = ()
    if len(outputs) > 1:
        node.output_metas = [
            (tuple(o.shape), o.dtype) if isinstance(o, Tensor) else None for o in outputs
        ]
    node.input_metas = _describe_inputs(node, inputs)
    # the marks have done their work; held on, they would tie the node to its own outputs
    if node.non_differentiable:
        node.non_differentiable = ()
    if dirty:
        node.dirty_tensors = ()


def _check_dirty(dirty: tuple, outputs: tuple) -> None:
    for t in dirty:
        if t.is_leaf and t.requires_grad:
            raise RuntimeError(
                "a leaf Variable that requires grad is being used in an in-place operation."
            )
        if t._is_view() and len(outputs) > 1:
            raise RuntimeError(
                "If your Function modifies inplace an input that is a view of another Tensor, your "
                "Function cannot return more than one Tensor."
            )


def _run_backward(node: BackwardCFunction, *grads: Tensor | None) -> tuple:
    """Call the user's backward and check what it returns."""
    if node.materialize_grads and len(grads) > 1:
        grads = tuple(
            [_zeros(m) if g is None else g for g, m in zip(grads, node.output_metas, strict=True)]
        )
    cls = node._forward_cls
    rule = cls.backward
    if rule is Function.backward:
        rule = cls.vjp
        if rule is Function.vjp:
            raise NotImplementedError(
                f"{cls.__name__}: You must implement either the backward or vjp method for your "
                "custom "
                "autograd.Function to use it with backward mode AD."
            )
    result = rule(node, *grads)
    return _check_gradients(node, result if isinstance(result, tuple) else (result,))


def _zeros(meta: tuple | None) -> Tensor | None:
    if meta is None:
        return None
    from ..ops import zeros

    return zeros(meta[0], dtype=meta[1])


def _check_gradients(node: BackwardCFunction, grads: tuple) -> tuple:
    expected = len(node.input_metas)
    if len(grads) > expected and all(g is None for g in grads[expected:]):
        grads = grads[:expected]
    if len(grads) != expected:
        raise RuntimeError(
            f"function {node.name()} returned an incorrect number of gradients "
            f"(expected {expected}, got {len(grads)})"
        )
    return tuple(
        [
            None if g is None else _fit(node, i, g, m)
            for i, (g, m) in enumerate(zip(grads, node.input_metas, strict=True))
        ]
    )


def _fit(node: BackwardCFunction, i: int, grad: Any, meta: tuple | None) -> Tensor | None:
    """A gradient in its input's shape and dtype, summed over broadcast dimensions."""
    if not isinstance(grad, Tensor):
        raise RuntimeError(
            f"expected Variable or None (got {type(grad).__name__}) as gradient {i} of "
            f"{node.name()}"
        )
    if meta is None:
        return None
    shape, dtype = meta
    if grad.shape != shape:
        if not _expandable(shape, tuple(grad.shape)):
            raise RuntimeError(
                f"Function {node.name()} returned an invalid gradient at index {i} - got "
                f"{list(grad.shape)} but expected shape compatible with {list(shape)}"
            )
        grad = core.sum_to_shape(grad, shape)
    if grad.dtype is dtype:
        return grad
    return (grad.real if grad.is_complex() and not dtype.is_complex else grad).to(dtype)


def _expandable(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Can `shape` be broadcast to `target`?"""
    if len(shape) > len(target):
        return False
    return all(s in (1, t) for s, t in zip(reversed(shape), reversed(target), strict=False))


def once_differentiable(backward: Callable) -> Callable:
    """Mark a `backward` whose own operations must not be differentiated again.

    Its gradients may be used, but differentiating them raises an error instead of giving wrong
    numbers.
    """

    @functools.wraps(backward)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        before = core.set_grad_enabled(False)
        try:
            result = backward(ctx, *grads)
        finally:
            core.set_grad_enabled(before)
        sources = [g for g in grads if isinstance(g, Tensor)]
        if not core.needs_history(*sources):
            return result
        if not isinstance(result, tuple):
            return _guard(result, sources)
        return tuple([_guard(r, sources) for r in result])

    return wrapper


def _guard(result: Any, sources: list[Tensor]) -> Any:
    """The result with a history that refuses to be differentiated."""
    if not isinstance(result, Tensor):
        return result
    result = result.detach()
    node = core.new_node("OnceDifferentiableBackward", _refuse, sources)
    core.attach(node, [result])
    return result


def _refuse(node: Any, *grads: Any) -> Any:
    raise RuntimeError(
        "trying to differentiate twice a function that was marked with @once_differentiable"
    )
