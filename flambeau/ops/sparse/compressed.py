"""Sparse matrices in compressed row (CSR) format.

Ops on one are the ops on the same matrix by coordinates; what comes out as a sparse matrix is
compressed again. The values, and with them the history, are shared either way.
"""

from __future__ import annotations

from typing import Any

from ... import core
from ...core import Tensor
from . import convert
from .base import SparseBase, body
from .tensor import INT64, SparseTensor, make

_CSR = core._core._LAYOUTS["sparse_csr"]


class CsrTensor(SparseBase):
    """A matrix whose elements are listed row by row.

    Row r has the elements crow[r] .. crow[r + 1] - 1, whose columns are sorted and distinct.
    """

    __slots__ = ("column", "crow")

    crow: Tensor
    column: Tensor

    is_sparse_csr = property(lambda self: True, doc="Is the layout sparse_csr?")
    layout = property(lambda self: _CSR, doc="flambeau.sparse_csr.")

    def crow_indices(self) -> Tensor:
        """Where each row starts among the elements, and the end: (rows + 1,)."""
        return self.crow

    def col_indices(self) -> Tensor:
        """The columns of the elements: (nnz,)."""
        return self.column

    def values(self) -> Tensor:
        """The values (nnz,)."""
        return self.value

    def to_sparse_csr(self, dense_dim: int | None = None) -> CsrTensor:
        """The tensor itself."""
        return self

    def _refuse(self, *_: Any) -> Any:
        raise RuntimeError(
            "expected sparse coordinate tensor layout but got SparseCsr: call to_sparse() first"
        )

    coalesce = is_coalesced = indices = _indices = _coalesced_ = _refuse

    def _no_order(self, *_: Any) -> Any:
        raise RuntimeError("Sparse CSR tensors do not have strides or is_contiguous")

    stride = is_contiguous = _no_order  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: int) -> tuple:  # type: ignore[override]
        parts = (self.crow, self.column, self._values(), tuple(self.shape))
        return _rebuild, (*parts, self.requires_grad), self.__dict__ or None

    def _like(self, value: Tensor) -> CsrTensor:
        return make_csr(self.crow, self.column, value, self.shape)

    def _become(self, other: Any) -> CsrTensor:
        core.swap_contents(self, body(other.shape, other.value.dtype))
        return _fill(self, other.crow, other.column, other.value)

    def _part_of(self, other: Tensor) -> Tensor:
        if isinstance(other, CsrTensor) and other.column is self.column:
            return other.value
        return convert.sparse_mask(to_coo(other), to_coo(self)).value


def make_csr(crow: Tensor, column: Tensor, value: Tensor, size: Any) -> Any:
    """A compressed matrix of parts that are known to fit together."""
    made = core.make_subclass(CsrTensor, body(size, value.dtype))
    return _fill(made, crow, column, value)


def _fill(made: Any, crow: Tensor, column: Tensor, value: Tensor) -> Any:
    made.crow, made.column, made.value = crow, column, value
    return made


def _rebuild(crow: Tensor, column: Tensor, value: Tensor, size: tuple, grad: bool) -> Any:
    """Unpickle a compressed matrix."""
    made = make_csr(crow, column, value, size)
    return made.requires_grad_() if grad else made


# ---- to and from coordinates ---------------------------------------------------------------------


def to_coo(x: Any) -> Any:
    """A compressed matrix by coordinates; anything else as it is."""
    if not isinstance(x, CsrTensor):
        return x
    from ..join import stack
    from ..sequences import arange

    rows = arange(x.shape[0]).repeat_interleave(x.crow.diff().to(INT64))
    return make(stack([rows, x.column.to(INT64)]), x.value, x.shape, True)


def to_csr(t: Any) -> CsrTensor:
    """A sparse or dense matrix in compressed row format."""
    if isinstance(t, CsrTensor):
        return t
    t = t if isinstance(t, SparseTensor) else convert.to_sparse(t)
    if t.dim() != 2 or t.sparse_dim() != 2:
        raise RuntimeError(
            "to_sparse_csr: expected a matrix with two sparse dimensions, got a tensor of shape"
            f" {tuple(t.shape)} with {t.sparse_dim()} sparse dimensions"
        )
    t = convert.coalesce(t)
    rows, column = (core.contiguous_plain(core.basic_index(t.index, d)) for d in (0, 1))
    return make_csr(row_starts(rows, t.shape[0]), column, t.value, t.shape)


def row_starts(rows: Tensor, count: int) -> Tensor:
    """Where each of `count` rows starts in sorted row numbers, and the end: (count + 1,)."""
    from ..search import searchsorted
    from ..sequences import arange

    return searchsorted(rows, arange(count + 1))


def to_dense(t: Any) -> Tensor:
    """The strided tensor with the elements of a sparse one of any layout."""
    return convert.to_dense(to_coo(t))


# ---- ops -----------------------------------------------------------------------------------------

# Their results stay by coordinates: PyTorch's are in formats that there are not here.
_COORDINATES = {"to_sparse", "to_sparse_coo", "t", "transpose", "permute", "select", "unbind"}


def answer(op: Any, function: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Call the function that answers an op for coordinates, with compressed matrices."""
    name = getattr(op, "__name__", "")
    given = tuple([_by_coordinates(x) for x in args])
    result = function(*given, **{key: _by_coordinates(x) for key, x in kwargs.items()})
    if not isinstance(result, SparseTensor) or name in _COORDINATES or result.dim() != 2:
        return result
    if args and result is given[0] and isinstance(args[0], CsrTensor):
        if not name.endswith("_"):
            return args[0]  # nothing to do, as for to() of the same dtype
        return args[0]._become(to_csr(result))
    return to_csr(result) if result.sparse_dim() == 2 else result


def _by_coordinates(x: Any) -> Any:
    return [to_coo(y) for y in x] if isinstance(x, list | tuple) else to_coo(x)
