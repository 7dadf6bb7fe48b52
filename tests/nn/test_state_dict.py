"""state_dict and load_state_dict: names, sharing, findings, hooks, versions."""

from collections import OrderedDict

import pytest

import flambeau
from flambeau import nn


def make_net():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


KEYS = [
    "0.weight",
    "0.bias",
    "1.weight",
    "1.bias",
    "1.running_mean",
    "1.running_var",
    "1.num_batches_tracked",
]


def test_names_sharing_and_metadata():
    net = make_net()
    state = net.state_dict()
    assert isinstance(state, OrderedDict)
    assert list(state) == KEYS
    assert state._metadata == {"": {"version": 1}, "0": {"version": 1}, "1": {"version": 2}}
    assert not state["0.weight"].requires_grad
    assert state["0.weight"].data_ptr() == net[0].weight.data_ptr()
    assert net.state_dict(keep_vars=True)["0.weight"] is net[0].weight


def test_prefix_and_destination():
    state = {"other": 1}
    filled = make_net().state_dict(destination=state, prefix="net.")
    assert filled is state
    assert list(state) == ["other"] + ["net." + key for key in KEYS]


def test_load_copies_values_and_keeps_objects():
    ours, theirs = make_net(), make_net()
    weight = ours[0].weight
    result = ours.load_state_dict(theirs.state_dict())
    assert str(result) == "<All keys matched successfully>"
    assert ours[0].weight is weight
    assert flambeau.equal(weight, theirs[0].weight)
    assert weight.data_ptr() != theirs[0].weight.data_ptr()


def test_assign_takes_the_tensors():
    ours, theirs = make_net(), make_net().double()
    ours[0].weight.requires_grad_(False)
    state = theirs.state_dict()
    ours.load_state_dict(state, assign=True)
    assert ours[0].weight.dtype == flambeau.float64
    assert ours[0].weight.data_ptr() == state["0.weight"].data_ptr()
    assert isinstance(ours[0].weight, nn.Parameter)
    assert not ours[0].weight.requires_grad
    assert ours[0].bias.requires_grad
    assert ours[1].running_mean is state["1.running_mean"]


def test_missing_and_unexpected_keys():
    net = make_net()
    state = net.state_dict()
    del state["0.bias"]
    state["0.gain"] = state["2.weight"] = flambeau.ones(1)
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Sequential:\n"
        '\tMissing key(s) in state_dict: "0.bias". \n'
        '\tUnexpected key(s) in state_dict: "2.weight", "0.gain". '
    )
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["0.bias"]
    assert sorted(result.unexpected_keys) == ["0.gain", "2.weight"]
    assert repr(result).startswith("_IncompatibleKeys(missing_keys=['0.bias']")


def test_all_wrong_shapes_are_listed_and_nothing_of_them_changes():
    net = make_net()
    before = net[0].weight.detach().clone()
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(5)).state_dict())
    text = str(caught.value)
    assert text.count("size mismatch for") == 5
    assert (
        "size mismatch for 0.weight: copying a param with shape torch.Size([3, 4]) "
        "from checkpoint, the shape in current model is torch.Size([3, 2])."
    ) in text
    assert flambeau.equal(net[0].weight, before)


def test_values_that_are_no_tensors_are_reported():
    with pytest.raises(RuntimeError, match=r"expected torch\.Tensor or Tensor-like object"):
        nn.Linear(1, 1, bias=False).load_state_dict({"weight": [[1.0]]})
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like"):
        nn.Linear(1, 1).load_state_dict([1])


def test_loading_does_not_need_grad_mode_off():
    net = nn.Linear(2, 2)
    net.load_state_dict(nn.Linear(2, 2).state_dict())
    assert net.weight.requires_grad
    assert net.weight.is_leaf
    assert net.weight.grad_fn is None


def test_old_scalars_of_one_element_load_into_zero_dimensions():
    net = nn.Module()
    net.p = nn.Parameter(flambeau.tensor(0.0))
    net.load_state_dict({"p": flambeau.tensor([4.0])})
    assert net.p.item() == 4


