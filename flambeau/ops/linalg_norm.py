"""Norms of vectors and matrices, distances, condition numbers."""

from __future__ import annotations

import math
from typing import Any

from ..core import Tensor
from .dims import wrap, wrap_all
from .lapack import check_float, check_matrix, check_square, linalg, real_dtype
from .linalg_decompose import singular_values
from .norms import vector_norm_along
from .record import composite


def _check_dtype(name: str, x: Tensor, dtype: Any) -> None:
    check_float(name, x, low_precision=True)
    if dtype is None:
        return
    if not (dtype.is_floating_point or dtype.is_complex):
        raise RuntimeError(f"{name}: dtype should be floating point or complex. Got {dtype}")
    if dtype.is_complex != x.dtype.is_complex:
        kind = "complex" if x.dtype.is_complex else "real"
        raise RuntimeError(f"{name}: dtype should be {kind} for {kind} inputs, but got {dtype}")
    if dtype.itemsize < x.dtype.itemsize:
        raise RuntimeError(
            f"{name}: the dtype of the input ({x.dtype}) should be convertible without narrowing "
            "to the specified "
            f"dtype ({dtype})"
        )


def _read_dims(name: str, dim: Any, ndim: int) -> tuple[int, ...]:
    """All dimensions for None and for an empty list."""
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, tuple | list):
        return wrap_all(name, dim, ndim) if len(dim) else tuple(range(ndim))
    return (wrap(name, dim, ndim),)


def _vector_norm(name: str, x: Tensor, ord: Any, dim: Any, keepdim: bool, dtype: Any) -> Tensor:
    _check_dtype(name, x, dtype)
    if isinstance(ord, bool) or not isinstance(ord, int | float):
        raise RuntimeError(
            f"{name}: Expected a non-complex number as the order of norm, got {ord!r}"
        )
    dims = _read_dims(name, dim, x.dim())
    if ord < 0 or ord == math.inf:
        empty = [d for d in dims if x.dim() and x.shape[d] == 0]
        if empty:
            raise RuntimeError(
                f"{name} cannot compute the {ord} norm on the dimension {empty[0]} because this "
                "dimension is empty and "
                f"the operation does not have an identity, got shape {tuple(x.shape)}"
            )
    if dtype is not None:
        x = x.to(dtype)
    if not x.dim():
        return vector_norm_along(x.reshape(1), 0, (0,), False) if ord == 0 else x.abs()
    return vector_norm_along(x, ord, dims, keepdim)


