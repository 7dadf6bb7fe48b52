"""Pooling over sliding windows: maximum (with its place) and average.

A task is some output rows of one plane (image and channel). Along a row, outputs whose window lies
inside the input are computed a vector at a time (without a stride: several vectors), those at the
margins one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

from .dtypes import integer_limits
from .element import Element, Tail
from .ir import Builder, float_bits
from .plan import Fields, KernelSource
from .target import Target

FIELDS = Fields(
    "in_d in_h in_w out_d out_h out_w kernel_d kernel_h kernel_w stride_d stride_h stride_w"
    " pad_d pad_h pad_w dilation_d dilation_h dilation_w row_tasks row_block vectors"
    " include_pad divisor"
)


def source(dtype: str, target: Target, kind: str) -> KernelSource:
    """kind: 'max' (args y, x), 'max_index' (y, indices, x) or 'average' (y, x); desc is FIELDS."""
    key = f"pool_window:{dtype}:{target.name}:{kind}"
    return KernelSource(key, lambda: _build(dtype, target, kind), "pool")


def _build(dtype: str, target: Target, kind: str) -> str:
    b = Builder(target)
    element = Element(dtype, target)
    with b.kernel("pool"):
        d = FIELDS.load(b)
        if kind == "average":
            reducer: Reducer = Average(b, element, d, b.argument(0))
        else:
            indices = b.argument(1) if kind == "max_index" else None
            reducer = Maximum(b, element, d, b.argument(0), indices)
        x = b.argument(2 if kind == "max_index" else 1)
        _Windows(b, element, d, x, reducer).emit()
    return b.module()


def vector_type(element: str, lanes: int) -> str:
    """<lanes x element>, or the scalar type for one lane."""
    return f"<{lanes} x {element}>" if lanes > 1 else element


class Reducer:
    """What is kept while a window is walked, for `lanes` outputs at once."""

    def __init__(self, b: Builder, element: Element, d: SimpleNamespace, y: str) -> None:
        self.b, self.element, self.d, self.y = b, element, d, y

    def start(self, lanes: int, first: str) -> list[tuple[str, str]]:
        """(type, value) of the state; `first` is the index of the window's first input."""
        raise NotImplementedError

    def step(self, lanes: int, state: Sequence[str], value: str, index: str) -> list[str]:
        """The state after one more value; `index` is its place, that of lane 0."""
        raise NotImplementedError

    def finish(self, lanes: int, state: Sequence[str], window: SimpleNamespace) -> None:
        """Write the outputs."""
        raise NotImplementedError

    def _store(self, lanes: int, value: str, at: str, tail: Tail | None) -> None:
        e = self.element
        pointer = self.b.offset(self.y, self.b.mul(at, e.size))
        if lanes == 1:
            e.store_parts(self.b, [value], pointer)
        else:
            e.store(self.b, value, pointer, tail)


class Maximum(Reducer):
    def __init__(
        self, b: Builder, element: Element, d: SimpleNamespace, y: str, indices: str | None
    ) -> None:
        super().__init__(b, element, d, y)
        self.indices = indices
        lanes = element.lanes
        numbers = "<" + ", ".join(f"i32 {k}" for k in range(lanes)) + ">"
        step = b.splat(b.emit(f"trunc i64 {d.stride_w} to i32"), "i32", lanes)
        self.spread = b.emit(f"mul <{lanes} x i32> {step}, {numbers}") if indices else ""

    def _indices(self, lanes: int, index: str) -> str:
        if lanes == 1:
            return index
        narrow = self.b.emit(f"trunc i64 {index} to i32")
        return self.b.emit(
            f"add <{lanes} x i32> {self.b.splat(narrow, 'i32', lanes)}, {self.spread}"
        )

    def start(self, lanes: int, first: str) -> list[tuple[str, str]]:
        """The lowest value, at the window's first place."""
        lowest = lowest_of(self.element)
        kind = vector_type(self.element.part, lanes)
        value = f"splat ({self.element.part} {lowest})" if lanes > 1 else lowest
        state = [(kind, value)]
        if self.indices:
            state.append(
                (vector_type("i32", lanes) if lanes > 1 else "i64", self._indices(lanes, first))
            )
        return state

    def step(self, lanes: int, state: Sequence[str], value: str, index: str) -> list[str]:
        """Take what is greater, and NaN always."""
        b = self.b
        kind = vector_type(self.element.part, lanes)
        mask = vector_type("i1", lanes)
        take = greater(b, self.element, kind, mask, value, state[0])
        out = [b.emit(f"select {mask} {take}, {kind} {value}, {kind} {state[0]}")]
        if self.indices:
            places = vector_type("i32", lanes) if lanes > 1 else "i64"
            here = self._indices(lanes, index)
            out.append(b.emit(f"select {mask} {take}, {places} {here}, {places} {state[1]}"))
        return out

    def finish(self, lanes: int, state: Sequence[str], window: SimpleNamespace) -> None:
        """Store values and places."""
        b = self.b
        self._store(lanes, state[0], window.out, window.tail)
        if not self.indices:
            return
        at = b.offset(self.indices, b.mul(window.out, 8))
        if lanes == 1:
            b.store("i64", state[1], at, 8)
            return
        wide = b.emit(f"sext <{lanes} x i32> {state[1]} to <{lanes} x i64>")
        if window.tail is None:
            b.store(f"<{lanes} x i64>", wide, at, 8)
        else:
            b.masked_store("i64", lanes, wide, at, window.tail.mask, 8)


