"""From plans (what to run) to the core's plans (machine code to run).

A plan is remembered on disk by its key: a later process needs neither the planner nor the
generators, only the machine code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import core
from ..kernels.lazy import cache
from .identity import floor_version

if TYPE_CHECKING:
    from ..kernels.plan import KernelSource, Plan

_MOST_NOTES = 512  # of one process: one whose sizes change all the time shall not fill the disk
_plans: dict[tuple, core.Plan] = {}
_notes_written = 0


def planned(key: tuple, make: Callable[[int], Plan]) -> core.Plan:
    """The plan known by a key (which need not hold the number of threads), made on first use."""
    threads = core.threads()
    found = _plans.get((key, threads))
    if found is None:
        if len(_plans) > 4096:
            _plans.clear()
        found = _plans[key, threads] = find_plan(key, threads, make)
    return found


def find_plan(key: tuple, threads: int, make: Callable[[int], Plan]) -> core.Plan:
    """The plan, from disk or from the planner; the key holds plain values only."""
    name = f"plan {key!r} {threads} {floor_version()}"
    found = cache.recall(name)
    if found is None:
        plan = make(threads)
        found = _compile(plan), _facts_of(plan)
        _remember(name, plan, found[1])
    addresses, (workspace, has_fallback, *facts) = found

    def fallback() -> core.Plan:
        return find_plan((*key, "otherwise"), threads, lambda n: make(n).otherwise())  # type: ignore[misc]

    phases = _unpack(addresses, facts)
    return core.Plan(phases, workspace, threads, fallback if has_fallback else None)


def find_kernel(key: tuple, make: Callable[[], KernelSource]) -> int:
    """Address of a kernel, from disk or from its generator; the key holds plain values only."""
    name = f"kernel {key!r} {floor_version()}"
    recalled = cache.recall(name)
    if recalled is not None:
        return recalled[0][0]
    source = make()
    address = cache.named(source.key, source.build, source.symbol)
    cache.note(name, [cache.named_piece(source.key, source.symbol)], [])
    return address


def _compile(plan: Plan) -> list[int]:
    """Addresses of the phases' kernels."""
    kernels = [phase.kernel for phase in plan.phases]
    return [cache.named(kernel.key, kernel.build, kernel.symbol) for kernel in kernels]


def _facts_of(plan: Plan) -> list[int | float]:
    """The plan as numbers: workspace, whether there is another plan for bad values, the phases."""
    facts: list[int | float] = [plan.workspace, int(plan.otherwise is not None)]
    for phase in plan.phases:
        facts += [phase.tasks, phase.grain, len(phase.desc), *phase.desc]
    return facts


def _unpack(addresses: list[int], facts: list) -> list[tuple]:
    phases, at = [], 0
    for address in addresses:
        tasks, grain, length = facts[at : at + 3]
        phases.append((address, facts[at + 3 : at + 3 + length], tasks, grain))
        at += 3 + length
    return phases


def _remember(name: str, plan: Plan, facts: list[int | float]) -> None:
    global _notes_written
    _notes_written += 1
    if _notes_written <= _MOST_NOTES:
        needs = [cache.named_piece(phase.kernel.key, phase.kernel.symbol) for phase in plan.phases]
        cache.note(name, needs, facts)
