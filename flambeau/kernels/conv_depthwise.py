"""Convolution of each channel with a filter of its own, and its gradients.

Nothing is copied: a tile is one vector of columns of some rows, for each phase of the output's
stride (one, but for the gradient of a strided convolution), and loads its shifted inputs from the
plane itself, with masks for the columns. Each loaded vector serves all taps and rows that meet it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

from .element import Element, Tail
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target

# Distances in bytes.
FIELDS = Fields(
    "groups x_plane y_plane in_height in_width out_height out_width rows columns row_block"
    " pad_h pad_w w_group has_bias relu"
)
WEIGHT_FIELDS = Fields(
    "images groups x_plane y_plane in_height in_width rows columns pad_h pad_w w_group"
)


class Taps(NamedTuple):
    """The filter as a tile sees it."""

    rows: int  # of the tile
    stride: tuple[int, int]  # of the input
    out_stride: tuple[int, int]
    # For each phase of the output's stride: (number of the tap, row, column) of each tap.
    phases: tuple[tuple[tuple[int, int, int], ...], ...]

    @property
    def columns(self) -> list[int]:
        """Columns at which taps lie."""
        return sorted({c for phase in self.phases for _, _, c in phase})

    @property
    def reach(self) -> list[int]:
        """Rows of input a tile reads, from its first."""
        return sorted(
            {i * self.stride[0] + r for i in range(self.rows) for p in self.phases for _, r, _ in p}
        )

    def meeting(self, row: int, column: int) -> list[tuple[int, int, int]]:
        """(row of the tile, phase, tap) of the products with the inputs of a row and column."""
        return [
            (i, k, tap)
            for i in range(self.rows)
            for k, phase in enumerate(self.phases)
            for tap, r, c in phase
            if i * self.stride[0] + r == row and c == column
        ]


def source(dtype: str, target: Target, taps: Taps) -> KernelSource:
    """The convolution; args: y, x, filter, bias or null, workspace."""
    key = f"conv_depthwise:{dtype}:{target.name}:{tuple(taps)}"
    return KernelSource(key, lambda: _build(dtype, target, taps, _Planes), "planes")


def weight_source(dtype: str, target: Target, taps: Taps) -> KernelSource:
    """The filter's gradient; args: dw, x, dy, workspace."""
    key = f"conv_depthwise_weight:{dtype}:{target.name}:{tuple(taps)}"
    return KernelSource(key, lambda: _build(dtype, target, taps, _Weights), "planes")


def _build(dtype: str, target: Target, taps: Taps, kernel: type[_Walk]) -> str:
    b = Builder(target)
    with b.kernel("planes"):
        kernel(b, Element(dtype, target), taps).emit()
    return b.module()


