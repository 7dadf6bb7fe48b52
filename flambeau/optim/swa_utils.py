"""Averages of a model's weights over training: plain (SWA) and exponential (EMA)."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import flambeau
from flambeau.nn import Module

from .lr_scheduler.base import LRScheduler, check_optimizer, spread
from .optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

PARAM_LIST = tuple[Any, ...] | list[Any]


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable:
    """A function of (averages, values, count) that moves each average by 1 - decay of the way."""
    _check_decay(decay)

    @flambeau.no_grad()
    def ema_update(ema_param_list: PARAM_LIST, current_param_list: PARAM_LIST, _: Any) -> None:
        for average, value in zip(ema_param_list, current_param_list, strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(average * decay + value * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> Callable:
    """A function of (averages, values, count) that makes each the mean over count + 1 models."""

    @flambeau.no_grad()
    def swa_update(
        averaged_param_list: PARAM_LIST, current_param_list: PARAM_LIST, num_averaged: Any
    ) -> None:
        weight = 1 / (int(num_averaged) + 1)
        for average, value in zip(averaged_param_list, current_param_list, strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(value, weight)
            else:
                average.copy_(average + (value - average) * weight)

    return swa_update


def get_ema_avg_fn(decay: float = 0.999) -> Callable:
    """A function of (average, value, count): decay * average + (1 - decay) * value."""
    _check_decay(decay)

    @flambeau.no_grad()
    def ema_update(ema_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> Callable:
    """A function of (average, value, count): average + (value - average) / (count + 1)."""

    @flambeau.no_grad()
    def swa_update(averaged_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )


class AveragedModel(Module):
    r"""A copy of a model whose parameters are averages of the model's over time.

    Calling it calls the copy, `module`. `n_averaged` counts the updates.

    Args:
        model: the model; its present values are only the start.
        device: where the copy lives.
        avg_fn: gives the new average from (average, value, count); the running mean if neither
            function is given.
        multi_avg_fn: updates lists of averages in place, given (averages, values, count).
        use_buffers: average the buffers too; else they are copied.

    >>> import flambeau as torch
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> average = torch.optim.swa_utils.AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = torch.nn.init.constant_(model.weight, value)
    ...     average.update_parameters(model)
    >>> average.module.weight.item()
    3.0
    """

    n_averaged: Any

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable | None = None,
        multi_avg_fn: Callable | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", flambeau.tensor(0, dtype=flambeau.long, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the averaged copy."""
        return self.module(*args, **kwargs)

    @flambeau.no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the present values of `model` into the averages."""
        averages = list(self._list_tensors(self.module))
        values = [
            value.to(average.device)
            for value, average in zip(self._list_tensors(model), averages, strict=True)
        ]
        if self.n_averaged == 0:
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)
        else:
            self._average(averages, values)
        if not self.use_buffers:
            for buffer, value in zip(self.module.buffers(), model.buffers(), strict=True):
                buffer.copy_(value)
        self.n_averaged += 1

    def _list_tensors(self, model: Module) -> Iterable[Any]:
        if self.use_buffers:
            return itertools.chain(model.parameters(), model.buffers())
        return model.parameters()

    def _average(self, averages: list, values: list) -> None:
        if self.avg_fn is None:
            (self.multi_avg_fn or get_swa_multi_avg_fn())(averages, values, self.n_averaged)
            return
        for average, value in zip(averages, values, strict=True):
            average.copy_(self.avg_fn(average, value, self.n_averaged))


@flambeau.no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of a model's batch norms anew, by one pass over `loader`.

    Args:
        loader: gives batches, or lists and tuples whose first item is the batch.
        model: the model, for instance an `AveragedModel`; its mode is restored.
        device: where batches are moved to.
    """
    momenta = {
        module: module.momentum
        for module in model.modules()
        if isinstance(module, flambeau.nn.modules.batchnorm._BatchNorm)
    }
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.reset_running_stats()
        module.momentum = None  # the plain mean over all batches
    for batch in loader:
        first = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(first if device is None else first.to(device))
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    r"""From each group's rate to `swa_lr` within `anneal_epochs` steps, then constant.

    Args:
        optimizer: its groups' rates are set.
        swa_lr: the final rate, one number or one a group.
        anneal_epochs: how many steps the way takes.
        anneal_strategy: "cos" or "linear".
        last_epoch: the step to resume from; -1 to start.

    >>> import flambeau as torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = torch.optim.swa_utils.SWALR(optimizer, 0.5, 2, "linear")
    >>> for _ in range(3):
    ...     optimizer.step(); scheduler.step(); print(scheduler.get_last_lr())
    [0.75]
    [0.5]
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        rates = spread("swa_lr", check_optimizer(optimizer), swa_lr)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The rates for `last_epoch`, from the present ones."""
        self._warn_if_called_outside_step()
        # `_step_count` also counts the constructor's step.
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._find_part(step - 1), self._find_part(step)
        rates = []
        for group in self.optimizer.param_groups:
            lr, final = group["lr"], group["swa_lr"]
            first = final if before == 1 else (lr - before * final) / (1 - before)
            rates.append(final * now + first * (1 - now))
        return rates

    def _find_part(self, step: int) -> float:
        """Which part of the way is done after a number of steps."""
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2
