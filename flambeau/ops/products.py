"""Products over several dimensions: tensordot, kron, chains of matrices, cross and dot products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..core import Tensor
from .dims import wrap
from .lapack import check_float, linalg
from .matmul import matmul
from .record import composite, pointwise

# ---- products over several dimensions
# ------------------------------------------------------------------


def _read_pairs(dims: Any, a: Tensor, b: Tensor) -> tuple[list[int], list[int]]:
    if isinstance(dims, Tensor):
        dims = dims.tolist() if dims.dim() else dims.item()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.dim(), b.dim()):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        return list(range(a.dim() - dims, a.dim())), list(range(dims))
    first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(first) != len(second):
        raise RuntimeError(
            f"both dimension lists should have same length, got {first} and {second} (tensordot)"
        )
    return [wrap("tensordot", d, a.dim()) for d in first], [
        wrap("tensordot", d, b.dim()) for d in second
    ]


@composite(method=False, out=True)
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sum of products over the last dims of a and the first of b, or over two lists of dimensions.

    >>> import flambeau as torch
    >>> torch.tensordot(torch.ones(2, 3), torch.ones(3, 4), dims=1).shape
    torch.Size([2, 4])
    """
    first, second = _read_pairs(dims, a, b)
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"tensordot: both inputs should have same dtype, got {a.dtype} and {b.dtype}"
        )
    for i, j in zip(first, second, strict=True):
        if a.shape[i] == b.shape[j]:
            continue
        if a.shape[i] == 1:
            b = b.sum((j,), True)
        elif b.shape[j] == 1:
            a = a.sum((i,), True)
        else:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} "
                "and second has size "
                f"{b.shape[j]} in dim {j} (tensordot)"
            )
    rows, columns = (
        [d for d in range(a.dim()) if d not in first],
        [d for d in range(b.dim()) if d not in second],
    )
    n_rows, n_columns = math.prod(a.shape[d] for d in rows), math.prod(b.shape[d] for d in columns)
    summed = math.prod(a.shape[d] for d in first)
    left = a.permute(*rows, *first).reshape(n_rows, summed) if a.dim() else a.reshape(1, 1)
    right = b.permute(*second, *columns).reshape(summed, n_columns) if b.dim() else b.reshape(1, 1)
    return matmul(left, right).reshape([a.shape[d] for d in rows] + [b.shape[d] for d in columns])


@composite(out=True)
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: every element of input times other.

    >>> import flambeau as torch
    >>> torch.kron(torch.tensor([1, 2]), torch.tensor([1, 1]))
    tensor([1, 1, 2, 2])
    """
    rank = max(input.dim(), other.dim())
    a = (1,) * (rank - input.dim()) + tuple(input.shape)
    b = (1,) * (rank - other.dim()) + tuple(other.shape)
    wide_a = [n for size in a for n in (size, 1)]
    wide_b = [n for size in b for n in (1, size)]
    return (input.reshape(wide_a) * other.reshape(wide_b)).reshape(
        [m * n for m, n in zip(a, b, strict=True)]
    )


# ---- chains of matrices
# ----------------------------------------------------------------------------------


def _chain_order(sizes: list[int]) -> list[list[int]]:
    """Where to split each sub-chain for the fewest multiplications (dynamic programming)."""
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            options = [
                cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1]
                for k in range(i, j)
            ]
            cost[i][j] = min(options)
            split[i][j] = i + options.index(cost[i][j])
    return split


def _multiply_chain(matrices: list[Tensor], split: list[list[int]], i: int, j: int) -> Tensor:
    if i == j:
        return matrices[i]
    k = split[i][j]
    return matmul(
        _multiply_chain(matrices, split, i, k), _multiply_chain(matrices, split, k + 1, j)
    )


def _check_chain(tensors: list[Tensor]) -> None:
    for i, t in enumerate(tensors):
        edge = i in (0, len(tensors) - 1)
        if t.dim() != 2 and not (edge and t.dim() == 1):
            wanted = (
                "the first and last tensors must be 1D or 2D" if edge else f"tensor {i} must be 2D"
            )
            raise RuntimeError(f"multi_dot(): {wanted} but got {t.dim()}D")
        if t.dtype is not tensors[0].dtype:
            raise RuntimeError(
                f"multi_dot(): all tensors must have be the same dtype. "
                f"Expected {tensors[0].dtype} but got {t.dtype}"
            )


def _check_neighbours(matrices: list[Tensor]) -> None:
    for i, (a, b) in enumerate(pairwise(matrices)):
        if a.shape[1] != b.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {tuple(a.shape)} and "
                f"{tuple(b.shape)} cannot be multiplied"
            )


@linalg("multi_dot")
def linalg_multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of two or more matrices in the cheapest order; the first and last may be
    vectors.
    """
    tensors = list(tensors)
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    first, last = tensors[0].dim(), tensors[-1].dim()
    _check_chain(tensors)
    if first == 1:
        tensors[0] = tensors[0].unsqueeze(0)
    if last == 1:
        tensors[-1] = tensors[-1].unsqueeze(1)
    _check_neighbours(tensors)
    sizes = [t.shape[0] for t in tensors] + [tensors[-1].shape[1]]
    result = _multiply_chain(tensors, _chain_order(sizes), 0, len(tensors) - 1)
    if first == 1:
        result = result.squeeze(0)
    return result.squeeze(-1) if last == 1 else result


