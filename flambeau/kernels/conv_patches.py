"""Convolution of few pixels with many filters: dot products of patches and filters.

Where the filters outweigh the pixels they meet, to pack them costs more than to multiply them.
Here they are read as they lie, once, in vectors along the steps of their sums, (channel, tap). What
each pixel meets is gathered into a row in the same order: its patch. A tile is some filters times
some patches, each a vector of partial sums that is added across at the end of a run of steps.
"""

from __future__ import annotations

from types import SimpleNamespace

from .conv_strip import emit_pad
from .conv_weight_dot import copy_planes
from .element import Element, transpose_sum
from .gemm_dot import sum_products
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target

PIXELS = 4  # of a tile

# Distances in bytes; sizes of copies in elements. A patch is a row of the workspace.
PATCH_FIELDS = Fields(
    "x_image x_group x_channel x_slice in_depth in_height in_width"
    " channels depth_taps slice_of_output slice_of_tap slice_start"
    " stride_h pad_h pad_w in_place copy_rows copy_pitch"
    " groups depth blocks block_channels block_bytes taps out_rows out_columns row_step column_step"
    " table_at patch patch_group scratch_at scratch"
)
DOT_FIELDS = Fields(
    "pixels image_pixels filters blocks block steps run w_group w_row patch patch_group"
    " y_image y_group y_channel has_bias relu scratch_at scratch sums_row"
)


def tile_filters(target: Target) -> int:
    """Filters of a tile, by the registers."""
    return 6 if target.name in ("avx512", "neon") else 3


def sources(dtype: str, target: Target) -> tuple[KernelSource, KernelSource]:
    """Patches, then dot products; args: y, x, filter, bias or null, workspace."""
    key = f"conv_patches:{dtype}:{target.name}"

    def build() -> str:
        return _build(dtype, target)

    return KernelSource(key, build, "patches"), KernelSource(key, build, "dots")


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    element = Element(dtype, target)
    emit_pad(b, element)
    _emit_tile(b, element)
    with b.kernel("patches"):
        _Patches(b, element).emit()
    with b.kernel("dots"):
        _Dots(b, element).emit()
    return b.module()


class _Patches:
    def __init__(self, b: Builder, element: Element) -> None:
        self.b, self.element = b, element
        self.d = d = PATCH_FIELDS.load(b)
        self.workspace = b.argument(4)
        self.scratch = b.offset(self.workspace, b.add(d.scratch_at, b.mul("%thread", d.scratch)))
        self.table = b.offset("%desc", d.table_at, "i64")

    def emit(self) -> None:
        """Task: what the pixels of one slice of one image meet of some channels of a group."""
        b, d = self.b, self.d
        with b.loop("%begin", "%end") as task:
            rest, block = b.divide(task.index, d.blocks)
            plane, group = b.divide(rest, d.groups)
            image, slice_ = b.divide(plane, d.depth)
            first = b.mul(block, d.block_channels)
            x = b.add(b.mul(image, d.x_image), b.mul(group, d.x_group))
            x = b.offset(b.argument(1), b.add(x, b.mul(first, d.x_channel)))
            channels = b.min(d.block_channels, b.sub(d.channels, first))
            at = SimpleNamespace(image=image, slice=slice_, row="0", count="1", x=x)
            in_place = b.emit(f"icmp ne i64 {d.in_place}, 0")
            base = b.choose(
                in_place,
                lambda at=at: [self._in_place(at)],
                lambda at=at, channels=channels: [self._copy(at, channels)],
                ["ptr"],
            )[0]
            pixel = b.mul(b.mul(plane, d.out_rows), d.out_columns)
            to = b.add(b.mul(group, d.patch_group), b.mul(pixel, d.patch))
            to = b.offset(self.workspace, b.add(to, b.mul(block, d.block_bytes)))
            self._gather(base, b.mul(channels, d.taps), to)

    def _in_place(self, at: SimpleNamespace) -> str:
        b, d = self.b, self.d
        return b.offset(at.x, b.mul(b.mul(at.slice, d.slice_of_output), d.x_slice))

    def _copy(self, at: SimpleNamespace, channels: str) -> str:
        d = SimpleNamespace(**{**vars(self.d), "channels": channels})
        copy_planes(self.b, d, at, at.x, self.scratch, self.element.size)
        return self.scratch

    def _gather(self, base: str, steps: str, to: str) -> None:
        """A vector of steps of all pixels, then the next."""
        b, d, e = self.b, self.d, self.element
        with b.loop("0", steps, e.lanes) as k:
            numbers = self._numbers(k.index)
            tail = e.tail(b, b.sub(steps, k.index))
            start = b.offset(to, b.mul(k.index, e.size))
            with b.loop("0", d.out_rows) as row, b.loop("0", d.out_columns) as column:
                from_ = b.add(b.mul(row.index, d.row_step), b.mul(column.index, d.column_step))
                pixel = b.add(b.mul(row.index, d.out_columns), column.index)
                value = e.gather(b, b.offset(base, from_), numbers, str(tail.mask))
                e.store(b, value, b.offset(start, b.mul(pixel, d.patch)), tail)

    def _numbers(self, step: str) -> str:
        b, lanes = self.b, self.element.lanes
        wide = b.load(f"<{lanes} x i64>", b.offset(self.table, step, "i64"), 8)
        return b.emit(f"trunc <{lanes} x i64> {wide} to <{lanes} x i32>")


_TILE = [
    ("i64", "%depth"),
    ("ptr", "%filters"),
    ("i64", "%row"),  # bytes from one filter to the next
    ("i64", "%rows"),  # filters that exist: others are the last again
    ("ptr", "%patches"),
    ("i64", "%patch"),
    ("i64", "%columns"),  # patches that exist
    ("ptr", "%sums"),
    ("i64", "%sums_row"),
    ("i1", "%later"),  # add to the sums
    ("i64", "%ahead"),  # bytes to the filters that come next, which are asked of memory early
]


