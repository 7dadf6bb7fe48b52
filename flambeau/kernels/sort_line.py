"""What the sorts of short and of long lines share: the wanted ranks, and from words to the result."""

from __future__ import annotations

from .gather import _BITS
from .ir import Builder
from .sort_keys import Keys
from .sort_words import call, word_at

FIXED, MEDIAN, NANMEDIAN = 0, 1, 2  # which ranks are wanted: those given, or a median's

_LOW = (1 << 32) - 1


def wanted_rank(b: Builder, d, nans: str) -> str:
    """The first rank of the result: given, or that of the median."""
    numbers = b.sub(d.n, nans)
    middle = b.emit(f"sdiv i64 {b.sub(d.n, 1)}, 2")
    median = b.select(b.emit(f"icmp sgt i64 {nans}, 0"), "i64", numbers, middle)
    among_numbers = b.emit(f"sdiv i64 {b.max('0', b.sub(numbers, 1))}, 2")
    is_median = b.emit(f"icmp eq i64 {d.mode}, {MEDIAN}")
    is_fixed = b.emit(f"icmp eq i64 {d.mode}, {FIXED}")
    return b.select(is_fixed, "i64", d.first, b.select(is_median, "i64", median, among_numbers))


def finish(b: Builder, keys: Keys, buffers, line_source, d, cut, ranks, outs) -> None:
    """From the packed words of (part of) a line to its result."""
    a, other, counts = buffers
    flip, least, shift = cut
    state = b.stack("[2 x i64]")
    n, first = ranks
    b.store("i64", n, state, 8)
    b.store("i64", first, b.offset(state, 8), 8)
    ties = b.select(b.emit(f"icmp sgt i64 {shift}, 0"), "i64", str(_LOW), "0")
    call(
        b, "narrow", ("ptr", a), ("ptr", other), ("ptr", state), ("i64", d.span), ("i64", ties),
        ("ptr", counts),
    )  # fmt: skip
    n, first = b.load("i64", state, 8), b.load("i64", b.offset(state, 8), 8)
    call(b, "sort_words", ("ptr", a), ("ptr", other), ("i64", n), ("ptr", counts))
    if keys.wide:
        call_mend(b, buffers, n, line_source, cut)
    put_out(b, keys, word_at(b, a, first), line_source, outs, "0", d.span)


def call_mend(b: Builder, buffers, n: str, line_source: str, cut: tuple[str, str, str]) -> None:
    a, other, counts = buffers
    call(
        b, "mend", ("ptr", a), ("ptr", other), ("i64", n), ("ptr", line_source),
        *[("i64", value) for value in cut], ("ptr", counts),
    )  # fmt: skip


def put_out(
    b: Builder, keys: Keys, words: str, line_source: str, outs, begin: str, end: str
) -> None:
    values, indices = outs
    bits = _BITS[keys.size]
    with b.loop(begin, end) as k:
        index = b.emit(f"and i64 {b.load('i64', word_at(b, words, k.index), 8)}, {_LOW}")
        value = b.load(bits, b.offset(line_source, b.mul(index, keys.size)), keys.size)
        b.store(bits, value, b.offset(values, b.mul(k.index, keys.size)), keys.size)
        b.store("i64", index, word_at(b, indices, k.index), 8)
