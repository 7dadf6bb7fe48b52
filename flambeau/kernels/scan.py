"""Scans: each result combines all elements before it along one axis.

Two forms, both over rows (one a chunk of the parallel range): `along` walks a row whose elements
may be any distance apart; `across` walks all rows side by side, one vector of rows at a time, when
the rows are adjacent in memory. Sums of float32 are carried in float64: the last digit is worth it.
"""

from __future__ import annotations

from . import dtypes as dt
from . import mathlib, scalar
from .ir import Builder
from .llvm import Emitter
from .lower import lower
from .plan import KernelSource
from .scalar import Expr, node
from .target import Target

KINDS = ("add", "mul", "max", "min", "logaddexp")


def source(kind: str, stored: str, result: str, across: bool, target: Target) -> KernelSource:
    """The kernel: args out, [indices,] input.

    desc: length, then (row, step) byte strides of out, [indices,] input.
    """
    form = "across" if across else "along"
    key = f"scan:{kind}:{stored}:{result}:{form}:{target.name}"
    return KernelSource(key, lambda: _build(kind, stored, result, across, target), "k")


def with_indices(kind: str) -> bool:
    """Do these scans also return where the extreme was?"""
    return kind in ("max", "min")


def _build(kind: str, stored: str, result: str, across: bool, target: Target) -> str:
    b = Builder(target)
    with scalar.tracing(), b.kernel():
        _Scan(b, kind, stored, result, across).emit()
    return b.module()


