"""Combining through index tensors: sums, products, means and extremes of what meets at a place."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from ..kernels.dtypes import BY_CODE
from . import launch_index as launch
from .convert import fill_plain
from .dims import check_tensor
from .gather import gather_along
from .launch_index import bounds
from .masked import choose
from .record import composite, function, primitive
from .scatter import add_along, put_along, read_rows_arguments, read_scatter_arguments, write_along
from .windows import zeros_plain

# ---- elements along a dimension ------------------------------------------------------------------

_REDUCE_MODES = {"sum": "add", "prod": "mul", "mean": "add", "amax": "amax", "amin": "amin"}


def _identity(reduce: str, dtype: core.dtype) -> Any:
    """The value that changes nothing."""
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    if dtype.is_floating_point:
        return float("-inf") if reduce == "amax" else float("inf")
    if dtype.name == "bool":
        return reduce == "amin"
    from ..kernels.dtypes import integer_limits

    return integer_limits(BY_CODE[dtype.code].name)[0 if reduce == "amax" else 1]


def _clear(table: Tensor, dim: int, index: Tensor, reduce: str) -> None:
    """Put the identity where something will be scattered, so that the old values do not count."""
    value = core.from_data(_identity(reduce, table.dtype), table.dtype)
    write_along("put", table, dim, index, core.expand(value, index.shape), "scatter_reduce")


def _reduce_along(
    input: Tensor, dim: int, index: Tensor, values: Tensor, reduce: str, include_self: bool
) -> Tensor:
    made = core.clone_plain(input)
    if not include_self:
        _clear(made, dim, index, reduce)
    write_along(_REDUCE_MODES[reduce], made, dim, index, values, "scatter_reduce")
    return made


@primitive(register=False, name="scatter_reduce")
def multiply_along(
    input: Tensor, dim: int, index: Tensor, values: Tensor, name: str, include_self: bool = True
) -> Tensor:
    """input multiplied with values at index along dim."""
    return _reduce_along(input, dim, index, values, "prod", include_self)


@multiply_along.vjp
def _(g, input, dim, index, values, include_self):
    """A factor's gradient is the product of the others at its place, without dividing by zero."""
    name = "scatter_reduce"
    ones = fill_plain(core.empty(input.shape, input.dtype), 1)
    if include_self:
        g_input = g * multiply_along(ones, dim, index, values, name).conj()
    else:
        zero = core.expand(zeros_plain((), g.dtype), index.shape)
        g_input = put_along(g, dim, index, zero, name)
    is_zero = values == 0
    count = add_along(zeros_plain(input.shape, launch.INT64), dim, index, is_zero.long(), name)
    only_zero = is_zero & (gather_along(count, dim, index, name) == 1)
    result = multiply_along(input, dim, index, values, name, include_self)
    without = multiply_along(
        input, dim, index, values.masked_fill(only_zero, 1), name, include_self
    )
    others = choose(
        only_zero,
        gather_along(without, dim, index, name),
        gather_along(result, dim, index, name) / values.masked_fill(is_zero, 1),
    )
    return g_input, None, gather_along(g, dim, index, name) * others.conj()


@primitive(register=False, name="scatter_reduce")
def extreme_along(
    input: Tensor, dim: int, index: Tensor, values: Tensor, reduce: str, include_self: bool
) -> Tensor:
    """The largest or smallest of input and values at index along dim."""
    return _reduce_along(input, dim, index, values, reduce, include_self)


@extreme_along.vjp
def _(g, input, dim, index, values, out, include_self):
    """Values that tie share the gradient."""
    touched = put_along(
        zeros_plain(input.shape, launch.BOOL),
        dim,
        index,
        core.expand(core.from_data(True), index.shape),
        "",
    )
    own = input == out
    if not include_self:
        own = own & ~touched
    near = values == gather_along(out, dim, index, "scatter_reduce")
    counts = add_along(own.to(g.dtype), dim, index, near.to(g.dtype), "scatter_reduce")
    share = g / counts.clamp(min=1)
    return share * own, None, near * gather_along(share, dim, index, "scatter_reduce")


@composite(out=True)
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """input with src combined at index along dim by "sum", "prod", "mean", "amax" or "amin".

    Without include_self the values that are there do not count.

    >>> import flambeau as torch
    >>> torch.ones(2).scatter_reduce(0, torch.tensor([1, 1]), torch.tensor([3.0, 2.0]), "amax")
    tensor([1., 3.])
    """
    name = "scatter_reduce"
    if reduce not in _REDUCE_MODES:
        raise RuntimeError(
            f"{name}(): reduce argument must be either sum, prod, mean, amax or amin, got "
            f"{reduce!r}"
        )
    check_tensor(name, src, "src")
    dim, index, values = read_scatter_arguments(name, input, dim, index, src)
    if reduce in ("amax", "amin"):
        if input.is_complex():
            raise RuntimeError(f"{name}: {reduce} is not defined for complex numbers")
        return extreme_along(input, dim, index, values, reduce, include_self)
    if reduce == "prod":
        return multiply_along(input, dim, index, values, name, include_self)
    if not include_self:
        zero = core.expand(zeros_plain((), input.dtype), index.shape)
        input = put_along(input, dim, index, zero, name)
    total = add_along(input, dim, index, values, name)
    return total if reduce == "sum" else _average(total, dim, index, include_self)


def _average(total: Tensor, dim: int, index: Tensor, include_self: bool) -> Tensor:
    counts = fill_plain(core.empty(total.shape, total.dtype), int(include_self))
    ones = core.expand(core.from_data(1, total.dtype), index.shape)
    write_along("add", counts, dim, index, ones, "scatter_reduce")
    if not include_self:
        counts = counts.masked_fill(counts == 0, 1)
    if total.dtype.is_floating_point or total.dtype.is_complex:
        return total / counts
    return total.div(counts, rounding_mode="floor") if total.dtype is not launch.BOOL else total


@function("scatter_reduce_", method=True, namespaces=())
def scatter_reduce_(
    self: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """In-place scatter_reduce: writes the result over the first argument."""
    core.check_inplace(self, "scatter_reduce_")
    return core.copy_(
        self, scatter_reduce(self, dim, index, src, reduce, include_self=include_self)
    )


# ---- rows of a dimension ------------------------------------------------------------


@composite(out=True)
def index_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """input with source's rows combined at index by "prod", "mean", "amax" or "amin"."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            "index_reduce(): expected reduce to be one of prod, mean, amax or amin but got "
            f"{reduce}."
        )
    if not input.ndim:
        made = index_reduce(
            core.view(input, (1,)),
            0,
            index,
            core.view(source, (-1,)),
            reduce,
            include_self=include_self,
        )
        return core.view(made, ())
    dim, index, source = read_rows_arguments("index_reduce", input, dim, index, source)
    launch.check(index, bounds("index_reduce", input, dim))
    sizes = [1] * input.ndim
    sizes[dim] = index.numel()
    spread = core.expand(core.view(index, sizes), source.shape)
    return scatter_reduce(input, dim, spread, source, reduce, include_self=include_self)


@function("index_reduce_", method=True, namespaces=())
def index_reduce_(
    self: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """In-place index_reduce: writes the result over the first argument."""
    core.check_inplace(self, "index_reduce_")
    return core.copy_(
        self, index_reduce(self, dim, index, source, reduce, include_self=include_self)
    )
