"""One check a column: run PyTorch and the framework under test on the same samples and compare."""

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.testing._internal.opinfo.core import OpInfo, SampleInput

from . import cases
from .columns import GRADIENT_DTYPES, VALUE_DTYPES
from .compare import (
    MismatchError,
    Tolerance,
    ValueMismatchError,
    compare,
    describe,
    is_rounding,
)
from .translate import MissingError, Translator, UntranslatableError

SEED = 1234
# Results whose values are whatever the memory held.
UNINITIALISED = ("empty", "new_empty", "resize_")
# Factors defined up to a sign or phase: compared after the sample's own normalisation.
GAUGE_FREE = frozenset(
    ["svd", "svd_lowrank", "pca_lowrank", "linalg.svd", "linalg.eigh", "linalg.eig"]
)
# (values, indices) where ties leave the index open, with the position of `dim` after the input.
TIES = {"topk": 1, "kthvalue": 1, "median": 0, "nanmedian": 0, "mode": 0, "sort": 0, "msort": 0}
REASON_LENGTH = 300


@dataclass
class Outcome:
    """What a check found: the samples compared, those that agreed, and why the first did not."""

    total: int = 0
    passed: int = 0
    reason: str = ""

    @property
    def status(self) -> str:
        """Return `pass`, `fail`, or `none` where there was nothing to compare."""
        if self.reason:
            return "fail"
        return "pass" if self.total else "none"

    def fail(self, reason: str) -> None:
        """Record a failure; the first reason is kept."""
        self.total += 1
        self.reason = self.reason or reason[:REASON_LENGTH]

    def succeed(self) -> None:
        """Record an agreement."""
        self.total += 1
        self.passed += 1

    def attempt(self, label: str, check: Callable[..., bool], *args: Any) -> None:
        """Record what a check finds: True agrees, False compared nothing, an exception fails."""
        try:
            if check(*args):
                self.succeed()
        except Exception as error:
            self.fail(f"{label}: {explain(error)}")


@dataclass
class Side:
    """A sample in one framework: its function and its own copies of the arguments."""

    framework: types.ModuleType
    sample: SampleInput
    translator: Translator = field(init=False)
    arguments: tuple[Any, ...] = field(init=False)
    keywords: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.translator = Translator(self.framework)
        self.arguments = self.translator.value((self.sample.input, *self.sample.args))
        self.keywords = self.translator.value(self.sample.kwargs)

    def run(self, fn: Callable[..., Any], **more: Any) -> Any:
        """Call a translated function on the arguments, from the same seed each time."""
        self.framework.manual_seed(SEED)
        return fn(*self.arguments, **self.keywords, **more)

    def leaves(self) -> list[Any]:
        """Return the tensors among the arguments that require gradients, each once."""
        kind = self.translator.lookup("Tensor")
        found = [x for x in flatten((self.arguments, self.keywords)) if isinstance(x, kind)]
        return [x for x in unique(found) if x.requires_grad]


