"""Fractional maximum pooling: windows of one size at random steps."""

from __future__ import annotations

from .. import core
from ..core import Tensor
from ..kernels.lazy import pooling as planner
from .plans import planned
from .pooling import from_indices
from .record import primitive


@primitive(register=False)
def fractional_max(
    input: Tensor, samples: Tensor, kernel: tuple[int, ...], sizes: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Maxima and their places in each plane: `sizes` windows, which samples (N, C, dims) place."""
    x, u = core.contiguous_plain(input), core.contiguous_plain(samples)
    n = len(sizes)
    shape = (*x.shape[:-n], *sizes)
    out, where = core.empty(shape, x.dtype), core.empty(shape, core.dtypes[5])
    if out.numel():
        # In two dimensions PyTorch's first sample is that of the width.
        order = (1, 0) if n == 2 else (0, 1, 2)
        plan = planned(
            ("fractional_max", x.dtype.code, tuple(x.shape), kernel, sizes),
            lambda threads: planner.plan_fractional_pool(
                x.dtype.short, x.shape, kernel, sizes, order, threads
            ),
        )
        plan.run(out, where, x, u)
    return out, where


@fractional_max.vjp
def _fractional_max_vjp(g, input_like, sizes, out):
    return from_indices(g[0], out[1], tuple(input_like.shape), len(sizes)), None
