"""Masks: choosing, filling, selecting and scattering where a mask holds; nonzero."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from ..kernels import scalar
from ..kernels.lazy import compress
from ..kernels.lazy import target as targets
from . import launch_index as launch
from .dims import check_tensor
from .launch_index import BOOL, INT64
from .record import composite, deliver, function, pointwise

_MANY = 4096  # elements of a mask that are work for a kernel

# ---- where ---------------------------------------------------------------------------------------


@pointwise(name="where", register=False, fixed={"condition": "bool"}, over=("input", "other"))
def choose(condition, input, other):
    """input where condition holds, else other."""
    return scalar.where(condition, input, other)


def check_mask(name: str, mask: Any) -> None:
    """Raise unless it is a tensor of bool (or, out of habit, uint8)."""
    if not isinstance(mask, Tensor):
        raise TypeError(f"{name}(): the mask must be Tensor, not {type(mask).__name__}")
    if mask.dtype is not BOOL and mask.dtype.name != "uint8":
        raise RuntimeError(
            f"{name}: expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{mask.dtype.name}"
        )


@function("where", method=False)
def where(condition: Tensor, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    """input where condition holds, else other; with the condition alone, where it is true.

    >>> import flambeau as torch
    >>> torch.where(torch.tensor([True, False]), 1.0, 0.0)
    tensor([1., 0.])
    """
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    check_mask("where", condition)
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = _number("where", input)
    return (
        choose(condition, input, other, out=out)
        if out is not None
        else choose(condition, input, other)
    )


def _number(name: str, value: Any) -> Tensor:
    if not isinstance(value, bool | int | float | complex):
        raise TypeError(
            f"{name}(): argument 'input' must be Tensor or Number, not {type(value).__name__}"
        )
    return core.from_data(value)


@function("where", method=True, namespaces=())
def where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """self where condition holds, else other."""
    return where(condition, self, other)


# ---- masked_fill ---------------------------------------------------------------------------------


@pointwise(name="masked_fill", register=False, fixed={"mask": "bool"}, over=("input",))
def fill_where(input, mask, value):
    """value where the mask holds, else input."""
    return scalar.where(mask, value, input)


def _fill_value(name: str, input: Tensor, mask: Any, value: Any) -> Any:
    """Check a masked_fill's arguments; the value as an operand of input's type."""
    if not isinstance(mask, Tensor) or mask.dtype is not BOOL:
        kind = mask.dtype.name if isinstance(mask, Tensor) else type(mask).__name__
        raise RuntimeError(f"{name} only supports boolean masks, but got mask with dtype {kind}")
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                f"{name} only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
    elif not isinstance(value, bool | int | float | complex):
        raise TypeError(
            f"{name}(): argument 'value' must be Number or Tensor, not {type(value).__name__}"
        )
    if _is_complex(value) and not input.is_complex():
        raise RuntimeError(
            f"{name}: value cannot be converted to type {input.dtype.name} without overflow: it is "
            "complex"
        )
    return value


def _is_complex(value: Any) -> bool:
    return value.is_complex() if isinstance(value, Tensor) else isinstance(value, complex)


@composite(out=True)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """value where the mask holds, else input; the mask broadcasts.

    >>> import flambeau as torch
    >>> torch.zeros(2).masked_fill(torch.tensor([True, False]), 7)
    tensor([7., 0.])
    """
    return fill_where(input, mask, _fill_value("masked_fill", input, mask, value))


@function("masked_fill_", method=True)
def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Write value where the mask holds."""
    return core.apply_inplace(
        fill_where, self, mask, _fill_value("masked_fill_", self, mask, value)
    )


# ---- where a mask holds --------------------------------------------------------------------------


def true_positions(mask: Tensor) -> Tensor:
    """Row-major positions of the elements of a bool tensor that are true."""
    n = mask.numel()
    if n == 0:
        return core.empty((0,), INT64)
    mask = core.contiguous_plain(mask)
    made = core.small_positions(mask)
    if made is not None:
        return made
    total, write = _compressed(mask)
    return write(core.empty((total,), INT64), ("mask positions",), compress.positions_source)


