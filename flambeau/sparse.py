"""Functions for sparse tensors; see `flambeau.sparse_coo_tensor` and `sparse_csr_tensor`."""

from __future__ import annotations

from typing import Any

import flambeau
from flambeau import Tensor
from flambeau.ops.sparse import products

__all__ = ["addmm", "log_softmax", "mm", "sampled_addmm", "softmax", "sum"]


def mm(mat1: Tensor, mat2: Tensor) -> Tensor:
    """mat1 @ mat2 for matrices (m, k) and (k, n), at least one of them sparse.

    The result is sparse where both are, dense otherwise. Gradients reach both; that of a sparse
    matrix is sparse.

    >>> import flambeau as torch
    >>> weights = torch.sparse_coo_tensor([[0, 1], [1, 0]], [2.0, 3.0], (2, 2))
    >>> torch.sparse.mm(weights, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[6., 8.],
            [3., 6.]])
    """
    return flambeau.mm(mat1, mat2)


def addmm(
    mat: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1.0, alpha: float = 1.0
) -> Tensor:
    """beta * mat + alpha * (mat1 @ mat2) with a sparse mat1.

    >>> import flambeau as torch
    >>> eye = torch.eye(2).to_sparse()
    >>> torch.sparse.addmm(torch.ones(2, 1), eye, torch.ones(2, 1), alpha=2.0)
    tensor([[3.],
            [3.]])
    """
    return flambeau.addmm(mat, mat1, mat2, beta=beta, alpha=alpha)


def sampled_addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1.0, alpha: Any = 1.0, out: Any = None
) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2) at the elements that the sparse `input` lists.

    Shapes: input (m, n) in compressed rows, mat1 (m, k), mat2 (k, n), dense. Only the products that
    are listed are computed.

    >>> import flambeau as torch
    >>> listed = torch.eye(2).to_sparse_csr()
    >>> torch.sparse.sampled_addmm(listed, torch.ones(2, 3), torch.ones(3, 2)).values()
    tensor([4., 4.])
    """
    made = products.sampled_addmm(input, mat1, mat2, beta, alpha)
    return made if out is None else out.copy_(made)


def sum(input: Tensor, dim: Any = None, dtype: Any = None) -> Tensor:
    """The sum of a sparse tensor's elements, or along dimensions.

    Sparse, but dense where no sparse dimension is left.

    >>> import flambeau as torch
    >>> torch.sparse.sum(torch.sparse_coo_tensor([[0, 0]], [[1.0, 2.0], [3.0, 4.0]], (2, 2)), 0)
    tensor([4., 6.])
    """
    _check_sparse("sum", input)
    return flambeau.sum(input, dim, dtype=dtype)


def softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """exp(x_i) / sum_j exp(x_j) along a dimension, over the elements that are listed.

    Elements that are not listed count as minus infinity, and stay so.

    >>> import flambeau as torch
    >>> x = torch.sparse_coo_tensor([[0, 2]], [1.0, 1.0], (4,))
    >>> torch.sparse.softmax(x, 0).values()
    tensor([0.5000, 0.5000])
    """
    _check_sparse("softmax", input)
    return flambeau.softmax(input, dim, dtype)


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The logarithm of `softmax`, over the elements that are listed.

    >>> import flambeau as torch
    >>> torch.sparse.log_softmax(torch.sparse_coo_tensor([[1]], [3.0], (2,)), 0).values()
    tensor([0.])
    """
    _check_sparse("log_softmax", input)
    return flambeau.log_softmax(input, dim, dtype)


def _check_sparse(name: str, input: Any) -> None:
    if input.layout is flambeau.strided:
        raise RuntimeError(f"sparse.{name}: expected a sparse tensor, got a dense one")
