"""Linear systems: inverses, solvers for general, triangular and factored matrices, least
squares.
"""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from . import linalg_factor as real
from .lapack import (
    array,
    broadcast_batches,
    check_info,
    check_matrix,
    check_same_dtype,
    check_sides,
    linalg,
    named,
    per_matrix,
    prepare,
    quiet,
    tensor,
)
from .record import composite, primitive

# ---- general square matrices
# ---------------------------------------------------------------------------


def _zero_pivot(a: Any) -> int:
    """Which diagonal element (from 1) of the upper factor is zero; 0: none."""
    import numpy

    from .linalg_lu import factor_array

    diagonal = numpy.diagonal(factor_array(a)[0])
    zero = numpy.flatnonzero(diagonal == 0)
    return int(zero[0]) + 1 if zero.size else 0


def _each(run, a, *rest):
    """Every matrix by itself; (results, info) with NaN where the matrix is singular."""
    import numpy

    results, info = None, numpy.zeros(a.shape[:-2], numpy.int32)
    for i in numpy.ndindex(a.shape[:-2]):
        try:
            one = run(a[i], *[r[i] for r in rest])
        except numpy.linalg.LinAlgError:
            info[i] = _zero_pivot(a[i]) or a.shape[-1]
            continue
        if results is None:
            results = numpy.full((*a.shape[:-2], *one.shape), numpy.nan, one.dtype)
        results[i] = one
    if results is None:
        shape = rest[0].shape if rest else a.shape
        results = numpy.full(shape, numpy.nan, a.dtype)
    return results, info


def _with_info(run):
    import numpy

    def whole(a, *rest):
        return run(a, *rest), numpy.zeros(a.shape[:-2], numpy.int32)

    return whole


@primitive(register=False)
def inverse_info(input):
    """(inverse, info): info is the position of a zero pivot, 0 where there is none."""
    if not input.is_complex():
        lu, pivots, info, _ = real.factor_lu(input)
        return real.solve_lu(lu, pivots, None), info
    import numpy

    a = array(input)
    run = numpy.linalg.inv
    result, info = per_matrix(_with_info(run), lambda a: _each(run, a), a)
    return tensor(result, a), tensor(info)


@inverse_info.vjp
def _(g, out):
    inverse = out[0].mH
    return -(inverse @ g[0] @ inverse)


def _check_singular(name: str, a: Tensor, info: Tensor) -> None:
    text = (
        "The diagonal element {} is zero, the inversion could not be completed because the input"
        " matrix is singular."
    )
    check_info(name, a, info, text)


def inverse_of(name: str, a: Tensor) -> Tensor:
    """The inverse, or LinAlgError."""
    prepare(name, a, square=True)
    result, info = inverse_info(a)
    _check_singular(name, a, info)
    return result


@linalg("inv")
def linalg_inv(A: Tensor) -> Tensor:
    """The inverse of a square matrix; LinAlgError if it is singular.

    >>> import flambeau as torch
    >>> torch.linalg.inv(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    return inverse_of("linalg.inv", A)


@composite(name="inverse", out=True)
def inverse(input: Tensor) -> Tensor:
    """The inverse of a square matrix; see linalg.inv."""
    return inverse_of("linalg.inv", input)


@linalg("inv_ex")
def linalg_inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """(inverse, info): info is nonzero where the matrix is singular."""
    prepare("linalg.inv_ex", A, square=True)
    result, info = inverse_info(A)
    if check_errors:
        _check_singular("linalg.inv_ex", A, info)
    return named("linalg_inv_ex", ("inverse", "info"), result, info)


def solve_info(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(x, info) with a x = b for batches of matrices of one batch shape."""
    return complex_solution(a, b) if a.is_complex() else real_solution(a, b)[:2]


@primitive(register=False)
def real_solution(a, b):
    """(x, info, LU, pivots): the factors serve the derivative."""
    lu, pivots, info, _ = real.factor_lu(a)
    return real.solve_lu(lu, pivots, b), info, lu, pivots


