"""Sorting, selecting, distinct values, searching, quantiles and histograms against NumPy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau.autograd import gradcheck

DTYPES = ["uint8", "int8", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, shape)


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(uniform(*shape, seed=seed), requires_grad=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("descending", [False, True])
def test_sort_every_type(dtype: str, descending: bool) -> None:
    x = torch.tensor([[3, 1, 2, 1], [0, 9, 5, 7]]).to(getattr(torch, dtype))
    values, indices = torch.sort(x, descending=descending, stable=True)
    assert values.dtype is x.dtype
    wanted = np.sort(x.double().numpy(), 1)
    np.testing.assert_array_equal(
        values.double().numpy(), wanted[:, ::-1] if descending else wanted
    )
    assert indices[0].tolist() == ([0, 2, 1, 3] if descending else [1, 3, 2, 0])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=3), st.integers(0, 2), st.booleans())
@settings(max_examples=50, deadline=None)
def test_sort_any_shape(shape: list[int], dim: int, descending: bool) -> None:
    dim %= len(shape)
    x = np.random.default_rng(0).integers(0, 4, shape)
    t = torch.tensor(x)
    values, indices = t.sort(dim, descending)
    wanted = np.sort(x, dim)
    np.testing.assert_array_equal(values.numpy(), np.flip(wanted, dim) if descending else wanted)
    np.testing.assert_array_equal(np.take_along_axis(x, indices.numpy(), dim), values.numpy())
    np.testing.assert_array_equal(t.argsort(dim, descending).numpy(), indices.numpy())


def test_nan_sorts_last() -> None:
    x = torch.tensor([math.nan, 1.0, -math.inf, math.inf])
    assert x.sort().indices.tolist() == [2, 1, 3, 0]
    assert x.sort(descending=True).indices.tolist() == [0, 3, 1, 2]
    assert math.isnan(x.topk(1).values.item())
    assert torch.tensor([True, False, True]).sort().values.tolist() == [False, True, True]


def test_topk_and_kthvalue() -> None:
    x = uniform(4, 7)
    t = torch.tensor(x)
    values, indices = t.topk(3, 1)
    np.testing.assert_array_equal(values.numpy(), -np.sort(-x, 1)[:, :3])
    np.testing.assert_array_equal(np.take_along_axis(x, indices.numpy(), 1), values.numpy())
    np.testing.assert_array_equal(t.topk(2, 0, largest=False).values.numpy(), np.sort(x, 0)[:2])
    assert t.topk(0).values.shape == (4, 0)
    np.testing.assert_array_equal(t.kthvalue(3, 1).values.numpy(), np.sort(x, 1)[:, 2])
    assert t.kthvalue(1, 0, keepdim=True).indices.shape == (1, 7)
    np.testing.assert_array_equal(t.msort().numpy(), np.sort(x, 0))


def test_medians_and_mode() -> None:
    x = torch.tensor([[3.0, 1.0, 2.0, 4.0], [math.nan, 5.0, 1.0, 6.0]])
    assert x[0].median().item() == 2  # the lower of the middle two
    assert math.isnan(x.median(1).values[1].item())
    assert x.median(1).indices.tolist() == [2, 0]
    assert x.nanmedian(1).values.tolist() == [2, 5]
    assert torch.tensor([2, 1, 2, 1, 3]).mode().values.item() == 1
    assert torch.tensor([2, 1, 2, 1, 3]).mode().indices.item() == 3


@pytest.mark.parametrize("name", ["sort", "topk", "kthvalue", "median", "mode", "cummax"])
def test_derivatives(name: str) -> None:
    arguments = {"topk": (2, 0), "kthvalue": (2, 0)}.get(name, (0,))
    assert gradcheck(lambda x: getattr(torch, name)(x, *arguments)[0], (double(4, 3),))


# ---- distinct values -----------------------------------------------------------------------------


def test_unique() -> None:
    x = np.array([[3, 1, 3], [2, 1, 1]])
    values, inverse, counts = torch.unique(torch.tensor(x), return_inverse=True, return_counts=True)
    assert values.tolist() == [1, 2, 3]
    assert values[inverse].tolist() == x.tolist()
    assert counts.tolist() == [3, 1, 2]
    rows = torch.unique(torch.tensor([[1, 2], [0, 1], [1, 2]]), dim=0)
    assert rows.tolist() == [[0, 1], [1, 2]]
    assert torch.unique(torch.ones(0)).shape == (0,)


def test_unique_consecutive() -> None:
    x = torch.tensor([1, 1, 2, 2, 1])
    values, inverse, counts = torch.unique_consecutive(x, return_inverse=True, return_counts=True)
    assert values.tolist() == [1, 2, 1]
    assert inverse.tolist() == [0, 0, 1, 1, 2]
    assert counts.tolist() == [2, 2, 1]


def test_isin() -> None:
    x = torch.tensor([[1, 2], [3, 4]])
    assert torch.isin(x, torch.tensor([2, 4])).tolist() == [[False, True], [False, True]]
    assert torch.isin(x, 3, invert=True).tolist() == [[True, True], [False, True]]


# ---- searching -----------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [False, True])
def test_searchsorted_and_bucketize(right: bool) -> None:
    edges = np.array([1.0, 3.0, 3.0, 7.0])
    x = np.array([[0.0, 1.0, 3.0], [5.0, 7.0, 9.0]])
    wanted = np.searchsorted(edges, x, "right" if right else "left")
    e, t = torch.tensor(edges), torch.tensor(x)
    assert torch.searchsorted(e, t, right=right).tolist() == wanted.tolist()
    assert torch.bucketize(t, e, right=right, out_int32=True).dtype is torch.int32
    rows = torch.stack([e, e + 1])
    found = torch.searchsorted(rows, t, right=right)
    assert found[0].tolist() == wanted[0].tolist()
    assert torch.searchsorted(e, 3.0).item() == 1


# ---- quantiles and histograms --------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantile(mode: str) -> None:
    x, q = uniform(5, 7), np.array([0.0, 0.3, 0.5, 1.0])
    found = torch.quantile(torch.tensor(x), torch.tensor(q), 1, interpolation=mode)
    np.testing.assert_allclose(found.numpy(), np.quantile(x, q, 1, method=mode), rtol=1e-12)
    assert torch.quantile(torch.tensor(x), 0.25, interpolation=mode).shape == ()


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_nanquantile() -> None:
    x = uniform(5, 7)
    x[1, 2] = x[3] = math.nan
    t = torch.tensor(x)
    wanted = np.nanquantile(x, 0.4, 1)
    np.testing.assert_allclose(torch.nanquantile(t, 0.4, 1).numpy(), wanted)
    np.testing.assert_allclose(torch.quantile(t, 0.4, 1).numpy(), np.quantile(x, 0.4, 1))
    assert gradcheck(lambda x: torch.quantile(x, 0.3, 0), (double(4, 2),))


def test_counting() -> None:
    x = torch.tensor([1, 3, 1, 0])
    assert torch.bincount(x).tolist() == [1, 2, 0, 1]
    assert torch.bincount(x, minlength=6).tolist() == [1, 2, 0, 1, 0, 0]
    assert torch.bincount(x, torch.tensor([0.5, 1, 2, 3])).tolist() == [3, 2.5, 0, 1]


@pytest.mark.parametrize("count", [1, 5, 1000, 200_001])
@pytest.mark.parametrize("bins", [1, 7, 3000, 150_000])
def test_counts_of_any_length(count: int, bins: int) -> None:
    rng = np.random.default_rng(count + bins)
    numbers, weights = rng.integers(0, bins, count), rng.standard_normal(count)
    wanted = np.bincount(numbers, minlength=bins)
    types = [torch.int64, torch.int32, *([torch.uint8, torch.int8] if bins < 100 else [])]
    for dtype in types:
        x = torch.tensor(numbers).to(dtype)
        np.testing.assert_array_equal(torch.bincount(x, minlength=bins).numpy(), wanted)
        strided = torch.stack((x, x), 1)[:, 0]
        np.testing.assert_array_equal(torch.bincount(strided, minlength=bins).numpy(), wanted)
    x, sums = torch.tensor(numbers), np.bincount(numbers, weights, bins)
    single = torch.bincount(x, torch.tensor(weights).float(), bins)
    assert single.dtype is torch.float32
    np.testing.assert_allclose(single.numpy(), sums, atol=1e-2)
    before = torch.get_num_threads()
    try:
        kept = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            kept.append(torch.bincount(x, torch.tensor(weights), bins))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(kept[0].numpy(), sums, atol=1e-10)
    assert torch.equal(kept[0], kept[1])
    assert torch.equal(kept[0], kept[2])


def test_histograms_of_what_is_outside_and_not_a_number() -> None:
    x = torch.tensor([-2.0, 0.0, 0.5, 1.0, 1.5, float("nan"), float("inf")])
    assert torch.histc(x, 2, 0, 1).tolist() == [1, 2]
    assert torch.histogram(x, 2, range=(0.0, 1.0))[0].tolist() == [1, 2]
    weights = torch.arange(7.0)
    found = torch.histogram(x, torch.tensor([0.0, 0.5, 1.0]), weight=weights)[0]
    assert found.tolist() == [1, 2 + 3]
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 3.0], [0.2, 0.9]])
    assert torch.histogramdd(points, [2, 2], range=[0.0, 1, 0, 1])[0].tolist() == [[1, 1], [0, 1]]


def test_membership() -> None:
    x = torch.tensor([[1.0, 2.0], [float("nan"), -0.0]])
    tests = torch.tensor([0, 2, 9])
    assert torch.isin(x, tests).tolist() == [[False, True], [False, True]]
    assert torch.isin(x, tests, invert=True).tolist() == [[True, False], [True, False]]
    assert torch.isin(2, tests).item()
    assert not torch.isin(x, tests[:0]).any()
    assert torch.isin(torch.tensor([True, False]), torch.tensor([True])).tolist() == [True, False]
    assert torch.isin(torch.tensor([1 + 2j]), torch.tensor([1.0, 2.0])).tolist() == [False]


def test_histograms() -> None:
    x = uniform(50)
    t = torch.tensor(x)
    assert torch.histc(t, 8, -1, 1).tolist() == np.histogram(x, 8, (-1, 1))[0].tolist()
    found = torch.histogram(t, 5, density=True)
    counts, edges = np.histogram(x, 5, density=True)
    np.testing.assert_allclose(found.hist.numpy(), counts)
    np.testing.assert_allclose(found.bin_edges.numpy(), edges)
    single = torch.histogram(torch.tensor([3.0]), 2)
    assert single.bin_edges.tolist() == [2.5, 3, 3.5]
    points = uniform(40, 2)
    found = torch.histogramdd(torch.tensor(points), [3, 4])
    counts, edges = np.histogramdd(points, [3, 4])
    np.testing.assert_array_equal(found.hist.numpy(), counts)
    np.testing.assert_allclose(found.bin_edges[1].numpy(), edges[1])


def test_covariance() -> None:
    x = uniform(3, 8)
    t = torch.tensor(x)
    np.testing.assert_allclose(torch.cov(t).numpy(), np.cov(x))
    np.testing.assert_allclose(torch.corrcoef(t).numpy(), np.corrcoef(x))
    weights = np.arange(1, 9)
    np.testing.assert_allclose(
        torch.cov(t, fweights=torch.tensor(weights), correction=0).numpy(),
        np.cov(x, fweights=weights, ddof=0),
    )
    assert gradcheck(torch.cov, (double(2, 4),))


def test_renorm() -> None:
    x = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    np.testing.assert_allclose(x.renorm(2, 0, 1).norm(dim=1).numpy(), [1, 0.5], rtol=1e-6)
    assert x.renorm_(2, 0, 1) is x
    assert gradcheck(lambda x: x.renorm(2, 0, 1.0), (double(3, 4),))


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: torch.tensor([1j]).sort(), RuntimeError, ("sort", "complex64")),
        (lambda: torch.ones(3).sort(1), IndexError, ("Dimension out of range",)),
        (lambda: torch.ones(3).topk(4), RuntimeError, ("topk", "k = 4", "size 3")),
        (lambda: torch.ones(3).kthvalue(0), RuntimeError, ("kthvalue", "k = 0")),
        (lambda: torch.ones(0, 2).median(0), IndexError, ("median",)),
        (lambda: torch.ones(0, 2).mode(0), IndexError, ("mode",)),
        (lambda: torch.quantile(torch.tensor([1]), 0.5), RuntimeError, ("quantile", "float")),
        (lambda: torch.quantile(torch.ones(2), 1.5), RuntimeError, ("quantile", "1.5")),
        (lambda: torch.bincount(torch.tensor([-1])), RuntimeError, ("bincount",)),
        (lambda: torch.histc(torch.ones(2), 0), RuntimeError, ("bins", "0")),
        (
            lambda: torch.histogramdd(torch.ones(2, 3), [1, 1]),
            RuntimeError,
            ("histogramdd", "2", "3"),
        ),
        (
            lambda: torch.bucketize(torch.ones(1), torch.ones(1, 1)),
            RuntimeError,
            ("bucketize", "dim(2)"),
        ),
        (
            lambda: torch.searchsorted(torch.ones(2), torch.tensor([1])),
            RuntimeError,
            ("int64", "float32"),
        ),
        (lambda: torch.cov(torch.ones(1, 1, 1)), RuntimeError, ("cov", "3 dimensions")),
        (lambda: torch.ones(2, 2).renorm(0, 0, 1), RuntimeError, ("renorm", "p = 0")),
    ],
)
def test_errors_name_the_op(call, error: type, parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


# ---- lines of every length against NumPy ---------------------------------------------------------

LINES = [1, 2, 9, 128, 129, 600, 5000]


def lines_of(kind: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    if kind == "spread":
        a = rng.standard_normal(shape) * 100
    elif kind == "ties":
        a = rng.integers(0, 4, shape)
    elif kind == "far apart":  # cut keys are equal in long runs
        a = np.where(rng.random(shape) < 0.5, 2**62, rng.integers(0, 2**40, shape))
    else:
        a = np.zeros(shape)
    with np.errstate(all="ignore"):
        a = a.astype(dtype)
    if a.dtype.kind == "f":
        a[rng.random(shape) < 0.05] = np.nan
        a[rng.random(shape) < 0.1] = -0.0
        a[rng.random(shape) < 0.05] = np.inf
    return a


def stable_order(a: np.ndarray, descending: bool) -> np.ndarray:
    if not descending:
        return np.argsort(a, -1, "stable")
    backwards = np.argsort(np.flip(a, -1), -1, "stable")
    return a.shape[-1] - 1 - np.flip(backwards, -1)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i4", "i2", "u1", "f2", "?"])
@pytest.mark.parametrize("kind", ["spread", "ties", "far apart", "equal"])
@pytest.mark.parametrize("n", [*LINES, 40_001])
def test_ranks_of_lines(n: int, kind: str, dtype: str) -> None:
    a = lines_of(kind, dtype, (2, n) if n < 10_000 else (1, n))
    x = torch.tensor(a)
    for descending in (False, True):
        order = stable_order(a, descending)
        values, indices = x.sort(-1, descending)
        np.testing.assert_array_equal(indices.numpy(), order)
        assert values.numpy().tobytes() == np.take_along_axis(a, order, -1).tobytes()
        for k in {1, min(n, 3), max(1, n // 50), n // 2 + 1}:
            top = x.topk(k, largest=descending)
            np.testing.assert_array_equal(top.indices.numpy(), order[:, :k])
    order = stable_order(a, False)
    for k in {1, n // 3 + 1, n}:
        np.testing.assert_array_equal(x.kthvalue(k).indices.numpy(), order[:, k - 1])
    if dtype != "?":
        count = (a == a).sum(-1)
        middle = np.where(count == n, (n - 1) // 2, count)
        for op, rank in ((torch.median, middle), (torch.nanmedian, np.maximum(count - 1, 0) // 2)):
            wanted = np.take_along_axis(order, rank[:, None], -1)[:, 0]
            np.testing.assert_array_equal(op(x, -1).indices.numpy(), wanted)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_long_lines_do_not_depend_on_threads(threads: int) -> None:
    before = torch.get_num_threads()
    a = lines_of("ties", "f4", (70_001,))
    try:
        torch.set_num_threads(threads)
        values, indices = torch.tensor(a).sort()
        top = torch.tensor(a).topk(9)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(indices.numpy(), stable_order(a, False))
    np.testing.assert_array_equal(top.indices.numpy(), stable_order(a, True)[:9])
    assert values.isnan().sum() == np.isnan(a).sum()


@pytest.mark.parametrize("periodic", [128, 1024])
def test_samples_that_mislead(periodic: int) -> None:
    a = np.arange(50_000, dtype="f4")
    a[:: 50_000 // periodic] = -1e9
    a[1 :: 50_000 // periodic] = 1e9
    x = torch.tensor(a)
    np.testing.assert_array_equal(x.topk(40).indices.numpy(), stable_order(a, True)[:40])
    assert x.median().item() == np.sort(a)[24_999]


def test_sort_gradients_along_any_dimension() -> None:
    for f in (
        lambda x: x.sort(1)[0],
        lambda x: x.sort(-1, True)[0],
        lambda x: x.topk(2, 0)[0],
        lambda x: x.median(1)[0],
        lambda x: x.kthvalue(2, 0, keepdim=True)[0],
    ):
        assert gradcheck(f, double(3, 4, 2))


@pytest.mark.parametrize("n", [0, 1, 1000])
def test_distinct_values_inverse_and_counts(n: int) -> None:
    a = np.random.default_rng(0).integers(0, 50, n)
    made = torch.unique(torch.tensor(a), return_inverse=True, return_counts=True)
    wanted = np.unique(a, return_inverse=True, return_counts=True)
    for x, y in zip(made, wanted, strict=True):
        np.testing.assert_array_equal(x.numpy(), y)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "int16"])
@pytest.mark.parametrize("kind", ["spread", "few values", "equal", "nan", "rising"])
def test_few_of_long_lines(dtype, kind):
    n, integral = 1000, "int" in dtype
    rng = np.random.default_rng(5)
    lines = {
        "spread": rng.integers(0, 250, (3, n)) if integral else rng.standard_normal((3, n)),
        "few values": rng.integers(0, 4, (3, n)),
        "equal": np.ones((3, n)),
        "nan": np.ones((3, n)) if integral else np.full((3, n), np.nan),
        "rising": np.tile(np.arange(n) % 250 if integral else np.arange(n), (3, 1)),
    }[kind].astype(dtype)
    for k in (1, 5, 16, 60):
        for largest in (False, True):
            values, indices = torch.topk(torch.from_numpy(lines), k, largest=largest)
            order = np.argsort(lines, axis=-1, kind="stable")
            if largest:  # the last of each line, equal ones by place
                order = n - 1 - np.argsort(lines[:, ::-1], axis=-1, kind="stable")[:, ::-1]
            expected = np.take_along_axis(lines, order[:, :k], -1)
            np.testing.assert_array_equal(values.numpy(), expected)
            np.testing.assert_array_equal(np.take_along_axis(lines, indices.numpy(), -1), expected)
            assert all(len(set(row)) == k for row in indices.tolist())


@pytest.mark.parametrize("count", [0, 1, 3, 700])  # the last is sorted and searched
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.uint8, torch.float16])
def test_isin_of_few_and_of_many(count, dtype):
    x = torch.arange(12).reshape(3, 4).to(dtype)
    tests = (torch.arange(count) * 3 % 11).to(dtype)
    expected = [[v in tests.tolist() for v in row] for row in x.tolist()]
    assert torch.isin(x, tests).tolist() == expected
    assert torch.isin(x.t(), tests, invert=True).t().tolist() == [
        [not v for v in r] for r in expected
    ]
    assert torch.isin(x[0, 0], tests).shape == ()


def test_isin_never_finds_nan():
    nan = float("nan")
    for count in (1, 5, 5000):  # compared one by one, then searched
        tests = torch.full((count,), nan)
        tests[-1] = float("inf")
        assert torch.isin(torch.tensor([nan, float("inf"), 1.0]), tests).tolist() == [
            False,
            True,
            False,
        ]
