"""PyTorch's table of modules: the same constructor arguments, state and inputs on both sides."""

import copy
import functools
import io
import pickle
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.testing._internal.common_modules import ModuleErrorEnum, ModuleInfo, module_db

from . import cases
from .checks import (
    SEED,
    Outcome,
    compare_gradient_lists,
    describe,
    differentiate,
    expect_error,
    flatten,
    unique,
)
from .compare import Tolerance, compare
from .translate import MissingError, Translator

EXACT = Tolerance()
# Sums over many products, in single precision and in another order.
CLOSE = Tolerance(atol=1e-5, rtol=1e-4)
TOLERANCES = {torch.float32: CLOSE, torch.float64: EXACT}
MODES = {"train": True, "eval": False}


@functools.cache
def entries() -> dict[str, ModuleInfo]:
    """Return the table by name, such as `nn.Linear`."""
    return {entry.name: entry for entry in module_db}


def has_column(entry: ModuleInfo, column: str) -> bool:
    """Tell whether a column applies to an entry."""
    if column == "errors":
        return entry.module_error_inputs_func is not None
    return column != "gradgrad" or entry.supports_gradgrad


class Side:
    """One sample in one framework: the module and its own copies of the arguments."""

    def __init__(self, framework: types.ModuleType, entry: ModuleInfo, sample: Any) -> None:
        self.framework = framework
        self.translator = Translator(framework)
        self.kind = self.translator.lookup(entry.name)
        self.given, forward = sample.constructor_input, sample.forward_input
        self.arguments: tuple[Any, ...] = self.translator.value(forward.args if forward else ())
        self.keywords = self.translator.value(forward.kwargs if forward else {})
        self.module: Any = None

    def build(self, dtype: torch.dtype, training: bool = True) -> Any:
        """Make the module, from the same seed each time."""
        self.framework.manual_seed(SEED)
        args, kwargs = self.translator.value((self.given.args, self.given.kwargs))
        self.module = self.kind(*args, **kwargs).to(self.translator.value(dtype)).train(training)
        return self.module

    def run(self, module: Any = None) -> Any:
        """Call the module on the arguments, from the same seed each time."""
        self.framework.manual_seed(SEED)
        return (module or self.module)(*self.arguments, **self.keywords)

    def state(self, module: Any = None) -> dict[str, torch.Tensor]:
        """Return the state as PyTorch's tensors."""
        state = (module or self.module).state_dict()
        return {name: self.translator.to_torch(value) for name, value in state.items()}

    def leaves(self) -> list[Any]:
        """Return the tensors to differentiate by: arguments and parameters, each once."""
        kind = self.translator.lookup("Tensor")
        given = [x for x in flatten((self.arguments, self.keywords)) if isinstance(x, kind)]
        found = [*given, *self.module.parameters()]
        return [x for x in unique(found) if x.requires_grad]


