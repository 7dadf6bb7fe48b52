"""Strips of outputs (conv_strip) whose tiles write their results where they belong.

Where the steps of a sum are few, to keep results aside and write them later takes a good part of
the time. Rows of results lie a pitch apart, rows of outputs side by side, so a vector drops the
lanes that lie in the margin between two rows and is written in one piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

from .conv_strip import Strips, emit_pad
from .element import Element, Tail
from .ir import Builder, suffix
from .plan import KernelSource
from .target import Target
from .tile import TABLE, Operands, call_tile, sum_tile

PLACE = 2  # numbers of a vector of results: byte offset in the output, bits of the lanes to write


def source(dtype: str, target: Target, rows: int, vectors: int) -> KernelSource:
    """Kernel with tiles of rows x vectors of pixels; args: y, x, filter, bias, workspace."""
    key = f"conv_placed:{dtype}:{target.name}:{rows}x{vectors}"
    return KernelSource(key, lambda: _build(dtype, target, rows, vectors), "strips")


def _build(dtype: str, target: Target, rows: int, vectors: int) -> str:
    b = Builder(target)
    outer = Element(dtype, target)
    for width in range(1, vectors + 1):
        _emit_tile(b, outer, rows, width)
    emit_pad(b, outer)
    with b.kernel("strips"):
        _Placed(b, outer, rows, vectors).emit()
    return b.module()


# What `write_tile` reads.
WRITTEN = [
    ("i64", "%rows"),  # rows and columns that are outputs or margins between them
    ("i64", "%columns"),
    ("ptr", "%places"),
    ("ptr", "%y"),
    ("i64", "%y_row"),
    ("ptr", "%bias"),  # zeros without one
    ("i64", "%bias_row"),
    ("i1", "%relu"),
]
_TILE = [
    ("i64", "%depth"),
    ("ptr", "%a"),
    ("i64", "%a_row"),
    ("ptr", "%table"),
    ("ptr", "%b"),
    *WRITTEN,
]


def _emit_tile(b: Builder, outer: Element, rows: int, vectors: int) -> None:
    """Define `void tile{vectors}(_TILE)`: filters times pixels, written with their epilogue."""
    inner, lanes = outer.compute, outer.compute.lanes
    with b.function(f"tile{vectors}", _TILE, "internal", "noinline"):
        tail = inner.tail(b, b.sub("%columns", (vectors - 1) * lanes))
        cells = sum_tile(b, Operands(inner, inner, inner), rows, vectors, tail, TABLE)
        write_tile(b, outer, [inner.finish(b, cell) for cell in cells], vectors)


def write_tile(b: Builder, outer: Element, values: list[str], vectors: int) -> None:
    """Write a tile's sums, rows of `vectors`, where the function's arguments WRITTEN say."""
    lanes = outer.compute.lanes
    places = [_load_place(b, j, lanes) for j in range(vectors)]
    full = b.emit(f"icmp eq i64 {_common_lanes(b, places)}, {(1 << lanes) - 1}")
    b.choose(
        full,
        lambda: _write_places(b, outer, values, [(at, None) for at, _ in places]),
        lambda: _write_places(b, outer, values, places),
    )


def read_epilogue(
    b: Builder, d: SimpleNamespace, outer: Element, bias: str
) -> tuple[str, str, str]:
    """Where the bias is (zeros without one), the bytes from row to row, and i1: is there a relu?"""
    relu = b.emit(f"icmp ne i64 {d.relu}, 0")
    has_bias = b.emit(f"icmp ne i64 {d.has_bias}, 0")
    zero = b.global_constant(f"[{outer.size} x i8]", "zeroinitializer")
    bias_row = b.select(has_bias, "i64", str(outer.size), "0")
    return b.select(has_bias, "ptr", bias, zero), bias_row, relu


def _load_place(b: Builder, vector: int, lanes: int) -> tuple[str, str]:
    """Byte offset in the output and bits of the lanes to write."""
    entry = b.offset("%places", PLACE * vector, "i64")
    left = b.min(b.sub("%columns", vector * lanes), str(lanes))
    below = b.sub(b.emit(f"shl i64 1, {left}"), "1")
    bits = b.load("i64", b.offset(entry, 1, "i64"), 8)
    return b.load("i64", entry, 8), b.emit(f"and i64 {bits}, {below}")


def _common_lanes(b: Builder, places: Sequence[tuple[str, str]]) -> str:
    """Bits of the lanes that all vectors write."""
    found = places[0][1]
    for _, bits in places[1:]:
        found = b.emit(f"and i64 {found}, {bits}")
    return found


def _write_places(
    b: Builder, outer: Element, values: list[str], places: Sequence[tuple[str, str | None]]
) -> None:
    """Write a tile's sums with bias and activation; without bits, all lanes."""
    inner, vectors = outer.compute, len(places)
    ways = [_way(b, inner, bits) for _, bits in places]
    for r in range(len(values) // vectors):
        with b.when(b.less(str(r), "%rows")):
            bias = outer.broadcast(b, b.offset("%bias", b.mul(str(r), "%bias_row")))[0]
            y = b.offset("%y", b.mul(str(r), "%y_row"))
            for (at, _), way, value in zip(places, ways, values[r * vectors :], strict=False):
                value = inner.add(b, value, bias)
                value = b.select("%relu", inner.vector, inner.relu(b, value), value)
                if way is None:
                    outer.store(b, value, b.offset(y, at))
                else:
                    outer.store(b, _compress(b, inner, value, way[0]), b.offset(y, at), way[1])


def _way(b: Builder, inner: Element, bits: str | None) -> tuple[str, Tail] | None:
    """The lanes to keep, and the first lanes, as many."""
    if bits is None:
        return None
    lanes = inner.lanes
    narrow = b.emit(f"trunc i64 {bits} to i{lanes}")
    kept = b.intrinsic("llvm.ctpop.i64", "i64", ("i64", bits))
    return b.emit(f"bitcast i{lanes} {narrow} to <{lanes} x i1>"), inner.tail(b, kept)


def _compress(b: Builder, inner: Element, value: str, mask: str) -> str:
    return b.intrinsic(
        f"llvm.experimental.vector.compress.v{inner.lanes}{suffix(inner.part)}",
        inner.vector,
        (inner.vector, value),
        (f"<{inner.lanes} x i1>", mask),
        (inner.vector, "poison"),
    )


class _Placed(Strips):
    def run_job(self, at: SimpleNamespace, planes: str, job: str) -> None:
        """The only job there is: all filters of the task for each tile of pixels."""
        b, d, inner = self.b, self.d, self.inner
        table, steps = (b.size(b.add(d.job_at, k)) for k in range(2))
        columns = b.add(b.mul(b.sub(at.rows, 1), d.pitch), d.out_columns)
        filters = b.offset(self.filter, b.mul(at.group, d.w_group))
        y = b.add(b.mul(at.image, d.y_image), b.mul(at.group, d.y_group))
        line = b.mul(b.mul(at.row, d.y_width), self.outer.size)
        y = b.add(y, b.add(b.mul(at.slice, d.y_slice), line))
        bias, bias_row, relu = read_epilogue(b, d, self.outer, self.bias)
        bias = b.offset(bias, b.mul(b.mul(at.group, d.filters), bias_row))
        with (
            b.loop(at.m0, at.m1, self.rows) as i,
            b.loop("0", columns, self.vectors * inner.lanes) as j,
        ):
            panel = b.emit(f"udiv i64 {i.index}, {self.rows}")
            count = b.min(b.sub(columns, j.index), str(self.vectors * inner.lanes))
            used = b.emit(f"udiv i64 {b.add(count, inner.lanes - 1)}, {inner.lanes}")
            vector = b.emit(f"udiv i64 {j.index}, {inner.lanes}")
            places = b.offset("%desc", b.add(d.place_at, b.mul(vector, PLACE)), "i64")
            to = b.offset(self.y, b.add(y, b.mul(i.index, d.y_channel)))
            call_tile(
                b, "tile", self.vectors, used,
                f"i64 {steps}, ptr {b.offset(filters, b.mul(panel, d.w_panel))}, i64 {d.w_row}, "
                f"ptr {b.offset('%desc', table, 'i64')}, "
                f"ptr {b.offset(planes, b.mul(j.index, inner.size))}, "
                f"i64 {b.sub(d.filters, i.index)}, i64 {count}, ptr {places}, ptr {to}, "
                f"i64 {d.y_channel}, ptr {b.offset(bias, b.mul(i.index, bias_row))}, "
                f"i64 {bias_row}, i1 {relu}",
            )  # fmt: skip
