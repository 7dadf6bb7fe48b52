"""From plans (what to run) to the core's plans (machine code to run)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import core
from ..kernels.lazy import cache

if TYPE_CHECKING:
    from ..kernels.plan import Plan

_plans: dict[tuple, core.Plan] = {}


def realise(plan: Plan, threads: int) -> core.Plan:
    """Compile or load the kernels of a plan."""
    phases = [
        (cache.named(p.kernel.key, p.kernel.build, p.kernel.symbol), p.desc, p.tasks, p.grain)
        for p in plan.phases
    ]
    otherwise = plan.otherwise
    fallback = None if otherwise is None else lambda: realise(otherwise(), threads)
    return core.Plan(phases, plan.workspace, threads, fallback)


def planned(key: tuple, make: Callable[[int], Plan]) -> core.Plan:
    """The plan known by a key (which need not hold the number of threads), made on first use."""
    threads = core.threads()
    found = _plans.get((key, threads))
    if found is None:
        if len(_plans) > 4096:
            _plans.clear()
        found = _plans[key, threads] = realise(make(threads), threads)
    return found
