"""Sparse tensors beside PyTorch's: values, structure, text, gradients, training, files."""

from __future__ import annotations

import io

import pytest

torch = pytest.importorskip("torch")

import flambeau  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

INDEX = [[0, 1, 3, 1], [2, 0, 2, 4]]
VALUES = [[1.0, -2.0], [0.5, 3.0], [4.0, 0.25], [-1.5, 2.5]]


def make(library, split=2, **options):
    if split == 2:
        return library.sparse_coo_tensor(INDEX, [v[0] for v in VALUES], (4, 5), **options)
    return library.sparse_coo_tensor(INDEX[:1], VALUES, (4, 2), **options)


def describe(value):
    """A result as plain data."""
    if isinstance(value, (torch.Tensor, flambeau.Tensor)):
        if not value.is_sparse:
            return ("dense", tuple(value.shape), str(value.dtype), value.detach().tolist())
        t = value.detach()
        parts = (t._indices().tolist(), t._values().tolist(), t.is_coalesced())
        return ("sparse", tuple(t.shape), str(t.dtype), parts)
    return value


CALLS = {
    "coalesce": lambda lib, s: s.coalesce(),
    "add": lambda lib, s: s.coalesce() + s.coalesce() * 2,
    "mul": lambda lib, s: s.coalesce() * (s + s).coalesce(),
    "mul number": lambda lib, s: s * 2.5,
    "mul dense": lambda lib, s: s * lib.ones(s.shape),
    "div": lambda lib, s: s / 4,
    "floor div": lambda lib, s: s.div(2, rounding_mode="floor"),
    "pow": lambda lib, s: s**2,
    "neg": lambda lib, s: -s,
    "abs": lambda lib, s: s.abs(),
    "isnan": lambda lib, s: s.isnan(),
    "sum": lambda lib, s: s.sum(),
    "sparse sum": lambda lib, s: lib.sparse.sum(s, 0),
    "sum 1": lambda lib, s: lib.sparse.sum(s, 1),
    "sum dtype": lambda lib, s: lib.sparse.sum(s, 0, dtype=lib.float64),
    "softmax": lambda lib, s: lib.sparse.softmax(s, 0),
    "dense + sparse": lambda lib, s: lib.ones(s.shape) + s,
    "dense - sparse": lambda lib, s: lib.ones(s.shape) - s,
    "mask": lambda lib, s: lib.arange(float(s.numel())).view(s.shape).sparse_mask(s),
    "to_sparse": lambda lib, s: s.to_dense().to_sparse(),
    "to_sparse 1": lambda lib, s: s.to_dense().to_sparse(1),
    "double": lambda lib, s: s.double(),
    "int": lambda lib, s: s.to(lib.int32),
    "zeros_like": lambda lib, s: lib.zeros_like(s),
    "clone": lambda lib, s: s.clone(),
    "cat": lambda lib, s: lib.cat([s, s], 0),
    "stack": lambda lib, s: lib.stack([s, s]),
    "unsqueeze": lambda lib, s: s.unsqueeze(0),
    "select": lambda lib, s: s[1],
    "index_select": lambda lib, s: s.index_select(1, lib.tensor([1, 0])).coalesce(),
    "zero_": lambda lib, s: s.clone().zero_(),
    "questions": lambda lib, s: (
        s.is_sparse,
        str(s.layout),
        s.dim(),
        s.sparse_dim(),
        s.dense_dim(),
        s._nnz(),
        s.is_coalesced(),
        s.is_contiguous(),
        s.stride(),
        s.is_leaf,
        s.requires_grad,
        len(s),
        s.element_size(),
        s.is_floating_point(),
        s.any().item(),
        s.norm().item(),
    ),
    "text": lambda lib, s: repr(s),
    "text of double": lambda lib, s: repr(s.double().coalesce()),
    "text with gradient": lambda lib, s: repr(s.requires_grad_()),
    "empty": lambda lib, s: repr(lib.sparse_coo_tensor((2, 3), dtype=lib.float64)),
}
MATRICES = {
    "mm": lambda lib, s: s @ lib.arange(10.0).view(5, 2),
    "dense mm": lambda lib, s: lib.arange(8.0).view(2, 4) @ s,
    "mm sparse": lambda lib, s: s @ s.t(),
    "mv": lambda lib, s: lib.mv(s, lib.arange(5.0)),
    "addmm": lambda lib, s: lib.sparse.addmm(lib.ones(4, 2), s, lib.ones(5, 2), beta=2, alpha=3),
    "t": lambda lib, s: s.t(),
    "transpose": lambda lib, s: s.transpose(0, 1).coalesce(),
    "softmax 1": lambda lib, s: lib.sparse.softmax(s, 1),
    "log_softmax": lambda lib, s: lib.sparse.log_softmax(s, 1),
    "scalar": lambda lib, s: s[1, 4],
}  # fmt: skip


