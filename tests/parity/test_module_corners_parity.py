"""Corners of Module's protocol, the same program in both frameworks: hooks, names, errors."""

import copy
import importlib

import pytest

import flambeau

pytestmark = pytest.mark.parity


def make_linear(t):
    t.manual_seed(0)
    return t.nn.Linear(2, 3)


def order_of_hooks(t):
    module, seen = make_linear(t), []
    module.register_forward_hook(lambda *a: seen.append("hook"))
    module.register_forward_hook(lambda *a: seen.append("hook in front"), prepend=True)
    module.register_forward_pre_hook(lambda *a: seen.append("pre"))
    module.register_forward_pre_hook(lambda *a: seen.append("pre in front"), prepend=True)
    module.register_full_backward_hook(lambda *a: seen.append("backward"))
    module.register_full_backward_hook(lambda *a: seen.append("backward in front"), prepend=True)
    module.register_full_backward_pre_hook(lambda *a: seen.append("backward pre"))
    module.register_full_backward_pre_hook(lambda *a: seen.append("first of all"), prepend=True)
    module(t.ones(1, 2, requires_grad=True)).sum().backward()
    return seen


def hooks_with_keywords(t):
    class Scale(t.nn.Module):
        def forward(self, x, *, scale=1):
            return x * scale

    module = Scale()
    module.register_forward_pre_hook(
        lambda m, args, named: (args, {"scale": named["scale"] + 1}), with_kwargs=True
    )
    module.register_forward_hook(lambda m, args, named, out: out + named["scale"], with_kwargs=True)
    return module(t.ones(2), scale=3)


def pre_hook_that_returns_too_little(t):
    module = make_linear(t)
    module.register_forward_pre_hook(lambda m, args, named: args, with_kwargs=True)
    return module(t.ones(1, 2))


def hooks_after_an_error(t):
    class Fails(t.nn.Module):
        def forward(self, x):
            raise ValueError("bad")

    module, seen = Fails(), []
    module.register_forward_hook(lambda m, a, out: seen.append(("always", out)), always_call=True)
    module.register_forward_hook(lambda *a: seen.append("never"))
    with pytest.raises(ValueError, match="bad"):
        module(t.ones(1))
    return seen


def changed_gradients(t):
    module, seen = make_linear(t), []

    def double(m, inputs, outputs):
        seen.append((inputs[0], outputs[0]))
        return (inputs[0] * 2,)

    module.register_full_backward_hook(double)
    module.register_full_backward_pre_hook(lambda m, outputs: (outputs[0] + 1,))
    x = t.ones(1, 2, requires_grad=True)
    module(x).sum().backward()
    return seen, x.grad


def both_kinds_of_backward_hooks(t):
    module = make_linear(t)
    module.register_full_backward_hook(lambda *a: None)
    module.register_backward_hook(lambda *a: None)


def hooks_of_all_modules(t):
    hooks, seen = importlib.import_module(f"{t.__name__}.nn.modules.module"), []

    def note(what):
        return lambda module, *rest: seen.append((what, type(module).__name__))

    def note_name(what):
        return lambda module, name, value: seen.append((what, type(module).__name__, name))

    handles = [
        hooks.register_module_forward_pre_hook(note("pre")),
        hooks.register_module_forward_hook(note("forward")),
        hooks.register_module_full_backward_pre_hook(note("backward pre")),
        hooks.register_module_full_backward_hook(note("backward")),
        hooks.register_module_parameter_registration_hook(note_name("parameter")),
        hooks.register_module_buffer_registration_hook(note_name("buffer")),
        hooks.register_module_module_registration_hook(note_name("module")),
    ]
    try:
        net = t.nn.Sequential(t.nn.Linear(2, 2), t.nn.BatchNorm1d(2))
        net(t.ones(3, 2, requires_grad=True)).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    net(t.ones(3, 2))
    return seen


def overriding_tensors(t):
    class Logged(t.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            log.append(getattr(func, "__name__", "?"))
            return super().__torch_function__(func, types, args, kwargs or {})

    log = []
    out = make_linear(t)(t.ones(1, 2).as_subclass(Logged))
    return type(out).__name__, log.count("linear")


def buffers_that_are_not_saved(t):
    module = t.nn.Module()
    module.register_buffer("kept", t.ones(1))
    module.register_buffer("left_out", t.ones(1), persistent=False)
    module.register_buffer("none", None)
    module.left_out = t.zeros(2)
    other = copy.deepcopy(module)
    other.kept = None
    report = repr(module.load_state_dict({"kept": t.ones(1) * 5}, strict=False))
    found = [name for name, _ in other.named_buffers()], module._non_persistent_buffers_set
    return list(module.state_dict()), list(other.state_dict()), *found, report, module.kept


def members_before_init(t):
    class Child(t.nn.Module):
        def __init__(self):
            self.child = t.nn.Linear(1, 1)

    Child()


def parameters_before_init(t):
    class Weight(t.nn.Module):
        def __init__(self):
            self.weight = t.nn.Parameter(t.ones(1))

    Weight()


def tensors_before_init(t):
    class Plain(t.nn.Module):
        def __init__(self):
            self.plain = t.ones(1)
            super().__init__()

    return Plain().plain


def replaced_parts(t):
    net = t.nn.Sequential(t.nn.Linear(1, 1), t.nn.Sequential(t.nn.ReLU()))
    net.set_submodule("1.0", t.nn.Tanh())
    return repr(net), repr(net.get_submodule("1")), [name for name, _ in net.named_modules()]


def shared_parts(t):
    part = make_linear(t)
    net = t.nn.ModuleList([part, part])
    lists = [
        net.named_parameters(),
        net.named_parameters(remove_duplicate=False),
        net.named_modules(),
        net.named_modules(remove_duplicate=False),
    ]
    return [[name for name, _ in pairs] for pairs in lists], list(net.state_dict())


def hooks_of_states(t):
    net, seen = t.nn.Sequential(make_linear(t)), []
    handles = [
        net.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append((prefix, keep))),
        net.register_state_dict_post_hook(lambda m, state, *rest: seen.append(sorted(state))),
        net.register_load_state_dict_pre_hook(lambda m, state, *rest: seen.append(sorted(state))),
        net.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear()),
    ]
    state = net.state_dict(keep_vars=True)
    report = repr(net.load_state_dict({}, strict=True))
    for handle in handles:
        handle.remove()
    net.state_dict()
    return seen, report, type(state["0.weight"]).__name__


