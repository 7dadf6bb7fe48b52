"""Memory stays flat over thousands of steps, and nothing survives that nobody holds."""

import gc
import sys
from pathlib import Path

import pytest

import flambeau as torch
from flambeau import autograd, core
from flambeau.utils.checkpoint import checkpoint


class Double(autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x * 2
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


def plain_step(x: torch.Tensor, w: torch.Tensor) -> None:
    ((x * w) + w).exp().sum().backward()
    x.grad = None


def in_place_step(x: torch.Tensor, w: torch.Tensor) -> None:
    y = x * w
    y[:8].mul_(w[:8])
    y.sum().backward(create_graph=True)
    x.grad = w.grad = None


def function_step(x: torch.Tensor, w: torch.Tensor) -> None:
    y = Double.apply(x * w)
    handle = y.register_hook(lambda g: g * 1)
    y.retain_grad()
    y.sum().backward()
    handle.remove()


def second_step(x: torch.Tensor, w: torch.Tensor) -> None:
    (g,) = autograd.grad((x * w).tanh().sum(), x, create_graph=True)
    g.sum().backward()


def checkpoint_step(x: torch.Tensor, w: torch.Tensor) -> None:
    checkpoint(lambda a: (a * w).exp(), x, use_reentrant=False).sum().backward()


def failing_step(x: torch.Tensor, w: torch.Tensor) -> None:
    y = x.exp()
    y.add_(1)
    try:
        y.sum().backward()
    except RuntimeError:
        return
    raise AssertionError("backward must notice the write")


STEPS = {
    plain_step: 10_000,
    in_place_step: 2_000,
    function_step: 2_000,
    second_step: 2_000,
    checkpoint_step: 1_000,
    failing_step: 500,
}


def resident_bytes() -> int:
    """Memory of this process in RAM, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.parametrize("step", STEPS, ids=lambda f: f.__name__)
def test_memory_is_flat(step) -> None:
    x = torch.full((64,), 0.01, requires_grad=True)
    w = torch.full((64,), 0.02, requires_grad=True)
    for _ in range(50):
        step(x, w)
    gc.collect()
    gc.disable()  # nothing may depend on the collector
    try:
        tensors = core.memory_stats()["allocated"]
        blocks = sys.getallocatedblocks()
        resident = resident_bytes() if sys.platform == "linux" else 0
        for _ in range(STEPS[step]):
            step(x, w)
        assert core.memory_stats()["allocated"] <= tensors + 4096
        assert sys.getallocatedblocks() <= blocks + 300
        if resident:
            assert resident_bytes() - resident < 4 << 20
    finally:
        gc.enable()


def test_attributes_of_tensors_are_collected() -> None:
    before = core.memory_stats()["allocated"]
    for _ in range(100):
        t = torch.ones(1000)
        t.me = t
        t.again = [t]
    del t
    gc.collect()
    assert core.memory_stats()["allocated"] <= before + 8192
