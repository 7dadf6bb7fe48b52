"""PyTorch with known faults, for the tests of the conformance runner: each must be found."""

import os
import time
import types
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


class Tanh(torch.nn.Tanh):
    """Wrong in evaluation mode only."""

    def forward(self, input: Any) -> Any:
        """Return the input itself where training is over."""
        return super().forward(input) if self.training else input


class PReLU(torch.nn.PReLU):
    """Holds a parameter that the original lacks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.extra = torch.nn.Parameter(torch.zeros(1))


class RMSprop(torch.optim.RMSprop):
    """Forgets its state where a checkpoint is loaded."""

    def load_state_dict(self, state_dict: Any) -> None:
        """Take over the options only."""
        super().load_state_dict({**state_dict, "state": {}})


class Rprop(torch.optim.Rprop):
    """Steps too far, and takes any option."""

    def __init__(self, params: Any, lr: Any = 1e-2, etas: Any = (0.5, 1.2), **options: Any) -> None:
        super().__init__(params, lr * 1.001, (0.5, 1.2), **options)


class StepLR(torch.optim.lr_scheduler.StepLR):
    """Ends up at a wrong rate late."""

    def get_lr(self) -> Any:
        """Return the right rates for ten steps."""
        return super().get_lr() if self.last_epoch < 10 else [0.5 for _ in self.base_lrs]


def _overlay(module: types.ModuleType, **faults: Any) -> types.ModuleType:
    made = types.ModuleType(module.__name__)
    made.__dict__.update({**vars(module), **faults})
    return made


nn = _overlay(torch.nn, Tanh=Tanh, PReLU=PReLU)
lr_scheduler = _overlay(torch.optim.lr_scheduler, StepLR=StepLR)
optim = _overlay(torch.optim, RMSprop=RMSprop, Rprop=Rprop, lr_scheduler=lr_scheduler)


def __getattr__(name: str) -> Any:
    if name in MISSING:
        raise AttributeError(name)
    return getattr(torch, name)
