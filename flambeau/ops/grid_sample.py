"""Grid sampling: images read at places between their elements."""

from __future__ import annotations

import math

from .. import core
from ..core import Tensor
from ..kernels.lazy import sample as planner
from .convert import to_dtype
from .grid_sample_steps import sample_in_steps
from .plans import planned
from .record import composite, primitive

_F = ("nn.functional",)
_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")
_FEW_CHANNELS = 4  # up to so many, planes are read as they are


@composite(namespaces=_F, method=False)
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Read (N, C, [D,] H, W) at the places of grid (N, ..., 2 or 3), in [-1, 1], x first."""
    _check(input, grid, mode, padding_mode)
    sizes, places = tuple(input.shape), tuple(grid.shape[1:-1])
    if 0 in sizes[2:]:
        raise RuntimeError(
            "grid_sampler(): expected input to have non-empty spatial dimensions, but input has "
            f"sizes {list(sizes)}"
        )
    x, at = (t if t.dtype.itemsize > 2 else to_dtype(t, core.dtypes[8]) for t in (input, grid))
    at = at.reshape(sizes[0], math.prod(places), len(places))
    out = read_places(x, at, mode, padding_mode, bool(align_corners))
    return to_dtype(out.reshape(*sizes[:2], *places), input.dtype)


def _check(input: Tensor, grid: Tensor, mode: str, padding_mode: str) -> None:
    """Raise for operands that do not fit."""
    if mode not in _MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or "
            f"'bicubic', but got: '{mode}'"
        )
    if padding_mode not in _PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            f"'reflection', but got: '{padding_mode}'"
        )
    n = input.dim() - 2
    if (
        n not in (2, 3)
        or grid.dim() != input.dim()
        or grid.shape[-1] != n
        or grid.shape[0] != input.shape[0]
    ):
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {n} in last dimension and the input's "
            f"batch, but got grid with sizes {list(grid.shape)} and input with sizes "
            f"{list(input.shape)}"
        )
    if mode == "bicubic" and n != 2:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if input.dtype != grid.dtype:
        raise RuntimeError(
            "grid_sampler(): expected input and grid to have same dtype, but input has "
            f"{input.dtype} and grid has {grid.dtype}"
        )
    if not input.is_floating_point():
        raise RuntimeError(f"grid_sampler(): not implemented for {input.dtype}")


# ---- kernels -------------------------------------------------------------------------------------


def _channels_last(t: Tensor) -> Tensor:
    """(N, C, *) as a row-major (N, *, C)."""
    return core.contiguous_plain(core.permute(t, (0, *range(2, t.dim()), 1)))


def _channels_first(t: Tensor) -> Tensor:
    """(N, *, C) as a row-major (N, C, *)."""
    return core.contiguous_plain(core.permute(t, (0, t.dim() - 1, *range(1, t.dim() - 1))))


def _run(
    kind: str, sizes: tuple[int, ...], grid: Tensor, mode: str, padding: str, align: bool,
    *buffers: Tensor,
) -> None:  # fmt: skip
    facts = (grid.dtype.short, sizes, grid.shape[1], mode, padding, align)
    plan = planned(
        ("sample", kind, *facts),
        lambda threads: planner.plan(kind, planner.Sampling(*facts), threads),
    )
    plan.run(*buffers, core.contiguous_plain(grid))


@primitive(register=False, name="grid_sampler")
def read_places(input: Tensor, grid: Tensor, mode: str, padding: str, align: bool) -> Tensor:
    """Images (N, C, *) at the places of grid (N, P, axes): (N, C, P)."""
    sizes = tuple(input.shape)
    n, channels, places = sizes[0], sizes[1], grid.shape[1]
    few = channels <= _FEW_CHANNELS and sizes[-1] > 1 and math.prod(sizes[2:]) < 2**31
    shape = (n, channels, places) if few else (n, places, channels)
    out = core.empty(shape, input.dtype)
    if out.numel():
        x = core.contiguous_plain(input) if few else _channels_last(input)
        _run("planes" if few else "sample", sizes, grid, mode, padding, align, out, x)
    return out if few else _channels_first(out)


@read_places.vjp
def _read_places_vjp(g, input, grid, mode, padding, align, needs):
    if core.grad_enabled():
        return _differentiate_again(g, (input, grid), needs, mode, padding, align)
    sizes = tuple(input.shape)
    last = _channels_last(g)
    by_input = by_grid = None
    if needs[0]:
        spread = core.empty((sizes[0], *sizes[2:], sizes[1]), g.dtype).zero_()
        if g.numel():
            _run("spread", sizes, grid, mode, padding, align, spread, last)
        by_input = _channels_first(spread)
    if needs[1]:
        by_grid = core.empty(grid.shape, g.dtype)
        if mode == "nearest" or not g.numel():
            by_grid.zero_()
        else:
            x = _channels_last(input)
            _run("slope", sizes, grid, mode, padding, align, by_grid, last, x)
    return by_input, by_grid


def _differentiate_again(g, tensors, needs, mode, padding, align):
    """The derivative in recorded ops, for derivatives of higher order."""
    input, grid = tensors
    out = sample_in_steps(input, grid, mode, padding, align)
    wanted = [t for t, need in zip(tensors, needs, strict=True) if need]
    found = iter(core.run_backward([out], [g], True, True, wanted, False))
    return tuple(next(found) if need else None for need in needs)


# ---- the modes by number -------------------------------------------------------------------------


def _define_grid_sampler(n):
    name = f"grid_sampler_{n}d"

    def op(input, grid, interpolation_mode, padding_mode, align_corners):
        if input.dim() != n + 2:
            raise RuntimeError(
                f"{name}: expected {n + 2}D input, got input of shape {tuple(input.shape)}"
            )
        return grid_sample(
            input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], align_corners
        )

    op.__doc__ = f"grid_sample of {n}-d images, the modes given by number."
    return composite(name=name, method=False)(op)


grid_sampler_2d, grid_sampler_3d = _define_grid_sampler(2), _define_grid_sampler(3)
