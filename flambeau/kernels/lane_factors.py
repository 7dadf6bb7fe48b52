"""Factors of small matrices and solutions with them, one matrix in each lane.

LU pivots as LAPACK does: the largest modulus of the column, the first of equals. Every lane has its
own pivot row, so an interchange is a choice for each row that is some lane's pivot.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from .element import Element
from .ir import Builder
from .lanes import Backwards, Held, Index, Lanes, Matrix, Stored, Turned
from .pack import emit_pack, emit_unpack
from .plan import Fields, KernelSource, Phase, Plan, ceil_div, round_up
from .target import Target, host

FIELDS = Fields("n columns count flags matrix right right_at order_at scratch")
UPPER, UNIT, ADJOINT, IDENTITY = 1, 2, 4, 8
FIXED = 4  # sizes up to this have kernels of their own
TASK_WORK = 1 << 15  # multiply-adds worth another thread


def source(op: str, dtype: str, n: int, target: Target) -> KernelSource:
    """The kernel of an op; n is 0 for any size. Its desc is FIELDS."""
    return task_source(op, _TASKS[op], dtype, n, target)


def plan_lanes(
    op: str,
    dtype: str,
    n: int,
    count: int,
    threads: int,
    *,
    columns: int = 0,
    flags: int = 0,
    right: bool = True,
    target: Target | None = None,
) -> Plan:
    """An op on (count, n, n) contiguous matrices of a real type; args as the op has them.

    lu: LU, A, pivots, info, parity. solve: X, LU, pivots, B. triangle: X, A, B. cholesky: L, A,
    info. X and B are (count, n, columns); `right=False`: one B for all.
    """
    target = target or host()
    c = Element(dtype, target)
    row = c.lanes * c.size
    right_at = n * n * row
    order_at = right_at + n * columns * row
    desc = FIELDS.pack(
        n=n, columns=columns, count=count, flags=flags, matrix=n * n * c.size,
        right=n * columns * c.size if right else 0, right_at=right_at, order_at=order_at,
        scratch=scratch_bytes(n, columns, c.size, target),
    )  # fmt: skip
    kernel = source(op, dtype, n if n <= FIXED else 0, target)
    return plan_tasks(kernel, desc, count, n * n * (n + columns), threads, c)


def scratch_bytes(n: int, columns: int, size: int, target: Target) -> int:
    """What the matrices of one task take."""
    lanes = target.vector_bytes // size
    return round_up((n * n + n * columns) * lanes * size + (n + 2) * lanes * 4, 64) + 64


def task_source(op: str, task: type[Task], dtype: str, n: int, target: Target) -> KernelSource:
    """The kernel that does a task to every group of matrices; n is 0 for any size."""
    key = f"lanes:{op}:{dtype}:{n}:{target.name}"
    return KernelSource(key, lambda: _build(task, dtype, n, target), "solve")


def plan_tasks(
    kernel: KernelSource, desc: tuple[int, ...], count: int, work: int, threads: int, c: Element
) -> Plan:
    """A task for as many of `count` matrices as a vector has lanes; work: multiply-adds of one."""
    tasks = ceil_div(count, c.lanes)
    grain = tasks if threads == 1 else min(tasks, ceil_div(TASK_WORK, work * c.lanes))
    return Plan((Phase(kernel, desc, tasks, grain),), desc[-1] * threads)


def _build(task: type[Task], dtype: str, n: int, target: Target) -> str:
    b = Builder(target)
    c = Element(dtype, target)
    emit_pack(b, "pack", c)
    emit_unpack(b, "unpack", c)
    with b.kernel("solve"):
        task(b, c, n).emit()
    return b.module()


class Task:
    """The matrices of one task: how they get into lanes and out again, and what is done to them."""

    arguments: int  # of the op, before the workspace
    run: Callable[..., None]  # (at, arguments): the matrices from at.first on, at.count of them

    def __init__(self, b: Builder, c: Element, n: int) -> None:
        self.b, self.c, self.lanes = b, c, Lanes(b, c)
        self.d = FIELDS.load(b)
        self.fixed = n > 0
        self.n: Index = n if n else self.d.n

    def emit(self) -> None:
        """Every task of the kernel; args are the op's and a workspace."""
        b, d, c = self.b, self.d, self.c
        args = [b.argument(k) for k in range(self.arguments)]
        scratch = b.offset(b.argument(self.arguments), b.mul("%thread", d.scratch))
        with b.loop("%begin", "%end") as task:
            first = b.mul(task.index, c.lanes)
            at = SimpleNamespace(
                first=first, count=b.min(b.sub(d.count, first), str(c.lanes)), scratch=scratch
            )
            self.run(at, *args)

    # ---- memory ----------------------------------------------------------------------------------

    def _bytes(self) -> str:
        return str(self.b.mul(self.b.mul(self.n, self.n), self.c.size))

    def _load(self, at: SimpleNamespace, source: str, step: str, depth: str, to: str) -> None:
        b = self.b
        start = b.offset(source, b.mul(at.first, step))
        b.do(
            f"call void @pack(i64 {depth}, ptr {start}, i64 {self.c.size}, i64 {step}, "
            f"i64 {at.count}, ptr {to}, i64 {self.c.lanes})"
        )

    def _store(self, at: SimpleNamespace, to: str, depth: str, from_: str) -> None:
        b = self.b
        step = b.mul(depth, self.c.size)
        start = b.offset(to, b.mul(at.first, step))
        b.do(
            f"call void @unpack(i64 {depth}, ptr {from_}, i64 {self.c.lanes}, ptr {start}, "
            f"i64 {step}, i64 {at.count})"
        )

    def _square(self, at: SimpleNamespace, source: str) -> Matrix:
        depth = str(self.b.mul(self.n, self.n))
        self._load(at, source, self.d.matrix, depth, at.scratch)
        matrix = Stored(self.lanes, at.scratch, self.n)
        return Held(matrix) if self.fixed else matrix

    def _store_square(self, at: SimpleNamespace, matrix: Matrix, to: str) -> None:
        matrix.flush()
        self._store(at, to, str(self.b.mul(self.n, self.n)), at.scratch)

    def _right(self, at: SimpleNamespace, source: str) -> Stored:
        b, d = self.b, self.d
        place = b.offset(at.scratch, d.right_at)
        right = Stored(self.lanes, place, d.columns)
        one = b.emit(f"icmp ne i64 {b.emit(f'and i64 {d.flags}, {IDENTITY}')}, 0")
        depth = b.mul(self.n, d.columns)

        def identity() -> None:
            with b.loop("0", depth) as k:
                b.store(self.c.vector, self.c.zero, b.offset(place, b.mul(k.index, right.bytes)))
            for i in self.lanes.span(0, self.n):
                right.set(i, i, self.lanes.constant(1.0))

        b.choose(one, identity, lambda: self._load(at, source, d.right, depth, place))
        return right

    def _store_right(self, at: SimpleNamespace, right: Stored, to: str) -> None:
        self._store(at, to, self.b.mul(self.n, self.d.columns), right.at)

    def _order(self, at: SimpleNamespace) -> Stored:
        place = self.b.offset(at.scratch, self.d.order_at)
        return Stored(self.lanes, place, 1, self.lanes.whole)

    def _move_integers(
        self, at: SimpleNamespace, order: Stored, memory: str, per: Index, load: bool
    ) -> None:
        """Between `per` integers a matrix in memory and one vector each."""
        b = self.b
        with b.loop("0", at.count) as r:
            line = b.offset(memory, b.mul(b.mul(b.add(at.first, r.index), per), 4))
            for k in self.lanes.span(0, per):
                place = b.offset(order._place(k, 0), b.mul(r.index, 4))
                here = b.offset(line, b.mul(k, 4))
                source, to = (here, place) if load else (place, here)
                b.store("i32", b.load("i32", source, 4), to, 4)

    def _substitute(self, lower: Matrix, right: Matrix, unit: str) -> None:
        """right = lower^-1 right, row by row; `unit` (i1): the diagonal counts as ones."""
        lanes, n = self.lanes, self.n
        one = lanes.constant(1.0)
        for i in lanes.span(0, n):
            rest = lanes.span(lanes.plus(i, 1), n) if self.fixed else ()
            below = {r: lower.get(r, i) for r in rest}
            if unit == "true":
                pivot = one
            elif unit == "false":
                pivot = lower.get(i, i)
            else:
                pivot = self.b.select(unit, self.c.vector, one, lower.get(i, i))
            for j in lanes.span(0, self.d.columns):
                known = right.get(i, j)
                if unit != "true":
                    known = lanes.divide(known, pivot)
                    right.set(i, j, known)
                for r in lanes.span(lanes.plus(i, 1), n):
                    factor = below[r] if self.fixed else lower.get(r, i)
                    right.set(r, j, lanes.without_product(right.get(r, j), factor, known))

    def _by_triangle(self, upper, lower, matrix: Matrix, types: tuple | list = ()) -> list[str]:
        """One of two branches; what they change in registers is written before they end."""
        b = self.b
        condition = self._flag(UPPER)

        def branch(run):
            def emit() -> list[str]:
                if isinstance(matrix, Held):  # what a branch holds the other does not know
                    matrix.values.clear()
                    matrix.changed.clear()
                results = run() or []
                matrix.flush()
                return results

            return emit

        return b.choose(condition, branch(upper), branch(lower), types)

    def _flag(self, bit: int) -> str:
        b = self.b
        return b.emit(f"icmp ne i64 {b.emit(f'and i64 {self.d.flags}, {bit}')}, 0")


