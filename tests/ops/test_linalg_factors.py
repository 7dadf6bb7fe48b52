"""Factors and solvers of every size class: stability, pivots, errors, derivatives, threads."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau.autograd import gradcheck, gradgradcheck

linalg = torch.linalg
EPSILON = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}
SHAPES = [(3, 3), (9, 9), (20, 4, 4), (7, 13, 13), (40, 40), (2, 70, 70), (230, 230), (2, 300, 300)]


def as_double(t):
    return t.detach().numpy().astype(np.float64)


def check_residual(a, x, b, dtype, factor=16):
    """|A x - b| of a backward stable solver: a multiple of n eps |A| |x|."""
    a, x, b = as_double(a), as_double(x), as_double(b)
    size = np.abs(a).sum(-1).max() * np.abs(x).max()
    assert np.abs(a @ x - b).max() <= factor * a.shape[-1] * EPSILON[dtype] * size


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", SHAPES)
def test_solvers_are_backward_stable(shape, dtype):
    a, b = torch.randn(*shape, dtype=dtype), torch.randn(*shape[:-1], 3, dtype=dtype)
    check_residual(a, linalg.solve(a, b), b, dtype)
    check_residual(a.mT, linalg.solve(a.mT, b), b, dtype)
    lu, pivots = linalg.lu_factor(a)
    check_residual(a.mT, linalg.lu_solve(lu, pivots, b, adjoint=True), b, dtype)
    assert (lu.tril(-1).abs() <= 1).all()
    p, lower, upper = linalg.lu(a)
    bound = 8 * shape[-1] * EPSILON[dtype] * float((lower.abs() @ upper.abs()).max())
    assert float((p @ lower @ upper - a).abs().max()) <= bound


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_reads_one_triangle(shape, dtype, upper):
    a = torch.randn(*shape, dtype=dtype)
    a = a @ a.mT / shape[-1] + torch.eye(shape[-1], dtype=dtype)
    given = a.triu() if upper else a.tril()
    factor = linalg.cholesky(given, upper=upper)
    assert not (factor.tril(-1) if upper else factor.triu(1)).any()
    lower = as_double(factor.mT if upper else factor)
    error = np.abs(lower @ lower.swapaxes(-1, -2) - as_double(a)).max()
    assert error <= 8 * shape[-1] * EPSILON[dtype] * float(a.abs().max())


@given(
    st.integers(1, 24),
    st.integers(1, 6),
    st.integers(0, 2**31),
    st.lists(st.integers(-8, 8), min_size=24, max_size=24),
)
@settings(max_examples=40, deadline=None)
def test_scaled_and_permuted_systems(n, count, seed, exponents):
    """Rows scaled by powers of two and permuted: the residual stays within the bound."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((count, n, n)) * 2.0 ** np.array(exponents[:n])[:, None]
    a = torch.from_numpy(a[:, rng.permutation(n)].copy())
    b = torch.from_numpy(rng.standard_normal((count, n, 2)))
    for i, x in enumerate(linalg.solve(a, b)):
        check_residual(a[i], x, b[i], torch.float64)


