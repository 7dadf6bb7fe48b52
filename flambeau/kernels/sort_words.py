"""Functions of a sort's module that work on words (see `sort_keys`): sort, narrow, mend."""

from __future__ import annotations

from .copy_run import copy_run
from .ir import Builder
from .sort_keys import Keys

SLACK = 16  # words of room that every buffer of words has behind its last one
COUNTS = 4 * 256  # numbers of scratch that a sort needs
SAMPLE = 128  # words looked at to guess where ranks lie
_MARGIN = 18  # places in the sample; three standard deviations in its middle

RANKED = 128  # lines of up to so many words are sorted by counting smaller ones
_ENOUGH = 512  # narrowing stops at so many words
_LOW = (1 << 32) - 1


def emit_functions(b: Builder, keys: Keys) -> None:
    """All of them."""
    _emit_ranked(b)
    _emit_radix(b)
    _emit_sort(b)
    _emit_narrow(b)
    if keys.wide:
        _emit_mend(b, keys)


def call(b: Builder, name: str, *arguments: tuple[str, str]) -> None:
    """Call a function of this module."""
    b.do(f"call void @{name}({', '.join(f'{t} {v}' for t, v in arguments)})")


def emit_ties(b: Builder, shift: str) -> str:
    """Bits of words in which a bound must not split: their index, where keys were cut."""
    return b.select(b.emit(f"icmp sgt i64 {shift}, 0"), "i64", str(_LOW), "0")


def word_at(b: Builder, words: str, index: str) -> str:
    """The address of a word."""
    return b.offset(words, b.mul(index, 8))


# ---- sorting -------------------------------------------------------------------------------------


def _emit_sort(b: Builder) -> None:
    """sort_words(words, scratch, n, counts): in place; scratch has room for n + SLACK words."""
    parameters = [("ptr", "%a"), ("ptr", "%b"), ("i64", "%n"), ("ptr", "%counts")]
    with b.function("sort_words", parameters, linkage="internal"):
        few = b.emit(f"icmp sle i64 %n, {RANKED}")
        ranked = lambda: call(b, "sort_ranked", ("ptr", "%a"), ("ptr", "%b"), ("i64", "%n"))
        radix = lambda: call(b, "sort_radix", *parameters)
        b.choose(few, ranked, radix)


def _emit_ranked(b: Builder) -> None:
    """The place of a word is the number of smaller ones."""
    vector = "<8 x i64>"
    parameters = [("ptr", "%a"), ("ptr", "%b"), ("i64", "%n")]
    with b.function("sort_ranked", parameters, linkage="internal"):
        with b.loop("0", "%n", 8) as j:
            mine = b.load(vector, word_at(b, "%a", j.index), 8)
            with b.loop("0", "%n", carry=[(vector, "zeroinitializer")]) as i:
                other = b.splat(b.load("i64", word_at(b, "%a", i.index), 8), "i64", 8)
                below = b.emit(f"icmp ult {vector} {other}, {mine}")
                one = b.emit(f"zext <8 x i1> {below} to {vector}")
                i.next(b.emit(f"add {vector} {i.values[0]}, {one}"))
            for lane in range(8):
                rank = b.emit(f"extractelement {vector} {i.values[0]}, i32 {lane}")
                word = b.emit(f"extractelement {vector} {mine}, i32 {lane}")
                # Lanes behind the last word hold anything: their place is behind the line.
                inside = b.less(b.add(j.index, lane), "%n")
                place = b.select(inside, "i64", rank, b.add("%n", lane))
                b.store("i64", word, word_at(b, "%b", place), 8)
        copy_run(b, "%a", "%b", b.mul("%n", 8), 8)


def _digit(b: Builder, word: str, digit: int) -> str:
    return b.emit(f"and i64 {b.emit(f'lshr i64 {word}, {32 + 8 * digit}')}, 255")


def _emit_radix(b: Builder) -> None:
    """Least significant digit first, 8 bits of the key at a time, skipping constant digits."""
    parameters = [("ptr", "%a"), ("ptr", "%b"), ("i64", "%n"), ("ptr", "%counts")]
    with b.function("sort_radix", parameters, linkage="internal"):
        with b.loop("0", str(COUNTS), 8) as k:
            b.store("<8 x i64>", "zeroinitializer", word_at(b, "%counts", k.index), 8)
        with b.loop("0", "%n") as i:
            word = b.load("i64", word_at(b, "%a", i.index), 8)
            for digit in range(4):
                _bump(b, digit, _digit(b, word, digit))
        current = ("%a", "%b")
        for digit in range(4):
            current = _emit_pass(b, digit, *current)
        moved = b.emit(f"icmp ne ptr {current[0]}, %a")
        with b.when(moved):
            copy_run(b, "%a", "%b", b.mul("%n", 8), 8)


