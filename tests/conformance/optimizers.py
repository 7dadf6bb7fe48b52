"""PyTorch's table of optimisers: every configuration follows PyTorch's parameters step by step."""

import functools
import io
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch.testing._internal.common_optimizers import (
    OptimizerErrorEnum,
    OptimizerInfo,
    optim_db,
)

from .checks import SEED, Outcome, expect_error
from .compare import MismatchError, Tolerance, compare
from .translate import MissingError, Translator

STEPS = 12
TOLERANCES = {
    torch.float64: Tolerance(atol=1e-10, rtol=1e-9),
    torch.float32: Tolerance(atol=1e-5, rtol=1e-4),
    torch.complex64: Tolerance(atol=1e-5, rtol=1e-4),
}
# Muon's products are rounded to bfloat16, now and then another way.
LOOSER = {"Muon": Tolerance(atol=1e-4)}
# Two dimensions, because Muon takes matrices only; elsewhere a vector, a scalar, nothing as well.
MATRICES = ((3, 4), (5, 2), (1, 6))
SHAPES = (*MATRICES, (4,), (), (2, 0))
SPARSE_SHAPES = ((8, 3), (6,))
# PyTorch's Adafactor divides by the number of elements.
SHAPES_OF = {"Muon": MATRICES, "Adafactor": SHAPES[:-1], "SparseAdam": SPARSE_SHAPES}
# The columns that step beside PyTorch and compare the parameters.
FOLLOWING = ("steps", "flags", "complex")
FLAGS = ("foreach", "fused", "capturable", "differentiable", "maximize")


@functools.cache
def entries() -> dict[str, OptimizerInfo]:
    """Return the table by name, such as `optim.Adam`."""
    return {f"optim.{entry.name}": entry for entry in optim_db}


def has_column(entry: OptimizerInfo, column: str) -> bool:
    """Tell whether a column applies to an entry."""
    if column == "complex":
        return entry.supports_complex
    if column == "errors":
        return entry.optim_error_inputs_func is not None
    return column != "flags" or any(_flags(entry))


class Run:
    """An optimiser with its parameters in one framework."""

    def __init__(
        self, framework: types.ModuleType, entry: OptimizerInfo, options: Any, dtype: torch.dtype
    ) -> None:
        self.framework, self.entry = framework, entry
        self.translator = Translator(framework)
        values = _draw(SHAPES_OF.get(entry.name, SHAPES), dtype, SEED)
        self.parameters = [self.translator.tensor(v.requires_grad_(True)) for v in values]
        kind = self.translator.lookup(f"optim.{entry.name}")
        self.optimizer = kind(self._group(options), **self.translator.value(options))
        self.dtype = dtype

    def _group(self, options: Any) -> Any:
        """Return two groups with different rates, where the optimiser knows groups."""
        if not self.entry.supports_param_groups or len(self.parameters) < 2:
            return self.parameters
        lr = options.get("lr", 0.01)
        other = lr / 2 if isinstance(lr, float) else 0.005
        return [{"params": self.parameters[:-1]}, {"params": self.parameters[-1:], "lr": other}]

    def step(self, number: int) -> None:
        """Set the gradients of a step and take it; the closure's loss is a quadratic."""
        if self.entry.step_requires_closure:
            self.optimizer.step(self._closure)
            return
        sparse = self.entry.only_supports_sparse_grads
        for i, (value, parameter) in enumerate(zip(*self._gradients(number), strict=True)):
            if sparse:
                value = value.masked_fill(_rows(value, number), 0).to_sparse(1)
            skipped = i == 1 and number < 2  # some parameters start later
            parameter.grad = None if skipped else self.translator.tensor(value)
        self.optimizer.step()

    def _gradients(self, number: int) -> tuple[list[torch.Tensor], list[Any]]:
        return _draw(
            SHAPES_OF.get(self.entry.name, SHAPES), self.dtype, SEED + 1 + number
        ), self.parameters

    def _closure(self) -> Any:
        self.optimizer.zero_grad()
        loss = sum(((p * (i + 1) - 1) ** 2).sum() for i, p in enumerate(self.parameters))
        loss = loss + sum((p**4).sum() for p in self.parameters)
        loss.backward()  # type: ignore[union-attr]
        return loss

    def values(self) -> list[torch.Tensor]:
        """Return the parameters as PyTorch's tensors."""
        return [self.translator.to_torch(p) for p in self.parameters]

    def state(self) -> Any:
        """Return the state_dict with PyTorch's tensors."""
        return self.translator.to_torch(self.optimizer.state_dict())


