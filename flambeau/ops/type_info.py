"""What element types can hold and how they combine: finfo, iinfo, promote_types, result_type,
can_cast.
"""

from __future__ import annotations

from typing import Any

from .. import core
from ..core import Tensor
from ..core import dtype as Dtype
from .factory import DTYPES, read_dtype
from .promotion import category, promote_names
from .promotion import result_type as combine
from .record import NAMESPACES, function

_BY_SHORT = {d.short: d for d in DTYPES.values()}
# bits of the mantissa (the leading one not counted), smallest and largest exponent, decimal digits
_FORMATS = {
    "float16": (10, -14, 15, 3),
    "bfloat16": (7, -126, 127, 2),
    "float32": (23, -126, 127, 6),
    "float64": (52, -1022, 1023, 15),
    "float8_e4m3fn": (3, -6, 8, 0),
    "float8_e5m2": (2, -14, 15, 0),
    "float8_e4m3fnuz": (3, -7, 7, 0),
    "float8_e5m2fnuz": (3, -15, 15, 0),  # as PyTorch has it: there are 2 bits
    "float8_e8m0fnu": (0, -127, 127, 0),
}
# Where the largest number is not the one of the highest exponent and all bits set, or has no sign.
_LARGEST = {"float8_e4m3fn": 448.0, "float8_e5m2fnuz": 57344.0, "float8_e8m0fnu": 2.0**127}


_FINFOS: dict[Dtype, finfo] = {}


class finfo:
    """Limits of a floating-point dtype (the default one unless given; a complex one's parts).

    >>> import flambeau as torch
    >>> torch.finfo(torch.float32).eps
    1.1920928955078125e-07
    """

    def __new__(cls, type: Dtype | None = None) -> finfo:
        """The one object there is for a dtype."""
        given = core.get_default_dtype() if type is None else type
        found = _FINFOS.get(given)
        if found is None:
            if not isinstance(given, Dtype) or not (given.is_floating_point or given.is_complex):
                raise TypeError(
                    f"torch.finfo() requires a floating point input type, got {given}. Use "
                    "torch.iinfo instead."
                )
            found = _FINFOS[given] = object.__new__(cls)
            found._describe(given)
        return found

    def __reduce__(self) -> tuple:
        return finfo, (DTYPES[self.dtype],)

    def _describe(self, given: Dtype) -> None:
        name = given.to_real().name
        mantissa, lowest, highest, digits = _FORMATS[name]
        self.dtype = name
        self.bits = 8 * given.to_real().itemsize
        self.eps = 2.0**-mantissa
        self.max = _LARGEST.get(name, (2.0 - self.eps) * 2.0**highest)
        self.tiny = self.smallest_normal = 2.0**lowest
        self.min = -self.max if given.is_signed else self.tiny
        self.resolution = float(f"1e-{digits}")

    def __repr__(self) -> str:
        numbers = {
            n: getattr(self, n)
            for n in ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        }
        listed = ", ".join(f"{name}={value:.6g}" for name, value in numbers.items())
        return f"finfo({listed}, dtype={self.dtype})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, finfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(("finfo", self.dtype))


class iinfo:
    """Limits of an integer dtype.

    >>> import flambeau as torch
    >>> torch.iinfo(torch.int8).max
    127
    """

    def __init__(self, type: Dtype) -> None:
        if isinstance(type, Dtype) and type.name == "bool":
            raise TypeError("torch.bool is not supported by torch.iinfo")
        if not isinstance(type, Dtype) or type.is_floating_point or type.is_complex:
            raise TypeError(
                f"torch.iinfo() requires an integer input type, got {type}. Use torch.finfo "
                "instead."
            )
        self.dtype = type.name
        self.bits = 8 * type.itemsize
        self.min = -(1 << (self.bits - 1)) if type.is_signed else 0
        self.max = (1 << (self.bits - type.is_signed)) - 1

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, iinfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(("iinfo", self.dtype))


finfo.__module__ = iinfo.__module__ = "flambeau"
NAMESPACES[""].update(finfo=finfo, iinfo=iinfo)


@function("promote_types")
def promote_types(type1: Dtype, type2: Dtype) -> Dtype:
    """The smallest dtype that holds the values of both.

    >>> import flambeau as torch
    >>> torch.promote_types(torch.int32, torch.float16)
    torch.float16
    """
    return _BY_SHORT[promote_names(read_dtype(type1).short, read_dtype(type2).short)]


@function("result_type")
def result_type(tensor1: Any, tensor2: Any) -> Dtype:
    """The dtype of the result of arithmetic on two operands: tensors or Python numbers."""
    return _BY_SHORT[combine([_rank(tensor1), _rank(tensor2)])]


def _rank(operand: Any) -> tuple[int, int]:
    if isinstance(operand, Tensor):
        return operand.dtype.code, 1 if operand.dim() == 0 else 0
    if isinstance(operand, bool | int | float | complex):
        return core.from_data(operand).dtype.code, 2
    raise TypeError(f"result_type(): expected a tensor or a number, got {type(operand).__name__}")


@function("can_cast")
def can_cast(from_: Dtype, to: Dtype) -> bool:
    """May values of the first dtype be stored in the second (never a float in an int, and so
    on)?
    """
    return category(read_dtype(from_).code) <= category(read_dtype(to).code)
