"""Module: registration, attribute rules, walking the tree, moving, printing, copying, pickling."""

import copy
import gc
import pickle
import weakref

import pytest

import flambeau
from flambeau import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.second = nn.Linear(3, 1, bias=False)
        self.scale = nn.Parameter(flambeau.ones(1))
        self.register_buffer("count", flambeau.zeros(1))
        self.register_buffer("scratch", flambeau.zeros(2), persistent=False)
        self.plain = 5

    def forward(self, x):
        return self.second(self.first(x).relu()) * self.scale


def names(pairs):
    return [name for name, _ in pairs]


def test_parameters_buffers_and_modules_are_registered_by_assignment():
    net = Net()
    assert names(net.named_parameters()) == [
        "scale",
        "first.weight",
        "first.bias",
        "second.weight",
    ]
    assert names(net.named_buffers()) == ["count", "scratch"]
    assert names(net.named_children()) == ["first", "second"]
    assert names(net.named_modules()) == ["", "first", "second"]
    assert net._parameters["scale"] is net.scale
    assert net._modules["first"] is net.first
    assert net.plain == 5
    assert "scale" not in net.__dict__


def test_attributes_follow_the_dictionaries():
    net = Net()
    other = nn.Parameter(flambeau.zeros(1))
    net._parameters["scale"] = other
    assert net.scale is other
    net._modules["first"] = nn.Identity()
    assert isinstance(net.first, nn.Identity)
    net._buffers["count"] = None
    assert net.count is None
    del net._parameters["scale"]
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'scale'"):
        _ = net.scale


def test_a_plain_attribute_gives_way_to_a_parameter():
    net = nn.Module()
    net.x = 3
    net.x = nn.Parameter(flambeau.zeros(1))
    assert "x" not in net.__dict__
    assert names(net.named_parameters()) == ["x"]
    net.x = None
    assert net.x is None
    assert "x" in net._parameters
    net.x = nn.Parameter(flambeau.ones(1))
    assert net.x.item() == 1


def test_a_parameter_replaces_a_buffer_and_a_module_replaces_a_buffer():
    net = Net()
    net.count = nn.Parameter(flambeau.zeros(1))
    assert "count" in net._parameters
    assert "count" not in net._buffers
    net.scratch = nn.Identity()
    assert "scratch" in net._modules
    assert "scratch" not in net._buffers
    assert "scratch" not in net._non_persistent_buffers_set


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("scale", 3, "cannot assign '.*' as parameter 'scale'"),
        ("scale", "tensor", "cannot assign '.*' as parameter 'scale'"),
        ("first", 3, "cannot assign '.*' as child module 'first'"),
        ("count", 3, "cannot assign '.*' as buffer 'count'"),
        ("scale", "module", "cannot assign '.*' as parameter 'scale'"),
    ],
)
def test_wrong_assignment(name, value, text):
    value = {"tensor": flambeau.zeros(1), "module": nn.Identity()}.get(value, value)
    net = Net()
    before = net.state_dict()
    with pytest.raises(TypeError, match=text):
        setattr(net, name, value)
    assert list(net.state_dict()) == list(before)


def test_a_buffer_takes_tensors_and_none():
    net = Net()
    new = flambeau.ones(4)
    net.count = new
    assert net._buffers["count"] is new
    net.count = None
    assert "count" not in net.state_dict()


def test_buffer_objects_register_themselves():
    net = nn.Module()
    net.kept = nn.Buffer(flambeau.zeros(1))
    net.dropped = nn.Buffer(flambeau.zeros(1), persistent=False)
    assert names(net.named_buffers()) == ["kept", "dropped"]
    assert list(net.state_dict()) == ["kept"]
    assert isinstance(net.kept, nn.Buffer)
    assert not isinstance(flambeau.zeros(1), nn.Buffer)


def test_registration_before_init_is_refused():
    class Early(nn.Module):
        def __init__(self, what):
            if what == "parameter":
                self.x = nn.Parameter(flambeau.zeros(1))
            elif what == "module":
                self.x = nn.Identity()
            else:
                self.register_buffer("x", flambeau.zeros(1))

    for what in ("parameter", "module", "buffer"):
        with pytest.raises(AttributeError, match=r"before Module.__init__\(\) call"):
            Early(what)


@pytest.mark.parametrize("name", ["", "a.b", "first", "forward"])
def test_names_that_cannot_be_registered(name):
    net = Net()
    with pytest.raises(KeyError):
        net.register_parameter(name, None)


def test_deleting_members():
    net = Net()
    del net.scale
    del net.first
    del net.scratch
    del net.plain
    assert names(net.named_parameters()) == ["second.weight"]
    assert net._non_persistent_buffers_set == set()
    assert not hasattr(net, "plain")


