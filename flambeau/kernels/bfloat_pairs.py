"""Products of bfloat16 matrices two steps of the sum at a time, where the processor can.

An instruction multiplies pairs of neighbours of two vectors and adds both products to float32
lanes, so operands are packed in pairs: the numbers of two steps of the sum side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from .. import core
from .element import Element, Tail, transpose
from .ir import Builder
from .pack import AHEAD, FAR, PARAMETERS
from .target import AVX512, Target

FEATURE = "avx512bf16"
_DOT = "llvm.x86.avx512bf16.dpbf16ps.512"


@cache
def multiplies_pairs(target: Target) -> bool:
    """Whether this machine has the instruction and the target allows it."""
    return target == AVX512 and FEATURE in core.cpu_features()


class Pairs(Element):
    """Packed operands: an element is two bfloat16 numbers, a vector 16 of them."""

    def __init__(self, target: Target) -> None:
        super().__init__("f32", target)

    def load(self, b: Builder, pointer: str, tail: Tail | None = None) -> str:
        """A vector of pairs, as the instruction wants them."""
        return b.load("<32 x bfloat>", pointer, 4)

    def broadcast(self, b: Builder, pointer: str) -> list[str]:
        """One pair, which may lie between words, in every lane."""
        pairs = b.splat(b.load("i32", pointer, 2), "i32", 16)
        return [b.emit(f"bitcast <16 x i32> {pairs} to <32 x bfloat>")]


class PairSums(Element):
    """The result: float32 sums, stored as bfloat16, or as they are for later."""

    def __init__(self, target: Target, stored: str = "bf16") -> None:
        super().__init__(stored, target)

    def multiply_add(
        self, b: Builder, factor: Sequence[str], vector: str, cell: Sequence[str]
    ) -> list[str]:
        """The cell plus both products of each pair."""
        pairs = "<32 x bfloat>"
        return [
            b.intrinsic(
                _DOT, self.vector, (self.vector, cell[0]), (pairs, factor[0]), (pairs, vector)
            )
        ]


def emit_pack_pairs(
    b: Builder, name: str, width: int | None = None, *, shared: bool = False, ahead: bool = False
) -> None:
    """Define `void name(pack.PARAMETERS)`: to[depth / 2][width][2], zeros after an odd end.

    The panel's width is a multiple of 16, or the constant `width`, 8 or 16; `shared` and `ahead`
    as in pack.
    """
    parameters = [*PARAMETERS, *[FAR] * shared, *[AHEAD] * ahead]
    with b.function(name, parameters, "internal", "noinline"):
        pack = _PackPairs(b, width, b.is_far(FAR[1]) if shared else None, ahead)
        along_columns = b.emit("icmp eq i64 %side, 2")
        along_depth = b.emit("icmp eq i64 %step, 2")
        b.choose(
            along_columns, pack.zip_rows,
            lambda: b.choose(along_depth, pack.transpose, pack.by_element),
        )  # fmt: skip


class _PackPairs:
    def __init__(self, b: Builder, width: int | None, far: str | None, ahead: bool) -> None:
        self.b, self.far = b, far
        self.ahead = AHEAD[1] if ahead else None
        self.width = str(width) if width else "%width"
        self.lanes = width or 16
        self.steps = b.emit(f"udiv i64 {b.add('%depth', 1)}, 2")
        self.row_bytes = b.mul(self.width, 4)

    def zip_rows(self) -> None:
        """Columns lie side by side: two rows are interleaved."""
        b, lanes = self.b, self.lanes
        picks = [k // 2 + lanes * (k % 2) for k in range(2 * lanes)]
        with b.loop("0", self.steps) as k:
            first = b.offset("%from", b.mul(b.mul(k.index, 2), "%step"))
            has_second = b.less(b.add(b.mul(k.index, 2), 1), "%depth")
            to = b.offset("%to", b.mul(k.index, self.row_bytes))
            with b.loop("0", self.width, str(lanes)) as j:
                left = b.sub("%count", j.index)
                rows = []
                for r, count in enumerate((left, b.select(has_second, "i64", left, "0"))):
                    at = b.offset(b.offset(first, b.mul(str(r), "%step")), b.mul(j.index, 2))
                    if self.ahead:
                        b.prefetch(b.offset(at, self.ahead), 2)
                    mask = b.lanes_below(count, lanes)
                    rows.append(b.masked_load("i16", lanes, at, mask, 2))
                pairs = b.shuffle(rows[0], rows[1], f"<{lanes} x i16>", picks)
                at = b.offset(to, b.mul(j.index, 4))
                b.hand_over(f"<{2 * lanes} x i16>", pairs, at, 4 * lanes, self.far)

    def transpose(self) -> None:
        """The summed index lies side by side: squares of pairs are transposed in registers."""
        b, lanes = self.b, self.lanes
        vector, halves = f"<{lanes} x i32>", f"<{2 * lanes} x i16>"
        last = b.sub("%count", "1")
        with b.loop("0", self.width, str(lanes)) as j:
            columns = [
                b.offset("%from", b.mul(b.min(b.add(j.index, r), last), "%side"))
                for r in range(lanes)
            ]
            to = b.offset("%to", b.mul(j.index, 4))
            with b.loop("0", self.steps, str(lanes)) as k:
                mask = b.lanes_below(b.sub("%depth", b.mul(k.index, 2)), 2 * lanes)
                rows = []
                for column in columns:
                    if self.ahead:
                        b.prefetch(b.offset(b.offset(column, b.mul(k.index, 4)), self.ahead), 2)
                    raw = b.masked_load(
                        "i16", 2 * lanes, b.offset(column, b.mul(k.index, 4)), mask, 2
                    )
                    rows.append(b.emit(f"bitcast {halves} {raw} to {vector}"))
                left = b.sub(self.steps, k.index)
                for r, row in enumerate(transpose(b, rows, vector, lanes)):
                    with b.when(b.less(str(r), left)):
                        at = b.offset(to, b.mul(b.add(k.index, r), self.row_bytes))
                        b.hand_over(vector, row, at, 4 * lanes, self.far)

    def by_element(self) -> None:
        """Any strides."""
        b = self.b
        zero = b.global_constant("[2 x i8]", "zeroinitializer")
        with b.loop("0", self.steps) as k, b.loop("0", self.width) as j:
            to = b.offset("%to", b.add(b.mul(k.index, self.row_bytes), b.mul(j.index, 4)))
            column = b.offset("%from", b.mul(j.index, "%side"))
            inside = b.less(j.index, "%count")
            for r in range(2):
                step = b.add(b.mul(k.index, 2), r)
                known = b.emit(f"and i1 {inside}, {b.less(step, '%depth')}")
                source = b.select(known, "ptr", b.offset(column, b.mul(step, "%step")), zero)
                b.store("i16", b.load("i16", source, 2), b.offset(to, 2 * r), 2)
