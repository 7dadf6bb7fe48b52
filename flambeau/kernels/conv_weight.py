"""Gradient of a convolution with respect to its filter.

A product over pixels: dw[tap, filter] = sum over pixels of x[pixel + tap] * dy[pixel, filter]. The
output's gradient is packed with filters side by side; the input is read in place, or from a copy
with its padding, one scalar for each tap and pixel. Chunks of pixels are shared out to a number
of parts fixed by the shapes, each with sums of its own, so that results do not depend on threads.
"""

from __future__ import annotations

from types import SimpleNamespace

from .conv_strip import emit_pad
from .element import Element, transpose
from .ir import Builder
from .pack import emit_pack
from .plan import Fields, KernelSource
from .target import Target
from .tile import ACCUMULATE, INDEXED, Operands, call_tile, emit_tile

# Distances in bytes. A chunk is some images, or a strip of output rows of one slice of one image.
CHUNK_FIELDS = (
    "x_image x_group x_channel x_slice in_depth in_height in_width"
    " channels depth_taps slice_of_output slice_of_tap slice_start"
    " stride_h pad_h pad_w in_place copy_rows copy_pitch"
    " y_image y_group y_channel y_slice out_rows out_columns"
    " images image_block groups depth strips strip_rows parts chunks"
)
FIELDS = Fields(
    CHUNK_FIELDS + " filters taps channel_block channel_tasks"
    " row_at pixel_at sums_at sums_row scratch_at scratch gradients"
)
SUM_FIELDS = Fields("filters steps groups parts sums_at sums_row k_tasks")


def sources(
    dtype: str, target: Target, rows: int, vectors: int
) -> tuple[KernelSource, KernelSource]:
    """Sums of the parts, with tiles of rows taps x vectors of filters; then their total.

    args: dw, x, dy, workspace.
    """
    key = f"conv_weight:{dtype}:{target.name}:{rows}x{vectors}"

    def build() -> str:
        return _build(dtype, target, rows, vectors)

    return KernelSource(key, build, "weight_parts"), KernelSource(key, build, "weight_total")


def _build(dtype: str, target: Target, rows: int, vectors: int) -> str:
    b = Builder(target)
    outer = Element(dtype, target)
    inner = outer.compute
    for width in range(1, vectors + 1):
        emit_tile(b, f"tile{width}", Operands(inner, inner, inner), rows, width, INDEXED)
    emit_pad(b, outer)
    emit_pack(b, "pack", outer)
    with b.kernel("weight_parts"):
        Parts(b, outer, rows, vectors, FIELDS).emit()
    with b.kernel("weight_total"):
        emit_total(b, outer)
    return b.module()


def decode_chunk(b: Builder, d: SimpleNamespace, chunk: str) -> SimpleNamespace:
    """Where a chunk begins, and its numbers of images and rows."""
    rest, strip = b.divide(chunk, d.strips)
    block, slice_ = b.divide(rest, d.depth)
    image = b.mul(block, d.image_block)
    row = b.mul(strip, d.strip_rows)
    return SimpleNamespace(
        image=image,
        count=b.min(d.image_block, b.sub(d.images, image)),
        slice=slice_,
        row=row,
        column="0",
        rows=b.min(d.strip_rows, b.sub(d.out_rows, row)),
        columns=d.out_columns,
    )