class Check:
    """The checks of one entry against one framework."""

    def __init__(self, framework: types.ModuleType, entry: OpInfo, limit: int) -> None:
        self.framework = framework
        self.entry = entry
        self.limit = limit

    def column(self, name: str) -> Outcome:
        """Run one column; an entry that the framework lacks fails without running anything."""
        try:
            self._function(self.framework)
        except MissingError as error:
            return Outcome(reason=str(error))
        if name in VALUE_DTYPES:
            return self._over_samples(self._value, [getattr(torch, name)])
        if name in GRADIENT_DTYPES:
            check = self._second_derivative if name == "gradgrad" else self._gradient
            return self._over_samples(check, [getattr(torch, GRADIENT_DTYPES[name])], True)
        if name == "errors":
            return self._errors()
        check = {"inplace": self._inplace, "out": self._out}[name]
        return self._over_samples(check, cases.value_dtypes(self.entry))

    # -- running ---------------------------------------------------------------------------------

    def _over_samples(
        self,
        check: Callable[[SampleInput, torch.dtype], bool],
        dtypes: list[torch.dtype],
        requires_grad: bool = False,
    ) -> Outcome:
        outcome = Outcome()
        for dtype in dtypes:
            chosen = cases.samples(self.entry, dtype, self.limit, requires_grad)
            for index, sample in chosen:
                outcome.attempt(self._call(index, sample), check, sample, dtype)
        return outcome

    def _call(self, index: int, sample: SampleInput) -> str:
        keywords = [f"{key}={describe(value)}" for key, value in sample.kwargs.items()]
        inner = ", ".join([*map(describe, (sample.input, *sample.args)), *keywords])
        return f"sample {index} {self.entry.name}({inner:.120})"

    def _function(self, framework: types.ModuleType) -> Callable[..., Any]:
        return Translator(framework).function(self.entry.op, self.entry.name)

    def _reference(self, side: Side, fn: Callable[..., Any], **more: Any) -> tuple[Any, Any]:
        """Run PyTorch; its exception is a result like any other."""
        try:
            return side.run(fn, **more), None
        except Exception as error:
            return None, error

    # -- values ----------------------------------------------------------------------------------

    def _value(self, sample: SampleInput, dtype: torch.dtype) -> bool:
        ours = Side(self.framework, sample)  # copied first: some entries write to their input
        theirs = Side(torch, sample)
        expected, error = self._reference(theirs, self.entry.op)
        if error is not None:
            return False
        result = ours.run(self._function(self.framework))
        self._compare_value(sample, dtype, (theirs, expected), (ours, result))
        return True

    def _compare_value(
        self,
        sample: SampleInput,
        dtype: torch.dtype,
        reference: tuple[Side, Any],
        checked: tuple[Side, Any],
    ) -> None:
        expected = reference[0].translator.to_torch(reference[1])
        actual = checked[0].translator.to_torch(checked[1])
        values = not self.entry.name.startswith(UNINITIALISED)
        tolerance = cases.tolerance(self.entry, dtype)
        try:
            compare(expected, actual, tolerance, values)
        except ValueMismatchError:
            if self.entry.name in GAUGE_FREE:
                self._compare_normalised(sample, tolerance, expected, actual)
            elif not (
                self._is_tie(sample, expected, actual)
                or self._is_rounding(sample, expected, actual)
            ):
                raise

    def _compare_normalised(
        self, sample: SampleInput, tolerance: Tolerance, expected: Any, actual: Any
    ) -> None:
        normalise = sample.output_process_fn_grad
        compare(_sequence(normalise(expected)), _sequence(normalise(actual)), tolerance)

    def _is_tie(self, sample: SampleInput, expected: Any, actual: Any) -> bool:
        """Tell whether other indices select the same values."""
        if self.entry.name not in TIES or not isinstance(expected, tuple):
            return False
        position = TIES[self.entry.name]
        args = sample.args
        dim = sample.kwargs.get("dim", args[position] if len(args) > position else -1)
        values, index = actual
        if not torch.equal(values, expected[0]):
            return False
        if index.dim() < sample.input.dim():
            values, index = values.unsqueeze(dim), index.unsqueeze(dim)
        return bool(torch.equal(sample.input.gather(dim, index), values))

    def _is_rounding(self, sample: SampleInput, expected: Any, actual: Any) -> bool:
        """Judge single precision against PyTorch in double precision."""
        exact_sample = SampleInput(
            widen(sample.input), args=widen(sample.args), kwargs=widen(sample.kwargs)
        )
        side = Side(torch, exact_sample)
        exact, error = self._reference(side, self.entry.op)
        return error is None and is_rounding(expected, actual, side.translator.to_torch(exact))

    # -- gradients -------------------------------------------------------------------------------

    def _gradient(self, sample: SampleInput, dtype: torch.dtype) -> bool:
        return self._compare_gradients(sample, dtype, second=False)

    def _second_derivative(self, sample: SampleInput, dtype: torch.dtype) -> bool:
        return self._compare_gradients(sample, dtype, second=True)

    def _compare_gradients(self, sample: SampleInput, dtype: torch.dtype, second: bool) -> bool:
        ours, theirs = Side(self.framework, sample), Side(torch, sample)
        cotangents: list[list[torch.Tensor]] = []
        try:
            expected = self._differentiate(theirs, cotangents, second)
        except Exception:
            return False  # PyTorch itself has no derivative here
        if not expected:
            return False
        actual = self._differentiate(ours, cotangents, second)
        compare_gradient_lists(expected, actual, cases.tolerance(self.entry, dtype, True))
        return True

    def _differentiate(
        self, side: Side, cotangents: list[list[torch.Tensor]], second: bool
    ) -> list[torch.Tensor | None]:
        translate = side.translator
        leaves = side.leaves()
        fn = translate.function(self.entry.op, self.entry.name)
        wrapper = translate.function(self.entry.gradcheck_wrapper)
        result = side.run(lambda *args, **kwargs: wrapper(fn, *args, **kwargs))
        result = translate.function(side.sample.output_process_fn_grad)(result)
        outputs = [x for x in flatten(result) if getattr(x, "requires_grad", False)]
        return differentiate(side, outputs, leaves, cotangents, second)

    # -- errors ----------------------------------------------------------------------------------

    def _errors(self) -> Outcome:
        outcome = Outcome()
        for index, case in enumerate(cases.error_inputs(self.entry)):
            outcome.attempt(self._call(index, case.sample_input), self._error, case)
        return outcome

    def _error(self, case: Any) -> bool:
        ours, theirs = Side(self.framework, case.sample_input), Side(torch, case.sample_input)
        _, wanted = self._reference(theirs, self.entry.op)
        if wanted is None or not isinstance(wanted, case.error_type):
            return False
        kind = Translator(self.framework).value(case.error_type)
        expect_error(kind, wanted, lambda: ours.run(self._function(self.framework)))
        return True

    # -- in-place and out ------------------------------------------------------------------------

    def _inplace(self, sample: SampleInput, dtype: torch.dtype) -> bool:
        if sample.broadcasts_input:
            return False
        ours, theirs = Side(self.framework, sample), Side(torch, sample)
        fn = self.entry.get_inplace()
        expected, error = self._reference(theirs, fn)
        hint = f"Tensor.{self.entry.name}_"
        run = ours.translator.function(fn, hint)
        if error is not None:
            expect_error(type(error), error, lambda: ours.run(run))
            return True
        result = ours.run(run)
        if expected is theirs.arguments[0] and result is not ours.arguments[0]:
            raise MismatchError("the result is not the tensor that was written to")
        self._compare_value(sample, dtype, (theirs, theirs.arguments[0]), (ours, ours.arguments[0]))
        return True

    def _out(self, sample: SampleInput, dtype: torch.dtype) -> bool:
        side = Side(torch, sample)
        plain, error = self._reference(side, self.entry.op)
        if error is not None or not all(is_dense(x) for x in _sequence(plain)):
            return False
        ran = False
        for name, make in OUT_FORMS.items():
            try:
                ran |= self._out_form(sample, dtype, like(plain, make))
            except (MismatchError, MissingError) as mismatch:
                raise type(mismatch)(f"out {name}: {mismatch}") from None
        return ran

    def _out_form(self, sample: SampleInput, dtype: torch.dtype, out: Any) -> bool:
        ours, theirs = Side(self.framework, sample), Side(torch, sample)
        our_out, their_out = ours.translator.value(out), theirs.translator.value(out)
        expected, error = self._reference(theirs, self.entry.op, out=their_out)
        fn = self._function(self.framework)
        if error is not None:
            if not isinstance(error, RuntimeError):
                return False
            expect_error(RuntimeError, error, lambda: ours.run(fn, out=our_out))
            return True
        result = ours.run(fn, out=our_out)
        same = zip(_sequence(expected), _sequence(their_out), strict=False)
        if all(a is b for a, b in same):
            pairs = zip(_sequence(result), _sequence(our_out), strict=False)
            if not all(a is b for a, b in pairs):
                raise MismatchError("the result is not the tensor given as out")
        self._compare_value(sample, dtype, (theirs, their_out), (ours, our_out))
        return True


