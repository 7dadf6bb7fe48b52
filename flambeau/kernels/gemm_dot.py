"""Products in which the summed index lies side by side in both operands: dot products of rows.

Fit for few rows against a transposed matrix (a linear layer at small batch) and matrix-vector.
"""

from __future__ import annotations

from collections.abc import Sequence

from .element import Element, Tail
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target
from .tile import BIAS_COLUMN, BIAS_ROW, PARAMETERS

FIELDS = Fields(
    "m n k a_row b_column c_row flags n_block n_tasks a_batch b_batch c_batch a_argument b_argument"
)


def source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is FIELDS, args C, A, B, bias, workspace."""
    key = f"gemm_dot:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build(dtype, target), "dots")


def dot_shape(target: Target) -> tuple[int, int]:
    """(rows of A, columns of B) in one tile of dot products."""
    return (4, 6) if target.name in ("avx512", "neon") else (3, 4)


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    c = Element(dtype, target)
    rows, columns = dot_shape(target)
    for height in {1, rows}:
        emit_dot_tile(b, f"tile{height}", c, height, columns)
    with b.kernel("dots"):
        _emit_tasks(b, c, rows, columns)
    return b.module()


def emit_dot_tile(b: Builder, name: str, c: Element, rows: int, columns: int) -> None:
    """Define `void name(tile.PARAMETERS)`: C[r, q] = sum over k of A[r, k] * B[q, k].

    a_step is not used; b_step is the distance between columns of B.
    """
    with b.function(name, PARAMETERS, "internal", "noinline"):
        last_row, last_column = b.sub("%rows", "1"), b.sub("%columns", "1")
        a = [b.offset("%a", b.mul(b.min(str(r), last_row), "%a_row")) for r in range(rows)]
        bb = [b.offset("%b", b.mul(b.min(str(q), last_column), "%b_step")) for q in range(columns)]
        sums = sum_products(b, c, a, bb, "%depth")
        _store_dots(b, c, sums, rows, columns)


def sum_products(b: Builder, c: Element, a: list[str], bb: list[str], depth: str) -> list[str]:
    """Vectors whose lanes add up to the dot products of each a with each b."""
    count = len(a) * len(bb)

    def step(at: str, sums: Sequence[str], tail: Tail | None) -> list[str]:
        offset = b.mul(at, c.size)
        right = [c.load(b, b.offset(q, offset), tail) for q in bb]
        out = []
        for r, row in enumerate(a):
            left = c.load(b, b.offset(row, offset), tail)
            for q, value in enumerate(right):
                out += c.multiply_add(b, [left], value, [sums[r * len(bb) + q]])
        return out

    whole = b.emit(f"and i64 {depth}, {-c.lanes}")
    with b.loop("0", whole, c.lanes, carry=[(c.vector, c.zero)] * count) as k:
        k.next(*step(k.index, k.values, None))
    sums = k.values
    more = b.less(whole, depth)
    return b.choose(
        more,
        lambda: step(whole, sums, c.tail(b, b.sub(depth, whole))),
        lambda: list(sums),
        [c.vector] * count,
    )


def _store_dots(b: Builder, c: Element, sums: list[str], rows: int, columns: int) -> None:
    accumulate, column, relu, row = (
        b.emit(f"icmp ne i64 {b.emit(f'and i64 %flags, {bit}')}, 0") for bit in (1, 2, 4, 8)
    )
    zeros = b.global_constant(f"[{c.size} x i8]", "zeroinitializer")
    totals = [c.sum_lanes(b, [s]) for s in sums]
    for r in range(rows):
        with b.when(b.less(str(r), "%rows")):
            c_row = b.offset("%c", b.mul(str(r), "%c_row"))
            by_row = b.select(row, "ptr", b.offset("%bias", r * c.size), zeros)
            bias = c.load_parts(b, by_row)
            for q in range(columns):
                with b.when(b.less(str(q), "%columns")):
                    to = b.offset(c_row, q * c.size)
                    by_column = b.select(column, "ptr", b.offset("%bias", q * c.size), zeros)
                    old = c.load_parts(b, b.select(accumulate, "ptr", to, zeros))
                    value = c.add_parts(b, totals[r * columns + q], old)
                    value = c.add_parts(b, value, c.add_parts(b, bias, c.load_parts(b, by_column)))
                    bounded = c.relu_parts(b, value)
                    value = [b.select(relu, c.part, bounded[0], value[0])]
                    c.store_parts(b, value, to)


def _emit_tasks(b: Builder, c: Element, rows: int, columns: int) -> None:
    """Task: some columns of one product of the batch, all its rows."""
    d = FIELDS.load(b)
    out, bias = b.argument(0), b.argument(3)
    a, bb = b.argument(d.a_argument), b.argument(d.b_argument)
    column = b.emit(f"icmp ne i64 {b.emit(f'and i64 {d.flags}, {BIAS_COLUMN}')}, 0")
    by_row = b.emit(f"icmp ne i64 {b.emit(f'and i64 {d.flags}, {BIAS_ROW}')}, 0")
    column_step = b.select(column, "i64", str(c.size), "0")
    row_step = b.select(by_row, "i64", str(c.size), "0")
    with b.loop("%begin", "%end") as task:
        batch, across = b.divide(task.index, d.n_tasks)
        n0 = b.mul(across, d.n_block)
        n1 = b.min(b.add(n0, d.n_block), d.n)
        a_of = b.offset(a, b.mul(batch, d.a_batch))
        b_of = b.offset(bb, b.mul(batch, d.b_batch))
        c_of = b.offset(out, b.mul(batch, d.c_batch))
        with b.loop(n0, n1, columns) as j, b.loop("0", d.m, rows) as i:
            left, count = b.sub(d.m, i.index), b.sub(n1, j.index)
            bias_at = b.add(b.mul(i.index, row_step), b.mul(j.index, column_step))
            c_at = b.offset(c_of, b.add(b.mul(i.index, d.c_row), b.mul(j.index, c.size)))
            arguments = (
                f"(i64 {d.k}, ptr {b.offset(a_of, b.mul(i.index, d.a_row))}, i64 {d.a_row}, "
                f"i64 0, ptr {b.offset(b_of, b.mul(j.index, d.b_column))}, i64 {d.b_column}, "
                f"ptr {c_at}, "
                f"i64 {d.c_row}, i64 {left}, i64 {count}, i64 {d.flags}, "
                f"ptr {b.offset(bias, bias_at)})"
            )
            b.choose(
                b.less("1", left),
                lambda: b.do(f"call void @tile{rows}{arguments}"),
                lambda: b.do(f"call void @tile1{arguments}"),
            )
