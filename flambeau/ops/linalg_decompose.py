"""Decompositions of matrices: Cholesky, QR, SVD.

The factors come from generated kernels, or from LAPACK (through NumPy); the derivatives are matrix
expressions in other ops, so that they differentiate again. A^H is the conjugate transpose and * the
elementwise product.
"""

from __future__ import annotations

from typing import Any

from ..core import Tensor, empty, needs_history
from .lapack import (
    LinAlgError,
    any_set,
    array,
    check_finite,
    check_info,
    linalg,
    named,
    per_matrix,
    prepare,
    run_lapack,
    tensor,
)
from .linalg_factor import factor_cholesky
from .linalg_qr import decompose_singular, factor_qr, factor_raw
from .linalg_values import find_singular_values, singular_vectors
from .record import composite, primitive


def diagonal_of(a: Tensor) -> Tensor:
    """The diagonals of a batch of matrices."""
    return a.diagonal(0, -2, -1)


def diagonal_matrix(d: Tensor) -> Tensor:
    """Matrices with the given diagonals."""
    return d.diag_embed()


def halve_diagonal(a: Tensor) -> Tensor:
    """Matrices with their diagonals halved."""
    return a - diagonal_matrix(diagonal_of(a)) * 0.5


# ---- Cholesky
# ------------------------------------------------------------------------------------------


def _leading_minor(a: Any) -> int:
    """Order of the first leading minor that is not positive-definite (0: all are)."""
    import numpy

    for k in range(1, a.shape[0] + 1):
        try:
            numpy.linalg.cholesky(a[:k, :k])
        except numpy.linalg.LinAlgError:
            return k
    return 0


def _cholesky_each(a: Any) -> tuple[Any, Any]:
    import numpy

    factors, info = numpy.array(a), numpy.zeros(a.shape[:-2], numpy.int32)
    for i in numpy.ndindex(a.shape[:-2]):
        info[i] = _leading_minor(a[i])
        if info[i] == 0:
            factors[i] = numpy.linalg.cholesky(a[i])
    return numpy.tril(factors), info


@primitive(register=False)
def cholesky_factor(input, upper):
    """(factor, info): input = L L^H, or U^H U; info is nonzero where input is not
    positive-definite.
    """
    if not input.is_complex():
        return factor_cholesky(input, bool(upper))
    import numpy

    a = array(input)
    if upper:
        a = a.conj().swapaxes(-1, -2)

    def whole(a):
        return numpy.linalg.cholesky(a), numpy.zeros(a.shape[:-2], numpy.int32)

    factor, info = per_matrix(whole, _cholesky_each, a)
    if upper:
        factor = factor.conj().swapaxes(-1, -2)
    return tensor(factor, a), tensor(info)


@cholesky_factor.vjp
def _(g, upper, out):
    # L^-H P L^-1 with P the hermitian part of tril(L^H g) whose diagonal is halved
    from .linalg_solve import triangular

    factor, cotangent = (out[0].mH, g[0].mH) if upper else (out[0], g[0])
    inner = halve_diagonal((factor.mH @ cotangent).tril())
    inner = (inner + inner.mH) * 0.5
    half = triangular(factor.mH, inner, True, False)
    return triangular(factor.mH, half.mH, True, False).mH


def _check_cholesky(name: str, input: Tensor, info: Tensor) -> None:
    text = (
        "The factorization could not be completed because the input is not positive-definite"
        " (the leading minor of order {} is not positive-definite)."
    )
    check_info(name, input, info, text)


@linalg("cholesky")
def linalg_cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower L with A = L L^H (or upper U with A = U^H U) of hermitian positive-definite A.

    >>> import flambeau as torch
    >>> torch.linalg.cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    prepare("linalg.cholesky", A, square=True)
    factor, info = cholesky_factor(A, upper)
    _check_cholesky("linalg.cholesky", A, info)
    return factor


