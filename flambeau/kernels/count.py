"""Counting: how often each number occurs, or the sum of its weights.

The numbers are cut into parts that are counted side by side; within a part, neighbours count in
different lines, so that equal ones need not wait for each other.
"""

from __future__ import annotations

from .element import Element
from .ir import Builder
from .plan import Fields, KernelSource, Phase, Plan, ceil_div
from .target import Target, host

FIELDS = Fields("count bins block")
LINES = 4
_PART = 1 << 14  # numbers that are worth a part of their own
_MOST_PARTS = 8
_MOST_BINS = 1 << 13  # so many that several lines stay in the cache


def shape_of(count: int, bins: int) -> tuple[int, int]:
    """Parts, and lines of a part: there are parts * lines copies of the bins."""
    parts = max(1, min(_MOST_PARTS, count // max(_PART, 2 * bins)))
    lines = LINES if bins <= _MOST_BINS and count >= 4 * LINES * bins else 1
    return parts, lines


def plan(numbers: str, weights: str, count: int, bins: int, target: Target | None = None) -> Plan:
    """args: copies of the bins (zeros; i64, or of the weights' type), numbers in 0..bins-1,
    weights. Types by name, that of no weights is empty."""
    target = target or host()
    parts, lines = shape_of(count, bins)
    desc = FIELDS.pack(count=count, bins=bins, block=ceil_div(count, parts))
    key = f"count:{numbers}:{weights}:{lines}:{target.name}"
    kernel = KernelSource(key, lambda: _build(numbers, weights, lines, target), "count")
    return Plan((Phase(kernel, desc, parts, 1),), 0)


def _build(numbers: str, weights: str, lines: int, target: Target) -> str:
    b = Builder(target)
    number, total = Element(numbers, target), Element(weights or "i64", target)
    with b.kernel("count"):
        d = FIELDS.load(b)
        copies, source, factors = (b.argument(k) for k in range(3))
        line_bytes = b.mul(d.bins, total.size)
        widen = "sext" if number.kind == "i" else "zext"

        def count(at: str, line: str) -> None:
            place = b.load(number.stored, b.offset(source, b.mul(at, number.size)), number.size)
            if number.stored != "i64":
                place = b.emit(f"{widen} {number.stored} {place} to i64")
            bin_ = b.offset(line, b.mul(place, total.size))
            if weights:
                more = total.load_parts(b, b.offset(factors, b.mul(at, total.size)))
            else:
                more = ["1"]
            total.store_parts(b, total.add_parts(b, total.load_parts(b, bin_), more), bin_)

        with b.loop("%begin", "%end") as part:
            first = b.mul(part.index, d.block)
            last = b.min(b.add(first, d.block), d.count)
            own = b.offset(copies, b.mul(b.mul(part.index, line_bytes), lines))
            places = [b.offset(own, b.mul(line_bytes, k)) for k in range(lines)]
            whole = b.add(first, b.emit(f"and i64 {b.sub(last, first)}, {-LINES}"))
            with b.loop(first, whole, LINES) as i:
                for k in range(LINES):
                    count(b.add(i.index, k), places[k % lines])
            with b.loop(whole, last) as i:
                count(i.index, places[0])
    return b.module()
