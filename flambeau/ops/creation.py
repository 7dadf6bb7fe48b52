"""Making tensors from data, and of one value: tensor, as_tensor, empty, zeros, ones, full and their kin."""

from __future__ import annotations

import warnings
from typing import Any

from .. import core
from ..core import Tensor
from . import sequences, signal_windows  # noqa: F401  arange, eye, ... and the window functions
from .convert import to_dtype
from .factory import (
    DTYPES,
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
from .promotion import promote_names
from .record import function

_NUMBERS = frozenset((int, float, bool, complex, list, tuple))


def _promote_codes(codes: list[int]) -> int:
    """The dtype that holds numbers of all these dtypes."""
    name = core.dtypes[codes[0]].short
    for code in codes[1:]:
        name = promote_names(name, core.dtypes[code].short)
    return next(d.code for d in core.dtypes if d.short == name)


core.set_promotion(_promote_codes)


# ---- from data -----------------------------------------------------------------------------------------


@function("tensor")
def tensor(
    data: Any, *, dtype=None, device=None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A new tensor holding a copy of data: a number, nested sequences of them, an array or a tensor.

    Without a dtype: float32 (the default) for floats, int64 for ints, bool, complex64; arrays keep theirs.

    >>> import flambeau as torch
    >>> torch.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    if device is not None:
        check_device("tensor", device)
    if type(data) in _NUMBERS:
        made = core.from_data(data, dtype)
    else:
        made = _copy_other(data, dtype)
    return made.requires_grad_() if requires_grad else made


def _copy_other(data: Any, dtype: Any) -> Tensor:
    if isinstance(data, Tensor):
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
            UserWarning,
            stacklevel=3,
        )
        made = core.contiguous_plain(core.clone_plain(data))
    elif _is_array(data):
        made = core.clone_plain(_read_array(data))
    else:
        return core.from_data(data, dtype)
    return made if dtype is None else to_dtype(made, read_dtype(dtype))


def _is_array(data: Any) -> bool:
    return hasattr(data, "__array_interface__") or type(data).__module__ == "numpy"


def _read_array(data: Any) -> Tensor:
    """A tensor over an array's memory; a copy where the layout or the byte order asks for one."""
    import numpy as np

    from .array import from_array

    array = np.asarray(data)
    if any(step < 0 for step in array.strides) or not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="), order="C", copy=True)
    return from_array(array, writable=False)


@function("as_tensor")
def as_tensor(data: Any, dtype=None, device=None) -> Tensor:
    """data as a tensor, sharing memory where it can: a tensor itself, an array's memory, else a copy.

    >>> import flambeau as torch
    >>> x = torch.zeros(2)
    >>> torch.as_tensor(x) is x
    True
    """
    check_device("as_tensor", device)
    if isinstance(data, Tensor):
        return data if dtype is None else to_dtype(data, read_dtype(dtype))
    if not _is_array(data):
        return core.from_data(data, dtype)
    made = _share_array(data)
    return made if dtype is None else to_dtype(made, read_dtype(dtype))


def _share_array(data: Any) -> Tensor:
    import numpy as np

    from .array import from_array

    return from_array(np.asarray(data))


@function("asarray")
def asarray(obj: Any, *, dtype=None, device=None, copy: bool | None = None, requires_grad: bool = False) -> Tensor:
    """obj as a tensor: tensors, arrays, DLPack exporters and buffers share memory unless copy=True.

    copy=False raises ValueError where sharing is not possible. The result has no history.
    """
    check_device("asarray", device)
    wanted = None if dtype is None else read_dtype(dtype)
    shared = _share(obj, wanted)
    if shared is None:
        if copy is False:
            raise ValueError("asarray: can't alias arbitrary sequence into a tensor: use copy=None")
        return finish(core.from_data(obj, dtype), requires_grad)
    if copy is False and wanted is not None and wanted is not shared.dtype:
        raise ValueError(f"asarray: can't alias tensor with dtype {shared.dtype} into dtype {wanted}")
    made = shared if wanted is None else to_dtype(shared, wanted)
    if copy and made is shared:
        made = made.clone()
    if requires_grad:
        return made.detach().requires_grad_()
    return made.detach() if made.requires_grad else made


def _share(obj: Any, dtype: core.dtype | None) -> Tensor | None:
    """A tensor over obj's own memory, or None where it has none."""
    if isinstance(obj, Tensor):
        return obj
    if type(obj) in _NUMBERS:
        return None
    if _is_array(obj):
        return _share_array(obj)
    if hasattr(obj, "__dlpack__"):
        from .dlpack import from_dlpack

        return from_dlpack(obj)
    try:
        memoryview(obj)
    except TypeError:
        return None
    return frombuffer(obj, dtype=dtype or default_float())


@function("from_numpy")
def from_numpy(ndarray: Any) -> Tensor:
    """A tensor over the memory of a NumPy array: writing to one changes the other.

    TypeError for anything but an array of a supported dtype; ValueError for negative strides.
    """
    from .array import from_array

    return from_array(ndarray)


@function("frombuffer")
def frombuffer(
    buffer: Any, *, dtype, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A 1-d tensor over the memory of a buffer (bytes, bytearray, array.array, mmap, ...).

    Args:
        count: elements to read; negative: all up to the end.
        offset: bytes to skip.
    """
    dtype = read_dtype(dtype)
    view = memoryview(buffer)
    size, item = view.nbytes, dtype.itemsize
    if size == 0 or count == 0:
        raise ValueError(f"frombuffer: both buffer length ({size}) and count ({count}) must not be 0")
    if not 0 <= offset < size:
        raise ValueError(
            f"frombuffer: offset ({offset} bytes) must be non-negative and no greater than buffer length "
            f"({size} bytes) minus 1"
        )
    if count < 0:
        if (size - offset) % item:
            raise ValueError(
                f"frombuffer: buffer length ({size - offset} bytes) after offset ({offset} bytes) must be a "
                f"multiple of element size ({item})"
            )
        count = (size - offset) // item
    if offset + count * item > size:
        raise ValueError(
            f"frombuffer: requested buffer length ({count} * {item} bytes) after offset ({offset} bytes) must not "
            f"be greater than actual buffer length ({size} bytes)"
        )
    if view.readonly:
        _warn_read_only("frombuffer")
    return finish(_over_buffer(view, dtype, count, offset), requires_grad)


def _over_buffer(view: memoryview, dtype: core.dtype, count: int, offset: int) -> Tensor:
    whole = core.from_buffer(view, DTYPES["uint8"], (view.nbytes,), (1,), 0, not view.readonly)
    return core.from_address(whole.data_ptr() + offset, dtype, (count,), (1,), core.keeper(whole))


def _warn_read_only(name: str) -> None:
    warnings.warn(
        f"{name}: The given buffer is not writable, and writing to the tensor is undefined behavior: "
        "copy the buffer first to be safe.",
        UserWarning,
        stacklevel=4,
    )


@function("scalar_tensor")
def scalar_tensor(
    s: Any, *, dtype=None, layout=None, device=None, pin_memory: bool = False, requires_grad: bool = False
) -> Tensor:
    """A 0-d tensor of a number; of the default floating-point dtype unless one is given."""
    check_options("scalar_tensor", layout, device)
    if dtype is None:
        dtype = default_float().to_complex() if isinstance(s, complex) else default_float()
    return finish(core.from_data(s.item() if isinstance(s, Tensor) else s, dtype), requires_grad)


# ---- one value -----------------------------------------------------------------------------------------


def _blank(name: str, size: tuple, named: dict, out: Any, dtype: Any, layout: Any, device: Any) -> Tensor:
    """The uninitialised result of a function that takes `*size` and the usual options."""
    if layout is not None or device is not None:
        check_options(name, layout, device)
    size = read_size(name, size, named)
    if out is not None:
        return take_out(name, out, size, dtype)
    return core.empty(size, default_float() if dtype is None else read_dtype(dtype))


@function("empty")
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
    made = _blank("empty", size, named, out, dtype, layout, device)
    if memory_format is not None:
        if memory_format._name == "preserve_format":
            raise RuntimeError("empty: unsupported memory format preserve_format: there is no input to preserve")
        made = core.empty_strided(made.shape, format_strides(made.shape, memory_format), made.dtype)
    return made.requires_grad_() if requires_grad else made


@function("zeros")
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
    made = core.fill_number(_blank("zeros", size, named, out, dtype, layout, device), 0)
    return made.requires_grad_() if requires_grad else made


@function("ones")
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
    return made.requires_grad_() if requires_grad else made


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
                f"{name}(): argument 'fill_value' must be Number, not Tensor of shape {tuple(value.shape)}"
            )
        return value.item()
    return value


def _check_tensor(name: str, input: Any) -> None:
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument 'input' must be Tensor, not {type(input).__name__}")


def _register_like(name: str, value: Any, doc: str) -> None:
    @function(name)
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
        return made.requires_grad_() if requires_grad else made

    make.function.__doc__ = doc
    make.function.__name__ = name


_register_like("empty_like", None, "An uninitialised tensor of input's shape, dtype and dense strides.")
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


# ---- strides of one's own ------------------------------------------------------------------------------


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
    size, stride = read_ints("empty_strided", "size", size), read_ints("empty_strided", "stride", stride)
    if len(size) != len(stride):
        raise RuntimeError(
            f"empty_strided: dimensionality of sizes ({len(size)}) must match dimensionality of strides "
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
    """An uninitialised tensor without gaps whose dimensions lie in memory in the given order, outermost first."""
    check_options("empty_permuted", layout, device)
    size = read_ints("empty_permuted", "size", size)
    order = read_ints("empty_permuted", "physical_layout", physical_layout)
    if len(size) != len(order):
        raise RuntimeError(
            "empty_permuted: Number of dimensions in size does not match the length of the physical_layout: "
            f"{len(size)} and {len(order)}"
        )
    if any(not 0 <= d < len(size) for d in order):
        raise RuntimeError(f"empty_permuted: Dimension out of range (expected 0..{len(size) - 1}, but got {order})")
    if len(set(order)) != len(order):
        raise RuntimeError(f"empty_permuted: Duplicate dim not allowed: {order}")
    strides, step = [0] * len(size), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(size[d], 1)
    made = core.empty_strided(size, strides, default_float() if dtype is None else read_dtype(dtype))
    return finish(made, requires_grad)


# ---- methods that take dtype and device from a tensor ----------------------------------------------------


def _register_new(name: str, value: Any, doc: str) -> None:
    @function(name, method=True, namespaces=())
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
        made = _blank(name, size, named, None, self.dtype if dtype is None else dtype, layout, device)
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
    made = _blank("new_full", (tuple(size),), {}, None, self.dtype if dtype is None else dtype, layout, device)
    return finish(core.fill_number(made, _read_number("new_full", fill_value)), requires_grad)


@function("new_tensor", method=True, namespaces=())
def new_tensor(
    self: Tensor, data: Any, *, dtype=None, device=None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A new tensor holding a copy of data, of self's dtype."""
    check_device("new_tensor", device)
    made = core.from_data(data, None) if type(data) in _NUMBERS else _copy_other(data, None)
    made = to_dtype(made, self.dtype if dtype is None else read_dtype(dtype))
    return finish(made, requires_grad)


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
    """The old constructor: sizes give an uninitialised tensor, a sequence its numbers; of self's dtype."""
    check_device("new", device)
    if len(args) == 1 and isinstance(args[0], Tensor):
        return args[0].detach()
    if len(args) == 1 and isinstance(args[0], list | tuple) and not isinstance(args[0], core.Size):
        return core.from_data(args[0], self.dtype)
    size = args[0] if len(args) == 1 and isinstance(args[0], core.Size) else args
    return core.empty(size or (0,), self.dtype)