def post_hook_that_returns(t):
    module = make_linear(t)
    module.register_load_state_dict_post_hook(lambda m, keys: 3)
    module.load_state_dict(module.state_dict())


def pre_hook_that_adds(t):
    module = make_linear(t)
    module._register_load_state_dict_pre_hook(
        lambda state, *rest: state.update(weight=t.zeros(3, 2))
    )
    module.load_state_dict({"bias": t.ones(3)})
    return module.weight, module.bias


def zeroed_gradients(t):
    module = make_linear(t)
    module(t.ones(1, 2)).sum().backward()
    module.zero_grad(set_to_none=False)
    zeros = module.weight.grad.clone()
    module.zero_grad()
    return zeros, module.weight.grad


ERRORS = {
    "dotted parameter": lambda t, m: m.register_parameter("a.b", None),
    "empty parameter name": lambda t, m: m.register_parameter("", None),
    "parameter name of another type": lambda t, m: m.register_parameter(3, None),
    "buffer of another type": lambda t, m: m.register_buffer("x", 3),
    "buffer over an attribute": lambda t, m: (
        setattr(m, "y", 1),
        m.register_buffer("y", None),
    ),
    "parameter of another type": lambda t, m: m.register_parameter("z", t.ones(1)),
    "parameter with history": lambda t, m: m.register_parameter("g", t.nn.Parameter(t.ones(1)) * 2),
    "module of another type": lambda t, m: m.add_module("q", 3),
    "empty module name": lambda t, m: m.add_module("", t.nn.ReLU()),
    "number over a parameter": lambda t, m: (
        setattr(m, "w", t.nn.Parameter(t.ones(1))),
        setattr(m, "w", 3),
    ),
    "no such submodule": lambda t, m: m.get_submodule("a.b"),
    "no such parameter": lambda t, m: m.get_parameter("nope"),
    "no such buffer": lambda t, m: m.get_buffer("nope"),
    "no such attribute": lambda t, m: m.nope,
    "nothing to delete": lambda t, m: delattr(m, "nope"),
    "no forward": lambda t, m: m(3),
    "no name to set": lambda t, m: m.set_submodule("", t.nn.ReLU()),
    "nowhere to set": lambda t, m: m.set_submodule("a.b", t.nn.ReLU()),
    "mode of another type": lambda t, m: m.train(3),
    "integer parameters": lambda t, m: m.to(t.int64),
    "arguments": lambda t, m: t.nn.Module(3),
    "keywords": lambda t, m: t.nn.Module(a=3),
}
PROGRAMS = [
    order_of_hooks,
    hooks_with_keywords,
    pre_hook_that_returns_too_little,
    hooks_after_an_error,
    changed_gradients,
    both_kinds_of_backward_hooks,
    hooks_of_all_modules,
    overriding_tensors,
    buffers_that_are_not_saved,
    members_before_init,
    parameters_before_init,
    tensors_before_init,
    replaced_parts,
    shared_parts,
    hooks_of_states,
    post_hook_that_returns,
    pre_hook_that_adds,
    zeroed_gradients,
]


def plain(value):
    """Comparable across frameworks."""
    if hasattr(value, "storage_offset"):
        numbers = [round(x, 4) for x in value.detach().double().reshape(-1).tolist()]
        return tuple(value.shape), numbers
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return repr(value).replace("flambeau", "torch")


def attempt(function):
    try:
        return plain(function())
    except Exception as error:
        return type(error).__name__, str(error).replace("flambeau", "torch")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_program(program):
    torch = pytest.importorskip("torch")
    assert attempt(lambda: program(flambeau)) == attempt(lambda: program(torch))


@pytest.mark.parametrize("name", list(ERRORS))
def test_error(name):
    torch = pytest.importorskip("torch")
    mine, theirs = (attempt(lambda t=t: ERRORS[name](t, t.nn.Module())) for t in (flambeau, torch))
    assert mine == theirs
