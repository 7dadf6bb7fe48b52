"""LDL decomposition of symmetric or hermitian matrices with Bunch and Kaufman's diagonal pivoting
(1977).
"""

from __future__ import annotations

import math
from typing import Any

from .. import core
from ..core import Tensor
from ..kernels.lazy import bunch_kaufman
from .lapack import (
    INT32,
    array,
    broadcast_batches,
    check_info,
    check_matrix,
    check_same_dtype,
    linalg,
    named,
    prepare,
    quiet,
    tensor,
)
from .linalg_factor import plain
from .plans import planned
from .record import primitive

# The bound on element growth that makes one 2x2 pivot as good as two 1x1 pivots.
_ALPHA = (1 + math.sqrt(17)) / 8


def _size(x: Any) -> Any:
    """How LAPACK compares pivots: |re| + |im|."""
    return abs(x.real) + abs(x.imag)


def _choose(a: Any, k: int) -> tuple[int, int]:
    """(row to bring into the pivot's place, order of the pivot: 0 for a zero column, 1 or 2)."""
    diagonal = _size(a[k, k])
    column = _size(a[k + 1 :, k])
    largest = column.max() if column.size else 0.0
    if max(diagonal, largest) == 0 or diagonal != diagonal:
        return k, 0
    if diagonal >= _ALPHA * largest:
        return k, 1
    other = k + 1 + int(column.argmax())
    row = max(_size(a[other, k:other]).max(), _size(a[other + 1 :, other]).max(initial=0.0))
    if diagonal >= _ALPHA * largest * (largest / row):
        return k, 1
    return other, 1 if _size(a[other, other]) >= _ALPHA * row else 2


def _interchange(a: Any, k: int, i: int, j: int, hermitian: bool) -> None:
    """Swap rows and columns i < j of what is left of the lower triangle."""
    a[j + 1 :, [i, j]] = a[j + 1 :, [j, i]]
    between, across = a[i + 1 : j, i].copy(), a[j, i + 1 : j].copy()
    a[i + 1 : j, i], a[j, i + 1 : j] = (
        (across.conj(), between.conj()) if hermitian else (across, between)
    )
    if hermitian:
        a[j, i] = a[j, i].conj()
    a[i, i], a[j, j] = a[j, j], a[i, i]
    if i == k + 1:
        a[i, k], a[j, k] = a[j, k], a[i, k]


def _block(a: Any, k: int, order: int, hermitian: bool) -> Any:
    """The pivot as a full matrix."""
    d = a[k : k + order, k : k + order].copy()
    if order == 2:
        d[0, 1] = d[1, 0].conj() if hermitian else d[1, 0]
    if hermitian:
        d[range(order), range(order)] = d.diagonal().real
    return d


def _factor(a: Any, hermitian: bool) -> tuple[Any, int]:
    """(pivots, info) of one matrix, overwritten by L and the blocks of D."""
    import numpy

    n, k, info = a.shape[0], 0, 0
    pivots = numpy.empty(n, numpy.int32)
    while k < n:
        chosen, order = _choose(a, k)
        if order == 0:
            info = info or k + 1
            pivots[k] = k + 1
            k += 1
            continue
        last = k + order - 1
        if chosen != last:
            _interchange(a, k, last, chosen, hermitian)
        d, rest = _block(a, k, order, hermitian), a[k + order :, k : k + order]
        a[k : k + order, k : k + order] = numpy.tril(d)
        if rest.shape[0]:
            factor = numpy.linalg.solve(d.T, rest.T).T
            update = factor @ (rest.conj().T if hermitian else rest.T)
            a[k + order :, k + order :] -= numpy.tril(update)
            rest[...] = factor
        pivots[k : last + 1] = chosen + 1 if order == 1 else -(chosen + 1)
        k += order
    return pivots, info


@primitive(register=False)
def ldl_compact(input, hermitian):
    """(LD, pivots, info) in LAPACK's compact form, from the lower triangle."""
    if not input.is_complex():
        return _factor_real(input)
    import numpy

    a = numpy.tril(array(input))
    pivots, info = numpy.empty(a.shape[:-1], numpy.int32), numpy.zeros(a.shape[:-2], numpy.int32)
    with quiet():
        for i in numpy.ndindex(a.shape[:-2]):
            pivots[i], info[i] = _factor(a[i], hermitian)
    return tensor(a), tensor(pivots), tensor(info)


