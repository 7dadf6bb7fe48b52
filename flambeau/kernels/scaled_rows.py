"""What reductions of a matrix by reflections share: vector loops over part of a line, and scaling
by powers of two, so that squares neither overflow nor vanish."""

from __future__ import annotations

from collections.abc import Iterator

from .factor_rows import Rows
from .ir import float_bits, suffix


class ScaledRows(Rows):
    """Scalars, and lines of numbers that are padded to whole vectors."""

    def number(self, value: float) -> str:
        """A constant."""
        return float_bits(value, self.c.part)

    def scalar(self, op: str, x: str, y: str) -> str:
        """x op y for scalars: fadd, fsub, fmul, fdiv."""
        return self.b.emit(f"{op} {self.c.part} {x}, {y}")

    def call(self, word: str, *values: str) -> str:
        """An intrinsic of scalars: sqrt, fabs, copysign."""
        part = self.c.part
        return self.b.intrinsic(f"llvm.{word}.{suffix(part)}", part, *[(part, v) for v in values])

    def get(self, line: str, i: str | int) -> str:
        """Number i of a line."""
        b, c = self.b, self.c
        return b.load(c.part, b.offset(line, b.mul(i, c.size)), c.size)

    def put(self, line: str, i: str | int, value: str) -> None:
        """Write number i of a line."""
        b, c = self.b, self.c
        b.store(c.part, value, b.offset(line, b.mul(i, c.size)), c.size)

    def step(self, begin: str, end: str) -> Iterator[tuple[str, str]]:
        """(first number, its offset in bytes) of the vectors from begin to end."""
        with self.b.loop(begin, end, self.c.lanes) as i:
            yield i.index, self.b.mul(i.index, self.c.size)

    def total(self, begin: str, end: str, term) -> str:
        """The sum over vectors of term(first number, offset, sum so far)."""
        b, c = self.b, self.c
        with b.loop(begin, end, c.lanes, [(c.vector, c.zero)]) as i:
            i.next(term(i.index, b.mul(i.index, c.size), i.values[0]))
        return c.sum_lanes(b, i.values)[0]

    def below(self, first: str, end: str) -> str:
        """Mask of the lanes of a vector whose number is below the end."""
        return self.b.lanes_below(self.b.sub(end, first), self.c.lanes)

    def clear(self, line: str, begin: str, end: str) -> None:
        """Zeros in the vectors from begin to end."""
        for _, at in self.step(begin, end):
            self.c.store(self.b, self.c.zero, self.b.offset(line, at))

    def power_of_two(self, value: str) -> str:
        """The number without its digits: scaling by it does not round."""
        b, c = self.b, self.c
        bits, mask = ("i32", 0x7F800000) if c.size == 4 else ("i64", 0x7FF0000000000000)
        raw = b.emit(f"bitcast {c.part} {value} to {bits}")
        power = b.emit(f"bitcast {bits} {b.emit(f'and {bits} {raw}, {mask}')} to {c.part}")
        # subnormal numbers have none, and that of inf or NaN would hide them; the reciprocal of
        # the greatest is subnormal
        least = self.number(2.0**-100 if c.size == 4 else 2.0**-900)
        great = self.number(2.0**100 if c.size == 4 else 2.0**900)
        small = b.emit(f"fcmp olt {c.part} {power}, {least}")
        power = b.select(small, c.part, least, power)
        large = b.emit(f"fcmp ogt {c.part} {power}, {great}")
        return b.select(large, c.part, great, power)

    def largest_lane(self, value: str) -> str:
        """The largest number of a vector."""
        c = self.c
        name = f"llvm.vector.reduce.fmax.v{c.lanes}{suffix(c.part)}"
        return self.b.intrinsic(name, c.part, (c.vector, value))

    def larger(self, most: str, value: str) -> str:
        """Vectors: the larger of a modulus and what was largest so far."""
        size = self.lanes.size(value)
        return self.lanes.select(self.lanes.test("ogt", size, most), size, most)

    def reflection(self, alpha: str, squares: str) -> tuple[str, str, str]:
        """(beta, tau, factor) of the reflection I - tau u u^T that turns a line into beta and
        zeros.

        alpha is the number that becomes beta, and `squares` the sum of the others' squares; u is 1
        there and elsewhere the line times the factor. Lines that nearly vanish beside a matrix of
        norm 1 count as zeros.
        """
        b, part = self.b, self.c.part
        least = self.number(2.0**-90 if self.c.size == 4 else 2.0**-900)
        nothing = b.emit(f"fcmp ole {part} {squares}, {least}")
        total = self.scalar("fadd", self.scalar("fmul", alpha, alpha), squares)
        root = self.call("sqrt", b.select(nothing, part, self.number(1.0), total))
        beta = b.emit(f"fneg {part} {self.call('copysign', root, alpha)}")
        tau = self.scalar("fdiv", self.scalar("fsub", beta, alpha), beta)
        factor = self.scalar("fdiv", self.number(1.0), self.scalar("fsub", alpha, beta))
        zero = self.number(0.0)
        return (
            b.select(nothing, part, alpha, beta),
            b.select(nothing, part, zero, tau),
            b.select(nothing, part, zero, factor),
        )
