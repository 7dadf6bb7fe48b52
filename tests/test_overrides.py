"""`__torch_function__` on subclasses and foreign types, and modes."""

import pytest

import flambeau as torch
from flambeau._C import DisableTorchFunction, DisableTorchFunctionSubclass
from flambeau.overrides import (
    TorchFunctionMode,
    get_overridable_functions,
    handle_torch_function,
    has_torch_function,
    is_tensor_like,
    resolve_name,
    wrap_torch_function,
)


class Plain(torch.Tensor):
    """A subclass without rules of its own."""


class Logged(torch.Tensor):
    log: list[str] = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.log.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs)


class Unit:
    """Not a tensor; answers some ops."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.mul:
            return NotImplemented
        return func, types, len(args), kwargs


class Names(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.log.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_results_of_plain_subclasses_are_of_the_subclass() -> None:
    s = torch.ones(2).as_subclass(Plain)
    for made in (
        s + 1,
        1 + s,
        s.exp(),
        s.sum(),
        s[0],
        s.detach(),
        torch.stack([s, s]),
        s.clone().mul_(2),
    ):
        assert type(made) is Plain
    assert all(type(t) is Plain for t in s.unbind())


def test_subclasses_keep_history() -> None:
    x = torch.ones(2, requires_grad=True)
    s = (x * 2).as_subclass(Plain)
    (s * s).sum().backward()
    assert x.grad.tolist() == [8, 8]
    with pytest.raises(TypeError, match="subclass of Tensor"):
        x.as_subclass(int)


def test_override_sees_the_public_function() -> None:
    Logged.log.clear()
    s = torch.ones(2).as_subclass(Logged)
    result = torch.add(s, 1)
    s.exp()
    s * 2
    assert Logged.log == ["add", "exp", "mul"]
    assert type(result) is Logged


def test_overrides_can_be_switched_off() -> None:
    Logged.log.clear()
    s = torch.ones(2).as_subclass(Logged)
    with DisableTorchFunctionSubclass():
        assert type(s + 1) is torch.Tensor
    with DisableTorchFunction():
        assert type(s + 1) is torch.Tensor
    assert Logged.log == []
    assert type(s + 1) is Logged


def test_foreign_types() -> None:
    func, types, count, kwargs = torch.add(torch.ones(1), Unit(), alpha=2)
    assert func is torch.add
    assert (types, count, kwargs) == ((Unit,), 2, {"alpha": 2})
    assert torch.cat([torch.ones(1), Unit()])[0] is torch.cat
    with pytest.raises(TypeError, match=r"no implementation found for 'mul'.*Unit"):
        torch.mul(torch.ones(1), Unit())


def test_subclasses_come_before_their_bases() -> None:
    order = []

    class Base(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            order.append(cls.__name__)
            return NotImplemented

    class Derived(Base):
        pass

    a, b = torch.ones(1).as_subclass(Base), torch.ones(1).as_subclass(Derived)
    with pytest.raises(TypeError, match="no implementation"):
        torch.add(a, b)
    assert order == ["Derived", "Base"]


def test_modes_nest_and_are_off_inside_themselves() -> None:
    with Names() as outer:
        torch.ones(2).exp()
        with Names() as inner:
            torch.add(torch.zeros(1), 1)
        torch.zeros(1)
    assert inner.log == ["zeros", "add"]
    assert outer.log == ["ones", "exp", "zeros", "add", "zeros"]
    torch.zeros(1)
    assert len(outer.log) == 5


def test_modes_see_operators_and_indexing() -> None:
    x = torch.ones(3)
    with Names() as mode:
        x + x
        -x
        x[0]
        torch.add(x, 1)
    assert mode.log == ["add", "neg", "__getitem__", "add"]


def test_a_mode_is_left_after_an_error() -> None:
    class Fails(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            raise KeyError(func.__name__)

    with pytest.raises(KeyError), Fails():
        torch.ones(1)
    assert torch.ones(1).item() == 1


def test_tools() -> None:
    s = torch.ones(1).as_subclass(Logged)
    assert is_tensor_like(s)
    assert is_tensor_like(Unit())
    assert not is_tensor_like(3)
    assert has_torch_function((1, s))
    assert not has_torch_function((1, torch.ones(1)))
    assert handle_torch_function(torch.add, (Unit(),), Unit(), 1)[0] is torch.add
    assert resolve_name(torch.add) == "torch.add"
    assert torch.add in get_overridable_functions()[torch]


def test_wrapped_functions_take_part() -> None:
    @wrap_torch_function(lambda x: (x,))
    def double(x):
        return x * 2

    assert double(torch.ones(1)).item() == 2
    assert double(Unit())[0] is double


def test_parameters_are_plain_in_results() -> None:
    p = torch.nn.Parameter(torch.ones(2))
    assert type(p * 2) is torch.Tensor
    assert type(p.detach()) is torch.Tensor
    assert isinstance(p, torch.nn.Parameter)
