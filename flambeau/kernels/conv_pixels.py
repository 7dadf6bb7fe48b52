"""Convolution with filters along vectors: each step is a vector of filters times broadcast pixels.

Where filters fill whole vectors this wastes nothing on the margins of rows and needs no
separation of the phases of a stride: a tile is some columns of some rows of outputs, its pixels
read one by one from the input in place, or from a copy with its padding. Sums are kept as
[pixel][filter] and transposed on the way out. Where outputs have a stride (the gradient with
respect to the input of a strided convolution), each of its phases is a job with taps of its own;
the sums of the phases of a row are interleaved when they are written.
"""

from __future__ import annotations

from types import SimpleNamespace

from .bfloat_pairs import FEATURE, Pairs, PairSums
from .conv_pairs import copy_pairs, emit_filter_pairs, emit_pad_pairs
from .conv_strip import emit_pad
from .conv_weight_dot import copy_planes
from .element import Element, transpose
from .ir import Builder
from .pack import emit_pack
from .plan import Fields, KernelSource
from .target import Target
from .tile import call_tile

# Distances in bytes; sizes of copies in elements.
FIELDS = Fields(
    "x_image x_group x_channel x_slice in_depth in_height in_width"
    " channels depth_taps slice_of_output slice_of_tap slice_start"
    " stride_h pad_h pad_w in_place copy_rows copy_pitch"
    " filters m_block m_tasks groups depth strips sides strip_rows strip_columns"
    " out_rows out_columns row_step steps job_at skips downs lines line y_line line_pixels y_height"
    " w_group y_image y_group y_channel y_slice has_bias relu"
    " scratch_at scratch sums phase_sums"
)
# Numbers per job: where its table of steps starts in desc, its first step, where its ranges start:
# for each row of outputs, or for all, the first step that meets the input and the end of those.
JOB = 3
# Filters are packed as [group][panel][step][filter]; a step is (block, depth). After these, desc
# holds the byte offset in the filter of each block.
PACK_FIELDS = Fields("filters panels blocks depth w_group w_step w_filter group_bytes")


def sources(
    dtype: str,
    target: Target,
    tile: tuple[int, int, int],
    stride: int,
    across: int,
    pairs: bool = False,
) -> tuple[KernelSource, KernelSource]:
    """Packing of the filters, and the convolution with tiles of (rows, columns, vectors).

    `stride` is that of the input's columns, `across` that of the output's, a divisor of a vector's
    lanes; `pairs`: bfloat16 channels are multiplied two at a time. args: y, x, filter, bias,
    workspace, distance.
    """
    rows, columns, vectors = tile
    key = f"conv_pixels:{dtype}:{target.name}:{rows}x{columns}x{vectors}:{stride}:{across}"
    key += ":pairs" * pairs

    def build() -> str:
        if pairs:
            return _build_pairs(target, tile, stride, across)
        return _build(dtype, target, tile, stride, across)

    return KernelSource(key, build, "pack_filters"), KernelSource(key, build, "pixels")


def _build(dtype: str, target: Target, tile: tuple[int, int, int], stride: int, across: int) -> str:
    rows, columns, vectors = tile
    b = Builder(target)
    outer = Element(dtype, target)
    for width in range(1, vectors + 1):
        _emit_tile(b, outer.compute, outer.compute, (rows, columns, width), stride)
    emit_pad(b, outer)
    emit_pack(b, "pack", outer, shared=True)
    with b.kernel("pack_filters"):
        _emit_packing(b, outer, vectors)
    with b.kernel("pixels"):
        _Pixels(b, outer, tile, stride, across).emit()
    return b.module()


def _build_pairs(target: Target, tile: tuple[int, int, int], stride: int, across: int) -> str:
    rows, columns, vectors = tile
    b = Builder(target, FEATURE)
    for width in range(1, vectors + 1):
        _emit_tile(b, Pairs(target), PairSums(target), (rows, columns, width), stride)
    emit_pad_pairs(b)
    with b.kernel("pack_filters"):
        emit_filter_pairs(b)
    with b.kernel("pixels"):
        _PixelPairs(b, Element("bf16", target), tile, stride, across).emit()
    return b.module()