def _compressed(mask: Tensor) -> tuple[int, Any]:
    """How many elements of a row-major mask are true, and what runs a kernel that writes them."""
    n = mask.numel()
    chunks = -(-n // compress.CHUNK)
    desc = compress.COUNT_FIELDS.pack(size=n)
    host = targets.host()
    counts = core.empty((chunks,), INT64)
    grain = max(1, -(-chunks // (4 * core.threads())))
    count = lambda: [(compress.count_source(host), desc, chunks, grain)]
    launch.plan_for(("mask count", n), count).run(counts, mask)
    starts, total = [], 0
    for found in counts.tolist():
        starts.append(total)
        total += found

    def write(out: Tensor, key: tuple, source: Any, *operands: Tensor) -> Tensor:
        if total:
            phases = lambda: [(source(host), desc, chunks, grain)]
            begins = core.from_data(starts, INT64)
            launch.plan_for((*key, n), phases).run(out, mask, begins, *operands)
        return out

    return total, write


def select_plain(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where a mask of the same shape holds, without history."""
    x, mask = core.contiguous_plain(input.detach()), core.contiguous_plain(mask)
    total, write = _compressed(mask)
    size = x.dtype.itemsize
    source = lambda host: compress.select_source(size, host)
    return write(core.empty((total,), x.dtype), ("mask select", size), source, x)


def coordinates(positions: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Row-major positions in a shape as coordinates, (positions, dimensions)."""
    n, rank = positions.numel(), len(shape)
    if rank == 1:
        return core.view(positions, (n, 1))
    out = core.empty((n, rank), INT64)
    if n and rank:
        desc = (rank, *shape)
        phases = lambda: [(compress.unravel_source(targets.host()), desc, n, launch.GRAIN)]
        launch.plan_for(("unravel", desc, n), phases).run(out, positions)
    return out


def as_mask(input: Tensor) -> Tensor:
    """Which elements are not zero, as bool without history."""
    return input if input.dtype is BOOL else input.detach() != 0


@function("nonzero", method=True)
def nonzero(input: Tensor, *, out: Tensor | None = None, as_tuple: bool = False) -> Any:
    """Coordinates of elements that are not zero: (count, dimensions), or one tensor a dimension.

    >>> import flambeau as torch
    >>> torch.tensor([[0, 5], [6, 0]]).nonzero()
    tensor([[0, 1],
            [1, 0]])
    """
    check_tensor("nonzero", input)
    mask = as_mask(input)
    if as_tuple and not input.ndim:
        mask = core.view(mask, (1,))
    found = coordinates(true_positions(mask), tuple(mask.shape))
    if as_tuple:
        n = found.shape[0]
        rank = mask.ndim
        return tuple([core.restride(found, (n,), (rank,), d if n else 0) for d in range(rank)])
    if out is not None:
        if out.dtype is not INT64:
            raise RuntimeError(
                f"nonzero: Expected out tensor to have scalar type Long, but got {out.dtype.name}"
            )
        return deliver("nonzero", out, found)
    return found


@function("argwhere", method=True)
def argwhere(input: Tensor) -> Tensor:
    """Coordinates of the elements that are not zero, (count, dimensions)."""
    return nonzero(input)


@function("nonzero_static", method=True)
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first `size` coordinates of elements that are not zero, padded with fill_value."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer, got {size}")
    from .convert import fill_plain
    from .views import narrow

    found = nonzero(input)
    n = min(size, found.shape[0])
    made = fill_plain(core.empty((size, input.ndim), INT64), fill_value)
    core.copy_plain(narrow(made, 0, 0, n), narrow(found, 0, 0, n))
    return made


# ---- selecting and scattering --------------------------------------------------------------------


def _common(name: str, input: Tensor, mask: Any) -> tuple[Tensor, Tensor]:
    from .views import broadcast_shapes

    check_tensor(name, mask, "mask")
    if mask.dtype is not BOOL and (name == "masked_scatter" or mask.dtype.name != "uint8"):
        raise RuntimeError(f"{name}: expected BoolTensor for mask, but got {mask.dtype.name}")
    shape = broadcast_shapes(input.shape, mask.shape)
    return core.expand(input, shape), core.expand(as_mask(mask), shape)


@composite
def masked_select(input: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The elements where the mask holds, 1-d in row-major order; the two broadcast.

    >>> import flambeau as torch
    >>> torch.tensor([1, 2, 3]).masked_select(torch.tensor([True, False, True]))
    tensor([1, 3])
    """
    from .gather import take_flat

    if out is not None:
        launch.check_out("masked_select", out, input, mask)
        return deliver("masked_select", out, masked_select(input, mask))
    input, mask = _common("masked_select", input, mask)
    if mask.numel() >= _MANY and not core.needs_history(input):
        return select_plain(input, mask)
    return take_flat(input, true_positions(mask))


@composite
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Successive elements of source where the mask holds, else input.

    >>> import flambeau as torch
    >>> torch.zeros(3).masked_scatter(torch.tensor([True, False, True]), torch.tensor([1.0, 2.0]))
    tensor([1., 0., 2.])
    """
    from .scatter import put_flat
    from .views import clone

    input, mask = _common("masked_scatter", input, mask)
    positions, values = _scattered("masked_scatter", input, mask, source)
    return clone(input) if values is None else put_flat(input, positions, values, False)


def _scattered(name: str, input: Tensor, mask: Tensor, source: Any) -> tuple[Tensor, Tensor | None]:
    """Where the elements go, and as many elements of source."""
    from .views import reshape

    check_tensor(name, source, "source")
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"{name}: expected self and source to have same dtypes but got {input.dtype.name} and "
            f"{source.dtype.name}"
        )
    positions = true_positions(mask)
    n = positions.numel()
    if n > source.numel():
        raise RuntimeError(
            f"{name}: Number of elements of source < number of ones in mask: {source.numel()} < {n}"
        )
    flat = reshape(source, -1)
    return positions, core.basic_index(flat, slice(0, n)) if n else None


@function("masked_scatter_", method=True)
def masked_scatter_(self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Write successive elements of source where the mask holds."""
    core.check_inplace(self, "masked_scatter_")
    return core.copy_(self, masked_scatter(self, mask, source))


@function("unravel_index")
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """Row-major positions in a shape as coordinates: one tensor a dimension.

    >>> import flambeau as torch
    >>> torch.unravel_index(torch.tensor(5), (2, 3))
    (tensor(1), tensor(2))
    """
    check_tensor("unravel_index", indices, "indices")
    if indices.dtype.is_floating_point or indices.dtype.is_complex or indices.dtype is BOOL:
        raise ValueError(
            f"unravel_index: expected 'indices' to be integer dtype, but got {indices.dtype!r}"
        )
    sizes = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes):
        raise ValueError(f"unravel_index: 'shape' cannot have negative values, but got {sizes}")
    result, rest = [], indices
    for n in reversed(sizes):
        result.append(rest % n)
        rest = rest.div(n, rounding_mode="floor")
    return tuple(reversed(result))
