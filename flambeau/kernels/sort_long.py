"""Sorting and selecting in one long line, with several threads.

The line is cut into chunks, one a thread. They are sorted by themselves and merged; or, where few
ranks are wanted, narrowed to the words that can have those ranks, and what is left is sorted.
"""

from __future__ import annotations

from types import SimpleNamespace

from .ir import Builder
from .plan import Fields, Phase, Plan, ceil_div, round_up
from .sort_keys import Keys, emit_key_range, emit_pack, emit_shift
from .sort_line import FIXED, call_collect, call_mend, finish, put_out, wanted_rank
from .sort_words import COUNTS, SLACK, call, word_at
from .target import Target

# Chunks have `per` elements, the last may have fewer. The workspace holds two buffers of `room`
# words, then for each chunk _TABLE numbers, then each thread's counts. A merge makes runs of
# 2 * `width` words of runs of `width`, which are in the second buffer if `odd`.
LONG_FIELDS = Fields("n first span flip mode room per chunks kind width odd")
SORT, NARROW, PACK = 0, 1, 2  # what becomes of the chunks

_TABLE = 5  # least key, greatest key, words left, NaN, NaN or -0
_SEGMENT = 1 << 14  # words merged, or put out, by one task
_WAYS = 4  # merges of one task that run side by side


def plan_long(
    dtype: str, n: int, ranks: tuple[int, int], flip: bool, mode: int, threads: int, target: Target
) -> Plan:
    """As sort.plan_lines, for one line."""
    from .sort import source

    first, last = ranks
    chunks = 1 << (threads - 1).bit_length()
    per, room = ceil_div(n, chunks), round_up(n + SLACK, 8)
    if mode == FIXED and 4 * last <= n // chunks:
        kind = NARROW
    else:
        kind = PACK if 4 * (last - first) <= n else SORT
    desc = lambda width=0, odd=0: LONG_FIELDS.pack(
        n=n, first=first, span=last - first, flip=-int(flip), mode=mode, room=room, per=per,
        chunks=chunks, kind=kind, width=width, odd=odd,
    )  # fmt: skip
    kernel = lambda symbol: source(dtype, symbol, target)
    wide = dtype in ("i64", "u64", "f64")
    phases = [Phase(kernel("long_range"), desc(), chunks, 1)] if wide else []
    phases.append(Phase(kernel("long_chunk"), desc(), chunks, 1))
    if kind != SORT:
        phases.append(Phase(kernel("long_select"), desc(), 1, 1))
    else:
        rounds = chunks.bit_length() - 1
        for r in range(rounds):
            merge = kernel("long_merge")
            phases.append(Phase(merge, desc(per << r, r & 1), ceil_div(n, _SEGMENT), 1))
        done = desc(odd=rounds & 1)
        if wide:
            phases.append(Phase(kernel("long_mend"), done, 1, 1))
        phases.append(Phase(kernel("long_out"), done, last - first, _SEGMENT))
    words = 2 * room + _TABLE * chunks + threads * COUNTS
    return Plan(tuple(phases), 8 * words)


def emit_long(b: Builder, keys: Keys) -> None:
    """The kernels of this file."""
    if keys.wide:
        _emit_range(b, keys)
        _emit_mending(b, keys)
    _emit_chunk(b, keys)
    _emit_select(b, keys)
    _emit_merge(b)
    _emit_out(b, keys)


def _start(b: Builder) -> SimpleNamespace:
    """The desc's numbers, the arguments and the parts of the workspace."""
    d = LONG_FIELDS.load(b)
    d.values, d.indices, d.source, d.a = (b.argument(k) for k in range(4))
    d.b = word_at(b, d.a, d.room)
    d.table = word_at(b, d.b, d.room)
    counts = b.add(b.mul(d.chunks, _TABLE), b.mul("%thread", COUNTS))
    d.counts = word_at(b, d.table, counts)
    return d


def _bounds(b: Builder, d: SimpleNamespace, chunk: str) -> tuple[str, str]:
    begin = b.min(b.mul(chunk, d.per), d.n)
    return begin, b.min(b.add(begin, d.per), d.n)


def _entry(b: Builder, d: SimpleNamespace, chunk: str, field: int) -> str:
    return word_at(b, d.table, b.add(b.mul(chunk, _TABLE), field))


def _emit_range(b: Builder, keys: Keys) -> None:
    with b.kernel("long_range"):
        d = _start(b)
        with b.loop("%begin", "%end") as chunk:
            begin, end = _bounds(b, d, chunk.index)
            for field, key in enumerate(emit_key_range(b, keys, d.source, begin, end, d.flip)):
                b.store("i64", key, _entry(b, d, chunk.index, field), 8)


