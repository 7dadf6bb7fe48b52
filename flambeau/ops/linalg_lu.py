"""LU decomposition with partial pivoting: P A = L U, and solving with its factors."""

from __future__ import annotations

import math
from typing import Any

from .. import core
from ..core import Tensor
from . import linalg_factor as real
from .lapack import (
    INT32,
    array,
    broadcast_batches,
    check_float,
    check_info,
    check_matrix,
    check_same_dtype,
    check_sides,
    check_square,
    linalg,
    named,
    prepare,
    quiet,
    tensor,
)
from .linalg_solve import substitute, triangular
from .record import composite, primitive

FLOAT32 = core.dtypes[8]


def _size(values: Any) -> Any:
    """How LAPACK compares pivots: |re| + |im|."""
    import numpy

    if values.dtype.kind != "c":
        return numpy.abs(values)
    return numpy.abs(values.real) + numpy.abs(values.imag)


_PANEL = 32  # columns factored one by one before the rest is updated in one product


def factor_array(a: Any) -> tuple[Any, Any]:
    """(L below and U on and above the diagonal, pivots from 1) of a batch of NumPy matrices."""
    import numpy

    shape = a.shape
    lu = numpy.array(a).reshape(math.prod(shape[:-2]), *shape[-2:])
    k = min(shape[-2:])
    pivots = numpy.empty((lu.shape[0], k), numpy.int32)
    with quiet():
        for start in range(0, k, _PANEL):
            stop = min(start + _PANEL, k)
            _factor_panel(lu, pivots, start, stop)
            right = lu[:, start:stop, stop:]
            right[...] = substitute(lu[:, start:stop, start:stop], right, False, True)
            lu[:, stop:, stop:] -= lu[:, stop:, start:stop] @ right
    return lu.reshape(shape), pivots.reshape(*shape[:-2], k)


def _factor_panel(lu: Any, pivots: Any, start: int, stop: int) -> None:
    """Eliminate columns start to stop; rows are interchanged over the whole width."""
    import numpy

    each = numpy.arange(lu.shape[0])
    for j in range(start, stop):
        pivot = j + _size(lu[:, j:, j]).argmax(1)
        pivots[:, j] = pivot + 1
        rows = lu[each, pivot]
        lu[each, pivot] = lu[:, j]
        lu[:, j] = rows
        diagonal = lu[:, j, j, None]
        column = lu[:, j + 1 :, j]
        column[...] = numpy.where(diagonal == 0, column, column / diagonal)
        lu[:, j + 1 :, j + 1 : stop] -= column[:, :, None] * lu[:, j, None, j + 1 : stop]


@primitive(register=False)
def lu_compact(input):
    """(LU, pivots, info) in LAPACK's compact form; info: the first zero on U's diagonal."""
    if not input.is_complex():
        return real.factor_lu(input)[:3]
    a = array(input)
    lu, pivots = factor_array(a)
    return tensor(lu, a), tensor(pivots), tensor(_find_zeros(lu))


@lu_compact.vjp
def _(g, out):
    lu, pivots, _ = out
    m, n = lu.shape[-2:]
    k = min(m, n)
    gl, gu = g[0][..., :, :k].tril(-1), g[0][..., :k, :].triu()
    return permutation(pivots, m, lu.dtype) @ _lu_vjp(gl, gu, *_split(lu), m, n, k)


def _split(lu: Tensor) -> tuple[Tensor, Tensor]:
    """(L with its unit diagonal, U)."""
    from .linalg_solve import identity_like

    m, n = lu.shape[-2:]
    k = min(m, n)
    lower = lu[..., :, :k].tril(-1)
    eye = identity_like(lu, k)
    if m > k:
        from .join import cat

        eye = cat([eye, eye.new_zeros((m - k, k))], 0)
    return lower + eye, lu[..., :k, :].triu()


def _lu_vjp(gl: Tensor, gu: Tensor, lower: Tensor, upper: Tensor, m: int, n: int, k: int) -> Tensor:
    """The cotangent of P A from those of L and U.

    Square: L^-H [tril(L^H g_L, -1) + triu(g_U U^H)] U^-H. Wide, A = [A1 | A2]: U2 = L^-1 A2 passes
    through L; tall: L2 = A2 U^-1 passes through U.
    """
    from .join import cat

    l1, u1, gl1, gu1 = lower[..., :k, :], upper[..., :, :k], gl[..., :k, :], gu[..., :, :k]
    wide = tall = None
    if n > k:
        wide = triangular(l1.mH, gu[..., :, k:], True, True)
        gl1 = gl1 - (wide @ upper[..., :, k:].mH).tril(-1)
    if m > k:
        tall = triangular(u1, gl[..., k:, :].mH, True, False).mH
        gu1 = gu1 - (lower[..., k:, :].mH @ tall).triu()
    inner = (l1.mH @ gl1).tril(-1) + (gu1 @ u1.mH).triu()
    half = triangular(l1.mH, inner, True, True)
    result = triangular(u1, half.mH, True, False).mH
    if wide is not None:
        return cat([result, wide], -1)
    return result if tall is None else cat([result, tall], -2)


def permutation(pivots: Tensor, m: int, dtype: Any) -> Tensor:
    """The matrix P of A = P L U from the row interchanges."""
    p = core.empty((*pivots.shape[:-1], m, m), FLOAT32)
    core.fill_number(p, 0)
    core.fill_number(p.diagonal(0, -2, -1), 1)
    return real.interchange_rows(p, pivots, True).to(dtype)


