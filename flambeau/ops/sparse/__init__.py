"""Sparse tensors: coordinates of the elements that are there, and their values.

`tensor.py` has the type, `dispatch.py` which function answers an op called on one; the other files
are families of those functions. Nothing here is imported before the first sparse tensor is made.
"""

from __future__ import annotations

from ... import core
from . import compressed, convert, gradients, joins, pointwise, products, reduce, slices
from .compressed import CsrTensor
from .dispatch import dispatch
from .tensor import SparseTensor, make

core.set_sparse_types(
    (SparseTensor, CsrTensor), gradients.add, gradients.accumulate, compressed.to_dense
)

__all__ = [
    "CsrTensor",
    "SparseTensor",
    "compressed",
    "convert",
    "dispatch",
    "joins",
    "make",
    "pointwise",
    "products",
    "reduce",
    "slices",
]