def test_forward_is_required_and_init_takes_no_arguments():
    with pytest.raises(
        NotImplementedError, match=r'Module \[Module\] is missing the required "forw'
    ):
        nn.Module()(1)
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        nn.Module(3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'a'"):
        nn.Module(a=3)


def test_call_super_init_reaches_the_next_class():
    class Mixin:
        def __init__(self, a):
            self.a = a

    class Both(nn.Module, Mixin):
        call_super_init = True

        def __init__(self, a):
            super().__init__(a)

    assert Both(7).a == 7


def test_shared_members_are_listed_once_unless_asked():
    shared = nn.Linear(2, 2)
    net = nn.Sequential(shared, shared)
    assert len(list(net.parameters())) == 2
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4
    assert len(list(net.modules())) == 2
    assert names(net.named_modules(remove_duplicate=False)) == ["", "0", "1"]
    assert len(list(net.children())) == 1
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_recurse_and_prefix():
    net = Net()
    assert names(net.named_parameters(prefix="net", recurse=False)) == ["net.scale"]
    assert names(net.named_buffers(prefix="net"))[0] == "net.count"


def test_lookup_by_dotted_name():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.BatchNorm1d(2))
    assert net.get_submodule("0.0") is net[0][0]
    assert net.get_submodule("") is net
    assert net.get_parameter("0.0.weight") is net[0][0].weight
    assert net.get_buffer("1.running_mean") is net[1].running_mean
    net.set_submodule("0.0", nn.ReLU())
    assert isinstance(net[0][0], nn.ReLU)
    for call, wrong in (
        (net.get_submodule, "0.9"),
        (net.get_parameter, "1.nothing"),
        (net.get_parameter, "1.running_mean"),
        (net.get_buffer, "1.weight"),
    ):
        with pytest.raises(AttributeError):
            call(wrong)
    with pytest.raises(AttributeError):
        net.set_submodule("0.5", nn.ReLU(), strict=True)
    with pytest.raises(ValueError, match="without a target name"):
        net.set_submodule("", nn.ReLU())


def test_apply_goes_children_first():
    seen = []
    net = nn.Sequential(nn.Sequential(nn.ReLU()), nn.Tanh())
    assert net.apply(lambda module: seen.append(type(module).__name__)) is net
    assert seen == ["ReLU", "Sequential", "Tanh", "Sequential"]


def test_train_and_eval_reach_everything():
    net = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.BatchNorm1d(2)))
    assert net.training
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.train()
    assert all(module.training for module in net.modules())
    with pytest.raises(ValueError, match="expected to be boolean"):
        net.train("yes")


def test_requires_grad_and_zero_grad():
    net = Net()
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(flambeau.ones(4, 2)).sum().backward()
    assert net.scale.grad is not None
    net.zero_grad(set_to_none=False)
    assert net.scale.grad.item() == 0
    net.zero_grad()
    assert net.scale.grad is None


def test_dtype_changes_keep_parameters_the_same_objects():
    net = Net()
    net.register_buffer("index", flambeau.zeros(1, dtype=flambeau.int64))
    net(flambeau.ones(4, 2)).sum().backward()
    before = list(net.parameters())
    assert net.double() is net
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert all(p.dtype == flambeau.float64 for p in net.parameters())
    assert all(p.grad.dtype == flambeau.float64 for p in net.parameters())
    assert net.count.dtype == flambeau.float64
    assert net.index.dtype == flambeau.int64
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in net.parameters())
    assert net(flambeau.ones(4, 2, dtype=flambeau.float64)).dtype == flambeau.float64


@pytest.mark.parametrize(
    ("convert", "dtype"),
    [
        (lambda net: net.half(), "float16"),
        (lambda net: net.bfloat16(), "bfloat16"),
        (lambda net: net.double().float(), "float32"),
        (lambda net: net.to(flambeau.float64), "float64"),
        (lambda net: net.to("cpu", flambeau.float64), "float64"),
        (lambda net: net.to(dtype=flambeau.float64, non_blocking=True), "float64"),
        (lambda net: net.to(flambeau.zeros(1, dtype=flambeau.float64)), "float64"),
        (lambda net: net.to(flambeau.device("cpu")), "float32"),
        (lambda net: net.cpu(), "float32"),
        (lambda net: net.type(flambeau.float64), "float64"),
    ],
)
def test_conversions(convert, dtype):
    net = Net()
    assert convert(net) is net
    assert net.first.weight.dtype == getattr(flambeau, dtype)
    assert net.count.dtype == getattr(flambeau, dtype)


def test_to_refuses_integers_and_unknown_arguments():
    with pytest.raises(TypeError, match="floating point or complex"):
        Net().to(flambeau.int32)
    with pytest.raises(TypeError):
        Net().to("cpu", flambeau.float32, False, 3)
    with pytest.raises(TypeError):
        Net().to(speed=3)


