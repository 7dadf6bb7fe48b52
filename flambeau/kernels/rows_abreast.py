"""Short rows reduced as many at a time as a vector has lanes.

A row of a few elements costs less to add up than to fold its vector into one number, to store that
and to turn to the next row. Here a vector of each row is read in turn; the rows' accumulators are
folded together, in about as many steps as there are rows, and their results stored by one vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import dtypes as dt
from . import llvm
from .accumulate import Accumulator
from .llvm import Emitter
from .loops import Row

if TYPE_CHECKING:
    from .row_loops import RowKernel

VECTORS = 4  # rows of up to as many vectors
_WORK = 6  # what an element may cost: the body is there for each row, twice


def can_go_abreast(kernel: RowKernel) -> bool:
    """Is the program one reduction of contiguous operands, with its result the only output?"""
    if not kernel.masked or kernel.kinds != ["r"] or len(kernel.passes) != 1:
        return False
    if kernel.patches or isinstance(kernel.roots[0], tuple):
        return False
    if any(o.access not in "cs" for o in kernel.operands):
        return False
    if any(n.op in ("rarely", "position", "at") for n in kernel.nodes):
        return False
    reductions = kernel.passes[0]
    states = [Accumulator(n) for n in reductions]
    work = llvm.cost(kernel._varying([n.args[0] for n in reductions]))
    return sum(len(s.dtypes) for s in states) == 1 and work <= _WORK


def is_short(kernel: RowKernel) -> str:
    """i1: are the rows worth going abreast?"""
    return kernel.b.less(kernel.inner_size, str(VECTORS * kernel.lanes + 1))


def emit_rows_abreast(kernel: RowKernel, begin: str, end: str) -> str:
    """Reduce rows from `begin` on while there are enough of them, and they are short and have
    results side by side; the first row that is left."""
    b, lanes = kernel.b, kernel.lanes
    beside = b.emit(f"icmp eq i64 {kernel.steps[0][0]}, {dt.INFO[kernel.spec.outs[0].dtype].size}")
    fits = b.emit(f"and i1 {is_short(kernel)}, {beside}")
    last = b.select(fits, "i64", b.sub(end, lanes - 1), begin)
    with b.loop(begin, last, lanes) as block:
        _Block(kernel, block.index).emit()
    return block.index


class _Block:
    """As many rows as a vector has lanes, from one row on."""

    def __init__(self, kernel: RowKernel, first: str) -> None:
        self.kernel, self.b, self.lanes = kernel, kernel.b, kernel.lanes
        b = self.b
        self.steps = [s[0] for s in kernel.steps]
        starts = [
            b.offset(p, b.mul(first, s)) for p, s in zip(kernel.pointers, self.steps, strict=True)
        ]
        self.row = Row(starts, [(s[1], s[2]) for s in kernel.steps])
        self.state = Accumulator(kernel.passes[0][0])
        self.wide = Emitter(b, self.lanes)

    def emit(self) -> None:
        """Reduce the rows, store their results."""
        kernel = self.kernel
        kernel.is_kept = False
        kernel._settle(self.row, 0)
        (total,) = self._fold(self._reduce())
        (reduction,) = kernel.passes[0]
        uniform = {n: v for n, v in self.row.uniform.items() if n.op != "const"}
        known = {n: self.wide.splat(v, n.dtype) for n, v in uniform.items()} | {reduction: total}
        leaf = kernel._element_leaf(self.wide, self.row, self.row.pointers, None, None)
        (value,) = self.wide.graph([kernel.roots[0]], leaf, known)  # type: ignore[list-item]
        self.wide.store(value, kernel.spec.outs[0].dtype, self.row.pointers[0])

    def _reduce(self) -> list[str]:
        """An accumulator of each row: vectors of the row, added up."""
        kernel, b = self.kernel, self.b
        identity = kernel._start(self.wide, [self.state]) * self.lanes
        types = [t for t, _ in identity]
        with b.loop("0", kernel.outer_size, carry=identity) as outer:
            inner = kernel._inner_row(self.row, outer.index)
            whole = b.sub(kernel.inner_size, self.lanes - 1)
            carry = list(zip(types, outer.values, strict=True))
            with b.loop("0", whole, self.lanes, carry) as main:
                main.next(*self._step(inner, main.index, main.values, None))
            carry = list(zip(types, main.values, strict=True))
            with b.loop(main.index, kernel.inner_size, self.lanes, carry) as tail:
                mask = b.lanes_below(b.sub(kernel.inner_size, tail.index), self.lanes)
                tail.next(*self._step(inner, tail.index, tail.values, mask))
            outer.next(*tail.values)
        return list(outer.values)

    def _step(self, inner: Row, index: str, have: list[str], mask: str | None) -> list[str]:
        """The accumulators after one more vector of each row."""
        kernel, result = self.kernel, []
        firsts = kernel._advance(inner, index)
        places = [self._places(p, s) for p, s in zip(firsts, self.steps, strict=True)]
        known = kernel._known(self.row, self.lanes)
        for r in range(self.lanes):
            leaf = kernel._element_leaf(self.wide, inner, [p[r] for p in places], mask, None)
            result += kernel._accumulate(
                self.wide, [self.state], dict(known), leaf, have[r : r + 1], lambda: "", mask
            )
        return result

    def _places(self, pointer: str, step: str) -> list[str]:
        """Where each of the rows has the element at `pointer` in the first: few distinct sums, so
        that they stay in registers."""
        b, result = self.b, []
        double = b.mul(step, 2)
        multiples = ["0", step, double, b.add(double, step)]
        four = b.mul(step, 4)
        for _ in range(0, self.lanes, 4):
            result += [b.offset(pointer, m) for m in multiples]
            pointer = b.offset(pointer, four)
        return result[: self.lanes]

    def _fold(self, vectors: list[str]) -> list[str]:
        """Vectors, one a row, as one whose lanes are their totals."""
        t, lanes, size = self.wide.type(self.state.dtypes[0]), self.lanes, self.lanes
        while len(vectors) > 1:
            half, size = len(vectors) // 2, size // 2
            # Half of each block of `size * 2` lanes of one vector, then that of the other's.
            low = [(k & ~size) + (lanes if k & size else 0) for k in range(lanes)]
            high = [k + size for k in low]
            vectors = [
                self.state.combine(
                    self.wide, [self.b.shuffle(*pair, t, low)], [self.b.shuffle(*pair, t, high)]
                )[0]
                for pair in zip(vectors[:half], vectors[half:], strict=True)
            ]
        return vectors
