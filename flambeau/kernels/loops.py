"""Loop nests around scalar graphs: pointwise, strided, reduced, row-fused.

A `LoopSpec` is a loop program made concrete: stored types and access classes of its operands, and
the scalar graph of each output. `build` turns it into the LLVM IR of one kernel. Four forms:

flat     every operand contiguous or a single element; the kernel runs over elements [begin, end)
nest     rows [begin, end), an inner loop with one stride an operand
reduce   rows [begin, end); in each, two nested loops along the reduced axes, lanes along the
         inner one
columns  the same program with lanes along the rows, which are adjacent in memory
tile     two dimensions of which some operands walk the wrong way; see tiles.py

Access classes along the lanes: c contiguous, s one element for everything, 0 one element a row,
g any stride.
"""

from __future__ import annotations

from typing import NamedTuple

from . import dtypes as dt
from . import llvm, scalar
from .accumulate import Accumulator
from .ir import Builder
from .levels import find_levels, passes
from .llvm import Emitter
from .lower import Pair, lower
from .scalar import Expr
from .target import Target
from .tiles import emit_tiles


class Operand(NamedTuple):
    """Stored element type and access class."""

    dtype: str
    access: str


class LoopSpec(NamedTuple):
    """What to build; `roots` are the outputs' graphs, already of the outputs' stored types."""

    form: str
    outs: tuple[Operand, ...]
    ins: tuple[Operand, ...]
    roots: tuple[Expr, ...]
    per_row: bool = False  # outputs are one element a row


_CELL = {1: "i8", 2: "i16", 4: "i32", 8: "i64", 16: "i128"}


def build(spec: LoopSpec, target: Target) -> str:
    """LLVM IR of the kernel `k`. Call within `scalar.tracing()`."""
    kernel = _LoopKernel(spec, target)
    with kernel.b.kernel():
        {
            "flat": kernel.flat,
            "nest": kernel.nest,
            "reduce": kernel.reduce,
            "columns": kernel.columns,
            "tile": lambda: emit_tiles(kernel),
        }[spec.form]()
    return kernel.b.module()


class _Row:
    """Where the operands of the current row start, and what is known to be the same all along
    it."""

    def __init__(self, pointers: list[str], strides: list[tuple[str, ...]]) -> None:
        self.pointers = pointers
        self.strides = strides  # per operand: byte strides of the loops inside the row, outer first
        self.uniform: dict[Expr, str] = {}  # scalar values
        self.splats: dict[int, dict[Expr, str]] = {}  # the same by lanes


