"""What hooks need: removable handles, and the hooks that act on every module."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from flambeau.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    from collections.abc import Callable


class GlobalHooks:
    """Hooks that run for every module, next to the module's own."""

    def __init__(self) -> None:
        self.forward_pre: OrderedDict = OrderedDict()
        self.forward: OrderedDict = OrderedDict()
        self.forward_with_kwargs: OrderedDict = OrderedDict()
        self.forward_always_called: OrderedDict = OrderedDict()
        self.backward_pre: OrderedDict = OrderedDict()
        self.backward: OrderedDict = OrderedDict()
        self.is_full_backward: bool | None = None
        self.parameter_registration: OrderedDict = OrderedDict()
        self.buffer_registration: OrderedDict = OrderedDict()
        self.module_registration: OrderedDict = OrderedDict()


global_hooks = GlobalHooks()


def add_hook(
    hooks: OrderedDict,
    hook: Callable,
    *,
    prepend: bool = False,
    flags: tuple[tuple[OrderedDict, bool], ...] = (),
) -> RemovableHandle:
    """Store `hook`, first or last, note its flags by id, and return the handle that removes it
    all.
    """
    handle = RemovableHandle(hooks, extra_dict=[ids for ids, _ in flags])
    hooks[handle.id] = hook
    for ids, is_set in flags:
        if is_set:
            ids[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_module_parameter_registration_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, name, parameter)` at every parameter registration; its result, if any,
    replaces it.
    """
    return add_hook(global_hooks.parameter_registration, hook)


def register_module_buffer_registration_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, name, buffer)` at every buffer registration; its result, if any, replaces
    it.
    """
    return add_hook(global_hooks.buffer_registration, hook)


def register_module_module_registration_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, name, submodule)` at every submodule registration; its result, if any,
    replaces it.
    """
    return add_hook(global_hooks.module_registration, hook)


def register_module_forward_pre_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, args)` before the forward of every module; its result, if any, replaces
    args.
    """
    return add_hook(global_hooks.forward_pre, hook)


def register_module_forward_hook(
    hook: Callable, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after the forward of every module; its result replaces the
    output.

    Args:
        with_kwargs: call `hook(module, args, kwargs, output)` instead.
        always_call: also call it when forward raised.
    """
    return add_hook(
        global_hooks.forward,
        hook,
        flags=(
            (global_hooks.forward_with_kwargs, with_kwargs),
            (global_hooks.forward_always_called, always_call),
        ),
    )


def register_module_full_backward_pre_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, grad_output)` before the backward of every module."""
    return add_hook(global_hooks.backward_pre, hook)


def register_module_full_backward_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` after the backward of every module."""
    _choose_backward_hooks(full=True)
    return add_hook(global_hooks.backward, hook)


def register_module_backward_hook(hook: Callable) -> RemovableHandle:
    """Deprecated form of `register_module_full_backward_hook`: sees only the last operation of a
    module.
    """
    _choose_backward_hooks(full=False)
    return add_hook(global_hooks.backward, hook)


def _choose_backward_hooks(full: bool) -> None:
    if global_hooks.is_full_backward is (not full):
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module"
            " hook. Please use only one of them."
        )
    global_hooks.is_full_backward = full
