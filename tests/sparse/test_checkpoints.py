"""Sparse tensors in checkpoints, sound and damaged."""

import io
import pickle

import pytest

import flambeau as torch


def save(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("coalesced", [False, True])
@pytest.mark.parametrize("weights_only", [False, True])
def test_round_trip(coalesced, weights_only):
    t = torch.sparse_coo_tensor([[0, 2, 0]], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], (4, 2))
    t = t.coalesce() if coalesced else t
    made = torch.load(save({"t": t, "layout": torch.sparse_coo}), weights_only=weights_only)
    assert made["layout"] is torch.sparse_coo
    assert torch.equal(made["t"], t)
    assert made["t"].is_coalesced() == coalesced
    assert made["t"]._nnz() == t._nnz()


def test_state_of_an_optimizer():
    weight = torch.ones(6, 2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.grad = torch.sparse_coo_tensor([[1]], [[2.0, 3.0]], (6, 2))
    optimizer.step()
    other = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    other.load_state_dict(torch.load(save(optimizer.state_dict())))
    assert torch.equal(other.state[weight]["momentum_buffer"], weight.grad)


def number(*data):
    return torch.tensor(data)


@pytest.mark.parametrize(
    "data",
    [
        (number([0, 9]), number(1.0, 2.0), (4,), False),
        (number([0, -1]), number(1.0, 2.0), (4,), False),
        (number([1, 0]), number(1.0, 2.0), (4,), True),
        (number([0, 1]), number(1.0), (4,), False),
        (number([0.0, 1.0]), number(1.0, 2.0), (4,), False),
        (number([0, 1]), number(1.0, 2.0), (1 << 40, 1 << 40), False),
        (number([0, 1]), number(1.0, 2.0), ("4",), False),
        (number([0, 1]), 3.0, (4,), False),
        (number([0, 1]), number(1.0, 2.0)),
        "no tuple",
    ],
)
def test_damage_is_refused(data):
    from flambeau._checkpoint.rebuild import _rebuild_sparse_tensor

    with pytest.raises(pickle.UnpicklingError):
        _rebuild_sparse_tensor(torch.sparse_coo, data)


def test_unknown_layouts_are_refused():
    from flambeau._checkpoint.rebuild import _get_layout, _rebuild_sparse_tensor

    with pytest.raises(pickle.UnpicklingError, match="layout"):
        _rebuild_sparse_tensor(torch.strided, (number([0]), number(1.0), (1,)))
    with pytest.raises(pickle.UnpicklingError, match="layout"):
        _get_layout("torch.nothing")
