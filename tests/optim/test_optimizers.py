"""Optimisers against their formulas, written out in plain Python, and the base class."""

import copy
import gc
import math
import pickle
import weakref

import pytest

import flambeau as torch
from flambeau import nn, optim
from flambeau.optim import optimizer as base
from tests.optim.harness import assert_follows, make_parameter

GRADIENTS = [0.5, -1.5, 2.0, 0.25, -0.125]


def sgd(p, g, s, t, *, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False):
    g += weight_decay * p
    if momentum:
        s["b"] = g if t == 1 else momentum * s["b"] + (1 - dampening) * g
        g = g + momentum * s["b"] if nesterov else s["b"]
    return p - lr * g


def adam(p, g, s, t, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False):
    g += weight_decay * p
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    s["x"] = max(s.get("x", 0), s["v"])
    v = s["x"] if amsgrad else s["v"]
    m_hat, v_hat = s["m"] / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return p - lr * m_hat / (math.sqrt(v_hat) + eps)


def adamw(p, g, s, t, *, lr=1e-3, weight_decay=1e-2, **options):
    return adam(p * (1 - lr * weight_decay), g, s, t, lr=lr, **options)


def rmsprop(
    p, g, s, t, *, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False
):
    g += weight_decay * p
    s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
    s["m"] = alpha * s.get("m", 0) + (1 - alpha) * g
    spread = math.sqrt(s["v"] - s["m"] ** 2 if centered else s["v"]) + eps
    s["b"] = momentum * s.get("b", 0) + g / spread
    return p - lr * s["b"]


def adagrad(
    p, g, s, t, *, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10
):
    g += weight_decay * p
    s["v"] = s.get("v", initial_accumulator_value) + g * g
    return p - lr / (1 + (t - 1) * lr_decay) * g / (math.sqrt(s["v"]) + eps)


CASES = [
    (optim.SGD, sgd, {"lr": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.Adam, adam, {}),
    (optim.Adam, adam, {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.2}),
    (optim.Adam, adam, {"lr": 0.1, "amsgrad": True}),
    (optim.AdamW, adamw, {"lr": 0.1, "weight_decay": 0.3}),
    (optim.RMSprop, rmsprop, {"lr": 0.1, "weight_decay": 0.1}),
    (optim.RMSprop, rmsprop, {"lr": 0.1, "momentum": 0.9, "centered": True, "alpha": 0.5}),
    (optim.Adagrad, adagrad, {"lr": 0.1}),
    (
        optim.Adagrad,
        adagrad,
        {"lr_decay": 0.5, "weight_decay": 0.1, "initial_accumulator_value": 2},
    ),
]
NAMES = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]


def set_gradient(parameter, value):
    parameter.grad = torch.full(tuple(parameter.shape), value, dtype=parameter.dtype)


