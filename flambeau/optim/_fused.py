"""Update rules applied to many tensors at once.

A rule is a plain function of scalars, written with operators and the functions of this module:

    def update(p, g, buffer, *, lr, momentum, nesterov: bool): ...; return p, buffer

It gives the new values of the operands listed in `written`. Flags, the keywords annotated as bool,
are decided beforehand (`specialise`). The same function runs on scalar handles, which the kernel
compiler turns into one multi-tensor kernel, and on tensors (`apply_rule`), where autograd must see
it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flambeau
from flambeau import core
from flambeau.kernels import scalar
from flambeau.kernels.dtypes import BY_CODE, opmath
from flambeau.kernels.lazy import cache, loops, target
from flambeau.kernels.source_hash import hash_sources


def sqrt(x: Any) -> Any:
    """Square root of a scalar handle or a tensor."""
    return x.sqrt() if isinstance(x, flambeau.Tensor) else scalar.sqrt(x)


def maximum(x: Any, y: Any) -> Any:
    """The larger of two scalar handles or tensors, y also a number; NaN if either is."""
    if not isinstance(x, flambeau.Tensor):
        return scalar.maximum(x, y)
    return flambeau.maximum(x, y) if isinstance(y, flambeau.Tensor) else x.clamp(min=y)


def minimum(x: Any, y: Any) -> Any:
    """The smaller of two scalar handles or tensors, y also a number; NaN if either is."""
    if not isinstance(x, flambeau.Tensor):
        return scalar.minimum(x, y)
    return flambeau.minimum(x, y) if isinstance(y, flambeau.Tensor) else x.clamp(max=y)


def where(condition: Any, x: Any, y: Any) -> Any:
    """`x` where the condition holds, else `y`: scalar handles or tensors, or numbers."""
    chosen = flambeau.where if isinstance(condition, flambeau.Tensor) else scalar.where
    return chosen(condition, x, y)


def sign(x: Any) -> Any:
    """-1, 0 or 1; NaN of NaN."""
    return where(x > 0, 1.0, where(x < 0, -1.0, x))


def specialise(rule: Callable, *flags: bool) -> Callable:
    """`rule` with its flags (its keywords annotated as bool) fixed, in their order.

    It is one object for the same flags, so that a kernel made from it is found again.
    """
    key = (rule, *flags)
    made = _specialised.get(key)
    if made is None:
        options = dict(zip(_list_flags(rule), map(bool, flags), strict=True))
        made = _specialised[key] = functools.partial(rule, **options)
    return made


def _list_flags(rule: Callable) -> list[str]:
    """Names of the keywords annotated as bool."""
    parameters = inspect.signature(rule).parameters.values()
    return [p.name for p in parameters if p.annotation in (bool, "bool")]


_specialised: dict[tuple, Callable] = {}


def fused_update(
    rule: Callable,
    tensors: Sequence[Sequence[Any]],
    scalars: dict[str, Any],
    written: tuple[int, ...],
) -> None:
    """Apply `rule` to every parameter in place.

    `tensors[k][i]` is operand k of parameter i: operands of one parameter have one shape, dtype and
    device, which may differ between parameters. `scalars` are the rule's keyword arguments, numbers
    or one-element tensors. `written` lists the operands that the rule's results replace, in order.
    """
    numbers = {name: float(value) for name, value in scalars.items()}
    find = _finders.get((rule, len(tensors)))
    if find is None:
        find = _finders[rule, len(tensors)] = _Finder(rule, len(tensors), tuple(numbers), written)
    left = core.launch_update(find, list(tensors), tuple(numbers.values()), written)
    if left:
        rest = [[operands[i] for i in left] for operands in tensors]
        with flambeau.no_grad():
            apply_rule(rule, rest, numbers, written)


class _Finder:
    """The kernels of one rule, by element type, compiled on first use."""

    def __init__(
        self, rule: Callable, operands: int, names: tuple[str, ...], written: tuple[int, ...]
    ) -> None:
        self.rule, self.operands, self.names, self.written = rule, operands, names, written
        self.kernels: dict[int, int] = {}

    def __call__(self, code: int) -> int:
        found = self.kernels.get(code)
        if found is None:
            found = self.kernels[code] = self._compile(BY_CODE[code].name)
        return found

    def _compile(self, stored: str) -> int:
        key = self._key(stored)
        found = cache.recall(key) if key is not None else None
        if found is not None:
            return found[0][0]
        return cache.remember(key, [self._generate(stored)], [])[0]

    def _key(self, stored: str) -> str | None:
        """Names the kernel on disk, where the rule is one of this folder's."""
        rule: Any = self.rule
        flags: dict[str, Any] = {}
        if isinstance(rule, functools.partial):
            rule, flags = rule.func, rule.keywords
        if rule.__module__.rpartition(".")[0] != __package__ or "<" in rule.__qualname__:
            return None
        name = f"{rule.__module__}.{rule.__qualname__} {sorted(flags.items())}"
        made_of = hash_sources(Path(__file__).parent) + cache.generator_version()
        return f"update {name} {self.operands} {self.names} {self.written} {stored} {made_of}"

    def _generate(self, stored: str) -> str:
        compute = opmath(stored)
        with scalar.tracing():
            handles = [scalar.cast(scalar.input(k, stored), compute) for k in range(self.operands)]
            numbers = {
                name: scalar.input(self.operands + k, compute) for k, name in enumerate(self.names)
            }
            results = self.rule(*handles, **numbers)
            roots = tuple(scalar.cast(r, stored) for r in results)
            outs = tuple(loops.Operand(stored, "c") for _ in self.written)
            ins = [loops.Operand(stored, "c")] * self.operands + [
                loops.Operand(compute, "s")
            ] * len(self.names)
            return loops.build(loops.LoopSpec("flat", outs, tuple(ins), roots), target.host())


_finders: dict[tuple, _Finder] = {}


def apply_rule(
    rule: Callable,
    tensors: Sequence[Sequence[Any]],
    scalars: dict[str, Any],
    written: tuple[int, ...],
) -> None:
    """`fused_update` op by op, seen by autograd; scalars may be tensors."""
    for row in zip(*tensors, strict=True):
        operands: Sequence[Any] = row
        if row[0].is_complex():
            # Rules are elementwise on the two real parts, as PyTorch's are.
            operands = [flambeau.view_as_real(operand) for operand in row]
        results = rule(*operands, **scalars)
        for k, result in zip(written, results, strict=True):
            operands[k].copy_(result)
