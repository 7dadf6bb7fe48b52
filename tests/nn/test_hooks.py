"""Hooks of modules: forward, backward, for every module, and their handles."""

import pickle

import pytest

import flambeau
from flambeau import nn
from flambeau.nn.modules import module as module_hooks


class Add(nn.Module):
    def forward(self, x, *, other=0):
        return x + other


def test_forward_pre_hooks_change_the_input_in_order():
    net = Add()
    net.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    net.register_forward_pre_hook(lambda m, args: args[0] + 1)
    net.register_forward_pre_hook(lambda m, args: (args[0] * 10,), prepend=True)
    assert net(flambeau.tensor(1.0)).item() == 21


def test_forward_pre_hook_with_kwargs():
    net = Add()
    net.register_forward_pre_hook(lambda m, a, k: (a, {"other": k["other"] + 1}), with_kwargs=True)
    assert net(flambeau.tensor(1.0), other=2).item() == 4
    net.register_forward_pre_hook(lambda m, a, k: a, with_kwargs=True)
    with pytest.raises(RuntimeError, match="None or a tuple of"):
        net(flambeau.tensor(1.0), other=2)


def test_forward_hooks_change_the_output_in_order():
    net = Add()
    net.register_forward_hook(lambda m, args, out: out * 2)
    net.register_forward_hook(lambda m, args, kwargs, out: out + kwargs["other"], with_kwargs=True)
    net.register_forward_hook(lambda m, args, out: out + 100, prepend=True)
    net.register_forward_hook(lambda m, args, out: None)
    assert net(flambeau.tensor(1.0), other=3).item() == (1 + 3 + 100) * 2 + 3


def test_handles_remove_hooks_and_work_as_context():
    net = Add()
    handle = net.register_forward_hook(lambda m, args, out: out + 1)
    with handle:
        assert net(flambeau.tensor(1.0)).item() == 2
    assert net(flambeau.tensor(1.0)).item() == 1
    handle.remove()
    assert len(net._forward_hooks) == 0


def test_removing_takes_the_flags_along():
    net = Add()
    handle = net.register_forward_hook(lambda *_: None, with_kwargs=True, always_call=True)
    assert len(net._forward_hooks_with_kwargs) == len(net._forward_hooks_always_called) == 1
    handle.remove()
    assert len(net._forward_hooks_with_kwargs) == len(net._forward_hooks_always_called) == 0


def test_hooks_put_directly_into_the_dictionaries_run():
    net = Add()
    net._forward_hooks[12345] = lambda m, args, out: out + 1
    assert net(flambeau.tensor(1.0)).item() == 2
    net._forward_hooks.clear()
    assert net(flambeau.tensor(1.0)).item() == 1


def test_always_called_hooks_run_once_also_after_an_error():
    calls = []

    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError("forward failed")

    net = Fails()
    net.register_forward_hook(lambda m, a, out: calls.append(("always", out)), always_call=True)
    net.register_forward_hook(lambda m, a, out: calls.append(("normal", out)))
    with pytest.raises(ValueError, match="forward failed"):
        net(1)
    assert calls == [("always", None)]

    calls.clear()
    net = Add()

    def fail(m, a, out):
        raise ValueError("hook failed")

    net.register_forward_hook(lambda m, a, out: calls.append("first"), always_call=True)
    net.register_forward_hook(fail)
    net.register_forward_hook(lambda m, a, out: calls.append("last"), always_call=True)
    with pytest.raises(ValueError, match="hook failed"):
        net(flambeau.tensor(1.0))
    assert calls == ["first", "last"]


def test_an_error_in_an_always_called_hook_becomes_a_warning():
    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError("forward failed")

    def fail(m, a, out):
        raise KeyError("second")

    net = Fails()
    net.register_forward_hook(fail, always_call=True)
    with (
        pytest.warns(UserWarning, match="silenced"),
        pytest.raises(ValueError, match="forward failed"),
    ):
        net(1)


def test_global_forward_hooks():
    seen = []
    before = module_hooks.register_module_forward_pre_hook(lambda m, a: seen.append("pre"))
    after = module_hooks.register_module_forward_hook(lambda m, a, out: out + 1)
    kw = module_hooks.register_module_forward_hook(
        lambda m, a, k, out: seen.append(k), with_kwargs=True
    )
    with before, after, kw:
        assert Add()(flambeau.tensor(1.0), other=2).item() == 4
    assert seen == ["pre", {"other": 2}]
    assert Add()(flambeau.tensor(1.0)).item() == 1


