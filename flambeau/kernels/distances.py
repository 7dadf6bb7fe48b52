"""Distances between rows: the p-norms of all differences, none of which is stored.

The rows of the second matrix come packed in panels of columns side by side (`PANEL` rows, one
element of each after the other), so that vectors go across them and no lanes are ever added up.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from . import scalar
from .copy_run import copy_run
from .element import Element, Tail
from .ir import Builder
from .mathlib import pow
from .plan import Fields, KernelSource, Phase, Plan, ceil_div
from .scalar import Expr, where
from .target import Target, host
from .vector_math import evaluate

# `pairs`: only the columns behind a row's own number, one row's behind the other's.
FIELDS = Fields("rows columns width panels blocks pairs power inverse")
SLOPE_FIELDS = Fields("rows columns width power")
_ROWS = 8  # of a task: a panel stays in the cache for so many
_GRAIN = 1 << 14  # differences, at least, that a thread takes


class Problem(NamedTuple):
    """Sizes of x1 (batch, rows, width) and x2 (batch, columns, width), and the norm."""

    dtype: str
    batch: int
    rows: int
    columns: int
    width: int
    p: float

    @property
    def kind(self) -> str:
        """Norms that have a formula of their own, by name; else `p`."""
        return {0: "0", 1: "1", 2: "2", math.inf: "inf"}.get(self.p, "p")


def count_vectors(dtype: str, columns: int, target: Target | None = None) -> int:
    """How many vectors a panel is wide."""
    lanes = Element(dtype, target or host()).lanes
    return next((n for n in (8, 4, 2) if columns > (n // 2 + n // 4) * lanes), 1)


def panel(dtype: str, columns: int, target: Target | None = None) -> int:
    """How many rows of x2 are side by side."""
    target = target or host()
    return count_vectors(dtype, columns, target) * Element(dtype, target).lanes


def plan(s: Problem, pairs: bool, threads: int, target: Target | None = None) -> Plan:
    """args: out (batch, rows, columns), or the columns of `pairs` alone; x1; x2 in panels (batch,
    panels, width, PANEL); workspace."""
    target = target or host()
    wide = panel(s.dtype, s.columns, target)
    panels, blocks = ceil_div(s.columns, wide), ceil_div(s.rows, _ROWS)
    desc = (s.rows, s.columns, s.width, panels, blocks, int(pairs), *_powers(s.p))
    tasks = s.batch * blocks
    grain = max(1, min(tasks, _GRAIN // max(1, _ROWS * s.columns * s.width)))
    vectors = count_vectors(s.dtype, s.columns, target)
    key = f"distances:{s.dtype}:{s.kind}:{vectors}:{target.name}"
    build = KernelSource(key, lambda: _build(s.dtype, s.kind, vectors, target), "distances")
    line = panels * wide * Element(s.dtype, target).size
    return Plan((Phase(build, desc, tasks, grain),), _ROWS * line * threads)  # type: ignore[arg-type]


def plan_slopes(s: Problem, target: Target | None = None) -> Plan:
    """args: gradient of x1; factors and distances (batch, rows, columns); x1; x2.

    The gradient of row i is the sum over j of factor[i, j] * slope(x1[i] - x2[j]).
    """
    target = target or host()
    tasks = s.batch * s.rows
    desc = (s.rows, s.columns, s.width, _powers(s.p)[0])
    key = f"distance_slopes:{s.dtype}:{s.kind}:{target.name}"
    build = KernelSource(key, lambda: _build_slopes(s.dtype, s.kind, target), "slopes")
    grain = max(1, min(tasks, _GRAIN // max(1, s.columns * s.width)))
    return Plan((Phase(build, desc, tasks, grain),), 0)  # type: ignore[arg-type]


def plan_square(size: int, n: int, target: Target | None = None) -> Plan:
    """args: square (n, n), pairs: those of row i go behind its diagonal; zeros elsewhere."""
    target = target or host()
    key = f"pairs_square:{size}:{target.name}"
    build = KernelSource(key, lambda: _build_square(size, target), "square")
    return Plan((Phase(build, (n,), n, max(1, _GRAIN // n)),), 0)


def _build_square(size: int, target: Target) -> str:
    b = Builder(target)
    with b.kernel("square"):
        n, square, pairs = b.size(0), b.argument(0), b.argument(1)
        with b.loop("%begin", "%end") as i:
            behind = b.add(i.index, 1)
            row = b.offset(square, b.mul(b.mul(i.index, n), size))
            gone = b.emit(f"lshr i64 {b.mul(i.index, behind)}, 1")
            first = b.sub(b.mul(i.index, b.sub(n, 1)), b.sub(gone, i.index))
            with b.loop("0", behind) as k:
                b.store(f"i{8 * size}", "0", b.offset(row, b.mul(k.index, size)), size)
            source = b.offset(pairs, b.mul(first, size))
            count = b.mul(b.sub(n, behind), size)
            copy_run(b, b.offset(row, b.mul(behind, size)), source, count, size)
    return b.module()


def _powers(p: float) -> tuple[float, float]:
    return (float(p), 1 / p) if 0 < p < math.inf else (0.0, 0.0)


# ---- norms ---------------------------------------------------------------------------------------


def _accumulate(kind: str, total: Expr, difference: Expr, power: Expr) -> list[Expr]:
    size = abs(difference)
    if kind == "0":
        return [total + where(scalar.ne(difference, 0), scalar.const(1, total.dtype), 0)]
    if kind == "1":
        return [total + size]
    if kind == "2":
        return [scalar.fma(difference, difference, total)]
    if kind == "inf":
        return [scalar.maximum(total, size)]
    return [total + pow(size, power)]


def _finish(kind: str, total: Expr, inverse: Expr) -> list[Expr]:
    if kind == "2":
        return [scalar.sqrt(total)]
    return [pow(total, inverse)] if kind == "p" else [total]


def _slope(kind: str, difference: Expr, distance: Expr, power: Expr) -> list[Expr]:
    one = scalar.const(1, difference.dtype)
    sign = where(difference > 0, one, where(difference < 0, -one, difference * 0))
    if kind == "1":
        return [sign]
    if kind == "2":
        return [difference]
    if kind == "inf":
        return [where(scalar.eq(abs(difference), distance), sign, 0)]
    return [where(scalar.eq(difference, 0), 0, sign * pow(abs(difference), power - 1))]


# ---- distances -----------------------------------------------------------------------------------


def _build(dtype: str, kind: str, vectors: int, target: Target) -> str:
    b = Builder(target)
    with b.kernel("distances"):
        _Distances(b, Element(dtype, target), kind, vectors).emit()
    return b.module()


class _Distances:
    def __init__(self, b: Builder, e: Element, kind: str, vectors: int) -> None:
        self.b, self.e, self.kind, self.vectors = b, e, kind, vectors
        self.d = FIELDS.load(b)
        self.out, self.x1, self.x2 = (b.argument(k) for k in range(3))
        self.power, self.inverse = (_number(b, e, FIELDS, n) for n in ("power", "inverse"))
        self.row_bytes = b.mul(self.d.width, e.size)
        self.wide = vectors * e.lanes
        self.line = b.mul(self.d.panels, self.wide * e.size)
        own = b.mul(b.mul("%thread", self.line), _ROWS)
        self.lines = b.offset(b.argument(3), own)

    def emit(self) -> None:
        """Task: some rows of x1 and all of x2."""
        b, d = self.b, self.d
        panel_bytes = b.mul(self.row_bytes, self.wide)
        with b.loop("%begin", "%end") as task:
            n, block = b.divide(task.index, d.blocks)
            first = b.mul(block, _ROWS)
            last = b.min(b.add(first, _ROWS), d.rows)
            start = b.emit(f"udiv i64 {b.mul(b.add(first, 1), d.pairs)}, {self.wide}")
            with b.loop(start, d.panels) as p:
                number = b.add(b.mul(n, d.panels), p.index)
                columns = b.offset(self.x2, b.mul(number, panel_bytes))
                at = b.offset(self.lines, b.mul(p.index, self.wide * self.e.size))
                with b.loop(first, last) as i:
                    row = b.mul(b.add(b.mul(n, d.rows), i.index), self.row_bytes)
                    to = b.offset(at, b.mul(b.sub(i.index, first), self.line))
                    self._measure(b.offset(self.x1, row), columns, to)
            with b.loop(first, last) as i:
                self._put(n, i.index, b.mul(b.sub(i.index, first), self.line))

    def _measure(self, row: str, columns: str, to: str) -> None:
        """One row of x1 against a panel."""
        b, e = self.b, self.e
        step = self.wide * e.size
        carry = [(e.vector, e.zero)] * self.vectors
        with b.loop("0", self.d.width, carry=carry) as m:
            (x,) = e.broadcast(b, b.offset(row, b.mul(m.index, e.size)))
            at = b.offset(columns, b.mul(m.index, step))
            totals = []
            for k, total in enumerate(m.values):
                y = e.load(b, b.offset(at, k * e.lanes * e.size))
                difference = b.emit(f"fsub {e.vector} {x}, {y}")
                totals += evaluate(
                    b, e.lanes, e.dtype, lambda *v: _accumulate(self.kind, *v), total, difference,
                    self.power,
                )  # fmt: skip
            m.next(*totals)
        for k, total in enumerate(m.values):
            (found,) = evaluate(
                b, e.lanes, e.dtype, lambda *v: _finish(self.kind, *v), total, self.inverse
            )
            e.store(b, found, b.offset(to, k * e.lanes * e.size))

    def _put(self, n: str, i: str, line: str) -> None:
        """Copy what is wanted of a row's distances to where it belongs."""
        b, e, d = self.b, self.e, self.d
        skipped = b.mul(b.add(i, 1), d.pairs)
        whole = b.mul(b.add(b.mul(n, d.rows), i), d.columns)
        # Rows before this one left out 1 + 2 + ... + i distances.
        gone = b.emit(f"lshr i64 {b.mul(i, b.add(i, 1))}, 1")
        at = b.sub(whole, b.mul(gone, d.pairs))
        source = b.offset(self.lines, b.add(line, b.mul(skipped, e.size)))
        count = b.mul(b.sub(d.columns, skipped), e.size)
        copy_run(b, b.offset(self.out, b.mul(at, e.size)), source, count, e.size)


