"""Flambeau: tensors, automatic differentiation and neural networks, with PyTorch's public API."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

from . import _modes, _tensor, core, ops
from .core import (
    Generator,
    OutOfMemoryError,
    Size,
    Tensor,
    UntypedStorage,
    default_generator,
    device,
    dtype,
    get_default_dtype,
    layout,
    memory_format,
    set_default_dtype,
)

__version__ = "0.1.0"

for _d in core.dtypes + core.float8_dtypes:
    globals()[_d.name] = _d
half, float, double, bfloat16 = core.dtypes[6], core.dtypes[8], core.dtypes[9], core.dtypes[7]
short, int, long = core.dtypes[3], core.dtypes[4], core.dtypes[5]
cfloat, cdouble = core.dtypes[10], core.dtypes[11]
globals().update(core._core._LAYOUTS)
globals().update(core._core._MEMORY_FORMATS)
globals().update(ops.NAMESPACES[""])
e, inf, nan, pi, newaxis = math.e, math.inf, math.nan, math.pi, None

# Imported when first used, so that `import flambeau` stays fast.
_LAZY = frozenset(
    [
        "nn",
        "optim",
        "utils",
        "autograd",
        "linalg",
        "fft",
        "special",
        "vision",
        "serialization",
        "safetensors",
        "random",
        "amp",
        "cuda",
        "backends",
        "overrides",
        "distributed",
        "func",
        "fx",
        "jit",
        "accelerator",
        "compiler",
        "hub",
        "signal",
        "sparse",
        "storage",
        "version",
        "multiprocessing",
        "cli",
        "return_types",
    ]
)
# Names that live in a submodule but are public here.
_FROM = {
    "save": "serialization",
    "load": "serialization",
    "no_grad": "autograd.grad_mode",
    "enable_grad": "autograd.grad_mode",
    "set_grad_enabled": "autograd.grad_mode",
    "inference_mode": "autograd.grad_mode",
    "is_grad_enabled": "autograd.grad_mode",
    "is_inference_mode_enabled": "autograd.grad_mode",
    "is_anomaly_enabled": "autograd.anomaly_mode",
    "is_anomaly_check_nan_enabled": "autograd.anomaly_mode",
    "manual_seed": "random",
    "seed": "random",
    "initial_seed": "random",
    "get_rng_state": "random",
    "set_rng_state": "random",
    "set_printoptions": "_tensor_str",
    "bilinear": "nn.functional",
    "celu": "nn.functional",
    "channel_shuffle": "nn.functional",
    "cosine_similarity": "nn.functional",
    "pairwise_distance": "nn.functional",
    "pixel_shuffle": "nn.functional",
    "pixel_unshuffle": "nn.functional",
    "selu": "nn.functional",
    "autocast": "amp",
    "get_autocast_dtype": "amp",
    "is_autocast_enabled": "amp",
    "GradScaler": "amp",
    "are_deterministic_algorithms_enabled": "_settings",
    "compiled_with_cxx11_abi": "_settings",
    "get_default_device": "_settings",
    "get_deterministic_debug_mode": "_settings",
    "get_float32_matmul_precision": "_settings",
    "is_deterministic_algorithms_warn_only_enabled": "_settings",
    "is_warn_always_enabled": "_settings",
    "set_default_device": "_settings",
    "set_deterministic_debug_mode": "_settings",
    "set_float32_matmul_precision": "_settings",
    "set_warn_always": "_settings",
    "typename": "_settings",
    "use_deterministic_algorithms": "_settings",
}

# PyTorch's names that Flambeau does not have: what to do without them. They stay AttributeErrors,
# so that `hasattr(torch, "compile")` tells programs the truth.
_ABSENT = {
    "compile": "every op runs a compiled kernel at once; leave the call out",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
            hint = f": {_ABSENT[name]}" if name in _ABSENT else ""
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}") from None
    if name in _FROM:
        value = getattr(importlib.import_module(f"{__name__}.{_FROM[name]}"), name)
        globals()[name] = value
        return value
    hint = f": {_ABSENT[name]}" if name in _ABSENT else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_FROM})


def get_num_threads():
    """How many threads kernels use."""
    return core.threads()


def set_num_threads(n) -> None:
    """Set how many threads kernels use."""
    core.set_threads(n)
