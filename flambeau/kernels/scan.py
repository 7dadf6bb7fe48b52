"""Scans: each result combines all elements before it along one axis.

Two forms. `along` walks rows whose elements may be any distance apart; where they are neighbours, a
vector of them is scanned in registers, in log2(lanes) steps. Long rows are cut into chunks: the
function `t` finds each chunk's total, `k` scans a chunk from the combined totals before it.
`across` walks neighbouring rows side by side, several vectors abreast. Sums of float32 are carried
in float64: the last digit is worth it.
"""

from __future__ import annotations

from functools import partial

from . import dtypes as dt
from . import mathlib, scalar
from .ir import Builder
from .llvm import Emitter
from .lower import lower
from .plan import KernelSource
from .scalar import Expr, node
from .target import Target

KINDS = ("add", "mul", "max", "min", "logaddexp")
TOTAL_BYTES = 32  # room for what one chunk hands on
ABREAST = 4


def source(
    kind: str,
    stored: str,
    result: str,
    form: str,
    target: Target,
    symbol: str = "k",
    backwards: bool = False,
) -> KernelSource:
    """The kernel: args out, [indices,] input, totals; form is along, apart (no neighbours), across.

    desc: length, chunks, elements of a chunk, then (row, step) byte strides of out, [indices,]
    input. Tasks are rows, or chunks of rows.
    """
    key = f"scan:{kind}:{stored}:{result}:{form}:{target.name}{':backwards' if backwards else ''}"

    def build() -> str:
        b = Builder(target)
        with scalar.tracing():
            with b.kernel():
                _Scan(b, kind, stored, result, form, backwards).emit()
            if form != "across":
                with b.kernel("t"):
                    _Scan(b, kind, stored, result, form, backwards).emit_totals()
        return b.module()

    return KernelSource(key, build, symbol)


def with_indices(kind: str) -> bool:
    """Do these scans also return where the extreme was?"""
    return kind in ("max", "min")


