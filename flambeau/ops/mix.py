"""Linear maps along the last axes: what interpolation and mean pooling are made of."""

from __future__ import annotations

import math

from .. import core
from ..kernels.lazy import mix as planner
from .plans import planned
from .record import primitive


@primitive(register=False)
def mix_axes(input, maps):
    """Each of the last dimensions mapped by its `AxisMap`; real floating-point types."""
    x = core.contiguous_plain(input)
    leading = x.shape[: x.dim() - len(maps)]
    out = core.empty((*leading, *(m.outputs for m in maps)), x.dtype)
    if out.numel():
        planes = math.prod(leading)
        plan = planned(
            ("mix", x.dtype.code, planes, maps),
            lambda threads: planner.plan_mix(x.dtype.short, planes, maps, threads),
        )
        plan.run(out, x)
    return out


@mix_axes.vjp
def _mix_axes_vjp(g, maps):
    return mix_axes(g, tuple(m.flip() for m in maps))