@pytest.mark.parametrize(("kind", "formula", "options"), CASES)
@pytest.mark.parametrize("maximize", [False, True])
def test_steps_follow_the_formula(kind, formula, options, maximize):
    assert_follows(kind, formula, options, GRADIENTS, maximize, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_narrow_dtypes_learn(name, dtype):
    parameter = make_parameter(1.0, dtype=getattr(torch, dtype))
    optimizer = getattr(optim, name)([parameter], lr=0.125)
    set_gradient(parameter, 1.0)
    optimizer.step()
    assert parameter.dtype == getattr(torch, dtype)
    expected = -0.25 if name == "RMSprop" else 0.875  # its first step is 10 times the rate
    assert torch.allclose(parameter.float(), torch.full((2, 3), expected), atol=0.01)


def test_parameters_join_in_later():
    first, second = make_parameter(), make_parameter()
    optimizer = optim.Adam([first, second], lr=0.1)
    set_gradient(first, 1.0)
    optimizer.step()
    assert torch.equal(second, torch.ones_like(second))
    assert second not in optimizer.state
    set_gradient(second, 1.0)
    optimizer.step()
    assert optimizer.state[first]["step"] == 2
    assert optimizer.state[second]["step"] == 1
    assert torch.allclose(second, torch.full_like(second, 0.9))


def test_strided_parameters_and_gradients():
    parameter = nn.Parameter(torch.arange(6.0).view(2, 3).t())
    parameter.grad = torch.arange(6.0).view(3, 2)
    expected = parameter.detach() - 0.5 * parameter.grad
    optim.SGD([parameter], lr=0.5).step()
    assert torch.equal(parameter, expected)


def test_a_step_does_not_touch_the_graph_or_the_gradient():
    parameter = make_parameter()
    optimizer = optim.Adam([parameter], lr=0.1)
    set_gradient(parameter, 2.0)
    gradient = parameter.grad
    before = parameter._version
    optimizer.step()
    assert parameter.grad is gradient
    assert torch.equal(gradient, torch.full_like(gradient, 2.0))
    assert parameter.is_leaf
    assert parameter.requires_grad
    assert parameter._version > before
    assert not optimizer.state[parameter]["exp_avg"].requires_grad


def test_a_step_invalidates_what_backward_saved():
    parameter = make_parameter()
    loss = (parameter * parameter).sum()
    set_gradient(parameter, 1.0)
    optim.SGD([parameter], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("name", NAMES)
def test_training_reaches_the_minimum(name):
    target = torch.tensor([1.0, -2.0, 0.5])
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = getattr(optim, name)([parameter], lr=0.5 if name == "Adagrad" else 0.05)

    def compute_loss():
        optimizer.zero_grad()
        loss = ((parameter - target) ** 2).sum()
        loss.backward()
        return loss

    with torch.no_grad():  # the closure computes gradients all the same
        losses = [float(optimizer.step(compute_loss)) for _ in range(200)]
    assert losses[-1] < 1e-2 < losses[0]


def test_a_tensor_as_learning_rate():
    parameter, rate = make_parameter(), torch.tensor(0.5)
    optimizer = optim.SGD([parameter], lr=rate)
    set_gradient(parameter, 1.0)
    optimizer.step()
    rate.fill_(0.25)
    optimizer.step()
    assert torch.allclose(parameter, torch.full_like(parameter, 0.25))


def test_differentiable_steps():
    start = torch.tensor([1.0, 2.0], requires_grad=True)
    parameter = start.clone()
    parameter.grad = start**2
    optim.SGD([parameter], lr=0.1, differentiable=True).step()
    parameter.sum().backward()
    assert torch.allclose(start.grad, 1 - 0.1 * 2 * start.detach())


def test_complex_parameters():
    parameter = nn.Parameter(torch.tensor([1 + 1j, 2 - 1j], dtype=torch.complex128))
    parameter.grad = torch.tensor([1 + 0j, 0 + 2j], dtype=torch.complex128)
    optim.Adam([parameter], lr=0.5).step()
    assert torch.allclose(
        parameter.detach(), torch.tensor([0.5 + 1j, 2 - 1.5j], dtype=torch.complex128)
    )


# ---- groups --------------------------------------------------------------------------------------


def test_groups_have_their_own_options():
    first, second = make_parameter(), make_parameter()
    optimizer = optim.SGD([{"params": first}, {"params": [second], "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": make_parameter(), "momentum": 0.9})
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5, 0.1]
    set_gradient(first, 1.0)
    set_gradient(second, 1.0)
    optimizer.step()
    assert torch.allclose(first, torch.full_like(first, 0.9))
    assert torch.allclose(second, torch.full_like(second, 0.5))
    assert not optimizer.state


def test_names():
    optimizer = optim.SGD(nn.Linear(2, 1).named_parameters(), lr=0.1)
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="without names"):
        optimizer.add_param_group({"params": make_parameter()})
    with pytest.raises(ValueError, match="names are missing"):
        optim.SGD([("a", make_parameter()), make_parameter()])


BAD_PARAMETERS = [
    ([], ValueError, "empty parameter list"),
    ([1], TypeError, "one of the params is int"),
    ({"a"}, TypeError, "one of the params is str"),
]


@pytest.mark.parametrize(("parameters", "kind", "message"), BAD_PARAMETERS)
def test_parameters_are_checked(parameters, kind, message):
    with pytest.raises(kind, match=message):
        optim.SGD(parameters, lr=0.1)


def test_tensors_are_checked():
    parameter = make_parameter()
    with pytest.raises(TypeError, match="iterable of Tensors or dicts"):
        optim.SGD(parameter)
    with pytest.raises(ValueError, match="non-leaf"):
        optim.SGD([parameter * 2])
    with pytest.raises(ValueError, match="more than one parameter group"):
        optim.SGD([{"params": [parameter]}, {"params": [parameter]}])
    with pytest.raises(TypeError, match="ordered collections"):
        optim.SGD([{"params": {parameter}}])
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optim.SGD([parameter, parameter])
    with pytest.raises(ValueError, match="required optimization parameter lr"):
        optim.Optimizer([parameter], {"lr": base.required})
    with pytest.raises(TypeError, match="must be a dict"):
        optim.SGD([parameter]).add_param_group([parameter])


BAD_OPTIONS = [
    ("SGD", {"lr": -1}, "Invalid learning rate: -1"),
    ("SGD", {"momentum": -1}, "Invalid momentum value: -1"),
    ("SGD", {"weight_decay": -1}, "Invalid weight_decay value: -1"),
    ("SGD", {"nesterov": True}, "Nesterov momentum requires a momentum and zero dampening"),
    ("Adam", {"eps": -1}, "Invalid epsilon value: -1"),
    ("Adam", {"betas": (1.0, 0.5)}, "Invalid beta parameter at index 0: 1.0"),
    ("AdamW", {"betas": (0.5, 1.0)}, "Invalid beta parameter at index 1: 1.0"),
    ("RMSprop", {"alpha": -1}, "Invalid alpha value: -1"),
    ("Adagrad", {"lr_decay": -1}, "Invalid lr_decay value: -1"),
    ("Adagrad", {"initial_accumulator_value": -1}, "Invalid initial_accumulator_value value: -1"),
    ("Adagrad", {"lr": math.nan}, "Invalid learning rate: nan"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD_OPTIONS)
def test_options_are_checked(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(optim, name)([make_parameter()], **options)


def test_zero_grad():
    parameter = make_parameter()
    optimizer = optim.SGD([parameter])
    set_gradient(parameter, 1.0)
    optimizer.zero_grad(set_to_none=False)
    assert torch.equal(parameter.grad, torch.zeros_like(parameter))
    optimizer.zero_grad()
    assert parameter.grad is None
    optimizer.step()  # nothing to do


def test_repr():
    text = repr(optim.Adagrad([make_parameter()], lr=0.5))
    assert text.startswith(
        "Adagrad (\nParameter Group 0\n    differentiable: False\n    eps: 1e-10\n"
    )
    assert text.endswith("    weight_decay: 0\n)")


def test_step_must_be_defined():
    with pytest.raises(NotImplementedError, match="Own"):
        type("Own", (optim.Optimizer,), {})([make_parameter()], {}).step()


# ---- state ---------------------------------------------------------------------------------------


def make_pair(name, **options):
    """Two optimisers with equal parameters, the first of them two steps on."""
    pair = []
    for _ in range(2):
        parameters = [make_parameter(1.0, (3,)), make_parameter(2.0, (2,))]
        pair.append((getattr(optim, name)(parameters, lr=0.1, **options), parameters))
    for _ in range(2):
        take_step(*pair[0])
    return pair


def take_step(optimizer, parameters):
    for i, parameter in enumerate(parameters):
        set_gradient(parameter, 0.5 + i)
    optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_state_moves_to_another_optimizer(name):
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    (first, mine), (second, theirs) = make_pair(name, **options)
    for one, other in zip(mine, theirs, strict=True):
        other.data.copy_(one.data)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    take_step(first, mine)
    take_step(second, theirs)
    for one, other in zip(mine, theirs, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_go_on_by_themselves(copier):
    (first, mine), _ = make_pair("Adam")
    twin = copier(first)
    take_step(first, mine)
    take_step(twin, twin.param_groups[0]["params"])
    for one, other in zip(mine, twin.param_groups[0]["params"], strict=True):
        assert one is not other
        assert torch.equal(one, other)


def test_loaded_state_gets_the_parameters_dtype():
    (first, _), _ = make_pair("Adam")
    narrow = optim.Adam(
        [make_parameter(1.0, (3,), torch.float32), make_parameter(2.0, (2,), torch.float32)]
    )
    narrow.load_state_dict(first.state_dict())
    state = narrow.state[narrow.param_groups[0]["params"][0]]
    assert state["exp_avg"].dtype == torch.float32
    assert state["step"].dtype == torch.float32
    assert state["step"] == 2
    assert narrow.param_groups[0]["lr"] == 0.1


def test_old_checkpoints_count_steps_with_numbers():
    (first, _), (second, theirs) = make_pair("Adam")
    saved = copy.deepcopy(first.state_dict())
    for state in saved["state"].values():
        state["step"] = int(state["step"])
    del saved["param_groups"][0]["decoupled_weight_decay"]
    second.load_state_dict(saved)
    take_step(second, theirs)
    assert second.state[theirs[0]]["step"] == 3


def test_state_that_does_not_fit():
    (first, _), _ = make_pair("SGD")
    saved = first.state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        first.load_state_dict({**saved, "param_groups": saved["param_groups"] * 2})
    other = optim.SGD([make_parameter()])
    with pytest.raises(ValueError, match="doesn't match the size"):
        other.load_state_dict(saved)


def test_replaced_state_is_used():
    (optimizer, parameters), _ = make_pair("SGD", momentum=0.9)
    optimizer.state[parameters[0]]["momentum_buffer"] = torch.zeros(3, dtype=torch.float64)
    optimizer.state[parameters[1]].clear()
    before = [parameter.detach().clone() for parameter in parameters]
    take_step(optimizer, parameters)
    for i, (old, new) in enumerate(zip(before, parameters, strict=True)):
        assert torch.allclose(new, old - 0.1 * (0.5 + i))


# ---- hooks ---------------------------------------------------------------------------------------


def test_step_hooks():
    log = []
    parameter = make_parameter()
    optimizer = optim.SGD([parameter], lr=0.1)
    before = optimizer.register_step_pre_hook(lambda *args: log.append(("pre", *args)))
    optimizer.register_step_post_hook(lambda *args: log.append(("post", *args)))
    everywhere = base.register_optimizer_step_post_hook(lambda *args: log.append("all"))
    try:
        optimizer.step(closure=None)
    finally:
        everywhere.remove()
    call = (optimizer, (optimizer,), {"closure": None})
    assert log == [("pre", *call), ("post", *call), "all"]
    before.remove()
    optimizer.step()
    assert [entry[0] for entry in log[3:]] == ["post"]


def test_pre_hooks_may_change_the_arguments():
    optimizer = optim.SGD([make_parameter()], lr=0.1)
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: ((opt, lambda: 42), {}))
    assert optimizer.step() == 42
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()


def test_state_dict_hooks():
    (first, _), (second, _) = make_pair("Adam")
    log = []
    first.register_state_dict_pre_hook(lambda opt: log.append("pre"))
    first.register_state_dict_post_hook(lambda opt, state: {**state, "extra": 1})
    assert first.state_dict()["extra"] == 1
    second.register_load_state_dict_pre_hook(lambda opt, state: log.append(state.get("extra")))
    second.register_load_state_dict_post_hook(lambda opt: log.append("done"))
    second.load_state_dict(first.state_dict())
    assert log == ["pre", "pre", 1, "done"]


def test_subclasses_run_hooks_once():
    class Own(optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    log = []
    optimizer = Own([make_parameter()], lr=0.1)
    optimizer.register_step_pre_hook(lambda *args: log.append(1))
    optimizer.step()
    assert log == [1]


def test_an_optimizer_does_not_keep_itself_alive():
    parameter = make_parameter()
    optimizer = optim.Adam([parameter])
    scheduler = optim.lr_scheduler.StepLR(optimizer, 2)
    set_gradient(parameter, 1.0)
    optimizer.step()
    gc.collect()
    gc.disable()
    try:
        seen = weakref.ref(optimizer)
        del optimizer, scheduler
        assert seen() is None
    finally:
        gc.enable()
