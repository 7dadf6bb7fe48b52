"""Plans for convolutions with images along vectors (conv_images)."""

from __future__ import annotations

from typing import NamedTuple

from . import conv_images
from .conv_problem import Convolution
from .conv_strip_plan import TILES, pack_filters
from .plan import Phase, Plan, ceil_div, round_up

WORKSPACE = 3 << 18  # bytes of input and results of a strip: most of a second-level cache
MOST_TABLE = 1 << 14  # numbers of all tables: small problems only
TURN = 110  # cycles to transpose a square of a vector's width


class Choice(NamedTuple):
    """A tile, a strip, and the cycles they should take."""

    cost: float
    rows: int
    vectors: int
    strip_rows: int


def choose(c: Convolution) -> Choice | None:
    """The tile and strip with the least estimated time; None where the kernel does not serve."""
    if not _serves(c):
        return None
    registers = 32 if c.target.name in ("avx512", "neon") else 16
    found = []
    for rows, vectors in TILES[registers]:
        for strips in range(1, min(c.rows, 2 * c.threads) + 1):
            strip_rows = ceil_div(c.rows, strips)
            if _planes(c, strip_rows) + _results(c, strip_rows) > WORKSPACE:
                continue
            tasks = ceil_div(c.batch, c.element.lanes) * c.groups * ceil_div(c.rows, strip_rows)
            cost = _cost(c, rows, vectors) * strip_rows / c.rows + 300
            found.append(Choice(cost * ceil_div(tasks, c.threads), rows, vectors, strip_rows))
    return min(found, default=None)


def _serves(c: Convolution) -> bool:
    element = c.element
    if element.complex or element.compute.width > 16 or c.batch < element.lanes:
        return False
    plane = c.input[0] == c.output[0] == c.depth_taps == c.slices[3] == 1 and c.slices[2] == 0
    whole = c.stride == c.out_stride == (1, 1) and len(c.jobs) == 1 and len(c.phases) == 1
    if not plane or not whole or c.steps == 0:
        return False
    if c.padding[1] < 0 or c.padding[1] + c.input[2] > c.pitch:  # columns that no output meets
        return False
    return 2 * c.steps * ceil_div(c.columns, 2) + c.input[1] * c.input[2] <= MOST_TABLE


def _rows_of_taps(c: Convolution) -> list[int]:
    return sorted({tap[3] for tap in c.jobs[0].taps})


def _ranges(c: Convolution) -> list[tuple[int, int]]:
    """For each output row, which of the filter's rows (first and end) meet the input."""
    taps, found = _rows_of_taps(c), []
    for y in range(c.rows):
        inside = [0 <= y + row - c.padding[0] < c.input[1] for row in taps]
        first = inside.index(True) if True in inside else 0
        found.append((first, first + sum(inside)))
    return found


def _columns_met(c: Convolution, first: int, last: int) -> list[int]:
    """The filter's columns that meet the input from some output of first..last."""
    low, high = c.padding[1] - last, c.padding[1] + c.input[2] - first
    columns = sorted({tap[4] for tap in c.jobs[0].taps})
    return [column for column in columns if low <= column < high]


def _cost(c: Convolution, rows: int, vectors: int) -> float:
    """Cycles of a vector of images of one group."""
    lines = sum(end - first for first, end in _ranges(c))
    tiles = 0.0
    for x in range(0, c.columns, vectors):
        width = min(vectors, c.columns - x)
        steps = c.channels * len(_columns_met(c, x, x + width - 1))
        one = max(rows * width, 4) + 1 + 0.25 * rows + 0.6 * width
        tiles += steps * lines * one + c.rows * (10 + rows * width)
    lanes = c.element.lanes
    turned: float = c.channels * ceil_div(c.input[1] * c.input[2], lanes)
    turned += 1.3 * c.filters * ceil_div(c.rows * c.columns, lanes)
    return tiles * ceil_div(c.filters, rows) + turned * TURN


def _plane(c: Convolution, strip_rows: int) -> int:
    return (strip_rows + c.extra[0]) * c.pitch * c.target.vector_bytes


def _planes(c: Convolution, strip_rows: int) -> int:
    return c.channels * _plane(c, strip_rows)


def _result_row(c: Convolution, strip_rows: int) -> int:
    """Bytes of one filter's results; an odd number of vectors: rows differ in their cache sets."""
    return (round_up(strip_rows * c.columns, c.element.lanes) | 1) * c.target.vector_bytes


def _results(c: Convolution, strip_rows: int) -> int:
    return c.filters * _result_row(c, strip_rows) + c.element.lanes * c.target.vector_bytes


