"""Determinants, powers and tensor inverses, built on the decompositions and solvers."""

from __future__ import annotations

import math
from typing import Any

from .. import core
from ..core import Tensor
from . import linalg_factor as real
from .lapack import (
    array,
    check_matrix,
    check_square,
    linalg,
    named,
    prepare,
    quiet,
    tensor,
)
from .linalg_decompose import svd_factors
from .linalg_qr import apply_q, form_q
from .linalg_solve import identity_like, inverse_info, linalg_inv, linalg_solve
from .record import composite, primitive
from .reduce import prod_body

# ---- determinants
# --------------------------------------------------------------------------------------


def determinant(input: Tensor) -> Tensor:
    """The determinants of a batch of matrices."""
    return complex_determinant(input) if input.is_complex() else real_determinant(input)[0]


@primitive(register=False)
def real_determinant(input):
    """(determinants, LU, pivots): the factors serve the derivative."""
    lu, pivots, _, parity = real.factor_lu(input)
    return prod_body(_diagonals(lu), -1, False) * parity, lu, pivots


def _diagonals(a: Tensor) -> Tensor:
    """A view of the diagonals of contiguous square matrices."""
    n = a.shape[-1]
    return core.restride(a, (*a.shape[:-2], n), (*a.stride()[:-2], n + 1), 0)


@real_determinant.vjp
def _(g, input, out):
    determinants, lu, pivots = out
    scale = (g[0] * determinants).unsqueeze(-1).unsqueeze(-1)
    if bool((determinants == 0).any()):
        return g[0].unsqueeze(-1).unsqueeze(-1) * _cofactors(input)
    return scale * _inverse_transpose(input, lu, pivots)


def _inverse_transpose(input: Tensor, lu: Tensor, pivots: Tensor) -> Tensor:
    """A^-T: from the factors, where it need not differentiate again."""
    if core.grad_enabled():
        return inverse_info(input)[0].mT
    return real.solve_lu(lu, pivots, None, adjoint=True)


@primitive(register=False)
def complex_determinant(input):
    """The determinants, by LAPACK."""
    import numpy

    a = array(input)
    with quiet():
        return tensor(numpy.linalg.det(a), a)


@complex_determinant.vjp
def _(g, input, out):
    g = g.unsqueeze(-1).unsqueeze(-1)
    if bool((out == 0).any()):
        return g * _cofactors(input)
    return g * out.conj().unsqueeze(-1).unsqueeze(-1) * inverse_info(input)[0].mH


def _cofactors(a: Tensor) -> Tensor:
    """The conjugate cofactors of matrices that may be singular: det(U V^H) U diag(prod of other s)
    V^H.
    """
    from .join import stack

    u, s, vh = svd_factors(a, False)
    n = s.shape[-1]
    others = [s[..., :i].prod(-1) * s[..., i + 1 :].prod(-1) for i in range(n)]
    products = stack(others, -1) if n else s
    turn = determinant(u @ vh).unsqueeze(-1).unsqueeze(-1)
    return turn.conj() * (u * products.unsqueeze(-2).to(u.dtype)) @ vh


@linalg("det")
def linalg_det(A: Tensor) -> Tensor:
    """The determinant of a square matrix.

    >>> import flambeau as torch
    >>> torch.linalg.det(torch.tensor([[2.0, 0.0], [1.0, 4.0]]))
    tensor(8.)
    """
    prepare("linalg.det", A, square=True)
    return determinant(A)


@composite
def det(input: Tensor) -> Tensor:
    """The determinant of a square matrix; see linalg.det."""
    return linalg_det(input)


def signed_logarithm(input: Tensor) -> tuple[Tensor, Tensor]:
    """(sign, log of the modulus) of the determinants."""
    return complex_logarithm(input) if input.is_complex() else real_logarithm(input)[:2]


@primitive(register=False)
def real_logarithm(input):
    """(sign, logarithm, LU, pivots): the factors serve the derivative."""
    lu, pivots, _, parity = real.factor_lu(input)
    d = _diagonals(lu)
    return d.sign().prod(-1) * parity, d.abs().log().sum(-1), lu, pivots


