"""Reduction of matrices to upper bidiagonal form by Householder reflections from both sides.

A step changes what remains by A -= u y^T + x v^T. The next one needs the product of the rows with
its new u, which takes the same sweep over the matrix, four rows at a time; its y gives its v, and a
second sweep, that only reads, gives x.
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element, fma
from .ir import Builder
from .plan import Fields, KernelSource, Phase, Plan, ceil_div, round_up
from .reflect import emit_apply
from .scaled_rows import ScaledRows
from .target import Target, host
from .tridiagonal import GROUP, TASK_WORK, add_sums, block_width

FIELDS = Fields(
    "m n matrix line rows_at columns_at lines_at height left_line left_matrix right_line"
    " right_matrix scratch"
)


def source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is FIELDS, args D, E, L, R, A, workspace."""
    return KernelSource(f"bidiagonal:{dtype}:{target.name}", lambda: _build(dtype, target), "k")


def plan_bidiagonal(
    dtype: str,
    m: int,
    n: int,
    count: int,
    threads: int,
    *,
    columns: tuple[int, int] = (0, 0),
    target: Target | None = None,
) -> Plan:
    """D and E (count, n) of contiguous A (count, m, n), m >= n: the diagonal, and E[k] right of
    D[k - 1].

    Both are divided by a power of two, which is E[0]. args: D, E, A, workspace.
    """
    c = Element(dtype, target or host())
    line = round_up(n, block_width(c)) * c.size
    height = round_up(m, block_width(c))
    rows_at = height * line
    columns_at = rows_at + 2 * height * c.size
    lines_at = columns_at + 5 * line
    kept = n if columns[0] else 2  # lines of u and of v
    left, right = (x * c.size for x in columns)
    desc = FIELDS.pack(
        m=m, n=n, matrix=m * n * c.size, line=line, rows_at=rows_at, columns_at=columns_at,
        lines_at=lines_at, height=height, left_line=left, left_matrix=n * left, right_line=right,
        right_matrix=n * right,
        scratch=round_up(lines_at + kept * (height * c.size + line), 64) + 64,
    )  # fmt: skip
    grain = count if threads == 1 else min(count, ceil_div(TASK_WORK, m * n * n))
    return Plan((Phase(source(dtype, c.target), desc, count, grain),), desc[-1] * threads)


def _build(dtype: str, target: Target) -> str:
    b, c = Builder(target), Element(dtype, target)
    _emit_update(b, c)
    _emit_multiply(b, c)
    for group in (1, GROUP):
        emit_apply(b, c, group)
    with b.kernel():
        _Bidiagonal(b, c).emit()
    return b.module()


def _emit_update(b: Builder, c: Element) -> None:
    """Define update(rows, u, x, next, y, v, sums, line, begin, end): four rows lose u y^T + x v^T,
    and what they are then, times `next`, is added to the sums; columns begin to end.
    """
    names = ("rows", "u", "x", "next", "y", "v", "sums")
    parameters = [*[("ptr", f"%{n}") for n in names], *[("i64", f"%{n}") for n in
                  ("line", "begin", "end")]]  # fmt: skip
    with b.function("update", parameters, "internal", "noinline"):
        rows = ScaledRows(b, c)
        lanes, group = rows.lanes, range(GROUP)
        lines = [b.offset("%rows", b.mul("%line", r)) for r in group]
        u, x, following = (
            [rows.splat_at(b.offset(p, r * c.size)) for r in group] for p in ("%u", "%x", "%next")
        )
        u, x = [lanes.negate(value) for value in u], [lanes.negate(value) for value in x]
        for _, at in rows.step("%begin", "%end"):
            y, v, total = (c.load(b, b.offset(p, at)) for p in ("%y", "%v", "%sums"))
            for r in group:
                here = b.offset(lines[r], at)
                value = lanes.multiply_add(u[r], y, c.load(b, here))
                value = lanes.multiply_add(x[r], v, value)
                c.store(b, value, here)
                total = lanes.multiply_add(following[r], value, total)
            c.store(b, total, b.offset("%sums", at))


