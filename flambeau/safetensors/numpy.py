"""Safetensors files of NumPy arrays: the functions of the `safetensors.numpy` module."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import flambeau

from . import torch
from .reading import safe_open
from .torch import Metadata

if TYPE_CHECKING:
    from numpy import ndarray

__all__ = ["load", "load_file", "save", "save_file"]


def save_file(
    tensor_dict: dict[str, ndarray], filename: str | os.PathLike, metadata: Metadata = None
) -> None:
    """Write arrays by name to a file; see `flambeau.safetensors.save_file`."""
    torch.save_file(_to_tensors(tensor_dict), filename, metadata)


def save(tensor_dict: dict[str, ndarray], metadata: Metadata = None) -> bytes:
    """The bytes of a file with these arrays.

    >>> import numpy
    >>> load(save({"a": numpy.arange(3)}))
    {'a': array([0, 1, 2])}
    """
    return torch.save(_to_tensors(tensor_dict), metadata)


def load_file(filename: str | os.PathLike, *, backend: str = "mmap") -> dict[str, ndarray]:
    """The arrays of a file by name."""
    with safe_open(filename, "numpy", backend=backend) as file:
        return file.get_tensors()


def load(data: bytes) -> dict[str, ndarray]:
    """The arrays in the bytes of a file by name."""
    return {name: tensor.numpy() for name, tensor in torch.load(data).items()}


def _to_tensors(arrays: dict[str, ndarray]) -> dict[str, flambeau.Tensor]:
    import numpy

    return {
        name: flambeau.from_numpy(numpy.array(array, copy=True, order="C"))
        for name, array in arrays.items()
    }
