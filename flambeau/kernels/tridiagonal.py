"""Reduction of symmetric matrices to tridiagonal form by Householder reflections, from the last row
up.

A reflection changes the rows above by A -= v w^T + w v^T, and the next one needs the product of
what results with its own vector: both are done in one sweep over the lower triangle, four rows at
a time, so that each element is read and written once a reflection. Blocks on the diagonal, as wide
as a vector, are kept whole; left of them an element counts for its mirror image too.
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element, transpose_sum
from .ir import Builder
from .plan import Fields, KernelSource, Phase, Plan, ceil_div, round_up
from .reflect import emit_apply
from .scaled_rows import ScaledRows
from .target import Target, host

FIELDS = Fields("n matrix line zero_at w_at y_at tau_at z_line z_matrix scratch")
GROUP = 4  # rows that share the loads of the vectors
TASK_WORK = 1 << 15  # multiply-adds worth another thread


def source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is FIELDS, args D, E, Z, A, workspace."""
    return KernelSource(f"tridiagonal:{dtype}:{target.name}", lambda: _build(dtype, target), "k")


def plan_tridiagonal(
    dtype: str,
    n: int,
    count: int,
    threads: int,
    *,
    columns: int = 0,
    target: Target | None = None,
) -> Plan:
    """D and E (count, n) of contiguous A (count, n, n), of which the lower triangles are read.

    E[k] joins D[k - 1] and D[k]. Both are divided by a power of two, which is E[0]. With `columns`,
    of which there is room for whole vectors, Z (count, n, columns) begins with Q^T, A = Q T Q^T,
    and zeros follow. args: D, E, Z, A, workspace.
    """
    c = Element(dtype, target or host())
    width = round_up(n, block_width(c))
    line = width * c.size
    zero_at = width * line
    desc = FIELDS.pack(
        n=n, matrix=n * n * c.size, line=line, zero_at=zero_at, w_at=zero_at + line,
        y_at=zero_at + 2 * line, tau_at=zero_at + 3 * line, z_line=columns * c.size,
        z_matrix=n * columns * c.size, scratch=round_up(zero_at + 4 * line, 64) + 64,
    )  # fmt: skip
    grain = count if threads == 1 else min(count, ceil_div(TASK_WORK, n**3))
    return Plan((Phase(source(dtype, c.target), desc, count, grain),), desc[-1] * threads)


def block_width(c: Element) -> int:
    """Width of the blocks on the diagonal."""
    return max(c.lanes, GROUP)


def _build(dtype: str, target: Target) -> str:
    b, c = Builder(target), Element(dtype, target)
    _emit_sweep(b, c)
    for group in (1, GROUP):
        emit_apply(b, c, group)
    with b.kernel():
        _Tridiagonal(b, c).emit()
    return b.module()


def _emit_sweep(b: Builder, c: Element) -> None:
    """Define sweep(rows, line, v, w, u, y, i, base): four rows from row i on lose v w^T + w v^T,
    and what they are then is multiplied with u: their part of y, and of its elements left of base.
    """
    names = ("rows", "v", "w", "u", "y")
    parameters = [*[("ptr", f"%{n}") for n in names], ("i64", "%line"), ("i64", "%i"),
                  ("i64", "%base")]  # fmt: skip
    with b.function("sweep", parameters, "internal", "noinline"):
        rows = ScaledRows(b, c)
        lanes, group = rows.lanes, range(GROUP)
        lines = [b.offset("%rows", b.mul("%line", r)) for r in group]
        first = [b.offset(name, b.mul("%i", c.size)) for name in ("%v", "%w", "%u")]
        vi, wi, ui = ([rows.splat_at(b.offset(p, r * c.size)) for r in group] for p in first)
        minus_v, minus_w = [lanes.negate(x) for x in vi], [lanes.negate(x) for x in wi]

        def pass_over(begin: str, end: str, sums: list[str], mirrored: bool) -> list[str]:
            with b.loop(begin, end, c.lanes, [(c.vector, s) for s in sums]) as j:
                at = b.mul(j.index, c.size)
                v, w, u = (c.load(b, b.offset(p, at)) for p in ("%v", "%w", "%u"))
                y = c.load(b, b.offset("%y", at)) if mirrored else ""
                following = []
                for r in group:
                    here = b.offset(lines[r], at)
                    value = lanes.multiply_add(minus_v[r], w, c.load(b, here))
                    value = lanes.multiply_add(minus_w[r], v, value)
                    c.store(b, value, here)
                    following.append(lanes.multiply_add(value, u, j.values[r]))
                    if mirrored:
                        y = lanes.multiply_add(value, ui[r], y)
                if mirrored:
                    c.store(b, y, b.offset("%y", at))
                j.next(*following)
            return j.values

        sums = pass_over("0", "%base", [c.zero] * GROUP, True)
        sums = pass_over("%base", b.add("%base", block_width(c)), sums, False)
        add_sums(rows, sums, b.offset("%y", b.mul("%i", c.size)))