@given(st.integers(2, 20), st.integers(0, 2**31), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_ill_conditioned_systems(n, seed, digits):
    """A condition number of up to 1e12 leaves the residual small, whatever it does to x."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    a = torch.from_numpy(u * np.logspace(0, -digits, n) @ v)
    b = torch.from_numpy(rng.standard_normal((n, 1)))
    check_residual(a, linalg.solve(a, b), b, torch.float64)


@pytest.mark.parametrize("shape", [(5, 3, 3), (6, 12, 12), (3, 40, 40)])
def test_errors_name_the_batch_element(shape):
    a = torch.eye(shape[-1]).expand(shape).clone()
    a[2, 1] = 0
    with pytest.raises(linalg.LinAlgError, match=r"Batch element 2.*diagonal element 2 is zero"):
        linalg.inv(a)
    with pytest.raises(linalg.LinAlgError, match=r"Batch element 2"):
        linalg.solve(a, a)
    with pytest.raises(linalg.LinAlgError, match=r"Batch element 2.*minor of order 2"):
        linalg.cholesky(a)
    assert linalg.inv_ex(a).info.tolist()[:3] == [0, 0, 2]
    assert linalg.cholesky_ex(a).info.tolist()[:3] == [0, 0, 2]
    assert linalg.lu_factor_ex(a).info.tolist()[:3] == [0, 0, 2]
    assert linalg.det(a).tolist()[:3] == [1, 1, 0]
    assert linalg.slogdet(a).logabsdet.tolist()[2] == -float("inf")


def test_a_large_matrix_that_is_not_positive():
    a = torch.eye(400, dtype=torch.float64)
    a[333, 333] = -1
    assert linalg.cholesky_ex(a).info.item() == 334
    a[333, 333] = 0
    assert linalg.lu_factor_ex(a).info.item() == 334


@pytest.mark.parametrize("shape", [(4, 3, 3), (2, 6, 6)])
def test_derivatives_of_both_orders(shape):
    a = torch.randn(*shape, dtype=torch.float64) + 3 * torch.eye(shape[-1], dtype=torch.float64)
    b = torch.randn(*shape[:-1], 2, dtype=torch.float64)
    a.requires_grad_(), b.requires_grad_()
    for f, inputs in (
        (linalg.solve, (a, b)),
        (linalg.inv, (a,)),
        (linalg.det, (a,)),
        (lambda x: linalg.slogdet(x).logabsdet, (a,)),
        (lambda x: linalg.cholesky(x @ x.mT), (a,)),
    ):
        assert gradcheck(f, inputs)
        assert gradgradcheck(f, inputs)


def test_not_finite_numbers_stay():
    a = torch.eye(3).repeat(8, 1, 1)
    a[1, 0, 2] = float("nan")
    x = linalg.inv(a)
    assert x[1].isnan().any()
    assert x[[0, 2, 3, 4, 5, 6, 7]].isfinite().all()


@pytest.mark.parametrize("shape", [(100, 4, 4), (40, 10, 10), (9, 50, 50), (400, 400)])
def test_the_same_bits_for_any_number_of_threads(shape):
    a, before = torch.randn(*shape), torch.get_num_threads()
    positive = a @ a.mT + torch.eye(shape[-1])
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append((linalg.lu_factor(a).LU, linalg.cholesky(positive)))
    finally:
        torch.set_num_threads(before)
    for lu, factor in results[1:]:
        assert torch.equal(lu, results[0][0])
        assert torch.equal(factor, results[0][1])


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 5), (40, 40), (100, 70), (70, 100), (2, 150, 90)])
def test_qr_factors(shape, dtype):
    a, bound = torch.randn(*shape, dtype=dtype), 8 * max(shape) * EPSILON[dtype]
    for mode in ("reduced", "complete"):
        q, r = linalg.qr(a, mode)
        eye = torch.eye(q.shape[-1], dtype=dtype)
        assert float((q.mT @ q - eye).abs().max()) <= bound
        assert float((q @ r - a).abs().max()) <= bound * float(a.abs().max()) * shape[-1]
        assert not r.tril(-1).any()
    np.testing.assert_allclose(linalg.qr(a, "r").R, linalg.qr(a).R, 0, bound * shape[-1])


def test_reflections_multiply_to_q():
    a = torch.randn(3, 30, 20, dtype=torch.float64)
    np.testing.assert_allclose(linalg.householder_product(*torch.geqrf(a)), linalg.qr(a).Q, 1e-13)


@pytest.mark.parametrize("shape", [(6, 3), (4, 4), (3, 9, 5), (200, 80)])
def test_least_squares_of_full_rank(shape):
    a, b = torch.randn(*shape, dtype=torch.float64), torch.randn(*shape[:-1], 2).double()
    x, _, rank, _ = linalg.lstsq(a, b)
    np.testing.assert_allclose(x, np.linalg.pinv(a.numpy()) @ b.numpy(), 1e-8, 1e-10)
    assert (rank == shape[-1]).all()
    if math.prod(shape) < 100:
        assert gradcheck(lambda a, b: linalg.lstsq(a, b).solution, (a.requires_grad_(), b))


@pytest.mark.parametrize("exponent", [0, -9, -14])
def test_least_squares_of_low_rank_takes_the_smallest_solution(exponent):
    """Two columns that are equal, or nearly so: what is below the tolerance counts as nothing."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((12, 4)), rng.standard_normal((12, 1))
    a[:, 2] = a[:, 0] + (a[:, 2] * 10.0**exponent if exponent else 0)
    x, _, rank, _ = linalg.lstsq(torch.from_numpy(a), torch.from_numpy(b), rcond=1e-12)
    expected, _, expected_rank, _ = np.linalg.lstsq(a, b, rcond=1e-12)
    assert rank.item() == expected_rank
    np.testing.assert_allclose(x, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(5, 5), (4, 7, 3)])
