"""Well-known networks as ordinary PyTorch code: the same source in both frameworks.

They draw the same weights from the same seed. After loading a state_dict that PyTorch wrote they
give PyTorch's logits and gradients, and PyTorch can load what they write.
"""

import io
import re
import types
from pathlib import Path

import pytest

import flambeau

HERE = Path(__file__).parent
NAMES = ["bert", "gpt2", pytest.param("resnet50", marks=pytest.mark.slow), "vit"]


def load_source(name, framework):
    """The module of a network, its `import torch` being an import of the framework."""
    source = (HERE / f"{name}.py").read_text(encoding="utf-8")
    source = re.sub(r"^import torch$", f"import {framework.__name__} as torch", source, flags=re.M)
    source = re.sub(r"^import torch\.", f"import {framework.__name__}.", source, flags=re.M)
    module = types.ModuleType(f"{framework.__name__}_{name}")
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


def build(name, framework):
    framework.manual_seed(0)
    module = load_source(name, framework)
    return module.make(), module.inputs()


@pytest.mark.parametrize("name", NAMES)
def test_networks_train(name):
    net, inputs = build(name, flambeau)
    optimizer = flambeau.optim.AdamW(net.parameters(), lr=1e-3)
    target = flambeau.zeros(len(inputs[0]), dtype=flambeau.int64)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = flambeau.nn.functional.cross_entropy(net(*inputs), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert losses[-1] < losses[0]


def to_torch(torch, tensor):
    return torch.from_numpy(tensor.detach().numpy().copy())


def save_and_load(source, target, value):
    stream = io.BytesIO()
    source.save(value, stream)
    stream.seek(0)
    return target.load(stream)


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_network(name):
    torch = pytest.importorskip("torch")
    (mine, _), (theirs, _) = build(name, flambeau), build(name, torch)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(to_torch(torch, mine.state_dict()[key]), value, msg=key)


@pytest.mark.parity
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients(name, training):
    torch = pytest.importorskip("torch")
    theirs, inputs = build(name, torch)
    theirs = theirs.double().train(training)
    mine, _ = build(name, flambeau)
    mine = mine.double().train(training)
    report = mine.load_state_dict(save_and_load(torch, flambeau, theirs.state_dict()))
    assert str(report) == "<All keys matched successfully>"
    inputs = [x.double() if x.is_floating_point() else x for x in inputs]
    ours = [flambeau.from_numpy(x.numpy().copy()) for x in inputs]
    torch.manual_seed(1)
    flambeau.manual_seed(1)  # dropout draws the same
    expected, actual = theirs(*inputs), mine(*ours)
    torch.testing.assert_close(to_torch(torch, actual), expected.detach(), rtol=1e-6, atol=1e-8)
    target = torch.arange(len(inputs[0]))
    torch.nn.functional.cross_entropy(expected, target).backward()
    loss = flambeau.nn.functional.cross_entropy(actual, flambeau.arange(len(inputs[0])))
    loss.backward()
    for (key, parameter), other in zip(theirs.named_parameters(), mine.parameters(), strict=True):
        gradient = to_torch(torch, other.grad)
        scale = parameter.grad.abs().max().item()
        torch.testing.assert_close(
            gradient, parameter.grad, rtol=1e-5, atol=1e-6 * scale + 1e-9, msg=key
        )
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(to_torch(torch, mine.state_dict()[key]), value, msg=key)


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_single_precision_logits_and_the_way_back(name):
    torch = pytest.importorskip("torch")
    (mine, _), (theirs, inputs) = build(name, flambeau), build(name, torch)
    theirs.load_state_dict(save_and_load(flambeau, torch, mine.state_dict()))
    theirs.eval()
    mine.eval()
    with torch.no_grad(), flambeau.no_grad():
        expected = theirs(*inputs)
        actual = mine(*(flambeau.from_numpy(x.numpy().copy()) for x in inputs))
    scale = expected.abs().max().item()
    torch.testing.assert_close(to_torch(torch, actual), expected, rtol=1e-3, atol=1e-4 * scale)
