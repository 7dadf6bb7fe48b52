"""Converting tensors: to other element types, to Python numbers, to NumPy."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor, dtype as Dtype
from .factory import CPU, check_device, new_like, read_dtype
from .record import METHODS, REGISTRY, function, primitive


@primitive(name="_to_copy", register=False)
def cast(input: Tensor, dtype: Dtype, memory_format: Any = None) -> Tensor:
    """A copy of the elements converted to another type."""
    made = new_like(input, dtype, memory_format)
    if input.is_complex() and not dtype.is_complex and dtype.name != "bool":
        input = REGISTRY["real"](input)
    core.copy_plain(made, input)
    return made


@cast.vjp
def _(g, input_like):
    return to_dtype(g, input_like.dtype)


def to_dtype(input: Tensor, dtype: Dtype) -> Tensor:
    """The tensor itself if it has the type, else a converted copy that gradients flow through."""
    return input if input.dtype is dtype else cast(input, dtype)


@function("to", method=True, namespaces=())
def to(self: Tensor, *args: Any, dtype=None, device=None, non_blocking=False, copy=False, memory_format=None, other=None) -> Tensor:
    """The tensor with another dtype, on another device, or in another memory format."""
    for a in args:
        if type(a) is Dtype:
            dtype = a
        elif isinstance(a, Tensor):
            dtype = a.dtype
        elif isinstance(a, bool):
            copy = a
        elif a is not None:
            device = a
    check_device("to", device)
    if dtype is None or dtype is self.dtype:
        if not copy and memory_format is None:
            return self
    return cast(self, read_dtype(dtype or self.dtype), memory_format)


def _shorthand(name: str, target: str):
    dtype = next(d for d in core.dtypes if d.name == target)

    @function(name, method=True, namespaces=())
    def convert(self: Tensor, memory_format=None) -> Tensor:
        return to_dtype(self, dtype)

    convert.function.__name__ = name
    return convert


for _name, _target in {
    "float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16", "int": "int32",
    "long": "int64", "short": "int16", "char": "int8", "byte": "uint8", "bool": "bool", "cfloat": "complex64",
    "cdouble": "complex128",
}.items():
    _shorthand(_name, _target)


@function("cpu", method=True, namespaces=())
def cpu(self: Tensor, memory_format=None) -> Tensor:
    """The tensor itself: its memory is on the CPU."""
    return self


@function("type_as", method=True, namespaces=())
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor with the other's element type."""
    return to_dtype(self, other.dtype)


@function("numpy", method=True, namespaces=())
def numpy(self: Tensor, *, force: bool = False):
    """A NumPy array over the same memory."""
    from .array import to_numpy

    return to_numpy(self, force)


METHODS["__array__"] = lambda self, dtype=None, copy=None: numpy(self) if dtype is None else numpy(self).astype(dtype)


@function("is_floating_point")
def is_floating_point(input: Tensor) -> bool:
    """Is the element type a real floating-point type?"""
    return input.is_floating_point()


@function("is_complex")
def is_complex(input: Tensor) -> bool:
    """Is the element type complex?"""
    return input.is_complex()


@function("is_tensor")
def is_tensor(obj: Any) -> bool:
    """Is it a tensor?"""
    return isinstance(obj, Tensor)


@function("numel")
def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


def fill_plain(input: Tensor, value: Any) -> Tensor:
    """Write a number in every element, without history."""
    core.copy_plain(input, core.from_data(value, input.dtype))
    return input


@function("fill_", method=True)
def fill_(self: Tensor, value: Any) -> Tensor:
    """Write a number (or a 0-d tensor) in every element."""
    if isinstance(value, Tensor):
        return core.copy_(self, value)
    return core.copy_(self, core.from_data(value, self.dtype))


@function("zero_", method=True)
def zero_(self: Tensor) -> Tensor:
    """Write zero in every element."""
    return fill_(self, 0)


METHODS["copy_"] = core.copy_


def _repr(self: Tensor, *, tensor_contents: str | None = None) -> str:
    from .._tensor_str import tensor_to_str

    return tensor_to_str(self, tensor_contents)


METHODS["__repr__"] = _repr
_ = CPU
