"""Sums and means of the rows of a table in bags of indices, none of the rows copied.

A task is a bag: indices offsets[bag] up to where the next one begins. A block of columns stays in
registers while the rows of the bag go by.
"""

from __future__ import annotations

from .element import Element, Tail
from .ir import Builder, float_bits
from .plan import Fields, KernelSource, Phase, Plan
from .target import Target, host

# `ends`: as many offsets as bags, or one more, the end of the last.
FIELDS = Fields("count bags rows width ends mean")
_BLOCK = 4  # vectors of columns
_GRAIN = 1 << 13  # elements, at least, that a thread reads


def plan(
    dtype: str,
    count: int,
    bags: int,
    table: tuple[int, int],
    last: bool,
    mean: bool,
    *,
    target: Target | None = None,
) -> Plan:
    """args: out (bags, width), bag of each index, table, indices, offsets, wrong (all three i64).

    `wrong` becomes 1 where an index is out of range, 2 where offsets do not rise from 0 to count.
    """
    rows, width = table
    desc = FIELDS.pack(
        count=count, bags=bags, rows=rows, width=width, ends=bags + last, mean=int(mean)
    )
    grain = max(1, _GRAIN * bags // max(1, count * width))
    return Plan((Phase(source(dtype, target or host()), desc, bags, min(bags, grain)),), 0)


def source(dtype: str, target: Target) -> KernelSource:
    """One kernel for sums and means."""
    return KernelSource(f"bags:{dtype}:{target.name}", lambda: _build(dtype, target), "bags")


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    with b.kernel("bags"), b.loop("%begin", "%end") as bag:
        _Bag(b, Element(dtype, target), bag.index).emit()
    return b.module()


class _Bag:
    def __init__(self, b: Builder, e: Element, bag: str) -> None:
        self.b, self.e, self.bag = b, e, bag
        self.d = FIELDS.load(b)
        self.out, self.bag_of, self.table, self.indices, offsets, self.wrong = (
            b.argument(k) for k in range(6)
        )
        self.first = b.load("i64", b.offset(offsets, b.mul(bag, 8)), 8)
        following = b.add(bag, 1)
        (self.end,) = b.choose(
            b.less(following, self.d.ends),
            lambda: [b.load("i64", b.offset(offsets, b.mul(following, 8)), 8)],
            lambda: [self.d.count],
            ["i64"],
        )

    def emit(self) -> None:
        """Check the bag, then add up its rows."""
        b, d = self.b, self.d
        rises = b.emit(f"icmp sle i64 {self.first}, {self.end}")
        inside = b.emit(f"icmp sle i64 {self.end}, {d.count}")
        starts = b.emit(f"icmp sge i64 {self.first}, 0")
        head = b.emit(f"icmp eq i64 {self.bag}, 0")
        zero = b.emit(f"icmp eq i64 {self.first}, 0")
        begins = b.select(head, "i1", zero, starts)
        good = b.emit(f"and i1 {b.emit(f'and i1 {rises}, {inside}')}, {begins}")
        b.choose(good, self._checked, lambda: b.store("i64", "2", self.wrong, 8))

    def _row(self, k: str) -> str:
        return self.b.load("i64", self.b.offset(self.indices, self.b.mul(k, 8)), 8)

    def _checked(self) -> None:
        b, d = self.b, self.d
        with b.loop(self.first, self.end, carry=[("i1", "true")]) as k:
            b.store("i64", self.bag, b.offset(self.bag_of, b.mul(k.index, 8)), 8)
            known = b.emit(f"icmp ult i64 {self._row(k.index)}, {d.rows}")
            k.next(b.emit(f"and i1 {k.values[0]}, {known}"))
        b.choose(k.values[0], self._add, lambda: b.store("i64", "1", self.wrong, 8))

    def _add(self) -> None:
        b, e, d = self.b, self.e, self.d
        kind, size = e.compute, b.sub(self.end, self.first)
        number = b.emit(f"sitofp i64 {b.max(size, '1')} to {kind.part}")
        share = b.emit(f"fdiv {kind.part} {float_bits(1.0, kind.part)}, {number}")
        wanted = b.emit(f"icmp ne i64 {d.mean}, 0")
        share = b.select(wanted, kind.part, share, float_bits(1.0, kind.part))
        self.share = b.splat(share, kind.part, kind.width)
        block = _BLOCK * e.width
        whole = b.emit(f"udiv i64 {d.width}, {block}")
        whole = b.mul(whole, block)
        with b.loop("0", whole, block) as c:
            self._columns(c.index, [None] * _BLOCK)
        with b.loop(whole, d.width, e.width) as c:
            self._columns(c.index, [e.tail(b, b.sub(d.width, c.index))])

    def _columns(self, column: str, tails: list[Tail | None]) -> None:
        """Some vectors of columns of the bag."""
        b, e, d = self.b, self.e, self.d

        def addresses(base: str, row: str) -> list[str]:
            at = b.add(b.mul(row, d.width), column)
            start = b.offset(base, b.mul(at, e.size))
            return [b.offset(start, k * e.width * e.size) for k in range(len(tails))]

        zeros = [(e.vector, e.zero)] * len(tails)
        with b.loop(self.first, self.end, carry=zeros) as k:
            found = addresses(self.table, self._row(k.index))
            values = [e.load(b, at, tail) for at, tail in zip(found, tails, strict=True)]
            sums = zip(k.values, values, strict=True)
            k.next(*(b.emit(f"fadd {e.vector} {x}, {y}") for x, y in sums))
        places = addresses(self.out, self.bag)
        for total, at, tail in zip(k.values, places, tails, strict=True):
            e.store(b, b.emit(f"fmul {e.vector} {total}, {self.share}"), at, tail)
