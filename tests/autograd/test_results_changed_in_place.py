"""Programs change results in place, as `F.relu(pool(x), inplace=True)`: derivatives read inputs.

The exceptions are ops whose derivative reads the result in PyTorch too, such as exp and sigmoid:
there the backward pass says what was changed.
"""

import pytest

import flambeau as torch

F = torch.nn.functional
NAMES = """
    abs add addcdiv addcmul asin atan2 cos digamma div erf erfinv fmod i0 lerp lgamma log log1p
    logaddexp maximum mul neg remainder sin sinc sinh sub true_divide trunc xlogy
"""
ACTIVATIONS = "elu gelu hardswish leaky_relu logsigmoid mish silu softplus softsign relu6"
OPERANDS = {"addcdiv": 3, "addcmul": 3, "lerp": 3}
PAIRS = "add atan2 div fmod logaddexp maximum mul remainder sub true_divide xlogy"


def random(*shape):
    return (torch.rand(*shape) * 0.5 + 0.25).requires_grad_()


def call(name):
    count = OPERANDS.get(name, 2 if name in PAIRS.split() else 1)
    return lambda: getattr(torch, name)(*(random(3) for _ in range(count)))


CASES = {name: call(name) for name in NAMES.split()}
CASES |= {name: (lambda name=name: getattr(F, name)(random(3))) for name in ACTIVATIONS.split()}
CASES |= {
    "power of 2": lambda: random(3) ** 2,
    "power of 1/2": lambda: random(3) ** 0.5,
    "power of -1": lambda: random(3) ** -1,
    "max": lambda: random(3, 3).max(0)[0],
    "sort": lambda: random(3).sort()[0],
    "topk": lambda: random(3).topk(2)[0],
    "cummax": lambda: random(3).cummax(0)[0],
    "var": lambda: random(3, 3).var(0),
    "max_pool1d": lambda: F.max_pool1d(random(1, 1, 4), 2),
    "max_pool2d": lambda: F.max_pool2d(random(1, 1, 4, 4), 2),
    "adaptive_max_pool2d": lambda: F.adaptive_max_pool2d(random(1, 1, 4, 4), 2),
    "lp_pool1d": lambda: F.lp_pool1d(random(1, 1, 4), 2, 2),
    "batch_norm": lambda: F.batch_norm(random(3, 4), None, None, random(4), random(4), True),
    "layer_norm": lambda: F.layer_norm(random(3, 3), (3,), random(3), random(3)),
    "group_norm": lambda: F.group_norm(random(3, 4), 2, random(4), random(4)),
    "local_response_norm": lambda: F.local_response_norm(random(1, 3, 4), 2),
    "normalize": lambda: F.normalize(random(3, 3)),
    "prelu": lambda: F.prelu(random(3), random(1)),
    "conv2d": lambda: F.conv2d(random(1, 1, 4, 4), random(1, 1, 3, 3), random(1)),
    "linear": lambda: F.linear(random(2, 3), random(2, 3), random(2)),
}


@pytest.mark.parametrize("name", CASES)
def test_result_may_be_changed(name):
    result = CASES[name]()
    result.mul_(0.5)
    result.sum().backward()


@pytest.mark.parametrize("name", ["exp", "sigmoid", "sqrt", "tanh"])
def test_a_result_that_is_read_may_not(name):
    result = getattr(torch, name)(random(3))
    result.mul_(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


def test_gradient_after_a_change_is_of_the_result_before():
    x = torch.tensor([[[1.0, 3.0, 2.0, 0.5]]], requires_grad=True)
    F.relu(F.max_pool1d(x, 2), inplace=True).sum().backward()
    assert x.grad.tolist() == [[[0.0, 1.0, 1.0, 0.0]]]
    a, b = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    (a / b).mul_(4).backward()
    assert (a.grad.item(), b.grad.item()) == (2.0, -3.0)
