"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from collections import OrderedDict

import pytest

import flambeau
from flambeau import nn


def kinds(modules):
    return [type(module).__name__ for module in modules]


def test_sequential_runs_in_order_and_by_name():
    net = nn.Sequential(OrderedDict(inner=nn.Linear(1, 1), act=nn.ReLU()))
    with flambeau.no_grad():
        net.inner.weight.fill_(-2)
        net.inner.bias.fill_(1)
    assert net(flambeau.ones(1, 1)).tolist() == [[0.0]]
    assert list(dict(net.named_children())) == ["inner", "act"]
    assert net.act is net[1] is net[-1]


def test_sequential_edits():
    net = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU())
    assert kinds(net[1:3]) == ["Tanh", "Sigmoid"]
    assert isinstance(net[1:3], nn.Sequential)
    del net[1]
    assert list(dict(net.named_children())) == ["0", "1", "2"]
    del net[:2]
    assert kinds(net) == ["GELU"]
    net.append(nn.ReLU()).insert(0, nn.Tanh())
    assert kinds(net) == ["Tanh", "GELU", "ReLU"]
    net.insert(-1, nn.ELU())
    assert kinds(net) == ["Tanh", "GELU", "ELU", "ReLU"]
    net.extend(nn.Sequential(nn.SiLU()))
    assert isinstance(net.pop(0), nn.Tanh)
    assert kinds(net) == ["GELU", "ELU", "ReLU", "SiLU"]
    net[1] = nn.Mish()
    assert kinds(net)[1] == "Mish"
    assert len(net) == 4


def test_sequential_arithmetic():
    a, b = nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh())
    assert kinds(a + b) == ["ReLU", "Tanh"]
    assert kinds(a * 2) == kinds(2 * a) == ["ReLU", "ReLU"]
    a += b
    a *= 2
    assert kinds(a) == ["ReLU", "Tanh", "ReLU", "Tanh"]
    with pytest.raises(ValueError, match="only objects of Sequential"):
        _ = a + b[0]
    with pytest.raises(ValueError, match="Non-positive"):
        _ = a * 0
    with pytest.raises(TypeError):
        _ = a * 1.5


def test_sequential_errors():
    net = nn.Sequential(nn.ReLU())
    for index in (1, -2):
        with pytest.raises(IndexError, match="out of range"):
            net[index]
    with pytest.raises(IndexError):
        net.insert(3, nn.ReLU())
    with pytest.raises(AssertionError):
        net.insert(0, 3)
    with pytest.raises(TypeError, match="not a Module subclass"):
        nn.Sequential(3)
    with pytest.raises(TypeError, match="not a Module subclass"):
        net.append("relu")


def test_module_list():
    layers = nn.ModuleList([nn.Linear(1, 1) for _ in range(3)])
    assert len(layers) == 3
    assert len(list(layers.parameters())) == 6
    assert layers[-1] is layers[2]
    assert kinds(layers[:2]) == ["Linear", "Linear"]
    layers.append(nn.ReLU())
    layers.insert(0, nn.Tanh())
    layers.extend([nn.GELU()])
    layers += [nn.ELU()]
    assert kinds(layers) == ["Tanh", "Linear", "Linear", "Linear", "ReLU", "GELU", "ELU"]
    assert list(dict(layers.named_children())) == [str(i) for i in range(7)]
    layers[0] = nn.SiLU()
    del layers[1:4]
    assert kinds(layers) == ["SiLU", "ReLU", "GELU", "ELU"]
    assert isinstance(layers.pop(1), nn.ReLU)
    assert kinds(layers + nn.ModuleList([nn.Mish()])) == ["SiLU", "GELU", "ELU", "Mish"]
    with pytest.raises(IndexError):
        layers[5]
    with pytest.raises(TypeError, match="called with an iterable"):
        layers.extend(3)
    with pytest.raises(NotImplementedError):
        layers(1)


def test_module_list_folds_equal_lines():
    assert repr(nn.ModuleList()) == "ModuleList()"
    layers = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh(), nn.ReLU()])
    assert repr(layers) == ("ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n  (3): ReLU()\n)")


def test_module_dict():
    choices = nn.ModuleDict({"b": nn.ReLU(), "a": nn.Tanh()})
    assert list(choices) == list(choices.keys()) == ["b", "a"]
    assert "a" in choices
    assert choices["a"] is choices.a
    choices["c"] = nn.Linear(1, 1)
    choices.update([("d", nn.GELU()), ("a", nn.ELU())])
    assert kinds(choices.values()) == ["ReLU", "ELU", "Linear", "GELU"]
    assert list(choices.state_dict()) == ["c.weight", "c.bias"]
    assert isinstance(choices.pop("c"), nn.Linear)
    del choices["d"]
    assert [key for key, _ in choices.items()] == ["b", "a"]
    choices.clear()
    assert len(choices) == 0
    with pytest.raises(TypeError, match="iterable of key/value pairs"):
        choices.update(3)
    with pytest.raises(ValueError, match="has length 3; 2 is required"):
        choices.update([("a", 1, 2)])
    with pytest.raises(KeyError):
        choices["missing"]


def test_parameter_list():
    values = nn.ParameterList([flambeau.zeros(1), nn.Parameter(flambeau.ones(2))])
    values.append(flambeau.zeros(3))
    values += ["text"]
    assert len(values) == 4
    assert [type(v).__name__ for v in values] == ["Parameter"] * 3 + ["str"]
    assert list(values.state_dict()) == ["0", "1", "2"]
    values[0] = flambeau.ones(5)
    assert values[-4].shape == (5,)
    assert len(values[1:3]) == 2
    with pytest.raises(IndexError):
        values[4]
    with pytest.raises(TypeError):
        values.extend(flambeau.ones(2))
    with pytest.raises(RuntimeError, match="should not be called"):
        values()
    assert repr(values).splitlines()[1] == (
        "    (0): Parameter containing: [torch.float32 of size 5]"
    )


def test_parameter_dict():
    values = nn.ParameterDict({"b": flambeau.zeros(1), "a": nn.Parameter(flambeau.ones(2))})
    assert list(values) == ["a", "b"]
    values["c"] = flambeau.zeros(2)
    assert isinstance(values["c"], nn.Parameter)
    assert values.c is values["c"]
    assert values.get("x", 4) == 4
    assert values.setdefault("d", flambeau.ones(1)).shape == (1,)
    assert values.popitem()[0] == "d"
    assert values.pop("c").shape == (2,)
    assert list(reversed(values)) == ["b", "a"]
    joined = values | nn.ParameterDict({"z": flambeau.ones(1)})
    assert list(joined) == ["a", "b", "z"]
    assert list(values) == ["a", "b"]
    values |= {"y": flambeau.ones(1)}
    assert "y" in values
    assert list(values.copy()) == ["a", "b", "y"]
    del values["a"]
    with pytest.raises(KeyError):
        values["a"]
    with pytest.raises(TypeError, match="not a string"):
        values[1] = flambeau.ones(1)
    values.clear()
    assert len(values) == 0
    assert list(values.parameters()) == []
    assert list(nn.ParameterDict().fromkeys(["p", "q"], 1)) == ["p", "q"]