class _Scan:
    def __init__(
        self, b: Builder, kind: str, stored: str, result: str, form: str, backwards: bool
    ) -> None:
        self.b, self.kind, self.stored, self.result, self.form = b, kind, stored, result, form
        self.backwards = backwards
        self.carried = (
            "f64"
            if result in ("f32", "f64") and kind != "max" and kind != "min"
            else dt.opmath(result)
        )
        if kind in ("max", "min"):
            self.carried = "u8" if stored == "bool" else dt.opmath(stored)
        self.indices = with_indices(kind)
        self.parts = (
            [dt.COMPLEX_PART[self.carried]] * 2 if dt.is_complex(self.carried) else [self.carried]
        )
        self.carries = [*self.parts, "i64"] if self.indices else self.parts
        self.lanes = self._choose_lanes()

    def _choose_lanes(self) -> int:
        if dt.is_complex(self.result) or self.form == "apart":
            return 1
        return self.b.target.vector_bytes // max(
            8 if self.indices else 4, dt.INFO[self.carried].size
        )

    def _open(self) -> None:
        """Load what the descriptor says."""
        b = self.b
        names = ["out", "indices", "input"] if self.indices else ["out", "input"]
        self.pointers = {n: b.argument(k) for k, n in enumerate(names)}
        self.totals = b.argument(len(names))
        self.length, self.chunks, self.size = (b.size(k) for k in range(3))
        self.row = {n: b.size(3 + 2 * k) for k, n in enumerate(names)}
        self.step = {n: b.size(4 + 2 * k) for k, n in enumerate(names)}
        if self.backwards:  # from the last element of a row towards the first
            last = b.sub(self.length, 1)
            self.pointers = {
                n: b.offset(p, b.mul(last, self.step[n])) for n, p in self.pointers.items()
            }
            self.step = {n: b.sub("0", s) for n, s in self.step.items()}

    def _start(self, em: Emitter) -> list[str]:
        values = [em.constant(v, p) for p, v in zip(self.parts, self._identity(), strict=True)]
        return [*values, em.constant(0, "i64")] if self.indices else values

    def _types(self, em: Emitter) -> list[str]:
        return [em.type(p) for p in self.carries]

    def _at(self, row: str) -> dict[str, str]:
        b = self.b
        return {n: b.offset(p, b.mul(row, self.row[n])) for n, p in self.pointers.items()}

    def emit(self) -> None:
        """The body of `k`."""
        self._open()
        if self.form == "across":
            self._across()
            return
        b = self.b
        with b.loop("%begin", "%end") as tasks:
            row, chunk = b.divide(tasks.index, self.chunks)
            state = self._before(row, chunk)
            self._chunk(row, chunk, state, store=True)

    def emit_totals(self) -> None:
        """The body of `t`."""
        self._open()
        b, em = self.b, Emitter(self.b, 1)
        with b.loop("%begin", "%end") as tasks:
            row, chunk = b.divide(tasks.index, self.chunks)
            state = self._chunk(row, chunk, self._start(em), store=False)
            at = b.offset(self.totals, b.mul(tasks.index, TOTAL_BYTES))
            for k, (value, dtype) in enumerate(zip(state, self.carries, strict=True)):
                em.store(value, dtype, b.offset(at, 8 * k))

    def _before(self, row: str, chunk: str) -> list[str]:
        """What the chunks before this one come to."""
        b, em = self.b, Emitter(self.b, 1)
        first = b.offset(self.totals, b.mul(b.mul(row, self.chunks), TOTAL_BYTES))
        carry = list(zip(self._types(em), self._start(em), strict=True))
        with b.loop("0", chunk, carry=carry) as earlier:
            at = b.offset(first, b.mul(earlier.index, TOTAL_BYTES))
            total = [em.load(t, b.offset(at, 8 * k)) for k, t in enumerate(self.carries)]
            earlier.next(*self._combine(em, earlier.values, total))
        return earlier.values

    def _chunk(self, row: str, chunk: str, state: list[str], store: bool) -> list[str]:
        """Scan one chunk from a state; the state after it."""
        b = self.b
        begin = b.mul(chunk, self.size)
        end = b.min(b.add(begin, self.size), self.length)
        at = self._at(row)
        if self.lanes > 1:
            begin, state = self._vectors(at, begin, end, state, store)
        em = Emitter(b, 1)
        with b.loop(begin, end, carry=list(zip(self._types(em), state, strict=True))) as steps:
            merged = self._single(em, at, steps.index, steps.values, store)
            steps.next(*merged)
        return steps.values

    def _single(self, em: Emitter, at: dict, index: str, state: list[str], store: bool):
        """One element of each lane's row."""
        b = self.b
        where = {n: b.offset(p, b.mul(index, self.step[n])) for n, p in at.items()}
        values = self._load(em, where["input"])
        if self.indices:
            values.append(em.splat(index, "i64"))
        merged = self._combine(em, state, values)
        if store:
            self._store(em, merged, where)
        return merged

    def _vectors(self, at: dict, begin: str, end: str, state: list[str], store: bool):
        """As many whole vectors as there are; (where they end, the state)."""
        b, em = self.b, Emitter(self.b, self.lanes)
        types = self._types(em)
        splats = [em.splat(v, t) for v, t in zip(state, self.carries, strict=True)]
        carry = list(zip(types, splats, strict=True))
        with b.loop(begin, b.sub(end, self.lanes - 1), self.lanes, carry) as steps:
            where = {n: b.offset(p, self._vector_at(n, steps.index)) for n, p in at.items()}
            values = [self._in_order(em, v) for v in self._load(em, where["input"])]
            if self.indices:
                values.append(em.numbers(steps.index))
            if self.indices:
                steps.next(*self._rarely_better(em, steps.values, values, where, store))
            else:
                steps.next(*self._join(em, steps.values, values, where, store))
        firsts = [
            b.emit(f"extractelement {t} {v}, i32 0")
            for v, t in zip(steps.values, types, strict=True)
        ]
        return steps.index, firsts

    def _join(self, em: Emitter, state: list[str], values: list[str], where, store: bool):
        """A vector scanned and stored; the state after it, in all lanes."""
        values = self._scan_lanes(em, values)
        if store:
            merged = self._combine(em, state, values)
            self._store(em, [self._in_order(em, v) for v in merged], where)
        last = [
            self.b.shuffle(v, "poison", t, [self.lanes - 1] * self.lanes)
            for v, t in zip(values, self._types(em), strict=True)
        ]
        return self._combine(em, state, last)

    def _rarely_better(self, em: Emitter, state: list[str], values: list[str], where, store: bool):
        """The same of extremes: few vectors have an element that replaces the one so far."""
        better = em.any_lane(self._takes(em, state[0], values[0]))

        def keep() -> list[str]:
            if store:
                self._store(em, state, where)
            return state

        join = partial(self._join, em, state, values, where, store)
        return self.b.choose(better, join, keep, self._types(em))

    def _vector_at(self, name: str, index: str) -> str:
        """Bytes from the first element to the lowest of the vector whose first is `index`."""
        b, item = self.b, self._item(name)
        if not self.backwards:
            return b.mul(index, item)
        return b.mul(b.add(index, self.lanes - 1), -item)

    def _in_order(self, em: Emitter, value: str) -> str:
        """A vector as read from memory in the order of the scan, and back."""
        if not self.backwards:
            return value
        picks = [self.lanes - 1 - k for k in range(self.lanes)]
        return self.b.shuffle(value, "poison", em.type(self.carried), picks)

    def _item(self, name: str) -> int:
        stored = {"out": self.result, "input": self.stored, "indices": "i64"}[name]
        return dt.INFO[stored].size

    def _scan_lanes(self, em: Emitter, values: list[str]) -> list[str]:
        """Each lane combined with all before it."""
        types, fill = self._types(em), self._start(em)
        if self.kind == "add" and dt.is_float(self.carried):
            # the sum's true identity; zeros besides would be shifted in by slow expansions
            fill = [em.constant(-0.0, self.carried)]
        step = 1
        while step < self.lanes:
            picks = [k - step if k >= step else self.lanes for k in range(self.lanes)]
            moved = [
                self.b.shuffle(v, s, t, picks) for v, s, t in zip(values, fill, types, strict=True)
            ]
            values = self._combine(em, moved, values)
            step *= 2
        return values

    # ---- neighbouring rows -----------------------------------------------------------------------

    def _across(self) -> None:
        b = self.b
        begin = "%begin"
        for abreast in (ABREAST, 1):
            if self.lanes == 1:
                break
            step = self.lanes * abreast
            with b.loop(begin, b.sub("%end", step - 1), step) as main:
                self._rows(Emitter(b, self.lanes), abreast, main.index)
            begin = main.index
        with b.loop(begin, "%end") as tail:
            self._rows(Emitter(b, 1), 1, tail.index)

    def _rows(self, em: Emitter, abreast: int, row: str) -> None:
        b = self.b
        first = self._at(row)
        every = [
            {n: b.offset(p, v * em.lanes * self._item(n)) for n, p in first.items()}
            for v in range(abreast)
        ]
        width = len(self.carries)
        start = list(zip(self._types(em), self._start(em), strict=True)) * abreast
        with b.loop("0", self.length, carry=start) as steps:
            merged: list[str] = []
            for v, at in enumerate(every):
                have = steps.values[v * width : (v + 1) * width]
                merged += self._single(em, at, steps.index, have, store=True)
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
        take = node("state", (), "bool", 4)
        x, i = node("state", (), self.carried, 0), node("state", (), "i64", 1)
        y, j = node("state", (), self.carried, 2), node("state", (), "i64", 3)
        roots = [scalar.where(take, y, x), scalar.where(take, j, i)]
        known = dict(zip([x, i, y, j], [*a, *c], strict=True))
        return em.graph(roots, lambda n: None, known | {take: self._takes(em, a[0], c[0])})

    def _takes(self, em: Emitter, a: str, c: str) -> str:
        """Does c, which comes later, replace a?"""
        x, y = node("state", (), self.carried, 0), node("state", (), self.carried, 2)
        take = scalar.compare("ge" if self.kind == "max" else "le", y, x)
        if dt.is_float(self.carried):
            take = scalar.isnan(y) | (~scalar.isnan(x) & take)
        return em.graph([take], lambda n: None, {x: a, y: c})[0]

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
