"""Eigenvalues, eigenvectors and singular values: accuracy, extreme scales, threads, errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch

linalg = torch.linalg
EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}
DTYPES = pytest.mark.parametrize("dtype", list(EPSILON))
SHAPES = [(1, 1), (2, 2), (5, 5), (13, 13), (16, 16), (17, 17), (40, 33), (33, 40), (3, 20, 18),
          (65, 64), (150, 9), (9, 150), (2, 100, 100), (130, 130)]  # fmt: skip


def make(kind, m, n, rng):
    """A matrix of a kind that is hard for somebody."""
    a, k = rng.standard_normal((m, n)), min(m, n)
    if kind == "deficient":
        a = a[:, :1] @ rng.standard_normal((1, n))
    elif kind == "graded":
        a *= 10.0 ** -np.linspace(0, 12, n)
    elif kind == "clustered":
        q, p = np.linalg.qr(a)[0], np.linalg.qr(rng.standard_normal((n, k)))[0]
        a = q[:, :k] * (1 + 1e-9 * np.arange(k)) @ p.T
    elif kind == "diagonal":
        a = np.eye(m, n) * np.arange(1, n + 1)
    elif kind == "zero":
        a = a * 0
    elif kind == "split":
        a[: m // 2, n // 2 :] = a[m // 2 :, : n // 2] = 0
    return a


KINDS = ["normal", "deficient", "graded", "clustered", "diagonal", "zero", "split"]


def check(got, expected, size, dtype):
    """Within n eps |A|."""
    assert got.shape == expected.shape
    scale = np.abs(expected).max(initial=0.0)
    assert np.abs(got - expected).max(initial=0.0) <= (4 + size) * EPSILON[dtype] * scale


@DTYPES
@given(
    kind=st.sampled_from(KINDS),
    m=st.integers(1, 45),
    n=st.integers(1, 45),
    scale=st.sampled_from([1.0, 1e-30, 1e30, 3e-38, 1e36]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_any_matrix(dtype, kind, m, n, scale, seed):
    a = (make(kind, m, n, np.random.default_rng(seed)) * scale).astype(dtype)
    wide = a.astype(float)
    got = linalg.svdvals(torch.tensor(a)).numpy()
    check(got, np.linalg.svd(wide, compute_uv=False), max(m, n), dtype)
    assert (np.diff(got) <= 0).all()
    square = wide[: min(m, n), : min(m, n)]
    h = (square + square.T).astype(dtype)
    got = linalg.eigvalsh(torch.tensor(np.tril(h))).numpy()
    check(got, np.linalg.eigvalsh(h.astype(float)), min(m, n), dtype)
    assert (np.diff(got) >= 0).all()


def check_vectors(h, values, vectors, dtype):
    """h V = V diag(values) with orthonormal V."""
    h, values, vectors = (t.astype(float) for t in (h, values, vectors))
    n, norm = h.shape[-1], np.abs(values).max(initial=0.0)
    bound = (16 + 2 * n) * EPSILON[dtype]
    assert np.abs(vectors.swapaxes(-1, -2) @ vectors - np.eye(n)).max(initial=0.0) <= bound
    residual = h @ vectors - vectors * values[..., None, :]
    assert np.abs(residual).max(initial=0.0) <= bound * norm


@DTYPES
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 70),
    scale=st.sampled_from([1.0, 1e-30, 1e30, 3e-38, 1e36]),
    turned=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_eigenvectors_of_any_matrix(dtype, kind, n, scale, turned, seed):
    a = make(kind, n, n, np.random.default_rng(seed)) * scale
    h = (a + a.T).astype(dtype)
    h = h[::-1, ::-1].copy() if turned else h
    values, vectors = linalg.eigh(torch.tensor(np.tril(h)))
    assert (values.diff() >= 0).all()
    check(values.numpy(), np.linalg.eigvalsh(h.astype(float)), n, dtype)
    check_vectors(h, values.numpy(), vectors.numpy(), dtype)


@DTYPES
@pytest.mark.parametrize("shape", [(2, 2), (5, 5), (3, 16, 16), (2, 40, 40), (129, 129), (0, 9, 9)])
def test_eigenvectors_of_every_size_class(dtype, shape):
    a = np.random.default_rng(shape[-1]).standard_normal(shape).astype(dtype)
    h = a + a.swapaxes(-1, -2)
    for triangle, uplo in ((np.tril(h), "L"), (np.triu(h), "U")):
        values, vectors = linalg.eigh(torch.tensor(triangle), uplo)
        check_vectors(h, values.numpy(), vectors.numpy(), dtype)
    exact = linalg.eigh(torch.eye(shape[-1], dtype=getattr(torch, dtype)))
    assert exact.eigenvalues.tolist() == [1.0] * shape[-1]


@DTYPES
@given(
    kind=st.sampled_from(KINDS),
    m=st.integers(1, 60),
    n=st.integers(1, 60),
    scale=st.sampled_from([1.0, 1e-30, 1e30, 3e-38, 1e36]),
    turned=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=80, deadline=None)
def test_singular_vectors_of_any_matrix(dtype, kind, m, n, scale, turned, seed):
    a = (make(kind, m, n, np.random.default_rng(seed)) * scale).astype(dtype)
    a = a[::-1, ::-1].copy() if turned else a
    check_singular_vectors(a, linalg.svd(torch.tensor(a), full_matrices=False), dtype)


def check_singular_vectors(a, found, dtype):
    """A = U diag(S) V^T with orthonormal U and V, S descending."""
    a, (u, s, vt) = a.astype(float), (t.numpy().astype(float) for t in found)
    assert (s >= 0).all()
    assert (np.diff(s) <= 0).all()
    check(s.astype(dtype), np.linalg.svd(a, compute_uv=False), max(a.shape[-2:]), dtype)
    bound, eye = (16 + 3 * max(a.shape[-2:])) * EPSILON[dtype], np.eye(s.shape[-1])
    assert np.abs(u.swapaxes(-1, -2) @ u - eye).max(initial=0.0) <= bound
    assert np.abs(vt @ vt.swapaxes(-1, -2) - eye).max(initial=0.0) <= bound
    error = np.abs((u * s[..., None, :]) @ vt - a).max(initial=0.0)
    assert error <= bound * s.max(initial=0.0)


@DTYPES
@pytest.mark.parametrize("shape", [*SHAPES, (200, 190), (100, 12, 12), (2, 12, 12)])
def test_singular_vectors_of_every_size_class(dtype, shape):
    a = np.random.default_rng(shape[-1]).standard_normal(shape).astype(dtype)
    check_singular_vectors(a, linalg.svd(torch.tensor(a), full_matrices=False), dtype)


@DTYPES
@pytest.mark.parametrize("shape", SHAPES)
def test_every_size_class(dtype, shape):
    a = np.random.default_rng(shape[-1]).standard_normal(shape).astype(dtype)
    got = linalg.svdvals(torch.tensor(a)).numpy()
    check(got, np.linalg.svd(a.astype(float), compute_uv=False), max(shape), dtype)
    n = min(shape[-2:])
    h = a[..., :n, :n] + a[..., :n, :n].swapaxes(-1, -2)
    expected = np.linalg.eigvalsh(h.astype(float))
    for triangle, uplo in ((np.tril(h), "L"), (np.triu(h), "U")):
        check(linalg.eigvalsh(torch.tensor(triangle), uplo).numpy(), expected, n, dtype)


@DTYPES
def test_exact_values(dtype):
    """What has an exact answer has that one: zeros too, so that condition numbers are infinite."""
    for n in (3, 20, 50):
        eye = torch.eye(n, dtype=getattr(torch, dtype))
        assert linalg.eigvalsh(eye).tolist() == linalg.svdvals(eye).tolist() == [1.0] * n
        assert not linalg.svdvals(eye * 0).any()
        assert not linalg.eigvalsh(eye * 0).any()
        eye[1, 1] = 0
        assert linalg.svdvals(eye).tolist() == [1.0] * (n - 1) + [0.0]
        assert linalg.cond(eye) == float("inf")
        assert linalg.matrix_rank(eye) == n - 1


@DTYPES
def test_the_same_bits_for_any_threads_and_any_batch(dtype):
    a = torch.randn(5, 70, 70, dtype=getattr(torch, dtype))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append((linalg.svdvals(a), linalg.eigvalsh(a), *linalg.eigh(a), *linalg.svd(a)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(other, results[0], strict=True))
    assert torch.equal(linalg.svdvals(a[3]), results[0][0][3])
    assert torch.equal(linalg.eigvalsh(a[3]), results[0][1][3])


@DTYPES
def test_other_layouts(dtype):
    a = torch.randn(30, 3, 30, dtype=getattr(torch, dtype))
    turned, plain = a.permute(1, 2, 0), a.permute(1, 2, 0).contiguous()
    assert torch.equal(linalg.svdvals(turned), linalg.svdvals(plain))
    assert torch.equal(linalg.eigvalsh(turned), linalg.eigvalsh(plain))


@pytest.mark.parametrize("n", [2, 20])
def test_errors(n):
    a = torch.eye(n)
    a[1, 0] = float("nan")
    for op in (linalg.svdvals, linalg.eigvalsh):
        with pytest.raises(linalg.LinAlgError, match="non-finite"):
            op(a)
    a[1, 0] = float("inf")
    with pytest.raises(linalg.LinAlgError, match="non-finite"):
        linalg.eigvalsh(a)


@pytest.mark.parametrize("shape", [(0, 0), (0, 30), (30, 0), (2, 0, 30), (0, 30, 30)])
def test_nothing(shape):
    a = torch.empty(shape)
    assert linalg.svdvals(a).shape == (*shape[:-2], min(shape[-2:]))
    if shape[-1] == shape[-2]:
        assert linalg.eigvalsh(a).shape == shape[:-1]