class Average(Reducer):
    def start(self, lanes: int, first: str) -> list[tuple[str, str]]:
        """Zero."""
        kind = vector_type(self.element.part, lanes)
        return [(kind, "zeroinitializer" if lanes > 1 else self.element.zero_parts()[0])]

    def step(self, lanes: int, state: Sequence[str], value: str, index: str) -> list[str]:
        """Add."""
        op = "fadd" if self.element.floating else "add"
        return [self.b.emit(f"{op} {vector_type(self.element.part, lanes)} {state[0]}, {value}")]

    def finish(self, lanes: int, state: Sequence[str], window: SimpleNamespace) -> None:
        """Divide by the size of the window."""
        b, e = self.b, self.element
        divisor = to_part(b, e, self.divisor(window))
        kind = vector_type(e.part, lanes)
        op = "fdiv" if e.floating else "udiv" if e.kind == "u" else "sdiv"
        wide = b.splat(divisor, e.part, lanes)
        self._store(lanes, b.emit(f"{op} {kind} {state[0]}, {wide}"), window.out, window.tail)

    def divisor(self, window: SimpleNamespace) -> str:
        """Inputs in the window, padding included if so asked, or the number given; at least 1."""
        b, d = self.b, self.d
        inside, padded = "1", "1"
        for axis in "dhw":
            low, high = getattr(window, f"{axis}_low"), getattr(window, f"{axis}_high")
            inside = b.mul(inside, b.max(b.sub(high, low), "0"))
            start, size = getattr(window, f"{axis}_start"), getattr(d, f"in_{axis}")
            end = b.min(
                b.add(start, getattr(d, f"kernel_{axis}")), b.add(size, getattr(d, f"pad_{axis}"))
            )
            padded = b.mul(padded, b.sub(end, start))
        counted = b.select(b.emit(f"icmp ne i64 {d.include_pad}, 0"), "i64", padded, inside)
        given = b.emit(f"icmp ne i64 {d.divisor}, 0")
        chosen = b.select(given, "i64", d.divisor, counted)
        is_zero = b.emit(f"icmp eq i64 {chosen}, 0")
        return b.select(is_zero, "i64", "1", chosen)


def lowest_of(element: Element) -> str:
    """The constant that no value is less than."""
    if element.floating:
        return float_bits(float("-inf"), element.part)
    return str(integer_limits(element.dtype)[0])


def greater(b: Builder, element: Element, kind: str, mask: str, value: str, best: str) -> str:
    """i1: value > best, or value is NaN."""
    if not element.floating:
        sign = "u" if element.kind in "ub" else "s"
        return b.emit(f"icmp {sign}gt {kind} {value}, {best}")
    more = b.emit(f"fcmp ogt {kind} {value}, {best}")
    is_nan = b.emit(f"fcmp uno {kind} {value}, {value}")
    return b.emit(f"or {mask} {more}, {is_nan}")


def to_part(b: Builder, element: Element, number: str) -> str:
    """An i64 as a scalar of the compute type."""
    if element.floating:
        return b.emit(f"sitofp i64 {number} to {element.part}")
    return number if element.part == "i64" else b.emit(f"trunc i64 {number} to {element.part}")


def ceil_divide(b: Builder, number: str, by: str) -> str:
    """ceil(number / by) of a number that is at least 0; not more than 0 for a negative one."""
    return b.emit(f"sdiv i64 {b.add(number, b.sub(by, '1'))}, {by}")


def taps_inside(b: Builder, start: str, size: str, kernel: str, dilation: str) -> tuple[str, str]:
    """The taps of a window that lie in the input: from, to."""
    low = b.max(ceil_divide(b, b.sub("0", start), dilation), "0")
    high = b.min(ceil_divide(b, b.sub(size, start), dilation), kernel)
    return low, high


SHUFFLED = 4  # strides up to this are loaded by shuffling whole vectors
TOGETHER = 4  # vectors of outputs that share the walk over a window's taps, without a stride


