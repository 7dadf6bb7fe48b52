"""Tiles: two-dimensional pointwise loops in which some operands run down columns.

Reading such an operand along the rows touches one cache line an element. Instead a square tile is
read
column by column, transposed in registers, and computed row by row. Operands have 4-byte elements.
"""

from __future__ import annotations

from .ir import Builder
from .llvm import Emitter
from .scalar import Expr

# From this cost on the body is in the kernel for a few rows of a tile, in a loop, not for each row.
_WORTH_A_LOOP = 40
_ROWS = 4


def transpose(b: Builder, rows: list[str], vector: str) -> list[str]:
    """The transpose of a square of vectors: log2(n) stages of two-input shuffles."""
    n = len(rows)
    step = 1
    while step < n:
        turned = list(rows)
        low = [lane if not lane & step else (lane ^ step) + n for lane in range(n)]
        high = [(lane | step) if not lane & step else lane + n for lane in range(n)]
        for i in range(n):
            if not i & step:
                x, y = rows[i], rows[i | step]
                turned[i] = b.shuffle(x, y, vector, low)
                turned[i | step] = b.shuffle(x, y, vector, high)
        rows = turned
        step *= 2
    return rows


def emit_tiles(kernel) -> None:
    """Body of the `tile` form; `kernel` is a loops.LoopKernel. desc as for `nest`."""
    _Tiles(kernel).emit()


class _Tiles:
    def __init__(self, kernel) -> None:
        self.k = kernel
        self.b: Builder = kernel.b
        self.side = min(kernel.target.vector_bytes // 4, 16)

    def emit(self) -> None:
        b, k = self.b, self.k
        self.pointers = [b.argument(i) for i in range(len(k.operands))]
        self.size = b.size(0)
        self.rows = [b.size(1 + 2 * i) for i in range(len(k.operands))]
        self.columns = [b.size(2 + 2 * i) for i in range(len(k.operands))]
        k.count = self.size
        with b.loop("%begin", "%end", self.side) as blocks:
            height = b.min(b.sub("%end", blocks.index), str(self.side))
            partial = b.less(height, str(self.side))
            last = b.select(partial, "i64", "0", b.sub(self.size, self.side - 1))
            with b.loop("0", last, self.side) as across:
                self._tile(blocks.index, across.index)
            with b.loop("0", height) as row:
                self._single_row(b.add(blocks.index, row.index), across.index)

    def _at(self, i: int, row: str, column: str) -> str:
        moved = self.b.offset(self.pointers[i], self.b.mul(row, self.rows[i]))
        return self.b.offset(moved, self.b.mul(column, self.columns[i]))

    def _tile(self, row: str, column: str) -> None:
        b, k = self.b, self.k
        em = Emitter(b, self.side)
        blocks: dict[int, list[str]] = {}
        for i, o in enumerate(k.operands[len(k.spec.outs) :], len(k.spec.outs)):
            if o.access == "t":
                columns = [
                    em.load(o.dtype, self._at(i, row, b.add(column, j))) for j in range(self.side)
                ]
                blocks[i] = transpose(b, columns, em.type(o.dtype))
        if k.weight < _WORTH_A_LOOP:
            for j in range(self.side):
                self._row_of_tile(em, b.add(row, j), column, {i: v[j] for i, v in blocks.items()})
            return
        kept = {i: self._keep(em, i, rows) for i, rows in blocks.items()}
        with b.loop("0", str(self.side), _ROWS) as group:
            for line in (b.add(group.index, u) for u in range(_ROWS)):
                turned = {i: self._kept(em, i, at, line) for i, at in kept.items()}
                self._row_of_tile(em, b.add(row, line), column, turned)

    def _keep(self, em: Emitter, i: int, rows: list[str]) -> str:
        """Rows in memory, for a loop over them; where they are."""
        vector = em.type(self.k.operands[i].dtype)
        at = self.b.stack(f"[{self.side} x {vector}]")
        for j, row in enumerate(rows):
            self.b.store(vector, row, self.b.offset(at, str(4 * self.side * j)), 4 * self.side)
        return at

    def _kept(self, em: Emitter, i: int, at: str, j: str) -> str:
        place = self.b.offset(at, self.b.mul(j, 4 * self.side))
        return self.b.load(em.type(self.k.operands[i].dtype), place, 4 * self.side)

    def _row_of_tile(self, em: Emitter, row: str, column: str, turned: dict[int, str]) -> None:
        k = self.k
        at = [self._at(i, row, column) for i in range(len(k.operands))]

        def leaf(n: Expr) -> str | None:
            if n.op != "input":
                return em.cast(k.count, "i64", n.dtype) if n.op == "count" else None
            return self._value(em, n, len(k.spec.outs) + n.value, at, turned)

        for out, value in enumerate(em.graph(k.flat_roots, leaf, {})):
            self._store(em, out, value, at[out])

    def _value(self, em: Emitter, n: Expr, i: int, at: list[str], turned: dict[int, str]) -> str:
        access = self.k.operands[i].access
        if access == "t":
            return turned[i]
        if access in "s0":
            return em.splat(Emitter(self.b, 1).load(n.dtype, at[i]), n.dtype)
        return em.load(n.dtype, at[i])

    def _store(self, em: Emitter, out: int, value: str, at: str) -> None:
        dtype, access = self.k.operands[out]
        if access == "c":
            em.store(value, dtype, at)
            return
        t = em.type(dtype)
        one = Emitter(self.b, 1)
        for lane in range(em.lanes):
            element = self.b.emit(f"extractelement {t} {value}, i32 {lane}")
            one.store(element, dtype, self.b.offset(at, self.b.mul(lane, self.columns[out])))

    def _single_row(self, row: str, begin: str) -> None:
        """Columns [begin, size) of one row, one element at a time."""
        b, k = self.b, self.k
        em = Emitter(b, 1)
        outs = len(k.spec.outs)
        with b.loop(begin, self.size) as columns:
            at = [self._at(i, row, columns.index) for i in range(len(k.operands))]

            def leaf(n: Expr) -> str | None:
                if n.op == "input":
                    return em.load(n.dtype, at[outs + n.value])
                return em.cast(k.count, "i64", n.dtype) if n.op == "count" else None

            values = em.graph(k.flat_roots, leaf, {})
            for out, value in enumerate(values):
                em.store(value, k.operands[out].dtype, at[out])
