"""LU and Cholesky factors and solutions with them, of real matrices, by generated kernels.

Small matrices of a batch lie one in each lane; else a matrix goes by rows, and a large one is cut
in halves whose parts are triangular solves and matrix products, which share the threads. These are
launches: no checks, no history.
"""

from __future__ import annotations

import math

from .. import core
from ..core import Tensor
from ..kernels.lazy import factor_rows, gemm, lane_factors, triangular_vector
from ..kernels.lazy import triangular as triangular_kernel
from .plans import planned

INT32 = core.dtypes[4]
_LANE_SIZE = 16  # largest matrices that lie in lanes, be it one alone
_LANE_COLUMNS = 64
_VECTORS = 2  # right-hand sides that are solved one by one
_WHOLE_BYTES = 160 * 160 * 4  # matrices that one thread factors alone
_PANEL, _CORNER, _STRIP = 64, 128, 256
UPPER, UNIT, ADJOINT, IDENTITY = 1, 2, 4, 8  # flags of kernels/lane_factors.py


def in_lanes(n: int) -> bool:
    """Whether matrices of this size are solved one in each lane."""
    return n <= _LANE_SIZE


def plain(t: Tensor) -> Tensor:
    """The elements side by side, without history."""
    return t if t.is_contiguous() else core.contiguous_plain(t)


# ---- LU
# ------------------------------------------------------------------------------------------------


