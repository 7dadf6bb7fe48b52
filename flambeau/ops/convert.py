"""Converting tensors: to other element types, to Python numbers and to NumPy; writing one value or
a copy.
"""

from __future__ import annotations

import warnings
from typing import Any

from .. import core
from ..core import Tensor
from ..core import device as Device
from ..core import dtype as Dtype
from . import dlpack, storage, type_info, typed_tensors  # noqa: F401  register their functions
from .array import from_array, to_numpy
from .factory import CPU, DTYPES, check_device, format_strides, new_like, read_dtype, read_size
from .record import METHODS, NAMESPACES, REGISTRY, composite, function, primitive

# ---- element types -------------------------------------------------------------------------------


@primitive(name="_to_copy", namespaces=())
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


def _warn_of_lost_part(input: Tensor, dtype: Dtype) -> None:
    if input.is_complex() and not dtype.is_complex and dtype.name != "bool":
        core.not_replayable()
        warnings.warn(
            "Casting complex values to real discards the imaginary part", UserWarning, stacklevel=4
        )


def _convert(self: Tensor, dtype: Dtype, copy: bool = False, memory_format: Any = None) -> Tensor:
    if (
        dtype is self.dtype
        and not copy
        and (memory_format is None or _has_format(self, memory_format))
    ):
        return self
    _warn_of_lost_part(self, dtype)
    return cast(self, dtype, memory_format)


def _has_format(self: Tensor, memory_format: Any) -> bool:
    return memory_format._name == "preserve_format" or self.is_contiguous(memory_format)


@function("to", method=True, namespaces=(), shortcut=True)
def to(
    self: Tensor,
    *args: Any,
    dtype: Any = None,
    device: Any = None,
    other: Tensor | None = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """The tensor with another dtype, on another device, or in another memory format; itself if
    nothing changes.

    `to(dtype)`, `to(device)`, `to(device, dtype)` or `to(other)`, then non_blocking and copy.

    >>> import flambeau as torch
    >>> torch.tensor([1, 2]).to(torch.float64)
    tensor([1., 2.], dtype=torch.float64)
    """
    if args:
        dtype, device, other, flags = _read_targets(args, dtype, device, other)
        copy = flags[1] if len(flags) > 1 else copy
    if device is not None and device is not CPU:
        check_device("to", device)
    wanted = self.dtype if dtype is None else read_dtype(dtype)
    return _convert(self, other.dtype if other is not None else wanted, copy, memory_format)


def _read_targets(args: tuple, dtype: Any, device: Any, other: Any) -> tuple:
    """Sort the positional arguments of `to`: (dtype, device, other, [non_blocking, copy])."""
    first, rest = args[0], args[1:]
    if isinstance(first, Tensor):
        other = first
    elif type(first) is Dtype or first in _PYTHON_TYPES:
        dtype = first
    elif first is None or (isinstance(first, str | Device | int) and not isinstance(first, bool)):
        device = first
        if rest and not isinstance(rest[0], bool):
            dtype, rest = rest[0], rest[1:]
    else:
        raise TypeError(f"to(): expected a dtype, a device or a tensor, got {type(first).__name__}")
    return dtype, device, other, rest


_PYTHON_TYPES = (float, int, bool, complex)

# The methods that convert: x.half(), ...
SHORTHANDS = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "bfloat16": "bfloat16",
    "int": "int32",
    "long": "int64",
    "short": "int16",
    "char": "int8",
    "byte": "uint8",
    "bool": "bool",
    "cfloat": "complex64",
    "cdouble": "complex128",
}


def _register_shorthand(name: str, target: str) -> None:
    dtype = DTYPES[target]

    @function(name, method=True, namespaces=())
    def convert(self: Tensor, memory_format: Any = None) -> Tensor:
        if self.dtype is dtype and memory_format is None:
            return self
        return _convert(self, dtype, False, memory_format)

    convert.function.__name__ = name
    convert.function.__doc__ = f"The tensor as {target}; itself if it is that already."


for _name, _target in SHORTHANDS.items():
    _register_shorthand(_name, _target)


@function("type_as", method=True, namespaces=())
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor with the other's element type."""
    return _convert(self, other.dtype)


