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
from .scaled_rows import ScaledRows
from .target import Target, host
from .tridiagonal import GROUP, TASK_WORK, add_sums, block_width

FIELDS = Fields("m n matrix line rows_at columns_at height scratch")


def source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is FIELDS, args D, E, A, workspace."""
    return KernelSource(f"bidiagonal:{dtype}:{target.name}", lambda: _build(dtype, target), "k")


def plan_bidiagonal(
    dtype: str, m: int, n: int, count: int, threads: int, *, target: Target | None = None
) -> Plan:
    """D and E (count, n) of contiguous A (count, m, n), m >= n: the diagonal, and E[k] right of
    D[k - 1].

    Both are divided by a power of two, which is E[0]. args: D, E, A, workspace.
    """
    c = Element(dtype, target or host())
    line = round_up(n, block_width(c)) * c.size
    height = round_up(m, block_width(c))
    rows_at = height * line
    columns_at = rows_at + 3 * height * c.size
    desc = FIELDS.pack(
        m=m, n=n, matrix=m * n * c.size, line=line, rows_at=rows_at, columns_at=columns_at,
        height=height, scratch=round_up(columns_at + 3 * line, 64) + 64,
    )  # fmt: skip
    grain = count if threads == 1 else min(count, ceil_div(TASK_WORK, m * n * n))
    return Plan((Phase(source(dtype, c.target), desc, count, grain),), desc[-1] * threads)


def _build(dtype: str, target: Target) -> str:
    b, c = Builder(target), Element(dtype, target)
    _emit_update(b, c)
    _emit_multiply(b, c)
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
        diagonal, beside, a, workspace = (b.argument(k) for k in range(4))
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
            at.u, at.next, at.x = (
                b.offset(scratch, b.add(d.rows_at, b.mul(column, k))) for k in range(3)
            )
            at.y, at.sums, at.v = (
                b.offset(scratch, b.add(d.columns_at, b.mul(d.line, k))) for k in range(3)
            )
            self.put(at.e, 0, self._copy(at))
            self._reduce(at)

    def _copy(self, at: SimpleNamespace) -> str:
        """The matrix into the workspace, divided by a power of two; that power."""
        b, c, d = self.b, self.c, self.d
        for offset in (at.u, at.next, at.x):
            self.clear(offset, "0", d.height)
        for offset in (at.y, at.sums, at.v):
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
        carry = [("ptr", p) for p in (at.u, at.next, at.y, at.sums)]
        with b.loop("0", d.n, carry=carry) as turn:
            k = turn.index
            u, following, y, sums = turn.values
            now = SimpleNamespace(**vars(at))
            now.u, now.next, now.y, now.sums = u, following, y, sums
            now.column = b.emit(f"and i64 {k}, {-block_width(self.c)}")  # where its vector begins
            tau = self._make_left(now, k)
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
            turn.next(now.next, now.u, now.sums, now.y)

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
        for i, place in self.step(at.column, d.m):
            here = b.offset(at.next, place)
            value = lanes.multiply(c.load(b, here), whole)
            c.store(b, self._after(i, k, value), here)
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
            c.store(b, self._after(j, k, value), b.offset(at.v, place))
        alpha = self.get(at.v, following)

        def square(j: str, place: str, total: str) -> str:
            value = self._after(j, following, c.load(b, b.offset(at.v, place)))
            return lanes.multiply_add(value, value, total)

        beta, sigma, factor = self.reflection(alpha, self.total(at.column, d.n, square))
        self.put(at.e, following, beta)
        whole = c.splat(b, factor)
        for _, place in self.step(at.column, d.n):
            here = b.offset(at.v, place)
            c.store(b, lanes.multiply(c.load(b, here), whole), here)
        self.put(at.v, following, self.number(1.0))
        self._multiply(at, k, sigma)

    def _multiply(self, at: SimpleNamespace, k: str, sigma: str) -> None:
        """x = sigma (A v - u (y . v)) below row k; u is 0 in it from now on."""
        b, c, d, lanes = self.b, self.c, self.d, self.lanes

        def product(_: str, place: str, total: str) -> str:
            y, v = (c.load(b, b.offset(p, place)) for p in (at.sums, at.v))
            return lanes.multiply_add(y, v, total)

        along = c.splat(b, self.total(at.column, d.n, product))
        self.clear(at.x, at.column, d.m)
        with b.loop(b.emit(f"and i64 {b.add(k, 1)}, {-GROUP}"), d.m, GROUP) as i:
            lines, x = self.place(at.rows, i.index, d.line), b.offset(at.x, b.mul(i.index, c.size))
            b.do(
                f"call void @multiply(ptr {lines}, ptr {at.v}, ptr {x}, i64 {d.line}, "
                f"i64 {at.column}, i64 {d.n})"
            )
        whole = c.splat(b, sigma)
        for i, place in self.step(at.column, d.m):
            x, u = (c.load(b, b.offset(p, place)) for p in (at.x, at.next))
            x = lanes.multiply(lanes.without_product(x, u, along), whole)
            c.store(b, self._after(i, k, x), b.offset(at.x, place))
            c.store(b, self._after(i, k, u), b.offset(at.next, place))
