"""Loop programs as C: one kernel text for CUDA and OpenCL.

From the same `LoopSpec` as the CPU's kernels and the same lowered graphs (so elementary functions have
the same expansions, hence the same values, on every device). Words that differ are macros of
`cdialect_prelude`. Forms:

flat           a grid-stride loop over elements
nest, tile     the same, the element's number taken apart into indices along each dimension
reduce         a block a row: threads stride along the reduced axes, then meet in shared memory
columns        a thread a row; neighbouring threads read neighbouring elements

`parameters` lists what a launch passes. Strides and offsets count elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def build(spec: LoopSpec, device: str, name: str = "k", *, scalars: int = 0, rank: int = 2) -> str:
    """Prelude and text of one kernel. Call within `scalar.tracing()`.

    The last `scalars` inputs are passed by value. `rank` is the number of dimensions of a nest, or
    of the rows of a reduction.
    """
    return prelude(device) + kernel(spec, name, scalars=scalars, rank=rank)


def kernel(spec: LoopSpec, name: str = "k", *, scalars: int = 0, rank: int = 2) -> str:
    """The kernel alone: several of them share one prelude."""
    return _Kernel(spec, name, scalars, rank).text()


def parameters(spec: LoopSpec, *, scalars: int = 0, rank: int = 2) -> list[Parameter]:
    """What the kernel is called with, in order.

    `p0 o0` (pointer and offset of its first element) for each operand, outputs first, or `v3` for a
    number; then sizes: `n` elements (flat); `n` and `n1`.. the inner sizes (nest); `rows`, the inner
    sizes of the rows `n1`.., `outer`, `inner` and `count` (reductions); then strides `s0_0`.. along
    each dimension, those that the access class leaves open.
    """
    return _Kernel(spec, "k", scalars, rank).parameters


def is_barrier_free(spec: LoopSpec) -> bool:
    """Do the kernel's threads run without meeting each other?"""
    return spec.form != "reduce"


class _Kernel:
    def __init__(self, spec: LoopSpec, name: str, scalars: int, rank: int) -> None:
        self.spec, self.name = spec, name
        self.reduces = spec.form in ("reduce", "columns")
        self.rank = {"flat": 1, "tile": 2}.get(spec.form, rank)
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
        count = "n"
        with self._loop("g", "GID", "n", "GSZ"):
            at = self._places(range(len(self.operands)), self._take_apart("g"), 0)
            self._store({}, self._leaf(at, "g", count))

    def _take_apart(self, number: str) -> list[str]:
        """Indices along each row dimension of the element (or row) of this number."""
        if self.rank == 1:
            return [number]
        self.em.line(f"i64 r = {number};")
        for d in range(self.rank - 1, 0, -1):
            self.em.line(f"const i64 i{d} = r % n{d}; r /= n{d};")
        return ["r", *(f"i{d}" for d in range(1, self.rank))]

    def _places(
        self, which: range, indices: list[str], first: int, base: dict[int, str] | None = None
    ) -> dict[int, str]:
        """Where each operand's element is: offset + indices times the strides from dimension `first` on."""
        result = {}
        for k in which:
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

    def _store(self, known: dict[Expr, str], leaf: Callable) -> None:
        outs = self._places_of_outs
        wanted = [e for r in self.roots for e in (r if isinstance(r, tuple) else (_stored(r),))]
        values = iter(self.em.graph(wanted, leaf, known))
        for k, root in enumerate(self.roots):
            if isinstance(root, tuple):
                self.em.line(f"p{k}[2 * ({outs[k]})] = {next(values)};")
                self.em.line(f"p{k}[2 * ({outs[k]}) + 1] = {next(values)};")
            else:
                self.em.store(self.operands[k].dtype, f"p{k}", outs[k], next(values))

    # ---- reductions ------------------------------------------------------------------------------
