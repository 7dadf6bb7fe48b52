"""The base class of schedules."""

from __future__ import annotations

import functools
import types
import warnings
import weakref
from typing import Any

import flambeau

from ..optimizer import Optimizer

_WRONG_ORDER = (
    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. You should call them in"
    " the opposite order: `optimizer.step()` before `lr_scheduler.step()`. Failure to do this"
    " will result in skipping the first value of the learning rate schedule."
)
_STEP_REPLACED = (
    "Seems like `optimizer.step()` has been overridden after learning rate scheduler"
    " initialization. Please, make sure to call `optimizer.step()` before `lr_scheduler.step()`."
)
EPOCH_DEPRECATED = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where"
    " possible. Please use `scheduler.step()` to step the scheduler. During the deprecation, if"
    " epoch is different from None, the closed form is used instead of the new chainable form,"
    " where available."
)
_USE_LAST_LR = (
    "To get the last learning rate computed by the scheduler, please use `get_last_lr()`."
)


class LRScheduler:
    """Sets the "lr" of an optimiser's groups as a function of how often `step` was called.

    Subclasses define `get_lr`: one value a group, from `self.last_epoch` (0 at the start),
    `self.base_lrs` and the groups' present values; and, where there is one, `_get_closed_form_lr`,
    from `self.last_epoch` alone. `last_epoch` other than -1 resumes: the groups must then have
    "initial_lr".

    >>> import flambeau as torch
    >>> class Halving(torch.optim.lr_scheduler.LRScheduler):
    ...     def get_lr(self):
    ...         return [rate * 0.5**self.last_epoch for rate in self.base_lrs]
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = Halving(optimizer)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.5]
    """

    _get_lr_called_within_step: bool = False
    _is_initial: bool = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = check_optimizer(optimizer)
        _set_initial_lrs(optimizer, last_epoch)
        self.base_lrs = copy_values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        _watch_steps(optimizer)
        self._initial_step()

    def _initial_step(self) -> None:
        """The step of the constructor, which sets the first rate."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_last_lr(self) -> list[Any]:
        """The rates that the last step set, one a group."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rates for `last_epoch`, one a group; called by `step`."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr()")

    def step(self, epoch: int | None = None) -> None:
        """Set the rates of the next epoch."""
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATED, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _check_order(self) -> None:
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            warnings.warn(_STEP_REPLACED, UserWarning, stacklevel=3)
        elif not getattr(self.optimizer, "_opt_called", False):
            warnings.warn(_WRONG_ORDER, UserWarning, stacklevel=3)

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is None:
            self.last_epoch += 1
            values = self._call_get_lr()
        else:
            self.last_epoch = epoch
            closed_form = getattr(self, "_get_closed_form_lr", None)
            values = closed_form() if closed_form is not None else self._call_get_lr()
        self._set_lrs(values)

    def _call_get_lr(self) -> list[Any]:
        self._get_lr_called_within_step = True
        try:
            return self.get_lr()
        finally:
            self._get_lr_called_within_step = False

    def _set_lrs(self, values: list[Any]) -> None:
        rates = []
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            if type(group["lr"]) is float:
                group["lr"] = value
            else:
                set_value(group, "lr", value)
                value = _copy(group["lr"])
            rates.append(value)
        self._last_lr = rates

    def _warn_if_called_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(_USE_LAST_LR, UserWarning, stacklevel=3)

    def state_dict(self) -> dict[str, Any]:
        """All of the schedule's own state: everything but the optimiser."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.__dict__.update(state_dict)


def check_optimizer(optimizer: Any) -> Optimizer:
    """`optimizer`, or TypeError when it is none."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
    return optimizer


def _set_initial_lrs(optimizer: Optimizer, last_epoch: int) -> None:
    for i, group in enumerate(optimizer.param_groups):
        if last_epoch == -1:
            group.setdefault("initial_lr", _copy(group["lr"]))
        elif "initial_lr" not in group:
            raise KeyError(
                f"param 'initial_lr' is not specified in param_groups[{i}] when resuming"
                " scheduler with last_epoch >= 0: load the optimizer's state before making the"
                " scheduler"
            )


def _watch_steps(optimizer: Optimizer) -> None:
    """Make `optimizer.step` note that it was called, to detect the wrong order of calls."""
    step: Any = optimizer.step
    if hasattr(step, "_wrapped_by_lr_sched"):
        return
    # A weak reference: the optimiser must not hold itself alive through its own attribute.
    find: Any = weakref.ref(optimizer)
    function = step.__func__

    @functools.wraps(function)
    def counted(*args, **kwargs):
        owner = find()
        owner._opt_called = True
        return function.__get__(owner, type(owner))(*args, **kwargs)

    counted._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = counted  # type: ignore[method-assign]


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, flambeau.Tensor) else value


def copy_values(optimizer: Optimizer, key: str) -> list[Any]:
    """The option `key` of every group; tensors are copied, for groups change them in place."""
    return [_copy(group[key]) for group in optimizer.param_groups]


def set_value(group: dict[str, Any], key: str, value: Any) -> None:
    """Set an option of a group, in place where it is a tensor."""
    if isinstance(group[key], flambeau.Tensor):
        group[key].fill_(value)
    else:
        group[key] = value


def set_momentum(group: dict[str, Any], value: float) -> None:
    """Set a group's momentum, or the first of its betas."""
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


def check_momentum(optimizer: Optimizer) -> bool:
    """Whether the optimiser's momentum is its beta1; ValueError when it has neither."""
    if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
        raise ValueError(
            "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"
        )
    return "betas" in optimizer.defaults


def spread(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """`value` as a list with one entry a group."""
    if not isinstance(value, (list, tuple)):
        return [value] * len(optimizer.param_groups)
    if len(value) != len(optimizer.param_groups):
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)}"
            f" values, param_groups has {len(optimizer.param_groups)}."
        )
    return list(value)


def dump_callables(functions: list[Any]) -> list[dict[str, Any] | None]:
    """The attributes of callable objects, for a state dict; None for plain functions."""
    return [
        None if isinstance(function, types.FunctionType) else dict(function.__dict__)
        for function in functions
    ]
