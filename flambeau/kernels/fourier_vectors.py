"""What the steps of Fourier transforms are written in: rows of complex vectors, records, state."""

from __future__ import annotations

from types import SimpleNamespace

from . import fourier_fields as fields
from .element import Element
from .ir import Builder, float_bits
from .plan import Fields

Complex = tuple[str, str]  # vectors of real and of imaginary parts


class Vectors:
    """Arithmetic on vectors of one floating-point type."""

    def __init__(self, b: Builder, element: Element) -> None:
        self.b, self.element, self.type = b, element, element.vector
        self.bytes = element.target.vector_bytes

    def constant(self, value: float) -> str:
        """A number in every lane."""
        part = self.element.part
        return f"splat ({part} {float_bits(value, part)})"

    def add(self, x: str, y: str) -> str:
        """x + y."""
        return self.b.emit(f"fadd {self.type} {x}, {y}")

    def sub(self, x: str, y: str) -> str:
        """x - y."""
        return self.b.emit(f"fsub {self.type} {x}, {y}")

    def mul(self, x: str, y: str) -> str:
        """x * y."""
        return self.b.emit(f"fmul {self.type} {x}, {y}")

    def negate(self, x: str) -> str:
        """-x."""
        return self.b.emit(f"fneg {self.type} {x}")

    def fma(self, x: str, y: str, z: str) -> str:
        """x * y + z."""
        return self.element.multiply_add(self.b, [x], y, [z])[0]

    def multiply(self, x: Complex, w: Complex) -> Complex:
        """The complex product."""
        re = self.fma(x[0], w[0], self.negate(self.mul(x[1], w[1])))
        return re, self.fma(x[0], w[1], self.mul(x[1], w[0]))

    def load(self, row: str) -> Complex:
        """A row of a buffer."""
        return self.load_part(row), self.load_part(self.b.offset(row, self.bytes))

    def load_part(self, pointer: str) -> str:
        """One vector of a buffer."""
        return self.b.load(self.type, pointer, self.bytes)

    def store(self, x: Complex, row: str) -> None:
        """Write a row of a buffer."""
        self.store_part(x[0], row)
        self.store_part(x[1], self.b.offset(row, self.bytes))

    def store_part(self, x: str, pointer: str) -> None:
        """Write one vector of a buffer."""
        self.b.store(self.type, x, pointer, self.bytes)

    def broadcast(self, pointer: str, number: str | int) -> str:
        """Number `number` of a table, in every lane."""
        part, size = self.element.part, self.element.size
        at = self.b.offset(pointer, self.b.mul(number, size))
        return self.b.splat(self.b.load(part, at, size), part, self.element.width)


# ---- what steps read -----------------------------------------------------------------------------


def load_record(b: Builder, form: Fields) -> SimpleNamespace:
    """A step's record by name; addresses as pointers."""
    found = SimpleNamespace()
    for k, name in enumerate(form.names):
        kind = _KINDS.get(name, "i64")
        slot = b.emit(f"getelementptr i64, ptr %record, i64 {k}")
        setattr(found, name, b.emit(f"load {kind}, ptr {slot}, !invariant.load !{{}}"))
    return found


_KINDS = {
    "twiddles": "ptr", "roots": "ptr", "turns": "ptr", "coarse": "ptr",
    "scale_real": "double", "scale_imaginary": "double", "sign": "double",
}  # fmt: skip


def state(b: Builder, which: str) -> str:
    """What the block's state holds: by name, or an address by its (run-time) number."""
    kind = "ptr"
    if which in fields.STATE:
        kind = "i64" if which in ("lanes", "block") else "ptr"
        which = str(fields.STATE.index(which))
    slot = b.emit(f"getelementptr i64, ptr %state, i64 {which}")
    return b.emit(f"load {kind}, ptr {slot}")


def interleaved(element: Element) -> tuple[list[int], list[int]]:
    """Lanes of real and imaginary parts, as the halves of a block's complex numbers."""
    width = element.width
    picks = [k // 2 + width * (k % 2) for k in range(2 * width)]
    return picks[:width], picks[width:]


def two_tails(b: Builder, element: Element, lanes: str) -> tuple:
    """For the two vectors that hold one complex number of each lane."""
    parts = b.mul(lanes, 2)
    return element.tail(b, parts), element.tail(b, b.max(b.sub(parts, element.width), "0"))


def scales(v: Vectors, d) -> str:
    """The factors of real and imaginary parts, alternating."""
    b, element = v.b, v.element
    factors = [element.splat(b, narrow(b, element, x)) for x in (d.scale_real, d.scale_imaginary)]
    picks = [k + element.width * (k % 2) for k in range(element.width)]
    return b.shuffle(factors[0], factors[1], v.type, picks)


def narrow(b: Builder, element: Element, number: str) -> str:
    """A double as the element's part."""
    return number if element.part == "double" else b.emit(f"fptrunc double {number} to float")


def prefetch(b: Builder, pointer: str, written: bool) -> None:
    """Ask for a line of the cache, which need not be there, before it is read or written."""
    name = "llvm.prefetch.p0"
    b.declare(name, f"declare void @{name}(ptr, i32, i32, i32)")
    b.do(f"call void @{name}(ptr {pointer}, i32 {int(written)}, i32 2, i32 1)")


def fetch_next(v: Vectors, at: str, written: bool) -> None:
    """Ask for what the next block will read or write of a row: rows are far apart, which no
    prefetcher foresees."""
    for byte in range(2 * v.bytes, 4 * v.bytes, 64):
        prefetch(v.b, v.b.offset(at, byte), written)