@function("type", method=True, namespaces=())
def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type, such as 'torch.FloatTensor'; given a dtype or such a name,
    the conversion.
    """
    if dtype is None:
        name = self.dtype.name
        return f"torch.{typed_tensors.NAMES.get(name, f'{name.capitalize()}Tensor')}"
    if isinstance(dtype, str | type):
        dtype = typed_tensors.find_dtype(dtype)
    return _convert(self, read_dtype(dtype))


@function("cpu", method=True, namespaces=())
def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself: its memory is on the CPU."""
    return self if memory_format is None else _convert(self, self.dtype, False, memory_format)


@function("cuda", method=True, namespaces=())
def cuda(
    self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None
) -> Tensor:
    """A copy on a GPU; RuntimeError, as this build computes on the CPU only."""
    check_device("cuda", "cuda" if device is None else device)
    return self


@function("pin_memory", method=True, namespaces=())
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """The tensor itself: without an accelerator there is nothing to pin memory for."""
    return self


# ---- NumPy ---------------------------------------------------------------------------------------


@function("numpy", method=True, namespaces=(), shortcut=True)
def numpy(self: Tensor, *, force: bool = False) -> Any:
    """A NumPy array over the same memory; force=True detaches first.

    RuntimeError for a tensor that requires grad, TypeError for bfloat16, which NumPy lacks.
    """
    return to_numpy(self, force)


def _as_array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
    """NumPy's array protocol."""
    array = numpy(self)
    if dtype is None or array.dtype == dtype:
        return array.copy() if copy else array
    if copy is False:
        raise ValueError(
            f"__array__: converting {array.dtype} to {dtype} needs a copy, but copy=False was given"
        )
    return array.astype(dtype)


def _from_ufunc(self: Tensor, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
    """What NumPy's functions return for tensors: a tensor again."""
    return from_array(array)


METHODS["__array__"] = _as_array
METHODS["__array_wrap__"] = _from_ufunc
METHODS["__array_priority__"] = 1000  # above NumPy's own arrays


# ---- writing one value, or a copy ----------------------------------------------------------------


def fill_plain(input: Tensor, value: Any) -> Tensor:
    """Write a number in every element, without history."""
    return core.fill_number(input, value)


@function("fill_", method=True, shortcut=True)
def fill_(self: Tensor, value: Any) -> Tensor:
    """Write a number, or a 0-d tensor's, in every element.

    >>> import flambeau as torch
    >>> torch.zeros(2).fill_(3)
    tensor([3., 3.])
    """
    if isinstance(value, Tensor):
        if value.dim():
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.dim()} "
                "dimensions."
            )
        return core.copy_(self, value)
    if isinstance(value, complex) and not self.is_complex():
        raise RuntimeError(
            f"fill_: value cannot be converted to type {self.dtype.name} without overflow: {value}"
        )
    core.check_inplace(self, "fill_")
    if core.needs_history(self):
        return core.copy_(self, core.from_data(value, self.dtype))
    core.bump_version(self)
    return core.fill_number(self, value)


@function("fill_diagonal_", method=True, namespaces=())
def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Set the elements whose indices are all equal, in place.

    A tensor of more than two dimensions must have equal sizes. With `wrap`, the diagonal of a tall
    matrix starts again after the last column, one row below.

    >>> import flambeau as torch
    >>> torch.zeros(2, 2).fill_diagonal_(1)
    tensor([[1., 0.],
            [0., 1.]])
    """
    if self.dim() < 2:
        raise RuntimeError("fill_diagonal_: dimensions must be larger than 1")
    if self.dim() > 2 and len(set(self.shape)) > 1:
        raise RuntimeError(
            "fill_diagonal_: all dimensions of input must be of equal length, got"
            f" {tuple(self.shape)}"
        )
    step, columns = sum(self.stride()), self.size(1)
    places = [(0, min(self.shape))]
    if wrap and self.dim() == 2:
        rows = range(columns + 1, self.size(0), columns + 1)
        places += [(row, min(columns, self.size(0) - row)) for row in rows]
    for row, length in places:
        start = self.storage_offset() + row * self.stride(0) if row else None
        self.as_strided((length,), (step,), start).fill_(fill_value)
    return self


@function("zero_", method=True, shortcut=True)
def zero_(self: Tensor) -> Tensor:
    """Write zero in every element."""
    return fill_(self, 0)


@composite(method=False)
def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor of input's shape and dtype with one value in every element."""
    return fill_(input.clone(), value)