class _Walk:
    """What both kernels share: inputs of a tile."""

    fields = FIELDS

    def __init__(self, b: Builder, outer: Element, taps: Taps) -> None:
        self.b, self.outer, self.inner, self.taps = b, outer, outer.compute, taps
        self.d = self.fields.load(b)
        self.row_bytes = b.mul(self.d.in_width, outer.size)

    def emit(self) -> None:
        """The kernel's body."""
        raise NotImplementedError

    def masks(self, column: str) -> dict[int, SimpleNamespace]:
        """For each even column of taps (each, at stride one): where, and the lanes inside."""
        b, d, lanes, step = self.b, self.d, self.inner.lanes, self.taps.stride[1]
        found = {}
        for c in sorted({c - c % step for c in self.taps.columns}):
            first = b.sub(b.add(b.mul(column, step), str(c)), d.pad_w)
            tails = [self._inside(b.add(first, k * lanes)) for k in range(step)]
            found[c] = SimpleNamespace(offset=b.mul(first, self.outer.size), tails=tails)
        return found

    def _inside(self, first: str) -> Tail:
        """Lanes whose column, counted from `first`, is one of the input's."""
        b, lanes = self.b, self.inner.lanes
        start = self.b.splat(b.emit(f"trunc i64 {first} to i32"), "i32", lanes)
        numbers = "<" + ", ".join(f"i32 {k}" for k in range(lanes)) + ">"
        at = b.emit(f"add <{lanes} x i32> {start}, {numbers}")
        width = self.b.splat(b.emit(f"trunc i64 {self.d.in_width} to i32"), "i32", lanes)
        return Tail(str(lanes), b.emit(f"icmp ult <{lanes} x i32> {at}, {width}"))

    def run(self, x: str, row: str, masks: dict[int, SimpleNamespace], sums: list[str], add):
        """The sums after add(sums, reach, column, vector) of all inputs the tile at `row` meets.

        A branch for each row of input keeps the compiler from spreading one sum over all of them.
        """
        b, d = self.b, self.d
        first = b.sub(b.mul(row, self.taps.stride[0]), d.pad_h)
        types = [self.inner.vector] * len(sums)
        for reach in self.taps.reach:
            number = b.add(first, str(reach))
            inside = b.emit(f"icmp ult i64 {number}, {d.in_height}")

            def add_row(reach: int = reach, number: str = number, sums=tuple(sums)) -> list[str]:
                line = b.offset(x, b.mul(number, self.row_bytes))
                vectors: dict[int, list[str]] = {}
                added = list(sums)
                for c in self.taps.columns:
                    start = c - c % self.taps.stride[1]
                    if not self.taps.meeting(reach, c):
                        continue
                    if start not in vectors:
                        vectors[start] = self._load(line, masks[start])
                    add(added, reach, c, self._pick(vectors[start], c % self.taps.stride[1]))
                return added

            sums = b.choose(inside, add_row, lambda sums=sums: sums, types)
        return sums

    def _load(self, line: str, where: SimpleNamespace) -> list[str]:
        b, outer = self.b, self.outer
        at = b.offset(line, where.offset)
        return [
            outer.load(b, b.offset(at, k * self.inner.lanes * outer.size), tail)
            for k, tail in enumerate(where.tails)
        ]

    def _pick(self, parts: list[str], phase: int) -> str:
        """Every element, or every second."""
        if len(parts) == 1:
            return parts[0]
        picks = range(phase, 2 * self.inner.lanes, 2)
        return self.b.shuffle(parts[0], parts[1], self.inner.vector, picks)


