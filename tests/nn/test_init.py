"""Initial values: ranges, moments, structure."""

import math

import pytest

import flambeau
from flambeau.nn import init


def moments(tensor):
    return tensor.mean().item(), tensor.std().item()


def test_functions_fill_in_place_outside_the_graph():
    w = flambeau.empty(4, 3, requires_grad=True)
    for fill in (init.uniform_, init.normal_, init.ones_, init.zeros_, init.xavier_normal_):
        assert fill(w) is w
        assert w.requires_grad
        assert w.grad_fn is None


def test_uniform_and_normal():
    w = init.uniform_(flambeau.empty(20000), -2, 4)
    assert -2 <= w.min().item() < -1.9
    assert 3.9 < w.max().item() <= 4
    assert moments(w) == pytest.approx((1, 6 / math.sqrt(12)), abs=0.06)
    assert moments(init.normal_(w, 3, 2)) == pytest.approx((3, 2), abs=0.06)


@pytest.mark.parametrize(("a", "b"), [(-0.5, 1.0), (0.5, 0.8), (-2.0, 2.0)])
def test_trunc_normal_stays_inside(a, b):
    w = init.trunc_normal_(flambeau.empty(20000), 0.0, 1.0, a, b)
    assert a <= w.min().item() <= w.max().item() <= b
    density = lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    inside = (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))) / 2
    assert w.mean().item() == pytest.approx((density(a) - density(b)) / inside, abs=0.03)


def test_trunc_normal_warns_far_from_the_mean():
    with pytest.warns(UserWarning, match="more than 2 std"):
        init.trunc_normal_(flambeau.empty(3), 0.0, 1.0, 4.0, 5.0)


@pytest.mark.parametrize("shape", [(200, 100), (40, 20, 5), (20, 10, 5, 2)])
def test_fans(shape):
    field = math.prod(shape[2:])
    fan_in, fan_out = shape[1] * field, shape[0] * field
    w = flambeau.empty(shape)
    std = math.sqrt(2 / (fan_in + fan_out))
    assert moments(init.xavier_normal_(w)) == pytest.approx((0, std), abs=0.05 * std + 0.002)
    assert init.xavier_uniform_(w, gain=2).abs().max().item() <= 2 * std * math.sqrt(3)
    init.kaiming_normal_(w, nonlinearity="relu")
    assert w.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)
    init.kaiming_uniform_(w, a=math.sqrt(5))
    assert w.abs().max().item() == pytest.approx(1 / math.sqrt(fan_in), rel=0.02)
    init.kaiming_normal_(w, mode="fan_out")
    assert w.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)


def test_gains():
    assert init.calculate_gain("linear") == 1
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu", 1) == 1
    assert init.calculate_gain("selu") == 0.75
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        init.calculate_gain("cosine")
    with pytest.raises(ValueError, match="not a valid number"):
        init.calculate_gain("leaky_relu", True)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (3, 2, 4)])
def test_orthogonal(shape):
    w = init.orthogonal_(flambeau.empty(shape), gain=2.0).reshape(shape[0], -1)
    product = w @ w.t() if w.shape[0] <= w.shape[1] else w.t() @ w
    assert flambeau.allclose(product, 4 * flambeau.eye(len(product)), atol=1e-5)


def test_sparse_zeroes_a_share_of_every_column():
    w = init.sparse_(flambeau.empty(10, 4), 0.35, std=1.0)
    assert (w == 0).sum(0).tolist() == [4, 4, 4, 4]


def test_eye_and_dirac():
    assert init.eye_(flambeau.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    x = flambeau.randn(1, 4, 6)
    w = init.dirac_(flambeau.empty(4, 4, 3))
    assert flambeau.equal(flambeau.nn.functional.conv1d(x, w, padding=1), x)
    grouped = init.dirac_(flambeau.empty(4, 2, 3), groups=2)
    assert flambeau.equal(flambeau.nn.functional.conv1d(x, grouped, padding=1, groups=2), x)


def test_wrong_shapes():
    vector = flambeau.empty(3)
    for fill in (init.eye_, init.dirac_, init.orthogonal_, init.xavier_uniform_):
        with pytest.raises(ValueError, match="dimensions"):
            fill(vector)
    with pytest.raises(ValueError, match="2 dimensions"):
        init.sparse_(vector, 0.5)
    with pytest.raises(ValueError, match="Mode"):
        init.kaiming_normal_(flambeau.empty(2, 2), mode="fan_up")


def test_empty_tensors_are_left_alone_with_a_warning():
    with pytest.warns(UserWarning, match="no-op"):
        init.kaiming_uniform_(flambeau.empty(0, 3))


def test_a_generator_can_be_given():
    def draw():
        generator = flambeau.Generator().manual_seed(3)
        return init.xavier_uniform_(flambeau.empty(3, 3), generator=generator)

    assert flambeau.equal(draw(), draw())


def test_deprecated_names_warn():
    with pytest.warns(FutureWarning, match="deprecated in favor of `nn.init.uniform_`"):
        init.uniform(flambeau.empty(2))


def test_layers_start_within_their_bounds():
    layer = flambeau.nn.Linear(100, 50)
    assert 0.09 < layer.weight.abs().max().item() <= 0.1
    assert 0.08 < layer.bias.abs().max().item() <= 0.1
    table = flambeau.nn.Embedding(100, 20, padding_idx=3)
    assert table.weight[3].abs().sum().item() == 0
    assert table.weight.std().item() == pytest.approx(1, abs=0.1)
