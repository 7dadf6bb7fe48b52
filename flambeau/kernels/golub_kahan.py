"""Singular vectors of bidiagonal matrices by the QR iteration with implicit shifts (Golub and
Kahan 1965; Demmel and Kahan 1990 for the shift of zero).

Like `ql`, it chases the bulge from the last row of a block to its first and notes its rotations:
those from the left, then those from the right, which are applied to panels of columns.
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element
from .ir import Builder
from .plan import KernelSource, Phase, Plan
from .ql import FIELDS, Iterate, fields_of, plan_rotations
from .target import Target, host


def source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is that of `ql`, args as `plan_golub_kahan` has them."""
    return KernelSource(f"golub_kahan:{dtype}:{target.name}", lambda: _build(dtype, target), "k")


def plan_golub_kahan(
    dtype: str, m: int, n: int, count: int, threads: int, *, target: Target | None = None
) -> Plan:
    """Singular values, descending, into D (count, n), U (count, m, n) and V (count, n, n) of what
    `plan_bidiagonal` leaves in D, E, L and R, whose columns and room for notes `ql.room` names.

    failed (i32, count): 1 where the iteration did not converge. args: D, U, E, L, failed, sweeps,
    left turns, V, R, right turns, workspace.
    """
    c = Element(dtype, target or host())
    right = fields_of(c, n, n) | {"z_argument": 8, "turns_argument": 9, "to_argument": 7}
    right["signed"] = 1
    left = fields_of(c, n, m)
    iterate = Phase(source(dtype, c.target), FIELDS.pack(**right), count, 1)
    phases = [plan_rotations(c, fields, count, threads) for fields in (left, right)]
    return Plan((iterate, *phases[0], *phases[1]), left["scratch"] * threads)


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    with b.kernel():
        _Iterate(b, Element("f64", target), Element(dtype, target)).emit()
    return b.module()