@composite(method=False)
def chain_matmul(*matrices: Any, out: Any = None) -> Tensor:
    """The product of matrices in the cheapest order; see linalg.multi_dot."""
    if len(matrices) == 1 and isinstance(matrices[0], tuple | list):
        matrices = tuple(matrices[0])
    if len(matrices) == 1:
        return matrices[0]
    return linalg_multi_dot(matrices) if out is None else linalg_multi_dot(matrices, out=out)


# ---- vectors
# -----------------------------------------------------------------------------------------------


def _cross(name: str, a: Tensor, b: Tensor, dim: int) -> Tensor:
    if a.dim() != b.dim():
        raise RuntimeError(
            f"{name}: inputs must have the same number of dimensions, got {a.dim()} and {b.dim()}"
        )
    dim = wrap(name, dim, a.dim())
    if a.dim() == 0 or a.shape[dim] != 3 or b.shape[dim] != 3:
        sizes = [tuple(t.shape) for t in (a, b)]
        raise RuntimeError(
            f"{name}: inputs dimension {dim} must have length 3. Got shapes {sizes[0]} and "
            f"{sizes[1]}"
        )
    from .join import stack
    from .views import broadcast_tensors

    if a.shape != b.shape:
        a, b = broadcast_tensors(a, b)
    (a0, a1, a2), (b0, b1, b2) = a.unbind(dim), b.unbind(dim)
    parts = [(a1, b2, a2, b1), (a2, b0, a0, b2), (a0, b1, a1, b0)]
    result = stack([difference_of_products(*part) for part in parts])
    if dim == 0:
        return result
    order = (*range(1, dim + 1), 0, *range(dim + 1, result.dim()))
    return result.permute(order).contiguous()  # quicker than to write every third element


@pointwise(register=False, accepts="uifc")
def difference_of_products(a, b, c, d):
    """a b - c d."""
    return a * b - c * d


@linalg("cross")
def linalg_cross(input: Tensor, other: Tensor, *, dim: Any = -1) -> Tensor:
    """The cross product of 3-vectors along dim."""
    return _cross("linalg.cross", input, other, dim)


@composite(out=True)
def cross(input: Tensor, other: Tensor, dim: Any = None) -> Tensor:
    """The cross product of 3-vectors along dim (None: the first dimension of size 3)."""
    if dim is None:
        found = [i for i, n in enumerate(input.shape) if n == 3]
        if not found:
            raise RuntimeError(
                f"no dimension of size 3 in input of shape {tuple(input.shape)} (cross)"
            )
        dim = found[0]
    return _cross("linalg.cross", input, other, dim)


@linalg("vecdot")
def linalg_vecdot(x: Tensor, y: Tensor, *, dim: Any = -1) -> Tensor:
    """The sum of conj(x) * y along dim."""
    check_float("linalg.vecdot", x, low_precision=True)
    return ((x.conj() if x.is_complex() else x) * y).sum(dim)


@linalg("diagonal", out=False)
def linalg_diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of a batch of matrices, a view."""
    return A.diagonal(offset, dim1, dim2)


@composite
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if input.dim() != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.dim()}")
    return input.diagonal().sum()


@linalg("vander", out=False)
def linalg_vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """The Vandermonde matrix: powers 0 to N-1 of the elements along a new last dimension.

    >>> import flambeau as torch
    >>> torch.linalg.vander(torch.tensor([2, 3]))
    tensor([[1, 2],
            [1, 3]])
    """
    from .filled import ones
    from .join import cat

    if (N is None and x.dim() < 1) or (N is not None and N <= 1):
        raise RuntimeError(
            "linalg.vander: N must be greater than 1 (and given for a tensor without dimensions), "
            f"got shape {tuple(x.shape)}, N={N}"
        )
    n = x.shape[-1] if N is None else N
    x = x if x.dim() else x.unsqueeze(0)
    x = x.long() if x.dtype.code < 6 else x
    one = ones((*x.shape, 1), dtype=x.dtype)
    return cat([one, x.unsqueeze(-1).expand(*x.shape, n - 1)], -1).cumprod(-1)
