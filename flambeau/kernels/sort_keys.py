"""Elements as unsigned integers of the same order, and as the words that sorts move.

A *word* is `key32 << 32 | index`: all words of a line differ, so sorting words is stable by
construction. -0 equals +0 and all NaN are one largest key. Keys of 8-byte types are cut to 32 bits,
`(key - least) >> shift`, where the line's range needs more; sorts then mend the order inside runs
of equal keys (see `sort_words.emit_mend`).
"""

from __future__ import annotations

from . import dtypes as dt
from .ir import Builder

LANES = 8  # elements packed at once


class Keys:
    """How elements of one type become keys."""

    def __init__(self, b: Builder, dtype: str) -> None:
        info = dt.INFO[dtype]
        self.b, self.info, self.size = b, info, info.size
        self.bits = 8 * info.size
        self.raw = f"i{self.bits}"
        self.wide = info.size == 8
        self.type = "i64" if self.wide else "i32"
        self.floating = info.kind == "f"

    def load(self, address: str, lanes: int, flip: str) -> str:
        """The keys (i32, or i64 for wide types) of adjacent elements, inverted where flip is -1."""
        b, raw = self.b, self.vector(self.raw, lanes)
        bits = b.load(raw, address, self.size)
        key = self._ordered(bits, lanes)
        if self.bits < 32:
            key = b.emit(f"zext {raw} {key} to {self.vector('i32', lanes)}")
        if not self.wide:
            flip = b.emit(f"trunc i64 {flip} to i32")
        flips = b.splat(flip, self.type, lanes)
        return b.emit(f"xor {self.vector(self.type, lanes)} {key}, {flips}")

    @property
    def nan(self) -> str:
        """The key of NaN, not inverted."""
        return str((1 << min(self.bits, 64)) - 1) if self.bits < 32 else "-1"

    def vector(self, element: str, lanes: int) -> str:
        """A vector type, or the element's for one lane."""
        return f"<{lanes} x {element}>" if lanes > 1 else element

    def _constant(self, value: int, lanes: int) -> str:
        return f"splat ({self.raw} {value})" if lanes > 1 else str(value)

    def _ordered(self, bits: str, lanes: int) -> str:
        b, kind = self.b, self.info.kind
        raw = self.vector(self.raw, lanes)
        sign = self._constant(-(1 << (self.bits - 1)), lanes)
        if kind in "bu":
            return bits
        if kind == "i":
            return b.emit(f"xor {raw} {bits}, {sign}")
        magnitude = b.emit(f"and {raw} {bits}, {self._constant(~(-1 << (self.bits - 1)), lanes)}")
        mask = self.vector("i1", lanes)
        is_zero = b.emit(f"icmp eq {raw} {magnitude}, {self._constant(0, lanes)}")
        bits = b.emit(f"select {mask} {is_zero}, {raw} {magnitude}, {raw} {bits}")
        negative = b.emit(f"ashr {raw} {bits}, {self._constant(self.bits - 1, lanes)}")
        key = b.emit(f"xor {raw} {bits}, {b.emit(f'or {raw} {negative}, {sign}')}")
        infinity = self._constant(_INFINITY[self.info.name], lanes)
        is_nan = b.emit(f"icmp ugt {raw} {magnitude}, {infinity}")
        return b.emit(f"select {mask} {is_nan}, {raw} {self._constant(-1, lanes)}, {raw} {key}")


_INFINITY = {"f16": 0x7C00, "bf16": 0x7F80, "f32": 0x7F800000, "f64": 0x7FF0000000000000}


