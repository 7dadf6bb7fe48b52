"""Linear algebra: values against NumPy, identities, derivatives, errors, edge cases."""

import math

import numpy as np
import pytest

import flambeau as torch
from flambeau.autograd import gradcheck, gradgradcheck

linalg = torch.linalg
DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]
TOLERANCE = {
    torch.float32: 2e-4,
    torch.complex64: 2e-4,
    torch.float64: 1e-10,
    torch.complex128: 1e-10,
}


def same(actual, expected, tolerance=1e-5):
    expected = np.asarray(expected)
    assert tuple(actual.shape) == expected.shape
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


def make(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype)


def well_conditioned(n, *batch, dtype=torch.float64):
    return make(*batch, n, n, dtype=dtype) + 4 * torch.eye(n, dtype=dtype)


def positive(n, *batch, dtype=torch.float64):
    a = make(*batch, n, n, dtype=dtype)
    return a @ a.mH + torch.eye(n, dtype=dtype)


# ---- decompositions put together again
# ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 4), (2, 5, 3), (3, 2, 6)])
def test_factors_multiply_to_the_matrix(dtype, shape):
    a, t = make(*shape, dtype=dtype), TOLERANCE[dtype]
    q, r = linalg.qr(a)
    same(q @ r, a, t)
    u, s, vh = linalg.svd(a, full_matrices=False)
    assert not s.is_complex()
    same(u * s.unsqueeze(-2) @ vh, a, t)
    p, lower, upper = linalg.lu(a)
    same(p @ lower @ upper, a, t)
    same(linalg.pinv(a), np.linalg.pinv(a.numpy()), 10 * t)
    same(linalg.svdvals(a), np.linalg.svd(a.numpy(), compute_uv=False), t)


@pytest.mark.parametrize("dtype", DTYPES)
def test_square_factors(dtype):
    a, h, t = (
        well_conditioned(5, 2, dtype=dtype),
        positive(5, 2, dtype=dtype),
        10 * TOLERANCE[dtype],
    )
    factor = linalg.cholesky(h)
    same(factor @ factor.mH, h, t)
    upper = linalg.cholesky(h, upper=True)
    same(upper.mH @ upper, h, t)
    values, vectors = linalg.eigh(h)
    same(vectors * values.to(dtype).unsqueeze(-2) @ vectors.mH, h, t)
    values, vectors = linalg.eig(a)
    same((vectors * values.unsqueeze(-2) @ linalg.inv(vectors)), a.numpy().astype(complex), t)
    same(linalg.inv(a) @ a, np.broadcast_to(np.eye(5), (2, 5, 5)), t)
    same(linalg.det(a), np.linalg.det(a.numpy()), 50 * t)
    sign, logarithm = linalg.slogdet(a)
    same(sign * logarithm.exp(), np.linalg.det(a.numpy()), 50 * t)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hermitian", [False, True])
def test_ldl_factors_solve(dtype, hermitian):
    a = make(2, 7, 7, dtype=dtype)
    a = a + (a.mH if hermitian else a.mT)
    factors, pivots = linalg.ldl_factor(a, hermitian=hermitian)
    b = make(2, 7, 3, dtype=dtype)
    same(a @ linalg.ldl_solve(factors, pivots, b, hermitian=hermitian), b, 100 * TOLERANCE[dtype])


@pytest.mark.parametrize("n", [1, 5, 70])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_triangular_solve_reads_one_triangle(n, upper, left):
    a, b = well_conditioned(n) + n * torch.eye(n, dtype=torch.float64), make(n, n)
    triangle = a.triu() if upper else a.tril()
    x = linalg.solve_triangular(a, b, upper=upper, left=left)
    same(triangle @ x if left else x @ triangle, b, 1e-9)


def test_solvers_agree():
    a, b = well_conditioned(4, 3), make(3, 4, 2)
    x = np.linalg.solve(a.numpy(), b.numpy())
    same(linalg.solve(a, b), x)
    same(linalg.solve(a.mT, b.mT, left=False), x.swapaxes(-1, -2))
    same(linalg.lu_solve(*linalg.lu_factor(a), b), x)
    same(linalg.lu_solve(*linalg.lu_factor(a.mT.contiguous()), b, adjoint=True), x)
    same(torch.lu_solve(b, *linalg.lu_factor(a)), x)
    same(linalg.lstsq(a, b).solution, x)
    same(linalg.solve(a[0], b[0, :, 0]), x[0, :, 0])
    h = positive(4)
    same(torch.cholesky_solve(b[0], linalg.cholesky(h)), np.linalg.solve(h.numpy(), b[0].numpy()))
    same(torch.cholesky_inverse(linalg.cholesky(h)), np.linalg.inv(h.numpy()))


