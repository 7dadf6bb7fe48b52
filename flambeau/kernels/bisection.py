"""Eigenvalues of symmetric tridiagonal matrices by bisection, one eigenvalue in each lane.

The leading minors of T - x form a Sturm sequence: p_0 = 1, p_1 = d_0 - x,
p_{k+1} = (d_k - x) p_k - e_k^2 p_{k-1}, whose changes of sign count the eigenvalues below x (Givens
1954). They are computed in float64 for either type, brought back to the middle of the range every
few steps, and squares e^2 are at least 2^-120 of the norm's, so that no two neighbours vanish.
Singular values of a bidiagonal B are the positive eigenvalues of the tridiagonal matrix with zeros
on the diagonal and the elements of B, in their order, beside it (Golub and Kahan 1965).
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element
from .ir import Builder
from .plan import Fields, KernelSource, Phase, Plan, ceil_div, round_up
from .scaled_rows import ScaledRows
from .target import Target, host

FIELDS = Fields("n wanted groups vectors singular table_at lanes_at scratch")
TOGETHER = 4  # vectors of points whose sequences are computed side by side
STEPS = 8  # of a sequence before it is scaled again
TASK_WORK = 1 << 17  # multiply-adds worth another thread
_KINDS = ("point", "low", "high", "number", "count")  # what is kept of every lane


def source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is FIELDS, args X, D, E, workspace."""
    return KernelSource(f"bisection:{dtype}:{target.name}", lambda: _build(dtype, target), "k")


def plan_bisection(
    dtype: str, n: int, count: int, threads: int, *, singular: bool, target: Target | None = None
) -> Plan:
    """X (count, n): the eigenvalues, ascending, of what `plan_tridiagonal` leaves in D and E.

    singular: the singular values, descending, of the bidiagonal matrix with diagonal D and E[k]
    right of D[k - 1]. Both are multiplied by E[0]. args: X, D, E, workspace.
    """
    target = target or host()
    c = Element("f64", target)
    vectors = min(TOGETHER, ceil_div(n, c.lanes))
    vectors = vectors if vectors <= 2 else TOGETHER
    size = round_up(2 * n if singular else n, STEPS)
    table = round_up(size * 16, 64)
    lanes = len(_KINDS) * vectors * c.lanes * 8
    groups = ceil_div(n, vectors * c.lanes)
    desc = FIELDS.pack(
        n=n, wanted=n, groups=groups, vectors=vectors, singular=singular, table_at=0,
        lanes_at=table, scratch=round_up(table + lanes, 64) + 64,
    )  # fmt: skip
    work = size * vectors * c.lanes * (30 if dtype == "f32" else 56)
    grain = groups * count if threads == 1 else min(groups * count, ceil_div(TASK_WORK, work))
    return Plan((Phase(source(dtype, target), desc, groups * count, grain),), desc[-1] * threads)


def _build(dtype: str, target: Target) -> str:
    b, c = Builder(target), Element("f64", target)
    for vectors in (1, 2, TOGETHER):
        _emit_count(b, c, vectors)
    with b.kernel():
        _Bisection(b, c, Element(dtype, target)).emit()
    return b.module()


def _emit_count(b: Builder, c: Element, vectors: int) -> None:
    """Define count{vectors}(points, counts, table, blocks): the eigenvalues below each point.

    The table has pairs (d_k, e_k^2), where e_k joins rows k - 1 and k.
    """
    parameters = [("ptr", "%points"), ("ptr", "%counts"), ("ptr", "%table"), ("i64", "%blocks")]
    with b.function(f"count{vectors}", parameters, "internal", "noinline"):
        rows, each = ScaledRows(b, c), range(vectors)
        lanes, bits = rows.lanes, f"<{c.lanes} x i64>"
        step = c.lanes * 8
        points = [c.load(b, b.offset("%points", v * step)) for v in each]
        one = lanes.constant(1.0)
        carry = [(c.vector, one)] * vectors + [(c.vector, c.zero)] * vectors
        carry += [(bits, "zeroinitializer")] * vectors
        with b.loop("0", "%blocks", carry=carry) as block:
            p, before, counts = (block.values[k * vectors : (k + 1) * vectors] for k in range(3))
            pairs = b.offset("%table", b.mul(block.index, 16 * STEPS))
            for k in range(STEPS):
                d, square = (rows.splat_at(b.offset(pairs, 16 * k + 8 * h)) for h in range(2))
                minus = lanes.negate(square)
                for v in each:
                    less = lanes.multiply(minus, before[v])
                    p_next = lanes.multiply_add(lanes.subtract(d, points[v]), p[v], less)
                    counts[v] = _count_change(b, bits, c, p_next, p[v], counts[v])
                    before[v], p[v] = p[v], p_next
            for v in each:
                p[v], before[v] = _rescale(rows, p[v], before[v])
            block.next(*p, *before, *counts)
        for v in each:
            b.store(bits, block.values[2 * vectors + v], b.offset("%counts", v * step), 8)


