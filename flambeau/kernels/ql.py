"""Eigenvectors of symmetric tridiagonal matrices by the QL iteration with implicit shifts.

The iteration itself is a chain of scalars, in float64 for either type, that notes its rotations
(Bowdler, Martin, Reinsch and Wilkinson 1968). They are applied afterwards, to a panel of columns at
a time that stays in the cache: a sweep carries one row in registers from rotation to rotation.
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element, transpose
from .ir import Builder
from .plan import Fields, KernelSource, Phase, Plan, ceil_div, round_up
from .scaled_rows import ScaledRows
from .target import Target, host

FIELDS = Fields(
    "n length matrix line panels blocks order_at notes most_turns scratch z_argument turns_argument"
    " to_argument signed"
)
PANEL = 4  # vectors of a panel of columns


def source(dtype: str, symbol: str, target: Target) -> KernelSource:
    """A kernel: `iterate`, `rotate` or `order`; the desc is FIELDS, args D, V, E, Z, failed,
    sweeps, turns, workspace."""
    return KernelSource(f"ql:{dtype}:{target.name}", lambda: _build(dtype, target), symbol)


def room(dtype: str, n: int, target: Target | None = None) -> tuple[int, int, int]:
    """(columns of Z, numbers of `sweeps`, numbers of `turns`) of one matrix."""
    c = Element(dtype, target or host())
    # an odd number of panels: lines do not meet in the cache
    panels = ceil_div(n, PANEL * c.lanes) | 1
    return panels * PANEL * c.lanes, order_at(n) + n, 2 * (2 * n * n + 32 * n)


def order_at(n: int) -> int:
    """Where the order of the eigenvalues begins behind notes of sweeps."""
    return 1 + 2 * (8 * n + 64)


def plan_ql(dtype: str, n: int, count: int, threads: int, *, target: Target | None = None) -> Plan:
    """Eigenvalues, ascending, into D (count, n) and eigenvectors into V (count, n, n) of what
    `plan_tridiagonal` leaves in D, E and Z (count, n, columns).

    failed (i32, count): 1 where the iteration did not converge. sweeps (i64) and turns (of the
    type) are room for notes; see `room`. args: D, V, E, Z, failed, sweeps, turns, workspace.
    """
    c = Element(dtype, target or host())
    fields = fields_of(c, n, n)
    desc = FIELDS.pack(**fields)
    iterate = Phase(source(dtype, "iterate", c.target), desc, count, 1)
    return Plan((iterate, *plan_rotations(c, fields, count, threads)), fields["scratch"] * threads)


def fields_of(c: Element, n: int, length: int) -> dict[str, int]:
    """The desc for Z (n, columns), with the arguments of `plan_ql`; vectors have `length`
    numbers."""
    _, notes, turns = room(c.dtype, n, c.target)
    line = room(c.dtype, length, c.target)[0] * c.size
    values = {"matrix": n * line, "line": line, "panels": ceil_div(length, PANEL * c.lanes)}
    places = {"z_argument": 3, "turns_argument": 6, "to_argument": 1, "signed": 0}
    return values | places | {
        "n": n, "length": length, "blocks": ceil_div(n, c.lanes), "order_at": order_at(n),
        "notes": notes, "most_turns": turns, "scratch": round_up((2 * n + 1) * 8, 64) + 128,
    }  # fmt: skip


def plan_rotations(
    c: Element, fields: dict[str, int], count: int, threads: int
) -> tuple[Phase, ...]:
    """The phases that rotate the rows of Z as was noted and write them as columns."""
    desc, n = FIELDS.pack(**fields), fields["n"]
    tasks, work = count * fields["panels"], n * n * PANEL * c.lanes
    grain = tasks if threads == 1 else min(tasks, ceil_div(1 << 15, work))
    rotate, order = (source(c.dtype, symbol, c.target) for symbol in ("rotate", "order"))
    return (
        Phase(rotate, desc, tasks, grain),
        Phase(order, desc, count * fields["blocks"], ceil_div(1 << 13, n)),
    )


def _build(dtype: str, target: Target) -> str:
    b, c = Builder(target), Element(dtype, target)
    with b.kernel("iterate"):
        Iterate(b, Element("f64", target), c).emit()
    with b.kernel("rotate"):
        _Rotate(b, c).emit()
    with b.kernel("order"):
        _Order(b, c).emit()
    return b.module()


class Iterate(ScaledRows):
    """The chain of scalars, in float64."""

    turn_arguments: tuple[int, ...] = (6,)
    workspace_argument = 7

    def __init__(self, b: Builder, c: Element, outer: Element) -> None:
        super().__init__(b, c)
        self.outer = outer

    def emit(self) -> None:
        """Task: one matrix."""
        b, o = self.b, self.outer
        self.d = d = FIELDS.load(b)
        diagonal, beside, failed, sweeps = (b.argument(k) for k in (0, 2, 4, 5))
        turns = [b.argument(k) for k in self.turn_arguments]
        workspace = b.argument(self.workspace_argument)
        scratch = b.offset(workspace, b.mul("%thread", d.scratch))
        names = ("first", "sweep", "turn", "failed")
        self.cells = SimpleNamespace(**{name: b.stack("i64") for name in names})
        with b.loop("%begin", "%end") as task:
            line = b.mul(d.n, o.size)
            at = SimpleNamespace(
                d=scratch, e=b.offset(scratch, b.mul(b.add(d.n, 1), 8)),
                sweeps=b.offset(sweeps, b.mul(task.index, b.mul(d.notes, 8))),
                turns=[b.offset(t, b.mul(task.index, b.mul(d.most_turns, o.size))) for t in turns],
            )  # fmt: skip
            to = b.offset(diagonal, b.mul(task.index, line))
            scale = self._read(at, to, b.offset(beside, b.mul(task.index, line)))
            for name in names:
                self._set(name, "0")
            self._iterate(at)
            b.store("i64", self._cell("sweep"), at.sweeps, 8)
            flag = b.emit(f"trunc i64 {self._cell('failed')} to i32")
            b.store("i32", flag, b.offset(failed, b.mul(task.index, 4)), 4)
            order = b.offset(at.sweeps, b.mul(d.order_at, 8))
            self._finish(at, to, order, scale)

    def _finish(self, at: SimpleNamespace, to: str, order: str, scale: str) -> None:
        """The eigenvalues, and their order."""
        b = self.b
        with b.loop("0", self.d.n) as k:
            value = self.get(at.d, k.index)
            place = self._rank(at.d, value, k.index)
            b.store("i64", k.index, b.offset(order, b.mul(place, 8)), 8)
            self._write(to, place, self.scalar("fmul", value, scale))

    def _cell(self, name: str) -> str:
        return self.b.load("i64", getattr(self.cells, name), 8)

    def _set(self, name: str, value: str) -> None:
        self.b.store("i64", value, getattr(self.cells, name), 8)

    def _write(self, line: str, k: str, value: str) -> None:
        b, o = self.b, self.outer
        if o.part == "float":
            value = b.emit(f"fptrunc double {value} to float")
        b.store(o.part, value, b.offset(line, b.mul(k, o.size)), o.size)

    def _outer(self, line: str, k: str | int) -> str:
        b, o = self.b, self.outer
        value = b.load(o.part, b.offset(line, b.mul(k, o.size)), o.size)
        return value if o.part == "double" else b.emit(f"fpext float {value} to double")

    def _read(self, at: SimpleNamespace, d: str, e: str) -> str:
        """D and E, in float64, so that e[k] joins rows k and k + 1; what all was divided by."""
        b, n = self.b, self.d.n
        with b.loop("0", n) as k:
            self.put(at.d, k.index, self._outer(d, k.index))
        with b.loop("1", n) as k:
            self.put(at.e, b.sub(k.index, 1), self._outer(e, k.index))
        self.put(at.e, b.sub(n, 1), self.number(0.0))
        return self._outer(e, 0)

    def _rank(self, line: str, value: str, k: str) -> str:
        """How many values come before number k: those that are less, and equal ones before it."""
        b, c, lanes = self.b, self.c, self.lanes
        whole, one = c.splat(b, value), lanes.constant(1.0)

        def term(first: str, place: str, total: str) -> str:
            other = c.load(b, b.offset(line, place), c.tail(b, b.sub(self.d.n, first)))
            before = lanes.both(self.below(first, k), lanes.test("oeq", other, whole))
            less = lanes.both(self.below(first, self.d.n), lanes.test("olt", other, whole))
            counted = b.emit(f"or {lanes.bits} {before}, {less}")
            return lanes.add(total, lanes.select(counted, one, c.zero))

        return b.emit(f"fptoui double {self.total('0', self.d.n, term)} to i64")

    # ---- the iteration ---------------------------------------------------------------------------

    def _iterate(self, at: SimpleNamespace) -> None:
        """Sweeps over blocks that begin with the first row that is not yet alone."""
        b, d = self.b, self.d
        head, body, done = b.fresh("head"), b.fresh("body"), b.fresh("done")
        b.branch(head)
        b.start(head)
        first = self._cell("first")
        within = b.less(self._cell("sweep"), b.emit(f"lshr i64 {d.order_at}, 1"))
        turns = b.add(self._cell("turn"), d.n)
        within = b.emit(f"and i1 {within}, {b.less(b.mul(turns, 2), d.most_turns)}")
        left = b.less(first, d.n)
        with b.when(b.emit(f"and i1 {left}, {b.emit(f'xor i1 {within}, true')}")):
            self._set("failed", "1")
        b.branch_if(b.emit(f"and i1 {left}, {within}"), body, done)
        b.start(body)
        last = self._find_end(at, first)
        alone = b.emit(f"icmp eq i64 {last}, {first}")
        b.choose(
            alone,
            lambda: self._set("first", b.add(first, 1)),
            lambda: self._sweep(at, first, last),
        )
        b.branch(head)
        b.start(done)

    def _find_end(self, at: SimpleNamespace, first: str) -> str:
        """The last row of the block: what joins it to the next is nothing beside their
        diagonal."""
        b, d = self.b, self.d
        place = b.stack("i64")
        b.store("i64", first, place, 8)
        head, more, step, done = (b.fresh(name) for name in ("head", "more", "step", "done"))
        narrow = self.outer.part == "float"
        b.branch(head)
        b.start(head)
        k = b.load("i64", place, 8)
        b.branch_if(b.less(k, b.sub(d.n, 1)), more, done)
        b.start(more)
        size = self.scalar(
            "fadd", *[self.call("fabs", self.get(at.d, q)) for q in (k, b.add(k, 1))]
        )
        # the matrix has norm 1 or more
        limit = self.scalar("fmul", size, self.number(2.0**-27 if narrow else 2.0**-53))
        limit = self.scalar("fadd", limit, self.number(2.0**-40 if narrow else 2.0**-62))
        joined = self.call("fabs", self.get(at.e, k))
        b.branch_if(b.emit(f"fcmp ole double {joined}, {limit}"), done, step)
        b.start(step)
        b.store("i64", b.add(k, 1), place, 8)
        b.branch(head)
        b.start(done)
        return b.load("i64", place, 8)

    def _shift(self, at: SimpleNamespace, first: str, last: str) -> str:
        """d_last minus Wilkinson's shift."""
        top, joined = self.get(at.d, first), self.get(at.e, first)
        after = self.get(at.d, self.b.add(first, 1))
        twice = self.scalar("fadd", joined, joined)
        g = self.scalar("fdiv", self.scalar("fsub", after, top), twice)
        one = self.number(1.0)
        root = self.call("sqrt", self.scalar("fadd", self.scalar("fmul", g, g), one))
        below = self.scalar("fadd", g, self.call("copysign", root, g))
        g = self.scalar("fsub", self.get(at.d, last), top)
        return self.scalar("fadd", g, self.scalar("fdiv", joined, below))

    def _sweep(self, at: SimpleNamespace, first: str, last: str) -> None:
        """Chase the bulge from the last row of a block to its first."""
        b = self.b
        turn = self._cell("turn")
        one, zero = self.number(1.0), self.number(0.0)
        carry = [("double", v) for v in (one, one, zero, self._shift(at, first, last))]
        length = b.sub(last, first)
        with b.loop("0", length, carry=carry) as t:
            s, c, p, g = t.values
            i = b.sub(b.sub(last, 1), t.index)
            after, joined = b.add(i, 1), self.get(at.e, i)
            f, h = self.scalar("fmul", s, joined), self.scalar("fmul", c, joined)
            squares = self.scalar("fadd", self.scalar("fmul", f, f), self.scalar("fmul", g, g))
            # where nothing is left to rotate, any rotation will do
            none = b.emit(f"fcmp olt double {squares}, {self.number(2.0**-900)}")
            root = self.call("sqrt", b.select(none, "double", one, squares))
            inverse = self.scalar("fdiv", one, root)
            self.put(at.e, after, b.select(none, "double", zero, root))
            s = b.select(none, "double", zero, self.scalar("fmul", f, inverse))
            c = b.select(none, "double", one, self.scalar("fmul", g, inverse))
            g = self.scalar("fsub", self.get(at.d, after), p)
            r = self.scalar("fmul", self.scalar("fsub", self.get(at.d, i), g), s)
            r = self.scalar("fadd", r, self.scalar("fmul", self.scalar("fadd", c, c), h))
            p = self.scalar("fmul", s, r)
            self.put(at.d, after, self.scalar("fadd", g, p))
            self._note(at.turns[0], b.add(turn, t.index), c, s)
            t.next(s, c, p, self.scalar("fsub", self.scalar("fmul", c, r), h))
        _, _, p, g = t.values
        self.put(at.d, first, self.scalar("fsub", self.get(at.d, first), p))
        self.put(at.e, last, zero)
        self.put(at.e, first, g)
        self._note_sweep(at, first, last)

    def _note(self, turns: str, number: str, cosine: str, sine: str) -> None:
        place = self.b.offset(turns, self.b.mul(number, 2 * self.outer.size))
        self._write(place, "0", cosine)
        self._write(place, "1", sine)

    def _note_sweep(self, at: SimpleNamespace, first: str, last: str) -> None:
        b = self.b
        sweep = self._cell("sweep")
        note = b.offset(at.sweeps, b.add(b.mul(sweep, 16), 8))
        b.store("i64", first, note, 8)
        b.store("i64", last, b.offset(note, 8), 8)
        self._set("sweep", b.add(sweep, 1))
        self._set("turn", b.add(self._cell("turn"), b.sub(last, first)))


