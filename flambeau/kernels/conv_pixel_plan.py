"""Plans for convolutions with filters along vectors (conv_pixels)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from . import conv_pairs, conv_pixels
from .bfloat_pairs import multiplies_pairs
from .conv_problem import Convolution, Job, Tap
from .plan import Phase, Plan, ceil_div, round_up

PIXELS = 400  # of a strip, about: sums and input should stay in the caches
COLUMNS = (1, 2, 4, 5, 7, 8, 10, 12, 14, 16, 20, 26)  # of a tile: few, to bound what is compiled
WORKSPACE = 3 << 18  # bytes of input a strip may copy: most of a second-level cache
PACK, PACK_FAR = 0.35, 1.8  # cycles to pack a number, where filters fit a cache and do not
NEAR, FAR = 1 << 20, 3 << 21  # bytes of filters that do and that do not
TILE = 40  # cycles to begin and end a tile's sums
TURN = 11  # cycles to write a vector of outputs, transposed
MOST_STRIDE = 32  # of columns; each has kernels of its own
WORTH_SKIPPING = 0.02  # share of products
PAIR_LOAD = 1.4  # cycles of a broadcast that is no part of a multiply-add


class Strip(NamedTuple):
    """The outputs of a task, of one phase of the output's stride."""

    rows: int
    columns: int


class Choice(NamedTuple):
    """A tile, a strip, and the cycles they should take."""

    cost: float
    rows: int
    columns: int
    vectors: int
    strip: Strip
    m_block: int


def choose(c: Convolution) -> Choice | None:
    """The tile and strip with the least estimated time; None where the kernel does not serve."""
    element = c.element
    if element.complex or element.compute.width > 16 or c.filters < element.lanes // 2:
        return None
    if c.slices[3] != 1 or c.steps == 0 or c.stride[1] > MOST_STRIDE:
        return None
    if element.compute.lanes % c.out_stride[1]:  # phases are interleaved by whole vectors
        return None
    c = _as_multiplied(c)
    chosen = min((_choose_strip(c, *tile) for tile in _tiles(c)), default=None)
    return chosen and chosen._replace(cost=chosen.cost + _pack_cost(c))


def _takes_pairs(c: Convolution) -> bool:
    """Whether two channels are multiplied at a time."""
    return c.dtype == "bf16" and c.channels > 1 and multiplies_pairs(c.target)


def _as_multiplied(c: Convolution) -> Convolution:
    """With pairs of channels for channels, where these are multiplied."""
    return c._replace(channels=ceil_div(c.channels, 2)) if _takes_pairs(c) else c


def _tiles(c: Convolution) -> Iterator[tuple[int, int, int]]:
    """Tiles (rows, columns, vectors) whose sums fit the registers and that fit the output."""
    registers = 31 if c.target.name in ("avx512", "neon") else 14
    used = ceil_div(c.filters, c.element.compute.lanes)
    # Pairs are broadcast apart from their products: a vector left alone takes as long as two.
    widest = 3 if used % 2 and _takes_pairs(c) else 2
    for vectors in range(1, min(used, widest) + 1):
        most = (registers - vectors) // vectors
        for rows in range(1, min(c.rows, 3) + 1):
            fitting = [n for n in COLUMNS if n <= c.columns and n * rows <= most]
            yield from ((rows, columns, vectors) for columns in fitting[-4:])


def _choose_strip(c: Convolution, rows: int, columns: int, vectors: int) -> Choice:
    lanes = c.element.compute.lanes
    used = ceil_div(c.filters, lanes)
    blocks = sorted({1, min(c.threads, ceil_div(used, vectors))})
    found = []
    for strip in _strips(c, rows, columns):
        for block in blocks:
            panels = ceil_div(ceil_div(used, vectors), block)
            m_block = panels * vectors * lanes
            tasks = _count_strips(c, strip) * ceil_div(c.filters, m_block)
            cost = _cost(c, (rows, columns, vectors), strip, min(m_block, used * lanes))
            total = cost * ceil_div(tasks, c.threads)
            found.append(Choice(total, rows, columns, vectors, strip, m_block))
    return min(found)


def _count_strips(c: Convolution, strip: Strip) -> int:
    """All strips of all images and groups."""
    across = ceil_div(c.columns, strip.columns)
    return c.batch * c.groups * c.output[0] * ceil_div(c.rows, strip.rows) * across


