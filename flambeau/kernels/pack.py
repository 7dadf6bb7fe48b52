"""Copies of matrix blocks into the order in which register tiles read them."""

from __future__ import annotations

from .element import Element, transpose
from .ir import Builder

PARAMETERS = [
    ("i64", "%depth"),  # length along the summed index
    ("ptr", "%from"),
    ("i64", "%step"),  # bytes from one value of the summed index to the next
    ("i64", "%side"),  # bytes from one column (row of A) to the next
    ("i64", "%count"),  # columns to copy; those up to the panel's width become zeros or copies
    ("ptr", "%to"),
    ("i64", "%width"),  # columns of the panel
]
FAR = ("i64", "%far")
AHEAD = ("i64", "%ahead")  # bytes from this panel to the one that is packed next, as far as known


def emit_pack(
    b: Builder,
    name: str,
    source: Element,
    width: int | None = None,
    *,
    shared: bool = False,
    ahead: bool = False,
) -> None:
    """Define `void name(PARAMETERS)`: to[depth][width] = from, in the compute type.

    The panel's width is a multiple of the vector's lanes, or the constant `width`. `shared`: other
    threads read it next, and there is one more parameter, (i64) whether their cores are far apart.
    `ahead`: there is one that says what to prefetch.
    """
    if width is not None:
        source = _narrowed(source, width)
    parameters = [*PARAMETERS, *[FAR] * shared, *[AHEAD] * ahead]
    with b.function(name, parameters, "internal", "noinline"):
        pack = _Pack(b, source, width, b.is_far(FAR[1]) if shared else None, ahead)
        along_columns = b.emit(f"icmp eq i64 %side, {source.size}")
        along_depth = b.emit(f"icmp eq i64 %step, {source.size}")

        def other() -> None:
            if pack.can_transpose:
                b.choose(along_depth, pack.transposed, pack.by_element)
            else:
                pack.by_element()

        b.choose(along_columns, pack.rows, other)


def _narrowed(source: Element, width: int) -> Element:
    """The element with vectors of `width` lanes, where that is a size vectors come in."""
    if width >= source.lanes or width & (width - 1):
        return source
    size = source.target.vector_bytes * width // source.lanes
    return Element(source.dtype, source.target._replace(vector_bytes=size))


