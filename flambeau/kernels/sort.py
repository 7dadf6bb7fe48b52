"""Sorting and selecting along lines: kernels and plans.

Lines are dense, one after the other. A task takes a line from its elements to its result; see
`sort_long` for lines that several threads share. Results do not depend on the number of threads:
words of a line all differ.
"""

from __future__ import annotations

from .ir import Builder
from .plan import Fields, KernelSource, Phase, Plan, ceil_div, round_up
from .sort_filter import FEWER, emit_collect
from .sort_keys import Keys, emit_key_range, emit_pack, emit_shift
from .sort_line import FIXED, MEDIAN, NANMEDIAN, call_collect, finish, wanted_rank
from .sort_long import emit_long
from .sort_words import COUNTS, RANKED, SLACK, emit_functions, word_at
from .target import Target

# A line has n elements; the result are `span` of them from rank `first`, in the order that flip
# (0 or -1) gives. A thread has two buffers of `room` words.
LINE_FIELDS = Fields("n first span flip mode room")

LONG = 1 << 15  # elements of a line that is worth several threads

__all__ = ["FIXED", "LONG", "MEDIAN", "NANMEDIAN", "plan_lines", "source"]


def plan_lines(
    dtype: str, lines: int, n: int, ranks: tuple[int, int], flip: bool, mode: int, threads: int,
    target: Target,
) -> Plan:  # fmt: skip
    """Elements of ranks[0] <= rank < ranks[1]; args values, indices, source, workspace."""
    first, last = ranks
    room = round_up(n + SLACK, 8)
    desc = LINE_FIELDS.pack(
        n=n, first=first, span=last - first, flip=-int(flip), mode=mode, room=room
    )
    grain = ceil_div(lines, 4 * threads) if lines * n > 4096 else lines
    kernel = source(dtype, "sort_lines", target)
    return Plan((Phase(kernel, desc, lines, grain),), 8 * threads * _line_words(room))


def source(dtype: str, symbol: str, target: Target) -> KernelSource:
    """One of the kernels for a type; all are in one module."""
    return KernelSource(f"sort:{dtype}:{target.name}", lambda: _build(dtype, target), symbol)


def _line_words(room: int) -> int:
    return 2 * room + COUNTS


# ---- one line ------------------------------------------------------------------------------------


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    keys = Keys(b, dtype)
    emit_functions(b, keys)
    emit_collect(b, keys)
    with b.kernel("sort_lines"):
        d = LINE_FIELDS.load(b)
        values, indices, elements, work = (b.argument(k) for k in range(4))
        a = word_at(b, work, b.mul("%thread", b.add(b.mul(d.room, 2), COUNTS)))
        other = word_at(b, a, d.room)
        counts = word_at(b, other, d.room)
        with b.loop("%begin", "%end") as line:
            line_source = b.offset(elements, b.mul(b.mul(line.index, d.n), keys.size))
            cut = _find_cut(b, keys, line_source, d)
            buffers = (a, other, counts)
            n, nans, odd = _find_words(b, keys, line_source, buffers, d, cut)
            first = wanted_rank(b, d, nans)
            place = b.mul(line.index, d.span)
            outs = (b.offset(values, b.mul(place, keys.size)), word_at(b, indices, place))
            finish(b, keys, buffers, line_source, d, cut, (n, first), outs, odd)
    emit_long(b, keys)
    return b.module()


def _find_words(b: Builder, keys: Keys, line_source: str, buffers, d, cut) -> list[str]:
    """The words that may be wanted: how many; how many elements are NaN, and odd."""
    last = b.add(d.first, d.span)
    few = b.emit(f"icmp sle i64 {b.mul(last, FEWER)}, {d.n}")
    few = b.emit(f"and i1 {few}, {b.emit(f'icmp eq i64 {d.mode}, {FIXED}')}")
    few = b.emit(f"and i1 {few}, {b.emit(f'icmp sgt i64 {d.n}, {RANKED}')}")
    found = b.stack("i64")

    def collect() -> list[str]:
        call_collect(b, line_source, buffers, ("0", d.n), cut, last, found)
        return [b.load("i64", found, 8), "0", "1"]

    def pack() -> list[str]:
        return [d.n, *emit_pack(b, keys, line_source, buffers[0], "0", d.n, cut)]

    return b.choose(few, collect, pack, ["i64"] * 3)


def _find_cut(b: Builder, keys: Keys, line_source: str, d) -> tuple[str, str, str]:
    if not keys.wide:
        return d.flip, "0", "0"
    least, greatest = emit_key_range(b, keys, line_source, "0", d.n, d.flip)
    return d.flip, least, emit_shift(b, least, greatest)
