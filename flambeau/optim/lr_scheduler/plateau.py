"""The schedule that watches a metric."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..optimizer import Optimizer
from .base import EPOCH_DEPRECATED, LRScheduler, check_optimizer, copy_values, set_value


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the rate by `factor` when a metric stops improving.

    Args:
        mode: "min" when lower is better, "max" when higher is.
        factor: below 1.
        patience: epochs without improvement that are let pass.
        threshold, threshold_mode: an improvement must exceed best * threshold ("rel") or threshold
            ("abs").
        cooldown: epochs after a reduction in which nothing is counted.
        min_lr: a lower bound, one number or one a group.
        eps: a change smaller than this is not made.

    >>> import flambeau as torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    >>> scheduler.step(3.0); scheduler.step(4.0); scheduler.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1.0:
            raise ValueError("Factor should be < 1.0.")
        if mode not in ("min", "max"):
            raise ValueError(f"mode {mode} is unknown!")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold mode {threshold_mode} is unknown!")
        self.factor = factor
        self.optimizer = check_optimizer(optimizer)
        self.default_min_lr, self.min_lrs = _list_min_lrs(min_lr, len(optimizer.param_groups))
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.last_epoch = 0
        self._last_lr = copy_values(optimizer, "lr")
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self._reset()

    def _reset(self) -> None:
        """Forget the metrics seen so far."""
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Take in the metric, a number or one-element tensor, and reduce the rate if due."""
        current = float(metrics)
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATED, UserWarning, stacklevel=2)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(current, self.best):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce_lr()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = copy_values(self.optimizer, "lr")

    def _reduce_lr(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            self._extend_min_lrs(len(groups))
        for group, lowest in zip(groups, self.min_lrs, strict=True):
            old = float(group["lr"])
            new = max(old * self.factor, lowest)
            if old - new > self.eps:
                set_value(group, "lr", new)

    def _extend_min_lrs(self, count: int) -> None:
        if self.default_min_lr is None:
            raise RuntimeError(
                f"The number of param groups in the `optimizer` ({count}) differs from when"
                f" `ReduceLROnPlateau` was initialized ({len(self.min_lrs)}), usually due to a"
                " new param group being added to the optimizer. Please modify the `min_lrs`"
                " field to match the length of the `optimizer` param groups."
            )
        self.min_lrs = [self.default_min_lr] * count

    @property
    def in_cooldown(self) -> bool:
        """Whether a reduction happened less than `cooldown` epochs ago."""
        return self.cooldown_counter > 0

    def _is_better(self, value: float, best: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            bound = best * (1 + sign * self.threshold)
        else:
            bound = best + sign * self.threshold
        return value < bound if self.mode == "min" else value > bound


def _list_min_lrs(min_lr: Any, groups: int) -> tuple[Any, list[float]]:
    """The bound for groups that are added later (None if there is none), and one bound a group."""
    if not isinstance(min_lr, (list, tuple)):
        return min_lr, [min_lr] * groups
    if len(min_lr) != groups:
        raise ValueError(f"expected {groups} min_lrs, got {len(min_lr)}")
    return None, list(min_lr)