def test_full_backward_hook_sees_and_replaces_gradients():
    net = nn.Linear(2, 1, bias=False)
    with flambeau.no_grad():
        net.weight.copy_(flambeau.tensor([[2.0, 3.0]]))
    seen = []

    def hook(module, grad_input, grad_output):
        seen.append((grad_input[0].tolist(), grad_output[0].tolist()))
        return (grad_input[0] * 10,)

    net.register_full_backward_hook(hook)
    x = flambeau.ones(1, 2, requires_grad=True)
    net(x).sum().backward()
    assert seen == [([[2.0, 3.0]], [[1.0]])]
    assert x.grad.tolist() == [[20.0, 30.0]]
    assert net.weight.grad.tolist() == [[1.0, 1.0]]


def test_full_backward_pre_hook_scales_everything():
    net = nn.Linear(2, 1, bias=False)
    net.register_full_backward_pre_hook(lambda m, grads: (grads[0] * 5,))
    order = []
    net.register_full_backward_pre_hook(lambda m, grads: order.append("second"))
    net.register_full_backward_pre_hook(lambda m, grads: order.append("first"), prepend=True)
    x = flambeau.ones(1, 2, requires_grad=True)
    net(x).sum().backward()
    assert net.weight.grad.tolist() == [[5.0, 5.0]]
    assert order == ["first", "second"]


def test_backward_hook_without_gradient_of_the_input():
    net = nn.Linear(2, 1)
    seen = []
    handle = net.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    net(flambeau.ones(1, 2)).sum().backward()
    assert seen == [((None,), [[1.0]])]
    handle.remove()
    net.register_full_backward_hook(lambda m, gi, go: (flambeau.ones(1, 2),))
    with pytest.raises(RuntimeError, match="no input requires gradient"):
        net(flambeau.ones(1, 2)).sum().backward()


def test_backward_hook_with_several_inputs_and_outputs():
    class Split(nn.Module):
        def forward(self, a, flag, b):
            return a * 2, "text", b * 3

    net = Split()
    seen = []
    net.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    a = flambeau.ones(1, requires_grad=True)
    b = flambeau.ones(1, requires_grad=True)
    first, text, second = net(a, True, b)
    assert text == "text"
    (first + second * 2).sum().backward()
    (grad_in, grad_out) = seen[0]
    assert [None if g is None else g.item() for g in grad_in] == [2.0, None, 6.0]
    assert [None if g is None else g.item() for g in grad_out] == [1.0, None, 2.0]


def test_backward_hook_must_return_as_many_gradients():
    net = nn.Linear(2, 1)
    net.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
    with pytest.raises(RuntimeError, match="invalid number of grad_input, got 2, but expected 1"):
        net(flambeau.ones(1, 2, requires_grad=True)).sum().backward()


def test_both_kinds_of_backward_hooks_exclude_each_other():
    net = nn.Linear(2, 1)
    net.register_full_backward_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match="Cannot use both"):
        net.register_backward_hook(lambda *_: None)


def test_deprecated_backward_hook_runs():
    net = nn.Linear(2, 1)
    seen = []
    net.register_backward_hook(lambda m, gi, go: seen.append(go[0].tolist()))
    net(flambeau.ones(1, 2)).sum().backward()
    assert seen == [[[1.0]]]


def test_global_backward_hooks():
    seen = []
    handle = module_hooks.register_module_full_backward_hook(
        lambda m, gi, go: seen.append(type(m).__name__)
    )
    pre = module_hooks.register_module_full_backward_pre_hook(lambda m, go: seen.append("pre"))
    try:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        net(flambeau.ones(1, 2, requires_grad=True)).sum().backward()
    finally:
        handle.remove()
        pre.remove()
        module_hooks.global_hooks.is_full_backward = None
    assert [name for name in seen if name != "pre"] == ["ReLU", "Linear", "Sequential"]
    assert seen[0] == "pre"


def test_no_hooks_run_without_grad_mode():
    net = nn.Linear(2, 1)
    net.register_full_backward_hook(lambda *_: pytest.fail("no backward happened"))
    with flambeau.no_grad():
        assert not net(flambeau.ones(1, 2)).requires_grad


def save_nothing(*_):
    return None


def test_handles_and_hooks_survive_pickling():
    net = nn.Linear(1, 1)
    handle = net.register_forward_hook(save_nothing)
    back_net, back_handle = pickle.loads(pickle.dumps((net, handle)))
    assert len(back_net._forward_hooks) == 1
    back_handle.remove()
    assert len(back_net._forward_hooks) == 0
    assert len(net._forward_hooks) == 1


def test_handle_ids_grow():
    net = nn.Identity()
    first = net.register_forward_hook(save_nothing)
    second = net.register_forward_hook(save_nothing)
    assert second.id > first.id
    first.remove()
    assert list(net._forward_hooks) == [second.id]
