"""nn.utils: clipping gradients, parameters as a vector, modules without drawn values."""

import math

import pytest

import flambeau
from flambeau import nn
from flambeau.nn import utils


def make_parameters():
    a = flambeau.tensor([3.0, 0.0], requires_grad=True)
    b = flambeau.tensor([4.0], requires_grad=True)
    unused = flambeau.tensor([1.0], requires_grad=True)
    (a * a / 2).sum().backward()
    (b * b / 2).sum().backward()
    return [a, b, unused]


def test_clip_grad_norm():
    parameters = make_parameters()
    total = utils.clip_grad_norm_(parameters, 1.0)
    assert total.item() == 5
    assert parameters[0].grad.tolist() == pytest.approx([0.6, 0.0])
    assert parameters[1].grad.tolist() == pytest.approx([0.8])
    assert parameters[2].grad is None
    assert utils.clip_grad_norm_(iter(parameters), 10.0).item() == pytest.approx(1)
    assert parameters[1].grad.item() == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("norm_type", "expected"), [(1, 7), (2, 5), (math.inf, 4), (3, 91 ** (1 / 3))]
)
def test_total_norm(norm_type, expected):
    grads = [p.grad for p in make_parameters()[:2]]
    assert utils.get_total_norm(grads, norm_type).item() == pytest.approx(expected)
    assert utils.get_total_norm([]).item() == 0


def test_clip_grad_norm_of_one_tensor_and_of_none():
    parameters = make_parameters()
    assert utils.clip_grad_norm_(parameters[0], 1.5).item() == 3
    assert utils.clip_grad_norm_(parameters[2], 1.0).item() == 0
    with pytest.warns(UserWarning, match="empty generator"):
        utils.clip_grad_norm_([], 1.0)
    with pytest.warns(FutureWarning, match="deprecated"):
        utils.clip_grad_norm(parameters, 1.0)


def test_nonfinite_norms():
    p = flambeau.ones(1, requires_grad=True)
    p.grad = flambeau.tensor([math.inf])
    with pytest.raises(RuntimeError, match="non-finite"):
        utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    assert utils.clip_grad_norm_([p], 1.0).item() == math.inf


def test_clip_grad_value():
    parameters = make_parameters()
    utils.clip_grad_value_(parameters, 3.5)
    assert parameters[0].grad.tolist() == [3, 0]
    assert parameters[1].grad.tolist() == [3.5]


def test_parameters_as_a_vector():
    net = nn.Linear(2, 3)
    vector = utils.parameters_to_vector(net.parameters())
    assert vector.shape == (9,)
    vector.sum().backward()
    assert net.weight.grad.sum().item() == 6
    new = flambeau.arange(9.0)
    utils.vector_to_parameters(new, net.parameters())
    assert net.weight.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert net.bias.tolist() == [6, 7, 8]
    assert isinstance(net.bias, nn.Parameter)
    with pytest.raises(TypeError, match=r"expected torch\.Tensor"):
        utils.vector_to_parameters([1.0], net.parameters())


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        (nn.Linear, (3, 4)),
        (nn.Conv2d, (2, 3, 3)),
        (nn.Embedding, (7, 3)),
        (nn.MultiheadAttention, (8, 2)),
        (nn.TransformerEncoderLayer, (8, 2)),
        (nn.BatchNorm1d, (4,)),
    ],
)
def test_skip_init_draws_nothing(kind, args):
    flambeau.manual_seed(5)
    expected = flambeau.rand(3)
    flambeau.manual_seed(5)
    layer = utils.skip_init(kind, *args, dtype=flambeau.float64)
    assert flambeau.equal(flambeau.rand(3), expected)
    source = kind(*args, dtype=flambeau.float64)
    assert list(layer.state_dict()) == list(source.state_dict())
    layer.load_state_dict(source.state_dict())
    assert all(
        flambeau.equal(a, b) for a, b in zip(layer.parameters(), source.parameters(), strict=True)
    )
    assert all(p.requires_grad for p in layer.parameters())
    assert bool((kind(*args).state_dict()[next(iter(source.state_dict()))] != 0).any())  # restored


def test_skip_init_restores_after_an_error():
    with pytest.raises(ValueError, match="groups"):
        utils.skip_init(nn.Conv2d, 3, 4, 1, groups=2)
    weight = flambeau.zeros(3)
    assert bool((nn.init.ones_(weight) == 1).all())


def test_skip_init_refuses_what_is_no_module():
    with pytest.raises(RuntimeError, match="Expected a Module"):
        utils.skip_init(int)
    with pytest.raises(RuntimeError, match="must support a 'device'"):
        utils.skip_init(nn.ReLU)
