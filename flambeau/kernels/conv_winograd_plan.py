"""Plans for convolutions by Winograd's tiles (conv_winograd)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from . import conv_winograd, conv_winograd_filters
from .conv_problem import Convolution
from .conv_winograd_filters import VECTORS
from .element import Element
from .plan import Phase, Plan, ceil_div, round_up
from .winograd import OUTPUTS, PRODUCTS, TAPS

TILES = 64  # of a task: products should stay in the second-level cache
FACTORS = 1 << 23  # bytes of factors of filters kept at a time
PANEL = 9 << 15  # bytes of factors of filters that a task makes at a time
FACTOR_STEP, FACTOR_PLACE = 60, 3  # cycles to make them: of one channel, and of each of its factors
FLAG = 64  # bytes in front of the workspace
# Cycles to load a byte of factors that the thread has made itself, or that others have: their
# caches may be far away.
OWN, FOREIGN = 0.05, 0.25
KEPT = 1 << 20  # bytes of factors that stay in a thread's cache from one task to the next


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
    panel_blocks: int  # blocks of channels whose factors a task makes at a time; 0: they are kept


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
    most = max(panel, min(round_up(c.filters, panel), FACTORS // row * lanes // panel * panel))
    # Slices that all threads share evenly let each thread keep to factors of its own.
    even = most // (panel * c.threads) * panel * c.threads
    for strip in strips(shape, c.batch * c.output[0], TILES):
        for slice_ in sorted({most, even or most}):
            for parts in sorted({1, min(c.threads, ceil_div(slice_, panel))}):
                k_block = round_up(ceil_div(slice_, parts), panel)
                cost = _slice_cost(c, shape, strip, slice_, k_block)
                cost = cost * ceil_div(c.filters, slice_) + _filter_cost(c, shape)
                yield Choice(cost, shape, strip, k_block, slice_, 0)
        panels = ceil_div(c.filters, panel)
        for parts in sorted({1, min(c.threads, panels)}):
            k_block = ceil_div(panels, parts) * panel
            cost = _making_cost(c, shape, strip, k_block)
            blocks = max(1, PANEL // (shape.places * VECTORS * lanes * line))
            yield Choice(cost, shape, strip, k_block, panels * panel, blocks)


def _making_cost(c: Convolution, shape: Shape, strip: Strip, k_block: int) -> float:
    """Where each task makes the filters' factors that it needs."""
    used = ceil_div(min(k_block, c.filters), c.element.compute.lanes)
    strips_ = count_strips(shape, strip, c.batch * c.output[0])
    tasks = c.groups * strips_ * ceil_div(c.filters, k_block)
    factors = used * c.channels * c.depth_taps * (FACTOR_STEP + FACTOR_PLACE * shape.places)
    return ceil_div(tasks, c.threads) * (_task_cost(c, shape, strip, used) + factors)


def _slice_cost(c: Convolution, shape: Shape, strip: Strip, slice_: int, k_block: int) -> float:
    filters = min(k_block, c.filters)
    used = ceil_div(filters, c.element.compute.lanes)
    k_tasks = ceil_div(min(slice_, c.filters), k_block)
    tasks = c.groups * count_strips(shape, strip, c.batch * c.output[0]) * k_tasks
    factors = used * c.channels * c.depth_taps * shape.places * c.target.vector_bytes
    foreign = 0 if k_tasks % c.threads == 0 else 1 - 1 / c.threads
    load = factors * (OWN + foreign * (FOREIGN - OWN))
    turns = ceil_div(tasks, c.threads)
    return turns * _task_cost(c, shape, strip, used) + load * (turns if factors > KEPT else 1)


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
    if chosen.panel_blocks:
        u_group = 0
    layout = Layout(c, chosen)
    scratch_at = FLAG + c.groups * u_group
    places = {"u_at": FLAG, "u_group": u_group, "scratch_at": scratch_at, "scratch": layout.scratch}
    phases = []
    for first in range(0, c.filters, chosen.slice):
        last = min(first + chosen.slice, c.filters)
        if not chosen.panel_blocks:
            shared = ceil_div(last - first, chosen.k_block) % c.threads != 0
            phases.append(_filter_phase(c, kernels[0], (first, last), shared, places))
        phases.append(_tile_phase(c, kernels[1], chosen, layout, first, last, places))
    return Plan(tuple(phases), scratch_at + layout.scratch * c.threads)


def _filter_phase(c: Convolution, kernel, filters: tuple[int, int], shared: bool, places) -> Phase:
    first, last = filters
    lanes, fields = c.element.compute.lanes, conv_winograd_filters.FIELDS
    steps = c.channels * c.depth_taps
    vectors, chunks = ceil_div(last - first, lanes), ceil_div(steps, lanes)
    tables, at = _filter_tables(c, len(fields.names))
    desc = fields.pack(
        filters=last, panels=vectors, first_filter=first, steps=steps, chunks=chunks,
        shared=shared, **at, **places,
    )  # fmt: skip
    grain = max(1, min(ceil_div(c.groups * vectors * chunks, 4 * c.threads), 8))
    return Phase(kernel, desc + tables, c.groups * vectors * chunks, grain)