def add_sums(rows: ScaledRows, sums: list[str], to: str) -> None:
    """to[r] += the sum of the lanes of vector r."""
    b, c = rows.b, rows.c
    if c.lanes < len(sums):
        for r, cell in enumerate(sums):
            total = c.sum_lanes(b, [cell])[0]
            rows.put(to, r, rows.scalar("fadd", rows.get(to, r), total))
        return
    together = transpose_sum(b, c, sums)
    kind = f"<{len(sums)} x {c.part}>"
    part = b.shuffle(together, together, c.vector, range(len(sums)))
    known = b.load(kind, to, c.size)
    b.store(kind, b.emit(f"fadd {kind} {known}, {part}"), to, c.size)


class _Tridiagonal(ScaledRows):
    def emit(self) -> None:
        """Task: one matrix."""
        b, c = self.b, self.c
        self.d = d = FIELDS.load(b)
        diagonal, beside, z, a, workspace = (b.argument(k) for k in range(5))
        scratch = b.offset(workspace, b.mul("%thread", d.scratch))
        line = b.mul(d.n, c.size)
        with b.loop("%begin", "%end") as task:
            at = SimpleNamespace(
                d=b.offset(diagonal, b.mul(task.index, line)),
                e=b.offset(beside, b.mul(task.index, line)),
                a=b.offset(a, b.mul(task.index, d.matrix)),
                rows=scratch, zero=b.offset(scratch, d.zero_at), w=b.offset(scratch, d.w_at),
                y=b.offset(scratch, d.y_at), tau=b.offset(scratch, d.tau_at),
            )  # fmt: skip
            scale = self._copy(at)
            self.put(at.e, 0, scale)
            self._reduce(at)
            with b.when(b.emit(f"icmp ne i64 {d.z_line}, 0")):
                self._form(at, b.offset(z, b.mul(task.index, d.z_matrix)))

    # ---- the matrix ------------------------------------------------------------------------------

    def _copy(self, at: SimpleNamespace) -> str:
        """The lower triangle into the workspace, divided by a power of two; that power."""
        b, c, d = self.b, self.c, self.d
        width = b.emit(f"udiv i64 {d.line}, {c.size}")
        for offset in (at.zero, at.w, at.y):
            self.clear(offset, "0", width)
        with b.loop("0", width) as i:
            self.clear(self.place(at.rows, i.index, d.line), "0", width)
        row = b.mul(d.n, c.size)
        with b.loop("0", d.n, carry=[(c.vector, c.zero)]) as i:
            used = b.add(i.index, 1)
            from_, to = (self.place(p, i.index, s) for p, s in ((at.a, row), (at.rows, d.line)))
            with b.loop("0", used, c.lanes, [(c.vector, i.values[0])]) as j:
                place = b.mul(j.index, c.size)
                value = c.load(b, b.offset(from_, place), c.tail(b, b.sub(used, j.index)))
                c.store(b, value, b.offset(to, place))
                j.next(self.larger(j.values[0], value))
            i.next(j.values[0])
        scale = self.power_of_two(self.largest_lane(i.values[0]))
        factor = c.splat(b, self.scalar("fdiv", self.number(1.0), scale))
        with b.loop("0", d.n) as i:
            line = self.place(at.rows, i.index, d.line)
            for _, place in self.step("0", b.add(i.index, 1)):
                here = b.offset(line, place)
                c.store(b, self.lanes.multiply(c.load(b, here), factor), here)
            first = b.emit(f"and i64 {i.index}, {-block_width(c)}")
            with b.loop(first, i.index) as j:  # the mirror image within the block
                self.put(self.place(at.rows, j.index, d.line), i.index, self.get(line, j.index))
        return scale

    def _form(self, at: SimpleNamespace, z: str) -> None:
        """Q^T: the identity's rows, reflected by the shortest first; what one has not yet reached
        are the identity's still."""
        b, c, d = self.b, self.c, self.d
        width = b.emit(f"udiv i64 {d.z_line}, {c.size}")
        with b.loop("0", d.n) as i:
            line = self.place(z, i.index, d.z_line)
            self.clear(line, "0", width)
            self.put(line, i.index, self.number(1.0))
        with b.loop("1", d.n) as k:
            u, tau = self.place(at.rows, k.index, d.line), self.get(at.tau, k.index)
            self.put(u, b.sub(k.index, 1), self.number(1.0))

            def call(group: int, i: str, u: str = u, tau: str = tau, k: str = k.index) -> None:
                b.do(
                    f"call void @apply{group}(ptr {u}, {c.part} {tau}, "
                    f"ptr {self.place(z, i, d.z_line)}, i64 {d.z_line}, i64 {k})"
                )

            whole = b.emit(f"and i64 {k.index}, {-GROUP}")
            with b.loop("0", whole, GROUP) as i:
                call(GROUP, i.index)
            with b.loop(whole, k.index) as i:
                call(1, i.index)

    # ---- the reduction ---------------------------------------------------------------------------

    def _reduce(self, at: SimpleNamespace) -> None:
        b, d = self.b, self.d
        with b.loop("1", d.n, carry=[("ptr", at.zero)]) as turn:
            k = b.sub(d.n, turn.index)
            row = self.place(at.rows, k, d.line)
            v = turn.values[0]
            self._update_row(row, v, at.w, k)
            self.put(at.d, k, self.get(row, k))
            tau = self._make_vector(at, row, k)
            for line in (v, at.w):  # row k is finished: the sweep may meet it but not change it
                self.put(line, k, self.number(0.0))
            self.clear(at.y, "0", self._block_end(k))
            with b.loop("0", k, GROUP) as i:
                base = b.emit(f"and i64 {i.index}, {-block_width(self.c)}")
                lines = self.place(at.rows, i.index, d.line)
                b.do(
                    f"call void @sweep(ptr {lines}, ptr {v}, ptr {at.w}, ptr {row}, ptr {at.y}, "
                    f"i64 {d.line}, i64 {i.index}, i64 {base})"
                )
            self._finish(at, row, tau, k)
            self.put(at.tau, k, tau)
            turn.next(row)
        first, w = self.get(turn.values[0], 0), self.get(at.w, 0)
        twice = self.scalar("fmul", self.scalar("fmul", first, w), self.number(2.0))
        self.put(at.d, 0, self.scalar("fsub", self.get(at.rows, 0), twice))

    def _block_end(self, k: str) -> str:
        """k rounded up to whole blocks."""
        width = block_width(self.c)
        return self.b.emit(f"and i64 {self.b.add(k, width - 1)}, {-width}")

    def _update_row(self, row: str, v: str, w: str, k: str) -> None:
        """Row k loses its part of v w^T + w v^T."""
        b, c, lanes = self.b, self.c, self.lanes
        vk, wk = (self.splat_at(b.offset(p, b.mul(k, c.size))) for p in (v, w))
        vk, wk = lanes.negate(vk), lanes.negate(wk)
        for _, at in self.step("0", b.add(k, 1)):
            here = b.offset(row, at)
            value = lanes.multiply_add(vk, c.load(b, b.offset(w, at)), c.load(b, here))
            c.store(b, lanes.multiply_add(wk, c.load(b, b.offset(v, at)), value), here)

    def _make_vector(self, at: SimpleNamespace, row: str, k: str) -> str:
        """The reflection that clears row k left of its neighbour of the diagonal: u in its place,
        zeros behind; tau."""
        b, c, lanes = self.b, self.c, self.lanes
        last = b.sub(k, 1)
        alpha = self.get(row, last)

        def square(j: str, place: str, total: str) -> str:
            here = b.offset(row, place)
            value = lanes.select(self.below(j, last), c.load(b, here), c.zero)
            c.store(b, value, here)
            return lanes.multiply_add(value, value, total)

        beta, tau, factor = self.reflection(alpha, self.total("0", self._block_end(k), square))
        whole = c.splat(b, factor)
        for _, place in self.step("0", self._block_end(k)):
            here = b.offset(row, place)
            c.store(b, lanes.multiply(c.load(b, here), whole), here)
        self.put(row, last, self.number(1.0))
        self.put(at.e, k, beta)
        return tau

    def _finish(self, at: SimpleNamespace, u: str, tau: str, k: str) -> None:
        """w = tau y - (tau^2 / 2)(y . u) u."""
        b, c, lanes = self.b, self.c, self.lanes

        def product(_: str, place: str, total: str) -> str:
            y, x = (c.load(b, b.offset(p, place)) for p in (at.y, u))
            return lanes.multiply_add(y, x, total)

        half = self.scalar("fmul", self.scalar("fmul", tau, tau), self.number(-0.5))
        along = c.splat(b, self.scalar("fmul", self.total("0", self._block_end(k), product), half))
        whole = c.splat(b, tau)
        for j, place in self.step("0", self._block_end(k)):
            y, x = (c.load(b, b.offset(p, place)) for p in (at.y, u))
            w = lanes.multiply_add(along, x, lanes.multiply(whole, y))
            c.store(b, lanes.select(self.below(j, k), w, c.zero), b.offset(at.w, place))
