"""LDL^T factors of symmetric matrices with diagonal pivots of order 1 and 2, and solutions with
them.

Pivots are chosen as Bunch and Kaufman (1977) and LAPACK do. All of what remains of the symmetric
matrix is kept, not a triangle, so that a column is a contiguous row; a finished row holds the
column of L, right of the block of D.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

from .element import Element
from .ir import Builder
from .pack import emit_pack, emit_unpack
from .plan import Fields, KernelSource, Phase, Plan, ceil_div, round_up
from .scaled_rows import ScaledRows
from .target import Target, host

FACTOR_FIELDS = Fields("n matrix line rows_at scratch")
SOLVE_FIELDS = Fields("n columns matrix right line x_at blocks_at scratch")
GROUP = 4  # rows that share the loads of an update
TASK_WORK = 1 << 16  # multiply-adds worth another thread
# The bound on element growth that makes one 2x2 pivot as good as two 1x1 pivots.
_ALPHA = (1 + math.sqrt(17)) / 8


def factor_source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is FACTOR_FIELDS, args LD, pivots, info, A, workspace."""
    key = f"bunch_kaufman:factor:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build(_Factor, dtype, target), "k")


def solve_source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is SOLVE_FIELDS, args X, LD, pivots, B, workspace."""
    key = f"bunch_kaufman:solve:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build(_Solve, dtype, target), "k")


def plan_ldl(dtype: str, n: int, count: int, threads: int, *, target: Target | None = None) -> Plan:
    """LD (count, n, n), pivots (i32, count, n) and info (i32, count) in LAPACK's compact form.

    Of contiguous A (count, n, n) the lower triangles are read. args: LD, pivots, info, A,
    workspace.
    """
    c = Element(dtype, target or host())
    line = round_up(n + GROUP, c.lanes) * c.size
    rows_at = (n + GROUP) * line
    scratch = round_up(rows_at + 2 * line, 64) + 64
    desc = FACTOR_FIELDS.pack(
        n=n, matrix=n * n * c.size, line=line, rows_at=rows_at, scratch=scratch
    )
    grain = count if threads == 1 else min(count, ceil_div(TASK_WORK, n**3))
    return Plan((Phase(factor_source(dtype, c.target), desc, count, grain),), scratch * threads)


def plan_ldl_solve(
    dtype: str, n: int, columns: int, count: int, threads: int, *, target: Target | None = None
) -> Plan:
    """X (count, n, columns) with L D L^T X = B; all contiguous. args: X, LD, pivots, B,
    workspace."""
    c = Element(dtype, target or host())
    line = (round_up(n, c.lanes) + c.lanes) * c.size
    x_at = n * line
    blocks_at = x_at + (columns + c.lanes) * line
    scratch = round_up(blocks_at + 2 * line, 64) + 64
    desc = SOLVE_FIELDS.pack(
        n=n, columns=columns, matrix=n * n * c.size, right=n * columns * c.size, line=line,
        x_at=x_at, blocks_at=blocks_at, scratch=scratch,
    )  # fmt: skip
    grain = count if threads == 1 else min(count, ceil_div(TASK_WORK, n * n * (1 + columns)))
    return Plan((Phase(solve_source(dtype, c.target), desc, count, grain),), scratch * threads)


def _build(task: type[_Turned], dtype: str, target: Target) -> str:
    b, c = Builder(target), Element(dtype, target)
    emit_pack(b, "pack", c)
    emit_unpack(b, "unpack", c)
    with b.kernel():
        task(b, c).emit()
    return b.module()


class _Turned(ScaledRows):
    """A matrix that lies in the workspace transposed."""

    d: SimpleNamespace  # the desc

    def emit(self) -> None:
        """Every task of the kernel."""
        raise NotImplementedError

    def load(self, source: str, columns: str, to: str) -> None:
        """to[j][i] = source[i][j] for n rows i; zeros behind them."""
        b, c, d = self.b, self.c, self.d
        width = b.emit(f"udiv i64 {d.line}, {c.size}")
        b.do(
            f"call void @pack(i64 {columns}, ptr {source}, i64 {c.size}, "
            f"i64 {b.mul(columns, c.size)}, i64 {d.n}, ptr {to}, i64 {width})"
        )
        with b.loop("0", columns) as j, b.loop(d.n, width) as i:
            self.put(self.place(to, j.index, d.line), i.index, self.number(0.0))

    def store(self, lines: str, columns: str, to: str) -> None:
        """to[i][j] = lines[j][i]."""
        b, c, d = self.b, self.c, self.d
        width = b.emit(f"udiv i64 {d.line}, {c.size}")
        b.do(
            f"call void @unpack(i64 {columns}, ptr {lines}, i64 {width}, ptr {to}, "
            f"i64 {b.mul(columns, c.size)}, i64 {d.n})"
        )

    def first_vector(self, k: str) -> str:
        """The number at which the vector with number k begins."""
        return self.b.emit(f"and i64 {k}, {-self.c.lanes}")

    def after(self, first: str, k: str, value: str) -> str:
        """Lanes whose number is above k, zeros in the others."""
        return self.lanes.select(self.below(first, self.b.add(k, 1)), self.c.zero, value)

    def load_pivot(self, pivots: str, k: str) -> str:
        """Pivot number k (i64)."""
        b = self.b
        return b.emit(f"sext i32 {b.load('i32', b.offset(pivots, b.mul(k, 4)), 4)} to i64")

    def swap(self, x: str, y: str) -> None:
        """Exchange two numbers in memory."""
        b, c = self.b, self.c
        first, second = (b.load(c.part, p, c.size) for p in (x, y))
        b.store(c.part, second, x, c.size)
        b.store(c.part, first, y, c.size)


class _Factor(_Turned):
    def emit(self) -> None:
        """Task: one matrix."""
        b, c = self.b, self.c
        self.d = d = FACTOR_FIELDS.load(b)
        ld, pivots, info, a, workspace = (b.argument(k) for k in range(5))
        scratch = b.offset(workspace, b.mul("%thread", d.scratch))
        self.cells = SimpleNamespace(row=b.stack("i64"), order=b.stack("i64"), info=b.stack("i64"))
        with b.loop("%begin", "%end") as task:
            at = SimpleNamespace(
                w=scratch, pivots=b.offset(pivots, b.mul(task.index, b.mul(d.n, 4))),
                rows=b.offset(scratch, d.rows_at),
            )  # fmt: skip
            at.more = b.offset(at.rows, d.line)
            self._read(at, b.offset(a, b.mul(task.index, d.matrix)))
            b.store("i64", "0", self.cells.info, 8)
            with b.loop("0", d.n, carry=[("i1", "false")]) as k:
                # the second row of a pivot of order 2 is done with the first
                first = b.emit(f"xor i1 {k.values[0]}, true")
                k.next(*b.choose(first, lambda: [self._step(at, k.index)], lambda: ["false"],
                                 ["i1"]))  # fmt: skip
            to = b.offset(ld, b.mul(task.index, d.matrix))
            self.store(at.w, d.n, to)
            row = b.mul(d.n, c.size)
            with b.loop("0", d.n) as i, b.loop(b.add(i.index, 1), d.n) as j:
                self.put(self.place(to, i.index, row), j.index, self.number(0.0))
            found = b.emit(f"trunc i64 {b.load('i64', self.cells.info, 8)} to i32")
            b.store("i32", found, b.offset(info, b.mul(task.index, 4)), 4)

    def _read(self, at: SimpleNamespace, a: str) -> None:
        """The whole matrix from its lower triangle."""
        b, c, d = self.b, self.c, self.d
        self.load(a, d.n, at.w)
        for line in range(GROUP):
            self.clear(self.place(at.w, b.add(d.n, line), d.line), "0", d.n)
        with b.loop("0", d.n) as i:
            from_, to = (
                self.place(a, i.index, b.mul(d.n, c.size)),
                self.place(at.w, i.index, d.line),
            )
            with b.loop("0", i.index, c.lanes) as j:
                tail = c.tail(b, b.sub(i.index, j.index))
                place = b.mul(j.index, c.size)
                c.store(b, c.load(b, b.offset(from_, place), tail), b.offset(to, place), tail)

    # ---- the pivot -------------------------------------------------------------------------------

    def _step(self, at: SimpleNamespace, k: str) -> str:
        """Factor one block; i1: is it of order 2?"""
        b, cells = self.b, self.cells
        self._choose(at, k)
        row, order = b.load("i64", cells.row, 8), b.load("i64", cells.order, 8)
        last = b.select(b.emit(f"icmp eq i64 {order}, 2"), "i64", b.add(k, 1), k)
        with b.when(b.emit(f"icmp ne i64 {row}, {last}")):
            self._interchange(at, k, last, row)
        number = b.emit(f"trunc i64 {b.add(row, 1)} to i32")
        b.switch(order, [(1, lambda: self._one(at, k)), (2, lambda: self._two(at, k)),
                         (0, lambda: None)])  # fmt: skip
        double = b.emit(f"icmp eq i64 {order}, 2")
        number = b.select(double, "i32", b.emit(f"sub i32 0, {number}"), number)
        for which in (k, last):
            b.store("i32", number, b.offset(at.pivots, b.mul(which, 4)), 4)
        nothing = b.emit(f"icmp eq i64 {order}, 0")
        known = b.load("i64", cells.info, 8)
        new = b.emit(f"and i1 {nothing}, {b.emit(f'icmp eq i64 {known}, 0')}")
        b.store("i64", b.select(new, "i64", b.add(k, 1), known), cells.info, 8)
        return double

    def _decide(self, row: str, order: int) -> None:
        b = self.b
        b.store("i64", row, self.cells.row, 8)
        b.store("i64", str(order), self.cells.order, 8)

    def _choose(self, at: SimpleNamespace, k: str) -> None:
        """The row to bring into the pivot's place, and its order: 0 for a column of zeros."""
        b, part = self.b, self.c.part
        line = self.place(at.w, k, self.d.line)
        diagonal = self.call("fabs", self.get(line, k))
        column = self._largest(line, k, k)
        larger = b.select(b.emit(f"fcmp ogt {part} {column}, {diagonal}"), part, column, diagonal)
        alpha = self.number(_ALPHA)
        limit = self.scalar("fmul", alpha, column)
        # NaN is not above 0 either
        usable = b.emit(f"fcmp ogt {part} {larger}, {self.number(0.0)}")
        number = b.emit(f"fcmp ord {part} {diagonal}, {diagonal}")
        usable = b.emit(f"and i1 {usable}, {number}")
        enough = b.emit(f"fcmp oge {part} {diagonal}, {limit}")

        def search() -> None:
            other = self._find(line, k, column)
            beyond = self.place(at.w, other, self.d.line)
            row = self._largest(beyond, b.sub(k, 1), other)
            bound = self.scalar("fmul", limit, self.scalar("fdiv", column, row))
            stays = b.emit(f"fcmp oge {part} {diagonal}, {bound}")
            own = self.call("fabs", self.get(beyond, other))
            moves = b.emit(f"fcmp oge {part} {own}, {self.scalar('fmul', alpha, row)}")
            b.choose(
                stays,
                lambda: self._decide(k, 1),
                lambda: b.choose(
                    moves, lambda: self._decide(other, 1), lambda: self._decide(other, 2)
                ),
            )

        b.choose(
            usable,
            lambda: b.choose(enough, lambda: self._decide(k, 1), search),
            lambda: self._decide(k, 0),
        )

    def _beside(self, first: str, k: str, skip: str, value: str) -> str:
        """|value|, but 0 up to number k and at `skip`."""
        b, c, lanes = self.b, self.c, self.lanes
        size = self.after(first, k, lanes.size(value))
        own = self.below(first, b.add(skip, 1))
        before = self.below(first, skip)
        only = b.emit(f"xor {lanes.bits} {own}, {before}")
        return lanes.select(only, c.zero, size)

    def _largest(self, line: str, k: str, skip: str) -> str:
        """The largest modulus of a line beyond number k, without the one at `skip`."""
        b, c = self.b, self.c
        start = self.first_vector(b.add(k, 1))
        with b.loop(start, self.d.n, c.lanes, [(c.vector, c.zero)]) as j:
            value = c.load(b, b.offset(line, b.mul(j.index, c.size)))
            j.next(self.larger(j.values[0], self._beside(j.index, k, skip, value)))
        return self.largest_lane(j.values[0])

    def _find(self, line: str, k: str, size: str) -> str:
        """The first number beyond k with that modulus."""
        b, c, lanes = self.b, self.c, self.lanes
        whole = c.splat(b, size)
        start = self.first_vector(k)
        numbers = "<" + ", ".join(f"i32 {q}" for q in range(c.lanes)) + ">"
        far = "splat (i32 2147483647)"
        with b.loop(start, self.d.n, c.lanes, [(lanes.whole, far)]) as j:
            value = lanes.size(c.load(b, b.offset(line, b.mul(j.index, c.size))))
            same = lanes.test("oeq", value, whole)
            done = self.below(j.index, b.add(k, 1))
            same = lanes.both(same, b.emit(f"xor {lanes.bits} {done}, splat (i1 true)"))
            here = b.emit(f"add {lanes.whole} {lanes.integer(j.index)}, {numbers}")
            here = lanes.select(same, here, far, lanes.whole)
            less = b.emit(f"icmp slt {lanes.whole} {here}, {j.values[0]}")
            j.next(lanes.select(less, here, j.values[0], lanes.whole))
        name = f"llvm.vector.reduce.smin.v{c.lanes}i32"
        found = b.intrinsic(name, "i32", (lanes.whole, j.values[0]))
        return b.emit(f"sext i32 {found} to i64")

    def _interchange(self, at: SimpleNamespace, k: str, i: str, j: str) -> None:
        """Swap rows and columns i and j of what is left."""
        b, c, d = self.b, self.c, self.d
        rows = [self.place(at.w, which, d.line) for which in (i, j)]
        with b.loop(k, d.n) as q:
            self.swap(*[b.offset(row, b.mul(q.index, c.size)) for row in rows])
        with b.loop(k, d.n) as q:
            line = self.place(at.w, q.index, d.line)
            self.swap(*[b.offset(line, b.mul(which, c.size)) for which in (i, j)])

    # ---- elimination -----------------------------------------------------------------------------

    def _one(self, at: SimpleNamespace, k: str) -> None:
        """A pivot of order 1: what is left loses row k times row k over the pivot."""
        b, c, d, lanes = self.b, self.c, self.d, self.lanes
        row = self.place(at.w, k, d.line)
        inverse = c.splat(b, self.scalar("fdiv", self.number(1.0), self.get(row, k)))
        start = self.first_vector(b.add(k, 1))
        for _, place in self.step(start, d.n):
            value = lanes.multiply(c.load(b, b.offset(row, place)), inverse)
            c.store(b, value, b.offset(at.rows, place))
        self._eliminate(at, [row], b.add(k, 1), start)
        self._keep(row, at.rows, k, start)

    def _two(self, at: SimpleNamespace, k: str) -> None:
        """A pivot of order 2."""
        b, c, d, lanes = self.b, self.c, self.d, self.lanes
        second = b.add(k, 1)
        rows = [self.place(at.w, q, d.line) for q in (k, second)]
        across = self.get(rows[0], second)
        over = [self.scalar("fdiv", self.get(r, q), across)
                for r, q in ((rows[1], second), (rows[0], k))]  # fmt: skip
        one = self.number(1.0)
        t = self.scalar("fdiv", one, self.scalar("fsub", self.scalar("fmul", *over), one))
        scale = c.splat(b, self.scalar("fdiv", t, across))
        over = [c.splat(b, x) for x in over]
        start = self.first_vector(b.add(k, 2))
        for _, place in self.step(start, d.n):
            x, y = (c.load(b, b.offset(r, place)) for r in rows)
            first = lanes.subtract(lanes.multiply(over[0], x), y)
            other = lanes.subtract(lanes.multiply(over[1], y), x)
            c.store(b, lanes.multiply(scale, first), b.offset(at.rows, place))
            c.store(b, lanes.multiply(scale, other), b.offset(at.more, place))
        self._eliminate(at, rows, b.add(k, 2), start)
        for row, values in zip(rows, (at.rows, at.more), strict=True):
            self._keep(row, values, second, start)

    def _eliminate(self, at: SimpleNamespace, rows: list[str], begin: str, start: str) -> None:
        """Rows from begin on lose the rows' numbers for them times the rows over the pivot."""
        b, c, d, lanes = self.b, self.c, self.d, self.lanes
        group = range(GROUP)
        with b.loop(begin, d.n, GROUP) as i:
            # the last group may reach beyond the end: there are lines that nobody reads
            lines = [self.place(at.w, b.add(i.index, r), d.line) for r in group]
            factors = [
                lanes.negate(c.splat(b, self.get(row, b.add(i.index, r))))
                for r in group
                for row in rows
            ]
            for _, place in self.step(start, d.n):
                values = [c.load(b, b.offset(p, place)) for p in (at.rows, at.more)][: len(rows)]
                for r in group:
                    here = b.offset(lines[r], place)
                    x = c.load(b, here)
                    for q, value in enumerate(values):
                        x = lanes.multiply_add(factors[r * len(rows) + q], value, x)
                    c.store(b, x, here)

    def _keep(self, row: str, values: str, k: str, start: str) -> None:
        """A column of L takes the place of a row beyond number k."""
        b, c, lanes = self.b, self.c, self.lanes
        for j, place in self.step(start, self.d.n):
            here = b.offset(row, place)
            done = self.below(j, b.add(k, 1))
            value = lanes.select(done, c.load(b, here), c.load(b, b.offset(values, place)))
            c.store(b, value, here)