def _emit_packing(b: Builder, outer: Element, vectors: int) -> None:
    """Task: one panel of filters of one group."""
    d = PACK_FIELDS.load(b)
    inner, columns = outer.compute, vectors * outer.lanes
    filters, workspace, far = b.argument(2), b.argument(4), b.load("i64", b.argument(5), 8)
    with b.loop("%begin", "%end") as task:
        group, panel = b.divide(task.index, d.panels)
        j = b.mul(panel, columns)
        count = b.min(str(columns), b.sub(d.filters, j))
        width = _round_to_vectors(b, outer, count)[1]
        from_ = b.offset(filters, b.add(b.mul(group, d.w_group), b.mul(j, d.w_filter)))
        steps = b.mul(d.blocks, d.depth)
        to = b.add(b.mul(group, d.group_bytes), b.mul(b.mul(j, steps), inner.size))
        to = b.offset(workspace, to)
        size = b.mul(b.mul(d.depth, width), inner.size)
        with b.loop("0", d.blocks) as block:
            start = b.size(b.add(block.index, len(PACK_FIELDS.names)))
            b.do(
                f"call void @pack(i64 {d.depth}, ptr {b.offset(from_, start)}, i64 {d.w_step}, "
                f"i64 {d.w_filter}, i64 {count}, ptr {b.offset(to, b.mul(block.index, size))}, "
                f"i64 {width}, i64 {far})"
            )
    b.fence()


def _round_to_vectors(b: Builder, e: Element, count: str) -> tuple[str, str]:
    """Vectors that hold `count` elements, and the elements they have room for."""
    used = b.emit(f"udiv i64 {b.add(count, e.lanes - 1)}, {e.lanes}")
    return used, b.mul(used, e.lanes)


_TILE = [
    ("i64", "%steps"),
    ("ptr", "%table"),  # byte offset in x of each step
    ("ptr", "%x"),
    ("i64", "%row"),  # bytes from one row of pixels to the next
    ("ptr", "%filters"),
    ("ptr", "%sums"),
    ("i64", "%sums_row"),
]


def _emit_tile(b: Builder, a: Element, e: Element, tile: tuple[int, int, int], stride: int) -> None:
    """Define `void tile{vectors}(_TILE)`: sums[pixel][filter] of a tile; a: what is multiplied."""
    rows, columns, vectors = tile
    with b.function(f"tile{vectors}", _TILE, "internal", "noinline"):
        lines = [b.offset("%x", b.mul(str(r), "%row")) for r in range(rows)]
        count = rows * columns * vectors
        step_bytes = vectors * e.target.vector_bytes
        carry = [(e.vector, e.zero)] * count + [("ptr", "%filters")]
        with b.loop("0", "%steps", carry=carry) as step:
            *sums, at = step.values
            place = b.load("i64", b.offset("%table", step.index, "i64"), 8)
            filters = [a.load(b, b.offset(at, v * e.target.vector_bytes)) for v in range(vectors)]
            out = []
            for r, line in enumerate(lines):
                start = b.offset(line, place)
                for c in range(columns):
                    pixel = a.broadcast(b, b.offset(start, c * stride * a.size))
                    first = (r * columns + c) * vectors
                    for v, filter_ in enumerate(filters):
                        out += e.multiply_add(b, pixel, filter_, [sums[first + v]])
            step.next(*out, b.offset(at, step_bytes))
        for r in range(rows):
            to = b.offset("%sums", b.mul(str(r), "%sums_row"))
            for k in range(columns * vectors):
                value = step.values[r * columns * vectors + k]
                b.store(e.vector, value, b.offset(to, k * e.target.vector_bytes), 64)