def test_values_survive_conversion():
    net = nn.Linear(2, 2)
    before = net.weight.detach().clone()
    net.double().float()
    assert flambeau.equal(net.weight, before)


def test_repr():
    class WithExtra(nn.Module):
        def __init__(self, lines):
            super().__init__()
            self.lines = lines

        def extra_repr(self):
            return self.lines

    assert repr(nn.Module()) == "Module()"
    assert repr(WithExtra("a=1")) == "WithExtra(a=1)"
    assert repr(WithExtra("a\nb")) == "WithExtra(\n  a\n  b\n)"
    nested = nn.Sequential(nn.Sequential(nn.Linear(1, 2)), nn.Dropout())
    assert repr(nested) == (
        "Sequential(\n"
        "  (0): Sequential(\n"
        "    (0): Linear(in_features=1, out_features=2, bias=True)\n"
        "  )\n"
        "  (1): Dropout(p=0.5, inplace=False)\n"
        ")"
    )
    tree = WithExtra("a=1")
    tree.child = nn.ReLU()
    assert repr(tree) == "WithExtra(\n  a=1\n  (child): ReLU()\n)"


def test_dir_lists_members_but_no_numbers():
    listed = dir(nn.Sequential(nn.Linear(1, 1)))
    assert "0" not in listed
    listed = dir(Net())
    assert {"first", "scale", "count", "plain", "forward"} <= set(listed)


def test_deepcopy_is_independent():
    net = Net()
    net.first.weight.requires_grad_(False)
    twin = copy.deepcopy(net)
    assert twin.first.weight is not net.first.weight
    assert not twin.first.weight.requires_grad
    with flambeau.no_grad():
        twin.scale.fill_(9)
    assert net.scale.item() == 1
    assert isinstance(twin.scale, nn.Parameter)
    assert twin._non_persistent_buffers_set == {"scratch"}


def test_deepcopy_keeps_shared_parameters_shared():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    twin = copy.deepcopy(net)
    assert twin[1].weight is twin[0].weight
    assert twin[0].weight is not net[0].weight


def test_pickle_round_trip():
    net = nn.Sequential(
        nn.Linear(2, 3), nn.BatchNorm1d(3), nn.LSTM(3, 2), nn.Embedding(4, 2)
    ).eval()
    back = pickle.loads(pickle.dumps(net))
    assert repr(back) == repr(net)
    assert not back.training
    for (name, ours), theirs in zip(
        net.state_dict().items(), back.state_dict().values(), strict=True
    ):
        assert flambeau.equal(ours, theirs), name
    assert all(isinstance(p, nn.Parameter) for p in back.parameters())


def test_old_pickles_without_newer_dictionaries_work():
    net = nn.Linear(2, 2)
    state = dict(net.__dict__)
    for name in (
        "_forward_hooks_always_called",
        "_backward_pre_hooks",
        "_load_state_dict_post_hooks",
    ):
        del state[name]
    old = nn.Linear.__new__(nn.Linear)
    old.__setstate__(state)
    assert old(flambeau.ones(1, 2)).shape == (1, 2)
    old.register_forward_hook(lambda *_: None, always_call=True)


def test_modules_are_freed_without_the_collector():
    gc.collect()
    gc.disable()
    try:
        net = Net()
        handle = net.register_forward_hook(lambda *_: None)
        net._register_load_state_dict_pre_hook(lambda *_: None, with_module=True)
        watch = weakref.ref(net.first.weight)
        del net
        assert watch() is None
        handle.remove()
    finally:
        gc.enable()


def test_registration_hooks_see_and_replace_members():
    from flambeau.nn.modules import module as hooks

    seen = []
    handles = [
        hooks.register_module_parameter_registration_hook(lambda m, n, p: seen.append(("p", n))),
        hooks.register_module_buffer_registration_hook(lambda m, n, b: seen.append(("b", n))),
        hooks.register_module_module_registration_hook(lambda m, n, c: seen.append(("m", n))),
    ]
    try:
        net = nn.Sequential(nn.Linear(1, 1))
        net.register_buffer("b", None)
        net.child = nn.ReLU()
    finally:
        for handle in handles:
            handle.remove()
    nn.Linear(1, 1)
    assert seen == [("p", "weight"), ("p", "bias"), ("m", "0"), ("b", "b"), ("m", "child")]


def test_share_memory_returns_the_module():
    net = nn.Linear(2, 2)
    assert net.share_memory() is net


def test_errors_in_properties_come_through():
    class WithProperties(nn.Module):
        @property
        def fails(self):
            raise ValueError("from the property")

        @property
        def depth(self):
            return self.missing

    net = WithProperties()
    with pytest.raises(ValueError, match="from the property"):
        _ = net.fails
    with pytest.raises(AttributeError, match="no attribute"):
        _ = net.depth
    assert not hasattr(net, "depth")
