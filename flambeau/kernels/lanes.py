"""Small matrices of a batch, one in each lane of the vectors: what their algorithms are written in.

A task takes as many matrices as a vector has lanes, transposes them into a workspace so that equal
elements lie side by side, and runs one scalar algorithm on all of them. The text of an algorithm
serves two storages: with a size known here its loops unroll and the matrix lives in registers; with
one known when it runs, its loops are loops and the matrix stays in the first-level cache.
"""

from __future__ import annotations

from collections.abc import Iterator

from .element import Element, fma
from .ir import Builder, float_bits, suffix

Index = int | str


class Lanes:
    """Arithmetic on one number of every matrix, and loops over rows and columns."""

    def __init__(self, b: Builder, c: Element) -> None:
        self.b, self.c = b, c
        self.whole = f"<{c.lanes} x i32>"
        self.bits = f"<{c.lanes} x i1>"
        self.zero = "zeroinitializer"

    # ---- loops -----------------------------------------------------------------------------------

    def span(self, first: Index, end: Index) -> Iterator[Index]:
        """The numbers from first up to end: unrolled where both are known."""
        if isinstance(first, int) and isinstance(end, int):
            yield from range(first, end)
            return
        with self.b.loop(str(first), str(end)) as loop:
            yield loop.index

    def down(self, end: Index) -> Iterator[Index]:
        """The numbers from end - 1 down to 0."""
        for i in self.span(0, end):
            yield self.minus(self.minus(end, 1), i)

    def plus(self, i: Index, k: Index) -> Index:
        """i + k."""
        known = isinstance(i, int) and isinstance(k, int)
        return i + k if known else self.b.add(i, k)  # type: ignore[operator]

    def minus(self, i: Index, k: Index) -> Index:
        """i - k."""
        known = isinstance(i, int) and isinstance(k, int)
        return i - k if known else self.b.sub(i, k)  # type: ignore[operator]

    # ---- numbers ---------------------------------------------------------------------------------

    def _op(self, name: str, x: str, y: str) -> str:
        return self.b.emit(f"{name} {self.c.vector} {x}, {y}")

    def add(self, x: str, y: str) -> str:
        """x + y."""
        return self._op("fadd", x, y)

    def subtract(self, x: str, y: str) -> str:
        """x - y."""
        return self._op("fsub", x, y)

    def multiply(self, x: str, y: str) -> str:
        """x * y."""
        return self._op("fmul", x, y)

    def divide(self, x: str, y: str) -> str:
        """x / y."""
        return self._op("fdiv", x, y)

    def negate(self, x: str) -> str:
        """-x."""
        return self.b.emit(f"fneg {self.c.vector} {x}")

    def multiply_add(self, x: str, y: str, z: str) -> str:
        """x * y + z."""
        return fma(self.b, "f", self.c.part, self.c.width, x, y, z)

    def without_product(self, z: str, x: str, y: str) -> str:
        """z - x * y."""
        return self.multiply_add(self.negate(x), y, z)

    def root(self, x: str) -> str:
        """The square root."""
        return self._intrinsic("sqrt", x)

    def size(self, x: str) -> str:
        """|x|."""
        return self._intrinsic("fabs", x)

    def with_sign(self, x: str, y: str) -> str:
        """|x| with the sign of y."""
        name = f"llvm.copysign.v{self.c.width}{suffix(self.c.part)}"
        return self.b.intrinsic(name, self.c.vector, (self.c.vector, x), (self.c.vector, y))

    def _intrinsic(self, word: str, x: str) -> str:
        name = f"llvm.{word}.v{self.c.width}{suffix(self.c.part)}"
        return self.b.intrinsic(name, self.c.vector, (self.c.vector, x))

    def constant(self, value: float) -> str:
        """A number in every lane."""
        return f"splat ({self.c.part} {float_bits(value, self.c.part)})"

    def integer(self, value: Index) -> str:
        """A row or column number (i32) in every lane."""
        if isinstance(value, int):
            return f"splat (i32 {value})"
        return self.b.splat(self.b.emit(f"trunc i64 {value} to i32"), "i32", self.c.lanes)

    # ---- conditions ------------------------------------------------------------------------------

    def test(self, how: str, x: str, y: str) -> str:
        """A condition on numbers: ogt, oeq, une and so on."""
        return self.b.emit(f"fcmp {how} {self.c.vector} {x}, {y}")

    def equal(self, x: str, y: str) -> str:
        """Equal integers."""
        return self.b.emit(f"icmp eq {self.whole} {x}, {y}")

    def both(self, x: str, y: str) -> str:
        """Both conditions."""
        return self.b.emit(f"and {self.bits} {x}, {y}")

    def select(self, condition: str, x: str, y: str, kind: str | None = None) -> str:
        """x where the condition holds, else y."""
        kind = kind or self.c.vector
        return self.b.emit(f"select {self.bits} {condition}, {kind} {x}, {kind} {y}")

    def any(self, condition: str) -> str:
        """Whether it holds in some lane (i1)."""
        name = f"llvm.vector.reduce.or.v{self.c.lanes}i1"
        return self.b.intrinsic(name, "i1", (self.bits, condition))

    # ---- places ----------------------------------------------------------------------------------

    def cell(self, fixed: bool, initial: str, kind: str | None = None) -> Cell:
        """A variable."""
        return Cell(self, fixed, initial, kind or self.c.vector)