class Check:
    """The checks of one entry against one framework."""

    def __init__(self, framework: types.ModuleType, entry: ModuleInfo, limit: int) -> None:
        self.framework, self.entry, self.limit = framework, entry, limit

    def column(self, name: str) -> Outcome:
        """Run one column; an entry that the framework lacks fails without running anything."""
        try:
            Translator(self.framework).lookup(self.entry.name)
        except MissingError as error:
            return Outcome(reason=str(error))
        if name == "errors":
            return self._errors()
        if name in MODES:
            dtypes = [d for d in TOLERANCES if d in self.entry.dtypes]
            return self._over_samples(self._forward, dtypes, [name])
        if name in ("grad", "gradgrad"):
            check = functools.partial(self._gradient, second=name == "gradgrad")
            return self._over_samples(check, [torch.float64], list(MODES), True)
        return self._over_samples(getattr(self, f"_{name}"), [torch.float32], ["train"])

    # -- running ---------------------------------------------------------------------------------

    def _over_samples(
        self,
        check: Callable[[Side, Side, torch.dtype], bool],
        dtypes: list[torch.dtype],
        modes: list[str],
        requires_grad: bool = False,
    ) -> Outcome:
        outcome = Outcome()
        for dtype in dtypes:
            for mode in modes:
                for index, sample in self._samples(dtype, MODES[mode], requires_grad):
                    label = f"{mode} {_call(index, sample)}"
                    outcome.attempt(label, self._check, check, sample, dtype, MODES[mode])
        return outcome

    def _samples(
        self, dtype: torch.dtype, training: bool, requires_grad: bool
    ) -> Iterator[tuple[int, Any]]:
        torch.manual_seed(SEED)
        make = functools.partial(self.entry.module_inputs_func, self.entry, device="cpu")
        made = list(enumerate(make(dtype=dtype, requires_grad=requires_grad, training=training)))
        yield from cases.spread(made, self.limit) if self.limit else made

    def _check(
        self, check: Callable[..., bool], sample: Any, dtype: torch.dtype, training: bool
    ) -> bool:
        theirs = Side(torch, self.entry, sample)
        try:
            theirs.build(dtype, training)
        except Exception:
            return False  # PyTorch itself refuses the sample
        ours = Side(self.framework, self.entry, sample)
        ours.build(dtype, training)
        return check(ours, theirs, dtype)

    def _prepare(self, ours: Side, theirs: Side) -> bool:
        """Give both modules PyTorch's state; lazy ones get their shapes from a first call."""
        if self.entry.is_lazy:
            for side in (theirs, ours):
                with side.framework.no_grad():
                    side.run()
        ours.module.load_state_dict(ours.translator.value(dict(theirs.module.state_dict())))
        return bool(theirs.arguments or theirs.keywords)

    # -- state -----------------------------------------------------------------------------------

    def _state(self, ours: Side, theirs: Side, dtype: torch.dtype) -> bool:
        if self.entry.is_lazy:
            compare(_names(theirs.module), _names(ours.module), EXACT)
            self._prepare(ours, theirs)
        compare(_names(theirs.module), _names(ours.module), EXACT)
        shapes = [{k: describe(v) for k, v in side.state().items()} for side in (theirs, ours)]
        compare(shapes[0], shapes[1], EXACT)
        return True

    def _repr(self, ours: Side, theirs: Side, dtype: torch.dtype) -> bool:
        compare(repr(theirs.module), repr(ours.module), EXACT)
        return True

    def _init(self, ours: Side, theirs: Side, dtype: torch.dtype) -> bool:
        if self.entry.is_lazy:
            for side in (theirs, ours):
                with side.framework.no_grad():
                    side.run()
        compare(theirs.state(), ours.state(), EXACT)
        return bool(theirs.state())

    def _round_trip(self, ours: Side, theirs: Side, dtype: torch.dtype) -> bool:
        """State goes through a file from PyTorch and to PyTorch, copied and assigned."""
        self._prepare(ours, theirs)
        expected = theirs.state()
        for source, target in ((theirs, ours), (ours, theirs)):
            stream = io.BytesIO()
            source.framework.save(source.module.state_dict(), stream)
            for assign in (False, True):
                stream.seek(0)
                loaded = target.framework.load(stream)
                fresh = copy.deepcopy(target.module)
                report = fresh.load_state_dict(loaded, assign=assign)
                compare(([], []), (report.missing_keys, report.unexpected_keys), EXACT)
                compare(expected, target.state(fresh), EXACT)
        return bool(expected)

    def _copies(self, ours: Side, theirs: Side, dtype: torch.dtype) -> bool:
        """Copies and unpickled modules hold the same state and give the same result."""
        runs = self._prepare(ours, theirs)
        ran = False
        for duplicate in (copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))):
            try:
                duplicate(theirs.module)
            except Exception:
                continue
            made = duplicate(ours.module)
            compare(ours.state(), ours.state(made), EXACT)
            compare(repr(ours.module), repr(made), EXACT)
            if runs:
                results = [ours.translator.to_torch(ours.run(m)) for m in (ours.module, made)]
                compare(results[0], results[1], EXACT)
            ran = True
        return ran

    # -- values ----------------------------------------------------------------------------------

    def _forward(self, ours: Side, theirs: Side, dtype: torch.dtype) -> bool:
        if not self._prepare(ours, theirs):
            return False
        try:
            expected = theirs.run()
        except Exception as error:
            expect_error(type(error), error, ours.run)
            return True
        actual = ours.translator.to_torch(ours.run())
        compare(theirs.translator.to_torch(expected), actual, TOLERANCES[dtype])
        compare(theirs.state(), ours.state(), TOLERANCES[dtype])  # running statistics
        return True

    def _gradient(self, ours: Side, theirs: Side, dtype: torch.dtype, second: bool) -> bool:
        if not self._prepare(ours, theirs):
            return False
        if second and theirs.given.kwargs.get("options") is not None:
            return False  # PyTorch documents that its chunked losses have no second derivative
        cotangents: list[list[torch.Tensor]] = []
        try:
            expected = _differentiate(theirs, cotangents, second)
        except Exception:
            return False  # PyTorch itself has no derivative here
        if not any(x is not None for x in expected):
            return False
        compare_gradient_lists(expected, _differentiate(ours, cotangents, second), EXACT)
        return True

    # -- errors ----------------------------------------------------------------------------------

    def _errors(self) -> Outcome:
        outcome = Outcome()
        make = functools.partial(self.entry.module_error_inputs_func, self.entry, device="cpu")
        cases = make(dtype=torch.float32, requires_grad=False, training=True)
        for index, case in enumerate(cases):
            outcome.attempt(_call(index, case.module_error_input), self._error, case)
        return outcome

    def _error(self, case: Any) -> bool:
        def run(framework: types.ModuleType) -> Callable[[], Any]:
            side = Side(framework, self.entry, case.module_error_input)
            if case.error_on == ModuleErrorEnum.CONSTRUCTION_ERROR:
                return lambda: side.build(torch.float32)
            side.build(torch.float32)
            return side.run

        try:
            run(torch)()
        except case.error_type as wanted:
            expect_error(case.error_type, wanted, run(self.framework))
            return True
        return False


def _names(module: torch.nn.Module) -> dict[str, Any]:
    """Return everything about a module's members but their values."""
    return {
        "state_dict": list(module.state_dict()),
        "parameters": {k: p.requires_grad for k, p in module.named_parameters()},
        "parameter order": [k for k, _ in module.named_parameters()],
        "buffers": [k for k, _ in module.named_buffers()],
        "modules": [(k, type(m).__name__, m.training) for k, m in module.named_modules()],
    }


def _differentiate(
    side: Side, cotangents: list[list[torch.Tensor]], second: bool
) -> list[torch.Tensor | None]:
    outputs = [x for x in flatten(side.run()) if getattr(x, "requires_grad", False)]
    return differentiate(side, outputs, side.leaves(), cotangents, second)


def _call(index: int, sample: Any) -> str:
    """Describe a sample in a line."""
    calls = (sample.constructor_input, sample.forward_input)
    texts = [
        ", ".join([*map(describe, x.args), *(f"{k}={describe(v)}" for k, v in x.kwargs.items())])
        for x in calls
        if x is not None
    ]
    return f"sample {index} {sample.desc} " + "".join(f"({text:.80})" for text in texts)