@real_solution.vjp
def _(g, a, out, needs):
    x, _, lu, pivots = out
    if core.grad_enabled():
        gb = solve_info(a.mT, g[0])[0]
    else:
        gb = real.solve_lu(lu, pivots, g[0], adjoint=True)
    return (-(gb @ x.mT) if needs[0] else None), (gb if needs[1] else None)


@primitive(register=False)
def complex_solution(a, b):
    """(x, info), by LAPACK."""
    import numpy

    left, right = array(a), array(b)
    run = numpy.linalg.solve
    result, info = per_matrix(_with_info(run), lambda a, b: _each(run, a, b), left, right)
    return tensor(result, right), tensor(info)


@complex_solution.vjp
def _(g, a, out, needs):
    gb = complex_solution(a.mH, g[0])[0]
    return (-(gb @ out[0].mH) if needs[0] else None), (gb if needs[1] else None)


def solve_matrices(a: Tensor, b: Tensor) -> Tensor:
    """x with a x = b, for derivatives: no checks."""
    return solve_info(a, b)[0]


def is_vector_case(a: Tensor, b: Tensor) -> bool:
    """Is b one vector, or a batch of vectors, rather than of matrices?"""
    return b.dim() == 1 or (a.dim() - 1 == b.dim() and tuple(a.shape[:-1]) == tuple(b.shape))


def _solve(name: str, a: Tensor, b: Tensor, left: bool) -> tuple[Tensor, Tensor]:
    prepare(name, a, square=True)
    check_same_dtype(name, a, b)
    vector = is_vector_case(a, b)
    if vector and not left:
        raise RuntimeError(
            f"{name}: Vector broadcasting of the left hand side is not supported for left=False. "
            "In this case "
            f"{name} is equivalent to B / A.squeeze(-1)"
        )
    b = b.unsqueeze(-1) if vector else b
    check_matrix(name, b, "B")
    check_sides(name, a, b, left)
    a, b = broadcast_batches(name, a, b)
    x, info = solve_info(a, b) if left else solve_info(a.mT, b.mT)
    x = x if left else x.mT
    return (x.squeeze(-1) if vector else x), info


def _check_solved(name: str, a: Tensor, info: Tensor) -> None:
    check_info(name, a, info, "The solver failed because the input matrix is singular.")