def _factor_real(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n, batch, short = a.shape[-1], a.shape[:-2], a.dtype.short
    count = math.prod(batch)
    factors, pivots = core.empty(a.shape, a.dtype), core.empty((*batch, n), INT32)
    info = core.empty(batch, INT32)
    if not factors.numel():
        core.fill_number(info, 0)
        return factors, pivots, info
    plan = planned(("ldl", short, n, count), lambda t: bunch_kaufman.plan_ldl(short, n, count, t))
    plan.run(factors, pivots, info, plain(a))
    return factors, pivots, info


@ldl_compact.vjp
def _(g):
    raise NotImplementedError(
        "the derivative for 'linalg_ldl_factor_ex' is not implemented: use linalg.solve"
    )


@linalg("ldl_factor_ex")
def linalg_ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """(LD, pivots, info): like ldl_factor; info is the position of a zero pivot, 0 where there is
    none.
    """
    prepare("torch.linalg.ldl_factor_ex", A, square=True)
    factors, pivots, info = ldl_compact(A, hermitian and A.is_complex())
    if check_errors:
        text = "The factorization could not be completed: the diagonal block {} of D is zero"
        check_info("torch.linalg.ldl_factor_ex", A, info, text)
    return named("linalg_ldl_factor_ex", ("LD", "pivots", "info"), factors, pivots, info)


@linalg("ldl_factor")
def linalg_ldl_factor(A: Tensor, *, hermitian: bool = False) -> Any:
    """(LD, pivots): A = L D L^T (L D L^H if hermitian) with D of 1x1 and 2x2 blocks; for
    ldl_solve.
    """
    factors, pivots, _ = linalg_ldl_factor_ex(A, hermitian=hermitian, check_errors=True)
    return named("linalg_ldl_factor", ("LD", "pivots"), factors, pivots)


def _solve(a: Any, pivots: Any, b: Any, hermitian: bool) -> None:
    """Overwrite b with the solution, for one matrix."""
    import numpy

    n, k, starts = a.shape[0], 0, []
    while k < n:  # through the interchanges and L, then D
        order = 1 if pivots[k] > 0 else 2
        last, other = k + order - 1, abs(int(pivots[k])) - 1
        b[[last, other]] = b[[other, last]]
        b[k + order :] -= a[k + order :, k : k + order] @ b[k : k + order]
        b[k : k + order] = numpy.linalg.solve(_block(a, k, order, hermitian), b[k : k + order])
        starts.append((k, order, last, other))
        k += order
    for k, order, last, other in reversed(starts):
        below = a[k + order :, k : k + order]
        b[k : k + order] -= (below.conj() if hermitian else below).T @ b[k + order :]
        b[[last, other]] = b[[other, last]]


@primitive(register=False)
def ldl_solution(factors, pivots, b, hermitian):
    """The solution from the compact factors."""
    if not factors.is_complex():
        return _solve_real(factors, pivots, b)
    import numpy

    a, p, x = array(factors), array(pivots), numpy.array(array(b))
    with quiet():
        for i in numpy.ndindex(x.shape[:-2]):
            _solve(a[i], p[i], x[i], hermitian)
    return tensor(x)


def _solve_real(factors: Tensor, pivots: Tensor, b: Tensor) -> Tensor:
    n, columns = b.shape[-2:]
    count, short = math.prod(b.shape[:-2]), b.dtype.short
    x = core.empty(b.shape, b.dtype)
    if x.numel():
        plan = planned(
            ("ldl_solve", short, n, columns, count),
            lambda t: bunch_kaufman.plan_ldl_solve(short, n, columns, count, t),
        )
        plan.run(x, plain(factors), plain(pivots), plain(b))
    return x


@ldl_solution.vjp
def _(g):
    raise NotImplementedError(
        "the derivative for 'linalg_ldl_solve' is not implemented: use linalg.solve"
    )


@linalg("ldl_solve")
def linalg_ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:
    """X with A X = B from what ldl_factor returns."""
    name = "torch.linalg.ldl_solve"
    prepare(name, LD, square=True)
    check_matrix(name, B, "B")
    check_same_dtype(name, LD, B)
    if pivots.dtype is not INT32:
        raise RuntimeError(
            f"{name}: Expected pivots to be of integer type torch.int32, got {pivots.dtype}"
        )
    if pivots.shape != LD.shape[:-1]:
        raise RuntimeError(
            f"{name}: Expected LD.shape[:-1] and pivots.shape to be the same, got "
            f"{tuple(LD.shape)}, {tuple(pivots.shape)}"
        )
    if LD.shape[-1] != B.shape[-2]:
        raise RuntimeError(
            f"{name}: Expected LD of size {LD.shape[-1]} and B with as many rows, got {B.shape[-2]}"
        )
    factors, b = broadcast_batches(name, LD, B)
    pivots = pivots.expand(factors.shape[:-1])
    return ldl_solution(factors, pivots, b, hermitian and LD.is_complex())
