"""Making tensors from data, and of one value: tensor, as_tensor, empty, zeros, ones, full and
their kin.
"""

from __future__ import annotations

import warnings
from typing import Any

from .. import core
from ..core import Tensor
from . import sequences, signal_windows  # noqa: F401  arange, eye, ... and the window functions
from .array import from_array
from .convert import to_dtype
from .factory import (
    DTYPES,
    check_device,
    check_options,
    default_float,
    finish,
    read_dtype,
)
from .promotion import promote_names
from .record import function

_NUMBERS = frozenset((int, float, bool, complex, list, tuple))


def _promote_codes(codes: list[int]) -> int:
    """The dtype that holds numbers of all these dtypes."""
    by_code = {d.code: d for d in DTYPES.values()}
    name = by_code[codes[0]].short
    for code in codes[1:]:
        name = promote_names(name, by_code[code].short)
    return next(d.code for d in DTYPES.values() if d.short == name)


core.set_promotion(_promote_codes)


# ---- from data -----------------------------------------------------------------------------------


@function("tensor", shortcut=True)
def tensor(
    data: Any, *, dtype=None, device=None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A new tensor holding a copy of data: a number, nested sequences of them, an array or a
    tensor.

    Without a dtype: float32 (the default) for floats, int64 for ints, bool, complex64; arrays keep
    theirs.

    >>> import flambeau as torch
    >>> torch.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    if device is not None:
        check_device("tensor", device)
    made = copy_data(data, dtype)
    return finish(made, requires_grad)


def copy_data(data: Any, dtype: Any) -> Tensor:
    """A new tensor holding a copy of numbers, an array or a tensor."""
    return core.from_data(data, dtype) if type(data) in _NUMBERS else _copy_other(data, dtype)


def _copy_other(data: Any, dtype: Any) -> Tensor:
    if isinstance(data, Tensor):
        core.not_replayable()
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use "
            "sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than "
            "torch.tensor(sourceTensor).",
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

    array = np.asarray(data)
    if any(step < 0 for step in array.strides) or not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="), order="C", copy=True)
    return from_array(array, writable=False)


@function("as_tensor", shortcut=True)
def as_tensor(data: Any, dtype=None, device=None) -> Tensor:
    """data as a tensor, sharing memory where it can: a tensor itself, an array's memory, else a
    copy.

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

    return from_array(np.asarray(data))


@function("asarray")
def asarray(
    obj: Any, *, dtype=None, device=None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
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
        raise ValueError(
            f"asarray: can't alias tensor with dtype {shared.dtype} into dtype {wanted}"
        )
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


@function("from_numpy", shortcut=True)
def from_numpy(ndarray: Any) -> Tensor:
    """A tensor over the memory of a NumPy array: writing to one changes the other.

    TypeError for anything but an array of a supported dtype; ValueError for negative strides.
    """
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
        raise ValueError(
            f"frombuffer: both buffer length ({size}) and count ({count}) must not be 0"
        )
    if not 0 <= offset < size:
        raise ValueError(
            f"frombuffer: offset ({offset} bytes) must be non-negative and no greater than buffer "
            "length "
            f"({size} bytes) minus 1"
        )
    if count < 0:
        if (size - offset) % item:
            raise ValueError(
                f"frombuffer: buffer length ({size - offset} bytes) after offset ({offset} bytes) "
                "must be a "
                f"multiple of element size ({item})"
            )
        count = (size - offset) // item
    if offset + count * item > size:
        raise ValueError(
            f"frombuffer: requested buffer length ({count} * {item} bytes) after offset ({offset} "
            "bytes) must not "
            f"be greater than actual buffer length ({size} bytes)"
        )
    if view.readonly:
        _warn_read_only("frombuffer")
    return finish(_over_buffer(view, dtype, count, offset), requires_grad)


def _over_buffer(view: memoryview, dtype: core.dtype, count: int, offset: int) -> Tensor:
    whole = core.from_buffer(view, DTYPES["uint8"], (view.nbytes,), (1,), 0, not view.readonly)
    return core.from_address(whole.data_ptr() + offset, dtype, (count,), (1,), core.keeper(whole))


def _warn_read_only(name: str) -> None:
    core.not_replayable()
    warnings.warn(
        f"{name}: The given buffer is not writable, and writing to the tensor is undefined "
        "behavior: "
        "copy the buffer first to be safe.",
        UserWarning,
        stacklevel=4,
    )


@function("scalar_tensor")
def scalar_tensor(
    s: Any,
    *,
    dtype=None,
    layout=None,
    device=None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """A 0-d tensor of a number; of the default floating-point dtype unless one is given."""
    check_options("scalar_tensor", layout, device)
    if dtype is None:
        dtype = default_float().to_complex() if isinstance(s, complex) else default_float()
    return finish(core.from_data(s.item() if isinstance(s, Tensor) else s, dtype), requires_grad)


@function("new_tensor", method=True, namespaces=())
def new_tensor(
    self: Tensor,
    data: Any,
    *,
    dtype=None,
    device=None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A new tensor holding a copy of data, of self's dtype."""
    check_device("new_tensor", device)
    made = copy_data(data, None)
    made = to_dtype(made, self.dtype if dtype is None else read_dtype(dtype))
    return finish(made, requires_grad)
