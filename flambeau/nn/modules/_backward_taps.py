"""Backward hooks of modules: identity nodes around a module that call its hooks in backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flambeau import Tensor
from flambeau.autograd import Function

if TYPE_CHECKING:
    from collections.abc import Callable

    from .module import Module


class BackwardTaps:
    """Calls a module's backward hooks by passing its inputs and outputs through identity nodes.

    The node behind the outputs runs first in backward: it calls the pre-hooks and keeps
        `grad_output`.
    The node before the inputs runs last: it calls the hooks with `grad_input` and the kept
        `grad_output`.
    Tensors that need no gradient pass untapped, and hooks see None in their place.
    """

    def __init__(self, module: Module, hooks: list[Callable], pre_hooks: list[Callable]) -> None:
        self.module = module
        self.hooks = hooks
        self.pre_hooks = pre_hooks
        self.grad_outputs: tuple | None = None
        self.input_count = 0
        self.inputs_tapped = False
        self.input_positions: list[int] = []
        self.output_positions: list[int] = []
        self.output_count = 0

    def tap_inputs(self, args: tuple) -> tuple:
        """Return `args` with every tensor that needs a gradient passed through the input node."""
        self.input_count = len(args)
        self.input_positions = _positions_of_tensors_with_grad(args)
        self.inputs_tapped = bool(self.input_positions)
        return self._tap(args, self.input_positions, _InputTap)

    def tap_outputs(self, result: Any) -> Any:
        """Return `result` with its tensors passed through the output node; only tensors and tuples
        are tapped.
        """
        outputs = result if isinstance(result, tuple) else (result,)
        self.output_count = len(outputs)
        self.output_positions = _positions_of_tensors_with_grad(outputs)
        tapped = self._tap(outputs, self.output_positions, _OutputTap)
        if not isinstance(result, tuple):
            return tapped[0]
        if hasattr(result, "_make"):
            return type(result)._make(tapped)
        return tapped if type(result) is tuple else type(result)(tapped)

    def _tap(self, values: tuple, positions: list[int], tap: type[Function]) -> tuple:
        if not positions:
            return values
        replaced = list(values)
        tapped = tap.apply(self, *[values[i] for i in positions])
        for position, tensor in zip(positions, tapped, strict=True):
            replaced[position] = tensor
        return tuple(replaced)

    def run_pre_hooks(self, grads: tuple) -> tuple:
        """Run pre-hooks on the gradients of the outputs and keep what they leave for the hooks."""
        grad_outputs = _spread(grads, self.output_positions, self.output_count)
        for hook in self.pre_hooks:
            changed = hook(self.module, grad_outputs)
            if changed is not None:
                grad_outputs = _as_grads(changed, self.output_count, "pre hook", "grad_output")
        self.grad_outputs = grad_outputs
        if not self.inputs_tapped:
            self._run_hooks_without_input_gradient(grad_outputs)
        return tuple(grad_outputs[i] for i in self.output_positions)

    def run_hooks(self, grads: tuple) -> tuple:
        """Run the hooks with the gradients of inputs and outputs; return the gradients of the
        inputs.
        """
        if self.grad_outputs is None:
            raise RuntimeError(
                "Module backward hook for grad_input is called before the grad_output one. This "
                "happens because "
                "the gradient in your nn.Module flows to the Module's input without passing "
                "through the Module's "
                "output. Make sure that the output depends on the input and that the loss is "
                "computed based on "
                "the output."
            )
        grad_inputs = _spread(grads, self.input_positions, self.input_count)
        for hook in self.hooks:
            changed = hook(self.module, grad_inputs, self.grad_outputs)
            if changed is not None:
                grad_inputs = _as_grads(changed, self.input_count, "hook", "grad_input")
        self.grad_outputs = None
        return tuple(grad_inputs[i] for i in self.input_positions)

    def _run_hooks_without_input_gradient(self, grad_outputs: tuple) -> None:
        grad_inputs = (None,) * self.input_count
        for hook in self.hooks:
            changed = hook(self.module, grad_inputs, grad_outputs)
            if changed is not None and not (
                isinstance(changed, tuple) and all(g is None for g in changed)
            ):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always "
                    "return None or "
                    "None for all gradients."
                )
        self.grad_outputs = None


class _OutputTap(Function):
    """Identity on a module's outputs; backward runs the pre-hooks."""

    @staticmethod
    def forward(ctx: Any, taps: BackwardTaps, *tensors: Tensor) -> tuple[Tensor, ...]:
        return _pass_through(ctx, taps, tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple:
        return (None, *ctx.taps.run_pre_hooks(grads))


class _InputTap(Function):
    """Identity on a module's inputs; backward runs the hooks."""

    @staticmethod
    def forward(ctx: Any, taps: BackwardTaps, *tensors: Tensor) -> tuple[Tensor, ...]:
        return _pass_through(ctx, taps, tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple:
        return (None, *ctx.taps.run_hooks(grads))


def _pass_through(ctx: Any, taps: BackwardTaps, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    ctx.set_materialize_grads(False)  # a hook must see None, not zeros, where no gradient arrived
    ctx.taps = taps
    return tuple(tensor.view_as(tensor) for tensor in tensors)


def _positions_of_tensors_with_grad(values: tuple) -> list[int]:
    return [
        i for i, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad
    ]


def _spread(grads: tuple, positions: list[int], count: int) -> tuple:
    spread: list[Tensor | None] = [None] * count
    for position, grad in zip(positions, grads, strict=True):
        spread[position] = grad
    return tuple(spread)


def _as_grads(changed: Any, count: int, kind: str, what: str) -> tuple:
    changed = changed if isinstance(changed, tuple) else (changed,)
    if len(changed) != count:
        raise RuntimeError(
            f"Backward {kind} returned an invalid number of {what}, got {len(changed)}, but "
            f"expected {count}"
        )
    return changed
