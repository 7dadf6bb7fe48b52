"""The old names of tensors by element type: `FloatTensor`, `LongTensor` and so on."""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from ..core import dtype as Dtype
from .factory import DTYPES
from .record import NAMESPACES

NAMES = {
    "float32": "FloatTensor",
    "float64": "DoubleTensor",
    "float16": "HalfTensor",
    "bfloat16": "BFloat16Tensor",
    "uint8": "ByteTensor",
    "int8": "CharTensor",
    "int16": "ShortTensor",
    "int32": "IntTensor",
    "int64": "LongTensor",
    "bool": "BoolTensor",
    "complex64": "ComplexFloatTensor",
    "complex128": "ComplexDoubleTensor",
    "uint16": "UInt16Tensor",
    "uint32": "UInt32Tensor",
    "uint64": "UInt64Tensor",
}
_BY_NAME = {name: DTYPES[dtype] for dtype, name in NAMES.items()}


class _TypedTensorMeta(type):
    """Makes calls build plain tensors of one dtype, and isinstance ask for that dtype."""

    dtype: Dtype

    def __call__(cls, *args: Any, device: Any = None) -> Tensor:
        if len(args) == 1 and not isinstance(args[0], int):
            if isinstance(args[0], core.Size):
                return core.empty(args[0], cls.dtype)
            return core.from_data(
                args[0].tolist() if isinstance(args[0], Tensor) else args[0], cls.dtype
            )
        return core.empty(args or (0,), cls.dtype)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype


def _make_class(dtype: str, name: str) -> type:
    doc = f"Makes tensors of {dtype}: uninitialised of sizes, or of the numbers given."
    made = _TypedTensorMeta(name, (), {"__doc__": doc, "__module__": "flambeau"})
    made.dtype = DTYPES[dtype]
    return made


NAMESPACES[""].update({name: _make_class(dtype, name) for dtype, name in NAMES.items()})


def find_dtype(wanted: str | type) -> Any:
    """The dtype of a typed tensor class or of its name, such as 'torch.FloatTensor'."""
    if isinstance(wanted, type):
        return getattr(wanted, "dtype", wanted) if isinstance(wanted, _TypedTensorMeta) else wanted
    name = wanted.rpartition(".")[2]
    if name not in _BY_NAME:
        raise ValueError(
            f"type(): invalid type {wanted!r}: expected one of {', '.join(sorted(_BY_NAME))}"
        )
    return _BY_NAME[name]