def test_least_squares_residuals_and_rank():
    a, b = make(6, 3), make(6, 2)
    x, residuals, rank, s = linalg.lstsq(a, b, driver="gelsd")
    expected = np.linalg.lstsq(a.numpy(), b.numpy(), rcond=None)
    same(x, expected[0])
    same(residuals, expected[1])
    assert rank.item() == 3
    same(s, expected[3])


def test_norms():
    a = make(3, 4)
    n = a.numpy()
    for order in (None, "fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        same(linalg.norm(a, order), np.linalg.norm(n, order))
    for order in (0, 1, 2, 3.5, -1, math.inf, -math.inf):
        same(linalg.vector_norm(a, order, dim=1), np.linalg.norm(n, order, axis=1))
    same(torch.norm(a, dim=0), np.linalg.norm(n, axis=0))
    same(a.norm(1), np.abs(n).sum())
    same(torch.dist(a, 2 * a, 3), np.linalg.norm(n.ravel(), 3))
    for order in (None, 1, -2, "fro", math.inf):
        c = well_conditioned(4)
        same(linalg.cond(c, order), np.linalg.cond(c.numpy(), order))


def test_matrix_functions():
    a = make(4, 4)
    same(linalg.matrix_power(a, 5), np.linalg.matrix_power(a.numpy(), 5))
    same(linalg.matrix_power(a, -2), np.linalg.matrix_power(a.numpy(), -2), 1e-8)
    same(torch.matrix_power(a, 0), np.eye(4))
    values, vectors = np.linalg.eig(a.numpy() * 10)
    expected = (vectors * np.exp(values) @ np.linalg.inv(vectors)).real
    same(torch.matrix_exp(a * 10) / np.abs(expected).max(), expected / np.abs(expected).max())
    assert linalg.matrix_rank(torch.ones(3, 3)).item() == 1


def test_products():
    a, b, c = make(2, 3), make(3, 4), make(4, 5)
    same(linalg.multi_dot([a, b, c]), a.numpy() @ b.numpy() @ c.numpy())
    same(torch.kron(a, b), np.kron(a.numpy(), b.numpy()))
    same(
        torch.tensordot(
            make(2, 3, 4) * 0 + 1, torch.ones(4, 3, dtype=torch.float64), dims=([1, 2], [1, 0])
        ),
        np.full((2,), 12.0),
    )
    x, y = make(5, 3), make(5, 3)
    same(torch.cross(x, y, dim=1), np.cross(x.numpy(), y.numpy()))
    same(linalg.vecdot(x, y), (x.numpy() * y.numpy()).sum(-1))
    far = make(30, 3), make(40, 3)
    expected = np.linalg.norm(far[0].numpy()[:, None] - far[1].numpy(), axis=-1)
    same(torch.cdist(*far), expected)
    same(torch.cdist(far[0][:4], far[1][:4]), expected[:4, :4])
    assert torch.trace(torch.arange(9).reshape(3, 3)).item() == 12


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("...ij,...jk", [(2, 1, 3, 4), (5, 4, 2)]),
        ("ii->i", [(3, 3)]),
        ("ii", [(3, 3)]),
        ("ij->ji", [(2, 3)]),
        ("ij,ij->", [(2, 3), (2, 3)]),
        ("i,j->ij", [(2,), (3,)]),
        ("ij,kj->ik", [(2, 1), (3, 4)]),
        ("bn,anm,bm->ba", [(2, 3), (5, 3, 4), (2, 4)]),
    ],
)
def test_einsum(equation, shapes):
    operands = [make(*s) for s in shapes]
    expected = np.einsum(equation, *[np.asarray(t.numpy()) for t in operands])
    same(torch.einsum(equation, *operands), expected)
    same(torch.einsum(equation, operands), expected)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(3, 4), (4, 5)]),
        ("ji,kj->ik", [(4, 3), (5, 4)]),
        ("i k , k j -> i j", [(3, 4), (4, 5)]),
        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("ibdh,jbdh->bhij", [(4, 2, 5, 3), (6, 2, 5, 3)]),
        ("bij,bjk->bik", [(2, 3, 1), (2, 4, 5)]),  # a size of one broadcasts
        ("bij,bjk->bik", [(1, 3, 4), (2, 4, 5)]),
        ("bij,bjk->bik", [(2, 0, 4), (2, 4, 5)]),
        ("ij,jk->ik", [(3, 0), (0, 5)]),
    ],
)
def test_einsum_as_one_product(equation, shapes):
    """One product of matrices: the same values and gradients as by the general way."""
    torch.manual_seed(2)
    operands = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    got = torch.einsum(equation, *operands)
    letters = equation.replace(" ", "")
    x, y = letters.partition("->")[0].split(",")
    general = torch.einsum(
        f"{x},{y},z->{letters.partition('->')[2]}", *operands, torch.ones(1).double()
    )
    assert got.shape == general.shape
    assert torch.allclose(got, general)
    weights = torch.randn(*got.shape, dtype=torch.float64)
    grads = torch.autograd.grad((got * weights).sum(), operands)
    expected = torch.autograd.grad((general * weights).sum(), operands)
    assert all(torch.allclose(a, b) for a, b in zip(grads, expected, strict=True))


