"""Loop programs as C: one kernel text for CUDA and OpenCL.

From the same `LoopSpec` as the CPU's kernels and the same lowered graphs (so elementary functions
have the same expansions, hence the same values, on every device). Words that differ are macros of
`cdialect_prelude`. Forms:

flat           a grid-stride loop over elements
nest, tile     the same, the element's number taken apart into indices along each dimension
reduce         a block a row: threads stride along the reduced axes, then meet in shared memory
columns        a thread a row; neighbouring threads read neighbouring elements

`parameters` lists what a launch passes. Strides and offsets count elements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from . import dtypes as dt
from . import scalar
from .accumulate import Accumulator
from .cdialect_prelude import prelude
from .cdialect_scalar import ScalarEmitter, read, register, storage
from .levels import find_levels, passes
from .loops import LoopSpec, Operand
from .lower import lower
from .scalar import Expr

BLOCK = 256  # most threads a block of a `reduce` kernel may have: the size of its shared arrays


class Parameter(NamedTuple):
    """One argument of a kernel: its name, and its C type (a pointer's ends in an asterisk)."""

    name: str
    type: str


def build(
    spec: LoopSpec, device: str, name: str = "k", *, scalars: int = 0, rank: int | None = None
) -> str:
    """Prelude and text of one kernel. Call within `scalar.tracing()`.

    The last `scalars` inputs are passed by value. `rank` is the number of dimensions of a nest (two
    unless given), or of the rows of a reduction (one unless given).
    """
    return prelude(device) + kernel(spec, name, scalars=scalars, rank=rank)


def kernel(spec: LoopSpec, name: str = "k", *, scalars: int = 0, rank: int | None = None) -> str:
    """The kernel alone: several of them share one prelude."""
    return _Kernel(spec, name, scalars, rank).text()


def parameters(spec: LoopSpec, *, scalars: int = 0, rank: int | None = None) -> list[Parameter]:
    """What the kernel is called with, in order.

    `p0 o0` (pointer and offset of its first element) for each operand, outputs first, or `v3` for a
    number; then sizes: `n` elements (flat); `n` and `n1`.. the inner sizes (nest); `rows`, the
    inner sizes of the rows `n1`.., `outer`, `inner` and `count` (reductions); then strides
    `s0_0`.. along each dimension, those that the access class leaves open.
    """
    return _Kernel(spec, "k", scalars, rank).parameters


def is_barrier_free(spec: LoopSpec) -> bool:
    """Do the kernel's threads run without meeting each other?"""
    return spec.form != "reduce"


class _Kernel:
    def __init__(self, spec: LoopSpec, name: str, scalars: int, rank: int | None) -> None:
        self.spec, self.name = spec, name
        self.reduces = spec.form in ("reduce", "columns")
        self.rank = rank or (1 if self.reduces or spec.form == "flat" else 2)
        self.operands = spec.outs + spec.ins
        self.by_value = range(len(self.operands) - scalars, len(self.operands))
        self.roots = lower(list(spec.roots))
        flat = [e for r in self.roots for e in (r if isinstance(r, tuple) else (r,))]
        self.nodes = scalar.topological(flat)
        self.levels = find_levels(self.nodes, self._is_uniform)
        self.passes = passes(self.nodes, self.levels)
        self.strides = {k: self._strides(k, o) for k, o in enumerate(self.operands)}
        self.parameters = self._parameters()
        self.em = ScalarEmitter()

    def _is_uniform(self, n: Expr) -> bool:
        if n.op == "position":
            return False
        index = n.value[0] if n.op == "input_part" else n.value
        access = self.spec.ins[index].access
        return access == "s" or (access == "0" and self.spec.form == "reduce")

    # ---- parameters ------------------------------------------------------------------------------

    def _strides(self, k: int, operand: Operand) -> list[str]:
        """Per dimension the stride as written in the text: a name, "1", or "0"."""
        if operand.access == "s":
            return []
        rows = [f"s{k}_{d}" for d in range(self.rank)]
        inner = {"c": "1", "0": "0"}.get(operand.access)
        if not self.reduces:
            return ["1"] if self.spec.form == "flat" else [*rows[:-1], inner or rows[-1]]
        reduced = [f"s{k}_{self.rank}", f"s{k}_{self.rank + 1}"]
        if k < len(self.spec.outs) and self.spec.per_row:
            reduced = []
        if self.spec.form == "columns":
            return [*rows[:-1], inner or rows[-1], *reduced]
        if operand.access == "0":
            return [*rows, *("0" for _ in reduced)]
        return [*rows, *reduced[:1], *(inner or r for r in reduced[1:])]

    def _parameters(self) -> list[Parameter]:
        result = []
        for k, o in enumerate(self.operands):
            if k in self.by_value:
                result.append(Parameter(f"v{k}", register(o.dtype)))
                continue
            constant = "" if k < len(self.spec.outs) else "const "
            result.append(Parameter(f"p{k}", f"GLOBAL {constant}{storage(o.dtype)} *"))
            result.append(Parameter(f"o{k}", "i64"))
        sizes = ["rows" if self.reduces else "n"]
        sizes += [f"n{d}" for d in range(1, self.rank)]
        sizes += ["outer", "inner", "count"] if self.reduces else []
        steps = [s for row in self.strides.values() for s in row if s not in ("0", "1")]
        return result + [Parameter(name, "i64") for name in sizes + steps]

    # ---- text ------------------------------------------------------------------------------------

    def text(self) -> str:
        """The function."""
        arguments = ", ".join(f"{p.type} {p.name}".replace("* ", "*") for p in self.parameters)
        self.em.line(f"KERNEL({self.name})({arguments}) {{")
        with self.em.indented():
            self._rows() if self.reduces else self._elements()
        self.em.line("}")
        self.em.line(f"END_KERNEL({self.name})")
        return "\n".join(self.em.lines) + "\n"

    @contextmanager
    def _loop(self, index: str, begin: str, end: str, step: str) -> Iterator[None]:
        self.em.line(f"for (i64 {index} = {begin}; {index} < {end}; {index} += {step}) {{")
        with self.em.indented():
            yield
        self.em.line("}")

    def _elements(self) -> None:
        with self._loop("g", "GID", "n", "GSZ"):
            at = self._places(self._take_apart("g"), 0)
            self._store({}, self._leaf(at, "g", "n"), at)

    def _take_apart(self, number: str) -> list[str]:
        """Indices along each row dimension of the element (or row) of this number."""
        if self.rank == 1:
            return [number]
        self.em.line(f"i64 r = {number};")
        for d in range(self.rank - 1, 0, -1):
            self.em.line(f"const i64 i{d} = r % n{d}; r /= n{d};")
        return ["r", *(f"i{d}" for d in range(1, self.rank))]

    def _places(
        self, indices: list[str], first: int, base: dict[int, str] | None = None
    ) -> dict[int, str]:
        """Where each operand's element is: base + indices times the strides from dimension
        `first` on."""
        result = {}
        for k in range(len(self.operands)):
            if k in self.by_value:
                continue
            terms = [base[k] if base else f"o{k}"]
            for index, stride in zip(indices, self.strides[k][first:], strict=False):
                if stride != "0":
                    terms.append(index if stride == "1" else f"{index} * {stride}")
            result[k] = terms[0] if len(terms) == 1 else self.em.value("i64", " + ".join(terms))
        return result

    def _leaf(self, at: dict[int, str], position: str | None, count: str) -> Callable:
        outs = len(self.spec.outs)

        def leaf(n: Expr) -> str | None:
            if n.op == "input":
                return self._load(outs + n.value, at)
            if n.op == "input_part":
                index, part = n.value
                name = f"p{outs + index}[2 * ({at[outs + index]}) + {part}]"
                return self.em.value(n.dtype, name)
            if n.op == "count":
                return self.em.value(n.dtype, f"({register(n.dtype)}){count}")
            if n.op == "position":
                return position
            return None

        return leaf

    def _load(self, k: int, at: dict[int, str]) -> str:
        if k in self.by_value:
            return f"v{k}"
        dtype = self.operands[k].dtype
        return self.em.value(dtype, read(dtype, f"p{k}", at[k]))

    def _store(self, known: dict[Expr, str], leaf: Callable, at: dict[int, str]) -> None:
        wanted = [e for r in self.roots for e in (r if isinstance(r, tuple) else (_stored(r),))]
        values = iter(self.em.graph(wanted, leaf, known))
        for k, root in enumerate(self.roots):
            if isinstance(root, tuple):
                self.em.line(f"p{k}[2 * ({at[k]})] = {next(values)};")
                self.em.line(f"p{k}[2 * ({at[k]}) + 1] = {next(values)};")
            else:
                self.em.store(self.operands[k].dtype, f"p{k}", at[k], next(values))

    # ---- reductions ------------------------------------------------------------------------------

    def _rows(self) -> None:
        block = self.spec.form == "reduce"
        for name, dtype in self._shared() if block else ():
            self.em.line(f"SHARED({storage(dtype)}, {name}, {BLOCK});")
        with self._loop("row", "BID" if block else "GID", "rows", "NB" if block else "GSZ"):
            start = self._places(self._take_apart("row"), 0)
            leaf = self._leaf(start, None, "count")
            known: dict[Expr, str] = {}
            self._settle(known, leaf, 0)
            for depth, reductions in enumerate(self.passes):
                self._pass(reductions, known, start)
                self._settle(known, leaf, depth + 1)
            self._finish(known, leaf, start)

    def _finish(self, known: dict[Expr, str], leaf: Callable, start: dict[int, str]) -> None:
        """Store the row's result, or its elements."""
        if not self.spec.per_row:
            with self._along_row(start) as (inside, at):
                self._store(dict(known), inside, at)
        elif self.spec.form == "reduce":
            self.em.line("if (TID == 0) {")
            with self.em.indented():
                self._store(dict(known), leaf, start)
            self.em.line("}")
        else:
            self._store(known, leaf, start)

    def _settle(self, known: dict[Expr, str], leaf: Callable, depth: int) -> None:
        """Compute, once for the row, every uniform value that needs `depth` passes."""
        wanted = [
            n
            for n in self.nodes
            if self.levels[n] == (depth, False) and n.op not in ("reduce", "const")
        ]
        self.em.graph(wanted, leaf, known)

    @contextmanager
    def _along_row(self, start: dict[int, str]) -> Iterator[tuple[Callable, dict[int, str]]]:
        """A loop over a row's elements: leaves of the element `j`, and where the operands have
        it."""
        if self.spec.form == "reduce":
            with self._loop("j", "TID", "outer * inner", "NT"):
                self.em.line("const i64 j1 = j / inner, j0 = j - j1 * inner;")
                at = self._places(["j1", "j0"], self.rank, start)
                yield self._leaf(at, "j", "count"), at
            return
        with self._loop("j1", "0", "outer", "1"), self._loop("j0", "0", "inner", "1"):
            self.em.line("const i64 j = j1 * inner + j0;")
            at = self._places(["j1", "j0"], self.rank, start)
            yield self._leaf(at, "j", "count"), at

    def _pass(self, reductions: list[Expr], known: dict[Expr, str], start: dict[int, str]) -> None:
        states = [(Accumulator(n), self.em.fresh("a")) for n in reductions]
        for state, stem in states:
            for k, (t, v) in enumerate(zip(state.dtypes, state.identity, strict=True)):
                self.em.line(f"{register(t)} {stem}_{k} = {self.em.constant(v, t)};")
        with self._along_row(start) as (leaf, _):
            inside = dict(known)
            for state, stem in states:
                value = self.em.graph([state.element], leaf, inside)[0]
                self._merge(state, stem, [value, "j"][: len(state.dtypes)])
        if self.spec.form == "reduce":
            self._meet(states)
        for n, (state, stem) in zip(reductions, states, strict=True):
            known[n] = f"{stem}_{state.result}"

    def _merge(self, state: Accumulator, stem: str, other: list[str]) -> None:
        """Combine another state into the accumulator's variables."""
        own = [f"{stem}_{k}" for k in range(len(state.dtypes))]
        for name, value in zip(own, state.combine(self.em, own, other), strict=True):
            self.em.line(f"{name} = {value};")

    def _shared(self) -> list[tuple[str, str]]:
        """Shared arrays: as many of each type as the pass that needs most."""
        names: dict[str, str] = {}
        for reductions in self.passes:
            names.update(
                row for state in _slots([Accumulator(n) for n in reductions]) for row in state
            )
        return list(names.items())

    def _meet(self, states: list[tuple[Accumulator, str]]) -> None:
        """A tree over the block's threads; afterwards each of them has the result."""
        slots = _slots([state for state, _ in states])
        named = [
            (f"{stem}_{k}", array)
            for (_, stem), arrays in zip(states, slots, strict=True)
            for k, (array, _) in enumerate(arrays)
        ]
        self._lines(f"{array}[TID] = {value};" for value, array in named)
        self._lines(["BARRIER();", "for (int m = NT; m > 1;) {", "  const int h = (m + 1) / 2;"])
        self.em.line("  if (TID + h < m) {")
        with self.em.indented(), self.em.indented():
            for (state, stem), arrays in zip(states, slots, strict=True):
                self._merge(state, stem, [f"{array}[TID + h]" for array, _ in arrays])
            self._lines(f"{array}[TID] = {value};" for value, array in named)
        self._lines(["  }", "  BARRIER();", "  m = h;", "}"])
        self._lines(f"{value} = {array}[0];" for value, array in named)
        self.em.line("BARRIER();")

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.em.line(line)


def _slots(states: list[Accumulator]) -> list[list[tuple[str, str]]]:
    """A shared array (name, type) for each value of each state; passes use the same ones again."""
    taken: Counter[str] = Counter()
    result = []
    for state in states:
        row = []
        for t in state.dtypes:
            row.append((f"shared_{t}_{taken[t]}", t))
            taken[t] += 1
        result.append(row)
    return result


def _stored(root: Expr) -> Expr:
    """What to compute for a store: storing a half rounds, so the root's own rounding is left
    out."""
    return root.args[0] if root.op == "cast" and root.dtype in dt.OPMATH else root
