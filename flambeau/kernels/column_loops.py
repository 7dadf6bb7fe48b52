"""Row programs with the lanes across rows that are neighbours in memory.

Each lane walks the reduced axes on its own. Several vectors of rows go side by side, so that every
step reads a few adjacent cache lines and the accumulators do not wait for one another.
"""

from __future__ import annotations

from . import dtypes as dt
from . import llvm
from .accumulate import Accumulator
from .llvm import Emitter
from .loops import Row
from .reduced_loops import ReducedKernel
from .scalar import Expr

_BYTES_ABREAST = 256  # of each operand; the core cuts rows into multiples of as many elements


class ColumnKernel(ReducedKernel):
    """Rows [begin, end) are lanes."""

    def emit(self) -> None:
        """The kernel's body."""
        self.pointers, self.steps = self._reduced_sizes(), self._steps()
        abreast = self._abreast()
        step = self.lanes * abreast
        wide = Emitter(self.b, self.lanes)
        begin = "%begin"
        if abreast > 1:
            with self.b.loop(begin, self.b.sub("%end", step - 1), step) as main:
                self._block(wide, abreast, main.index, None)
            begin = main.index
        if self.masked:
            with self.b.loop(begin, "%end", self.lanes) as tail:
                mask = self.b.lanes_below(self.b.sub("%end", tail.index), self.lanes)
                self._block(wide, 1, tail.index, mask)
            return
        if self.lanes > 1:
            with self.b.loop(begin, self.b.sub("%end", self.lanes - 1), self.lanes) as single:
                self._block(wide, 1, single.index, None)
            begin = single.index
        with self.b.loop(begin, "%end", 1) as rest:
            self._block(Emitter(self.b, 1), 1, rest.index, None)

    def _abreast(self) -> int:
        if self.lanes == 1:
            return 1
        carried = max((sum(len(Accumulator(n).dtypes) for n in p) for p in self.passes), default=1)
        fitting = _BYTES_ABREAST // self.target.vector_bytes
        if llvm.cost(self.nodes) > 120:  # code grows faster than what it gains
            fitting = min(fitting, 2)
        return max(1, min(fitting, 16 // carried))

    # ---- a block of rows -------------------------------------------------------------------------

    def _block(self, em: Emitter, abreast: int, index: str, mask: str | None) -> None:
        at = [
            self.b.offset(p, self.b.mul(index, s[0]))
            for p, s in zip(self.pointers, self.steps, strict=True)
        ]
        row = Row(at, [(s[1], s[2], s[0]) for s in self.steps])
        self.is_kept = False
        self._settle(row, 0)
        shared = {n: em.splat(v, n.dtype) for n, v in row.uniform.items() if n.op != "const"}
        settled = [dict(shared) for _ in range(abreast)]
        for depth, reductions in enumerate(self.passes):
            self._column_pass(em, row, reductions, settled, mask, keep=depth == self.kept_in)
            for known in settled:
                self._settle_columns(em, known, depth + 1)
        self.is_kept = self.kept is not None
        self._store_kind("r", em, row, at, settled, mask, None)
        if "e" not in self.kinds:
            return
        with self.b.loop("0", self.outer_size) as outer, self.b.loop("0", self.inner_size) as inner:
            where = self.b.add(self.b.mul(outer.index, self.inner_size), inner.index)
            cell = self._cell(row, outer.index, inner.index)
            self._store_kind("e", em, row, cell, settled, mask, where)

    def _store_kind(self, kind: str, em: Emitter, row: Row, at, settled, mask, where) -> None:
        for v, known in enumerate(settled):
            here = self._beside(em, row, at, v)
            leaf = self._column_leaf(em, row, here, mask, where)
            have = dict(known)
            for k, (root, out) in enumerate(zip(self.roots, self.spec.outs, strict=True)):
                if self.kinds[k] != kind:
                    continue
                if isinstance(root, tuple):
                    pair = em.graph(list(root), leaf, have)
                    em.store_pair((pair[0], pair[1]), out.dtype, here[k])
                else:
                    em.store(em.graph([root], leaf, have)[0], out.dtype, here[k], mask)

    def _settle_columns(self, em: Emitter, settled: dict[Expr, str], depth: int) -> None:
        wanted = [n for n in self.nodes if self.levels[n] == (depth, False) and n.op != "const"]
        em.graph([n for n in wanted if n not in settled], lambda n: None, settled)

    def _cell(self, row: Row, outer: str, inner: str) -> list[str]:
        """Addresses of one element of the first lane's row."""
        result = []
        for pointer, (s1, s0, _) in zip(row.pointers, row.strides, strict=True):
            moved = self.b.offset(pointer, self.b.mul(outer, s1))
            result.append(self.b.offset(moved, self.b.mul(inner, s0)))
        return result

    def _beside(self, em: Emitter, row: Row, at: list[str], vector: int) -> list[str]:
        """The addresses `vector` vectors of rows further on."""
        if vector == 0:
            return at
        result = []
        for (dtype, access), pointer, strides in zip(self.operands, at, row.strides, strict=True):
            if access == "c":
                step: str | int = vector * em.lanes * dt.INFO[dtype].size
            elif access == "g":
                step = self.b.mul(vector * em.lanes, strides[2])
            else:
                step = 0
            result.append(self.b.offset(pointer, step))
        return result

    def _column_leaf(self, em: Emitter, row: Row, at, mask, where: str | None):
        leaf = self._element_leaf(em, row, at, mask, None)

        def with_position(n: Expr) -> str | None:
            return em.splat(where, "i64") if n.op == "position" and where else leaf(n)

        return with_position

    def _column_pass(self, em: Emitter, row: Row, reductions, settled, mask, keep: bool) -> None:
        states = [Accumulator(n) for n in reductions]
        once = self._start(em, states)
        width, start = len(once), once * len(settled)
        with self.b.loop("0", self.outer_size, carry=start) as outer:
            carry = [(t, v) for (t, _), v in zip(start, outer.values, strict=True)]
            with self.b.loop("0", self.inner_size, carry=carry) as inner:
                cell = self._cell(row, outer.index, inner.index)
                where = self.b.add(self.b.mul(outer.index, self.inner_size), inner.index)
                result: list[str] = []
                for v, known in enumerate(settled):
                    at = self._beside(em, row, cell, v)
                    leaf = self._column_leaf(em, row, at, mask, where)
                    have, have_known = inner.values[v * width : (v + 1) * width], dict(known)
                    result += self._accumulate(
                        em, states, have_known, leaf, have, lambda: em.splat(where, "i64"), None
                    )
                    if keep:
                        em.store(have_known[self.kept], self.spec.outs[0].dtype, at[0], mask)
                inner.next(*result)
            outer.next(*inner.values)
        for v, known in enumerate(settled):
            known.update(
                self._results(reductions, states, outer.values[v * width : (v + 1) * width])
            )
