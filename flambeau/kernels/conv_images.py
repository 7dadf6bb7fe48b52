"""Convolution with images along vectors: each step is a scalar of the filter times some pixels.

Where few channels meet few filters on small planes, neither fills vectors: rows end in the middle
of one, and margins of zeros are multiplied. Images of a batch are alike, so they become the lanes:
the input is copied as [channel][row][column][image]. Only columns get a margin; rows of the filter
that meet none of the input are left out, output row by output row.
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element, transpose
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target
from .tile import TABLE, Operands, call_tile, emit_tile

# Distances in bytes. A strip's workspace is planes[channel][row][column][image], then results
# [filter][pixel][image].
FIELDS = Fields(
    "images x_image x_group x_channel y_image y_group y_channel groups channels filters"
    " strips strip_rows out_rows out_columns in_height in_width first_row row_bytes plane"
    " margins margin_at tiles tile_at range_at pixel_at"
    " w_argument w_group w_row w_panel has_bias relu scratch_at scratch results result_row"
)
TILE = 3  # numbers of a tile of columns: its first, where its table starts, steps a filter row
RANGE = 2  # numbers of an output row: first and end of the filter rows that meet the input
MARGIN = 2  # numbers of a run of columns of zeros: byte offset in a row, length in bytes


def source(dtype: str, target: Target, rows: int, vectors: int) -> KernelSource:
    """Kernel with tiles of filters x pixels; args: y, x, filter, bias, workspace."""
    key = f"conv_images:{dtype}:{target.name}:{rows}x{vectors}"
    return KernelSource(key, lambda: _build(dtype, target, rows, vectors), "images")


def _build(dtype: str, target: Target, rows: int, vectors: int) -> str:
    b = Builder(target)
    outer = Element(dtype, target)
    inner = outer.compute
    for width in range(1, vectors + 1):
        emit_tile(b, f"tile{width}", Operands(inner, inner, inner), rows, width, TABLE)
    with b.kernel("images"):
        _Images(b, outer, rows, vectors).emit()
    return b.module()


class _Images:
    def __init__(self, b: Builder, outer: Element, rows: int, vectors: int) -> None:
        self.b, self.outer, self.inner = b, outer, outer.compute
        self.rows, self.vectors, self.lanes = rows, vectors, outer.lanes
        self.vector_bytes = outer.target.vector_bytes
        self.d = d = FIELDS.load(b)
        self.y, self.x, self.bias, workspace = (b.argument(k) for k in (0, 1, 3, 4))
        self.filter = b.argument(d.w_argument)
        self.planes = b.offset(workspace, b.add(d.scratch_at, b.mul("%thread", d.scratch)))
        self.results = b.offset(self.planes, d.results)

    def emit(self) -> None:
        """Task: some rows of outputs of one group, for a vector of images."""
        b, d = self.b, self.d
        with b.loop("%begin", "%end") as task:
            rest, strip = b.divide(task.index, d.strips)
            block, group = b.divide(rest, d.groups)
            image, row = b.mul(block, self.lanes), b.mul(strip, d.strip_rows)
            at = SimpleNamespace(
                image=image,
                count=b.min(str(self.lanes), b.sub(d.images, image)),
                group=group,
                row=row,
                end=b.min(b.add(row, d.strip_rows), d.out_rows),
                top=b.add(row, d.first_row),
            )
            self._turn_input(at)
            with b.loop(at.row, at.end) as y:
                self._sum_row(at, y.index)
            self._turn_output(at)

    def _turn_input(self, at: SimpleNamespace) -> None:
        """Planes of the rows that exist, 16 images of a pixel side by side, and their margins."""
        b, d = self.b, self.d
        first = b.max("0", at.top)
        last = b.add(at.top, b.emit(f"udiv i64 {d.plane}, {d.row_bytes}"))
        last = b.max(first, b.min(d.in_height, last))
        pixels = (b.mul(first, d.in_width), b.mul(last, d.in_width))
        places = b.offset("%desc", d.pixel_at, "i64")
        x = b.offset(self.x, b.add(b.mul(at.image, d.x_image), b.mul(at.group, d.x_group)))
        images = self._steps_to_images(at.count, d.x_image)
        start = b.offset(self.planes, b.mul(b.sub("0", at.top), d.row_bytes))
        with b.loop("0", d.channels) as c:
            channel = b.offset(x, b.mul(c.index, d.x_channel))
            to = b.offset(start, b.mul(c.index, d.plane))
            with b.loop(pixels[0], pixels[1], self.lanes) as p:
                self._turn_pixels(channel, images, p.index, pixels[1], places, to)
            with b.loop(first, last) as row:
                line = b.offset(to, b.mul(row.index, d.row_bytes))
                self._clear_margins(line)

    def _steps_to_images(self, count: str, step: str) -> list[str]:
        """Distances of the images of a vector; those beyond the last are the last again."""
        b, last = self.b, self.b.sub(count, 1)
        return [b.mul(b.min(str(n), last), step) for n in range(self.lanes)]

    def _turn_pixels(
        self, channel: str, images: list[str], pixel: str, end: str, places: str, to: str
    ) -> None:
        b, inner = self.b, self.inner
        tail = self.outer.tail(b, b.sub(end, pixel))
        from_ = b.offset(channel, b.mul(pixel, self.outer.size))
        rows = [self.outer.load(b, b.offset(from_, step), tail) for step in images]
        for n, value in enumerate(transpose(b, rows, inner.vector, self.lanes)):
            number = b.min(b.add(pixel, n), b.sub(end, 1))
            with b.when(b.less(b.add(pixel, n), end)):
                place = b.load("i64", b.offset(places, number, "i64"), 8)
                b.store(inner.vector, value, b.offset(to, place), 64)

    def _clear_margins(self, line: str) -> None:
        b, d = self.b, self.d
        with b.loop("0", d.margins) as m:
            entry = b.add(d.margin_at, b.mul(m.index, MARGIN))
            to = b.offset(line, b.size(entry))
            with b.loop("0", b.size(b.add(entry, 1)), self.vector_bytes) as at:
                b.store(self.inner.vector, self.inner.zero, b.offset(to, at.index), 64)

    def _sum_row(self, at: SimpleNamespace, y: str) -> None:
        """All filters' results of one row of outputs."""
        b, d = self.b, self.d
        entry = b.add(d.range_at, b.mul(y, RANGE))
        first, end = b.size(entry), b.size(b.add(entry, 1))
        down = b.sub(y, at.row)
        line = b.offset(self.planes, b.mul(down, d.row_bytes))
        pixel = b.mul(down, d.out_columns)
        filters = b.offset(self.filter, b.mul(at.group, d.w_group))
        with b.loop("0", d.tiles) as tile, b.loop("0", d.filters, self.rows) as m:
            entry = b.add(d.tile_at, b.mul(tile.index, TILE))
            column, table_at, steps = (b.size(b.add(entry, k)) for k in range(TILE))
            used = b.min(str(self.vectors), b.sub(d.out_columns, column))
            skipped = b.mul(first, steps)
            table = b.offset("%desc", b.add(table_at, b.mul(skipped, 2)), "i64")
            panel = b.emit(f"udiv i64 {m.index}, {self.rows}")
            to = b.mul(b.add(pixel, column), self.vector_bytes)
            to = b.offset(self.results, b.add(b.mul(m.index, d.result_row), to))
            call_tile(
                b, "tile", self.vectors, used,
                f"i64 {b.mul(b.sub(end, first), steps)}, "
                f"ptr {b.offset(filters, b.mul(panel, d.w_panel))}, i64 {d.w_row}, ptr {table}, "
                f"ptr {b.offset(line, b.mul(column, self.vector_bytes))}, i64 0, ptr {to}, "
                f"i64 {d.result_row}, i64 {b.min(str(self.rows), b.sub(d.filters, m.index))}, "
                f"i64 {b.mul(used, self.lanes)}, i64 0, ptr null",
            )  # fmt: skip

    def _turn_output(self, at: SimpleNamespace) -> None:
        """Results to their images, with bias and activation."""
        b, d, lanes = self.b, self.d, self.lanes
        y = b.offset(self.y, b.add(b.mul(at.image, d.y_image), b.mul(at.group, d.y_group)))
        y = b.offset(y, b.mul(b.mul(at.row, d.out_columns), self.outer.size))
        images = self._steps_to_images(at.count, d.y_image)
        pixels = b.mul(b.sub(at.end, at.row), d.out_columns)
        with b.loop("0", d.filters) as m:
            bias = self._bias(b.add(b.mul(at.group, d.filters), m.index))
            from_ = b.offset(self.results, b.mul(m.index, d.result_row))
            to = b.offset(y, b.mul(m.index, d.y_channel))
            with b.loop("0", pixels, lanes) as p:
                here = b.offset(from_, b.mul(p.index, self.vector_bytes))
                rows = [
                    self._finish(b.load(self.inner.vector, b.offset(here, step), 64), bias)
                    for step in range(0, lanes * self.vector_bytes, self.vector_bytes)
                ]
                tail = self.outer.tail(b, b.sub(pixels, p.index))
                place = b.offset(to, b.mul(p.index, self.outer.size))
                for n, value in enumerate(transpose(b, rows, self.inner.vector, lanes)):
                    with b.when(b.less(str(n), at.count)):
                        self.outer.store(b, value, b.offset(place, images[n]), tail)

    def _bias(self, number: str) -> str:
        b, outer = self.b, self.outer
        zero = b.global_constant(f"[{outer.size} x i8]", "zeroinitializer")
        has_bias = b.emit(f"icmp ne i64 {self.d.has_bias}, 0")
        at = b.offset(self.bias, b.mul(number, outer.size))
        return outer.broadcast(b, b.select(has_bias, "ptr", at, zero))[0]

    def _finish(self, value: str, bias: str) -> str:
        b, inner = self.b, self.inner
        value = inner.add(b, value, bias)
        relu = b.emit(f"icmp ne i64 {self.d.relu}, 0")
        return b.select(relu, inner.vector, inner.relu(b, value), value)