def _find_cut(b: Builder, keys: Keys, d: SimpleNamespace) -> tuple[str, str, str]:
    if not keys.wide:
        return d.flip, "0", "0"
    with b.loop("0", d.chunks, carry=[("i64", "-1"), ("i64", "0")]) as c:
        found = [b.load("i64", _entry(b, d, c.index, field), 8) for field in (0, 1)]
        args = [(("i64", old), ("i64", new)) for old, new in zip(c.values, found, strict=True)]
        c.next(*[
            b.intrinsic(f"llvm.{word}.i64", "i64", *pair)
            for word, pair in zip(("umin", "umax"), args, strict=True)
        ])  # fmt: skip
    return d.flip, c.values[0], emit_shift(b, *c.values)


def _emit_chunk(b: Builder, keys: Keys) -> None:
    with b.kernel("long_chunk"):
        d = _start(b)
        cut = _find_cut(b, keys, d)
        with b.loop("%begin", "%end") as chunk:
            begin, end = _bounds(b, d, chunk.index)
            size = b.sub(end, begin)
            words, scratch = word_at(b, d.a, begin), word_at(b, d.b, begin)
            b.store("i64", size, _entry(b, d, chunk.index, 2), 8)

            def pack(chunk=chunk, words=words, begin=begin, end=end) -> None:
                for field, count in enumerate(emit_pack(b, keys, d.source, words, begin, end, cut)):
                    b.store("i64", count, _entry(b, d, chunk.index, 3 + field), 8)

            def sort(words=words, scratch=scratch, size=size, pack=pack) -> None:
                pack()
                call(
                    b, "sort_words", ("ptr", words), ("ptr", scratch), ("i64", size),
                    ("ptr", d.counts),
                )  # fmt: skip

            def narrow(chunk=chunk, words=words, scratch=scratch, size=size, begin=begin, end=end):
                found = _entry(b, d, chunk.index, 2)
                call_collect(
                    b, d.source, (words, scratch, d.counts), (begin, end), cut,
                    b.min(b.add(d.first, d.span), size), found,
                )  # fmt: skip
                b.store("i64", "1", _entry(b, d, chunk.index, 4), 8)  # there may be odd elements

            b.switch(d.kind, [(SORT, sort), (NARROW, narrow), (PACK, pack)])


def _emit_select(b: Builder, keys: Keys) -> None:
    """Put the chunks' words side by side and finish with them."""
    with b.kernel("long_select"):
        d = _start(b)
        cut = _find_cut(b, keys, d)
        with b.loop("0", d.chunks, carry=[("i64", "0")]) as chunk:
            (total,) = chunk.values
            begin, _ = _bounds(b, d, chunk.index)
            left = b.load("i64", _entry(b, d, chunk.index, 2), 8)
            moves = b.emit(f"icmp ne i64 {total}, {begin}")
            with b.when(moves), b.loop("0", left) as k:
                word = b.load("i64", word_at(b, d.a, b.add(begin, k.index)), 8)
                b.store("i64", word, word_at(b, d.a, b.add(total, k.index)), 8)
            chunk.next(b.add(total, left))
        (total,) = chunk.values
        nans, odd = _odd_elements(b, d)
        first = wanted_rank(b, d, nans)
        outs = (d.values, d.indices)
        finish(b, keys, (d.a, d.b, d.counts), d.source, d, cut, (total, first), outs, odd)


def _odd_elements(b: Builder, d: SimpleNamespace) -> tuple[str, str]:
    """How many elements of the line are NaN; NaN or -0."""
    with b.loop("0", d.chunks, carry=[("i64", "0"), ("i64", "0")]) as c:
        found = [b.load("i64", _entry(b, d, c.index, field), 8) for field in (3, 4)]
        c.next(*[b.add(old, new) for old, new in zip(c.values, found, strict=True)])
    return c.values[0], c.values[1]


# ---- merging -------------------------------------------------------------------------------------


def _buffers(b: Builder, d: SimpleNamespace) -> tuple[str, str]:
    """The buffer that holds the words, and the other one."""
    odd = b.emit(f"icmp ne i64 {d.odd}, 0")
    return b.select(odd, "ptr", d.b, d.a), b.select(odd, "ptr", d.a, d.b)


def _emit_merge(b: Builder) -> None:
    """A task makes _SEGMENT words of the result; where they come from is found by bisection."""
    with b.kernel("long_merge"):
        d = _start(b)
        words, to = _buffers(b, d)
        pair = b.mul(d.width, 2)
        with b.loop("%begin", "%end") as segment:
            start = b.mul(segment.index, _SEGMENT)
            stop = b.min(b.add(start, _SEGMENT), d.n)
            # A segment may span the end of one pair of runs: then it has a part in each.
            first = b.emit(f"udiv i64 {start}, {pair}")
            last = b.emit(f"udiv i64 {b.sub(stop, 1)}, {pair}")
            with b.loop(first, b.add(last, 1)) as p:
                base = b.mul(p.index, pair)
                low, high = b.max(start, base), b.min(stop, b.add(base, pair))
                _merge_part(b, d, words, to, base, low, high)


