"""Where a mask is true: counting, positions, and positions as coordinates."""

from __future__ import annotations

from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target

CHUNK = 1 << 16  # elements counted together; a multiple of 64
COUNT_FIELDS = Fields("size")
UNRAVEL_FIELDS = Fields("rank")  # the sizes follow


def count_source(target: Target) -> KernelSource:
    """How many of each chunk are true; args counts, mask; desc COUNT_FIELDS; tasks chunks."""
    return KernelSource(f"mask_count:{target.name}", lambda: _build(target, False), "mask")


def positions_source(target: Target) -> KernelSource:
    """Where they are; args positions, mask, starts of the chunks in positions; tasks chunks."""
    return KernelSource(f"mask_positions:{target.name}", lambda: _build(target, True), "mask")


def unravel_source(target: Target) -> KernelSource:
    """Row-major positions as coordinates [position][dimension]; args coordinates, positions."""
    return KernelSource(f"unravel:{target.name}", lambda: _build_unravel(target), "unravel")


def _build(target: Target, positions: bool) -> str:
    b = Builder(target)
    with b.kernel("mask"):
        d = COUNT_FIELDS.load(b)
        out, mask = b.argument(0), b.argument(1)
        starts = b.argument(2) if positions else ""
        with b.loop("%begin", "%end") as chunk:
            slot = b.mul(chunk.index, 8)
            first = b.mul(chunk.index, CHUNK)
            last = b.min(b.add(first, CHUNK), d.size)
            found = b.load("i64", b.offset(starts, slot), 8) if positions else "0"
            found = _words(b, out if positions else None, mask, first, last, found)
            if not positions:
                b.store("i64", found, b.offset(out, slot), 8)
    return b.module()


def _words(b: Builder, out: str | None, mask: str, first: str, last: str, found: str) -> str:
    """Walk a chunk 64 elements at a time; the number found, added to `found`."""
    with b.loop(first, last, 64, carry=[("i64", found)]) as word:
        bits = _load_bits(b, b.offset(mask, word.index), b.sub(last, word.index))
        count = b.intrinsic("llvm.ctpop.i64", "i64", ("i64", bits))
        if out is not None:
            with b.loop("0", count, carry=[("i64", bits)]) as k:
                (rest,) = k.values
                lowest = b.intrinsic("llvm.cttz.i64", "i64", ("i64", rest), ("i1", "true"))
                place = b.offset(out, b.mul(b.add(word.values[0], k.index), 8))
                b.store("i64", b.add(word.index, lowest), place, 8)
                k.next(b.emit(f"and i64 {rest}, {b.sub(rest, 1)}"))
        word.next(b.add(word.values[0], count))
    return word.values[0]


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
    b = Builder(target)
    with b.kernel("unravel"):
        d = UNRAVEL_FIELDS.load(b)
        out, positions = b.argument(0), b.argument(1)
        with b.loop("%begin", "%end") as i:
            position = b.load("i64", b.offset(positions, b.mul(i.index, 8)), 8)
            row = b.offset(out, b.mul(b.mul(i.index, d.rank), 8))
            with b.loop("0", d.rank, carry=[("i64", position)]) as k:
                dim = b.sub(b.sub(d.rank, 1), k.index)
                size = b.load("i64", b.offset("%desc", b.mul(b.add(dim, 1), 8)), 8)
                (rest,) = k.values
                b.store("i64", b.emit(f"urem i64 {rest}, {size}"), b.offset(row, b.mul(dim, 8)), 8)
                k.next(b.emit(f"udiv i64 {rest}, {size}"))
    return b.module()
