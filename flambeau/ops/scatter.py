"""Writing through index tensors: rows by number, elements along a dimension, flat positions.

Every op is a copy of its input followed by a write; the variant `op_` writes in place. A derivative
reads through the same indices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import core
from ..core import Tensor
from . import launch_index as launch
from .dims import check_tensor, wrap
from .gather import check_along, gather_along, select_rows, take_flat
from .launch_index import Bounds, as_index, bounds
from .record import composite, function, primitive
from .windows import zeros_plain


def writes_in_place(name: str, op: Callable, write: Callable) -> None:
    """Register `name`: `write` where no history is kept, else the result of `op` copied in."""

    @function(name, method=True, namespaces=())
    def inplace(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        core.check_inplace(self, name)
        if core.needs_history(self, *args, *kwargs.values()):
            return core.copy_(self, op(self, *args, **kwargs))
        write(self, *args, **kwargs)
        return self

    inplace.function.__name__ = name
    inplace.function.__doc__ = f"In-place {name[:-1]}: writes the result over the first argument."


def _same_dtype(name: str, input: Tensor, source: Any, what: str = "source") -> None:
    check_tensor(name, source, what)
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"{name}(): Expected self.dtype to be equal to {what}.dtype, got self "
            f"{input.dtype.name} "
            f"and {what} {source.dtype.name}: convert one of them with .to()"
        )


# ---- elements along a dimension ------------------------------------------------------------------


def write_along(
    mode: str, table: Tensor, dim: int, index: Tensor, values: Tensor, name: str
) -> None:
    """Combine values into the table's elements at index along dim; all checked but the indices."""
    if core.shares_memory(table, values):
        values = core.clone_plain(values)
    limits = bounds(name, table, dim, error=RuntimeError)
    launch.scatter_into(mode, table, dim, index, values, limits)


@primitive(register=False, name="scatter")
def put_along(input: Tensor, dim: int, index: Tensor, values: Tensor, name: str) -> Tensor:
    """input with values (of index's shape) written at index along dim."""
    made = core.clone_plain(input)
    write_along("put", made, dim, index, values, name)
    return made


@put_along.vjp
def _(g, dim, index):
    zero = core.expand(zeros_plain((), g.dtype), index.shape)
    return put_along(g, dim, index, zero, "scatter"), None, gather_along(g, dim, index, "scatter")


@primitive(register=False, name="scatter_add")
def add_along(input: Tensor, dim: int, index: Tensor, values: Tensor, name: str) -> Tensor:
    """input with values (of index's shape) added at index along dim."""
    made = core.clone_plain(input)
    write_along("add", made, dim, index, values, name)
    return made


@add_along.vjp
def _(g, dim, index):
    return g, None, gather_along(g, dim, index, "scatter_add")


def scatter_into_zeros(g: Tensor, shape: tuple[int, ...], dim: int, index: Tensor) -> Tensor:
    """Zeros with g added at index along dim: the transpose of gather."""
    return add_along(zeros_plain(shape, g.dtype), dim, index, g, "gather")


def read_scatter_arguments(
    name: str, input: Tensor, dim: int, index: Any, src: Any
) -> tuple[int, Tensor, Tensor]:
    """Check a scatter's arguments: the dimension, the index, the values of its shape."""
    dim = wrap(name, dim, input.ndim)
    index = launch.as_positions(name, index, dim)
    if not isinstance(src, Tensor):
        value = core.from_data(src, input.dtype)
        if index.numel():
            check_along(name, input, dim, index, "self")
        return dim, index, core.expand(value, index.shape)
    if src.dtype is not input.dtype:
        raise RuntimeError(
            f"{name}(): Expected self.dtype to be equal to src.dtype, got self {input.dtype.name} "
            f"and src {src.dtype.name}"
        )
    if index.numel():
        check_along(name, input, dim, index, "self")
        check_along(name, src, -1, index, "src")
    return dim, index, _corner(src, index)


