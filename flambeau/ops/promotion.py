"""Type promotion: the element type an op computes in and the one it returns.

Operands come as (dtype code, rank): rank 0 a tensor with dimensions, 1 a 0-d tensor, 2 a Python
number.
A category (bool < integer < float < complex) that appears only among lower ranks raises the
category,
never the width, of the higher ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from .. import core
from ..kernels import dtypes as dt
from ..kernels.dtypes import BY_CODE

Rank = tuple[int, int]

_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


class Promote(Enum):
    """How an op's types follow from its operands'."""

    DEFAULT = "the operands' common type"
    FLOAT = "the common type, integers become the default float"
    BOOL = "compute in the common type, return bool"
    REAL = "compute in the common type, return its real part's type"
    FLOAT_REAL = "like FLOAT, then the real part's type"
    COMPLEX = "compute in the common real type, return the complex type of such parts"
    LONG = "compute in the common type, return int64"
    EACH = "every operand keeps its type; the body decides"
    SUM = "integers and bool become int64"


def category(code: int) -> int:
    """0 bool, 1 integer, 2 float, 3 complex."""
    return 2 if code in dt.FLOAT8 else _CATEGORY[BY_CODE[code].kind]


def _category_of(name: str) -> int:
    return 2 if is_float8(name) else _CATEGORY[dt.INFO[name].kind]


def is_float8(name: str) -> bool:
    """Is it the short name of an 8-bit floating type?"""
    return name.startswith("f8_")


def title(code: int) -> str:
    """What PyTorch's messages call a dtype: Float8_e4m3fn, Float, Long and so on."""
    if code in dt.FLOAT8:
        return f"Float8{dt.FLOAT8[code][2:]}"
    return _TITLES[code]


_TITLES = (
    *("Bool", "Byte", "Char", "Short", "Int", "Long", "Half", "BFloat16", "Float", "Double"),
    *("ComplexFloat", "ComplexDouble", "UInt16", "UInt32", "UInt64"),
)


def name_of(code: int) -> str:
    """The short name of a dtype."""
    return dt.FLOAT8[code] if code in dt.FLOAT8 else BY_CODE[code].name


def _no_promotion(a: str, b: str) -> RuntimeError:
    codes = {name: code for code, name in dt.FLOAT8.items()}
    titles = [title(codes[n] if n in codes else dt.INFO[n].code) for n in (a, b)]
    return RuntimeError(
        "Promotion for Float8 Types is not supported, attempted to promote "
        f"{titles[0]} and {titles[1]}"
    )


def default_float() -> str:
    """Short name of the default floating-point type."""
    return core.get_default_dtype().short


def promote_names(a: str, b: str) -> str:
    """The smallest type that holds values of both."""
    if a == b:
        return a
    if is_float8(a) or is_float8(b):
        raise _no_promotion(a, b)
    ka, kb = dt.INFO[a], dt.INFO[b]
    ca, cb = _CATEGORY[ka.kind], _CATEGORY[kb.kind]
    if ca < cb:
        a, b, ka, kb, ca, cb = b, a, kb, ka, cb, ca
    if ca == 3:
        part = dt.COMPLEX_PART[a]
        if cb == 3:
            return "c128" if "c128" in (a, b) else "c64"
        return "c128" if part == "f64" or b == "f64" else "c64"
    if ca == 2:
        if cb < 2:
            return a
        if {a, b} == {"f16", "bf16"}:
            return "f32"
        return a if ka.size >= kb.size else b
    if ca == 0 or cb == 0:
        return a
    return _promote_integers(ka, kb)


def _promote_integers(a: dt.Info, b: dt.Info) -> str:
    if a.kind == b.kind:
        return a.name if a.size >= b.size else b.name
    unsigned, signed = (a, b) if a.kind == "u" else (b, a)
    if signed.size > unsigned.size:
        return signed.name
    wider = {1: "i16", 2: "i32", 4: "i64"}.get(unsigned.size)
    if wider is None:
        raise TypeError(
            f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
            f"{a.name} and {b.name}"
        )
    return wider


def number_type(code: int) -> str:
    """What a Python number stands for: bool, int64, the default float, or its complex."""
    kind = BY_CODE[code].kind
    if kind == "f":
        return default_float()
    return dt.COMPLEX_OF[default_float()] if kind == "c" else BY_CODE[code].name


def result_type(ranks: Sequence[Rank]) -> str:
    """The common type of the operands."""
    best: list[str | None] = [None, None, None]
    for code, rank in ranks:
        name = number_type(code) if rank == 2 else name_of(code)
        best[rank] = name if best[rank] is None else promote_names(best[rank], name)  # type: ignore[arg-type]
    result: str | None = None
    for name in best:  # type: ignore[assignment]
        if name is None:
            continue
        if result is None:
            result = name
        elif _category_of(name) > _category_of(result):
            result = _raise_category(result, name)
    assert result is not None
    return result


def _raise_category(high: str, low: str) -> str:
    """`low` has the higher category but the lower rank: its category, the other's precision."""
    if is_float8(high):
        raise RuntimeError(f"Unknown Complex ScalarType for Float8{high[2:]}")
    if is_float8(low):
        return low
    if dt.is_complex(low) and dt.is_float(high):
        return dt.COMPLEX_OF[high]
    return low


def to_float(name: str) -> str:
    """The type itself if float or complex, else the default float."""
    return name if dt.kind(name) in "fc" else default_float()


def real_part(name: str) -> str:
    """The type of the parts of a complex type; a real type is its own."""
    return dt.COMPLEX_PART.get(name, name)
