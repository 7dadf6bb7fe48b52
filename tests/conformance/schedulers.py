"""Every learning-rate schedule: the rates and momenta of 40 steps, also when resumed half-way."""

import functools
import inspect
import io
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .checks import Outcome
from .compare import Tolerance, compare
from .translate import MissingError, Translator

STEPS = 40
CLOSE = Tolerance(atol=1e-12, rtol=1e-12)
Make = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Schedule:
    """The configurations of one class: functions of (the lr_scheduler module, an optimiser)."""

    name: str
    makes: tuple[Make, ...]
    module: str = "optim.lr_scheduler"


def _halve(epoch: int) -> float:
    return 0.5 ** (epoch // 3)


CONFIGURATIONS: dict[str, tuple[Make, ...]] = {
    "LambdaLR": (
        lambda m, o: m.LambdaLR(o, _halve),
        lambda m, o: m.LambdaLR(o, [_halve, lambda e: 1 / (1 + e)]),
    ),
    "MultiplicativeLR": (
        lambda m, o: m.MultiplicativeLR(o, lambda e: 0.95),
        lambda m, o: m.MultiplicativeLR(o, [lambda e: 0.9, lambda e: 1 - 0.1 / (1 + e)]),
    ),
    "StepLR": (
        lambda m, o: m.StepLR(o, 7),
        lambda m, o: m.StepLR(o, step_size=3, gamma=0.5),
    ),
    "MultiStepLR": (
        lambda m, o: m.MultiStepLR(o, [4, 9, 9, 30]),
        lambda m, o: m.MultiStepLR(o, [20, 25], gamma=0.7),
    ),
    "ConstantLR": (
        lambda m, o: m.ConstantLR(o),
        lambda m, o: m.ConstantLR(o, factor=0.5, total_iters=25),
    ),
    "LinearLR": (
        lambda m, o: m.LinearLR(o),
        lambda m, o: m.LinearLR(o, start_factor=0.1, end_factor=0.8, total_iters=30),
    ),
    "ExponentialLR": (
        lambda m, o: m.ExponentialLR(o, 0.9),
        lambda m, o: m.ExponentialLR(o, gamma=1.01),
    ),
    "PolynomialLR": (
        lambda m, o: m.PolynomialLR(o),
        lambda m, o: m.PolynomialLR(o, total_iters=33, power=2.0),
    ),
    "CosineAnnealingLR": (
        lambda m, o: m.CosineAnnealingLR(o, 10),
        lambda m, o: m.CosineAnnealingLR(o, T_max=35, eta_min=1e-3),
    ),
    "CosineAnnealingWarmRestarts": (
        lambda m, o: m.CosineAnnealingWarmRestarts(o, 5),
        lambda m, o: m.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2, eta_min=1e-4),
    ),
    "CyclicLR": (
        lambda m, o: m.CyclicLR(o, 0.01, 0.1, step_size_up=4),
        lambda m, o: m.CyclicLR(o, 0.01, 0.1, step_size_up=4, step_size_down=7, mode="triangular2"),
        lambda m, o: m.CyclicLR(o, [0.01, 0.02], [0.1, 0.3], 5, mode="exp_range", gamma=0.97),
        lambda m, o: m.CyclicLR(o, 0.01, 0.1, 5, cycle_momentum=False),
        lambda m, o: m.CyclicLR(
            o, 0.01, 0.1, 6, scale_fn=_halve, scale_mode="iterations", base_momentum=0.7
        ),
    ),
    "OneCycleLR": (
        lambda m, o: m.OneCycleLR(o, 0.2, total_steps=50),
        lambda m, o: m.OneCycleLR(o, [0.2, 0.4], epochs=6, steps_per_epoch=8, pct_start=0.4),
        lambda m, o: m.OneCycleLR(o, 0.2, total_steps=45, anneal_strategy="linear", div_factor=10),
        lambda m, o: m.OneCycleLR(o, 0.2, total_steps=45, three_phase=True, final_div_factor=100),
        lambda m, o: m.OneCycleLR(o, 0.2, total_steps=45, cycle_momentum=False),
    ),
    "ReduceLROnPlateau": (
        lambda m, o: m.ReduceLROnPlateau(o),
        lambda m, o: m.ReduceLROnPlateau(o, "max", factor=0.5, patience=2, cooldown=1),
        lambda m, o: m.ReduceLROnPlateau(o, patience=1, threshold=0.3, threshold_mode="abs"),
        lambda m, o: m.ReduceLROnPlateau(o, patience=0, min_lr=[1e-3, 2e-2], eps=1e-4),
    ),
    "SequentialLR": (
        lambda m, o: m.SequentialLR(o, [m.ConstantLR(o), m.ExponentialLR(o, 0.9)], [6]),
        lambda m, o: m.SequentialLR(
            o,
            [m.LinearLR(o, 0.1, total_iters=8), m.CosineAnnealingLR(o, 9), m.StepLR(o, 2)],
            [8, 21],
        ),
    ),
    "ChainedScheduler": (
        lambda m, o: m.ChainedScheduler([m.ConstantLR(o), m.ExponentialLR(o, 0.9)]),
        lambda m, o: m.ChainedScheduler([m.StepLR(o, 3), m.LinearLR(o)], optimizer=o),
    ),
    "SWALR": (
        lambda m, o: m.SWALR(o, 0.05),
        lambda m, o: m.SWALR(o, [0.05, 0.2], anneal_epochs=25, anneal_strategy="linear"),
    ),
}