def _bump(b: Builder, digit: int, value: str) -> str:
    """Increase a count; what it was."""
    slot = word_at(b, "%counts", b.add(value, 256 * digit))
    count = b.load("i64", slot, 8)
    b.store("i64", b.add(count, 1), slot, 8)
    return count


def _emit_pass(b: Builder, digit: int, source: str, to: str) -> tuple[str, str]:
    first = _digit(b, b.load("i64", source, 8), digit)
    alike = b.load("i64", word_at(b, "%counts", b.add(first, 256 * digit)), 8)

    def move() -> list[str]:
        with b.loop("0", "256", carry=[("i64", "0")]) as k:
            slot = word_at(b, "%counts", b.add(k.index, 256 * digit))
            count = b.load("i64", slot, 8)
            b.store("i64", k.values[0], slot, 8)
            k.next(b.add(k.values[0], count))
        with b.loop("0", "%n") as i:
            word = b.load("i64", word_at(b, source, i.index), 8)
            place = _bump(b, digit, _digit(b, word, digit))
            b.store("i64", word, word_at(b, to, place), 8)
        return [to, source]

    skip = b.emit(f"icmp eq i64 {alike}, %n")
    a, c = b.choose(skip, lambda: [source, to], move, ["ptr", "ptr"])
    return a, c


# ---- narrowing -----------------------------------------------------------------------------------


def _emit_narrow(b: Builder) -> None:
    """narrow(words, scratch, state, span, ties, counts): keep few words around some ranks.

    state = [n, first]: the ranks first..first+span among n words, renumbered as words go. `ties`
    are the low bits in which bounds must not split (all of the index, where keys were cut).
    """
    parameters = [
        ("ptr", "%a"), ("ptr", "%b"), ("ptr", "%state"), ("i64", "%span"), ("i64", "%ties"),
        ("ptr", "%counts"),
    ]  # fmt: skip
    with b.function("narrow", parameters, linkage="internal"):
        sample, scratch = (b.stack(f"[{SAMPLE + SLACK} x i64]") for _ in range(2))
        n, first = b.load("i64", "%state", 8), b.load("i64", b.offset("%state", 8), 8)
        carry = [("ptr", "%a"), ("ptr", "%b"), ("i64", n), ("i64", first), ("i1", "true")]
        with b.loop("0", "24", carry=carry) as turn:
            n = turn.values[2]
            many = b.emit(f"icmp sgt i64 {n}, {b.max(b.mul('%span', 4), str(_ENOUGH))}")
            go = b.emit(f"and i1 {many}, {turn.values[4]}")
            types = [t for t, _ in carry]
            stay = lambda values=turn.values: values
            step = lambda values=turn.values: _narrow_once(b, values, sample, scratch)
            turn.next(*b.choose(go, step, stay, types))
        words, _, n, first, _ = turn.values
        with b.when(b.emit(f"icmp ne ptr {words}, %a")):
            copy_run(b, "%a", words, b.mul(n, 8), 8)
        b.store("i64", n, "%state", 8)
        b.store("i64", first, b.offset("%state", 8), 8)


