"""Runs written one behind the other: the number of each, and where in it each element is."""

from __future__ import annotations

from .ir import Builder
from .plan import KernelSource, Phase, Plan
from .target import Target, host

_GRAIN = 1 << 14  # elements, at least, that a thread writes


def plan(count: int, total: int, places: bool, target: Target | None = None) -> Plan:
    """args, all i64: numbers (total), places (total) or None, ends of the runs (count), and the
    place each run begins with (count) or None."""
    target = target or host()
    kernel = KernelSource(
        f"runs:{int(places)}:{target.name}", lambda: _build(places, target), "runs"
    )
    grain = max(1, _GRAIN * count // max(1, total))
    return Plan((Phase(kernel, (), count, min(count, grain)),), 0)


def _build(places: bool, target: Target) -> str:
    b = Builder(target)
    lanes = max(2, target.vector_bytes // 8)
    kind = f"<{lanes} x i64>"
    steps = "<" + ", ".join(f"i64 {k}" for k in range(lanes)) + ">"
    with b.kernel("runs"), b.loop("%begin", "%end") as run:
        numbers, at, ends, starts = (b.argument(k) for k in range(4))
        head = b.emit(f"icmp eq i64 {run.index}, 0")
        before = b.offset(ends, b.sub(run.index, 1), "i64")
        (first,) = b.choose(head, lambda: ["0"], lambda: [b.load("i64", before, 8)], ["i64"])
        last = b.load("i64", b.offset(ends, run.index, "i64"), 8)
        shift = "0"
        if places:
            shift = b.sub(b.load("i64", b.offset(starts, run.index, "i64"), 8), first)
        number, moved = b.splat(run.index, "i64", lanes), b.splat(shift, "i64", lanes)

        def several(k: str) -> None:
            b.store(kind, number, b.offset(numbers, k, "i64"), 8)
            if places:
                own = b.emit(f"add {kind} {b.splat(k, 'i64', lanes)}, {steps}")
                b.store(kind, b.emit(f"add {kind} {own}, {moved}"), b.offset(at, k, "i64"), 8)

        def one(k: str) -> None:
            b.store("i64", run.index, b.offset(numbers, k, "i64"), 8)
            if places:
                b.store("i64", b.add(k, shift), b.offset(at, k, "i64"), 8)

        whole = b.add(first, b.emit(f"and i64 {b.sub(last, first)}, {-lanes}"))
        with b.loop(first, whole, lanes) as k:
            several(k.index)
        with b.loop(whole, last) as k:
            one(k.index)
    return b.module()
