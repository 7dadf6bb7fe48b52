"""Arithmetic, products, sums and softmax of sparse tensors against dense ones, with gradients."""

import pytest

import flambeau as torch

from .test_tensor import SHAPES, draw


def same(t, dense):
    found = t.to_dense() if t.is_sparse else t
    return torch.allclose(found, dense, equal_nan=True)


@pytest.mark.parametrize(("shape", "split"), SHAPES)
def test_sums_and_products(shape, split):
    a, b = draw(shape, split, seed=1), draw(shape, split, seed=2)
    x = torch.randn(shape, dtype=torch.float64)
    da, db = a.to_dense(), b.to_dense()
    assert same(a + b, da + db)
    assert same(a.coalesce() + b.coalesce(), da + db)
    assert (a.coalesce() + b.coalesce()).is_coalesced()
    assert same(torch.add(a, b, alpha=-2), da - 2 * db)
    assert same(a - b, da - db)
    assert same(x + a, x + da)
    assert same(x - a, x - da)
    assert same(a * b, da * db)
    assert same(a * x, da * x)
    assert same(x * a, da * x)
    assert same(a * x[:1], da * x[:1])
    assert same(a * 3, da * 3)
    assert same(2 * a, da * 2)
    assert same(a * torch.tensor(2.0), da * 2)
    assert same(a / 4, da / 4)
    assert same(a**2, da**2)
    assert same(-a, -da)


def test_numbers_of_coordinates_add_up_without_coalescing():
    a, b = draw(seed=1), draw(seed=2, nnz=4)
    assert (a + b)._nnz() == 11


@pytest.mark.parametrize("name", ["abs", "sqrt", "sin", "tanh", "relu", "sign", "expm1", "floor"])
def test_functions_that_keep_zero(name):
    t = draw(nnz=30)
    dense = t.to_dense()
    wanted = getattr(dense, name)()
    made = getattr(t, name)()
    assert made.is_sparse
    assert torch.allclose(made.to_dense(), wanted, equal_nan=True)
    getattr(t, name + "_")()
    assert torch.allclose(t.to_dense(), wanted, equal_nan=True)


def test_in_place():
    t, x = draw(seed=1), torch.randn(4, 5, dtype=torch.float64)
    dense = t.to_dense()
    kept = x
    x += t
    kept -= t
    kept.add_(t, alpha=3)
    x.t().add_(t.t())
    assert x is kept
    t *= 2
    t /= 4
    t.add_(t)
    assert same(t, dense)
    t.sub_(t)
    assert same(t, dense * 0)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        draw().requires_grad_().mul_(2)
    with pytest.raises(RuntimeError, match="can't be cast"):
        draw(dtype=torch.float32).to(torch.int64).mul_(1.5)


def test_promotion():
    a = draw(dtype=torch.float32)
    assert (a + a.double()).dtype is torch.float64
    assert (torch.ones(4, 5) + a.double()).dtype is torch.float64
    assert (a.to(torch.int64) * 1.5).dtype is torch.float32


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda a: a + draw((5, 4)), "sizes of 'self' and 'other' to match"),
        (lambda a: a + draw((4, 5), 1), "same number of sparse dimensions"),
        (lambda a: a * draw((5, 4)), "sizes of 'self' and 'other' to match"),
        (lambda a: a * torch.ones(3), "does not broadcast"),
        (lambda a: torch.ones(4, 4) + a, "sizes"),
        (lambda a: a**0, "zeroth power"),
        (lambda a: a @ torch.ones(4, 2).double(), "inner sizes differ"),
        (lambda a: a @ torch.ones(5, 2), "same dtype"),
        (lambda a: torch.sparse.sum(torch.ones(2)), "expected a sparse tensor"),
        (lambda a: torch.sparse.mm(draw((4, 5), 1), torch.ones(5, 2).double()), "two sparse"),
    ],
)
def test_errors(call, text):
    with pytest.raises(RuntimeError, match=text):
        call(draw())


def test_products_of_matrices():
    a, b = draw((4, 5), nnz=12, seed=1), draw((5, 3), nnz=9, seed=2)
    da, db = a.to_dense(), b.to_dense()
    x = torch.randn(4, 3, dtype=torch.float64)
    assert same(a @ db, da @ db)
    assert same(torch.mm(a, db), da @ db)
    assert same(da @ b, da @ db)
    assert same(a @ b, da @ db)
    assert (a @ b).is_sparse
    assert (a @ b).is_coalesced()
    assert same(a @ db[:, 0], da @ db[:, 0])
    assert same(torch.mv(a, db[:, 0]), da @ db[:, 0])
    assert same(torch.addmm(x, a, db, beta=2, alpha=3), 2 * x + 3 * (da @ db))
    assert same(torch.sparse.addmm(x, a, db, beta=0.5), 0.5 * x + da @ db)
    assert same(torch.sparse.mm(a, db), da @ db)
    wide = torch.randn(5, 70000, dtype=torch.float64)  # one element a block
    assert same(a @ wide, da @ wide)
    batch = draw((2, 4, 5), nnz=20)
    y = torch.randn(2, 5, 3, dtype=torch.float64)
    assert same(torch.bmm(batch, y), batch.to_dense() @ y)


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64, torch.complex64])
def test_products_of_other_types(dtype):
    t = torch.sparse_coo_tensor([[0, 1, 1], [2, 0, 2]], [1, 2, 3], (2, 3)).to(dtype)
    x = torch.arange(6).view(3, 2).to(dtype)
    assert torch.equal(t @ x, torch.tensor([[4, 5], [12, 17]]).to(dtype))


