"""Plans for the filter's gradient by Winograd's tiles (conv_winograd_weight)."""

from __future__ import annotations

from typing import NamedTuple

from . import conv_winograd_weight
from .conv_shape import Geometry
from .conv_winograd_plan import (
    FLAG,
    Pixels,
    Shape,
    Strip,
    count_strips,
    find_shape,
    input_cost,
    strip_numbers,
    strips,
)
from .element import Element
from .plan import Phase, Plan, ceil_div

FACTORS = 5 << 20  # bytes of factors kept at a time, about: what the last cache holds beside sums
SUMS = 1 << 24  # bytes of sums kept at a time
WHOLE = 3 << 23  # bytes of factors up to which they are kept for all strips
STRIP_TILES = 28  # of a task, about: there must be tasks enough for all threads


class Choice(NamedTuple):
    """How tiles and filters are cut up, and the cycles that should take."""

    cost: float
    shape: Shape
    strip: Strip
    run: int  # strips whose factors are kept at a time
    slice: int  # filters whose sums are kept at a time
    whole: bool  # one run, whose sums are never kept


def choose(g: Geometry, element: Element, threads: int) -> Choice | None:
    """The cuts with the least estimated time; None where the kernel does not serve."""
    if g.stride[1:] != (1, 1) or g.in_channels < 4 or g.out_channels < 4 or g.batch == 0:
        return None
    rows = [k * g.dilation[1] for k in range(g.kernel[1])]
    columns = [k * g.dilation[2] for k in range(g.kernel[2])]
    shape = find_shape(element, g.output, rows, columns)
    if shape is None:
        return None
    found = [
        _choose_run(g, element, threads, shape, strip)
        for strip in strips(shape, g.batch * g.output[0], STRIP_TILES)
    ]
    return min(found)


