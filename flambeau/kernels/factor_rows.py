"""LU and Cholesky factors of one matrix at a time, vectors along its rows.

LU goes by panels of as many columns as a vector has lanes: the panel is transposed, so that its
columns are contiguous, and factored there; then rows are interchanged, the rows beside the panel
solved in registers, and a register tile subtracts the product below. Cholesky computes the rows of
the upper factor in blocks, subtracting the product of all rows above at once.
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element
from .ir import Builder, float_bits
from .lanes import Lanes
from .pack import emit_pack, emit_unpack
from .plan import Fields, KernelSource, Phase, Plan, round_up
from .target import Target, host
from .tile import ACCUMULATE, STRIDED, Operands, emit_tile, tile_shape

LU_FIELDS = Fields("m n row matrix order base scratch")
CHOLESKY_FIELDS = Fields("n width row matrix upper base sums scratch")
SWAP_FIELDS = Fields("columns row matrix order first steps down base part parts")


def lu_source(dtype: str, target: Target) -> KernelSource:
    """The kernel of plan_lu; its desc is LU_FIELDS, args LU, pivots, info, parity, workspace."""
    return KernelSource(f"lu_rows:{dtype}:{target.name}", lambda: _build_lu(dtype, target), "lu")


def cholesky_source(dtype: str, target: Target) -> KernelSource:
    """The kernel of plan_cholesky; its desc is CHOLESKY_FIELDS, args L, A, info, workspace."""
    key = f"cholesky_rows:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build_cholesky(dtype, target), "cholesky")


def plan_lu(
    dtype: str,
    m: int,
    n: int,
    count: int,
    row: int,
    matrix: int,
    order: int,
    threads: int,
    *,
    base: int = 0,
    target: Target | None = None,
) -> Plan:
    """P A = L U in place: A (count, m, n) real, with strides `matrix` and `row` in elements.

    args: A, pivots (int32, rows `order` apart, counted from 1 + base), info, parity, workspace.
    info and parity hold 0 and 1 before (or what was found in the columns to the left).
    """
    target = target or host()
    c = Element(dtype, target)
    scratch = round_up(c.lanes * (round_up(m, c.lanes) + c.lanes) * c.size, 64) + 64
    desc = LU_FIELDS.pack(
        m=m, n=n, row=row * c.size, matrix=matrix * c.size, order=order * 4, base=base,
        scratch=scratch,
    )  # fmt: skip
    phase = Phase(lu_source(dtype, target), desc, count, _grain(count, m * n * min(m, n), threads))
    return Plan((phase,), scratch * threads)


def plan_cholesky(
    dtype: str,
    n: int,
    count: int,
    row: int,
    matrix: int,
    threads: int,
    *,
    upper: bool,
    base: int = 0,
    target: Target | None = None,
) -> Plan:
    """L with A = L L^T, or upper U, of which one triangle of A (count, n, n) is read.

    L and A have strides `matrix` and `row` and may be the same. args: L, A, info, workspace. info
    holds 0 before, and after it the order of the first minor that is not positive, plus base.
    """
    target = target or host()
    c = Element(dtype, target)
    rows, vectors = tile_shape(target, c)
    width = round_up(n, c.lanes) + c.lanes
    sums = (n + c.lanes) * width * c.size
    scratch = round_up(sums + rows * vectors * c.lanes * c.size, 64) + 64
    desc = CHOLESKY_FIELDS.pack(
        n=n, width=width, row=row * c.size, matrix=matrix * c.size, upper=upper, base=base,
        sums=sums, scratch=scratch,
    )  # fmt: skip
    source = cholesky_source(dtype, target)
    return Plan((Phase(source, desc, count, _grain(count, n**3, threads)),), scratch * threads)


def swap_source(dtype: str, target: Target) -> KernelSource:
    """The kernel of plan_interchange; its desc is SWAP_FIELDS, args A, pivots."""
    key = f"swap_rows:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build_swap(dtype, target), "swap")


def plan_interchange(
    dtype: str,
    columns: int,
    count: int,
    row: int,
    matrix: int,
    order: int,
    steps: int,
    threads: int,
    *,
    reverse: bool = False,
    base: int = 0,
    target: Target | None = None,
) -> Plan:
    """Rows of A (count, _, columns) interchanged by `steps` pivots (from 1 + base), in place.

    args: A, pivots (int32, rows `order` apart).
    """
    target = target or host()
    c = Element(dtype, target)
    part = max(64, round_up(-(-columns // (2 * threads)), c.lanes))
    parts = -(-columns // part)
    desc = SWAP_FIELDS.pack(
        columns=columns, row=row * c.size, matrix=matrix * c.size, order=order * 4,
        first=steps - 1 if reverse else 0, steps=steps, down=-1 if reverse else 1, base=base,
        part=part, parts=parts,
    )  # fmt: skip
    tasks = count * parts
    grain = tasks if threads == 1 else max(1, min(tasks, (1 << 14) // (steps * part)))
    return Plan((Phase(swap_source(dtype, target), desc, tasks, grain),), 0)


def _grain(count: int, work: int, threads: int) -> int:
    return count if threads == 1 else min(count, max(1, (1 << 18) // work))


class Rows:
    """What both kernels use: vector loops along a row, and register tiles."""

    def __init__(self, b: Builder, c: Element) -> None:
        self.b, self.c, self.lanes = b, c, Lanes(b, c)
        self.rows, self.vectors = tile_shape(c.target, c)

    def place(self, base: str, row: str, row_bytes: str, column: str | int = 0) -> str:
        """Address of an element."""
        b = self.b
        return b.offset(base, b.add(b.mul(row, row_bytes), b.mul(column, self.c.size)))

    def splat_at(self, place: str) -> str:
        """One number from memory in every lane."""
        return self.c.broadcast(self.b, place)[0]

    def subtract_multiple(self, to: str, factor: str, from_: str, begin: str, end: str) -> None:
        """to[begin:end] -= factor * from[begin:end], to the end of the last vector."""
        b, c = self.b, self.c
        minus = self.lanes.negate(factor)
        with b.loop(begin, end, c.lanes) as i:
            at = b.mul(i.index, c.size)
            here = b.offset(to, at)
            known = c.load(b, b.offset(from_, at))
            c.store(b, self.lanes.multiply_add(minus, known, c.load(b, here)), here)

    def tiles(self, begin: str, end: str):
        """Column panels (first column, their number) of whole tiles."""
        b, most = self.b, self.vectors * self.c.lanes
        with b.loop(begin, end, most) as j:
            yield j.index, b.min(str(most), b.sub(end, j.index))

    def call_tile(self, used: str, arguments: str) -> None:
        """The tile as wide as `used` columns need."""
        b, c = self.b, self.c
        wide = b.emit(f"udiv i64 {b.add(used, c.lanes - 1)}, {c.lanes}")

        def call(w: int):
            return lambda: b.do(f"call void @tile{w}({arguments})")

        b.switch(wide, [(w, call(w)) for w in range(1, self.vectors + 1)])


def _module(dtype: str, target: Target) -> tuple[Builder, Element]:
    b, c = Builder(target), Element(dtype, target)
    rows, vectors = tile_shape(target, c)
    for width in range(1, vectors + 1):
        emit_tile(b, f"tile{width}", Operands(c, c, c), rows, width, STRIDED)
    emit_pack(b, "pack", c)
    emit_unpack(b, "unpack", c)
    return b, c


# ---- LU
# ------------------------------------------------------------------------------------------------


def _build_lu(dtype: str, target: Target) -> str:
    b, c = _module(dtype, target)
    with b.kernel("lu"):
        _LU(b, c).emit()
    return b.module()


class _LU(Rows):
    def emit(self) -> None:
        """Task: one matrix."""
        b = self.b
        self.d = d = LU_FIELDS.load(b)
        a, pivots, info, parity, workspace = (b.argument(k) for k in range(5))
        panel = b.offset(workspace, b.mul("%thread", d.scratch))
        steps = b.min(d.m, d.n)
        with b.loop("%begin", "%end") as task:
            at = SimpleNamespace(
                a=b.offset(a, b.mul(task.index, d.matrix)),
                order=b.offset(pivots, b.mul(task.index, d.order)),
                info=b.offset(info, b.mul(task.index, 4)),
                parity=b.offset(parity, b.mul(task.index, self.c.size)),
                panel=panel,
            )
            with b.loop("0", steps, self.c.lanes) as j:
                self._panel(at, j.index)

    def _panel(self, at: SimpleNamespace, j: str) -> None:
        b, d, c = self.b, self.d, self.c
        columns = b.min(str(c.lanes), b.sub(d.n, j))
        height = b.sub(d.m, j)
        steps = b.min(columns, height)
        width = b.add(b.emit(f"and i64 {b.add(height, c.lanes - 1)}, {-c.lanes}"), c.lanes)
        corner = self.place(at.a, j, d.row, j)
        b.do(
            f"call void @pack(i64 {columns}, ptr {corner}, i64 {c.size}, i64 {d.row}, "
            f"i64 {height}, ptr {at.panel}, i64 {width})"
        )
        column_bytes = b.mul(width, c.size)
        with b.loop("0", steps) as k:
            self._eliminate(at, j, k.index, columns, height, column_bytes)
        b.do(
            f"call void @unpack(i64 {columns}, ptr {at.panel}, i64 {width}, ptr {corner}, "
            f"i64 {d.row}, i64 {height})"
        )
        self._interchange(at, j, steps, columns)
        right = b.add(j, columns)
        with b.when(b.less(right, d.n)):
            self._solve_beside(at, j, right, steps, column_bytes)
            with b.when(b.less(right, d.m)):
                self._update(at, j, right, columns, width)

    def _eliminate(
        self, at: SimpleNamespace, j: str, k: str, columns: str, height: str, column_bytes: str
    ) -> None:
        """One column: find the pivot, interchange in the panel, scale, update what is right."""
        b, d, c = self.b, self.d, self.c
        column = b.offset(at.panel, b.mul(k, column_bytes))
        p = self._find_pivot(column, k, height)
        number = b.emit(f"trunc i64 {b.add(b.add(b.add(j, p), d.base), 1)} to i32")
        b.store("i32", number, b.offset(at.order, b.mul(b.add(j, k), 4)), 4)
        with b.when(b.emit(f"icmp ne i64 {p}, {k}")):
            sign = b.load(c.part, at.parity, c.size)
            b.store(c.part, b.emit(f"fneg {c.part} {sign}"), at.parity, c.size)
            with b.loop("0", columns) as q:
                line = b.offset(at.panel, b.mul(q.index, column_bytes))
                self._swap_scalars(self.place(line, k, str(c.size)),
                                   self.place(line, p, str(c.size)))  # fmt: skip
        pivot = b.load(c.part, self.place(column, k, str(c.size)), c.size)
        zero = b.emit(f"fcmp oeq {c.part} {pivot}, {float_bits(0.0, c.part)}")
        after = b.add(k, 1)

        def note() -> None:
            found = b.load("i32", at.info, 4)
            here = b.emit(f"trunc i64 {b.add(b.add(b.add(j, k), d.base), 1)} to i32")
            none = b.emit(f"icmp eq i32 {found}, 0")
            b.store("i32", b.select(none, "i32", here, found), at.info, 4)

        def scale() -> None:
            whole = c.splat(b, pivot)
            with b.loop(after, height, c.lanes) as i:
                here = b.offset(column, b.mul(i.index, c.size))
                c.store(b, self.lanes.divide(c.load(b, here), whole), here)

        b.choose(zero, note, scale)
        with b.loop(after, columns) as q:
            to = b.offset(at.panel, b.mul(q.index, column_bytes))
            factor = self.splat_at(self.place(to, k, str(c.size)))
            self.subtract_multiple(to, factor, column, after, height)

    def _find_pivot(self, column: str, k: str, height: str) -> str:
        """Row of the largest modulus from row k on, the first of equals."""
        b, c, lanes = self.b, self.c, self.lanes
        integers = "i32" if c.size == 4 else "i64"
        numbers = f"<{c.lanes} x {integers}>"
        start = k if integers == "i64" else b.emit(f"trunc i64 {k} to i32")
        ramp = "<" + ", ".join(f"{integers} {i}" for i in range(c.lanes)) + ">"
        first = b.emit(f"add {numbers} {b.splat(start, integers, c.lanes)}, {ramp}")
        carry = [(c.vector, lanes.constant(-1.0)), (numbers, first), (numbers, first)]
        with b.blocks(k, height, c.lanes, carry) as (i, mask):
            best, chosen, here = i.values
            size = lanes.size(c.load(b, b.offset(column, b.mul(i.index, c.size))))
            larger = lanes.both(lanes.test("ogt", size, best), mask)
            i.next(
                lanes.select(larger, size, best),
                lanes.select(larger, here, chosen, numbers),
                b.emit(f"add {numbers} {here}, splat ({integers} {c.lanes})"),
            )
        best, chosen, _ = i.values
        short = {"float": "f32", "double": "f64"}[c.part]
        name = f"llvm.vector.reduce.fmax.v{c.lanes}{short}"
        largest = b.intrinsic(name, c.part, (c.vector, best))
        equal = lanes.test("oeq", best, c.splat(b, largest))
        most = 2**31 - 1
        among = lanes.select(equal, chosen, f"splat ({integers} {most})", numbers)
        found = b.intrinsic(
            f"llvm.vector.reduce.umin.v{c.lanes}{integers}", integers, (numbers, among)
        )
        if integers == "i32":
            found = b.emit(f"zext i32 {found} to i64")
        nothing = b.emit(f"fcmp olt {c.part} {largest}, {float_bits(0.0, c.part)}")
        return b.select(nothing, "i64", k, found)  # only NaN

    def _swap_scalars(self, x: str, y: str) -> None:
        b, c = self.b, self.c
        first, second = b.load(c.part, x, c.size), b.load(c.part, y, c.size)
        b.store(c.part, second, x, c.size)
        b.store(c.part, first, y, c.size)

    def _interchange(self, at: SimpleNamespace, j: str, steps: str, columns: str) -> None:
        """The panel's interchanges in the columns on both its sides."""
        b, d = self.b, self.d
        right = b.add(j, columns)
        with b.loop("0", steps) as k:
            row = b.add(j, k.index)
            swap_rows(self, at.a, d.row, row, at.order, d.base, "0", j)
            swap_rows(self, at.a, d.row, row, at.order, d.base, right, d.n)

    def _solve_beside(
        self, at: SimpleNamespace, j: str, right: str, steps: str, column_bytes: str
    ) -> None:
        """The rows of U right of the panel: L^-1 of them, a vector of columns at a time."""
        b, d, c = self.b, self.d, self.c
        with b.loop(right, d.n, c.lanes) as v:
            tail = c.tail(b, b.sub(d.n, v.index))
            top = self.place(at.a, j, d.row, v.index)

            def factor(r: str | int, q: str | int) -> str:
                entry = b.add(b.mul(q, column_bytes), b.mul(r, c.size))
                return self.splat_at(b.offset(at.panel, entry))

            def whole(top: str = top, tail=tail) -> None:
                known: list[str] = []
                for r in range(c.lanes):
                    here = b.offset(top, b.mul(str(r), d.row))
                    value = c.load(b, here, tail)
                    for q in range(r):
                        value = self.lanes.without_product(value, factor(r, q), known[q])
                    if r:
                        c.store(b, value, here, tail)
                    known.append(value)

            def part(top: str = top, tail=tail) -> None:
                with b.loop("1", steps) as r:
                    here = b.offset(top, b.mul(r.index, d.row))
                    begin = [(c.vector, c.load(b, here, tail))]
                    with b.loop("0", r.index, carry=begin) as q:
                        above = c.load(b, b.offset(top, b.mul(q.index, d.row)), tail)
                        less = factor(r.index, q.index)
                        q.next(self.lanes.without_product(q.values[0], less, above))
                    c.store(b, q.values[0], here, tail)

            b.choose(b.emit(f"icmp eq i64 {steps}, {c.lanes}"), whole, part)

    def _update(self, at: SimpleNamespace, j: str, right: str, columns: str, width: str) -> None:
        """A22 -= L21 U12."""
        b, d, c = self.b, self.d, self.c
        with b.loop("0", b.mul(columns, width), c.lanes) as i:
            here = b.offset(at.panel, b.mul(i.index, c.size))
            c.store(b, self.lanes.negate(c.load(b, here)), here)
        for column, used in self.tiles(right, d.n):
            beside = self.place(at.a, j, d.row, column)
            with b.loop(right, d.m, self.rows) as i:
                left = b.offset(at.panel, b.mul(b.sub(i.index, j), c.size))
                to = self.place(at.a, i.index, d.row, column)
                count = b.min(str(self.rows), b.sub(d.m, i.index))
                self.call_tile(
                    used,
                    f"i64 {columns}, ptr {left}, i64 {c.size}, i64 {b.mul(width, c.size)}, "
                    f"ptr {beside}, i64 {d.row}, ptr {to}, i64 {d.row}, i64 {count}, "
                    f"i64 {used}, i64 {ACCUMULATE}, ptr null",
                )


