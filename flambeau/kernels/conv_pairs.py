"""Convolution of bfloat16 numbers by pairs of channels (see bfloat_pairs): copies that form them.

The numbers of two channels at a pixel, or at a tap of a filter, lie side by side; an odd last
channel is paired with zeros.
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
    ("i64", "%top"),  # source row of the copy's row 0
    ("i64", "%height"),
    ("i64", "%width"),
    ("i64", "%shift"),  # source column of the copy's column 0
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
        exists = [b.emit(f"icmp ne ptr {plane}, null") for plane in ("%first", "%second")]
        with b.loop("0", "%rows") as y, b.loop("0", "%pitch", LANES) as x:
            row = b.add("%top", y.index)
            inside = b.emit(f"icmp ult i64 {row}, %height")
            column = b.add(x.index, "%shift")
            start = b.splat(b.emit(f"trunc i64 {column} to i32"), "i32", LANES)
            at = b.emit(f"add {vector} {start}, {numbers}")
            mask = b.emit(f"icmp ult {vector} {at}, {width}")
            masks = [
                b.select(b.emit(f"and i1 {inside}, {one}"), f"<{LANES} x i1>", mask, none)
                for one in exists
            ]
            from_ = b.mul(b.add(b.mul(row, "%width"), column), 2)
            planes = [b.offset(plane, from_) for plane in ("%first", "%second")]
            value = _load_pairs(b, planes[0], planes[1], (masks[0], masks[1]))
            to = b.mul(b.add(b.mul(y.index, "%pitch"), x.index), PAIR)
            b.store(vector, value, b.offset("%to", to), PAIR)


def copy_pairs(b: Builder, d: SimpleNamespace, at: SimpleNamespace, x: str, to: str) -> None:
    """Padded copies of the planes of a strip, [pair of channels][depth tap]."""
    plane = b.mul(b.mul(d.copy_rows, d.copy_pitch), PAIR)
    pairs = b.emit(f"udiv i64 {b.add(d.channels, 1)}, 2")
    top = b.sub(b.mul(at.row, d.stride_h), d.pad_h)
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
            f"i64 {d.copy_pitch}, i64 {top}, i64 {d.in_height}, i64 {d.in_width}, "
            f"i64 {b.sub('0', d.pad_w)})"
        )


def emit_filter_pairs(b: Builder) -> None:
    """Task: one panel of filters of one group, squares of filters and taps turned in registers."""
    d = PACK_FIELDS.load(b)
    filters, workspace = b.argument(2), b.argument(4)
    vector = f"<{LANES} x i32>"
    steps = b.mul(d.blocks, d.depth)
    with b.loop("%begin", "%end") as task:
        group, panel = b.divide(task.index, d.panels)
        j = b.mul(panel, d.columns)
        count = b.min(d.columns, b.sub(d.filters, j))
        width = b.emit(f"and i64 {b.add(count, LANES - 1)}, {-LANES}")
        from_ = b.offset(filters, b.add(b.mul(group, d.w_group), b.mul(j, d.w_filter)))
        to = b.add(b.mul(group, d.group_bytes), b.mul(b.mul(j, steps), PAIR))
        to = b.offset(workspace, to)
        with (
            b.loop("0", d.blocks) as block,
            b.loop("0", width, LANES) as m,
            b.loop("0", d.depth, LANES) as t,
        ):
            entry = b.add(b.mul(block.index, BLOCK), len(PACK_FIELDS.names))
            left = b.sub(d.depth, t.index)
            mask = b.lanes_below(left, LANES)
            paired = b.emit(f"icmp ne i64 {b.size(b.add(entry, 1))}, 0")
            second = b.select(paired, f"<{LANES} x i1>", mask, "zeroinitializer")
            start = b.offset(b.offset(from_, b.size(entry)), b.mul(t.index, 2))
            last = b.sub(count, 1)
            rows = []
            for r in range(LANES):
                place = b.offset(start, b.mul(b.min(b.add(m.index, r), last), d.w_filter))
                rows.append(_load_pairs(b, place, b.offset(place, d.second), (mask, second)))
            step = b.add(b.mul(block.index, d.depth), t.index)
            for r, row in enumerate(transpose(b, rows, vector, LANES)):
                with b.when(b.less(str(r), left)):
                    place = b.add(b.mul(b.add(step, r), width), m.index)
                    b.store(vector, row, b.offset(to, b.mul(place, PAIR)), PAIR)
