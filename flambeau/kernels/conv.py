"""Plans for convolutions and their gradients, in one to three spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from . import conv_filters, conv_strip
from .conv_shape import Geometry, geometry
from .element import Element
from .plan import Phase, Plan, ceil_div, round_up
from .target import Target, host

# Register tiles (filters, vectors of pixels), by number of vector registers.
TILES = {32: [(3, 7), (4, 6), (6, 4), (8, 3), (12, 2)], 16: [(2, 4), (3, 3), (4, 2), (6, 2)]}
WORKSPACE = 3 << 17  # bytes of input a strip may copy: what the second-level cache holds
K_BLOCK = 768
PACK_FILTERS = 1 << 14  # filters with more numbers than this are packed for the gradient


class _Job(NamedTuple):
    """The taps of one phase of the output's stride."""

    taps: list[tuple[int, int, int, int, int]]  # filter offset, depth tap, phase, row, column
    row: int
    column: int


class _Strip(NamedTuple):
    """A convolution as conv_strip sees it; distances in elements."""

    dtype: str
    target: Target
    threads: int
    batch: int
    groups: int
    channels: int
    filters: int
    input: tuple[int, int, int]
    output: tuple[int, int, int]
    slices: tuple[int, int, int, int]  # of output, of tap, start, divisor
    depth_taps: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    out_stride: tuple[int, int]
    phases: list[tuple[int, int]]
    jobs: list[_Job]
    w_row: int
    w_channel: int
    w_group: int
    bias: bool
    relu: bool
    in_place: bool
    pack: bool

    @property
    def rows(self) -> int:
        """Rows of outputs of a job."""
        return ceil_div(self.output[1], self.out_stride[0])

    @property
    def columns(self) -> int:
        """Columns of outputs of a job."""
        return ceil_div(self.output[2], self.out_stride[1])

    @property
    def extra(self) -> tuple[int, int]:
        """Rows and columns that taps reach beyond the outputs."""
        taps = [tap for job in self.jobs for tap in job.taps]
        return max((t[3] for t in taps), default=0), max((t[4] for t in taps), default=0)

    @property
    def pitch(self) -> int:
        """Elements from one row of the (copied) input to the next."""
        return self.input[2] if self.in_place else self.columns + self.extra[1]

    @property
    def steps(self) -> int:
        """Steps of the sum, all jobs together."""
        return self.channels * sum(len(job.taps) for job in self.jobs)


def plan_conv_forward(
    dtype: str,
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    threads: int,
    *,
    bias: bool,
    activation: str | None = None,
    target: Target | None = None,
) -> Plan:
    """y = conv(x, w) [+ bias], [relu]; contiguous tensors; args: y, x, w, bias or null, workspace."""
    g = geometry(x_shape, w_shape, stride, padding, dilation, groups)
    target = target or host()
    element = Element(dtype, target)
    taps, phases = _forward_taps(g)
    plain = g.stride[1:] == (1, 1) and g.padding == (0, 0, 0)
    return _plan_strips(
        _Strip(
            dtype, target, threads, g.batch, g.groups, g.in_channels, g.out_channels,
            input=g.input, output=g.output,
            slices=(g.stride[0], g.dilation[0], -g.padding[0], 1), depth_taps=g.kernel[0],
            stride=g.stride[1:], padding=g.padding[1:], out_stride=(1, 1),
            phases=phases, jobs=[_Job(taps, 0, 0)],
            w_row=g.in_channels * g.taps, w_channel=g.taps,
            w_group=g.out_channels * g.in_channels * g.taps,
            bias=bias, relu=activation == "relu",
            in_place=plain and element.masked and element.compute is element,
            pack=element.compute is not element,
        )
    )  # fmt: skip


