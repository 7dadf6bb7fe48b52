"""Launching the index kernels: plans by layout, checks of indices, and the errors they raise."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from .. import core
from ..core import Tensor
from ..core import dtype as Dtype
from ..kernels.dtypes import BY_CODE
from ..kernels.lazy import gather as gather_kernels
from ..kernels.lazy import scatter as scatter_kernels
from ..kernels.lazy import strided_copy as copy_kernels
from ..kernels.lazy import target as targets
from ..kernels.plan import ceil_div
from .convert import fill_plain, to_dtype
from .plans import find_kernel

INT64, INT32, BOOL, FLOAT32 = core.dtypes[5], core.dtypes[4], core.dtypes[0], core.dtypes[8]
GRAIN = 16384  # elements that are worth a thread of their own

_plans: dict[tuple, core.Plan] = {}


_addresses: dict[tuple, int] = {}


def _address(key: tuple, make: Any) -> int:
    """The machine code of the kernel source that make() gives, by a key."""
    found = _addresses.get(key)
    if found is None:
        found = _addresses[key] = find_kernel(key, make)
    return found


def _check_kernel() -> int:
    return _address(("check",), lambda: gather_kernels.check_source(targets.host()))


def load_copiers(size: int) -> tuple[int, int]:
    """The kernels that copy elements of a size between two layouts: by rows, by tiles."""
    rows = _address(("copy", size), lambda: copy_kernels.rows_source(size, targets.host()))
    tiles = _address(("copy tiles", size), lambda: copy_kernels.tiles_source(size, targets.host()))
    return rows, tiles


core.set_copy_loader(load_copiers)


def plan_for(key: tuple, phases: Any) -> core.Plan:
    """The plan known by a key, made of phases() = (source, desc, tasks, grain) on first use."""
    key = (key, core.threads())
    found = _plans.get(key)
    if found is None:
        if len(_plans) > 4096:
            _plans.clear()
        from ..kernels.lazy import cache

        made = [
            (cache.named(source.key, source.build, source.symbol), desc, tasks, grain)
            for source, desc, tasks, grain in phases()
        ]
        found = _plans[key] = core.Plan(made, 0, key[1])
    return found


def _grain(work: int, tasks: int) -> int:
    """Tasks in a chunk so that a chunk is worth a thread."""
    return max(1, GRAIN * tasks // max(work, 1))


# ---- indices -------------------------------------------------------------------------------------


def as_index(name: str, index: Any, error: type[Exception] = RuntimeError) -> Tensor:
    """An index tensor in int64 and row-major order."""
    if not isinstance(index, Tensor):
        raise TypeError(f"{name}(): argument 'index' must be Tensor, not {type(index).__name__}")
    if index.dtype is not INT64:
        if index.dtype is not INT32:
            raise error(f"{name}(): Expected dtype int32/int64 for index, but got {index.dtype!r}")
        index = to_dtype(index, INT64)
    return index if index.is_contiguous() else core.contiguous_plain(index)


def as_positions(name: str, index: Any, dim: int) -> Tensor:
    """An index tensor of elements along dim: row-major, or one vector repeated over the others."""
    if isinstance(index, Tensor) and index.dtype is INT64 and row_vector(index, dim) is not None:
        return index
    return as_index(name, index)


def row_vector(index: Tensor, dim: int) -> Tensor | None:
    """The vector that an index tensor repeats over all dimensions but dim, if it does.

    Then whole rows are meant, which are read and written much faster than elements.
    """
    if index.ndim < 2:
        return None
    shape, strides = index.shape, index.stride()
    repeated = 1
    for d, n in enumerate(shape):
        if d != dim:
            if n != 1 and strides[d]:
                return None
            repeated *= n
    if repeated < 4:
        return None
    return core.contiguous_plain(core.restride(index, (shape[dim],), (strides[dim],)))


def _corner(table: Tensor, index: Tensor, dim: int) -> Tensor:
    """The part of a table that index covers, whole along dim."""
    sizes = [slice(0, n) if d != dim else slice(None) for d, n in enumerate(index.shape)]
    return core.basic_index(table, tuple(sizes))


def find_bad(index: Tensor, rows: int, lowest: int) -> int:
    """The first index that is not in lowest..rows-1."""
    for value in core.view(core.contiguous_plain(index), (-1,)).tolist():
        if not lowest <= value < rows:
            return value
    raise AssertionError("a kernel flagged an index that is in range")


class Bounds:
    """Where indices must lie, and the error when they do not."""

    __slots__ = ("dim", "error", "known", "name", "rows", "wraps")

    def __init__(
        self, name: str, rows: int, wraps: bool, dim: int = -1, error: type[Exception] = IndexError
    ) -> None:
        self.name, self.rows, self.wraps, self.dim, self.error = name, rows, wraps, dim, error
        self.known = False  # were the indices checked before?

    @property
    def lowest(self) -> int:
        """The smallest index allowed."""
        return -self.rows if self.wraps else 0

    def fail(self, index: Tensor) -> None:
        """Raise for the first index that is out of range."""
        bad = find_bad(index, self.rows, self.lowest)
        where = f"dimension {self.dim} with size {self.rows}"
        if self.dim < 0:
            where = f"a tensor of {self.rows} elements"
        raise self.error(f"{self.name}: index {bad} is out of bounds for {where}")


def bounds(
    name: str, input: Tensor, dim: int, wrap: bool = False, error: type[Exception] = IndexError
) -> Bounds:
    """Indices into a dimension of a tensor."""
    return Bounds(name, input.shape[dim] if input.ndim else 1, wrap, dim, error)


def offset_bounds(name: str, table: Tensor) -> Bounds:
    """Element offsets into a table that were checked when they were made."""
    reach = 1 + sum((n - 1) * s for n, s in zip(table.shape, table.stride(), strict=True))
    limits = Bounds(name, max(reach, 0), False)
    limits.known = True
    return limits


def check(index: Tensor, limits: Bounds) -> None:
    """Raise unless every index (int64, row-major) is in range."""
    if not limits.known and not core.check_indices(
        _check_kernel(), index, limits.rows, limits.lowest
    ):
        limits.fail(index)


def check_out(name: str, out: Any, *inputs: Tensor) -> None:
    """Raise unless an out= tensor may be written while the inputs are read."""
    if not isinstance(out, Tensor):
        return
    core.check_inplace(out, name)
    if any(core.shares_memory(out, t) for t in inputs):
        raise RuntimeError(
            f"{name}: unsupported operation: some elements of the input tensor and the written-to "
            "tensor refer to a "
            "single memory location. Please clone() the tensor before performing the operation."
        )


# ---- layouts -------------------------------------------------------------------------------------


def merged(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, int] | None:
    """Some dimensions as one: (size, stride), or None where they do not lie regularly."""
    if 0 in shape:
        return 0, 0
    size, stride = 1, 0
    for n, step in zip(reversed(shape), reversed(strides), strict=True):
        if n == 1:
            continue
        if size == 1:
            size, stride = n, step
        elif step == stride * size:
            size *= n
        else:
            return None
    return size, stride


def table_layout(table: Tensor, dim: int, width: int = 1) -> tuple[int, int, int, int] | None:
    """(outer size, outer stride, inner size, inner stride) around dimensions dim..dim+width-1."""
    shape, strides = table.shape, table.stride()
    if table.is_contiguous():  # so is whatever has no elements
        return prod(shape[:dim]), prod(shape[dim:]), prod(shape[dim + width :]), 1
    before = merged(shape[:dim], strides[:dim])
    after = merged(shape[dim + width :], strides[dim + width :])
    return None if before is None or after is None else (*before, *after)


# ---- taking rows ---------------------------------------------------------------------------------


def take_rows(table: Tensor, dim: int, index: Tensor, limits: Bounds) -> Tensor:
    """table with dimension dim replaced by the dimensions of index (int64, row-major)."""
    made = core.take_rows(table, dim, index, limits.wraps)
    if made is not None:
        return made
    _load_take_kernel(table.dtype.itemsize)
    shape = table.shape
    out = core.empty((*shape[:dim], *index.shape, *shape[dim + 1 :]), table.dtype)
    layout = table_layout(table, dim)
    if layout is None:
        table = core.contiguous_plain(table)
        layout = table_layout(table, dim)
    row = table.stride()[dim] if shape else 1
    run_take(out, table, index, layout, row, limits)
    return out


def _load_take_kernel(size: int) -> None:
    """Hand the core the kernel for its own short cut."""
    if ("take", size) not in _addresses:
        source = lambda: gather_kernels.take_source(size, targets.host())
        core.set_take_kernel(size, _address(("take", size), source))


def run_take(
    out: Tensor, table: Tensor, index: Tensor, layout: Any, row: int, limits: Bounds
) -> None:
    """Fill the row-major `out`, [outer][index][inner], from rows of the table."""
    outer, outer_step, inner, inner_step = layout
    n = index.numel()
    if out.numel() == 0 or limits.rows == 0:
        check(index, limits)
        return
    key = ("take", table.dtype.itemsize, outer, outer_step, inner, inner_step, n, row,
           limits.rows, limits.lowest)  # fmt: skip

    def phases() -> list:
        size = table.dtype.itemsize
        desc = gather_kernels.TAKE_FIELDS.pack(
            outer=outer, count=n, rows=limits.rows, lowest=limits.lowest,
            table_outer=outer_step * size, table_row=row * size, inner=inner,
            table_inner=inner_step * size if inner > 1 else size,
        )  # fmt: skip
        source = gather_kernels.take_source(size, targets.host())
        return [(source, desc, outer * n, _grain(out.numel(), outer * n))]

    flag = core.new_flag()
    plan_for(key, phases).run(out, table, index, flag)
    if core.read_flag(flag):
        limits.fail(index)


def offsets_of(table: Tensor, indices: Sequence[Tensor], dims: Sequence[int], name: str) -> Tensor:
    """Element offsets in the table of the rows that several int64 indices name together."""
    offsets = core.empty(indices[0].shape, INT64)
    n = offsets.numel()
    strides = table.stride()
    for k, (index, dim) in enumerate(zip(indices, dims, strict=True)):
        limits = bounds(name, table, dim, wrap=True)
        desc = gather_kernels.OFFSET_FIELDS.pack(
            rows=limits.rows, lowest=limits.lowest, stride=strides[dim], first=int(k == 0)
        )

        def phases(desc=desc) -> list:
            return [(gather_kernels.offset_source(targets.host()), desc, n, 4 * GRAIN)]

        flag = core.new_flag()
        if n:
            plan_for(("offsets", desc, n), phases).run(offsets, index, flag)
        if core.read_flag(flag):
            limits.fail(index)
    return offsets


# ---- writing rows --------------------------------------------------------------------------------


def _element(mode: str, dtype: Dtype) -> str:
    """The kernels' name of the elements; what is only moved is moved as bytes."""
    return "u8" if mode == "put" and dtype.itemsize == 1 else BY_CODE[dtype.code].name


