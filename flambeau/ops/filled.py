"""Tensors of one value, or uninitialised: empty, zeros, ones, full, their likes, and `new_*`."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from .factory import (
    check_device,
    check_options,
    default_float,
    finish,
    format_strides,
    new_like,
    read_dtype,
    read_ints,
    read_size,
    take_out,
)
from .record import function
from .sparse_methods import SPARSE_COO, empty_sparse


def _blank(
    name: str, size: tuple, named: dict, out: Any, dtype: Any, layout: Any, device: Any
) -> Tensor:
    """The uninitialised result of a function that takes `*size` and the usual options."""
    if layout is not None or device is not None:
        check_options(name, layout, device)
    size = read_size(name, size, named)
    if out is not None:
        return take_out(name, out, size, dtype)
    return core.empty(size, default_float() if dtype is None else read_dtype(dtype))


def _blank_sparse(
    name: str, size: tuple, named: dict, dtype: Any, device: Any, requires_grad: bool
) -> Any:
    """The same in the sparse layout: without any element."""
    check_device(name, device)
    made = empty_sparse(
        read_size(name, size, named), default_float() if dtype is None else read_dtype(dtype)
    )
    return made.requires_grad_() if requires_grad else made


@function("empty", shortcut=True)
def empty(
    *size: Any,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format=None,
    **named: Any,
) -> Tensor:
    """A tensor whose elements are whatever the memory holds.

    >>> import flambeau as torch
    >>> torch.empty(2, 3).shape
    torch.Size([2, 3])
    """
    if layout is SPARSE_COO and out is None:
        return _blank_sparse("empty", size, named, dtype, device, requires_grad)
    made = _blank("empty", size, named, out, dtype, layout, device)
    if memory_format is not None:
        if memory_format._name == "preserve_format":
            raise RuntimeError(
                "empty: unsupported memory format preserve_format: there is no input to preserve"
            )
        made = core.empty_strided(made.shape, format_strides(made.shape, memory_format), made.dtype)
    return finish(made, requires_grad)


@function("zeros", shortcut=True)
def zeros(
    *size: Any,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    **named: Any,
) -> Tensor:
    """A tensor of zeros.

    >>> import flambeau as torch
    >>> torch.zeros(3)
    tensor([0., 0., 0.])
    """
    if layout is SPARSE_COO and out is None:
        return _blank_sparse("zeros", size, named, dtype, device, requires_grad)
    made = core.fill_number(_blank("zeros", size, named, out, dtype, layout, device), 0)
    return finish(made, requires_grad)


@function("ones", shortcut=True)
def ones(
    *size: Any,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    **named: Any,
) -> Tensor:
    """A tensor of ones.

    >>> import flambeau as torch
    >>> torch.ones(2, dtype=torch.int64)
    tensor([1, 1])
    """
    made = core.fill_number(_blank("ones", size, named, out, dtype, layout, device), 1)
    return finish(made, requires_grad)


@function("full")
def full(
    size: Any,
    fill_value: Any,
    *,
    out: Tensor | None = None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor of one number, which also gives the dtype unless one is named.

    >>> import flambeau as torch
    >>> torch.full((2,), 7)
    tensor([7, 7])
    """
    if isinstance(size, int):
        raise TypeError("full(): argument 'size' must be tuple of ints, not int")
    value = _read_number("full", fill_value)
    if dtype is None and out is None:
        dtype = core.from_data(value).dtype
    made = core.fill_number(_blank("full", (tuple(size),), {}, out, dtype, layout, device), value)
    return finish(made, requires_grad)