class _Scan:
    def __init__(self, b: Builder, kind: str, stored: str, result: str, across: bool) -> None:
        self.b, self.kind, self.stored, self.result = b, kind, stored, result
        self.carried = (
            "f64"
            if result in ("f32", "f64") and kind != "max" and kind != "min"
            else dt.opmath(result)
        )
        if kind in ("max", "min"):
            self.carried = "u8" if stored == "bool" else dt.opmath(stored)
        size = max(dt.INFO[self.carried].size if not dt.is_complex(self.carried) else 16, 4)
        self.lanes = b.target.vector_bytes // size if across and not dt.is_complex(result) else 1
        self.indices = with_indices(kind)

    def emit(self) -> None:
        b = self.b
        names = ["out", "indices", "input"] if self.indices else ["out", "input"]
        self.pointers = {n: b.argument(k) for k, n in enumerate(names)}
        self.length = b.size(0)
        self.row = {n: b.size(1 + 2 * k) for k, n in enumerate(names)}
        self.step = {n: b.size(2 + 2 * k) for k, n in enumerate(names)}
        if self.lanes == 1:
            with b.loop("%begin", "%end") as rows:
                self._row(Emitter(b, 1), rows.index)
            return
        last = b.sub("%end", self.lanes - 1)
        with b.loop("%begin", last, self.lanes) as main:
            self._row(Emitter(b, self.lanes), main.index)
        with b.loop(main.index, "%end") as tail:
            self._row(Emitter(b, 1), tail.index)

    def _row(self, em: Emitter, row: str) -> None:
        b = self.b
        at = {n: b.offset(p, b.mul(row, self.row[n])) for n, p in self.pointers.items()}
        parts = (
            [dt.COMPLEX_PART[self.carried]] * 2 if dt.is_complex(self.carried) else [self.carried]
        )
        start = [
            (em.type(p), em.constant(v, p)) for p, v in zip(parts, self._identity(), strict=True)
        ]
        if self.indices:
            start.append((em.type("i64"), em.constant(0, "i64")))
        with b.loop("0", self.length, carry=start) as steps:
            where = {n: b.offset(p, b.mul(steps.index, self.step[n])) for n, p in at.items()}
            values = self._load(em, where["input"])
            if self.indices:
                values.append(em.splat(steps.index, "i64"))
            merged = self._combine(em, steps.values, values)
            self._store(em, merged, where)
            steps.next(*merged)

    def _identity(self) -> list:
        if self.kind == "add":
            return [0, 0][: 2 if dt.is_complex(self.carried) else 1]
        if self.kind == "mul":
            return [1, 0][: 2 if dt.is_complex(self.carried) else 1]
        if self.kind == "logaddexp":
            return [-float("inf"), 0][: 2 if dt.is_complex(self.carried) else 1]
        info = dt.INFO[self.carried]
        if info.kind == "f":
            return [-float("inf") if self.kind == "max" else float("inf")]
        low, high = dt.integer_limits(self.carried)
        return [low if self.kind == "max" else high]

    def _load(self, em: Emitter, at: str) -> list[str]:
        if dt.is_complex(self.stored):
            return list(em.load_pair(self.stored, at))
        value = em.load(self.stored, at)
        if dt.is_complex(self.carried):
            part = dt.COMPLEX_PART[self.carried]
            return [em.cast(value, self.stored, part), em.constant(0, part)]
        return [em.cast(value, self.stored, self.carried)]

    def _combine(self, em: Emitter, a: list[str], c: list[str]) -> list[str]:
        if self.indices:
            return self._extreme(em, a, c)
        if dt.is_complex(self.carried):
            return self._complex(em, a, c)
        x, y = node("state", (), self.carried, 0), node("state", (), self.carried, 1)
        if self.kind == "logaddexp":
            graph = _logaddexp(x, y)
        else:
            graph = node(self.kind, (x, y), self.carried)
        return em.graph(lower([graph]), lambda n: None, {x: a[0], y: c[0]})  # type: ignore[arg-type]

    def _complex(self, em: Emitter, a: list[str], c: list[str]) -> list[str]:
        part = dt.COMPLEX_PART[self.carried]
        s = [node("state", (), part, k) for k in range(4)]
        known = dict(zip(s, [*a, *c], strict=True))
        if self.kind == "add":
            roots = [s[0] + s[2], s[1] + s[3]]
        elif self.kind == "logaddexp":
            sum_ = _logaddexp_complex(
                scalar.make_complex(s[0], s[1]), scalar.make_complex(s[2], s[3])
            )
            roots = list(lower([sum_])[0])  # type: ignore[arg-type]
        else:
            roots = [s[0] * s[2] - s[1] * s[3], s[0] * s[3] + s[1] * s[2]]
        return em.graph(roots, lambda n: None, known)

    def _extreme(self, em: Emitter, a: list[str], c: list[str]) -> list[str]:
        """The later of equal elements wins, and NaN stays, as in PyTorch."""
        x, i = node("state", (), self.carried, 0), node("state", (), "i64", 1)
        y, j = node("state", (), self.carried, 2), node("state", (), "i64", 3)
        take = scalar.compare("ge" if self.kind == "max" else "le", y, x)
        if dt.is_float(self.carried):
            take = scalar.isnan(y) | (~scalar.isnan(x) & take)
        roots = [scalar.where(take, y, x), scalar.where(take, j, i)]
        return em.graph(roots, lambda n: None, dict(zip([x, i, y, j], [*a, *c], strict=True)))

    def _store(self, em: Emitter, values: list[str], where: dict[str, str]) -> None:
        if dt.is_complex(self.result):
            em.store_pair((values[0], values[1]), self.result, where["out"])
            return
        em.store(em.cast(values[0], self.carried, self.result), self.result, where["out"])
        if self.indices:
            em.store(values[1], "i64", where["indices"])


def _logaddexp(x: Expr, y: Expr) -> Expr:
    high, low = scalar.maximum(x, y), scalar.minimum(x, y)
    infinite = scalar.eq(high, low) & scalar.isinf(high)
    return scalar.where(infinite, high, high + mathlib.log1p(mathlib.exp(low - high)))


def _logaddexp_complex(a: Expr, b: Expr) -> Expr:
    """Relative to the one with the larger real part."""
    first = scalar.real(a) >= scalar.real(b)
    high, low = scalar.where(first, a, b), scalar.where(first, b, a)
    value = high + mathlib.log1p(mathlib.exp(low - high))
    nothing = scalar.eq(scalar.real(low), -float("inf"))
    return scalar.where(nothing, high, value)
