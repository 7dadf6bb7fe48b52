"""The state of `Module`: `state_dict`, `load_state_dict`, their hooks, and pickling."""

from __future__ import annotations

import warnings
import weakref
from collections import OrderedDict, namedtuple
from typing import TYPE_CHECKING, Any

from flambeau import Tensor, core

from ..parameter import Parameter
from ._hooks import RemovableHandle, add_hook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


EXTRA_STATE_KEY = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What `load_state_dict` found missing and unexpected."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class _HookWithModule:
    """A load pre-hook that gets its module first, without keeping the module alive by a cycle."""

    def __init__(self, hook: Callable, module: Any) -> None:
        self.hook = hook
        self.module = None if module is None else weakref.ref(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.module is None:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError(
                "load_state_dict pre-hook: the module it was registered on no longer exists"
            )
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> dict:
        return {"hook": self.hook, "module": None if self.module is None else self.module()}

    def __setstate__(self, state: dict) -> None:
        self.hook = state["hook"]
        self.module = None if state["module"] is None else weakref.ref(state["module"])


class StateMethods:
    """Part of `Module`: collects its state into a dictionary and loads it back."""

    _version: int = 1
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: OrderedDict
    _state_dict_pre_hooks: OrderedDict
    _load_state_dict_pre_hooks: OrderedDict
    _load_state_dict_post_hooks: OrderedDict

    def get_extra_state(self) -> Any:
        """State beyond parameters and buffers, for `state_dict`; override together with
        `set_extra_state`.
        """
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called: "
            "override get_extra_state() when overriding set_extra_state()."
        )

    def set_extra_state(self, state: Any) -> None:
        """Restore what `get_extra_state` returned; override together with it."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called: "
            "override set_extra_state() when overriding get_extra_state()."
        )

    def state_dict(
        self,
        *args: Any,
        destination: dict[str, Any] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Any]:
        """All parameters and persistent buffers by dotted name, sharing memory with the module.

        Args:
            destination: dictionary to fill; a new one by default.
            prefix: put before every name.
            keep_vars: give the parameters themselves instead of detached tensors.

        >>> import flambeau as torch
        >>> list(torch.nn.Sequential(torch.nn.Linear(2, 1)).state_dict())
        ['0.weight', '0.bias']
        """
        if args:  # the old positional form: destination, prefix, keep_vars
            destination = args[0] if destination is None else destination
            prefix = args[1] if len(args) > 1 and prefix == "" else prefix
            keep_vars = args[2] if len(args) > 2 and keep_vars is False else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()  # type: ignore[attr-defined]
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=prefix + name + ".", keep_vars=keep_vars
                )
        return self._run_state_dict_hooks(destination, prefix, local_metadata)

    def _run_state_dict_hooks(self, destination: dict, prefix: str, local_metadata: dict) -> dict:
        for hook in self._state_dict_hooks.values():
            changed = hook(self, destination, prefix, local_metadata)
            if getattr(hook, "_from_public_api", False):
                if changed is not None:
                    raise RuntimeError("state_dict post-hook must return None")
            elif changed is not None:
                destination = changed
        return destination

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        """Put this module's own tensors, without its children's, into `destination`."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                destination[prefix + name] = parameter if keep_vars else parameter.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buffer if keep_vars else buffer.detach()
        if type(self).get_extra_state is not StateMethods.get_extra_state:
            destination[prefix + EXTRA_STATE_KEY] = self.get_extra_state()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy parameters and buffers from `state_dict`, by name, into this module and its
        children.

        Args:
            strict: raise RuntimeError when names are missing or unexpected.
            assign: take the tensors of `state_dict` themselves instead of copying their values.

        Returns:
            A named tuple `(missing_keys, unexpected_keys)`.

        Errors:
            TypeError: `state_dict` is not a mapping.
            RuntimeError: names (when strict) or shapes do not fit; all findings are listed in one
                message.
        """
        from collections.abc import Mapping

        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        state = OrderedDict(state_dict)
        if metadata is not None:
            state._metadata = metadata  # type: ignore[attr-defined]
        self._load_tree(state, "", metadata, assign, (missing, unexpected, errors))
        if strict:
            _describe_keys("Unexpected key(s) in state_dict", unexpected, errors)
            _describe_keys("Missing key(s) in state_dict", missing, errors)
        if errors:
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t"
                + "\n\t".join(errors)
            )
        return _IncompatibleKeys(missing, unexpected)

    def _load_tree(
        self,
        state: dict[str, Any],
        prefix: str,
        metadata: dict | None,
        assign: bool,
        findings: tuple[list[str], list[str], list[str]],
    ) -> None:
        """Load this module, then its children with the part of `state` that is theirs, then run
        post-hooks.
        """
        missing, unexpected, errors = findings
        local_metadata = {} if metadata is None else metadata.get(prefix[:-1], {})
        if assign:
            local_metadata["assign_to_params_buffers"] = assign
        # Findings are collected even when the load is not strict: the caller returns them.
        self._load_from_state_dict(state, prefix, local_metadata, True, missing, unexpected, errors)
        for name, child in self._modules.items():
            if child is not None:
                child_prefix = prefix + name + "."
                part = {key: value for key, value in state.items() if key.startswith(child_prefix)}
                child._load_tree(part, child_prefix, metadata, assign, findings)
        incompatible = _IncompatibleKeys(missing, unexpected)
        for hook in self._load_state_dict_post_hooks.values():
            if hook(self, incompatible) is not None:
                raise AssertionError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not expected "
                    "to return "
                    "new values, if incompatible_keys need to be modified, it should be done "
                    "inplace."
                )

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load this module's own tensors, without its children's; override to convert old
        formats.
        """
        for hook in self._load_state_dict_pre_hooks.values():
            hook(
                state_dict,
                prefix,
                local_metadata,
                strict,
                missing_keys,
                unexpected_keys,
                error_msgs,
            )
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = self._own_tensors()
        for name, current in own.items():
            key = prefix + name
            if key in state_dict:
                self._load_tensor(name, current, state_dict[key], key, assign, error_msgs)
            elif strict:
                missing_keys.append(key)
        self._load_extra_state(state_dict, prefix, strict, missing_keys, unexpected_keys)
        if strict:
            unexpected_keys.extend(self._find_unexpected_keys(state_dict, prefix, own))

    def _own_tensors(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers that are there."""
        own = {**self._parameters, **self._buffers}
        for name in self._non_persistent_buffers_set:
            own.pop(name, None)
        return {name: tensor for name, tensor in own.items() if tensor is not None}

    def _load_tensor(
        self, name: str, current: Tensor, loaded: Any, key: str, assign: bool, errors: list[str]
    ) -> None:
        if not isinstance(loaded, Tensor):
            errors.append(
                f'While copying the parameter named "{key}", '
                "expected torch.Tensor or Tensor-like object from "
                f"checkpoint but received {type(loaded)}"
            )
            return
        if current.dim() == 0 and loaded.dim() == 1 and len(loaded) == 1:
            loaded = loaded[0]  # very old checkpoints hold scalars as one-element vectors
        if loaded.shape != current.shape:
            errors.append(
                f"size mismatch for {key}: copying a param with shape {loaded.shape} from "
                "checkpoint, "
                f"the shape in current model is {current.shape}."
            )
            return
        if current.is_meta and not loaded.is_meta and not assign:
            warnings.warn(
                f"for {key}: copying from a non-meta parameter in the checkpoint to a meta"
                " parameter in the current model, which is a no-op. (Did you mean to pass"
                " `assign=True` to assign items in the state dictionary to their corresponding"
                " key in the module instead of copying them in place?)",
                stacklevel=2,
            )
        before = core.set_grad_enabled(False)
        try:
            if assign:
                self._assign_tensor(name, current, loaded)
            else:
                current.copy_(loaded)
        except Exception as error:
            errors.append(
                f'While copying the parameter named "{key}", '
                f"whose dimensions in the model are {current.size()} "
                f"and whose dimensions in the checkpoint are {loaded.size()}, an exception "
                f"occurred : {error.args}."
            )
        finally:
            core.set_grad_enabled(before)

    def _assign_tensor(self, name: str, current: Tensor, loaded: Tensor) -> None:
        if isinstance(current, Parameter):
            if not isinstance(loaded, Parameter):
                loaded = Parameter(loaded, requires_grad=current.requires_grad)
            else:
                loaded.requires_grad_(current.requires_grad)
        setattr(self, name, loaded)

    def _load_extra_state(
        self, state_dict: dict, prefix: str, strict: bool, missing: list[str], unexpected: list[str]
    ) -> None:
        key = prefix + EXTRA_STATE_KEY
        if type(self).set_extra_state is not StateMethods.set_extra_state:
            if key in state_dict:
                self.set_extra_state(state_dict[key])
            elif strict:
                missing.append(key)
        elif strict and key in state_dict:
            unexpected.append(key)

    def _find_unexpected_keys(
        self, state_dict: dict, prefix: str, own: dict[str, Tensor]
    ) -> list[str]:
        found, skip = [], len(prefix)
        for key in state_dict:
            if key[skip:] in own or not key.startswith(prefix) or key[skip:] == EXTRA_STATE_KEY:
                continue
            head, dot, _ = key[skip:].partition(".")
            if not dot or head not in self._modules:
                found.append(key)
        return found

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before `state_dict` collects this module's
        tensors.
        """
        return add_hook(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` afterwards; it edits `state_dict`
        in place.
        """
        hook._from_public_api = True  # type: ignore[attr-defined]
        return add_hook(self._state_dict_hooks, hook)

    def _register_state_dict_hook(self, hook: Callable) -> RemovableHandle:
        """Like `register_state_dict_post_hook`, but a returned dictionary replaces the result."""
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was previously "
                "registered "
                "via register_state_dict_post_hook"
            )
        return add_hook(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata, strict, missing, unexpected,
        errors)` first.
        """
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable, with_module: bool = False
    ) -> RemovableHandle:
        """Like `register_load_state_dict_pre_hook`; the module is passed only when asked for."""
        return add_hook(
            self._load_state_dict_pre_hooks, _HookWithModule(hook, self if with_module else None)
        )

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after this module and its children are loaded."""
        return add_hook(self._load_state_dict_post_hooks, hook)


def _describe_keys(title: str, keys: list[str], errors: list[str]) -> None:
    if keys:
        listed = ", ".join(f'"{key}"' for key in keys)
        errors.insert(0, f"{title}: {listed}. ")