def _corner(src: Tensor, index: Tensor) -> Tensor:
    """The part of src that index covers."""
    if src.shape == index.shape:
        return src
    if not index.numel():
        return core.empty(index.shape, src.dtype)
    if src.ndim != index.ndim:
        return core.view(core.basic_index(src, 0) if src.ndim else src, index.shape)
    return core.basic_index(src, tuple([slice(0, n) for n in index.shape]))


_SCATTER_MODES = {None: "put", "add": "add", "multiply": "mul"}


def _scatter_arguments(name, self, dim, index, src, value, reduce):
    if src is None:
        if value is None:
            raise TypeError(f"{name}() missing required argument: 'src' or 'value'")
        src = value
    if reduce not in _SCATTER_MODES:
        raise RuntimeError(
            f"{name}(): reduce argument must be either add or multiply, got {reduce!r}"
        )
    return read_scatter_arguments(name, self, dim, index, src)


def _scatter_(self, dim, index, src=None, *, value=None, reduce=None):
    dim, index, values = _scatter_arguments("scatter_", self, dim, index, src, value, reduce)
    write_along(_SCATTER_MODES[reduce], self, dim, index, values, "scatter_")


@composite(out=True)
def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Any = None,
    *,
    value: Any = None,
    reduce: str | None = None,
) -> Tensor:
    """input with src (a tensor, or a number) written at out[index[i][j]][j] for dim 0, and so on.

    With reduce "add" or "multiply" the values are combined with what is there.

    >>> import flambeau as torch
    >>> torch.zeros(3).scatter(0, torch.tensor([2]), 5.0)
    tensor([0., 0., 5.])
    """
    dim, index, values = _scatter_arguments("scatter", input, dim, index, src, value, reduce)
    if reduce is None:
        return put_along(input, dim, index, values, "scatter")
    if reduce == "add":
        return add_along(input, dim, index, values, "scatter")
    from .scatter_reduce import multiply_along

    return multiply_along(input, dim, index, values, "scatter")


writes_in_place("scatter_", scatter, _scatter_)


@composite(out=True)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """input with src added at index along dim; several values for one place add up.

    >>> import flambeau as torch
    >>> torch.zeros(2).scatter_add(0, torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))
    tensor([0., 3.])
    """
    check_tensor("scatter_add", src, "src")
    dim, index, values = read_scatter_arguments("scatter_add", input, dim, index, src)
    return add_along(input, dim, index, values, "scatter_add")


def _scatter_add_(self, dim, index, src):
    check_tensor("scatter_add_", src, "src")
    dim, index, values = read_scatter_arguments("scatter_add_", self, dim, index, src)
    write_along("add", self, dim, index, values, "scatter_add_")


writes_in_place("scatter_add_", scatter_add, _scatter_add_)

# ---- rows of a dimension -------------------------------------------------------------------------


def read_rows_arguments(
    name: str,
    input: Tensor,
    dim: int,
    index: Any,
    source: Any,
    error: type[Exception] = RuntimeError,
) -> tuple[int, Tensor, Tensor]:
    """Check the arguments of an op that writes rows: dimension, 1-d index, values."""
    dim = wrap(name, dim, input.ndim)
    index = as_index(name, index)
    if index.ndim > 1:
        raise IndexError(
            f"{name}(): Index should have dimension 1 or 0 (got {index.ndim}, shape "
            f"{tuple(index.shape)})"
        )
    _same_dtype(name, input, source)
    if index.numel() != (source.shape[dim] if source.ndim else 1):
        raise error(
            f"{name}(): Number of indices ({index.numel()}) should be equal to source.size(dim): "
            f"({source.shape[dim] if source.ndim else 1}), for dim: {dim}"
        )
    wanted = (*input.shape[:dim], index.numel(), *input.shape[dim + 1 :])
    if input.ndim and source.ndim and tuple(source.shape) != wanted:
        raise error(
            f"{name}(): source must match input except along dim {dim}: expected {wanted}, got "
            f"{tuple(source.shape)}"
        )
    if not index.ndim:
        index = core.view(index, (1,))
    if not input.ndim:
        source = source if source.ndim == 1 else core.view(source, (1,))
    elif not source.ndim:
        source = core.view(source, wanted)
    return dim, index, source


