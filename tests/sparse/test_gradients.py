"""Sparse gradients: embeddings, how they add up, the optimisers that take them."""

import copy

import pytest

import flambeau as torch

INDEX = torch.tensor([[1, 3, 1], [0, 1, 5]])


def make_table(**options):
    torch.manual_seed(0)
    return torch.nn.Embedding(6, 4, **options)


@pytest.mark.parametrize("padding", [None, 1])
def test_embedding(padding):
    sparse, dense = (make_table(sparse=s, padding_idx=padding) for s in (True, False))
    weight = torch.randn(2, 3, 4)
    for table in (sparse, dense):
        (table(INDEX) * weight).sum().backward()
    grad = sparse.weight.grad
    assert grad.is_sparse
    assert not grad.is_coalesced()
    assert grad._nnz() == (6 if padding is None else 3)
    assert (grad.shape, grad.dtype) == (sparse.weight.shape, torch.float32)
    assert torch.allclose(grad.to_dense(), dense.weight.grad)


def test_no_index_at_all():
    table = make_table(sparse=True)
    table(torch.zeros(0, dtype=torch.int64)).sum().backward()
    assert table.weight.grad._nnz() == 0


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("offsets", [None, [0, 2, 2]])
@pytest.mark.parametrize("padding", [None, 1])
def test_bags(mode, offsets, padding):
    grads = []
    for sparse in (True, False):
        torch.manual_seed(0)
        bag = torch.nn.EmbeddingBag(6, 4, mode=mode, sparse=sparse, padding_idx=padding)
        given = (INDEX,) if offsets is None else (INDEX.reshape(-1), torch.tensor(offsets))
        (bag(*given) ** 2).sum().backward()
        grads.append(bag.weight.grad)
    assert grads[0].is_sparse
    assert torch.allclose(grads[0].to_dense(), grads[1])


def test_weights_of_samples_get_their_gradient():
    weights = torch.rand(2, 3, requires_grad=True)
    bag = torch.nn.EmbeddingBag(6, 4, mode="sum", sparse=True)
    bag(INDEX, per_sample_weights=weights).sum().backward()
    assert torch.allclose(weights.grad, bag.weight.detach()[INDEX].sum(-1))


def test_refusals():
    with pytest.raises(ValueError, match="max mode does not support sparse weights"):
        torch.nn.EmbeddingBag(6, 4, mode="max", sparse=True)(INDEX)
    table = make_table(sparse=True, scale_grad_by_freq=True)
    with pytest.raises(RuntimeError, match="scale_grad_by_freq not supported with sparse"):
        table(INDEX).sum().backward()


# ---- adding up -----------------------------------------------------------------------------------


def look_up(weight, sparse=True):
    return torch.nn.functional.embedding(INDEX, weight, sparse=sparse)


@pytest.mark.parametrize("dense_first", [False, True])
def test_sparse_and_dense_gradients_of_one_leaf(dense_first):
    weight, other = (torch.ones(6, 4, requires_grad=True) for _ in range(2))
    terms = [lambda w, s: look_up(w, s).pow(2).sum(), lambda w, s: (w * 3).sum()]
    for term in terms[::-1] if dense_first else terms:
        term(weight, True).backward()
        term(other, False).backward()
    assert not weight.grad.is_sparse
    assert torch.equal(weight.grad, other.grad)
    weight.grad = None
    (terms[0](weight, True) + terms[1](weight, True)).backward()
    assert torch.equal(weight.grad, other.grad)


def test_sparse_gradients_stay_sparse():
    weight = torch.ones(6, 4, requires_grad=True)
    (look_up(weight) + look_up(weight)).sum().backward()
    assert (weight.grad.is_sparse, weight.grad._nnz()) == (True, 12)
    look_up(weight).sum().backward()
    assert (weight.grad.is_sparse, weight.grad._nnz()) == (True, 18)
    assert weight.grad.to_dense().sum().item() == 3 * 24


def test_through_other_ops():
    weight = torch.ones(6, 4, requires_grad=True)
    look_up((weight * 2).view(6, 4)).sum().backward()
    assert torch.equal(weight.grad[:, 0], torch.tensor([2.0, 6.0, 0.0, 2.0, 0.0, 2.0]))


def test_the_gradient_is_its_own_memory():
    weight = torch.ones(6, 4, requires_grad=True)
    found = look_up(weight)
    found.retain_grad()
    found.sum().backward()  # the gradient of a sum is one element, repeated
    weight.grad._values().mul_(torch.arange(24.0).view(6, 4))
    assert torch.equal(weight.grad._values(), torch.arange(24.0).view(6, 4))


def test_hooks_and_grad():
    weight = torch.ones(6, 4, requires_grad=True)
    weight.register_hook(lambda g: g * 2)
    look_up(weight).sum().backward()
    assert weight.grad.is_sparse
    assert weight.grad.to_dense()[0, 0].item() == 2
    (found,) = torch.autograd.grad(look_up(weight).sum(), weight)
    assert found.is_sparse


def test_second_derivatives():
    weight = torch.ones(6, 4, requires_grad=True)
    scale = torch.full((), 3.0, requires_grad=True)
    (found,) = torch.autograd.grad((look_up(weight) * scale).sum(), weight, create_graph=True)
    found.to_dense().sum().backward()
    assert scale.grad.item() == 24