class _Pack:
    def __init__(
        self, b: Builder, source: Element, width: int | None, far: str | None, ahead: bool
    ) -> None:
        self.b, self.source, self.into, self.far = b, source, source.compute, far
        self.width = str(width) if width else "%width"
        self.ahead = AHEAD[1] if ahead else None
        self.lanes = source.lanes
        self.partial = bool(width and width % source.lanes)
        self.can_transpose = not source.complex and source.width <= 16 and not self.partial
        self.row_bytes = b.mul(self.width, self.into.size)

    def rows(self) -> None:
        """Columns lie side by side: copy vectors."""
        b = self.b
        with b.loop("0", "%depth") as k:
            start = b.offset("%from", b.mul(k.index, "%step"))
            to = b.offset("%to", b.mul(k.index, self.row_bytes))
            if self.partial:
                self._row_by_element(start, to)
            else:
                self._row_by_vector(start, to)

    def _row_by_vector(self, start: str, to: str) -> None:
        b = self.b
        with b.loop("0", self.width, str(self.lanes)) as j:
            tail = self.source.tail(b, b.sub("%count", j.index))
            place = b.offset(start, b.mul(j.index, self.source.size))
            if self.ahead:
                b.prefetch(b.offset(place, self.ahead), 2)
            value = self.source.load(b, place, tail)
            at = b.offset(to, b.mul(j.index, self.into.size))
            self.into.hand_over(b, value, at, self.far)

    def by_element(self) -> None:
        """Any strides."""
        b = self.b
        with b.loop("0", "%depth") as k:
            start = b.offset("%from", b.mul(k.index, "%step"))
            self._row_by_element(start, b.offset("%to", b.mul(k.index, self.row_bytes)))

    def _row_by_element(self, start: str, to: str) -> None:
        b = self.b
        with b.loop("0", "%count") as j:
            at = b.offset(to, b.mul(j.index, self.into.size))
            self.source.copy_one(b, b.offset(start, b.mul(j.index, "%side")), at, self.into)
        with b.loop("%count", self.width) as j:
            at = b.offset(to, b.mul(j.index, self.into.size))
            self.into.store_parts(b, self.into.zero_parts(), at)

    def transposed(self) -> None:
        """The summed index lies side by side: transpose squares in registers."""
        b, lanes = self.b, self.lanes
        whole = b.emit(f"and i64 %depth, {-lanes}")
        last = b.sub("%count", "1")
        with b.loop("0", self.width, str(lanes)) as j:
            # Columns beyond the last are copies of it: what they yield is never stored.
            columns = [
                b.offset("%from", b.mul(b.min(b.add(j.index, r), last), "%side"))
                for r in range(lanes)
            ]
            to = b.offset("%to", b.mul(j.index, self.into.size))
            with b.loop("0", whole, str(lanes)) as k:
                self._square(columns, to, k.index, None)
            if self.source.masked:
                with b.when(b.less(whole, "%depth")):
                    self._square(columns, to, whole, b.sub("%depth", whole))
        if not self.source.masked:
            with b.loop(whole, "%depth") as k:
                start = b.offset("%from", b.mul(k.index, "%step"))
                self._row_by_element(start, b.offset("%to", b.mul(k.index, self.row_bytes)))

    def _square(self, columns: list[str], to: str, k: str, limit: str | None) -> None:
        b = self.b
        at = b.mul(k, self.source.size)
        tail = self.source.tail(b, limit) if limit else None
        rows = [self.source.load(b, b.offset(column, at), tail) for column in columns]
        if limit is None:  # the next panel, which will be packed when this one has been used
            further = b.add(at, self.ahead or b.mul("%side", self.width))
            for column in columns:
                b.prefetch(b.offset(column, further), 2)
        turned = transpose(b, rows, self.source.vector, self.lanes)
        for r, row in enumerate(turned):
            target = b.offset(to, b.mul(b.add(k, r), self.row_bytes))
            if limit is None:
                self.into.hand_over(b, row, target, self.far)
            else:
                with b.when(b.less(str(r), limit)):
                    self.into.store(b, row, target)


UNPACK_PARAMETERS = [
    ("i64", "%depth"),  # length along the index that lies side by side in the result
    ("ptr", "%from"),  # [depth][width]
    ("i64", "%width"),
    ("ptr", "%to"),
    ("i64", "%side"),  # bytes from one column's run in the result to the next
    ("i64", "%count"),  # columns to write
]


def emit_unpack(b: Builder, name: str, c: Element) -> None:
    """Define `void name(UNPACK_PARAMETERS)`: to[column][depth] = from[depth][column], real types.

    The panel has room for whole vectors; squares are transposed in registers.
    """
    lanes = c.lanes
    with b.function(name, UNPACK_PARAMETERS, "internal", "noinline"):
        last = b.sub("%depth", "1")
        row_bytes = b.mul("%width", c.size)
        with b.loop("0", "%count", lanes) as j, b.loop("0", "%depth", lanes) as d:
            start = b.offset("%from", b.mul(j.index, c.size))
            rows = [
                c.load(b, b.offset(start, b.mul(b.min(b.add(d.index, r), last), row_bytes)))
                for r in range(lanes)
            ]
            tail = c.tail(b, b.sub("%depth", d.index))
            to = b.offset("%to", b.mul(d.index, c.size))
            for r, run in enumerate(transpose(b, rows, c.vector, lanes)):
                column = b.add(j.index, r)
                with b.when(b.less(column, "%count")):
                    c.store(b, run, b.offset(to, b.mul(column, "%side")), tail)
