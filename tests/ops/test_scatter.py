"""Writing through indices, joining, masks: values against NumPy, gradients, determinism, errors."""

import numpy as np
import pytest

import flambeau as torch


def arange(*shape):
    return torch.arange(int(np.prod(shape))).view(*shape).double()


def check_gradient(fn, *arrays):
    """Gradients of a scalar function of float64 tensors against central differences."""
    tensors = [torch.tensor(a, dtype=torch.float64).requires_grad_() for a in arrays]
    grads = torch.autograd.grad(fn(*tensors), tensors)
    for k, (t, g) in enumerate(zip(tensors, grads, strict=True)):
        flat = t.detach().numpy().ravel().copy()
        for j in range(flat.size):
            values = []
            for step in (1e-6, -1e-6):
                moved = flat.copy()
                moved[j] += step
                args = [u.detach() for u in tensors]
                args[k] = torch.tensor(moved.reshape(t.shape).tolist(), dtype=torch.float64)
                values.append(fn(*args).item())
            slope = (values[0] - values[1]) / 2e-6
            assert abs(slope - g.numpy().ravel()[j]) < 1e-5 * max(1, abs(slope)), (k, j)


# ---- gather and scatter --------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_gather(dim):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4, 5))
    index = rng.integers(0, x.shape[dim], (3, 4, 5))
    got = torch.from_numpy(x).gather(dim, torch.from_numpy(index))
    np.testing.assert_array_equal(got.numpy(), np.take_along_axis(x, index, dim))
    smaller = index[:2, :3, :2]
    got = torch.from_numpy(x).gather(dim, torch.from_numpy(np.ascontiguousarray(smaller)))
    np.testing.assert_array_equal(got.numpy(), np.take_along_axis(x, index, dim)[:2, :3, :2])


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("size", [4, 40])
def test_scatter_add_in_any_direction(dim, size):
    rng = np.random.default_rng(1)
    x, src = rng.standard_normal((2, size, size, size))
    index = rng.integers(0, size, x.shape)
    expected = x.copy()
    places = list(np.indices(x.shape))
    places[dim] = index
    np.add.at(expected, tuple(places), src)
    got = torch.from_numpy(x).scatter_add(dim, torch.from_numpy(index), torch.from_numpy(src))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)
    again = torch.from_numpy(x).scatter_add(dim, torch.from_numpy(index), torch.from_numpy(src))
    assert (again == got).all()


def test_scatter_forms():
    x, index = torch.zeros(2, 3), torch.tensor([[2], [0]])
    assert x.scatter(1, index, 5.0).tolist() == [[0, 0, 5], [5, 0, 0]]
    assert x.scatter(1, index, torch.ones(2, 2)).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert x.sum().item() == 0
    assert x.scatter_(1, index, 2.0) is x
    assert x.scatter(1, index, 3.0, reduce="multiply").tolist() == [[0, 0, 6], [6, 0, 0]]
    assert x.t().scatter(0, index.t(), 9.0).tolist() == [[0, 9], [0, 0], [9, 0]]


REDUCE = {
    "sum": lambda own, new: sum(new, own),
    "prod": lambda own, new: np.prod([own, *new]),
    "amax": lambda own, new: max([own, *new]),
    "amin": lambda own, new: min([own, *new]),
    "mean": lambda own, new: np.mean([own, *new]),
}


@pytest.mark.parametrize("reduce", REDUCE)
def test_scatter_reduce(reduce):
    x, src = [1.5, -2.0, 3.0], [4.0, -1.0, 0.5, 2.0]
    index = [0, 2, 0, 0]
    new = {0: [4.0, 0.5, 2.0], 1: [], 2: [-1.0]}
    i = torch.tensor(index)
    got = torch.tensor(x).scatter_reduce(0, i, torch.tensor(src), reduce)
    np.testing.assert_allclose(got.tolist(), [REDUCE[reduce](x[k], new[k]) for k in range(3)])
    got = torch.tensor(x).scatter_reduce(0, i, torch.tensor(src), reduce, include_self=False)
    neutral = {"sum": 0.0, "prod": 1.0}
    expected = [
        x[k] if not new[k]
        else REDUCE[reduce](neutral[reduce], new[k]) if reduce in neutral
        else REDUCE[reduce](new[k][0], new[k][1:])
        for k in range(3)
    ]  # fmt: skip
    np.testing.assert_allclose(got.tolist(), expected)
    for include_self in (True, False):
        check_gradient(
            lambda a, b, s=include_self: (
                a.scatter_reduce(0, i, b, reduce, include_self=s) * torch.tensor([1.0, 2.0, 3.0])
            ).sum(),
            x, src,
        )  # fmt: skip


