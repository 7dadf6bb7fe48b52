"""QR factors and eigenvectors of small real matrices, one matrix in each lane.

QR by Householder reflections, with LAPACK's signs. Symmetric matrices by Jacobi's rotations in
cyclic order, until no element off a diagonal exceeds the rounding of its matrix; all lanes rotate
until the last has converged, so that results do not depend on their neighbours.
"""

from __future__ import annotations

from .element import Element
from .lane_factors import FIELDS, UPPER, Task, plan_tasks, task_source
from .lanes import Held, Index, Lanes, Matrix, Stored
from .plan import KernelSource, Plan, round_up
from .target import Target, host

FIXED = 3  # sizes up to this have kernels of their own
MOST_SWEEPS = 30  # ten are hardly ever needed


def source(op: str, dtype: str, n: int, target: Target) -> KernelSource:
    """The kernel of an op, `qr` or `eigh`; n is 0 for any size. Its desc is FIELDS."""
    return task_source(op, _QR if op == "qr" else _Eigh, dtype, n, target)


def plan_qr(
    dtype: str, m: int, n: int, count: int, threads: int, *, target: Target | None = None
) -> Plan:
    """Q (count, m, n) and R (count, n, n) of contiguous A (count, m, n), m >= n; args Q, R, A."""
    c = Element(dtype, target or host())
    row = c.lanes * c.size
    right_at = m * n * row
    order_at = 2 * right_at
    desc = FIELDS.pack(
        n=m, columns=n, count=count, flags=0, matrix=m * n * c.size, right=0, right_at=right_at,
        order_at=order_at, scratch=round_up(order_at + n * row, 64) + 64,
    )  # fmt: skip
    fixed = n if m == n and n <= FIXED else 0
    kernel = source("qr", dtype, fixed, c.target)
    return plan_tasks(kernel, desc, count, 4 * m * n * n, threads, c)


def plan_eigh(
    dtype: str, n: int, count: int, threads: int, *, upper: bool, target: Target | None = None
) -> Plan:
    """Ascending eigenvalues (count, n) and vectors (count, n, n) of symmetric A, one triangle of
    which is read; args values, vectors, A.
    """
    c = Element(dtype, target or host())
    row = c.lanes * c.size
    right_at = n * n * row
    desc = FIELDS.pack(
        n=n, columns=n, count=count, flags=UPPER if upper else 0, matrix=n * n * c.size, right=0,
        right_at=right_at, order_at=2 * right_at, scratch=round_up(2 * right_at + n * row, 64) + 64,
    )  # fmt: skip
    fixed = n if n <= FIXED else 0
    return plan_tasks(source("eigh", dtype, fixed, c.target), desc, count, 40 * n**3, threads, c)


