"""Convolution that reads planes where they lie: masks stand for their margins.

Where outputs are as wide as inputs or less and no stride comes between, output pixel q, counted
along the rows of the input, meets input pixel q + d through a tap, d the same for all q. So a
vector of pixels is loaded from the plane itself, without a padded copy. Lanes that a tap would
take from the row before or the row behind, or from outside, are masked: they depend on tap and
vector only, and their bits are listed beforehand.
"""

from __future__ import annotations

from .conv_placed import PLACE, WRITTEN, read_epilogue, write_tile
from .element import Element, Tail
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target
from .tile import call_tile

# Distances in bytes.
FIELDS = Fields(
    "x_image x_group x_slice y_image y_group y_channel y_slice groups depth slice_of_output"
    " filters m_block m_tasks vectors v_block v_tasks columns steps w_group w_row"
    " has_bias relu table_at place_at mask_at"
)
STEP = 3  # numbers of a step of the sum: byte offsets in filter, input and masks
MASK = 2  # bytes of a vector's mask


def source(dtype: str, target: Target, rows: int, vectors: int) -> KernelSource:
    """Kernel with tiles of filters x vectors of pixels; args: y, x, filter, bias, workspace."""
    key = f"conv_masked:{dtype}:{target.name}:{rows}x{vectors}"
    return KernelSource(key, lambda: _build(dtype, target, rows, vectors), "planes")


def _build(dtype: str, target: Target, rows: int, vectors: int) -> str:
    b = Builder(target)
    element = Element(dtype, target)
    for width in range(1, vectors + 1):
        _emit_tile(b, element, rows, width)
    with b.kernel("planes"):
        _emit_tasks(b, element, rows, vectors)
    return b.module()


_TILE = [
    ("i64", "%depth"),
    ("ptr", "%a"),
    ("i64", "%a_row"),
    ("ptr", "%table"),
    ("ptr", "%x"),
    ("ptr", "%masks"),
    *WRITTEN,
]


def _emit_tile(b: Builder, e: Element, rows: int, vectors: int) -> None:
    """Define `void tile{vectors}(_TILE)`: filters times pixels, written with their epilogue."""
    with b.function(f"tile{vectors}", _TILE, "internal", "noinline"):
        write_tile(b, e, _sum(b, e, rows, vectors), vectors)


def _sum(b: Builder, e: Element, rows: int, vectors: int) -> list[str]:
    last = b.sub("%rows", "1")
    filters = [b.offset("%a", b.mul(b.min(str(r), last), "%a_row")) for r in range(rows)]
    with b.loop("0", "%depth", carry=[(e.vector, e.zero)] * (rows * vectors)) as step:
        entry = b.offset("%table", b.mul(step.index, 8 * STEP))
        a_at, x_at, mask_at = (b.load("i64", b.offset(entry, 8 * k), 8) for k in range(STEP))
        x, masks = b.offset("%x", x_at), b.offset("%masks", mask_at)
        pixels = [
            e.load(b, b.offset(x, j * e.target.vector_bytes), _mask(b, e, masks, j))
            for j in range(vectors)
        ]
        out: list[str] = []
        for r, start in enumerate(filters):
            factor = e.broadcast(b, b.offset(start, a_at))
            for j, value in enumerate(pixels):
                out += e.multiply_add(b, factor, value, [step.values[r * vectors + j]])
        step.next(*out)
    return step.values


def _mask(b: Builder, e: Element, masks: str, vector: int) -> Tail:
    bits = b.load(f"i{e.lanes}", b.offset(masks, vector * MASK), 1)
    return Tail(str(e.lanes), b.emit(f"bitcast i{e.lanes} {bits} to <{e.lanes} x i1>"))


def _emit_tasks(b: Builder, e: Element, rows: int, vectors: int) -> None:
    """Task: some filters of a group for some vectors of pixels of one slice of one image."""
    d = FIELDS.load(b)
    bias_from, bias_row, relu = read_epilogue(b, d, e, b.argument(3))
    with b.loop("%begin", "%end") as task:
        rest, block = b.divide(task.index, d.m_tasks)
        rest, part = b.divide(rest, d.v_tasks)
        rest, slice_ = b.divide(rest, d.depth)
        image, group = b.divide(rest, d.groups)
        x = b.add(b.mul(image, d.x_image), b.mul(group, d.x_group))
        x = b.add(x, b.mul(b.mul(slice_, d.slice_of_output), d.x_slice))
        y = b.add(b.mul(image, d.y_image), b.mul(group, d.y_group))
        y = b.offset(b.argument(0), b.add(y, b.mul(slice_, d.y_slice)))
        x = b.offset(b.argument(1), x)
        filters = b.offset(b.argument(2), b.mul(group, d.w_group))
        bias = b.offset(bias_from, b.mul(b.mul(group, d.filters), bias_row))
        m0, v0 = b.mul(block, d.m_block), b.mul(part, d.v_block)
        m1 = b.min(b.add(m0, d.m_block), d.filters)
        v1 = b.min(b.add(v0, d.v_block), d.vectors)
        with b.loop(m0, m1, rows) as i, b.loop(v0, v1, vectors) as v:
            used = b.min(b.sub(v1, v.index), str(vectors))
            start = b.mul(v.index, e.lanes)
            places = b.offset("%desc", b.add(d.place_at, b.mul(v.index, PLACE)), "i64")
            masks = b.offset(b.offset("%desc", d.mask_at, "i64"), b.mul(v.index, MASK))
            call_tile(
                b, "tile", vectors, used,
                f"i64 {d.steps}, ptr {b.offset(filters, b.mul(i.index, d.w_row))}, "
                f"i64 {d.w_row}, ptr {b.offset('%desc', d.table_at, 'i64')}, "
                f"ptr {b.offset(x, b.mul(start, e.size))}, ptr {masks}, "
                f"i64 {b.sub(d.filters, i.index)}, i64 {b.sub(d.columns, start)}, ptr {places}, "
                f"ptr {b.offset(y, b.mul(i.index, d.y_channel))}, i64 {d.y_channel}, "
                f"ptr {b.offset(bias, b.mul(i.index, bias_row))}, i64 {bias_row}, i1 {relu}",
            )  # fmt: skip
