"""Adaptive maximum pooling: windows that share a plane out evenly.

Output o covers inputs floor(o size / outputs) to ceil((o + 1) size / outputs).
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element
from .ir import Builder
from .plan import Fields, KernelSource
from .pool_window import greater, lowest_of
from .target import Target

FIELDS = Fields("in_d in_h in_w out_d out_h out_w")


def source(dtype: str, target: Target) -> KernelSource:
    """Maxima and their places; args y, indices, x; a task is a plane."""
    key = f"pool_adaptive:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build(dtype, target), "pool")


def _build(dtype: str, target: Target) -> str:
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
            _maximum(b, e, d, place)
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


def _row_of(b: Builder, d, z: str, y: str) -> str:
    return b.mul(b.add(b.mul(z, d.in_h), y), d.in_w)


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