class _Pixels:
    def __init__(
        self, b: Builder, outer: Element, tile: tuple[int, int, int], stride: int, across: int
    ) -> None:
        self.b, self.outer, self.inner = b, outer, outer.compute
        self.rows, self.columns, self.vectors = tile
        self.stride, self.across = stride, across
        self.d = d = FIELDS.load(b)
        self.y, self.x, self.bias, self.filters = (b.argument(k) for k in (0, 1, 3, 4))
        self.scratch = b.offset(self.filters, b.add(d.scratch_at, b.mul("%thread", d.scratch)))
        self.sums = b.offset(self.scratch, d.sums)

    def emit(self) -> None:
        """Task: some filters for a strip of rows of one slice of one image."""
        b, d = self.b, self.d
        columns = self.vectors * self.inner.lanes
        with b.loop("%begin", "%end") as task:
            at = self._decode(task.index)
            in_place = b.emit(f"icmp ne i64 {d.in_place}, 0")
            base = b.choose(
                in_place, lambda: [self._in_place(at)], lambda: [self._copy(at)], ["ptr"]
            )[0]
            with b.loop(at.m0, at.m1, columns) as j:
                left = b.sub(d.filters, j.index)
                used, width = _round_to_vectors(b, self.inner, b.min(str(columns), left))
                offset = b.mul(b.mul(j.index, d.steps), self.inner.size)
                filters = b.offset(self.filters, b.add(b.mul(at.group, d.w_group), offset))
                pixel_bytes = b.mul(width, self.inner.size)
                with b.loop("0", d.downs) as down:
                    for k in range(self.across):
                        job = b.add(b.mul(down.index, self.across), k)
                        self._tiles(at, base, filters, used, pixel_bytes, job, k)
                    self._write(at, j.index, used, pixel_bytes, down.index)

    def _decode(self, task: str) -> SimpleNamespace:
        b, d = self.b, self.d
        rest, block = b.divide(task, d.m_tasks)
        rest, side = b.divide(rest, d.sides)
        rest, strip = b.divide(rest, d.strips)
        rest, slice_ = b.divide(rest, d.depth)
        image, group = b.divide(rest, d.groups)
        row, column = b.mul(strip, d.strip_rows), b.mul(side, d.strip_columns)
        m0 = b.mul(block, d.m_block)
        # The last strips overlap those before them, so that all have the same size.
        row = b.min(row, b.sub(d.out_rows, d.strip_rows))
        column = b.min(column, b.sub(d.out_columns, d.strip_columns))
        return SimpleNamespace(
            image=image,
            group=group,
            slice=slice_,
            row=row,
            column=column,
            count="1",
            m0=m0,
            m1=b.min(b.add(m0, d.m_block), d.filters),
            x=b.offset(self.x, b.add(b.mul(image, d.x_image), b.mul(group, d.x_group))),
        )

    def _in_place(self, at: SimpleNamespace) -> str:
        b, d = self.b, self.d
        slice_ = b.mul(b.mul(at.slice, d.slice_of_output), d.x_slice)
        pixel = b.mul(b.mul(at.row, d.stride_h), d.in_width)
        pixel = b.add(pixel, b.mul(at.column, self.stride))
        return b.offset(at.x, b.add(slice_, b.mul(pixel, self.outer.size)))

    def _copy(self, at: SimpleNamespace) -> str:
        copy_planes(self.b, self._margins(at), at, at.x, self.scratch, self.inner.size)
        return self.scratch

    def _margins(self, at: SimpleNamespace) -> SimpleNamespace:
        """The desc as the strip sees it: its first column lies as far from the input's as this."""
        left = self.b.sub(self.d.pad_w, self.b.mul(at.column, self.stride))
        return SimpleNamespace(**{**vars(self.d), "pad_w": left})

    def _tiles(
        self,
        at: SimpleNamespace,
        base: str,
        filters: str,
        used: str,
        pixel_bytes: str,
        job: str,
        phase: int,
    ) -> None:
        """Sums of all pixels of the strip for one panel of filters; edge tiles overlap."""
        b, d = self.b, self.d
        entry = b.add(d.job_at, b.mul(job, JOB))
        table_at, first, range_at = (b.size(b.add(entry, k)) for k in range(JOB))
        table = b.offset("%desc", table_at, "i64")
        filters = b.offset(filters, b.mul(first, pixel_bytes))
        sums = b.offset(self.sums, b.mul(str(phase), d.phase_sums))
        sums_row = b.mul(d.strip_columns, pixel_bytes)
        with (
            b.loop("0", d.strip_rows, self.rows) as r,
            b.loop("0", d.strip_columns, self.columns) as c,
        ):
            row = b.min(r.index, b.sub(d.strip_rows, self.rows))
            column = b.min(c.index, b.sub(d.strip_columns, self.columns))
            x = b.add(b.mul(row, d.row_step), b.mul(column, self.stride * self.inner.size))
            to = b.add(b.mul(row, sums_row), b.mul(column, pixel_bytes))
            # What lies above the input is less the lower a row, what lies below it more.
            rows = [b.add(b.add(at.row, row), k) for k in (self.rows - 1, 0)]
            ranges = [b.add(range_at, b.mul(b.mul(k, d.skips), 2)) for k in rows]
            begin, end = b.size(ranges[0]), b.size(b.add(ranges[1], 1))
            call_tile(
                b, "tile", self.vectors, used,
                f"i64 {b.sub(end, begin)}, ptr {b.offset(table, begin, 'i64')}, "
                f"ptr {b.offset(base, x)}, i64 {d.row_step}, "
                f"ptr {b.offset(filters, b.mul(begin, pixel_bytes))}, "
                f"ptr {b.offset(sums, to)}, i64 {sums_row}",
            )  # fmt: skip

    def _write(self, at: SimpleNamespace, j: str, used: str, pixel_bytes: str, down: str) -> None:
        """Transpose squares of pixels x filters to the output, with bias and activation.

        A line is a row of outputs, or all rows of the strip where they lie side by side.
        """
        b, d, lanes = self.b, self.d, self.inner.lanes
        base = b.add(b.mul(at.image, d.y_image), b.mul(at.group, d.y_group))
        row = b.add(b.mul(at.row, d.downs), down)
        base = b.add(base, b.mul(at.column, self.outer.size))  # no stride where rows are cut
        base = b.offset(
            self.y, b.add(b.add(base, b.mul(at.slice, d.y_slice)), b.mul(row, d.y_line))
        )
        with b.loop("0", used) as v:
            first = b.add(j, b.mul(v.index, lanes))
            count = b.sub(d.filters, first)
            number = b.add(b.mul(at.group, d.filters), first)
            bias = self._bias(number, count)
            from_ = b.offset(self.sums, b.mul(v.index, self.inner.target.vector_bytes))
            to = b.offset(base, b.mul(first, d.y_channel))
            with b.loop("0", d.lines) as line:
                skipped = b.mul(line.index, d.downs)
                with b.when(b.less(b.add(row, skipped), d.y_height)):
                    pixels = b.mul(b.mul(line.index, d.line_pixels), pixel_bytes)
                    place = b.offset(to, b.mul(skipped, d.y_line))
                    self._write_line(b.offset(from_, pixels), place, pixel_bytes, bias, count)

    def _write_line(self, from_: str, to: str, pixel_bytes: str, bias: str, count: str) -> None:
        b, d, lanes, across = self.b, self.d, self.inner.lanes, self.across
        phases = [b.offset(from_, b.mul(str(k), d.phase_sums)) for k in range(across)]
        with b.loop("0", d.line, lanes) as p:
            pixel = b.emit(f"udiv i64 {p.index}, {across}")
            rows = []
            for r in range(lanes):
                offset = b.mul(b.add(pixel, r // across), pixel_bytes)
                value = b.load(self.inner.vector, b.offset(phases[r % across], offset), 64)
                rows.append(self._finish(value, bias))
            tail = self.outer.tail(b, b.sub(d.line, p.index))
            place = b.offset(to, b.mul(p.index, self.outer.size))
            turned = transpose(b, rows, self.inner.vector, lanes)
            for r, value in enumerate(turned):
                with b.when(b.less(str(r), count)):
                    at_filter = b.offset(place, b.mul(str(r), d.y_channel))
                    self.outer.store(b, value, at_filter, tail)

    def _bias(self, number: str, count: str) -> str:
        """One vector of biases, zeros without one."""
        b, outer = self.b, self.outer
        has_bias = b.emit(f"icmp ne i64 {self.d.has_bias}, 0")
        at = b.offset(self.bias, b.mul(number, outer.size))
        return b.choose(
            has_bias,
            lambda: [outer.load(b, at, outer.tail(b, count))],
            lambda: [self.inner.zero],
            [self.inner.vector],
        )[0]

    def _finish(self, value: str, bias: str) -> str:
        b, inner = self.b, self.inner
        value = inner.add(b, value, bias)
        relu = b.emit(f"icmp ne i64 {self.d.relu}, 0")
        return b.select(relu, inner.vector, inner.relu(b, value), value)


class _PixelPairs(_Pixels):
    """The same for pairs of bfloat16 channels: all that differs is the copy of the input."""

    def _copy(self, at: SimpleNamespace) -> str:
        copy_pairs(self.b, self._margins(at), at, at.x, self.scratch)
        return self.scratch
