"""Pseudo-inverses, ranks and least squares, from singular values above a threshold."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from .lapack import (
    INT64,
    broadcast_batches,
    check_float,
    check_matrix,
    check_same_dtype,
    linalg,
    machine_epsilon,
    named,
    prepare,
    real_dtype,
)
from .linalg_decompose import qr_factors, singular_values, svd_factors
from .linalg_eigen import eigh_factors, hermitian_values
from .linalg_factor import identities, solve_triangle
from .record import composite, primitive

# -----------------------------------------------------------------


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
def linalg_pinv(
    A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """The Moore-Penrose inverse; singular values below max(atol, rtol * largest) count as zero."""
    return _pinv("linalg.pinv", A, atol, rcond if rtol is None else rtol, hermitian)


@composite
def pinverse(input: Tensor, rcond: Any = 1e-15) -> Tensor:
    """The Moore-Penrose inverse; singular values below rcond * largest count as zero."""
    return _pinv("pinverse", input, 0.0, rcond, False)


@linalg("matrix_rank")
def linalg_matrix_rank(
    A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """How many singular values are above max(atol, rtol * largest) (int64)."""
    name = "linalg.matrix_rank"
    prepare(name, A, square=hermitian)
    if tol is not None:
        atol, rtol = tol, 0.0
    atol, rtol = read_tolerances(name, A, atol, rtol)
    A = A.detach()
    s = hermitian_values(A, True).abs() if hermitian else singular_values(A)
    if s.shape[-1] == 0:
        return s.sum(-1).to(INT64)
    limit = threshold(s.amax(-1, True), atol, rtol)
    return (s > limit).sum(-1)


@primitive(register=False)
def least_squares(a, b):
    """(X, R, condition) from A = Q R of full column rank: X = R^-1 Q^T B.

    condition: |R| |R^-1| in the Frobenius norm, at least the ratio of the singular values.
    """
    q, r = qr_factors(a, False)
    inverse = solve_triangle(r, identities(r), True, False)
    condition = (r.square().sum((-2, -1)) * inverse.square().sum((-2, -1))).sqrt()
    return solve_triangle(r, q.mT @ b, True, False), r, condition


@least_squares.vjp
def _(g, a, b, out, needs):
    # with M = (A^T A)^-1 g: g_B = A M, g_A = (B - A X) M^T - A M X^T
    from .linalg_solve import triangular

    x, r = out[0], out[1]
    if core.grad_enabled():
        r = qr_factors(a, False)[1]
    m = triangular(r, triangular(r.mT, g[0], False, False), True, False)
    gb = a @ m
    ga = (b - a @ x) @ m.mT - gb @ x.mT if needs[0] else None
    return ga, gb


def _solve_full_rank(a: Tensor, b: Tensor, rcond: float) -> Tensor | None:
    """The least-squares solution; None where A may not have full column rank."""
    if a.is_complex() or a.shape[-2] < a.shape[-1] or not a.numel() or not b.numel():
        return None
    x, _, condition = least_squares(a, b)
    return x if bool((condition.detach() * rcond < 0.5).all()) else None


_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


@linalg("lstsq")
def linalg_lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: str | None = None) -> Any:
    """(solution, residuals, rank, singular_values) of min |A X - B|.

    Residuals are given where A has more rows than columns and full rank (not for 'gelsy'); singular
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
    rcond = 0.0 if driver == "gels" else max(float(rcond), 0.0)
    least = max(rcond, machine_epsilon(a.dtype))
    x, s = _solve_full_rank(a, b, least), core.empty((0,), real_dtype(a.dtype))
    if x is None or driver in ("gelsd", "gelss"):
        s = singular_values(a.detach())
    if x is None:
        x = _pinv(name, a, 0.0, rcond, False) @ b
        rank = (s > threshold(s[..., :1], 0.0, least)).sum(-1)
    else:
        rank = core.empty(a.shape[:-2], INT64)
        core.fill_number(rank, n)
    residuals = x.reshape(-1)[:0].abs()  # none, but differentiable like the solution
    if m > n and driver != "gelsy" and (driver == "gels" or bool((rank == n).all())):
        residuals = (a @ x - b).abs().square().sum(-2)
    if driver == "gels":
        rank = core.empty((0,), INT64)
    values = s if driver in ("gelsd", "gelss") else s.reshape(-1)[:0]
    fields = ("solution", "residuals", "rank", "singular_values")
    return named("linalg_lstsq", fields, x.squeeze(-1) if vector else x, residuals, rank, values)


def _check_lstsq(name: str, a: Tensor, b: Tensor, driver: str | None) -> bool:
    check_matrix(name, a)
    check_float(name, a)
    if b.dim() < 1:
        raise RuntimeError(
            f"{name}: input.dim() must be greater or equal to 2 and other.dim() to 1, got {b.dim()}"
        )
    check_same_dtype(name, a, b)
    if driver is not None and driver not in _DRIVERS:
        raise RuntimeError(
            "torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss), "
            f"got {driver}"
        )
    difference = a.dim() - b.dim()
    if not 0 <= difference <= 1:
        raise RuntimeError(
            f"{name}: input.dim() must be greater or equal to other.dim() and (input.dim() - "
            "other.dim()) <= 1, "
            f"got shapes {tuple(a.shape)} and {tuple(b.shape)}"
        )
    vector = difference == 1 and tuple(a.shape[:-1]) == tuple(b.shape)
    rows = b.shape[-1] if vector or b.dim() < 2 else b.shape[-2]
    if a.shape[-2] != rows:
        raise RuntimeError(
            f"{name}: input.size(-2) should match "
            f"{'other.size(-1)' if vector else 'other.size(-2)'}: "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    return vector
