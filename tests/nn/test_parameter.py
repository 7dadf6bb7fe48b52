"""Parameter: class, sharing, printing, copying, pickling."""

import copy
import pickle

import pytest

import flambeau
from flambeau import nn


def test_a_parameter_is_a_leaf_that_requires_grad():
    values = flambeau.ones(2)
    p = nn.Parameter(values)
    assert type(p) is nn.Parameter
    assert isinstance(p, flambeau.Tensor)
    assert p.requires_grad
    assert p.is_leaf
    assert not values.requires_grad
    values[0] = 5
    assert p[0].item() == 5


def test_requires_grad_can_be_off_and_data_left_out():
    assert not nn.Parameter(flambeau.ones(2), requires_grad=False).requires_grad
    assert nn.Parameter().shape == (0,)


def test_results_of_operations_are_plain_tensors():
    p = nn.Parameter(flambeau.ones(2))
    for result in (p + 1, 2 * p, p.sum(), p[0], p.view(2, 1), p.detach(), p.data, p @ p, p.clone()):
        assert type(result) is flambeau.Tensor
    assert not isinstance(p + 1, nn.Parameter)


def test_a_parameter_of_a_parameter():
    p = nn.Parameter(nn.Parameter(flambeau.ones(2)))
    assert type(p) is nn.Parameter
    assert p.is_leaf


def test_integers_cannot_require_grad():
    with pytest.raises(RuntimeError, match="floating point"):
        nn.Parameter(flambeau.ones(2, dtype=flambeau.int64))
    assert nn.Parameter(flambeau.ones(2, dtype=flambeau.int64), requires_grad=False).sum() == 2


def test_repr():
    assert repr(nn.Parameter(flambeau.zeros(2))) == (
        "Parameter containing:\ntensor([0., 0.], requires_grad=True)"
    )
    assert repr(nn.Parameter(flambeau.zeros(2), requires_grad=False)) == (
        "Parameter containing:\ntensor([0., 0.])"
    )


def test_deepcopy_and_pickle_keep_class_and_flag():
    for flag in (True, False):
        p = nn.Parameter(flambeau.arange(3.0), requires_grad=flag)
        for twin in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
            assert type(twin) is nn.Parameter
            assert twin.requires_grad is flag
            assert flambeau.equal(twin, p)
            assert twin.data_ptr() != p.data_ptr()


def test_attributes_travel_with_a_pickle():
    p = nn.Parameter(flambeau.zeros(1))
    p.role = "gain"
    assert pickle.loads(pickle.dumps(p)).role == "gain"


def test_reduce_has_the_form_that_checkpoints_use():
    function, arguments = nn.Parameter(flambeau.zeros(1)).__reduce_ex__(2)
    assert function.__name__ == "_rebuild_parameter"
    data, requires_grad, hooks = arguments
    assert type(data) is flambeau.Tensor
    assert requires_grad is True
    assert len(hooks) == 0


def test_a_user_subclass_stays_itself_as_a_parameter():
    class Marked(flambeau.Tensor):
        pass

    tensor = flambeau.zeros(2).as_subclass(Marked)
    p = nn.Parameter(tensor)
    assert type(p) is Marked
    assert isinstance(p, nn.Parameter)
    assert p.requires_grad
    net = nn.Module()
    net.p = p
    assert list(dict(net.named_parameters())) == ["p"]
    assert not isinstance(tensor, nn.Parameter)


def test_gradients_accumulate_in_a_parameter():
    p = nn.Parameter(flambeau.tensor([1.0, 2.0]))
    (p * p).sum().backward()
    (p * 3).sum().backward()
    assert p.grad.tolist() == [5.0, 7.0]
