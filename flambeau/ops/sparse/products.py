"""Matrix products with sparse matrices."""

from __future__ import annotations

from typing import Any

from ... import core
from ...core import Tensor
from ..gather import select_rows
from ..join import stack
from .compressed import CsrTensor, row_starts, to_coo
from .convert import coalesce, empty
from .dispatch import implements
from .joins import transpose
from .pointwise import add, is_sparse
from .row_products import add_rows, dot_rows
from .tensor import make


def _check_matrix(name: str, t: Any) -> None:
    if t.dim() != 2:
        raise RuntimeError(f"{name}: expected matrices, got a tensor of shape {tuple(t.shape)}")
    if is_sparse(t) and t.sparse_dim() != 2:
        raise RuntimeError(
            f"{name}: expected a sparse matrix with two sparse dimensions, got"
            f" {t.sparse_dim()} and {t.dense_dim()} dense ones"
        )


@implements("mm")
def mm(input: Any, mat2: Any) -> Any:
    """(m, k) @ (k, n): dense where one of them is dense, sparse where both are sparse."""
    for t in (input, mat2):
        _check_matrix("mm", t)
    if input.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"mm: inner sizes differ: {tuple(input.shape)} @ {tuple(mat2.shape)}:"
            f" {input.shape[1]} != {mat2.shape[0]}"
        )
    if input.dtype is not mat2.dtype:
        raise RuntimeError(
            f"mm: expected m1 and m2 to have the same dtype, but got: {input.dtype} != {mat2.dtype}"
        )
    if not is_sparse(input):
        return mm(transpose(mat2, 0, 1), input.t()).t()
    return _sparse_by_sparse(input, mat2) if is_sparse(mat2) else _sparse_by_dense(input, mat2)


def _sparse_by_dense(t: Any, x: Tensor) -> Tensor:
    """Row r of the result adds t's value at (r, c) times row c of x."""
    rows, columns = (core.contiguous_plain(core.basic_index(t.index, d)) for d in (0, 1))
    return add_rows(t.value, rows, columns, x, t.shape[0])


def _sparse_by_sparse(a: Any, b: Any) -> Any:
    """Every element (r, k) of a meets the elements (k, c) of b, which are sorted by k."""
    a, b = coalesce(a), coalesce(b)
    shape = (a.shape[0], b.shape[1])
    edges = row_starts(core.contiguous_plain(core.basic_index(b.index, 0)), b.shape[0])
    inner = core.contiguous_plain(core.basic_index(a.index, 1))
    first, last = (select_rows(edges, 0, inner + k, False, "mm") for k in (0, 1))
    counts = last - first
    left = _arange(a._nnz()).repeat_interleave(counts)
    if not left.numel():
        return empty(shape, a.dtype)
    ends = counts.cumsum(0)
    right = _arange(left.shape[0]) + select_rows(first - ends + counts, 0, left, False, "mm")
    value = select_rows(a.value, 0, left, False, "mm") * select_rows(b.value, 0, right, False, "mm")
    row = select_rows(core.contiguous_plain(core.basic_index(a.index, 0)), 0, left, False, "mm")
    column = select_rows(core.contiguous_plain(core.basic_index(b.index, 1)), 0, right, False, "mm")
    return coalesce(make(stack([row, column]), value, shape))


def _arange(n: int) -> Tensor:
    from ..sequences import arange

    return arange(n)


def sampled_addmm(t: Any, a: Tensor, b: Tensor, beta: Any, alpha: Any) -> Any:
    """beta * t + alpha * (a @ b) at the elements of a compressed matrix."""
    if not isinstance(t, CsrTensor):
        raise RuntimeError("sampled_addmm: expected a matrix in compressed rows (sparse_csr)")
    if a.dim() != 2 or b.dim() != 2 or (a.shape[0], b.shape[1]) != tuple(t.shape):
        raise RuntimeError(
            f"sampled_addmm: matrices of shapes {tuple(a.shape)} and {tuple(b.shape)} do not give"
            f" one of shape {tuple(t.shape)}"
        )
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(f"sampled_addmm: inner sizes differ: {a.shape[1]} != {b.shape[0]}")
    rows, columns = (core.contiguous_plain(r) for r in to_coo(t).index.unbind(0))
    value = dot_rows(a, rows, b.t(), columns) * alpha
    return t._like(value if beta == 0 else value + t.value * beta)


@implements("addmm")
def addmm(input: Tensor, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2)."""
    product = mm(mat1, mat2)
    product = product if alpha == 1 else product * alpha
    if beta == 0 and not is_sparse(input):
        return product.to_dense() if is_sparse(product) else product
    scaled = input if beta == 1 else input * beta
    if is_sparse(input) and not is_sparse(product):
        raise RuntimeError("addmm: a dense product cannot be added to a sparse tensor")
    return add(scaled, product) if is_sparse(product) else scaled + product


@implements("mv")
def mv(input: Any, vec: Tensor) -> Tensor:
    """(m, n) @ (n,)."""
    if is_sparse(vec) or vec.dim() != 1:
        raise RuntimeError("mv: expected a dense vector")
    return mm(input, vec.unsqueeze(1)).squeeze(1)


@implements("bmm")
def bmm(input: Any, mat2: Tensor) -> Tensor:
    """(b, m, k) sparse @ (b, k, n) dense."""
    if not is_sparse(input) or is_sparse(mat2) or input.dim() != 3 or mat2.dim() != 3:
        raise RuntimeError("bmm: expected a sparse and a dense batch of matrices")
    batch, m, k = input.shape
    if tuple(mat2.shape[:2]) != (batch, k) or input.sparse_dim() != 3:
        raise RuntimeError(f"bmm: shapes {tuple(input.shape)} and {tuple(mat2.shape)} do not fit")
    b, row, column = (core.basic_index(input.index, d) for d in range(3))
    flat = make(stack([b * m + row, b * k + column]), input.value, (batch * m, batch * k))
    return mm(flat, mat2.reshape(batch * k, -1)).view(batch, m, -1)


def matmul(a: Any, b: Any) -> Any:
    """mm, mv or bmm, by the dimensions."""
    dims = (a.dim(), b.dim())
    if dims == (2, 2):
        return mm(a, b)
    if dims == (2, 1):
        return mv(a, b)
    if dims == (1, 2):
        return mm(a.unsqueeze(0), b).squeeze(0)
    if dims == (3, 3):
        return bmm(a, b)
    raise NotImplementedError(
        f"matmul: sparse tensors of shapes {tuple(a.shape)} and {tuple(b.shape)}: convert them"
        " with to_dense() first"
    )


implements("matmul")(matmul)