class _LU(Task):
    arguments = 5

    def run(
        self, at: SimpleNamespace, lu: str, a: str, pivots: str, info: str, parity: str
    ) -> None:
        b, c = self.b, self.c
        matrix, order = self._square(at, a), self._order(at)
        sign, bad = factor_lu(self.lanes, matrix, self.n, order, self.fixed)
        self._store_square(at, matrix, lu)
        self._move_integers(at, order, pivots, self.n, False)
        place = b.offset(parity, b.mul(at.first, c.size))
        c.store(b, sign, place, c.tail(b, at.count))
        order.set(0, 0, bad)
        self._move_integers(at, order, info, 1, False)


class _Cholesky(Task):
    arguments = 3

    def run(self, at: SimpleNamespace, factor: str, a: str, info: str) -> None:
        matrix = self._square(at, a)

        def run(lower: Matrix) -> Callable[[], list[str]]:
            return lambda: [factor_cholesky(self.lanes, lower, self.n, self.fixed)]

        bad = self._by_triangle(run(Turned(matrix)), run(matrix), matrix, [self.lanes.whole])[0]
        self._store(at, factor, str(self.b.mul(self.n, self.n)), at.scratch)
        order = self._order(at)
        order.set(0, 0, bad)
        self._move_integers(at, order, info, 1, False)