class _QR(Task):
    """Rows are called n in the desc, columns `columns`."""

    arguments = 3

    def run(self, at, q: str, r: str, a: str) -> None:
        b, lanes = self.b, self.lanes
        m = self.n
        n: Index = m if self.fixed else self.d.columns
        self._load(at, a, self.d.matrix, str(b.mul(m, n)), at.scratch)
        stored = Stored(lanes, at.scratch, n)
        formed = Stored(lanes, b.offset(at.scratch, self.d.right_at), n)
        tau = Stored(lanes, b.offset(at.scratch, self.d.order_at), 1)
        w = Held(stored) if self.fixed else stored
        factors: Matrix = Held(tau) if self.fixed else tau
        for j in lanes.span(0, n):
            factor = self._make_vector(w, m, j)
            factors.set(j, 0, factor)
            self._apply(w, w, m, j, lanes.plus(j, 1), n, factor)
        self._form(w, formed, factors, m, n)
        for i in lanes.span(1, n):
            for j in lanes.span(0, i):
                w.set(i, j, lanes.zero)
        w.flush()
        self._store(at, r, str(b.mul(n, n)), at.scratch)
        self._store(at, q, str(b.mul(m, n)), formed.at)

    def _make_vector(self, w: Matrix, m: Index, j: Index) -> str:
        """The reflection that clears column j below the diagonal: its vector there, and tau."""
        lanes = self.lanes
        below = lanes.plus(j, 1)
        most = lanes.cell(self.fixed, lanes.zero)
        for i in lanes.span(below, m):
            size = lanes.size(w.get(i, j))
            kept = lanes.test("ule", size, most.get())
            most.set(lanes.select(kept, most.get(), size))
        alpha = w.get(j, j)
        nothing = lanes.test("oeq", most.get(), lanes.zero)
        size = lanes.size(alpha)
        larger = lanes.test("ogt", size, most.get())
        scale = power_of_two(lanes, lanes.select(larger, size, most.get()))
        inverse = lanes.divide(lanes.constant(1.0), scale)
        first = lanes.multiply(alpha, inverse)
        total = lanes.cell(self.fixed, lanes.multiply(first, first))
        for i in lanes.span(below, m):
            scaled = lanes.multiply(w.get(i, j), inverse)
            total.set(lanes.multiply_add(scaled, scaled, total.get()))
        beta = lanes.negate(lanes.with_sign(lanes.root(total.get()), first))
        divisor = lanes.subtract(first, beta)
        divisor = lanes.select(nothing, lanes.constant(1.0), divisor)
        for i in lanes.span(below, m):
            w.set(i, j, lanes.divide(lanes.multiply(w.get(i, j), inverse), divisor))
        w.set(j, j, lanes.select(nothing, alpha, lanes.multiply(beta, scale)))
        tau = lanes.divide(lanes.subtract(beta, first), beta)
        return lanes.select(nothing, lanes.zero, tau)

    def _apply(
        self, v: Matrix, x: Matrix, m: Index, j: Index, begin: Index, end: Index, tau: str
    ) -> None:
        """Reflect columns begin to end of x by column j of v."""
        lanes = self.lanes
        for column in lanes.span(begin, end):
            total = lanes.cell(self.fixed, x.get(j, column))
            for i in lanes.span(lanes.plus(j, 1), m):
                total.set(lanes.multiply_add(v.get(i, j), x.get(i, column), total.get()))
            factor = lanes.multiply(total.get(), tau)
            x.set(j, column, lanes.subtract(x.get(j, column), factor))
            for i in lanes.span(lanes.plus(j, 1), m):
                x.set(i, column, lanes.without_product(x.get(i, column), v.get(i, j), factor))

    def _form(self, w: Matrix, formed: Stored, factors: Matrix, m: Index, n: Index) -> None:
        lanes = self.lanes
        q: Matrix = Held(formed) if self.fixed else formed
        for i in lanes.span(0, m):
            for j in lanes.span(0, n):
                q.set(i, j, lanes.zero)
        for i in lanes.span(0, n):
            q.set(i, i, lanes.constant(1.0))
        for j in lanes.down(n):
            self._apply(w, q, m, j, j, n, factors.get(j, 0))
        q.flush()


def power_of_two(lanes: Lanes, value: str) -> str:
    """The number without its digits, bounded so as to have a reciprocal: it scales exactly."""
    b, c = lanes.b, lanes.c
    kind, mask = ("i32", 0x7F800000) if c.size == 4 else ("i64", 0x7FF0000000000000)
    bits = f"<{c.lanes} x {kind}>"
    raw = b.emit(f"bitcast {c.vector} {value} to {bits}")
    power = b.emit(f"and {bits} {raw}, splat ({kind} {mask})")
    power = b.emit(f"bitcast {bits} {power} to {c.vector}")
    edge = 100 if c.size == 4 else 900
    for how, bound in (("olt", 2.0**-edge), ("ogt", 2.0**edge)):
        limit = lanes.constant(bound)
        power = lanes.select(lanes.test(how, power, limit), limit, power)
    return power


def jacobi_rotation(lanes: Lanes, first: str, second: str, across: str) -> tuple[str, str, str]:
    """(cosine, sine, tangent) that diagonalise [[first, across], [across, second]]; none where
    across is 0 (Golub and Van Loan, 8.5.2).
    """
    one = lanes.constant(1.0)
    none = lanes.test("oeq", across, lanes.zero)
    twice = lanes.select(none, one, lanes.add(across, across))
    theta = lanes.divide(lanes.subtract(second, first), twice)
    root = lanes.root(lanes.multiply_add(theta, theta, one))
    t = lanes.divide(one, lanes.add(lanes.size(theta), root))
    t = lanes.select(none, lanes.zero, lanes.with_sign(t, theta))
    cosine = lanes.divide(one, lanes.root(lanes.multiply_add(t, t, one)))
    return cosine, lanes.multiply(t, cosine), t


