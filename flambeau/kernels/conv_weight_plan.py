"""Plans for the gradient of a convolution with respect to its filter."""

from __future__ import annotations

from collections.abc import Sequence

from . import (
    conv_depthwise_plan,
    conv_weight,
    conv_weight_dot,
    conv_weight_pairs,
    conv_winograd_weight_plan,
)
from .bfloat_pairs import multiplies_pairs
from .conv_shape import Geometry, geometry
from .element import Element
from .plan import KernelSource, Phase, Plan, ceil_div, round_up
from .target import Target, host

# Register tiles (taps, vectors of filters), by number of vector registers.
# More than twelve rows would not leave an address register for each.
TILES = {32: [(12, 1), (10, 2), (6, 4)], 16: [(10, 1), (6, 2)]}
PAIR_TILES = [(12, 1), (8, 2), (6, 4)]  # for pairs; larger ones are spilled
PAIR_LOAD = 1.4  # cycles of a broadcast that is no part of a multiply-add
PIXELS = 400  # of a chunk: enough to pay for loading and storing the sums
INPUT_BYTES = 1 << 20  # of a chunk of even more pixels
PARTS = 8
PART_BYTES = 1 << 19  # sums larger than this are not kept in several copies
CACHED_SUMS = 1 << 20  # bytes of sums that stay in a second-level cache
SUMS_RATE = 4  # bytes of larger ones that are read or written in a cycle
DOT_FILTERS = 8  # filters of a group that leave most of a vector empty
WORTHWHILE = 1.15  # times less that Winograd's tiles must cost: estimates err
TASK_WORK = 1 << 15  # multiply-adds of vectors that make a part worth having


def plan_conv_backward_weight(
    dtype: str,
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    threads: int,
    *,
    target: Target | None = None,
) -> Plan:
    """dw from x and dy; contiguous tensors; args: dw, x, dy, workspace."""
    g = geometry(x_shape, w_shape, stride, padding, dilation, groups)
    if g.out_channels * g.in_channels == 0:
        return Plan((), 0)
    element = Element(dtype, target or host())

    depthwise = conv_depthwise_plan.plan_weight(g, element)
    if depthwise is not None:
        return depthwise

    layout = _choose_layout(g, element)(g, element, threads)
    tiles = conv_winograd_weight_plan.choose(g, element, threads)
    if tiles is None or tiles.cost * WORTHWHILE > layout.estimate_cost():
        return layout.plan()
    plan = conv_winograd_weight_plan.plan(g, element, threads, tiles)
    return plan._replace(otherwise=layout.plan)


def _choose_layout(g: Geometry, element: Element) -> type[_Layout]:
    real = not element.complex
    if g.out_channels <= DOT_FILTERS and g.stride[2] == 1 and element.compute.width <= 16 and real:
        return _DotLayout
    if element.dtype == "bf16" and multiplies_pairs(element.target):
        return _PairLayout
    return _Layout


