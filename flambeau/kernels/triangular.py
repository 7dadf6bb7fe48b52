"""Solutions of triangular systems: blocks of rows are products, the rest is substitution.

A panel of right-hand sides is packed; then, from the first row down, a register tile subtracts the
product of a block of rows with what is solved so far, and the block's own triangle is substituted.
Upper triangles are lower ones read backwards, through negative strides.
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element
from .ir import Builder
from .pack import emit_pack
from .plan import Fields, KernelSource, Phase, Plan, ceil_div, round_up
from .target import Target, host
from .tile import STRIDED, Operands, emit_tile, tile_shape

FIELDS = Fields(
    "n columns a_start a_row a_step b_start b_row b_column x_start x_row a_batch b_batch x_batch"
    " unit panel blocks sums scratch"
)
TASK_WORK = 1 << 17  # multiply-adds worth another thread


def source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is FIELDS, args X, A, B, workspace."""
    key = f"triangular:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build(dtype, target), "solve")


def plan_triangular(
    dtype: str,
    n: int,
    columns: int,
    count: int,
    a_strides: tuple[int, int, int],
    b_strides: tuple[int, int, int],
    threads: int,
    *,
    upper: bool,
    unit: bool,
    x_row: int | None = None,
    target: Target | None = None,
) -> Plan:
    """X (count, n, columns), contiguous, with A X = B for real A (count, n, n), B (count, n,
    columns).

    Only the named triangle of A is read, `unit`: without its diagonal. Strides (of the batch, rows,
    columns) are in elements and arbitrary; `x_row`: elements between the rows of a single X, which
    may be B. args: X, A, B, workspace.
    """
    x_row = columns if x_row is None else x_row
    target = target or host()
    if 0 in (n, columns, count):
        return Plan((), 0)
    element = Element(dtype, target)
    size, vectors = element.size, tile_shape(target, element)[1]
    panel = min(round_up(columns, element.lanes), vectors * element.lanes)
    blocks = ceil_div(columns, panel)
    sums = round_up(n * panel * size, 64)
    scratch = sums + tile_shape(target, element)[0] * panel * size + 64
    sign, end = (-1, n - 1) if upper else (1, 0)
    desc = FIELDS.pack(
        n=n, columns=columns, unit=unit, panel=panel, blocks=blocks, sums=sums,
        scratch=round_up(scratch, 64), a_start=end * (a_strides[1] + a_strides[2]) * size,
        a_row=sign * a_strides[1] * size, a_step=sign * a_strides[2] * size,
        b_start=end * b_strides[1] * size, b_row=sign * b_strides[1] * size,
        b_column=b_strides[2] * size, x_start=end * x_row * size, x_row=sign * x_row * size,
        a_batch=a_strides[0] * size, b_batch=b_strides[0] * size, x_batch=n * columns * size,
    )  # fmt: skip
    tasks, work = count * blocks, n * n * panel // 2
    grain = tasks if threads == 1 else min(tasks, ceil_div(TASK_WORK, max(work, 1)))
    phase = Phase(source(dtype, target), desc, tasks, grain)
    return Plan((phase,), round_up(scratch, 64) * threads)


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    c = Element(dtype, target)
    rows, vectors = tile_shape(target, c)
    for width in range(1, vectors + 1):
        emit_tile(b, f"tile{width}", Operands(c, c, c), rows, width, STRIDED)
    emit_pack(b, "pack", c)
    with b.kernel("solve"):
        _Solve(b, c, rows, vectors).emit()
    return b.module()


