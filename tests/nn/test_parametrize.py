"""Parametrizations: registering, assigning, caching, removing; weight_norm and spectral_norm."""

import copy

import pytest

import flambeau as torch
from flambeau import nn
from flambeau.nn.utils import parametrize
from flambeau.nn.utils.parametrizations import spectral_norm, weight_norm


class Double(nn.Module):
    def forward(self, x):
        return 2 * x

    def right_inverse(self, x):
        return x / 2


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).T


def test_registering_keeps_the_value_where_there_is_an_inverse() -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    parameter = layer.weight
    parametrize.register_parametrization(layer, "weight", Double())
    assert torch.equal(layer.weight, before)
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert layer.parametrizations.weight.original.shape == parameter.shape
    layer(torch.ones(1, 3)).sum().backward()
    assert torch.equal(layer.parametrizations.weight.original.grad, torch.full((2, 3), 2.0))


def test_the_original_stays_the_same_parameter_without_inverse() -> None:
    layer = nn.Linear(2, 2)
    parameter = layer.weight
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert layer.parametrizations.weight.original is parameter
    assert torch.equal(layer.weight, layer.weight.T)


def test_assignment_and_a_second_parametrization() -> None:
    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", Double())
    layer.weight = torch.eye(2)
    assert torch.equal(layer.parametrizations.weight.original, torch.eye(2) / 2)
    parametrize.register_parametrization(layer, "weight", Double())
    assert torch.equal(layer.weight, torch.eye(2))
    assert torch.equal(layer.parametrizations.weight.original, torch.eye(2) / 4)


@pytest.mark.parametrize("leave", [True, False])
def test_removing(leave: bool) -> None:
    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    value = (layer.weight if leave else layer.parametrizations.weight.original).detach().clone()
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=leave)
    assert type(layer) is nn.Linear
    assert isinstance(layer.weight, nn.Parameter)
    assert torch.equal(layer.weight, value)
    assert not parametrize.is_parametrized(layer)


def test_cached_computes_once() -> None:
    layer = weight_norm(nn.Linear(2, 2))
    assert layer.weight is not layer.weight
    with parametrize.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight


def test_deepcopy_and_other_instances() -> None:
    layer, plain = weight_norm(nn.Linear(2, 2)), nn.Linear(2, 2)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin.weight, layer.weight)
    twin.weight = torch.eye(2)
    assert not torch.equal(twin.weight, layer.weight)
    assert isinstance(plain.weight, nn.Parameter)


def test_errors() -> None:
    with pytest.raises(ValueError, match="does not have a parameter"):
        parametrize.register_parametrization(nn.Linear(2, 2), "missing", Double())
    with pytest.raises(ValueError, match="may not change the shape"):
        parametrize.register_parametrization(nn.Linear(2, 2), "weight", nn.Flatten(0))
    with pytest.raises(ValueError, match="nothing to remove"):
        parametrize.remove_parametrizations(nn.Linear(2, 2), "weight")


@pytest.mark.parametrize(("dim", "shape"), [(0, (4, 1, 1)), (1, (1, 3, 1)), (None, ())])
def test_weight_norm(dim, shape) -> None:
    conv = nn.Conv1d(3, 4, 2)
    before = conv.weight.detach().clone()
    weight_norm(conv, dim=dim)
    assert conv.parametrizations.weight.original0.shape == shape
    assert torch.allclose(conv.weight, before)
    with torch.no_grad():
        conv.parametrizations.weight.original1.mul_(3)
    assert torch.allclose(conv.weight, before)  # the direction has no length


def test_spectral_norm_bounds_the_largest_singular_value() -> None:
    layer = spectral_norm(nn.Linear(6, 4), n_power_iterations=5)
    for _ in range(20):
        layer(torch.ones(1, 6))
    assert abs(torch.linalg.matrix_norm(layer.weight, 2).item() - 1) < 1e-3
    layer.eval()
    assert torch.equal(layer.weight, layer.weight)
    first, second = layer.weight, layer.weight
    (first.sum() + second.sum()).backward()
    assert layer.parametrizations.weight.original.grad.isfinite().all()


def test_transfer() -> None:
    source, target = weight_norm(nn.Linear(2, 3)), nn.Linear(2, 3)
    parametrize.transfer_parametrizations_and_params(source, target)
    assert torch.equal(source.weight, target.weight)
    assert target.parametrizations.weight.original0 is not source.parametrizations.weight.original0
