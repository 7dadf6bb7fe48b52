"""Tensors without data: `device="meta"`.

A `MetaTensor` has a shape, strides, a dtype and views like any tensor, over address space that is
reserved and never touched. Its class sees every op called on it and answers with the shape and
dtype of the result: from metadata alone (views, factories, in-place ops), or from the op itself,
run on a tensor with the sizes shrunk to 0 or 1, which finds dtypes and errors as always.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from collections.abc import Callable
from typing import Any

from . import core
from ._modes import Mode, active_modes, no_modes
from .core import Tensor

META = core.device("meta")
NO_DATA = "Cannot copy out of meta tensor; no data!"
# Python names it since 3.12. Without it Linux refuses what exceeds the memory there is.
_NORESERVE = 0x4000 if sys.platform.startswith("linux") else 0


def make(shape: Any, dtype: Any, strides: Any = None, requires_grad: bool = False) -> MetaTensor:
    """A tensor without data; row-major unless strides are given."""
    shape = tuple(shape)
    strides = _dense_strides(shape) if strides is None else tuple(strides)
    owner = _reserve(_extent(shape, strides) * dtype.itemsize)
    plain = core.from_address(ctypes.addressof(owner), dtype, shape, strides, owner)
    return core.make_subclass(MetaTensor, plain, requires_grad)


def rebuild(dtype: Any, shape: Any, strides: Any, requires_grad: bool) -> MetaTensor:
    """The tensor that `MetaTensor.describe` described: how one is unpickled."""
    return make(shape, dtype, strides, requires_grad)


def strip(tensor: Tensor, dtype: Any = None) -> MetaTensor:
    """A leaf of the same shape, strides and dtype (or another one) without the data."""
    return make(tensor.shape, dtype or tensor.dtype, tensor.stride())


def _dense_strides(shape: tuple) -> tuple:
    from .ops.factory import dense_strides

    return dense_strides(shape)


def _extent(shape: tuple, strides: tuple) -> int:
    """Elements from the first to the last."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))


def _reserve(nbytes: int) -> Any:
    """Address space: a ctypes object at its start that keeps it."""
    options = {}
    if sys.platform != "win32":
        options["flags"] = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
    try:
        held = mmap.mmap(-1, max(nbytes, 1), **options)
    except (OSError, OverflowError):
        raise core.OutOfMemoryError(
            f"no address space for a tensor of {nbytes} bytes, even without data (device='meta')"
        ) from None
    return ctypes.c_char.from_buffer(held)


class MetaTensor(Tensor):
    """A tensor on the device "meta": everything but numbers."""

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: tuple, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        from ._meta_rules import infer

        return infer(func, args, kwargs or {})

    device = property(lambda self: META, doc="The device: meta.")
    is_meta = property(lambda self: True, doc="True.")
    is_cpu = property(lambda self: False, doc="False.")
    data = property(
        lambda self: self.detach(),
        lambda self, other: Tensor.data.__set__(self, other),
        doc="The tensor without its history.",
    )

    def detach(self) -> MetaTensor:
        """The tensor without its history."""
        return core.make_subclass(MetaTensor, self)

    def data_ptr(self) -> int:
        """0: there is no data."""
        return 0

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        parts = ["...", "device='meta'", f"size={tuple(self.shape)}"]
        if self.dtype is not core.get_default_dtype():
            parts.append(f"dtype={self.dtype}")
        if self.grad_fn is not None:
            parts.append(f"grad_fn=<{self.grad_fn.name()}>")
        elif self.requires_grad:
            parts.append("requires_grad=True")
        head = "Parameter containing:\n" if getattr(self, "_is_param", False) else ""
        return f"{head}tensor({', '.join(parts)})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> MetaTensor:
        from copy import deepcopy

        if id(self) not in memo:
            dtype, shape, strides, requires_grad = self.describe()
            memo[id(self)] = copied = make(shape, dtype, strides, requires_grad)
            copied.__dict__.update(deepcopy(self.__dict__, memo))
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return rebuild, self.describe(), self.__dict__ or None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def describe(self) -> tuple:
        """What makes another one: dtype, shape, strides, requires_grad."""
        return self.dtype, tuple(self.shape), tuple(self.stride()), self.requires_grad


def _refuse(name: str, kind: type[Exception], text: str) -> None:
    def refuse(self: MetaTensor, *args: Any, **kwargs: Any) -> Any:
        if kind is RuntimeError and self.numel() != 1:
            raise RuntimeError(
                f"a Tensor with {self.numel()} elements cannot be converted to Scalar"
            )
        raise kind(text)

    refuse.__name__ = name
    setattr(MetaTensor, name, refuse)


def _view_property(name: str) -> None:
    op = vars(Tensor)[name].fget
    found = property(lambda self: core.as_subclass(op(self), MetaTensor), doc=op.__doc__)
    setattr(MetaTensor, name, found)


for _name in ("item", "__bool__", "__int__", "__float__", "__complex__", "__index__"):
    _refuse(_name, RuntimeError, "Tensor.item() cannot be called on meta tensors")
for _name in ("tolist", "cpu", "cuda", "__dlpack__", "untyped_storage", "__contains__"):
    _refuse(_name, NotImplementedError, NO_DATA)
for _name in ("numpy", "__array__"):
    _refuse(_name, TypeError, "can't convert meta device type tensor to numpy: it has no data")
for _name in ("T", "mT", "H", "mH"):
    _view_property(_name)


# ---- being asked for tensors without data --------------------------------------------------------


def answer(op: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The result of `op(*args, device="meta", **kwargs)` for ordinary arguments."""
    from ._meta_rules import create

    with no_modes():
        return create(op, args, kwargs)


class _DeviceMode(Mode):
    """Within it, factories make their tensors on a device where none is given."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def intercept(self, op: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        from ._meta_rules import is_factory

        if kwargs.get("device") is None and is_factory(op):
            return op(*args, **{**kwargs, "device": self.device})
        return NotImplemented


class _Entered(threading.local):
    """The `with device:` blocks of a thread; None for those that change nothing."""

    def __init__(self) -> None:
        self.modes: list[_DeviceMode | None] = []
        self.default: _DeviceMode | None = None


_entered = _Entered()


def enter_device(device: Any, entering: bool) -> None:
    """Enter or leave `with device:`."""
    if not entering:
        mode = _entered.modes.pop()
        if mode is not None:
            mode.__exit__()
        return
    inside = any(isinstance(mode, _DeviceMode) for mode in active_modes())
    mode = _DeviceMode(device) if inside or device.type != "cpu" else None
    if mode is not None:
        mode.__enter__()
    _entered.modes.append(mode)


def get_default_device() -> Any:
    """The device of the innermost `with device:`, or the thread's default."""
    modes = [mode for mode in active_modes() if isinstance(mode, _DeviceMode)]
    return modes[-1].device if modes else core.device("cpu")


def set_default_device(device: Any) -> None:
    """Where this thread makes tensors from now on: on "cpu" or "meta"."""
    from ._modes import insert_outermost, remove_mode

    if _entered.default is not None:
        remove_mode(_entered.default)
        _entered.default = None
    if device.type != "cpu":
        _entered.default = _DeviceMode(device)
        insert_outermost(_entered.default)