def test_einsum_sublists():
    a, b = make(2, 3), make(3, 4)
    same(torch.einsum(a, [0, 1], b, [1, 2], [0, 2]), a.numpy() @ b.numpy())
    same(torch.einsum(a, [0, 1], b, [1, 2]), a.numpy() @ b.numpy())


# ---- derivatives
# -----------------------------------------------------------------------------------------

DERIVATIVES = {
    "inv": (linalg.inv, lambda: [well_conditioned(3)]),
    "solve": (linalg.solve, lambda: [well_conditioned(3, 2), make(2, 3, 2)]),
    "det": (linalg.det, lambda: [well_conditioned(3)]),
    "logdet": (torch.logdet, lambda: [positive(3)]),
    "cholesky": (lambda a: linalg.cholesky(a + a.mH), lambda: [positive(3)]),
    "qr wide": (lambda a: linalg.qr(a), lambda: [make(2, 3)]),
    "svd": (lambda a: linalg.svdvals(a), lambda: [make(3, 2)]),
    "eigh": (lambda a: linalg.eigvalsh(a + a.mH), lambda: [positive(3)]),
    "lu": (lambda a: linalg.lu(a)[1:], lambda: [well_conditioned(3)[:, :2]]),
    "pinv": (linalg.pinv, lambda: [make(3, 2)]),
    "exp": (torch.matrix_exp, lambda: [make(2, 2)]),
    "norm": (lambda a: linalg.matrix_norm(a, "nuc"), lambda: [make(3, 2)]),
    "cdist": (lambda a, b: torch.cdist(a, b), lambda: [make(3, 2), make(2, 2)]),
    "einsum": (lambda a, b: torch.einsum("ij,kj->ik", a, b), lambda: [make(2, 3), make(4, 3)]),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_first_and_second_derivatives(name):
    function, inputs = DERIVATIVES[name]
    leaves = tuple(t.detach().contiguous().requires_grad_() for t in inputs())
    assert gradcheck(function, leaves)
    assert gradgradcheck(function, leaves)


def test_complex_derivative():
    a = well_conditioned(3, dtype=torch.complex128).requires_grad_()
    assert gradcheck(linalg.inv, (a,))
    assert gradcheck(linalg.det, (a,))
    assert gradcheck(lambda a: linalg.svdvals(a), (a,))


def test_determinant_gradient_of_singular_matrix():
    a = torch.tensor([[1.0, 2.0], [2.0, 4.0]], requires_grad=True)
    linalg.det(a).backward()
    same(a.grad, [[4.0, -2.0], [-2.0, 1.0]])


# ---- errors
# ----------------------------------------------------------------------------------------------


def test_singular_matrices_are_refused():
    singular = torch.ones(2, 2)
    assert issubclass(linalg.LinAlgError, RuntimeError)
    with pytest.raises(linalg.LinAlgError, match="diagonal element 2 is zero"):
        linalg.inv(singular)
    with pytest.raises(linalg.LinAlgError, match="Batch element 1"):
        linalg.inv(torch.stack([torch.eye(2), singular]))
    with pytest.raises(linalg.LinAlgError, match="singular"):
        linalg.solve(singular, torch.ones(2))
    with pytest.raises(linalg.LinAlgError, match="leading minor of order 2"):
        linalg.cholesky(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    with pytest.raises(linalg.LinAlgError, match="non-finite"):
        linalg.svd(torch.full((2, 2), math.nan))
    with pytest.raises(linalg.LinAlgError, match="non-finite"):
        linalg.eigh(torch.full((2, 2), math.inf))


def test_info_instead_of_errors():
    batch = torch.stack([torch.eye(2), torch.ones(2, 2)])
    inverse, info = linalg.inv_ex(batch)
    assert info.tolist() == [0, 2]
    assert torch.equal(inverse[0], torch.eye(2))
    factor, info = linalg.cholesky_ex(torch.stack([torch.eye(2), -torch.eye(2)]))
    assert info.tolist() == [0, 1]
    assert torch.equal(factor[0], torch.eye(2))
    assert linalg.solve_ex(batch, torch.ones(2, 2, 1)).info.tolist() == [0, 2]
    assert linalg.lu_factor_ex(batch).info.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linalg.inv(torch.ones(2, 3)), "square"),
        (lambda: linalg.det(torch.ones(3)), "at least 2 dimensions"),
        (lambda: linalg.inv(torch.ones(2, 2, dtype=torch.int64)), "floating point"),
        (lambda: linalg.svd(torch.ones(2, 2, dtype=torch.float16)), "Low precision"),
        (lambda: linalg.solve(torch.eye(2), torch.ones(3, 1)), "2x2 and 3x1"),
        (lambda: linalg.solve(torch.eye(2), torch.ones(2).double()), "same dtype"),
        (lambda: linalg.qr(torch.eye(2), "full"), "unrecognized mode 'full'"),
        (lambda: linalg.vector_norm(torch.empty(0), math.inf), "no identity|not have an identity"),
        (lambda: linalg.matrix_norm(torch.ones(2, 2), 3), "Order 3"),
        (lambda: linalg.multi_dot([torch.ones(2, 2)]), "at least 2"),
        (lambda: torch.einsum("ij,jk", torch.ones(2, 3), torch.ones(4, 5)), "subscript j"),
        (lambda: torch.einsum("ij->ik", torch.ones(2, 3)), "output subscript k"),
        (lambda: torch.einsum("ij", torch.ones(2)), "number of subscripts"),
        (lambda: torch.tensordot(torch.ones(2, 3), torch.ones(4, 5), 1), "size 3 in dim 1"),
        (lambda: torch.cross(torch.ones(2, 2), torch.ones(2, 2)), "no dimension of size 3"),
        (lambda: torch.cdist(torch.ones(2, 3), torch.ones(2, 4)), "X1: 3 X2: 4"),
        (lambda: torch.trace(torch.ones(3)), "expected a matrix"),
    ],
)
def test_messages(call, message):
    with pytest.raises(RuntimeError, match=message):
        call()


