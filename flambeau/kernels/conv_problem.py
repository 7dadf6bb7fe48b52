"""A convolution, or its gradient with respect to the input, as the kernels see it: jobs of taps."""

from __future__ import annotations

from typing import NamedTuple

from .conv_shape import Geometry
from .element import Element
from .plan import ceil_div
from .target import Target

Tap = tuple[int, int, int, int, int]  # filter offset, depth tap, phase, row, column


class Job(NamedTuple):
    """The taps of one phase of the output's stride."""

    taps: list[Tap]
    row: int
    column: int


class Convolution(NamedTuple):
    """What is summed over what; distances in elements."""

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
    jobs: list[Job]
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

    @property
    def element(self) -> Element:
        """The element type on the target."""
        return Element(self.dtype, self.target)

    def places(self) -> dict[str, int]:
        """Where input and output lie, as descs have it: distances in bytes, sizes of the input."""
        size = self.element.size
        (d, h, w), (od, oh, ow) = self.input, self.output
        x_channel, y_channel = d * h * w * size, od * oh * ow * size
        x_group, y_group = self.channels * x_channel, self.filters * y_channel
        return {
            "x_image": self.groups * x_group, "x_group": x_group, "x_channel": x_channel,
            "x_slice": h * w * size, "in_depth": d, "in_height": h, "in_width": w,
            "y_image": self.groups * y_group, "y_group": y_group, "y_channel": y_channel,
            "y_slice": oh * ow * size,
        }  # fmt: skip


def forward_taps(g: Geometry) -> tuple[list[Tap], list[tuple[int, int]]]:
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


def backward_jobs(g: Geometry) -> tuple[list[Job], tuple[int, int]]:
    """For each phase of the stride its taps, placed in the padded gradient; that padding."""
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
            jobs.append(Job(taps, a, c))
    return jobs, (top, left)


def _meeting_taps(phase: int, kernel: int, stride: int, padding: int, dilation: int):
    """(tap, output - i) of the taps through which input i * stride + phase meets an output."""
    reach = [(k, phase + padding - k * dilation) for k in range(kernel)]
    return [(k, at // stride) for k, at in reach if at % stride == 0]
