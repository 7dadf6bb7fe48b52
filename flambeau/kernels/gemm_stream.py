"""A row vector times a wide matrix: rows of B stream through, sums stay in C.

Bound by memory: eight rows of B are read side by side, so that each sum is loaded and stored once
for eight multiply-adds.
"""

from __future__ import annotations

from .element import Element
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target
from .tile import ACCUMULATE, BIAS_COLUMN, BIAS_ROW, RELU

FIELDS = Fields(
    "n k a_step b_step flags n_block n_tasks a_batch b_batch c_batch a_argument b_argument"
)
ROWS = 8


def source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is FIELDS, args C, A, B, bias, workspace."""
    key = f"gemm_stream:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build(dtype, target), "stream")


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    c = Element(dtype, target)
    with b.kernel("stream"):
        _emit_tasks(b, c)
    return b.module()


def _emit_tasks(b: Builder, c: Element) -> None:
    """Task: some columns of one product of the batch."""
    d = FIELDS.load(b)
    out, bias = b.argument(0), b.argument(3)
    a, bb = b.argument(d.a_argument), b.argument(d.b_argument)
    keep = b.emit(f"icmp ne i64 {b.emit(f'and i64 {d.flags}, {ACCUMULATE}')}, 0")
    with b.loop("%begin", "%end") as task:
        batch, across = b.divide(task.index, d.n_tasks)
        n0 = b.mul(across, d.n_block)
        count = b.min(d.n_block, b.sub(d.n, n0))
        start = b.mul(n0, c.size)
        a_of = b.offset(a, b.mul(batch, d.a_batch))
        b_of = b.offset(bb, b.add(b.mul(batch, d.b_batch), start))
        c_of = b.offset(out, b.add(b.mul(batch, d.c_batch), start))
        whole = b.emit(f"and i64 {d.k}, {-ROWS}")
        with b.loop("0", whole, ROWS) as k:
            adding = b.emit(f"or i1 {b.emit(f'icmp ne i64 {k.index}, 0')}, {keep}")
            _add_rows(b, c, d, (a_of, b_of, c_of), k.index, ROWS, count, adding)
        with b.loop(whole, d.k) as k:
            adding = b.emit(f"or i1 {b.emit(f'icmp ne i64 {k.index}, 0')}, {keep}")
            _add_rows(b, c, d, (a_of, b_of, c_of), k.index, 1, count, adding)
        extra = b.emit(f"and i64 {d.flags}, {BIAS_COLUMN | BIAS_ROW | RELU}")
        with b.when(b.emit(f"icmp ne i64 {extra}, 0")):
            _finish(b, c, d.flags, c_of, bias, n0, count)


def _add_rows(b: Builder, c: Element, d, bases, k: str, rows: int, count: str, adding: str) -> None:
    """c (+)= the sum over some rows of a[row] * b[row]."""
    a_of, b_of, c_of = bases
    steps = [b.add(k, r) for r in range(rows)]
    factors = [c.broadcast(b, b.offset(a_of, b.mul(step, d.a_step))) for step in steps]
    lines = [b.offset(b_of, b.mul(step, d.b_step)) for step in steps]
    whole = b.emit(f"and i64 {count}, {-c.lanes}")

    def columns(j: str, tail) -> None:
        at = b.mul(j, c.size)
        to = b.offset(c_of, at)
        # Two chains of sums, so that additions overlap.
        old = b.select(adding, c.vector, c.load(b, to, tail), c.zero)
        sums = [[old], c.empty_cell()]
        for r, (factor, line) in enumerate(zip(factors, lines, strict=True)):
            sums[r % 2] = c.multiply_add(
                b, factor, c.load(b, b.offset(line, at), tail), sums[r % 2]
            )
        c.store(b, c.add(b, sums[0][0], sums[1][0]), to, tail)

    with b.loop("0", whole, c.lanes) as j:
        columns(j.index, None)
    with b.when(b.less(whole, count)):
        columns(whole, c.tail(b, b.sub(count, whole)))


def _finish(b: Builder, c: Element, flags: str, c_of: str, bias: str, n0: str, count: str) -> None:
    """Bias and activation over finished columns."""
    zero = b.global_constant(f"[{c.size} x i8]", "zeroinitializer")
    column, row, relu = (
        b.emit(f"icmp ne i64 {b.emit(f'and i64 {flags}, {bit}')}, 0")
        for bit in (BIAS_COLUMN, BIAS_ROW, RELU)
    )
    by_row = c.load_parts(b, b.select(row, "ptr", bias, zero))
    start = b.select(column, "ptr", b.offset(bias, b.mul(n0, c.size)), zero)
    step = b.select(column, "i64", str(c.size), "0")
    with b.loop("0", count) as j:
        to = b.offset(c_of, b.mul(j.index, c.size))
        by_column = c.load_parts(b, b.offset(start, b.mul(j.index, step)))
        value = c.add_parts(b, c.load_parts(b, to), c.add_parts(b, by_row, by_column))
        bounded = c.relu_parts(b, value)
        c.store_parts(b, [b.select(relu, c.part, bounded[0], value[0])], to)
