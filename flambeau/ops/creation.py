"""Making tensors."""

from __future__ import annotations

import math
from typing import Any

from .. import core
from ..core import Tensor
from .convert import fill_plain, to_dtype
from .factory import check_options, default_float, new_like, read_dtype, read_size
from .record import function


@function("tensor")
def tensor(data: Any, *, dtype=None, device=None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A new tensor that holds a copy of data."""
    check_options("tensor", None, device)
    if isinstance(data, Tensor):
        made = core.clone_plain(data)
        made = made if dtype is None else to_dtype(made, read_dtype(dtype))
    elif type(data).__module__ == "numpy":
        import numpy as np

        from .array import from_array

        made = core.clone_plain(from_array(np.asarray(data)))
        made = made if dtype is None else to_dtype(made, read_dtype(dtype))
    else:
        made = core.from_data(data, dtype)
    return made.requires_grad_() if requires_grad else made


@function("from_numpy")
def from_numpy(array: Any) -> Tensor:
    """A tensor over a NumPy array's memory."""
    from .array import from_array

    return from_array(array)


@function("empty")
def empty(*size, out=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False, memory_format=None) -> Tensor:
    """An uninitialised tensor."""
    check_options("empty", layout, device)
    return core.empty(read_size("empty", size), read_dtype(dtype) if dtype else default_float(), requires_grad)


def _filled(name: str, size, value, dtype, layout, device, requires_grad) -> Tensor:
    check_options(name, layout, device)
    made = core.empty(size, dtype)
    fill_plain(made, value)
    return made.requires_grad_() if requires_grad else made


@function("zeros")
def zeros(*size, out=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False) -> Tensor:
    """A tensor of zeros."""
    return _filled("zeros", read_size("zeros", size), 0, read_dtype(dtype) if dtype else default_float(), layout, device, requires_grad)


@function("ones")
def ones(*size, out=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False) -> Tensor:
    """A tensor of ones."""
    return _filled("ones", read_size("ones", size), 1, read_dtype(dtype) if dtype else default_float(), layout, device, requires_grad)


@function("full")
def full(size, fill_value, *, out=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False) -> Tensor:
    """A tensor filled with a number."""
    dtype = read_dtype(dtype) if dtype else core.from_data(fill_value).dtype
    return _filled("full", size, fill_value, dtype, layout, device, requires_grad)


def _like(name: str, value: Any):
    @function(name)
    def make(input: Tensor, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None, pin_memory=False):
        check_options(name, layout, device)
        made = new_like(input, read_dtype(dtype) if dtype else input.dtype, memory_format)
        if value is not None:
            fill_plain(made, value)
        return made.requires_grad_() if requires_grad else made


_like("empty_like", None)
_like("zeros_like", 0)
_like("ones_like", 1)


@function("full_like")
def full_like(input: Tensor, fill_value, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None, pin_memory=False):
    """A tensor of input's shape filled with a number."""
    made = new_like(input, read_dtype(dtype) if dtype else input.dtype, memory_format)
    fill_plain(made, fill_value)
    return made.requires_grad_() if requires_grad else made


@function("arange")
def arange(start, end=None, step=1, *, out=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False) -> Tensor:
    """start, start + step, ... below end."""
    if end is None:
        start, end = 0, start
    if dtype is None:
        floats = any(isinstance(x, float) for x in (start, end, step))
        dtype = default_float() if floats else core.dtypes[5]
    n = max(0, math.ceil((end - start) / step))
    return core.from_data([start + i * step for i in range(n)], dtype)