class _Triangle(Task):
    arguments = 3

    def run(self, at: SimpleNamespace, x: str, a: str, rhs: str) -> None:
        matrix, right = self._square(at, a), self._right(at, rhs)
        unit = self._flag(UNIT)

        def upper() -> None:
            turned = Backwards(self.lanes, matrix, self.n, 2)
            self._substitute(turned, Backwards(self.lanes, right, self.n, 1), unit)

        self._by_triangle(upper, lambda: self._substitute(matrix, right, unit), matrix)
        self._store_right(at, right, x)


class _Solve(Task):
    arguments = 4

    def run(self, at: SimpleNamespace, x: str, lu: str, pivots: str, rhs: str) -> None:
        matrix, right, order = self._square(at, lu), self._right(at, rhs), self._order(at)
        self._move_integers(at, order, pivots, self.n, True)
        lanes, n = self.lanes, self.n
        turned = Turned(matrix)

        def forward() -> None:
            interchange(lanes, right, order, lanes.span(0, n), n, self.d.columns, self.fixed)
            self._substitute(matrix, right, "true")
            upper = Backwards(lanes, matrix, n, 2)
            self._substitute(upper, Backwards(lanes, right, n, 1), "false")

        def adjoint() -> None:
            self._substitute(turned, right, "false")
            lower = Backwards(lanes, turned, n, 2)
            self._substitute(lower, Backwards(lanes, right, n, 1), "true")
            interchange(lanes, right, order, lanes.down(n), n, self.d.columns, self.fixed)

        self.b.choose(self._flag(ADJOINT), self._fresh(matrix, adjoint),
                      self._fresh(matrix, forward))  # fmt: skip
        self._store_right(at, right, x)

    @staticmethod
    def _fresh(matrix: Matrix, run: Callable[[], None]) -> Callable[[], None]:
        def emit() -> None:
            if isinstance(matrix, Held):
                matrix.values.clear()
            run()

        return emit