def _choose_tile(element: Element, filters: int) -> tuple[int, int]:
    registers = 32 if element.target.name in ("avx512", "neon") else 16
    used = ceil_div(filters, element.compute.lanes)

    def cost(tile: tuple[int, int]) -> float:
        rows, vectors = tile
        widths = [vectors] * (used // vectors) + [used % vectors] * (used % vectors > 0)
        return sum(rows * w + 1 + 0.25 * rows + 0.6 * w for w in widths) / rows

    rows, vectors = min(TILES[registers], key=cost)
    return (max(1, rows // 2) if element.complex else rows), vectors


class _Layout:
    """How the sum over pixels is cut up, and where things lie in the workspace."""

    step = 1.1  # cycles of a multiply-add of vectors, about

    def __init__(self, g: Geometry, element: Element, threads: int) -> None:
        self.g, self.element, self.threads = g, element, threads
        self.inner = element.compute
        self.steps = g.in_channels * g.taps
        self.in_place = g.padding == (0, 0, 0) and self.inner is element
        self.sums_row = round_up(g.out_channels, self.inner.lanes) * self.inner.size
        self._choose_tile()
        self._choose_chunk()
        self._choose_parts()
        self._place()

    def estimate_cost(self) -> float:
        """Cycles the sum over pixels takes about."""
        g = self.g
        pixels = g.batch * g.output[0] * g.output[1] * g.output[2]
        vectors = ceil_div(g.out_channels * g.in_channels, self.inner.lanes)
        work = g.groups * pixels * vectors * g.taps * self.step
        sums = g.groups * self.steps * self.sums_row
        if sums > CACHED_SUMS:
            work += 2 * self.chunks * sums / SUMS_RATE
        return work / self.threads

    def _choose_tile(self) -> None:
        self.rows, self.vectors = _choose_tile(self.element, self.g.out_channels)

    def _choose_chunk(self) -> None:
        """Images of a chunk, or rows of a strip, so that it has about PIXELS pixels."""
        g = self.g
        _, height, width = g.output
        self.image_block, self.strip_rows, self.strip_columns = 1, height, width
        if height * width > PIXELS:
            strips = ceil_div(height, max(1, PIXELS // width))
            self.strip_rows = ceil_div(height, strips)
        elif g.output[0] == 1:
            self.image_block = self._choose_images(g.batch)
        self.strips = ceil_div(height, self.strip_rows)
        self.chunks = ceil_div(g.batch, self.image_block) * g.output[0] * self.strips

    def _choose_images(self, images: int) -> int:
        """How many images a chunk should have, where one has few pixels.

        Sums that are not kept in the caches should be read and written rarely.
        """
        g, images = self.g, max(1, images)
        pixels = g.output[1] * g.output[2]
        most = PIXELS // pixels
        if self._keeps_copies():
            images = ceil_div(images, min(PARTS, images))
        else:
            self._copy_shape()
            copied = g.in_channels * g.kernel[0] * self.plane * self.inner.size
            most = max(most, min(2 * most, INPUT_BYTES // copied))
        return max(1, min(images, most))

    def _keeps_copies(self) -> bool:
        """Whether sums are few enough for parts of chunks that have their own."""
        return self.g.groups * self.steps * self.sums_row <= PART_BYTES

    def _choose_parts(self) -> None:
        g = self.g
        used = self.sums_row // (self.inner.lanes * self.inner.size)
        pixels = g.batch * g.output[0] * g.output[1] * g.output[2]
        work = g.groups * self.steps * used * pixels
        copies = self._keeps_copies()
        worth = max(1, min(PARTS, work // TASK_WORK))
        self.parts = max(1, min(worth if copies else 1, self.chunks))
        blocks = 1
        if self.parts * g.groups < self.threads and not copies:
            # Each block packs the output's gradients anew: no more than there are threads.
            blocks = min(ceil_div(self.threads, self.parts * g.groups), g.in_channels)
        self.channel_block = ceil_div(g.in_channels, blocks)

    def _copy_shape(self) -> None:
        """Rows and columns of the copy of a plane."""
        (_, sh, sw), (_, kh, kw), (_, dh, dw) = self.g.stride, self.g.kernel, self.g.dilation
        self.copy_rows = (self.strip_rows - 1) * sh + (kh - 1) * dh + 1
        self.copy_pitch = (self.strip_columns - 1) * sw + (kw - 1) * dw + 1
        self.plane = self.copy_rows * self.copy_pitch

    def _place(self) -> None:
        g, size, slack = self.g, self.inner.size, 2 * self.element.target.vector_bytes
        self._copy_shape()
        planes = 0 if self.in_place else self.image_block * self.channel_block * g.kernel[0]
        self.gradients = round_up(planes * self.plane * size + slack, 64)
        pixels = self.image_block * self.strip_rows * self.strip_columns
        panel = min(self.sums_row, self.vectors * self.inner.lanes * size)
        self.scratch = self.gradients + round_up(pixels * panel + slack, 64)
        self.sums = round_up(self.parts * g.groups * self.steps * self.sums_row, 64)

    def plan(self) -> Plan:
        g = self.g
        element = self.element
        kernels = self._kernels()
        tasks = self.parts * g.groups * ceil_div(g.in_channels, self.channel_block)
        runs = ceil_div(self.steps, element.lanes)
        parts = self.parts if self.chunks else 0  # no images: the total of nothing
        total = conv_weight.SUM_FIELDS.pack(
            filters=g.out_channels, steps=self.steps, groups=g.groups, parts=parts,
            sums_at=0, sums_row=self.sums_row, k_tasks=runs,
        )  # fmt: skip
        grain = max(1, (1 << 15) // (self.parts * g.out_channels * element.lanes))
        finish = Phase(kernels[1], total, g.groups * runs, grain)
        if not self.chunks:
            return Plan((finish,), 0)
        return Plan(
            (Phase(kernels[0], self._desc(), tasks, 1), finish),
            self.sums + self.scratch * self.threads,
        )

    def _places(self) -> dict[str, int]:
        """The desc's numbers that do not depend on the method."""
        g, size = self.g, self.element.size
        (d, h, w), (od, oh, ow) = g.input, g.output
        x_channel, y_channel = d * h * w * size, od * oh * ow * size
        x_group, y_group = g.in_channels * x_channel, g.out_channels * y_channel
        return {
            "x_image": g.groups * x_group, "x_group": x_group, "x_channel": x_channel,
            "x_slice": h * w * size, "in_depth": d, "in_height": h, "in_width": w,
            "channels": g.in_channels, "depth_taps": g.kernel[0], "slice_of_output": g.stride[0],
            "slice_of_tap": g.dilation[0], "slice_start": -g.padding[0],
            "stride_h": g.stride[1], "pad_h": g.padding[1], "pad_w": g.padding[2],
            "in_place": self.in_place, "copy_rows": self.copy_rows, "copy_pitch": self.copy_pitch,
            "y_image": g.groups * y_group, "y_group": y_group, "y_channel": y_channel,
            "y_slice": oh * ow * size, "out_rows": oh, "out_columns": ow,
            "images": g.batch, "image_block": self.image_block, "depth": od,
            "strips": self.strips, "strip_rows": self.strip_rows,
        }  # fmt: skip

    def _y_image(self) -> int:
        """Elements of one image of the gradient."""
        g = self.g
        return g.groups * g.out_channels * g.output[0] * g.output[1] * g.output[2]

    def _kernels(self) -> tuple[KernelSource, KernelSource]:
        element = self.element
        return conv_weight.sources(element.dtype, element.target, self.rows, self.vectors)

    def _desc(self) -> tuple[int, ...]:
        desc = conv_weight.FIELDS.pack(**self._fields(len(conv_weight.FIELDS.names)))
        return desc + self._row_table() + self._pixel_table()

    def _fields(self, row_at: int) -> dict[str, int]:
        """The desc's numbers, with the tables of rows and of pixels from `row_at` on."""
        g = self.g
        return {
            **self._places(), "groups": g.groups, "filters": g.out_channels,
            "parts": self.parts, "chunks": self.chunks, "taps": g.taps,
            "channel_block": self.channel_block,
            "channel_tasks": ceil_div(g.in_channels, self.channel_block),
            "row_at": row_at, "pixel_at": row_at + self.steps, "sums_at": 0,
            "sums_row": self.sums_row, "scratch_at": self.sums, "scratch": self.scratch,
            "gradients": self.gradients,
        }  # fmt: skip

    def _row_table(self) -> tuple[int, ...]:
        """Byte offset in the input (or its copy) of each step of the filter: channel, then tap."""
        g = self.g
        kd, kh, kw = g.kernel
        _, dh, dw = g.dilation
        size = self.inner.size
        table = []
        for channel in range(g.in_channels):
            for z in range(kd):
                if self.in_place:
                    plane = (channel * g.input[0] + z * g.dilation[0]) * g.input[1] * g.input[2]
                    pitch = g.input[2]
                else:
                    plane, pitch = (channel * kd + z) * self.plane, self.copy_pitch
                table += [
                    (plane + y * dh * pitch + x * dw) * size for y in range(kh) for x in range(kw)
                ]
        return tuple(table)

    def _pixel_table(self) -> tuple[int, ...]:
        """Byte offset of each pixel of a chunk from its first."""
        g, size = self.g, self.inner.size
        _, sh, sw = g.stride
        if self.in_place:
            image, pitch = (
                g.groups * g.in_channels * g.input[0] * g.input[1] * g.input[2],
                g.input[2],
            )
        else:
            image, pitch = self.channel_block * g.kernel[0] * self.plane, self.copy_pitch
        return tuple(
            (n * image + r * sh * pitch + x * sw) * size
            for n in range(self.image_block)
            for r in range(self.strip_rows)
            for x in range(self.strip_columns)
        )


class _PairLayout(_Layout):
    """The same for bfloat16 pixels that are multiplied by pairs.

    Blocks of images are blocks of pairs: two images after each other, and if their number is odd
    the halves of the last one, whose last row (or column, where there is one row) may stay alone.
    """

    step = 0.66

    def _choose_tile(self) -> None:
        used = ceil_div(self.g.out_channels, self.inner.lanes)

        def cost(tile: tuple[int, int]) -> float:
            rows, vectors = tile
            widths = [vectors] * (used // vectors) + [used % vectors] * (used % vectors > 0)
            work = [max(rows * w, PAIR_LOAD * (rows + w)) + 1.5 + 0.6 * w for w in widths]
            return sum(work) / rows

        self.rows, self.vectors = min(PAIR_TILES, key=cost)

    def _choose_chunk(self) -> None:
        g = self.g
        depth, height, width = g.output
        lines = height if height > 1 else width  # what is cut into strips
        line = width if height > 1 else 1
        halved = max(lines if g.batch > 1 else lines // 2, 1)
        strip = ceil_div(halved, ceil_div(halved, max(1, PIXELS // line)))
        self.strip_rows, self.strip_columns = (strip, width) if height > 1 else (1, strip)
        self.image_block, pairs = 1, g.batch // 2
        if depth == 1 and strip == lines:
            self.image_block = self._choose_images(pairs)
        self.chunk_table = self._list_chunks(pairs, lines, strip)
        self.strips, self.chunks = ceil_div(lines, strip), len(self.chunk_table)

    def _list_chunks(self, pairs: int, lines: int, strip: int) -> list[tuple[int, ...]]:
        """The chunks, numbers as conv_weight_pairs has them."""
        depth, height, width = self.g.output

        def place(line: int) -> tuple[int, int]:
            return (line, 0) if height > 1 else (0, line)

        def extent(count: int) -> tuple[int, int]:
            return (count, width) if height > 1 else (1, count)

        def cut(end: int) -> list[tuple[int, tuple[int, int]]]:
            return [(k, extent(min(strip, end - k))) for k in range(0, end, strip)]

        found: list[tuple[int, ...]] = []
        for image in range(0, 2 * pairs, 2 * self.image_block):
            count = min(self.image_block, pairs - image // 2)
            for slice_ in range(depth):
                for k, size in cut(lines):
                    found.append((slice_, count, *size, image, *place(k), image + 1, *place(k)))
        if self.g.batch % 2:
            last, half = 2 * pairs, lines // 2
            for slice_ in range(depth):
                for k, size in cut(half):
                    found.append((slice_, 1, *size, last, *place(k), last, *place(k + half)))
                if lines % 2:
                    found.append((slice_, 1, *extent(1), last, *place(lines - 1), -1, 0, 0))
        return found

    def _kernels(self) -> tuple[KernelSource, KernelSource]:
        return conv_weight_pairs.sources(self.element.target, self.rows, self.vectors)

    def _desc(self) -> tuple[int, ...]:
        row_at = len(conv_weight_pairs.FIELDS.names)
        tables = self._row_table() + self._pixel_table()
        chunks = tuple(n for chunk in self.chunk_table for n in chunk)
        fields = {
            **self._fields(row_at), "chunk_at": row_at + len(tables), "stride_w": self.g.stride[2]
        }  # fmt: skip
        return conv_weight_pairs.FIELDS.pack(**fields) + tables + chunks


class _DotLayout(_Layout):
    """The same for few filters a group: dot products along rows of pixels."""

    def _keeps_copies(self) -> bool:
        return True

    def _choose_parts(self) -> None:
        g = self.g
        self.taps = conv_weight_dot.tile_taps(self.element.target, g.out_channels)
        self.tiles = ceil_div(self.steps, self.taps)
        self.tile_bytes = conv_weight_dot.tile_bytes(self.element, g.out_channels, self.taps)
        rows = g.batch * g.output[0] * g.output[1]
        vectors = rows * ceil_div(g.output[2], self.inner.lanes)
        work = g.groups * self.tiles * vectors * self.taps * g.out_channels
        self.parts = max(1, min(PARTS, work // TASK_WORK, self.chunks))
        if g.groups >= PARTS:
            self.parts = 1
        self.channel_block = g.in_channels

    def _place(self) -> None:
        g, slack = self.g, 2 * self.element.target.vector_bytes
        self._copy_shape()
        planes = self.image_block * g.in_channels * g.kernel[0]
        copied = 0 if self.in_place else planes * self.plane * self.inner.size
        self.scratch = round_up(copied + slack, 64)
        self.sums = round_up(self.parts * g.groups * self.tiles * self.tile_bytes, 64)

    def plan(self) -> Plan:
        g, element = self.g, self.element
        kernels = conv_weight_dot.sources(element.dtype, element.target, g.out_channels)
        total = conv_weight_dot.TOTAL_FIELDS.pack(
            steps=self.steps, groups=g.groups, parts=self.parts if self.chunks else 0,
            tiles=self.tiles,
        )  # fmt: skip
        tasks = g.groups * self.tiles
        finish = Phase(kernels[1], total, tasks, max(1, 256 // self.parts))
        if not self.chunks:
            return Plan((finish,), 0)
        start = Phase(kernels[0], self._dot_desc(), self.parts * g.groups, 1)
        return Plan((start, finish), self.sums + self.scratch * self.threads)

    def _dot_desc(self) -> tuple[int, ...]:
        g, size = self.g, self.element.size
        tap_at = len(conv_weight_dot.FIELDS.names)
        taps = self._row_table()
        taps += (taps[-1],) * (self.tiles * self.taps - len(taps))
        desc = conv_weight_dot.FIELDS.pack(
            **self._places(), groups=g.groups, parts=self.parts, chunks=self.chunks,
            tiles=self.tiles, tap_at=tap_at, row_at=tap_at + len(taps),
            scratch_at=self.sums, scratch=self.scratch,
        )  # fmt: skip
        pixels = self._pixel_table()[:: g.output[2]]
        image, rows = self._y_image(), self.strip_rows
        gradients = [
            (k // rows * image + k % rows * g.output[2]) * size for k in range(len(pixels))
        ]
        pairs = [n for pair in zip(pixels, gradients, strict=True) for n in pair]
        return desc + taps + tuple(pairs)
