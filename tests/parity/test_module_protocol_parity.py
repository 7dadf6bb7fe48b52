"""The protocol of Module, optimisers and samplers: the same program in both frameworks.

Each case is a function of the framework that returns plain data; exceptions are data too.
"""

import copy
import warnings
from collections import OrderedDict

import pytest

import flambeau

pytestmark = pytest.mark.parity


def make_net(f):
    f.manual_seed(0)
    net = f.nn.Sequential(
        OrderedDict(
            first=f.nn.Linear(2, 3),
            norm=f.nn.BatchNorm1d(3),
            inner=f.nn.Sequential(f.nn.Linear(3, 3), f.nn.ReLU()),
            last=f.nn.Linear(3, 1, bias=False),
        )
    )
    net.register_buffer("scale", f.ones(1), persistent=False)
    return net


def attempt(fn):
    """The result, or the exception's type and text."""
    try:
        return fn()
    except Exception as error:
        return type(error).__name__, str(error).replace("flambeau.", "torch.")


def report_of(report):
    return repr(report), sorted(report.missing_keys), sorted(report.unexpected_keys)


def strict_loading(f):
    net, state = make_net(f), make_net(f).state_dict()
    del state["first.bias"], state["norm.running_var"]
    state["extra"] = f.zeros(1)
    state["inner.0.more"] = f.zeros(1)
    state["last.weight"] = f.zeros(2, 3)
    state["first.weight"] = [1, 2]
    return attempt(lambda: net.load_state_dict(state)), attempt(
        lambda: net.load_state_dict(state, strict=False)
    )


def loose_loading(f):
    net, state = make_net(f), make_net(f).state_dict()
    del state["first.bias"]
    state["extra"] = f.zeros(1)
    return report_of(net.load_state_dict(state, strict=False)), report_of(
        net.load_state_dict(make_net(f).state_dict())
    )


def assigned_loading(f):
    net, state = make_net(f), make_net(f).double().state_dict()
    net.first.weight.requires_grad_(False)
    net.load_state_dict(state, assign=True)
    return [
        (name, str(p.dtype)[-7:], p.requires_grad, p.data_ptr() == state[name].data_ptr())
        for name, p in net.named_parameters()
    ] + [type(net.norm.running_mean).__name__, str(net.norm.running_mean.dtype)[-7:]]


def copied_loading_keeps_dtype(f):
    net = make_net(f)
    net.load_state_dict(make_net(f).double().state_dict())
    return [str(p.dtype)[-7:] for p in net.parameters()]


def not_a_mapping(f):
    return [attempt(lambda v=v: make_net(f).load_state_dict(v)) for v in (3, [1])]


def state_dict_hooks(f):
    net, seen = make_net(f), []
    net.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(("pre", prefix, keep)))
    net.inner.register_state_dict_post_hook(
        lambda m, state, prefix, meta: seen.append(("post", prefix, sorted(state), dict(meta)))
    )
    net.norm._register_state_dict_hook(
        lambda m, state, prefix, meta: OrderedDict(state, made=f.zeros(1))
    )
    net.last.register_load_state_dict_pre_hook(
        lambda m, state, prefix, meta, strict, missing, unexpected, errors: seen.append(
            ("load pre", type(m).__name__, prefix, sorted(state), strict, list(missing))
        )
    )
    net.inner.register_load_state_dict_post_hook(
        lambda m, keys: seen.append(("load post", list(keys.missing_keys)))
    )
    state = net.state_dict(prefix="net.")
    net.load_state_dict(make_net(f).state_dict())
    broken = make_net(f)
    broken.register_state_dict_post_hook(lambda m, state, prefix, meta: state)
    return seen, list(state), attempt(broken.state_dict)


def metadata(f):
    state = make_net(f).state_dict()
    return [(k, dict(v)) for k, v in state._metadata.items()]


