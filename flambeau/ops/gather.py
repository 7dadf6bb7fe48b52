"""Reading through index tensors: rows by number, elements along a dimension, flat positions."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from . import launch_index as launch
from .convert import fill_plain
from .dims import check_tensor, wrap
from .launch_index import Bounds, as_index, bounds
from .record import composite, deliver, function, primitive
from .sparse_methods import make_sparse

# ---- rows of a dimension -------------------------------------------------------------------------


@primitive(register=False, name="index_select", shortcut="select_rows")
def select_rows(input: Tensor, dim: int, index: Tensor, wraps: bool, name: str) -> Tensor:
    """input with dimension dim replaced by the dimensions of index (int64, row-major)."""
    return launch.take_rows(input, dim, index, bounds(name, input, dim, wraps))


@select_rows.vjp
def _(g, input_like, dim, index, wraps, name):
    return spread_rows(g, input_like.shape, dim, index, wraps), None


@primitive(register=False)
def spread_rows(g: Tensor, shape: tuple[int, ...], dim: int, index: Tensor, wraps: bool) -> Tensor:
    """Zeros with g's rows added at the rows that index names: the transpose of select_rows."""
    from .windows import zeros_plain

    whole = zeros_plain(shape, g.dtype)
    launch.put_rows("add", whole, dim, index, g, bounds("index_select", whole, dim, wraps))
    return whole


@spread_rows.vjp
def _(g, dim, index, wraps):
    return select_rows(g, dim, index, wraps, "index_select"), None


