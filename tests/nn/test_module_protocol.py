"""Attribute lookup and calls of modules keep Python's protocol although the core does them."""

import copy
import pickle

import pytest

import flambeau
from flambeau import nn


class Wrapper(nn.Module):
    """Passes unknown attributes on to the module it wraps."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.inner, name)


def test_members_are_found_and_missing_names_raise():
    layer = nn.Linear(2, 3)
    layer.register_buffer("scale", flambeau.ones(1))
    layer.child = nn.ReLU()
    assert layer.weight is layer._parameters["weight"]
    assert layer.scale is layer._buffers["scale"]
    assert layer.child is layer._modules["child"]
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'nothing'"):
        _ = layer.nothing


def test_attributes_of_the_class_win_over_members():
    class Shadow(nn.Module):
        weight = "of the class"

    module = Shadow()
    module._parameters["weight"] = nn.Parameter(flambeau.ones(1))
    assert module.weight == "of the class"


def test_a_subclass_may_define_getattr():
    wrapped = Wrapper(nn.Linear(2, 3))
    assert wrapped.weight is wrapped.inner.weight
    assert wrapped.in_features == 2
    with pytest.raises(AttributeError, match="nothing"):
        _ = wrapped.nothing
    again = copy.deepcopy(wrapped)
    assert again.weight is not wrapped.weight


def test_getattr_may_be_replaced_later():
    class Late(nn.Module):
        pass

    class Below(Late):
        pass

    Late.__getattr__ = lambda self, name: f"late {name}"
    assert Below().anything == "late anything"
    del Late.__getattr__
    with pytest.raises(AttributeError):
        _ = Below().anything


def test_a_subclass_may_define_getattribute():
    class Watched(nn.Linear):
        def __getattribute__(self, name):
            if name == "answer":
                return 42
            return super().__getattribute__(name)

    layer = Watched(2, 2)
    assert layer.answer == 42
    assert layer.weight.shape == (2, 2)


def test_a_property_that_raises_attribute_error_reads_as_missing():
    class Broken(nn.Module):
        @property
        def value(self):
            return self.missing

    with pytest.raises(AttributeError, match="no attribute 'value'"):
        _ = Broken().value


def test_other_errors_of_a_property_pass_through():
    class Broken(nn.Module):
        @property
        def value(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _ = Broken().value


def test_lookup_works_before_init():
    module = nn.Module.__new__(nn.Linear)
    assert not hasattr(module, "weight")


def test_slots_and_other_bases():
    class Slotted(nn.Module):
        __slots__ = ("fast",)

    class Keyed(nn.Module, dict):
        pass

    slotted = Slotted()
    slotted.fast = 3
    keyed = Keyed()
    keyed["a"] = nn.Identity()
    assert slotted.fast == 3
    assert list(keyed) == ["a"]


def test_call_may_be_overridden():
    class Loud(nn.Identity):
        def __call__(self, x):
            return super().__call__(x) + 1

    assert Loud()(flambeau.zeros(1)).item() == 1


def test_call_passes_arguments_and_finds_a_forward_set_on_the_object():
    module = nn.Module()
    module.forward = lambda a, *rest, b=0: (a, rest, b)
    assert module(1, 2, b=3) == (1, (2,), 3)
    with pytest.raises(NotImplementedError):
        nn.Module()()


def test_every_kind_of_hook_is_called():
    module, seen = nn.Linear(2, 2), []
    module.register_forward_pre_hook(lambda m, a: seen.append("before"))
    module.register_forward_hook(lambda m, a, o: seen.append("after"))
    module.register_full_backward_hook(lambda m, i, o: seen.append("backward"))
    handle = nn.modules.module.register_module_forward_hook(lambda m, a, o: seen.append("global"))
    module(flambeau.ones(1, 2)).sum().backward()
    handle.remove()
    assert seen == ["before", "global", "after", "backward"]
    seen.clear()
    nn.Identity()(flambeau.ones(1))
    assert seen == []


def test_hooks_get_keyword_arguments():
    class Scale(nn.Module):
        def forward(self, x, by=1):
            return x * by

    module = Scale()
    module.register_forward_pre_hook(lambda m, a, k: (a, {"by": 3}), with_kwargs=True)
    given = {"by": 2}
    assert module(flambeau.ones(1), **given).item() == 3
    assert given == {"by": 2}


def test_changing_the_class_of_a_module():
    class Twice(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    layer, x = nn.Linear(2, 2), flambeau.ones(1, 2)
    before = layer(x)
    layer.__class__ = Twice
    assert layer(x).equal(2 * before)


def test_pickle_keeps_members():
    layer = pickle.loads(pickle.dumps(nn.Linear(2, 2)))
    assert layer(flambeau.ones(1, 2)).shape == (1, 2)


def test_members_may_live_in_other_mappings():
    class Mapping:
        def __init__(self, held):
            self.held = held

        def __contains__(self, name):
            return name in self.held

        def __getitem__(self, name):
            return self.held[name]

    layer = nn.Linear(2, 2)
    weight = layer.weight
    layer.__dict__["_parameters"] = Mapping(layer._parameters)
    assert layer.weight is weight


def test_walks_see_overridden_walks():
    class Hidden(nn.Linear):
        def named_modules(self, memo=None, prefix="", remove_duplicate=True):
            return iter(())

    class Renamed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
            yield "only", self.inner.bias

    net = nn.Sequential(nn.Linear(2, 2), Hidden(2, 2))
    assert [p.shape for p in net.parameters()] == [(2, 2), (2,)]
    assert [p.shape for p in Renamed().parameters()] == [(2,)]


def test_shared_members_are_listed_once_and_parents_first():
    shared = nn.Linear(2, 2)
    net = nn.Sequential(shared, nn.Sequential(nn.BatchNorm1d(2), shared))
    net.register_parameter("own", nn.Parameter(flambeau.zeros(1)))
    net.register_parameter("none", None)
    assert list(map(id, net.parameters())) == [id(p) for _, p in net.named_parameters()]
    assert list(map(id, net.buffers())) == [id(b) for _, b in net.named_buffers()]
    assert [id(p) for p in net.parameters(recurse=False)] == [id(net.own)]
    assert next(net.parameters()) is net.own


def test_plain_attributes_may_become_members():
    module = nn.Module()
    module.value = 3
    module.value = nn.Parameter(flambeau.zeros(1))
    assert "value" in module._parameters
    assert "value" not in module.__dict__
    with pytest.raises(TypeError, match="cannot assign"):
        module.value = 3