def _write_rows(
    mode: str, table: Tensor, dim: int, index: Tensor, values: Tensor, limits: Bounds
) -> None:
    if not table.ndim:
        table = core.view(table, (1,))
    launch.put_rows(mode, table, dim, index, values, limits)


@primitive(register=False, name="index_add")
def add_rows(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """input with source's rows added at index."""
    made = core.clone_plain(input)
    _write_rows("add", made, dim, index, source, bounds("index_add", made, dim))
    return made


@add_rows.vjp
def _(g, dim, index):
    return g, None, _select(g, dim, index)


def _select(g: Tensor, dim: int, index: Tensor, wraps: bool = False) -> Tensor:
    if not g.ndim:
        g = core.view(g, (1,))
    return select_rows(g, dim, index, wraps, "index_select")


@composite(out=True)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """input with alpha times source's rows added at the positions `index` of a dimension.

    >>> import flambeau as torch
    >>> torch.zeros(2).index_add(0, torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))
    tensor([0., 3.])
    """
    dim, index, source = read_rows_arguments("index_add", input, dim, index, source)
    return add_rows(input, dim, index, source if alpha == 1 else source * alpha)


def _index_add_(self, dim, index, source, *, alpha=1):
    dim, index, source = read_rows_arguments("index_add_", self, dim, index, source)
    source = source if alpha == 1 else source * alpha
    _write_rows("add", self, dim, index, source, bounds("index_add_", self, dim))


writes_in_place("index_add_", index_add, _index_add_)


@primitive(register=False, name="index_copy")
def copy_rows(input: Tensor, dim: int, index: Tensor, source: Tensor, wraps: bool) -> Tensor:
    """input with rows replaced by source's."""
    made = core.clone_plain(input)
    _write_rows("put", made, dim, index, source, bounds("index_copy", made, dim, wraps))
    return made


@copy_rows.vjp
def _(g, dim, index, source_like, wraps):
    zero = core.expand(zeros_plain((), g.dtype), source_like.shape)
    return copy_rows(g, dim, index, zero, wraps), None, _select(g, dim, index, wraps)


@composite(out=True)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """input with the positions `index` of a dimension replaced by source's rows.

    >>> import flambeau as torch
    >>> torch.zeros(3).index_copy(0, torch.tensor([2]), torch.tensor([1.0]))
    tensor([0., 0., 1.])
    """
    _check_copy("index_copy", index)
    dim, index, source = read_rows_arguments("index_copy", input, dim, index, source, IndexError)
    return copy_rows(input, dim, index, source, False)


def _check_copy(name: str, index: Any) -> None:
    if isinstance(index, Tensor) and index.dtype is not launch.INT64:
        raise RuntimeError(
            f"{name}(): Expected a long tensor for index, but got {index.dtype.name}"
        )


def _index_copy_(self, dim, index, source):
    _check_copy("index_copy_", index)
    dim, index, source = read_rows_arguments("index_copy_", self, dim, index, source, IndexError)
    _write_rows("put", self, dim, index, source, bounds("index_copy_", self, dim))


writes_in_place("index_copy_", index_copy, _index_copy_)


def _fill_rows(
    name: str, input: Tensor, dim: int, index: Any, value: Any
) -> tuple[int, Tensor, Tensor]:
    dim = wrap(name, dim, input.ndim)
    check_tensor(name, index, "index")
    if index.dtype is not launch.INT64:
        raise IndexError(f"{name}(): Expected dtype int64 for index, got {index.dtype.name}")
    if index.ndim > 1:
        raise IndexError(
            f"{name}(): Index is supposed to be a vector, got shape {tuple(index.shape)}"
        )
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                f"{name} only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
        value = value.to(input.dtype)
    else:
        if isinstance(value, complex) and not input.is_complex():
            raise RuntimeError(
                f"{name}(): Converting complex Scalar to non-complex type is not supported"
            )
        value = core.from_data(value, input.dtype)
    index = core.view(core.contiguous_plain(index), (-1,))
    inner = input.shape[dim + 1 :]
    if inner and not core.needs_history(value):
        value = core.contiguous_plain(core.expand(value, inner))  # rows are written by vectors
    return dim, index, core.expand(value, (*input.shape[:dim], index.numel(), *inner))


@composite
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """input with the positions `index` of a dimension set to a number or 0-d tensor.

    >>> import flambeau as torch
    >>> torch.zeros(3).index_fill(0, torch.tensor([0, 2]), 1)
    tensor([1., 0., 1.])
    """
    dim, index, values = _fill_rows("index_fill", input, dim, index, value)
    if core.needs_history(values):  # a position written twice counts once
        n = input.shape[dim] if input.ndim else 1
        once = sorted({i + n if i < 0 else i for i in index.tolist()})
        dim, index, values = _fill_rows(
            "index_fill", input, dim, core.from_data(once, launch.INT64) if once else index, value
        )
    return copy_rows(input, dim, index, values, True)


def _index_fill_(self, dim, index, value):
    dim, index, values = _fill_rows("index_fill_", self, dim, index, value)
    _write_rows("put", self, dim, index, values, bounds("index_fill_", self, dim, True))


writes_in_place("index_fill_", index_fill, _index_fill_)


# ---- flat positions ------------------------------------------------------------------------------


@primitive(register=False, name="put")
def put_flat(input: Tensor, index: Tensor, values: Tensor, accumulate: bool) -> Tensor:
    """A row-major copy of input with values written (or added) at row-major positions."""
    made = core.empty(input.shape, input.dtype)
    core.copy_plain(made, input)
    limits = Bounds("put", made.numel(), True)
    launch.put_rows(
        "add" if accumulate else "put", core.view(made, (-1,)), 0, index, values, limits
    )
    return made


@put_flat.vjp
def _(g, index, accumulate):
    from .views import contiguous

    g = contiguous(g)
    if accumulate:
        return g, None, take_flat(g, index)
    zero = core.expand(zeros_plain((), g.dtype), index.shape)
    return put_flat(g, index, zero, False), None, take_flat(g, index)


@composite
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """input with source's elements written (or added) at row-major positions.

    >>> import flambeau as torch
    >>> torch.zeros(2, 2).put(torch.tensor([3]), torch.tensor([1.0]))
    tensor([[0., 0.],
            [0., 1.]])
    """
    from .views import reshape

    check_tensor("put", index, "index")
    _same_dtype("put", input, source)
    if index.dtype is not launch.INT64:
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {index.dtype.name}")
    if index.numel() != source.numel():
        raise RuntimeError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source.numel()}, index.numel() = {index.numel()}"
        )
    if not input.numel() and index.numel():
        raise IndexError("put_(): tried to put elements into an empty tensor")
    index = core.view(core.contiguous_plain(index), (-1,))
    return put_flat(input, index, reshape(source, -1), accumulate)


@function("put_", method=True, namespaces=())
def put_(self: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """In-place put: writes the result over the first argument."""
    core.check_inplace(self, "put_")
    return core.copy_(self, put(self, index, source, accumulate))


# ---- plain writes for the views' gradients -------------------------------------------------------


def add_rows_plain(name: str, table: Tensor, index: Tensor, values: Tensor) -> None:
    """Add rows in place, without history; negative indices count from the end."""
    launch.put_rows("add", table, 0, index, values, bounds(name, table, 0, True))


def put_rows_plain(name: str, table: Tensor, index: Tensor, values: Tensor) -> None:
    """Write rows in place, without history; negative indices count from the end."""
    launch.put_rows("put", table, 0, index, values, bounds(name, table, 0, True))
