"""Plans for convolutions by strips of output rows (conv_strip)."""

from __future__ import annotations

from typing import NamedTuple

from . import conv_filters, conv_placed, conv_strip
from .conv_problem import Convolution
from .element import Element
from .plan import Phase, Plan, ceil_div, round_up
from .target import Target

# Register tiles (filters, vectors of pixels), by number of vector registers.
TILES = {
    32: [(1, 8), (2, 8), (3, 7), (4, 6), (6, 4), (8, 3), (10, 2)],
    16: [(1, 6), (2, 4), (3, 3), (4, 2), (6, 2)],
}
WORKSPACE = 3 << 17  # bytes of input a strip may copy: what the second-level cache holds
IN_PLACE = 3 << 18  # the same of input that is read where it lies
OUTSIDE = 1.2  # times the cycles that strips take whose copies that cache does not hold
K_BLOCK = 768
PLACES = 2048  # vectors of results of a strip whose places are listed, at most


class Choice(NamedTuple):
    """A tile, a strip, and the cycles they should take."""

    cost: float
    rows: int
    vectors: int
    strip_rows: int
    m_block: int
    placed: bool  # whether tiles write their results where they belong


def _choose_tile(target: Target, element: Element, filters: int) -> tuple[int, int]:
    """The tile with the least work for so many filters, by a count of its instructions."""
    registers = 32 if target.name in ("avx512", "neon") else 16
    tiles = TILES[registers]
    if element.complex:
        tiles = sorted({(max(1, rows // 2), vectors) for rows, vectors in tiles})

    def cost(tile: tuple[int, int]) -> float:
        rows, vectors = tile
        one = rows * vectors + 1 + 0.25 * rows + 0.6 * vectors
        return ceil_div(filters, rows) * one / vectors

    return min(tiles, key=cost)


def choose(c: Convolution) -> Choice:
    """The tile and strip with the least estimated time."""
    rows, vectors = _choose_tile(c.target, c.element, c.filters)
    cost, strip_rows, m_block = _choose_strip(c, c.element, rows, vectors)
    return Choice(cost, rows, vectors, strip_rows, m_block, _is_placed(c, rows, strip_rows))


def plan(s: Convolution, chosen: Choice) -> Plan:
    """The phases: packing of the filters where that pays, then the strips."""
    element = s.element
    phases = []
    filters_bytes = 0
    if s.pack:
        pack, filters_bytes = pack_filters(s, element, chosen.rows)
        phases.append(pack)
    layout = _Layout(s, element, chosen, filters_bytes)
    phases.append(layout.phase(chosen.rows, chosen.vectors))
    return Plan(tuple(phases), filters_bytes + layout.scratch * s.threads)


def pack_filters(s: Convolution, element: Element, rows: int) -> tuple[Phase, int]:
    """The phase that packs the filters, and the bytes of the workspace that they take."""
    panels = ceil_div(s.filters, rows)
    size = element.size
    offsets = [
        (c * s.w_channel + tap[0]) * size
        for job in s.jobs
        for c in range(s.channels)
        for tap in job.taps
    ]
    desc = conv_filters.FIELDS.pack(
        filters=s.filters, steps=s.steps, panels=panels, rows=rows,
        w_group=s.w_group * size, w_row=s.w_row * size,
    )  # fmt: skip
    tasks = s.groups * panels
    grain = max(1, min(tasks, ceil_div(1 << 14, s.steps * rows)))
    kernel = conv_filters.source(s.dtype, s.target)
    bytes_ = tasks * s.steps * rows * element.compute.size
    return Phase(kernel, desc + tuple(offsets), tasks, grain), round_up(bytes_, 64)


def _choose_strip(
    s: Convolution, element: Element, rows: int, vectors: int
) -> tuple[float, int, int]:
    """(cycles, rows of a strip, filters of a task) with the least estimated time."""
    best = None
    blocks = {1, min(s.threads, ceil_div(s.filters, rows))}
    for strips in _divisions(s.rows):
        strip_rows = ceil_div(s.rows, strips)
        plane = (strip_rows + s.extra[0]) * s.pitch * element.compute.size
        copied = len(s.phases) * s.channels * s.depth_taps * plane
        # Tiles that write their own results read the strip again for the next filters.
        again = IN_PLACE if _is_placed(s, rows, strip_rows) else copied
        if copied > (again if s.in_place else WORKSPACE) and strip_rows > 1:
            continue
        for m_tasks in sorted(blocks):
            m_block = round_up(ceil_div(s.filters, m_tasks), rows)
            cost = _strip_cost(s, element, rows, vectors, strip_rows, m_block)
            tasks = s.batch * s.groups * s.output[0] * strips * ceil_div(s.filters, m_block)
            if copied > WORKSPACE and not s.in_place:  # one long row: it comes from further away
                cost *= OUTSIDE
            total = cost * ceil_div(tasks, s.threads)
            if best is None or total < best[0]:
                best = (total, strip_rows, m_block)
    assert best is not None  # one row is always possible
    return best


def _divisions(count: int) -> list[int]:
    """Numbers of strips that differ in their number of rows, few to many."""
    found: dict[int, int] = {}
    for rows in range(count, 0, -1):
        found.setdefault(ceil_div(count, rows), rows)
    return sorted({ceil_div(count, rows) for rows in found.values()})


def _strip_cost(
    s: Convolution, element: Element, rows: int, vectors: int, strip_rows: int, m_block: int
) -> float:
    """Cycles of one task, roughly."""
    lanes = element.compute.lanes
    columns = (strip_rows - 1) * s.pitch + s.columns
    used = ceil_div(columns, lanes)
    whole, left = divmod(used, vectors)

    def step(width: int) -> float:
        return max(rows * width, rows / 2 + width, 4) + 0.6 if width else 0

    tiles = ceil_div(m_block, rows) * (whole * step(vectors) + step(left))
    jobs = len(s.jobs)
    compute = tiles * s.steps + tiles * jobs * 2
    copied = len(s.phases) * s.channels * s.depth_taps * (strip_rows + s.extra[0])
    vector = {1: 3, 2: 8}.get(s.stride[1], 2.5 * lanes)  # cycles to copy one
    copy = 0 if s.in_place else copied * (12 + vector * ceil_div(s.pitch, lanes))
    if _is_placed(s, rows, strip_rows):
        write = ceil_div(m_block, rows) * (ceil_div(used, vectors) * 15 + used * rows * 2)
    else:
        write = m_block * jobs * strip_rows * (8 + 4 * ceil_div(s.columns, lanes))
    return compute + copy + write + 300


def _is_placed(s: Convolution, rows: int, strip_rows: int) -> bool:
    """Whether tiles can write their results where they belong: all at once, in one piece."""
    element = s.element
    whole = len(s.jobs) == 1 and s.out_stride == (1, 1) and _k_block(s, rows) >= s.steps
    lanes = s.target.name == "avx512" and not element.complex and element.compute.width <= 16
    return whole and lanes and strip_rows * s.pitch <= PLACES * element.compute.lanes


def _k_block(s: Convolution, rows: int) -> int:
    """Steps of a sum that are taken at a time."""
    most = max(len(job.taps) for job in s.jobs) * s.channels
    if s.filters <= 2 * rows or most <= K_BLOCK:
        return max(most, 1)
    return ceil_div(most, ceil_div(most, K_BLOCK))


class _Layout:
    """Where a strip's data lies in the workspace, and the kernel's desc."""

    def __init__(self, s: Convolution, element: Element, chosen: Choice, shared: int) -> None:
        strip_rows, m_block = chosen.strip_rows, chosen.m_block
        self.s, self.element, self.placed = s, element, chosen.placed
        self.inner = element.compute
        self.strip_rows, self.m_block, self.shared = strip_rows, m_block, shared
        size, lanes = self.inner.size, self.inner.lanes
        self.plane = (strip_rows + s.extra[0]) * s.pitch
        planes = 0 if s.in_place else len(s.phases) * s.channels * s.depth_taps * self.plane
        slack = vectors_slack(self.inner)
        self.results = round_up(planes * size + slack, 64)
        columns = (strip_rows - 1) * s.pitch + s.columns
        # A row length that is a multiple of a page would map all rows to the same cache sets.
        self.result_row = (round_up(columns, lanes) + lanes) * size
        if self.result_row % 1024 == 0:
            self.result_row += 64
        kept = 0 if self.placed else m_block * self.result_row
        self.scratch = self.results + round_up(kept + slack, 64)

    def phase(self, rows: int, vectors: int) -> Phase:
        s = self.s
        strips = ceil_div(s.rows, self.strip_rows)
        m_tasks = ceil_div(s.filters, self.m_block)
        phase_at = len(conv_strip.FIELDS.names)
        job_at = phase_at + 2 * len(s.phases)
        jobs, tables = self._tables(job_at + conv_strip.JOB * len(s.jobs), rows)
        desc = conv_strip.FIELDS.pack(
            **s.places(), y_height=s.output[1], y_width=s.output[2],
            channels=s.channels, depth_taps=s.depth_taps, slice_of_output=s.slices[0],
            slice_of_tap=s.slices[1], slice_start=s.slices[2], slice_divisor=s.slices[3],
            stride_h=s.stride[0], stride_w=s.stride[1], pad_h=s.padding[0], pad_w=s.padding[1],
            phases=len(s.phases), phase_at=phase_at, in_place=s.in_place,
            filters=s.filters, m_block=self.m_block, m_tasks=m_tasks, groups=s.groups,
            depth=s.output[0], strips=strips, strip_rows=self.strip_rows, out_rows=s.rows,
            out_columns=s.columns, extra_rows=s.extra[0], pitch=s.pitch,
            jobs=len(s.jobs), job_at=job_at, k_block=_k_block(s, rows),
            **self._filter_places(rows),
            out_stride_h=s.out_stride[0], out_stride_w=s.out_stride[1],
            has_bias=s.bias, relu=s.relu, scratch_at=self.shared, scratch=self.scratch,
            results=self.results, result_row=self.result_row,
            place_at=job_at + len(jobs) + len(tables),
        )  # fmt: skip
        flat = tuple(n for phase in s.phases for n in phase) + jobs + tables
        if self.placed:
            flat += self._places()
        tasks = s.batch * s.groups * s.output[0] * strips * m_tasks
        module = conv_placed if self.placed else conv_strip
        kernel = module.source(s.dtype, s.target, rows, vectors)
        work = s.steps * self.m_block * self.strip_rows * s.pitch
        grain = max(1, min(ceil_div(tasks, 4 * s.threads), (1 << 17) // max(work, 1)))
        return Phase(kernel, desc + flat, tasks, grain)

    def _places(self) -> tuple[int, ...]:
        """For each vector of results its offset in the output and the lanes that are outputs."""
        s, lanes = self.s, self.inner.lanes
        found: list[int] = []
        for first in range(0, self.strip_rows * s.pitch, lanes):
            at = [divmod(k, s.pitch) for k in range(first, first + lanes)]
            numbers = [row * s.columns + min(column, s.columns) for row, column in at]
            bits = sum(1 << k for k, (_, column) in enumerate(at) if column < s.columns)
            found += [numbers[0] * self.element.size, bits]
        return tuple(found)

    def _filter_places(self, rows: int) -> dict[str, int]:
        s = self.s
        if not s.pack:
            size = self.element.size
            return {
                "w_argument": 2, "w_at": 0, "w_group": s.w_group * size, "w_row": s.w_row * size,
                "w_panel": rows * s.w_row * size,
            }  # fmt: skip
        panel = s.steps * rows * self.inner.size
        return {
            "w_argument": 4, "w_at": 0, "w_group": ceil_div(s.filters, rows) * panel,
            "w_row": self.inner.size, "w_panel": panel,
        }  # fmt: skip

    def _tables(self, at: int, rows: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """For each job (table, steps, row, column), and the tables of byte offsets."""
        s = self.s
        jobs: list[int] = []
        table: list[int] = []
        for job in s.jobs:
            jobs += [at + len(table), s.channels * len(job.taps), job.row, job.column]
            for channel in range(s.channels):
                for tap in job.taps:
                    packed = len(table) // 2 * rows * self.inner.size
                    plain = (channel * s.w_channel + tap[0]) * self.element.size
                    table += [packed if s.pack else plain, self._input_offset(channel, tap)]
        return tuple(jobs), tuple(table)

    def _input_offset(self, channel: int, tap: tuple[int, int, int, int, int]) -> int:
        s = self.s
        _, z, phase, row, column = tap
        if s.in_place:
            d, h, w = s.input
            plane = channel * d + z * s.slices[1]
            return (plane * h * w + row * w + column) * self.element.size
        plane = (phase * s.channels + channel) * s.depth_taps + z
        return (plane * self.plane + row * s.pitch + column) * self.inner.size


def vectors_slack(element: Element) -> int:
    """Bytes that whole-vector loads and stores may touch beyond the end of their data."""
    return 2 * element.target.vector_bytes
