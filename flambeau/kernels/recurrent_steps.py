"""Recurrent layers: a few rows of the batch go through all steps without waiting for others.

The weights of the hidden state are packed once; at each step the state of the rows, kept beside
each other, is multiplied by them, and the gates are computed while their sums are in the cache.
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element, Tail
from .ir import Builder
from .pack import emit_pack
from .plan import Fields, KernelSource
from .recurrent_cells import CELLS
from .target import Target
from .tile import ACCUMULATE, BIAS_COLUMN, STRIDED, Operands, call_tile, emit_tile, tile_shape
from .vector_math import evaluate

FIELDS = Fields(
    "hidden batch steps reverse row_step biased keep rows state_row grads_row packed scratch panels"
)


def sources(
    mode: str, dtype: str, target: Target, rows: int, backward: bool
) -> tuple[KernelSource, KernelSource]:
    """The kernel that packs weight_hh and the one that takes the steps, in tiles of `rows` rows."""
    key = f"recurrent:{mode}:{dtype}:{target.name}:{rows}:{backward}"
    kind = _Backward if backward else _Forward

    def build() -> str:
        return kind(mode, dtype, target, rows).build()

    return KernelSource(key, build, "pack_weights"), KernelSource(key, build, "steps")


class _Steps:
    """What both directions share: packing, the walk over steps, products with the weights."""

    names: tuple[str, ...]  # of the arguments
    backward: bool

    def __init__(self, mode: str, dtype: str, target: Target, rows: int) -> None:
        self.b, self.c = Builder(target), Element(dtype, target)
        self.cell, self.rows = CELLS[mode], rows
        self.vectors = tile_shape(target, self.c)[1]
        self.columns = self.vectors * self.c.lanes

    def build(self) -> str:
        b, c = self.b, self.c
        for width in range(1, self.vectors + 1):
            emit_tile(b, f"tile{width}", Operands(c, c, c), self.rows, width, STRIDED)
        emit_pack(b, "pack", c)
        with b.kernel("pack_weights"):
            self._emit_packing()
        with b.kernel("steps"):
            self._emit_tasks()
        return b.module()

    def load_arguments(self) -> SimpleNamespace:
        return SimpleNamespace(**{name: self.b.argument(k) for k, name in enumerate(self.names)})

    # ---- packing ---------------------------------------------------------------------------------

    def runs(self, d: SimpleNamespace) -> list[tuple[str, str]]:
        """(first, count) of the runs of columns of the matrix that multiplies."""
        b = self.b
        if self.backward:
            return [("0", d.hidden)]
        if not self.cell.has_reset:
            return [("0", b.mul(d.hidden, self.cell.gates))]
        first = b.mul(d.hidden, self.cell.gates - 1)
        return [("0", first), (first, d.hidden)]

    def depth(self, d: SimpleNamespace) -> str:
        return self.b.mul(d.hidden, self.cell.gates) if self.backward else d.hidden

    def panels_of(self, d: SimpleNamespace, run: int) -> str:
        """Where the panels of a run begin in the workspace."""
        b, c = self.b, self.c
        if run == 0:
            return self.args.workspace
        before = self.round_lanes(self.runs(d)[0][1])
        return b.offset(self.args.workspace, b.mul(b.mul(before, self.depth(d)), c.size))

    def round_lanes(self, count: str) -> str:
        b, c = self.b, self.c
        return b.emit(f"and i64 {b.add(count, c.lanes - 1)}, {-c.lanes}")

    def _emit_packing(self) -> None:
        """Task: one panel; those of the first run come first."""
        b = self.b
        d = FIELDS.load(b)
        self.args = self.load_arguments()
        runs = self.runs(d)
        with b.loop("%begin", "%end") as task:

            def pack(run: int) -> None:
                number = b.sub(task.index, d.panels) if run else task.index
                self._pack_panel(d, runs[run], b.mul(number, self.columns), self.panels_of(d, run))

            if len(runs) == 1:
                pack(0)
            else:
                b.choose(b.less(task.index, d.panels), lambda: pack(0), lambda: pack(1))

    def _pack_panel(self, d, run: tuple[str, str], j: str, base: str) -> None:
        b, c = self.b, self.c
        count = b.min(str(self.columns), b.sub(run[1], j))
        depth, row = self.depth(d), b.mul(d.hidden, c.size)
        step, side = (row, str(c.size)) if self.backward else (str(c.size), row)
        start = b.offset(self.args.weight, b.mul(b.add(run[0], j), side))
        to = b.offset(base, b.mul(b.mul(j, depth), c.size))
        b.do(
            f"call void @pack(i64 {depth}, ptr {start}, i64 {step}, i64 {side}, i64 {count}, "
            f"ptr {to}, i64 {self.round_lanes(count)})"
        )

    # ---- steps -----------------------------------------------------------------------------------

    def _emit_tasks(self) -> None:
        """Task: some rows of the batch, all steps."""
        b = self.b
        d = FIELDS.load(b)
        self.args = a = self.load_arguments()
        base = b.offset(a.workspace, b.add(d.packed, b.mul("%thread", d.scratch)))
        part = b.mul(d.rows, d.state_row)
        s = SimpleNamespace(d=d, h=base, c=b.offset(base, part))
        s.reset = b.offset(base, b.mul(part, 2))
        s.grads = b.offset(base, b.mul(part, 3))
        states = [(s.h, a.h)] + [(s.c, a.c)] * self.cell.has_memory
        with b.loop("%begin", "%end") as task:
            s.first = b.mul(task.index, d.rows)
            count = b.min(d.rows, b.sub(d.batch, s.first))
            for scratch, outside in states:
                self._copy_state(s, outside, scratch, count, True)
            with b.loop("0", d.steps) as step:
                opposite = b.sub(b.sub(d.steps, "1"), step.index)
                backwards = b.emit(f"icmp {'eq' if self.backward else 'ne'} i64 {d.reverse}, 0")
                s.step = b.select(backwards, "i64", opposite, step.index)
                entry = b.offset(a.table, s.step, "i64")
                s.start = b.add(b.load("i64", entry, 8), b.mul(s.first, d.row_step))
                size = b.load("i64", b.offset(entry, d.steps, "i64"), 8)
                s.count = b.min(count, b.sub(size, s.first))
                with b.when(b.less("0", s.count)):
                    self.emit_step(s)
            for scratch, outside in states:
                self._copy_state(s, outside, scratch, count, False)

    def _copy_state(self, s, outside: str, scratch: str, count: str, into: bool) -> None:
        b, c, d = self.b, self.c, s.d
        with b.loop("0", count) as r, b.loop("0", d.hidden, c.lanes) as j:
            tail = c.tail(b, b.sub(d.hidden, j.index))
            line = b.offset(outside, b.mul(b.add(s.first, r.index), d.hidden), c.part)
            line = b.offset(line, j.index, c.part)
            near = b.offset(b.offset(scratch, b.mul(r.index, d.state_row)), j.index, c.part)
            if into:
                c.store(b, c.load(b, line, tail), near)
            else:
                c.store(b, c.load(b, near), line, tail)

    def multiply(self, s, run: int, a: str, a_row: str, to: str, to_row: str, flags: str) -> None:
        """to (rows, run) = or += a (rows, depth) @ the panels of a run."""
        b, c, d = self.b, self.c, s.d
        count, depth, base = self.runs(d)[run][1], self.depth(d), self.panels_of(d, run)
        with b.loop("0", count, self.columns) as j:
            columns = b.min(str(self.columns), b.sub(count, j.index))
            wide = self.round_lanes(columns)
            used = b.emit(f"udiv i64 {wide}, {c.lanes}")
            panel = b.offset(base, b.mul(b.mul(j.index, depth), c.size))
            with b.loop("0", s.count, self.rows) as i:
                from_row = b.offset(a, b.mul(i.index, a_row))
                to_row_at = b.offset(b.offset(to, b.mul(i.index, to_row)), j.index, c.part)
                arguments = (
                    f"i64 {depth}, ptr {from_row}, i64 {a_row}, i64 {c.size}, ptr {panel}, "
                    f"i64 {b.mul(wide, c.size)}, ptr {to_row_at}, i64 {to_row}, "
                    f"i64 {b.min(str(self.rows), b.sub(s.count, i.index))}, i64 {columns}, "
                    f"i64 {flags}, ptr {b.offset(self.args.bias, j.index, c.part)}"
                )
                call_tile(b, "tile", self.vectors, used, arguments)

    def each_vector(self, s, body) -> None:
        """body(row of the scratch, row of the tensors, column, tail) over rows and columns."""
        b, c, d = self.b, self.c, s.d
        whole = b.emit(f"and i64 {d.hidden}, {-c.lanes}")
        with b.loop("0", s.count) as r:
            row = b.add(s.start, b.mul(r.index, d.row_step))
            with b.loop("0", whole, c.lanes) as j:
                body(r.index, row, j.index, None)
            with b.when(b.less(whole, d.hidden)):
                body(r.index, row, whole, c.tail(b, b.sub(d.hidden, whole)))

    def at(self, base: str, row: str, width: int, column: str, part: int, d) -> str:
        """Element (row, part * hidden + column) of a matrix of width * hidden columns."""
        b, c = self.b, self.c
        number = b.add(b.mul(b.add(b.mul(row, width), str(part)), d.hidden), column)
        return b.offset(base, number, c.part)

    def near(self, base: str, row: str, step: str, column: str) -> str:
        """Element (row, column) of a matrix in the scratch."""
        b = self.b
        return b.offset(b.offset(base, b.mul(row, step)), column, self.c.part)

    def emit_step(self, s: SimpleNamespace) -> None:
        raise NotImplementedError


class _Forward(_Steps):
    names = (
        "gates", "out", "h", "c", "weight", "bias", "kept_h", "kept_c", "kept_reset", "table",
        "workspace",
    )  # fmt: skip
    backward = False

    def emit_step(self, s: SimpleNamespace) -> None:
        b, c, d, a = self.b, self.c, s.d, self.args
        width = b.mul(b.mul(d.hidden, self.cell.gates), c.size)
        gates = b.offset(a.gates, b.mul(s.start, width))
        row = b.mul(d.row_step, width)
        self.multiply(s, 0, s.h, d.state_row, gates, row, str(ACCUMULATE))
        if self.cell.has_reset:
            flags = b.mul(d.biased, BIAS_COLUMN)
            self.multiply(s, 1, s.h, d.state_row, s.reset, d.state_row, flags)
        keep = b.emit(f"icmp ne i64 {d.keep}, 0")
        self.each_vector(s, lambda *place: self._emit_gates(s, keep, *place))

    def _emit_gates(self, s, keep: str, r: str, row: str, j: str, tail: Tail | None) -> None:
        b, c, d, a, cell = self.b, self.c, s.d, self.args, self.cell
        places = [self.at(a.gates, row, cell.gates, j, k, d) for k in range(cell.gates)]
        values = [c.load(b, place, tail) for place in places]
        states = [self.near(s.h, r, d.state_row, j)]
        if cell.has_memory:
            states.append(self.near(s.c, r, d.state_row, j))
        if cell.has_reset:
            values.append(c.load(b, self.near(s.reset, r, d.state_row, j)))
        old = [c.load(b, state) for state in states]
        found = evaluate(b, c.width, c.dtype, cell.forward, *values, *old)
        new = found[cell.gates :]
        kept = [(old[0], a.kept_h)]
        if cell.has_memory:
            kept.append((old[1], a.kept_c))
        if cell.has_reset:
            kept.append((values[-1], a.kept_reset))
        with b.when(keep):
            for value, place in zip(found, places, strict=False):
                c.store(b, value, place, tail)
            for value, base in kept:
                c.store(b, value, self.at(base, row, 1, j, 0, d), tail)
        for value, state in zip(new, states, strict=True):
            c.store(b, value, state)
        c.store(b, new[0], self.at(a.out, row, 1, j, 0, d), tail)


class _Backward(_Steps):
    names = (
        "gates", "dout", "h", "c", "weight", "dgates", "dhidden", "kept_h", "kept_c", "kept_reset",
        "table", "workspace",
    )  # fmt: skip
    backward = True

    def load_arguments(self) -> SimpleNamespace:
        found = super().load_arguments()
        found.bias = "null"
        return found

    def emit_step(self, s: SimpleNamespace) -> None:
        d = s.d
        self.each_vector(s, lambda *place: self._emit_gates(s, *place))
        flags = str(ACCUMULATE if self.cell.has_reset else 0)
        self.multiply(s, 0, s.grads, d.grads_row, s.h, d.state_row, flags)

    def _emit_gates(self, s, r: str, row: str, j: str, tail: Tail | None) -> None:
        b, c, d, a, cell = self.b, self.c, s.d, self.args, self.cell
        values = [
            c.load(b, self.at(a.gates, row, cell.gates, j, k, d), tail) for k in range(cell.gates)
        ]
        kept = ([a.kept_reset] if cell.has_reset else []) + [a.kept_h]
        kept += [a.kept_c] if cell.has_memory else []
        values += [c.load(b, self.at(base, row, 1, j, 0, d), tail) for base in kept]
        h = self.near(s.h, r, d.state_row, j)
        dout = c.load(b, self.at(a.dout, row, 1, j, 0, d), tail)
        values.append(c.add(b, c.load(b, h), dout))
        memory = self.near(s.c, r, d.state_row, j)
        if cell.has_memory:
            values.append(c.load(b, memory))
        found = evaluate(b, c.width, c.dtype, cell.backward, *values)
        sums, rest = found[: cell.gates], found[cell.gates :]
        hidden = list(sums)
        if cell.has_reset:
            hidden[-1] = rest[0]
            c.store(b, rest[1], h)
        if cell.has_memory:
            c.store(b, rest[0], memory)
        for k in range(cell.gates):
            c.store(b, sums[k], self.at(a.dgates, row, cell.gates, j, k, d), tail)
            if cell.has_reset:
                c.store(b, hidden[k], self.at(a.dhidden, row, cell.gates, j, k, d), tail)
            column = b.add(b.mul(d.hidden, k), j)
            c.store(b, hidden[k], self.near(s.grads, r, d.grads_row, column), tail)
