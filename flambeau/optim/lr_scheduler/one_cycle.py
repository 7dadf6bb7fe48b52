"""The one-cycle schedule."""

from __future__ import annotations

import math
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler, check_momentum, check_optimizer, set_momentum, spread


class OneCycleLR(LRScheduler):
    """Up to `max_lr`, then down to far below the start (Smith and Topin, 2017).

    Step it after every batch. The run's length is `total_steps`, or `epochs * steps_per_epoch`.

    Args:
        optimizer: its groups' rates are set, and their momentum if `cycle_momentum`.
        max_lr: the highest rate, one number or one a group.
        pct_start: the part of the run, in [0, 1], in which the rate rises.
        anneal_strategy: "cos" or "linear".
        base_momentum, max_momentum: bounds of the momentum (or beta1), which moves against the
            rate.
        div_factor, final_div_factor: first rate = max_lr / div_factor, last = first /
            final_div_factor.
        three_phase: fall back to the first rate as slowly as it rose, and only then to the last
            one.

    Raises ValueError when stepped more often than the length says.

    >>> import flambeau as torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0, momentum=0.9)
    >>> scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> round(scheduler.get_last_lr()[0], 6)
    0.04
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = check_optimizer(optimizer)
        self.total_steps = _count_steps(total_steps, epochs, steps_per_epoch)
        if not isinstance(pct_start, float) or pct_start < 0 or pct_start > 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._schedule_phases = _plan_phases(self.total_steps, pct_start, three_phase)
        self._anneal_func_type = anneal_strategy
        self.cycle_momentum = cycle_momentum
        highest = spread("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, highest, strict=True):
                group["initial_lr"] = rate / div_factor
                group["max_lr"] = rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
        if cycle_momentum:
            self._set_up_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def _set_up_momentum(self, base_momentum: Any, max_momentum: Any, last_epoch: int) -> None:
        self.use_beta1 = check_momentum(self.optimizer)
        lows = spread("base_momentum", self.optimizer, base_momentum)
        highs = spread("max_momentum", self.optimizer, max_momentum)
        if last_epoch != -1:
            return
        for group, low, high in zip(self.optimizer.param_groups, lows, highs, strict=True):
            set_momentum(group, high)
            group["max_momentum"], group["base_momentum"] = high, low

    def get_lr(self) -> list[Any]:
        """The rates for `last_epoch`; sets the momentum too."""
        self._warn_if_called_outside_step()
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"Tried to step {self.last_epoch} times. The specified number of total steps is"
                f" {self.total_steps}"
            )
        phase, part = self._locate()
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._anneal(group[phase["start_lr"]], group[phase["end_lr"]], part))
            if self.cycle_momentum:
                start, end = group[phase["start_momentum"]], group[phase["end_momentum"]]
                set_momentum(group, self._anneal(start, end, part))
        return rates

    def _locate(self) -> tuple[dict[str, Any], float]:
        """The phase that `last_epoch` lies in, and how much of it has passed."""
        start = 0.0
        for phase in self._schedule_phases:
            end = phase["end_step"]
            if self.last_epoch <= end or phase is self._schedule_phases[-1]:
                break
            start = end
        return phase, (self.last_epoch - start) / (end - start)

    def _anneal(self, start: float, end: float, part: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)


def _count_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        return _check_count("total_steps", total_steps)
    if epochs is None or steps_per_epoch is None:
        raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
    return _check_count("epochs", epochs) * _check_count("steps_per_epoch", steps_per_epoch)


def _check_count(name: str, value: int) -> int:
    if not isinstance(value, int) or value <= 0:
        raise ValueError(f"Expected positive integer {name}, but got {value}")
    return value


def _plan_phases(total_steps: int, pct_start: float, three_phase: bool) -> list[dict[str, Any]]:
    rise = float(pct_start * total_steps) - 1
    low_high = _make_phase(rise, "initial_lr", "max_lr", "max_momentum", "base_momentum")
    last = total_steps - 1
    if not three_phase:
        return [low_high, _make_phase(last, "max_lr", "min_lr", "base_momentum", "max_momentum")]
    fall = float(2 * pct_start * total_steps) - 2
    return [
        low_high,
        _make_phase(fall, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
        _make_phase(last, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
    ]


def _make_phase(end_step: float, *names: str) -> dict[str, Any]:
    keys = ("start_lr", "end_lr", "start_momentum", "end_momentum")
    return {"end_step": end_step, **dict(zip(keys, names, strict=True))}
