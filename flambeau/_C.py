"""Names that user code imports from `torch._C`."""  # noqa: N999

from __future__ import annotations

from . import core
from .core import Generator, OutOfMemoryError, Size, Tensor, device, dtype, layout, memory_format
from .core._core import _disabled_torch_function_impl

__all__ = [
    "DisableTorchFunction",
    "DisableTorchFunctionSubclass",
    "Generator",
    "OutOfMemoryError",
    "Size",
    "Tensor",
    "TensorBase",
    "_disabled_torch_function_impl",
    "device",
    "dtype",
    "layout",
    "memory_format",
]

TensorBase = Tensor
_TensorBase = Tensor

_is_grad_enabled = core.grad_enabled
_set_grad_enabled = core.set_grad_enabled


class DisableTorchFunctionSubclass:
    """Inside the block, tensor subclasses do not see the ops called on them."""

    def __enter__(self) -> None:
        self._before = core.disable_overrides(True)

    def __exit__(self, *exc: object) -> None:
        core.disable_overrides(self._before)


class DisableTorchFunction(DisableTorchFunctionSubclass):
    """Inside the block, neither tensor subclasses nor modes see ops."""

    def __enter__(self) -> None:
        from ._modes import no_modes

        super().__enter__()
        self._modes = no_modes()
        self._modes.__enter__()

    def __exit__(self, *exc: object) -> None:
        self._modes.__exit__(None, None, None)
        super().__exit__(*exc)