def _strips(c: Convolution, rows: int, columns: int) -> list[Strip]:
    """Strips worth trying: near PIXELS pixels or less, multiples of the tile's rows."""
    width = _strip_width(c, columns)
    most = max(rows, min(c.rows, ceil_div(PIXELS, width)))
    even = ceil_div(c.rows, ceil_div(c.rows, most))
    sizes = {even, round_up(even, rows), most // rows * rows, ceil_div(even, 2)}
    fitting = sorted(n for n in sizes if rows <= n <= c.rows) or [min(rows, c.rows)]
    return [Strip(n, width) for n in fitting]


def _strip_width(c: Convolution, columns: int) -> int:
    """Columns of a strip: all but of long rows, which are cut to what the caches hold."""
    most = PIXELS
    while most > columns and _copied(c, Strip(1, most)) > WORKSPACE:
        most //= 2
    if c.columns <= PIXELS or c.out_stride != (1, 1):
        return c.columns
    even = ceil_div(c.columns, ceil_div(c.columns, most))
    return min(round_up(even, columns), c.columns)


def _copied(c: Convolution, strip: Strip) -> int:
    """Bytes of input that a strip copies."""
    rows, pitch = copy_shape(c, strip)
    planes = 0 if is_in_place(c) else c.channels * c.depth_taps
    return planes * rows * pitch * c.element.compute.size


def _cost(c: Convolution, tile: tuple[int, int, int], strip: Strip, m_block: int) -> float:
    """Cycles of one task, roughly."""
    rows, columns, vectors = tile
    lanes = c.element.compute.lanes
    whole, left = divmod(ceil_div(m_block, lanes), vectors)
    tiles = ceil_div(strip.rows, rows) * ceil_div(strip.columns, columns)

    pixels = rows * columns
    load = PAIR_LOAD if _takes_pairs(c) else 0

    def sums(width: int) -> float:
        work = max(pixels * width, load * (pixels + width), 4)
        return (work + 0.6) * c.steps + TILE if width else 0

    compute = tiles * (whole * sums(vectors) + sums(left))
    lines, line = _lines(c, strip)
    vectors_written = lines * ceil_div(line, lanes) * c.out_stride[0]
    write = vectors_written * ceil_div(m_block, lanes) * lanes * TURN
    in_rows, pitch = copy_shape(c, strip)
    copied = (
        0 if is_in_place(c) else c.channels * c.depth_taps * in_rows * (12 + 3 * pitch // lanes)
    )
    large = c.channels * c.depth_taps * in_rows * pitch * c.element.compute.size > WORKSPACE
    return (compute + write + copied + 300) * (1.05 if large else 1)


def _pack_cost(c: Convolution) -> float:
    """Cycles to pack the filters."""
    count = c.groups * c.filters * c.steps
    outside = min(max(count * c.element.size - NEAR, 0) / (FAR - NEAR), 1)
    return count * (PACK + (PACK_FAR - PACK) * outside) / c.threads


def _lines(c: Convolution, strip: Strip) -> tuple[int, int]:
    """Lines of outputs of a strip that lie side by side, for one phase of rows; their length."""
    if c.out_stride != (1, 1):
        return strip.rows, c.output[2]
    if strip.columns < c.columns:
        return strip
    return 1, strip.rows * c.columns


def is_in_place(c: Convolution) -> bool:
    """Whether the input can be read as it lies: no padding, not even beyond its end."""
    rows, columns = copy_shape(c, Strip(c.rows, c.columns))
    within = rows <= c.input[1] and columns <= c.input[2] and c.padding == (0, 0)
    return within and c.slices[2] == 0 and c.element.compute.dtype == c.dtype


def place_of(c: Convolution, tap: Tap) -> tuple[int, int]:
    """Row and column of a tap, from those of its phase."""
    phase = c.phases[tap[2]]
    return tap[3] * c.stride[0] + phase[0], tap[4] * c.stride[1] + phase[1]


def copy_shape(c: Convolution, strip: Strip) -> tuple[int, int]:
    """Rows and columns of input that a strip needs."""
    places = [place_of(c, tap) for job in c.jobs for tap in job.taps]
    rows, columns = max(p[0] for p in places), max(p[1] for p in places)
    down, across = c.stride
    return (strip.rows - 1) * down + rows + 1, (strip.columns - 1) * across + columns + 1


def plan(c: Convolution, chosen: Choice) -> Plan:
    """Packing of the filters, then the strips."""
    whole, pairs = c, _takes_pairs(c)
    c = _as_multiplied(c)
    element = c.element
    tile = (chosen.rows, chosen.columns, chosen.vectors)
    kernels = conv_pixels.sources(c.dtype, c.target, tile, c.stride[1], c.out_stride[1], pairs)
    lanes, size = element.compute.lanes, element.compute.size
    used = ceil_div(c.filters, lanes)
    group_bytes = round_up(used * lanes * c.steps * size, 64)
    pack_phase = _pack_pairs_phase if pairs else _pack_phase
    pack = pack_phase(whole, kernels[0], chosen.vectors, group_bytes)
    strip = chosen.strip
    in_rows, pitch = copy_shape(c, strip)
    planes = 0 if is_in_place(c) else c.channels * c.depth_taps
    slack = 2 * c.target.vector_bytes
    sums = round_up(planes * in_rows * pitch * size + slack, 64)
    pixels = strip.rows * strip.columns + lanes
    phase_sums = round_up(pixels * min(chosen.vectors, used) * lanes * size, 64)
    scratch = sums + c.out_stride[1] * phase_sums
    shared = c.groups * group_bytes
    m_tasks = ceil_div(c.filters, chosen.m_block)
    job_at = len(conv_pixels.FIELDS.names)
    lines, line = _lines(c, strip)
    row_pitch = c.input[2] if is_in_place(c) else pitch
    desc = conv_pixels.FIELDS.pack(
        **whole.places(), channels=whole.channels, depth_taps=c.depth_taps,
        slice_of_output=c.slices[0], slice_of_tap=c.slices[1], slice_start=c.slices[2],
        stride_h=c.stride[0], pad_h=c.padding[0], pad_w=c.padding[1], in_place=is_in_place(c),
        copy_rows=in_rows, copy_pitch=pitch, filters=c.filters, m_block=chosen.m_block,
        m_tasks=m_tasks, groups=c.groups, depth=c.output[0],
        strips=ceil_div(c.rows, strip.rows), strip_rows=strip.rows, out_rows=c.rows,
        sides=ceil_div(c.columns, strip.columns), strip_columns=strip.columns,
        out_columns=c.columns,
        row_step=c.stride[0] * row_pitch * size, steps=c.steps, job_at=job_at, skips=_skips(c),
        downs=c.out_stride[0], lines=lines, line=line, y_line=c.output[2] * c.element.size,
        line_pixels=strip.columns, y_height=c.output[1], w_group=group_bytes, has_bias=c.bias,
        relu=c.relu, scratch_at=shared, scratch=scratch, sums=sums, phase_sums=phase_sums,
    )  # fmt: skip
    tasks = _count_strips(c, strip) * m_tasks
    work = c.steps * chosen.m_block * strip.rows * strip.columns
    grain = max(1, min(ceil_div(tasks, 4 * c.threads), (1 << 17) // max(work, 1)))
    desc += _tables(c, job_at, in_rows * pitch, row_pitch)
    strips_phase = Phase(kernels[1], desc, tasks, grain)
    return Plan((pack, strips_phase), shared + scratch * c.threads)


def _pack_phase(c: Convolution, kernel, vectors: int, group_bytes: int) -> Phase:
    """Filters side by side; steps run over jobs, their channels, then taps."""
    size = c.element.size
    panels = ceil_div(c.filters, vectors * c.element.compute.lanes)
    starts, depth = _blocks(c)
    desc = conv_pixels.PACK_FIELDS.pack(
        filters=c.filters, panels=panels, blocks=len(starts), depth=depth, w_group=c.w_group * size,
        w_step=size, w_filter=c.w_row * size, group_bytes=group_bytes,
    )  # fmt: skip
    tasks = c.groups * panels
    grain = max(1, min(tasks, (1 << 14) // max(1, c.steps * min(c.filters, 32))))
    return Phase(kernel, desc + tuple(start * size for start in starts), tasks, grain)


def _pack_pairs_phase(c: Convolution, kernel, vectors: int, group_bytes: int) -> Phase:
    """The same with pairs of channels."""
    size, columns = c.element.size, vectors * c.element.compute.lanes
    panels, pairs = ceil_div(c.filters, columns), ceil_div(c.channels, 2)
    taps = sum(len(job.taps) for job in c.jobs)
    place_at = len(conv_pairs.PACK_FIELDS.names)
    places = [0] * (pairs * taps)
    for place, (pair, tap) in enumerate(_steps(_as_multiplied(c))):
        places[pair * taps + tap[0]] = place
    joined = c.w_channel == taps <= conv_pairs.MOST_JOINED
    desc = conv_pairs.PACK_FIELDS.pack(
        filters=c.filters, panels=panels, columns=columns, channels=c.channels, taps=taps,
        steps=pairs * taps, w_group=c.w_group * size, w_filter=c.w_row * size,
        w_channel=c.w_channel * size, group_bytes=group_bytes, joined=joined,
        place_at=place_at, index_at=place_at + len(places),
    )  # fmt: skip
    desc += tuple(places) + (conv_pairs.join_numbers(taps) if joined else ())
    tasks = c.groups * panels
    grain = max(1, min(tasks, (1 << 14) // max(1, c.steps * min(c.filters, 32))))
    return Phase(kernel, desc, tasks, grain)


def _blocks(c: Convolution) -> tuple[list[int], int]:
    """Where runs of steps that lie side by side in a filter start, and their length."""
    taps = [tap[0] for tap in c.jobs[0].taps]
    if len(c.jobs) > 1 or taps != list(range(len(taps))):
        steps = [(job, k) for job in c.jobs for k in range(c.channels)]
        return [k * c.w_channel + tap[0] for job, k in steps for tap in job.taps], 1
    if c.w_channel == len(taps):  # all steps of one filter lie side by side
        return [0], c.steps
    return [k * c.w_channel for k in range(c.channels)], len(taps)


def _tables(c: Convolution, job_at: int, plane: int, pitch: int) -> tuple[int, ...]:
    """The jobs, then the byte offset in the input (or its copy) of each step, then their ranges."""
    d, h, w = c.input
    size = c.element.compute.size

    slice_ = c.slices[1] * h * w if is_in_place(c) else plane
    channel = (d * h * w if is_in_place(c) else c.depth_taps * plane) * size
    offset_of = {}
    for tap in (tap for job in c.jobs for tap in job.taps):
        row, column = place_of(c, tap)
        offset_of[tap] = (tap[1] * slice_ + row * pitch + column) * size
    table = tuple(k * channel + offset_of[tap] for k, tap in _steps(c))
    table_at = job_at + conv_pixels.JOB * len(c.jobs)
    range_at, first, skips = table_at + len(table), 0, _skips(c)
    jobs: tuple[int, ...] = ()
    ranges: tuple[int, ...] = ()
    for job in c.jobs:
        jobs += (table_at + first, first, range_at + len(ranges))
        first += c.channels * len(job.taps)
        found = _ranges(c, job) if skips else [(0, c.channels * len(job.taps))]
        ranges += tuple(n for pair in found for n in pair)
    return jobs + table + ranges


def _steps(c: Convolution) -> Iterator[tuple[int, Tap]]:
    """The steps of all jobs, (channel, tap): by rows of taps where rows are skipped."""
    skips = _skips(c)
    for job in c.jobs:
        runs = [job.taps]
        if skips:
            rows = sorted({place_of(c, tap)[0] for tap in job.taps})
            runs = [[tap for tap in job.taps if place_of(c, tap)[0] == row] for row in rows]
        for run in runs:
            yield from ((channel, tap) for channel in range(c.channels) for tap in run)


def _ranges(c: Convolution, job: Job) -> list[tuple[int, int]]:
    """For each row of outputs, the first step that meets the input and the end of those."""
    counts = Counter(place_of(c, tap)[0] - c.padding[0] for tap in job.taps)

    def count_below(limit: int) -> int:
        return c.channels * sum(count for row, count in counts.items() if row < limit)

    tops = [y * c.stride[0] for y in range(c.rows)]
    return [(count_below(-top), count_below(c.input[1] - top)) for top in tops]


def _share_skipped(c: Convolution) -> float:
    """The share of all products that meet only rows of padding and can be left out.

    Only of pairs: to pack other filters by rows of taps would take longer.
    """
    if not _takes_pairs(c):
        return 0.0
    met = sum(end - first for job in c.jobs for first, end in _ranges(c, job))
    return 1 - met / (c.steps * c.rows)


def _skips(c: Convolution) -> bool:
    return _share_skipped(c) > WORTH_SKIPPING
