"""Lazy modules: sizes that follow from the first input."""

from __future__ import annotations

from typing import Any

import flambeau

from ..parameter import is_lazy
from .module import Module

__all__ = ["LazyModuleMixin"]


class LazyModuleMixin(Module):
    """Put before a module class: its uninitialised parameters get their shapes at the first call.

    Subclasses define `initialize_parameters`, which gets the arguments of the call and materialises
    every uninitialised parameter and buffer. Afterwards the module becomes a `cls_to_become`, if
    there is one. A state_dict that is loaded before gives the shapes too.

    >>> import flambeau as torch
    >>> layer = torch.nn.LazyLinear(3)
    >>> _ = layer(torch.ones(2, 5)); layer
    Linear(in_features=5, out_features=3, bias=True)
    """

    cls_to_become: type[Any] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook: Any = self._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook: Any = self.register_forward_pre_hook(
            self._infer_parameters, with_kwargs=True
        )

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Materialise the parameters, given the arguments of the first call; override this."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer of this module has no shape yet."""
        members = (*self._parameters.values(), *self._buffers.values())
        return any(is_lazy(member) for member in members)

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        if not self.has_uninitialized_params():
            super()._save_to_state_dict(destination, prefix, keep_vars)
            return
        for name, member in (*self._parameters.items(), *self._buffers.items()):
            if member is not None and name not in self._non_persistent_buffers_set:
                keeps = keep_vars or is_lazy(member)
                destination[prefix + name] = member if keeps else member.detach()

    def _lazy_load_hook(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict, *findings: Any
    ) -> None:
        """Take the shapes from a state_dict before its values are copied."""
        for name in (*self._parameters, *self._buffers):
            given = state_dict.get(prefix + name)
            if given is not None and not is_lazy(given):
                with flambeau.no_grad():
                    self._materialize(given.shape, name)

    def _load_tensor(self, name: str, current: Any, loaded: Any, *rest: Any) -> None:
        if not (is_lazy(current) and is_lazy(loaded)):  # else there is nothing to copy
            super()._load_tensor(name, current, loaded, *rest)

    def _materialize(self, shape: Any, *names: str) -> None:
        """Give a shape to those of the named parameters and buffers that have none."""
        for name in names:
            member = getattr(self, name)
            if is_lazy(member):
                member.materialize(shape)
                if name in self._buffers:
                    self._buffers[name] = member.data  # an ordinary tensor, as other buffers

    def _infer_parameters(self, module: Any, args: tuple, kwargs: dict | None = None) -> None:
        """The hook before the first call."""
        self.initialize_parameters(*args, **(kwargs or {}))
        if self.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        self._initialize_hook.remove()
        self._load_hook.remove()
        del self._initialize_hook, self._load_hook
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError(
            "Modules with uninitialized parameters can't be used with `DataParallel`. Run a dummy"
            " forward pass to correctly initialize the modules"
        )
