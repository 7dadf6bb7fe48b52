"""Weights under normalisation, orthogonal maps and pruning, beside PyTorch's."""

import io
import warnings

import pytest

import flambeau

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def to_torch(torch, tensor):
    return torch.tensor(tensor.detach().tolist(), dtype=getattr(torch, str(tensor.dtype)[6:]))


def check_states(torch, mine, theirs):
    ours, expected = mine.state_dict(), theirs.state_dict()
    assert list(ours) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(to_torch(torch, ours[name]), value.detach())
    stream = io.BytesIO()
    torch.save(expected, stream)
    stream.seek(0)
    report = mine.load_state_dict(flambeau.load(stream))
    assert not report.missing_keys
    assert not report.unexpected_keys


MAKES = {
    "weight_norm": lambda f: f.nn.utils.weight_norm(f.nn.Linear(4, 3)),
    "weight_norm of a convolution": lambda f: f.nn.utils.weight_norm(f.nn.Conv1d(2, 3, 3), dim=1),
    "weight_norm as a whole": lambda f: f.nn.utils.weight_norm(f.nn.Linear(4, 3), dim=None),
    "spectral_norm": lambda f: f.nn.utils.spectral_norm(f.nn.Linear(4, 3)),
    "spectral_norm, transposed": lambda f: f.nn.utils.spectral_norm(f.nn.ConvTranspose1d(4, 2, 3)),
    "parametrized weight_norm": lambda f: f.nn.utils.parametrizations.weight_norm(
        f.nn.Linear(4, 3)
    ),
    "parametrized spectral_norm": lambda f: f.nn.utils.parametrizations.spectral_norm(
        f.nn.Linear(4, 3)
    ),
    **{
        f"orthogonal {size} {chosen}": lambda f, s=size, m=chosen: (
            f.nn.utils.parametrizations.orthogonal(f.nn.Linear(4, s), orthogonal_map=m)
        )
        for size in (3, 4, 6)
        for chosen in ("matrix_exp", "cayley", "householder")
    },
    "orthogonal without trivialization": lambda f: f.nn.utils.parametrizations.orthogonal(
        f.nn.Linear(4, 4), orthogonal_map="householder", use_trivialization=False
    ),
    "pruned l1": lambda f: f.nn.utils.prune.l1_unstructured(f.nn.Linear(4, 3), "weight", 0.3),
    "pruned random": lambda f: f.nn.utils.prune.random_unstructured(f.nn.Linear(4, 3), "weight", 5),
    "pruned rows": lambda f: f.nn.utils.prune.ln_structured(f.nn.Linear(4, 6), "weight", 2, 2, 0),
    "pruned random columns": lambda f: f.nn.utils.prune.random_structured(
        f.nn.Linear(4, 6), "weight", 0.5, 1
    ),
    "pruned twice": lambda f: f.nn.utils.prune.l1_unstructured(
        f.nn.utils.prune.ln_structured(f.nn.Linear(4, 6), "weight", 2, 1, 0), "weight", 0.5
    ),
}


@pytest.mark.parametrize("name", MAKES)
def test_weights(torch, name):
    made = []
    for framework in (flambeau, torch):
        framework.manual_seed(7)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib_prune(framework)
            made.append(MAKES[name](framework))
    mine, theirs = made
    check_states(torch, mine, theirs)
    for step in range(3):
        x = torch.randn(2, 4, generator=torch.Generator().manual_seed(step))
        x = x if theirs.weight.dim() == 2 else x.reshape(1, -1, 2).repeat(1, 1, 3)
        size = theirs.weight.shape[0 if "transposed" in name else 1]
        x = x if theirs.weight.dim() == 2 else x[:, :size]
        mine.train(step < 2)
        theirs.train(step < 2)
        expected = theirs(x)
        actual = mine(flambeau.tensor(x.tolist()))
        torch.testing.assert_close(to_torch(torch, actual), expected.detach())
        wanted = torch.autograd.grad(expected.square().sum(), list(theirs.parameters()))
        grads = flambeau.autograd.grad(actual.square().sum(), list(mine.parameters()))
        for one, other in zip(grads, wanted, strict=True):
            torch.testing.assert_close(to_torch(torch, one), other, atol=1e-4, rtol=1e-4)
    check_states(torch, mine, theirs)


def importlib_prune(framework):
    __import__(f"{framework.__name__}.nn.utils.prune")


def test_pruning_over_several_layers(torch):
    masks = []
    for framework in (flambeau, torch):
        importlib_prune(framework)
        framework.manual_seed(3)
        net = framework.nn.Sequential(framework.nn.Linear(4, 6), framework.nn.Linear(6, 2))
        prune = framework.nn.utils.prune
        pairs = [(layer, "weight") for layer in net]
        prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=0.4)
        prune.global_unstructured(pairs, pruning_method=prune.RandomUnstructured, amount=3)
        masks.append([layer.weight_mask.tolist() for layer in net])
    assert masks[0] == masks[1]


def test_averaged_models(torch):
    states = []
    for framework in (flambeau, torch):
        framework.manual_seed(3)
        swa = framework.optim.swa_utils
        net = framework.nn.Sequential(framework.nn.Linear(2, 3), framework.nn.BatchNorm1d(3))
        averages = [
            swa.AveragedModel(net),
            swa.AveragedModel(net, multi_avg_fn=swa.get_ema_multi_avg_fn(0.7)),
            swa.AveragedModel(net, avg_fn=swa.get_ema_avg_fn(0.7), use_buffers=True),
        ]
        optimizer = framework.optim.SGD(net.parameters(), lr=0.1)
        data = [framework.randn(4, 2) for _ in range(4)]
        for x in data:
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()
            for average in averages:
                average.update_parameters(net)
        swa.update_bn(data, averages[0])
        states.append([average.state_dict() for average in averages])
    for ours, expected in zip(*states, strict=True):
        assert list(ours) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(to_torch(torch, ours[name]), value, atol=1e-5, rtol=1e-4)