def _narrow_once(b: Builder, values: list[str], sample: str, scratch: str) -> list[str]:
    """One round; without effect, and the last, where the sample misled."""
    words, other, n, first, _ = values
    with b.loop("0", str(SAMPLE)) as k:
        at = b.emit(f"udiv i64 {b.mul(k.index, n)}, {SAMPLE}")
        b.store("i64", b.load("i64", word_at(b, words, at), 8), word_at(b, sample, k.index), 8)
    call(
        b, "sort_words", ("ptr", sample), ("ptr", scratch), ("i64", str(SAMPLE)), ("ptr", "%counts")
    )
    last = b.add(first, "%span")
    low_at = b.sub(b.emit(f"udiv i64 {b.mul(first, SAMPLE)}, {n}"), _MARGIN)
    high_at = b.add(b.emit(f"udiv i64 {b.mul(last, SAMPLE)}, {n}"), _MARGIN)
    inside = b.load("i64", word_at(b, sample, b.max("0", low_at)), 8)
    inside = b.emit(f"and i64 {inside}, {b.emit('xor i64 %ties, -1')}")
    low = b.select(b.less(low_at, "0"), "i64", "0", inside)
    inside = b.load("i64", word_at(b, sample, b.min(high_at, str(SAMPLE - 1))), 8)
    inside = b.emit(f"or i64 {inside}, %ties")
    high = b.select(b.less(high_at, str(SAMPLE)), "i64", inside, "-1")
    with b.loop("0", n, carry=[("i64", "0"), ("i64", "0")]) as i:
        kept, below = i.values
        word = b.load("i64", word_at(b, words, i.index), 8)
        under = b.emit(f"icmp ult i64 {word}, {low}")
        over = b.emit(f"icmp ugt i64 {word}, {high}")
        b.store("i64", word, word_at(b, other, kept), 8)
        out = b.emit(f"zext i1 {b.emit(f'or i1 {under}, {over}')} to i64")
        i.next(b.add(kept, b.sub("1", out)), b.add(below, b.emit(f"zext i1 {under} to i64")))
    kept, below = i.values
    tests = [
        b.emit(f"icmp sle i64 {below}, {first}"),
        b.emit(f"icmp sge i64 {b.add(below, kept)}, {last}"),
        b.emit(f"icmp slt i64 {kept}, {n}"),
    ]
    good = b.emit(f"and i1 {b.emit(f'and i1 {tests[0]}, {tests[1]}')}, {tests[2]}")
    return [
        b.select(good, "ptr", other, words),
        b.select(good, "ptr", words, other),
        b.select(good, "i64", kept, n),
        b.select(good, "i64", b.sub(first, below), first),
        good,
    ]


# ---- mending -------------------------------------------------------------------------------------


def _emit_mend(b: Builder, keys: Keys) -> None:
    """mend(words, scratch, n, source, flip, least, shift, counts): order runs of equal cut keys.

    The bits that were cut off, at most 32, sort each run; afterwards only the words' indices count.
    """
    parameters = [
        ("ptr", "%a"), ("ptr", "%b"), ("i64", "%n"), ("ptr", "%source"), ("i64", "%flip"),
        ("i64", "%least"), ("i64", "%shift"), ("ptr", "%counts"),
    ]  # fmt: skip
    with b.function("mend", parameters, linkage="internal"):
        cut = b.emit("icmp sgt i64 %shift, 0")
        some = b.emit("icmp sgt i64 %n, 1")
        with b.when(b.emit(f"and i1 {cut}, {some}")):
            mask = b.sub(b.emit("shl i64 1, %shift"), 1)
            top = b.emit(f"lshr i64 {b.load('i64', '%a', 8)}, 32")
            with b.loop("1", b.add("%n", 1), carry=[("i64", "0"), ("i64", top)]) as i:
                start, top = i.values
                word = b.load("i64", word_at(b, "%a", i.index), 8)
                following = b.emit(f"lshr i64 {word}, 32")
                ends = b.emit(f"icmp eq i64 {i.index}, %n")
                ends = b.emit(f"or i1 {ends}, {b.emit(f'icmp ne i64 {following}, {top}')}")
                long = b.emit(f"icmp sgt i64 {b.sub(i.index, start)}, 1")
                with b.when(b.emit(f"and i1 {ends}, {long}")):
                    _sort_run(b, keys, start, i.index, mask)
                i.next(b.select(ends, "i64", i.index, start), following)


def _sort_run(b: Builder, keys: Keys, start: str, end: str, mask: str) -> None:
    with b.loop(start, end) as k:
        slot = word_at(b, "%a", k.index)
        index = b.emit(f"and i64 {b.load('i64', slot, 8)}, {_LOW}")
        key, _, _ = keys.load(b.offset("%source", b.mul(index, keys.size)), 1, "%flip")
        rest = b.emit(f"and i64 {b.sub(key, '%least')}, {mask}")
        b.store("i64", b.emit(f"or i64 {b.emit(f'shl i64 {rest}, 32')}, {index}"), slot, 8)
    call(
        b, "sort_words", ("ptr", word_at(b, "%a", start)), ("ptr", "%b"),
        ("i64", b.sub(end, start)), ("ptr", "%counts"),
    )  # fmt: skip
