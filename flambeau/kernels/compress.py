"""Where a mask is true: counting, positions, elements, and positions as coordinates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target

CHUNK = 1 << 16  # elements counted together; a multiple of 64
_FEW = 5  # so few of 64 elements are found one by one sooner than by vectors
COUNT_FIELDS = Fields("size")
UNRAVEL_FIELDS = Fields("rank")  # the sizes follow


def count_source(target: Target) -> KernelSource:
    """How many of each chunk are true; args counts, mask; desc COUNT_FIELDS; tasks chunks."""
    return KernelSource(f"mask_count:{target.name}", lambda: _build_count(target), "mask")


def positions_source(target: Target) -> KernelSource:
    """Where they are; args positions, mask, starts of the chunks in positions; tasks chunks."""
    return KernelSource(
        f"mask_positions:{target.name}", lambda: _build_writer(target, _Positions), "mask"
    )


def select_source(size: int, target: Target) -> KernelSource:
    """The elements (of `size` bytes) that are there; args out, mask, starts, elements."""
    make = partial(_Elements, size)
    return KernelSource(
        f"mask_select:{size}:{target.name}", lambda: _build_writer(target, make), "mask"
    )


def unravel_source(target: Target) -> KernelSource:
    """Row-major positions as coordinates [position][dimension]; args coordinates, positions."""
    return KernelSource(f"unravel:{target.name}", lambda: _build_unravel(target), "unravel")


def _build_count(target: Target) -> str:
    b = Builder(target)
    with b.kernel("mask"):
        d = COUNT_FIELDS.load(b)
        with b.loop("%begin", "%end") as chunk:
            first = b.mul(chunk.index, CHUNK)
            last = b.min(b.add(first, CHUNK), d.size)
            with b.loop(first, last, 64, carry=[("i64", "0")]) as word:
                bits = _load_bits(b, b.offset(b.argument(1), word.index), b.sub(last, word.index))
                word.next(b.add(word.values[0], _count_bits(b, bits)))
            b.store("i64", word.values[0], b.offset(b.argument(0), chunk.index, "i64"), 8)
    return b.module()


def _build_writer(target: Target, make: Callable[[Builder], _Writer]) -> str:
    """Walks the chunks of a mask 64 elements at a time, writing what is wanted of the true ones."""
    b = Builder(target)
    with b.kernel("mask"):
        d, writer = COUNT_FIELDS.load(b), make(b)
        mask, starts = b.argument(1), b.argument(2)
        with b.loop("%begin", "%end") as chunk:
            first = b.mul(chunk.index, CHUNK)
            last = b.min(b.add(first, CHUNK), d.size)
            found = b.load("i64", b.offset(starts, chunk.index, "i64"), 8)
            with b.loop(first, last, 64, carry=[("i64", found)]) as word:
                bits = _load_bits(b, b.offset(mask, word.index), b.sub(last, word.index))
                word.next(writer.write(word.index, bits, word.values[0]))
    return b.module()


class _Writer:
    """Writes something of the elements of a mask that are true, without a gap."""

    size = 0  # bytes of what is written

    def __init__(self, b: Builder) -> None:
        self.b = b
        self.out = b.argument(0)

    def one(self, index: str, found: str) -> None:
        """Write for element `index`, as number `found`."""
        raise NotImplementedError

    def several(self, index: str, lanes: int, mask: str) -> tuple[str, str]:
        """(element type, vector) of what to write for `lanes` elements from `index` on."""
        raise NotImplementedError

    def write(self, index: str, bits: str, found: str) -> str:
        """Write for a word of 64 elements; the number found by then."""
        b = self.b
        count = _count_bits(b, bits)
        if b.target.name == "avx512" and self.size <= 8:
            few = b.less(count, str(_FEW))
            b.choose(few, lambda: self._by_bits(index, bits, count, found),
                     lambda: self._by_vectors(index, bits, found))  # fmt: skip
        else:
            self._by_bits(index, bits, count, found)
        return b.add(found, count)

    def _by_bits(self, index: str, bits: str, count: str, found: str) -> None:
        b = self.b
        with b.loop("0", count, carry=[("i64", bits)]) as k:
            (rest,) = k.values
            lowest = b.intrinsic("llvm.cttz.i64", "i64", ("i64", rest), ("i1", "true"))
            self.one(b.add(index, lowest), b.add(found, k.index))
            k.next(b.emit(f"and i64 {rest}, {b.sub(rest, 1)}"))

    def _by_vectors(self, index: str, bits: str, found: str) -> None:
        """Vectors pressed together in registers, as stores that do so take a microprogram."""
        b, lanes = self.b, 8 if self.size == 8 else 16
        word = "i64" if lanes == 8 else "i32"
        kind, mask_type = f"<{lanes} x {word}>", f"<{lanes} x i1>"
        name = f"llvm.x86.avx512.mask.compress.v{lanes}{word}"
        for first in range(0, 64, lanes):
            shifted = b.emit(f"lshr i64 {bits}, {first}")
            part = b.emit(f"trunc i64 {shifted} to i{lanes}")
            mask = b.emit(f"bitcast i{lanes} {part} to {mask_type}")
            element, values = self.several(b.add(index, first), lanes, mask)
            if element != word:
                values = b.emit(f"zext <{lanes} x {element}> {values} to {kind}")
            zeros = (kind, "zeroinitializer")
            values = b.intrinsic(name, kind, (kind, values), zeros, (mask_type, mask))
            if element != word:
                values = b.emit(f"trunc {kind} {values} to <{lanes} x {element}>")
            count = _count_bits(b, b.emit(f"zext i{lanes} {part} to i64"))
            at = b.offset(self.out, found, element)
            b.masked_store(element, lanes, values, at, b.lanes_below(count, lanes), 1)
            found = b.add(found, count)


class _Positions(_Writer):
    size = 8

    def one(self, index: str, found: str) -> None:
        self.b.store("i64", index, self.b.offset(self.out, found, "i64"), 8)

    def several(self, index: str, lanes: int, mask: str) -> tuple[str, str]:
        numbers = "<" + ", ".join(f"i64 {k}" for k in range(lanes)) + ">"
        splat = self.b.splat(index, "i64", lanes)
        return "i64", self.b.emit(f"add <{lanes} x i64> {splat}, {numbers}")


class _Elements(_Writer):
    def __init__(self, size: int, b: Builder) -> None:
        super().__init__(b)
        self.size, self.source = size, b.argument(3)

    def one(self, index: str, found: str) -> None:
        b, cell = self.b, f"i{8 * self.size}"
        value = b.load(cell, b.offset(self.source, index, cell))
        b.store(cell, value, b.offset(self.out, found, cell))

    def several(self, index: str, lanes: int, mask: str) -> tuple[str, str]:
        cell = f"i{8 * self.size}"
        at = self.b.offset(self.source, index, cell)
        return cell, self.b.masked_load(cell, lanes, at, mask, 1)


def _count_bits(b: Builder, bits: str) -> str:
    return b.intrinsic("llvm.ctpop.i64", "i64", ("i64", bits))


def _load_bits(b: Builder, address: str, left: str) -> str:
    """64 bytes (or those that are left) as bits: is the byte not zero?"""

    def whole() -> list[str]:
        value = b.load("<64 x i8>", address)
        set_ = b.emit(f"icmp ne <64 x i8> {value}, zeroinitializer")
        return [b.emit(f"bitcast <64 x i1> {set_} to i64")]

    def rest() -> list[str]:
        with b.loop("0", left, carry=[("i64", "0")]) as k:
            value = b.load("i8", b.offset(address, k.index))
            bit = b.emit(f"zext i1 {b.emit(f'icmp ne i8 {value}, 0')} to i64")
            moved = b.emit(f"shl i64 {bit}, {k.index}")
            k.next(b.emit(f"or i64 {k.values[0]}, {moved}"))
        return [k.values[0]]

    return b.choose(b.emit(f"icmp sge i64 {left}, 64"), whole, rest, ["i64"])[0]


def _build_unravel(target: Target) -> str:
    """Positions ascend: most are in the innermost row of the one before, which saves divisions."""
    b = Builder(target)
    with b.kernel("unravel"):
        d = UNRAVEL_FIELDS.load(b)
        last = b.sub(d.rank, 1)
        length, row_bytes = b.size(d.rank), b.mul(d.rank, 8)
        with b.loop("%begin", "%end", carry=[("i64", str(-(2**62)))]) as i:
            position = b.load("i64", b.offset(b.argument(1), i.index, "i64"), 8)
            to = b.offset(b.argument(0), b.mul(i.index, row_bytes))
            inner = b.sub(position, i.values[0])

            def same() -> list[str]:
                before = b.offset(to, b.sub("0", row_bytes))
                with b.loop("0", last) as k:
                    digit = b.load("i64", b.offset(before, k.index, "i64"), 8)
                    b.store("i64", digit, b.offset(to, k.index, "i64"), 8)
                b.store("i64", inner, b.offset(to, last, "i64"), 8)
                return [i.values[0]]

            def divided() -> list[str]:
                with b.loop("0", d.rank, carry=[("i64", position)]) as k:
                    dim = b.sub(last, k.index)
                    size = b.load("i64", b.offset("%desc", b.add(dim, 1), "i64"), 8)
                    (rest,) = k.values
                    digit = b.emit(f"urem i64 {rest}, {size}")
                    b.store("i64", digit, b.offset(to, dim, "i64"), 8)
                    k.next(b.emit(f"udiv i64 {rest}, {size}"))
                return [b.sub(position, b.load("i64", b.offset(to, last, "i64"), 8))]

            near = b.emit(f"icmp ult i64 {inner}, {length}")
            i.next(*b.choose(near, same, divided, ["i64"]))
    return b.module()