def _emit_tile(b: Builder, e: Element) -> None:
    """Define `void tile(_TILE)`: sums[filter][pixel] of a run of steps, whole tiles of them."""
    count = tile_filters(e.target)
    part = f"<{PIXELS} x {e.part}>"
    with b.function("tile", _TILE, "internal", "noinline"):
        filters = _rows(b, "%filters", "%row", "%rows", count)
        patches = _rows(b, "%patches", "%patch", "%columns", PIXELS)
        by_pixel = sum_products(b, e, patches, filters, "%depth", "%ahead")
        sums = [v for m in range(count) for v in by_pixel[m::count]]
        for first in range(0, len(sums), e.lanes):
            group = sums[first : first + e.lanes]
            totals = transpose_sum(b, e, group)
            for k in range(0, len(group), PIXELS):
                to = b.offset("%sums", b.mul(str((first + k) // PIXELS), "%sums_row"))
                picks = ", ".join(f"i32 {n}" for n in range(k, k + PIXELS))
                value = b.emit(
                    f"shufflevector {e.vector} {totals}, {e.vector} poison, <{PIXELS} x i32> "
                    f"<{picks}>"
                )
                before = b.select("%later", part, b.load(part, to, e.size), "zeroinitializer")
                b.store(part, b.emit(f"fadd {part} {before}, {value}"), to, e.size)


def _rows(b: Builder, start: str, step: str, limit: str, count: int) -> list[str]:
    last = b.sub(limit, "1")
    return [b.offset(start, b.mul(b.min(str(k), last), step)) for k in range(count)]


class _Dots:
    def __init__(self, b: Builder, element: Element) -> None:
        self.b, self.element = b, element
        self.d = d = DOT_FIELDS.load(b)
        self.y, self.filters, self.bias, workspace = (b.argument(k) for k in (0, 2, 3, 4))
        self.patches = workspace
        self.sums = b.offset(workspace, b.add(d.scratch_at, b.mul("%thread", d.scratch)))
        self.tile = tile_filters(element.target)

    def emit(self) -> None:
        """Task: some filters of a group, all pixels."""
        b, d = self.b, self.d
        with b.loop("%begin", "%end") as task:
            group, block = b.divide(task.index, d.blocks)
            first = b.mul(block, d.block)
            count = b.min(d.block, b.sub(d.filters, first))
            filters = b.add(b.mul(group, d.w_group), b.mul(first, d.w_row))
            filters = b.offset(self.filters, filters)
            patches = b.offset(self.patches, b.mul(group, d.patch_group))
            with b.loop("0", d.steps, d.run) as k:
                self._run(k.index, filters, count, patches)
            self._write(group, first, count)

    def _run(self, step: str, filters: str, count: str, patches: str) -> None:
        """Sums over a run of steps, which patches stay in the cache for."""
        b, d = self.b, self.d
        depth = b.min(d.run, b.sub(d.steps, step))
        later = b.less("0", step)
        offset = b.mul(step, self.element.size)
        with b.loop("0", count, self.tile) as m, b.loop("0", d.pixels, PIXELS) as p:
            from_ = b.offset(filters, b.add(b.mul(m.index, d.w_row), offset))
            patch = b.offset(patches, b.add(b.mul(p.index, d.patch), offset))
            to = b.add(b.mul(m.index, d.sums_row), b.mul(p.index, self.element.size))
            # Once: what is asked for with the first pixels has arrived with the last.
            first = b.emit(f"icmp eq i64 {p.index}, 0")
            ahead = b.select(first, "i64", b.mul(d.w_row, self.tile), "0")
            b.do(
                f"call void @tile(i64 {depth}, ptr {from_}, i64 {d.w_row}, "
                f"i64 {b.sub(count, m.index)}, ptr {patch}, i64 {d.patch}, "
                f"i64 {b.sub(d.pixels, p.index)}, ptr {b.offset(self.sums, to)}, "
                f"i64 {d.sums_row}, i1 {later}, i64 {ahead})"
            )

    def _write(self, group: str, first: str, count: str) -> None:
        """Sums to the images, with bias and activation."""
        b, d, e = self.b, self.d, self.element
        relu = b.emit(f"icmp ne i64 {d.relu}, 0")
        zero = b.global_constant(f"[{e.size} x i8]", "zeroinitializer")
        has_bias = b.emit(f"icmp ne i64 {d.has_bias}, 0")
        with b.loop("0", count) as m:
            number = b.add(first, m.index)
            bias_at = b.add(b.mul(group, d.filters), number)
            bias_at = b.offset(self.bias, b.mul(bias_at, e.size))
            bias = e.broadcast(b, b.select(has_bias, "ptr", bias_at, zero))[0]
            y = b.add(b.mul(group, d.y_group), b.mul(number, d.y_channel))
            sums = b.offset(self.sums, b.mul(m.index, d.sums_row))
            with (
                b.loop("0", b.emit(f"udiv i64 {d.pixels}, {d.image_pixels}")) as image,
                b.loop("0", d.image_pixels, e.lanes) as p,
            ):
                tail = e.tail(b, b.sub(d.image_pixels, p.index))
                at = b.add(b.mul(image.index, d.image_pixels), p.index)
                value = e.load(b, b.offset(sums, b.mul(at, e.size)), tail)
                value = e.add(b, value, bias)
                value = b.select(relu, e.vector, e.relu(b, value), value)
                to = b.add(b.mul(image.index, d.y_image), b.mul(p.index, e.size))
                e.store(b, value, b.offset(self.y, b.add(y, to)), tail)