class _Iterate(Iterate):
    turn_arguments = (6, 9)
    workspace_argument = 10

    def _finish(self, at: SimpleNamespace, to: str, order: str, scale: str) -> None:
        """The moduli, descending; where one was negative the number of its row is inverted."""
        b, part = self.b, self.c.part
        with b.loop("0", self.d.n) as k:
            value = self.get(at.d, k.index)
            self.put(at.e, k.index, value)
            self.put(at.d, k.index, b.emit(f"fneg {part} {self.call('fabs', value)}"))
        with b.loop("0", self.d.n) as k:
            value = self.get(at.d, k.index)
            place = self._rank(at.d, value, k.index)
            negative = b.emit(f"fcmp olt {part} {self.get(at.e, k.index)}, {self.number(0.0)}")
            other = b.emit(f"xor i64 {k.index}, -1")
            number = b.select(negative, "i64", other, k.index)
            b.store("i64", number, b.offset(order, b.mul(place, 8)), 8)
            value = self.scalar("fmul", value, scale)
            self._write(to, place, self.call("fabs", value))

    def _least_diagonal(self, at: SimpleNamespace, first: str, last: str) -> str:
        """The smallest modulus on the diagonal of a block, where what is negligible becomes 0."""
        b, zero = self.b, self.number(0.0)
        least = self.number(2.0**-40 if self.outer.part == "float" else 2.0**-62)
        carry = [("double", self.number(float("inf")))]
        with b.loop(first, b.add(last, 1), carry=carry) as k:
            value = self.get(at.d, k.index)
            size = self.call("fabs", value)
            nothing = b.emit(f"fcmp ole double {size}, {least}")
            self.put(at.d, k.index, b.select(nothing, "double", zero, value))
            size = b.select(nothing, "double", zero, size)
            less = b.emit(f"fcmp olt double {size}, {k.values[0]}")
            k.next(b.select(less, "double", size, k.values[0]))
        return k.values[0]

    def _start(self, at: SimpleNamespace, first: str, last: str) -> str:
        """What the first rotation turns, beside what joins the last rows: (d^2 - shift^2) / d, for
        the smaller singular value of the first two rows; d where the block is singular or the
        shift would be lost in it."""
        b = self.b
        least = self._least_diagonal(at, first, last)
        f, g, h = self.get(at.d, first), self.get(at.e, first), self.get(at.d, b.add(first, 1))
        f, h = self.call("fabs", f), self.call("fabs", h)
        square = self.scalar("fmul", g, g)
        roots = []
        for op in ("fadd", "fsub"):
            side = self.scalar(op, f, h)
            total = self.scalar("fadd", self.scalar("fmul", side, side), square)
            roots.append(self.call("sqrt", total))
        product = self.scalar("fmul", self.scalar("fmul", f, h), self.number(2.0))
        shift = self.scalar("fdiv", product, self.scalar("fadd", *roots))
        value = self.get(at.d, last)
        ratio = self.scalar("fdiv", shift, value)
        size = self.call("fabs", value)
        start = self.scalar(
            "fmul", self.scalar("fsub", size, shift),
            self.scalar("fadd", self.call("copysign", self.number(1.0), value), ratio),
        )  # fmt: skip
        regular = b.emit(f"fcmp ogt double {least}, {self.number(0.0)}")
        matters = b.emit(
            f"fcmp ogt double {shift}, {self.scalar('fmul', size, self.number(2.0**-27))}"
        )
        return b.select(b.emit(f"and i1 {regular}, {matters}"), "double", start, value)

    def _rotation(self, f: str, g: str) -> tuple[str, str, str]:
        """(cosine, sine, r) that turn (f, g) into (r, 0); none where both vanish."""
        b = self.b
        one, zero = self.number(1.0), self.number(0.0)
        squares = self.scalar("fadd", self.scalar("fmul", f, f), self.scalar("fmul", g, g))
        none = b.emit(f"fcmp olt double {squares}, {self.number(2.0**-900)}")
        root = self.call("sqrt", b.select(none, "double", one, squares))
        inverse = self.scalar("fdiv", one, root)
        cosine, sine = (self.scalar("fmul", x, inverse) for x in (f, g))
        return (
            b.select(none, "double", one, cosine),
            b.select(none, "double", zero, sine),
            b.select(none, "double", zero, root),
        )

    def _mix(self, op: str, c: str, x: str, s: str, y: str) -> str:
        """c x + s y, or c x - s y."""
        return self.scalar(op, self.scalar("fmul", c, x), self.scalar("fmul", s, y))

    def _sweep(self, at: SimpleNamespace, first: str, last: str) -> None:
        """Chase the bulge from the last row of a block to its first."""
        b = self.b
        turn, zero = self._cell("turn"), self.number(0.0)
        begin = self._start(at, first, last)
        joined = self.get(at.e, b.sub(last, 1))
        after = self.get(at.e, last)  # the first rotation's length goes where nothing is joined
        carry = [("double", v) for v in (begin, joined)]
        with b.loop("0", b.sub(last, first), carry=carry) as t:
            f, g = t.values
            i = b.sub(last, t.index)
            before = b.sub(i, 1)
            d, e, d_before = self.get(at.d, i), self.get(at.e, before), self.get(at.d, before)
            cosine, sine, r = self._rotation(f, g)
            self.put(at.e, i, r)
            self._note(at.turns[0], b.add(turn, t.index), cosine, sine)
            f = self._mix("fadd", cosine, d, sine, e)
            e = self._mix("fsub", cosine, e, sine, d)
            g = self.scalar("fmul", sine, d_before)
            d_before = self.scalar("fmul", cosine, d_before)
            cosine, sine, r = self._rotation(f, g)
            self.put(at.d, i, r)
            self._note(at.turns[1], b.add(turn, t.index), cosine, sine)
            f = self._mix("fadd", cosine, e, sine, d_before)
            self.put(at.d, before, self._mix("fsub", cosine, d_before, sine, e))
            # the place before the first holds a number too, which is put back
            place = b.max(b.sub(i, 2), "0")
            inside = b.less(b.add(first, 1), i)
            beyond = self.get(at.e, place)
            g = self.scalar("fmul", sine, beyond)
            kept = b.select(inside, "double", self.scalar("fmul", cosine, beyond), beyond)
            self.put(at.e, place, kept)
            t.next(f, b.select(inside, "double", g, zero))
        self.put(at.e, last, after)
        self.put(at.e, first, t.values[0])
        self._note_sweep(at, first, last)