@linalg("cholesky_ex")
def linalg_cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, info): like cholesky, with the order of the first bad leading minor in place of an
    error.
    """
    prepare("linalg.cholesky_ex", A, square=True)
    factor, info = cholesky_factor(A, upper)
    if check_errors:
        _check_cholesky("linalg.cholesky_ex", A, info)
    return named("linalg_cholesky_ex", ("L", "info"), factor, info)


@composite(out=True)
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """The Cholesky factor of a hermitian positive-definite matrix; see linalg.cholesky."""
    prepare("cholesky", input, square=True)
    factor, info = cholesky_factor(input, upper)
    _check_cholesky("cholesky", input, info)
    return factor


# ---- QR
# ------------------------------------------------------------------------------------------------


@primitive(register=False)
def qr_factors(input, complete):
    """(Q, R) with orthonormal columns and an upper triangle."""
    if not input.is_complex():
        return factor_qr(input, bool(complete))
    import numpy

    q, r = numpy.linalg.qr(array(input), mode="complete" if complete else "reduced")
    return tensor(q), tensor(r)


@qr_factors.vjp
def _(g, complete, out):
    q, r = out
    m, n = q.shape[-2], r.shape[-1]
    if complete and m > n:
        raise RuntimeError(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols: "
            "use mode='reduced'"
        )
    gq = q * 0 if g[0] is None else g[0]
    gr = r * 0 if g[1] is None else g[1]
    if m >= n:
        return _qr_vjp(gq, gr, q, r)
    # A = [B | C], B = Q R1 square, R2 = Q^H C
    from .join import cat

    gr1, gr2, r2 = gr[..., :m], gr[..., m:], r[..., m:]
    rest = q @ gr2
    first = _qr_vjp(gq + q @ r2 @ gr2.mH, gr1, q, r[..., :m])
    return cat([first, rest], -1)


def _qr_vjp(gq: Tensor, gr: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """(g_Q + Q hermitian(triu(g_R R^H - Q^H g_Q))) R^-H for at least as many rows as columns."""
    from .linalg_solve import triangular

    upper = (gr @ r.mH - q.mH @ gq).triu()
    hermitian = upper + upper.mH
    half = diagonal_of(hermitian) * 0.5
    hermitian = hermitian - diagonal_matrix(half)
    inner = gq + q @ hermitian
    return triangular(r, inner.mH, True, False).mH


@linalg("qr")
def linalg_qr(A: Tensor, mode: str = "reduced") -> Any:
    """(Q, R): A = Q R; mode 'reduced', 'complete', or 'r' (Q is empty).

    >>> import flambeau as torch
    >>> q, r = torch.linalg.qr(torch.eye(2))
    >>> (q @ r)
    tensor([[1., 0.],
            [0., 1.]])
    """
    prepare("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', "
            "or 'complete'"
        )
    if mode != "r":
        return named("linalg_qr", ("Q", "R"), *qr_factors(A, mode == "complete"))
    if needs_history(A):
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'"
        )
    r = qr_factors(A, False)[1] if A.is_complex() else factor_qr(A, False, form=False)[1]
    return named("linalg_qr", ("Q", "R"), empty((0,), A.dtype), r)


@composite(out=True)
def qr(input: Tensor, some: bool = True) -> Any:
    """(Q, R) of a matrix; some=False gives the square Q."""
    prepare("qr", input)
    return named("qr", ("Q", "R"), *qr_factors(input, not some))


@composite(out=True)
def geqrf(input: Tensor) -> Any:
    """(a, tau): R above the diagonal of a, and below it the Householder vectors whose product is
    Q.
    """
    import numpy

    prepare("geqrf", input)
    if input.numel() == 0:
        k = min(input.shape[-2:])
        return named("geqrf", ("a", "tau"), input.clone(), input.new_zeros((*input.shape[:-2], k)))
    if not input.is_complex():
        return named("geqrf", ("a", "tau"), *factor_raw(input))
    h, tau = numpy.linalg.qr(array(input), mode="raw")
    return named("geqrf", ("a", "tau"), tensor(h.swapaxes(-1, -2)), tensor(tau))


# ---- SVD
# -----------------------------------------------------------------------------------------------


_MOST_VECTORS = 512  # beyond, LAPACK's divide and conquer is quicker


@primitive(register=False)
def svd_factors(input, full):
    """(U, S, V^H) with singular values in descending order."""
    found = None if input.is_complex() else _decompose_real(input, full)
    if found is not None:
        return found
    import numpy

    a = array(input)
    try:
        name = "svd_f" if full else "svd_s"
        found = run_lapack(name, lambda a: numpy.linalg.svd(a, full_matrices=full), a)
        return tuple(tensor(x) for x in found)
    except numpy.linalg.LinAlgError:
        check_finite("linalg.svd", a)
        raise LinAlgError(
            "linalg.svd: The algorithm failed to converge: too many repeated singular values"
        ) from None


@svd_factors.vjp
def _(g, input_like, out):
    gu, gs, gvh = g
    u, s, vh = out
    k = s.shape[-1]
    u, vh = u[..., :k], vh[..., :k, :]
    if gu is None and gvh is None:
        return u @ (gs.unsqueeze(-1) * vh).to(vh.dtype)
    gu = None if gu is None else gu[..., :k]
    gvh = None if gvh is None else gvh[..., :k, :]
    return _svd_vjp(gu, gs, gvh, u, s, vh)


def _skew(x: Tensor) -> Tensor:
    return x - x.mH


def _svd_vjp(gu, gs, gvh, u, s, vh) -> Tensor:
    """U [skew(U^H g_U) / E * S + S * skew(V^H g_V) / E + g_S] V^H, and the parts outside U and V.

    E_ij = s_j^2 - s_i^2 off the diagonal.
    """
    row, column = s.unsqueeze(-2).to(u.dtype), s.unsqueeze(-1).to(u.dtype)
    difference = (row - column) * (row + column)
    difference = difference + diagonal_matrix(s * 0 + 1).to(u.dtype)
    inner = 0
    if gu is not None:
        along = u.mH @ gu
        skew = _skew(along)
        inner = skew / difference * row
        if u.is_complex():
            # the phase of each pair of vectors: what remains on the diagonal is imaginary
            inner = (
                inner
                - diagonal_matrix(diagonal_of(inner))
                + diagonal_matrix(diagonal_of(skew) / (2 * s))
            )
    if gvh is not None:
        skew = _skew(vh @ gvh.mH)
        across = column * (skew / difference)
        inner = inner + (across - diagonal_matrix(diagonal_of(across)))
    if gs is not None:
        inner = inner + diagonal_matrix(gs).to(u.dtype)
    result = u @ inner @ vh
    m, k, n = u.shape[-2], s.shape[-1], vh.shape[-1]
    if gu is not None and m > k:
        outside = gu - u @ (u.mH @ gu)
        result = result + (outside / row) @ vh
    if gvh is not None and n > k:
        outside = gvh - (gvh @ vh.mH) @ vh
        result = result + u @ (outside / column)
    return result


def _decompose_real(a: Tensor, full: bool) -> tuple[Tensor, Tensor, Tensor] | None:
    """(U, S, V^T) by generated kernels; None for what LAPACK does better, and for its errors."""
    m, n = a.shape[-2:]
    if (full and m != n) or not a.numel() or min(m, n) > _MOST_VECTORS:
        return None
    if not bool(a.isfinite().all()):
        return None
    if _turns_columns(a):
        u, s, vh = decompose_singular(a, True)
        least = 2.0**-50 if a.dtype.itemsize == 4 else 2.0**-450
        if not bool((s[..., -1] <= s[..., 0] * least).any()):
            return u, s, vh  # type: ignore[return-value]
    u, s, vh, failed = singular_vectors(a)
    return None if any_set(failed) else (u, s, vh)


def _turns_columns(a: Tensor) -> bool:
    """Whether Jacobi's rotations are the quickest way to vectors: small, or small and many."""
    m, n = a.shape[-2:]
    return m * n <= 16 or (m * n <= 256 and max(m, n) <= 32 and a.numel() >= 4 * m * n)