def plan(c: Convolution, chosen: Choice) -> Plan:
    """Packing of the filters where that pays, then the strips."""
    element, vector = c.element, c.target.vector_bytes
    rows, strip_rows = chosen.rows, chosen.strip_rows
    phases, shared = [], 0
    if c.pack:
        pack, shared = pack_filters(c, element, rows)
        phases.append(pack)
    planes = _planes(c, strip_rows)
    scratch = planes + _results(c, strip_rows)
    at = len(conv_images.FIELDS.names)
    margins = _margins(c)
    margin_at, range_at = at, at + len(margins)
    pixel_at = range_at + conv_images.RANGE * c.rows
    tile_at = pixel_at + c.input[1] * c.input[2]
    tiles = _tiles(c, chosen, tile_at)
    strips = ceil_div(c.rows, strip_rows)
    places = c.places()
    desc = conv_images.FIELDS.pack(
        images=c.batch,
        **{name: places[name] for name in ("x_image", "x_group", "x_channel")},
        **{name: places[name] for name in ("y_image", "y_group", "y_channel")},
        groups=c.groups, channels=c.channels, filters=c.filters, strips=strips,
        strip_rows=strip_rows, out_rows=c.rows, out_columns=c.columns, in_height=c.input[1],
        in_width=c.input[2], first_row=-c.padding[0], row_bytes=c.pitch * vector,
        plane=_plane(c, strip_rows), margins=len(margins) // conv_images.MARGIN,
        margin_at=margin_at, tiles=ceil_div(c.columns, chosen.vectors), tile_at=tile_at,
        range_at=range_at, pixel_at=pixel_at, **_filter_places(c, rows), has_bias=c.bias,
        relu=c.relu, scratch_at=shared, scratch=scratch, results=planes,
        result_row=_result_row(c, strip_rows),
    )  # fmt: skip
    ranges = tuple(n for pair in _ranges(c) for n in pair)
    tasks = ceil_div(c.batch, element.lanes) * c.groups * strips
    kernel = conv_images.source(c.dtype, c.target, rows, chosen.vectors)
    phases.append(Phase(kernel, desc + margins + ranges + _pixels(c) + tiles, tasks, 1))
    return Plan(tuple(phases), shared + scratch * c.threads)


def _filter_places(c: Convolution, rows: int) -> dict[str, int]:
    size = c.element.compute.size
    if not c.pack:
        return {
            "w_argument": 2, "w_group": c.w_group * size, "w_row": c.w_row * size,
            "w_panel": rows * c.w_row * size,
        }  # fmt: skip
    panel = c.steps * rows * size
    return {
        "w_argument": 4, "w_group": ceil_div(c.filters, rows) * panel, "w_row": size,
        "w_panel": panel,
    }  # fmt: skip


def _margins(c: Convolution) -> tuple[int, ...]:
    """Runs of columns of zeros: where they start in a row, their lengths."""
    vector = c.target.vector_bytes
    left = min(c.padding[1], c.pitch)
    right = max(c.pitch - c.padding[1] - c.input[2], 0)
    found: tuple[int, ...] = ()
    if left > 0:
        found += (0, left * vector)
    if right > 0:
        found += ((c.pitch - right) * vector, right * vector)
    return found


def _pixels(c: Convolution) -> tuple[int, ...]:
    """Byte offset in a plane of each pixel of the input."""
    vector = c.target.vector_bytes
    _, height, width = c.input
    return tuple(
        (row * c.pitch + c.padding[1] + column) * vector
        for row in range(height)
        for column in range(width)
    )


def _tiles(c: Convolution, chosen: Choice, at: int) -> tuple[int, ...]:
    """The tiles of columns, then for each the steps of its sum: offsets in filter and planes.

    Steps run over the filter's rows, then channels, then the columns that meet the input.
    """
    size, vector = c.element.compute.size, c.target.vector_bytes
    taps = c.jobs[0].taps
    plane = _plane(c, chosen.strip_rows)
    heads: list[int] = []
    table: list[int] = []
    count = ceil_div(c.columns, chosen.vectors)
    table_at = at + conv_images.TILE * count
    for x in range(0, c.columns, chosen.vectors):
        met = set(_columns_met(c, x, min(x + chosen.vectors, c.columns) - 1))
        heads += [x, table_at + len(table), c.channels * len(met)]
        for row in _rows_of_taps(c):
            for channel in range(c.channels):
                for number, tap in enumerate(taps):
                    if tap[3] != row or tap[4] not in met:
                        continue
                    packed = (channel * len(taps) + number) * chosen.rows * size
                    plain = (channel * c.w_channel + tap[0]) * size
                    table += [
                        packed if c.pack else plain,
                        channel * plane + (row * c.pitch + tap[4]) * vector,
                    ]
    return tuple(heads + table)