def _check_pivot(name: str, pivot: bool) -> None:
    if not pivot:
        raise RuntimeError(f"{name}: LU without pivoting is not implemented on the CPU")


def _find_zeros(lu: Any) -> Any:
    """Position (from 1) of the first zero on U's diagonal, 0 where there is none."""
    import numpy

    zero = numpy.diagonal(lu, 0, -2, -1) == 0
    if zero.shape[-1] == 0:
        return numpy.zeros(zero.shape[:-1], numpy.int32)
    return numpy.where(zero.any(-1), zero.argmax(-1) + 1, 0).astype(numpy.int32)


@linalg("lu_factor")
def linalg_lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """(LU, pivots): both factors in one matrix, and the row interchanges counted from 1 (int32)."""
    prepare("linalg.lu_factor", A)
    _check_pivot("linalg.lu_factor", pivot)
    return named("linalg_lu_factor", ("LU", "pivots"), *lu_compact(A)[:2])


@linalg("lu_factor_ex")
def linalg_lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """(LU, pivots, info): info is the position of a zero on U's diagonal."""
    prepare("linalg.lu_factor_ex", A)
    _check_pivot("linalg.lu_factor", pivot)
    lu, pivots, info = lu_compact(A)
    if check_errors:
        text = "U[{0},{0}] is zero and using it on lu_solve would result in a division by zero."
        check_info("linalg.lu_factor_ex", A, info, text)
    return named("linalg_lu_factor_ex", ("LU", "pivots", "info"), lu, pivots, info)


@linalg("lu")
def linalg_lu(A: Tensor, *, pivot: bool = True) -> Any:
    """(P, L, U) with A = P L U."""
    prepare("linalg.lu", A)
    _check_pivot("linalg.lu", pivot)
    lu, pivots, _ = lu_compact(A)
    p = permutation(pivots, A.shape[-2], A.dtype)
    return named("linalg_lu", ("P", "L", "U"), p, *_split(lu))


@composite(method=True)
def lu(input: Tensor, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:
    """(LU, pivots[, info]) of a matrix; see linalg.lu_factor."""
    prepare("lu", input)
    _check_pivot("lu", pivot)
    compact = lu_compact(input)
    result = tuple(compact) if get_infos else tuple(compact[:2])
    if out is None:
        return result
    for target, value in zip(out, result, strict=True):  # converts: this op takes out= of any type
        core.copy_(core.resize_(target, value.shape), value.detach())
    return tuple(out)


@composite(out=True, method=False)
def lu_unpack(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> Any:
    """(P, L, U) from the compact factors; a part not asked for is empty."""
    if unpack_pivots and LU_pivots.dtype is not INT32:
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 "
            f"dtype, got {LU_pivots.dtype}: "
            "use the pivots that linalg.lu_factor returns"
        )
    check_matrix("lu_unpack", LU_data, "LU_data")
    empty = LU_data.new_zeros((0,))
    p = permutation(LU_pivots, LU_data.shape[-2], LU_data.dtype) if unpack_pivots else empty
    lower, upper = _split(LU_data) if unpack_data else (empty, empty)
    return named("lu_unpack", ("P", "L", "U"), p, lower, upper)


def _lu_solve(
    name: str, lu: Tensor, pivots: Tensor, b: Tensor, left: bool, adjoint: bool
) -> Tensor:
    check_square(name, lu, "LU")
    check_float(name, lu)
    check_matrix(name, b, "B")
    check_same_dtype(name, lu, b)
    if pivots.dtype is not INT32:
        raise RuntimeError(
            f"{name}: pivots should be a Tensor of scalar type torch.int32, got {pivots.dtype}"
        )
    check_sides(name, lu, b, left)
    if lu.shape[:-1] != pivots.shape:
        raise RuntimeError(
            f"{name}: Number of pivots per batch should be same as the dimension of the matrix: LU "
            f"{tuple(lu.shape)}, "
            f"pivots {tuple(pivots.shape)}"
        )
    if not left:  # X A = B: A^H X^H = B^H
        return _lu_solve(name, lu, pivots, b.mH, True, not adjoint).mH
    if not lu.is_complex() and not core.needs_history(lu, b):
        batch = lu.shape[:-2]
        lu, b = broadcast_batches(name, lu, b)
        if lu.shape[:-2] != batch:
            pivots = pivots.expand(lu.shape[:-1])
        return real.solve_lu(lu, pivots, b, adjoint)
    p = permutation(pivots, lu.shape[-1], lu.dtype)
    lu, b = broadcast_batches(name, lu, b)
    if adjoint:
        x = triangular(lu.mH, b, False, False)
        return p @ triangular(lu.mH, x, True, True)
    return triangular(lu, triangular(lu, p.mT @ b, False, True), True, False)


@linalg("lu_solve")
def linalg_lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    """X with A X = B (X A = B, A^H X = B, X A^H = B) from the factors of A."""
    return _lu_solve("linalg.lu_solve", LU, pivots, B, left, adjoint)


@composite(out=True)
def lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """X with A X = b from the factors of A."""
    return _lu_solve("linalg.lu_solve", LU_data, LU_pivots, b, True, False)