def _emit_multiply(b: Builder, c: Element) -> None:
    """Define multiply(rows, v, x, line, begin, end): the products of four rows with v, added to
    x."""
    parameters = [*[("ptr", f"%{n}") for n in ("rows", "v", "x")], *[("i64", f"%{n}") for n in
                  ("line", "begin", "end")]]  # fmt: skip
    with b.function("multiply", parameters, "internal", "noinline"):
        rows = ScaledRows(b, c)
        lines = [b.offset("%rows", b.mul("%line", r)) for r in range(GROUP)]
        with b.loop("%begin", "%end", c.lanes, [(c.vector, c.zero)] * GROUP) as j:
            at = b.mul(j.index, c.size)
            v = c.load(b, b.offset("%v", at))
            j.next(*[
                rows.lanes.multiply_add(c.load(b, b.offset(line, at)), v, total)
                for line, total in zip(lines, j.values, strict=True)
            ])  # fmt: skip
        add_sums(rows, j.values, "%x")


class _Bidiagonal(ScaledRows):
    def emit(self) -> None:
        """Task: one matrix."""
        b, c = self.b, self.c
        self.d = d = FIELDS.load(b)
        diagonal, beside, left, right, a, workspace = (b.argument(k) for k in range(6))
        scratch = b.offset(workspace, b.mul("%thread", d.scratch))
        self.width = b.emit(f"udiv i64 {d.line}, {c.size}")
        line, column = b.mul(d.n, c.size), b.mul(d.height, c.size)
        with b.loop("%begin", "%end") as task:
            at = SimpleNamespace(
                d=b.offset(diagonal, b.mul(task.index, line)),
                e=b.offset(beside, b.mul(task.index, line)),
                a=b.offset(a, b.mul(task.index, d.matrix)),
                rows=scratch,
            )
            at.none, at.x = (
                b.offset(scratch, b.add(d.rows_at, b.mul(column, k))) for k in range(2)
            )
            at.y, at.sums, at.nothing, at.tau, at.sigma = (
                b.offset(scratch, b.add(d.columns_at, b.mul(d.line, k))) for k in range(5)
            )
            at.lines, at.column_bytes = b.offset(scratch, d.lines_at), column
            self.wanted = b.emit(f"icmp ne i64 {d.left_line}, 0")
            at.right_lines = b.offset(
                at.lines, b.mul(column, b.select(self.wanted, "i64", d.n, "2"))
            )
            self.put(at.e, 0, self._copy(at))
            self._reduce(at)
            with b.when(self.wanted):
                self._form(at, b.offset(left, b.mul(task.index, d.left_matrix)), True)
                self._form(at, b.offset(right, b.mul(task.index, d.right_matrix)), False)

    def _line_of(self, lines: str, k: str, step: str) -> str:
        """Where the vector of step k is kept: without vectors there are two places in turn."""
        b = self.b
        place = b.select(self.wanted, "i64", k, b.emit(f"and i64 {k}, 1"))
        return b.offset(lines, b.mul(place, step))

    def _form(self, at: SimpleNamespace, z: str, left: bool) -> None:
        """Q^T or P^T: the identity's rows, reflected by the shortest vector first."""
        b, c, d = self.b, self.c, self.d
        line = d.left_line if left else d.right_line
        lines, step = (at.lines, at.column_bytes) if left else (at.right_lines, d.line)
        with b.loop("0", d.n) as i:
            row = self.place(z, i.index, line)
            self.clear(row, "0", b.emit(f"udiv i64 {line}, {c.size}"))
            self.put(row, i.index, self.number(1.0))
        with b.loop("0" if left else "1", d.n) as turn:
            k = b.sub(b.sub(d.n, 1), turn.index)
            first = k if left else b.add(k, 1)
            vector = self._line_of(lines, k, step)
            tau = self.get(at.tau if left else at.sigma, k)
            self.put(vector, first, self.number(1.0))
            column = b.emit(f"and i64 {k}, {-block_width(c)}")
            start, length = b.mul(column, c.size), b.sub(d.m if left else d.n, column)

            def call(
                group: int, i: str, vector: str = vector, tau: str = tau, start: str = start,
                length: str = length,
            ) -> None:  # fmt: skip
                to = b.offset(self.place(z, i, line), start)
                b.do(
                    f"call void @apply{group}(ptr {b.offset(vector, start)}, {c.part} {tau}, "
                    f"ptr {to}, i64 {line}, i64 {length})"
                )

            whole = b.add(first, b.emit(f"and i64 {b.sub(d.n, first)}, {-GROUP}"))
            with b.loop(first, whole, GROUP) as i:
                call(GROUP, i.index)
            with b.loop(whole, d.n) as i:
                call(1, i.index)

    def _copy(self, at: SimpleNamespace) -> str:
        """The matrix into the workspace, divided by a power of two; that power."""
        b, c, d = self.b, self.c, self.d
        for offset in (at.none, at.x):
            self.clear(offset, "0", d.height)
        for offset in (at.y, at.sums, at.nothing):
            self.clear(offset, "0", self.width)
        row = b.mul(d.n, c.size)
        with b.loop("0", d.m, carry=[(c.vector, c.zero)]) as i:
            from_, to = (self.place(p, i.index, s) for p, s in ((at.a, row), (at.rows, d.line)))
            with b.loop("0", self.width, c.lanes, [(c.vector, i.values[0])]) as j:
                place = b.mul(j.index, c.size)
                value = c.load(b, b.offset(from_, place), c.tail(b, b.sub(d.n, j.index)))
                c.store(b, value, b.offset(to, place))
                j.next(self.larger(j.values[0], value))
            i.next(j.values[0])
        scale = self.power_of_two(self.largest_lane(i.values[0]))
        factor = c.splat(b, self.scalar("fdiv", self.number(1.0), scale))
        with b.loop("0", d.m) as i:
            for _, place in self.step("0", self.width):
                here = b.offset(self.place(at.rows, i.index, d.line), place)
                c.store(b, self.lanes.multiply(c.load(b, here), factor), here)
        with b.loop(d.m, d.height) as i:
            self.clear(self.place(at.rows, i.index, d.line), "0", self.width)
        return scale

    # ---- the reduction ---------------------------------------------------------------------------

    def _reduce(self, at: SimpleNamespace) -> None:
        b, d = self.b, self.d
        carry = [("ptr", p) for p in (at.none, at.nothing, at.y, at.sums)]
        with b.loop("0", d.n, carry=carry) as turn:
            k = turn.index
            now = SimpleNamespace(**vars(at))
            now.u, now.v, now.y, now.sums = turn.values
            now.next = self._line_of(at.lines, k, at.column_bytes)
            now.next_v = self._line_of(at.right_lines, k, d.line)
            now.column = b.emit(f"and i64 {k}, {-block_width(self.c)}")  # where its vector begins
            self.clear(now.next, now.column, d.height)
            tau = self._make_left(now, k)
            self.put(at.tau, k, tau)
            self.clear(now.sums, now.column, d.n)
            with b.loop(b.emit(f"and i64 {k}, {-GROUP}"), d.m, GROUP) as i:
                lines = self.place(now.rows, i.index, d.line)
                u, x, following_u = (
                    b.offset(p, b.mul(i.index, self.c.size)) for p in (now.u, now.x, now.next)
                )
                b.do(
                    f"call void @update(ptr {lines}, ptr {u}, ptr {x}, ptr {following_u}, "
                    f"ptr {now.y}, ptr {now.v}, ptr {now.sums}, i64 {d.line}, "
                    f"i64 {now.column}, i64 {d.n})"
                )
            with b.when(b.less(b.add(k, 1), d.n)):
                self._turn_row(now, k, tau)
            turn.next(now.next, now.next_v, now.sums, now.y)

    def _after(self, first: str, k: str, value: str) -> str:
        """Lanes whose number is above k, zeros in the others."""
        return self.lanes.select(self.below(first, self.b.add(k, 1)), self.c.zero, value)

    def _make_left(self, at: SimpleNamespace, k: str) -> str:
        """The reflection that clears column k below its diagonal: its vector in `next`; tau."""
        b, c, d, lanes = self.b, self.c, self.d, self.lanes
        minus = [b.emit(f"fneg {c.part} {self.get(line, k)}") for line in (at.y, at.v)]
        with b.loop(k, d.m) as i:
            value = self.get(self.place(at.rows, i.index, d.line), k)
            for line, factor in zip((at.u, at.x), minus, strict=True):
                value = fma(b, "f", c.part, 1, self.get(line, i.index), factor, value)
            self.put(at.next, i.index, value)
        alpha = self.get(at.next, k)

        def square(i: str, place: str, total: str) -> str:
            value = self._after(i, k, c.load(b, b.offset(at.next, place)))
            return lanes.multiply_add(value, value, total)

        beta, tau, factor = self.reflection(alpha, self.total(at.column, d.m, square))
        whole = c.splat(b, factor)
        for first, place in self.step(at.column, d.m):
            here = b.offset(at.next, place)
            value = lanes.multiply(c.load(b, here), whole)
            c.store(b, self._after(first, k, value), here)
        self.put(at.next, k, self.number(1.0))
        self.put(at.d, k, beta)
        return tau

    def _turn_row(self, at: SimpleNamespace, k: str, tau: str) -> None:
        """What the left reflection makes of row k is cleared by one from the right; y, v and x."""
        b, c, d, lanes = self.b, self.c, self.d, self.lanes
        row, whole = self.place(at.rows, k, d.line), c.splat(b, tau)
        following = b.add(k, 1)
        for j, place in self.step(at.column, d.n):
            here = b.offset(at.sums, place)
            y = self._after(j, k, lanes.multiply(c.load(b, here), whole))
            c.store(b, y, here)
            value = lanes.subtract(c.load(b, b.offset(row, place)), y)
            c.store(b, self._after(j, k, value), b.offset(at.next_v, place))
        alpha = self.get(at.next_v, following)

        def square(j: str, place: str, total: str) -> str:
            value = self._after(j, following, c.load(b, b.offset(at.next_v, place)))
            return lanes.multiply_add(value, value, total)

        beta, sigma, factor = self.reflection(alpha, self.total(at.column, d.n, square))
        self.put(at.e, following, beta)
        self.put(at.sigma, k, sigma)
        whole = c.splat(b, factor)
        for _, place in self.step(at.column, d.n):
            here = b.offset(at.next_v, place)
            c.store(b, lanes.multiply(c.load(b, here), whole), here)
        self.put(at.next_v, following, self.number(1.0))
        self._multiply(at, k, sigma)

    def _multiply(self, at: SimpleNamespace, k: str, sigma: str) -> None:
        """x = sigma (A v - u (y . v)) below row k; u is 0 in it from now on."""
        b, c, d, lanes = self.b, self.c, self.d, self.lanes

        def product(_: str, place: str, total: str) -> str:
            y, v = (c.load(b, b.offset(p, place)) for p in (at.sums, at.next_v))
            return lanes.multiply_add(y, v, total)

        along = c.splat(b, self.total(at.column, d.n, product))
        self.clear(at.x, at.column, d.m)
        with b.loop(b.emit(f"and i64 {b.add(k, 1)}, {-GROUP}"), d.m, GROUP) as i:
            lines, x = self.place(at.rows, i.index, d.line), b.offset(at.x, b.mul(i.index, c.size))
            b.do(
                f"call void @multiply(ptr {lines}, ptr {at.next_v}, ptr {x}, i64 {d.line}, "
                f"i64 {at.column}, i64 {d.n})"
            )
        whole = c.splat(b, sigma)
        for first, place in self.step(at.column, d.m):
            x, u = (c.load(b, b.offset(p, place)) for p in (at.x, at.next))
            x = lanes.multiply(lanes.without_product(x, u, along), whole)
            c.store(b, self._after(first, k, x), b.offset(at.x, place))
            c.store(b, self._after(first, k, u), b.offset(at.next, place))
