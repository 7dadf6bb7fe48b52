"""Sums, means and maxima of the rows of a table in bags of indices, none of the rows copied.

A task is a bag: indices offsets[bag] up to where the next one begins, or `length` of them where all
bags are of one length. A block of columns stays in registers while the rows of the bag go by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .element import Element, Tail
from .ir import Builder, float_bits
from .plan import Fields, KernelSource, Phase, Plan
from .target import Target, host

# `ends`: as many offsets as bags, or one more, the end of the last.
FIELDS = Fields("count bags rows width ends mean length")
_GRAIN = 1 << 13  # elements, at least, that a thread reads
_AHEAD = 4  # rows: how many indices ahead memory is asked for


class Form(NamedTuple):
    """What a kernel does: maxima or sums, whether rows have factors, whether bags are of one
    length."""

    largest: bool
    weighted: bool
    even: bool


def plan(
    dtype: str,
    form: Form,
    count: int,
    bags: int,
    table: tuple[int, int],
    last: bool,
    mean: bool,
    *,
    target: Target | None = None,
) -> Plan:
    """args: out (bags, width), table, indices, offsets, factors of the indices, bag of each index,
    the rows the maxima are from (bags, width), wrong; all but the first two and factors i64.

    `wrong` becomes 1 where an index is out of range, 2 where offsets do not rise from 0 to count.
    """
    rows, width = table
    desc = FIELDS.pack(
        count=count, bags=bags, rows=rows, width=width, ends=bags + last, mean=int(mean),
        length=count // bags,
    )  # fmt: skip
    grain = max(1, _GRAIN * bags // max(1, count * width))
    return Plan((Phase(source(dtype, form, target or host()), desc, bags, min(bags, grain)),), 0)


def source(dtype: str, form: Form, target: Target) -> KernelSource:
    """One kernel for sums and means, one for maxima."""
    key = f"bags:{dtype}:{'-'.join(map(str, map(int, form)))}:{target.name}"
    return KernelSource(key, lambda: _build(dtype, form, target), "bags")


def _build(dtype: str, form: Form, target: Target) -> str:
    b = Builder(target)
    with b.kernel("bags"), b.loop("%begin", "%end") as bag:
        _Bag(b, Element(dtype, target), form, bag.index).emit()
    return b.module()


class _Bag:
    def __init__(self, b: Builder, e: Element, form: Form, bag: str) -> None:
        self.b, self.e, self.form, self.bag = b, e, form, bag
        self.d = FIELDS.load(b)
        names = ("out", "table", "indices", "offsets", "factors", "bag_of", "winners", "wrong")
        self.arguments = {name: b.argument(k) for k, name in enumerate(names)}
        if form.even:
            self.first = b.mul(bag, self.d.length)
            self.end = b.add(self.first, self.d.length)
        else:
            self._find_ends()

    def _find_ends(self) -> None:
        b, offsets = self.b, self.arguments["offsets"]
        self.first = b.load("i64", b.offset(offsets, b.mul(self.bag, 8)), 8)
        following = b.add(self.bag, 1)
        (self.end,) = b.choose(
            b.less(following, self.d.ends),
            lambda: [b.load("i64", b.offset(offsets, b.mul(following, 8)), 8)],
            lambda: [self.d.count],
            ["i64"],
        )

    def emit(self) -> None:
        """Check the bag, then go through its rows."""
        b, d = self.b, self.d
        if self.form.even:
            self._checked()
            return
        rises = b.emit(f"icmp sle i64 {self.first}, {self.end}")
        inside = b.emit(f"icmp sle i64 {self.end}, {d.count}")
        starts = b.emit(f"icmp sge i64 {self.first}, 0")
        head = b.emit(f"icmp eq i64 {self.bag}, 0")
        zero = b.emit(f"icmp eq i64 {self.first}, 0")
        begins = b.select(head, "i1", zero, starts)
        good = b.emit(f"and i1 {b.emit(f'and i1 {rises}, {inside}')}, {begins}")
        b.choose(good, self._checked, lambda: self._complain(2))

    def _complain(self, what: int) -> None:
        self.b.store("i64", str(what), self.arguments["wrong"], 8)

    def _row(self, k: str) -> str:
        return self.b.load("i64", self.b.offset(self.arguments["indices"], k, "i64"), 8)

    def _checked(self) -> None:
        b, d = self.b, self.d
        with b.loop(self.first, self.end, carry=[("i1", "true")]) as k:
            if not self.form.even:
                b.store("i64", self.bag, b.offset(self.arguments["bag_of"], k.index, "i64"), 8)
            known = b.emit(f"icmp ult i64 {self._row(k.index)}, {d.rows}")
            k.next(b.emit(f"and i1 {k.values[0]}, {known}"))
        b.choose(k.values[0], self._pool, lambda: self._complain(1))

    def _pool(self) -> None:
        """All columns: by blocks of vectors, what is left by smaller ones."""
        b, e, d = self.b, self.e, self.d
        self.share = self._find_share()
        start = "0"
        for block in (4,) if self.form.largest else (8, 4):
            step = block * e.width
            left = b.sub(d.width, start)
            end = b.add(start, b.mul(b.emit(f"udiv i64 {left}, {step}"), step))
            with b.loop(start, end, step) as c:
                self._columns(c.index, [None] * block)
            start = end
        with b.loop(start, d.width, e.width) as c:
            self._columns(c.index, [e.tail(b, b.sub(d.width, c.index))])

    def _find_share(self) -> str:
        b, kind = self.b, self.e.compute
        size = b.max(b.sub(self.end, self.first), "1")
        share = b.emit(f"sitofp i64 {size} to {kind.part}")
        share = b.emit(f"fdiv {kind.part} {float_bits(1.0, kind.part)}, {share}")
        wanted = b.emit(f"icmp ne i64 {self.d.mean}, 0")
        share = b.select(wanted, kind.part, share, float_bits(1.0, kind.part))
        return b.splat(share, kind.part, kind.width)

    def _columns(self, column: str, tails: Sequence[Tail | None]) -> None:
        """Some vectors of columns of the bag."""
        if self.form.largest:
            self._find_largest(column, tails)
        else:
            self._add(column, tails)

    def _addresses(self, base: str, row: str, column: str, count: int) -> list[str]:
        b, e = self.b, self.e
        start = b.offset(base, b.mul(b.add(b.mul(row, self.d.width), column), e.size))
        return [b.offset(start, k * e.width * e.size) for k in range(count)]

    def _load_row(self, k: str, column: str, tails: Sequence[Tail | None]) -> tuple[str, list[str]]:
        """The number of a row and vectors of its columns; asks for a row that comes later."""
        b, e, table = self.b, self.e, self.arguments["table"]
        later = b.min(b.add(k, _AHEAD), b.sub(self.end, 1))
        name = "llvm.prefetch.p0"
        b.declare(name, f"declare void @{name}(ptr, i32, i32, i32)")
        for at in self._addresses(table, self._row(later), column, len(tails)):
            b.do(f"call void @{name}(ptr {at}, i32 0, i32 3, i32 1)")
        row = self._row(k)
        found = self._addresses(table, row, column, len(tails))
        return row, [e.load(b, at, tail) for at, tail in zip(found, tails, strict=True)]

    def _add(self, column: str, tails: Sequence[Tail | None]) -> None:
        b, e = self.b, self.e
        zeros = [(e.vector, e.zero)] * len(tails)
        with b.loop(self.first, self.end, carry=zeros) as k:
            _, values = self._load_row(k.index, column, tails)
            if self.form.weighted:
                at = b.offset(self.arguments["factors"], b.mul(k.index, e.size))
                factor = [b.splat(e.load_parts(b, at)[0], e.part, e.width)]
                sums = zip(k.values, values, strict=True)
                k.next(*(e.multiply_add(b, factor, value, [total])[0] for total, value in sums))
            else:
                sums = zip(k.values, values, strict=True)
                k.next(*(e.add(b, total, value) for total, value in sums))
        places = self._addresses(self.arguments["out"], self.bag, column, len(tails))
        for total, at, tail in zip(k.values, places, tails, strict=True):
            e.store(b, b.emit(f"fmul {e.vector} {total}, {self.share}"), at, tail)

    def _find_largest(self, column: str, tails: Sequence[Tail | None]) -> None:
        """Maxima and their rows; zeros and the row -1 for an empty bag."""
        b, e, n = self.b, self.e, len(tails)
        numbers, bits = f"<{e.width} x i64>", f"<{e.width} x i1>"
        start = [(e.vector, e.zero)] * n + [(numbers, "splat (i64 -1)")] * n
        with b.loop(self.first, self.end, carry=start) as k:
            row, values = self._load_row(k.index, column, tails)
            own = b.splat(row, "i64", e.width)
            head = b.splat(b.emit(f"icmp eq i64 {k.index}, {self.first}"), "i1", e.width)
            best, rows = [], []
            for value, old, at in zip(values, k.values[:n], k.values[n:], strict=True):
                above = b.emit(f"fcmp ogt {e.vector} {value}, {old}")
                taken = b.emit(f"or {bits} {above}, {head}")
                best.append(b.emit(f"select {bits} {taken}, {e.vector} {value}, {e.vector} {old}"))
                rows.append(b.emit(f"select {bits} {taken}, {numbers} {own}, {numbers} {at}"))
            k.next(*best, *rows)
        places = self._addresses(self.arguments["out"], self.bag, column, n)
        first = b.add(b.mul(self.bag, self.d.width), column)
        index = Element("i64", e.target)
        for i, (at, tail) in enumerate(zip(places, tails, strict=True)):
            e.store(b, k.values[i], at, tail)
            place = b.add(first, i * e.width)
            self._store_rows(index, k.values[n + i], place, column, i)

    def _store_rows(self, index: Element, rows: str, place: str, column: str, number: int) -> None:
        """Store the rows of the maxima of one vector, as many as there are columns."""
        b, e = self.b, self.e
        left = b.sub(self.d.width, b.add(column, number * e.width))
        for k in range(0, e.width, index.width):
            part = b.shuffle(rows, rows, f"<{e.width} x i64>", range(k, k + index.width))
            at = b.offset(self.arguments["winners"], b.add(place, k), "i64")
            index.store(b, part, at, index.tail(b, b.sub(left, k)))