@linalg("solve")
def linalg_solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (or X A = B); B is a vector, a matrix, or a batch of either.

    >>> import flambeau as torch
    >>> torch.linalg.solve(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([2.0, 2.0]))
    tensor([1.0000, 0.5000])
    """
    x, info = _solve("linalg.solve", A, B, left)
    _check_solved("torch.linalg.solve", A, info)
    return x


@linalg("solve_ex")
def linalg_solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """(X, info): info is nonzero where A is singular."""
    x, info = _solve("linalg.solve", A, B, left)
    if check_errors:
        _check_solved("torch.linalg.solve_ex", A, info)
    return named("linalg_solve_ex", ("result", "info"), x, info)


# ---- triangular matrices
# -------------------------------------------------------------------------------

_BLOCK = 32


def substitute(a: Any, b: Any, upper: bool, unit: bool) -> Any:
    """Forward or backward substitution over whole batches; blocks keep most work in matrix
    products.
    """
    import numpy

    n = a.shape[-1]
    if n <= _BLOCK:
        return _substitute_rows(a, b, upper, unit)
    h = n // 2
    first, second = (slice(h, n), slice(0, h)) if upper else (slice(0, h), slice(h, n))
    x = numpy.empty_like(b)
    x[..., first, :] = substitute(a[..., first, first], b[..., first, :], upper, unit)
    rest = b[..., second, :] - a[..., second, first] @ x[..., first, :]
    x[..., second, :] = substitute(a[..., second, second], rest, upper, unit)
    return x


def _substitute_rows(a: Any, b: Any, upper: bool, unit: bool) -> Any:
    import numpy

    n = a.shape[-1]
    x = numpy.array(b)
    for i in reversed(range(n)) if upper else range(n):
        done = slice(i + 1, n) if upper else slice(0, i)
        row = a[..., i : i + 1, done]
        if row.shape[-1]:
            x[..., i : i + 1, :] -= row @ x[..., done, :]
        if not unit:
            x[..., i, :] /= a[..., i, i, None]
    return x


@primitive(register=False)
def triangular(a, b, upper, unit):
    """x with a x = b; only the named triangle of a is read (unit: its diagonal counts as ones)."""
    if not a.is_complex():
        return real.solve_triangle(a, b, upper, unit)
    left, right = array(a), array(b)
    with quiet():  # a zero on the diagonal gives inf and NaN, as in LAPACK
        return tensor(substitute(left, right, upper, unit), right)


@triangular.vjp
def _(g, a, upper, unit, out, needs):
    gb = triangular(a.mH, g, not upper, unit)
    ga = None
    if needs[0]:
        k = 1 if unit else 0
        ga = -(gb @ out.mH)
        ga = ga.triu(k) if upper else ga.tril(-k)
    return ga, (gb if needs[1] else None)


@linalg("solve_triangular")
def linalg_solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with A X = B (or X A = B) for a triangular A, of which the other triangle is not read."""
    name = "linalg.solve_triangular"
    prepare(name, A, square=True)
    check_matrix(name, B, "B")
    check_same_dtype(name, A, B)
    check_sides(name, A, B, left)
    a, b = broadcast_batches(name, A, B)
    if left:
        return triangular(a, b, bool(upper), bool(unitriangular))
    return triangular(a.mT, b.mT, not upper, bool(unitriangular)).mT


@composite(out=True)
def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """(X, A): X solves A X = b, or A^T X = b, for a triangular A."""
    prepare("triangular_solve", A, square=True)
    check_matrix("triangular_solve", b, "b")
    if A.shape[-1] != b.shape[-2]:
        raise RuntimeError(
            "triangular_solve: Incompatible matrix sizes for triangular_solve: each A matrix is "
            f"{A.shape[-1]} by "
            f"{A.shape[-1]} but each b matrix is {b.shape[-2]} by {b.shape[-1]}"
        )
    a, b = broadcast_batches("triangular_solve", A, b)
    if transpose:
        x = triangular(a.mT, b, not upper, bool(unitriangular))
    else:
        x = triangular(a, b, bool(upper), bool(unitriangular))
    return named("triangular_solve", ("solution", "cloned_coefficient"), x, a.clone())


@composite(out=True)
def cholesky_solve(input: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A X = input, where L is the Cholesky factor of A."""
    prepare("cholesky_solve", L, square=True)
    check_matrix("cholesky_solve", input, "B")
    check_same_dtype("cholesky_solve", L, input)
    if L.shape[-1] != input.shape[-2]:
        raise RuntimeError(
            "cholesky_solve: Incompatible matrix sizes for cholesky_solve: each A matrix is "
            f"{L.shape[-1]} by "
            f"{L.shape[-1]} but each b matrix is {input.shape[-2]} by {input.shape[-1]}"
        )
    factor, b = broadcast_batches("cholesky_solve", L, input)
    lower = factor.mH if upper else factor
    return triangular(lower.mH, triangular(lower, b, False, False), True, False)


@composite(out=True)
def cholesky_inverse(input: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A from its Cholesky factor."""
    prepare("cholesky_inverse", input, square=True)
    return cholesky_solve(real.identities(input), input, upper)


def identity_like(input: Tensor, n: int) -> Tensor:
    """The identity matrix of size n in the element type of input."""
    from .sequences import eye

    return eye(n, dtype=input.dtype)