_TASKS: dict[str, type[Task]] = {
    "lu": _LU,
    "cholesky": _Cholesky,
    "triangle": _Triangle,
    "solve": _Solve,
}


def factor_lu(lanes: Lanes, a: Matrix, n: Index, order: Stored, fixed: bool) -> tuple[str, str]:
    """A = P L U in place: the parity of the interchanges, and info, the first zero pivot."""
    sign = lanes.cell(fixed, lanes.constant(1.0))
    info = lanes.cell(fixed, lanes.zero, lanes.whole)
    for k in lanes.span(0, n):
        best = lanes.cell(fixed, lanes.size(a.get(k, k)))
        here = lanes.integer(k)
        chosen = lanes.cell(fixed, here, lanes.whole)
        for i in lanes.span(lanes.plus(k, 1), n):
            size = lanes.size(a.get(i, k))
            larger = lanes.test("ogt", size, best.get())
            best.set(lanes.select(larger, size, best.get()))
            chosen.set(lanes.select(larger, lanes.integer(i), chosen.get(), lanes.whole))
        order.set(k, 0, lanes.b.emit(f"add {lanes.whole} {chosen.get()}, splat (i32 1)"))
        stays = lanes.equal(chosen.get(), here)
        sign.set(lanes.select(stays, sign.get(), lanes.negate(sign.get())))
        swap_rows(lanes, a, k, chosen.get(), n, n, fixed)
        pivot = a.get(k, k)
        zero = lanes.test("oeq", pivot, lanes.zero)
        first = lanes.both(zero, lanes.equal(info.get(), lanes.zero))
        number = lanes.integer(lanes.plus(k, 1))
        info.set(lanes.select(first, number, info.get(), lanes.whole))
        for i in lanes.span(lanes.plus(k, 1), n):
            value = a.get(i, k)
            factor = lanes.select(zero, value, lanes.divide(value, pivot))
            a.set(i, k, factor)
            for j in lanes.span(lanes.plus(k, 1), n):
                a.set(i, j, lanes.without_product(a.get(i, j), factor, a.get(k, j)))
    return sign.get(), info.get()


def swap_rows(
    lanes: Lanes, a: Matrix, k: Index, chosen: str, n: Index, columns: Index, fixed: bool
) -> None:
    """Interchange row k with each lane's chosen row below it."""
    b = lanes.b
    for i in lanes.span(lanes.plus(k, 1), n):
        here = lanes.equal(chosen, lanes.integer(i))

        def exchange(i: Index = i, here: str = here) -> None:
            for j in lanes.span(0, columns):
                upper, lower = a.get(k, j), a.get(i, j)
                a.set(k, j, lanes.select(here, lower, upper))
                a.set(i, j, lanes.select(here, upper, lower))

        if fixed:
            exchange()
        else:
            with b.when(lanes.any(here)):
                exchange()


def interchange(lanes: Lanes, right, order: Stored, steps, n, columns, fixed: bool) -> None:
    """Apply the interchanges (numbered from 1) to the rows of right-hand sides."""
    for k in steps:
        chosen = lanes.b.emit(f"sub {lanes.whole} {order.get(k, 0)}, splat (i32 1)")
        swap_rows(lanes, right, k, chosen, n, columns, fixed)


def factor_cholesky(lanes: Lanes, a: Matrix, n: Index, fixed: bool) -> str:
    """A = L L^T in place, zeros above; info: the order of the first minor that is not positive."""
    info = lanes.cell(fixed, lanes.zero, lanes.whole)
    for k in lanes.span(0, n):
        square = a.get(k, k)
        bad = lanes.test("ule", square, lanes.zero)
        first = lanes.both(bad, lanes.equal(info.get(), lanes.zero))
        number = lanes.integer(lanes.plus(k, 1))
        info.set(lanes.select(first, number, info.get(), lanes.whole))
        diagonal = lanes.root(square)
        a.set(k, k, diagonal)
        for j in lanes.span(0, k):
            a.set(j, k, lanes.zero)
        for i in lanes.span(lanes.plus(k, 1), n):
            a.set(i, k, lanes.divide(a.get(i, k), diagonal))
        for j in lanes.span(lanes.plus(k, 1), n):
            row = a.get(j, k)
            for i in lanes.span(j, n):
                a.set(i, j, lanes.without_product(a.get(i, j), a.get(i, k), row))
    return info.get()
