"""Gradient of a convolution with respect to its filter, bfloat16 pixels two at a time.

The sum over pixels is conv_weight's, but each step multiplies a pair of pixels (see bfloat_pairs):
those at one place of two images, or of the two halves of the last of an odd number of images. Both
the input and the output's gradient are copied with the numbers of a pair side by side.
"""

from __future__ import annotations

from types import SimpleNamespace

from . import conv_weight
from .bfloat_pairs import FEATURE, Pairs, PairSums
from .conv_pairs import emit_pad_pairs, emit_turn_pairs
from .conv_weight import emit_total
from .element import Element
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target
from .tile import INDEXED, Operands, emit_tile

FIELDS = Fields(" ".join(conv_weight.FIELDS.names) + " chunk_at stride_w")
# Numbers of a chunk: its slice of the output, its pairs of images, the pixels of each; then where
# both halves of the first pair start. Images of the next pair are two further; a second image of -1
# is zeros.
CHUNK = ["slice", "count", "rows", "columns", "image", "row", "column"]
CHUNK += ["second", "second_row", "second_column"]


def sources(target: Target, rows: int, vectors: int) -> tuple[KernelSource, KernelSource]:
    """Sums of the parts, with tiles of rows taps x vectors of filters; then their total.

    args: dw, x, dy, workspace.
    """
    key = f"conv_weight_pairs:{target.name}:{rows}x{vectors}"

    def build() -> str:
        return _build(target, rows, vectors)

    return KernelSource(key, build, "weight_parts"), KernelSource(key, build, "weight_total")


def _build(target: Target, rows: int, vectors: int) -> str:
    b = Builder(target, FEATURE)
    outer, pairs = Element("bf16", target), Pairs(target)
    operands = Operands(pairs, pairs, PairSums(target, "f32"))
    for width in range(1, vectors + 1):
        emit_tile(b, f"tile{width}", operands, rows, width, INDEXED)
    emit_pad_pairs(b)
    emit_turn_pairs(b)
    with b.kernel("weight_parts"):
        _PairParts(b, outer, rows, vectors, FIELDS).emit()
    with b.kernel("weight_total"):
        emit_total(b, outer)
    return b.module()


class _PairParts(conv_weight.Parts):
    def _decode(self, chunk: str) -> SimpleNamespace:
        b = self.b
        start = b.add(self.d.chunk_at, b.mul(chunk, len(CHUNK)))
        numbers = {name: b.size(b.add(start, k)) for k, name in enumerate(CHUNK)}
        at = SimpleNamespace(**numbers)
        at.paired = b.emit(f"icmp sge i64 {at.second}, 0")
        return at

    def _copy_plane(
        self, at: SimpleNamespace, number: str, place: str, inside: str, to: str
    ) -> None:
        b, d = self.b, self.d
        further = b.mul(b.mul(number, 2), d.x_image)
        first = b.offset(at.x, b.add(place, further))
        ahead = b.mul(b.sub(at.second, at.image), d.x_image)
        exists = b.emit(f"and i1 {inside}, {at.paired}")
        second = b.select(exists, "ptr", b.offset(first, ahead), "null")
        starts = ""
        for row, column in ((at.row, at.column), (at.second_row, at.second_column)):
            top = b.sub(b.mul(row, d.stride_h), d.pad_h)
            left = b.sub(b.mul(column, d.stride_w), d.pad_w)
            starts += f", i64 {top}, i64 {left}"
        b.do(
            f"call void @pad_pairs(ptr {to}, ptr {b.select(inside, 'ptr', first, 'null')}, "
            f"ptr {second}, i64 {d.copy_rows}, i64 {d.copy_pitch}, i64 {d.in_height}, "
            f"i64 {d.in_width}{starts})"
        )

    def _pack_image(
        self,
        at: SimpleNamespace,
        number: str,
        place: str,
        pixels: str,
        count: str,
        to: str,
        width: str,
    ) -> None:
        b = self.b
        further = b.mul(number, 2)
        pixels_at = (at.row, at.column), (at.second_row, at.second_column)
        first = self._gradients_from(b.add(at.image, further), pixels_at[0], place)
        second = self._gradients_from(b.add(at.second, further), pixels_at[1], place)
        b.do(
            f"call void @turn_pairs(i64 {pixels}, ptr {first}, "
            f"ptr {b.select(at.paired, 'ptr', second, 'null')}, i64 {self.d.y_channel}, "
            f"i64 {count}, ptr {to}, i64 {width})"
        )