@functools.cache
def entries() -> dict[str, Schedule]:
    """Return the configurations of all schedules there are, by name: `lr_scheduler.StepLR`."""
    public = {
        name: value
        for name, value in vars(torch.optim.lr_scheduler).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.lr_scheduler.LRScheduler)
    }
    missing = set(public) - set(CONFIGURATIONS) - {"LRScheduler", "_LRScheduler"}
    assert not missing, f"no configuration of {missing}"
    modules = {"SWALR": "optim.swa_utils"}
    return {
        f"lr_scheduler.{name}": Schedule(name, makes, modules.get(name, "optim.lr_scheduler"))
        for name, makes in CONFIGURATIONS.items()
    }


def has_column(entry: Schedule, column: str) -> bool:
    """Every column applies to every schedule."""
    return True


class Run:
    """A schedule over an optimiser with two groups."""

    def __init__(
        self, framework: types.ModuleType, entry: Schedule, make: Make, adam: bool
    ) -> None:
        lookup = Translator(framework).lookup
        parameters = [lookup("nn.Parameter")(framework.zeros(1)) for _ in range(2)]
        groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.3}]
        if adam:
            self.optimizer = lookup("optim.AdamW")(groups, lr=0.1)
        else:
            self.optimizer = lookup("optim.SGD")(groups, lr=0.1, momentum=0.9)
        self.schedule = make(lookup(entry.module), self.optimizer)

    def step(self, number: int) -> dict[str, Any]:
        """Step both; return the rates and momenta."""
        self.optimizer.step()
        if type(self.schedule).__name__ == "ReduceLROnPlateau":
            self.schedule.step(1 / (1 + min(number, 11)) + (number % 3) / 10)
        else:
            self.schedule.step()
        groups = self.optimizer.param_groups
        last = getattr(self.schedule, "get_last_lr", lambda: None)()
        return {
            "lr": [float(group["lr"]) for group in groups],
            "momentum": [group.get("momentum", group.get("betas")) for group in groups],
            "last": [float(rate) for rate in last],
        }


class Check:
    """The checks of one schedule against one framework."""

    def __init__(self, framework: types.ModuleType, entry: Schedule, limit: int) -> None:
        self.framework, self.entry = framework, entry

    def column(self, name: str) -> Outcome:
        """Run one column over every configuration, with SGD and with AdamW."""
        try:
            Translator(self.framework).lookup(f"{self.entry.module}.{self.entry.name}")
        except MissingError as error:
            return Outcome(reason=str(error))
        outcome = Outcome()
        for index, make in enumerate(self.entry.makes):
            for adam in (False, True):
                label = f"configuration {index} {'AdamW' if adam else 'SGD'}"
                outcome.attempt(label, getattr(self, f"_{name}"), make, adam)
        return outcome

    def _make(self, framework: types.ModuleType, make: Make, adam: bool) -> Run:
        return Run(framework, self.entry, make, adam)

    def _rates(self, make: Make, adam: bool) -> bool:
        theirs, ours = (self._make(f, make, adam) for f in (torch, self.framework))
        for number in range(STEPS):
            compare(theirs.step(number), ours.step(number), CLOSE)
        return True

    def _state(self, make: Make, adam: bool) -> bool:
        """The state_dict is PyTorch's, at the start and after some steps."""
        theirs, ours = (self._make(f, make, adam) for f in (torch, self.framework))
        for number in range(3):
            states = [_plain(run.schedule.state_dict()) for run in (theirs, ours)]
            compare(states[0], states[1], CLOSE)
            for run in (theirs, ours):
                run.step(number)
        return True

    def _resume(self, make: Make, adam: bool) -> bool:
        """Half-way a checkpoint goes through a file, to PyTorch and from it."""
        for source, target in ((torch, self.framework), (self.framework, torch)):
            old = self._make(source, make, adam)
            for number in range(STEPS // 2):
                old.step(number)
            stream = io.BytesIO()
            source.save(
                _without_functions([old.optimizer.state_dict(), old.schedule.state_dict()]), stream
            )
            stream.seek(0)
            optimizer, schedule = target.load(stream, weights_only=False)
            new = self._make(target, make, adam)
            new.optimizer.load_state_dict(optimizer)
            new.schedule.load_state_dict(schedule)
            for number in range(STEPS // 2, STEPS):
                compare(old.step(number), new.step(number), CLOSE)
        return True


def _plain(value: Any) -> Any:
    """Return a state without what no two frameworks share: functions become their names."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return getattr(value, "__name__", "function") if callable(value) else value


def _without_functions(value: Any) -> Any:
    """Leave out the functions of a state: files hold none."""
    if isinstance(value, dict):
        return {k: _without_functions(v) for k, v in value.items() if not _is_function(v)}
    return [_without_functions(v) for v in value] if isinstance(value, list) else value


def _is_function(value: Any) -> bool:
    return isinstance(value, (types.FunctionType, types.MethodType, functools.partial))
