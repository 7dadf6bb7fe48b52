"""Parametrization: a parameter or buffer of a module becomes a function of another tensor.

A parametrized tensor is recomputed at each access (once per `cached()` block). Its module gets a
class of its own, with a property in the tensor's place, and a ModuleDict `parametrizations` with,
per tensor, a `ParametrizationList`: the functions in order, and `original` (`original0`, ... when
the innermost `right_inverse` returns several tensors), which are trained.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import flambeau
from flambeau import Tensor
from flambeau.nn.modules.container import ModuleDict, ModuleList
from flambeau.nn.modules.module import Module
from flambeau.nn.parameter import Parameter

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]


class _Cache:
    """Values computed inside `cached()` blocks, by (module, name); `depth` counts the blocks."""

    depth = 0
    values: dict[tuple[int, str], Any] = {}


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """In the block, a parametrized tensor is computed at its first access only."""
    _Cache.depth += 1
    try:
        yield
    finally:
        _Cache.depth -= 1
        if not _Cache.depth:
            _Cache.values.clear()


def _keep(value: Tensor, like: Tensor) -> Tensor:
    """A tensor to store: a parameter where `like` was one."""
    if not isinstance(like, Parameter):
        return value
    return Parameter(value.detach(), requires_grad=like.requires_grad)


class ParametrizationList(ModuleList):
    """The functions that compute one tensor, in order, and the tensors they start from.

    Args:
        modules: parametrizations; the first is applied first.
        original: the tensor to parametrize, which `right_inverse` takes back to what is trained.
        unsafe: skip the check that shape and dtype stay the same.

    >>> import flambeau as torch
    >>> layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 3))
    >>> len(layer.parametrizations.weight), layer.parametrizations.weight.original0.shape
    (1, torch.Size([3, 1]))
    """

    original: Tensor

    def __init__(self, modules: Any, original: Tensor, unsafe: bool = False) -> None:
        modules = list(modules)
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        try:
            start = _invert(modules, original)
        except NotImplementedError:  # an inverse that only some settings have
            start = original
        self.is_tensor = isinstance(start, Tensor)
        parts = [start] if self.is_tensor else list(start)
        self.ntensors = len(parts)
        for name, part in zip(self._names(), parts, strict=True):
            if not isinstance(part, Tensor):
                raise ValueError(
                    f"right_inverse must return a Tensor or a Sequence of tensors (list, tuple...)."
                    f" Got {type(part).__name__}"
                )
            self._store(name, part, original)
        if not unsafe:
            self._check(original)

    def _names(self) -> list[str]:
        return ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]

    def _store(self, name: str, part: Tensor, original: Tensor) -> None:
        kept = original if part is original else _keep(part, original)
        if isinstance(kept, Parameter):
            self.register_parameter(name, kept)
        else:
            self.register_buffer(name, kept)

    def _check(self, original: Tensor) -> None:
        with flambeau.no_grad():
            value = self()
        if not isinstance(value, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(value).__name__}.")
        for what in ("dtype", "shape"):
            got, wanted = getattr(value, what), getattr(original, what)
            if got != wanted:
                raise ValueError(
                    f"Registering a parametrization may not change the {what} of the tensor, unless"
                    f" `unsafe` flag is enabled.\nunparametrized {what}: {wanted}\nparametrized"
                    f" {what}: {got}"
                )

    def right_inverse(self, value: Tensor) -> None:
        """Set the trained tensors so that the parametrized one becomes `value`."""
        with flambeau.no_grad():
            start = _invert(list(self), value)
            parts = [start] if self.is_tensor else list(start)
            for name, part in zip(self._names(), parts, strict=True):
                held = getattr(self, name)
                if part.dtype != held.dtype:
                    raise ValueError(
                        f"right_inverse gave {part.dtype} for {name}, which is {held.dtype}"
                    )
                held.set_(part.clone()) if part.shape != held.shape else held.copy_(part)

    def forward(self) -> Tensor:
        """Compute the tensor."""
        parts = [getattr(self, name) for name in self._names()]
        value = self[0](*parts)
        for i in range(1, len(self)):
            value = self[i](value)
        return value


def _invert(modules: list[Module], value: Any) -> Any:
    """What the functions would have to start from to give `value`; itself without inverses."""
    with flambeau.no_grad():
        for module in reversed(modules):
            inverse = getattr(module, "right_inverse", None)
            if inverse is not None:
                value = inverse(value)
    return value


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Make the parameter or buffer `tensor_name` the value of `parametrization(original)`.

    A second one is applied to the value of the first. If it has a method `right_inverse`, assigning
    to the tensor works, and the value at registration is kept. Raises ValueError when the module
    has no such tensor, or shape or dtype change without `unsafe`.

    >>> import flambeau as torch
    >>> from flambeau.nn.utils import parametrize
    >>> class Symmetric(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).T
    >>> layer = parametrize.register_parametrization(torch.nn.Linear(2, 2), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.T).all())
    True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        _append(module, tensor_name, parametrization, unsafe)
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        entries = ParametrizationList([parametrization], original, unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _give_own_class(module)
            module.parametrizations = ModuleDict()
        _add_property(module, tensor_name)
        module.parametrizations[tensor_name] = entries
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with"
            f" name '{tensor_name}'"
        )
    return module


def _append(module: Module, name: str, parametrization: Module, unsafe: bool) -> None:
    entries = module.parametrizations[name]
    with flambeau.no_grad():
        value = getattr(module, name)
    entries.append(parametrization)
    if not unsafe:
        entries._check(value)
    if hasattr(parametrization, "right_inverse"):
        entries.right_inverse(value)
    entries.unsafe = entries.unsafe or unsafe


def _give_own_class(module: Module) -> None:
    """A subclass for this module alone, to carry its properties."""
    kind = type(module)

    def refuse(self: Module) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict()."
        )

    def deepcopy(self: Module, memo: dict[int, Any]) -> Module:
        if id(self) in memo:
            return memo[id(self)]
        replica = memo[id(self)] = type(self).__new__(type(self))
        replica.__dict__ = copy.deepcopy(self.__dict__, memo)
        return replica

    body: dict[str, Any] = {"__getstate__": refuse}
    if not hasattr(kind, "__deepcopy__"):
        body["__deepcopy__"] = deepcopy
    module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), body)


def _add_property(module: Module, name: str) -> None:
    def read(self: Module) -> Tensor:
        if not _Cache.depth:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _Cache.values:
            _Cache.values[key] = self.parametrizations[name]()
        return _Cache.values[key]

    def write(self: Module, value: Tensor) -> None:
        _Cache.values.pop((id(self), name), None)
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(read, write))


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module, or that tensor of it, has a parametrization."""
    entries = module._modules.get("parametrizations")
    if not isinstance(entries, ModuleDict):
        return False
    return len(entries) > 0 if tensor_name is None else tensor_name in entries


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make the tensor an ordinary one again: its present value, or (`leave_parametrized=False`)
    the original one.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(
            f"Module {module} does not have a parametrization on {tensor_name}: nothing to remove"
        )
    entries = module.parametrizations[tensor_name]
    if not (leave_parametrized or entries.is_tensor):
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is"
            " parametrized in terms of a sequence of tensors."
        )
    original = getattr(entries, entries._names()[0])
    if leave_parametrized:
        with flambeau.no_grad():
            original = _keep(getattr(module, tensor_name).clone(), original)
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    if not len(module.parametrizations):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    if isinstance(original, Parameter):
        module.register_parameter(tensor_name, original)
    else:
        module.register_buffer(tensor_name, original)
    return module


def type_before_parametrizations(module: Module) -> type:
    """The module's class without the one that registering made."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Copy the parametrizations of a module, or of one of its tensors, to another; with the values
    they start from.
    """
    if not is_parametrized(from_module):
        return to_module
    names = [tensor_name] if tensor_name else list(from_module.parametrizations)
    for name in names:
        entries = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach().clone()))
        for entry in entries:
            register_parametrization(to_module, name, copy.deepcopy(entry), unsafe=True)
        target = to_module.parametrizations[name]
        for part in entries._names():
            held = getattr(entries, part)
            setattr(target, part, _keep(held.detach().clone(), held))
    return to_module