class Parts:
    """The kernel that sums; its desc starts with FIELDS."""

    def __init__(self, b: Builder, outer: Element, rows: int, vectors: int, fields: Fields) -> None:
        self.b, self.outer, self.inner = b, outer, outer.compute
        self.rows, self.vectors = rows, vectors
        self.d = d = fields.load(b)
        self.x, self.dy, workspace = (b.argument(k) for k in (1, 2, 3))
        self.sums = b.offset(workspace, d.sums_at)
        self.scratch = b.offset(workspace, b.add(d.scratch_at, b.mul("%thread", d.scratch)))
        self.gradients = b.offset(self.scratch, d.gradients)

    def emit(self) -> None:
        """Task: one part of the chunks, for some channels of one group."""
        b, d = self.b, self.d
        with b.loop("%begin", "%end") as task:
            rest, block = b.divide(task.index, d.channel_tasks)
            part, group = b.divide(rest, d.groups)
            first = b.emit(f"udiv i64 {b.mul(part, d.chunks)}, {d.parts}")
            last = b.emit(f"udiv i64 {b.mul(b.add(part, 1), d.chunks)}, {d.parts}")
            c0 = b.mul(block, d.channel_block)
            c1 = b.min(b.add(c0, d.channel_block), d.channels)
            sums_number = b.add(b.mul(part, d.groups), group)
            steps = b.mul(d.channels, d.taps)
            sums = b.offset(self.sums, b.mul(b.mul(sums_number, steps), d.sums_row))
            with b.loop(first, last) as chunk:
                later = b.emit(f"icmp ne i64 {chunk.index}, {first}")
                at = self._decode(chunk.index)
                at.group, at.c0, at.c1, at.sums = group, c0, c1, sums
                at.flags = b.select(later, "i64", str(ACCUMULATE), "0")
                self._run_chunk(at)

    def _decode(self, chunk: str) -> SimpleNamespace:
        return decode_chunk(self.b, self.d, chunk)

    def _run_chunk(self, at: SimpleNamespace) -> None:
        b, d = self.b, self.d
        at.x = b.offset(self.x, b.add(b.mul(at.image, d.x_image), b.mul(at.group, d.x_group)))
        in_place = b.emit(f"icmp ne i64 {d.in_place}, 0")
        base = b.choose(
            in_place, lambda: [self._in_place(at)], lambda: [self._copy_input(at)], ["ptr"]
        )[0]
        pixels = b.mul(b.mul(at.rows, at.columns), at.count)
        with b.loop("0", d.filters, self.vectors * self.inner.lanes) as j:
            width, used, panel = self._pack_gradient(at, j.index)
            steps = [b.mul(c, d.taps) for c in (at.c0, at.c1)]
            with b.loop(steps[0], steps[1], self.rows) as k:
                left = b.min(str(self.rows), b.sub(steps[1], k.index))
                self._tile(at, base, (k.index, j.index), left, (width, used, panel), pixels)

    def _in_place(self, at: SimpleNamespace) -> str:
        b, d = self.b, self.d
        slice_ = b.mul(b.mul(at.slice, d.slice_of_output), d.x_slice)
        row = b.mul(b.mul(b.mul(at.row, d.stride_h), d.in_width), self.outer.size)
        return b.offset(at.x, b.add(slice_, row))

    def _copy_input(self, at: SimpleNamespace) -> str:
        """Copy the channels of this task; where channel 0 would be."""
        b, d = self.b, self.d
        plane = b.mul(b.mul(d.copy_rows, d.copy_pitch), self.inner.size)
        planes = b.mul(b.sub(at.c1, at.c0), d.depth_taps)
        image_bytes = b.mul(plane, b.mul(d.channel_block, d.depth_taps))
        with b.loop("0", at.count) as image, b.loop("0", planes) as p:
            channel, tap = b.divide(p.index, d.depth_taps)
            number = b.add(b.mul(at.slice, d.slice_of_output), d.slice_start)
            number = b.add(number, b.mul(tap, d.slice_of_tap))
            inside = b.emit(f"icmp ult i64 {number}, {d.in_depth}")
            place = b.add(b.mul(b.add(channel, at.c0), d.x_channel), b.mul(number, d.x_slice))
            to = b.add(b.mul(image.index, image_bytes), b.mul(p.index, plane))
            self._copy_plane(at, image.index, place, inside, b.offset(self.scratch, to))
        skipped = b.mul(b.mul(at.c0, d.depth_taps), plane)
        return b.offset(self.scratch, b.sub("0", skipped))

    def _copy_plane(
        self, at: SimpleNamespace, number: str, place: str, inside: str, to: str
    ) -> None:
        """Copy a plane, `place` bytes from where its image starts; zeros if it is not inside."""
        b, d = self.b, self.d
        from_ = b.offset(at.x, b.add(place, b.mul(number, d.x_image)))
        first = b.sub(b.mul(at.row, d.stride_h), d.pad_h)
        b.do(
            f"call void @pad(ptr {to}, ptr {b.select(inside, 'ptr', from_, 'null')}, "
            f"i64 {d.copy_rows}, i64 {d.copy_pitch}, i64 {first}, i64 1, i64 {d.in_height}, "
            f"i64 {d.in_width}, i64 {b.sub('0', d.pad_w)}, i64 1, i64 0)"
        )

    def _pack_gradient(self, at: SimpleNamespace, j: str) -> tuple[str, str, str]:
        """Pack a panel of filters of this chunk; its width in columns and vectors, and place."""
        b, d, lanes = self.b, self.d, self.inner.lanes
        count = b.min(str(self.vectors * lanes), b.sub(d.filters, j))
        used = b.emit(f"udiv i64 {b.add(count, lanes - 1)}, {lanes}")
        width = b.mul(used, lanes)
        pixels = b.mul(at.rows, at.columns)
        base = b.add(b.mul(at.group, d.y_group), b.mul(at.slice, d.y_slice))
        base = b.add(base, b.mul(j, d.y_channel))
        image_bytes = b.mul(b.mul(pixels, width), self.inner.size)
        with b.loop("0", at.count) as image:
            to = b.offset(self.gradients, b.mul(image.index, image_bytes))
            self._pack_image(at, image.index, base, pixels, count, to, width)
        return width, used, self.gradients

    def _pack_image(
        self,
        at: SimpleNamespace,
        number: str,
        place: str,
        pixels: str,
        count: str,
        to: str,
        width: str,
    ) -> None:
        b, d = self.b, self.d
        from_ = self._gradients_from(b.add(at.image, number), (at.row, at.column), place)
        b.do(
            f"call void @pack(i64 {pixels}, ptr {from_}, i64 {self.outer.size}, "
            f"i64 {d.y_channel}, i64 {count}, ptr {to}, i64 {width})"
        )

    def _gradients_from(self, image: str, pixel: tuple[str, str], place: str) -> str:
        """Where an image's gradients start, from a row and column on, `place` bytes further."""
        b, d = self.b, self.d
        skipped = b.mul(b.add(b.mul(pixel[0], d.out_columns), pixel[1]), self.outer.size)
        return b.offset(self.dy, b.add(b.add(b.mul(image, d.y_image), skipped), place))

    def _tile(self, at, base, place, left, panel, pixels) -> None:
        b, d, inner = self.b, self.d, self.inner
        k, j = place
        width, used, gradients = panel
        rows = b.offset("%desc", b.add(d.row_at, k), "i64")
        table = b.offset("%desc", d.pixel_at, "i64")
        to = b.offset(at.sums, b.add(b.mul(k, d.sums_row), b.mul(j, inner.size)))
        step = b.mul(width, inner.size)
        call_tile(
            b, "tile", self.vectors, used,
            f"i64 {pixels}, ptr {base}, ptr {rows}, ptr {table}, ptr {gradients}, i64 {step}, "
            f"ptr {to}, i64 {d.sums_row}, i64 {left}, i64 {width}, i64 {at.flags}, ptr null",
        )  # fmt: skip