def extra_state(f):
    class Counter(f.nn.Module):
        def __init__(self):
            super().__init__()
            self.count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    net = f.nn.Sequential(Counter())
    net[0].count = 5
    state = net.state_dict()
    other = f.nn.Sequential(Counter())
    report = other.load_state_dict(state)
    return (
        list(state),
        other[0].count,
        report_of(report),
        attempt(lambda: other.load_state_dict({})),
        attempt(lambda: f.nn.Sequential(f.nn.ReLU()).load_state_dict(state)),
    )


def forward_hooks(f):
    net, seen, x = make_net(f).eval(), [], f.ones(1, 2)
    net.first.register_forward_pre_hook(lambda m, args: seen.append("pre 1"))
    net.first.register_forward_pre_hook(lambda m, args: (args[0] * 2,), prepend=True)
    net.first.register_forward_pre_hook(
        lambda m, args, kwargs: seen.append(("pre", args[0].tolist(), kwargs)), with_kwargs=True
    )
    net.last.register_forward_hook(lambda m, args, out: out * 0 + 3)
    net.last.register_forward_hook(
        lambda m, args, kwargs, out: seen.append((kwargs, out.tolist())), with_kwargs=True
    )
    handle = net.last.register_forward_hook(lambda m, args, out: seen.append("gone"))
    handle.remove()
    first = net(x).tolist()
    failing = f.nn.Linear(2, 2)
    failing.register_forward_hook(
        lambda m, args, out: seen.append(("always", out)), always_call=True
    )
    failed = attempt(lambda: failing(f.ones(1, 5)))[0]
    wrong = f.nn.ReLU()
    wrong.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
    return seen, first, failed, attempt(lambda: wrong(x))


def global_hooks(f):
    seen, net = [], make_net(f).eval()
    module = f.nn.modules.module
    handles = [
        module.register_module_forward_pre_hook(lambda m, a: seen.append(type(m).__name__)),
        module.register_module_forward_hook(lambda m, a, o: seen.append(tuple(o.shape))),
        module.register_module_full_backward_hook(
            lambda m, gi, go: seen.append(("back", type(m).__name__, len(gi), len(go)))
        ),
        module.register_module_full_backward_pre_hook(
            lambda m, go: seen.append(("before", type(m).__name__))
        ),
        module.register_module_parameter_registration_hook(
            lambda m, name, p: seen.append(("parameter", name))
        ),
        module.register_module_buffer_registration_hook(
            lambda m, name, b: seen.append(("buffer", name))
        ),
        module.register_module_module_registration_hook(
            lambda m, name, c: seen.append(("module", name))
        ),
    ]
    try:
        net(f.ones(1, 2, requires_grad=True)).sum().backward()
        f.nn.Sequential(f.nn.BatchNorm1d(2))
    finally:
        for handle in handles:
            handle.remove()
    return seen


def backward_hooks(f):
    net, seen, x = f.nn.Linear(2, 3), [], f.ones(1, 2, requires_grad=True)
    net.register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))
    net.register_full_backward_hook(
        lambda m, gi, go: seen.append([tuple(g.shape) for g in (*gi, *go)]) or (gi[0] * 0 + 1,)
    )
    net(x).sum().backward()
    return (
        seen,
        x.grad.tolist(),
        net.bias.grad.tolist(),
        attempt(lambda: net.register_backward_hook(print)),
    )


def registration_errors(f):
    net = f.nn.Linear(1, 1)
    wrong = f.ones(1, requires_grad=True) * 2
    return [
        attempt(lambda: net.register_parameter("a.b", None)),
        attempt(lambda: net.register_parameter("", None)),
        attempt(lambda: net.register_parameter("forward", None)),
        attempt(lambda: net.register_parameter("p", f.ones(1))),
        attempt(lambda: net.register_parameter("p", wrong))[0],
        attempt(lambda: net.register_buffer("weight", f.ones(1))),
        attempt(lambda: net.register_buffer("b", 3)),
        attempt(lambda: net.add_module("m", 3)),
        attempt(lambda: net.add_module("weight", None)),
        attempt(lambda: setattr(net, "weight", f.ones(1))),
        attempt(lambda: setattr(net, "weight", 3)),
        attempt(lambda: net.nothing),
        attempt(lambda: net.get_submodule("x.y")),
        attempt(lambda: net.get_parameter("weight").shape == (1, 1)),
        attempt(lambda: net.get_parameter("nope")),
        attempt(lambda: net.get_buffer("weight")),
        attempt(lambda: net.to(f.int64)),
        attempt(lambda: net.train("yes")),
        attempt(lambda: f.nn.Module(3)),
        attempt(lambda: f.nn.Module()(3)),
    ]