def _merge_part(
    b: Builder, d: SimpleNamespace, words: str, to: str, base: str, low: str, high: str
) -> None:
    """Places low..high of the merge of the runs at base and base + width.

    A merge waits for one comparison after the other, so _WAYS parts are merged at once.
    """
    middle = b.min(b.add(base, d.width), d.n)
    end = b.min(b.add(middle, d.width), d.n)
    runs = word_at(b, words, base), word_at(b, words, middle)
    sizes = b.sub(middle, base), b.sub(end, middle)
    part = b.emit(f"udiv i64 {b.sub(high, low)}, {_WAYS}")
    starts = [b.add(low, b.mul(part, way)) for way in range(_WAYS)]
    carry = []
    for start in starts:
        wanted = b.sub(start, base)
        i = _count_from_left(b, runs, sizes, wanted)
        carry += [("i64", i), ("i64", b.sub(wanted, i))]
    with b.loop("0", part, carry=carry) as k:
        following = []
        for way, start in enumerate(starts):
            pair = (k.values[2 * way], k.values[2 * way + 1])
            following += _merge_one(b, runs, sizes, pair, word_at(b, to, b.add(start, k.index)))
        k.next(*following)
    rest = b.add(low, b.mul(part, _WAYS))
    with b.loop(rest, high, carry=[("i64", v) for v in k.values[-2:]]) as place:
        i, j = place.values
        place.next(*_merge_one(b, runs, sizes, (i, j), word_at(b, to, place.index)))


def _load_word(b: Builder, run: str, i: str) -> str:
    return b.load("i64", word_at(b, run, i), 8)


def _merge_one(
    b: Builder, runs: tuple[str, str], sizes: tuple[str, str], at: tuple[str, str], to: str
) -> list[str]:
    """Put the smaller next word out; where the runs are afterwards."""
    i, j = at
    x, y = (_load_word(b, run, k) for run, k in zip(runs, at, strict=True))
    # One word behind a run may be read, but is not used.
    more_left, none_right = b.less(i, sizes[0]), b.emit(f"icmp sge i64 {j}, {sizes[1]}")
    smaller = b.emit(f"or i1 {none_right}, {b.emit(f'icmp ult i64 {x}, {y}')}")
    takes = b.emit(f"and i1 {more_left}, {smaller}")
    # By a mask, because a select may become a branch, which could not be predicted.
    mask = b.emit(f"sext i1 {takes} to i64")
    differs = b.emit(f"and i64 {b.emit(f'xor i64 {x}, {y}')}, {mask}")
    b.store("i64", b.emit(f"xor i64 {y}, {differs}"), to, 8)
    taken = b.sub("0", mask)
    return [b.add(i, taken), b.add(j, b.sub("1", taken))]


def _count_from_left(b: Builder, runs: tuple[str, str], sizes: tuple[str, str], wanted: str) -> str:
    """How many of the first `wanted` words of a merge are the left run's, by bisection."""
    least, most = b.max("0", b.sub(wanted, sizes[1])), b.min(wanted, sizes[0])
    with b.loop("0", "40", carry=[("i64", least), ("i64", most)]) as k:
        low, high = k.values
        probe = b.emit(f"lshr i64 {b.add(low, high)}, 1")
        goes_on = b.less(low, high)
        i = b.select(goes_on, "i64", probe, "0")
        j = b.select(goes_on, "i64", b.sub(b.sub(wanted, probe), 1), "0")
        few = b.emit(f"icmp ult i64 {_load_word(b, runs[0], i)}, {_load_word(b, runs[1], j)}")
        few = b.emit(f"and i1 {few}, {goes_on}")
        shrink = b.emit(f"and i1 {goes_on}, {b.emit(f'xor i1 {few}, true')}")
        k.next(b.select(few, "i64", b.add(probe, 1), low), b.select(shrink, "i64", probe, high))
    return k.values[0]


def _emit_mending(b: Builder, keys: Keys) -> None:
    with b.kernel("long_mend"):
        d = _start(b)
        words, other = _buffers(b, d)
        call_mend(b, (words, other, d.counts), d.n, d.source, _find_cut(b, keys, d))


def _emit_out(b: Builder, keys: Keys) -> None:
    with b.kernel("long_out"):
        d = _start(b)
        words = word_at(b, _buffers(b, d)[0], d.first)
        outs, places = (d.values, d.indices), ("%begin", "%end")
        odd = _odd_elements(b, d)[1]
        put_out(b, keys, words, d.source, outs, places, _find_cut(b, keys, d), odd)
