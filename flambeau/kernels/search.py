"""Bisection: where values belong in sorted sequences."""

from __future__ import annotations

from .element import Element
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target

# `size` (> 0) edges for each line of `count` values, lines `edges_line` edges apart; `turns`
# halvings until one edge is left.
SEARCH_FIELDS = Fields("size count edges_line turns")

_ABREAST = 8  # searches that run side by side: one alone waits for its loads


def search_source(dtype: str, right: bool, narrow: bool, target: Target) -> KernelSource:
    """args places (int32 if narrow, else int64), edges, values; tasks values."""
    key = f"search:{dtype}:{int(right)}:{int(narrow)}:{target.name}"
    return KernelSource(key, lambda: _build(dtype, right, narrow, target), "search")


def _build(dtype: str, right: bool, narrow: bool, target: Target) -> str:
    b = Builder(target)
    element = Element(dtype, target)
    with b.kernel("search"):
        d = SEARCH_FIELDS.load(b)
        out, edges, values = (b.argument(k) for k in range(3))
        first = b.emit(f"udiv i64 %begin, {d.count}")
        last = b.emit(f"udiv i64 {b.sub('%end', 1)}, {d.count}")
        with b.loop(first, b.add(last, 1)) as line:
            start = b.mul(line.index, d.count)
            low, high = b.max(start, "%begin"), b.min(b.add(start, d.count), "%end")
            own = b.offset(edges, b.mul(b.mul(line.index, d.edges_line), element.size))
            whole = b.add(low, b.emit(f"and i64 {b.sub(high, low)}, {-_ABREAST}"))
            with b.loop(low, whole, _ABREAST) as k:
                _search(b, element, right, narrow, d, (out, own, values), k.index, _ABREAST)
            with b.loop(whole, high) as k:
                _search(b, element, right, narrow, d, (out, own, values), k.index, 1)
    return b.module()


def _search(b: Builder, element: Element, right: bool, narrow: bool, d, operands, at, n) -> None:
    """Place n values: halve what is left, to the right of the middle where its edge is less."""
    out, edges, values = operands
    size = element.size
    wanted = [
        element.load_parts(b, b.offset(values, b.mul(b.add(at, u), size)))[0] for u in range(n)
    ]

    def advance(base: str, x: str, step: str) -> str:
        (edge,) = element.load_parts(b, b.offset(edges, b.mul(b.add(base, b.sub(step, 1)), size)))
        goes_right = b.emit(f"{_test(element, right)} {element.part} {edge}, {x}")
        # A mask, because a select may become a branch, which could not be predicted.
        mask = b.emit(f"sext i1 {goes_right} to i64")
        return b.add(base, b.emit(f"and i64 {step}, {mask}"))

    with b.loop("0", d.turns, carry=[("i64", d.size), *[("i64", "0")] * n]) as turn:
        left, *bases = turn.values
        half = b.emit(f"lshr i64 {left}, 1")
        pairs = zip(bases, wanted, strict=True)
        turn.next(b.sub(left, half), *[advance(base, x, half) for base, x in pairs])
    kind = "i32" if narrow else "i64"
    for u, (base, x) in enumerate(zip(turn.values[1:], wanted, strict=True)):
        place = advance(base, x, "1")
        place = b.emit(f"trunc i64 {place} to i32") if narrow else place
        b.store(kind, place, b.offset(out, b.add(at, u), kind), 4 if narrow else 8)


def _test(element: Element, right: bool) -> str:
    """Is an edge left of the place of a value? NaN belongs behind everything."""
    if element.floating:
        return "fcmp ule" if right else "fcmp ult"
    return f"icmp {'s' if element.kind == 'i' else 'u'}{'le' if right else 'lt'}"
