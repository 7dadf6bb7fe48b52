"""Time the first call of every op with an empty kernel cache, and say where the time goes.

    python -m tools.first_calls [--op REGEX] [--dtype float32] [--slowest 40] [--backward]
                                [--pointwise] [--over MILLISECONDS]

Each entry of PyTorch's op table runs its first sample in a process forked for it, so nothing it
needs has been compiled. The compiler, the nn library and the special functions are loaded
beforehand. Columns, in milliseconds of processor time: the whole call; of it making the IR's text,
LLVM's parsing and its code generation; then modules compiled and the IR's size.
"""

import argparse
import gc
import json
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

os.environ.setdefault("FLAMBEAU_NUM_THREADS", "2")

import torch
from torch.testing._internal.opinfo.core import BinaryUfuncInfo, UnaryUfuncInfo

import flambeau
from flambeau.kernels import cache, loops, mathlib, special, target
from flambeau.ops import identity
from tests.conformance import cases
from tests.conformance.translate import Translator

_POINTWISE = (UnaryUfuncInfo, BinaryUfuncInfo)

# of tensors for compilations that only prepare: entries use float32
_types = iter([flambeau.int8, flambeau.int16, flambeau.int32])


@dataclass
class First:
    """The first call of one entry; times in milliseconds."""

    name: str
    total: float = 0.0
    text: float = 0.0
    parse: float = 0.0
    code: float = 0.0
    modules: int = 0
    kilobytes: float = 0.0
    error: str = ""


def main() -> None:
    """Measure the chosen entries and print the slowest."""
    options = _parse()
    warnings.simplefilter("ignore")
    _load_compiler()
    pattern = re.compile(options.op)
    chosen = [e for name, e in cases.entries().items() if pattern.search(name)]
    dtype = getattr(torch, options.dtype)
    gc.collect()
    gc.freeze()  # children would copy every page whose reference counts a collection touches
    chosen = [entry for entry in chosen if dtype in entry.supported_dtypes("cpu")]
    if options.pointwise:
        chosen = [entry for entry in chosen if isinstance(entry, _POINTWISE)]
    found = [_in_child(partial(measure, e, dtype, options.backward), e) for e in chosen]
    _print(found, options.slowest, options.over)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--op", default="", help="regular expression of entries' names")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--slowest", type=int, default=40, help="how many to print")
    parser.add_argument("--backward", action="store_true", help="time the backward call instead")
    parser.add_argument("--pointwise", action="store_true", help="only entries of pointwise ops")
    parser.add_argument("--over", type=float, default=0, help="print only those above, in ms")
    return parser.parse_args()


def _load_compiler() -> None:
    """What a process pays once, whatever it compiles; in a fork also the copying of pages.

    A body as long as any: the compiler's memory is what it takes, and a fork copies that again.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLAMBEAU_CACHE"] = folder
        x = flambeau.ones(3, dtype=next(_types))
        x.sin(), x.lgamma(), x.sum()
        x.atan()  # the last one is a plain loop, as most kernels are
    cache.generator_version(), identity.floor_version(), loops, target.host(), mathlib.exp, special
    _ = flambeau.nn.functional.relu  # libraries load when first used


def _in_child(run: Callable[[], First], entry: Any) -> First:
    """The result of `run` in a forked process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            result = run()
        except Exception as error:  # a row of the table, not the end of it
            result = First(entry.full_name, error=f"{type(error).__name__}: {error}"[:60])
        os.write(write, json.dumps(asdict(result)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return First(**json.loads(text)) if text else First(entry.full_name, error="crashed")


def measure(entry: Any, dtype: torch.dtype, backward: bool) -> First:
    """Run the entry's first sample once and time its stages."""
    result = First(entry.full_name)
    grad = backward and entry.supports_autograd
    _, sample = next(iter(cases.samples(entry, dtype, 1, grad)))
    translator = Translator(flambeau)
    function = translator.function(entry.op, entry.name)
    arguments = translator.value((sample.input, *sample.args))
    keywords = translator.value(sample.kwargs)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLAMBEAU_CACHE"] = folder
        if grad:
            function(*arguments, **keywords)
        _load_compiler()
        os.environ["FLAMBEAU_CACHE"] = folder
        _watch(result)
        before = cache.compiled
        start = time.process_time()
        value = function(*arguments, **keywords)
        if grad:
            start = time.process_time()
            _scalar(value).backward()
        result.total = (time.process_time() - start) * 1e3
        result.modules = cache.compiled - before
    return result


def _scalar(value: Any) -> Any:
    while not isinstance(value, flambeau.Tensor):
        value = value[0]
    return (value.abs() if value.is_complex() else value).sum()


def _watch(result: First) -> None:
    """Time the stages as they are called. Making the text is what is left of a module's time."""
    import llvmlite.binding as llvm

    from flambeau.ops.program import LoopRecord

    parse, machine = llvm.parse_assembly, cache._machine

    def timed_parse(text: str) -> Any:
        start = time.process_time()
        result.kilobytes += len(text) / 1000
        try:
            return parse(text)
        finally:
            result.parse += (time.process_time() - start) * 1e3

    class Machine:
        def __init__(self, emit: Callable) -> None:
            self.emit = emit

        def emit_object(self, module: Any) -> bytes:
            start = time.process_time()
            try:
                return self.emit(module)
            finally:
                result.code += (time.process_time() - start) * 1e3

    def timed(function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                result.text += (time.process_time() - start) * 1e3

        return call

    llvm.parse_assembly = timed_parse
    cache._machine = lambda *a: Machine(machine(*a).emit_object)  # type: ignore[assignment]
    LoopRecord._generate = timed(LoopRecord._generate)  # type: ignore[method-assign]
    named = cache.named

    def watched(key: str, build: Callable[[], str], symbol: str = "k") -> int:
        return named(key, timed(build), symbol)

    cache.named = watched
    sys.modules["flambeau.kernels.lazy"].cache.__dict__.clear()
    sys.modules["flambeau.kernels.lazy"].cache.__dict__["_name"] = "cache"


def _print(found: list[First], slowest: int, above: float) -> None:
    good = sorted((f for f in found if not f.error), key=lambda f: -f.total)
    print(f"{'op':<52}{'ms':>8}{'text':>8}{'parse':>8}{'code':>8}{'modules':>8}{'kB':>8}")
    for f in [f for f in good if f.total > above][:slowest]:
        numbers = f"{f.total:8.1f}{f.text:8.1f}{f.parse:8.1f}{f.code:8.1f}"
        print(f"{f.name:<52}{numbers}{f.modules:8d}{f.kilobytes:8.1f}")
    over = [sum(f.total > limit for f in good) for limit in (300, 100, 30, 10, 5)]
    median = good[len(good) // 2].total if good else 0.0
    print(f"{len(good)} entries; median {median:.1f} ms;", end=" ")
    print("over 300, 100, 30, 10, 5 ms:", *over)
    for f in found:
        if f.error:
            print(f"  {f.name}: {f.error}", file=sys.stderr)


if __name__ == "__main__":
    main()
