"""Tiles: two-dimensional pointwise loops in which some operands run down columns.

Reading such an operand along the rows touches one cache line an element. Instead a square tile is
read
column by column, transposed in registers, and computed row by row. Operands have 4-byte elements.
"""

from __future__ import annotations

from .ir import Builder
from .llvm import Emitter
from .scalar import Expr


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
        last = b.sub("%end", self.side - 1)
        with b.loop("%begin", last, self.side) as blocks:
            full = b.sub(self.size, self.side - 1)
            with b.loop("0", full, self.side) as across:
                self._tile(blocks.index, across.index)
            with b.loop("0", str(self.side)) as row:
                self._single_row(b.add(blocks.index, row.index), across.index)
        with b.loop(blocks.index, "%end") as row:
            self._single_row(row.index, "0")

    def _at(self, i: int, row: str, column: str) -> str:
        moved = self.b.offset(self.pointers[i], self.b.mul(row, self.rows[i]))
        return self.b.offset(moved, self.b.mul(column, self.columns[i]))

    def _tile(self, row: str, column: str) -> None:
        b, k = self.b, self.k
        em = Emitter(b, self.side)
        outs = len(k.spec.outs)
        blocks: dict[int, list[str]] = {}
        for i, o in enumerate(k.operands[outs:], outs):
            if o.access == "t":
                vector = em.type(o.dtype)
                columns = [
                    em.load(o.dtype, self._at(i, row, b.add(column, j))) for j in range(self.side)
                ]
                blocks[i] = transpose(b, columns, vector)
        for j in range(self.side):
            here = b.add(row, j)
            at = [self._at(i, here, column) for i in range(len(k.operands))]

            def leaf(n: Expr, at: list[str] = at, j: int = j) -> str | None:
                if n.op != "input":
                    return em.cast(k.count, "i64", n.dtype) if n.op == "count" else None
                return self._value(em, n, outs + n.value, at, blocks, j)

            values = em.graph(k.flat_roots, leaf, {})
            for out, value in enumerate(values):
                self._store(em, out, value, at[out])

    def _value(self, em: Emitter, n: Expr, i: int, at: list[str], blocks: dict, j: int) -> str:
        access = self.k.operands[i].access
        if access == "t":
            return blocks[i][j]
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
