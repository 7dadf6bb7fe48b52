"""What the loop forms with reductions share: simplified graphs, accumulators, the kept element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce as reduce_with

from . import dtypes as dt
from . import llvm, scalar
from .accumulate import Accumulator
from .llvm import Emitter
from .loops import LoopKernel, LoopSpec, Row
from .lower import Pair
from .scalar import Expr, node, with_args
from .target import Target

# From this cost on, a value that a later pass reads again is kept in the output meanwhile.
_WORTH_KEEPING = 8


class ReducedKernel(LoopKernel):
    """Programs along rows: passes that reduce, then one that stores."""

    def __init__(self, spec: LoopSpec, target: Target) -> None:
        super().__init__(spec, target)
        self.kinds = [spec.kind(k) for k in range(len(spec.outs))]
        self.kept: Expr | None = None
        self.kept_in = -1  # the pass that computes it
        self.is_kept = False
        self._choose_kept()

    def _widest(self, sizes: list[int]) -> int:
        """Vectors are as long as the floats want it; 64-bit positions beside them take several."""
        stored = [dt.COMPLEX_PART.get(o.dtype, o.dtype) for o in self.operands]
        floats = [t for t in [*(n.dtype for n in self.nodes), *stored] if t and dt.is_float(t)]
        return max([dt.INFO[t].size for t in floats] or sizes)

    # ---- the graph -------------------------------------------------------------------------------

    def _prepare(self, roots: list[Expr | Pair]) -> list[Expr | Pair]:
        """Factors that are the same all along the row leave the sums: less work, shared sums."""
        varies: dict[Expr, bool] = {}

        def does_vary(n: Expr) -> bool:
            if n not in varies:
                leaf = n.op in ("input", "input_part") and not self._is_uniform_input(n)
                inside = n.op not in ("reduce", "at") and any(does_vary(a) for a in n.args)
                varies[n] = leaf or n.op == "position" or inside
            return varies[n]

        def visit(n: Expr, args: tuple) -> Expr:
            if n.op == "reduce" and n.value == "add" and dt.is_float(n.dtype):
                return _sum(args[0], does_vary)
            return with_args(n, args)

        flat = [e for r in roots for e in (r if isinstance(r, tuple) else (r,))]
        rebuilt = iter(scalar.rebuild(flat, visit))
        return [
            tuple(next(rebuilt) for _ in r) if isinstance(r, tuple) else next(rebuilt)  # type: ignore[misc]
            for r in roots
        ]

    def _choose_kept(self) -> None:
        """A costly value of the last pass that the output is made of: it waits in the output."""
        elements = [k for k, kind in enumerate(self.kinds) if kind == "e"]
        if len(elements) != 1 or not self.passes or isinstance(self.roots[elements[0]], tuple):
            return
        out = self.spec.outs[elements[0]]
        if out.access != "c" or len(self.spec.outs) > 1:
            return
        computed = self._varying([n.args[0] for n in self.passes[-1]])
        wanted = set(self._varying(self.flat_roots))
        shared = [n for n in computed if n in wanted and n.dtype == out.dtype and n.args]
        costs = {n: llvm.cost(self._varying([n])) for n in shared}
        best = max(shared, key=lambda n: costs[n], default=None)
        if best is not None and costs[best] >= _WORTH_KEEPING:
            self.kept, self.kept_in = best, len(self.passes) - 1

    def _varying(self, roots: list[Expr]) -> list[Expr]:
        """What must be computed for every element, reductions and the like being known."""
        seen: dict[Expr, None] = {}
        stack = list(roots)
        while stack:
            n = stack.pop()
            if n not in seen and self.levels[n][1]:
                seen[n] = None
                stack.extend(n.args)
        return list(seen)

    # ---- leaves ----------------------------------------------------------------------------------

    def _element_leaf(self, em: Emitter, row: Row, at, mask, position):
        leaf = super()._element_leaf(em, row, at, mask, position)
        if not self.is_kept:
            return leaf
        kept, dtype = self.kept, self.spec.outs[0].dtype

        def with_kept(n: Expr) -> str | None:
            return em.load(dtype, at[0], mask) if n is kept else leaf(n)

        return with_kept

    # ---- accumulators ----------------------------------------------------------------------------

    def _reduced_sizes(self) -> list[str]:
        """desc: outer size, inner size, count, then (row, outer, inner) strides of each operand."""
        self.outer_size, self.inner_size, self.count = (self.b.size(k) for k in range(3))
        return [self.b.argument(k) for k in range(len(self.operands))]

    def _steps(self) -> list[list[str]]:
        return [[self.b.size(3 + 3 * k + j) for j in range(3)] for k in range(len(self.operands))]

    def _start(self, em: Emitter, states: list[Accumulator]) -> list[tuple[str, str]]:
        """(type, identity) of everything the accumulators carry."""
        return [
            (em.type(t), em.constant(v, t))
            for s in states
            for t, v in zip(s.dtypes, s.identity, strict=True)
        ]

    def _accumulate(self, em: Emitter, states, known, leaf, have, where, mask) -> list[str]:
        """The accumulators after one more element a lane, at the positions `where`."""
        result, position = [], 0
        for s in states:
            n = len(s.dtypes)
            value = em.graph([s.element], leaf, known)[0]
            numbers = where() if n == 2 else None
            result += s.step(em, have[position : position + n], value, numbers, mask)
            position += n
        return result

    def _combine(self, em: Emitter, states, a: list[str], b: list[str]) -> list[str]:
        result, position = [], 0
        for s in states:
            n = len(s.dtypes)
            result += s.combine(em, a[position : position + n], b[position : position + n])
            position += n
        return result

    def _results(self, reductions, states, values: list[str]) -> dict[Expr, str]:
        """The answers among the accumulators' values."""
        found, position = {}, 0
        for n, s in zip(reductions, states, strict=True):
            found[n] = values[position + s.result]
            position += len(s.dtypes)
        return found


def _sum(x: Expr, varies: Callable[[Expr], bool]) -> Expr:
    """reduce.add(x), factors that do not vary outside."""
    if varies(x):
        if x.op == "neg":
            return scalar.neg(_sum(x.args[0], varies))
        if x.op == "div" and not varies(x.args[1]):
            return scalar.div(_sum(x.args[0], varies), x.args[1])
        factors = _factors(x)
        same = [f for f in factors if not varies(f)]
        if same:
            rest = [f for f in factors if varies(f)]
            return scalar.mul(
                _sum(reduce_with(scalar.mul, rest), varies), reduce_with(scalar.mul, same)
            )
    return node("reduce", (x,), x.dtype, "add")


def _factors(x: Expr) -> list[Expr]:
    if x.op != "mul":
        return [x]
    return [f for a in x.args for f in _factors(a)]