def test_scatter_reduce_of_zeros():
    """One zero among the factors still has a gradient."""
    i = torch.tensor([0, 0, 1])
    check_gradient(
        lambda a, b: a.scatter_reduce(0, i, b, "prod").sum(), [2.0, 0.0], [0.0, 3.0, 4.0]
    )


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int64, torch.complex64]
)
def test_adding_in_every_type(dtype):
    x = torch.tensor([1, 2]).to(dtype)
    got = x.index_add(0, torch.tensor([1, 1]), torch.tensor([3, 4]).to(dtype))
    assert got.dtype == dtype
    assert got.tolist() == [1, 9]


# ---- rows ----------------------------------------------------------------------------------------


def test_rows_by_number():
    x, i = torch.zeros(3, 2), torch.tensor([2, 0])
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.index_add(0, i, rows, alpha=2).tolist() == [[6, 8], [0, 0], [2, 4]]
    assert x.index_copy(0, i, rows).tolist() == [[3, 4], [0, 0], [1, 2]]
    assert x.index_fill(0, i, 7).tolist() == [[7, 7], [0, 0], [7, 7]]
    assert x.index_fill(1, torch.tensor([-1]), 7).tolist() == [[0, 7]] * 3
    assert x.index_reduce(0, i, rows, "amax").tolist() == [[3, 4], [0, 0], [1, 2]]
    assert x.sum().item() == 0
    x = torch.zeros(2, 3).t()
    x.index_copy_(0, i, rows)
    assert x.tolist() == [[3, 4], [0, 0], [1, 2]]


def test_gradients_of_writing_rows():
    i = torch.tensor([2, 0])
    weights = arange(3, 2)
    start, rows = [[0.5, 1.0], [2.0, 3.0], [4.0, 5.0]], [[1.0, 2.0], [3.0, 4.0]]
    check_gradient(lambda a, b: (a.index_add(0, i, b, alpha=3) ** 2 * weights).sum(), start, rows)
    check_gradient(lambda a, b: (a.index_copy(0, i, b) ** 2 * weights).sum(), start, rows)
    check_gradient(lambda a, b: (a.put(i, b[0]) ** 2 * weights).sum(), start, rows)
    check_gradient(lambda a, v: (a.index_fill(0, i, v) ** 2 * weights).sum(), start, 3.0)
    check_gradient(lambda a, b: (a.clone().index_add_(0, i, b) ** 2).sum(), start, rows)


def test_embedding_gradients():
    weight, index = arange(4, 2).requires_grad_(), torch.tensor([1, 3, 1, 1])
    lookup = torch.nn.functional.embedding
    (g,) = torch.autograd.grad(lookup(index, weight).sum(), [weight])
    assert g[:, 0].tolist() == [0, 3, 0, 1]
    (g,) = torch.autograd.grad(lookup(index, weight, padding_idx=1).sum(), [weight])
    assert g[:, 0].tolist() == [0, 0, 0, 1]
    (g,) = torch.autograd.grad(lookup(index, weight, scale_grad_by_freq=True).sum(), [weight])
    assert g[:, 0].tolist() == [0, 1, 0, 1]


# ---- masks ---------------------------------------------------------------------------------------


def test_where_and_masks():
    x, mask = arange(2, 3), arange(2, 3) > 2
    a, m = x.numpy(), mask.numpy()
    np.testing.assert_array_equal(torch.where(mask, x, -1).numpy(), np.where(m, a, -1))
    np.testing.assert_array_equal(torch.where(mask)[1].numpy(), np.where(m)[1])
    np.testing.assert_array_equal(mask.nonzero().numpy(), np.argwhere(m))
    np.testing.assert_array_equal(x.masked_select(mask).numpy(), a[m])
    np.testing.assert_array_equal(x.masked_fill(mask, 9).numpy(), np.where(m, 9, a))
    source = torch.tensor([7.0, 8.0, 9.0, 10.0], dtype=torch.float64)
    assert x.masked_scatter(mask, source).tolist() == [[0, 1, 2], [7, 8, 9]]
    assert torch.where(mask, 1.0, 0.0).dtype == torch.float32
    assert torch.where(mask, x.float(), 1).dtype == torch.float32
    assert torch.zeros(3, 0).nonzero().shape == (0, 2)
    assert torch.tensor(5).nonzero().shape == (1, 0)
    with pytest.raises(RuntimeError, match="boolean tensor"):
        torch.where(x, x, x)
    with pytest.raises(RuntimeError, match="Number of elements of source"):
        x.masked_scatter(mask, source[:2])