def _choose_run(g: Geometry, element: Element, threads: int, shape: Shape, strip: Strip) -> Choice:
    lanes, line = element.compute.lanes, element.target.vector_bytes
    steps = g.in_channels * g.kernel[0]
    blocks = g.kernel[0] * ceil_div(g.in_channels, lanes)
    per_vector = g.groups * steps * shape.places * line
    vectors = ceil_div(g.out_channels, lanes)
    count = count_strips(shape, strip, g.batch * g.output[0])
    tiles = strip.count(shape)
    all_factors = g.groups * shape.places * (blocks + vectors) * line * count * tiles
    if all_factors <= min(WHOLE, 4 * vectors * per_vector):
        cost = sum(_cost(g, element, shape, strip, (blocks, vectors, count)))
        return Choice(cost / threads, shape, strip, count, vectors * lanes, True)
    slices = ceil_div(vectors * per_vector, SUMS)
    used = ceil_div(vectors, slices)
    tile_bytes = g.groups * shape.places * (blocks + used) * line
    runs = ceil_div(count, max(1, FACTORS // (tile_bytes * tiles)))
    run = ceil_div(count, runs)
    cost, taps = _cost(g, element, shape, strip, (blocks, used, run))
    # Sums beyond the second-level cache are read and written by each run.
    traffic = used * per_vector / 5 if used * per_vector > 1 << 19 else 0
    total = ceil_div(vectors, used) * ((cost + 2 * traffic) * runs + taps + traffic) / threads
    return Choice(total + 3000 * runs, shape, strip, run, used * lanes, False)


def _cost(
    g: Geometry, element: Element, shape: Shape, strip: Strip, sizes: tuple[int, int, int]
) -> tuple[float, float]:
    """Cycles of one run, and of the taps at the end."""
    blocks, used, run = sizes
    lanes = element.compute.lanes
    steps = g.in_channels * g.kernel[0]
    rows, vectors = conv_winograd_weight.tile_shape(element.target, element)
    tiles = run * strip.count(shape)
    factors = g.groups * run * (blocks + used) * input_cost(lanes, shape, strip)
    widths = [vectors] * (used // vectors) + [used % vectors] * (used % vectors > 0)
    each = sum(tiles * (rows * w + 2) * 1.1 + rows * w * 4 + 30 for w in widths)
    in_block = min(lanes, g.in_channels)
    products = g.groups * shape.places * blocks * ceil_div(in_block, rows) * each
    taps = g.groups * steps * used * (shape.places * 5 + 120)
    return factors + products, taps


def plan(g: Geometry, element: Element, threads: int, chosen: Choice) -> Plan:
    """For each slice of filters: factors and products of each run of strips, then the taps."""
    return _Layout(g, element, threads, chosen).plan()


class _Layout:
    def __init__(self, g: Geometry, element: Element, threads: int, chosen: Choice) -> None:
        self.g, self.element, self.threads, self.chosen = g, element, threads, chosen
        self.shape, self.strip = chosen.shape, chosen.strip
        self.lanes, line = element.compute.lanes, element.target.vector_bytes
        self.steps = g.in_channels * g.kernel[0]
        self.planes = g.batch * g.output[0]
        self.pixels = Pixels(element, self.shape, self.strip, g.input, g.in_channels, g.kernel[0])
        self.vectors = ceil_div(min(chosen.slice, g.out_channels), self.lanes)
        self.strip_bytes = self.strip.count(self.shape) * line
        self.block = chosen.run * self.strip_bytes
        # An odd number of lines: the factors of a tile then fall in different cache sets.
        self.places_x = (self.pixels.blocks * self.block // line | 1) * line
        self.places_y = (self.vectors * self.block // line | 1) * line
        places = self.shape.places
        self.x_at = FLAG
        self.y_at = self.x_at + g.groups * places * self.places_x
        self.sums_at = self.y_at + g.groups * places * self.places_y
        self.sums_place = self.steps * self.vectors * line
        sums = 0 if chosen.whole else g.groups * places * self.sums_place
        self.scratch_at = self.sums_at + sums
        self.scratch = conv_winograd_weight.whole_scratch(element.target, element, places)

    def plan(self) -> Plan:
        g, chosen, element = self.g, self.chosen, self.element
        kernels = conv_winograd_weight.sources(element.dtype, element.target, self.shape.height)
        count = count_strips(self.shape, self.strip, self.planes)
        phases = []
        for first in range(0, g.out_channels, chosen.slice):
            last = min(first + chosen.slice, g.out_channels)
            for strip in range(0, count, chosen.run):
                run = min(chosen.run, count - strip)
                phases.append(self._factor_phase(kernels[0], (first, last), strip, run))
                if not chosen.whole:
                    phases.append(self._sum_phase(kernels[1], (first, last), strip, run))
            finish = self._whole_phase if chosen.whole else self._tap_phase
            phases.append(finish(kernels[3 if chosen.whole else 2], first, last))
        return Plan(tuple(phases), self.scratch_at + self.scratch * self.threads)

    def _places(self) -> dict[str, int]:
        places = self.shape.places
        return {
            "factors_at": self.x_at, "factors_group": places * self.places_x,
            "factors_place": self.places_x, "factors_block": self.block,
            "gradients_at": self.y_at, "gradients_group": places * self.places_y,
            "gradients_place": self.places_y, "gradients_block": self.block,
        }  # fmt: skip

    def _factor_phase(self, kernel, filters: tuple[int, int], strip: int, run: int) -> Phase:
        g, size, fields = self.g, self.element.size, conv_winograd_weight.FACTOR_FIELDS
        first, last = filters
        (d, h, w), (od, oh, ow) = g.input, g.output
        x_group, y_group = g.in_channels * d * h * w * size, g.out_channels * od * oh * ow * size
        gradients = Pixels(
            self.element, self.shape, self.strip, g.output, last - first, 1, gradient=True
        )
        self.scratch = max(self.scratch, self.pixels.scratch, gradients.scratch)
        tables, at = self.pixels.tables(len(fields.names))
        y_tables, y_at = gradients.tables(len(fields.names) + len(tables))
        skipped = first * od * oh * ow * size
        y_tables = _move_blocks(y_tables, gradients.blocks, skipped)
        own = {f"y_{name}": n for name, n in (gradients.numbers((0, 0)) | y_at).items()}
        desc = fields.pack(
            x_image=g.groups * x_group, x_group=x_group, x_slice=h * w * size,
            slice_of_output=g.stride[0], slice_of_tap=g.dilation[0], slice_start=-g.padding[0],
            y_image=g.groups * y_group, y_group=y_group, y_slice=oh * ow * size,
            first_strip=strip, strip_count=run, strip_bytes=self.strip_bytes,
            scratch_at=self.scratch_at, scratch=self.scratch, **self._places(),
            **strip_numbers(self.shape, self.strip, self.planes, od),
            **self.pixels.numbers(g.padding[1:]), **at, **own,
        )  # fmt: skip
        tasks = g.groups * run * (self.pixels.blocks + gradients.blocks)
        return Phase(kernel, desc + tables + y_tables, tasks, max(1, min(4, tasks // 16)))

    def _sum_phase(self, kernel, filters: tuple[int, int], strip: int, run: int) -> Phase:
        g, fields = self.g, conv_winograd_weight.SUM_FIELDS
        first, last = filters
        desc = fields.pack(
            tiles=run * self.strip.count(self.shape), later=strip > 0, blocks=self.pixels.blocks,
            block_at=len(fields.names), vectors=ceil_div(last - first, self.lanes),
            sums_at=self.sums_at, sums_group=self.shape.places * self.sums_place,
            sums_place=self.sums_place, **self._places(),
        )  # fmt: skip
        tasks = g.groups * self.shape.places * self.pixels.blocks
        return Phase(kernel, desc + self._blocks(), tasks, max(1, min(4, tasks // 16)))

    def _blocks(self) -> tuple[int, ...]:
        """(channels, first step) of each block of channels."""
        g = self.g
        return tuple(
            n
            for z in range(g.kernel[0])
            for c in range(0, g.in_channels, self.lanes)
            for n in (min(self.lanes, g.in_channels - c), z * g.in_channels + c)
        )

    def _steps(self) -> tuple[int, ...]:
        """Byte offset in a filter's gradient of each step's taps."""
        g, size = self.g, self.element.size
        plane = g.kernel[1] * g.kernel[2]
        return tuple(
            (c * g.kernel[0] + z) * plane * size
            for z in range(g.kernel[0])
            for c in range(g.in_channels)
        )

    def _filter_places(self) -> dict[str, int]:
        g, size = self.g, self.element.size
        filter_ = self.steps * g.kernel[1] * g.kernel[2] * size
        return {"w_group": g.out_channels * filter_, "w_filter": filter_}

    def _whole_phase(self, kernel, first: int, last: int) -> Phase:
        g, fields = self.g, conv_winograd_weight.WHOLE_FIELDS
        blocks, steps = self._blocks(), self._steps()
        vectors = ceil_div(last - first, self.lanes)
        _, width = conv_winograd_weight.tile_shape(self.element.target, self.element)
        at = len(fields.names)
        desc = fields.pack(
            tiles=self.chosen.run * self.strip.count(self.shape), blocks=self.pixels.blocks,
            block_at=at, vectors=vectors, panels=ceil_div(vectors, width), filters=last,
            first_filter=first, step_at=at + len(blocks), scratch_at=self.scratch_at,
            scratch=self.scratch, **self._places(), **self._filter_places(),
        )  # fmt: skip
        tasks = g.groups * self.pixels.blocks * ceil_div(vectors, width)
        return Phase(kernel, desc + blocks + steps, tasks, 1)

    def _tap_phase(self, kernel, first: int, last: int) -> Phase:
        g, fields, steps = self.g, conv_winograd_weight.TAP_FIELDS, self._steps()
        vectors, chunks = ceil_div(last - first, self.lanes), ceil_div(len(steps), self.lanes)
        desc = fields.pack(
            groups=g.groups, vectors=vectors, steps=len(steps), chunks=chunks, filters=last,
            first_filter=first, sums_at=self.sums_at,
            sums_group=self.shape.places * self.sums_place, sums_place=self.sums_place,
            step_at=len(fields.names), **self._filter_places(),
        )  # fmt: skip
        tasks = g.groups * vectors * chunks
        return Phase(kernel, desc + steps, tasks, max(1, min(8, tasks // 8)))


def _move_blocks(tables: tuple[int, ...], blocks: int, offset: int) -> tuple[int, ...]:
    """The tables with `offset` bytes added to the start of each block of channels."""
    moved = list(tables)
    for k in range(blocks):
        moved[3 * k + 2] += offset
    return tuple(moved)
