"""Accumulators: what each kind of reduction carries from element to element."""

from __future__ import annotations

import math

from . import dtypes as dt
from . import scalar
from .graph_emitter import GraphEmitter
from .llvm import Emitter
from .scalar import Expr, node

_LAST = 2**63 - 1


class Accumulator:
    """The running state of one reduction: one value, or (best, where) for argmax and argmin."""

    def __init__(self, reduction: Expr) -> None:
        self.kind: str = reduction.value
        self.element = reduction.args[0]
        dtype = self.element.dtype
        self.dtypes = [dtype, "i64"] if self.kind.startswith("arg") else [dtype]
        self.identity = _identity(self.kind, dtype)
        self.result = len(self.dtypes) - 1  # which of the state's values is the answer
        self._a = [node("state", (), t, ("a", k)) for k, t in enumerate(self.dtypes)]
        self._b = [node("state", (), t, ("b", k)) for k, t in enumerate(self.dtypes)]
        self._merged = _merge(self.kind, self._a, self._b)

    def combine(self, em: GraphEmitter, a: list[str], b: list[str]) -> list[str]:
        """Two states as one."""
        known = dict(zip(self._a + self._b, [*a, *b], strict=True))
        return em.graph(self._merged, lambda n: None, known)

    def step(
        self, em: Emitter, state: list[str], value: str, where: str | None, mask: str | None
    ) -> list[str]:
        """The state after one more element (in each lane); masked lanes add nothing."""
        new = [value] if where is None else [value, where]
        if mask is not None:
            new = [
                em.b.emit(
                    f"select {em.type('bool')} {mask}, {em.type(t)} {v}, {em.type(t)} "
                    f"{em.constant(i, t)}"
                )
                for v, t, i in zip(new, self.dtypes, self.identity, strict=True)
            ]
        return self.combine(em, state, new)


def _identity(kind: str, dtype: str) -> list:
    if kind in ("add", "or"):
        return [0]
    if kind in ("mul", "and"):
        return [1]
    low, high = (-math.inf, math.inf) if dt.is_float(dtype) else dt.integer_limits(dtype)
    extreme = low if kind.endswith("max") else high
    return [extreme, _LAST] if kind.startswith("arg") else [extreme]


def _merge(kind: str, a: list[Expr], b: list[Expr]) -> list[Expr]:
    x, y = a[0], b[0]
    if kind in ("add", "mul"):
        # bool sums never get here (they count in int64), so + and * are arithmetic
        return [node(kind, (x, y), x.dtype)]
    if kind in ("and", "or"):
        return [node(kind, (x, y), x.dtype)]
    if kind in ("max", "min"):
        return [scalar.maximum(x, y) if kind == "max" else scalar.minimum(x, y)]
    better = scalar.compare("gt" if kind == "argmax" else "lt", y, x)
    tie = scalar.eq(x, y)
    if dt.is_float(x.dtype):
        x_nan, y_nan = scalar.isnan(x), scalar.isnan(y)
        better = better | (y_nan & ~x_nan)
        tie = tie | (y_nan & x_nan)
    take = better | (tie & scalar.compare("lt", b[1], a[1]))
    return [scalar.where(take, y, x), scalar.where(take, b[1], a[1])]