class Cell:
    """A variable: a name for a value while loops unroll, else a place in the frame."""

    def __init__(self, lanes: Lanes, fixed: bool, initial: str, kind: str) -> None:
        self.b, self.kind = lanes.b, kind
        self.place = None if fixed else lanes.b.stack(kind)
        self.set(initial)

    def get(self) -> str:
        """The value."""
        return self.b.load(self.kind, self.place, 64) if self.place else self.value

    def set(self, value: str) -> None:
        """Another value."""
        if self.place:
            self.b.store(self.kind, value, self.place, 64)
        self.value = value


class Stored:
    """A matrix (of every lane) in the workspace, [rows][columns][lanes]."""

    def __init__(self, lanes: Lanes, at: str, columns: Index, kind: str | None = None) -> None:
        self.lanes, self.at, self.columns = lanes, at, columns
        self.kind = kind or lanes.c.vector
        self.bytes = lanes.c.lanes * (lanes.c.size if kind is None else 4)

    def _place(self, i: Index, j: Index) -> str:
        b = self.lanes.b
        number = b.add(str(b.mul(i, self.columns)), str(j))
        return b.offset(self.at, b.mul(number, self.bytes))

    def get(self, i: Index, j: Index) -> str:
        """Element (i, j)."""
        return self.lanes.b.load(self.kind, self._place(i, j), self.bytes)

    def set(self, i: Index, j: Index, value: str) -> None:
        """Write element (i, j)."""
        self.lanes.b.store(self.kind, value, self._place(i, j), self.bytes)

    def flush(self) -> None:
        """Nothing is pending."""


class Held:
    """A matrix of known size in registers: read when first asked for, written by `flush`."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.values: dict[tuple[Index, Index], str] = {}
        self.changed: set[tuple[Index, Index]] = set()

    def get(self, i: Index, j: Index) -> str:
        """Element (i, j)."""
        if (i, j) not in self.values:
            self.values[i, j] = self.stored.get(i, j)
        return self.values[i, j]

    def set(self, i: Index, j: Index, value: str) -> None:
        """Replace element (i, j)."""
        self.values[i, j] = value
        self.changed.add((i, j))

    def flush(self) -> None:
        """Write what has changed."""
        for i, j in sorted(self.changed, key=str):
            self.stored.set(i, j, self.values[i, j])


class Turned:
    """The transpose of a matrix."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix

    def get(self, i: Index, j: Index) -> str:
        """Element (j, i)."""
        return self.matrix.get(j, i)

    def set(self, i: Index, j: Index, value: str) -> None:
        """Write element (j, i)."""
        self.matrix.set(j, i, value)

    def flush(self) -> None:
        """Write what is pending."""
        self.matrix.flush()


class Backwards:
    """The first `dims` indices counted from the end: an upper triangle is a lower one."""

    def __init__(self, lanes: Lanes, matrix: Matrix, n: Index, dims: int) -> None:
        self.lanes, self.matrix, self.n, self.dims = lanes, matrix, n, dims

    def _turn(self, i: Index) -> Index:
        return self.lanes.minus(self.lanes.minus(self.n, 1), i)

    def _both(self, i: Index, j: Index) -> tuple[Index, Index]:
        return self._turn(i), self._turn(j) if self.dims == 2 else j

    def get(self, i: Index, j: Index) -> str:
        """The element with turned indices."""
        return self.matrix.get(*self._both(i, j))

    def set(self, i: Index, j: Index, value: str) -> None:
        """Write it."""
        self.matrix.set(*self._both(i, j), value)

    def flush(self) -> None:
        """Write what is pending."""
        self.matrix.flush()


Matrix = Stored | Held | Turned | Backwards