def _number(b: Builder, e: Element, fields: Fields, name: str) -> str:
    value = b.load("double", b.offset("%desc", fields.names.index(name), "i64"), 8)
    if e.part == "float":
        value = b.emit(f"fptrunc double {value} to float")
    return e.splat(b, value)


# ---- gradients -----------------------------------------------------------------------------------


def _build_slopes(dtype: str, kind: str, target: Target) -> str:
    b = Builder(target)
    e = Element(dtype, target)
    with b.kernel("slopes"):
        d = SLOPE_FIELDS.load(b)
        out, factors, distances, x1, x2 = (b.argument(k) for k in range(5))
        power = _number(b, e, SLOPE_FIELDS, "power")
        step = b.mul(d.width, e.size)

        def columns(row: str, n: str, at: str, tails: list[Tail | None]) -> None:
            """Some vectors of the gradient of a row."""
            places = [b.add(at, k * e.lanes * e.size) for k in range(len(tails))]
            mine = b.offset(x1, b.mul(row, step))
            own = [e.load(b, b.offset(mine, p), t) for p, t in zip(places, tails, strict=True)]
            others = b.offset(x2, b.mul(b.mul(n, d.columns), step))
            line = b.mul(b.mul(row, d.columns), e.size)
            with b.loop("0", d.columns, carry=[(e.vector, e.zero)] * len(tails)) as j:
                here = b.add(line, b.mul(j.index, e.size))
                (factor,) = e.broadcast(b, b.offset(factors, here))
                (distance,) = e.broadcast(b, b.offset(distances, here))
                other = b.offset(others, b.mul(j.index, step))
                totals = []
                for total, x, p, t in zip(j.values, own, places, tails, strict=True):
                    y = e.load(b, b.offset(other, p), t)
                    (slope,) = evaluate(
                        b, e.lanes, dtype, lambda *v: _slope(kind, *v),
                        b.emit(f"fsub {e.vector} {x}, {y}"), distance, power,
                    )  # fmt: skip
                    totals += e.multiply_add(b, [factor], slope, [total])
                j.next(*totals)
            for total, p, t in zip(j.values, places, tails, strict=True):
                e.store(b, total, b.offset(b.offset(out, b.mul(row, step)), p), t)

        with b.loop("%begin", "%end") as row:
            n = b.emit(f"udiv i64 {row.index}, {d.rows}")
            block = 4 * e.lanes
            whole = b.mul(b.emit(f"udiv i64 {d.width}, {block}"), block)
            with b.loop("0", whole, block) as c:
                columns(row.index, n, b.mul(c.index, e.size), [None] * 4)
            with b.loop(whole, d.width, e.lanes) as c:
                tail = e.tail(b, b.sub(d.width, c.index))
                columns(row.index, n, b.mul(c.index, e.size), [tail])
    return b.module()
