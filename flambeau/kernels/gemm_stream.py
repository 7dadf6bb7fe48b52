"""A row vector times a wide matrix: rows of B stream through, sums stay in C (of half types: in
the workspace, in float32, until they are rounded).

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
    "n k a_step b_step flags n_block n_tasks a_batch b_batch c_batch a_argument b_argument scratch"
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
    rounded = c.compute is not c
    scratch = b.offset(b.argument(4), b.mul("%thread", d.scratch))
    keep = b.emit(f"icmp ne i64 {b.emit(f'and i64 {d.flags}, {ACCUMULATE}')}, 0")
    with b.loop("%begin", "%end") as task:
        batch, across = b.divide(task.index, d.n_tasks)
        n0 = b.mul(across, d.n_block)
        count = b.min(d.n_block, b.sub(d.n, n0))
        start = b.mul(n0, c.size)
        a_of = b.offset(a, b.mul(batch, d.a_batch))
        b_of = b.offset(bb, b.add(b.mul(batch, d.b_batch), start))
        c_of = b.offset(out, b.add(b.mul(batch, d.c_batch), start))
        sums = scratch if rounded else c_of
        whole = b.emit(f"and i64 {d.k}, {-ROWS}")
        for first, last, rows in (("0", whole, ROWS), (whole, d.k, 1)):
            with b.loop(first, last, rows) as k:
                adding = b.emit(f"icmp ne i64 {k.index}, 0")
                adding = adding if rounded else b.emit(f"or i1 {adding}, {keep}")
                _add_rows(b, c, d, (a_of, b_of, sums), k.index, rows, count, adding)
        bias_at = b.offset(bias, b.mul(n0, c.size))
        if rounded:
            _finish(b, c, d.flags, (sums, c_of), (bias, bias_at), count, keep)
        else:
            extra = b.emit(f"and i64 {d.flags}, {BIAS_COLUMN | BIAS_ROW | RELU}")
            with b.when(b.emit(f"icmp ne i64 {extra}, 0")):
                _finish(b, c, d.flags, (sums, c_of), (bias, bias_at), count, "false")


def _add_rows(b: Builder, c: Element, d, bases, k: str, rows: int, count: str, adding: str) -> None:
    """sums (+)= the sum over some rows of a[row] * b[row]."""
    a_of, b_of, sums_of = bases
    into = c.compute
    steps = [b.add(k, r) for r in range(rows)]
    factors = [c.broadcast(b, b.offset(a_of, b.mul(step, d.a_step))) for step in steps]
    lines = [b.offset(b_of, b.mul(step, d.b_step)) for step in steps]
    whole = b.emit(f"and i64 {count}, {-c.lanes}")

    def columns(j: str, tail) -> None:
        at = b.mul(j, c.size)
        to = b.offset(sums_of, b.mul(j, into.size))
        # Two chains of sums, so that additions overlap.
        old = b.select(adding, c.vector, into.load(b, to, tail), c.zero)
        sums = [[old], c.empty_cell()]
        for r, (factor, line) in enumerate(zip(factors, lines, strict=True)):
            sums[r % 2] = c.multiply_add(
                b, factor, c.load(b, b.offset(line, at), tail), sums[r % 2]
            )
        into.store(b, c.add(b, sums[0][0], sums[1][0]), to, tail)

    with b.loop("0", whole, c.lanes) as j:
        columns(j.index, None)
    with b.when(b.less(whole, count)):
        columns(whole, c.tail(b, b.sub(count, whole)))


def _finish(b: Builder, c: Element, flags: str, places, biases, count: str, adding: str) -> None:
    """C = sums [+ C] [+ bias], [relu] over finished columns."""
    sums, to = places
    zeros = b.global_constant(f"[{c.lanes * c.size} x i8]", "zeroinitializer")
    column, row, relu = (
        b.emit(f"icmp ne i64 {b.emit(f'and i64 {flags}, {bit}')}, 0")
        for bit in (BIAS_COLUMN, BIAS_ROW, RELU)
    )
    by_row = c.broadcast(b, b.select(row, "ptr", biases[0], zeros))[0]
    with b.loop("0", count, c.lanes) as j:
        tail = c.tail(b, b.sub(count, j.index))
        at = b.mul(j.index, c.size)
        added = (b.select(column, "ptr", b.offset(biases[1], at), zeros),
                 b.select(adding, "ptr", b.offset(to, at), zeros))  # fmt: skip
        value = c.compute.load(b, b.offset(sums, b.mul(j.index, c.compute.size)), tail)
        for more in (by_row, *(c.load(b, place, tail) for place in added)):
            value = c.add(b, value, more)
        value = b.select(relu, c.vector, c.relu(b, value), value)
        c.store(b, value, b.offset(to, at), tail)
