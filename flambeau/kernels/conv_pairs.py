"""Convolution of bfloat16 numbers by pairs (see bfloat_pairs): copies that form them.

The numbers of two channels at a pixel or at a tap of a filter (or, for the gradient of filters, of
two pixels) lie side by side; what has no partner is paired with zeros.
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import transpose
from .ir import Builder
from .plan import Fields

LANES = 16
PAIR = 4  # bytes
# Filters are packed as [group][panel][step][filter]. From place_at on, desc holds the step of each
# (pair of channels, tap).
PACK_FIELDS = Fields(
    "filters panels columns channels taps steps w_group w_filter w_channel group_bytes joined"
    " place_at index_at"
)
MOST_JOINED = (
    LANES - 1
)  # taps of channels that lie side by side: two vectors hold 16 pairs' numbers


def join_numbers(taps: int) -> tuple[int, ...]:
    """Desc numbers: for each tap that a run of 16 pairs can start at, where its numbers lie.

    A run of (pair of channels, tap) of a filter whose channels lie side by side starts anywhere;
    each entry is 32 numbers of 16 bits, places counted from the first of the run.
    """
    found = []
    for start in range(taps):
        places = []
        for pair, tap in (divmod(start + k, taps) for k in range(LANES)):
            first = 2 * pair * taps + tap - start
            places += [first, first + taps]
        packed = b"".join(place.to_bytes(2, "little") for place in places)
        found += [int.from_bytes(packed[k : k + 8], "little") for k in range(0, len(packed), 8)]
    return tuple(found)


_PAD = [
    ("ptr", "%to"),
    ("ptr", "%first"),  # the planes; null for zeros
    ("ptr", "%second"),
    ("i64", "%rows"),
    ("i64", "%pitch"),  # columns of a row of the copy
    ("i64", "%height"),
    ("i64", "%width"),
    ("i64", "%top"),  # source row and column of the copy's row and column 0
    ("i64", "%left"),
    ("i64", "%second_top"),  # the same in the second plane
    ("i64", "%second_left"),
]


def _load_pairs(b: Builder, first: str, second: str, masks: tuple[str, str]) -> str:
    """A vector of pairs, one number of each from either place."""
    picks = [k // 2 + LANES * (k % 2) for k in range(2 * LANES)]
    parts = [
        b.masked_load("i16", LANES, at, mask, 2)
        for at, mask in zip((first, second), masks, strict=True)
    ]
    pairs = b.shuffle(parts[0], parts[1], f"<{LANES} x i16>", picks)
    return b.emit(f"bitcast <{2 * LANES} x i16> {pairs} to <{LANES} x i32>")


def emit_pad_pairs(b: Builder) -> None:
    """Define `void pad_pairs(_PAD)`: two planes as one of pairs, with margins of zeros.

    Writes up to one vector beyond the plane's end.
    """
    vector, none = f"<{LANES} x i32>", "zeroinitializer"
    numbers = "<" + ", ".join(f"i32 {k}" for k in range(LANES)) + ">"
    with b.function("pad_pairs", _PAD, "internal", "noinline"):
        width = b.splat(b.emit("trunc i64 %width to i32"), "i32", LANES)
        sources = [
            (plane, top, left, b.emit(f"icmp ne ptr {plane}, null"))
            for plane, top, left in (
                ("%first", "%top", "%left"),
                ("%second", "%second_top", "%second_left"),
            )
        ]
        with b.loop("0", "%rows") as y, b.loop("0", "%pitch", LANES) as x:
            places, masks = [], []
            for plane, top, left, exists in sources:
                row, column = b.add(top, y.index), b.add(left, x.index)
                start = b.splat(b.emit(f"trunc i64 {column} to i32"), "i32", LANES)
                at = b.emit(f"add {vector} {start}, {numbers}")
                mask = b.emit(f"icmp ult {vector} {at}, {width}")
                inside = b.emit(f"and i1 {b.emit(f'icmp ult i64 {row}, %height')}, {exists}")
                masks.append(b.select(inside, f"<{LANES} x i1>", mask, none))
                places.append(b.offset(plane, b.mul(b.add(b.mul(row, "%width"), column), 2)))
            value = _load_pairs(b, places[0], places[1], (masks[0], masks[1]))
            to = b.mul(b.add(b.mul(y.index, "%pitch"), x.index), PAIR)
            b.store(vector, value, b.offset("%to", to), PAIR)


def copy_pairs(b: Builder, d: SimpleNamespace, at: SimpleNamespace, x: str, to: str) -> None:
    """Padded copies of the planes of a strip, [pair of channels][depth tap]."""
    plane = b.mul(b.mul(d.copy_rows, d.copy_pitch), PAIR)
    pairs = b.emit(f"udiv i64 {b.add(d.channels, 1)}, 2")
    top, left = b.sub(b.mul(at.row, d.stride_h), d.pad_h), b.sub("0", d.pad_w)
    with b.loop("0", pairs) as p, b.loop("0", d.depth_taps) as tap:
        number = b.add(b.mul(at.slice, d.slice_of_output), d.slice_start)
        number = b.add(number, b.mul(tap.index, d.slice_of_tap))
        inside = b.emit(f"icmp ult i64 {number}, {d.in_depth}")
        channel = b.mul(p.index, 2)
        first = b.offset(x, b.add(b.mul(channel, d.x_channel), b.mul(number, d.x_slice)))
        has_second = b.emit(f"and i1 {inside}, {b.less(b.add(channel, 1), d.channels)}")
        second = b.select(has_second, "ptr", b.offset(first, d.x_channel), "null")
        first = b.select(inside, "ptr", first, "null")
        copy = b.offset(to, b.mul(b.add(b.mul(p.index, d.depth_taps), tap.index), plane))
        b.do(
            f"call void @pad_pairs(ptr {copy}, ptr {first}, ptr {second}, i64 {d.copy_rows}, "
            f"i64 {d.copy_pitch}, i64 {d.in_height}, i64 {d.in_width}, i64 {top}, i64 {left}, "
            f"i64 {top}, i64 {left})"
        )


_TURN = [
    ("i64", "%depth"),
    ("ptr", "%first"),  # one number of each pair, side by side along the depth
    ("ptr", "%second"),  # the other; null for zeros
    ("i64", "%side"),  # bytes from one column to the next
    ("i64", "%count"),  # columns; those up to the panel's width become copies of the last
    ("ptr", "%to"),
    ("i64", "%width"),  # a multiple of a vector's lanes
]


def emit_turn_pairs(b: Builder) -> None:
    """Define `void turn_pairs(_TURN)`: to[depth][width] of pairs, squares turned in registers."""
    vector = f"<{LANES} x i32>"
    with b.function("turn_pairs", _TURN, "internal", "noinline"):
        paired = b.emit("icmp ne ptr %second, null")
        other = b.select(paired, "ptr", "%second", "%first")
        last = b.sub("%count", 1)
        with b.loop("0", "%width", LANES) as m, b.loop("0", "%depth", LANES) as t:
            left = b.sub("%depth", t.index)
            mask = b.lanes_below(left, LANES)
            masks = (mask, b.select(paired, f"<{LANES} x i1>", mask, "zeroinitializer"))
            rows = []
            for r in range(LANES):
                place = b.mul(b.min(b.add(m.index, r), last), "%side")
                place = b.add(place, b.mul(t.index, 2))
                rows.append(
                    _load_pairs(b, b.offset("%first", place), b.offset(other, place), masks)
                )
            for r, row in enumerate(transpose(b, rows, vector, LANES)):
                with b.when(b.less(str(r), left)):
                    place = b.add(b.mul(b.add(t.index, r), "%width"), m.index)
                    b.store(vector, row, b.offset("%to", b.mul(place, PAIR)), PAIR)


def emit_filter_pairs(b: Builder) -> None:
    """Task: one panel of filters of one group, 16 (pair of channels, tap) at a time."""
    d = PACK_FIELDS.load(b)
    joined = b.emit(f"icmp ne i64 {d.joined}, 0")
    with b.loop("%begin", "%end") as task:
        group, panel = b.divide(task.index, d.panels)
        j = b.mul(panel, d.columns)
        count = b.min(d.columns, b.sub(d.filters, j))
        width = b.emit(f"and i64 {b.add(count, LANES - 1)}, {-LANES}")
        from_ = b.add(b.mul(group, d.w_group), b.mul(j, d.w_filter))
        to = b.add(b.mul(group, d.group_bytes), b.mul(b.mul(j, d.steps), PAIR))
        at = SimpleNamespace(
            from_=b.offset(b.argument(2), from_), count=count, to=b.offset(b.argument(4), to),
            width=width, row_bytes=b.mul(width, PAIR),
        )  # fmt: skip
        b.choose(joined, lambda at=at: _turn_joined(b, d, at), lambda at=at: _turn_apart(b, d, at))


def _turn_joined(b: Builder, d: SimpleNamespace, at: SimpleNamespace) -> None:
    """All channels of a filter lie side by side: pick pairs from what two vectors hold of it."""
    half = f"<{2 * LANES} x i16>"
    numbers = b.mul(d.channels, d.taps)
    with b.loop("0", at.width, LANES) as m:
        starts = _filters_from(b, d, at, m.index)
        with b.loop("0", d.steps, LANES) as q:
            pair, tap = b.divide(q.index, d.taps)
            first = b.add(b.mul(b.mul(pair, 2), d.taps), tap)
            left = b.sub(numbers, first)
            masks = [b.lanes_below(b.sub(left, k), 2 * LANES) for k in (0, 2 * LANES)]
            picks = b.add(d.index_at, b.mul(tap, LANES * PAIR // 8))
            picks = b.load(half, b.offset("%desc", picks, "i64"), 8)
            rows = []
            for start in starts:
                place = b.offset(start, b.mul(first, 2))
                low, high = (
                    b.masked_load("i16", 2 * LANES, b.offset(place, 4 * LANES * k), mask, 2)
                    for k, mask in enumerate(masks)
                )
                name = "llvm.x86.avx512.vpermi2var.hi.512"
                pairs = b.intrinsic(name, half, (half, low), (half, picks), (half, high))
                rows.append(b.emit(f"bitcast {half} {pairs} to <{LANES} x i32>"))
            _put(b, d, at, m.index, rows, q.index, b.sub(d.steps, q.index))


def _turn_apart(b: Builder, d: SimpleNamespace, at: SimpleNamespace) -> None:
    """Any channels: the taps of two of them."""
    pairs = b.emit(f"udiv i64 {b.add(d.channels, 1)}, 2")
    with b.loop("0", pairs) as pair, b.loop("0", at.width, LANES) as m:
        starts = _filters_from(b, d, at, m.index)
        channel = b.mul(pair.index, 2)
        paired = b.less(b.add(channel, 1), d.channels)
        further = b.select(paired, "i64", d.w_channel, "0")
        with b.loop("0", d.taps, LANES) as t:
            left = b.sub(d.taps, t.index)
            mask = b.lanes_below(left, LANES)
            second = b.select(paired, f"<{LANES} x i1>", mask, "zeroinitializer")
            place = b.add(b.mul(channel, d.w_channel), b.mul(t.index, 2))
            rows = []
            for start in starts:
                first = b.offset(start, place)
                rows.append(_load_pairs(b, first, b.offset(first, further), (mask, second)))
            _put(b, d, at, m.index, rows, b.add(b.mul(pair.index, d.taps), t.index), left)


def _filters_from(b: Builder, d: SimpleNamespace, at: SimpleNamespace, m: str) -> list[str]:
    """Where 16 filters start; those beyond the panel's are its last again."""
    last = b.sub(at.count, 1)
    return [b.offset(at.from_, b.mul(b.min(b.add(m, r), last), d.w_filter)) for r in range(LANES)]


def _put(
    b: Builder, d: SimpleNamespace, at: SimpleNamespace, m: str, rows: list[str], q: str, left: str
) -> None:
    """Pairs of 16 filters to the steps they belong to."""
    vector = f"<{LANES} x i32>"
    to = b.offset(at.to, b.mul(m, PAIR))
    places = b.offset("%desc", b.add(d.place_at, q), "i64")
    for r, row in enumerate(transpose(b, rows, vector, LANES)):
        with b.when(b.less(str(r), left)):
            step = b.load("i64", b.offset(places, r, "i64"), 8)
            b.store(vector, row, b.offset(to, b.mul(step, at.row_bytes)), PAIR)