class _Solve(_Turned):
    def emit(self) -> None:
        """Task: all right-hand sides of one matrix."""
        b, d = self.b, SOLVE_FIELDS.load(self.b)
        self.d = d
        x, ld, pivots, right, workspace = (b.argument(k) for k in range(5))
        scratch = b.offset(workspace, b.mul("%thread", d.scratch))
        with b.loop("%begin", "%end") as task:
            at = SimpleNamespace(
                w=scratch, pivots=b.offset(pivots, b.mul(task.index, b.mul(d.n, 4))),
                diagonal=b.offset(scratch, d.blocks_at),
            )  # fmt: skip
            at.beside = b.offset(at.diagonal, d.line)
            lines = b.offset(scratch, d.x_at)
            self.load(b.offset(ld, b.mul(task.index, d.matrix)), d.n, at.w)
            self._take_blocks(at)
            self.load(b.offset(right, b.mul(task.index, d.right)), d.columns, lines)
            whole = b.emit(f"and i64 {d.columns}, {-GROUP}")
            with b.loop("0", whole, GROUP) as j:
                self._solve(at, [self.place(lines, b.add(j.index, r), d.line)
                                 for r in range(GROUP)])  # fmt: skip
            with b.loop(whole, d.columns) as j:
                self._solve(at, [self.place(lines, j.index, d.line)])
            self.store(lines, d.columns, b.offset(x, b.mul(task.index, d.right)))

    def _solve(self, at: SimpleNamespace, lines: list[str]) -> None:
        b, d = self.b, self.d
        self._run(at, lines, self._forward, lambda k: k)
        self._run(at, lines, self._backward, lambda k: b.sub(b.sub(d.n, 1), k))

    def _take_blocks(self, at: SimpleNamespace) -> None:
        """The blocks of D from the rows into lines of their own: what is left is L^T without its
        diagonal, and zeros."""
        b, d = self.b, self.d
        with b.loop("0", d.n, carry=[("i1", "false")]) as k:
            row, after = self.place(at.w, k.index, d.line), b.add(k.index, 1)
            double = b.less(self.load_pivot(at.pivots, k.index), "0")
            first = b.emit(f"and i1 {double}, {b.emit(f'xor i1 {k.values[0]}, true')}")
            self.put(at.diagonal, k.index, self.get(row, k.index))
            self.put(at.beside, k.index, self.get(row, after))  # beyond the last there is room
            last = b.select(first, "i64", after, k.index)
            for j, place in self.step("0", b.add(last, 1)):
                here = b.offset(row, place)
                value = self.after(j, last, self.c.load(b, here))
                self.c.store(b, value, here)
            k.next(first)

    def _run(self, at: SimpleNamespace, lines: list[str], step, number) -> None:
        """A step for every block of D, whose order is that of its pivot's sign."""
        b, d = self.b, self.d
        with b.loop("0", d.n, carry=[("i1", "false")]) as turn:
            k = number(turn.index)
            pivot = self.load_pivot(at.pivots, k)
            double = b.less(pivot, "0")
            first = b.emit(f"xor i1 {turn.values[0]}, true")
            other = b.sub(b.select(double, "i64", b.sub("0", pivot), pivot), 1)
            with b.when(first):
                b.choose(
                    double,
                    lambda: step(at, lines, k, 2, other),
                    lambda: step(at, lines, k, 1, other),
                )
            turn.next(b.emit(f"and i1 {double}, {first}"))

    def _swap_in(self, lines: list[str], i: str, j: str) -> None:
        for line in lines:
            self.swap(*[self.b.offset(line, self.b.mul(q, self.c.size)) for q in (i, j)])

    def _forward(
        self, at: SimpleNamespace, lines: list[str], k: str, order: int, other: str
    ) -> None:
        """Through the interchange and L, then D."""
        b, c, d, lanes = self.b, self.c, self.d, self.lanes
        numbers = [b.add(k, q) for q in range(order)]
        last = numbers[-1]
        self._swap_in(lines, last, other)
        rows = [self.place(at.w, q, d.line) for q in numbers]
        known = [[self.get(line, q) for q in numbers] for line in lines]
        factors = [[lanes.negate(c.splat(b, x)) for x in values] for values in known]
        for _, place in self.step(self.first_vector(b.add(last, 1)), d.n):
            parts = [c.load(b, b.offset(row, place)) for row in rows]
            for line, own in zip(lines, factors, strict=True):
                here = b.offset(line, place)
                value = c.load(b, here)
                for part, factor in zip(parts, own, strict=True):
                    value = lanes.multiply_add(part, factor, value)
                c.store(b, value, here)
        for line, values in zip(lines, known, strict=True):
            for q, value in zip(numbers, self._divide(at, numbers, values), strict=True):
                self.put(line, q, value)

    def _divide(self, at: SimpleNamespace, numbers: list[str], x: list[str]) -> list[str]:
        """The solution with a block of D."""
        diagonal = [self.get(at.diagonal, q) for q in numbers]
        if len(numbers) == 1:
            return [self.scalar("fdiv", x[0], diagonal[0])]
        across = self.get(at.beside, numbers[0])
        a, e, p, q = (self.scalar("fdiv", value, across) for value in (*diagonal, *x))
        below = self.scalar("fsub", self.scalar("fmul", a, e), self.number(1.0))
        first = self.scalar("fsub", self.scalar("fmul", e, p), q)
        other = self.scalar("fsub", self.scalar("fmul", a, q), p)
        return [self.scalar("fdiv", value, below) for value in (first, other)]

    def _backward(
        self, at: SimpleNamespace, lines: list[str], k: str, order: int, other: str
    ) -> None:
        """Through L^T and the interchange; k is the last of its block."""
        b, c, d, lanes = self.b, self.c, self.d, self.lanes
        numbers = [b.sub(k, q) for q in range(order)]
        rows = [self.place(at.w, q, d.line) for q in numbers]
        carry = [(c.vector, c.zero)] * (order * len(lines))
        with b.loop(self.first_vector(b.add(k, 1)), d.n, c.lanes, carry) as j:
            place = b.mul(j.index, c.size)
            parts = [c.load(b, b.offset(row, place)) for row in rows]
            values = [c.load(b, b.offset(line, place)) for line in lines]
            pairs = [(part, value) for value in values for part in parts]
            j.next(*[
                lanes.multiply_add(part, value, total)
                for (part, value), total in zip(pairs, j.values, strict=True)
            ])  # fmt: skip
        sums = iter([c.sum_lanes(b, [total])[0] for total in j.values])
        for line in lines:
            for q in numbers:
                self.put(line, q, self.scalar("fsub", self.get(line, q), next(sums)))
        self._swap_in(lines, k, other)
