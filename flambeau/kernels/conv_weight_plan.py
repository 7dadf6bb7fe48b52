"""Plans for the gradient of a convolution with respect to its filter."""

from __future__ import annotations

from collections.abc import Sequence

from . import conv_depthwise_plan, conv_weight, conv_weight_dot, conv_winograd_weight_plan
from .conv_shape import Geometry, geometry
from .element import Element
from .plan import Phase, Plan, ceil_div, round_up
from .target import Target, host

# Register tiles (taps, vectors of filters), by number of vector registers.
# More than twelve rows would not leave an address register for each.
TILES = {32: [(12, 1), (10, 2), (6, 4)], 16: [(10, 1), (6, 2)]}
PIXELS = 400  # of a chunk: enough to pay for loading and storing the sums
PARTS = 8
PART_BYTES = 1 << 19  # sums larger than this are not kept in several copies
DOT_FILTERS = 8  # filters of a group that leave most of a vector empty
WORTHWHILE = 1.15  # times less that Winograd's tiles must cost: estimates err
SUM_BYTE = 0.38  # cycles to load and store a byte of the sums
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

    def plan_directly() -> Plan:
        few = g.out_channels <= DOT_FILTERS and g.stride[2] == 1 and element.compute.width <= 16
        layout = _DotLayout if few and not element.complex else _Layout
        return layout(g, element, threads).plan()

    tiles = conv_winograd_weight_plan.choose(g, element, threads)
    if tiles is None or tiles.cost * WORTHWHILE > _direct_cost(g, element, threads):
        return plan_directly()
    plan = conv_winograd_weight_plan.plan(g, element, threads, tiles)
    return plan._replace(otherwise=plan_directly)


def _direct_cost(g: Geometry, element: Element, threads: int) -> float:
    """Cycles the sum over pixels takes about, one multiply-add of vectors a cycle."""
    pixels = g.batch * g.output[0] * g.output[1] * g.output[2]
    vectors = ceil_div(g.out_channels * g.in_channels, element.compute.lanes)
    layout = _Layout(g, element, threads)
    # Each chunk loads and stores all sums; then they become the result.
    moved = (layout.chunks + 0.5) * SUM_BYTE * layout.steps * layout.sums_row
    return g.groups * (pixels * vectors * g.taps * 1.1 + moved) / threads


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

    def __init__(self, g: Geometry, element: Element, threads: int) -> None:
        self.g, self.element, self.threads = g, element, threads
        self.inner = element.compute
        self.rows, self.vectors = _choose_tile(element, g.out_channels)
        self.steps = g.in_channels * g.taps
        self.in_place = g.padding == (0, 0, 0) and self.inner is element
        self.sums_row = round_up(g.out_channels, self.inner.lanes) * self.inner.size
        self._choose_chunk()
        self._choose_parts()
        self._place()

    def _choose_chunk(self) -> None:
        """Images of a chunk, or rows of a strip, so that it has about PIXELS pixels."""
        g = self.g
        _, height, width = g.output
        self.image_block, self.strip_rows = 1, height
        if height * width > PIXELS:
            strips = ceil_div(height, max(1, PIXELS // width))
            self.strip_rows = ceil_div(height, strips)
        elif g.output[0] == 1:
            # Parts want chunks each; where there are none, each chunk loads and stores all sums.
            parts = min(PARTS, g.batch) if self._has_parts() else 1
            wanted = ceil_div(g.batch, max(1, parts))
            self.image_block = max(1, min(wanted, PIXELS // (height * width)))
        self.strips = ceil_div(height, self.strip_rows)
        self.chunks = ceil_div(g.batch, self.image_block) * g.output[0] * self.strips

    def _has_parts(self) -> bool:
        """Whether several copies of the sums are small enough."""
        return self.g.groups * self.steps * self.sums_row <= PART_BYTES

    def _choose_parts(self) -> None:
        g = self.g
        used = ceil_div(g.out_channels, self.inner.lanes)
        pixels = g.batch * g.output[0] * g.output[1] * g.output[2]
        work = g.groups * self.steps * used * pixels
        small = self._has_parts()
        worth = max(1, min(PARTS, work // TASK_WORK))
        self.parts = max(1, min(worth if small else 1, self.chunks))
        blocks = 1
        if self.parts * g.groups < self.threads and not small:
            # Each block packs the output's gradients anew: no more than there are threads.
            blocks = min(ceil_div(self.threads, self.parts * g.groups), g.in_channels)
        self.channel_block = ceil_div(g.in_channels, blocks)

    def _copy_shape(self) -> None:
        """Rows and columns of the copy of a plane."""
        (_, sh, sw), (_, kh, kw), (_, dh, dw) = self.g.stride, self.g.kernel, self.g.dilation
        self.copy_rows = (self.strip_rows - 1) * sh + (kh - 1) * dh + 1
        self.copy_pitch = (self.g.output[2] - 1) * sw + (kw - 1) * dw + 1
        self.plane = self.copy_rows * self.copy_pitch

    def _place(self) -> None:
        g, size, slack = self.g, self.inner.size, 2 * self.element.target.vector_bytes
        self._copy_shape()
        planes = 0 if self.in_place else self.image_block * self.channel_block * g.kernel[0]
        self.gradients = round_up(planes * self.plane * size + slack, 64)
        pixels = self.image_block * self.strip_rows * g.output[2]
        panel = min(self.sums_row, self.vectors * self.inner.lanes * size)
        self.scratch = self.gradients + round_up(pixels * panel + slack, 64)
        self.sums = round_up(self.parts * g.groups * self.steps * self.sums_row, 64)

    def plan(self) -> Plan:
        g = self.g
        element = self.element
        kernels = conv_weight.sources(element.dtype, element.target, self.rows, self.vectors)
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

    def _desc(self) -> tuple[int, ...]:
        g = self.g
        row_at = len(conv_weight.FIELDS.names)
        desc = conv_weight.FIELDS.pack(
            **self._places(), groups=g.groups, filters=g.out_channels,
            parts=self.parts, chunks=self.chunks, taps=g.taps, channel_block=self.channel_block,
            channel_tasks=ceil_div(g.in_channels, self.channel_block),
            row_at=row_at, pixel_at=row_at + self.steps, sums_at=0, sums_row=self.sums_row,
            scratch_at=self.sums, scratch=self.scratch, gradients=self.gradients,
        )  # fmt: skip
        return desc + self._row_table() + self._pixel_table()

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
            for x in range(g.output[2])
        )


class _DotLayout(_Layout):
    """The same for few filters a group: dot products along rows of pixels."""

    def _has_parts(self) -> bool:
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
