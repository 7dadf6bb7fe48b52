"""`Module`, the base class of every layer, model and loss."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import Any

import flambeau
from flambeau import Tensor, core

from ..parameter import Buffer, Parameter
from ._hook_methods import HookMethods
from ._hooks import (
    RemovableHandle,
    global_hooks,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from ._move_methods import MoveMethods
from ._state_methods import StateMethods, _IncompatibleKeys
from ._walk_methods import WalkMethods

__all__ = [
    "Module",
    "RemovableHandle",
    "_IncompatibleKeys",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

core.set_global_module_hooks(
    global_hooks.forward_pre,
    global_hooks.forward,
    global_hooks.backward_pre,
    global_hooks.backward,
)


class Module(core.ModuleBase, WalkMethods, MoveMethods, StateMethods, HookMethods):
    """Base class of all layers and models: holds parameters, buffers and child modules by name.

    Subclasses call `super().__init__()`, assign parameters and modules to attributes, and define
    `forward`. The dictionaries `_parameters`, `_buffers` and `_modules` are the truth; attributes
    are looked up in them.

    >>> import flambeau as torch
    >>> class Scale(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = torch.nn.Parameter(torch.ones(1))
    ...
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> [name for name, _ in Scale().named_parameters()]
    ['factor']
    """

    dump_patches: bool = False
    call_super_init: bool = (
        False  # True: __init__ also calls the next class of a multiple inheritance
    )

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init and (args or kwargs):
            name = type(self).__name__
            if kwargs:
                raise TypeError(
                    f"{name}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'"
                )
            raise TypeError(
                f"{name}.__init__() takes 1 positional argument but {len(args) + 1} were given"
            )
        # Straight into __dict__: __setattr__ would search each name in dictionaries that do not
        # exist yet.
        self.__dict__.update(_make_empty_state())
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def forward(self, *input: Any) -> Any:
        """Compute the output; every subclass overrides this."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under `name`; None reserves the name.

        Errors:
            KeyError: the name is empty, has a dot, or is an attribute already.
            TypeError: `param` is not a Parameter.
            ValueError: `param` has a grad_fn (only leaves can be parameters).
        """
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_new_name(name, "parameter", self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{flambeau.typename(param)}' object to parameter '{name}' "
                "(torch.nn.Parameter or None required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be "
                "created "
                f"explicitly. To express '{name}' as a function of another Tensor, compute the "
                "value in the "
                "forward() method."
            )
        for hook in global_hooks.parameter_registration.values():
            changed = hook(self, name, param)
            param = param if changed is None else changed
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not trained, such as a running mean.

        Args:
            persistent: whether `state_dict` includes it.

        Errors:
            KeyError: the name is empty, has a dot, or is an attribute already.
            TypeError: `tensor` is neither a tensor nor None.
        """
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_new_name(name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{flambeau.typename(tensor)}' object to buffer '{name}' "
                "(torch Tensor or None required)"
            )
        for hook in global_hooks.buffer_registration.values():
            changed = hook(self, name, tensor)
            tensor = tensor if changed is None else changed
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under `name`; None reserves the name."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{flambeau.typename(module)} is not a Module subclass")
        self._check_new_name(name, "module", self._modules)
        for hook in global_hooks.module_registration.values():
            changed = hook(self, name, module)
            module = module if changed is None else changed
        self._modules[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """Another name of `add_module`."""
        self.add_module(name, module)

    def _check_new_name(self, name: str, kind: str, registered: dict) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {flambeau.typename(name)}")
        if hasattr(self, name) and name not in registered:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            got = f", got: {name}" if kind == "module" else ""
            raise KeyError(f'{kind} name can\'t contain "."{got}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')

    __getattr__ = core.get_member

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        core.speed_up_module(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if name in state and not isinstance(value, (Tensor, Module)):
            object.__setattr__(self, name, value)  # a plain attribute stays one
            return
        if isinstance(value, Tensor):
            if isinstance(value, Parameter):
                self._set_parameter(name, value)
                return
        elif isinstance(value, Module):
            self._set_module(name, value)
            return
        if "_parameters" not in state:
            object.__setattr__(self, name, value)
        elif name in self._parameters:
            if value is not None:
                raise TypeError(
                    _describe_wrong_assignment(value, "parameter", name, "torch.nn.Parameter")
                )
            self.register_parameter(name, None)
        elif name in self._modules:
            self._replace_module_by_none(name, value)
        elif name in self._buffers or (isinstance(value, Tensor) and isinstance(value, Buffer)):
            self._set_buffer(name, value)
        else:
            object.__setattr__(self, name, value)

    def _set_parameter(self, name: str, value: Parameter) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameters before Module.__init__() call")
        self._forget_name(name, self.__dict__, self._buffers, self._modules)
        self._non_persistent_buffers_set.discard(name)
        self.register_parameter(name, value)

    def _set_module(self, name: str, value: Module) -> None:
        if "_modules" not in self.__dict__:
            raise AttributeError("cannot assign module before Module.__init__() call")
        if name in self._parameters:
            raise TypeError(
                _describe_wrong_assignment(value, "parameter", name, "torch.nn.Parameter")
            )
        self._forget_name(name, self.__dict__, self._buffers)
        self._non_persistent_buffers_set.discard(name)
        for hook in global_hooks.module_registration.values():
            changed = hook(self, name, value)
            value = value if changed is None else changed
        self._modules[name] = value

    def _replace_module_by_none(self, name: str, value: Any) -> None:
        if value is not None:
            raise TypeError(
                _describe_wrong_assignment(value, "child module", name, "torch.nn.Module")
            )
        for hook in global_hooks.module_registration.values():
            changed = hook(self, name, value)
            value = value if changed is None else changed
        self._modules[name] = value

    def _set_buffer(self, name: str, value: Any) -> None:
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(
                _describe_wrong_assignment(value, "buffer", name, "torch.nn.Buffer, torch.Tensor")
            )
        if name not in self._buffers:
            self._forget_name(name, self.__dict__)
            self.register_buffer(name, value, value.persistent)  # type: ignore[union-attr]
            return
        for hook in global_hooks.buffer_registration.values():
            changed = hook(self, name, value)
            value = value if changed is None else changed
        self._buffers[name] = value
        if value is not None and isinstance(value, Buffer):
            (set.discard if value.persistent else set.add)(self._non_persistent_buffers_set, name)

    @staticmethod
    def _forget_name(name: str, *places: dict) -> None:
        for place in places:
            place.pop(name, None)

    def __delattr__(self, name: str) -> None:
        if name in self._parameters:
            del self._parameters[name]
        elif name in self._buffers:
            del self._buffers[name]
            self._non_persistent_buffers_set.discard(name)
        elif name in self._modules:
            del self._modules[name]
        else:
            object.__delattr__(self, name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Files written by older versions lack the newer dictionaries.
        self.__dict__.update({**_make_empty_state(), **state})

    def __dir__(self) -> list[str]:
        names = [
            *dir(type(self)),
            *self.__dict__,
            *self._parameters,
            *self._modules,
            *self._buffers,
        ]
        # Names such as "0" in a Sequential are no legal attributes to complete.
        return sorted(name for name in names if not name[:1].isdigit())

    def train(self, mode: bool = True) -> Module:
        """Set training mode (dropout drops, batch norm uses the batch) here and in all children."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self._modules.values():
            if module is not None:
                module.train(mode)
        return self

    def eval(self) -> Module:
        """Set evaluation mode: `train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Switch gradients on or off for all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all parameters: to None, or to zeros in place."""
        if self.__dict__.get("_is_replica", False):
            warnings.warn(
                "Calling .zero_grad() from a replica has no effect: its parameters are copies.",
                stacklevel=2,
            )
        for parameter in self.parameters():
            if parameter.grad is None:
                continue
            if set_to_none:
                parameter.grad = None
            elif parameter.grad.grad_fn is not None:
                parameter.grad.detach_().zero_()
            else:
                parameter.grad.requires_grad_(False).zero_()

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses; override for layers with settings."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        child_lines = [
            f"({name}): " + _indent_after_first(repr(module))
            for name, module in self._modules.items()
        ]
        lines = extra_lines + child_lines
        if not lines:
            return self._get_name() + "()"
        if len(extra_lines) == 1 and not child_lines:
            return f"{self._get_name()}({extra_lines[0]})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"


core.speed_up_module(Module)


def _make_empty_state() -> dict[str, Any]:
    """The attributes of a module before anything is registered, in PyTorch's order (it shows in
    pickles).
    """
    return {
        "training": True,
        "_parameters": {},
        "_buffers": {},
        "_non_persistent_buffers_set": set(),
        "_backward_pre_hooks": OrderedDict(),
        "_backward_hooks": OrderedDict(),
        "_is_full_backward_hook": None,
        "_forward_hooks": OrderedDict(),
        "_forward_hooks_with_kwargs": OrderedDict(),
        "_forward_hooks_always_called": OrderedDict(),
        "_forward_pre_hooks": OrderedDict(),
        "_forward_pre_hooks_with_kwargs": OrderedDict(),
        "_state_dict_hooks": OrderedDict(),
        "_state_dict_pre_hooks": OrderedDict(),
        "_load_state_dict_pre_hooks": OrderedDict(),
        "_load_state_dict_post_hooks": OrderedDict(),
        "_modules": {},
    }


def _describe_wrong_assignment(value: Any, kind: str, name: str, expected: str) -> str:
    got = flambeau.typename(value)
    return f"cannot assign '{got}' as {kind} '{name}' ({expected} or None expected)"


def _indent_after_first(text: str) -> str:
    return text.replace("\n", "\n  ")