@composite(name="index_select", shortcut="index_select")
def index_select(input: Tensor, dim: int, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The positions `index` (1-d, int32 or int64) of a dimension.

    >>> import flambeau as torch
    >>> torch.tensor([10, 20, 30]).index_select(0, torch.tensor([2, 0]))
    tensor([30, 10])
    """
    check_tensor("index_select", input)
    if out is not None:
        launch.check_out("index_select", out, input)
        return deliver("index_select", out, index_select(input, dim, index))
    index = as_index("index_select", index)
    if index.ndim > 1:
        raise IndexError(
            f"index_select(): Index is supposed to be a vector, but got dim: {index.ndim} with "
            f"shape {tuple(index.shape)}"
        )
    dim = wrap("index_select", dim, input.ndim)
    if not input.ndim:
        return _select_scalar(input, index)
    if not index.ndim:
        index = core.view(index, (1,))
    return select_rows(input, dim, index, False, "index_select")


def _select_scalar(input: Tensor, index: Tensor) -> Tensor:
    if index.numel() != 1:
        raise IndexError(
            f"index_select(): Index to scalar can have only 1 value, got {index.numel()} value(s)"
        )
    return core.view(
        select_rows(core.view(input, (1,)), 0, core.view(index, (1,)), False, "index_select"), ()
    )


def take_rows_plain(name: str, table: Tensor, index: Tensor) -> Tensor:
    """Rows of a table by number, negative ones from the end, without history."""
    return launch.take_rows(table, 0, index, bounds(name, table, 0, True))


# ---- elements along a dimension ------------------------------------------------------------------


@primitive(register=False, name="gather", shortcut="gather_along")
def gather_along(input: Tensor, dim: int, index: Tensor, name: str) -> Tensor:
    """input's elements at index along dim; index has input's rank and int64."""
    return launch.gather_along(input, dim, index, bounds(name, input, dim, error=RuntimeError))


@gather_along.vjp
def _(g, input_like, dim, index, name):
    from .scatter import scatter_into_zeros

    return scatter_into_zeros(g, input_like.shape, dim, index), None


@composite(shortcut="gather")
def gather(
    input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False, out: Tensor | None = None
) -> Tensor:
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim 0, and likewise for the other dimensions.

    index has input's number of dimensions and is nowhere larger, except along dim.

    >>> import flambeau as torch
    >>> torch.tensor([[1, 2], [3, 4]]).gather(1, torch.tensor([[0, 0], [1, 0]]))
    tensor([[1, 1],
            [4, 3]])
    """
    dim = wrap("gather", dim, input.ndim)
    check_tensor("gather", index, "index")
    if not index.numel():
        index = core.empty(index.shape, launch.INT64)
    index = launch.as_positions("gather", index, dim)
    if index.numel():
        check_along("gather", input, dim, index)
    if out is not None:
        launch.check_out("gather", out, input, index)
        return _exact_out("gather", out, gather_along(input, dim, index, "gather"))
    return gather_along(input, dim, index, "gather")


def _exact_out(name: str, out: Tensor, result: Tensor) -> Tensor:
    """Put a result into an out= tensor of the same dtype."""
    if isinstance(out, Tensor) and out.dtype is not result.dtype:
        raise RuntimeError(
            f"{name}(): Expected out tensor to have dtype {result.dtype.name}, but got "
            f"{out.dtype.name} instead"
        )
    return deliver(name, out, result)


def check_along(name: str, input: Tensor, dim: int, index: Tensor, what: str = "input") -> None:
    """Raise unless index has input's rank and is nowhere larger, dim apart."""
    if (input.ndim or 1) != (index.ndim or 1):
        raise RuntimeError(
            f"{name}(): Index tensor must have the same number of dimensions as {what} tensor: "
            f"index {tuple(index.shape)}, {what} {tuple(input.shape)}"
        )
    for d, (n, limit) in enumerate(zip(index.shape, input.shape, strict=False)):
        if d != dim and n > limit:
            raise RuntimeError(
                f"{name}(): Size does not match at dimension {d} expected index "
                f"{list(index.shape)} "
                f"to be no larger than {what} {list(input.shape)} apart from dimension {dim}"
            )


@composite(out=True)
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """input's elements at indices along dim; other dimensions broadcast. Without dim both are flat.

    >>> import flambeau as torch
    >>> torch.tensor([[3, 1], [0, 2]]).take_along_dim(torch.tensor([[1], [0]]), 1)
    tensor([[1],
            [0]])
    """
    from .views import broadcast_shapes, reshape

    check_tensor("take_along_dim", indices, "indices")
    if indices.dtype is not launch.INT64:
        raise RuntimeError(
            f"torch.take_along_dim(): dtype of indices should be Long but got {indices.dtype.name}"
        )
    if dim is None:
        input, indices, dim = reshape(input, -1), reshape(indices, -1), 0
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    dim = wrap("take_along_dim", dim, input.ndim)
    if not input.ndim:
        return gather_along(input, 0, indices, "take_along_dim")
    one = lambda s: (*s[:dim], 1, *s[dim + 1 :])
    common = broadcast_shapes(one(input.shape), one(indices.shape))
    with_size = lambda n: (*common[:dim], n, *common[dim + 1 :])
    indices = core.contiguous_plain(core.expand(indices, with_size(indices.shape[dim])))
    n = input.shape[dim]
    input = core.expand(input, with_size(n))
    if indices.numel() and bool((indices < 0).any()):
        indices = indices + (indices < 0) * n
    return gather_along(input, dim, indices, "take_along_dim")


# ---- flat positions ------------------------------------------------------------------------------


def _flat_bounds(input: Tensor) -> Bounds:
    return Bounds("take", input.numel(), True)


@primitive(register=False, name="take")
def take_flat(input: Tensor, index: Tensor) -> Tensor:
    """Elements by row-major position."""
    flat = core.view(core.contiguous_plain(input), (-1,))
    return launch.take_rows(flat, 0, index, _flat_bounds(flat))


@take_flat.vjp
def _(g, input_like, index):
    return spread_flat(g, input_like.shape, index), None


@primitive(register=False)
def spread_flat(g: Tensor, shape: tuple[int, ...], index: Tensor) -> Tensor:
    """Zeros with g added at row-major positions."""
    from .windows import zeros_plain

    whole = zeros_plain(shape, g.dtype)
    flat = core.view(whole, (-1,))
    launch.put_rows("add", flat, 0, index, g, _flat_bounds(flat))
    return whole


@spread_flat.vjp
def _(g, index):
    return take_flat(g, index), None


@composite
def take(input: Tensor, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """input's elements at row-major positions; the result has index's shape.

    >>> import flambeau as torch
    >>> torch.tensor([[4, 3], [6, 7]]).take(torch.tensor([0, -1]))
    tensor([4, 7])
    """
    check_tensor("take", index, "index")
    if out is not None:
        launch.check_out("take", out, input, index)
        return deliver("take", out, take(input, index))
    if index.dtype is not launch.INT64:
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype.name}")
    if not input.numel() and index.numel():
        raise IndexError("take(): tried to take from an empty tensor")
    return take_flat(input, core.contiguous_plain(index))


# ---- embedding -----------------------------------------------------------------------------------


@primitive(register=False, name="embedding", shortcut="embedding_rows")
def embedding_rows(
    weight: Tensor, index: Tensor, padding_idx: int, scale_grad_by_freq: bool, sparse: bool = False
) -> Tensor:
    """weight[index]."""
    return launch.take_rows(weight, 0, index, bounds("embedding", weight, 0))


@embedding_rows.vjp
def _(g, weight_like, index, padding_idx, scale_grad_by_freq, sparse):
    shape = weight_like.shape
    if sparse:
        return _sparse_gradient(g, shape, index, padding_idx, scale_grad_by_freq), None
    if scale_grad_by_freq:
        g = g * _inverse_counts(shape[0], index, g.dtype)
    if padding_idx < 0:
        return spread_rows(g, shape, 0, index, False), None
    return _spread_but_padding(g, shape, index, padding_idx), None


def _sparse_gradient(
    g: Tensor, shape: tuple[int, ...], index: Tensor, padding_idx: int, scale_grad_by_freq: bool
) -> Any:
    """The gradient of a look-up as the rows looked up: nothing of the table's size is touched."""
    if scale_grad_by_freq:
        raise RuntimeError(
            "embedding_backward: scale_grad_by_freq not supported with sparse gradients"
        )
    rows, values = index.reshape(-1), g.reshape(-1, shape[1])
    if padding_idx >= 0:
        kept = (rows != padding_idx).nonzero().reshape(-1)
        rows = select_rows(rows, 0, kept, False, "embedding")
        values = select_rows(values, 0, kept, False, "embedding")
    return make_sparse(core.view(rows, (1, rows.shape[0])), values, shape)


@primitive(register=False)
def _spread_but_padding(
    g: Tensor, shape: tuple[int, ...], index: Tensor, padding_idx: int
) -> Tensor:
    """The transpose of a look-up whose row `padding_idx` gets no gradient."""
    whole = spread_rows.function(g, shape, 0, index, False)
    if padding_idx < shape[0]:
        fill_plain(core.restride(whole, (shape[1],), (1,), padding_idx * shape[1]), 0)
    return whole


@_spread_but_padding.vjp
def _(g, index, padding_idx):
    rows = select_rows(g, 0, index, False, "embedding")
    return rows.masked_fill(core.view(index == padding_idx, (*index.shape, 1)), 0), None


def _inverse_counts(rows: int, index: Tensor, dtype: core.dtype) -> Tensor:
    """One over how often each index occurs: (*index.shape, 1)."""
    from .windows import zeros_plain

    counts = zeros_plain((rows, 1), dtype)
    ones = core.expand(core.from_data(1, dtype), (*index.shape, 1))
    limits = bounds("embedding", counts, 0)
    launch.put_rows("add", counts, 0, index, ones, limits)
    return 1 / launch.take_rows(counts, 0, index, limits)


@composite(name="embedding", method=False)
def embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of weight (entries, width) at integer indices; result (*indices.shape, width)."""
    check_tensor("embedding", indices, "indices")
    if weight.ndim != 2:
        raise RuntimeError(f"embedding: 'weight' must be 2-D, got shape {tuple(weight.shape)}")
    index = as_index("embedding", indices)
    return embedding_rows(weight, index, padding_idx, scale_grad_by_freq, sparse)


@function("embedding", namespaces=("nn.functional",), shortcut=True)
def functional_embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of weight at the indices `input`; row `padding_idx` gets no gradient."""
    padding_idx = -1 if padding_idx is None else padding_idx
    return embedding(weight, input, padding_idx, scale_grad_by_freq, sparse)


for _op, _name in (
    (select_rows, "select_rows"),
    (embedding_rows, "embedding_rows"),
    (gather_along, "gather_along"),
):
    core.set_shortcut_op(_name, _op)
