"""Walking the tree of modules: parameters, buffers, children, and lookup by dotted name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flambeau
from flambeau import core

from ..parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from flambeau import Tensor

    from .module import Module


class WalkMethods:
    """Part of `Module`: iterates over the tree and looks members up by dotted name."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]

    def _named_members(
        self,
        get_members_fn: Callable[[Any], Iterable[tuple[str, Any]]],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield (dotted name, member) for what `get_members_fn` finds in each module."""
        seen = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for module_prefix, module in modules:
            for name, member in get_members_fn(module):
                if member is None or member in seen:
                    continue
                if remove_duplicate:
                    seen.add(member)
                yield (f"{module_prefix}.{name}" if module_prefix else name), member

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Iterate over the parameters, each once; those of children too when `recurse`."""
        if recurse and type(self).named_parameters is WalkMethods.named_parameters:
            found = self._list_members("_parameters")
            if found is not None:
                return iter(found)
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def _list_members(self, kind: str) -> list | None:
        """The members of one kind in the whole tree, where nobody walks it in another way."""
        if type(self)._named_members is not WalkMethods._named_members:
            return None
        return core.list_members(self, kind, WalkMethods.named_modules)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Iterate over (dotted name, parameter)."""
        yield from self._named_members(  # type: ignore[misc]
            lambda module: module._parameters.items(), prefix, recurse, remove_duplicate
        )

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Iterate over the buffers, each once; those of children too when `recurse`."""
        if recurse and type(self).named_buffers is WalkMethods.named_buffers:
            found = self._list_members("_buffers")
            if found is not None:
                return iter(found)
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Iterate over (dotted name, buffer)."""
        yield from self._named_members(
            lambda module: module._buffers.items(), prefix, recurse, remove_duplicate
        )

    def children(self) -> Iterator[Module]:
        """Iterate over the direct children, each once."""
        for _, module in self.named_children():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Iterate over (name, module) of the direct children, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """Iterate over this module and everything below it, parents first."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Iterate over (dotted name, module) of this module and everything below it, parents first.

        >>> import flambeau as torch
        >>> net = torch.nn.Sequential(torch.nn.ReLU())
        >>> [name for name, _ in net.named_modules()]
        ['', '0']
        """
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                child_prefix = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, child_prefix, remove_duplicate)

    def apply(self, fn: Callable[[Any], None]) -> Self:
        """Call `fn` on every module below, children first, then on this one; returns self."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def get_submodule(self, target: str) -> Any:
        """The module with the dotted name `target`; this one for "".

        Errors:
            AttributeError: a part of the name does not exist or is no module.
        """
        if target == "":
            return self
        module: Any = self
        for name in target.split("."):
            if not hasattr(module, name):
                raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, WalkMethods):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put `module` at the dotted name `target`; when `strict`, something must be there already.

        Errors:
            ValueError: `target` is empty or `module` is no module.
            AttributeError: the parent does not exist, or (strict) the name does not, or is no
                module.
        """
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, WalkMethods):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        parent_name, _, name = target.rpartition(".")
        parent = self.get_submodule(parent_name)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), WalkMethods):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with the dotted name `target`."""
        return self._get_member(target, Parameter, "`{}` is not an nn.Parameter")  # type: ignore[return-value]

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with the dotted name `target`."""
        owner_name, _, name = target.rpartition(".")
        found = self._get_member(target, flambeau.Tensor, "`{}` is not a buffer")
        if name not in self.get_submodule(owner_name)._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return found

    def _get_member(self, target: str, kind: type, message: str) -> Tensor:
        owner_name, _, name = target.rpartition(".")
        owner = self.get_submodule(owner_name)
        if not hasattr(owner, name):
            raise AttributeError(f"{owner._get_name()} has no attribute `{name}`")
        member = getattr(owner, name)
        if not isinstance(member, kind):
            raise AttributeError(message.format(name))
        return member  # type: ignore[return-value]