def singular_values(input: Tensor) -> Tensor:
    """The singular values; the vectors only where a derivative will want them."""
    if needs_history(input):
        return svd_factors(input, False)[1]
    if not input.is_complex() and bool(input.isfinite().all()):
        return find_singular_values(input)
    import numpy

    a = array(input)
    try:
        return tensor(run_lapack("svd", lambda a: numpy.linalg.svd(a, compute_uv=False), a))
    except numpy.linalg.LinAlgError:
        return svd_factors(input, False)[1]  # for its error


@linalg("svd")
def linalg_svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """(U, S, Vh): A = U diag(S) Vh; S real and descending."""
    prepare("linalg.svd", A)
    if driver is not None:
        raise RuntimeError(
            "linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER "
            "backend."
        )
    return named("linalg_svd", ("U", "S", "Vh"), *svd_factors(A, full_matrices))


@linalg("svdvals")
def linalg_svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """Singular values in descending order."""
    prepare("linalg.svdvals", A)
    if driver is not None:
        raise RuntimeError(
            "linalg.svdvals: keyword argument `driver=` is only supported on CUDA inputs with "
            "cuSOLVER backend."
        )
    return singular_values(A)


@composite(out=True)
def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V): input = U diag(S) V^H; without compute_uv U and V are zeros."""
    prepare("svd", input)
    if compute_uv:
        u, s, vh = svd_factors(input, not some)
        return named("svd", ("U", "S", "V"), u, s, vh.mH)
    m, n = input.shape[-2:]
    batch = input.shape[:-2]
    s = singular_values(input)
    return named(
        "svd", ("U", "S", "V"), input.new_zeros((*batch, m, m)), s, input.new_zeros((*batch, n, n))
    )