def _filter_tables(c: Convolution, at: int) -> tuple[tuple[int, ...], dict[str, int]]:
    """Tables of taps and of steps; the desc's numbers for where the filters are."""
    size, line = c.element.size, c.target.vector_bytes
    taps = sorted((t for t in c.jobs[0].taps if t[1] == 0), key=lambda t: (t[3], t[4]))
    begin = min(t[0] for t in taps)
    starts = {t[1]: min(u[0] for u in c.jobs[0].taps if u[1] == t[1]) for t in c.jobs[0].taps}
    steps = tuple(
        (starts[z] + channel * c.w_channel) * size
        for z in range(c.depth_taps)
        for channel in range(c.channels)
    )
    numbers = {
        "w_group": c.w_group * size, "w_filter": c.w_row * size,
        "step_run": c.depth_taps == 1 and c.w_channel == len(taps),
        "tap_at": at, "step_at": at + len(taps),
    }  # fmt: skip
    return tuple((t[0] - begin) * line for t in taps) + steps, numbers


def _tile_phase(
    c: Convolution, kernel, chosen: Choice, layout: Layout, first: int, last: int, places
) -> Phase:
    shape, strip, size = chosen.shape, chosen.strip, c.element.size
    (d, h, w), (od, oh, ow) = c.input, c.output
    x_group, y_group = c.channels * d * h * w * size, c.filters * od * oh * ow * size
    k_tasks = ceil_div(last - first, chosen.k_block)
    planes = c.batch * od
    tables, at = layout.pixels.tables(len(conv_winograd.FIELDS.names), layout.out_pitch)
    filter_tables, filters_at = _filter_tables(c, len(conv_winograd.FIELDS.names) + len(tables))
    desc = conv_winograd.FIELDS.pack(
        x_image=c.groups * x_group, x_group=x_group, x_slice=h * w * size,
        y_image=c.groups * y_group, y_group=y_group, y_channel=od * oh * ow * size,
        y_slice=oh * ow * size, slice_of_output=c.slices[0], slice_of_tap=c.slices[1],
        slice_start=c.slices[2], out_rows=oh, out_columns=ow,
        plane_tasks=ceil_div(planes, strip.planes), filters=c.filters, first_filter=first,
        last_filter=last, k_block=chosen.k_block, k_tasks=k_tasks, steps=c.channels * c.depth_taps,
        has_bias=c.bias, relu=c.relu, **strip_numbers(shape, strip, planes, od),
        **layout.pixels.numbers(c.padding), **layout.numbers(), **at, **filters_at, **places,
    )  # fmt: skip
    tasks = c.groups * k_tasks * count_strips(shape, strip, planes)
    return Phase(kernel, desc + tables + filter_tables, tasks, 1)


class Pixels:
    """How the pixels of a strip of tiles lie in scratch memory, with channels along vectors."""

    def __init__(
        self,
        element: Element,
        shape: Shape,
        strip: Strip,
        input_: tuple[int, int, int],
        channels: int,
        depth_taps: int,
        gradient: bool = False,
        cropped: bool = False,
    ) -> None:
        self.shape, self.strip, self.input = shape, strip, input_
        self.channels, self.depth_taps, self.size = channels, depth_taps, element.size
        self.line, self.lanes = element.target.vector_bytes, element.compute.lanes
        down, across = shape.outputs
        margin = (0, 0) if gradient else shape.margin
        self.pitch = strip.columns * across + margin[1]
        self.rows = strip.rows * down + margin[0]
        self.blocks = depth_taps * ceil_div(channels, self.lanes)
        _, height, width = input_
        self.fetched = min(self.rows, height)
        # Rows of which a part is read are fetched one by one.
        split = strip.columns < shape.tile_columns or cropped
        self.by_row = split or self.fetched * width > 4096 or width % self.lanes == 0

    @property
    def scratch(self) -> int:
        """Bytes."""
        return round_up((self.rows + 1) * self.pitch * self.line, 64)

    def numbers(self, padding: tuple[int, int]) -> dict[str, int]:
        """The desc's numbers for them."""
        down, across = self.shape.outputs
        depth, height, width = self.input
        return {
            "in_depth": depth, "in_height": height, "in_width": width,
            "pad_h": padding[0], "pad_w": padding[1],
            "in_pitch": self.pitch, "in_by_row": self.by_row,
            "input_step": down * self.pitch * self.line,
            "column_input": self.strip.columns * across, "blocks": self.blocks,
        }  # fmt: skip

    def tables(self, at: int, out_pitch: int = 0) -> tuple[tuple[int, ...], dict[str, int]]:
        """Tables of blocks of channels, of tiles of a row and of pixels; where they start."""
        blocks, tiles = self._block_table(), self._tile_table(out_pitch)
        places = {"block_at": at, "tile_at": at + len(blocks)}
        places["pixel_at"] = places["tile_at"] + len(tiles)
        return (*blocks, *tiles, *self._pixel_table()), places

    def _block_table(self) -> list[int]:
        plane = self.input[0] * self.input[1] * self.input[2] * self.size
        return [
            n
            for z in range(self.depth_taps)
            for first in range(0, self.channels, self.lanes)
            for n in (min(self.lanes, self.channels - first), z, first * plane)
        ]

    def _tile_table(self, out_pitch: int) -> list[int]:
        """Bytes from a row's start to each tile of it, in the input and in the output.

        Last columns first: what their tiles write beyond the row is overwritten later.
        """
        shape = self.shape
        down = shape.dilation[0] if shape.height > 1 else 1
        table: list[int] = []
        for row in range(down):
            for column in range(shape.dilation[1]):
                for tile in reversed(range(self.strip.columns)):
                    x = column + tile * shape.outputs[1]
                    table += [(row * pitch + x) * self.line for pitch in (self.pitch, out_pitch)]
        return table

    def _pixel_table(self) -> list[int]:
        """Bytes from the first pixel fetched to each that follows."""
        if self.by_row:
            return [k * self.line for k in range(self.pitch)]
        rows, width = range(self.fetched), range(self.input[2])
        return [(r * self.pitch + x) * self.line for r in rows for x in width]


