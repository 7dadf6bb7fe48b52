"""Matrices in compressed row format against dense ones."""

import copy
import io
import pickle

import pytest

import flambeau as torch

from .test_tensor import draw


def make(shape=(4, 5), seed=0):
    return draw(shape, nnz=9, seed=seed).to_sparse_csr()


def test_what_it_is():
    t = torch.sparse_csr_tensor([0, 1, 1, 3], [2, 0, 2], [3.0, 4.0, 5.0], (3, 4))
    assert (t.is_sparse, t.is_sparse_csr, t.layout) == (False, True, torch.sparse_csr)
    assert (t.shape, t._nnz(), t.sparse_dim(), t.dense_dim()) == ((3, 4), 3, 2, 0)
    assert t.crow_indices().tolist() == [0, 1, 1, 3]
    assert t.col_indices().tolist() == [2, 0, 2]
    assert t.to_dense().tolist() == [[0, 0, 3, 0], [0, 0, 0, 0], [4, 0, 5, 0]]
    assert repr(t) == (
        "tensor(crow_indices=tensor([0, 1, 1, 3]),\n"
        "       col_indices=tensor([2, 0, 2]),\n"
        "       values=tensor([3., 4., 5.]), size=(3, 4), nnz=3,\n"
        "       layout=torch.sparse_csr)"
    )


@pytest.mark.parametrize("shape", [(4, 5), (1, 7), (7, 1), (3, 0), (0, 3)])
def test_dense_and_back(shape):
    dense = torch.randn(shape).relu()
    t = dense.to_sparse_csr()
    assert torch.equal(t.to_dense(), dense)
    assert torch.equal(t.to_sparse().to_dense(), dense)
    assert torch.equal(t.to_sparse().to_sparse_csr().to_dense(), dense)
    assert t.to_sparse_csr() is t


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (([0, 1, 2], [0, 3], [1.0, 2.0], (2, 3)), "must be in 0 .. 2"),
        (([0, 1, 2], [0, -1], [1.0, 2.0], (2, 3)), "must be in 0 .. 2"),
        (([0, 1, 3], [0, 1], [1.0, 2.0], (2, 3)), "number of elements, 2"),
        (([0, 3, 2], [0, 1], [1.0, 2.0], (2, 3)), "must rise"),
        (([1, 1, 2], [0, 1], [1.0, 2.0], (2, 3)), "must rise from 0"),
        (([0, 2, 2], [1, 0], [1.0, 2.0], (2, 3)), "sorted and distinct"),
        (([0, 2, 2], [1, 1], [1.0, 2.0], (2, 3)), "sorted and distinct"),
        (([0, 1, 2], [0, 1], [1.0], (2, 3)), "do not fit"),
        (([0, 1, 2], [0, 1], [1.0, 2.0], (3, 3)), "do not fit"),
        (([0, 1, 2], [0, 1], [[1.0], [2.0]], (2, 3)), "one matrix"),
    ],
)
def test_parts_must_fit(parts, text):
    with pytest.raises(RuntimeError, match=text):
        torch.sparse_csr_tensor(*parts)


def test_arithmetic():
    a, b, x = make(), make(seed=1), torch.randn(4, 5).double()
    da, db = a.to_dense(), b.to_dense()
    for made, wanted in [
        (a + b, da + db),
        (a - b, da - db),
        (a * 2, da * 2),
        (a / 4, da / 4),
        (a * b, da * db),
        (a * x, da * x),
        (-a, -da),
        (a.abs(), da.abs()),
        (a @ b.to_dense().t().to_sparse_csr(), da @ db.t()),
        (a.float().double(), da.float().double()),
        (a.clone().mul_(3), da * 3),
    ]:
        assert made.is_sparse_csr
        assert torch.allclose(made.to_dense(), wanted)
    assert torch.allclose(x + a, x + da)
    assert a.to(torch.float64) is a


def test_products():
    a, x = make(), torch.randn(5, 3).double()
    dense = a.to_dense()
    assert torch.allclose(a @ x, dense @ x)
    assert torch.allclose(a @ x[:, 0], dense @ x[:, 0])
    assert torch.allclose(torch.sparse.mm(a, x), dense @ x)
    assert torch.allclose(x.t() @ a.t(), (dense @ x).t())
    c = torch.randn(4, 3).double()
    assert torch.allclose(torch.sparse.addmm(c, a, x, beta=2.0), 2 * c + dense @ x)
    assert torch.allclose(a.sum(), dense.sum())


def test_sampled_products():
    from flambeau.autograd.gradcheck import gradcheck

    t = make().requires_grad_()
    a, b = (torch.randn(n, dtype=torch.float64, requires_grad=True) for n in ((4, 3), (3, 5)))
    made = torch.sparse.sampled_addmm(t, a, b, beta=2.0, alpha=0.5)
    dense = t.detach().to_dense()
    wanted = (2 * dense + 0.5 * (a @ b)) * (dense != 0)
    assert made.is_sparse_csr
    assert torch.allclose(made.to_dense(), wanted)
    assert gradcheck(lambda a, b: torch.sparse.sampled_addmm(t.detach(), a, b).values(), (a, b))
    with pytest.raises(RuntimeError, match="do not give"):
        torch.sparse.sampled_addmm(t, b, a)
    with pytest.raises(RuntimeError, match="compressed rows"):
        torch.sparse.sampled_addmm(t.to_sparse(), a, b)


def test_gradients():
    values = torch.tensor([3.0, 4.0, 5.0], requires_grad=True)
    t = torch.sparse_csr_tensor([0, 1, 3], [2, 0, 2], values, (2, 3))
    x = torch.arange(6.0).view(3, 2)
    (t @ x).sum().backward()
    assert values.grad.tolist() == [9.0, 1.0, 9.0]
    leaf = t.detach().requires_grad_()
    (leaf @ x).sum().backward()
    assert leaf.grad.is_sparse_csr
    assert leaf.grad.values().tolist() == [9.0, 1.0, 9.0]


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.exp(),
        lambda t: t.coalesce(),
        lambda t: t.indices(),
        lambda t: t.stride(),
        lambda t: t.numpy(),
        lambda t: t.data_ptr(),
        lambda t: torch.zeros(2, 2).copy_(t),
        lambda t: torch.cumsum(t, 0),
    ],
)
def test_refusals(call):
    with pytest.raises((RuntimeError, NotImplementedError, TypeError), match=r"(?i)sparse"):
        call(make())


def test_gradients_in_this_format_are_taken():
    weight = torch.ones(4, 5, dtype=torch.float64, requires_grad=True)
    (weight * 2).backward(make())
    assert torch.allclose(weight.grad, 2 * make().to_dense())
    weight.grad = None
    weight.backward(make())
    assert torch.equal(weight.grad.to_dense(), make().to_dense())


@pytest.mark.parametrize(
    "make_copy",
    [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t)), lambda t: t.clone()],
)
def test_copies(make_copy):
    t = make()
    made = make_copy(t)
    assert made.is_sparse_csr
    assert torch.equal(made.to_dense(), t.to_dense())


def test_files():
    stream = io.BytesIO()
    torch.save(make(), stream)
    stream.seek(0)
    made = torch.load(stream)
    assert made.is_sparse_csr
    assert torch.equal(made.to_dense(), make().to_dense())