class _Planes(_Walk):
    def emit(self) -> None:
        """Task: one channel of one image."""
        b, d, outer = self.b, self.d, self.outer
        with b.loop("%begin", "%end") as task:
            channel = b.divide(task.index, d.groups)[1]
            x = b.offset(b.argument(1), b.mul(task.index, d.x_plane))
            y = b.offset(b.argument(0), b.mul(task.index, d.y_plane))
            filter_ = b.offset(b.argument(2), b.mul(channel, d.w_group))
            numbers = {tap for phase in self.taps.phases for tap, _, _ in phase}
            factors = {
                tap: outer.broadcast(b, b.offset(filter_, tap * outer.size)) for tap in numbers
            }
            bias = self._bias(channel)

            count = len(self.taps.phases)

            def add(sums: list[str], reach: int, c: int, value: str) -> None:
                for i, k, tap in self.taps.meeting(reach, c):
                    at = i * count + k
                    sums[at] = self.inner.multiply_add(b, factors[tap], value, [sums[at]])[0]

            with (
                b.loop("0", d.rows, d.row_block) as block,
                b.loop("0", d.columns, self.inner.lanes) as j,
            ):
                masks = self.masks(j.index)
                end = b.min(b.add(block.index, d.row_block), d.rows)
                with b.loop(block.index, end, self.taps.rows) as i:
                    sums = self.run(x, i.index, masks, [bias] * (count * self.taps.rows), add)
                    self._store(y, i.index, j.index, sums)

    def _bias(self, channel: str) -> str:
        b, outer = self.b, self.outer
        has_bias = b.emit(f"icmp ne i64 {self.d.has_bias}, 0")
        at = b.offset(b.argument(3), b.mul(channel, outer.size))
        return b.choose(
            has_bias,
            lambda: outer.broadcast(b, at),
            lambda: [self.inner.zero],
            [self.inner.vector],
        )[0]

    def _store(self, y: str, row: str, column: str, sums: list[str]) -> None:
        b, d, lanes = self.b, self.d, self.inner.lanes
        down, across = self.taps.out_stride
        relu = b.emit(f"icmp ne i64 {d.relu}, 0")
        first = b.mul(column, across)
        left = b.sub(d.out_width, first)
        tails = [self.outer.tail(b, b.sub(left, k * lanes)) for k in range(across)]
        for i in range(self.taps.rows):
            for a in range(down):
                number = b.add(b.mul(b.add(row, str(i)), down), str(a))
                at = (i * down + a) * across
                values = [
                    b.select(relu, self.inner.vector, self.inner.relu(b, v), v)
                    for v in sums[at : at + across]
                ]
                with b.when(b.less(number, d.out_height)):
                    start = b.mul(b.add(b.mul(number, d.out_width), first), self.outer.size)
                    for k, value in enumerate(self._interleave(values)):
                        to = b.offset(y, b.add(start, str(k * lanes * self.outer.size)))
                        self.outer.store(b, value, to, tails[k])

    def _interleave(self, values: list[str]) -> list[str]:
        if len(values) == 1:
            return values
        even, odd = values
        lanes = self.inner.lanes
        order = [k // 2 + (k % 2) * lanes for k in range(2 * lanes)]
        halves = (order[:lanes], order[lanes:])
        return [self.b.shuffle(even, odd, self.inner.vector, half) for half in halves]


class _Weights(_Walk):
    fields = WEIGHT_FIELDS

    def emit(self) -> None:
        """Task: one channel, all its images."""
        b, d, outer, inner = self.b, self.d, self.outer, self.inner
        numbers = [tap for tap, _, _ in self.taps.phases[0]]
        sums = {tap: b.stack(inner.vector) for tap in numbers}
        with b.loop("%begin", "%end") as task:
            for at in sums.values():
                b.store(inner.vector, "zeroinitializer", at, 64)
            with b.loop("0", d.images) as image:
                plane = b.add(b.mul(image.index, d.groups), task.index)
                x = b.offset(b.argument(1), b.mul(plane, d.x_plane))
                dy = b.offset(b.argument(2), b.mul(plane, d.y_plane))
                self._add_plane(x, dy, sums)
            to = b.offset(b.argument(0), b.mul(task.index, d.w_group))
            for tap in numbers:
                total = inner.sum_lanes(b, [b.load(inner.vector, sums[tap], 64)])
                outer.store_parts(b, total, b.offset(to, tap * outer.size))

    def _add_plane(self, x: str, dy: str, sums: dict[int, str]) -> None:
        b, d, inner = self.b, self.d, self.inner
        order = {tap: k for k, tap in enumerate(sums)}
        with b.loop("0", d.columns, inner.lanes) as j:
            masks = self.masks(j.index)
            tail = self.outer.tail(b, b.sub(d.columns, j.index))
            start = [(inner.vector, b.load(inner.vector, at, 64)) for at in sums.values()]
            with b.loop("0", d.rows, self.taps.rows, carry=start) as i:
                gradients = [
                    self._gradient(dy, b.add(i.index, str(r)), j.index, tail)
                    for r in range(self.taps.rows)
                ]

                def add(sums: list[str], reach: int, c: int, value: str) -> None:
                    for r, _, tap in self.taps.meeting(reach, c):
                        at = order[tap]
                        sums[at] = inner.multiply_add(b, [gradients[r]], value, [sums[at]])[0]

                i.next(*self.run(x, i.index, masks, i.values, add))
            for at, value in zip(sums.values(), i.values, strict=True):
                b.store(inner.vector, value, at, 64)

    def _gradient(self, dy: str, row: str, column: str, tail: Tail) -> str:
        """A vector of the output's gradient; zeros below the last row."""
        b, d, lanes = self.b, self.d, self.inner.lanes
        at = b.offset(dy, b.mul(b.add(b.mul(row, d.columns), column), self.outer.size))
        inside, columns = b.less(row, d.rows), str(tail.mask)
        mask = b.select(inside, f"<{lanes} x i1>", columns, "zeroinitializer")
        return self.outer.load(b, at, Tail(tail.parts, mask))
