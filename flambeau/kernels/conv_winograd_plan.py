"""Plans for convolutions by Winograd's tiles (conv_winograd)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from . import conv_winograd
from .conv_problem import Convolution
from .conv_winograd import BLOCK, VECTORS
from .element import Element
from .plan import Phase, Plan, ceil_div, round_up
from .winograd import OUTPUTS, PRODUCTS, TAPS

TILES = 64  # of a task: products should stay in the second-level cache
FACTORS = 1 << 23  # bytes of factors of filters kept at a time
FLAG = 64  # bytes in front of the workspace


class Shape(NamedTuple):
    """What the tiles of a convolution are."""

    height: int  # rows of the filter, 3 or 1
    dilation: tuple[int, int]
    tile_rows: int
    tile_columns: int

    @property
    def outputs(self) -> tuple[int, int]:
        """Rows and columns of outputs from one row and column of tiles."""
        rows = OUTPUTS * self.dilation[0] if self.height > 1 else 1
        return rows, OUTPUTS * self.dilation[1]

    @property
    def margin(self) -> tuple[int, int]:
        """Rows and columns of input beyond those of the outputs."""
        rows = (TAPS - 1) * self.dilation[0] if self.height > 1 else 0
        return rows, (TAPS - 1) * self.dilation[1]

    @property
    def phases(self) -> int:
        """Tiles that interleave, by dilation."""
        return (self.dilation[0] if self.height > 1 else 1) * self.dilation[1]

    @property
    def places(self) -> int:
        """Products of a tile."""
        return (PRODUCTS if self.height > 1 else 1) * PRODUCTS


class Strip(NamedTuple):
    """The tiles of one task."""

    planes: int
    rows: int
    columns: int

    def count(self, shape: Shape) -> int:
        """How many."""
        return self.planes * self.rows * self.columns * shape.phases


class Choice(NamedTuple):
    """Tasks, and the cycles they should take."""

    cost: float
    shape: Shape
    strip: Strip
    k_block: int
    slice: int  # filters whose factors are kept at a time


def serves(element: Element) -> bool:
    """Do the kernels exist for this type and target?"""
    real = element.floating and not element.complex
    return real and element.compute.width <= 16 and element.target.name != "sse"


def find_shape(
    element: Element, output: tuple[int, int, int], rows: list[int], columns: list[int]
) -> Shape | None:
    """The tiles for filters with these rows and columns; None where no kernel serves."""
    if not serves(element) or len(columns) != TAPS or len(rows) not in (1, TAPS):
        return None
    dilation = (rows[1] if len(rows) > 1 else 1), columns[1]
    if columns != [k * dilation[1] for k in range(TAPS)]:
        return None
    if len(rows) > 1 and rows != [k * dilation[0] for k in range(TAPS)]:
        return None
    one = Shape(len(rows), dilation, 0, 0)
    down, across = one.outputs
    return one._replace(
        tile_rows=ceil_div(output[1], down), tile_columns=ceil_div(output[2], across)
    )


def choose(c: Convolution) -> Choice | None:
    """The tasks with the least estimated time; None where the kernel does not serve."""
    if c.stride != (1, 1) or c.out_stride != (1, 1) or c.slices[3] != 1 or len(c.jobs) != 1:
        return None
    taps = c.jobs[0].taps
    rows, columns = sorted({t[3] for t in taps}), sorted({t[4] for t in taps})
    shape = find_shape(c.element, c.output, rows, columns)
    if shape is None or c.channels < 4 or c.filters < 4:
        return None
    return min(_choices(c, shape))


def _choices(c: Convolution, shape: Shape) -> Iterator[Choice]:
    lanes = c.element.compute.lanes
    panel = VECTORS * lanes
    line = c.target.vector_bytes
    row = c.groups * c.channels * c.depth_taps * shape.places * line
    slice_ = max(panel, min(round_up(c.filters, panel), FACTORS // row * lanes // panel * panel))
    for strip in strips(shape, c.batch * c.output[0], TILES):
        tasks = c.groups * ceil_div(c.batch * c.output[0], strip.planes)
        tasks *= ceil_div(shape.tile_rows, strip.rows) * ceil_div(shape.tile_columns, strip.columns)
        for parts in sorted({1, min(c.threads, ceil_div(slice_, panel))}):
            k_block = round_up(ceil_div(slice_, parts), panel)
            used = ceil_div(min(k_block, c.filters), lanes)
            k_tasks = ceil_div(min(slice_, c.filters), k_block)
            cost = _task_cost(c, shape, strip, used)
            total = ceil_div(tasks * k_tasks, c.threads) * cost * ceil_div(c.filters, slice_)
            yield Choice(total + _filter_cost(c, shape), shape, strip, k_block, slice_)


def strips(shape: Shape, planes: int, most: int) -> Iterator[Strip]:
    """Ways to cut the planes into tasks of at most about `most` tiles."""
    columns = shape.tile_columns
    if columns * shape.phases > most:
        parts = ceil_div(columns * shape.phases, most)
        yield Strip(1, 1, ceil_div(columns, parts))
        return
    rows_most = max(1, min(shape.tile_rows, most // (columns * shape.phases)))
    if rows_most < shape.tile_rows:
        least = ceil_div(shape.tile_rows, rows_most)
        for parts in range(least, least + 4):
            yield Strip(1, ceil_div(shape.tile_rows, parts), columns)
        return
    per_plane = shape.tile_rows * columns * shape.phases
    for count in {*range(1, 17), planes}:
        if count <= planes and (count == 1 or count * per_plane <= most):
            yield Strip(count, shape.tile_rows, columns)
    yield Strip(1, ceil_div(shape.tile_rows, 2), columns)


def input_cost(c_lanes: int, shape: Shape, strip: Strip) -> float:
    """Cycles to transform the inputs of one block of channels."""
    pixels = strip.planes * (strip.rows * shape.outputs[0] + shape.margin[0])
    pixels *= strip.columns * shape.outputs[1] + shape.margin[1]
    return strip.count(shape) * 6.5 * shape.places + pixels * 160 / c_lanes + 100


def product_cost(target, tiles: int, steps: int, used: int) -> float:
    """Cycles of the products at one place."""
    sizes = conv_winograd.tile_sizes(target)
    whole, left = divmod(tiles, sizes[0])
    passes = [sizes[0]] * whole + ([min(s for s in sizes if s >= left)] if left else [])
    pairs, single = divmod(used, VECTORS)
    cost = 0.0
    for rows in passes:
        for width in (VECTORS,) * pairs + (1,) * single:
            cost += max(rows * width, 4) * steps * 1.06 + (2 + width) * steps + 3 * rows * width
            cost += 25
    return cost


def _task_cost(c: Convolution, shape: Shape, strip: Strip, used: int) -> float:
    lanes = c.element.compute.lanes
    blocks = c.depth_taps * ceil_div(c.channels, lanes)
    tiles = strip.count(shape)
    products = shape.places * product_cost(c.target, tiles, c.channels * c.depth_taps, used)
    pixels = tiles * shape.places * 4 / 9
    out = used * (tiles * 6.5 * shape.places + pixels * 130 / lanes + 100)
    return products + blocks * input_cost(lanes, shape, strip) + out + 500


def _filter_cost(c: Convolution, shape: Shape) -> float:
    vectors = ceil_div(c.filters, c.element.compute.lanes) * c.groups
    return vectors * c.channels * c.depth_taps * (100 + 5 * shape.places) / c.threads


# ---- the plan ------------------------------------------------------------------------------------


def plan(c: Convolution, chosen: Choice) -> Plan:
    """For each slice of the filters: their factors, then the tiles."""
    shape, line, lanes = chosen.shape, c.target.vector_bytes, c.element.compute.lanes
    kernels = conv_winograd.sources(c.dtype, c.target, shape.height)
    vectors = ceil_div(min(chosen.slice, c.filters), lanes)
    u_group = vectors * c.channels * c.depth_taps * shape.places * line
    layout = Layout(c, shape, chosen.strip)
    scratch_at = FLAG + c.groups * u_group
    places = {"u_at": FLAG, "u_group": u_group, "scratch_at": scratch_at, "scratch": layout.scratch}
    phases = []
    for first in range(0, c.filters, chosen.slice):
        last = min(first + chosen.slice, c.filters)
        phases.append(_filter_phase(c, kernels[0], shape, first, last, places))
        phases.append(_tile_phase(c, kernels[1], chosen, layout, first, last, places))
    return Plan(tuple(phases), scratch_at + layout.scratch * c.threads)


def _filter_phase(c: Convolution, kernel, shape: Shape, first: int, last: int, places) -> Phase:
    size, lanes, line = c.element.size, c.element.compute.lanes, c.target.vector_bytes
    taps = [t for t in c.jobs[0].taps if t[1] == 0]
    order = sorted(taps, key=lambda t: (t[3], t[4]))
    begin = min(t[0] for t in taps)
    starts = {t[1]: min(u[0] for u in c.jobs[0].taps if u[1] == t[1]) for t in c.jobs[0].taps}
    steps = [
        (starts[z] + channel * c.w_channel) * size
        for z in range(c.depth_taps)
        for channel in range(c.channels)
    ]
    vectors, chunks = ceil_div(last - first, lanes), ceil_div(len(steps), lanes)
    tap_at = len(conv_winograd.FILTER_FIELDS.names)
    desc = conv_winograd.FILTER_FIELDS.pack(
        filters=last, panels=vectors, first_filter=first, steps=len(steps), chunks=chunks,
        w_group=c.w_group * size, w_filter=c.w_row * size,
        tap_at=tap_at, step_at=tap_at + len(taps), **places,
    )  # fmt: skip
    order_bytes = tuple((t[0] - begin) * line for t in order)
    grain = max(1, min(ceil_div(c.groups * vectors * chunks, 4 * c.threads), 8))
    return Phase(kernel, desc + order_bytes + tuple(steps), c.groups * vectors * chunks, grain)


def _tile_phase(
    c: Convolution, kernel, chosen: Choice, layout: Layout, first: int, last: int, places
) -> Phase:
    size = c.element.size
    (d, h, w), (od, oh, ow) = c.input, c.output
    x_group, y_group = c.channels * d * h * w * size, c.filters * od * oh * ow * size
    k_tasks = ceil_div(last - first, chosen.k_block)
    tables, at = layout.tables(len(conv_winograd.FIELDS.names), c)
    desc = conv_winograd.FIELDS.pack(
        x_image=c.groups * x_group, x_group=x_group, x_slice=h * w * size,
        y_image=c.groups * y_group, y_group=y_group, y_channel=od * oh * ow * size,
        y_slice=oh * ow * size, slice_of_output=c.slices[0], slice_of_tap=c.slices[1],
        slice_start=c.slices[2], pad_h=c.padding[0], pad_w=c.padding[1],
        filters=c.filters, first_filter=first, last_filter=last, k_block=chosen.k_block,
        k_tasks=k_tasks, steps=c.channels * c.depth_taps, has_bias=c.bias, relu=c.relu,
        **layout.numbers(c.input, c.output, c.batch * od), **layout.places(), **at, **places,
    )  # fmt: skip
    tasks = c.groups * k_tasks * layout.strip_tasks(c.batch * od)
    return Phase(kernel, desc + tables, tasks, 1)


class Layout:
    """Where a task's data lies in the scratch memory of its thread."""

    def __init__(self, c: Convolution, shape: Shape, strip: Strip) -> None:
        self.shape, self.strip, self.line = shape, strip, c.target.vector_bytes
        lanes = c.element.compute.lanes
        most = conv_winograd.tile_sizes(c.target)[0]
        self.blocks = c.depth_taps * ceil_div(c.channels, lanes)
        self.tiles = round_up(strip.count(shape), most)
        self.width, self.out_width = c.input[2], c.output[2]
        down, across = shape.outputs
        self.in_pitch = strip.columns * across + shape.margin[1]
        self.in_rows = strip.rows * down + shape.margin[0]
        self.split = strip.columns < shape.tile_columns
        pixels = min(self.in_rows, c.input[1]) * self.width
        self.in_by_row = self.split or pixels > 4096 or self.width % lanes == 0
        # Tiles may write beyond the last column: the next row, written later, mends that.
        self.out_by_row = self.split or shape.phases > 1
        self.out_pitch = strip.columns * across if self.out_by_row else self.out_width
        self._place(lanes)

    def _place(self, lanes: int) -> None:
        line, shape = self.line, self.shape
        # An odd number of lines: the results of a tile then fall in different cache sets.
        self.place = (self.blocks * self.tiles | 1) * line
        self.sums = round_up(self.place * shape.places, 64)
        sums_place = (VECTORS * self.tiles + 1) * line
        self.input = self.sums + sums_place * shape.places
        self.output = self.input + (self.in_rows + 1) * self.in_pitch * line
        rows = self.strip.rows * shape.outputs[0]
        across = self.strip.columns * shape.outputs[1]
        lines = rows * self.out_pitch + across + lanes
        self.scratch = round_up(self.output + lines * line, 64) + 64

    def strip_tasks(self, planes: int) -> int:
        """Tasks for one group and all filters."""
        shape, strip = self.shape, self.strip
        tasks = ceil_div(planes, strip.planes) * ceil_div(shape.tile_rows, strip.rows)
        return tasks * ceil_div(shape.tile_columns, strip.columns)

    def places(self) -> dict[str, int]:
        """The desc's numbers for outputs and scratch memory."""
        shape, strip = self.shape, self.strip
        return {
            "output_step": shape.outputs[0] * self.out_pitch * self.line,
            "column_output": strip.columns * shape.outputs[1],
            "out_pitch": self.out_pitch, "out_by_row": self.out_by_row,
            "sums": self.sums, "output": self.output,
        }  # fmt: skip

    def numbers(
        self, input_: tuple[int, int, int], output: tuple[int, int, int], planes: int
    ) -> dict[str, int]:
        """The desc's numbers for strips and their inputs."""
        shape, strip = self.shape, self.strip
        return {
            "in_depth": input_[0], "in_height": input_[1], "in_width": input_[2],
            "depth": output[0], "out_rows": output[1], "out_columns": output[2],
            "planes": planes, "plane_block": strip.planes,
            "plane_tasks": ceil_div(planes, strip.planes), "strip_tiles": strip.rows,
            "strips": ceil_div(shape.tile_rows, strip.rows), "tile_rows": shape.tile_rows,
            "column_tasks": ceil_div(shape.tile_columns, strip.columns),
            "row_tiles": strip.columns * shape.phases,
            "input_step": shape.outputs[0] * self.in_pitch * self.line,
            "column_input": strip.columns * shape.outputs[1],
            "dilate_h": shape.dilation[0] if shape.height > 1 else 1,
            "dilate_w": shape.dilation[1], "in_pitch": self.in_pitch, "in_by_row": self.in_by_row,
            "tiles": self.tiles, "places": self.place, "input": self.input, "blocks": self.blocks,
        }  # fmt: skip

    def tables(self, at: int, c: Convolution) -> tuple[tuple[int, ...], dict[str, int]]:
        """The tables of blocks of channels, of tiles of a row, and of pixels; where they start."""
        lanes, (d, h, w) = c.element.compute.lanes, c.input
        blocks = [
            n
            for z in range(c.depth_taps)
            for first in range(0, c.channels, lanes)
            for n in (min(lanes, c.channels - first), z, first * d * h * w * c.element.size)
        ]
        tiles = self.tile_table()
        places = {"block_at": at, "tile_at": at + len(blocks)}
        places["pixel_at"] = places["tile_at"] + len(tiles)
        assert len(blocks) == BLOCK * self.blocks
        return (*blocks, *tiles, *self.pixel_table(c.input[1])), places

    def tile_table(self) -> tuple[int, ...]:
        """Bytes from a row's start to each tile of it, in the input and in the output."""
        shape, strip = self.shape, self.strip
        down = shape.dilation[0] if shape.height > 1 else 1
        table: list[int] = []
        for row in range(down):
            for column in range(shape.dilation[1]):
                for tile in reversed(range(strip.columns)):
                    x = column + tile * shape.outputs[1]
                    table.append((row * self.in_pitch + x) * self.line)
                    table.append((row * self.out_pitch + x) * self.line)
        return tuple(table)

    def pixel_table(self, height: int) -> tuple[int, ...]:
        """Bytes from the first pixel fetched to each that follows."""
        if self.in_by_row:
            return tuple(k * self.line for k in range(self.in_pitch))
        rows = min(self.in_rows, height)
        return tuple(
            (r * self.in_pitch + x) * self.line for r in range(rows) for x in range(self.width)
        )
