"""Connectionist temporal classification: all alignments of a label sequence to an input, summed.

The states of a row are blank, label 1, blank, label 2, ..., blank. alpha[t, s] is the logarithm of
the probability of all ways to be in state s after times 0..t, beta[t, s] that of all ways on from
there, time t included:
    alpha[t, s] = x[t, s] + log(sum of exp(alpha[t - 1, r]))
where r is s, s - 1 and, if their labels differ, s - 2. A task is a row; vectors go along states.

Reference: Graves et al., Connectionist Temporal Classification (2006).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from . import scalar
from .element import Element, Tail
from .ir import Builder, float_bits
from .mathlib import exp, log
from .plan import Fields, KernelSource, Phase, Plan
from .scalar import Expr, where
from .target import Target, host
from .vector_math import evaluate

# The numbers before those of the rows (input lengths, label lengths, first labels) in `facts`.
# `width`: of the rows of alpha, without the two columns before state 0; a multiple of PADDING.
FACTS = Fields("times rows classes width blank zero_infinity")
PADDING = 16  # no vector of states is longer
LINES = 4  # of `width + 2` numbers that a row needs: skips, ends, emissions, beta or shares


def plan(dtype: str, rows: int, grain: int, backward: bool, target: Target | None = None) -> Plan:
    """Forward args: losses, alpha, log-probabilities, labels, facts, lines, states, wrong.

    Backward args: gradient, cotangents, losses, alpha, log-probabilities, labels, facts, lines,
    states, wrong. losses (rows); alpha (rows, times, width + 2); lines (rows, LINES, width + 2);
    labels, facts, states (rows, width) and wrong are i64. `wrong` becomes 1 where a label is no
    class.
    """
    target = target or host()
    name = "backward" if backward else "forward"
    build = _build_backward if backward else _build_forward
    kernel = KernelSource(f"ctc_{name}:{dtype}:{target.name}", lambda: build(dtype, target), "ctc")
    return Plan((Phase(kernel, (), rows, grain),), 0)


def _build_forward(dtype: str, target: Target) -> str:
    b = Builder(target)
    with b.kernel("ctc"), b.loop("%begin", "%end") as row:
        _Row(b, Element(dtype, target), row.index, 1).forward()
    return b.module()


def _build_backward(dtype: str, target: Target) -> str:
    b = Builder(target)
    with b.kernel("ctc"), b.loop("%begin", "%end") as row:
        _Row(b, Element(dtype, target), row.index, 3).backward()
    return b.module()


def _add_logs(a: Expr, b: Expr, c: Expr) -> Expr:
    top = scalar.maximum(scalar.maximum(a, b), c)
    top = where(scalar.eq(top, -math.inf), scalar.const(0, a.dtype), top)
    return log(exp(a - top) + exp(b - top) + exp(c - top)) + top


class _Row:
    """One row; `first` is the number of the argument alpha."""

    def __init__(self, b: Builder, e: Element, row: str, first: int) -> None:
        self.b, self.e, self.row = b, e, row
        self.lanes, self.size = e.width, e.size
        alpha, self.logs, labels, facts, lines, states, self.wrong = (
            b.argument(first + k) for k in range(7)
        )
        known = {n: b.load("i64", b.offset(facts, 8 * k), 8) for k, n in enumerate(FACTS.names)}
        self.f = f = SimpleNamespace(**known)

        def of_row(k: int) -> str:
            at = b.add(b.mul(f.rows, k), b.add(row, len(FACTS.names)))
            return b.load("i64", b.offset(facts, b.mul(at, 8)), 8)

        self.times, self.length, start = (of_row(k) for k in range(3))
        self.count = b.add(b.mul(self.length, 2), 1)  # states
        self.labels = b.offset(labels, b.mul(start, 8))
        self.line = b.mul(b.add(f.width, 2), self.size)  # bytes
        self.alpha = b.offset(alpha, b.mul(b.mul(row, f.times), self.line))
        own = b.offset(lines, b.mul(b.mul(row, LINES), self.line))
        self.skips, self.ends, self.emissions, self.extra = (
            b.offset(own, b.mul(self.line, k)) for k in range(LINES)
        )
        self.states = b.offset(states, b.mul(b.mul(row, f.width), 8))
        self.never = float_bits(-math.inf, e.part)

    # ---- pieces ----------------------------------------------------------------------------------

    def _at(self, line: str, state: str | int) -> str:
        return self.b.offset(line, self.b.mul(state, self.size))

    def _log_row(self, time: str) -> str:
        """The log-probabilities of a time."""
        return self.b.offset(self.logs, self.b.mul(self._first(time), self.size))

    def _first(self, time: str) -> str:
        b, f = self.b, self.f
        return b.mul(b.add(b.mul(time, f.rows), self.row), f.classes)

    def _of_alpha(self, time: str) -> str:
        return self.b.offset(self.alpha, self.b.mul(time, self.line))

    def _fill(self, line: str) -> None:
        b = self.b
        with b.loop("0", b.add(self.f.width, 2)) as k:
            b.store(self.e.part, self.never, self._at(line, k.index))

    def _each_vector(self):
        return self.b.loop("0", self.count, self.lanes)

    def prepare(self) -> None:
        """Every state's class; 0 where a state may be reached over the one before it (skips), and
        where there is a state (ends), -inf elsewhere."""
        b, part = self.b, self.e.part
        zero, most = float_bits(0.0, part), b.sub(self.f.classes, 1)
        with b.loop("0", self.f.width, carry=[("i64", "-1"), ("i64", "-1")]) as s:
            odd = b.emit(f"icmp eq i64 {b.emit(f'and i64 {s.index}, 1')}, 1")
            inside = b.less(s.index, self.count)

            def read(s: str = s.index) -> list[str]:
                half = b.emit(f"lshr i64 {s}, 1")
                return [b.load("i64", b.offset(self.labels, b.mul(half, 8)), 8)]

            labelled = b.emit(f"and i1 {odd}, {inside}")
            (label,) = b.choose(labelled, read, lambda: [self.f.blank], ["i64"])
            with b.when(b.emit(f"icmp ugt i64 {label}, {most}")):
                b.store("i64", "1", self.wrong, 8)
            label = b.max(b.min(label, most), "0")
            b.store("i64", label, b.offset(self.states, b.mul(s.index, 8)), 8)
            differs = b.emit(f"icmp ne i64 {label}, {s.values[0]}")
            skip = b.select(differs, part, zero, self.never)
            b.store(part, skip, self._at(self.skips, s.index))
            b.store(part, b.select(inside, part, zero, self.never), self._at(self.ends, s.index))
            s.next(s.values[1], label)
        for k in range(2):  # seen by the last states that beta looks on from
            b.store(part, self.never, self._at(self.skips, b.add(self.f.width, k)))

    def _emit_at(self, time: str) -> None:
        """Every state's log-probability at a time."""
        b, source = self.b, self._log_row(time)
        end = b.emit(f"and i64 {b.add(self.count, self.lanes - 1)}, {-self.lanes}")
        with b.loop("0", end) as s:
            label = b.load("i64", b.offset(self.states, b.mul(s.index, 8)), 8)
            value = b.load(self.e.part, self._at(source, label))
            b.store(self.e.part, value, self._at(self.emissions, s.index))

    # ---- the two passes --------------------------------------------------------------------------

    def forward(self) -> None:
        """alpha, and the row's loss."""
        b, e = self.b, self.e
        self.prepare()
        with b.when(b.less("0", self.times)):
            self._fill(self.alpha)
            self._emit_at("0")
            for state in range(2):  # those that a row may begin with
                with b.when(b.less(str(state), self.count)):
                    value = b.load(e.part, self._at(self.emissions, state))
                    b.store(e.part, value, self._at(self.alpha, state + 2))
        with b.loop("1", self.times) as t:
            self._emit_at(t.index)
            before, now = self._of_alpha(b.sub(t.index, 1)), self._of_alpha(t.index)
            for k in range(2):
                b.store(e.part, self.never, self._at(now, k))
            with self._each_vector() as s:
                parts = [e.load(b, self._at(before, b.add(s.index, k))) for k in (2, 1, 0)]
                parts += [e.load(b, self._at(x, s.index)) for x in (self.skips, self.emissions)]
                value = self._compute(lambda a, p, q, skip, x: _add_logs(a, p, q + skip) + x, parts)
                e.store(b, value, self._at(now, b.add(s.index, 2)))
        self._store_loss()

    def _compute(self, body, values: list[str]) -> str:
        return evaluate(self.b, self.lanes, self.e.dtype, lambda *v: [body(*v)], *values)[0]

    def _store_loss(self) -> None:
        b, e = self.b, self.e

        def ended() -> list[str]:
            last = self._of_alpha(b.sub(self.times, 1))
            # Before state 0 there is -inf.
            pair = [b.load(e.part, self._at(last, b.add(self.count, k))) for k in (1, 0)]
            return evaluate(b, 1, e.dtype, lambda p, q: [-_add_logs(p, q, q - math.inf)], *pair)

        def empty() -> list[str]:
            none = b.emit(f"icmp eq i64 {self.length}, 0")
            zero, never = float_bits(0.0, e.part), float_bits(math.inf, e.part)
            return [b.select(none, e.part, zero, never)]

        (loss,) = b.choose(b.less("0", self.times), ended, empty, [e.part])
        b.store(e.part, loss, self._at(b.argument(0), self.row))

    def backward(self) -> None:
        """The gradient by the log-probabilities, with PyTorch's exp(log-probability) in it."""
        b, e = self.b, self.e
        self.prepare()
        loss, g = (b.load(e.part, self._at(b.argument(k), self.row)) for k in (2, 1))
        lost = b.emit(f"fcmp oeq {e.part} {loss}, {float_bits(math.inf, e.part)}")
        lost = b.emit(f"and i1 {lost}, {b.emit(f'icmp ne i64 {self.f.zero_infinity}, 0')}")
        used = b.select(lost, "i64", "0", self.times)
        # nothing depends on what comes later
        with b.loop(used, self.f.times) as t, self._each_class(t.index) as (_, at, tail):
            e.store(b, e.zero, at, tail)
        beta = self.extra
        self._fill(beta)
        with b.loop("0", used) as k:
            time = b.sub(b.sub(used, 1), k.index)
            self._emit_at(time)
            first = b.emit(f"icmp eq i64 {k.index}, 0")
            b.choose(first, lambda: self._begin_beta(beta), lambda: self._step_beta(beta))
            self._store_gradient(time, beta, loss, g)

    def _begin_beta(self, beta: str) -> None:
        """The states that a row may end in."""
        b, part = self.b, self.e.part
        for back in (1, 2):
            state = b.sub(self.count, back)
            with b.when(b.less("-1", state)):
                value = b.load(part, self._at(self.emissions, state))
                b.store(part, value, self._at(beta, state))

    def _step_beta(self, beta: str) -> None:
        b, e = self.b, self.e
        with self._each_vector() as s:
            parts = [e.load(b, self._at(beta, b.add(s.index, k))) for k in range(3)]
            parts.append(e.load(b, self._at(self.skips, b.add(s.index, 2))))
            parts += [e.load(b, self._at(x, s.index)) for x in (self.emissions, self.ends)]
            value = self._compute(
                lambda a, p, q, skip, x, end: _add_logs(a, p, q + skip) + (x + end), parts
            )
            e.store(b, value, self._at(beta, s.index))

    @contextmanager
    def _each_class(self, time: str) -> Iterator[tuple[str, str, Tail]]:
        """Vectors of the gradient at a time: (classes before it, its address, its tail)."""
        b = self.b
        to = b.offset(b.argument(0), b.mul(self._first(time), self.size))
        with b.loop("0", self.f.classes, self.lanes) as c:
            tail = self.e.tail(b, b.sub(self.f.classes, c.index))
            yield c.index, self._at(to, c.index), tail

    def _store_gradient(self, time: str, beta: str, loss: str, g: str) -> None:
        """(exp(x) - the share of paths through the class) g."""
        b, e = self.b, self.e
        logs = self._log_row(time)
        with self._each_class(time) as (c, at, tail):
            values = e.load(b, self._at(logs, c), tail)
            e.store(b, self._compute(exp, [values]), at, tail)
        losses = b.splat(loss, e.part, self.lanes)
        alpha = self._of_alpha(time)
        with self._each_vector() as s:
            parts = [e.load(b, self._at(alpha, b.add(s.index, 2)))]
            parts += [e.load(b, self._at(x, s.index)) for x in (beta, self.emissions)]
            share = self._compute(_share, [*parts, losses])
            e.store(b, share, self._at(self.emissions, s.index))
        to = b.offset(b.argument(0), b.mul(self._first(time), self.size))
        with b.loop("0", self.count) as s:
            label = b.load("i64", b.offset(self.states, b.mul(s.index, 8)), 8)
            share = b.load(e.part, self._at(self.emissions, s.index))
            place = self._at(to, label)
            b.store(e.part, b.emit(f"fsub {e.part} {b.load(e.part, place)}, {share}"), place)
        factor = b.splat(g, e.part, self.lanes)
        with self._each_class(time) as (_, at, tail):
            value = b.emit(f"fmul {e.vector} {e.load(b, at, tail)}, {factor}")
            e.store(b, value, at, tail)


def _share(alpha: Expr, beta: Expr, x: Expr, loss: Expr) -> Expr:
    """What part of all paths goes through a state: 0 where none does, NaN where there are none."""
    both = alpha + beta
    none = scalar.eq(both, -math.inf) & scalar.ne(loss, math.inf)
    return where(none, scalar.const(0, alpha.dtype), exp(both - x + loss))
