"""Answers of a build without CUDA: there is no GPU, and using one says so.

Questions (`is_available`, `device_count`) are answered, and what programs do just in case (seeding,
emptying a cache) does nothing, as in PyTorch without CUDA. Whatever needs a GPU raises
AssertionError.
"""

from __future__ import annotations

from typing import Any, NoReturn

from . import amp

__all__ = [
    "CUDAGraph",
    "Event",
    "Stream",
    "StreamContext",
    "amp",
    "current_device",
    "current_stream",
    "device_count",
    "empty_cache",
    "get_arch_list",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "graph",
    "init",
    "is_available",
    "is_bf16_supported",
    "is_initialized",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_reserved",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "reset_peak_memory_stats",
    "seed",
    "seed_all",
    "set_device",
    "stream",
    "synchronize",
]


def is_available() -> bool:
    """False: this build has no CUDA backend.

    >>> import flambeau as torch
    >>> torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device(type='cpu')
    """
    return False


def is_initialized() -> bool:
    """False: there is nothing to initialise."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False: there is no GPU to support it."""
    return False


def device_count() -> int:
    """0: no GPU."""
    return 0


def get_arch_list() -> list[str]:
    """The GPU architectures of this build: none."""
    return []


# ---- what programs do just in case ---------------------------------------------------------------


def manual_seed(seed: int) -> None:
    """Nothing to seed: there is no GPU (`torch.manual_seed` seeds the processor)."""


def manual_seed_all(seed: int) -> None:
    """Nothing to seed: there is no GPU."""


def seed() -> None:
    """Nothing to seed: there is no GPU."""


def seed_all() -> None:
    """Nothing to seed: there is no GPU."""


def empty_cache() -> None:
    """Nothing to empty: there is no GPU memory."""


def reset_peak_memory_stats(device: Any = None) -> None:
    """Nothing to reset: there is no GPU memory."""


def memory_allocated(device: Any = None) -> int:
    """0: no GPU memory is in use."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """0: no GPU memory was in use."""
    return 0


def memory_reserved(device: Any = None) -> int:
    """0: no GPU memory is reserved."""
    return 0


def max_memory_reserved(device: Any = None) -> int:
    """0: no GPU memory was reserved."""
    return 0


# ---- what needs a GPU ----------------------------------------------------------------------------


def _refuse(name: str) -> NoReturn:
    raise AssertionError(
        f"torch.cuda.{name}: Torch not compiled with CUDA enabled: Flambeau computes on the"
        " processor; ask torch.cuda.is_available() first"
    )


def init() -> None:
    """Raise AssertionError: there is no CUDA."""
    _refuse("init")


def current_device() -> int:
    """Raise AssertionError: there is no CUDA."""
    _refuse("current_device")


def current_stream(device: Any = None) -> Any:
    """Raise AssertionError: there is no CUDA."""
    _refuse("current_stream")


def get_device_name(device: Any = None) -> str:
    """Raise AssertionError: there is no CUDA."""
    _refuse("get_device_name")


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """Raise AssertionError: there is no CUDA."""
    _refuse("get_device_capability")


def get_device_properties(device: Any = None) -> Any:
    """Raise AssertionError: there is no CUDA."""
    _refuse("get_device_properties")


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Raise AssertionError: there is no CUDA."""
    _refuse("mem_get_info")


def set_device(device: Any) -> None:
    """Raise AssertionError: there is no CUDA."""
    _refuse("set_device")


def synchronize(device: Any = None) -> None:
    """Raise AssertionError: there is no CUDA."""
    _refuse("synchronize")


# ---- classes that programs name in annotations --------------------------------------------------


class _OfGPU:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse(type(self).__name__)


class Stream(_OfGPU):
    """A queue of a GPU; without one, making it is an AssertionError."""


class Event(_OfGPU):
    """A mark in a queue of a GPU; without one, making it is an AssertionError."""


class CUDAGraph(_OfGPU):
    """Recorded work of a GPU; without one, making it is an AssertionError."""


class StreamContext(_OfGPU):
    """A block that works in a queue; without a GPU, making it is an AssertionError."""


class graph(_OfGPU):
    """A block whose work is recorded; without a GPU, making it is an AssertionError."""


class stream(StreamContext):
    """A block that works in a queue; without a GPU, making it is an AssertionError."""