class _Windows:
    """Walks every window of the outputs."""

    def __init__(
        self, b: Builder, element: Element, d: SimpleNamespace, x: str, reducer: Reducer
    ) -> None:
        self.b, self.e, self.d, self.x, self.reducer = b, element, d, x, reducer
        self.in_plane = b.mul(b.mul(d.in_d, d.in_h), d.in_w)
        self.out_rows = b.mul(d.out_d, d.out_h)
        self.low, self.high = self._whole_windows()
        self.together = self._end_of_blocks()

    def _whole_windows(self) -> tuple[str, str]:
        """Columns of output that vectors can compute."""
        b, d, lanes = self.b, self.d, self.e.lanes
        low = b.min(ceil_divide(b, d.pad_w, d.stride_w), d.out_w)
        reach = b.add(b.sub(d.in_w, b.mul(b.sub(d.kernel_w, 1), d.dilation_w)), d.pad_w)
        high = b.max(b.min(ceil_divide(b, reach, d.stride_w), d.out_w), low)
        if not self.e.masked:
            # Only whole vectors, and not the last: loads of every second value read one beyond it.
            blocks = b.emit(f"sdiv i64 {b.sub(b.sub(high, low), 1)}, {lanes}")
            high = b.add(low, b.mul(blocks, lanes))
        usable = b.emit(f"icmp ne i64 {d.vectors}, 0")
        return low, b.select(usable, "i64", high, low)

    def _end_of_blocks(self) -> str:
        """Where the whole blocks of vectors end that are computed together."""
        b, block = self.b, TOGETHER * self.e.lanes
        whole = b.emit(f"sdiv i64 {b.sub(self.high, self.low)}, {block}")
        dense = b.emit(f"icmp eq i64 {self.d.stride_w}, 1")
        return b.add(self.low, b.mul(b.select(dense, "i64", whole, "0"), block))

    def emit(self) -> None:
        """Task: `row_block` output rows of one plane."""
        b, d = self.b, self.d
        with b.loop("%begin", "%end") as task:
            plane, block = b.divide(task.index, d.row_tasks)
            first = b.mul(block, d.row_block)
            last = b.min(b.add(first, d.row_block), self.out_rows)
            z, y = b.divide(first, d.out_h)
            x = b.offset(self.x, b.mul(b.mul(plane, self.in_plane), self.e.size))
            out = b.mul(b.add(b.mul(plane, self.out_rows), first), d.out_w)
            with b.loop(first, last, carry=[("i64", z), ("i64", y), ("i64", out)]) as row:
                z, y, out = row.values
                self._row(x, z, y, out)
                wraps = b.emit(f"icmp eq i64 {b.add(y, 1)}, {d.out_h}")
                row.next(
                    b.select(wraps, "i64", b.add(z, 1), z),
                    b.select(wraps, "i64", "0", b.add(y, 1)),
                    b.add(out, d.out_w),
                )

    def _row(self, x: str, z: str, y: str, out: str) -> None:
        b, d = self.b, self.d
        window = SimpleNamespace(x=x)
        window.d_start = b.sub(b.mul(z, d.stride_d), d.pad_d)
        window.h_start = b.sub(b.mul(y, d.stride_h), d.pad_h)
        for axis in "dh":
            start = getattr(window, f"{axis}_start")
            sizes = (getattr(d, f"{name}_{axis}") for name in ("in", "kernel", "dilation"))
            low, high = taps_inside(b, start, *sizes)
            setattr(window, f"{axis}_low", low)
            setattr(window, f"{axis}_high", high)
        with b.loop("0", self.low) as column:
            self._one(window, column.index, out)
        with b.loop(self.low, self.together, TOGETHER * self.e.lanes) as column:
            self._several(window, column.index, out)
        with b.loop(self.together, self.high, self.e.lanes) as column:
            self._many(window, column.index, out)
        with b.loop(self.high, d.out_w) as column:
            self._one(window, column.index, out)

    def _one(self, window: SimpleNamespace, column: str, out: str) -> None:
        b, d = self.b, self.d
        window.w_start = b.sub(b.mul(column, d.stride_w), d.pad_w)
        window.w_low, window.w_high = taps_inside(
            b, window.w_start, d.in_w, d.kernel_w, d.dilation_w
        )
        window.out, window.tail = b.add(out, column), None
        self._walk(window, 1, lambda at: self.e.load_parts(b, at)[0])

    def _several(self, window: SimpleNamespace, column: str, out: str) -> None:
        b, e = self.b, self.e
        window.w_start = b.sub(column, self.d.pad_w)
        window.w_low, window.w_high = "0", self.d.kernel_w
        window.out, window.tail = b.add(out, column), None
        self._walk(window, e.lanes, lambda at: e.load(b, at), TOGETHER)

    def _many(self, window: SimpleNamespace, column: str, out: str) -> None:
        b, d, e = self.b, self.d, self.e
        window.w_start = b.sub(b.mul(column, d.stride_w), d.pad_w)
        window.w_low, window.w_high = "0", d.kernel_w
        count = b.sub(self.high, column)
        window.out, window.tail = b.add(out, column), e.tail(b, count) if e.masked else None
        cases = [(step, self._every(step, count)) for step in range(1, SHUFFLED + 1)]
        if e.gathers:
            numbers = self._numbers()
            cases.append((0, lambda at: e.gather(b, at, numbers, window.tail.mask)))

        def load(at: str, k: int = 0) -> str:
            step, case = cases[k]
            if k == len(cases) - 1:
                return case(at)
            found = b.emit(f"icmp eq i64 {d.stride_w}, {step}")
            rest: Callable[[], list[str]] = lambda: [load(at, k + 1)]
            return b.choose(found, lambda: [case(at)], rest, [e.vector])[0]

        self._walk(window, e.lanes, load)

    def _every(self, step: int, count: str) -> Callable[[str], str]:
        """Loads every `step`-th of the elements from an address, `count` of them at most."""
        b, e, lanes = self.b, self.e, self.e.lanes
        span = b.sub(b.mul(count, step), step - 1)
        tails = [e.tail(b, b.sub(span, k * lanes)) if e.masked else None for k in range(step)]

        def load(at: str) -> str:
            places = [k * step for k in range(lanes)]
            value = e.load(b, at, tails[0])
            for k in range(1, step):
                more = e.load(b, b.offset(at, k * lanes * e.size), tails[k])
                # From the vectors so far (the first: not yet picked from), and from this one.
                before = [p if k == 1 else i for i, p in enumerate(places)]
                picks = [
                    p - (k - 1) * lanes if p >= k * lanes else min(q, lanes - 1)
                    for p, q in zip(places, before, strict=True)
                ]
                value = b.shuffle(value, more, e.vector, [min(p, 2 * lanes - 1) for p in picks])
            return value

        return load

    def _numbers(self) -> str:
        """How far from the first the element of each lane lies, in elements."""
        b, lanes = self.b, self.e.lanes
        step = b.splat(b.emit(f"trunc i64 {self.d.stride_w} to i32"), "i32", lanes)
        lane = "<" + ", ".join(f"i32 {k}" for k in range(lanes)) + ">"
        return b.emit(f"mul <{lanes} x i32> {step}, {lane}")

    def _walk(
        self, window: SimpleNamespace, lanes: int, load: Callable[[str], str], copies: int = 1
    ) -> None:
        """Reduce over the taps inside, then write; `copies` times as many outputs, side by side."""
        b, d, first_out = self.b, self.d, window.out
        shifts = [k * lanes for k in range(copies)]
        first = self._place(window, window.d_low, window.h_low, window.w_low)
        state = [v for shift in shifts for v in self.reducer.start(lanes, b.add(first, shift))]
        types = [t for t, _ in state]
        count = len(state) // copies  # values of one output's state

        def carry(values: Sequence[str]) -> list[tuple[str, str]]:
            return list(zip(types, values, strict=True))

        def take(values: Sequence[str], here: str, place: str) -> list[str]:
            found: list[str] = []
            for k, shift in enumerate(shifts):
                value = load(b.offset(here, shift * self.e.size) if shift else here)
                mine = values[k * count : (k + 1) * count]
                found += self.reducer.step(lanes, mine, value, b.add(place, shift))
            return found

        with b.loop(window.d_low, window.d_high, carry=state) as z:
            with b.loop(window.h_low, window.h_high, carry=carry(z.values)) as y:
                begin = self._place(window, z.index, y.index, window.w_low)
                at = b.offset(window.x, b.mul(begin, self.e.size))
                step = b.mul(d.dilation_w, self.e.size)
                inner = [*carry(y.values), ("i64", begin), ("ptr", at)]
                with b.loop(window.w_low, window.w_high, carry=inner) as x:
                    *values, place, here = x.values
                    following = take(values, here, place)
                    x.next(*following, b.add(place, d.dilation_w), b.offset(here, step))
                y.next(*x.values[:-2])
            z.next(*y.values)
        for k, shift in enumerate(shifts):
            window.out = b.add(first_out, shift)
            self.reducer.finish(lanes, z.values[k * count : (k + 1) * count], window)

    def _place(self, window: SimpleNamespace, z: str, y: str, x: str) -> str:
        """Index in the plane of a tap."""
        b, d = self.b, self.d
        depth = b.add(window.d_start, b.mul(z, d.dilation_d))
        row = b.add(window.h_start, b.mul(y, d.dilation_h))
        column = b.add(window.w_start, b.mul(x, d.dilation_w))
        return b.add(b.mul(b.add(b.mul(depth, d.in_h), row), d.in_w), column)
