"""Plans for convolutions that read planes where they lie (conv_masked)."""

from __future__ import annotations

from typing import NamedTuple

from . import conv_masked
from .conv_problem import Convolution
from .conv_strip_plan import K_BLOCK, TILES
from .plan import Phase, Plan, ceil_div, round_up

WORKSPACE = 3 << 17  # bytes of input of a task: what the second-level cache holds
MOST_TABLE = 1 << 14  # numbers of all tables


class Choice(NamedTuple):
    """A tile, a task, and the cycles they should take."""

    cost: float
    rows: int
    vectors: int
    m_block: int
    v_block: int


def choose(c: Convolution) -> Choice | None:
    """The tile and task with the least estimated time; None where the kernel does not serve."""
    if not _serves(c):
        return None
    return min(_choose_task(c, *tile) for tile in TILES[32])


def _serves(c: Convolution) -> bool:
    element = c.element
    if c.target.name != "avx512" or element.complex or element.compute is not element:
        return False
    if element.width > 16 or c.pack or len(c.jobs) > 1 or c.in_place or c.steps == 0:
        return False
    whole = c.stride == c.out_stride == (1, 1) and c.slices[3] == c.depth_taps == 1
    if not whole or c.slices[2] or c.output[2] > c.input[2] or len(c.phases) > 1:
        return False
    if c.steps > K_BLOCK:
        return False
    tables = conv_masked.STEP * c.steps + _vectors(c) * (2 + ceil_div(len(c.jobs[0].taps), 4))
    return tables <= MOST_TABLE


def _vectors(c: Convolution) -> int:
    """Vectors of pixels of a plane, counted along the rows of the input."""
    return ceil_div((c.rows - 1) * c.input[2] + c.columns, c.element.lanes)


def _choose_task(c: Convolution, rows: int, vectors: int) -> Choice:
    all_vectors, panels = _vectors(c), ceil_div(c.filters, rows)
    line = c.channels * c.target.vector_bytes
    least = ceil_div(all_vectors, max(WORKSPACE // line, vectors))
    found = []
    for parts in {least, round_up(least, c.threads)}:
        v_block = round_up(ceil_div(all_vectors, parts), vectors)
        for blocks in {1, min(c.threads, panels)}:
            m_block = ceil_div(panels, blocks) * rows
            tasks = ceil_div(all_vectors, v_block) * ceil_div(c.filters, m_block)
            tasks *= c.batch * c.groups * c.output[0]
            cost = _cost(c, rows, vectors, min(m_block, c.filters), min(v_block, all_vectors))
            cost *= ceil_div(tasks, c.threads)
            found.append(Choice(cost, rows, vectors, m_block, v_block))
    return min(found)


def _cost(c: Convolution, rows: int, vectors: int, filters: int, pixels: int) -> float:
    """Cycles of one task, roughly."""

    def sums(width: int) -> float:
        one = max(rows * width, rows / 2 + 1.5 * width, 4) * 1.08 + 0.6 + 0.3 * width
        return one * c.steps + 50 + 2 * rows * width if width else 0

    whole, left = divmod(pixels, vectors)
    return ceil_div(filters, rows) * (whole * sums(vectors) + sums(left)) + 100


def plan(c: Convolution, chosen: Choice) -> Plan:
    """One phase over tiles of planes."""
    size, places = c.element.size, c.places()
    table_at = len(conv_masked.FIELDS.names)
    all_vectors = _vectors(c)
    masks = _masks(c, all_vectors)
    table = _table(c, 8 * len(masks) // len(c.jobs[0].taps))
    listed = _places(c, all_vectors)
    v_tasks, m_tasks = ceil_div(all_vectors, chosen.v_block), ceil_div(c.filters, chosen.m_block)
    names = ("x_image", "x_group", "x_slice", "y_image", "y_group", "y_channel", "y_slice")
    desc = conv_masked.FIELDS.pack(
        **{name: places[name] for name in names}, groups=c.groups, depth=c.output[0],
        slice_of_output=c.slices[0], filters=c.filters, m_block=chosen.m_block, m_tasks=m_tasks,
        vectors=all_vectors, v_block=chosen.v_block, v_tasks=v_tasks,
        columns=(c.rows - 1) * c.input[2] + c.columns, steps=c.steps, w_group=c.w_group * size,
        w_row=c.w_row * size, has_bias=c.bias, relu=c.relu, table_at=table_at,
        place_at=table_at + len(table), mask_at=table_at + len(table) + len(listed),
    )  # fmt: skip
    tasks = c.batch * c.groups * c.output[0] * v_tasks * m_tasks
    work = c.steps * chosen.m_block * chosen.v_block * c.element.lanes
    grain = max(1, min(ceil_div(tasks, 4 * c.threads), (1 << 17) // work))
    kernel = conv_masked.source(c.dtype, c.target, chosen.rows, chosen.vectors)
    return Plan((Phase(kernel, desc + table + listed + masks, tasks, grain),), 0)


def _table(c: Convolution, mask_row: int) -> tuple[int, ...]:
    """For each step, (channel, tap), byte offsets in the filter, the planes and the masks."""
    size, (_, height, width) = c.element.size, c.input
    plane = c.input[0] * height * width
    table: list[int] = []
    for channel in range(c.channels):
        for number, (filter_at, _, _, row, column) in enumerate(c.jobs[0].taps):
            pixel = (row - c.padding[0]) * width + column - c.padding[1]
            table += [
                (channel * c.w_channel + filter_at) * size,
                (channel * plane + pixel) * size,
                number * mask_row,
            ]
    return tuple(table)


def _places(c: Convolution, vectors: int) -> tuple[int, ...]:
    """For each vector its offset in the output and the lanes that are outputs."""
    lanes, found = c.element.lanes, []
    for first in range(0, vectors * lanes, lanes):
        at = [divmod(k, c.input[2]) for k in range(first, first + lanes)]
        bits = sum(1 << k for k, (_, column) in enumerate(at) if column < c.columns)
        row, column = at[0]
        found += [(row * c.columns + min(column, c.columns)) * c.element.size, bits]
    return tuple(found)


def _masks(c: Convolution, vectors: int) -> tuple[int, ...]:
    """For each tap and vector the lanes that meet the input: 16 bits each, four in a number."""
    lanes, (_, height, width) = c.element.lanes, c.input
    packed = bytearray()
    for _, _, _, row, column in c.jobs[0].taps:
        y, x = row - c.padding[0], column - c.padding[1]
        inside = "".join("01"[0 <= k + x < width] for k in range(width))
        lines = [inside if 0 <= k + y < height else "0" * width for k in range(c.rows)]
        length = round_up(vectors, 4) * lanes
        bits = "".join(lines).ljust(length, "0")[:length]
        for first in range(0, len(bits), lanes):
            packed += int(bits[first : first + lanes][::-1], 2).to_bytes(conv_masked.MASK, "little")
    words = range(0, len(packed), 8)
    return tuple(int.from_bytes(packed[k : k + 8], "little", signed=True) for k in words)
