"""Lazy modules: shapes from the first input or from a state_dict."""

import copy
import pickle

import pytest

import flambeau as torch
from flambeau import nn
from flambeau.nn.parameter import is_lazy

LAYERS = [
    (lambda: nn.LazyLinear(3), nn.Linear, (2, 4), (2, 3)),
    (lambda: nn.LazyLinear(3, bias=False), nn.Linear, (4,), (3,)),
    (lambda: nn.LazyConv1d(3, 2), nn.Conv1d, (2, 4, 5), (2, 3, 4)),
    (lambda: nn.LazyConv2d(6, 2, groups=2), nn.Conv2d, (4, 5, 5), (6, 4, 4)),
    (lambda: nn.LazyConv3d(3, 2, bias=False), nn.Conv3d, (1, 4, 3, 3, 3), (1, 3, 2, 2, 2)),
    (lambda: nn.LazyConvTranspose1d(3, 2), nn.ConvTranspose1d, (2, 4, 5), (2, 3, 6)),
    (lambda: nn.LazyConvTranspose2d(3, 2), nn.ConvTranspose2d, (2, 4, 2, 2), (2, 3, 3, 3)),
    (lambda: nn.LazyConvTranspose3d(3, 2), nn.ConvTranspose3d, (4, 2, 2, 2), (3, 3, 3, 3)),
    (lambda: nn.LazyBatchNorm1d(), nn.BatchNorm1d, (3, 4), (3, 4)),
    (lambda: nn.LazyBatchNorm2d(affine=False), nn.BatchNorm2d, (3, 4, 2, 2), (3, 4, 2, 2)),
    (lambda: nn.LazyBatchNorm3d(bias=False), nn.BatchNorm3d, (3, 4, 2, 2, 2), (3, 4, 2, 2, 2)),
    (lambda: nn.LazyInstanceNorm1d(), nn.InstanceNorm1d, (4, 6), (4, 6)),
    (lambda: nn.LazyInstanceNorm2d(), nn.InstanceNorm2d, (3, 4, 2, 2), (3, 4, 2, 2)),
    (lambda: nn.LazyInstanceNorm3d(), nn.InstanceNorm3d, (3, 4, 2, 2, 2), (3, 4, 2, 2, 2)),
]


@pytest.mark.parametrize(("make", "kind", "size", "expected"), LAYERS)
def test_the_first_call_gives_the_shapes(make, kind, size, expected):
    layer = make()
    assert layer.has_uninitialized_params() or not list(layer.parameters())
    output = layer(torch.ones(size, requires_grad=True))
    assert tuple(output.shape) == expected
    assert type(layer) is kind
    assert not layer._forward_pre_hooks
    assert not layer._load_state_dict_pre_hooks
    assert not any(is_lazy(member) for member in (*layer.parameters(), *layer.buffers()))
    assert all(type(p) is nn.Parameter for p in layer.parameters())
    output.sum().backward()
    assert tuple(layer(torch.ones(size)).shape) == expected


def test_a_state_dict_gives_the_shapes_too():
    source, target = nn.Linear(4, 3), nn.LazyLinear(3)
    report = target.load_state_dict(source.state_dict())
    assert not report.missing_keys
    x = torch.randn(2, 4)
    assert torch.equal(target(x), source(x))
    assert type(target) is nn.Linear
    assert target.in_features == 4 or target.weight.shape == (3, 4)


def test_the_state_before_the_first_call():
    layer = nn.LazyBatchNorm1d()
    state = layer.state_dict()
    assert list(state) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert repr(state["weight"]) == "<UninitializedParameter>"
    assert repr(state["running_mean"]) == "<UninitializedBuffer>"
    other = nn.LazyBatchNorm1d()
    other.load_state_dict(state)
    assert other.has_uninitialized_params()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_stay_lazy(duplicate):
    layer = duplicate(nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2)))
    assert tuple(layer(torch.ones(2, 4)).shape) == (2, 2)
    assert layer[0].in_features == 4


def test_conversions_before_the_first_call():
    layer = nn.LazyLinear(3).double()
    assert layer(torch.ones(1, 2, dtype=torch.float64)).dtype == torch.float64
    assert layer.weight.dtype == torch.float64


def test_what_a_tensor_without_shape_refuses():
    weight = nn.UninitializedParameter()
    assert weight.requires_grad
    with pytest.raises(RuntimeError, match="Can't access the shape"):
        weight.shape
    with pytest.raises(ValueError, match="Attempted to use an uninitialized parameter"):
        weight + 1
    with pytest.raises(RuntimeError, match="Can't share memory"):
        weight.share_memory_()
    weight.materialize((2, 3), dtype=torch.float64)
    assert weight.shape == (2, 3)
    assert (weight + 1).dtype == torch.float64
    buffer = nn.UninitializedBuffer(persistent=False)
    buffer.materialize((1,))
    assert isinstance(buffer, nn.Buffer)
    assert type(buffer + 1) is torch.Tensor


def test_wrong_inputs():
    with pytest.raises(RuntimeError, match=r"Expected 2D \(unbatched\) or 3D \(batched\) input"):
        nn.LazyConv1d(3, 2)(torch.ones(2, 2, 2, 2))
    with pytest.raises(ValueError, match="divisible by groups"):
        nn.LazyConv1d(4, 2, groups=2)(torch.ones(1, 3, 4))


def test_a_lazy_module_of_ones_own():
    class Scale(nn.modules.lazy.LazyModuleMixin, nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.UninitializedParameter()

        def initialize_parameters(self, x):
            self.factor.materialize(x.shape[-1:])
            nn.init.constant_(self.factor, 2.0)

        def forward(self, x):
            return x * self.factor

    scale = Scale()
    assert scale(torch.ones(2, 3)).tolist() == [[2.0] * 3] * 2
    assert type(scale) is Scale
    assert list(scale.state_dict()) == ["factor"]