class _Eigh(Task):
    arguments = 3

    def run(self, at, values: str, vectors: str, a: str) -> None:
        b, lanes, n = self.b, self.lanes, self.n
        self._load(at, a, self.d.matrix, str(b.mul(n, n)), at.scratch)
        matrix = Stored(lanes, at.scratch, n)
        v = Stored(lanes, b.offset(at.scratch, self.d.right_at), n)
        with b.when(self._flag(UPPER)):
            for i in lanes.span(0, n):
                for j in lanes.span(0, i):
                    matrix.set(i, j, matrix.get(j, i))
        for i in lanes.span(0, n):
            for j in lanes.span(0, n):
                v.set(i, j, lanes.zero)
            v.set(i, i, lanes.constant(1.0))
        self._rotate_all(matrix, v)
        self._sort(matrix, v)
        order = Stored(lanes, b.offset(at.scratch, self.d.order_at), 1)
        for i in lanes.span(0, n):
            order.set(i, 0, matrix.get(i, i))
        self._store(at, values, str(n), order.at)
        self._store(at, vectors, str(b.mul(n, n)), v.at)

    def _held(self, stored: Stored) -> Matrix:
        return Held(stored) if self.fixed else stored

    def _rotate_all(self, stored: Stored, vectors: Stored) -> None:
        """Sweeps over all pairs until every matrix is diagonal to rounding."""
        b, lanes, n = self.b, self.lanes, self.n
        size = self._largest(stored, 0)
        epsilon = 2.0**-26 if self.c.size == 4 else 2.0**-55
        limit = lanes.multiply(size, lanes.constant(epsilon))
        with b.loop("0", str(MOST_SWEEPS)):
            off = self._largest(stored, 1)
            with b.when(lanes.any(lanes.test("ogt", off, limit))):
                a, v = self._held(stored), self._held(vectors)
                for p in lanes.span(0, n):
                    for q in lanes.span(lanes.plus(p, 1), n):
                        self._rotate(a, v, p, q)
                a.flush()
                v.flush()

    def _largest(self, a: Matrix, below: int) -> str:
        """The largest modulus of the lower triangle, with the diagonal or without (below = 1)."""
        lanes = self.lanes
        most = lanes.cell(self.fixed, lanes.zero)
        for i in lanes.span(below, self.n):
            for j in lanes.span(0, i if below else lanes.plus(i, 1)):
                size = lanes.size(a.get(i, j))
                larger = lanes.test("ogt", size, most.get())
                most.set(lanes.select(larger, size, most.get()))
        return most.get()

    def _rotate(self, a: Matrix, v: Matrix, p: Index, q: Index) -> None:
        """Rotate rows and columns p and q so that element (q, p) becomes 0."""
        lanes, n = self.lanes, self.n
        across, first, second = a.get(q, p), a.get(p, p), a.get(q, q)
        cosine, sine, t = jacobi_rotation(lanes, first, second, across)
        shift = lanes.multiply(t, across)
        a.set(p, p, lanes.subtract(first, shift))
        a.set(q, q, lanes.add(second, shift))
        a.set(q, p, lanes.zero)

        def turn(m: Matrix, x: tuple[Index, Index], y: tuple[Index, Index]) -> None:
            one_, other = m.get(*x), m.get(*y)
            m.set(*x, lanes.without_product(lanes.multiply(cosine, one_), sine, other))
            m.set(*y, lanes.multiply_add(sine, one_, lanes.multiply(cosine, other)))

        for r in lanes.span(0, p):
            turn(a, (p, r), (q, r))
        for r in lanes.span(lanes.plus(p, 1), q):
            turn(a, (r, p), (q, r))
        for r in lanes.span(lanes.plus(q, 1), n):
            turn(a, (r, p), (r, q))
        for r in lanes.span(0, n):
            turn(v, (r, p), (r, q))

    def _sort(self, a: Stored, v: Stored) -> None:
        """Eigenvalues ascending, vectors with them."""
        lanes, n = self.lanes, self.n
        for i in lanes.span(0, n):
            for j in lanes.span(lanes.plus(i, 1), n):
                x, y = a.get(i, i), a.get(j, j)
                less = lanes.test("olt", y, x)
                a.set(i, i, lanes.select(less, y, x))
                a.set(j, j, lanes.select(less, x, y))
                for r in lanes.span(0, n):
                    x, y = v.get(r, i), v.get(r, j)
                    v.set(r, i, lanes.select(less, y, x))
                    v.set(r, j, lanes.select(less, x, y))