@pytest.mark.parametrize("split", [1, 2])
@pytest.mark.parametrize("name", [*CALLS, *MATRICES])
def test_results(name, split):
    if split == 1 and name in MATRICES:
        pytest.skip("needs a matrix with two sparse dimensions")
    call = {**CALLS, **MATRICES}[name]
    wanted, found = (describe(call(library, make(library, split))) for library in (torch, flambeau))
    if wanted[0] == "sparse":
        assert found[:3] == wanted[:3]
        assert found[3][0] == wanted[3][0]
        assert found[3][2] == wanted[3][2]
        wanted, found = (torch.tensor(x[3][1], dtype=torch.float64) for x in (wanted, found))
        assert torch.allclose(found, wanted)
    elif wanted[0] == "dense":
        assert found[:3] == wanted[:3]
        assert torch.allclose(*(torch.tensor(x[3], dtype=torch.float64) for x in (found, wanted)))
    else:
        assert found == wanted


ERRORS = {
    "sparse + dense": lambda lib, s: s + lib.ones(4, 5),
    "sparse + number": lambda lib, s: s + 1,
    "division": lambda lib, s: s / lib.ones(4, 5),
    "zeroth power": lambda lib, s: s**0,
    "indices": lambda lib, s: s.indices(),
    "values": lambda lib, s: s.values(),
    "dense indices": lambda lib, s: lib.ones(2).indices(),
    "dense values": lambda lib, s: lib.ones(2).values(),
    "dense coalesce": lambda lib, s: lib.ones(2).coalesce(),
    "numpy": lambda lib, s: s.numpy(),
    "item": lambda lib, s: s.item(),
    "sizes": lambda lib, s: lib.sparse_coo_tensor([[0]], [1.0, 2.0], (3,)),
    "dims": lambda lib, s: lib.sparse_coo_tensor([[0]], [1.0], (3, 2)),
    "negative": lambda lib, s: lib.sparse_coo_tensor([[-1]], [1.0]),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    with pytest.raises(Exception) as wanted:
        ERRORS[name](torch, make(torch))
    with pytest.raises(wanted.type) as found:
        ERRORS[name](flambeau, make(flambeau))
    assert str(wanted.value).split("(got")[0][:60] == str(found.value).split("(got")[0][:60]


def train(library, name, options, bag):
    weight = library.linspace(-1, 1, 24).view(6, 4)
    kind = library.nn.EmbeddingBag if bag else library.nn.Embedding
    table = kind(6, 4, sparse=True, padding_idx=2, _weight=weight.clone())
    optimizer = getattr(library.optim, name)(table.parameters(), **options)
    for step in range(5):
        optimizer.zero_grad()
        index = library.tensor([[(step + k * k) % 6 for k in range(3)], [1, step % 3, 2]])
        (table(index) ** 2).sum().backward()
        optimizer.step()
    grad = table.weight.grad
    return describe(table.weight), describe(grad), len(optimizer.state_dict()["state"])


@pytest.mark.parametrize("bag", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SparseAdam", {"lr": 0.1}),
        ("SparseAdam", {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3, "maximize": True}),
        ("SGD", {"lr": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ("Adagrad", {"lr": 0.1, "lr_decay": 0.2}),
    ],
)
def test_training(name, options, bag):
    wanted, found = (train(library, name, options, bag) for library in (torch, flambeau))
    assert found[2] == wanted[2]
    assert found[1][:3] == wanted[1][:3]
    assert found[1][3][0] == wanted[1][3][0]
    for a, b in ((found[0][3], wanted[0][3]), (found[1][3][1], wanted[1][3][1])):
        assert torch.allclose(torch.tensor(a), torch.tensor(b), atol=1e-5)


@pytest.mark.parametrize("coalesced", [False, True])
@pytest.mark.parametrize(("source", "target"), [(torch, flambeau), (flambeau, torch)])
def test_files(source, target, coalesced):
    t = make(source, 1)
    stream = io.BytesIO()
    source.save([t.coalesce() if coalesced else t], stream)
    stream.seek(0)
    (made,) = target.load(stream)
    wanted = make(target, 1)
    assert describe(made) == describe(wanted.coalesce() if coalesced else wanted)


@pytest.mark.parametrize(("source", "target"), [(torch, flambeau), (flambeau, torch)])
def test_files_with_compressed_rows(source, target):
    stream = io.BytesIO()
    source.save(make(source).to_sparse_csr(), stream)
    stream.seek(0)
    assert repr(target.load(stream)) == repr(make(source).to_sparse_csr())


COMPRESSED = {
    "text": lambda lib, s: repr(s.double()),
    "mm": lambda lib, s: s @ lib.arange(10.0).view(5, 2),
    "addmm": lambda lib, s: lib.addmm(lib.ones(4, 2), s, lib.ones(5, 2)),
    "add": lambda lib, s: repr(s + s * 2),
    "mul": lambda lib, s: repr(s * lib.full((4, 5), 2.0)),
    "coordinates": lambda lib, s: repr(s.to_sparse()),
    "dense + sparse": lambda lib, s: lib.ones(4, 5) + s,
    "select": lambda lib, s: repr(s[1]),
    "sum": lambda lib, s: s.sum(),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_rows(name):
    wanted, found = (
        describe(COMPRESSED[name](library, make(library).to_sparse_csr()))
        for library in (torch, flambeau)
    )
    assert found == wanted


def test_gradients_of_a_product():
    grads = []
    for library in (torch, flambeau):
        values = library.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
        x = library.arange(10.0).view(5, 2).requires_grad_()
        product = library.sparse.mm(library.sparse_coo_tensor(INDEX, values, (4, 5)), x)
        (product**2).sum().backward()
        grads.append((values.grad.tolist(), x.grad.tolist()))
    assert grads[0] == grads[1]
