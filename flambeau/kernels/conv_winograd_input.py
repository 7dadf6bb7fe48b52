"""Inputs of Winograd's tiles: fetched with channels along vectors, then transformed.

Both the convolution's input (squares that overlap, with margins) and the gradient of its output
(squares side by side, for the filter's gradient) come this way.
"""

from __future__ import annotations

from types import SimpleNamespace

from . import winograd
from .element import Element, transpose
from .ir import Builder
from .winograd import OUTPUTS, PRODUCTS, Arithmetic

# Distances in bytes. Lines are vectors: one pixel of some channels. What a strip of tiles is:
STRIPS = (
    " planes plane_block depth strips strip_tiles tile_rows column_tasks row_tiles"
    " dilate_h dilate_w"
)
# And where its pixels are; tables start at ..._at.
PIXELS = (
    " in_depth in_height in_width pad_h pad_w in_pitch in_by_row input_step column_input"
    " blocks block_at tile_at pixel_at"
)
BLOCK = 3  # numbers of a block of channels: channels, depth tap, byte offset of the first
TILE = 2  # numbers of a tile of a row: byte offsets in the input and in the output

_FETCH = [
    ("ptr", "%from"),  # first pixel of the first channel
    ("i64", "%channel"),
    ("i64", "%count"),  # channels
    ("i64", "%runs"),
    ("i64", "%run_from"),  # bytes from one run of pixels to the next
    ("i64", "%run_to"),
    ("i64", "%pixels"),  # of a run
    ("ptr", "%places"),  # where the pixels of a run go
    ("ptr", "%to"),
]
_TRANSFORM = [
    ("ptr", "%from"),  # first line of the tile's square
    ("i64", "%row"),
    ("i64", "%column"),
    ("ptr", "%to"),
    ("i64", "%place"),  # bytes from one result to the next
]
_FAR = ("i64", "%far")  # whether results are for other threads, whose cores are far apart


def emit_fetch(b: Builder, outer: Element) -> None:
    """Define `void fetch(_FETCH)`: pixels, channels along vectors, stored where %places says."""
    inner, lanes, line = outer.compute, outer.compute.lanes, outer.target.vector_bytes
    with b.function("fetch", _FETCH, "internal", "noinline"):
        # Channels beyond the last are copies of it: nothing is multiplied with them.
        last = b.sub("%count", 1)
        channels = [b.offset("%from", b.mul(b.min(str(r), last), "%channel")) for r in range(lanes)]
        with b.loop("0", "%runs") as run, b.loop("0", "%pixels", lanes) as p:
            left = b.sub("%pixels", p.index)
            start = b.add(b.mul(run.index, "%run_from"), b.mul(p.index, outer.size))
            tail = outer.tail(b, left)
            rows = [outer.load(b, b.offset(at, start), tail) for at in channels]
            to = b.offset("%to", b.mul(run.index, "%run_to"))
            for r, value in enumerate(transpose(b, rows, inner.vector, lanes)):
                with b.when(b.less(str(r), left)):
                    place = b.load("i64", b.offset("%places", b.add(p.index, r), "i64"), 8)
                    b.store(inner.vector, value, b.offset(to, place), line)


