"""The base class of optimisers: parameter groups, state, hooks, saving and loading."""

from __future__ import annotations

import copy
import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import flambeau
from flambeau.utils.hooks import RemovableHandle

__all__ = [
    "Optimizer",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
]

Params = Iterable[Any]
StateDict = dict[str, Any]
Hooks = OrderedDict[int, Callable]


class _Required:
    """Marks an option that has no default and must be given in every parameter group."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()
_global_pre_hooks: Hooks = OrderedDict()
_global_post_hooks: Hooks = OrderedDict()


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before every step of every optimiser."""
    return _register(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after every step of every optimiser."""
    return _register(_global_post_hooks, hook)


def _register(hooks: Hooks, hook: Callable, first: bool = False):
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if first:
        hooks.move_to_end(handle.id, last=False)
    return handle


class Optimizer:
    """Parameters in groups with options each, and the state of the rule that updates them.

    Args:
        params: tensors, (name, tensor) pairs, or dicts that hold "params" and options of that
            group.
        defaults: options of the groups that do not give them.

    Subclasses define `step`. `param_groups` is a list of dicts, `state` maps a parameter to its
    state dict.

    >>> import flambeau as torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    >>> optimizer.param_groups[0]["lr"]
    0.5
    >>> optimizer.state_dict()["param_groups"][0]["params"]
    [0]
    """

    OptimizerPreHook = Callable
    OptimizerPostHook = Callable

    param_groups: list[dict[str, Any]]
    state: defaultdict[Any, Any]
    defaults: dict[str, Any]

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._make_hooks()
        self._hook_step()
        if isinstance(params, flambeau.Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or"
                f" dicts, but got {type(params).__name__}"
            )
        self.state = defaultdict(dict)
        self.param_groups = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _make_hooks(self) -> None:
        """Empty hook tables: they are not saved with the optimiser."""
        self._optimizer_step_pre_hooks: Hooks = OrderedDict()
        self._optimizer_step_post_hooks: Hooks = OrderedDict()
        self._optimizer_state_dict_pre_hooks: Hooks = OrderedDict()
        self._optimizer_state_dict_post_hooks: Hooks = OrderedDict()
        self._optimizer_load_state_dict_pre_hooks: Hooks = OrderedDict()
        self._optimizer_load_state_dict_post_hooks: Hooks = OrderedDict()

    def _hook_step(self) -> None:
        """Wrap the class's `step`, once, so that hooks run around it."""
        kind = type(self)
        if not getattr(kind.step, "hooked", False):
            kind.step = _with_hooks(kind.step)  # type: ignore[method-assign]

    # ---- groups ----------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with its own options.

        Raises TypeError for something else than tensors, ValueError for non-leaf tensors, missing
        options and parameters that another group has.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        param_group["params"] = _list_params(param_group["params"])
        _split_names(param_group)
        for param in param_group["params"]:
            self._check_param(param)
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    "parameter group didn't specify a value of required optimization parameter"
                    f" {name}"
                )
            param_group.setdefault(name, default)
        self._check_group(param_group)
        self.param_groups.append(param_group)

    def _check_param(self, param: Any) -> None:
        if not isinstance(param, flambeau.Tensor):
            raise TypeError(
                "optimizer can only optimize Tensors, but one of the params is"
                f" {type(param).__name__}"
            )
        if not self.defaults.get("differentiable") and not (param.is_leaf or param.retains_grad):
            raise ValueError("can't optimize a non-leaf Tensor")

    def _check_group(self, new: dict[str, Any]) -> None:
        params = new["params"]
        if len(params) != len(set(params)):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this"
                " will cause an error",
                stacklevel=4,
            )
        known = set(chain.from_iterable(group["params"] for group in self.param_groups))
        if not known.isdisjoint(params):
            raise ValueError("some parameters appear in more than one parameter group")
        if self.param_groups and ("param_names" in self.param_groups[0]) != ("param_names" in new):
            kind = "with" if "param_names" in new else "without"
            raise ValueError(
                "all optimizer param groups should be with/without names. cannot add param group"
                f" {kind} names to the optimizer"
            )

    # ---- stepping --------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients; `closure`, if given, computes the loss first.

        Returns the loss that `closure` returned.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define step()")

    @staticmethod
    def profile_hook_step(func: Callable) -> Callable:
        """`func`, a step method, with the step hooks around it."""
        return _with_hooks(func)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, or fill them with zeros when `set_to_none` is False."""
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    _zero_gradient(param.grad)

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return (args, kwargs)."""
        return _register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return _register(self._optimizer_step_post_hooks, hook)

    # ---- saving and loading ----------------------------------------------------------------------

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False):
        """Call `hook(optimizer)` before `state_dict` is built."""
        return _register(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False):
        """Call `hook(optimizer, state_dict)` on the result; it may return another."""
        return _register(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False):
        """Call `hook(optimizer, state_dict)` before loading; it may return another dict to load."""
        return _register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False):
        """Call `hook(optimizer)` after loading."""
        return _register(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    def state_dict(self) -> StateDict:
        """The state and the groups' options as plain data; parameters become numbers.

        `{"state": {0: {...}, ...}, "param_groups": [{"lr": ..., "params": [0, 1]}, ...]}`. Tensors
        are not copied.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for param in group["params"]:
                numbers.setdefault(id(param), len(numbers))
            packed = {name: value for name, value in group.items() if name != "params"}
            packed["params"] = [numbers[id(param)] for param in group["params"]]
            groups.append(packed)
        state = {
            numbers[id(key)] if isinstance(key, flambeau.Tensor) else key: value
            for key, value in self.state.items()
        }
        result = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            replaced = hook(self, result)
            result = result if replaced is None else replaced
        return result

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over what `state_dict` returned, cast to each parameter's device and float dtype.

        Raises ValueError when the groups differ in number or size.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = hook(self, state_dict)
            state_dict = state_dict if replaced is None else replaced
        saved = copy.deepcopy(state_dict["param_groups"])
        self._check_saved_groups(saved)
        params = _pair_numbers(saved, self.param_groups)
        state: defaultdict[Any, Any] = defaultdict(dict)
        for number, value in state_dict["state"].items():
            if number in params:
                param = params[number]
                state[param] = _cast_state(param, value, saved, number)
            else:
                state[number] = value
        groups = [_merge_group(old, new) for old, new in zip(self.param_groups, saved, strict=True)]
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def _check_saved_groups(self, saved: list[dict[str, Any]]) -> None:
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for mine, theirs in zip(self.param_groups, saved, strict=True):
            if len(mine["params"]) != len(theirs["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of"
                    " optimizer's group"
                )

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "state": self.state,
            "param_groups": self.param_groups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_optimizer_step_pre_hooks" not in self.__dict__:
            self._make_hooks()
        self._hook_step()
        self.defaults.setdefault("differentiable", False)

    def __repr__(self) -> str:
        text = type(self).__name__ + " ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            for name in sorted(group):
                if name != "params":
                    text += f"    {name}: {group[name]}\n"
        return text + ")"


def _with_hooks(step: Callable) -> Callable:
    @functools.wraps(step)
    def step_with_hooks(self, *args, **kwargs):
        if not (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_pre_hooks
            or _global_post_hooks
        ) or self.__dict__.get("_stepping", False):  # a subclass calls its parent's step
            return step(self, *args, **kwargs)
        self._stepping = True
        try:
            return _step_between_hooks(step, self, args, kwargs)
        finally:
            del self._stepping

    step_with_hooks.hooked = True  # type: ignore[attr-defined]
    return step_with_hooks


def _step_between_hooks(step: Callable, optimizer: Optimizer, args: tuple, kwargs: dict) -> Any:
    arguments = (optimizer, *args)
    for hook in chain(_global_pre_hooks.values(), optimizer._optimizer_step_pre_hooks.values()):
        result = hook(optimizer, arguments, kwargs)
        if result is None:
            continue
        if not isinstance(result, tuple) or len(result) != 2:
            raise RuntimeError(
                f"{step} must return None or a tuple of (new_args, new_kwargs), but got {result}."
            )
        arguments, kwargs = result
    loss = step(*arguments, **kwargs)
    for hook in chain(optimizer._optimizer_step_post_hooks.values(), _global_post_hooks.values()):
        hook(optimizer, arguments, kwargs)
    return loss


def _list_params(params: Any) -> list:
    if isinstance(params, flambeau.Tensor):
        return [params]
    if isinstance(params, set):
        raise TypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering"
            " of tensors in sets will change between runs. Please use a list instead."
        )
    return list(params)


def _split_names(group: dict[str, Any]) -> None:
    """Turn (name, tensor) pairs into tensors and a "param_names" option."""
    named = [isinstance(param, tuple) for param in group["params"]]
    if not any(named):
        return
    if not all(named):
        raise ValueError(
            "all optimizer params should be with/without names. Some param names are missing"
        )
    group["param_names"] = [name for name, _ in group["params"]]
    group["params"] = [param for _, param in group["params"]]


def _zero_gradient(grad) -> None:
    if grad.grad_fn is not None:
        grad.detach_()
    else:
        grad.requires_grad_(False)
    grad.zero_()


def _pair_numbers(saved: list[dict], groups: list[dict]) -> dict[Any, Any]:
    """Saved position number -> parameter."""
    numbers = chain.from_iterable(group["params"] for group in saved)
    params = chain.from_iterable(group["params"] for group in groups)
    return dict(zip(numbers, params, strict=True))


def _merge_group(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    new["params"] = old["params"]
    if "param_names" in old and "param_names" not in new:
        new["param_names"] = old["param_names"]
    return new


def _cast_state(param, value: Any, groups: list[dict], number: Any, key: str | None = None) -> Any:
    """`value` with its tensors on the parameter's device, in its dtype when that is a float."""
    if isinstance(value, flambeau.Tensor):
        return _cast_tensor(param, value, groups, number, key)
    if isinstance(value, dict):
        return {k: _cast_state(param, v, groups, number, k) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_cast_state(param, v, groups, number, key) for v in value)
    return value


def _cast_tensor(param, value, groups: list[dict], number: Any, key: str | None):
    if key == "step":
        # A count stays float32 whatever the parameter's dtype: bfloat16 ends counting at 256.
        group = next(group for group in groups if number in group["params"])
        if group.get("capturable") or group.get("fused"):
            return value.to(dtype=flambeau.float32, device=param.device)
        return value
    if param.is_floating_point():
        return value.to(dtype=param.dtype, device=param.device)
    return value.to(device=param.device)
