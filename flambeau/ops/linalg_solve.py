"""Linear systems: inverses, solvers for general, triangular and factored matrices, least squares."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from .lapack import (
    INT64,
    LinAlgError,
    array,
    batch_element,
    broadcast_batches,
    check_float,
    check_matrix,
    check_same_dtype,
    linalg,
    machine_epsilon,
    named,
    per_matrix,
    prepare,
    real_dtype,
    tensor,
)
from .linalg_decompose import svd_factors
from .record import composite, primitive

# ---- general square matrices ---------------------------------------------------------------------------


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
    import numpy

    a = array(input)
    run = numpy.linalg.inv
    result, info = per_matrix(_with_info(run), lambda a: _each(run, a), a)
    return tensor(result, a), tensor(info)


@inverse_info.vjp
def _(g, out):
    inverse = out[0].mH
    return -(inverse @ g[0] @ inverse)


def _check_singular(name: str, a: Tensor, info: Tensor, what: str) -> None:
    import numpy

    found = array(info).reshape(-1)
    if found.any():
        i = int(numpy.flatnonzero(found)[0])
        raise LinAlgError(
            f"{name}: {batch_element(i, a)}The diagonal element {int(found[i])} is zero, {what} could not be "
            "completed because the input matrix is singular."
        )


def inverse_of(name: str, a: Tensor) -> Tensor:
    """The inverse, or LinAlgError."""
    prepare(name, a, square=True)
    result, info = inverse_info(a)
    _check_singular(name, a, info, "the inversion")
    return result


@linalg("inv")
def linalg_inv(A):
    """The inverse of a square matrix; LinAlgError if it is singular.

    >>> import flambeau as torch
    >>> torch.linalg.inv(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    return inverse_of("linalg.inv", A)


@composite(name="inverse", out=True)
def inverse(input):
    """The inverse of a square matrix; see linalg.inv."""
    return inverse_of("linalg.inv", input)


@linalg("inv_ex")
def linalg_inv_ex(A, *, check_errors=False):
    """(inverse, info): info is nonzero where the matrix is singular."""
    prepare("linalg.inv_ex", A, square=True)
    result, info = inverse_info(A)
    if check_errors:
        _check_singular("linalg.inv_ex", A, info, "the inversion")
    return named("linalg_inv_ex", ("inverse", "info"), result, info)


@primitive(register=False)
def solve_info(a, b):
    """(x, info) with a x = b for batches of matrices of one batch shape."""
    import numpy

    left, right = array(a), array(b)
    run = numpy.linalg.solve
    result, info = per_matrix(_with_info(run), lambda a, b: _each(run, a, b), left, right)
    return tensor(result, right), tensor(info)


@solve_info.vjp
def _(g, a, out, needs):
    gb = solve_info(a.mH, g[0])[0]
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
            f"{name}: Vector broadcasting of the left hand side is not supported for left=False. In this case "
            f"{name} is equivalent to B / A.squeeze(-1)"
        )
    b = b.unsqueeze(-1) if vector else b
    check_matrix(name, b, "B")
    rows = b.shape[-2] if left else b.shape[-1]
    if a.shape[-1] != rows:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({a.shape[-2]}x{a.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
        )
    a, b = broadcast_batches(name, a, b)
    x, info = solve_info(a, b) if left else solve_info(a.mT, b.mT)
    x = x if left else x.mT
    return (x.squeeze(-1) if vector else x), info


def _check_solved(name: str, a: Tensor, info: Tensor) -> None:
    import numpy

    found = array(info).reshape(-1)
    if found.any():
        i = int(numpy.flatnonzero(found)[0])
        raise LinAlgError(
            f"{name}: {batch_element(i, a)}The solver failed because the input matrix is singular."
        )


@linalg("solve")
def linalg_solve(A, B, *, left=True):
    """X with A X = B (or X A = B); B is a vector, a matrix, or a batch of either.

    >>> import flambeau as torch
    >>> torch.linalg.solve(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([2.0, 2.0]))
    tensor([1.0000, 0.5000])
    """
    x, info = _solve("linalg.solve", A, B, left)
    _check_solved("torch.linalg.solve", A, info)
    return x


@linalg("solve_ex")
def linalg_solve_ex(A, B, *, left=True, check_errors=False):
    """(X, info): info is nonzero where A is singular."""
    x, info = _solve("linalg.solve", A, B, left)
    if check_errors:
        _check_solved("torch.linalg.solve_ex", A, info)
    return named("linalg_solve_ex", ("result", "info"), x, info)


# ---- triangular matrices -------------------------------------------------------------------------------

_BLOCK = 32


def _substitute(a: Any, b: Any, upper: bool, unit: bool) -> Any:
    """Forward or backward substitution over whole batches; blocks keep most work in matrix products."""
    import numpy

    n = a.shape[-1]
    if n <= _BLOCK:
        return _substitute_rows(a, b, upper, unit)
    h = n // 2
    first, second = (slice(h, n), slice(0, h)) if upper else (slice(0, h), slice(h, n))
    x = numpy.empty_like(b)
    x[..., first, :] = _substitute(a[..., first, first], b[..., first, :], upper, unit)
    rest = b[..., second, :] - a[..., second, first] @ x[..., first, :]
    x[..., second, :] = _substitute(a[..., second, second], rest, upper, unit)
    return x


def _substitute_rows(a: Any, b: Any, upper: bool, unit: bool) -> Any:
    import numpy

    n = a.shape[-1]
    x = numpy.array(b)
    with numpy.errstate(all="ignore"):  # a zero on the diagonal gives inf and NaN, as in LAPACK
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
    left, right = array(a), array(b)
    return tensor(_substitute(left, right, upper, unit), right)


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
def linalg_solve_triangular(A, B, *, upper, left=True, unitriangular=False):
    """X with A X = B (or X A = B) for a triangular A, of which the other triangle is not read."""
    name = "linalg.solve_triangular"
    prepare(name, A, square=True)
    check_matrix(name, B, "B")
    check_same_dtype(name, A, B)
    rows = B.shape[-2] if left else B.shape[-1]
    if A.shape[-1] != rows:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})"
        )
    a, b = broadcast_batches(name, A, B)
    if left:
        return triangular(a, b, bool(upper), bool(unitriangular))
    return triangular(a.mT, b.mT, not upper, bool(unitriangular)).mT


