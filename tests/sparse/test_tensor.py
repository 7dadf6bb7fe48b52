"""Sparse tensors against the dense tensors that they stand for: construction, conversion, parts."""

import copy
import pickle

import pytest

import flambeau as torch


def draw(shape=(4, 5), sparse_dim=None, nnz=7, seed=0, dtype=torch.float64):
    """A sparse tensor with repeated coordinates."""
    torch.manual_seed(seed)
    split = len(shape) if sparse_dim is None else sparse_dim
    index = torch.stack([torch.randint(0, n, (nnz,)) for n in shape[:split]])
    return torch.sparse_coo_tensor(index, torch.randn(nnz, *shape[split:], dtype=dtype), shape)


def add_up(t):
    """The dense tensor, element by element."""
    made = torch.zeros(t.shape, dtype=t.dtype)
    for place, value in zip(t._indices().t().tolist(), t._values(), strict=True):
        made[tuple(place)] += value
    return made


SHAPES = [((6,), 1), ((4, 5), 2), ((4, 5), 1), ((2, 3, 4), 2), ((2, 3, 4), 3), ((1, 7), 2)]


@pytest.mark.parametrize(("shape", "split"), SHAPES)
def test_dense_and_back(shape, split):
    t = draw(shape, split)
    dense = t.to_dense()
    assert torch.allclose(dense, add_up(t))
    again = dense.to_sparse(split)
    assert again.is_coalesced()
    assert (again.sparse_dim(), again.dense_dim()) == (split, len(shape) - split)
    assert torch.equal(again.to_dense(), dense)


@pytest.mark.parametrize(("shape", "split"), SHAPES)
def test_coalesce_sorts_and_adds(shape, split):
    t = draw(shape, split, nnz=50)
    made = t.coalesce()
    places = made.indices().t().tolist()
    assert places == sorted(map(list, {tuple(p) for p in t._indices().t().tolist()}))
    assert torch.allclose(made.to_dense(), add_up(t))
    assert made.coalesce() is made
    assert not t.is_coalesced()


def test_coalesce_is_the_same_with_any_number_of_threads():
    t = draw((300, 8), 1, nnz=40000, dtype=torch.float32)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(t.coalesce().values())
    torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64, torch.bool, torch.complex64])
def test_element_types(dtype):
    values = torch.tensor([1, 0, 1]).to(dtype)
    t = torch.sparse_coo_tensor([[0, 1, 0]], values, (3,))
    wanted = [1, 0, 0] if dtype is torch.bool else [2, 0, 0]
    assert torch.equal(t.to_dense(), torch.tensor(wanted).to(dtype))
    assert torch.equal(t.coalesce().to_dense(), t.to_dense())
    assert t.to(torch.complex128).dtype is torch.complex128


def test_what_a_sparse_tensor_is():
    t = draw((4, 5), 1, nnz=3)
    assert t.is_sparse
    assert t.layout is torch.sparse_coo
    assert isinstance(t, torch.Tensor)
    assert (t.shape, t.dim(), t.numel(), len(t), t._nnz()) == ((4, 5), 2, 20, 4, 3)
    assert (t.sparse_dim(), t.dense_dim()) == (1, 1)
    assert not torch.ones(2).is_sparse
    assert (torch.ones(2, 3).sparse_dim(), torch.ones(2, 3).dense_dim()) == (0, 2)


def test_without_elements():
    for t in (torch.sparse_coo_tensor((2, 3)), torch.zeros(2, 3, layout=torch.sparse_coo)):
        assert t._nnz() == 0
        assert torch.equal(t.to_dense(), torch.zeros(2, 3))
        assert torch.equal((t + t).coalesce().to_dense(), torch.zeros(2, 3))
        assert torch.equal(t @ torch.ones(3, 2), torch.zeros(2, 2))
    assert torch.sparse_coo_tensor((0, 3)).to_dense().shape == (0, 3)
    scalar = torch.tensor(5.0).to_sparse()
    assert (scalar.sparse_dim(), scalar._nnz(), scalar.to_dense().item()) == (0, 1, 5.0)