def swap_rows(
    rows: Rows, a: str, row_bytes: str, row: str, order: str, base: str, begin: str, end: str
) -> None:
    """Interchange a row, in some columns, with the one that the pivots (from 1 + base) name."""
    b, c = rows.b, rows.c
    number = b.emit(f"sext i32 {b.load('i32', b.offset(order, b.mul(row, 4)), 4)} to i64")
    other = b.sub(b.sub(number, 1), base)
    with b.when(b.emit(f"icmp ne i64 {other}, {row}")):
        x, y = rows.place(a, row, row_bytes), rows.place(a, other, row_bytes)
        with b.loop(begin, end, c.lanes) as i:
            tail = c.tail(b, b.sub(end, i.index))
            at = b.mul(i.index, c.size)
            first, second = (c.load(b, b.offset(p, at), tail) for p in (x, y))
            c.store(b, second, b.offset(x, at), tail)
            c.store(b, first, b.offset(y, at), tail)


def _build_swap(dtype: str, target: Target) -> str:
    b, c = Builder(target), Element(dtype, target)
    with b.kernel("swap"):
        rows, d = Rows(b, c), SWAP_FIELDS.load(b)
        a, pivots = b.argument(0), b.argument(1)
        with b.loop("%begin", "%end") as task:
            matrix, part = b.divide(task.index, d.parts)
            begin = b.mul(part, d.part)
            end = b.min(d.columns, b.add(begin, d.part))
            at = b.offset(a, b.mul(matrix, d.matrix))
            order = b.offset(pivots, b.mul(matrix, d.order))
            with b.loop("0", d.steps) as k:
                row = b.add(d.first, b.mul(k.index, d.down))
                swap_rows(rows, at, d.row, row, order, d.base, begin, end)
    return b.module()