class Check:
    """The checks of one entry against one framework."""

    def __init__(self, framework: types.ModuleType, entry: OptimizerInfo, limit: int) -> None:
        self.framework, self.entry = framework, entry

    def column(self, name: str) -> Outcome:
        """Run one column over every configuration."""
        try:
            Translator(self.framework).lookup(f"optim.{self.entry.name}")
        except MissingError as error:
            return Outcome(reason=str(error))
        if name == "errors":
            return self._errors()
        dtypes = [torch.complex64] if name == "complex" else [torch.float64]
        if name != "complex" and not self.entry.step_requires_closure:
            dtypes.append(torch.float32)  # hundreds of evaluations in a row amplify its rounding
        check = self._follow if name in FOLLOWING else getattr(self, f"_{name}")
        outcome = Outcome()
        for options in _flags(self.entry) if name == "flags" else _options(self.entry):
            for dtype in dtypes:
                outcome.attempt(f"{options} {dtype}", check, options, dtype)
        return outcome

    def _tolerance(self, dtype: torch.dtype) -> Tolerance:
        return LOOSER.get(self.entry.name, TOLERANCES[dtype])

    def _runs(self, options: Any, dtype: torch.dtype) -> tuple[Run, Run] | None:
        """Return PyTorch's run and ours; None where PyTorch does not accept the options."""
        try:
            theirs = Run(torch, self.entry, options, dtype)
            trial = Run(torch, self.entry, options, dtype)
            for number in range(STEPS):
                trial.step(number)
        except (RuntimeError, ValueError, AssertionError, TypeError):
            return None
        return theirs, Run(self.framework, self.entry, options, dtype)

    def _follow(self, options: Any, dtype: torch.dtype) -> bool:
        if (runs := self._runs(options, dtype)) is None:
            return False
        _step_together(*runs, range(STEPS), self._tolerance(dtype))
        return True

    def _state(self, options: Any, dtype: torch.dtype) -> bool:
        """The state_dict and the text are PyTorch's, before the first step and after two."""
        if (runs := self._runs(options, dtype)) is None:
            return False
        theirs, ours = runs
        for number in (0, 1):
            compare(repr(theirs.optimizer), repr(ours.optimizer), Tolerance())
            compare(theirs.state(), ours.state(), self._tolerance(dtype))
            orders = [[list(g) for g in run.state()["param_groups"]] for run in (theirs, ours)]
            compare(orders[0], orders[1], Tolerance())
            _step_together(theirs, ours, [number], self._tolerance(dtype))
        return True

    def _resume(self, options: Any, dtype: torch.dtype) -> bool:
        """Half-way a checkpoint goes through a file, to PyTorch and from it."""
        if self._runs(options, dtype) is None:
            return False
        for source, target in ((torch, self.framework), (self.framework, torch)):
            old = Run(source, self.entry, options, dtype)
            for number in range(STEPS // 2):
                old.step(number)
            stream = io.BytesIO()
            source.save([old.optimizer.state_dict(), [p.detach() for p in old.parameters]], stream)
            # Loading casts some of the state, so PyTorch's is compared after a loading of its own.
            peer, new = (self._load(f, options, dtype, stream) for f in (torch, target))
            _step_together(old, new, range(STEPS // 2, STEPS), self._tolerance(dtype))
            for number in range(STEPS // 2, STEPS):
                peer.step(number)
            compare(peer.state(), new.state(), self._tolerance(dtype))
        return True

    def _load(
        self, framework: types.ModuleType, options: Any, dtype: torch.dtype, stream: io.BytesIO
    ) -> Run:
        stream.seek(0)
        state, values = framework.load(stream)
        made = Run(framework, self.entry, options, dtype)
        made.optimizer.load_state_dict(state)
        with framework.no_grad():
            for parameter, value in zip(made.parameters, values, strict=True):
                parameter.copy_(value)
        return made

    def _errors(self) -> Outcome:
        outcome = Outcome()
        for case in self.entry.optim_error_inputs_func(device="cpu", dtype=torch.float32):
            outcome.attempt(case.optimizer_error_input.desc, self._error, case)
        return outcome

    def _error(self, case: Any) -> bool:
        def run(framework: types.ModuleType) -> None:
            translator = Translator(framework)
            sample = case.optimizer_error_input
            given = sample.params
            if given is None:
                given = [torch.nn.Parameter(torch.randn(2, 3))]
            kind = translator.lookup(f"optim.{self.entry.name}")
            optimizer = kind(translator.value(given), **translator.value(sample.kwargs))
            if case.error_on == OptimizerErrorEnum.STEP_ERROR:
                for group in optimizer.param_groups:
                    for p in group["params"]:
                        p.grad = framework.ones_like(p)
                optimizer.step()

        if issubclass(case.error_type, Warning):
            return False
        try:
            run(torch)
        except case.error_type as wanted:
            expect_error(case.error_type, wanted, lambda: run(self.framework))
            return True
        return False


def _step_together(old: Run, new: Run, numbers: Any, tolerance: Tolerance) -> None:
    for number in numbers:
        old.step(number)
        new.step(number)
        try:
            compare(old.values(), new.values(), tolerance)
        except MismatchError as error:
            raise MismatchError(f"after step {number}: {error}") from None


def _options(entry: OptimizerInfo) -> Iterator[dict[str, Any]]:
    for made in entry.optim_inputs_func(device="cpu"):
        yield made.kwargs


def _flags(entry: OptimizerInfo) -> Iterator[dict[str, Any]]:
    """Every configuration with each of PyTorch's flags for the choice of implementation."""
    supported = {*entry.supported_impls, *entry.not_og_supported_flags} & set(FLAGS)
    if entry.has_capturable_arg:
        supported.add("capturable")
    for flag in sorted(supported - {"differentiable", "capturable"}):
        for options in _options(entry):
            if flag not in options:
                yield {**options, flag: True}


def _draw(shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=dtype, generator=generator) for shape in shapes]


def _rows(value: torch.Tensor, number: int) -> torch.Tensor:
    """Mask the rows that get no gradient in a step."""
    rows = (torch.arange(value.shape[0]) + number) % 3 != 0
    return rows.reshape(-1, *(1,) * (value.dim() - 1))