def _read_number(name: str, value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.dim():
            raise TypeError(
                f"{name}(): argument 'fill_value' must be Number, not Tensor of shape "
                f"{tuple(value.shape)}"
            )
        return value.item()
    return value


def _check_tensor(name: str, input: Any) -> None:
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument 'input' must be Tensor, not {type(input).__name__}")


def _register_like(name: str, value: Any, doc: str) -> None:
    @function(name, shortcut=True)
    def make(
        input: Tensor,
        *,
        dtype=None,
        layout=None,
        device=None,
        requires_grad: bool = False,
        memory_format=None,
        pin_memory: bool = False,
    ) -> Tensor:
        _check_tensor(name, input)
        if layout is not None or device is not None:
            check_options(name, layout, device)
        made = new_like(input, input.dtype if dtype is None else read_dtype(dtype), memory_format)
        if value is not None:
            core.fill_number(made, value)
        return finish(made, requires_grad)

    make.function.__doc__ = doc
    make.function.__name__ = name


_register_like(
    "empty_like", None, "An uninitialised tensor of input's shape, dtype and dense strides."
)
_register_like("zeros_like", 0, "A tensor of zeros of input's shape, dtype and dense strides.")
_register_like("ones_like", 1, "A tensor of ones of input's shape, dtype and dense strides.")


@function("full_like")
def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    memory_format=None,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor of one number, of input's shape, dtype and dense strides."""
    _check_tensor("full_like", input)
    check_options("full_like", layout, device)
    made = new_like(input, input.dtype if dtype is None else read_dtype(dtype), memory_format)
    core.fill_number(made, _read_number("full_like", fill_value))
    return finish(made, requires_grad)


# ---- strides of one's own ------------------------------------------------------------------------


@function("empty_strided")
def empty_strided(
    size: Any,
    stride: Any,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """An uninitialised tensor with the given sizes and strides (in elements)."""
    check_options("empty_strided", layout, device)
    size, stride = (
        read_ints("empty_strided", "size", size),
        read_ints("empty_strided", "stride", stride),
    )
    if len(size) != len(stride):
        raise RuntimeError(
            f"empty_strided: dimensionality of sizes ({len(size)}) must match dimensionality of "
            "strides "
            f"({len(stride)}): {size} and {stride}"
        )
    made = core.empty_strided(size, stride, default_float() if dtype is None else read_dtype(dtype))
    return finish(made, requires_grad)


@function("empty_permuted")
def empty_permuted(
    size: Any,
    physical_layout: Any,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """An uninitialised tensor without gaps whose dimensions lie in memory in the given order,
    outermost first.
    """
    check_options("empty_permuted", layout, device)
    size = read_ints("empty_permuted", "size", size)
    order = read_ints("empty_permuted", "physical_layout", physical_layout)
    if len(size) != len(order):
        raise RuntimeError(
            "empty_permuted: Number of dimensions in size does not match the length of the "
            "physical_layout: "
            f"{len(size)} and {len(order)}"
        )
    if any(not 0 <= d < len(size) for d in order):
        raise RuntimeError(
            f"empty_permuted: Dimension out of range (expected 0..{len(size) - 1}, but got {order})"
        )
    if len(set(order)) != len(order):
        raise RuntimeError(f"empty_permuted: Duplicate dim not allowed: {order}")
    strides, step = [0] * len(size), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(size[d], 1)
    made = core.empty_strided(
        size, strides, default_float() if dtype is None else read_dtype(dtype)
    )
    return finish(made, requires_grad)


# ---- methods that take dtype and device from a tensor --------------------------------------------


def _register_new(name: str, value: Any, doc: str) -> None:
    @function(name, method=True, namespaces=(), shortcut=value == 0)
    def make(
        self: Tensor,
        *size: Any,
        dtype=None,
        layout=None,
        device=None,
        requires_grad: bool = False,
        pin_memory: bool = False,
        **named: Any,
    ) -> Tensor:
        made = _blank(
            name, size, named, None, self.dtype if dtype is None else dtype, layout, device
        )
        if value is not None:
            core.fill_number(made, value)
        return finish(made, requires_grad)

    make.function.__doc__ = doc
    make.function.__name__ = name


_register_new("new_empty", None, "An uninitialised tensor of self's dtype.")
_register_new("new_zeros", 0, "A tensor of zeros of self's dtype.")
_register_new("new_ones", 1, "A tensor of ones of self's dtype.")


@function("new_full", method=True, namespaces=())
def new_full(
    self: Tensor,
    size: Any,
    fill_value: Any,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor of one number, of self's dtype."""
    made = _blank(
        "new_full", (tuple(size),), {}, None, self.dtype if dtype is None else dtype, layout, device
    )
    return finish(core.fill_number(made, _read_number("new_full", fill_value)), requires_grad)


@function("new_empty_strided", method=True, namespaces=())
def new_empty_strided(
    self: Tensor,
    size: Any,
    stride: Any,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """An uninitialised tensor of self's dtype with the given sizes and strides."""
    return empty_strided(
        size,
        stride,
        dtype=self.dtype if dtype is None else dtype,
        layout=layout,
        device=device,
        requires_grad=requires_grad,
    )


@function("new", method=True, namespaces=())
def new(self: Tensor, *args: Any, device=None) -> Tensor:
    """The old constructor: sizes give an uninitialised tensor, a sequence its numbers; of self's
    dtype.
    """
    check_device("new", device)
    if len(args) == 1 and isinstance(args[0], Tensor):
        return args[0].detach()
    if len(args) == 1 and isinstance(args[0], list | tuple) and not isinstance(args[0], core.Size):
        return core.from_data(args[0], self.dtype)
    size = args[0] if len(args) == 1 and isinstance(args[0], core.Size) else args
    return core.empty(size or (0,), self.dtype)