def _copy(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy the elements of src, broadcast and converted, into this tensor; returns it."""
    return core.copy_(self, src)


METHODS["copy_"] = REGISTRY["copy_"] = core.Op("copy_", None, _copy)


@function("apply_", method=True, namespaces=())
def apply_(self: Tensor, callable: Any) -> Tensor:
    """Replace each element by callable(element), in place; slow, for tests and small tensors."""
    return _rewrite(self, "apply_", [callable(x) for x in _list_elements(self)])


@function("map_", method=True, namespaces=())
def map_(self: Tensor, tensor: Tensor, callable: Any) -> Tensor:
    """Replace each element a by callable(a, b), b the element of a tensor that broadcasts; in
    place, slow.
    """
    other = core.expand(tensor.detach(), self.shape)
    pairs = zip(_list_elements(self), _list_elements(other), strict=True)
    return _rewrite(self, "map_", [callable(a, b) for a, b in pairs])


def _list_elements(input: Tensor) -> list:
    return core.view(
        core.contiguous_plain(input.detach()), (-1,) if input.numel() else (0,)
    ).tolist()


def _rewrite(self: Tensor, name: str, values: list) -> Tensor:
    if self.requires_grad:
        raise TypeError(
            f"can't use {name} on Variable that requires grad: use torch.no_grad() and detach()"
        )
    core.check_inplace(self, name)
    flat = core.from_data(values, self.dtype) if values else core.empty((0,), self.dtype)
    core.copy_plain(self, core.view(flat, self.shape))
    return self


# ---- sizes in place ------------------------------------------------------------------------------


@function("resize_", method=True, namespaces=())
def resize_(self: Tensor, *size: Any, memory_format: Any = None) -> Tensor:
    """Give the tensor other sizes, growing its memory if it must; new elements are
    uninitialised.
    """
    if self.requires_grad:
        raise RuntimeError("resize_: cannot resize variables that require grad")
    size = tuple(read_size("resize_", size))
    if any(n < 0 for n in size):
        raise RuntimeError(f"resize_: sizes must not be negative, got {size}")
    core.resize_(self, size)
    if memory_format is not None and memory_format._name != "preserve_format":
        source = self.untyped_storage()
        core.set_(self, source, self.storage_offset(), size, format_strides(size, memory_format))
    return self


@function("resize_as_", method=True)
def resize_as_(self: Tensor, the_template: Tensor, memory_format: Any = None) -> Tensor:
    """Give the tensor the sizes of another."""
    if not the_template.dim():
        core.resize_(self, ())
        return self
    return resize_(self, tuple(the_template.shape), memory_format=memory_format)


# ---- questions -----------------------------------------------------------------------------------


@function("is_floating_point")
def is_floating_point(input: Tensor) -> bool:
    """Is the element type a real floating-point type?"""
    return input.is_floating_point()


@function("is_complex")
def is_complex(input: Tensor) -> bool:
    """Is the element type complex?"""
    return input.is_complex()


@function("is_signed")
def is_signed(input: Tensor) -> bool:
    """Can elements be negative?"""
    return input.is_signed()


@function("is_inference")
def is_inference(input: Tensor) -> bool:
    """Was the tensor made in inference mode?"""
    return input.is_inference()


@function("is_nonzero", method=True)
def is_nonzero(input: Tensor) -> bool:
    """Is the only element not zero?"""
    return bool(input)


@function("is_same_size", method=True)
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Have the tensors the same shape?"""
    return tuple(input.shape) == tuple(other.shape)


@function("is_tensor", replay=False)
def is_tensor(obj: Any) -> bool:
    """Is it a tensor?"""
    return isinstance(obj, Tensor)


@function("numel", replay=False)
def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


@function("get_device", method=True, replay=False)
def get_device(input: Tensor) -> int:
    """The number of the device; -1 on the CPU."""
    return -1


@function("is_pinned", method=True, namespaces=(), replay=False)
def is_pinned(self: Tensor, device: Any = None) -> bool:
    """Is the memory page-locked? Never, without an accelerator."""
    return False


METHODS["is_cpu"] = property(lambda self: True, doc="Is the memory on the CPU?")
for _kind in [
    "cuda",
    "ipu",
    "maia",
    "meta",
    "mkldnn",
    "mps",
    "mtia",
    "nested",
    "quantized",
    "sparse",
    "sparse_csr",
    "vulkan",
    "xla",
    "xpu",
]:
    METHODS[f"is_{_kind}"] = property(
        lambda self: False, doc="False: tensors here are dense and on the CPU."
    )

NAMESPACES[""]["is_storage"] = core.Op("is_storage", None, storage.is_storage)