# ---- edge cases
# ------------------------------------------------------------------------------------------


def test_empty_matrices():
    assert linalg.inv(torch.empty(0, 0)).shape == (0, 0)
    assert linalg.det(torch.empty(0, 0)).item() == 1
    assert linalg.det(torch.empty(0, 3, 3)).shape == (0,)
    assert linalg.svdvals(torch.empty(2, 0, 3)).shape == (2, 0)
    assert linalg.solve(torch.empty(2, 0, 0), torch.empty(2, 0, 3)).shape == (2, 0, 3)
    assert linalg.matrix_norm(torch.empty(0, 3)).item() == 0
    assert (
        torch.einsum("ij,jk->ik", torch.empty(2, 0), torch.empty(0, 3)).tolist() == [[0.0] * 3] * 2
    )


def test_strided_inputs_are_read_through_their_strides():
    a = well_conditioned(6)[::2, ::2]
    same(linalg.inv(a.mT), np.linalg.inv(a.numpy().T))
    same(linalg.inv(a), np.linalg.inv(np.ascontiguousarray(a.numpy())))


def test_out_and_methods():
    a, out = well_conditioned(3), torch.empty(0, dtype=torch.float64)
    assert linalg.inv(a, out=out) is out
    same(out, np.linalg.inv(a.numpy()))
    q, r = torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.float64)
    linalg.qr(a, out=(q, r))
    same(q @ r, a)
    same(a.inverse(), np.linalg.inv(a.numpy()))
    same(a.det(), np.linalg.det(a.numpy()))
    assert torch.svd(a).V.shape == (3, 3)


def test_low_rank():
    a = make(8, 2) @ make(2, 6)
    u, s, v = torch.svd_lowrank(a, q=2)
    same(u * s @ v.mH, a, 1e-8)


@pytest.mark.parametrize("shape", [(100, 100), (2, 70, 90), (90, 40)])
def test_lu_by_panels(shape):
    a = make(*shape)
    p, lower, upper = linalg.lu(a)
    same(p @ lower @ upper, a, 1e-10)
    assert lower.abs().max() <= 1


@pytest.mark.filterwarnings("error")
def test_infinities_raise_no_warnings():
    huge = torch.full((3, 3), 3e38) * torch.eye(3)
    assert linalg.det(huge).item() == math.inf
    assert not torch.isfinite(torch.matrix_exp(huge)).all()
    zero = torch.zeros(40, 40)
    assert not torch.isfinite(linalg.solve_triangular(zero, torch.ones(40, 1), upper=True)).any()
    assert linalg.lu_factor(zero).LU.abs().sum().item() == 0
    assert torch.isnan(torch.fft.fft(torch.tensor([math.inf, 1.0, math.nan]))).all()
    assert linalg.cond(torch.zeros(2, 2), 1).item() == math.inf