def emit_total(b: Builder, outer: Element) -> None:
    """Task: one run of `lanes` steps of one group: dw[filter, step] = total over parts."""
    d = SUM_FIELDS.load(b)
    lanes = outer.lanes
    dw, workspace = b.argument(0), b.argument(3)
    sums = b.offset(workspace, d.sums_at)
    block = b.mul(d.steps, d.sums_row)
    part = b.mul(block, d.groups)
    vectorised = not outer.complex and outer.width <= 16
    with b.loop("%begin", "%end") as task:
        group, run = b.divide(task.index, d.k_tasks)
        k0 = b.mul(run, lanes)
        count = b.min(str(lanes), b.sub(d.steps, k0))
        of_group = b.offset(sums, b.add(b.mul(group, block), b.mul(k0, d.sums_row)))
        to = b.mul(b.add(b.mul(b.mul(group, d.filters), d.steps), k0), outer.size)
        to = b.offset(dw, to)
        total = _total_square if vectorised else _total_by_element
        total(b, outer, d, (of_group, part), to, count)


def _total_square(b: Builder, outer: Element, d, sums, to: str, count: str) -> None:
    inner, lanes = outer.compute, outer.lanes
    start, part = sums
    last = b.sub(count, 1)
    tail = outer.tail(b, count)
    with b.loop("0", d.filters, lanes) as m:
        rows = []
        for r in range(lanes):
            at = b.offset(start, b.mul(b.min(str(r), last), d.sums_row))
            at = b.offset(at, b.mul(m.index, inner.size))
            with b.loop("0", d.parts, carry=[(inner.vector, inner.zero), ("ptr", at)]) as p:
                total, here = p.values
                p.next(inner.add(b, total, inner.load(b, here)), b.offset(here, part))
            rows.append(p.values[0])
        left = b.sub(d.filters, m.index)
        for r, row in enumerate(transpose(b, rows, inner.vector, lanes)):
            with b.when(b.less(str(r), left)):
                place = b.mul(b.mul(b.add(m.index, r), d.steps), outer.size)
                outer.store(b, row, b.offset(to, place), tail)


def _total_by_element(b: Builder, outer: Element, d, sums, to: str, count: str) -> None:
    inner = outer.compute
    start, part = sums
    zeros = [(inner.part, zero) for zero in inner.zero_parts()]
    with b.loop("0", d.filters) as m, b.loop("0", count) as k:
        at = b.offset(start, b.add(b.mul(k.index, d.sums_row), b.mul(m.index, inner.size)))
        with b.loop("0", d.parts, carry=[*zeros, ("ptr", at)]) as p:
            *total, here = p.values
            p.next(*inner.add_parts(b, total, inner.load_parts(b, here)), b.offset(here, part))
        place = b.mul(b.add(b.mul(m.index, d.steps), k.index), outer.size)
        outer.store_parts(b, p.values[: inner.cells], b.offset(to, place))