def test_products_are_the_same_with_any_number_of_threads():
    t = draw((500, 300), nnz=20000, dtype=torch.float32).coalesce()
    x = torch.randn(300, 40)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(t @ x)
    torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("dim", [None, 0, 1, 2, -1, (0, 1), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("split", [1, 2, 3])
def test_sum(dim, split):
    t = draw((2, 3, 4), split, nnz=9)
    assert same(
        torch.sparse.sum(t, dim), t.to_dense().sum() if dim is None else t.to_dense().sum(dim)
    )
    assert same(t.sum() if dim is None else t.sum(dim), t.to_dense().sum(dim))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("split", "dim"), [(1, 0), (1, 1), (2, 0), (2, 1), (2, -1), (3, 2)])
def test_softmax_counts_listed_elements(split, dim, log):
    t = draw((3, 4, 2), split, nnz=11)
    listed = torch.sparse_coo_tensor(t._indices(), torch.ones_like(t._values()), t.shape)
    hidden = (listed.to_dense() == 0).double()
    wanted = (t.to_dense() - 1e300 * hidden).softmax(dim)
    made = (torch.sparse.log_softmax if log else torch.sparse.softmax)(t, dim)
    found = made.coalesce()
    values = found.values().exp() if log else found.values()
    again = torch.sparse_coo_tensor(found.indices(), values, t.shape).to_dense()
    assert torch.allclose(again, wanted.where(hidden == 0, torch.zeros(()).double()))


# ---- gradients -----------------------------------------------------------------------------------

FUNCTIONS = {
    "to_dense": lambda t, x: t.to_dense(),
    "coalesce": lambda t, x: t.coalesce().values() ** 2,
    "add": lambda t, x: (t + t * 2).to_dense(),
    "add dense": lambda t, x: x + t,
    "mul": lambda t, x: (t * x).to_dense(),
    "mul sparse": lambda t, x: (t * (t + t)).to_dense(),
    "mm": lambda t, x: torch.sparse.mm(t, x.t()),
    "mm both": lambda t, x: (t @ t.t()).to_dense(),
    "dense mm": lambda t, x: x.t() @ t,
    "addmm": lambda t, x: torch.sparse.addmm(x @ x.t(), t, x.t()),
    "sum": lambda t, x: torch.sparse.sum(t, 0).to_dense() ** 2,
    "softmax": lambda t, x: torch.sparse.softmax(t, 1).values() * 3,
    "log_softmax": lambda t, x: torch.sparse.log_softmax(t, 0).values(),
    "tanh": lambda t, x: t.tanh().to_dense(),
    "transpose": lambda t, x: t.t().to_dense() ** 2,
    "mask": lambda t, x: x.sparse_mask(t.detach()).to_dense() * t.to_dense(),
    "select": lambda t, x: t[1].to_dense() ** 2,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name):
    shape = draw()
    index = shape._indices()

    def run(values, x):
        return FUNCTIONS[name](torch.sparse_coo_tensor(index, values, shape.shape), x)

    values = shape._values().clone().requires_grad_()
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    from flambeau.autograd.gradcheck import gradcheck, gradgradcheck

    assert gradcheck(run, (values, x))
    assert gradgradcheck(run, (values, x))


def test_gradients_of_complex_products():
    from flambeau.autograd.gradcheck import gradcheck

    index = draw()._indices()
    values = torch.randn(7, dtype=torch.complex128, requires_grad=True)
    x = torch.randn(5, 2, dtype=torch.complex128, requires_grad=True)
    assert gradcheck(lambda v, x: torch.sparse_coo_tensor(index, v, (4, 5)) @ x, (values, x))


def test_the_gradient_of_a_sparse_leaf_is_sparse():
    t = draw(nnz=3).coalesce().requires_grad_()
    weight = torch.randn(4, 5, dtype=torch.float64)
    (t.to_dense() * weight).sum().backward()
    assert t.grad.is_sparse
    assert torch.equal(t.grad.values(), weight.sparse_mask(t.detach()).values())
    (t * 2).to_dense().sum().backward()
    assert torch.allclose(t.grad.values(), weight.sparse_mask(t.detach()).values() + 2)
    t.grad = None
    assert t.grad is None
    (found,) = torch.autograd.grad((t @ weight.t()).sum(), t)
    assert found.is_sparse
    (t * 3).backward(torch.ones(4, 5).double())
    assert t.grad.values().tolist() == [3.0] * 3
    with torch.no_grad():
        t.sub_(t.grad)
    assert t.is_leaf
    assert t.requires_grad


def test_hooks_see_sparse_gradients():
    t = draw(nnz=3).coalesce().requires_grad_()
    seen = []
    t.register_hook(lambda g: seen.append(g.is_sparse) or g * 10)
    t.to_dense().sum().backward()
    assert seen == [True]
    assert t.grad.values().tolist() == [10.0] * 3