def test_values_without_vectors(shape):
    """What no derivative asks for is not computed, and the values stay."""
    a = torch.randn(*shape, dtype=torch.float64)
    np.testing.assert_allclose(linalg.svdvals(a), linalg.svd(a).S, 1e-12)
    np.testing.assert_allclose(
        linalg.svdvals(a), linalg.svdvals(a.requires_grad_()).detach(), 1e-12
    )
    h = (a.mT @ a).detach()
    np.testing.assert_allclose(linalg.eigvalsh(h), linalg.eigh(h).eigenvalues, 1e-9, 1e-12)


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", [(2, 2), (5, 3, 3), (20, 4, 4), (9, 16, 16), (40, 40)])
def test_symmetric_eigenvectors(shape, dtype):
    a = torch.randn(*shape, dtype=dtype)
    a = a + a.mT
    n, bound = shape[-1], 16 * shape[-1] ** 2 * EPSILON[dtype]
    for triangle, uplo in ((a.tril(), "L"), (a.triu(), "U")):
        values, vectors = linalg.eigh(triangle, uplo)
        eye = torch.eye(n, dtype=dtype)
        assert float((vectors.mT @ vectors - eye).abs().max()) <= bound
        assert float((a @ vectors - vectors * values.unsqueeze(-2)).abs().max()) <= bound
        alone = linalg.eigvalsh(triangle, uplo)
        assert float((alone - values).abs().max()) <= bound * float(values.abs().max())


def test_symmetric_eigenvectors_of_batches_differentiate():
    a = torch.randn(6, 3, 3, dtype=torch.float64)
    a = (a + a.mT).requires_grad_()
    assert gradcheck(lambda x: linalg.eigh(x + x.mT).eigenvalues, (a,))
    assert gradcheck(lambda x: linalg.eigh(x + x.mT).eigenvectors.abs(), (a,))
    with pytest.raises(linalg.LinAlgError, match="non-finite"):
        linalg.eigh(a.detach() * float("nan"))


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", [(2, 2), (6, 5, 5), (20, 20)])
def test_matrix_exponential(shape, dtype):
    """Against the sum of the series in double precision, for norms from small to large."""
    for size in (0.1, 1.0, 8.0):
        a = torch.randn(*shape, dtype=dtype) * size / shape[-1]
        if a.dim() == 3:
            a[0], a[1] = a[0] * 8, 0
        term = expected = np.broadcast_to(np.eye(shape[-1]), shape)
        for k in range(1, 200):
            term = term @ as_double(a) / k
            expected = expected + term
        size_of = np.abs(expected).max((-1, -2), keepdims=True)
        error = np.abs(as_double(torch.matrix_exp(a)) - expected) / size_of
        assert error.max() <= 500 * EPSILON[dtype]
    assert torch.matrix_exp(a * float("inf")).isnan().all()


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize("shape", [(2, 2), (5, 3, 3), (20, 6, 7), (9, 16, 16), (30, 20)])
def test_singular_vectors(shape, dtype):
    """Of any rank: some matrices have two equal columns, some are zero."""
    bound = 32 * max(shape) * EPSILON[dtype]
    for spoil in (0, 1, 2):
        a = torch.randn(*shape, dtype=dtype)
        if spoil:
            a[..., 1] = a[..., 0] * (spoil - 1)
        for full in (False, True):
            u, s, vh = linalg.svd(a, full_matrices=full)
            k = s.shape[-1]
            for q in (u, vh.mT):
                eye = torch.eye(q.shape[-1], dtype=dtype)
                assert float((q.mT @ q - eye).abs().max()) <= bound
            product = (u[..., :k] * s.unsqueeze(-2)) @ vh[..., :k, :]
            assert float((product - a).abs().max()) <= bound * float(s.max())
            assert (s.diff(dim=-1) <= 0).all()
            np.testing.assert_allclose(linalg.svdvals(a), s, 0, bound * float(s.max()))
    expected = np.linalg.pinv(as_double(a), rcond=max(shape) * EPSILON[dtype])
    np.testing.assert_allclose(linalg.pinv(a), expected, 0, 1e4 * EPSILON[dtype])


@pytest.mark.parametrize("dtype", list(EPSILON))
@pytest.mark.parametrize(("m", "k"), [(1, 1), (5, 3), (20, 20), (70, 64), (180, 170)])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_products_with_the_square_q(dtype, m, k, batch):
    """Against the product one reflection at a time, which is what differentiates."""
    a, tau = torch.geqrf(torch.randn(*batch, m, k, dtype=dtype))
    tau[..., k // 2] = 0
    bound = 16 * m * EPSILON[dtype]
    for columns in (1, 6):
        for left in (True, False):
            shape = (m, columns) if left else (columns, m)
            other = torch.randn(*batch, *shape, dtype=dtype)
            for transpose in (True, False):
                got = torch.ormqr(a, tau, other, left, transpose)
                expected = torch.ormqr(a, tau, other.requires_grad_(), left, transpose).detach()
                other = other.detach()
                assert float((got - expected).abs().max()) <= bound
    first = torch.ormqr(a, tau, torch.eye(m, k, dtype=dtype).expand(*batch, m, k))
    assert float((linalg.householder_product(a, tau) - first).abs().max()) <= bound


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (0, 4, 2)])
def test_products_with_nothing(shape):
    a, tau = torch.geqrf(torch.empty(shape))
    other = torch.ones(*shape[:-1], 2)
    assert torch.equal(torch.ormqr(a, tau, other), other)