@linalg("vector_norm")
def linalg_vector_norm(
    x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm (sum |x|^ord)^(1/ord) along dim; inf: the largest |x|, 0: how many are nonzero.

    >>> import flambeau as torch
    >>> torch.linalg.vector_norm(torch.tensor([3.0, 4.0]))
    tensor(5.)
    """
    return _vector_norm("linalg.vector_norm", x, ord, dim, keepdim, dtype)


def _matrix_dims(name: str, a: Tensor, dim: Any) -> tuple[int, int]:
    check_matrix(name, a)
    if not isinstance(dim, tuple | list) or len(dim) != 2:
        raise RuntimeError(f"{name}: dim must be a 2-tuple. Got {dim}")
    first, second = wrap(name, dim[0], a.dim()), wrap(name, dim[1], a.dim())
    if first == second:
        raise RuntimeError(f"{name}: dims must be different. Got ({dim[0]}, {dim[1]})")
    return first, second


def _matrix_norm(name: str, a: Tensor, ord: Any, dim: Any, keepdim: bool, dtype: Any) -> Tensor:
    check_matrix(name, a)
    _check_dtype(name, a, dtype)
    dims = _matrix_dims(name, a, dim)
    a = a if dtype is None else a.to(dtype)
    if ord == "fro":
        return vector_norm_along(a, 2, dims, keepdim)
    if ord == "nuc" or (not isinstance(ord, str) and abs(ord) == 2):
        return _singular_norm(name, a, ord, dims, keepdim)
    if isinstance(ord, str) or abs(ord) not in (1, math.inf):
        raise RuntimeError(f"{name}: Order {ord} not supported.")
    summed, kept = dims if abs(ord) == 1 else dims[::-1]
    sums = vector_norm_along(a, 1, (summed,), True)
    result = _extreme(name, sums, kept, ord)
    return result if keepdim else result.squeeze(dims)


def _extreme(name: str, sizes: Tensor, dim: int, ord: Any) -> Tensor:
    """The largest (ord > 0; 0 of none) or the smallest along dim, which stays."""
    if sizes.shape[dim]:
        return sizes.amax((dim,), True) if ord > 0 else sizes.amin((dim,), True)
    if ord > 0:
        return sizes.sum((dim,), True)
    raise IndexError(
        f"{name}: Expected reduction dim {dim} to have non-zero size: the norm of order {ord} of a "
        "matrix without "
        "elements is the smallest of no numbers"
    )


def _singular_norm(name: str, a: Tensor, ord: Any, dims: tuple[int, int], keepdim: bool) -> Tensor:
    check_float(name, a)
    s = singular_values(a.movedim(dims, (-2, -1)))
    if ord == "nuc":
        result = s.sum(-1)
    else:
        result = _extreme(name, s, s.dim() - 1, ord).squeeze(-1)
    if keepdim:
        for d in sorted(dims):
            result = result.unsqueeze(d)
    return result


@linalg("matrix_norm")
def linalg_matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """A matrix norm: 'fro', 'nuc', +-2 (singular values), +-1 (columns), +-inf (rows).

    >>> import flambeau as torch
    >>> torch.linalg.matrix_norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor(5.)
    """
    return _matrix_norm("linalg.matrix_norm", A, ord, dim, keepdim, dtype)


@linalg("norm")
def linalg_norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """A vector norm (one dimension, or ord None) or a matrix norm (two dimensions)."""
    name = "linalg.norm"
    count = len(dim) if isinstance(dim, tuple | list) else 1
    if dim is not None and count not in (1, 2) and ord is not None:
        raise RuntimeError(f"{name}: If dim is specified, it must be of length 1 or 2. Got {dim}")
    if ord is None:
        return _vector_norm(name, A, 2, dim, keepdim, dtype)
    if dim is None:
        if A.dim() not in (1, 2):
            raise RuntimeError(
                f"{name}: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                f"{A.dim()}D."
            )
        count = A.dim()
        dim = 0 if count == 1 else (0, 1)
    if count == 1:
        if isinstance(ord, str):
            raise RuntimeError(
                f"{name}: order '{ord}' is a matrix norm: dim must name two dimensions, got {dim}"
            )
        return _vector_norm(name, A, ord, dim, keepdim, dtype)
    return _matrix_norm(name, A, ord, dim, keepdim, dtype)


@composite(out=True)
def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """The p-norm of all elements or along dim; p 'fro' is 2, 'nuc' the sum of singular values."""
    if p == "nuc":
        return _matrix_norm("norm", input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"norm: expected p to be a number, 'fro' or 'nuc', got '{p}'")
    order = 2 if p is None or p == "fro" else p
    return _vector_norm("norm", input, order, dim, keepdim, dtype)


@composite(out=True, method=False)
def frobenius_norm(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """The square root of the sum of squared moduli along dim."""
    return _vector_norm("frobenius_norm", input, 2, dim, keepdim, None)


@composite(out=True, method=False)
def nuclear_norm(input: Tensor, dim: Any = (-2, -1), keepdim: bool = False) -> Tensor:
    """The sum of the singular values of the matrices in two dimensions."""
    return _matrix_norm("nuclear_norm", input, "nuc", dim, keepdim, None)


@composite(method=False)
def norm_except_dim(v: Tensor, pow: Any = 2, dim: int = 0) -> Tensor:
    """The norm over all dimensions but one (-1: over all), which keep size 1."""
    if dim == -1:
        return _vector_norm("norm_except_dim", v, pow, None, False, None)
    dim = wrap("norm_except_dim", dim, v.dim())
    others = [d for d in range(v.dim()) if d != dim]
    return _vector_norm("norm_except_dim", v, pow, others, True, None) if others else v.abs()


@composite(out=True)
def dist(input: Tensor, other: Tensor, p: Any = 2) -> Tensor:
    """The p-norm of input - other."""
    return norm(input - other, p)


@linalg("cond")
def linalg_cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number |A| |A^-1| in the norm p (None: 2, a ratio of singular values).

    >>> import flambeau as torch
    >>> torch.linalg.cond(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor(2.)
    """
    name = "linalg.cond"
    check_matrix(name, A)
    check_float(name, A)
    if isinstance(p, str):
        check_square(f"{name}(ord={p})", A)
    if A.numel() == 0:
        return A.new_zeros(A.shape[:-2], dtype=real_dtype(A.dtype))
    if p is None or (not isinstance(p, str) and abs(p) == 2):
        return _singular_ratio(A, p)
    check_square(f"{name}(ord={p})", A)
    from .linalg_solve import inverse_info

    inverse, info = inverse_info(A)
    size = _matrix_norm(name, A, p, (-2, -1), False, None)
    singular = info != 0
    inverse = inverse.masked_fill(singular.unsqueeze(-1).unsqueeze(-1), 0)
    condition = size * _matrix_norm(name, inverse, p, (-2, -1), False, None)
    return condition.masked_fill(singular, math.inf)


def _singular_ratio(a: Tensor, p: Any) -> Tensor:
    s = singular_values(a)
    return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
