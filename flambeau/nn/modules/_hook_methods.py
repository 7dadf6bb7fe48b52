"""The hooks of `Module`: how they are registered, and the call that runs them."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from flambeau import Tensor

from ._hooks import RemovableHandle, add_hook, global_hooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._backward_taps import BackwardTaps


class HookMethods:
    """Part of `Module`: registers hooks and runs a call that has some."""

    training: bool
    forward: Callable
    _forward_pre_hooks: OrderedDict
    _forward_pre_hooks_with_kwargs: OrderedDict
    _forward_hooks: OrderedDict
    _forward_hooks_with_kwargs: OrderedDict
    _forward_hooks_always_called: OrderedDict
    _backward_pre_hooks: OrderedDict
    _backward_hooks: OrderedDict
    _is_full_backward_hook: bool | None

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before forward; what it returns, if anything, replaces the
        arguments.

        Args:
            prepend: run before the hooks already registered.
            with_kwargs: call `hook(module, args, kwargs)`, which may return `(args, kwargs)`.
        """
        return add_hook(
            self._forward_pre_hooks,
            hook,
            prepend=prepend,
            flags=((self._forward_pre_hooks_with_kwargs, with_kwargs),),
        )

    def register_forward_hook(
        self,
        hook: Callable,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after forward; what it returns, if anything, replaces
        the output.

        Args:
            prepend: run before the hooks already registered.
            with_kwargs: call `hook(module, args, kwargs, output)`.
            always_call: run also when forward raised; the output is then None.
        """
        return add_hook(
            self._forward_hooks,
            hook,
            prepend=prepend,
            flags=(
                (self._forward_hooks_with_kwargs, with_kwargs),
                (self._forward_hooks_always_called, always_call),
            ),
        )

    def register_full_backward_pre_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the gradients of the outputs are known; it may
        replace them.
        """
        return add_hook(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the inputs are known.

        What the hook returns, if anything, replaces `grad_input`. Inputs that need no gradient show
        as None.
        """
        self._choose_backward_hooks(full=True)
        return add_hook(self._backward_hooks, hook, prepend=prepend)

    def register_backward_hook(self, hook: Callable) -> RemovableHandle:
        """Deprecated form of `register_full_backward_hook`: sees only the last operation of the
        module.
        """
        self._choose_backward_hooks(full=False)
        return add_hook(self._backward_hooks, hook)

    def _choose_backward_hooks(self, full: bool) -> None:
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single"
                " Module. Please use only one of them."
            )
        self._is_full_backward_hook = full

    def _call_with_hooks(self, args: tuple, kwargs: dict) -> Any:
        """Run pre-hooks, forward and hooks; hooks marked `always_call` run even when something
        raises.
        """
        called: set[int] = set()
        try:
            return self._run_hooked(args, kwargs, called)
        except Exception:
            self._run_always_called_hooks(args, kwargs, called)
            raise

    def _run_hooked(self, args: tuple, kwargs: dict, called: set[int]) -> Any:
        args, kwargs = self._run_forward_pre_hooks(args, kwargs)
        full_hooks, plain_hooks = self._get_backward_hooks()
        pre_hooks = self._get_backward_pre_hooks()
        taps = _make_taps(self, full_hooks, pre_hooks) if full_hooks or pre_hooks else None
        if taps is not None:
            args = taps.tap_inputs(args)
        result = self.forward(*args, **kwargs)
        result = self._run_forward_hooks(args, kwargs, result, called)
        if taps is not None:
            result = taps.tap_outputs(result)
        if plain_hooks:
            self._hook_last_operation(result, plain_hooks)
        return result

    def _run_forward_pre_hooks(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        for hook in tuple(global_hooks.forward_pre.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        for hook_id, hook in tuple(self._forward_pre_hooks.items()):
            if hook_id not in self._forward_pre_hooks_with_kwargs:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
                continue
            changed = hook(self, args, kwargs)
            if changed is None:
                continue
            if not (isinstance(changed, tuple) and len(changed) == 2):
                raise RuntimeError(
                    "forward pre-hook must return None or a tuple of (new_args, new_kwargs), but "
                    f"got {changed}."
                )
            args, kwargs = changed
        return args, kwargs

    def _run_forward_hooks(self, args: tuple, kwargs: dict, result: Any, called: set[int]) -> Any:
        for hook_id, hook, with_kwargs, always in self._list_forward_hooks():
            if always:
                called.add(hook_id)
            changed = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
            if changed is not None:
                result = changed
        return result

    def _run_always_called_hooks(self, args: tuple, kwargs: dict, called: set[int]) -> None:
        for hook_id, hook, with_kwargs, always in self._list_forward_hooks():
            if not always or hook_id in called:
                continue
            try:
                _ = hook(self, args, kwargs, None) if with_kwargs else hook(self, args, None)
            except Exception as error:
                # The first exception is the one to report; a second one becomes a warning.
                warnings.warn(
                    "forward hook with ``always_call=True`` raised an exception that was silenced "
                    "as another "
                    f"error was raised in forward: {error}",
                    stacklevel=3,
                )

    def _list_forward_hooks(self) -> list[tuple[int, Callable, bool, bool]]:
        shared = global_hooks
        hooks = [
            (i, hook, i in shared.forward_with_kwargs, i in shared.forward_always_called)
            for i, hook in shared.forward.items()
        ]
        hooks += [
            (i, hook, i in self._forward_hooks_with_kwargs, i in self._forward_hooks_always_called)
            for i, hook in self._forward_hooks.items()
        ]
        return hooks

    def _get_backward_hooks(self) -> tuple[list[Callable], list[Callable]]:
        """Full backward hooks and deprecated ones, those for every module first."""
        full: list[Callable] = []
        plain: list[Callable] = []
        if global_hooks.backward:
            (full if global_hooks.is_full_backward else plain).extend(
                global_hooks.backward.values()
            )
        if self._backward_hooks:
            (full if self._is_full_backward_hook else plain).extend(self._backward_hooks.values())
        return full, plain

    def _get_backward_pre_hooks(self) -> list[Callable]:
        return [*global_hooks.backward_pre.values(), *self._backward_pre_hooks.values()]

    def _hook_last_operation(self, result: Any, hooks: list[Callable]) -> None:
        """Hook the node of the (first) output: the deprecated kind of backward hook."""
        while not isinstance(result, Tensor):
            result = next(iter(result.values())) if isinstance(result, dict) else result[0]
        node = result.grad_fn
        if node is None:
            return
        for hook in hooks:
            node.register_hook(
                lambda grads_in, grads_out, hook=hook: hook(self, grads_in, grads_out)
            )


def _make_taps(module: Any, hooks: list[Callable], pre_hooks: list[Callable]) -> BackwardTaps:
    from ._backward_taps import BackwardTaps  # only modules with backward hooks need autograd here

    return BackwardTaps(module, hooks, pre_hooks)
