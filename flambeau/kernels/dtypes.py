"""The element types kernels know, by their short names, in the order of the core's dtype codes."""

from __future__ import annotations

from typing import Any, NamedTuple


class Info(NamedTuple):
    """What the compiler needs to know of one element type."""

    code: int
    name: str
    kind: str  # b bool, u unsigned, i signed, f float, c complex
    size: int  # bytes in memory
    llvm: str  # type in a register; complex numbers are lowered to pairs before emission


_TABLE = [
    Info(0, "bool", "b", 1, "i1"),
    Info(1, "u8", "u", 1, "i8"),
    Info(2, "i8", "i", 1, "i8"),
    Info(3, "i16", "i", 2, "i16"),
    Info(4, "i32", "i", 4, "i32"),
    Info(5, "i64", "i", 8, "i64"),
    Info(6, "f16", "f", 2, "half"),
    Info(7, "bf16", "f", 2, "i16"),  # held as bits: no backend computes in bfloat16
    Info(8, "f32", "f", 4, "float"),
    Info(9, "f64", "f", 8, "double"),
    Info(10, "c64", "c", 8, ""),
    Info(11, "c128", "c", 16, ""),
    Info(12, "u16", "u", 2, "i16"),
    Info(13, "u32", "u", 4, "i32"),
    Info(14, "u64", "u", 8, "i64"),
]

# Types that tensors hold and convert but no kernel computes with, by their dtype codes.
FLOAT8 = {
    48: "f8_e4m3fn",
    49: "f8_e5m2",
    50: "f8_e4m3fnuz",
    51: "f8_e5m2fnuz",
    52: "f8_e8m0fnu",
}


class _Known(dict):
    """A table of the types that kernels know; asking for an 8-bit float's row is an error."""

    def __missing__(self, key: Any) -> Info:
        name = FLOAT8.get(key, key)
        if name not in FLOAT8.values():
            raise KeyError(key)
        raise NotImplementedError(
            f"the operation is not implemented for 'Float8{name[2:]}': convert with .to(float32)"
        )


INFO: dict[str, Info] = _Known({info.name: info for info in _TABLE})
BY_CODE: dict[int, Info] = _Known({info.code: info for info in _TABLE})
NAMES: tuple[str, ...] = tuple(info.name for info in _TABLE)
COMPLEX_PART = {"c64": "f32", "c128": "f64"}
COMPLEX_OF = {"f32": "c64", "f64": "c128", "f16": "c64", "bf16": "c64"}
# What arithmetic on a stored type is carried out in.
OPMATH = {"f16": "f32", "bf16": "f32"}


def kind(name: str) -> str:
    """The kind letter of a type: b, u, i, f or c."""
    return INFO[name].kind


def is_float(name: str) -> bool:
    """True for the real floating-point types."""
    return INFO[name].kind == "f"


def is_complex(name: str) -> bool:
    """True for the complex types."""
    return INFO[name].kind == "c"


def opmath(name: str) -> str:
    """The type arithmetic on `name` is carried out in: f32 for the half types, else itself."""
    return OPMATH.get(name, name)


def integer_limits(name: str) -> tuple[int, int]:
    """Smallest and largest value of an integer type."""
    info = INFO[name]
    bits = info.size * 8
    if info.kind == "b":
        return 0, 1
    return (0, 2**bits - 1) if info.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
