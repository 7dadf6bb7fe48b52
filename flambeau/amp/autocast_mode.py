"""Automatic mixed precision: matrix products and convolutions in a lower dtype.

The casts are ops, so gradients reach float32 parameters as float32. Autocast looks at the op that
the program calls; what a composed op calls in turn runs in the dtypes it was given. Logarithms of
softmax, and so cross_entropy, are computed in float32; other losses in the dtype their inputs
promote to.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from typing import Any

import flambeau
from flambeau._modes import Mode

__all__ = [
    "autocast",
    "custom_bwd",
    "custom_fwd",
    "get_autocast_dtype",
    "is_autocast_available",
    "is_autocast_enabled",
]

# Products: many terms of moderate size, where the lower dtype pays.
LOWER = frozenset(
    {
        "linear",
        "matmul",
        "mm",
        "bmm",
        "mv",
        "addmm",
        "addbmm",
        "baddbmm",
        "chain_matmul",
        "einsum",
        "scaled_dot_product_attention",
        "__matmul__",
        "__rmatmul__",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
    }
)
# Functions that cancel digits, and long products.
WIDER = frozenset(
    {
        "cross_entropy",
        "log_softmax",
        "logsumexp",
        "logsigmoid",
        "ctc_loss",
        "cdist",
        "dist",
        "renorm",
        "logcumsumexp",
        "cumprod",
        "prod",
        "trace",
    }
)


class _Active(threading.local):
    """The innermost autocast block of the thread that is enabled, or None."""

    block: autocast | None = None


_active = _Active()


class _CastMode(Mode):
    """Casts the arguments of listed ops while its block is the innermost one."""

    def __init__(self, block: autocast) -> None:
        self.block = block
        self.dtype = block.fast_dtype

    def intercept(self, op: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        if _active.block is not self.block:  # an inner block has its own say
            return NotImplemented
        name = getattr(op, "__name__", "")
        if name in LOWER:
            target = self.dtype
        elif name in WIDER:
            target = flambeau.float32
        else:
            return NotImplemented
        return op(*_cast(args, target), **_cast(kwargs, target))


def _cast(value: Any, dtype: flambeau.dtype) -> Any:
    """The float16, bfloat16 and float32 tensors in arguments, as `dtype`."""
    if isinstance(value, flambeau.Tensor):
        small = value.dtype in (flambeau.float32, flambeau.bfloat16, flambeau.float16)
        return value.to(dtype) if small and value.dtype != dtype else value
    if isinstance(value, dict):
        return {key: _cast(item, dtype) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_cast(item, dtype) for item in value)
    return value


class autocast:
    """A block, or decorator, in which products are computed in a lower dtype.

    Args:
        device_type: "cpu"; "cuda" only with `enabled=False`, or with a warning that disables it.
        dtype: bfloat16 (default) or float16.
        enabled: False makes the block do nothing, and switches an outer one off.
        cache_enabled: accepted; casts are not cached.

    >>> import flambeau as torch
    >>> layer = torch.nn.Linear(2, 2)
    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     layer(torch.ones(1, 2)).dtype
    torch.bfloat16
    """

    def __init__(
        self,
        device_type: str,
        dtype: flambeau.dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"autocast: device_type must be a string, got {device_type!r}")
        if device_type not in ("cpu", "cuda"):
            raise RuntimeError(
                f"User specified an unsupported autocast device_type '{device_type}'"
            )
        self.device = device_type
        self.fast_dtype = flambeau.bfloat16 if dtype is None else dtype
        if self.fast_dtype not in (flambeau.bfloat16, flambeau.float16):
            raise TypeError(f"autocast: dtype must be bfloat16 or float16, got {dtype}")
        self._enabled = bool(enabled)
        if device_type == "cuda" and enabled:
            warnings.warn("autocast: there is no CUDA here: the block is disabled")
            self._enabled = False
        self._entered: list[tuple[autocast | None, _CastMode | None]] = []

    def __enter__(self) -> autocast:
        before, mode = _active.block, None
        if self.device == "cpu":
            _active.block = self if self._enabled else None
            if self._enabled:
                mode = _CastMode(self)
                mode.__enter__()
        self._entered.append((before, mode))
        return self

    def __exit__(self, *exc: object) -> None:
        before, mode = self._entered.pop()
        _active.block = before
        if mode is not None:
            mode.__exit__(*exc)

    def __call__(self, func: Callable) -> Callable:
        @functools.wraps(func)
        def in_block(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return in_block


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast does something for the device type: for "cpu" only."""
    return device_type == "cpu"


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether an enabled autocast block for the device type (as in PyTorch, "cuda") is active."""
    return device_type == "cpu" and _active.block is not None


def get_autocast_dtype(device_type: str) -> flambeau.dtype:
    """The lower dtype of the active block, else the default of the device type."""
    if device_type == "cpu" and _active.block is not None:
        return _active.block.fast_dtype
    return flambeau.float16 if device_type == "cuda" else flambeau.bfloat16


def custom_fwd(
    fwd: Callable | None = None, *, device_type: str, cast_inputs: flambeau.dtype | None = None
) -> Callable:
    """Decorate the `forward` of a custom autograd function: with `cast_inputs`, its floating-point
    arguments are cast and autocast is off inside.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        ctx._autocast_active = is_autocast_enabled(device_type)
        ctx._autocast_dtype = get_autocast_dtype(device_type)
        if cast_inputs is None or not ctx._autocast_active:
            return fwd(ctx, *args, **kwargs)
        ctx._autocast_active = False
        with autocast(device_type, enabled=False):
            return fwd(ctx, *_cast(args, cast_inputs), **_cast(kwargs, cast_inputs))

    return forward


def custom_bwd(bwd: Callable | None = None, *, device_type: str) -> Callable:
    """Decorate the matching `backward`: it runs with the autocast state of its forward."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, dtype=ctx._autocast_dtype, enabled=ctx._autocast_active):
            return bwd(ctx, *args, **kwargs)

    return backward