class Input:
    """The inputs of strips of tiles, or of gradients of outputs.

    `far`: an i64, see Builder.is_far, where other threads read the factors.
    """

    def __init__(
        self, b: Builder, outer: Element, height: int, gradient: bool = False, far: str = "0"
    ) -> None:
        self.far = far
        self.b, self.outer, self.inner = b, outer, outer.compute
        self.outputs = OUTPUTS if height > 1 else 1
        self.columns = OUTPUTS if gradient else PRODUCTS
        self.rows = self.columns if height > 1 else 1
        self.places = (PRODUCTS if height > 1 else 1) * PRODUCTS
        self.name = "transform_gradient" if gradient else "transform_input"
        self.line = outer.target.vector_bytes

    def emit_transform(self) -> None:
        """Define `void NAME(_TRANSFORM)`: the factors of one tile."""
        b, e = self.b, self.inner
        transform = getattr(winograd, self.name)
        with b.function(self.name, [*_TRANSFORM, _FAR], "internal", "noinline"):
            far = b.is_far(_FAR[1])
            lines = [b.offset("%from", b.mul(str(r), "%row")) for r in range(self.rows)]
            steps = [b.mul(str(c), "%column") for c in range(self.columns)]

            def load(r: int, c: int) -> str:
                return b.load(e.vector, b.offset(lines[r], steps[c]), self.line)

            made = winograd.along_both(Arithmetic(b, e), transform, self.rows, self.columns, load)
            for k, value in enumerate(made):
                at = b.offset("%to", b.mul(str(k), "%place"))
                b.hand_over(e.vector, value, at, self.line, far)

    def find_strip(
        self, d: SimpleNamespace, strip: str, column: str, whole: bool = False
    ) -> SimpleNamespace:
        """Rows and columns of input that the tiles of a strip cover.

        A `whole` strip has all its rows of tiles, even where they lie below the last.
        """
        b = self.b
        s = SimpleNamespace(first_tile=b.mul(strip, d.strip_tiles))
        left = b.sub(d.tile_rows, s.first_tile)
        s.tile_rows = d.strip_tiles if whole else b.min(d.strip_tiles, left)
        step = b.mul(d.dilate_h, self.outputs)
        s.y = b.sub(b.mul(s.first_tile, step), d.pad_h)
        s.x = b.sub(b.mul(column, d.column_input), d.pad_w)
        margin = b.mul(d.dilate_h, self.rows - self.outputs)
        s.rows = b.add(b.mul(s.tile_rows, step), margin)
        s.top = b.min(b.max(b.sub("0", s.y), "0"), s.rows)
        s.bottom = b.max(b.min(b.sub(d.in_height, s.y), s.rows), s.top)
        s.left = b.min(b.max(b.sub("0", s.x), "0"), d.in_pitch)
        s.right = b.max(b.min(b.sub(d.in_width, s.x), d.in_pitch), s.left)
        return s

    def clear_margins(self, d: SimpleNamespace, s: SimpleNamespace, to: str) -> None:
        """Zeros around the pixels: they stay while channels and images come and go."""
        b = self.b
        with b.loop("0", s.rows) as r:
            row = b.offset(to, b.mul(b.mul(r.index, d.in_pitch), self.line))
            above = b.less(r.index, s.top)
            outside = b.emit(f"or i1 {above}, {b.emit(f'icmp sge i64 {r.index}, {s.bottom}')}")
            end = b.select(outside, "i64", d.in_pitch, s.left)
            begin = b.select(outside, "i64", d.in_pitch, s.right)
            for low, high in (("0", end), (begin, d.in_pitch)):
                with b.loop(low, high) as c:
                    at = b.offset(row, b.mul(c.index, self.line))
                    b.store(self.inner.vector, "zeroinitializer", at, self.line)

    def fetch_plane(
        self, d: SimpleNamespace, s: SimpleNamespace, from_: str, channel: str, count: str, to: str
    ) -> None:
        """Fill the strip from the plane at `from_`."""
        b, size = self.b, self.outer.size
        by_row = b.emit(f"icmp ne i64 {d.in_by_row}, 0")
        rows, columns = b.sub(s.bottom, s.top), b.sub(s.right, s.left)
        runs = b.select(by_row, "i64", rows, "1")
        pixels = b.select(by_row, "i64", columns, b.mul(rows, columns))
        start = b.add(b.mul(b.add(s.y, s.top), d.in_width), b.add(s.x, s.left))
        to = b.offset(to, b.mul(b.add(b.mul(s.top, d.in_pitch), s.left), self.line))
        b.do(
            f"call void @fetch(ptr {b.offset(from_, b.mul(start, size))}, i64 {channel}, "
            f"i64 {count}, i64 {runs}, i64 {b.mul(d.in_width, size)}, "
            f"i64 {b.mul(d.in_pitch, self.line)}, i64 {pixels}, "
            f"ptr {b.offset('%desc', d.pixel_at, 'i64')}, ptr {to})"
        )

    def transform_plane(
        self, d: SimpleNamespace, s: SimpleNamespace, from_: str, to: str, place: str
    ) -> None:
        """The factors of all tiles of the strip."""
        b = self.b
        row = b.mul(b.mul(d.dilate_h, d.in_pitch), self.line)
        column = b.mul(d.dilate_w, self.line)
        with b.loop("0", s.tile_rows) as r, b.loop("0", d.row_tiles) as t:
            offset = b.size(b.add(d.tile_at, b.mul(t.index, TILE)))
            at = b.offset(from_, b.add(b.mul(r.index, d.input_step), offset))
            number = b.add(b.mul(r.index, d.row_tiles), t.index)
            into = b.offset(to, b.mul(number, self.line))
            b.do(
                f"call void @{self.name}(ptr {at}, i64 {row}, i64 {column}, ptr {into}, "
                f"i64 {place}, i64 {self.far})"
            )

    def clear_plane(self, d: SimpleNamespace, s: SimpleNamespace, to: str, place: str) -> None:
        """Factors of tiles of a plane that is not there."""
        b = self.b
        tiles = b.mul(s.tile_rows, d.row_tiles)
        with b.loop("0", str(self.places)) as k, b.loop("0", tiles) as t:
            at = b.add(b.mul(k.index, place), b.mul(t.index, self.line))
            b.store(self.inner.vector, "zeroinitializer", b.offset(to, at), self.line)
