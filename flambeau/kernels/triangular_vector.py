"""Triangular systems with one right-hand side: a block of as many unknowns as a vector has lanes.

Where the rows of the matrix are contiguous, a block's rows are multiplied with what is solved so
far; where the columns are, what a block solves is subtracted from all that remains. The block's own
triangle is solved in registers, a column at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from .element import Element, transpose, transpose_sum
from .ir import Builder
from .lanes import Lanes
from .plan import Fields, KernelSource, Phase, Plan, ceil_div, round_up
from .target import Target, host

FIELDS = Fields(
    "n columns upper unit turned line a_batch b_batch b_row b_column x_batch x_row scratch"
)
TASK_WORK = 1 << 16  # multiply-adds worth another thread


def source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is FIELDS, args X, A, B, workspace."""
    key = f"triangular_vector:{dtype}:{target.name}"
    return KernelSource(key, lambda: _build(dtype, target), "solve")


def plan_vectors(
    dtype: str,
    n: int,
    columns: int,
    count: int,
    a_strides: tuple[int, int, int],
    b_strides: tuple[int, int, int],
    threads: int,
    *,
    upper: bool,
    unit: bool,
    target: Target | None = None,
) -> Plan:
    """X (count, n, columns), contiguous, with A X = B, each column by itself.

    A (count, n, n) has contiguous rows or columns, of which only the named triangle is read,
    `unit`: without its diagonal. Strides are in elements. args: X, A, B, workspace.
    """
    c = Element(dtype, target or host())
    size, turned = c.size, a_strides[2] != 1
    scratch = round_up((n + 2 * c.lanes) * size, 64) + 64
    desc = FIELDS.pack(
        n=n, columns=columns, upper=upper, unit=unit, turned=turned,
        line=a_strides[2 if turned else 1] * size, a_batch=a_strides[0] * size,
        b_batch=b_strides[0] * size, b_row=b_strides[1] * size, b_column=b_strides[2] * size,
        x_batch=n * columns * size, x_row=columns * size, scratch=scratch,
    )  # fmt: skip
    tasks = count * columns
    grain = tasks if threads == 1 else min(tasks, ceil_div(TASK_WORK, n * n))
    return Plan((Phase(source(dtype, c.target), desc, tasks, grain),), scratch * threads)


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    c = Element(dtype, target)
    with b.kernel("solve"):
        _Solve(b, c).emit()
    return b.module()