def _garbage(x: torch.Tensor) -> torch.Tensor:
    """Make an output of the right shape and strides whose values would show if they stayed."""
    made = torch.empty_strided(tuple(x.shape), x.stride(), dtype=x.dtype)
    return made.fill_(float("nan") if x.is_floating_point() or x.is_complex() else 1)


def _narrow(x: torch.Tensor) -> torch.Tensor:
    """Make an output of a dtype that cannot hold the result, where there is one."""
    wide = x.is_floating_point() or x.is_complex()
    return torch.zeros(x.shape, dtype=torch.int64 if wide else x.dtype)


OUT_FORMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "of the right shape": _garbage,
    "to be resized": lambda x: torch.empty(0, dtype=x.dtype),
    "of a narrower dtype": _narrow,
}


def is_dense(x: Any) -> bool:
    """Tell whether a value is a tensor with strides."""
    return torch.is_tensor(x) and x.layout == torch.strided


def expect_error(kind: type, wanted: Exception, run: Callable[[], Any]) -> None:
    """Raise MismatchError unless `run` raises an exception of `kind`.

    "Not implemented" is a RuntimeError in Python, but it is right only where PyTorch says so too.
    """
    said = f"{type(wanted).__name__}: {str(wanted).partition(chr(10))[0]:.80}"
    try:
        run()
    except Exception as error:
        lazy = isinstance(error, NotImplementedError) and not isinstance(wanted, type(error))
        if isinstance(error, MissingError) or lazy or not isinstance(error, kind):
            raise MismatchError(f"expected {said}; got {explain(error)}") from None
        return
    raise MismatchError(f"no error; expected {said}")