class _LoopKernel:
    def __init__(self, spec: LoopSpec, target: Target) -> None:
        self.spec = spec
        self.target = target
        self.b = Builder(target)
        self.roots = lower(list(spec.roots))
        self.flat_roots = [e for r in self.roots for e in (r if isinstance(r, tuple) else (r,))]
        self.nodes = scalar.topological(self.flat_roots)
        self.operands = spec.outs + spec.ins
        self.levels = find_levels(self.nodes, self._is_uniform_input)
        self.passes = passes(self.nodes, self.levels)
        self.lanes = self._choose_lanes()
        simple = all(not dt.is_complex(o.dtype) for o in self.operands)
        self.masked = target.masked and simple and llvm.maskable(self.nodes) and self.lanes > 1
        weight = llvm.cost(self.nodes)
        self.unroll = 1 if self.lanes == 1 else (4 if weight < 12 else 2 if weight < 60 else 1)

    # ---- choices ---------------------------------------------------------------------------------

    def _choose_lanes(self) -> int:
        if any(n.op == "extern" for n in self.nodes):
            return 1
        used = [o for o in self.operands if o.access == "g"]
        if used and not (
            self.target.gather
            and all(dt.INFO[o.dtype].size in (4, 8) and not dt.is_complex(o.dtype) for o in used)
            and all(o.access != "g" for o in self.spec.outs)
        ):
            return 1
        if any(n.op in ("div", "rem") and not dt.is_float(n.dtype) for n in self.nodes):
            return 1
        sizes = [dt.INFO[n.dtype].size for n in self.nodes if n.dtype]
        sizes += [dt.INFO[dt.COMPLEX_PART.get(o.dtype, o.dtype)].size for o in self.operands]
        return max(1, self.target.vector_bytes // max(sizes))

    def _is_uniform_input(self, n: Expr) -> bool:
        if n.op == "position":
            return False
        index = n.value[0] if n.op == "input_part" else n.value
        return (self.spec.ins[index].access in "s0" and self.spec.form != "columns") or (
            self.spec.ins[index].access == "s"
        )

    # ---- leaves ----------------------------------------------------------------------------------

    def _scalar_leaf(self, row: _Row):
        em = Emitter(self.b, 1)
        outs = len(self.spec.outs)

        def leaf(n: Expr) -> str | None:
            if n.op == "input":
                return em.load(n.dtype, row.pointers[outs + n.value])
            if n.op == "input_part":
                index, part = n.value
                return em.load_pair(self.spec.ins[index].dtype, row.pointers[outs + index])[part]
            if n.op == "count":
                return em.cast(self.count, "i64", n.dtype)
            if n.op == "reduce":
                raise AssertionError("a reduction is computed by its pass")
            return None

        return em, leaf

    def _settle(self, row: _Row, depth: int) -> None:
        """Compute, once for the row, every uniform value that needs `depth` passes."""
        wanted = [
            n
            for n in self.nodes
            if self.levels[n] == (depth, False)
            and n.op not in ("reduce", "const")
            and n not in row.uniform
        ]
        em, leaf = self._scalar_leaf(row)
        em.graph(wanted, leaf, row.uniform)

    def _known(self, row: _Row, lanes: int) -> dict[Expr, str]:
        """The row's uniform values in `lanes` lanes, to start emitting elements from."""
        splats = row.splats.setdefault(lanes, {})
        em = Emitter(self.b, lanes)
        needed = {a for n in self.nodes if self.levels[n][1] or n.op == "reduce" for a in n.args}
        needed.update(self.flat_roots)
        for n, value in row.uniform.items():
            if n in needed and n not in splats and n.op != "const":
                splats[n] = em.splat(value, n.dtype)
        return dict(splats)

    def _element_leaf(
        self, em: Emitter, row: _Row, at: list[str], mask: str | None, position: str | None
    ):
        """Leaves for the elements whose operand addresses are `at`."""
        outs = len(self.spec.outs)
        pairs: dict[int, tuple[str, str]] = {}

        def leaf(n: Expr) -> str | None:
            if n.op == "input":
                return self._load(em, row, outs + n.value, at, mask)
            if n.op == "input_part":
                index, part = n.value
                if index not in pairs:
                    pairs[index] = em.load_pair(self.spec.ins[index].dtype, at[outs + index])
                return pairs[index][part]
            if n.op == "position":
                return em.numbers(position)  # type: ignore[arg-type]
            return None

        return leaf

    def _load(self, em: Emitter, row: _Row, k: int, at: list[str], mask: str | None) -> str:
        dtype, access = self.operands[k]
        if access == "g" and em.lanes > 1:
            iota = "<" + ", ".join(f"i64 {j}" for j in range(em.lanes)) + ">"
            step = self.b.splat(row.strides[k][-1], "i64", em.lanes)
            offsets = self.b.emit(f"mul <{em.lanes} x i64> {step}, {iota}")
            return em.gather(dtype, at[k], offsets, mask)
        if access == "0":  # columns form: the same element for all lanes
            return em.splat(Emitter(self.b, 1).load(dtype, at[k]), dtype)
        return em.load(dtype, at[k], mask)

    def _advance(self, row: _Row, index: str, which: int = -1) -> list[str]:
        """Operand addresses `index` steps along one of the row's loops."""
        result = []
        for (dtype, access), pointer, strides in zip(
            self.operands, row.pointers, row.strides, strict=True
        ):
            if access == "s" or not strides:
                result.append(pointer)
            elif which == -1 and access == "c":
                result.append(self.b.offset(pointer, index, _CELL[dt.INFO[dtype].size]))
            elif which == -1 and access == "0":
                result.append(pointer)
            else:
                result.append(self.b.offset(pointer, self.b.mul(index, strides[which])))
        return result

    # ---- elements --------------------------------------------------------------------------------

    def _store(self, em: Emitter, known: dict, leaf, at: list[str], mask: str | None) -> None:
        values = em.graph(self.flat_roots, leaf, known)
        position = 0
        for k, (root, out) in enumerate(zip(self.roots, self.spec.outs, strict=True)):
            if isinstance(root, tuple):
                em.store_pair((values[position], values[position + 1]), out.dtype, at[k])
                position += 2
                continue
            em.store(values[position], out.dtype, at[k], mask)
            position += 1

    def _elements(self, row: _Row, begin: str, end: str, position: str | None = None) -> None:
        """Compute and store the elements [begin, end) of a row."""
        step = self.lanes * self.unroll
        wide, narrow = Emitter(self.b, self.lanes), Emitter(self.b, 1)
        known = self._known(row, self.lanes)
        tail_known = known if self.masked or self.lanes == 1 else self._known(row, 1)
        last = self.b.sub(end, step - 1)
        with self.b.loop(begin, last, step) as main:
            for u in range(self.unroll):
                i = self.b.add(main.index, u * self.lanes)
                self._element_block(wide, row, dict(known), i, None, position)
        if step == 1:
            return
        if self.masked or self.lanes == 1:
            with self.b.loop(main.index, end, self.lanes) as tail:
                mask = None
                if self.lanes > 1:
                    mask = self.b.lanes_below(self.b.sub(end, tail.index), self.lanes)
                self._element_block(wide, row, dict(tail_known), tail.index, mask, position)
            return
        with self.b.loop(main.index, end, 1) as tail:
            self._element_block(narrow, row, dict(tail_known), tail.index, None, position)

    def _element_block(self, em, row, known, index, mask, position) -> None:
        at = self._advance(row, index)
        where = self.b.add(position, index) if position is not None else index
        leaf = self._element_leaf(em, row, at, mask, where)
        self._store(em, known, leaf, at, mask)

    # ---- forms without reductions ----------------------------------------------------------------

    def flat(self) -> None:
        """Elements [begin, end) of contiguous operands."""
        pointers = [self.b.argument(k) for k in range(len(self.operands))]
        row = _Row(pointers, [("0",)] * len(pointers))
        self.count = "%end"
        self._settle(row, 0)
        self._elements(row, "%begin", "%end")

    def nest(self) -> None:
        """Rows [begin, end); desc: inner size, then (row stride, inner stride) of each operand,
        in bytes."""
        pointers = [self.b.argument(k) for k in range(len(self.operands))]
        size = self.b.size(0)
        steps = [
            (self.b.size(1 + 2 * k), self.b.size(2 + 2 * k)) for k in range(len(self.operands))
        ]
        self.count = size
        with self.b.loop("%begin", "%end") as rows:
            at = [
                self.b.offset(p, self.b.mul(rows.index, s[0]))
                for p, s in zip(pointers, steps, strict=True)
            ]
            row = _Row(at, [(s[1],) for s in steps])
            self._settle(row, 0)
            self._elements(row, "0", size, self.b.mul(rows.index, size))

    # ---- forms with reductions -------------------------------------------------------------------

    def _reduced_sizes(self) -> list[str]:
        """desc: outer size, inner size, count, then (row, outer, inner) strides of each operand."""
        self.outer_size, self.inner_size, self.count = (self.b.size(k) for k in range(3))
        return [self.b.argument(k) for k in range(len(self.operands))]

    def _stride(self, k: int, which: int) -> str:
        return self.b.size(3 + 3 * k + which)

    def reduce(self) -> None:
        """Rows [begin, end), lanes along the inner reduced axis."""
        pointers = self._reduced_sizes()
        steps = [[self._stride(k, j) for j in range(3)] for k in range(len(self.operands))]
        with self.b.loop("%begin", "%end") as rows:
            at = [
                self.b.offset(p, self.b.mul(rows.index, s[0]))
                for p, s in zip(pointers, steps, strict=True)
            ]
            row = _Row(at, [(s[1], s[2]) for s in steps])
            self._settle(row, 0)
            for depth, reductions in enumerate(self.passes):
                self._reduce_pass(row, reductions)
                self._settle(row, depth + 1)
            if self.spec.per_row:
                em, leaf = self._scalar_leaf(row)
                self._store(em, row.uniform, leaf, at, None)
            else:
                with self.b.loop("0", self.outer_size) as outer:
                    inner = self._inner_row(row, outer.index)
                    self._elements(
                        inner, "0", self.inner_size, self.b.mul(outer.index, self.inner_size)
                    )

    def _inner_row(self, row: _Row, index: str) -> _Row:
        at = self._advance(row, index, 0)
        inner = _Row(at, [s[-1:] for s in row.strides])
        inner.uniform, inner.splats = row.uniform, {}
        return inner

    def _reduce_pass(self, row: _Row, reductions: list[Expr]) -> None:
        states = [Accumulator(n) for n in reductions]
        types = [t for s in states for t in s.dtypes]
        unroll = max(1, min(self.unroll, 8 // len(types))) if self.lanes > 1 else 1
        wide, narrow = Emitter(self.b, self.lanes), Emitter(self.b, 1)
        identity = [
            (wide.type(t), wide.constant(v, t))
            for s in states
            for t, v in zip(s.dtypes, s.identity, strict=True)
        ]
        start = identity * unroll
        scalar_tail = self.lanes > 1 and not self.masked
        if scalar_tail:
            start = start + [
                (narrow.type(t), narrow.constant(v, t))
                for s in states
                for t, v in zip(s.dtypes, s.identity, strict=True)
            ]
        width = len(types)
        with self.b.loop("0", self.outer_size, carry=start) as outer:
            inner = self._inner_row(row, outer.index)
            base = self.b.mul(outer.index, self.inner_size)
            values = self._reduce_span(
                inner, states, base, unroll, outer.values, [t for t, _ in start]
            )
            outer.next(*values)
        total = outer.values[:width]
        for u in range(1, unroll):
            total = self._combine(wide, states, total, outer.values[u * width : (u + 1) * width])
        total = self._fold_lanes(states, total)
        if scalar_tail:
            total = self._combine(narrow, states, total, outer.values[unroll * width :])
        position = 0
        for n, s in zip(reductions, states, strict=True):
            row.uniform[n] = total[position + s.result]
            position += len(s.dtypes)

    def _reduce_span(self, row, states, base, unroll, carried, types) -> list[str]:
        """One inner loop of a pass: main part, then the tail; the accumulators' new values."""
        width = sum(len(s.dtypes) for s in states)
        step, end = self.lanes * unroll, self.inner_size
        wide, narrow = Emitter(self.b, self.lanes), Emitter(self.b, 1)
        known = self._known(row, self.lanes)
        vector_types, vectors = types[: width * unroll], list(carried[: width * unroll])
        carry = list(zip(vector_types, vectors, strict=True))
        with self.b.loop("0", self.b.sub(end, step - 1), step, carry) as main:
            updated = []
            for u in range(unroll):
                i = self.b.add(main.index, u * self.lanes)
                have = main.values[u * width : (u + 1) * width]
                updated += self._accumulate(wide, row, states, dict(known), i, base, None, have)
            main.next(*updated)
        vectors = list(main.values)
        if step == 1:
            return vectors
        if self.masked or self.lanes == 1:
            carry = list(zip(vector_types[:width], vectors[:width], strict=True))
            with self.b.loop(main.index, end, self.lanes, carry) as tail:
                mask = None
                if self.lanes > 1:
                    mask = self.b.lanes_below(self.b.sub(end, tail.index), self.lanes)
                tail.next(
                    *self._accumulate(
                        wide, row, states, dict(known), tail.index, base, mask, tail.values
                    )
                )
            return list(tail.values) + vectors[width:]
        rest = carried[width * unroll :]
        tail_known = self._known(row, 1)
        carry = list(zip(types[width * unroll :], rest, strict=True))
        with self.b.loop(main.index, end, 1, carry) as tail:
            tail.next(
                *self._accumulate(
                    narrow, row, states, dict(tail_known), tail.index, base, None, tail.values
                )
            )
        return vectors + list(tail.values)

    def _accumulate(self, em, row, states, known, index, base, mask, have, at=None) -> list[str]:
        if at is None:
            at = self._advance(row, index)
        where = self.b.add(base, index)
        leaf = self._element_leaf(em, row, at, mask, where)
        result, position = [], 0
        for s in states:
            n = len(s.dtypes)
            value = em.graph([s.element], leaf, known)[0]
            where_value = em.numbers(where) if n == 2 else None
            result += s.step(em, have[position : position + n], value, where_value, mask)
            position += n
        return result

    def _combine(self, em: Emitter, states, a: list[str], b: list[str]) -> list[str]:
        result, position = [], 0
        for s in states:
            n = len(s.dtypes)
            result += s.combine(em, a[position : position + n], b[position : position + n])
            position += n
        return result

    def _fold_lanes(self, states, values: list[str]) -> list[str]:
        """Combine the lanes of each accumulator into one scalar."""
        if self.lanes == 1:
            return values
        em = Emitter(self.b, self.lanes)
        types = [t for s in states for t in s.dtypes]
        shift = self.lanes // 2
        while shift:
            order = [(k + shift) % self.lanes for k in range(self.lanes)]
            turned = [
                self.b.shuffle(v, "poison", em.type(t), order)
                for v, t in zip(values, types, strict=True)
            ]
            values = self._combine(em, states, values, turned)
            shift //= 2
        return [
            self.b.emit(f"extractelement {em.type(t)} {v}, i32 0")
            for v, t in zip(values, types, strict=True)
        ]

    def columns(self) -> None:
        """Rows [begin, end) are lanes; each lane walks the reduced axes on its own."""
        pointers = self._reduced_sizes()
        steps = [[self._stride(k, j) for j in range(3)] for k in range(len(self.operands))]
        step = self.lanes
        last = self.b.sub("%end", step - 1)
        with self.b.loop("%begin", last, step) as main:
            self._column_block(Emitter(self.b, self.lanes), pointers, steps, main.index, None)
        if step == 1:
            return
        if self.masked:
            with self.b.loop(main.index, "%end", step) as tail:
                mask = self.b.lanes_below(self.b.sub("%end", tail.index), self.lanes)
                self._column_block(Emitter(self.b, self.lanes), pointers, steps, tail.index, mask)
            return
        with self.b.loop(main.index, "%end", 1) as tail:
            self._column_block(Emitter(self.b, 1), pointers, steps, tail.index, None)

    def _column_block(self, em: Emitter, pointers, steps, index: str, mask: str | None) -> None:
        at = [
            self.b.offset(p, self.b.mul(index, s[0])) for p, s in zip(pointers, steps, strict=True)
        ]
        row = _Row(at, [(s[1], s[2]) for s in steps])
        self._settle(row, 0)
        settled: dict[Expr, str] = self._column_known(em, row)
        for depth, reductions in enumerate(self.passes):
            self._column_pass(em, row, reductions, settled, mask)
            self._settle_columns(em, settled, depth + 1)
        if self.spec.per_row:
            leaf = self._element_leaf(em, row, at, mask, None)
            self._store(em, dict(settled), leaf, at, mask)
            return
        with self.b.loop("0", self.outer_size) as outer, self.b.loop("0", self.inner_size) as inner:
            where = self._cell(row, outer.index, inner.index)
            leaf = self._element_leaf(em, row, where, mask, None)
            self._store(em, dict(settled), leaf, where, mask)

    def _column_known(self, em: Emitter, row: _Row) -> dict[Expr, str]:
        return {n: em.splat(v, n.dtype) for n, v in row.uniform.items() if n.op != "const"}

    def _settle_columns(self, em: Emitter, settled: dict[Expr, str], depth: int) -> None:
        wanted = [n for n in self.nodes if self.levels[n] == (depth, False) and n.op != "const"]
        em.graph([n for n in wanted if n not in settled], lambda n: None, settled)

    def _cell(self, row: _Row, outer: str, inner: str) -> list[str]:
        """Addresses of one element of each lane's row."""
        result = []
        for pointer, (s1, s0) in zip(row.pointers, row.strides, strict=True):
            moved = self.b.offset(pointer, self.b.mul(outer, s1))
            result.append(self.b.offset(moved, self.b.mul(inner, s0)))
        return result

    def _column_pass(self, em: Emitter, row: _Row, reductions, settled, mask) -> None:
        states = [Accumulator(n) for n in reductions]
        start = [
            (em.type(t), em.constant(v, t))
            for s in states
            for t, v in zip(s.dtypes, s.identity, strict=True)
        ]
        with self.b.loop("0", self.outer_size, carry=start) as outer:
            carry = [(t, v) for (t, _), v in zip(start, outer.values, strict=True)]
            with self.b.loop("0", self.inner_size, carry=carry) as inner:
                at = self._cell(row, outer.index, inner.index)
                where = self.b.add(self.b.mul(outer.index, self.inner_size), inner.index)
                leaf = self._element_leaf(em, row, at, mask, None)
                known, result, position = dict(settled), [], 0
                for s in states:
                    n = len(s.dtypes)
                    value = em.graph([s.element], leaf, known)[0]
                    lanes_at = em.splat(where, "i64") if n == 2 else None
                    result += s.step(
                        em, inner.values[position : position + n], value, lanes_at, None
                    )
                    position += n
                inner.next(*result)
            outer.next(*inner.values)
        position = 0
        for n, s in zip(reductions, states, strict=True):
            settled[n] = outer.values[position + s.result]
            position += len(s.dtypes)


def grain(nodes: int) -> int:
    """Elements below which splitting over threads costs more than it gains."""
    return 32768 if nodes < 8 else 16384


__all__ = ["LoopSpec", "Operand", "Pair", "build", "grain"]