def walking(f):
    net = make_net(f)
    net.inner[0].weight = net.first.bias  # shared
    return (
        [n for n, _ in net.named_parameters()],
        [n for n, _ in net.named_parameters(remove_duplicate=False)],
        [n for n, _ in net.named_parameters(prefix="p", recurse=False)],
        [n for n, _ in net.named_buffers()],
        [n for n, _ in net.named_modules()],
        [n for n, _ in net.named_children()],
        sorted(set(dir(net)) & {"first", "scale", "0", "inner"}),
        repr(net),
    )


def conversions(f):
    net = make_net(f).double()
    parameter = net.first.weight
    net.half()
    kept = net.first.weight is parameter
    return (
        kept,
        [str(b.dtype)[6:] for b in net.state_dict().values()],
        [p.requires_grad for p in net.requires_grad_(False).parameters()],
        tuple(net.to_empty(device="cpu").first.weight.shape),
    )


def copying(f):
    net = make_net(f)
    net.first.weight.grad = f.ones(3, 2)
    made = copy.deepcopy(net)
    return (
        made.first.weight is net.first.weight,
        made.first.weight.grad,
        [n for n, _ in made.named_buffers()],
        made.state_dict().keys() == net.state_dict().keys(),
    )


def containers(f):
    layers = [f.nn.Linear(i + 1, 1) for i in range(4)]
    net = f.nn.Sequential(*layers)
    size = lambda m: [x.in_features for x in m]
    out = [size(net[1:3]), size(net + f.nn.Sequential(f.nn.Linear(9, 1)))]
    net.insert(1, f.nn.Linear(7, 1))
    out += [size(net), net.pop(1).in_features, size(net)]
    del net[0]
    net.extend([f.nn.Linear(8, 1)])
    out += [size(net), attempt(lambda: net[10]), attempt(lambda: net.append(3))]
    items = f.nn.ModuleDict({"a": layers[0]})
    items.update([("b", layers[1])])
    out += [list(items), items.pop("a").in_features, "b" in items, len(items)]
    values = f.nn.ParameterDict({"x": f.nn.Parameter(f.ones(1)), "y": 3})
    out += [sorted(values.keys()), repr(values.get("y")), list(dict(values.named_parameters()))]
    listed = f.nn.ParameterList([f.ones(2), f.nn.Parameter(f.ones(1))])
    listed.append(f.zeros(1))
    out += [len(listed), [type(x).__name__ for x in listed], repr(listed).replace("torch.", "")]
    return out


def optimizer_groups(f):
    net = make_net(f)
    optimizer = f.optim.AdamW(net.named_parameters(), lr=0.1)
    optimizer.add_param_group({"params": [("new", f.nn.Parameter(f.ones(1)))], "lr": 0.5})
    state = optimizer.state_dict()
    errors = [
        attempt(lambda: optimizer.add_param_group({"params": [f.nn.Parameter(f.ones(1))]})),
        attempt(lambda: optimizer.add_param_group({"params": [("b", net.last.weight)]})),
        attempt(lambda: f.optim.SGD([], lr=0.1)),
        attempt(lambda: f.optim.SGD([3], lr=0.1)),
        attempt(lambda: f.optim.SGD([f.ones(1, requires_grad=True) * 2], lr=0.1)),
        attempt(lambda: f.optim.SGD(net.parameters(), lr=-1)),
        attempt(lambda: optimizer.load_state_dict({"state": {}, "param_groups": []})),
        attempt(lambda: f.optim.LBFGS([{"params": [x]} for x in net.parameters()])),
    ]
    return state["param_groups"], repr(optimizer), errors


