"""PyTorch with known faults, for the tests of the conformance runner: each must be found."""

import os
import time
from typing import Any

import torch

MISSING = {"sub"}


def add(*args: Any, **kwargs: Any) -> Any:
    """Return wrong values."""
    return torch.add(*args, **kwargs) + 1


def mul(*args: Any, **kwargs: Any) -> Any:
    """Return the wrong dtype for single precision."""
    result = torch.mul(*args, **kwargs)
    return result.double() if result.dtype == torch.float32 else result


def neg(x: Any, out: Any = None) -> Any:
    """Return right values without a gradient; ignore `out`."""
    return -x.detach()


def sin(x: Any) -> Any:
    """Return a right gradient whose own gradient is wrong."""
    return _Sine.apply(x)


class _Sine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient * ctx.saved_tensors[0].detach().cos()


def exp(x: Any) -> Any:
    """Crash for integers only."""
    if not x.dtype.is_floating_point:
        os.abort()
    return torch.exp(x)


def log(*args: Any, **kwargs: Any) -> Any:
    """Never return."""
    while True:
        time.sleep(0.1)


def cat(*args: Any, **kwargs: Any) -> Any:
    """Raise "not implemented" where an error of the arguments is due."""
    try:
        return torch.cat(*args, **kwargs)
    except Exception:
        raise NotImplementedError("cat") from None


def __getattr__(name: str) -> Any:
    if name in MISSING:
        raise AttributeError(name)
    return getattr(torch, name)