def put_rows(
    mode: str, table: Tensor, dim: int, index: Tensor, values: Tensor, limits: Bounds
) -> None:
    """Combine values, shaped as the table with dim replaced by index's dimensions, into its rows.

    Nothing is written when an index is out of range. The values may be strided or repeated.
    """
    if core.shares_memory(table, values):
        values = core.clone_plain(values)
    name = _element(mode, table.dtype)
    kernel = _address(
        ("rows", mode, name), lambda: scatter_kernels.rows_source(mode, name, targets.host())
    )
    if core.put_rows(kernel, _check_kernel(), table, dim, index, values, limits.wraps):
        return
    if table.ndim and dim == table.ndim - 1 and _pays_widely(mode, table, values):
        wide = to_dtype(table, FLOAT32)
        put_rows(mode, wide, dim, index, to_dtype(values, FLOAT32), limits)
        core.copy_plain(table, wide)
        return
    if _pays_privately(mode, table, index, values):
        check(index, limits)
        _add_privately(table, index, values, limits)
        return
    layout = table_layout(table, dim)
    if layout is None:
        whole = core.contiguous_plain(table)
        put_rows(mode, whole, dim, index, values, limits)
        core.copy_plain(table, whole)
        return
    row = table.stride()[dim] if table.ndim else 1
    run_put(mode, table, index, values, (dim, index.ndim), layout, row, limits)


