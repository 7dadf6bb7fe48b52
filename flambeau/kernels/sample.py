"""Images read at places between their elements, and the gradients of that.

Images are channels-last, so that whatever is done with an element is done with vectors of its
channels. A task is a block of places: vectors of coordinates become a table of taps (addresses,
weights), then each place mixes the elements its taps name. Where there are few channels, `planes`
reads planes of single channels instead, a vector of places at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from .element import Element, Tail, fma
from .ir import Builder
from .plan import Fields, KernelSource, Phase, Plan, ceil_div, round_up
from .sample_taps import PARAMETERS, TAPS, axis_taps, parameters
from .target import Target, host
from .vector_math import evaluate

# Strides in bytes, of the axes of planes in elements. Behind these fields, for each axis, are the
# stride and then its PARAMETERS.
FIELDS = Fields("places channels blocks image channel_blocks scratch")
_FEW = 3  # channels that are better gone through one by one
_GRAIN = 1 << 13  # multiplications, at least, that a thread does


class Sampling(NamedTuple):
    """What is sampled how: sizes are (images, channels, [depth,] height, width)."""

    dtype: str
    sizes: tuple[int, ...]
    places: int
    mode: str
    padding: str
    align: bool

    @property
    def axes(self) -> int:
        """Dimensions of an image."""
        return len(self.sizes) - 2

    @property
    def taps(self) -> int:
        """Elements that a place is made of."""
        return TAPS[self.mode] ** self.axes


def plan(kind: str, s: Sampling, threads: int, target: Target | None = None) -> Plan:
    """args, channels-last (places: images, places, channels), and the workspace:

    `sample`: out, image, grid (images, places, axes); `planes`: the same with whole planes of each
    channel, of less than 2^31 elements; `spread`: the gradient of the image, zeros before, that of
    out, grid; `slope`: the gradient of the grid, that of out, image, grid.
    """
    target = target or host()
    e = Element(s.dtype, target)
    images, channels, *sizes = s.sizes
    blocks, channel_blocks = ceil_div(s.places, e.lanes), ceil_div(channels, e.lanes)
    planes = kind == "planes"
    strides = [1 if planes else e.size * channels]
    for size in reversed(sizes):
        strides.insert(0, strides[0] * size)
    scratch = round_up(channels * e.size, 64)
    desc: list[int | float] = list(
        FIELDS.pack(
            places=s.places, channels=channels, blocks=blocks, channel_blocks=channel_blocks,
            image=strides[0] * (channels * e.size if planes else 1), scratch=scratch,
        )
    )  # fmt: skip
    for size, stride in zip(sizes, strides[1:], strict=True):
        desc += [stride, *parameters(size, s.align)]
    spread = kind == "spread"
    tasks = images * (channel_blocks if spread else blocks)
    work = s.taps * (s.places * e.lanes if spread else channels * e.lanes)
    kernel = source(kind, s.dtype, s.axes, s.mode, s.padding, target)
    phase = Phase(kernel, tuple(desc), tasks, max(1, min(tasks, _GRAIN // work)))  # type: ignore[arg-type]
    return Plan((phase,), scratch * threads)


def source(
    kind: str, dtype: str, axes: int, mode: str, padding: str, target: Target
) -> KernelSource:
    """A kernel of one kind; sizes and whether corners are aligned are in the desc."""
    key = f"sample:{kind}:{dtype}:{axes}:{mode}:{padding}:{target.name}"
    return KernelSource(key, lambda: _build(kind, dtype, axes, mode, padding, target), "sample")


def _build(kind: str, dtype: str, axes: int, mode: str, padding: str, target: Target) -> str:
    b = Builder(target)
    with b.kernel("sample"):
        getattr(_Sampler(b, Element(dtype, target), axes, mode, padding, kind == "planes"), kind)()
    return b.module()


class _Tap(NamedTuple):
    """Vectors, one lane a place: offset in the image, whether it is inside; the factors of the
    weight, and of its derivatives by the coordinates."""

    offset: str
    inside: str
    weight: list[str]
    slopes: list[list[str]]


class _Unit:
    """What is done at a time: a vector of channels (with a tail, only some of it), or one channel.

    Single channels are for images of few: a masked store is slow to be loaded from again.
    """

    def __init__(self, b: Builder, e: Element, tail: Tail | None = None, one: bool = False) -> None:
        self.b, self.e, self.tail, self.one = b, e, tail, one
        self.lanes = 1 if one else e.lanes
        self.kind = e.part if one else e.vector
        self.zero = e.zero_parts()[0] if one else e.zero

    def load(self, at: str) -> str:
        if self.one:
            return self.b.load(self.kind, at, self.e.size)
        return self.e.load(self.b, at, self.tail)

    def store(self, value: str, at: str) -> None:
        if self.one:
            self.b.store(self.kind, value, at, self.e.size)
        else:
            self.e.store(self.b, value, at, self.tail)

    def factor(self, at: str) -> str:
        """One number, for every channel."""
        return self.b.splat(self.b.load(self.e.part, at, self.e.size), self.e.part, self.lanes)

    def mix(self, factors: Sequence[str], values: Sequence[str]) -> str:
        """The sum of the products."""
        total = self.b.emit(f"fmul {self.kind} {factors[0]}, {values[0]}")
        for factor, value in zip(factors[1:], values[1:], strict=True):
            total = self.add(factor, value, total)
        return total

    def add(self, x: str, y: str, total: str) -> str:
        """x * y + total."""
        return fma(self.b, "f", self.e.part, self.lanes, x, y, total)

    def sum(self, value: str) -> str:
        """The sum of the channels."""
        return value if self.one else self.e.sum_lanes(self.b, [value])[0]


class _Sampler:
    def __init__(
        self, b: Builder, e: Element, axes: int, mode: str, padding: str, planes: bool
    ) -> None:
        self.number = "i32" if planes else "i64"
        self.numbers = f"<{e.lanes} x {self.number}>"
        self.paired = planes and e.part == "float" and mode == "bilinear"
        self.b, self.e, self.axes, self.mode, self.padding = b, e, axes, mode, padding
        self.d = d = FIELDS.load(b)
        self.taps = TAPS[mode] ** axes
        first, row = len(FIELDS.names), 1 + len(PARAMETERS)
        self.strides = [b.size(first + row * k) for k in range(axes)]
        self.parameters = [
            [self._number(first + row * k + 1 + i) for i in range(len(PARAMETERS))]
            for k in range(axes)
        ]
        self.whole = b.emit(f"and i64 {d.channels}, {-e.lanes}")
        self.rest = b.less(self.whole, d.channels)
        self.tail = e.tail(b, b.sub(d.channels, self.whole))
        self.few = b.less(d.channels, str(_FEW + 1))
        self.offsets = b.stack(f"[{self.taps} x <{e.lanes} x i64>]")

    def _number(self, field: int) -> str:
        b, part = self.b, self.e.part
        value = b.load("double", b.offset("%desc", field, "i64"), 8)
        if part == "float":
            value = b.emit(f"fptrunc double {value} to float")
        return self.e.splat(b, value)

    # ---- the four kinds --------------------------------------------------------------------------

    def sample(self) -> None:
        """out[place] = sum of weight * element."""
        b, e, d = self.b, self.e, self.d
        out, image, grid = (b.argument(k) for k in range(3))
        nothing = self._scratch(3)
        weights = b.stack(f"[{self.taps} x {e.vector}]")

        def one(base: str, number: str, p: str) -> None:
            addresses, to = self._addresses(p), self._row(out, number)
            factors = self._factors(weights, p, _Unit(b, e))

            def mix(at: str, unit: _Unit) -> None:
                values = [unit.load(b.offset(address, at)) for address in addresses]
                unit.store(unit.mix(factors, values), b.offset(to, at))

            self._each_channels(mix)

        with b.loop("%begin", "%end") as task:
            n, block = b.divide(task.index, d.blocks)
            base = b.offset(image, b.mul(n, d.image))
            taps, first, count = self._block(grid, n, block)
            self._keep_addresses(taps, base, nothing)
            self._keep([tap.weight for tap in taps], weights)
            with b.loop("0", count) as p:
                one(base, b.add(first, p.index), p.index)

    def planes(self) -> None:
        """As `sample`, from and to planes: vectors of places."""
        b, e, d = self.b, self.e, self.d
        out, image, grid = (b.argument(k) for k in range(3))
        plane = b.emit(f"udiv i64 {d.image}, {d.channels}")
        with b.loop("%begin", "%end") as task:
            n, block = b.divide(task.index, d.blocks)
            base = b.offset(image, b.mul(n, d.image))
            taps, _, _ = self._block(grid, n, block)
            weights = [self._product(tap.weight) for tap in taps]
            start = b.mul(block, e.lanes)
            tail = e.tail(b, b.sub(d.places, start))
            to = b.offset(out, b.mul(b.add(b.mul(b.mul(n, d.channels), d.places), start), e.size))
            with b.loop("0", d.channels) as c:
                source = b.offset(base, b.mul(c.index, plane))
                total = _Unit(b, e).mix(weights, self._gather(source, taps))
                place = b.offset(to, b.mul(b.mul(c.index, d.places), e.size))
                e.store(b, total, place, tail)

    def spread(self) -> None:
        """element += weight * gradient of each place; a task is some channels of an image."""
        b, e, d = self.b, self.e, self.d
        image, gradient, grid = (b.argument(k) for k in range(3))
        nowhere = self._scratch(3)
        weights = b.stack(f"[{self.taps} x {e.vector}]")

        def add(at: str, unit: _Unit, first: str, count: str) -> None:
            with b.loop("0", count) as p:
                g = unit.load(b.offset(self._row(gradient, b.add(first, p.index)), at))
                factors = self._factors(weights, p.index, unit)
                for address, factor in zip(self._addresses(p.index), factors, strict=True):
                    to = b.offset(address, at)
                    unit.store(unit.add(factor, g, unit.load(to)), to)

        def add_some(at: str, first: str, count: str) -> None:
            def each() -> None:
                with b.loop("0", d.channels) as c:
                    add(b.mul(c.index, e.size), _Unit(b, e, one=True), first, count)

            b.choose(self.few, each, lambda: add(at, _Unit(b, e, self.tail), first, count))

        with b.loop("%begin", "%end") as task:
            n, part = b.divide(task.index, d.channel_blocks)
            base = b.offset(image, b.mul(n, d.image))
            column = b.mul(part, e.lanes)
            full = b.less(column, self.whole)
            at = b.mul(column, e.size)
            with b.loop("0", d.blocks) as block:
                taps, first, count = self._block(grid, n, block.index)
                self._keep_addresses(taps, base, nowhere)
                self._keep([tap.weight for tap in taps], weights)
                b.choose(
                    full,
                    lambda at=at, f=first, n=count: add(at, _Unit(b, e), f, n),
                    lambda at=at, f=first, n=count: add_some(at, f, n),
                )

    def slope(self) -> None:
        """gradient by a coordinate = sum over channels of gradient * sum of slope * element."""
        b, e, d = self.b, self.e, self.d
        out, gradient, image, grid = (b.argument(k) for k in range(4))
        nothing = self._scratch(4)
        tables = [b.stack(f"[{self.taps} x {e.vector}]") for _ in range(self.axes)]
        totals = [b.stack(e.vector) for _ in range(self.axes)]

        def one(number: str, p: str, unit: _Unit, each: Callable) -> None:
            addresses, row = self._addresses(p), self._row(gradient, number)
            factors = [self._factors(table, p, unit) for table in tables]
            for total in totals:
                b.store(unit.kind, unit.zero, total, e.size)

            def add(at: str, unit: _Unit) -> None:
                values = [unit.load(b.offset(a, at)) for a in addresses]
                g = unit.load(b.offset(row, at))
                for total, own in zip(totals, factors, strict=True):
                    old = b.load(unit.kind, total, e.size)
                    b.store(unit.kind, unit.add(g, unit.mix(own, values), old), total, e.size)

            each(add)
            to = b.offset(out, b.mul(b.mul(number, self.axes), e.size))
            for k, total in enumerate(reversed(totals)):  # the last axis comes first in a grid
                found = unit.sum(b.load(unit.kind, total, e.size))
                b.store(e.part, found, b.offset(to, k * e.size), e.size)

        def all_places(first: str, count: str, unit: _Unit, each: Callable) -> None:
            with b.loop("0", count) as p:
                one(b.add(first, p.index), p.index, unit, each)

        with b.loop("%begin", "%end") as task:
            n, block = b.divide(task.index, d.blocks)
            base = b.offset(image, b.mul(n, d.image))
            taps, first, count = self._block(grid, n, block)
            self._keep_addresses(taps, base, nothing)
            for k, table in enumerate(tables):
                self._keep([tap.slopes[k] for tap in taps], table)
            b.choose(
                self.few,
                lambda f=first, n=count: all_places(
                    f, n, _Unit(b, e, one=True), self._each_channel
                ),
                lambda f=first, n=count: all_places(f, n, _Unit(b, e), self._each_channels),
            )

    # ---- places ----------------------------------------------------------------------------------

    def _block(self, grid: str, n: str, block: str) -> tuple[list[_Tap], str, str]:
        """The taps of a block of places, its first place counted through, and their number."""
        b, e, d = self.b, self.e, self.d
        start = b.mul(block, e.lanes)
        first, left = b.add(b.mul(n, d.places), start), b.sub(d.places, start)
        coordinates = self._coordinates(
            b.offset(grid, b.mul(b.mul(first, self.axes), e.size)), left
        )
        found = []
        for k, coordinate in enumerate(reversed(coordinates)):
            values = evaluate(
                b, e.lanes, e.dtype,
                partial(
                    axis_taps, self.mode, self.padding, number=self.number,
                    paired=self.paired and k == self.axes - 1,
                ),
                coordinate, *self.parameters[k],
            )  # fmt: skip
            stride = b.splat(self._stride(k), self.number, e.lanes)
            rows = [values[i : i + 4] for i in range(0, len(values), 4)]
            found.append([(b.emit(f"mul {self.numbers} {r[0]}, {stride}"), *r[1:]) for r in rows])
        return self._combine(found), first, b.min(left, str(e.lanes))

    def _stride(self, axis: int) -> str:
        stride = self.strides[axis]
        return stride if self.number == "i64" else self.b.emit(f"trunc i64 {stride} to i32")

    def _coordinates(self, address: str, left: str) -> list[str]:
        """The coordinates of a block: one vector an axis, in the grid's order."""
        b, e, axes = self.b, self.e, self.axes
        numbers = b.mul(left, axes)
        loaded = []
        for k in range(axes):
            tail = e.tail(b, b.sub(numbers, k * e.lanes))
            loaded.append(e.load(b, b.offset(address, k * e.lanes * e.size), tail))
        found = []
        for axis in range(axes):
            at = [axes * k + axis for k in range(e.lanes)]
            value = b.shuffle(loaded[0], loaded[1], e.vector, [i % (2 * e.lanes) for i in at])
            if axes == 3:
                picks = [k if i < 2 * e.lanes else i - e.lanes for k, i in enumerate(at)]
                value = b.shuffle(value, loaded[2], e.vector, picks)
            found.append(value)
        return found

    def _combine(self, axes: list[list[tuple]]) -> list[_Tap]:
        """The taps of a place: every choice of one tap an axis."""
        b, e = self.b, self.e
        taps = [_Tap("zeroinitializer", "", [], [[] for _ in axes])]
        for k, rows in enumerate(axes):
            following = []
            for tap in taps:
                for offset, inside, weight, slope in rows:
                    at = b.emit(f"add {self.numbers} {tap.offset}, {offset}")
                    if tap.inside:
                        inside = b.emit(f"and <{e.lanes} x i1> {tap.inside}, {inside}")
                    slopes = [
                        [*own, slope if i == k else weight] for i, own in enumerate(tap.slopes)
                    ]
                    following.append(_Tap(at, inside, [*tap.weight, weight], slopes))
            taps = following
        return taps

    # ---- tables ----------------------------------------------------------------------------------

    def _product(self, factors: Sequence[str]) -> str:
        total = factors[0]
        for factor in factors[1:]:
            total = self.b.emit(f"fmul {self.e.vector} {total}, {factor}")
        return total

    def _keep(self, factors: Sequence[Sequence[str]], table: str) -> None:
        b, e = self.b, self.e
        for k, own in enumerate(factors):
            b.store(e.vector, self._product(own), b.offset(table, k * e.lanes * e.size), e.size)

    def _keep_addresses(self, taps: Sequence[_Tap], base: str, nothing: str) -> None:
        """Addresses of the taps; those outside have another row of channels."""
        b, lanes, numbers = self.b, self.e.lanes, self.numbers
        start, other = (
            b.splat(b.emit(f"ptrtoint ptr {p} to i64"), "i64", lanes) for p in (base, nothing)
        )
        for k, tap in enumerate(taps):
            at = b.emit(f"add {numbers} {tap.offset}, {start}")
            at = b.emit(f"select <{lanes} x i1> {tap.inside}, {numbers} {at}, {numbers} {other}")
            b.store(numbers, at, b.offset(self.offsets, k * lanes * 8), 8)

    def _addresses(self, p: str) -> list[str]:
        b = self.b
        own = b.offset(self.offsets, b.mul(p, 8))
        return [b.load("ptr", b.offset(own, 8 * k * self.e.lanes), 8) for k in range(self.taps)]

    def _factors(self, table: str, p: str, unit: _Unit) -> list[str]:
        b, e = self.b, self.e
        own = b.offset(table, b.mul(p, e.size))
        return [unit.factor(b.offset(own, e.size * k * e.lanes)) for k in range(self.taps)]

    def _scratch(self, argument: int) -> str:
        """This thread's row of channels, zeroed."""
        b, d = self.b, self.d
        row = b.offset(b.argument(argument), b.mul("%thread", d.scratch))
        with b.loop("0", d.scratch, 64) as k:
            b.store("<64 x i8>", "zeroinitializer", b.offset(row, k.index), 64)
        return row

    # ---- channels --------------------------------------------------------------------------------

    def _row(self, base: str, number: str) -> str:
        b, d = self.b, self.d
        return b.offset(base, b.mul(b.mul(number, d.channels), self.e.size))

    def _each_channels(self, emit: Callable[[str, _Unit], None]) -> None:
        """emit(offset in bytes, unit) for vectors of channels."""
        b, e = self.b, self.e
        with b.loop("0", self.whole, e.lanes) as c:
            emit(b.mul(c.index, e.size), _Unit(b, e))
        with b.when(self.rest):
            emit(b.mul(self.whole, e.size), _Unit(b, e, self.tail))

    def _each_channel(self, emit: Callable[[str, _Unit], None]) -> None:
        """emit(offset in bytes, unit) for single channels."""
        b, e = self.b, self.e
        with b.loop("0", self.d.channels) as c:
            emit(b.mul(c.index, e.size), _Unit(b, e, one=True))

    def _gather(self, base: str, taps: Sequence[_Tap]) -> list[str]:
        """The elements of a plane that the taps name."""
        b, e = self.b, self.e
        if not self.paired:
            return [e.gather(b, base, tap.offset, tap.inside) for tap in taps]
        found = []
        for left, right in zip(taps[::2], taps[1::2], strict=True):
            for value, tap in zip(
                self._gather_pairs(base, left.offset), (left, right), strict=True
            ):
                mask = f"<{e.lanes} x i1> {tap.inside}"
                found.append(b.emit(f"select {mask}, {e.vector} {value}, {e.vector} {e.zero}"))
        return found

    def _gather_pairs(self, base: str, numbers: str) -> tuple[str, str]:
        """The floats with the given numbers (i32), and their right neighbours."""
        b, lanes = self.b, self.e.lanes
        half, parts = lanes // 2, []
        vector = f"<{half} x i64>"
        for k in range(2):
            picks = range(k * half, (k + 1) * half)
            own = b.shuffle(numbers, numbers, f"<{lanes} x i32>", picks)
            at = b.emit(f"getelementptr float, ptr {base}, <{half} x i32> {own}")
            pairs = b.intrinsic(
                f"llvm.masked.gather.v{half}i64.v{half}p0", vector, (f"<{half} x ptr>", at),
                ("i32", "4"), (f"<{half} x i1>", "splat (i1 true)"), (vector, "zeroinitializer"),
            )  # fmt: skip
            parts.append(b.emit(f"bitcast {vector} {pairs} to {self.e.vector}"))
        low, high = parts
        left, right = (
            b.shuffle(low, high, self.e.vector, range(k, 2 * lanes, 2)) for k in range(2)
        )
        return left, right