def strip_numbers(shape: Shape, strip: Strip, planes: int, depth: int) -> dict[str, int]:
    """The desc's numbers for strips of tiles."""
    return {
        "planes": planes, "plane_block": strip.planes, "depth": depth,
        "strips": ceil_div(shape.tile_rows, strip.rows), "strip_tiles": strip.rows,
        "tile_rows": shape.tile_rows, "row_tiles": strip.columns * shape.phases,
        "column_tasks": ceil_div(shape.tile_columns, strip.columns),
        "dilate_h": shape.dilation[0] if shape.height > 1 else 1, "dilate_w": shape.dilation[1],
    }  # fmt: skip


def count_strips(shape: Shape, strip: Strip, planes: int) -> int:
    """Strips of all planes."""
    down = ceil_div(planes, strip.planes) * ceil_div(shape.tile_rows, strip.rows)
    return down * ceil_div(shape.tile_columns, strip.columns)


class Layout:
    """Where a task's data lies in the scratch memory of its thread."""

    def __init__(self, c: Convolution, chosen: Choice) -> None:
        line, lanes = c.target.vector_bytes, c.element.compute.lanes
        shape, strip = chosen.shape, chosen.strip
        self.shape, self.strip, self.line = shape, strip, line
        cropped = c.padding[1] < 0  # a gradient whose margins met no output
        self.pixels = Pixels(
            c.element, shape, strip, c.input, c.channels, c.depth_taps, cropped=cropped
        )
        self.tiles = round_up(strip.count(shape), conv_winograd.tile_sizes(c.target)[0])
        down, across = shape.outputs
        # Tiles may write beyond the last column: the next row, written later, mends that.
        self.by_row = strip.columns < shape.tile_columns or shape.phases > 1
        self.out_pitch = strip.columns * across if self.by_row else c.output[2]
        # An odd number of lines: the factors of a tile then fall in different cache sets.
        self.place = (self.pixels.blocks * self.tiles | 1) * line
        self.sums = round_up(self.place * shape.places, 64)
        self.input = self.sums + (VECTORS * self.tiles + 1) * line * shape.places
        self.output = self.input + self.pixels.scratch
        lines = strip.rows * down * self.out_pitch + strip.columns * across + lanes
        taps = conv_winograd_filters.scratch_bytes(c.element, shape.height)
        self.made = chosen.panel_blocks > 0
        self.panel_blocks = chosen.panel_blocks or self.pixels.blocks
        # Filters' taps need memory only before there are results.
        self.taps = self.output
        self.panel = round_up(self.output + max(lines * line, taps), 64)
        self.panel_place = (self.panel_blocks * lanes * VECTORS | 1) * line
        panel = self.panel_place * shape.places if self.made else 0
        self.scratch = round_up(self.panel + panel, 64) + 64

    def numbers(self) -> dict[str, int]:
        """The desc's numbers for outputs and scratch memory."""
        down, across = self.shape.outputs
        return {
            "output_step": down * self.out_pitch * self.line,
            "column_output": self.strip.columns * across,
            "out_pitch": self.out_pitch, "out_by_row": self.by_row, "tiles": self.tiles,
            "places": self.place, "sums": self.sums, "input": self.input, "output": self.output,
            "made": self.made, "panel_blocks": self.panel_blocks, "panel": self.panel,
            "panel_place": self.panel_place, "taps": self.taps,
        }  # fmt: skip
