"""What sorts of short and of long lines share: the wanted ranks, and from words to the result."""

from __future__ import annotations

from .gather import _BITS
from .ir import Builder
from .sort_keys import LANES, Keys
from .sort_words import call, emit_ties, word_at

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


def finish(b: Builder, keys: Keys, buffers, line_source, d, cut, ranks, outs, odd: str) -> None:
    """From the packed words of (part of) a line to its result."""
    a, other, counts = buffers
    state = b.stack("[2 x i64]")
    n, first = ranks
    b.store("i64", n, state, 8)
    b.store("i64", first, b.offset(state, 8), 8)
    ties = emit_ties(b, cut[2])
    call(
        b, "narrow", ("ptr", a), ("ptr", other), ("ptr", state), ("i64", d.span), ("i64", ties),
        ("ptr", counts),
    )  # fmt: skip
    n, first = b.load("i64", state, 8), b.load("i64", b.offset(state, 8), 8)
    call(b, "sort_words", ("ptr", a), ("ptr", other), ("i64", n), ("ptr", counts))
    if keys.wide:
        call_mend(b, buffers, n, line_source, cut)
    words = word_at(b, a, first)
    put_out(b, keys, words, line_source, outs, ("0", d.span), cut, odd)


def call_collect(
    b: Builder, source: str, buffers: tuple[str, str, str], places: tuple[str, str],
    cut: tuple[str, str, str], last: str, found: str,
) -> None:  # fmt: skip
    """Words of (at least) the `last` least elements of some places; see `sort_filter`."""
    words, scratch, counts = buffers
    call(
        b, "collect", ("ptr", source), ("ptr", words), ("ptr", scratch),
        *[("i64", value) for value in (*places, *cut, last)], ("ptr", counts), ("ptr", found),
    )  # fmt: skip


def call_mend(b: Builder, buffers, n: str, line_source: str, cut: tuple[str, str, str]) -> None:
    a, other, counts = buffers
    call(
        b, "mend", ("ptr", a), ("ptr", other), ("i64", n), ("ptr", line_source),
        *[("i64", value) for value in cut], ("ptr", counts),
    )  # fmt: skip


def put_out(
    b: Builder, keys: Keys, words: str, line_source: str, outs: tuple[str, str],
    places: tuple[str, str], cut: tuple[str, str, str], odd: str,
) -> None:  # fmt: skip
    """Values and indices of some words: values from keys, or by index where keys tell less."""
    exact = b.emit(f"icmp eq i64 {odd}, 0")
    if keys.wide:
        exact = b.emit(f"and i1 {exact}, {b.emit(f'icmp eq i64 {cut[2]}, 0')}")
    b.choose(
        exact,
        lambda: _put_keys(b, keys, words, outs, places, cut),
        lambda: _put_elements(b, keys, words, line_source, outs, places),
    )


def _put_keys(b: Builder, keys: Keys, words: str, outs, places, cut) -> None:
    values, indices = outs

    def step(at: str, lanes: int) -> None:
        vector = keys.vector("i64", lanes)
        constant = lambda value: f"splat (i64 {value})" if lanes > 1 else str(value)
        word = b.load(vector, word_at(b, words, at), 8)
        index = b.emit(f"and {vector} {word}, {constant(_LOW)}")
        b.store(vector, index, word_at(b, indices, at), 8)
        key = b.emit(f"lshr {vector} {word}, {constant(32)}")
        if keys.wide:
            key = b.emit(f"add {vector} {key}, {b.splat(cut[1], 'i64', lanes)}")
        value = keys.value(key, lanes, cut[0])
        to = b.offset(values, b.mul(at, keys.size))
        b.store(keys.vector(keys.raw, lanes), value, to, keys.size)

    begin, end = places
    whole = b.add(begin, b.emit(f"and i64 {b.sub(end, begin)}, {-LANES}"))
    with b.loop(begin, whole, LANES) as k:
        step(k.index, LANES)
    with b.loop(whole, end) as k:
        step(k.index, 1)


def _put_elements(b: Builder, keys: Keys, words: str, line_source: str, outs, places) -> None:
    values, indices = outs
    bits = _BITS[keys.size]
    with b.loop(*places) as k:
        index = b.emit(f"and i64 {b.load('i64', word_at(b, words, k.index), 8)}, {_LOW}")
        value = b.load(bits, b.offset(line_source, b.mul(index, keys.size)), keys.size)
        b.store(bits, value, b.offset(values, b.mul(k.index, keys.size)), keys.size)
        b.store("i64", index, word_at(b, indices, k.index), 8)