class _Solve:
    def __init__(self, b: Builder, c: Element) -> None:
        self.b, self.c, self.lanes = b, c, Lanes(b, c)
        self.d = FIELDS.load(b)
        self.upper = b.emit(f"icmp ne i64 {self.d.upper}, 0")
        self.turned = b.emit(f"icmp ne i64 {self.d.turned}, 0")

    def emit(self) -> None:
        """Task: one column of one system; the unknowns lie in the workspace."""
        b, d, c = self.b, self.d, self.c
        x, a, right, workspace = (b.argument(k) for k in range(4))
        known = b.offset(workspace, b.mul("%thread", d.scratch))
        blocks = b.emit(f"udiv i64 {b.add(d.n, c.lanes - 1)}, {c.lanes}")
        with b.loop("%begin", "%end") as task:
            batch, j = b.divide(task.index, d.columns)
            from_ = b.offset(b.offset(right, b.mul(batch, d.b_batch)), b.mul(j, d.b_column))
            to = b.offset(b.offset(x, b.mul(batch, d.x_batch)), b.mul(j, c.size))
            self._copy(from_, d.b_row, known, str(c.size))
            self._clear_end(known)
            at = SimpleNamespace(a=b.offset(a, b.mul(batch, d.a_batch)), known=known)
            with b.loop("0", blocks) as turn:
                last = b.sub(b.sub(blocks, 1), turn.index)
                block = b.select(self.upper, "i64", last, turn.index)
                self._block(at, b.mul(block, c.lanes))
            self._copy(known, str(c.size), to, d.x_row)

    def _copy(self, source: str, source_step: str, to: str, step: str) -> None:
        b, c = self.b, self.c
        with b.loop("0", self.d.n) as i:
            value = b.load(c.part, b.offset(source, b.mul(i.index, source_step)), c.size)
            b.store(c.part, value, b.offset(to, b.mul(i.index, step)), c.size)

    def _clear_end(self, known: str) -> None:
        b, c = self.b, self.c
        c.store(b, c.zero, b.offset(known, b.mul(self.d.n, c.size)))

    def _block(self, at: SimpleNamespace, i: str) -> None:
        b, d, c = self.b, self.d, self.c
        count = b.min(str(c.lanes), b.sub(d.n, i))
        here = b.offset(at.known, b.mul(i, c.size))
        inside = c.tail(b, count)
        last = b.sub(d.n, 1)
        lines = [b.offset(at.a, b.mul(b.min(b.add(i, r), last), d.line)) for r in range(c.lanes)]
        corner = [c.load(b, b.offset(line, b.mul(i, c.size)), inside) for line in lines]
        used = b.lanes_below(count, c.lanes)
        begin = b.select(self.upper, "i64", b.add(i, c.lanes), "0")
        end = b.select(self.upper, "i64", d.n, i)

        def by_rows() -> list[str]:
            sums = self._multiply(at.known, lines, begin, end)
            value = self.lanes.subtract(c.load(b, here), sums)
            columns = transpose(b, corner, c.vector, c.lanes)
            return [self.lanes.select(used, value, c.zero), *columns]

        def by_columns() -> list[str]:
            # lines beyond the last repeat it, with a diagonal that may not be read
            columns = [
                b.select(b.less(str(q), count), c.vector, column, c.zero)
                for q, column in enumerate(corner)
            ]
            return [c.load(b, here), *columns]

        types = [c.vector] * (1 + c.lanes)
        value, *columns = b.choose(self.turned, by_columns, by_rows, types)
        value = self._substitute(value, columns, used)
        c.store(b, value, here, inside)
        with b.when(self.turned):
            after = b.select(self.upper, "i64", "0", b.add(i, c.lanes))
            stop = b.select(self.upper, "i64", i, d.n)
            self._subtract(at.known, lines, value, after, stop)

    def _vectors(self, begin: str, end: str, step: Callable, carry: list | None = None) -> list:
        """step(at, tail, carried) for whole vectors, then for what is left."""
        b, c = self.b, self.c
        carry = carry or []
        length = b.max("0", b.sub(end, begin))
        whole = b.add(begin, b.emit(f"and i64 {length}, {-c.lanes}"))
        with b.loop(begin, whole, c.lanes, [(c.vector, v) for v in carry]) as k:
            k.next(*step(b.mul(k.index, c.size), None, k.values))
        tail = c.tail(b, b.sub(end, whole))

        def rest() -> list[str]:
            return step(b.mul(whole, c.size), tail, k.values)

        return b.choose(b.less(whole, end), rest, lambda: k.values, [c.vector] * len(carry))

    def _multiply(self, known: str, lines: list[str], begin: str, end: str) -> str:
        """The products of the rows with the unknowns from begin to end, a lane each."""
        b, c = self.b, self.c

        def step(at: str, tail, sums: list[str]) -> list[str]:
            x = c.load(b, b.offset(known, at))
            return [
                self.lanes.multiply_add(c.load(b, b.offset(line, at), tail), x, total)
                for line, total in zip(lines, sums, strict=True)
            ]

        sums = self._vectors(begin, end, step, [c.zero] * c.lanes)
        return transpose_sum(b, c, sums)

    def _subtract(self, known: str, lines: list[str], value: str, begin: str, end: str) -> None:
        """Take the block's share from the unknowns begin to end."""
        b, c = self.b, self.c
        minus = self.lanes.negate(value)
        factors = [b.shuffle(minus, minus, c.vector, [q] * c.lanes) for q in range(c.lanes)]

        def step(at: str, tail, _: list[str]) -> list[str]:
            place = b.offset(known, at)
            x = c.load(b, place)
            for line, factor in zip(lines, factors, strict=True):
                x = self.lanes.multiply_add(c.load(b, b.offset(line, at), tail), factor, x)
            c.store(b, x, place)
            return []

        self._vectors(begin, end, step)

    def _substitute(self, value: str, columns: list[str], used: str) -> str:
        """Solve the block's triangle; lanes that are not used hold zeros."""
        b, c, lanes = self.b, self.c, self.lanes
        unit = b.emit(f"icmp ne i64 {self.d.unit}, 0")
        one = lanes.constant(1.0)
        diagonal = one
        for q, column in enumerate(columns):
            picks = [c.lanes + r if r == q else r for r in range(c.lanes)]
            diagonal = b.shuffle(diagonal, column, c.vector, picks)
        diagonal = lanes.select(used, diagonal, one)
        diagonal = b.select(unit, c.vector, one, diagonal)

        def run(order: list[int], below: Callable[[int, int], bool]) -> Callable[[], list[str]]:
            def emit() -> list[str]:
                x = value
                for q in order:
                    quotient = lanes.divide(x, diagonal)
                    solved = b.shuffle(quotient, quotient, c.vector, [q] * c.lanes)
                    less = lanes.without_product(x, columns[q], solved)
                    # lanes that are solved keep their value, lane q takes its quotient
                    picks = [c.lanes + r if below(r, q) else r for r in range(c.lanes)]
                    x = b.shuffle(x, less, c.vector, picks)
                    picks = [c.lanes + r if r == q else r for r in range(c.lanes)]
                    x = b.shuffle(x, quotient, c.vector, picks)
                return [x]

            return emit

        backward = run(list(reversed(range(c.lanes))), lambda r, q: r < q)
        forward = run(list(range(c.lanes)), lambda r, q: r > q)
        return b.choose(self.upper, backward, forward, [c.vector])[0]