@composite(out=True)
def triangular_solve(b, A, upper=True, transpose=False, unitriangular=False):
    """(X, A): X solves A X = b, or A^T X = b, for a triangular A."""
    prepare("triangular_solve", A, square=True)
    check_matrix("triangular_solve", b, "b")
    if A.shape[-1] != b.shape[-2]:
        raise RuntimeError(
            f"triangular_solve: Incompatible matrix sizes for triangular_solve: each A matrix is {A.shape[-1]} by "
            f"{A.shape[-1]} but each b matrix is {b.shape[-2]} by {b.shape[-1]}"
        )
    a, b = broadcast_batches("triangular_solve", A, b)
    if transpose:
        x = triangular(a.mT, b, not upper, bool(unitriangular))
    else:
        x = triangular(a, b, bool(upper), bool(unitriangular))
    return named("triangular_solve", ("solution", "cloned_coefficient"), x, a.clone())


@composite(out=True)
def cholesky_solve(input, L, upper=False):
    """X with A X = input, where L is the Cholesky factor of A."""
    prepare("cholesky_solve", L, square=True)
    check_matrix("cholesky_solve", input, "B")
    check_same_dtype("cholesky_solve", L, input)
    if L.shape[-1] != input.shape[-2]:
        raise RuntimeError(
            f"cholesky_solve: Incompatible matrix sizes for cholesky_solve: each A matrix is {L.shape[-1]} by "
            f"{L.shape[-1]} but each b matrix is {input.shape[-2]} by {input.shape[-1]}"
        )
    factor, b = broadcast_batches("cholesky_solve", L, input)
    lower = factor.mH if upper else factor
    return triangular(lower.mH, triangular(lower, b, False, False), True, False)