_PARTS = 4  # private tables; a fixed number, so that results do not depend on threads


def _pays_privately(mode: str, table: Tensor, index: Tensor, values: Tensor) -> bool:
    """Are there many values for few places of a vector, so that copies of it are worth it?"""
    n = index.numel()
    return (
        mode == "add"
        and n >= 8 * GRAIN
        and table.ndim == index.ndim == 1
        and 8 * table.numel() <= n
        and table.dtype.name not in ("float16", "bfloat16")
        and table.is_contiguous()
        and values.shape == index.shape
    )


def _add_privately(table: Tensor, index: Tensor, values: Tensor, limits: Bounds) -> None:
    """Each quarter of the values is added up in a table of its own, then the tables are added."""
    size = index.numel() // _PARTS
    own = fill_plain(core.empty((_PARTS, table.numel()), table.dtype), 0)
    (step,) = values.stride()
    by_part = lambda t, step: core.restride(t, (_PARTS, size), (size * step, step))
    scatter_into("add", own, 1, by_part(index, 1), by_part(values, step), limits)
    for part in range(_PARTS):
        table.add_(core.basic_index(own, part))
    rest = slice(size * _PARTS, None)
    scatter_into(
        "add", table, 0, core.basic_index(index, rest), core.basic_index(values, rest), limits
    )


