"""Singular values of small real matrices, one matrix in each lane, by one-sided Jacobi rotations.

Pairs of columns are rotated until all are orthogonal to rounding (Hestenes 1958); their lengths are
then the singular values, their directions U, and the product of the rotations V. Every matrix is
scaled by a power of two, so that squares neither overflow nor vanish.
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element
from .lane_factors import FIELDS, Task, plan_tasks, task_source
from .lane_orthogonal import jacobi_rotation, power_of_two
from .lanes import Index, Stored
from .plan import KernelSource, Plan, round_up
from .target import Target, host

VECTORS = 1
MOST_SWEEPS = 30  # ten are hardly ever needed


def source(dtype: str, target: Target) -> KernelSource:
    """The kernel; its desc is FIELDS."""
    return task_source("svd", _SVD, dtype, 0, target)


def plan_svd(
    dtype: str,
    m: int,
    n: int,
    count: int,
    threads: int,
    *,
    vectors: bool,
    target: Target | None = None,
) -> Plan:
    """Descending S (count, n), and U (count, m, n), V^T (count, n, n) where wanted, of A, m >= n.

    A column of U for a singular value 0 holds no direction. args: S, U, V^T, A.
    """
    c = Element(dtype, target or host())
    row = c.lanes * c.size
    right_at = m * n * row
    order_at = right_at + n * n * row
    desc = FIELDS.pack(
        n=m, columns=n, count=count, flags=VECTORS if vectors else 0, matrix=m * n * c.size,
        right=0, right_at=right_at, order_at=order_at,
        scratch=round_up(order_at + n * row, 64) + 64,
    )  # fmt: skip
    return plan_tasks(source(dtype, c.target), desc, count, 40 * m * n * n, threads, c)


class _SVD(Task):
    arguments = 4

    def run(self, at: SimpleNamespace, s: str, u: str, vt: str, a: str) -> None:
        b, lanes, m = self.b, self.lanes, self.n
        n: Index = self.d.columns
        self._load(at, a, self.d.matrix, str(b.mul(m, n)), at.scratch)
        w = Stored(lanes, at.scratch, n)
        v = Stored(lanes, b.offset(at.scratch, self.d.right_at), n)
        values = Stored(lanes, b.offset(at.scratch, self.d.order_at), 1)
        for i in lanes.span(0, n):
            for j in lanes.span(0, n):
                v.set(i, j, lanes.zero)
            v.set(i, i, lanes.constant(1.0))
        scale = self._scale(w, m, n)
        self._rotate_all(w, v, m, n)
        self._measure(w, values, m, n)
        self._sort(w, v, values, m, n)
        for j in lanes.span(0, n):
            values.set(j, 0, lanes.multiply(values.get(j, 0), scale))
        self._store(at, s, str(n), values.at)
        with b.when(self._flag(VECTORS)):
            self._store(at, u, str(b.mul(m, n)), w.at)
            self._store(at, vt, str(b.mul(n, n)), v.at)

    def _scale(self, w: Stored, m: Index, n: Index) -> str:
        """Divide by the power of two of the largest modulus; that power."""
        lanes = self.lanes
        most = lanes.cell(False, lanes.zero)
        for i in lanes.span(0, m):
            for j in lanes.span(0, n):
                size = lanes.size(w.get(i, j))
                larger = lanes.test("ogt", size, most.get())
                most.set(lanes.select(larger, size, most.get()))
        scale = power_of_two(lanes, most.get())
        inverse = lanes.divide(lanes.constant(1.0), scale)
        for i in lanes.span(0, m):
            for j in lanes.span(0, n):
                w.set(i, j, lanes.multiply(w.get(i, j), inverse))
        return scale

    def _rotate_all(self, w: Stored, v: Stored, m: Index, n: Index) -> None:
        """Sweeps over all pairs of columns until one changes nothing."""
        b, lanes = self.b, self.lanes
        going = lanes.cell(False, lanes.constant(1.0))
        unfinished = lanes.constant(1.0)
        with b.loop("0", str(MOST_SWEEPS)):
            again = lanes.any(lanes.test("ogt", going.get(), lanes.zero))
            with b.when(again):
                going.set(lanes.zero)
                for p in lanes.span(0, n):
                    for q in lanes.span(lanes.plus(p, 1), n):
                        turned = self._rotate(w, v, m, n, p, q)
                        going.set(lanes.select(turned, unfinished, going.get()))

    def _rotate(self, w: Stored, v: Stored, m: Index, n: Index, p: Index, q: Index) -> str:
        """Make two columns orthogonal; where they were not."""
        b, lanes = self.b, self.lanes
        sums = [lanes.cell(False, lanes.zero) for _ in range(3)]
        for i in lanes.span(0, m):
            x, y = w.get(i, p), w.get(i, q)
            for total, (first, second) in zip(sums, ((x, x), (y, y), (x, y)), strict=True):
                total.set(lanes.multiply_add(first, second, total.get()))
        alpha, beta, gamma = (total.get() for total in sums)
        # the rounding of a sum of m products
        epsilon = lanes.constant(2.0**-22 if self.c.size == 4 else 2.0**-51)
        lengths = lanes.multiply(lanes.root(alpha), lanes.root(beta))
        turned = lanes.test("ogt", lanes.size(gamma), lanes.multiply(lengths, epsilon))
        across = lanes.select(turned, gamma, lanes.zero)
        with b.when(lanes.any(turned)):
            cosine, sine, _ = jacobi_rotation(lanes, alpha, beta, across)
            for i in lanes.span(0, m):
                x, y = w.get(i, p), w.get(i, q)
                w.set(i, p, lanes.without_product(lanes.multiply(cosine, x), sine, y))
                w.set(i, q, lanes.multiply_add(sine, x, lanes.multiply(cosine, y)))
            for i in lanes.span(0, n):
                x, y = v.get(p, i), v.get(q, i)
                v.set(p, i, lanes.without_product(lanes.multiply(cosine, x), sine, y))
                v.set(q, i, lanes.multiply_add(sine, x, lanes.multiply(cosine, y)))
        return turned

    def _measure(self, w: Stored, values: Stored, m: Index, n: Index) -> None:
        """The lengths of the columns, which become directions."""
        lanes = self.lanes
        for j in lanes.span(0, n):
            total = lanes.cell(False, lanes.zero)
            for i in lanes.span(0, m):
                total.set(lanes.multiply_add(w.get(i, j), w.get(i, j), total.get()))
            length = lanes.root(total.get())
            values.set(j, 0, length)
            for i in lanes.span(0, m):
                w.set(i, j, lanes.divide(w.get(i, j), length))

    def _sort(self, w: Stored, v: Stored, values: Stored, m: Index, n: Index) -> None:
        """Descending, vectors with them."""
        lanes = self.lanes
        for i in lanes.span(0, n):
            for j in lanes.span(lanes.plus(i, 1), n):
                more = lanes.test("ogt", values.get(j, 0), values.get(i, 0))
                with self.b.when(lanes.any(more)):
                    self._swap(values, more, (i, 0), (j, 0))
                    for r in lanes.span(0, m):
                        self._swap(w, more, (r, i), (r, j))
                    for r in lanes.span(0, n):
                        self._swap(v, more, (i, r), (j, r))

    def _swap(
        self, a: Stored, where: str, first: tuple[Index, Index], second: tuple[Index, Index]
    ) -> None:
        x, y = a.get(*first), a.get(*second)
        a.set(*first, self.lanes.select(where, y, x))
        a.set(*second, self.lanes.select(where, x, y))
