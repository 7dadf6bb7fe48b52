"""Plans for convolutions and their gradients, in one to three spatial dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter

from . import (
    conv_depthwise_plan,
    conv_images_plan,
    conv_masked_plan,
    conv_patches_plan,
    conv_pixel_plan,
    conv_strip_plan,
    conv_winograd_plan,
)
from .bfloat_pairs import multiplies_pairs
from .conv_problem import Convolution, Job, backward_jobs, forward_taps
from .conv_shape import geometry
from .conv_weight_plan import plan_conv_backward_weight
from .element import Element
from .gemm import PAIRS_WORK, plan_gemm
from .plan import Plan
from .target import Target, host

__all__ = ["plan_conv_backward_data", "plan_conv_backward_weight", "plan_conv_forward"]

WORTHWHILE = 1.08  # times less that Winograd's tiles must cost: estimates err
PACK_FILTERS = 1 << 14  # filters with more numbers than this are packed for the gradient


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
    """y = conv(x, w) [+ bias], [relu]; contiguous; args: y, x, w, bias or null, workspace."""
    g = geometry(x_shape, w_shape, stride, padding, dilation, groups)
    target = target or host()
    element = Element(dtype, target)
    taps, phases = forward_taps(g)
    plain = g.stride[1:] == (1, 1) and g.padding == (0, 0, 0)
    return _plan(
        Convolution(
            dtype, target, threads, g.batch, g.groups, g.in_channels, g.out_channels,
            input=g.input, output=g.output,
            slices=(g.stride[0], g.dilation[0], -g.padding[0], 1), depth_taps=g.kernel[0],
            stride=g.stride[1:], padding=g.padding[1:], out_stride=(1, 1),
            phases=phases, jobs=[Job(taps, 0, 0)],
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
    jobs, padding_of = backward_jobs(g)
    weights = g.out_channels * g.in_channels * g.taps
    plain = g.taps == 1 and g.stride == (1, 1, 1) and g.padding == (0, 0, 0)
    return _plan(
        Convolution(
            dtype, target, threads, g.batch, g.groups, g.out_channels, g.in_channels,
            input=g.output, output=g.input,
            slices=(1, -g.dilation[0], g.padding[0], g.stride[0]), depth_taps=g.kernel[0],
            stride=(1, 1), padding=padding_of, out_stride=g.stride[1:],
            phases=[(0, 0)], jobs=jobs,
            w_row=g.taps, w_channel=g.in_channels * g.taps, w_group=weights,
            bias=False, relu=False,
            in_place=plain and element.masked and element.compute is element,
            pack=element.compute is not element or weights > PACK_FILTERS,
        )
    )  # fmt: skip


def _plan(c: Convolution) -> Plan:
    """By the kernel that should take less time."""
    if c.batch == 0 or c.groups == 0 or c.filters == 0:
        return Plan((), 0)
    if _is_product_of_pairs(c):
        return _plan_product(c)
    taps = conv_depthwise_plan.find_taps(c)
    if taps is not None:
        return conv_depthwise_plan.plan(c, taps)
    strips = conv_strip_plan.choose(c)
    found: list[tuple[float, Callable[[], Plan]]] = [
        (strips.cost, lambda: conv_strip_plan.plan(c, strips))
    ]
    for planner in (conv_masked_plan, conv_pixel_plan, conv_images_plan, conv_patches_plan):
        chosen = planner.choose(c)
        if chosen is not None:
            found.append((chosen.cost, partial(planner.plan, c, chosen)))
    direct, plan_directly = min(found, key=itemgetter(0))
    tiles = conv_winograd_plan.choose(c)
    if tiles is None or tiles.cost * WORTHWHILE > direct:
        return plan_directly()
    return conv_winograd_plan.plan(c, tiles)._replace(otherwise=plan_directly)


def _is_product_of_pairs(c: Convolution) -> bool:
    """Whether it is one matrix product an image, of bfloat16 numbers that multiply by pairs."""
    if c.dtype != "bf16" or not multiplies_pairs(c.target) or c.groups > 1 or c.filters < 2:
        return False
    one_tap = len(c.jobs) == 1 and len(c.jobs[0].taps) == 1 and c.depth_taps == 1
    plain = c.stride == (1, 1) and c.padding == (0, 0) and c.slices[::2] == (1, 0)
    pixels = c.output[0] * c.output[1] * c.output[2]
    return one_tap and plain and c.slices[3] == 1 and c.channels * c.filters * pixels >= PAIRS_WORK


def _plan_product(c: Convolution) -> Plan:
    """Filters (m, k) times each image's pixels (k, n)."""
    pixels = c.output[0] * c.output[1] * c.output[2]
    return plan_gemm(
        c.dtype, c.filters, pixels, c.channels, (c.w_row, c.w_channel), (pixels, 1), (pixels, 1),
        c.threads, bias="row" if c.bias else None, activation="relu" if c.relu else None,
        batch=(c.batch, 0, c.channels * pixels, c.filters * pixels), swapped=True, target=c.target,
    )  # fmt: skip