@composite(out=True)
def cholesky_inverse(input, upper=False):
    """The inverse of A from its Cholesky factor."""
    prepare("cholesky_inverse", input, square=True)
    n = input.shape[-1]
    identity = identity_like(input, n)
    return cholesky_solve(identity.expand(input.shape), input, upper)


def identity_like(input: Tensor, n: int) -> Tensor:
    """The identity matrix of size n in the element type of input."""
    from .sequences import eye

    return eye(n, dtype=input.dtype)


# ---- pseudo-inverse, rank, least squares -----------------------------------------------------------------


def read_tolerances(name: str, a: Tensor, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """(atol, rtol) as numbers or tensors with a dimension for the singular values."""
    for value, what in ((atol, "atol"), (rtol, "rtol")):
        if isinstance(value, Tensor) and value.is_complex():
            raise RuntimeError(f"{name}: {what} tensor of complex type is not supported.")
    if rtol is None:
        default = machine_epsilon(a.dtype) * max(a.shape[-2:])
        if isinstance(atol, Tensor):
            rtol = (atol > 0).logical_not().to(real_dtype(a.dtype)) * default
        else:
            rtol = 0.0 if atol is not None and atol > 0 else default
    return 0.0 if atol is None else atol, rtol


def threshold(largest: Tensor, atol: Any, rtol: Any) -> Tensor:
    """max(atol, rtol * largest), with a last dimension of size 1."""
    if isinstance(rtol, Tensor):
        rtol = rtol.unsqueeze(-1)
    if isinstance(atol, Tensor):
        atol = atol.unsqueeze(-1)
    relative = largest * rtol
    if isinstance(atol, Tensor):
        return relative.maximum(atol.to(relative.dtype))
    return relative.clamp(min=float(atol))


@primitive(register=False)
def pseudo_inverse(input, atol, rtol, hermitian):
    """V (1 / s where s is above the threshold, else 0) U^H."""
    if hermitian:
        from .linalg_decompose import eigh_factors

        s, u = eigh_factors(input, True)
        size, vh = s.abs(), u.mH
        largest = size.amax(-1, True)
    else:
        u, s, vh = svd_factors(input, False)
        size, largest = s, s[..., :1]
    keep = size > threshold(largest, atol, rtol)
    reciprocal = _keep(keep, s)
    return vh.mH @ (reciprocal.unsqueeze(-1).to(u.dtype) * u.mH)


def _keep(keep: Tensor, s: Tensor) -> Tensor:
    """1 / s where kept, else 0."""
    kept = keep.to(s.dtype)
    return kept / (s * kept + (1 - kept))


@pseudo_inverse.vjp
def _(g, input, out):
    # Golub and Pereyra 1973: -(Y^H g Y^H) + (I - A Y) g^H Y Y^H + Y^H Y g^H (I - Y A)
    y, gh = out, g.mH
    right = gh @ (y @ y.mH)
    left = (y.mH @ y) @ gh
    ga = right - input @ (y @ right) + left - (left @ y) @ input - y.mH @ g @ y.mH
    return ga, None, None


def _pinv(name: str, a: Tensor, atol: Any, rtol: Any, hermitian: bool) -> Tensor:
    prepare(name, a, square=hermitian)
    if a.numel() == 0:
        return (a.mH * 1).reshape(*a.shape[:-2], a.shape[-1], a.shape[-2])
    atol, rtol = read_tolerances(name, a, atol, rtol)
    return pseudo_inverse(a, _plain(atol), _plain(rtol), hermitian)


def _plain(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


@linalg("pinv")
def linalg_pinv(A, rcond=None, hermitian=False, *, atol=None, rtol=None):
    """The Moore-Penrose inverse; singular values below max(atol, rtol * largest) count as zero."""
    return _pinv("linalg.pinv", A, atol, rcond if rtol is None else rtol, hermitian)


@composite
def pinverse(input, rcond=1e-15):
    """The Moore-Penrose inverse; singular values below rcond * largest count as zero."""
    return _pinv("pinverse", input, 0.0, rcond, False)


@linalg("matrix_rank")
def linalg_matrix_rank(A, tol=None, hermitian=False, *, atol=None, rtol=None):
    """How many singular values are above max(atol, rtol * largest) (int64)."""
    from .linalg_decompose import eigh_factors

    name = "linalg.matrix_rank"
    prepare(name, A, square=hermitian)
    if tol is not None:
        atol, rtol = tol, 0.0
    atol, rtol = read_tolerances(name, A, atol, rtol)
    A = A.detach()
    s = eigh_factors(A, True)[0].abs() if hermitian else svd_factors(A, False)[1]
    if s.shape[-1] == 0:
        return s.sum(-1).to(INT64)
    limit = threshold(s.amax(-1, True), atol, rtol)
    return (s > limit).sum(-1)


_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


@linalg("lstsq")
def linalg_lstsq(A, B, rcond=None, *, driver=None):
    """(solution, residuals, rank, singular_values) of min |A X - B|.

    Residuals are given where A has more rows than columns and full rank (not for driver 'gelsy'); singular
    values for 'gelsd' and 'gelss'; the rank for all but 'gels'.
    """
    name = "linalg.lstsq"
    vector = _check_lstsq(name, A, B, driver)
    driver = driver or "gelsy"
    b = B.unsqueeze(-1) if vector else B
    a, b = broadcast_batches(name, A, b)
    m, n = a.shape[-2:]
    if rcond is None:
        rcond = machine_epsilon(a.dtype) * max(m, n)
    rcond = -1.0 if driver == "gels" else rcond
    x = _pinv(name, a, 0.0, rcond if not isinstance(rcond, float) or rcond >= 0 else 0.0, False) @ b
    s = svd_factors(a.detach(), False)[1]
    rank = (s > threshold(s[..., :1], 0.0, max(float(rcond), machine_epsilon(a.dtype)))).sum(-1)
    residuals = x.reshape(-1)[:0].abs()  # none, but differentiable like the solution
    if m > n and driver != "gelsy" and (driver == "gels" or bool((rank == n).all())):
        residuals = (a @ x - b).abs().square().sum(-2)
    if driver == "gels":
        rank = core.empty((0,), INT64)
    values = s if driver in ("gelsd", "gelss") else core.empty((0,), s.dtype)
    fields = ("solution", "residuals", "rank", "singular_values")
    return named("linalg_lstsq", fields, x.squeeze(-1) if vector else x, residuals, rank, values)


def _check_lstsq(name: str, a: Tensor, b: Tensor, driver: str | None) -> bool:
    check_matrix(name, a)
    check_float(name, a)
    if b.dim() < 1:
        raise RuntimeError(f"{name}: input.dim() must be greater or equal to 2 and other.dim() to 1, got {b.dim()}")
    check_same_dtype(name, a, b)
    if driver is not None and driver not in _DRIVERS:
        raise RuntimeError(
            f"torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss), got {driver}"
        )
    difference = a.dim() - b.dim()
    if not 0 <= difference <= 1:
        raise RuntimeError(
            f"{name}: input.dim() must be greater or equal to other.dim() and (input.dim() - other.dim()) <= 1, "
            f"got shapes {tuple(a.shape)} and {tuple(b.shape)}"
        )
    vector = difference == 1 and tuple(a.shape[:-1]) == tuple(b.shape)
    rows = b.shape[-1] if vector or b.dim() < 2 else b.shape[-2]
    if a.shape[-2] != rows:
        raise RuntimeError(
            f"{name}: input.size(-2) should match {'other.size(-1)' if vector else 'other.size(-2)'}: "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    return vector