def test_shares_the_memory_of_its_values():
    values = torch.ones(2)
    t = torch.sparse_coo_tensor([[0, 2]], values, (3,))
    t._values().mul_(3)
    assert values.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("indices", "values", "size", "text"),
    [
        ([[0, 3]], [1.0, 2.0], (3,), "for dim 0, size is 3 but found index 3"),
        ([[0, -1]], [1.0, 2.0], (3,), "negative index -1 for dim 0"),
        ([[0, -1]], [1.0, 2.0], None, "negative index -1 for dim 0"),
        ([[0, 1]], [1.0], (3,), "indices: 2, nnz from values: 1"),
        ([[0, 1]], [1.0, 2.0], (3, 3), "sparse_dim = 1, dense_dim = 0"),
        ([0, 1], [1.0, 2.0], (3,), "sparse_dim x nnz"),
        ([[0]], [[1.0, 2.0]], (3, 4), "incorrect size, expected \\[1, 4\\]"),
        ([[0]], [1.0], (-1,), "negative dimension"),
        ([[0], [0], [0]], [1.0], (1 << 31, 1 << 31, 4), "overflow"),
    ],
)
def test_parts_must_fit(indices, values, size, text):
    with pytest.raises(RuntimeError, match=text):
        torch.sparse_coo_tensor(indices, values, size)


def test_claimed_order_is_checked():
    with pytest.raises(RuntimeError, match="is_coalesced"):
        torch.sparse_coo_tensor([[1, 1]], [1.0, 2.0], (2,), is_coalesced=True)
    assert torch.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (2,), is_coalesced=True).is_coalesced()


def test_parts_of_uncoalesced_tensors_are_refused():
    t = draw()
    for name in ("indices", "values"):
        with pytest.raises(RuntimeError, match=f"Cannot get {name} on an uncoalesced"):
            getattr(t, name)()
    for name in ("indices", "values", "coalesce", "_nnz"):
        with pytest.raises(RuntimeError, match="got Strided"):
            getattr(torch.ones(2), name)()


class Wrapped(torch.Tensor):
    """A subclass whose ops run under the protocol's own switch."""


REFUSED = {
    "exp": lambda t: t.exp(),
    "cos": lambda t: torch.cos(t),
    "view": lambda t: t.view(-1),
    "eq": lambda t: t == t,
    "linear": lambda t: torch.nn.functional.linear(torch.ones(2, 5).double(), t),
    "cumsum": lambda t: t.cumsum(0),
    "where": lambda t: torch.where(torch.ones(4, 5) > 0, t, 0.0),
    "max": lambda t: t.max(),
    "reshape": lambda t: t.reshape(2, 10),
    "fill_": lambda t: t.fill_(1),
    "copy_": lambda t: torch.ones(4, 5).double().copy_(t),
    "index_put_": lambda t: t.__setitem__(0, 1.0),
    "sparse tensors are indexed": lambda t: t[:, 1:],
    "numpy": lambda t: t.numpy(),
    "storage": lambda t: t.untyped_storage(),
    "_no_memory|storage": lambda t: t.data_ptr(),
    "atan2": lambda t: torch.atan2(torch.ones(4, 5).double().as_subclass(Wrapped), t),
    "vector_norm|norm": lambda t: torch.linalg.vector_norm(t),
    "memory of a sparse tensor": lambda t: torch.ones(4, 5).__setattr__("data", t),
    "add\\(sparse, dense\\)": lambda t: t + 1,
    "requires a scalar": lambda t: t / torch.ones(4, 5),
    "dense tensor cannot": lambda t: torch.ones(4, 5).mul_(t),
}


@pytest.mark.parametrize("text", REFUSED)
def test_dense_ops_refuse_sparse_tensors(text):
    with pytest.raises((RuntimeError, NotImplementedError, TypeError), match=f"(?i){text}|setitem"):
        REFUSED[text](draw())


def test_no_op_of_one_operand_reads_the_placeholder():
    """Every op either refuses a sparse tensor or gives what it gives for the dense one."""
    t = draw((3, 3)).coalesce()
    answered = 0
    for name, op in torch.ops.NAMESPACES[""].items():
        if not isinstance(op, torch.core.Op | torch.core.LoopOp) or name.endswith("_"):
            continue
        try:
            made = op(t)
        except (NotImplementedError, RuntimeError, TypeError, IndexError):
            continue
        if name.endswith("_like") or not isinstance(made, torch.Tensor):
            continue
        answered += 1
        dense = made.to_dense() if made.is_sparse else made
        assert torch.allclose(dense.double(), op(t.to_dense()).double(), equal_nan=True), name
    assert answered > 30