def test_zero_grad():
    table = make_table(sparse=True)
    table(INDEX).sum().backward()
    table.zero_grad(set_to_none=False)
    assert (table.weight.grad.is_sparse, table.weight.grad._nnz()) == (True, 0)
    table.zero_grad()
    assert table.weight.grad is None


def test_clipping():
    table = make_table(sparse=True)
    table(INDEX).sum().backward()
    with pytest.raises(NotImplementedError, match="norm"):
        torch.nn.utils.clip_grad_norm_(table.parameters(), 1.0)


def test_deepcopy_takes_the_gradient_along():
    weight = torch.ones(6, 4, requires_grad=True)
    look_up(weight).sum().backward()
    copied = copy.deepcopy(weight)
    weight.grad.zero_()
    assert copied.grad._nnz() == 6


def test_functions_may_return_sparse_gradients():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weight):
            return weight * 2

        @staticmethod
        def backward(ctx, grad):
            return (grad * 2).to_sparse(1)

    weight = torch.ones(3, 2, requires_grad=True)
    Double.apply(weight).sum().backward()
    assert weight.grad.is_sparse
    assert torch.equal(weight.grad.to_dense(), torch.full((3, 2), 2.0))


# ---- optimisers ----------------------------------------------------------------------------------

TAKERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "maximize": True}),
    ("SGD", {"momentum": 0.9, "dampening": 0.5}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.2}),
    ("Adagrad", {"maximize": True}),
]


@pytest.mark.parametrize(("name", "options"), TAKERS)
def test_steps_are_those_of_dense_gradients(name, options):
    tables = [make_table(sparse=s) for s in (True, False)]
    optimizers = [getattr(torch.optim, name)(t.parameters(), lr=0.1, **options) for t in tables]
    for step in range(4):
        for table, optimizer in zip(tables, optimizers, strict=True):
            optimizer.zero_grad()
            table((INDEX + step) % 6).pow(2).sum().backward()
            optimizer.step()
    assert torch.allclose(tables[0].weight, tables[1].weight, atol=1e-6)


@pytest.mark.parametrize("split", [1, 2, 3])
def test_sparse_adam_takes_any_number_of_sparse_dimensions(split):
    start = torch.randn(2, 3, 4, dtype=torch.float64)
    found = []
    for make in (lambda p: p, lambda p: p.transpose(0, 2).contiguous().transpose(0, 2)):
        param = make(start.clone()).requires_grad_()
        optimizer = torch.optim.SparseAdam([param], lr=0.1)
        for _ in range(2):
            param.grad = (start * (start > 0)).to_sparse(split)
            optimizer.step()
        found.append(param.detach())
    touched = (start > 0).reshape(*start.shape[:split], -1).any(-1)
    assert torch.equal(found[0], found[1])
    assert torch.equal((found[0] != start).reshape(*start.shape[:split], -1).any(-1), touched)


def test_sparse_and_dense_gradients_in_one_group():
    params = [torch.ones(6, 4, requires_grad=True), torch.ones(3, requires_grad=True)]
    optimizer = torch.optim.SGD(params, lr=0.5)
    (look_up(params[0]).sum() + params[1].sum()).backward()
    optimizer.step()
    assert params[1].tolist() == [0.5] * 3
    assert params[0][:, 0].tolist() == [0.5, -0.5, 1.0, 0.5, 1.0, 0.5]


@pytest.mark.parametrize(
    "name",
    ["Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adadelta", "RMSprop", "Rprop", "ASGD", "Muon"],
)
def test_the_others_refuse(name):
    table = make_table(sparse=True)
    optimizer = getattr(torch.optim, name)(table.parameters())
    for _ in range(2):
        table.weight.grad = torch.sparse_coo_tensor([[1]], torch.ones(1, 4), (6, 4))
        with pytest.raises(RuntimeError, match="does not support sparse gradients"):
            optimizer.step()
    assert torch.equal(table.weight, make_table().weight)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("SGD", {"weight_decay": 0.1}, "add\\(sparse, dense\\)"),
        ("SGD", {"fused": True}, "does not support sparse"),
        ("Adagrad", {"weight_decay": 0.1}, "weight_decay option is not compatible"),
        ("Adagrad", {"fused": True}, "does not support sparse"),
    ],
)
def test_options_that_do_not_go_together(name, options, text):
    table = make_table(sparse=True)
    table(INDEX).sum().backward()
    with pytest.raises(RuntimeError, match=text):
        getattr(torch.optim, name)(table.parameters(), lr=0.1, **options).step()


def test_scaled_gradients():
    table = make_table(sparse=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    optimizer = torch.optim.SGD(table.parameters(), lr=1.0)
    before = table.weight.detach().clone()
    scaler.scale(table(INDEX).sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert torch.allclose(before - table.weight, torch.tensor([1.0, 3, 0, 1, 0, 1])[:, None])


def test_a_function_of_a_sparse_input_refuses_its_gradient():
    class Total(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.to_dense().sum()

        @staticmethod
        def backward(ctx, g):
            return g

    x = torch.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (3,))
    assert Total.apply(x).item() == 3
    with pytest.raises(NotImplementedError, match="sparse inputs"):
        Total.apply(x.requires_grad_())
