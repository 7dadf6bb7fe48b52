"""Automatic mixed precision on the processor."""

import math

import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau import nn


def test_products_run_in_the_lower_dtype_and_gradients_do_not() -> None:
    layer = nn.Linear(8, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(torch.ones(2, 8))
        assert out.dtype == torch.bfloat16
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert (torch.ones(2) + 1).dtype == torch.float32
        assert (
            torch.ones(2, 2, dtype=torch.float64).mm(torch.eye(2).double()).dtype == torch.float64
        )
        loss = F.cross_entropy(out, torch.tensor([0, 1]))
    assert loss.dtype == torch.float32
    loss.backward()
    assert layer.weight.grad.dtype == torch.float32
    assert layer(torch.ones(2, 8)).dtype == torch.float32


def test_blocks_nest() -> None:
    x = torch.ones(2, 2)
    with torch.autocast("cpu"):
        with torch.autocast("cpu", enabled=False):
            assert not torch.is_autocast_enabled("cpu")
            assert (x @ x).dtype == torch.float32
        with torch.autocast("cpu", dtype=torch.float16):
            assert torch.get_autocast_dtype("cpu") == torch.float16
            assert (x @ x).dtype == torch.float16
        assert torch.is_autocast_enabled("cpu")
        assert (x @ x).dtype == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")


def test_decorator() -> None:
    @torch.autocast("cpu")
    def product(x):
        return x @ x

    assert product(torch.ones(2, 2)).dtype == torch.bfloat16
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_cuda_disables_itself_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="no CUDA"):
        block = torch.autocast("cuda")
    with block:
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with pytest.warns(UserWarning, match="no CUDA"):
        assert not torch.cuda.amp.GradScaler().is_enabled()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("npu",), RuntimeError), ((3,), ValueError), (("cpu", torch.float32), TypeError)],
)
def test_wrong_arguments(arguments: tuple, error: type) -> None:
    with pytest.raises(error):
        torch.autocast(*arguments)


def take_step(scaler, optimizer, weight, factor: float) -> float:
    optimizer.zero_grad()
    (scaler.scale(weight.sum()) * factor).backward()
    scaler.step(optimizer)
    scaler.update()
    return weight.item()


def test_scaler_skips_overflow_and_adapts() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    assert take_step(scaler, optimizer, weight, 1.0) == -1.0  # the gradient is 1 again
    assert take_step(scaler, optimizer, weight, math.inf) == -1.0
    assert scaler.get_scale() == 4.0
    take_step(scaler, optimizer, weight, 1.0)
    take_step(scaler, optimizer, weight, 1.0)
    assert scaler.get_scale() == 8.0
    other = torch.amp.GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()


def test_scaler_refuses_to_divide_twice() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(weight.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)


def test_disabled_scaler_hands_through() -> None:
    scaler = torch.amp.GradScaler("cuda", enabled=False)
    loss = torch.ones(1)
    assert scaler.scale(loss) is loss
    assert scaler.state_dict() == {}
    assert scaler.get_scale() == 1.0