def emit_key_range(
    b: Builder, keys: Keys, source: str, begin: str, end: str, flip: str
) -> tuple[str, str]:
    """Least and greatest key of the elements begin..end of a line."""

    def step(at: str, lanes: int, found: list[str]) -> list[str]:
        key = keys.load(b.offset(source, b.mul(at, keys.size)), lanes, flip)
        vector = f"<{lanes} x i64>" if lanes > 1 else "i64"
        suffix = f"v{lanes}i64" if lanes > 1 else "i64"
        return [
            b.intrinsic(f"llvm.{word}.{suffix}", vector, (vector, old), (vector, key))
            for word, old in zip(("umin", "umax"), found, strict=True)
        ]

    vector = f"<{LANES} x i64>"
    whole = b.add(begin, b.emit(f"and i64 {b.sub(end, begin)}, {-LANES}"))
    start = [(vector, "splat (i64 -1)"), (vector, "zeroinitializer")]
    with b.loop(begin, whole, LANES, carry=start) as k:
        k.next(*step(k.index, LANES, k.values))
    folded = [
        b.intrinsic(f"llvm.vector.reduce.{word}.v{LANES}i64", "i64", (vector, value))
        for word, value in zip(("umin", "umax"), k.values, strict=True)
    ]
    with b.loop(whole, end, carry=[("i64", v) for v in folded]) as k:
        k.next(*step(k.index, 1, k.values))
    return k.values[0], k.values[1]


def emit_shift(b: Builder, least: str, greatest: str) -> str:
    """By how many bits keys of this range must be cut to be 32 bits long."""
    zeros = b.intrinsic("llvm.ctlz.i64", "i64", ("i64", b.sub(greatest, least)), ("i1", "false"))
    return b.max("0", b.sub("32", zeros))


def emit_pack(
    b: Builder, keys: Keys, source: str, words: str, begin: str, end: str, cut: tuple[str, str, str]
) -> str:
    """words[i - begin] = the word of element i; how many are NaN. cut: flip, least key, shift."""
    flip, least, shift = cut

    def step(at: str, lanes: int, numbers: str | None, nans: str) -> str:
        key = keys.load(b.offset(source, b.mul(at, keys.size)), lanes, flip)
        nan = b.splat(b.emit(f"xor i64 {keys.nan}, {flip}"), "i64", lanes)
        vector = f"<{lanes} x i64>" if lanes > 1 else "i64"
        if not keys.wide:
            narrow = f"<{lanes} x i32>" if lanes > 1 else "i32"
            nan = b.emit(f"trunc {vector} {nan} to {narrow}")
        is_nan = b.emit(f"icmp eq {keys.vector(keys.type, lanes)} {key}, {nan}")
        one = b.emit(f"zext {keys.vector('i1', lanes)} {is_nan} to {vector}")
        nans = b.emit(f"add {vector} {nans}, {one}")
        if keys.wide:
            moved = b.emit(f"sub {vector} {key}, {b.splat(least, 'i64', lanes)}")
            key = b.emit(f"lshr {vector} {moved}, {b.splat(shift, 'i64', lanes)}")
        else:
            key = b.emit(f"zext {narrow} {key} to {vector}")
        high = b.emit(f"shl {vector} {key}, {'splat (i64 32)' if lanes > 1 else 32}")
        index = b.splat(at, "i64", lanes)
        if numbers is not None:
            index = b.emit(f"add {vector} {index}, {numbers}")
        word = b.emit(f"or {vector} {high}, {index}")
        b.store(vector, word, b.offset(words, b.mul(b.sub(at, begin), 8)), 8)
        return nans

    vector = f"<{LANES} x i64>"
    numbers = "<" + ", ".join(f"i64 {k}" for k in range(LANES)) + ">"
    whole = b.add(begin, b.emit(f"and i64 {b.sub(end, begin)}, {-LANES}"))
    with b.loop(begin, whole, LANES, carry=[(vector, "zeroinitializer")]) as k:
        k.next(step(k.index, LANES, numbers, k.values[0]))
    nans = b.intrinsic(f"llvm.vector.reduce.add.v{LANES}i64", "i64", (vector, k.values[0]))
    with b.loop(whole, end, carry=[("i64", nans)]) as k:
        k.next(step(k.index, 1, None, k.values[0]))
    return k.values[0] if keys.floating else "0"
