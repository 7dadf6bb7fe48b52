"""Adaptive pooling: windows that share a plane out evenly.

Output o covers inputs floor(o size / outputs) to ceil((o + 1) size / outputs).
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element
from .ir import Builder
from .plan import Fields, KernelSource
from .pool_backward import add_to, summed_plane
from .pool_window import greater, lowest_of, to_part
from .target import Target

FIELDS = Fields("in_d in_h in_w out_d out_h out_w")


def source(dtype: str, target: Target, kind: str) -> KernelSource:
    """kind: 'max' (args y, indices, x), 'average' (y, x), 'spread' (dx, dy); a task is a plane."""
    key = f"pool_adaptive:{dtype}:{target.name}:{kind}"
    return KernelSource(key, lambda: _build(dtype, target, kind), "pool")


def _build(dtype: str, target: Target, kind: str) -> str:
    b = Builder(target)
    e = Element(dtype, target)
    with b.kernel("pool"):
        d = FIELDS.load(b)
        size = b.mul(b.mul(d.in_d, d.in_h), d.in_w)
        outputs = b.mul(b.mul(d.out_d, d.out_h), d.out_w)
        with b.loop("%begin", "%end") as plane:
            place = SimpleNamespace(
                size=size,
                inputs=b.mul(plane.index, size),
                outputs=b.mul(plane.index, outputs),
            )
            {"max": _maximum, "average": _average, "spread": _spread}[kind](b, e, d, place)
    return b.module()


def _each_window(b: Builder, d, body) -> None:
    """body(window, number of the output) for every output of a plane."""
    with b.loop("0", d.out_d) as z, b.loop("0", d.out_h) as y, b.loop("0", d.out_w) as x:
        window = SimpleNamespace()
        for axis, loop in (("d", z), ("h", y), ("w", x)):
            size, count = getattr(d, f"in_{axis}"), getattr(d, f"out_{axis}")
            low = b.emit(f"udiv i64 {b.mul(loop.index, size)}, {count}")
            end = b.add(b.mul(b.add(loop.index, 1), size), b.sub(count, 1))
            setattr(window, f"{axis}_low", low)
            setattr(window, f"{axis}_high", b.emit(f"udiv i64 {end}, {count}"))
        body(window, b.add(b.mul(b.add(b.mul(z.index, d.out_h), y.index), d.out_w), x.index))


def _inputs(b: Builder, window: SimpleNamespace) -> str:
    sizes = (b.sub(getattr(window, f"{a}_high"), getattr(window, f"{a}_low")) for a in "dhw")
    depth, rows, columns = sizes
    return b.mul(b.mul(depth, rows), columns)


def _row_of(b: Builder, d, z: str, y: str) -> str:
    return b.mul(b.add(b.mul(z, d.in_h), y), d.in_w)


def _average(b: Builder, e: Element, d, place: SimpleNamespace) -> None:
    y, x = b.argument(0), b.argument(1)
    plane = b.offset(x, b.mul(place.inputs, e.size))

    def body(window: SimpleNamespace, number: str) -> None:
        with b.loop(window.d_low, window.d_high, carry=[(e.vector, e.zero)]) as z:
            with b.loop(window.h_low, window.h_high, carry=[(e.vector, z.values[0])]) as r:
                row = _row_of(b, d, z.index, r.index)
                start = [(e.vector, r.values[0])]
                with b.loop(window.w_low, window.w_high, e.lanes, carry=start) as c:
                    at = b.offset(plane, b.mul(b.add(row, c.index), e.size))
                    tail = e.tail(b, b.sub(window.w_high, c.index))
                    c.next(e.add(b, c.values[0], e.load(b, at, tail)))
                r.next(*c.values)
            z.next(*r.values)
        total = e.sum_lanes(b, z.values)[0]
        count = to_part(b, e, _inputs(b, window))
        mean = b.emit(f"{'fdiv' if e.floating else 'sdiv'} {e.part} {total}, {count}")
        at = b.mul(b.add(place.outputs, number), e.size)
        e.store_parts(b, [mean], b.offset(y, at))

    _each_window(b, d, body)


def _maximum(b: Builder, e: Element, d, place: SimpleNamespace) -> None:
    y, indices, x = (b.argument(k) for k in range(3))
    plane = b.offset(x, b.mul(place.inputs, e.size))

    def body(window: SimpleNamespace, number: str) -> None:
        first = b.add(_row_of(b, d, window.d_low, window.h_low), window.w_low)
        state = [(e.part, lowest_of(e)), ("i64", first)]
        types = [e.part, "i64"]
        with b.loop(window.d_low, window.d_high, carry=state) as z:
            with b.loop(window.h_low, window.h_high, carry=_pairs(types, z.values)) as r:
                row = _row_of(b, d, z.index, r.index)
                with b.loop(window.w_low, window.w_high, carry=_pairs(types, r.values)) as c:
                    at = b.add(row, c.index)
                    value = e.load_parts(b, b.offset(plane, b.mul(at, e.size)))[0]
                    take = greater(b, e, e.part, "i1", value, c.values[0])
                    c.next(
                        b.select(take, e.part, value, c.values[0]),
                        b.select(take, "i64", at, c.values[1]),
                    )
                r.next(*c.values)
            z.next(*r.values)
        out = b.add(place.outputs, number)
        e.store_parts(b, z.values[:1], b.offset(y, b.mul(out, e.size)))
        b.store("i64", z.values[1], b.offset(indices, b.mul(out, 8)), 8)

    _each_window(b, d, body)


def _pairs(types: list[str], values: list[str]) -> list[tuple[str, str]]:
    return list(zip(types, values, strict=True))


def _spread(b: Builder, e: Element, d, place: SimpleNamespace) -> None:
    dx, dy = b.argument(0), b.argument(1)
    plane = b.offset(dx, b.mul(place.inputs, e.size))
    with summed_plane(b, e, plane, place.size, b.argument(2)) as (wide, sums):
        _spread_windows(b, e, d, place, dy, (wide, sums))


def _spread_windows(
    b: Builder, e: Element, d, place: SimpleNamespace, dy: str, to: tuple[Element, str]
) -> None:
    wide, sums = to

    def body(window: SimpleNamespace, number: str) -> None:
        at = b.mul(b.add(place.outputs, number), e.size)
        gradient = e.load_parts(b, b.offset(dy, at))[0]
        count = to_part(b, e, _inputs(b, window))
        share = b.emit(f"{'fdiv' if e.floating else 'sdiv'} {e.part} {gradient}, {count}")
        with b.loop(window.d_low, window.d_high) as z, b.loop(window.h_low, window.h_high) as r:
            row = _row_of(b, d, z.index, r.index)
            with b.loop(window.w_low, window.w_high) as c:
                add_to(b, wide, [share], b.offset(sums, b.mul(b.add(row, c.index), wide.size)))

    _each_window(b, d, body)
