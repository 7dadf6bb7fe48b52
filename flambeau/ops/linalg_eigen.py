"""Eigenvalues and eigenvectors: generated kernels for real symmetric matrices, else LAPACK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import Tensor, needs_history
from .lapack import (
    LinAlgError,
    any_set,
    array,
    as_real_if,
    check_finite,
    linalg,
    named,
    prepare,
    run_lapack,
    tensor,
)
from .linalg_decompose import diagonal_matrix, diagonal_of
from .linalg_values import symmetric_values, symmetric_vectors
from .record import primitive

_MOST_BYTES = 2048  # of a row: LAPACK's divide and conquer is quicker with larger matrices


@primitive(register=False)
def eigh_factors(input, lower):
    """(eigenvalues ascending, eigenvectors) of hermitian matrices, of which one triangle is
    read.
    """
    if not input.is_complex() and input.shape[-1] * input.element_size() <= _MOST_BYTES:
        if not bool(input.isfinite().all()):
            check_finite("linalg.eigh", array(input))
        values, vectors, failed = symmetric_vectors(input, bool(lower))
        if failed is None or not any_set(failed):
            return values, vectors
    import numpy

    a = array(input)
    check_finite("linalg.eigh", a)
    try:
        name = "eigh_lo" if lower else "eigh_up"
        found = run_lapack(name, lambda a: numpy.linalg.eigh(a, UPLO="L" if lower else "U"), a)
        return tuple(tensor(x) for x in found)
    except numpy.linalg.LinAlgError:
        raise LinAlgError(
            "linalg.eigh: The algorithm failed to converge: too many repeated eigenvalues"
        ) from None


@eigh_factors.vjp
def _(g, out):
    gl, gv = g
    values, v = out
    if gv is None:
        return v @ (gl.unsqueeze(-1) * v.mH).to(v.dtype)
    difference = values.unsqueeze(-2) - values.unsqueeze(-1)
    difference = difference + diagonal_matrix(values * 0 + 1)
    inner = (v.mH @ gv) / difference.to(v.dtype)
    inner = inner - diagonal_matrix(diagonal_of(inner))
    if gl is not None:
        inner = inner + diagonal_matrix(gl).to(v.dtype)
    return v @ inner @ v.mH


def hermitian_values(input: Tensor, lower: bool) -> Tensor:
    """The eigenvalues, ascending; the vectors only where a derivative will want them."""
    if needs_history(input):
        return eigh_factors(input, lower)[0]
    if not input.is_complex():
        if not bool(input.isfinite().all()):
            check_finite("linalg.eigh", array(input))
        return symmetric_values(input, lower)
    import numpy

    a = array(input)
    check_finite("linalg.eigh", a)
    try:
        name = "eigvalsh_lo" if lower else "eigvalsh_up"
        found = run_lapack(name, lambda a: numpy.linalg.eigvalsh(a, UPLO="L" if lower else "U"), a)
        return tensor(found)
    except numpy.linalg.LinAlgError:
        return eigh_factors(input, lower)[0]  # for its error


def _read_triangle(name: str, UPLO: Any) -> bool:
    if not isinstance(UPLO, str) or UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"{name}: Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return UPLO.upper() == "L"


@linalg("eigh")
def linalg_eigh(A: Tensor, UPLO: str = "L") -> Any:
    """(eigenvalues, eigenvectors) of a hermitian matrix; real eigenvalues in ascending order."""
    prepare("linalg.eigh", A, square=True)
    lower = _read_triangle("linalg.eigh", UPLO)
    return named("linalg_eigh", ("eigenvalues", "eigenvectors"), *eigh_factors(A, lower))


@linalg("eigvalsh")
def linalg_eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues of a hermitian matrix in ascending order."""
    prepare("linalg.eigvalsh", A, square=True)
    return hermitian_values(A, _read_triangle("linalg.eigvalsh", UPLO))


@primitive(register=False)
def eig_factors(input):
    """(eigenvalues, eigenvectors of norm 1), both complex."""
    import numpy

    return _run_general(input, "eig", numpy.linalg.eig)


def _run_general(input: Tensor, name: str, general: Callable) -> tuple[Tensor, ...]:
    """What LAPACK finds for matrices without symmetry, as complex numbers."""
    import numpy

    a = array(input)
    check_finite("linalg.eig", a)
    wanted = numpy.result_type(a.dtype, "complex64")
    try:
        found = run_lapack(name, general, a)
    except numpy.linalg.LinAlgError:
        raise LinAlgError("linalg.eig: The algorithm failed to converge") from None
    found = found if isinstance(found, tuple) else (found,)
    return tuple(tensor(x.astype(wanted, copy=False)) for x in found)


@eig_factors.vjp
def _(g, input_like, out):
    # V^-H (diag(g_L) + (V^H g_V - V^H V diag(Re(V^H g_V))) / conj(E)) V^H, E_ij = l_j - l_i
    from .linalg_solve import solve_matrices

    gl, gv = g
    values, v = out
    inner = 0
    if gv is not None:
        along = v.mH @ gv
        real = diagonal_of(along).real
        inner = along - (v.mH @ v) * real.unsqueeze(-2).to(v.dtype)
        difference = (values.unsqueeze(-2) - values.unsqueeze(-1)).conj()
        inner = inner / (difference + diagonal_matrix(values * 0 + 1))
        inner = inner - diagonal_matrix(diagonal_of(inner))
    if gl is not None:
        inner = inner + diagonal_matrix(gl)
    return as_real_if(not input_like.dtype.is_complex, solve_matrices(v.mH, inner @ v.mH))


@primitive(register=False)
def eig_values(input):
    """The eigenvalues alone, without history."""
    import numpy

    return _run_general(input, "eigvals", numpy.linalg.eigvals)[0]


@linalg("eig")
def linalg_eig(A: Tensor) -> Any:
    """(eigenvalues, eigenvectors) of a square matrix; both complex, vectors of norm 1 in
    columns.
    """
    prepare("linalg.eig", A, square=True)
    return named("linalg_eig", ("eigenvalues", "eigenvectors"), *eig_factors(A))


@linalg("eigvals")
def linalg_eigvals(A: Tensor) -> Tensor:
    """Eigenvalues of a square matrix, complex."""
    prepare("linalg.eigvals", A, square=True)
    return eig_factors(A)[0] if needs_history(A) else eig_values(A)