def differentiate(
    side: Any,
    outputs: list[Any],
    leaves: list[Any],
    cotangents: list[list[torch.Tensor]],
    second: bool,
) -> list[torch.Tensor | None]:
    """Return the gradients of the leaves, or with `second` those of the gradients.

    PyTorch's side, run first, fills in the cotangents; nothing to differentiate there gives [].
    """
    if not leaves or (side.framework is torch and not outputs):
        return []
    grads, seeds = _backward(side, outputs, leaves, cotangents, 0, second)
    if second:
        again = [x for x in grads if x is not None and x.requires_grad]
        if side.framework is torch and not again:
            return []
        grads, _ = _backward(side, again, [*leaves, *seeds], cotangents, 1, False)
    return [None if x is None else side.translator.to_torch(x) for x in grads]


def _backward(
    side: Any,
    outputs: list[Any],
    inputs: list[Any],
    cotangents: list[list[torch.Tensor]],
    order: int,
    create_graph: bool,
) -> tuple[list[Any], list[Any]]:
    """Return the gradients of `inputs` and the cotangents used."""
    if len(cotangents) == order:
        cotangents.append([make_cotangent(x, i, create_graph) for i, x in enumerate(outputs)])
    given = cotangents[order]
    shapes = [tuple(x.shape) for x in outputs]
    expected = [tuple(x.shape) for x in given]
    if shapes != expected:
        raise MismatchError(
            f"differentiable {'gradients' if order else 'outputs'}: expected shapes {expected},"
            f" got {shapes}"
        )
    seeds = [side.translator.tensor(x) for x in given]
    grads = side.framework.autograd.grad(
        outputs, inputs, seeds, allow_unused=True, create_graph=create_graph
    )
    return list(grads), seeds


def make_cotangent(output: torch.Tensor, index: int, requires_grad: bool) -> torch.Tensor:
    """Return random numbers of an output's shape and dtype, the same for each framework."""
    generator = torch.Generator().manual_seed(SEED + index)
    made = torch.randn(output.shape, dtype=output.dtype, generator=generator)
    return made.requires_grad_(requires_grad)


def compare_gradient_lists(
    expected: list[torch.Tensor | None], actual: list[torch.Tensor | None], tolerance: Tolerance
) -> None:
    """Compare gradient by gradient; "no gradient" equals one of zeros."""
    for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
        shape = one if one is not None else other
        if shape is None:
            continue
        zeros = torch.zeros_like(shape)
        try:
            compare(zeros if one is None else one, zeros if other is None else other, tolerance)
        except MismatchError as error:
            raise MismatchError(f"gradient of input {index}: {error}") from None


def flatten(value: Any) -> Iterator[Any]:
    """Yield what nested tuples, lists and dictionaries hold."""
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from flatten(item)
    elif isinstance(value, dict):
        yield from flatten(list(value.values()))
    else:
        yield value


def unique(values: list[Any]) -> list[Any]:
    """Return the values without repeated objects, in order."""
    return list({id(value): value for value in values}.values())


def widen(value: Any) -> Any:
    """Turn single precision into double precision throughout a sample."""
    wide = {torch.float32: torch.float64, torch.complex64: torch.complex128}
    if isinstance(value, torch.Tensor):
        return value.to(wide.get(value.dtype, value.dtype))
    if isinstance(value, torch.dtype):
        return wide.get(value, value)
    if type(value) in (tuple, list):
        return type(value)(widen(item) for item in value)
    if type(value) is dict:
        return {key: widen(item) for key, item in value.items()}
    return value


def like(result: Any, make: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Build the value of `out` for a result: one tensor or a tuple of them."""
    return make(result) if torch.is_tensor(result) else tuple(make(x) for x in result)


def explain(error: Exception) -> str:
    """Say in one line what went wrong."""
    text = " ".join(str(error).split())
    if isinstance(error, (MismatchError, MissingError, UntranslatableError)):
        return text
    return f"{type(error).__name__}: {text}"


def _sequence(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