def plan_conv_backward_data(
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
    """dx from dy and w; args: dx, dy, w, null, workspace.

    Also the transposed convolution of dy with w, where x_shape is the shape of its result.
    """
    g = geometry(x_shape, w_shape, stride, padding, dilation, groups)
    target = target or host()
    element = Element(dtype, target)
    jobs, padding_of = _backward_jobs(g)
    weights = g.out_channels * g.in_channels * g.taps
    return _plan_strips(
        _Strip(
            dtype, target, threads, g.batch, g.groups, g.out_channels, g.in_channels,
            input=g.output, output=g.input,
            slices=(1, -g.dilation[0], g.padding[0], g.stride[0]), depth_taps=g.kernel[0],
            stride=(1, 1), padding=padding_of, out_stride=g.stride[1:],
            phases=[(0, 0)], jobs=jobs,
            w_row=g.taps, w_channel=g.in_channels * g.taps, w_group=weights,
            bias=False, relu=False, in_place=False,
            pack=element.compute is not element or weights > PACK_FILTERS,
        )
    )  # fmt: skip


def _forward_taps(g: Geometry) -> tuple[list[tuple[int, int, int, int, int]], list[tuple[int, int]]]:
    """Taps with the phase of the stride each one reads, and the phases in use."""
    _, sh, sw = g.stride
    _, dh, dw = g.dilation
    kd, kh, kw = g.kernel
    phases = sorted({(y * dh % sh, x * dw % sw) for y in range(kh) for x in range(kw)})
    number = {phase: k for k, phase in enumerate(phases)}
    taps = []
    for z in range(kd):
        for y in range(kh):
            for x in range(kw):
                phase = number[y * dh % sh, x * dw % sw]
                taps.append(((z * kh + y) * kw + x, z, phase, y * dh // sh, x * dw // sw))
    return taps, phases


def _backward_jobs(g: Geometry) -> tuple[list[_Job], tuple[int, int]]:
    """For each phase of the stride its taps, in coordinates of the padded gradient; that padding."""
    _, kh, kw = g.kernel
    (_, sh, sw), (_, ph, pw), (_, dh, dw) = g.stride, g.padding, g.dilation
    rows = [_meeting_taps(a, kh, sh, ph, dh) for a in range(sh)]
    columns = [_meeting_taps(c, kw, sw, pw, dw) for c in range(sw)]
    top = -min((q for taps in rows for _, q in taps), default=0)
    left = -min((q for taps in columns for _, q in taps), default=0)
    jobs = []
    for a in range(sh):
        for c in range(sw):
            taps = [
                ((z * kh + y) * kw + x, z, 0, qy + top, qx + left)
                for z in range(g.kernel[0])
                for y, qy in rows[a]
                for x, qx in columns[c]
            ]
            jobs.append(_Job(taps, a, c))
    return jobs, (top, left)


def _meeting_taps(phase: int, kernel: int, stride: int, padding: int, dilation: int):
    """(tap, output - i) of the taps through which input i * stride + phase meets an output."""
    reach = [(k, phase + padding - k * dilation) for k in range(kernel)]
    return [(k, at // stride) for k, at in reach if at % stride == 0]


# ---- strips ------------------------------------------------------------------------------------------


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


def _plan_strips(s: _Strip) -> Plan:
    if s.batch == 0 or s.groups == 0 or s.filters == 0:
        return Plan((), 0)
    element = Element(s.dtype, s.target)
    rows, vectors = _choose_tile(s.target, element, s.filters)
    strip_rows, m_block = _choose_strip(s, element, rows, vectors)
    phases = []
    filters_bytes = 0
    if s.pack:
        pack, filters_bytes = _pack_filters(s, element, rows)
        phases.append(pack)
    layout = _Layout(s, element, strip_rows, m_block, filters_bytes)
    phases.append(layout.phase(rows, vectors))
    return Plan(tuple(phases), filters_bytes + layout.scratch * s.threads)


def _pack_filters(s: _Strip, element: Element, rows: int) -> tuple[Phase, int]:
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


def _choose_strip(s: _Strip, element: Element, rows: int, vectors: int) -> tuple[int, int]:
    """(rows of a strip, filters of a task) with the least estimated time on s.threads threads."""
    best = None
    blocks = {1, min(s.threads, ceil_div(s.filters, rows))}
    for strips in _divisions(s.rows):
        strip_rows = ceil_div(s.rows, strips)
        plane = (strip_rows + s.extra[0]) * s.pitch * element.compute.size
        copied = len(s.phases) * s.channels * s.depth_taps * plane
        if copied > WORKSPACE and strip_rows > 1 and not s.in_place:
            continue
        for m_tasks in sorted(blocks):
            m_block = round_up(ceil_div(s.filters, m_tasks), rows)
            cost = _strip_cost(s, element, rows, vectors, strip_rows, m_block)
            tasks = s.batch * s.groups * s.output[0] * strips * ceil_div(s.filters, m_block)
            total = cost * ceil_div(tasks, s.threads)
            if best is None or total < best[0]:
                best = (total, strip_rows, m_block)
    assert best is not None  # one row is always possible
    return best[1], best[2]


def _divisions(count: int) -> list[int]:
    """Numbers of strips that differ in their number of rows, few to many."""
    found: dict[int, int] = {}
    for rows in range(count, 0, -1):
        found.setdefault(ceil_div(count, rows), rows)
    return sorted({ceil_div(count, rows) for rows in found.values()})


def _strip_cost(
    s: _Strip, element: Element, rows: int, vectors: int, strip_rows: int, m_block: int
) -> float:
    """Cycles of one task, roughly."""
    lanes = element.compute.lanes
    columns = (strip_rows - 1) * s.pitch + s.columns
    used = ceil_div(columns, lanes)
    whole, left = divmod(used, vectors)

    def step(width: int) -> float:
        return max(rows * width, 4) + 1 + 0.25 * rows + 0.6 * width if width else 0

    tiles = ceil_div(m_block, rows) * (whole * step(vectors) + step(left))
    jobs = len(s.jobs)
    compute = tiles * s.steps + tiles * jobs * 2
    copied = len(s.phases) * s.channels * s.depth_taps * (strip_rows + s.extra[0])
    copy = 0 if s.in_place else copied * (12 + 3 * ceil_div(s.pitch, lanes))
    write = m_block * jobs * strip_rows * (8 + 4 * ceil_div(s.columns, lanes))
    return compute + copy + write + 300


class _Layout:
    """Where a strip's data lies in the workspace, and the kernel's desc."""

    def __init__(
        self, s: _Strip, element: Element, strip_rows: int, m_block: int, shared: int
    ) -> None:
        self.s, self.element = s, element
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
        self.scratch = self.results + round_up(m_block * self.result_row + slack, 64)

    def phase(self, rows: int, vectors: int) -> Phase:
        s = self.s
        strips = ceil_div(s.rows, self.strip_rows)
        m_tasks = ceil_div(s.filters, self.m_block)
        phase_at = len(conv_strip.FIELDS.names)
        job_at = phase_at + 2 * len(s.phases)
        jobs, tables = self._tables(job_at + conv_strip.JOB * len(s.jobs), rows)
        desc = conv_strip.FIELDS.pack(
            **self._places(),
            channels=s.channels, depth_taps=s.depth_taps, slice_of_output=s.slices[0],
            slice_of_tap=s.slices[1], slice_start=s.slices[2], slice_divisor=s.slices[3],
            stride_h=s.stride[0], stride_w=s.stride[1], pad_h=s.padding[0], pad_w=s.padding[1],
            phases=len(s.phases), phase_at=phase_at, in_place=s.in_place,
            filters=s.filters, m_block=self.m_block, m_tasks=m_tasks, groups=s.groups,
            depth=s.output[0], strips=strips, strip_rows=self.strip_rows, out_rows=s.rows,
            out_columns=s.columns, extra_rows=s.extra[0], pitch=s.pitch,
            jobs=len(s.jobs), job_at=job_at, k_block=self._k_block(rows),
            **self._filter_places(rows),
            out_stride_h=s.out_stride[0], out_stride_w=s.out_stride[1],
            has_bias=s.bias, relu=s.relu, scratch_at=self.shared, scratch=self.scratch,
            results=self.results, result_row=self.result_row,
        )  # fmt: skip
        flat = tuple(n for phase in s.phases for n in phase) + jobs + tables
        tasks = s.batch * s.groups * s.output[0] * strips * m_tasks
        kernel = conv_strip.source(s.dtype, s.target, rows, vectors)
        work = s.steps * self.m_block * self.strip_rows * s.pitch
        grain = max(1, min(ceil_div(tasks, 4 * s.threads), (1 << 17) // max(work, 1)))
        return Phase(kernel, desc + flat, tasks, grain)

    def _k_block(self, rows: int) -> int:
        most = max(len(job.taps) for job in self.s.jobs) * self.s.channels
        if self.s.filters <= 2 * rows or most <= K_BLOCK:
            return max(most, 1)
        return ceil_div(most, ceil_div(most, K_BLOCK))

    def _places(self) -> dict[str, int]:
        s, size = self.s, self.element.size
        (d, h, w), (od, oh, ow) = s.input, s.output
        x_channel, y_channel = d * h * w * size, od * oh * ow * size
        x_group, y_group = s.channels * x_channel, s.filters * y_channel
        return {
            "x_image": s.groups * x_group, "x_group": x_group, "x_channel": x_channel,
            "x_slice": h * w * size, "in_depth": d, "in_height": h, "in_width": w,
            "y_image": s.groups * y_group, "y_group": y_group, "y_channel": y_channel,
            "y_slice": oh * ow * size, "y_height": oh, "y_width": ow,
        }  # fmt: skip

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
