"""Row programs with the lanes along the row.

Programs of several outputs (`LoopSpec.kinds`) have one letter for each: e one element for each
element of the input, r one a row, o one for each turn of the outer loop of a row (the sum along
the inner one), s the sum over a block of rows of what e would store, t that of what r would.
With an s or t they run over blocks: desc goes on with the number of rows and the rows of a block,
and those outputs have a copy for each block, whose stride is their row stride.
"""

from __future__ import annotations

from . import dtypes as dt
from . import llvm, scalar
from .accumulate import Accumulator
from .llvm import Emitter
from .loops import Row
from .lower import Pair
from .reduced_loops import ReducedKernel
from .rows_abreast import can_go_abreast, emit_rows_abreast, is_short
from .scalar import Expr, node, with_args


class RowKernel(ReducedKernel):
    """Rows [begin, end), or blocks of rows."""

    abreast = False  # are short rows read many at a time?

    def emit(self) -> None:
        """The kernel's body."""
        self.pointers, self.steps = self._reduced_sizes(), self._steps()
        b, count = self.b, len(self.operands)
        if "s" not in self.kinds and "t" not in self.kinds:
            begin, self.abreast = "%begin", can_go_abreast(self)
            if self.abreast:
                begin = emit_rows_abreast(self, "%begin", "%end")
            with b.loop(begin, "%end") as rows:
                self._row([rows.index] * count)
            return
        rows_number, size = b.size(3 + 3 * count), b.size(4 + 3 * count)
        em = Emitter(b, 1)
        totals = [k for k, kind in enumerate(self.kinds) if kind == "t"]
        dtypes = [self.spec.outs[k].dtype for k in totals]
        zeros = [(em.type(t), em.constant(0, t)) for t in dtypes]
        with b.loop("%begin", "%end") as blocks:
            first = b.mul(blocks.index, size)
            self._clear(blocks.index)
            with b.loop(first, b.min(b.add(first, size), rows_number), carry=zeros) as rows:
                self.totals = dict(zip(totals, rows.values, strict=True))
                summed = [
                    blocks.index if k < len(self.kinds) and self.kinds[k] == "s" else rows.index
                    for k in range(count)
                ]
                self._row(summed)
                rows.next(*self.totals.values())
            for k, dtype, value in zip(totals, dtypes, rows.values, strict=True):
                at = b.offset(self.pointers[k], b.mul(blocks.index, self.steps[k][0]))
                em.store(value, dtype, at)

    def _prepare(self, roots: list[Expr | Pair]) -> list[Expr | Pair]:
        """Elements picked by position leave the loops: where(position == i, a, b)."""
        self.patches: dict[int, tuple[Expr, Expr]] = {}
        result: list[Expr | Pair] = []
        extra: list[Expr | Pair] = []
        for k, root in enumerate(roots):
            if isinstance(root, Expr):
                inner, wrap = _unwrap(root)
                found = self._picked(inner) if self.spec.kind(k) == "e" else None
                if found is not None:
                    index, chosen, inner = found
                    self.patches[k] = (index, chosen)
                    extra += [index, self._pick(wrap(chosen))]
                root = self._pick(wrap(inner))
            result.append(root)
        prepared = super()._prepare([*result, *extra])
        self.extra_roots = prepared[len(roots) :]  # type: ignore[assignment]
        pairs = iter(self.extra_roots)
        self.patches = {k: (next(pairs), next(pairs)) for k in self.patches}
        return prepared[: len(roots)]

    def _picked(self, x: Expr) -> tuple[Expr, Expr, Expr] | None:
        """(i, a, b) of where(position == i, a, b) with i the same all along the row."""
        if x.op != "select" or x.args[0].op != "cmp" or x.args[0].value != "eq":
            return None
        a, b = x.args[0].args
        index = b if a.op == "position" else a if b.op == "position" else None
        if index is None or not self._is_uniform(index):
            return None
        return index, x.args[1], x.args[2]

    def _is_uniform(self, x: Expr) -> bool:
        return all(
            n.op not in ("position", "reduce", "input_part")
            and (n.op != "input" or self._is_uniform_input(n))
            for n in scalar.topological([x])
        )

    def _pick(self, root: Expr) -> Expr:
        """sum of where(position == i, a, 0): a at i."""

        def visit(n: Expr, args: tuple) -> Expr:
            if n.op == "reduce" and n.value == "add":
                found = self._picked(args[0])
                if found is not None and scalar.is_const(found[2], 0):
                    return node("at", found[:2], n.dtype)
            return with_args(n, args)

        return scalar.rebuild([root], visit)[0]

    # ---- a row -----------------------------------------------------------------------------------

    def _row(self, numbers: list[str]) -> None:
        b = self.b
        at = [
            b.offset(p, b.mul(number, s[0]))
            for p, s, number in zip(self.pointers, self.steps, numbers, strict=True)
        ]
        row = Row(at, [(s[1], s[2]) for s in self.steps])
        self.is_kept = False
        self._settle(row, 0)
        for depth, reductions in enumerate(self.passes):
            self._reduce_pass(row, reductions, keep=depth == self.kept_in)
            self._settle(row, depth + 1)
        self.is_kept = self.kept is not None
        self._store_row(row)
        if "e" in self.kinds or "s" in self.kinds:
            with b.loop("0", self.outer_size) as outer:
                inner = self._inner_row(row, outer.index)
                base = b.mul(outer.index, self.inner_size)
                self._elements(inner, "0", self.inner_size, base)
        if "o" in self.kinds:
            with b.loop("0", self.outer_size) as outer:
                self._store_outer(self._inner_row(row, outer.index))
        for out, (index, chosen) in self.patches.items():
            self._patch(row, out, index, chosen)

    def _scalar_leaf(self, row: Row):
        em, leaf = super()._scalar_leaf(row)

        def with_at(n: Expr) -> str | None:
            if n.op != "at":
                return leaf(n)
            index, element = n.args
            (number,) = em.graph([index], with_at, row.uniform)
            return self._at_position(
                row,
                em.cast(number, index.dtype, "i64"),
                lambda e, at, where: em.graph(
                    [element], self._element_leaf(e, row, at, None, where), dict(row.uniform)
                ),
                (n.dtype,),
            )[0]

        return em, with_at

    def _at_position(self, row: Row, number: str, emit, dtypes: tuple[str, ...]) -> list[str]:
        """emit(emitter, addresses, position) where 0 <= number < count, else zeros."""
        b, em = self.b, Emitter(self.b, 1)
        total = b.mul(self.outer_size, self.inner_size)
        inside = b.emit(f"icmp ult i64 {number}, {total}")

        def yes() -> list[str]:
            single = b.emit(f"icmp eq i64 {self.outer_size}, 1")
            outer, inner = b.choose(
                single,
                lambda: ["0", number],
                lambda: list(b.divide(number, self.inner_size)),  # tens of cycles
                ("i64", "i64"),
            )
            place = self._inner_row(row, outer)
            return emit(em, self._advance(place, inner), number) or []

        return b.choose(
            inside, yes, lambda: [em.constant(0, t) for t in dtypes], [em.type(t) for t in dtypes]
        )

    def _patch(self, row: Row, out: int, index: Expr, chosen: Expr) -> None:
        """Write the one element of the row that is another's."""
        em, leaf = self._scalar_leaf(row)
        (number,) = em.graph([index], leaf, row.uniform)
        self.is_kept = False

        def emit(em: Emitter, at: list[str], where: str) -> None:
            leaf = self._element_leaf(em, row, at, None, where)
            (value,) = em.graph([chosen], leaf, dict(row.uniform))
            em.store(value, self.spec.outs[out].dtype, at[out])

        self._at_position(row, em.cast(number, index.dtype, "i64"), emit, ())

    def _store_row(self, row: Row) -> None:
        """Store the outputs that are one a row."""
        em, leaf = self._scalar_leaf(row)
        for k, kind in enumerate(self.kinds):
            if kind not in "rt":
                continue
            root, dtype, at = self.roots[k], self.spec.outs[k].dtype, row.pointers[k]
            if isinstance(root, tuple):
                pair = em.graph(list(root), leaf, row.uniform)
                em.store_pair((pair[0], pair[1]), dtype, at)
                continue
            (value,) = em.graph([root], leaf, row.uniform)
            if kind == "t":
                total = f"fadd {em.type(dtype)} {self.totals[k]}, {value}"
                self.totals[k] = self.b.emit(total)
            else:
                em.store(value, dtype, at)

    def _store(self, em: Emitter, known: dict, leaf, at: list[str], mask: str | None) -> None:
        for k, (root, out) in enumerate(zip(self.roots, self.spec.outs, strict=True)):
            if self.kinds[k] not in "es":
                continue
            if isinstance(root, tuple):
                pair = em.graph(list(root), leaf, known)
                em.store_pair((pair[0], pair[1]), out.dtype, at[k])
                continue
            (value,) = em.graph([root], leaf, known)
            if self.kinds[k] == "s":
                before = em.load(out.dtype, at[k], mask)
                value = self.b.emit(f"fadd {em.type(out.dtype)} {before}, {value}")
            em.store(value, out.dtype, at[k], mask)

    def _store_outer(self, inner: Row) -> None:
        """Store the sums along the inner loop."""
        outs = [k for k, kind in enumerate(self.kinds) if kind == "o"]
        totals = [node("reduce", (self.roots[k],), self.spec.outs[k].dtype, "add") for k in outs]  # type: ignore[arg-type]
        values = self._reduce(totals, [Accumulator(t) for t in totals], inner, None)
        for k, total in zip(outs, totals, strict=True):
            Emitter(self.b, 1).store(values[total], self.spec.outs[k].dtype, inner.pointers[k])

    def _clear(self, block: str) -> None:
        """Sums over rows begin with zeros."""
        b = self.b
        for k, kind in enumerate(self.kinds):
            if kind != "s":
                continue
            em = Emitter(b, 1)
            start = b.offset(self.pointers[k], b.mul(block, self.steps[k][0]))
            with b.loop("0", self.outer_size) as outer, b.loop("0", self.inner_size) as inner:
                at = b.offset(start, b.mul(outer.index, self.steps[k][1]))
                at = b.offset(at, b.mul(inner.index, self.steps[k][2]))
                em.store(em.constant(0, self.spec.outs[k].dtype), self.spec.outs[k].dtype, at)

    def _inner_row(self, row: Row, index: str) -> Row:
        at = self._advance(row, index, 0)
        inner = Row(at, [s[-1:] for s in row.strides])
        inner.uniform, inner.splats = row.uniform, {}
        return inner

    # ---- passes ----------------------------------------------------------------------------------

    def _reduce_pass(self, row: Row, reductions: list[Expr], keep: bool) -> None:
        states = [Accumulator(n) for n in reductions]
        row.uniform.update(self._reduce(reductions, states, row, self.outer_size, keep))

    def _unrolling(self, reductions: list[Expr], width: int) -> int:
        """Enough chains of accumulators to hide the latency of what they do."""
        if self.lanes == 1:
            return 1
        weight = llvm.cost(self._varying([n.args[0] for n in reductions]))
        wanted = 4 if weight < 16 else 2 if weight < 48 else 1
        return max(1, min(wanted, 8 // width))

    def _reduce(
        self, reductions, states, row: Row, outer_size: str | None, keep: bool = False
    ) -> dict[Expr, str]:
        """The reductions' values over the row, or (without outer_size) over its inner loop."""
        width = sum(len(s.dtypes) for s in states)
        unroll = self._unrolling(reductions, width)
        wide, narrow = Emitter(self.b, self.lanes), Emitter(self.b, 1)
        start = self._start(wide, states) * unroll
        scalar_tail = self.lanes > 1 and not self.masked
        if scalar_tail:
            start = start + self._start(narrow, states)
        types = [t for t, _ in start]
        if outer_size is None:
            values = self._span(row, states, "0", unroll, [v for _, v in start], types, keep)
        else:
            with self.b.loop("0", outer_size, carry=start) as outer:
                inner = self._inner_row(row, outer.index)
                base = self.b.mul(outer.index, self.inner_size)
                outer.next(*self._span(inner, states, base, unroll, outer.values, types, keep))
            values = outer.values
        total = values[:width]
        for u in range(1, unroll):
            total = self._combine(wide, states, total, values[u * width : (u + 1) * width])
        total = self._fold_lanes(states, total)
        if scalar_tail:
            total = self._combine(narrow, states, total, values[unroll * width :])
        return self._results(reductions, states, total)

    def _span(self, row, states, base, unroll, carried, types, keep) -> list[str]:
        """One inner loop of a pass: main part, then the tail; the accumulators' new values."""
        width = sum(len(s.dtypes) for s in states)
        step, end = self.lanes * unroll, self.inner_size
        wide, narrow = Emitter(self.b, self.lanes), Emitter(self.b, 1)
        known = self._known(row, self.lanes)
        vector_types, vectors = types[: width * unroll], list(carried[: width * unroll])
        carry = list(zip(vector_types, vectors, strict=True))
        if self.masked and unroll == 1:
            with self.b.blocks("0", end, self.lanes, carry) as (block, inside):
                i, have = block.index, block.values
                now = self._step(wide, row, states, dict(known), i, base, inside, have, keep)
                block.next(*now)
            return list(block.values)
        whole = self.b.sub(end, step - 1)
        if self.abreast:  # a short row that is alone is added up in the order of several
            whole = self.b.select(is_short(self), "i64", "0", whole)
        with self.b.loop("0", whole, step, carry) as main:
            updated = []
            for u in range(unroll):
                i = self.b.add(main.index, u * self.lanes)
                have = main.values[u * width : (u + 1) * width]
                updated += self._step(wide, row, states, dict(known), i, base, None, have, keep)
            main.next(*updated)
        vectors = list(main.values)
        if step == 1:
            return vectors
        if self.masked or self.lanes == 1:
            carry = list(zip(vector_types[:width], vectors[:width], strict=True))
            with self.b.loop(main.index, end, self.lanes, carry) as tail:
                i, mask = tail.index, None
                if self.lanes > 1:
                    mask = self.b.lanes_below(self.b.sub(end, i), self.lanes)
                have = tail.values
                tail.next(*self._step(wide, row, states, dict(known), i, base, mask, have, keep))
            return list(tail.values) + vectors[width:]
        known = self._known(row, 1)
        carry = list(zip(types[width * unroll :], carried[width * unroll :], strict=True))
        with self.b.loop(main.index, end, 1, carry) as tail:
            i, have = tail.index, tail.values
            tail.next(*self._step(narrow, row, states, dict(known), i, base, None, have, keep))
        return vectors + list(tail.values)

    def _step(self, em, row, states, known, index, base, mask, have, keep) -> list[str]:
        at = self._advance(row, index)
        where = self.b.add(base, index)
        leaf = self._element_leaf(em, row, at, mask, where)
        new = self._accumulate(em, states, known, leaf, have, lambda: em.numbers(where), mask)
        if keep:
            em.store(known[self.kept], self.spec.outs[0].dtype, at[0], mask)
        return new

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


def _unwrap(root: Expr):
    """The graph below the conversion to the stored type, and how to put that on again."""
    if root.op != "cast" or not dt.is_float(root.dtype):
        return root, lambda x: x
    return root.args[0], lambda x: scalar.cast(x, root.dtype)
