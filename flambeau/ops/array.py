"""Tensors and NumPy arrays over the same memory. NumPy is imported when first used."""

from __future__ import annotations

import functools
from typing import Any

from .. import core
from ..core import Tensor
from .factory import DTYPES
from .promotion import title

# (kind, bytes) of a NumPy dtype -> our name; the names are NumPy's too
_NAMES = {
    ("b", 1): "bool",
    ("u", 1): "uint8",
    ("u", 2): "uint16",
    ("u", 4): "uint32",
    ("u", 8): "uint64",
    ("i", 1): "int8",
    ("i", 2): "int16",
    ("i", 4): "int32",
    ("i", 8): "int64",
    ("f", 2): "float16",
    ("f", 4): "float32",
    ("f", 8): "float64",
    ("c", 8): "complex64",
    ("c", 16): "complex128",
}
_SUPPORTED = frozenset(_NAMES.values())


def to_numpy(input: Tensor, force: bool = False) -> Any:
    """A NumPy array over a tensor's memory, which lives as long as either."""
    if input.requires_grad:
        if not force:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() "
                "instead."
            )
        input = input.detach()
    np = _numpy()
    name = input.dtype.name
    if name not in _SUPPORTED:
        raise TypeError(
            f"Got unsupported ScalarType {title(input.dtype.code)}: NumPy has no {name}; "
            "convert with .float() first"
        )
    if input.numel() == 0:
        return np.empty(tuple(input.shape), name)
    size = input.element_size()
    steps = tuple([step * size for step in input.stride()])
    offset = input.storage_offset() * size
    return np.ndarray(tuple(input.shape), name, core.keeper(input), offset, steps)


@functools.cache
def _numpy() -> Any:
    """NumPy, which the core then knows too."""
    import numpy as np

    types = [np.dtype(d.name) if d.name in _SUPPORTED else None for d in core.dtypes]
    core.set_numpy(np.ndarray, types)
    return np


def from_array(array: Any, writable: bool = True) -> Tensor:
    """A tensor over a NumPy array's memory; `writable` warns where the array is read-only."""
    np = _numpy()
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    name = _NAMES.get((array.dtype.kind, array.dtype.itemsize))
    if name is None:
        raise TypeError(
            f"can't convert np.ndarray of type numpy.{array.dtype.type.__name__}. The only "
            "supported types are: "
            f"{', '.join(sorted(_SUPPORTED))}."
        )
    if not array.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order: use "
            "array.astype(array.dtype."
            "newbyteorder('='))"
        )
    size = array.dtype.itemsize
    for step, n in zip(array.strides, array.shape, strict=True):
        if step < 0:
            raise ValueError(
                "At least one stride in the given numpy array is negative, and tensors with "
                "negative strides are not "
                "supported: use array.copy()"
            )
        if step % size and n > 1:
            raise ValueError(
                "given numpy array strides not a multiple of the element byte size: use "
                "array.copy()"
            )
    if writable and not array.flags.writeable:
        _warn_read_only()
    steps = tuple(step // size for step in array.strides)
    address = array.__array_interface__["data"][0]
    return core.from_address(address, DTYPES[name], array.shape, steps, array)


def _warn_read_only() -> None:
    import warnings

    core.not_replayable()
    warnings.warn(
        "The given NumPy array is not writable, and writing to the tensor is undefined behavior: "
        "copy the array "
        "first to be safe.",
        UserWarning,
        stacklevel=4,
    )
