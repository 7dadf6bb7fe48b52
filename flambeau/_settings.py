"""Settings of the whole process: default device, determinism, precision of matrix products."""

from __future__ import annotations

from typing import Any

import flambeau

_PRECISIONS = ("highest", "high", "medium")
_DEBUG_MODES = ("default", "warn", "error")


class _Settings:
    """What programs have set. Kernels are deterministic and exact whatever it says."""

    deterministic = False
    warn_only = False
    precision = "highest"
    warn_always = False


def typename(obj: Any) -> str:
    """The full name of an object's type; a tensor's by its dtype.

    >>> import flambeau as torch
    >>> torch.typename(torch.ones(1)), torch.typename(3)
    ('torch.FloatTensor', 'int')
    """
    if isinstance(obj, flambeau.Tensor):
        return obj.type()
    kind = obj if hasattr(obj, "__qualname__") else type(obj)
    module = getattr(kind, "__module__", None)
    known = module not in (None, "", "builtins", "__builtin__")
    return f"{module}.{kind.__qualname__}" if known else kind.__qualname__


def set_default_device(device: Any) -> None:
    """Choose where this thread makes new tensors: "cpu" (or None), or "meta" for none with data.

    Raises RuntimeError for another device.
    """
    from ._meta import set_default_device as set_device

    wanted = flambeau.device("cpu" if device is None else device)
    if wanted.type not in ("cpu", "meta"):
        raise RuntimeError(
            f"set_default_device: Flambeau computes on the processor, got {str(wanted)!r}:"
            " pass 'cpu' or 'meta'"
        )
    set_device(wanted)


def get_default_device() -> flambeau.device:
    """Where new tensors go: to the device of the innermost `with torch.device(...):`.

    >>> import flambeau as torch
    >>> with torch.device("meta"):
    ...     torch.get_default_device()
    device(type='meta')
    """
    from ._meta import get_default_device as get_device

    return get_device()


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for the same bits from the same program: Flambeau's kernels always give them."""
    if not isinstance(mode, bool):
        raise TypeError(f"use_deterministic_algorithms: mode must be a bool, got {mode!r}")
    _Settings.deterministic, _Settings.warn_only = mode, bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told last."""
    return _Settings.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether `use_deterministic_algorithms` was told only to warn."""
    return _Settings.warn_only


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """Another spelling of `use_deterministic_algorithms`: "default", "warn", "error" or 0, 1, 2."""
    modes = (*_DEBUG_MODES, *range(len(_DEBUG_MODES)))
    if debug_mode not in modes:
        raise RuntimeError(f"set_deterministic_debug_mode: expected one of {modes}: {debug_mode!r}")
    level = modes.index(debug_mode) % len(_DEBUG_MODES)
    use_deterministic_algorithms(level > 0, warn_only=level == 1)


def get_deterministic_debug_mode() -> int:
    """0 (default), 1 (warn) or 2 (error)."""
    return (1 if _Settings.warn_only else 2) if _Settings.deterministic else 0


def set_float32_matmul_precision(precision: str) -> None:
    """Allow faster, less exact float32 matrix products; Flambeau's stay exact ("highest")."""
    if precision not in _PRECISIONS:
        raise ValueError(
            f"set_float32_matmul_precision: expected one of {_PRECISIONS}, got {precision!r}"
        )
    _Settings.precision = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told last."""
    return _Settings.precision


def set_warn_always(b: bool) -> None:
    """Keep the switch that asks for every warning each time."""
    _Settings.warn_always = bool(b)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` was told last."""
    return _Settings.warn_always


def compiled_with_cxx11_abi() -> bool:
    """True: the extension is built with the compiler's present ABI."""
    return True