def _pays_widely(mode: str, table: Tensor, values: Tensor) -> bool:
    """Are so many values combined one by one with halves that the whole table is better widened?

    They are then rounded once, not by each value.
    """
    n = values.numel()
    half = table.dtype.itemsize == 2 and table.dtype.is_floating_point
    return half and mode in ("add", "mul") and n >= GRAIN and 2 * n >= table.numel()


def run_put(
    mode: str, table: Tensor, index: Tensor, values: Tensor, place: tuple[int, int], layout: Any,
    row: int, limits: Bounds,
) -> None:  # fmt: skip
    """Combine values, whose index dimensions start at place[0], into rows of the table."""
    n = index.numel()
    outer, _outer_step, inner, _inner_step = layout
    if n == 0 or outer == 0 or inner == 0:
        check(index, limits)
        return
    if core.shares_memory(table, values):
        values = core.clone_plain(values)
    steps = _value_steps(values, *place)
    if steps is None:
        values = core.contiguous_plain(values)
        steps = _value_steps(values, *place)
    key = ("put", mode, table.dtype, layout, steps, n, row, limits.rows, limits.lowest)

    def phases() -> list:
        return _put_phases(mode, table.dtype, layout, steps, n, row, limits)

    flag = core.new_flag()
    plan_for(key, phases).run(table, values, index, flag)
    if core.read_flag(flag):
        limits.fail(index)
    core.bump_version(table)


def _value_steps(values: Tensor, first: int, count: int) -> tuple[int, int, int] | None:
    """Strides of values over (outer, index, inner) dimensions."""
    shape, strides = values.shape, values.stride()
    parts = [slice(0, first), slice(first, first + count), slice(first + count, None)]
    steps = [merged(shape[p], strides[p]) for p in parts]
    return None if None in steps else tuple([s[1] for s in steps])  # type: ignore[index, return-value]


def _put_phases(
    mode: str, dtype: Any, layout: Any, steps: Any, n: int, row: int, limits: Bounds
) -> list:
    outer, outer_step, inner, inner_step = layout
    size = dtype.itemsize
    threads = core.threads()
    work = outer * n * inner
    by_outer = outer >= 4 * threads
    tasks = outer if by_outer else limits.rows
    desc = scatter_kernels.PUT_FIELDS.pack(
        outer=outer, count=n, rows=limits.rows, inner=inner, by_outer=int(by_outer),
        table_outer=outer_step * size, table_row=row * size,
        table_inner=inner_step * size if inner > 1 else size,
        values_outer=steps[0] * size, values_step=steps[1] * size,
        values_inner=steps[2] * size if inner > 1 else size,
    )  # fmt: skip
    checked = gather_kernels.OFFSET_FIELDS.pack(
        rows=limits.rows, lowest=limits.lowest, stride=0, first=1
    )
    host = targets.host()
    source = scatter_kernels.rows_source(mode, _element(mode, dtype), host)
    apply = (source, desc, tasks, tasks if work < 2 * GRAIN else ceil_div(tasks, threads))
    if limits.known:
        return [apply]
    return [(gather_kernels.check_source(host), checked, n, 4 * GRAIN), apply]


# ---- elements along a dimension ------------------------------------------------------------------


def gather_along(table: Tensor, dim: int, index: Tensor, limits: Bounds) -> Tensor:
    """The table's elements at index along dim, of index's shape."""
    rows = row_vector(index, dim)
    if rows is not None:
        return take_rows(_corner(table, index, dim), dim, rows, limits)
    made = core.empty(index.shape, table.dtype)
    size = table.dtype.itemsize
    kernel = _address(("gather", size), lambda: gather_kernels.along_source(size, targets.host()))
    core.set_gather_kernel(size, kernel)
    if not core.run_along(kernel, 0, made, table, index, dim, False, limits.wraps):
        limits.fail(index)
    return made


def scatter_into(
    mode: str, table: Tensor, dim: int, index: Tensor, values: Tensor, limits: Bounds
) -> None:
    """Combine values, of index's shape, into the table's elements at index along dim."""
    rows = row_vector(index, dim)
    if rows is not None:
        put_rows(mode, _corner(table, index, dim), dim, rows, values, limits)
        return
    if _pays_privately(mode, table, index, values):
        put_rows(mode, table, dim, index, values, limits)
        return
    if _pays_widely(mode, table, values):
        wide = to_dtype(table, FLOAT32)
        scatter_into(mode, wide, dim, index, to_dtype(values, FLOAT32), limits)
        core.copy_plain(table, wide)
        return
    name = _element(mode, table.dtype)
    kernel = _address(
        ("scatter", mode, name), lambda: scatter_kernels.along_source(mode, name, targets.host())
    )
    if not core.run_along(kernel, _check_kernel(), table, values, index, dim, True, limits.wraps):
        limits.fail(index)
