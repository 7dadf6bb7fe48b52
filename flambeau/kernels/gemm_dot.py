"""Products in which the summed index lies side by side in both operands: dot products of rows.

Fit for few rows against a transposed matrix (a linear layer at small batch) and matrix-vector.
"""

from __future__ import annotations

from collections.abc import Sequence

from .element import Element, Tail, transpose_sum
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target
from .tile import ACCUMULATE, BIAS_COLUMN, BIAS_ROW, PARAMETERS, RELU

FIELDS = Fields(
    "m n k a_row b_column c_row c_column flags n_block n_tasks a_batch b_batch c_batch"
    " a_argument b_argument"
)


_PARAMETERS = [
    *(p for p in PARAMETERS if p[1] != "%a_step"),
    ("i64", "%c_column"),
    ("i64", "%bias_row"),
    ("i64", "%bias_column"),
]


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
    """Define `void name(_PARAMETERS)`: C[r, q] = sum over k of A[r, k] * B[q, k].

    b_step is the distance between columns of B; the columns of C and the bias have strides too.
    """
    with b.function(name, _PARAMETERS, "internal", "noinline"):
        last_row, last_column = b.sub("%rows", "1"), b.sub("%columns", "1")
        a = [b.offset("%a", b.mul(b.min(str(r), last_row), "%a_row")) for r in range(rows)]
        bb = [b.offset("%b", b.mul(b.min(str(q), last_column), "%b_step")) for q in range(columns)]
        # The columns of the next tile, into the second-level cache: columns a power of two apart
        # would push each other out of the first. One row alone waits for memory anyhow.
        ahead = b.mul("%b_step", columns) if rows > 1 else None
        sums = sum_products(b, c, a, bb, "%depth", ahead, 2)
        _store_dots(b, c, sums, rows, columns)


def sum_products(
    b: Builder,
    c: Element,
    a: list[str],
    bb: list[str],
    depth: str,
    ahead: str | None = None,
    level: int = 1,
) -> list[str]:
    """Vectors whose lanes add up to the dot products of each a with each b.

    `ahead`: bytes from what is read of b to what is asked of memory for later, down to a level.
    """
    count = len(a) * len(bb)

    def step(at: str, sums: Sequence[str], tail: Tail | None) -> list[str]:
        offset = b.mul(at, c.size)
        right = [c.load(b, b.offset(q, offset), tail) for q in bb]
        if ahead is not None:
            for start in bb:
                b.prefetch(b.offset(b.offset(start, offset), ahead), level)
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
    totals = []
    for first in range(0, len(sums), c.width):
        group = sums[first : first + c.width]
        vector = transpose_sum(b, c, group)
        totals += [
            b.emit(f"extractelement {c.vector} {vector}, i32 {k}") for k in range(len(group))
        ]
    for r in range(rows):
        with b.when(b.less(str(r), "%rows")):
            c_row = b.offset("%c", b.mul(str(r), "%c_row"))
            for q in range(columns):
                with b.when(b.less(str(q), "%columns")):
                    to = b.offset(c_row, b.mul(str(q), "%c_column"))
                    bias = b.offset(
                        "%bias", b.add(b.mul(str(r), "%bias_row"), b.mul(str(q), "%bias_column"))
                    )
                    store_dot(b, c, [totals[r * columns + q]], to, bias, "%flags")


def store_dot(b: Builder, c: Element, value: list[str], to: str, bias: str, flags: str) -> None:
    """*to = [*to +] value [+ bias], bounded where relu is wanted; value is of the compute type."""

    def plus(bit: int, pointer: str, value: list[str]) -> list[str]:
        wanted = b.emit(f"icmp ne i64 {b.emit(f'and i64 {flags}, {bit}')}, 0")
        return b.choose(
            wanted,
            lambda: c.add_parts(b, value, c.load_parts(b, pointer)),
            lambda: value,
            [c.part],
        )

    value = plus(ACCUMULATE, to, value)
    value = plus(BIAS_ROW | BIAS_COLUMN, bias, value)
    relu = b.emit(f"icmp ne i64 {b.emit(f'and i64 {flags}, {RELU}')}, 0")
    value = [b.select(relu, c.part, c.relu_parts(b, value)[0], value[0])]
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
            c_at = b.offset(c_of, b.add(b.mul(i.index, d.c_row), b.mul(j.index, d.c_column)))
            arguments = (
                f"(i64 {d.k}, ptr {b.offset(a_of, b.mul(i.index, d.a_row))}, i64 {d.a_row}, "
                f"ptr {b.offset(b_of, b.mul(j.index, d.b_column))}, i64 {d.b_column}, "
                f"ptr {c_at}, "
                f"i64 {d.c_row}, i64 {left}, i64 {count}, i64 {d.flags}, "
                f"ptr {b.offset(bias, bias_at)}, i64 {d.c_column}, i64 {row_step}, "
                f"i64 {column_step})"
            )
            b.choose(
                b.less("1", left),
                lambda: b.do(f"call void @tile{rows}{arguments}"),
                lambda: b.do(f"call void @tile1{arguments}"),
            )
