"""Tensors and NumPy arrays over the same memory."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from .factory import DTYPES

_FROM_KIND = {
    "b1": "bool", "u1": "uint8", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64", "f2": "float16",
    "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128", "u2": "uint16", "u4": "uint32",
    "u8": "uint64",
}
_TO_NUMPY = {name: name for name in _FROM_KIND.values()}


def to_numpy(input: Tensor, force: bool = False) -> Any:
    """A NumPy array over a tensor's memory, which stays alive with it."""
    import numpy as np

    if input.requires_grad and not force:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )
    name = input.dtype.name
    if name not in _TO_NUMPY:
        raise TypeError(f"Got unsupported ScalarType BFloat16: NumPy has no {name}; convert with .float() first")
    holder = _Interface(input, np.dtype(name).str)
    return np.asarray(holder) if input.dim() else np.asarray(holder).reshape(())


class _Interface:
    """Describes a tensor's memory to NumPy and keeps it alive."""

    def __init__(self, input: Tensor, typestr: str) -> None:
        size = input.element_size()
        self.keeper = core.keeper(input)
        self.__array_interface__ = {
            "version": 3,
            "shape": tuple(input.shape),
            "typestr": typestr,
            "data": (input.data_ptr(), False),
            "strides": tuple(s * size for s in input.stride()),
        }


def from_array(array: Any) -> Tensor:
    """A tensor over a NumPy array's memory."""
    import numpy as np

    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    dtype = _FROM_KIND.get(array.dtype.kind + str(array.dtype.itemsize))
    if dtype is None:
        raise TypeError(f"can't convert np.ndarray of type numpy.{array.dtype}.")
    size = array.dtype.itemsize
    if any(s < 0 for s in array.strides):
        raise ValueError("At least one stride in the given numpy array is negative")
    steps = tuple(s // size for s in array.strides)
    return core.from_address(array.ctypes.data, DTYPES[dtype], array.shape, steps, array)