class _Rotate(ScaledRows):
    def emit(self) -> None:
        """Task: all rotations of a panel of columns."""
        b, c = self.b, self.c
        self.d = d = FIELDS.load(b)
        z, sweeps, turns = (b.argument(k) for k in (d.z_argument, 5, d.turns_argument))
        with b.loop("%begin", "%end") as task:
            matrix, panel = b.divide(task.index, d.panels)
            rows = b.offset(
                z, b.add(b.mul(matrix, d.matrix), b.mul(panel, PANEL * c.lanes * c.size))
            )
            notes = b.offset(sweeps, b.mul(matrix, b.mul(d.notes, 8)))
            start = b.offset(turns, b.mul(matrix, b.mul(d.most_turns, c.size)))
            carry = [("ptr", start)]
            with b.loop("0", b.load("i64", notes, 8), carry=carry) as k:
                note = b.offset(notes, b.add(b.mul(k.index, 16), 8))
                first, last = b.load("i64", note, 8), b.load("i64", b.offset(note, 8), 8)
                k.next(self._sweep(rows, first, last, k.values[0]))

    def _sweep(self, rows: str, first: str, last: str, turns: str) -> str:
        """Rotations of neighbouring rows, from the last to the first; where the next ones are."""
        b, c, d, lanes = self.b, self.c, self.d, self.lanes
        steps = [v * c.lanes * c.size for v in range(PANEL)]
        row = self.place(rows, last, d.line)
        back = b.sub("0", d.line)
        carry = [(c.vector, c.load(b, b.offset(row, step))) for step in steps]
        carry += [("ptr", row), ("ptr", turns)]
        with b.loop("0", b.sub(last, first), carry=carry) as t:
            *known, row, turn = t.values
            cosine, sine = (self.splat_at(b.offset(turn, k * c.size)) for k in range(2))
            minus = lanes.negate(sine)
            above, following = b.offset(row, back), []
            for step, value in zip(steps, known, strict=True):
                x = c.load(b, b.offset(above, step))
                below = lanes.multiply_add(sine, x, lanes.multiply(cosine, value))
                c.store(b, below, b.offset(row, step))
                following.append(lanes.multiply_add(minus, value, lanes.multiply(cosine, x)))
            t.next(*following, above, b.offset(turn, 2 * c.size))
        *known, row, turn = t.values
        for step, value in zip(steps, known, strict=True):
            c.store(b, value, b.offset(row, step))
        return turn


