"""Tensors without data: device="meta"."""

import copy
import sys
import threading

import pytest

import flambeau as torch
from flambeau import nn


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.skipif(sys.platform == "win32", reason="Windows promises memory for address space")
def test_a_model_larger_than_memory():
    with torch.device("meta"):
        layer = nn.TransformerEncoderLayer(1 << 14, 64, 1 << 16, batch_first=True)
        model = nn.ModuleList([copy.deepcopy(layer) for _ in range(64)])
    assert sum(p.numel() * 4 for p in model.parameters()) > 1 << 39
    out = model[0](torch.empty(2, 5, 1 << 14, device="meta"))
    assert out.is_meta
    assert out.shape == (2, 5, 1 << 14)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_memory_is_touched():
    x = torch.ones(1000, 1000, device="meta")
    before = resident()
    for _ in range(20):
        x = torch.cat([x, x.t().contiguous() @ x]).exp()[:1000].clone().fill_(3)
    kept = [torch.zeros(1 << 20, device="meta") for _ in range(100)]
    assert len(kept) == 100
    assert resident() - before < 1 << 24


def test_the_generator_stands_still():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    with torch.device("meta"):
        nn.LSTM(4, 5)
    x = torch.randn(5, device="meta")
    nn.init.trunc_normal_(x)
    nn.init.orthogonal_(torch.empty(4, 4, device="meta"))
    nn.functional.dropout(x).normal_().uniform_()
    assert torch.equal(torch.rand(3), expected)


def test_loading_by_assignment():
    full = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    empty.load_state_dict(full.state_dict(), assign=True)
    assert all(type(p) is nn.Parameter and not p.is_meta for p in empty.parameters())
    empty(torch.ones(2, 3)).sum().backward()
    assert empty[0].weight.grad is not None


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.item(),
        bool,
        float,
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: torch.ones(1).copy_(x),
        lambda x: torch.nonzero(x),
        lambda x: x[x > 0],
        lambda x: torch.equal(x, x),
        lambda x: torch.linalg.svd(x),
        lambda x: x.__dlpack__(),
        lambda x: x.sum().backward(),
        lambda x: 1.0 in x,
    ],
)
def test_what_needs_data_is_refused(read):
    with pytest.raises((RuntimeError, NotImplementedError, TypeError), match=r"meta|no data"):
        read(torch.ones(1, device="meta", requires_grad=True))


def test_mixing_is_refused():
    x, w = torch.ones(2, 3, device="meta"), torch.ones(3, 3)
    for mix in (lambda: x + w[:2], lambda: x @ w, lambda: torch.cat([x, w]), lambda: w @ x.t()):
        with pytest.raises(RuntimeError, match="same device"):
            mix()
    parameter = nn.Parameter(w)
    with pytest.raises(RuntimeError, match="without"):
        parameter.data = x
    with pytest.raises(RuntimeError, match="without"):
        x.data = w
    assert (x + 1).is_meta
    assert (x + torch.tensor(1.0)).is_meta


def test_in_place_on_a_leaf():
    x = torch.ones(2, device="meta", requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        x.add_(1)
    with torch.no_grad():
        assert x.add_(1) is x


def test_a_thread_has_its_own_default_device():
    seen = []
    with torch.device("meta"):
        thread = threading.Thread(target=lambda: seen.append(torch.ones(1).is_meta))
        thread.start()
        thread.join()
    assert seen == [False]


def test_blocks_are_left_after_errors():
    with pytest.raises(ZeroDivisionError), torch.device("meta"), torch.device("cpu"):
        raise ZeroDivisionError
    assert not torch.ones(1).is_meta
    assert torch.get_default_device() == torch.device("cpu")


def test_impossible_sizes():
    with pytest.raises(torch.OutOfMemoryError, match="address space"):
        torch.empty(1 << 60, device="meta")


def test_shapes_of_networks():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    )
    x = torch.ones(4, 3, 20, 20)
    expected = net(x).shape
    assert net.to("meta")(x.to("meta")).shape == expected
    assert nn.Conv2d(3, 8, 3, device="meta")(x[0].to("meta")).shape == (8, 18, 18)


def test_losses_of_elements() -> None:
    F = nn.functional
    x = torch.empty(4, 3, device="meta", requires_grad=True)
    t = torch.empty(4, 3, device="meta", dtype=torch.float64)
    for loss in (F.mse_loss, F.poisson_nll_loss, F.hinge_embedding_loss, F.soft_margin_loss):
        for reduction, shape in (("none", (4, 3)), ("sum", ()), ("mean", ())):
            found = loss(x, t, reduction=reduction)
            assert (found.shape, found.device.type, found.requires_grad) == (shape, "meta", True)
            assert found.dtype is (x if loss is F.hinge_embedding_loss else t).dtype
