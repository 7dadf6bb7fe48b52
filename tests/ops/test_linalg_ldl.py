"""LDL^T factors of real matrices by the generated kernels: pivots, stability, zeros, targets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau.kernels.bunch_kaufman import factor_source, plan_ldl, plan_ldl_solve, solve_source
from flambeau.kernels.target import NEON
from tests.kernels.harness import assemble, run_plan, runnable

linalg = torch.linalg
EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}
NUMPY = {"f32": np.float32, "f64": np.float64}
DTYPES = pytest.mark.parametrize("dtype", list(EPSILON))


def symmetric(rng, *shape, kind="normal"):
    a = rng.standard_normal(shape)
    if kind == "sparse":
        a *= rng.random(shape) < 0.4
    elif kind == "no diagonal":
        n = shape[-1]
        a[..., range(n), range(n)] = 0
    elif kind == "graded":
        a *= 10.0 ** -np.linspace(0, 6, shape[-1])
    return a + a.swapaxes(-1, -2)


def check_solution(a, x, b, epsilon):
    a, x, b = (t.astype(float) for t in (a, x, b))
    size = np.abs(a).sum(-1).max() * np.abs(x).max()
    assert np.abs(a @ x - b).max() <= 8 * (2 + a.shape[-1]) * epsilon * size


@DTYPES
@given(
    kind=st.sampled_from(["normal", "no diagonal", "graded"]),
    n=st.integers(1, 40),
    columns=st.integers(1, 9),
    batch=st.sampled_from([(), (1,), (3,), (2, 2)]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=50, deadline=None)
def test_solutions_are_stable(dtype, kind, n, columns, batch, seed):
    rng = np.random.default_rng(seed)
    if n == 1 and kind == "no diagonal":
        kind = "normal"
    a = symmetric(rng, *batch, n, n, kind=kind).astype(dtype)
    b = rng.standard_normal((*batch, n, columns)).astype(dtype)
    factors, pivots = linalg.ldl_factor(torch.tensor(np.tril(a)))
    assert not factors.triu(1).any()
    check_solution(a, linalg.ldl_solve(factors, pivots, torch.tensor(b)).numpy(), b, EPSILON[dtype])
    # what is above the diagonal is not read
    factors = factors + torch.full_like(factors, float("nan")).triu(1)
    check_solution(a, linalg.ldl_solve(factors, pivots, torch.tensor(b)).numpy(), b, EPSILON[dtype])


@pytest.mark.parametrize("kind", ["normal", "sparse", "no diagonal"])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 17, 33, 70, 150])
def test_the_pivots_of_the_same_matrix_in_complex_numbers(n, kind):
    a = torch.tensor(symmetric(np.random.default_rng(n), 2, n, n, kind=kind))
    got = linalg.ldl_factor_ex(a)
    expected = linalg.ldl_factor_ex(a.to(torch.complex128))
    assert torch.equal(got.pivots, expected.pivots)
    assert torch.equal(got.info, expected.info)
    np.testing.assert_allclose(got.LD, expected.LD.real, 1e-6, 1e-9)


def test_zero_columns_are_reported():
    a = torch.diag(torch.tensor([1.0, 0.0, 2.0, 0.0]))
    result = linalg.ldl_factor_ex(a)
    assert result.info == 2
    assert result.pivots.tolist() == [1, 2, 3, 4]
    assert torch.equal(result.LD, a)
    with pytest.raises(linalg.LinAlgError, match="the diagonal block 2 of D is zero"):
        linalg.ldl_factor(a)
    assert linalg.ldl_factor_ex(torch.eye(20) * float("nan")).LD.isnan().any()
    assert linalg.ldl_factor_ex(torch.ones(20, 20) * float("inf")).LD.isnan().any()


@pytest.mark.parametrize("shape", [(0, 0), (0, 3, 3), (2, 0, 0)])
def test_nothing(shape):
    factors, pivots = linalg.ldl_factor(torch.empty(shape))
    assert factors.shape == shape
    assert linalg.ldl_solve(factors, pivots, torch.empty(*shape[:-1], 2)).shape == (*shape[:-1], 2)


@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
def test_every_target(dtype, target):
    rng = np.random.default_rng(1)
    for n in (1, 2, 5, 17, 40):
        a = symmetric(rng, 3, n, n, kind="no diagonal" if n > 1 else "normal").astype(NUMPY[dtype])
        b = rng.standard_normal((3, n, 6)).astype(NUMPY[dtype])
        factors, x = np.empty_like(a), np.empty_like(b)
        pivots, info = np.empty((3, n), np.int32), np.empty(3, np.int32)
        plan = plan_ldl(dtype, n, 3, 2, target=target)
        run_plan(plan, [factors, pivots, info, np.tril(a)], target, 2)
        plan = plan_ldl_solve(dtype, n, 6, 3, 2, target=target)
        run_plan(plan, [x, factors, pivots, b], target, 2)
        assert not info.any()
        check_solution(a, x, b, np.finfo(NUMPY[dtype]).eps)
    for source in (factor_source, solve_source):
        assemble(source(dtype, NEON).build(), NEON)