def factor_lu(a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(LU, pivots from 1, info, parity of the interchanges) of a batch of real matrices."""
    shape = a.shape
    m, n, batch = shape[-2], shape[-1], shape[:-2]
    k, count = min(m, n), math.prod(batch)
    pivots = core.empty((*batch, k), INT32)
    dtype = a.dtype
    if m == n and n and in_lanes(n):
        lu, info, parity = (
            core.empty(shape, dtype),
            core.empty(batch, INT32),
            core.empty(batch, dtype),
        )
        if count:
            short = dtype.short
            plan = planned(
                ("lanes_lu", short, n, count),
                lambda threads: lane_factors.plan_lanes("lu", short, n, count, threads),
            )
            plan.run(lu, plain(a), pivots, info, parity)
        return lu, pivots, info, parity
    lu, info, parity = _copy(a), core.empty(batch, INT32), core.empty(batch, dtype)
    core.fill_number(info, 0)
    core.fill_number(parity, 1)
    if count and k:
        _factor_rows(lu, pivots, info, parity, m, n, count)
    return lu, pivots, info, parity


def _copy(a: Tensor) -> Tensor:
    return core.clone_plain(a) if a.is_contiguous() else core.contiguous_plain(a)


def _factor_rows(lu, pivots, info, parity, m: int, n: int, count: int) -> None:
    short, size, k = lu.dtype.short, lu.element_size(), min(m, n)
    if m * n * size <= _WHOLE_BYTES or (count >= 2 * core.threads() and m * n <= 1 << 18):
        plan = planned(
            ("lu_rows", short, m, n, count),
            lambda t: factor_rows.plan_lu(short, m, n, count, n, m * n, k, t),
        )
        plan.run(lu, pivots, info, parity)
        return
    at = lu.data_ptr(), pivots.data_ptr(), info.data_ptr(), parity.data_ptr()
    for i in range(count):
        steps = m * n * size, 4 * k, 4, size
        _LargeLU(lu.dtype, m, n, *[p + i * s for p, s in zip(at, steps, strict=True)]).run()


class Large:
    """A matrix in memory with rows of `n` elements, and what is launched on its blocks."""

    def __init__(self, dtype: core.dtype, n: int, address: int) -> None:
        self.dtype, self.short, self.size = dtype, dtype.short, dtype.itemsize
        self.n, self.address = n, address

    def at(self, row: int, column: int) -> int:
        """Address of an element."""
        return self.address + (row * self.n + column) * self.size

    def solve(self, a: int, x: int, n: int, columns: int, steps: tuple, unit: bool) -> None:
        """X = A^-1 X for a lower triangle with the given strides."""
        short, row = self.short, self.n
        plan = planned(
            ("solve_block", short, n, columns, row, steps, unit),
            lambda t: triangular_kernel.plan_triangular(
                short, n, columns, 1, (0, *steps), (0, row, 1), t, upper=False, unit=unit, x_row=row
            ),
        )
        plan.run(x, a, x)

    def add_product(self, c: int, a: int, b: int, m: int, n: int, k: int, a_steps, b_steps) -> None:
        """C += A B."""
        short, row = self.short, self.n
        plan = planned(
            ("add_block", short, m, n, k, a_steps, b_steps, row),
            lambda t: gemm.plan_gemm(
                short, m, n, k, a_steps, b_steps, (row, 1), t, accumulate=True
            ),
        )
        plan.run(c, a, b, None)

    def minus(self, row: int, column: int, m: int, n: int) -> Tensor:
        """A block, negated, in memory of its own."""
        block = core.from_address(self.at(row, column), self.dtype, (m, n), (self.n, 1), None)
        return -block


class _LargeLU(Large):
    """Halves of the columns in turn (Toledo 1997)."""

    def __init__(self, dtype, m: int, n: int, lu: int, pivots: int, info: int, parity: int) -> None:
        super().__init__(dtype, n, lu)
        self.m, self.pivots, self.notes = m, pivots, (info, parity)

    def run(self) -> None:
        steps = min(self.m, self.n)
        self._factor(0, steps)
        if self.n > steps:
            self._advance(0, steps, self.n - steps)

    def _factor(self, k: int, width: int) -> None:
        """The columns k to k + width, from row k down."""
        if width <= _PANEL:
            short, m, row = self.short, self.m - k, self.n
            plan = planned(
                ("lu_panel", short, m, width, row, k),
                lambda t: factor_rows.plan_lu(short, m, width, 1, row, 0, 0, t, base=k),
            )
            plan.run(self.at(k, k), self.pivots + 4 * k, *self.notes)
            return
        half = (width // 2 + 31) // 32 * 32
        self._factor(k, half)
        self._advance(k, half, width - half)
        self._factor(k + half, width - half)
        self._interchange(k + half, width - half, k, half)

    def _advance(self, k: int, half: int, columns: int) -> None:
        """What the factored columns do to those on their right."""
        right, row = k + half, self.n
        self._interchange(k, half, right, columns)
        self.solve(self.at(k, k), self.at(k, right), half, columns, (row, 1), True)
        below = self.m - right
        if below:
            minus = self.minus(k, right, half, columns)
            self.add_product(
                self.at(right, right), self.at(right, k), minus.data_ptr(), below, columns, half,
                (row, 1), (columns, 1),
            )  # fmt: skip

    def _interchange(self, k: int, steps: int, column: int, columns: int) -> None:
        """The pivots of columns k on, in other columns."""
        short, row = self.short, self.n
        plan = planned(
            ("swap_rows", short, columns, row, steps, k),
            lambda t: factor_rows.plan_interchange(short, columns, 1, row, 0, 0, steps, t, base=k),
        )
        plan.run(self.at(k, column), self.pivots + 4 * k)


def solve_lu(lu: Tensor, pivots: Tensor, b: Tensor | None, adjoint: bool = False) -> Tensor:
    """A^-1 B, or A^-T B, from the factors of real A; without B the inverse."""
    n, batch = lu.shape[-1], lu.shape[:-2]
    columns, count = (n if b is None else b.shape[-1]), math.prod(batch)
    if n and columns and count and in_lanes(n) and columns <= _LANE_COLUMNS:
        return _solve_lanes(lu, pivots, b, adjoint, n, columns, count)
    if b is None:
        x = identities(lu)
    else:
        x = _copy(b)
    if x.numel() == 0:
        return x
    if adjoint:
        half = solve_triangle(lu.mT, x, False, False)
        x = solve_triangle(lu.mT, half, True, True)
    interchange_rows(x, pivots, adjoint)
    if not adjoint:
        x = solve_triangle(lu, solve_triangle(lu, x, False, True), True, False)
    return x


def interchange_rows(x: Tensor, pivots: Tensor, reverse: bool) -> Tensor:
    """Interchange rows of contiguous real matrices in place, by the pivots, maybe backwards."""
    rows, columns, steps = x.shape[-2], x.shape[-1], pivots.shape[-1]
    if not x.numel() or not steps:
        return x
    short, count = x.dtype.short, x.numel() // (rows * columns)
    plan = planned(
        ("swap_right", short, rows, columns, count, steps, reverse),
        lambda t: factor_rows.plan_interchange(
            short, columns, count, columns, rows * columns, steps, steps, t, reverse=reverse
        ),
    )
    plan.run(x, plain(pivots))
    return x


def identities(like: Tensor) -> Tensor:
    """Identity matrices of the shape of a batch of square ones."""
    x = core.empty(like.shape, like.dtype)
    core.fill_number(x, 0)
    core.fill_number(x.diagonal(0, -2, -1), 1)
    return x


def _solve_lanes(lu, pivots, b, adjoint: bool, n: int, columns: int, count: int) -> Tensor:
    x = core.empty((*lu.shape[:-1], columns), lu.dtype)
    flags = (ADJOINT if adjoint else 0) | (IDENTITY if b is None else 0)
    short = lu.dtype.short
    plan = planned(
        ("lanes_solve", short, n, columns, count, flags),
        lambda threads: lane_factors.plan_lanes(
            "solve", short, n, count, threads, columns=columns, flags=flags
        ),
    )
    plan.run(x, plain(lu), plain(pivots), None if b is None else plain(b))
    return x


# ---- Cholesky
# ------------------------------------------------------------------------------------------------


def factor_cholesky(a: Tensor, upper: bool) -> tuple[Tensor, Tensor]:
    """(L or upper U, info) of a batch of real matrices, of which one triangle is read."""
    shape, n, batch, dtype = a.shape, a.shape[-1], a.shape[:-2], a.dtype
    count, short = math.prod(batch), a.dtype.short
    info, factor = core.empty(batch, INT32), core.empty(shape, dtype)
    if not factor.numel():
        core.fill_number(info, 0)
        return factor, info
    a = plain(a)
    if in_lanes(n):
        flags = UPPER if upper else 0
        plan = planned(
            ("lanes_cholesky", short, n, count, flags),
            lambda t: lane_factors.plan_lanes("cholesky", short, n, count, t, flags=flags),
        )
        plan.run(factor, a, info)
        return factor, info
    core.fill_number(info, 0)
    if n * n * dtype.itemsize <= _WHOLE_BYTES or (count >= 2 * core.threads() and n <= 512):
        plan = planned(
            ("cholesky_rows", short, n, count, upper),
            lambda t: factor_rows.plan_cholesky(short, n, count, n, n * n, t, upper=upper),
        )
        plan.run(factor, a, info)
        return factor, info
    work = (core.clone_plain(a) if upper else core.contiguous_plain(a.mT)).reshape(count, n, n)
    for i in range(count):
        _LargeCholesky(dtype, n, work[i].data_ptr(), info.data_ptr() + 4 * i).run()
    work = work.triu()
    return (work if upper else core.contiguous_plain(work.mT)).reshape(shape), info


class _LargeCholesky(Large):
    """The upper factor in place: a corner, the rows beside it, the product taken from the rest."""

    def __init__(self, dtype, n: int, address: int, info: int) -> None:
        super().__init__(dtype, n, address)
        self.info = info

    def run(self) -> None:
        self._factor(0, self.n)

    def _factor(self, k: int, width: int) -> None:
        if width <= _CORNER:
            short, row = self.short, self.n
            plan = planned(
                ("cholesky_corner", short, width, row, k),
                lambda t: factor_rows.plan_cholesky(short, width, 1, row, 0, t, upper=True, base=k),
            )
            plan.run(self.at(k, k), self.at(k, k), self.info)
            return
        half = (width // 2 + 31) // 32 * 32
        rest, right = width - half, k + half
        self._factor(k, half)
        self.solve(self.at(k, k), self.at(k, right), half, rest, (1, self.n), False)
        minus = self.minus(k, right, half, rest)
        for r in range(0, rest, _STRIP):  # only rows up to the diagonal are wanted
            self.add_product(
                self.at(right + r, right + r), minus.data_ptr() + r * self.size,
                self.at(k, right + r), min(_STRIP, rest - r), rest - r, half, (1, rest),
                (self.n, 1),
            )  # fmt: skip
        self._factor(right, rest)


# ---- triangles
# ------------------------------------------------------------------------------------------------


def solve_triangle(a: Tensor, b: Tensor, upper: bool, unit: bool) -> Tensor:
    """X with A X = B for real batches of one shape; only the named triangle of A is read."""
    n, columns = b.shape[-2:]
    x = core.empty(b.shape, b.dtype)
    if x.numel() == 0:
        return x
    count, short = x.numel() // (n * columns), b.dtype.short
    if in_lanes(n) and columns <= _LANE_COLUMNS:
        flags = (UPPER if upper else 0) | (UNIT if unit else 0)
        plan = planned(
            ("lanes_triangle", short, n, columns, count, flags),
            lambda t: lane_factors.plan_lanes(
                "triangle", short, n, count, t, columns=columns, flags=flags
            ),
        )
        plan.run(x, plain(a), plain(b))
        return x
    a, b = _flat(a, count), _flat(b, count)
    vectors = columns <= _VECTORS
    if vectors and a.stride(-1) != 1 and a.stride(-2) != 1:
        a = core.contiguous_plain(a)
    problem = short, n, columns, count, tuple(a.stride()), tuple(b.stride())
    plan = planned(
        ("triangular", problem, upper, unit),
        lambda t: (
            triangular_vector.plan_vectors(*problem, t, upper=upper, unit=unit)
            if vectors
            else triangular_kernel.plan_triangular(*problem, t, upper=upper, unit=unit)
        ),
    )
    plan.run(x, a, b)
    return x


def _flat(t: Tensor, count: int) -> Tensor:
    return t if t.dim() == 3 else t.reshape(count, *t.shape[-2:])