def test_gradients_through_masks():
    mask = arange(2, 2) > 1
    start = [[1.0, 2.0], [3.0, 4.0]]
    check_gradient(lambda a, b: (torch.where(mask, a * a, b * 3)).sum(), start, start)
    check_gradient(lambda a: (a.masked_select(mask) ** 2).sum(), start)
    check_gradient(lambda a, v: (a.masked_fill(mask, v) ** 2).sum(), start, 3.0)
    check_gradient(lambda a, b: (a.masked_scatter(mask, b) ** 2).sum(), start, [5.0, 6.0])


# ---- joining -------------------------------------------------------------------------------------


def test_joining_against_numpy():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(9.0).reshape(3, 3)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    pairs = [
        (torch.cat([x, y]), np.concatenate([a, b])),
        (torch.cat([x.t(), y], 1), np.concatenate([a.T, b], 1)),
        (torch.cat([x, x, x], -1), np.concatenate([a, a, a], -1)),
        (torch.stack([x, x + 1], 1), np.stack([a, a + 1], 1)),
        (torch.stack([x] * 45, 2), np.stack([a] * 45, 2)),
        (torch.hstack([x[0], y[0]]), np.hstack([a[0], b[0]])),
        (torch.vstack([x[0], y]), np.vstack([a[0], b])),
        (torch.dstack([x, x]), np.dstack([a, a])),
        (torch.column_stack([x[:, 0], x]), np.column_stack([a[:, 0], a])),
    ]
    for got, expected in pairs:
        np.testing.assert_array_equal(got.numpy(), expected)


def test_joining_large_tensors():
    parts = [np.arange(k, k + 300_000.0).reshape(100, -1) for k in range(3)]
    got = torch.cat([torch.from_numpy(p) for p in parts], 1)
    np.testing.assert_array_equal(got.numpy(), np.concatenate(parts, 1))


def test_joining_promotes_and_differentiates():
    x = torch.tensor([1, 2])
    assert torch.cat([x, torch.tensor([0.5])]).dtype == torch.float32
    assert torch.cat([torch.zeros(0), torch.ones(2, 2)]).shape == (2, 2)
    check_gradient(lambda a, b: (torch.cat([a, b, a]) ** 2 * arange(5)).sum(), [1.0, 2.0], [3.0])
    check_gradient(lambda a, b: (torch.stack([a, b], 1) ** 3).sum(), [1.0, 2.0], [3.0, 4.0])


def test_join_errors():
    with pytest.raises(ValueError, match="non-empty list"):
        torch.cat([])
    with pytest.raises(
        RuntimeError, match=r"Expected size 3 but got size 2.*\(2, 3\) and \(2, 2\)"
    ):
        torch.cat([torch.zeros(2, 3), torch.zeros(2, 2)])
    with pytest.raises(
        RuntimeError, match=r"equal size, but got \[2\] at entry 0 and \[3\] at entry 1"
    ):
        torch.stack([torch.zeros(2), torch.zeros(3)])
    with pytest.raises(TypeError, match="element 1"):
        torch.cat([torch.zeros(2), 3])
    x = torch.zeros(4)
    with pytest.raises(RuntimeError, match="single memory location"):
        torch.cat([x[:2], x[2:]], out=x)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda x, i: x.scatter(0, i, torch.ones(2).double()),
            "self.dtype to be equal to src.dtype",
        ),
        (lambda x, i: x.index_add(0, i, torch.ones(3)), "Number of indices"),
        (
            lambda x, i: x.index_add(0, i, torch.ones(2, 2)),
            "must match input except along dim 0|source",
        ),
        (lambda x, i: x.scatter_reduce(0, i, x, "median"), "must be either sum, prod"),
        (lambda x, i: x.index_copy(0, i.int(), torch.ones(2)), "Expected a long tensor"),
        (lambda x, i: x.masked_fill(i, 0), "boolean masks"),
        (lambda x, i: x.scatter(0, i.view(2, 1), 1.0), "same number of dimensions"),
    ],
)
def test_scatter_errors(call, text):
    with pytest.raises(RuntimeError, match=text):
        call(torch.zeros(4), torch.tensor([0, 1]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_many_halves_are_added_up_in_float32(dtype):
    x = torch.randn(20, 1000).to(getattr(torch, dtype))
    index = torch.randint(0, 1000, (20, 1000))
    exact = x.float().scatter_add(1, index, x.float()).to(x.dtype)
    assert torch.equal(x.scatter_add(1, index, x), exact)
    assert torch.equal(x.clone().scatter_add_(1, index, x), exact)
    rows = x.float().index_add(1, index[0], x.float())
    assert torch.allclose(x.index_add(1, index[0], x).float(), rows, rtol=0.05, atol=0.1)
    turned = x.t().contiguous().t()
    assert torch.equal(turned.scatter_add(1, index, x), exact)
    with pytest.raises(RuntimeError, match="out of bounds"):
        x.scatter_add(1, index + 1, x)
