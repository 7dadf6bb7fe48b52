"""The type of sparse tensors in coordinate (COO) format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import core
from ...core import Tensor
from .base import SparseBase, body

INT64 = core.dtypes[5]
_COO = core._core._LAYOUTS["sparse_coo"]


class SparseTensor(SparseBase):
    """Elements by coordinate: indices (sparse_dim, nnz), values (nnz, *sizes of the dense dims).

    Elements that are listed several times are the sum. `coalesced` says that the coordinates are
    known to be sorted and distinct.
    """

    __slots__ = ("coalesced", "index")

    index: Tensor
    coalesced: bool

    is_sparse = property(lambda self: True, doc="Is the layout sparse_coo?")
    layout = property(lambda self: _COO, doc="flambeau.sparse_coo.")

    def _indices(self) -> Tensor:
        """The coordinates (sparse_dim, nnz), whether or not they are distinct."""
        return self.index

    def indices(self) -> Tensor:
        """The coordinates (sparse_dim, nnz) of a coalesced tensor."""
        _check_coalesced(self, "indices")
        return self.index

    def values(self) -> Tensor:
        """The values (nnz, ...) of a coalesced tensor."""
        _check_coalesced(self, "values")
        return self.value

    _dimI, _dimV = SparseBase.sparse_dim, SparseBase.dense_dim  # noqa: N815

    def is_coalesced(self) -> bool:
        """Are the coordinates known to be sorted and distinct?"""
        return self.coalesced

    def _coalesced_(self, coalesced: bool) -> SparseTensor:
        """Say that the coordinates are sorted and distinct, or that they may not be."""
        self.coalesced = bool(coalesced)
        return self

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """False: there is no one block of memory."""
        return False

    def stride(self, dim: Any = None) -> Any:
        """0 for every dimension."""
        return (0,) * self.dim() if dim is None else 0

    def __reduce_ex__(self, protocol: int) -> tuple:  # type: ignore[override]
        parts = (self.index, self._values(), tuple(self.shape), self.coalesced)
        return _rebuild, (*parts, self.requires_grad), self.__dict__ or None

    def _like(self, value: Tensor) -> SparseTensor:
        return like(self, value)

    def _become(self, other: Any) -> SparseTensor:
        return take_over(self, other)

    def _part_of(self, other: Tensor) -> Tensor:
        from .convert import sparse_mask

        if isinstance(other, SparseTensor) and other.index is self.index:
            return other.value
        return sparse_mask(other, self).value


def make(index: Tensor, value: Tensor, size: Sequence[int], coalesced: bool = False) -> Any:
    """A sparse tensor of parts that are known to fit together."""
    return _fill(core.make_subclass(SparseTensor, body(size, value.dtype)), index, value, coalesced)


def _fill(made: Any, index: Tensor, value: Tensor, coalesced: bool) -> Any:
    made.index, made.value, made.coalesced = index, value, coalesced
    return made


def like(t: Any, value: Tensor) -> Any:
    """t with other values at the same coordinates."""
    return make(t.index, value, t.shape, t.coalesced)


def take_over(t: Any, other: Any) -> Any:
    """Make t, in place, the tensor that `other` is; returns t."""
    core.swap_contents(t, body(other.shape, other.value.dtype))
    return _fill(t, other.index, other.value, other.coalesced)


def _rebuild(index: Tensor, value: Tensor, size: tuple, coalesced: bool, grad: bool) -> Any:
    """Unpickle a sparse tensor."""
    made = make(index, value, size, coalesced)
    return made.requires_grad_() if grad else made


def _check_coalesced(t: Any, part: str) -> None:
    if not t.coalesced:
        raise RuntimeError(
            f"Cannot get {part} on an uncoalesced tensor, please call .coalesce() first"
        )


# ---- places --------------------------------------------------------------------------------------


def flat_keys(index: Tensor, sizes: Sequence[int]) -> Tensor:
    """Row-major positions (nnz,) of coordinates (len(sizes), nnz)."""
    if len(sizes) == 1:
        return core.contiguous_plain(core.basic_index(index, 0))
    keys = core.fill_number(core.empty((index.shape[1],), INT64), 0)
    for d, size in enumerate(sizes):
        keys = keys * size + core.basic_index(index, d)
    return keys


def from_keys(keys: Tensor, sizes: Sequence[int]) -> Tensor:
    """Coordinates (len(sizes), nnz) of row-major positions (nnz,)."""
    if len(sizes) == 1:
        return core.view(keys, (1, keys.shape[0]))
    rows = []
    for size in reversed(sizes):
        rows.append(keys.remainder(max(size, 1)))
        keys = keys.div(max(size, 1), rounding_mode="floor")
    if not rows:
        return core.empty((0, keys.shape[0]), INT64)
    from ..join import stack

    return stack(rows[::-1])


def keys_of(t: Any) -> Tensor:
    """Row-major positions of t's elements among the sparse dimensions."""
    return flat_keys(t.index, t.shape[: t.sparse_dim()])
