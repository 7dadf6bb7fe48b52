"""The margin loss of lists of classes.

For a row x of C scores and its listed classes j, the others being i: the sum of
max(0, 1 - x_j + x_i) / C. The slopes by x count, for each class, the pairs whose margin is not
kept.
"""

from __future__ import annotations

from .element import Element
from .ir import Builder, float_bits, suffix
from .plan import Fields, KernelSource, Phase, Plan
from .target import Target, host

FIELDS = Fields("classes")
_GRAIN = 1 << 13  # scores, at least, that a thread takes


def plan(
    dtype: str, rows: int, classes: int, threads: int, *, target: Target | None = None
) -> Plan:
    """args: losses (rows), slopes (rows, classes), scores, lists (i64), wrong (i64), workspace.

    `wrong` becomes 1 where a listed class is not one.
    """
    kernel = source(dtype, target or host())
    room = threads * 2 * (4 if dtype != "f64" else 8) * (classes + 16)
    grain = max(1, _GRAIN // classes)
    return Plan((Phase(kernel, FIELDS.pack(classes=classes), rows, grain),), room)


def source(dtype: str, target: Target) -> KernelSource:
    """A task is a row."""
    return KernelSource(
        f"margin_lists:{dtype}:{target.name}", lambda: _build(dtype, target), "rows"
    )


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    with b.kernel("rows"):
        classes = FIELDS.load(b).classes
        with b.loop("%begin", "%end") as row:
            _Row(b, Element(dtype, target), classes, row.index).emit()
    return b.module()


class _Row:
    """One row; this thread's part of the workspace says which classes are counted, sums slopes."""

    def __init__(self, b: Builder, e: Element, classes: str, row: str) -> None:
        self.b, self.e, self.wide = b, e, e.compute
        self.classes, self.row = classes, row
        size = self.wide.size
        bytes_each = b.mul(b.add(classes, 16), size)
        self.counted = b.offset(b.argument(5), b.mul(b.mul("%thread", bytes_each), 2))
        self.sums = b.offset(self.counted, bytes_each)
        first = b.mul(row, classes)
        self.scores = b.offset(b.argument(2), b.mul(first, e.size))
        self.slopes = b.offset(b.argument(1), b.mul(first, e.size))
        self.list = b.offset(b.argument(3), b.mul(first, 8))
        self.one = float_bits(1.0, e.part)
        self.none = float_bits(0.0, e.part)

    def emit(self) -> None:
        """The row's loss and slopes."""
        b, e, wide = self.b, self.e, self.wide
        with b.loop("0", self.classes) as k:
            at = b.mul(k.index, wide.size)
            b.store(e.part, self.one, b.offset(self.counted, at))
            b.store(e.part, self.none, b.offset(self.sums, at))
        length = self._length()
        with b.loop("0", length) as k:
            b.store(e.part, self.none, self._of(self.counted, self._listed(k.index)))
        with b.loop("0", length, carry=[(e.part, self.none)]) as k:
            k.next(b.emit(f"fadd {e.part} {k.values[0]}, {self._pairs(self._listed(k.index))}"))
        share = b.emit(f"fdiv {e.part} {self.one}, {self._number(self.classes)}")
        loss = b.emit(f"fmul {e.part} {k.values[0]}, {share}")
        e.store_parts(b, [loss], b.offset(b.argument(0), b.mul(self.row, e.size)))
        with b.loop("0", self.classes) as k:
            value = b.load(e.part, self._of(self.sums, k.index))
            value = b.emit(f"fmul {e.part} {value}, {share}")
            e.store_parts(b, [value], b.offset(self.slopes, b.mul(k.index, e.size)))

    def _length(self) -> str:
        """How many classes are listed before the first negative one; wrong ones end the list."""
        b = self.b
        with b.loop("0", self.classes, carry=[("i64", "0"), ("i1", "true")]) as k:
            value = b.load("i64", b.offset(self.list, b.mul(k.index, 8)), 8)
            good = b.emit(f"icmp ult i64 {value}, {self.classes}")
            more = b.emit(f"and i1 {k.values[1]}, {good}")
            above = b.emit(f"icmp sge i64 {value}, {self.classes}")
            with b.when(b.emit(f"and i1 {k.values[1]}, {above}")):
                b.store("i64", "1", b.argument(4), 8)
            k.next(b.add(k.values[0], b.emit(f"zext i1 {more} to i64")), more)
        return k.values[0]

    def _listed(self, k: str) -> str:
        return self.b.load("i64", self.b.offset(self.list, self.b.mul(k, 8)), 8)

    def _of(self, place: str, k: str) -> str:
        return self.b.offset(place, self.b.mul(k, self.wide.size))

    def _number(self, integer: str) -> str:
        return self.b.emit(f"sitofp i64 {integer} to {self.e.part}")

    def _pairs(self, listed: str) -> str:
        """The losses of a listed class with all that are not; their slopes are added."""
        b, e, wide = self.b, self.e, self.wide
        lanes, vector = wide.width, wide.vector
        own = e.load_parts(b, b.offset(self.scores, b.mul(listed, e.size)))[0]
        needed = b.emit(f"fsub {e.part} {self.one}, {own}")
        whole = b.emit(f"and i64 {self.classes}, {-lanes}")
        zero, many = "zeroinitializer", b.splat(needed, e.part, lanes)
        with b.loop("0", whole, lanes, carry=[(vector, zero), (vector, zero)]) as k:
            scores = e.load(b, b.offset(self.scores, b.mul(k.index, e.size)))
            k.next(*self._add(vector, many, scores, k.index, k.values))
        reduce = f"llvm.vector.reduce.fadd.v{lanes}{suffix(e.part)}"
        start = float_bits(-0.0, e.part)
        state = [b.intrinsic(reduce, e.part, (e.part, start), (vector, v)) for v in k.values]
        with b.loop(whole, self.classes, carry=[(e.part, v) for v in state]) as k:
            score = e.load_parts(b, b.offset(self.scores, b.mul(k.index, e.size)))[0]
            k.next(*self._add(e.part, needed, score, k.index, k.values))
        loss, count = k.values
        at = self._of(self.sums, listed)
        b.store(e.part, b.emit(f"fsub {e.part} {b.load(e.part, at)}, {count}"), at)
        return loss

    def _add(self, kind: str, needed: str, scores: str, k: str, state: list[str]) -> list[str]:
        """The sums of losses and of pairs after one more score, or a vector of them."""
        b = self.b
        mask = "i1" if kind == self.e.part else f"<{self.wide.width} x i1>"
        zero = self.none if mask == "i1" else "zeroinitializer"
        counted, at = b.load(kind, self._of(self.counted, k)), self._of(self.sums, k)
        gap = b.emit(f"fadd {kind} {needed}, {scores}")
        # As in PyTorch a gap that is NaN counts for nothing; nor do the listed classes.
        wide = b.emit(f"fcmp ogt {kind} {gap}, {zero}")
        free = b.emit(f"fcmp une {kind} {counted}, {zero}")
        taken = b.emit(f"and {mask} {wide}, {free}")
        gap = b.emit(f"select {mask} {taken}, {kind} {gap}, {kind} {zero}")
        pairs = b.emit(f"select {mask} {taken}, {kind} {counted}, {kind} {zero}")
        b.store(kind, b.emit(f"fadd {kind} {b.load(kind, at)}, {pairs}"), at)
        return [
            b.emit(f"fadd {kind} {state[0]}, {gap}"),
            b.emit(f"fadd {kind} {state[1]}, {pairs}"),
        ]
