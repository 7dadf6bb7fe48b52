"""What every tensor knows of sparse layouts: constructors, conversions, and clear refusals.

The sparse tensors themselves are in the package `sparse`, which is imported when one is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import core
from ..core import Tensor
from .factory import check_device
from .record import NAMESPACES, alias, function

INT64 = core.dtypes[5]
SPARSE_COO = core._core._LAYOUTS["sparse_coo"]
SPARSE_CSR = core._core._LAYOUTS["sparse_csr"]


def make_sparse(index: Tensor, value: Tensor, size: Sequence[int], coalesced: bool = False) -> Any:
    """A sparse tensor of parts that are known to fit together."""
    from .sparse import make

    return make(index, value, size, coalesced)


@function("sparse_coo_tensor")
def sparse_coo_tensor(
    indices: Any,
    values: Any = None,
    size: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    check_invariants: bool | None = None,
    is_coalesced: bool | None = None,
) -> Any:
    """A sparse tensor in coordinate format.

    Args:
        indices: (sparse_dim, nnz) integers: a column is the place of one element.
        values: (nnz, *dense sizes): the elements. A place that occurs twice has their sum.
        size: the shape; by default the smallest that the indices fit in.
        check_invariants: accepted; indices and shapes are checked always.
        is_coalesced: the places are sorted and distinct (which is checked, too).

    `sparse_coo_tensor(size)` has no elements.

    Raises RuntimeError for indices outside the shape and for shapes that do not fit together.

    >>> import flambeau as torch
    >>> torch.sparse_coo_tensor([[0, 1], [2, 0]], [3.0, 4.0], (2, 3)).to_dense()
    tensor([[0., 0., 3.],
            [4., 0., 0.]])
    """
    check_device("sparse_coo_tensor", device)
    if values is None:
        made = empty_sparse(indices if size is None else size, dtype)
        return made.requires_grad_() if requires_grad else made
    index, value = _read_indices(indices), _read_values(values, dtype)
    shape = _infer_size(index, value) if size is None else tuple(size)
    _check_sizes(index, value, shape)
    if size is not None:
        _check_bounds(index, shape)
    if value.requires_grad and core.grad_enabled():
        value = core.alias(value)
    made = make_sparse(index.detach(), value, shape, bool(is_coalesced))
    if is_coalesced:
        _check_order(made)
    return made.requires_grad_() if requires_grad else made


alias("_sparse_coo_tensor_unsafe", NAMESPACES[""]["sparse_coo_tensor"])


def empty_sparse(size: Any, dtype: Any = None) -> Any:
    """A sparse tensor of a shape without any element."""
    from .sparse.convert import empty

    return empty(tuple(size), core.get_default_dtype() if dtype is None else dtype)


def _read_indices(indices: Any) -> Tensor:
    index = indices if isinstance(indices, Tensor) else core.from_data(indices, INT64)
    if index.dim() != 2:
        raise RuntimeError(
            f"indices must be sparse_dim x nnz, but got: {list(index.shape)} ({index.dim()}-D)"
        )
    return index.to(INT64)


def _read_values(values: Any, dtype: Any) -> Tensor:
    value = values if isinstance(values, Tensor) else core.from_data(values, dtype)
    if value.dim() == 0:
        value = value.reshape(1)
    return value if dtype is None else value.to(dtype)


def _infer_size(index: Tensor, value: Tensor) -> tuple[int, ...]:
    if not index.shape[1] or not index.shape[0]:
        return (*(0,) * index.shape[0], *value.shape[1:])
    _check_lowest(index)
    return (*[n + 1 for n in index.amax(1).tolist()], *value.shape[1:])


def _check_sizes(index: Tensor, value: Tensor, size: tuple[int, ...]) -> None:
    split, dense = index.shape[0], value.dim() - 1
    if len(size) != split + dense:
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)},"
            f" sparse_dim = {split}, dense_dim = {dense}"
        )
    if any(n < 0 for n in size):
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(size)}")
    if value.shape[0] != index.shape[1]:
        raise RuntimeError(
            "indices and values must have same nnz, but got nnz from indices:"
            f" {index.shape[1]}, nnz from values: {value.shape[0]}"
        )
    if tuple(value.shape[1:]) != size[split:]:
        raise RuntimeError(
            f"values has incorrect size, expected {[value.shape[0], *size[split:]]}, got"
            f" {list(value.shape)}"
        )


def _check_lowest(index: Tensor) -> None:
    for d, lowest in enumerate(index.amin(1).tolist()):
        if lowest < 0:
            raise RuntimeError(f"found negative index {lowest} for dim {d}")


def _check_bounds(index: Tensor, size: tuple[int, ...]) -> None:
    if not index.shape[1] or not index.shape[0]:
        return
    _check_lowest(index)
    for d, largest in enumerate(index.amax(1).tolist()):
        if largest >= size[d]:
            raise RuntimeError(
                f"size is inconsistent with indices: for dim {d}, size is {size[d]} but found"
                f" index {largest}"
            )


def _check_order(made: Any) -> None:
    from .sparse.tensor import keys_of

    keys = keys_of(made)
    n = keys.shape[0]
    if n > 1 and not bool((keys.narrow(0, 1, n - 1) > keys.narrow(0, 0, n - 1)).all()):
        raise RuntimeError(
            "cannot set is_coalesced to true if indices correspond to uncoalesced COO tensor"
        )


# ---- compressed rows -----------------------------------------------------------------------------


@function("sparse_csr_tensor")
def sparse_csr_tensor(
    crow_indices: Any,
    col_indices: Any,
    values: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> Any:
    """A sparse matrix in compressed row format.

    Args:
        crow_indices: (rows + 1,) integers: where each row starts among the elements, and the end.
        col_indices: (nnz,) integers: the columns, in each row sorted and distinct.
        values: (nnz,): the elements.
        size: (rows, columns); by default as many columns as the indices need.
        check_invariants: accepted; all of this is checked always.

    Raises RuntimeError for parts that do not fit together.

    >>> import flambeau as torch
    >>> torch.sparse_csr_tensor([0, 1, 2], [2, 0], [3.0, 4.0], (2, 3)).to_dense()
    tensor([[0., 0., 3.],
            [4., 0., 0.]])
    """
    from .sparse.compressed import make_csr

    check_device("sparse_csr_tensor", device)
    crow, column = (
        x if isinstance(x, Tensor) else core.from_data(x, INT64)
        for x in (crow_indices, col_indices)
    )
    value = _read_values(values, dtype)
    if size is None:
        size = (crow.numel() - 1, int(column.max()) + 1 if column.numel() else 0)
    _check_csr(crow, column, value, tuple(size))
    if value.requires_grad and core.grad_enabled():
        value = core.alias(value)
    made = make_csr(crow.detach(), column.detach(), value, tuple(size))
    return made.requires_grad_() if requires_grad else made


def _check_csr(crow: Tensor, column: Tensor, value: Tensor, size: tuple[int, ...]) -> None:
    shapes = f"crow_indices {list(crow.shape)}, col_indices {list(column.shape)}, values"
    shapes += f" {list(value.shape)}, size {list(size)}"
    if len(size) != 2 or not crow.dim() == column.dim() == value.dim() == 1:
        raise RuntimeError(
            f"sparse_csr_tensor: expected one matrix with numbers in it, got {shapes}"
        )
    if crow.shape[0] != size[0] + 1 or column.shape != value.shape or size[1] < 0:
        raise RuntimeError(f"sparse_csr_tensor: parts of sizes that do not fit: {shapes}")
    if crow.dtype is not column.dtype or crow.dtype.name not in ("int32", "int64"):
        raise RuntimeError("sparse_csr_tensor: the indices must be both int64 or both int32")
    lengths, nnz = crow.diff(), column.shape[0]
    if int(crow[0]) != 0 or int(crow[-1]) != nnz or bool((lengths < 0).any()):
        raise RuntimeError(
            f"sparse_csr_tensor: crow_indices must rise from 0 to the number of elements, {nnz}"
        )
    if nnz and not 0 <= int(column.min()) <= int(column.max()) < size[1]:
        raise RuntimeError(f"sparse_csr_tensor: col_indices must be in 0 .. {size[1] - 1}")
    rises = column.diff() > 0
    starts = crow[1:-1].to(INT64)
    rises[starts[(starts > 0) & (starts < nnz)] - 1] = True
    if not bool(rises.all()):
        raise RuntimeError(
            "sparse_csr_tensor: col_indices must be sorted and distinct along each row"
        )


@function("to_sparse_csr", method=True, namespaces=())
def to_sparse_csr(self: Tensor, dense_dim: int | None = None) -> Any:
    """The matrix in compressed row format.

    >>> import flambeau as torch
    >>> torch.tensor([[0.0, 5.0], [6.0, 0.0]]).to_sparse_csr().col_indices()
    tensor([1, 0])
    """
    from .sparse.compressed import to_csr

    return to_csr(self)


# ---- other layouts -------------------------------------------------------------------------------


def _refuse(name: str) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(
            f"{name}: of the sparse layouts only torch.sparse_coo and torch.sparse_csr are"
            " supported: use sparse_coo_tensor, to_sparse or to_sparse_csr"
        )

    refuse.__doc__ = "NotImplementedError: the sparse layouts here are sparse_coo and sparse_csr."
    method = name.startswith("to_")
    function(name, namespaces=() if method else ("",), method=method)(refuse)


for _layout in ("csc", "bsr", "bsc"):
    _refuse(f"sparse_{_layout}_tensor")
    _refuse(f"to_sparse_{_layout}")
_refuse("sparse_compressed_tensor")


# ---- methods of dense tensors --------------------------------------------------------------------


@function("to_sparse", method=True, namespaces=())
def to_sparse(self: Tensor, sparse_dim: Any = None, *, layout: Any = None, **_: Any) -> Any:
    """The elements that are not 0, as a sparse tensor.

    Args:
        sparse_dim: how many dimensions, the first ones, have coordinates; all by default.
        layout: torch.sparse_coo or torch.sparse_csr.

    >>> import flambeau as torch
    >>> torch.tensor([0.0, 5.0]).to_sparse().indices()
    tensor([[1]])
    """
    if isinstance(sparse_dim, core.layout):
        sparse_dim, layout = None, sparse_dim
    if layout is SPARSE_CSR:
        return to_sparse_csr(self)
    if layout is not None and layout is not SPARSE_COO:
        raise NotImplementedError(f"to_sparse: layout {layout} is not supported: use sparse_coo")
    from .sparse import convert

    return convert.to_sparse(self, sparse_dim)


@function("to_sparse_coo", method=True, namespaces=())
def to_sparse_coo(self: Tensor) -> Any:
    """The elements that are not 0, as a sparse tensor in coordinate format."""
    return to_sparse(self)


@function("to_dense", method=True, namespaces=())
def to_dense(self: Tensor, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
    """The tensor with all elements in one block of memory: itself, where it has no other layout."""
    return self if dtype is None else self.to(dtype)


@function("sparse_mask", method=True, namespaces=())
def sparse_mask(self: Tensor, mask: Tensor) -> Any:
    """The elements at the coordinates of a sparse tensor of the same shape, as a sparse tensor.

    >>> import flambeau as torch
    >>> mask = torch.sparse_coo_tensor([[1]], [1.0], (3,))
    >>> torch.tensor([4.0, 5.0, 6.0]).sparse_mask(mask).values()
    tensor([5.])
    """
    raise RuntimeError("sparse_mask(): 'mask' must be a sparse tensor, but it is strided")


@function("sparse_dim", method=True, namespaces=())
def sparse_dim(self: Tensor) -> int:
    """Number of dimensions that have coordinates: 0 for a dense tensor."""
    return 0


@function("dense_dim", method=True, namespaces=())
def dense_dim(self: Tensor) -> int:
    """Number of dimensions without coordinates: all for a dense tensor."""
    return self.dim()


def _expects_sparse(name: str, wanted: str = "sparse coordinate tensor") -> None:
    def refuse(self: Tensor, *_: Any) -> Any:
        raise RuntimeError(f"{name} expected {wanted} layout but got Strided")

    refuse.__doc__ = f"{name} of a sparse tensor; RuntimeError for a dense one."
    function(name, method=True, namespaces=())(refuse)


for _name in ("coalesce", "is_coalesced", "indices", "_indices", "_values", "_nnz", "_coalesced_"):
    _expects_sparse(_name)
_expects_sparse("values", "sparse tensor")
for _name in ("crow_indices", "col_indices", "ccol_indices", "row_indices"):
    _expects_sparse(_name, "sparse row or column compressed tensor")

alias("spmm", NAMESPACES[""]["mm"])
alias("dsmm", NAMESPACES[""]["mm"])
