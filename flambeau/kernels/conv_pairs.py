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
# Filters are packed as [group][panel][step][filter]; a step is (block, tap). After these, desc
# holds for each block its byte offset in the filter and whether it has a second channel.
PACK_FIELDS = Fields("filters panels blocks depth w_group w_filter group_bytes second columns")
BLOCK = 2

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
    """Task: one panel of filters of one group."""
    d = PACK_FIELDS.load(b)
    filters, workspace = b.argument(2), b.argument(4)
    steps = b.mul(d.blocks, d.depth)
    with b.loop("%begin", "%end") as task:
        group, panel = b.divide(task.index, d.panels)
        j = b.mul(panel, d.columns)
        count = b.min(d.columns, b.sub(d.filters, j))
        width = b.emit(f"and i64 {b.add(count, LANES - 1)}, {-LANES}")
        from_ = b.offset(filters, b.add(b.mul(group, d.w_group), b.mul(j, d.w_filter)))
        to = b.add(b.mul(group, d.group_bytes), b.mul(b.mul(j, steps), PAIR))
        to = b.offset(workspace, to)
        block_bytes = b.mul(b.mul(d.depth, width), PAIR)
        with b.loop("0", d.blocks) as block:
            entry = b.add(b.mul(block.index, BLOCK), len(PACK_FIELDS.names))
            start = b.offset(from_, b.size(entry))
            paired = b.emit(f"icmp ne i64 {b.size(b.add(entry, 1))}, 0")
            second = b.select(paired, "ptr", b.offset(start, d.second), "null")
            b.do(
                f"call void @turn_pairs(i64 {d.depth}, ptr {start}, ptr {second}, "
                f"i64 {d.w_filter}, i64 {count}, "
                f"ptr {b.offset(to, b.mul(block.index, block_bytes))}, i64 {width})"
            )