class _Order(ScaledRows):
    def emit(self) -> None:
        """Task: as many vectors as a vector has lanes, into columns."""
        b, c = self.b, self.c
        self.d = d = FIELDS.load(b)
        vectors, z, sweeps = (b.argument(k) for k in (d.to_argument, d.z_argument, 5))
        signed = b.emit(f"icmp ne i64 {d.signed}, 0")
        row = b.mul(d.n, c.size)
        with b.loop("%begin", "%end") as task:
            matrix, block = b.divide(task.index, d.blocks)
            first = b.mul(block, c.lanes)
            order = b.offset(sweeps, b.mul(b.add(b.mul(matrix, d.notes), d.order_at), 8))
            from_ = b.offset(z, b.mul(matrix, d.matrix))
            to = b.offset(vectors, b.add(b.mul(matrix, b.mul(d.length, row)), b.mul(first, c.size)))
            lines, factors = [], []
            for q in range(c.lanes):
                number = b.min(b.add(first, q), b.sub(d.n, 1))
                number = b.load("i64", b.offset(order, b.mul(number, 8)), 8)
                # ~k stands for row k of the other sign
                turned = b.less(number, "0")
                number = b.emit(f"xor i64 {number}, {b.emit(f'ashr i64 {number}, 63')}")
                lines.append(self.place(from_, number, d.line))
                sign = b.select(
                    b.emit(f"and i1 {turned}, {signed}"), c.part, self.number(-1), self.number(1)
                )
                factors.append(c.splat(b, sign))
            tail = c.tail(b, b.sub(d.n, first))
            for i, place in self.step("0", d.length):
                runs = [
                    self.lanes.multiply(c.load(b, b.offset(line, place)), factor)
                    for line, factor in zip(lines, factors, strict=True)
                ]
                for q, run in enumerate(transpose(b, runs, c.vector, c.lanes)):
                    number = b.add(i, q)
                    with b.when(b.less(number, d.length)):
                        c.store(b, run, self.place(to, number, row), tail)
