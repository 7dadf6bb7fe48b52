"""Plans for convolutions of few pixels with many filters (conv_patches)."""

from __future__ import annotations

from typing import NamedTuple

from . import conv_patches
from .conv_patches import PIXELS
from .conv_pixel_plan import Strip, copy_shape, is_in_place, place_of
from .conv_problem import Convolution
from .plan import Phase, Plan, ceil_div, round_up

MOST_PIXELS = 512  # beyond, packed filters pay
BLOCK = 1 << 7  # steps that a task gathers, about
PATCHES = 3 << 17  # bytes of patches that a run of steps reads: they should stay in the cache
RUN = 512  # steps of a sum before its lanes are added


class Choice(NamedTuple):
    """Filters of a task, and the cycles they should take."""

    cost: float
    block: int


def choose(c: Convolution) -> Choice | None:
    """The tasks with the least estimated time; None where the kernel does not serve."""
    if not _serves(c):
        return None
    tile = conv_patches.tile_filters(c.target)
    found = []
    for turns in (1, 2, 4):
        block = round_up(ceil_div(c.filters, turns * c.threads), tile)
        tasks = ceil_div(c.filters, block) * c.groups
        found.append(Choice(_cost(c, block) * ceil_div(tasks, c.threads) + _patch_cost(c), block))
    return min(found)


def _serves(c: Convolution) -> bool:
    element = c.element
    if not element.gathers or not element.floating or element.complex:
        return False
    if len(c.jobs) > 1 or c.out_stride != (1, 1) or c.slices[3] != 1 or c.steps == 0:
        return False
    taps = [tap[0] for tap in c.jobs[0].taps]
    in_order = taps == list(range(len(taps))) and c.w_channel == len(taps)
    return in_order and _pixels(c) <= MOST_PIXELS


def _pixels(c: Convolution) -> int:
    return c.batch * c.output[0] * c.rows * c.columns


def _run(c: Convolution) -> int:
    """Steps of a run: whole vectors."""
    lanes, size = c.element.lanes, c.element.size
    most = min(RUN, max(RUN // 4, PATCHES // (_pixels(c) * size)))
    return round_up(ceil_div(c.steps, ceil_div(c.steps, most)), lanes)


def _cost(c: Convolution, block: int) -> float:
    """Cycles of one task, roughly."""
    tile, lanes = conv_patches.tile_filters(c.target), c.element.lanes
    tiles = ceil_div(block, tile) * ceil_div(_pixels(c), PIXELS)
    runs = ceil_div(c.steps, _run(c))
    one = ceil_div(c.steps, lanes) * (tile * PIXELS * 1.08) + runs * 90
    return tiles * one + block * (20 + 6 * ceil_div(_pixels(c), lanes))


def _patch_cost(c: Convolution) -> float:
    """Cycles to gather what the pixels meet."""
    rows, pitch = copy_shape(c, Strip(c.rows, c.columns))
    planes = c.batch * c.output[0] * c.groups * c.channels * c.depth_taps
    copied = 0 if is_in_place(c) else planes * rows * (12 + 3 * pitch // c.element.lanes)
    vectors = c.groups * ceil_div(c.steps, c.element.lanes) * _pixels(c)
    return (copied + vectors * 28) / c.threads


def plan(c: Convolution, chosen: Choice) -> Plan:
    """Patches, then dot products."""
    size, lanes = c.element.size, c.element.lanes
    pixels = _pixels(c)
    # An odd number of lines: patches differ in their cache sets.
    patch = round_up(c.steps * size, 64) | 64
    shared = round_up(c.groups * pixels * patch, 64)
    sums_row = (round_up(pixels, max(lanes, PIXELS)) + lanes) * size
    rows = round_up(chosen.block, conv_patches.tile_filters(c.target))
    copy_rows, pitch = copy_shape(c, Strip(c.rows, c.columns))
    channels = min(c.channels, max(1, BLOCK // len(c.jobs[0].taps)))
    planes = channels * c.depth_taps
    slack = 2 * c.target.vector_bytes
    scratch = round_up(max(rows * sums_row, planes * copy_rows * pitch * size) + slack, 64)
    places = {"patch": patch, "patch_group": pixels * patch, "scratch_at": shared}
    kernels = conv_patches.sources(c.dtype, c.target)
    phases = (
        _patch_phase(c, kernels[0], channels, scratch, places),
        _dot_phase(c, kernels[1], chosen.block, sums_row, scratch, places),
    )
    return Plan(phases, shared + scratch * c.threads)


def _patch_phase(c: Convolution, kernel, channels: int, scratch: int, shared) -> Phase:
    size, in_place = c.element.size, is_in_place(c)
    places = c.places()
    copy_rows, pitch = copy_shape(c, Strip(c.rows, c.columns))
    plane, row = copy_rows * pitch, c.input[2] if in_place else pitch
    taps = len(c.jobs[0].taps)
    blocks = ceil_div(c.channels, channels)
    desc = conv_patches.PATCH_FIELDS.pack(
        **{name: n for name, n in places.items() if not name.startswith("y_")},
        channels=c.channels, depth_taps=c.depth_taps, slice_of_output=c.slices[0],
        slice_of_tap=c.slices[1], slice_start=c.slices[2], stride_h=c.stride[0],
        pad_h=c.padding[0], pad_w=c.padding[1], in_place=in_place, copy_rows=copy_rows,
        copy_pitch=pitch, groups=c.groups, depth=c.output[0], blocks=blocks,
        block_channels=channels, block_bytes=channels * taps * size, taps=taps,
        out_rows=c.rows, out_columns=c.columns, row_step=c.stride[0] * row * size,
        column_step=c.stride[1] * size, table_at=len(conv_patches.PATCH_FIELDS.names),
        scratch=scratch, **shared,
    )  # fmt: skip
    table = []
    for channel in range(channels):
        for tap in c.jobs[0].taps:
            down, across = place_of(c, tap)
            d, h, w = c.input
            if in_place:
                start = (channel * d + tap[1] * c.slices[1]) * h * w
            else:
                start = (channel * c.depth_taps + tap[1]) * plane
            table.append(start + down * row + across)
    table += [0] * (-len(table) % c.element.lanes)
    tasks = c.batch * c.output[0] * c.groups * blocks
    return Phase(kernel, desc + tuple(table), tasks, max(1, ceil_div(tasks, 4 * c.threads)))


def _dot_phase(c: Convolution, kernel, block: int, sums_row: int, scratch: int, shared) -> Phase:
    size, places = c.element.size, c.places()
    blocks = ceil_div(c.filters, block)
    desc = conv_patches.DOT_FIELDS.pack(
        pixels=_pixels(c), image_pixels=c.output[0] * c.rows * c.columns, filters=c.filters,
        blocks=blocks, block=block, steps=c.steps, run=_run(c), w_group=c.w_group * size,
        w_row=c.w_row * size, y_image=places["y_image"], y_group=places["y_group"],
        y_channel=places["y_channel"], has_bias=c.bias, relu=c.relu, scratch=scratch,
        sums_row=sums_row, **shared,
    )  # fmt: skip
    return Phase(kernel, desc, c.groups * blocks, 1)