def test_other_layouts_say_what_to_use():
    with pytest.raises(NotImplementedError, match=r"only torch\.sparse_coo"):
        torch.ones(2, 2).to_sparse_csc()
    with pytest.raises(NotImplementedError, match=r"only torch\.sparse_coo"):
        torch.sparse_bsr_tensor([0, 1], [0], [[[1.0]]])


def test_text():
    t = torch.sparse_coo_tensor([[0, 1, 1], [2, 0, 2]], [3.0, 4.0, 5.0], (2, 3))
    assert repr(t) == (
        "tensor(indices=tensor([[0, 1, 1],\n"
        "                       [2, 0, 2]]),\n"
        "       values=tensor([3., 4., 5.]),\n"
        "       size=(2, 3), nnz=3, layout=torch.sparse_coo)"
    )


@pytest.mark.parametrize(
    "make", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
)
def test_copies(make):
    t = draw((4, 5), 1).requires_grad_()
    made = make(t)
    assert torch.equal(made.detach(), t.detach())
    assert made.requires_grad
    assert made.is_coalesced() == t.is_coalesced()


def test_clone_detach_zero_and_copy():
    t = draw()
    other = t.clone()
    assert torch.equal(other, t)
    other.zero_()
    assert (other._nnz(), t._nnz()) == (0, 7)
    assert torch.equal(other.copy_(t), t)
    assert other._values().data_ptr() != t._values().data_ptr()
    assert t.detach()._values().data_ptr() == t._values().data_ptr()
    assert torch.zeros_like(t)._nnz() == 0
    assert t.float().dtype is torch.float32
    assert t.to(torch.float64) is t
    assert torch.ones(2).to(t).dtype is torch.float64


@pytest.mark.parametrize(("shape", "split"), SHAPES)
def test_mask(shape, split):
    mask = draw(shape, split, seed=1)
    dense = torch.randn(shape, dtype=torch.float64)
    made = dense.sparse_mask(mask)
    assert torch.equal(made._indices(), mask._indices())
    assert torch.equal(made.coalesce().to_dense() != 0, mask.coalesce().to_dense() != 0)
    same = draw(shape, split, seed=2).sparse_mask(mask.coalesce())
    kept = (mask.coalesce().to_dense() != 0) if split == len(shape) else None
    wanted = draw(shape, split, seed=2).to_dense()
    if kept is not None:
        assert torch.allclose(same.to_dense(), wanted * kept)


def test_order_and_slices():
    t = draw((2, 3, 4), 3, nnz=9)
    dense = t.to_dense()
    assert torch.equal(t.transpose(0, 2).to_dense(), dense.transpose(0, 2))
    assert torch.equal(t.permute(2, 0, 1).to_dense(), dense.permute(2, 0, 1))
    assert torch.equal(t.unsqueeze(1).to_dense(), dense.unsqueeze(1))
    assert torch.equal(t.unsqueeze(1).squeeze(1).to_dense(), dense)
    assert torch.allclose(t[1].to_dense(), dense[1])
    assert torch.allclose(t.select(2, -1).to_dense(), dense.select(2, -1))
    assert t[0, 1, 2].item() == pytest.approx(dense[0, 1, 2].item())
    index = torch.tensor([2, 0, 2])
    assert torch.allclose(t.index_select(1, index).to_dense(), dense.index_select(1, index))
    assert [torch.allclose(a.to_dense(), b) for a, b in zip(t, dense, strict=True)] == [True, True]
    matrix = draw()
    assert torch.equal(matrix.t().to_dense(), matrix.to_dense().t())
    assert torch.equal(matrix.T.to_dense(), matrix.to_dense().t())
    with pytest.raises(RuntimeError, match="sparse and dense dimensions"):
        draw((4, 5), 1).t()


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("split", [1, 2])
def test_join(dim, split):
    parts = [draw((3, 4), split, seed=s) for s in (1, 2)]
    dense = [p.to_dense() for p in parts]
    assert torch.allclose(torch.cat(parts, dim).to_dense(), torch.cat(dense, dim))
    assert torch.allclose(torch.stack(parts, dim).to_dense(), torch.stack(dense, dim))