@real_logarithm.vjp
def _(g, input, out):
    if g[1] is None:
        return input * 0
    return g[1].unsqueeze(-1).unsqueeze(-1) * _inverse_transpose(input, out[2], out[3])


@primitive(register=False)
def complex_logarithm(input):
    """(sign, logarithm), by LAPACK."""
    import numpy

    a = array(input)
    with quiet():
        sign, logarithm = numpy.linalg.slogdet(a)
    return tensor(sign, a), tensor(logarithm)


@complex_logarithm.vjp
def _(g, input, out):
    from .arithmetic import conj_values

    weight = g[1]
    if g[0] is not None:  # the sign turns with the imaginary part of trace(A^-1 dA)
        turn = (conj_values(g[0]) * out[0]).imag * -1j
        weight = turn if weight is None else weight + turn
    return weight.unsqueeze(-1).unsqueeze(-1) * inverse_info(input)[0].mH


@linalg("slogdet")
def linalg_slogdet(A: Tensor) -> Any:
    """(sign, logabsdet) with det = sign * exp(logabsdet)."""
    prepare("linalg.slogdet", A, square=True)
    return named("linalg_slogdet", ("sign", "logabsdet"), *signed_logarithm(A))


@composite(out=True)
def slogdet(input: Tensor) -> Any:
    """(sign, logabsdet) with det = sign * exp(logabsdet)."""
    prepare("linalg.slogdet", input, square=True)
    return named("slogdet", ("sign", "logabsdet"), *signed_logarithm(input))


@composite
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where that is negative."""
    prepare("logdet", input, square=True)
    sign, logarithm = signed_logarithm(input)
    return sign.log() + logarithm


# ---- powers
# -----------------------------------------------------------------------------


def _power(name: str, a: Tensor, n: int) -> Any:
    check_square(name, a)
    if n == 0:
        # constant, yet an output like any other: its gradient is zero
        return identity_like(a, a.shape[-1]) + a.masked_fill(a == a, 0).masked_fill(a != a, 0)
    if n < 0:
        return _power(name, linalg_inv(a), -n)
    if n == 1:
        return a.clone()
    result = a if n & 1 else None
    while n := n >> 1:
        a = a @ a
        if n & 1:
            result = a if result is None else result @ a
    return result


@linalg("matrix_power")
def linalg_matrix_power(A: Tensor, n: int) -> Tensor:
    """A multiplied n times; the inverse's power for negative n.

    >>> import flambeau as torch
    >>> torch.linalg.matrix_power(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), 3)
    tensor([[ 8.,  0.],
            [ 0., 27.]])
    """
    return _power("linalg.matrix_power", A, n)


@composite(out=True)
def matrix_power(input: Tensor, n: int) -> Tensor:
    """input multiplied n times; see linalg.matrix_power."""
    return _power("linalg.matrix_power", input, n)


# ---- tensors as matrices
# -----------------------------------------------------------------------------------


@linalg("tensorinv")
def linalg_tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A seen as a matrix from its last dimensions to its first `ind`."""
    if ind <= 0:
        raise RuntimeError(
            f"Expected a strictly positive integer for 'ind', got {ind} (linalg.tensorinv)"
        )
    shape = tuple(A.shape)
    rows, columns = math.prod(shape[:ind]), math.prod(shape[ind:])
    if rows != columns:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            "prod(self.shape[:ind]), but got "
            f"{columns} != {rows} (linalg.tensorinv)"
        )
    return linalg_inv(A.reshape(rows, columns)).reshape(*shape[ind:], *shape[:ind])


