"""Filter gradient for few filters a group: dot products along rows of pixels.

Where the filters of a group do not fill a vector, pixels do: a tile holds all filters times some
taps, each a vector of partial sums over the pixels of a row, added across only at the end.
"""

from __future__ import annotations

from types import SimpleNamespace

from .conv_strip import emit_pad
from .conv_weight import CHUNK_FIELDS, decode_chunk
from .element import Element, Tail, transpose_sum
from .ir import Builder
from .plan import Fields, KernelSource, round_up
from .target import Target

# Distances in bytes. Row table: byte offsets (input, gradient) of each row of pixels of a chunk.
FIELDS = Fields(CHUNK_FIELDS + " tiles tap_at row_at scratch_at scratch")
TOTAL_FIELDS = Fields("steps groups parts tiles")


def tile_taps(target: Target, filters: int) -> int:
    """Taps of a tile: as many as registers allow beside the filters' gradients."""
    registers = 32 if target.name in ("avx512", "neon") else 16
    return max(1, min(12, (registers - 4 - filters) // (filters + (registers == 16))))


def tile_bytes(element: Element, filters: int, taps: int) -> int:
    """Bytes of a tile's sums, whole vectors."""
    return round_up(filters * taps, element.compute.lanes) * element.compute.size


def sources(dtype: str, target: Target, filters: int) -> tuple[KernelSource, KernelSource]:
    """Sums of the parts, then their total; args: dw, x, dy, workspace."""
    key = f"conv_weight_dot:{dtype}:{target.name}:{filters}"

    def build() -> str:
        return _build(dtype, target, filters)

    return KernelSource(key, build, "weight_dots"), KernelSource(key, build, "weight_total")


def _build(dtype: str, target: Target, filters: int) -> str:
    b = Builder(target)
    outer = Element(dtype, target)
    taps = tile_taps(target, filters)
    _emit_tile(b, outer, filters, taps)
    emit_pad(b, outer)
    with b.kernel("weight_dots"):
        _Parts(b, outer, filters, taps).emit()
    with b.kernel("weight_total"):
        _emit_total(b, outer, filters, taps)
    return b.module()


_TILE = [
    ("ptr", "%x"),
    ("ptr", "%taps"),  # byte offsets of the tile's taps
    ("ptr", "%dy"),
    ("i64", "%channel"),  # bytes from one filter's gradient to the next
    ("ptr", "%rows"),  # pairs of byte offsets
    ("i64", "%count"),
    ("i64", "%columns"),
    ("ptr", "%sums"),
    ("i1", "%later"),  # add to the sums
]


def _emit_tile(b: Builder, outer: Element, filters: int, taps: int) -> None:
    """Define `void dots(_TILE)`: sums[tap, filter] of all rows of pixels."""
    inner = outer.compute
    with b.function("dots", _TILE, "internal", "noinline"):
        x_at = [b.offset("%x", b.load("i64", b.offset("%taps", q, "i64"), 8)) for q in range(taps)]
        dy_at = [b.offset("%dy", b.mul(str(m), "%channel")) for m in range(filters)]
        start = [(inner.vector, inner.zero)] * (filters * taps)
        whole = b.emit(f"and i64 %columns, {-inner.lanes}")
        left = b.sub("%columns", whole)
        x_tail, dy_tail = inner.tail(b, left), outer.tail(b, left)
        has_tail = b.less("0", left)

        def step(
            offsets: tuple[str, str], sums: list[str], tails: tuple[Tail | None, Tail | None]
        ) -> list[str]:
            grads = [outer.load(b, b.offset(at, offsets[1]), tails[1]) for at in dy_at]
            out = []
            for q, at in enumerate(x_at):
                value = inner.load(b, b.offset(at, offsets[0]), tails[0])
                for m, grad in enumerate(grads):
                    out += inner.multiply_add(b, [grad], value, [sums[q * filters + m]])
            return out

        with b.loop("0", "%count", carry=start) as row:
            entry = b.offset("%rows", b.mul(row.index, 16))
            x_row, dy_row = b.load("i64", entry, 8), b.load("i64", b.offset(entry, 8), 8)

            def offsets(column: str, x_row: str = x_row, dy_row: str = dy_row) -> tuple[str, str]:
                return (
                    b.add(x_row, b.mul(column, inner.size)),
                    b.add(dy_row, b.mul(column, outer.size)),
                )

            carry = [(inner.vector, v) for v in row.values]
            with b.loop("0", whole, inner.lanes, carry=carry) as c:
                c.next(*step(offsets(c.index), c.values, (None, None)))
            sums = c.values
            row.next(
                *b.choose(
                    has_tail,
                    lambda: step(offsets(whole), sums, (x_tail, dy_tail)),
                    lambda: list(sums),
                    [inner.vector] * len(sums),
                )
            )
        _store_sums(b, inner, row.values)


def _store_sums(b: Builder, inner: Element, sums: list[str]) -> None:
    """Totals across the lanes of each vector, side by side, added to what is there if so asked."""
    lanes = inner.lanes
    for k in range(0, len(sums), lanes):
        group = sums[k : k + lanes]
        total = transpose_sum(b, inner, group)
        at = b.offset("%sums", k * inner.size)
        before = b.select("%later", inner.vector, inner.load(b, at), inner.zero)
        inner.store(b, inner.add(b, total, before), at)


class _Parts:
    def __init__(self, b: Builder, outer: Element, filters: int, taps: int) -> None:
        self.b, self.outer, self.inner = b, outer, outer.compute
        self.taps, self.tile_bytes = taps, tile_bytes(outer, filters, taps)
        self.d = d = FIELDS.load(b)
        self.x, self.dy, self.sums = (b.argument(k) for k in (1, 2, 3))
        self.scratch = b.offset(self.sums, b.add(d.scratch_at, b.mul("%thread", d.scratch)))

    def emit(self) -> None:
        """Task: one part of the chunks of one group."""
        b, d = self.b, self.d
        with b.loop("%begin", "%end") as task:
            part, group = b.divide(task.index, d.groups)
            first = b.emit(f"udiv i64 {b.mul(part, d.chunks)}, {d.parts}")
            last = b.emit(f"udiv i64 {b.mul(b.add(part, 1), d.chunks)}, {d.parts}")
            sums = b.offset(self.sums, b.mul(b.mul(task.index, d.tiles), self.tile_bytes))
            with b.loop(first, last) as chunk:
                later = b.emit(f"icmp ne i64 {chunk.index}, {first}")
                self._run_chunk(decode_chunk(b, d, chunk.index), group, sums, later)

    def _run_chunk(self, at: SimpleNamespace, group: str, sums: str, later: str) -> None:
        b, d = self.b, self.d
        x = b.offset(self.x, b.add(b.mul(at.image, d.x_image), b.mul(group, d.x_group)))
        in_place = b.emit(f"icmp ne i64 {d.in_place}, 0")
        base = b.choose(
            in_place, lambda: [self._in_place(at, x)], lambda: [self._copy_input(at, x)], ["ptr"]
        )[0]
        dy = b.add(b.mul(at.image, d.y_image), b.mul(group, d.y_group))
        row = b.mul(b.mul(at.row, d.out_columns), self.outer.size)
        dy = b.offset(self.dy, b.add(b.add(dy, b.mul(at.slice, d.y_slice)), row))
        rows = b.offset("%desc", d.row_at, "i64")
        count = b.mul(at.count, at.rows)
        with b.loop("0", d.tiles) as tile:
            taps = b.offset("%desc", b.add(d.tap_at, b.mul(tile.index, self.taps)), "i64")
            to = b.offset(sums, b.mul(tile.index, self.tile_bytes))
            b.do(
                f"call void @dots(ptr {base}, ptr {taps}, ptr {dy}, i64 {d.y_channel}, "
                f"ptr {rows}, i64 {count}, i64 {d.out_columns}, ptr {to}, i1 {later})"
            )

    def _in_place(self, at: SimpleNamespace, x: str) -> str:
        b, d = self.b, self.d
        slice_ = b.mul(b.mul(at.slice, d.slice_of_output), d.x_slice)
        row = b.mul(b.mul(b.mul(at.row, d.stride_h), d.in_width), self.outer.size)
        return b.offset(x, b.add(slice_, row))

    def _copy_input(self, at: SimpleNamespace, x: str) -> str:
        copy_planes(b=self.b, d=self.d, at=at, x=x, to=self.scratch, size=self.inner.size)
        return self.scratch


def copy_planes(b: Builder, d, at: SimpleNamespace, x: str, to: str, size: int) -> None:
    """Padded copies of the input planes of a chunk, [image][channel][depth tap]."""
    plane = b.mul(b.mul(d.copy_rows, d.copy_pitch), size)
    planes = b.mul(d.channels, d.depth_taps)
    first = b.sub(b.mul(at.row, d.stride_h), d.pad_h)
    shift = b.sub("0", d.pad_w)
    with b.loop("0", at.count) as image, b.loop("0", planes) as p:
        channel, tap = b.divide(p.index, d.depth_taps)
        number = b.add(b.mul(at.slice, d.slice_of_output), d.slice_start)
        number = b.add(number, b.mul(tap, d.slice_of_tap))
        inside = b.emit(f"icmp ult i64 {number}, {d.in_depth}")
        place = b.add(b.mul(channel, d.x_channel), b.mul(number, d.x_slice))
        place = b.offset(x, b.add(place, b.mul(image.index, d.x_image)))
        place = b.select(inside, "ptr", place, "null")
        copy = b.offset(to, b.mul(b.add(b.mul(image.index, planes), p.index), plane))
        b.do(
            f"call void @pad(ptr {copy}, ptr {place}, i64 {d.copy_rows}, i64 {d.copy_pitch}, "
            f"i64 {first}, i64 1, i64 {d.in_height}, i64 {d.in_width}, i64 {shift}, i64 1, i64 0)"
        )


def _emit_total(b: Builder, outer: Element, filters: int, taps: int) -> None:
    """Task: one tile of one group: dw[filter, step] = total over parts."""
    inner, lanes = outer.compute, outer.compute.lanes
    size = tile_bytes(outer, filters, taps)
    d = TOTAL_FIELDS.load(b)
    dw, sums = b.argument(0), b.argument(3)
    part_bytes = b.mul(b.mul(d.groups, d.tiles), size)
    buffer = b.stack(f"[{size} x i8]")
    with b.loop("%begin", "%end") as task:
        group, tile = b.divide(task.index, d.tiles)
        for at in range(0, size, lanes * inner.size):
            from_ = b.offset(sums, b.add(b.mul(task.index, size), at))
            with b.loop("0", d.parts, carry=[(inner.vector, inner.zero), ("ptr", from_)]) as p:
                total, here = p.values
                p.next(inner.add(b, total, inner.load(b, here)), b.offset(here, part_bytes))
            inner.store(b, p.values[0], b.offset(buffer, at))
        k0 = b.mul(tile, taps)
        count = b.min(str(taps), b.sub(d.steps, k0))
        with b.loop("0", count) as k:
            for m in range(filters):
                number = b.add(b.mul(group, filters), m)
                to = b.add(b.mul(number, d.steps), b.add(k0, k.index))
                place = b.mul(b.add(b.mul(k.index, filters), m), inner.size)
                parts = inner.load_parts(b, b.offset(buffer, place))
                outer.store_parts(b, parts, b.offset(dw, b.mul(to, outer.size)))