def test_the_given_dictionary_is_left_alone():
    state = make_net().state_dict()
    keys = list(state)
    make_net().load_state_dict(state)
    assert list(state) == keys


def test_batch_norm_of_version_1_gets_its_counter():
    net = nn.BatchNorm1d(3)
    state = net.state_dict()
    del state["num_batches_tracked"]
    state._metadata[""]["version"] = 1
    assert str(nn.BatchNorm1d(3).load_state_dict(state)) == "<All keys matched successfully>"
    state._metadata[""]["version"] = 2
    with pytest.raises(RuntimeError, match=r'Missing key.*"num_batches_tracked"'):
        nn.BatchNorm1d(3).load_state_dict(state)


class WithExtra(nn.Module):
    def __init__(self, value=0):
        super().__init__()
        self.value = value

    def get_extra_state(self):
        return {"value": self.value}

    def set_extra_state(self, state):
        self.value = state["value"]


def test_extra_state():
    net = nn.Sequential(WithExtra(5))
    state = net.state_dict()
    assert state == {"0._extra_state": {"value": 5}}
    other = nn.Sequential(WithExtra())
    other.load_state_dict(state)
    assert other[0].value == 5
    with pytest.raises(RuntimeError, match=r'Missing key.*"0._extra_state"'):
        other.load_state_dict({})
    with pytest.raises(RuntimeError, match=r"Unexpected key.*_extra_state"):
        nn.Linear(1, 1).load_state_dict({**nn.Linear(1, 1).state_dict(), "_extra_state": 1})


def test_state_dict_hooks():
    net = nn.Linear(1, 1)
    order = []
    net.register_state_dict_pre_hook(lambda m, prefix, keep: order.append(("pre", prefix, keep)))

    def rename(module, state, prefix, metadata):
        order.append("post")
        state[prefix + "w"] = state.pop(prefix + "weight")

    net.register_state_dict_post_hook(rename)
    assert list(nn.Sequential(net).state_dict()) == ["0.bias", "0.w"]
    assert order == [("pre", "0.", False), "post"]
    net._register_state_dict_hook(lambda m, state, prefix, metadata: {"only": 1})
    assert net.state_dict() == {"only": 1}


def test_a_public_state_dict_hook_returns_nothing():
    net = nn.Linear(1, 1)
    net.register_state_dict_post_hook(lambda m, state, prefix, metadata: state)
    with pytest.raises(RuntimeError, match="must return None"):
        net.state_dict()


def test_load_hooks():
    net = nn.Linear(1, 1, bias=False)
    seen = []

    def rename(module, state, prefix, metadata, strict, missing, unexpected, errors):
        assert module is net
        state[prefix + "weight"] = state.pop(prefix + "w")

    net.register_load_state_dict_pre_hook(rename)
    net._register_load_state_dict_pre_hook(lambda *args: seen.append(len(args)))
    net.register_load_state_dict_post_hook(lambda m, keys: seen.append(keys.missing_keys))
    nn.Sequential(net).load_state_dict({"0.w": flambeau.tensor([[7.0]])})
    assert net.weight.item() == 7
    assert seen == [7, []]


def test_load_post_hooks_can_forgive_findings():
    net = nn.Linear(1, 1)
    net.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    net.load_state_dict({})
    net.register_load_state_dict_post_hook(lambda m, keys: keys)
    with pytest.raises(AssertionError, match="not expected to return new values"):
        net.load_state_dict({})


def test_overriding_load_from_state_dict_is_respected():
    class Custom(nn.Linear):
        def _load_from_state_dict(self, state_dict, prefix, *rest):
            state_dict[prefix + "weight"] = state_dict[prefix + "weight"] * 2
            super()._load_from_state_dict(state_dict, prefix, *rest)

    net = nn.Sequential(Custom(1, 1, bias=False))
    net.load_state_dict({"0.weight": flambeau.tensor([[3.0]])})
    assert net[0].weight.item() == 6