@linalg("tensorsolve")
def linalg_tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X with tensordot(A, X, X.dim()) = B."""
    if dims is not None:
        dims = [d % A.dim() for d in dims]
        A = A.permute(*[d for d in range(A.dim()) if d not in dims], *dims)
    shape = tuple(A.shape[B.dim() :])
    if math.prod(shape) != B.numel():
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            "prod(self.shape[:other.ndim]), "
            f"but got {math.prod(shape)} != {B.numel()} (linalg.tensorsolve)"
        )
    return linalg_solve(A.reshape(B.numel(), -1), B.reshape(-1)).reshape(shape)


# ---- Householder reflections
# -------------------------------------------------------------------------------


def _check_reflectors(name: str, v: Tensor, tau: Tensor) -> None:
    check_matrix(name, v, "input")
    m, n, k = v.shape[-2], v.shape[-1], tau.shape[-1] if tau.dim() else 0
    if m < n:
        raise RuntimeError(
            f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1], got "
            f"{tuple(v.shape)}"
        )
    if n < k:
        raise RuntimeError(
            f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1], got {n} and "
            f"{k}"
        )
    if v.dim() - tau.dim() != 1:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal "
            f"to {tau.dim()} and "
            f"input.ndim is equal to {v.dim()}"
        )
    if v.shape[:-2] != tau.shape[:-1]:
        raise RuntimeError(
            f"{name}: Expected batch dimensions of tau to be equal to those of input: "
            f"{tuple(tau.shape)}, {tuple(v.shape)}"
        )
    if v.dtype is not tau.dtype:
        raise RuntimeError(
            f"{name}: tau dtype {tau.dtype.name} does not match input dtype {v.dtype.name}"
        )


def _reflectors(v: Tensor) -> Tensor:
    """The vectors in columns: a unit diagonal, zeros above it."""
    m, n = v.shape[-2:]
    from .join import cat

    eye = identity_like(v, n)
    if m > n:
        eye = cat([eye, eye.new_zeros((m - n, n))], 0)
    return v.tril(-1) + eye


@linalg("householder_product")
def linalg_householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of the reflections I - tau_i v_i v_i^H (as geqrf gives
    them).
    """
    name = "linalg.householder_product"
    _check_reflectors(name, A, tau)
    if not A.is_complex() and not core.needs_history(A, tau):
        return form_q(A, tau)
    vectors = _reflectors(A)
    result = (vectors * 0).tril() + _reflectors(A * 0)
    return _reflect(vectors, tau, result, reversed(range(tau.shape[-1])), False)


def _reflect(vectors: Tensor, tau: Tensor, x: Tensor, order, adjoint: bool) -> Tensor:
    for i in order:
        v = vectors[..., i : i + 1]
        t = tau[..., i : i + 1].unsqueeze(-1)
        x = x - (t.conj() if adjoint else t) * (v @ (v.mH @ x))
    return x


@primitive(register=False)
def _apply_real(input, tau, other, transpose):
    """Q other, without history."""
    return apply_q(input, tau, other, bool(transpose))


@composite(out=True)
def orgqr(input: Tensor, tau: Tensor) -> Tensor:
    """See linalg.householder_product."""
    return linalg_householder_product(input, tau)


@composite(out=True)
def ormqr(
    input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False
) -> Tensor:
    """Q @ other (or Q^H, or other @ Q) for the square Q of Householder vectors and their
    factors.
    """
    check_matrix("ormqr", input, "input")
    check_matrix("ormqr", other, "other")
    if tau.dim() != input.dim() - 1 or other.dim() != input.dim():
        raise RuntimeError(
            "ormqr: expected tau with one dimension less than input and other with as many, got "
            "shapes "
            f"{tuple(input.shape)}, {tuple(tau.shape)}, {tuple(other.shape)}"
        )
    rows = other.shape[-2] if left else other.shape[-1]
    if rows != input.shape[-2]:
        raise RuntimeError(
            f"ormqr: other.shape[{-2 if left else -1}] must be equal to input.shape[-2], got "
            f"{rows} and {input.shape[-2]}"
        )
    if tau.shape[-1] != min(input.shape[-2:]):
        raise RuntimeError(
            "ormqr: tau.shape[-1] must be equal to min(input.shape[-2], input.shape[-1]), got "
            f"{tau.shape[-1]} and "
            f"{min(input.shape[-2:])}"
        )
    if not left:  # X Q = (Q^H X^H)^H
        return ormqr(input, tau, other.mH, True, not transpose).mH
    if not input.is_complex() and not core.needs_history(input, tau, other):
        return _apply_real(input, tau, other, transpose)
    order = range(tau.shape[-1])
    return _reflect(
        _reflectors(input[..., : tau.shape[-1]]),
        tau,
        other,
        order if transpose else reversed(order),
        transpose,
    )