# ---- Cholesky
# ------------------------------------------------------------------------------------------------


def _build_cholesky(dtype: str, target: Target) -> str:
    b, c = _module(dtype, target)
    with b.kernel("cholesky"):
        _Cholesky(b, c).emit()
    return b.module()


class _Cholesky(Rows):
    def emit(self) -> None:
        """Task: one matrix, as its upper factor in the workspace."""
        b, c = self.b, self.c
        self.d = d = CHOLESKY_FIELDS.load(b)
        factor, a, info, workspace = (b.argument(k) for k in range(4))
        w = b.offset(workspace, b.mul("%thread", d.scratch))
        self.row = b.mul(d.width, c.size)
        upper = b.emit(f"icmp ne i64 {d.upper}, 0")
        step = b.select(upper, "i64", d.row, str(c.size))
        side = b.select(upper, "i64", str(c.size), d.row)
        with b.loop("%begin", "%end") as task:
            start = b.mul(task.index, d.matrix)
            b.do(
                f"call void @pack(i64 {d.n}, ptr {b.offset(a, start)}, i64 {step}, i64 {side}, "
                f"i64 {d.n}, ptr {w}, i64 {d.width})"
            )
            flag = b.offset(info, b.mul(task.index, 4))
            with b.loop("0", d.n, self.rows) as i:
                self._block(w, i.index, flag)
            to = b.offset(factor, start)
            b.choose(upper, lambda: self._copy_rows(w, to), lambda: self._turn_rows(w, to))

    def _block(self, w: str, i: str, info: str) -> None:
        """A block of rows: less the product of all above, then row by row."""
        b, d, c = self.b, self.d, self.c
        count = b.min(str(self.rows), b.sub(d.n, i))
        sums = b.offset(w, d.sums)
        left = b.offset(w, b.mul(i, c.size))
        sum_row = self.vectors * c.lanes * c.size
        for column, used in self.tiles(i, d.n):
            above = b.offset(w, b.mul(column, c.size))
            self.call_tile(
                used,
                f"i64 {i}, ptr {left}, i64 {c.size}, i64 {self.row}, ptr {above}, "
                f"i64 {self.row}, ptr {sums}, i64 {sum_row}, i64 {count}, i64 {used}, "
                f"i64 0, ptr null",
            )
            with b.loop("0", count) as r, b.loop("0", used, c.lanes) as v:
                at = b.mul(v.index, c.size)
                total = c.load(b, b.offset(b.offset(sums, b.mul(r.index, sum_row)), at))
                here = b.offset(self.place(w, b.add(i, r.index), self.row, column), at)
                c.store(b, self.lanes.subtract(c.load(b, here), total), here)
        with b.loop("0", count) as r:
            self._finish_row(w, i, b.add(i, r.index), info)

    def _finish_row(self, w: str, i: str, row: str, info: str) -> None:
        b, d, c = self.b, self.d, self.c
        line = self.place(w, row, self.row)
        with b.loop(i, row) as q:
            above = self.place(w, q.index, self.row)
            factor = self.splat_at(b.offset(above, b.mul(row, c.size)))
            self.subtract_multiple(line, factor, above, row, d.n)
        place = b.offset(line, b.mul(row, c.size))
        square = b.load(c.part, place, c.size)
        bad = b.emit(f"fcmp ule {c.part} {square}, {float_bits(0.0, c.part)}")
        with b.when(bad):
            found = b.load("i32", info, 4)
            here = b.emit(f"trunc i64 {b.add(b.add(row, 1), d.base)} to i32")
            none = b.emit(f"icmp eq i32 {found}, 0")
            b.store("i32", b.select(none, "i32", here, found), info, 4)
        short = {"float": "f32", "double": "f64"}[c.part]
        root = b.intrinsic(f"llvm.sqrt.{short}", c.part, (c.part, square))
        diagonal = c.splat(b, root)
        with b.loop(row, d.n, c.lanes) as v:
            here = b.offset(line, b.mul(v.index, c.size))
            c.store(b, self.lanes.divide(c.load(b, here), diagonal), here)
        b.store(c.part, root, place, c.size)
        with b.loop("0", row) as q:  # what is below the diagonal
            zero = float_bits(0.0, c.part)
            b.store(c.part, zero, b.offset(line, b.mul(q.index, c.size)), c.size)

    def _copy_rows(self, w: str, to: str) -> None:
        b, d, c = self.b, self.d, self.c
        with b.loop("0", d.n) as i, b.loop("0", d.n, c.lanes) as v:
            value = c.load(b, self.place(w, i.index, self.row, v.index))
            tail = c.tail(b, b.sub(d.n, v.index))
            c.store(b, value, self.place(to, i.index, d.row, v.index), tail)

    def _turn_rows(self, w: str, to: str) -> None:
        d = self.d
        self.b.do(
            f"call void @unpack(i64 {d.n}, ptr {w}, i64 {d.width}, ptr {to}, i64 {d.row}, "
            f"i64 {d.n})"
        )
