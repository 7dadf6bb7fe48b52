"""Maximum pooling over windows that the output's size places: adaptive and fractional.

Adaptive: output o covers inputs floor(o size / outputs) to ceil((o + 1) size / outputs).
Fractional: windows of one size; with a = (size - kernel) / (outputs - 1) and a sample u of each
plane and axis, window o starts at floor((o + u) a) - floor(u a), the last one at size - kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from .element import Element
from .ir import Builder, float_bits, suffix
from .plan import Fields, KernelSource
from .pool_window import greater, lowest_of
from .target import Target

ADAPTIVE_FIELDS = Fields("in_d in_h in_w out_d out_h out_w")
# sample_*: which of a plane's samples is the axis'
FRACTIONAL_FIELDS = Fields(
    "in_d in_h in_w out_d out_h out_w kernel_d kernel_h kernel_w sample_d sample_h sample_w samples"
)

_FEW = 12  # elements, at most, that a window is looked through one by one

Bounds = Callable[[str, str], tuple[str, str]]  # (axis, output) -> the window's first input and end


def source(dtype: str, target: Target, kind: str) -> KernelSource:
    """Maxima and their places; a task is a plane.

    kind "adaptive": args y, indices, x; "fractional": args y, indices, x, samples.
    """
    key = f"pool_{kind}:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build(dtype, target, kind == "fractional"), "pool")


def _build(dtype: str, target: Target, fractional: bool) -> str:
    b = Builder(target)
    e = Element(dtype, target)
    with b.kernel("pool"):
        d = (FRACTIONAL_FIELDS if fractional else ADAPTIVE_FIELDS).load(b)
        size = b.mul(b.mul(d.in_d, d.in_h), d.in_w)
        outputs = b.mul(b.mul(d.out_d, d.out_h), d.out_w)
        with b.loop("%begin", "%end") as plane:
            place = SimpleNamespace(
                inputs=b.mul(plane.index, size), outputs=b.mul(plane.index, outputs)
            )
            if fractional:
                bounds = _fractional_bounds(b, e, d, plane.index)
            else:
                bounds = _adaptive_bounds(b, d)
            _maximum(b, e, d, place, bounds)
    return b.module()


def _adaptive_bounds(b: Builder, d: SimpleNamespace) -> Bounds:
    def bounds(axis: str, output: str) -> tuple[str, str]:
        size, count = getattr(d, f"in_{axis}"), getattr(d, f"out_{axis}")
        end = b.add(b.mul(b.add(output, 1), size), b.sub(count, 1))
        low = b.emit(f"udiv i64 {b.mul(output, size)}, {count}")
        return low, b.emit(f"udiv i64 {end}, {count}")

    return bounds


def _fractional_bounds(b: Builder, e: Element, d: SimpleNamespace, plane: str) -> Bounds:
    number = e.part
    samples = b.offset(b.argument(3), b.mul(b.mul(plane, d.samples), e.size))

    def whole(value: str) -> str:
        name = f"llvm.fptosi.sat.i64{suffix(number)}"  # a sample may be anything
        return b.intrinsic(name, "i64", (number, value))

    def bounds(axis: str, output: str) -> tuple[str, str]:
        size, count, kernel = (getattr(d, f"{n}_{axis}") for n in ("in", "out", "kernel"))
        at = b.offset(samples, b.mul(getattr(d, f"sample_{axis}"), e.size))
        u = e.load_parts(b, at)[0]
        most, last = b.sub(size, kernel), b.sub(count, 1)
        room, steps = (b.emit(f"sitofp i64 {n} to {number}") for n in (most, last))
        step = b.emit(f"fdiv {number} {room}, {steps}")  # not used where there is one window
        shifted = b.emit(f"fadd {number} {b.emit(f'sitofp i64 {output} to {number}')}, {u}")
        start = b.sub(
            whole(b.emit(f"fmul {number} {shifted}, {step}")),
            whole(b.emit(f"fmul {number} {u}, {step}")),
        )
        start = b.select(b.less(output, last), "i64", b.max(b.min(start, most), "0"), most)
        return start, b.add(start, kernel)

    columns = b.offset(b.argument(4), b.mul(b.mul("%thread", d.out_w), 8))
    with b.loop("0", d.out_w) as k:  # once for all rows
        b.store("i64", bounds("w", k.index)[0], b.offset(columns, b.mul(k.index, 8)), 8)

    def known(axis: str, output: str) -> tuple[str, str]:
        if axis != "w":
            return bounds(axis, output)
        start = b.load("i64", b.offset(columns, b.mul(output, 8)), 8)
        return start, b.add(start, d.kernel_w)

    return known


def _maximum(
    b: Builder, e: Element, d: SimpleNamespace, place: SimpleNamespace, bounds: Bounds
) -> None:
    """Every output of a plane."""
    y, indices, x = (b.argument(k) for k in range(3))
    plane = b.offset(x, b.mul(place.inputs, e.size))
    types = [e.part, "i64"]
    with b.loop("0", d.out_d) as oz, b.loop("0", d.out_h) as oy:
        (z0, z1), (y0, y1) = bounds("d", oz.index), bounds("h", oy.index)
        first = b.mul(b.add(b.mul(oz.index, d.out_h), oy.index), d.out_w)
        with b.loop("0", d.out_w) as ox:
            x0, x1 = bounds("w", ox.index)
            window = SimpleNamespace(z0=z0, z1=z1, y0=y0, y1=y1, x0=x0, x1=x1)
            area = b.mul(b.mul(b.sub(z1, z0), b.sub(y1, y0)), b.sub(x1, x0))
            value, at = b.choose(
                b.less(area, str(_FEW)),
                lambda: _by_element(b, e, d, plane, window),
                lambda: _by_vector(b, e, d, plane, window),
                types,
            )
            out = b.add(b.add(place.outputs, first), ox.index)
            e.store_parts(b, [value], b.offset(y, b.mul(out, e.size)))
            b.store("i64", at, b.offset(indices, b.mul(out, 8)), 8)


def _each_row(
    b: Builder, d: SimpleNamespace, w: SimpleNamespace, state: list[tuple[str, str]], body: Callable
) -> list[str]:
    """The state after body(first element's place, place behind the last, state) of every row."""
    types = [t for t, _ in state]
    with b.loop(w.z0, w.z1, carry=state) as z:
        with b.loop(w.y0, w.y1, carry=_pairs(types, z.values)) as r:
            row = b.mul(b.add(b.mul(z.index, d.in_h), r.index), d.in_w)
            r.next(*body(b.add(row, w.x0), b.add(row, w.x1), r.values))
        z.next(*r.values)
    return z.values


def _first_place(b: Builder, d: SimpleNamespace, w: SimpleNamespace) -> str:
    return b.add(b.mul(b.add(b.mul(w.z0, d.in_h), w.y0), d.in_w), w.x0)


def _by_element(
    b: Builder, e: Element, d: SimpleNamespace, plane: str, window: SimpleNamespace
) -> list[str]:
    """Maximum and place, one element after the other."""
    types = [e.part, "i64"]

    def row(begin: str, end: str, before: list[str]) -> list[str]:
        with b.loop(begin, end, carry=_pairs(types, before)) as k:
            value = e.load_parts(b, b.offset(plane, b.mul(k.index, e.size)))[0]
            take = greater(b, e, e.part, "i1", value, k.values[0])
            k.next(
                b.select(take, e.part, value, k.values[0]),
                b.select(take, "i64", k.index, k.values[1]),
            )
        return k.values

    state = [(e.part, lowest_of(e)), ("i64", _first_place(b, d, window))]
    return _each_row(b, d, window, state, row)


def _by_vector(
    b: Builder, e: Element, d: SimpleNamespace, plane: str, window: SimpleNamespace
) -> list[str]:
    """Maximum and place; each lane keeps the maximum and the place of what it has seen."""
    lanes, vector = e.width, e.vector
    bits, wide = f"<{lanes} x i1>", f"<{lanes} x i64>"
    lowest = b.splat(lowest_of(e), e.part, lanes)
    numbers = f"<{', '.join(f'i64 {k}' for k in range(lanes))}>"

    def take(values: str, at: str, before: list[str]) -> list[str]:
        more = greater(b, e, vector, bits, values, before[0])
        places = b.emit(f"add {wide} {b.splat(at, 'i64', lanes)}, {numbers}")
        return [
            b.emit(f"select {bits} {more}, {vector} {values}, {vector} {before[0]}"),
            b.emit(f"select {bits} {more}, {wide} {places}, {wide} {before[1]}"),
        ]

    def row(begin: str, end: str, before: list[str]) -> list[str]:
        whole = b.add(begin, b.emit(f"and i64 {b.sub(end, begin)}, {-lanes}"))
        with b.loop(begin, whole, lanes, carry=_pairs([vector, wide], before)) as v:
            values = e.load(b, b.offset(plane, b.mul(v.index, e.size)))
            v.next(*take(values, v.index, v.values))

        def rest() -> list[str]:
            count = b.sub(end, whole)
            values = e.load(b, b.offset(plane, b.mul(whole, e.size)), e.tail(b, count))
            mask = b.lanes_below(count, lanes)
            inside = b.emit(f"select {bits} {mask}, {vector} {values}, {vector} {lowest}")
            return take(inside, whole, v.values)

        return b.choose(b.less(whole, end), rest, lambda: v.values, [vector, wide])

    first = _first_place(b, d, window)
    state = [(vector, lowest), (wide, b.splat(first, "i64", lanes))]
    return _best_lane(b, e, *_each_row(b, d, window, state, row))


def _best_lane(b: Builder, e: Element, values: str, places: str) -> list[str]:
    """The first of the lanes' maxima, or the last NaN."""
    lanes, vector = e.width, e.vector
    bits, wide = f"<{lanes} x i1>", f"<{lanes} x i64>"

    def extreme(name: str, chosen: str, other: int) -> str:
        beside = b.splat(str(other), "i64", lanes)
        kept = b.emit(f"select {bits} {chosen}, {wide} {places}, {wide} {beside}")
        return b.intrinsic(f"llvm.vector.reduce.{name}.v{lanes}i64", "i64", (wide, kept))

    def first_maximum() -> list[str]:
        name = f"llvm.vector.reduce.fmax.v{lanes}{suffix(e.part)}"
        most = b.intrinsic(name, e.part, (vector, values))
        same = b.emit(f"fcmp oeq {vector} {values}, {b.splat(most, e.part, lanes)}")
        return [most, extreme("smin", same, 2**63 - 1)]

    def last_nan() -> list[str]:
        return [float_bits(float("nan"), e.part), extreme("smax", is_nan, -1)]

    is_nan = b.emit(f"fcmp uno {vector} {values}, {values}")
    some = b.intrinsic(f"llvm.vector.reduce.or.v{lanes}i1", "i1", (bits, is_nan))
    return b.choose(some, last_nan, first_maximum, [e.part, "i64"], rare=True)


def _pairs(types: list[str], values: list[str]) -> list[tuple[str, str]]:
    return list(zip(types, values, strict=True))