def optimizer_hooks(f):
    weight, seen = f.nn.Parameter(f.ones(1)), []
    optimizer = f.optim.RAdam([weight], lr=0.1)
    optimizer.register_step_pre_hook(lambda o, a, k: seen.append(("pre", len(a), sorted(k))))
    optimizer.register_step_post_hook(lambda o, a, k: seen.append("post"))
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("state pre"))
    optimizer.register_state_dict_post_hook(lambda o, s: {**s, "more": 1})
    optimizer.register_load_state_dict_pre_hook(
        lambda o, s: {k: v for k, v in s.items() if k != "more"}
    )
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    weight.grad = f.ones(1)
    optimizer.step()
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    return seen, sorted(state), optimizer.step(lambda: 7)


def samplers(f):
    data, g = f.utils.data, f.Generator()
    g.manual_seed(3)
    set_ = data.TensorDataset(f.arange(10))
    draw = lambda sampler: [x.tolist() if hasattr(x, "tolist") else x for x in sampler]
    shard = data.DistributedSampler(set_, num_replicas=3, rank=1, seed=5)
    shard.set_epoch(2)
    return [
        draw(data.RandomSampler(set_, generator=g)),
        draw(data.RandomSampler(set_, replacement=True, num_samples=25, generator=g)),
        draw(data.RandomSampler(set_, num_samples=25, generator=g)),
        draw(data.SequentialSampler(set_)),
        draw(data.SubsetRandomSampler([4, 2, 9], generator=g)),
        draw(data.WeightedRandomSampler([0.1, 5, 1], 12, generator=g)),
        draw(data.WeightedRandomSampler([0.1, 5, 1], 3, replacement=False, generator=g)),
        draw(data.BatchSampler(range(7), 3, False)),
        draw(data.BatchSampler(range(7), 3, True)),
        draw(shard),
        len(shard),
        draw(data.DistributedSampler(set_, 3, 2, shuffle=False, drop_last=True)),
        attempt(lambda: data.RandomSampler(set_, num_samples=0)),
        attempt(lambda: data.BatchSampler(range(3), 0, False)),
        attempt(lambda: data.WeightedRandomSampler([1.0], -1)),
        attempt(lambda: data.RandomSampler(set_, replacement=3)),
    ]


def datasets(f):
    data = f.utils.data
    a, b = data.TensorDataset(f.arange(3)), data.TensorDataset(f.arange(5), f.arange(5) * 2)
    joined = data.ConcatDataset([a, b])
    stacked = data.StackDataset(a, f.arange(3) * 10)
    named = data.StackDataset(x=a, y=f.arange(3))
    plain = lambda item: (
        {k: plain(v) for k, v in item.items()}
        if isinstance(item, dict)
        else [plain(x) for x in item]
        if isinstance(item, (tuple, list))
        else item.tolist()
    )
    g = f.Generator()
    g.manual_seed(1)
    parts = data.random_split(range(10), [0.5, 0.3, 0.2], generator=g)
    return [
        [plain(joined[i]) for i in (0, 3, -1)],
        len(joined),
        joined.cumulative_sizes,
        plain(stacked[1]),
        plain(named[2]),
        plain(stacked.__getitems__([0, 2])),
        [list(part.indices) for part in parts],
        attempt(lambda: data.TensorDataset(f.ones(2), f.ones(3)))[0],
        attempt(lambda: data.ConcatDataset([]))[0],
        attempt(lambda: data.StackDataset())[0],
        attempt(lambda: data.random_split(range(3), [1, 1]))[0],
        attempt(lambda: joined[20])[0],
    ]


CASES = [
    strict_loading,
    loose_loading,
    assigned_loading,
    copied_loading_keeps_dtype,
    not_a_mapping,
    state_dict_hooks,
    metadata,
    extra_state,
    forward_hooks,
    global_hooks,
    backward_hooks,
    registration_errors,
    walking,
    conversions,
    copying,
    containers,
    optimizer_groups,
    optimizer_hooks,
    samplers,
    datasets,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_both_frameworks_agree(case):
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, actual = case(torch), case(flambeau)
    assert actual == expected
