"""Conversions of half-precision numbers by integer arithmetic, and whether a target needs them.

bfloat16 is rounded by the processor where it can, but for subnormal numbers, which it takes as 0,
and NaN, which is to be the same one everywhere.

After F. Giesen, "Half to float done quick" and "float->half variants" (2012).
"""

from __future__ import annotations

from functools import cache

from .. import core
from .ir import Builder
from .target import AVX512, Target

_ROUND = "avx512bf16"
_SPECIAL = str(0x01 | 0x20 | 0x80)  # quiet NaN, subnormal, signalling NaN, as VFPCLASSPS has them


def converts_half(target: Target) -> bool:
    """Does the target convert float16 by instructions? Elsewhere LLVM would call a library."""
    return target.name != "sse"


class _Bits:
    """Operations on vectors of 32-bit integers, constants given as numbers."""

    def __init__(self, b: Builder, lanes: int) -> None:
        self.b, self.lanes = b, lanes
        self.words, self.floats = self._vector("i32"), self._vector("float")
        self.mask = self._vector("i1")

    def _vector(self, element: str) -> str:
        return f"<{self.lanes} x {element}>" if self.lanes > 1 else element

    def constant(self, value: int) -> str:
        """The number in every lane."""
        return f"splat (i32 {value})" if self.lanes > 1 else str(value)

    def op(self, name: str, x: str, y: str | int) -> str:
        """x name y."""
        y = self.constant(y) if isinstance(y, int) else y
        return self.b.emit(f"{name} {self.words} {x}, {y}")

    def select(self, test: str, yes: str | int, no: str) -> str:
        """yes where the test holds, else no."""
        yes = self.constant(yes) if isinstance(yes, int) else yes
        return self.b.emit(f"select {self.mask} {test}, {self.words} {yes}, {self.words} {no}")

    def cast(self, value: str, source: str, to: str, how: str = "bitcast") -> str:
        """Another type for the same lanes."""
        return self.b.emit(f"{how} {self._vector(source)} {value} to {self._vector(to)}")

    def float_op(self, name: str, x: str, bits: int) -> str:
        """x name the float with these bits, on words."""
        y = self.cast(self.constant(bits), "i32", "float")
        value = self.b.emit(f"{name} {self.floats} {self.cast(x, 'i32', 'float')}, {y}")
        return self.cast(value, "float", "i32")


def half_to_float(b: Builder, value: str, lanes: int) -> str:
    """half to float, exactly."""
    v = _Bits(b, lanes)
    wide = v.cast(v.cast(value, "half", "i16"), "i16", "i32", "zext")
    shifted = v.op("shl", v.op("and", wide, 0x7FFF), 13)
    scaled = v.float_op("fmul", shifted, 0x77800000)  # 2^112: mends the exponent's bias
    special = b.emit(f"icmp uge {v.words} {shifted}, {v.constant(0x7C00 << 13)}")
    finite = v.select(special, v.op("or", shifted, 0x7F800000), scaled)
    sign = v.op("shl", v.op("and", wide, 0x8000), 16)
    return v.cast(v.op("or", finite, sign), "i32", "float")


def float_to_half(b: Builder, value: str, lanes: int) -> str:
    """float to half, to nearest even; NaN stays NaN."""
    v = _Bits(b, lanes)
    bits = v.cast(value, "float", "i32")
    sign = v.op("and", bits, -(2**31))
    size = v.op("xor", bits, sign)
    odd = v.op("and", v.op("lshr", size, 13), 1)
    # Rebias the exponent by -112 and round half to even in the bits that go.
    normal = v.op("add", v.op("add", size, ((15 - 127) << 23) + 0xFFF), odd)
    normal = v.op("lshr", normal, 13)
    # Adding one half moves the bits of a small number to where a subnormal half has them.
    small = v.op("sub", v.float_op("fadd", size, 0x3F000000), 0x3F000000)
    is_small = b.emit(f"icmp ult {v.words} {size}, {v.constant(0x38800000)}")
    is_large = b.emit(f"icmp uge {v.words} {size}, {v.constant(0x47800000)}")
    is_nan = b.emit(f"icmp ugt {v.words} {size}, {v.constant(0x7F800000)}")
    large = v.select(is_nan, 0x7E00, v.constant(0x7C00))
    chosen = v.select(is_large, large, v.select(is_small, small, normal))
    whole = v.op("or", chosen, v.op("lshr", sign, 16))
    return v.cast(v.cast(whole, "i32", "i16", "trunc"), "i16", "half")


@cache
def rounds_bfloat(target: Target) -> bool:
    """Does this machine have the instruction that rounds 16 float32 numbers to bfloat16?"""
    return target == AVX512 and _ROUND in core.cpu_features()


def float_to_bfloat(b: Builder, value: str, lanes: int) -> str:
    """float to the bits of a bfloat16, to nearest even; NaN stays NaN."""
    if lanes != 16 or not rounds_bfloat(b.target):
        return _round_bits(b, value, lanes)
    b.need(_ROUND)
    vector, mask = "<16 x float>", "<16 x i1>"
    special = ("llvm.x86.avx512.fpclass.ps.512", mask, (vector, value), ("i32", _SPECIAL))
    found = b.emit(f"bitcast {mask} {b.intrinsic(*special)} to i16")

    def convert() -> list[str]:
        name = "llvm.x86.avx512bf16.cvtneps2bf16.512"
        rounded = b.intrinsic(name, "<16 x bfloat>", (vector, value))
        return [b.emit(f"bitcast <16 x bfloat> {rounded} to <16 x i16>")]

    return b.choose(
        b.emit(f"icmp ne i16 {found}, 0"),
        lambda: [_round_bits(b, value, lanes)],
        convert,
        ["<16 x i16>"],
        rare=True,
    )[0]


def _round_bits(b: Builder, value: str, lanes: int) -> str:
    v = _Bits(b, lanes)
    bits = v.cast(value, "float", "i32")
    odd = v.op("and", v.op("lshr", bits, 16), 1)
    rounded = v.op("lshr", v.op("add", bits, v.op("add", odd, 0x7FFF)), 16)
    is_nan = b.emit(f"fcmp uno {v.floats} {value}, {value}")
    return v.cast(v.select(is_nan, 0x7FC0, rounded), "i32", "i16", "trunc")
