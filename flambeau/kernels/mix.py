"""Planes mapped along each of their axes: y = A x B^T with few weights a row of A and B.

Interpolation, means over windows and the gradients of both are such maps (see `axis_maps`). A row
of outputs is made in two steps: the rows of inputs it needs are added up, weighted, in a row of
scratch memory; then each vector of outputs is a sum of permuted vectors of that row, or, where
outputs are made of long runs of inputs, each output a product of such a run with weights.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Sequence

from .axis_maps import AxisMap, Row
from .element import Element
from .ir import Builder
from .plan import Fields, KernelSource, Phase, Plan, ceil_div, round_up
from .target import Target, host

# Bytes, but for counts. Tables: for each row of outputs (first entry, entries), entries being
# (byte offset of a row of inputs, weight); for each vector of outputs its first input, then for
# each tap the inputs counted from there (-1: none) and the weights. Of runs: for each output its
# first input, the length of the run, the weights.
FIELDS = Fields(
    "in_plane out_plane out_rows in_columns out_columns row_block row_tasks row_at column_at"
    " column_bytes taps near scratch"
)
CHUNK = 1 << 13  # elements looked at in one chunk, at least


def source(dtype: str, target: Target, runs: bool = False) -> KernelSource:
    """args: y, x, workspace."""
    key = f"mix{'_runs' if runs else ''}:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build(dtype, target, runs), "mix")


def plan_mix(
    dtype: str, planes: int, maps: Sequence[AxisMap], threads: int, target: Target | None = None
) -> Plan:
    """Map the last axes of `planes` planes; maps from the first axis to the last."""
    target = target or host()
    e = Element(dtype, target)
    rows = _rows_of([m.rows() for m in maps[:-1]], [m.inputs for m in maps[:-1]])
    columns, in_columns = maps[-1].rows(), maps[-1].inputs
    in_rows, out_rows = math.prod(m.inputs for m in maps[:-1]), len(rows)
    if planes == 0 or out_rows == 0 or not columns:
        return Plan((), 0)
    row_table = _row_table(rows, in_columns * e.size)
    column_table, taps, near = _column_table(columns, e.compute)
    column_bytes = 8 + taps * e.compute.lanes * (4 + e.compute.size)
    runs = not near and _are_long_runs(columns, e.compute.lanes)
    if runs:
        column_table, column_bytes = _run_table(columns, taps, e.compute)
    chunk = max(1, CHUNK // (max(in_columns, len(columns))))
    blocks = max(1, min(out_rows // chunk, ceil_div(4 * threads, planes)))
    row_block = ceil_div(out_rows, blocks)
    row_tasks = ceil_div(out_rows, row_block)
    at = len(FIELDS.names)
    scratch = round_up((in_columns + 2 * e.compute.lanes) * e.compute.size, 64)
    desc = FIELDS.pack(
        in_plane=in_rows * in_columns * e.size, out_plane=out_rows * len(columns) * e.size,
        out_rows=out_rows, in_columns=in_columns, out_columns=len(columns), row_block=row_block,
        row_tasks=row_tasks, row_at=at, column_at=at + len(row_table),
        column_bytes=column_bytes, taps=taps, near=near, scratch=scratch,
    )  # fmt: skip
    tasks = planes * row_tasks
    grain = max(1, min(tasks, chunk // row_block))
    phase = Phase(source(dtype, target, runs), desc + row_table + column_table, tasks, grain)
    return Plan((phase,), scratch * threads)


def _rows_of(axes: list[list[Row]], sizes: list[int]) -> list[Row]:
    """The rows of a map of several axes, whose elements are counted through."""
    rows: list[Row] = [[(0, 1.0)]]
    for axis, size in zip(axes, sizes, strict=True):
        rows = [
            [(i * size + j, v * w) for (i, v), (j, w) in itertools.product(outer, inner)]
            for outer in rows
            for inner in axis
        ]
    return rows


def _row_table(rows: list[Row], row_bytes: int) -> tuple:
    starts: list[int] = []
    entries: list[float] = []
    for row in rows:
        starts += [2 * len(rows) + len(entries), len(row)]
        for source_, weight in row:
            entries += [source_ * row_bytes, float(weight)]
    return (*starts, *entries)


def _column_table(columns: list[Row], e: Element) -> tuple[tuple[int, ...], int, bool]:
    """The table, taps of each vector, and whether two vectors hold all inputs of each."""
    lanes = e.lanes
    taps = max(1, max(len(row) for row in columns))
    blocks = [columns[k : k + lanes] for k in range(0, len(columns), lanes)]
    spans = [[s for row in block for s, _ in row] or [0] for block in blocks]
    near = all(max(span) - min(span) < 2 * lanes for span in spans) and _permutes(e)
    data = bytearray()
    for block, span in zip(blocks, spans, strict=True):
        first = min(span) if near else 0
        data += struct.pack("q", first)
        for k in range(taps):
            some = [row[k] if k < len(row) else (-1, 0.0) for row in block]
            some += [(-1, 0.0)] * (lanes - len(some))
            data += struct.pack(f"{lanes}i", *(s - first if s >= 0 else -1 for s, _ in some))
            data += struct.pack(f"{lanes}{'f' if e.size == 4 else 'd'}", *(w for _, w in some))
    return struct.unpack(f"{len(data) // 8}q", bytes(data)), taps, near


def _are_long_runs(columns: list[Row], lanes: int) -> bool:
    """Is every output made of adjacent inputs, of at least a vector of them on average?"""
    adjacent = all(b[0] == a[0] + 1 for row in columns for a, b in itertools.pairwise(row))
    return adjacent and sum(map(len, columns)) >= lanes * len(columns)


def _run_table(columns: list[Row], taps: int, e: Element) -> tuple[tuple[int, ...], int]:
    """The table, and the bytes of an output in it."""
    width, data = round_up(taps * e.size, 8), bytearray()
    for row in columns:
        data += struct.pack("2q", row[0][0] if row else 0, len(row))
        weights = struct.pack(f"{len(row)}{'f' if e.size == 4 else 'd'}", *(w for _, w in row))
        data += weights.ljust(width, b"\0")
    return struct.unpack(f"{len(data) // 8}q", bytes(data)), 16 + width


def _permutes(e: Element) -> bool:
    return e.target.name == "avx512"


def _build(dtype: str, target: Target, runs: bool) -> str:
    b = Builder(target)
    with b.kernel("mix"):
        mix = _Mix(b, Element(dtype, target))
        mix.emit(mix.multiply_runs if runs else mix.permute)
    return b.module()


class _Mix:
    def __init__(self, b: Builder, outer: Element) -> None:
        self.b, self.outer, self.inner = b, outer, outer.compute
        self.d = d = FIELDS.load(b)
        self.line = b.offset(b.argument(2), b.mul("%thread", d.scratch))

    def emit(self, columns: Callable[[str], None]) -> None:
        """Task: some rows of one plane; `columns` makes a row of outputs at an address."""
        b, d = self.b, self.d
        with b.loop("%begin", "%end") as task:
            plane, block = b.divide(task.index, d.row_tasks)
            x = b.offset(b.argument(1), b.mul(plane, d.in_plane))
            y = b.offset(b.argument(0), b.mul(plane, d.out_plane))
            first = b.mul(block, d.row_block)
            with b.loop(first, b.min(b.add(first, d.row_block), d.out_rows)) as r:
                self._add_rows(x, r.index)
                row = b.mul(b.mul(r.index, d.out_columns), self.outer.size)
                columns(b.offset(y, row))

    def _add_rows(self, x: str, row: str) -> None:
        """The weighted sum of the rows of inputs of one row of outputs."""
        b, d, inner = self.b, self.d, self.inner
        at = b.add(d.row_at, b.mul(row, 2))
        begin, count = b.add(d.row_at, b.size(at)), b.size(b.add(at, 1))
        end = b.add(begin, b.mul(count, 2))
        with b.loop("0", d.in_columns, inner.lanes) as j:
            tail = self.outer.tail(b, b.sub(d.in_columns, j.index))
            start = b.offset(x, b.mul(j.index, self.outer.size))
            with b.loop(begin, end, 2, carry=[(inner.vector, inner.zero)]) as k:
                value = self.outer.load(b, b.offset(start, b.size(k.index)), tail)
                weight = b.load("double", b.offset("%desc", b.add(k.index, 1), "i64"), 8)
                if inner.part == "float":
                    weight = b.emit(f"fptrunc double {weight} to float")
                weights = [inner.splat(b, weight)]
                k.next(*inner.multiply_add(b, weights, value, k.values))
            inner.store(b, k.values[0], b.offset(self.line, b.mul(j.index, inner.size)))

    def multiply_runs(self, y: str) -> None:
        """Each output the product of a run of the line with its weights."""
        b, d, inner = self.b, self.d, self.inner
        table = b.offset("%desc", d.column_at, "i64")
        with b.loop("0", d.out_columns, carry=[("ptr", table)]) as j:
            entry = j.values[0]
            line = b.offset(self.line, b.mul(b.load("i64", entry, 8), inner.size))
            count, weights = b.load("i64", b.offset(entry, 8), 8), b.offset(entry, 16)
            whole = b.emit(f"and i64 {count}, {-inner.lanes}")

            def pair(k: str, line: str = line, weights: str = weights) -> tuple[str, str]:
                at = b.mul(k, inner.size)
                return b.offset(line, at), b.offset(weights, at)

            with b.loop("0", whole, inner.lanes, carry=[(inner.vector, inner.zero)]) as k:
                value, weight = (inner.load(b, at) for at in pair(k.index))
                k.next(*inner.multiply_add(b, [weight], value, k.values))
            (total,) = inner.sum_lanes(b, k.values)
            with b.loop(whole, count, carry=[(inner.part, total)]) as k:
                value, weight = (inner.load_parts(b, at)[0] for at in pair(k.index))
                product = b.emit(f"fmul {inner.part} {value}, {weight}")
                k.next(b.emit(f"fadd {inner.part} {k.values[0]}, {product}"))
            self.outer.store_parts(b, k.values, b.offset(y, b.mul(j.index, self.outer.size)))
            j.next(b.offset(entry, d.column_bytes))

    def permute(self, y: str) -> None:
        """Each vector of outputs a sum of permuted, weighted vectors of the line."""
        b, d, inner = self.b, self.d, self.inner
        lanes = inner.lanes
        table = b.offset("%desc", d.column_at, "i64")
        near = b.emit(f"icmp ne i64 {d.near}, 0")
        tap_bytes = lanes * (4 + inner.size)
        numbers = f"<{lanes} x i32>"
        with b.loop("0", d.out_columns, lanes, carry=[("ptr", table)]) as j:
            entry = j.values[0]
            line = b.offset(self.line, b.mul(b.load("i64", entry, 8), inner.size))
            low = inner.load(b, line)
            high = inner.load(b, b.offset(line, lanes * inner.size))
            carry = [(inner.vector, inner.zero), ("ptr", b.offset(entry, 8))]
            with b.loop("0", d.taps, carry=carry) as k:
                total, at = k.values
                where = b.load(numbers, at, 4)
                weight = b.load(inner.vector, b.offset(at, 4 * lanes), 4)
                there = b.emit(f"icmp sge {numbers} {where}, zeroinitializer")
                value = self._take(near, low, high, where, there)
                (total,) = inner.multiply_add(b, [weight], value, [total])
                k.next(total, b.offset(at, tap_bytes))
            tail = self.outer.tail(b, b.sub(d.out_columns, j.index))
            to = b.offset(y, b.mul(j.index, self.outer.size))
            self.outer.store(b, k.values[0], to, tail)
            j.next(b.offset(entry, d.column_bytes))

    def _take(self, near: str, low: str, high: str, where: str, there: str) -> str:
        """The inputs with the given numbers, zero where there is none."""
        b, inner, lanes = self.b, self.inner, self.inner.lanes

        def permute() -> list[str]:
            value = _permute_two(b, inner, low, high, where)
            # A weight of zero would not do: it makes NaN of what is not finite.
            mask = f"<{lanes} x i1> {there}"
            return [b.emit(f"select {mask}, {inner.vector} {value}, {inner.vector} {inner.zero}")]

        def gather() -> list[str]:
            return [inner.gather(b, self.line, where, there)]

        if not _permutes(inner):
            return gather()[0]
        return b.choose(near, permute, gather, [inner.vector])[0]


def _permute_two(b: Builder, e: Element, low: str, high: str, where: str) -> str:
    """Elements of two vectors side by side, by number."""
    kind, integer = ("ps", "i32") if e.part == "float" else ("pd", "i64")
    numbers = f"<{e.lanes} x {integer}>"
    if integer == "i64":
        where = b.emit(f"sext <{e.lanes} x i32> {where} to {numbers}")
    name = f"llvm.x86.avx512.vpermi2var.{kind}.512"
    return b.intrinsic(name, e.vector, (e.vector, low), (numbers, where), (e.vector, high))