class _Solve:
    def __init__(self, b: Builder, c: Element, rows: int, vectors: int) -> None:
        self.b, self.c, self.rows, self.vectors = b, c, rows, vectors
        self.d = FIELDS.load(b)

    def emit(self) -> None:
        """Task: a panel of the right-hand sides of one system."""
        b, d, c = self.b, self.d, self.c
        x, a, right, workspace = (b.argument(k) for k in range(4))
        scratch = b.offset(workspace, b.mul("%thread", d.scratch))
        with b.loop("%begin", "%end") as task:
            batch, block = b.divide(task.index, d.blocks)
            j = b.mul(block, d.panel)
            count = b.min(d.panel, b.sub(d.columns, j))
            used = b.emit(f"udiv i64 {b.add(count, c.lanes - 1)}, {c.lanes}")
            width = b.mul(used, c.lanes)
            at = SimpleNamespace(
                a=b.offset(a, b.add(d.a_start, b.mul(batch, d.a_batch))),
                x=b.offset(x, b.add(b.add(d.x_start, b.mul(batch, d.x_batch)), b.mul(j, c.size))),
                panel=scratch,
                sums=b.offset(scratch, d.sums),
                count=count,
                used=used,
                row=b.mul(width, c.size),
            )
            from_ = b.offset(right, b.add(d.b_start, b.mul(batch, d.b_batch)))
            b.do(
                f"call void @pack(i64 {d.n}, ptr {b.offset(from_, b.mul(j, d.b_column))}, "
                f"i64 {d.b_row}, i64 {d.b_column}, i64 {count}, ptr {scratch}, i64 {width})"
            )
            with b.loop("0", d.n, self.rows) as i:
                left = b.min(str(self.rows), b.sub(d.n, i.index))
                self._multiply(at, i.index, left)
                with b.loop("0", used) as v:
                    self._substitute(at, i.index, left, b.mul(v.index, c.target.vector_bytes))
            self._write(at)

    def _multiply(self, at: SimpleNamespace, i: str, left: str) -> None:
        """sums = a block of rows of A, up to its triangle, times the rows solved so far."""
        b, d, c = self.b, self.d, self.c

        def call(w: int):
            return lambda: b.do(
                f"call void @tile{w}(i64 {i}, ptr {b.offset(at.a, b.mul(i, d.a_row))}, "
                f"i64 {d.a_row}, i64 {d.a_step}, ptr {at.panel}, i64 {at.row}, ptr {at.sums}, "
                f"i64 {at.row}, i64 {left}, i64 {w * c.lanes}, i64 0, ptr null)"
            )

        b.switch(at.used, [(w, call(w)) for w in range(1, self.vectors + 1)])

    def _substitute(self, at: SimpleNamespace, i: str, left: str, column: str) -> None:
        """Solve the block's own triangle for one vector of right-hand sides."""
        b, d, c = self.b, self.d, self.c
        block = b.offset(at.panel, b.add(b.mul(i, at.row), column))
        sums = b.offset(at.sums, column)
        corner = b.offset(at.a, b.mul(i, b.add(d.a_row, d.a_step)))
        one = b.global_constant(f"[1 x {c.part}]", f"[{c.part} 1.0]")
        unit = b.emit(f"icmp ne i64 {d.unit}, 0")
        with b.loop("0", left) as r:
            line = b.offset(corner, b.mul(r.index, d.a_row))
            here = b.offset(block, b.mul(r.index, at.row))
            sum_ = c.load(b, b.offset(sums, b.mul(r.index, at.row)))
            start = b.emit(f"fsub {c.vector} {c.load(b, here)}, {sum_}")
            with b.loop("0", r.index, carry=[(c.vector, start)]) as q:
                factor = c.broadcast(b, b.offset(line, b.mul(q.index, d.a_step)))[0]
                known = c.load(b, b.offset(block, b.mul(q.index, at.row)))
                minus = b.emit(f"fneg {c.vector} {factor}")
                q.next(*c.multiply_add(b, [minus], known, q.values))
            pivot = b.select(unit, "ptr", one, b.offset(line, b.mul(r.index, d.a_step)))
            value = b.emit(f"fdiv {c.vector} {q.values[0]}, {c.broadcast(b, pivot)[0]}")
            c.store(b, value, here)

    def _write(self, at: SimpleNamespace) -> None:
        b, d, c = self.b, self.d, self.c
        with b.loop("0", d.n) as i, b.loop("0", at.used) as v:
            column = b.mul(v.index, c.target.vector_bytes)
            value = c.load(b, b.offset(at.panel, b.add(b.mul(i.index, at.row), column)))
            tail = c.tail(b, b.sub(at.count, b.mul(v.index, c.lanes)))
            to = b.offset(at.x, b.add(b.mul(i.index, d.x_row), column))
            c.store(b, value, to, tail)
