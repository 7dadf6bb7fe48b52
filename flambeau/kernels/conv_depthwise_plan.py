"""Plans for convolutions with one channel and one filter a group (conv_depthwise)."""

from __future__ import annotations

from . import conv_depthwise
from .conv_depthwise import Taps
from .conv_problem import Convolution
from .conv_shape import Geometry
from .element import Element
from .plan import Phase, Plan

MOST_TAPS = 64  # of a filter: taps are unrolled
ROWS = 4  # of a tile
NEAR = 1 << 14  # bytes of input and output that stay in a first-level cache


def _serves(element: Element, stride: int) -> bool:
    real = not element.complex and element.floating and element.compute.width <= 16
    return real and element.masked and stride in (1, 2)


def find_taps(c: Convolution) -> Taps | None:
    """The tile; None where the kernel does not serve."""
    if c.channels != 1 or c.filters != 1 or c.groups < 2 or c.input[0] * c.output[0] != 1:
        return None
    count = sum(len(job.taps) for job in c.jobs)
    if count > MOST_TAPS or c.depth_taps != 1 or c.slices[2] or not _serves(c.element, c.stride[1]):
        return None
    if c.out_stride not in ((1, 1), (2, 2), (1, 2)):
        return None
    phases = tuple(
        tuple(
            (t[0], t[3] * c.stride[0] + c.phases[t[2]][0], t[4] * c.stride[1] + c.phases[t[2]][1])
            for t in job.taps
        )
        for job in c.jobs
    )
    rows = ROWS // len(phases) if len(phases) > 1 else ROWS
    return Taps(max(1, min(rows, c.rows)), c.stride, c.out_stride, phases)


def plan(c: Convolution, taps: Taps) -> Plan:
    """One phase over the planes."""
    size = c.element.size
    (_, h, w), (_, oh, ow) = c.input, c.output
    # Tiles go down the columns of planes that a first-level cache holds, else along the rows.
    near = (h * w + oh * ow) * size <= NEAR
    desc = conv_depthwise.FIELDS.pack(
        groups=c.groups, x_plane=h * w * size, y_plane=oh * ow * size,
        in_height=h, in_width=w, out_height=oh, out_width=ow, rows=c.rows, columns=c.columns,
        row_block=c.rows if near else taps.rows, pad_h=c.padding[0], pad_w=c.padding[1],
        w_group=c.w_group * size, has_bias=c.bias, relu=c.relu,
    )  # fmt: skip
    tasks = c.batch * c.groups
    kernel = conv_depthwise.source(c.dtype, c.target, taps)
    return Plan((Phase(kernel, desc, tasks, _grain(c.rows * c.columns, tasks)),), 0)


def plan_weight(g: Geometry, element: Element) -> Plan | None:
    """The filter's gradient; None where the kernel does not serve."""
    _, kh, kw = g.kernel
    if g.in_channels != 1 or g.out_channels != 1 or g.groups < 2 or g.kernel[0] != 1:
        return None
    if g.input[0] * g.output[0] != 1 or g.padding[0] or kh * kw > MOST_TAPS // 2:
        return None
    if not _serves(element, g.stride[2]):
        return None
    taps = tuple(
        (y * kw + x, y * g.dilation[1], x * g.dilation[2]) for y in range(kh) for x in range(kw)
    )
    (_, h, w), (_, oh, ow), size = g.input, g.output, element.size
    desc = conv_depthwise.WEIGHT_FIELDS.pack(
        images=g.batch, groups=g.groups, x_plane=h * w * size, y_plane=oh * ow * size,
        in_height=h, in_width=w, rows=oh, columns=ow, pad_h=g.padding[1], pad_w=g.padding[2],
        w_group=kh * kw * size,
    )  # fmt: skip
    tile = Taps(min(ROWS, oh), g.stride[1:], (1, 1), (taps,))
    kernel = conv_depthwise.weight_source(element.dtype, element.target, tile)
    grain = _grain(g.batch * oh * ow, g.groups)
    return Plan((Phase(kernel, desc, g.groups, grain),), 0)


def _grain(pixels: int, tasks: int) -> int:
    """Planes of a chunk, for about 16384 pixels."""
    return max(1, min(tasks, (1 << 14) // max(1, pixels)))