def _count_change(b: Builder, bits: str, c: Element, x: str, y: str, count: str) -> str:
    """The count, one more where the signs of x and y differ."""
    raw = [b.emit(f"bitcast {c.vector} {value} to {bits}") for value in (x, y)]
    differ = b.emit(f"xor {bits} {raw[0]}, {raw[1]}")
    return b.emit(f"add {bits} {count}, {b.emit(f'lshr {bits} {differ}, splat (i64 63)')}")


def _rescale(rows: ScaledRows, x: str, y: str) -> tuple[str, str]:
    """Both numbers divided by the power of two of the larger one."""
    b, c, lanes = rows.b, rows.c, rows.lanes
    bits = f"<{c.lanes} x i64>"
    most = rows.larger(lanes.size(x), y)
    raw = b.emit(f"bitcast {c.vector} {most} to {bits}")
    exponent = b.emit(f"and {bits} {raw}, splat (i64 {0x7FF << 52})")
    inverse = b.emit(f"sub {bits} splat (i64 {0x7FE << 52}), {exponent}")
    factor = b.emit(f"bitcast {bits} {inverse} to {c.vector}")
    return lanes.multiply(x, factor), lanes.multiply(y, factor)


class _Bisection(ScaledRows):
    """Everything is in float64 but what is read and written."""

    def __init__(self, b: Builder, c: Element, outer: Element) -> None:
        super().__init__(b, c)
        self.outer = outer
        self.bits = f"<{c.lanes} x i64>"

    def emit(self) -> None:
        """Task: a group of eigenvalues of one matrix."""
        b, c, o = self.b, self.c, self.outer
        self.d = d = FIELDS.load(b)
        x, diagonal, beside, workspace = (b.argument(k) for k in range(4))
        scratch = b.offset(workspace, b.mul("%thread", d.scratch))
        line = b.mul(d.n, o.size)
        self.singular = b.emit(f"icmp ne i64 {d.singular}, 0")
        length = b.mul(d.vectors, c.lanes * 8)
        with b.loop("%begin", "%end") as task:
            matrix, group = b.divide(task.index, d.groups)
            at = SimpleNamespace(
                d=b.offset(diagonal, b.mul(matrix, line)),
                e=b.offset(beside, b.mul(matrix, line)),
                table=b.offset(scratch, d.table_at),
                first=b.mul(group, b.mul(d.vectors, c.lanes)),
            )
            at.size = b.select(self.singular, "i64", b.mul(d.n, 2), d.n)
            at.blocks = b.emit(f"udiv i64 {b.add(at.size, STEPS - 1)}, {STEPS}")
            for k, kind in enumerate(_KINDS):
                setattr(at, kind, b.offset(scratch, b.add(d.lanes_at, b.mul(length, k))))
            bound, scale = self._prepare(at)
            self._start(at, bound)
            self._search(at, bound)
            self._write(at, b.offset(x, b.mul(matrix, line)), scale)

    # ---- the table -------------------------------------------------------------------------------

    def _outer(self, line: str, i: str | int) -> str:
        """A number of D or E, in float64."""
        b, o = self.b, self.outer
        value = b.load(o.part, b.offset(line, b.mul(i, o.size)), o.size)
        return value if o.part == "double" else b.emit(f"fpext float {value} to double")

    def _element(self, at: SimpleNamespace, k: str) -> tuple[str, str]:
        """(d_k, e_k) of the tridiagonal matrix; e_0 is 0."""
        b, zero = self.b, self.number(0.0)

        def singular() -> list[str]:
            half, odd = b.emit(f"lshr i64 {k}, 1"), b.emit(f"trunc i64 {k} to i1")
            value = b.select(odd, "double", self._outer(at.d, half), self._outer(at.e, half))
            return [zero, value]

        def symmetric() -> list[str]:
            return [self._outer(at.d, k), self._outer(at.e, k)]

        d, e = b.choose(self.singular, singular, symmetric, ["double"] * 2)
        return d, b.select(b.emit(f"icmp eq i64 {k}, 0"), "double", zero, e)

    def _prepare(self, at: SimpleNamespace) -> tuple[str, str]:
        """Fill the table with what is divided by a power of two; Gershgorin's bound of its
        eigenvalues, and what they are to be multiplied by."""
        b, zero = self.b, self.number(0.0)
        place = lambda k: b.offset(at.table, b.mul(k, 16))
        carry = [("double", zero)] * 2  # the largest bound; |d| + |e| of the row before
        with b.loop("0", at.size, carry=carry) as k:
            d, e = self._element(at, k.index)
            self.put(place(k.index), 0, d)
            self.put(place(k.index), 1, e)
            size, beside = self.call("fabs", d), self.call("fabs", e)
            before = self.scalar("fadd", k.values[1], beside)
            most = self.call("maxnum", k.values[0], before)
            k.next(most, self.scalar("fadd", size, beside))
        most = self.call("maxnum", *k.values)
        power = self.power_of_two(most)
        inverse = self.scalar("fdiv", self.number(1.0), power)
        bound = self.scalar("fmul", self.scalar("fmul", most, inverse), self.number(1 + 2.0**-40))
        least = self.number(2.0**-120)
        with b.loop("0", at.size) as k:
            d, e = (self.scalar("fmul", self.get(place(k.index), h), inverse) for h in range(2))
            self.put(place(k.index), 0, d)
            self.put(place(k.index), 1, self.call("maxnum", self.scalar("fmul", e, e), least))
        with b.loop(at.size, b.mul(at.blocks, STEPS)) as k:
            self.put(place(k.index), 0, self.number(4.0))  # beyond the bound: no change of sign
            self.put(place(k.index), 1, zero)
        return bound, self.scalar("fmul", power, self._outer(at.e, 0))

    # ---- the search ------------------------------------------------------------------------------

    def _vectors(self):
        """Offsets of the vectors of a group."""
        with self.b.loop("0", self.d.vectors) as v:
            yield v.index, self.b.mul(v.index, self.c.lanes * 8)

    def _lane_numbers(self, first: str) -> str:
        """first, first + 1, ... (i64)."""
        count = ", ".join(f"i64 {k}" for k in range(self.c.lanes))
        return self.b.emit(f"add {self.bits} {self.b.splat(first, 'i64', self.c.lanes)}, <{count}>")

    def _start(self, at: SimpleNamespace, bound: str) -> None:
        """Number the lanes, and count at points spread over the whole range, one a lane."""
        b, c, d, lanes = self.b, self.c, self.d, self.lanes
        low = b.select(self.singular, "double", self.number(0.0), self.call_negate(bound))
        whole = b.emit(f"uitofp i64 {b.add(b.mul(d.vectors, c.lanes), 1)} to double")
        gap = self.scalar("fdiv", self.scalar("fsub", bound, low), whole)
        for v, place in self._vectors():
            local = self._lane_numbers(b.mul(v, c.lanes))
            number = b.emit(f"add {self.bits} {local}, {b.splat(at.first, 'i64', c.lanes)}")
            last = b.splat(b.sub(at.size, 1), "i64", c.lanes)
            down = b.emit(f"sub {self.bits} {last}, {number}")
            number = b.select(self.singular, self.bits, down, number)
            b.store(self.bits, number, b.offset(at.number, place), 8)
            turn = b.emit(f"uitofp {self.bits} {local} to {c.vector}")
            turn = lanes.add(turn, lanes.constant(1.0))
            point = lanes.multiply_add(turn, c.splat(b, gap), c.splat(b, low))
            c.store(b, point, b.offset(at.point, place))
        self._count(at)
        with b.loop("0", d.vectors) as v:
            place = b.mul(v.index, c.lanes * 8)
            number = b.load(self.bits, b.offset(at.number, place), 8)
            carry = [(c.vector, c.splat(b, low)), (c.vector, c.splat(b, bound))]
            with b.loop("0", b.mul(d.vectors, c.lanes), carry=carry) as k:
                eight = b.mul(k.index, 8)
                point = self.splat_at(b.offset(at.point, eight))
                count = b.splat(b.load("i64", b.offset(at.count, eight), 8), "i64", c.lanes)
                above = b.emit(f"icmp sgt {self.bits} {count}, {number}")
                lower = lanes.select(above, k.values[0], point)
                nearer = lanes.test("olt", point, k.values[1])
                upper = lanes.select(lanes.both(above, nearer), point, k.values[1])
                k.next(lower, upper)
            for kind, value in zip((at.low, at.high), k.values, strict=True):
                c.store(b, value, b.offset(kind, place))

    def call_negate(self, x: str) -> str:
        """-x."""
        return self.b.emit(f"fneg double {x}")

    def _count(self, at: SimpleNamespace) -> None:
        b = self.b

        def run(vectors: int):
            return lambda: b.do(
                f"call void @count{vectors}(ptr {at.point}, ptr {at.count}, ptr {at.table}, "
                f"i64 {at.blocks})"
            )

        b.switch(self.d.vectors, [(v, run(v)) for v in (1, 2, TOGETHER)])

    def _search(self, at: SimpleNamespace, bound: str) -> None:
        """Halve the intervals until both ends are one number of the type."""
        b, c, lanes = self.b, self.c, self.lanes
        narrow = self.outer.part == "float"
        going = b.stack("i64")
        b.store("i64", "1", going, 8)
        with b.loop("0", "44" if narrow else "64"):
            open_ = b.emit(f"icmp ne i64 {b.load('i64', going, 8)}, 0")
            with b.when(open_):
                b.store("i64", "0", going, 8)
                for _, place in self._vectors():
                    low, high = (c.load(b, b.offset(p, place)) for p in (at.low, at.high))
                    middle = lanes.multiply(lanes.add(low, high), lanes.constant(0.5))
                    c.store(b, middle, b.offset(at.point, place))
                    with b.when(lanes.any(self._is_open(low, middle, high))):
                        b.store("i64", "1", going, 8)
                with b.when(b.emit(f"icmp ne i64 {b.load('i64', going, 8)}, 0")):
                    self._count(at)
                    self._halve(at)

    def _is_open(self, low: str, middle: str, high: str) -> str:
        b, c, lanes = self.b, self.c, self.lanes
        if self.outer.part == "float":
            kind = f"<{c.lanes} x float>"
            ends = [b.emit(f"fptrunc {c.vector} {x} to {kind}") for x in (low, high)]
            return b.emit(f"fcmp one {kind} {ends[0]}, {ends[1]}")
        return lanes.both(lanes.test("one", middle, low), lanes.test("one", middle, high))

    def _halve(self, at: SimpleNamespace) -> None:
        b, c, lanes = self.b, self.c, self.lanes
        for _, place in self._vectors():
            low, high, point = (c.load(b, b.offset(p, place)) for p in (at.low, at.high, at.point))
            count, number = (
                b.load(self.bits, b.offset(p, place), 8) for p in (at.count, at.number)
            )
            above = b.emit(f"icmp sgt {self.bits} {count}, {number}")
            c.store(b, lanes.select(above, low, point), b.offset(at.low, place))
            c.store(b, lanes.select(above, point, high), b.offset(at.high, place))

    def _write(self, at: SimpleNamespace, to: str, scale: str) -> None:
        b, c, d, o = self.b, self.c, self.d, self.outer
        end = b.min(b.mul(d.vectors, c.lanes), b.sub(d.n, at.first))
        with b.loop("0", end) as k:
            low, high = self.get(at.low, k.index), self.get(at.high, k.index)
            value = self.scalar("fmul", self.scalar("fadd", low, high), self.number(0.5))
            value = self.scalar("fmul", value, scale)
            # an interval that the search could not tell from zero: see the least squares above
            up = b.emit(f"fcmp ole double {low}, {self.number(2.0**-57)}")
            down = b.emit(f"fcmp oge double {high}, {self.number(-(2.0**-57))}")
            value = b.select(b.emit(f"and i1 {up}, {down}"), "double", self.number(0.0), value)
            if o.part == "float":
                value = b.emit(f"fptrunc double {value} to float")
            place = b.mul(b.add(at.first, k.index), o.size)
            b.store(o.part, value, b.offset(to, place), o.size)
