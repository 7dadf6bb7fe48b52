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

    def load(self, address: str, lanes: int, flip: str) -> tuple[str, str, str]:
        """The keys (i32, or i64 for wide types) of adjacent elements, inverted where flip is -1;

        which are NaN, and which NaN or -0 (for floating types).
        """
        b, raw = self.b, self.vector(self.raw, lanes)
        bits = b.load(raw, address, self.size)
        key, nan, odd = self._ordered(bits, lanes)
        if self.bits < 32:
            key = b.emit(f"zext {raw} {key} to {self.vector('i32', lanes)}")
        if not self.wide:
            flip = b.emit(f"trunc i64 {flip} to i32")
        flips = b.splat(flip, self.type, lanes)
        return b.emit(f"xor {self.vector(self.type, lanes)} {key}, {flips}"), nan, odd

    def value(self, key: str, lanes: int, flip: str) -> str:
        """The bits of the elements with these keys (i64), unless they are NaN or -0."""
        b, raw, wide = self.b, self.vector(self.raw, lanes), self.vector("i64", lanes)
        key = b.emit(f"xor {wide} {key}, {b.splat(flip, 'i64', lanes)}")
        if not self.wide:
            key = b.emit(f"trunc {wide} {key} to {raw}")
        if self.info.kind in "bu":
            return key
        sign = self._constant(-(1 << (self.bits - 1)), lanes)
        if self.info.kind == "i":
            return b.emit(f"xor {raw} {key}, {sign}")
        positive = b.emit(f"ashr {raw} {key}, {self._constant(self.bits - 1, lanes)}")
        all_ = self._constant(-1, lanes)
        mask = b.emit(f"or {raw} {b.emit(f'xor {raw} {positive}, {all_}')}, {sign}")
        return b.emit(f"xor {raw} {key}, {mask}")

    def vector(self, element: str, lanes: int) -> str:
        """A vector type, or the element's for one lane."""
        return f"<{lanes} x {element}>" if lanes > 1 else element

    def _constant(self, value: int, lanes: int) -> str:
        return f"splat ({self.raw} {value})" if lanes > 1 else str(value)

    def _ordered(self, bits: str, lanes: int) -> tuple[str, str, str]:
        b, kind = self.b, self.info.kind
        raw = self.vector(self.raw, lanes)
        sign = self._constant(-(1 << (self.bits - 1)), lanes)
        if kind in "bu":
            return bits, "", ""
        if kind == "i":
            return b.emit(f"xor {raw} {bits}, {sign}"), "", ""
        magnitude = b.emit(f"and {raw} {bits}, {self._constant(~(-1 << (self.bits - 1)), lanes)}")
        mask = self.vector("i1", lanes)
        is_zero = b.emit(f"icmp eq {raw} {magnitude}, {self._constant(0, lanes)}")
        signed = b.emit(f"icmp slt {raw} {bits}, {self._constant(0, lanes)}")
        odd = b.emit(f"and {mask} {is_zero}, {signed}")
        bits = b.emit(f"select {mask} {is_zero}, {raw} {magnitude}, {raw} {bits}")
        negative = b.emit(f"ashr {raw} {bits}, {self._constant(self.bits - 1, lanes)}")
        key = b.emit(f"xor {raw} {bits}, {b.emit(f'or {raw} {negative}, {sign}')}")
        infinity = self._constant(_INFINITY[self.info.name], lanes)
        is_nan = b.emit(f"icmp ugt {raw} {magnitude}, {infinity}")
        odd = b.emit(f"or {mask} {odd}, {is_nan}")
        key = b.emit(f"select {mask} {is_nan}, {raw} {self._constant(-1, lanes)}, {raw} {key}")
        return key, is_nan, odd


_INFINITY = {"f16": 0x7C00, "bf16": 0x7F80, "f32": 0x7F800000, "f64": 0x7FF0000000000000}


def emit_key_range(
    b: Builder, keys: Keys, source: str, begin: str, end: str, flip: str
) -> tuple[str, str]:
    """Least and greatest key of the elements begin..end of a line."""

    def step(at: str, lanes: int, found: list[str]) -> list[str]:
        key, _, _ = keys.load(b.offset(source, b.mul(at, keys.size)), lanes, flip)
        vector = keys.vector("i64", lanes)
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
) -> tuple[str, str]:
    """words[i - begin] = the word of element i. cut: flip, least key, shift.

    How many elements are NaN, and how many NaN or -0: keys do not tell these apart.
    """
    flip, least, shift = cut

    def step(at: str, lanes: int, numbers: str | None, counts: list[str]) -> list[str]:
        key, nan, odd = keys.load(b.offset(source, b.mul(at, keys.size)), lanes, flip)
        word = emit_word(b, keys, key, at, numbers, (least, shift), lanes)
        vector = keys.vector("i64", lanes)
        b.store(vector, word, b.offset(words, b.mul(b.sub(at, begin), 8)), 8)
        if not keys.floating:
            return counts
        return [
            b.emit(f"add {vector} {count}, {b.emit(f'zext {mask} {flag} to {vector}')}")
            for mask in [keys.vector("i1", lanes)]
            for count, flag in zip(counts, (nan, odd), strict=True)
        ]

    vector = f"<{LANES} x i64>"
    whole = b.add(begin, b.emit(f"and i64 {b.sub(end, begin)}, {-LANES}"))
    with b.loop(begin, whole, LANES, carry=[(vector, "zeroinitializer")] * 2) as k:
        k.next(*step(k.index, LANES, lane_numbers(LANES), k.values))
    sums = [
        b.intrinsic(f"llvm.vector.reduce.add.v{LANES}i64", "i64", (vector, v)) for v in k.values
    ]
    with b.loop(whole, end, carry=[("i64", v) for v in sums]) as k:
        k.next(*step(k.index, 1, None, k.values))
    return k.values[0], k.values[1]


def lane_numbers(lanes: int) -> str:
    """0, 1, 2.. as a vector."""
    return "<" + ", ".join(f"i64 {k}" for k in range(lanes)) + ">"


def emit_word(
    b: Builder, keys: Keys, key: str, at: str, numbers: str | None, cut: tuple[str, str], lanes: int
) -> str:
    """The words of keys at index `at` (and the following)."""
    vector = keys.vector("i64", lanes)
    if keys.wide:
        least, shift = (b.splat(value, "i64", lanes) for value in cut)
        key = b.emit(f"lshr {vector} {b.emit(f'sub {vector} {key}, {least}')}, {shift}")
    else:
        key = b.emit(f"zext {keys.vector('i32', lanes)} {key} to {vector}")
    high = b.emit(f"shl {vector} {key}, {'splat (i64 32)' if lanes > 1 else 32}")
    index = b.splat(at, "i64", lanes)
    if numbers is not None:
        index = b.emit(f"add {vector} {index}, {numbers}")
    return b.emit(f"or {vector} {high}, {index}")
