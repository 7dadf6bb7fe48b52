"""Loop nests around scalar graphs: pointwise here; reduced and row-fused in row_loops.py,
column_loops.py.

A `LoopSpec` is a loop program made concrete: stored types and access classes of its operands, and
the scalar graph of each output. `build` turns it into the LLVM IR of one kernel. These forms:

flat     every operand contiguous or a single element; the kernel runs over elements [begin, end)
stream   the same for more than the caches hold: whole vectors, stored past the caches
nest     rows [begin, end), an inner loop with one stride an operand
reduce   rows [begin, end); in each, two nested loops along the reduced axes, lanes along the
         inner one; see row_loops.py
columns  the same program with lanes along the rows, which are adjacent in memory; see
         column_loops.py
tile     two dimensions of which some operands walk the wrong way; see tiles.py

Access classes along the lanes: c contiguous, s one element for everything, 0 one element a row,
g any stride, b one element for each turn of the outer loop of a row.
"""

from __future__ import annotations

from typing import NamedTuple

from . import dtypes as dt
from . import llvm, scalar
from .cache import PLAIN
from .ir import Builder
from .levels import find_company, find_levels, passes
from .llvm import Emitter
from .lower import Pair, lower, move_signs
from .scalar import Expr
from .target import Target
from .tiles import emit_tiles


class Operand(NamedTuple):
    """Stored element type and access class."""

    dtype: str
    access: str


class LoopSpec(NamedTuple):
    """What to build; `roots` are the outputs' graphs, already of the outputs' stored types."""

    form: str
    outs: tuple[Operand, ...]
    ins: tuple[Operand, ...]
    roots: tuple[Expr, ...]
    per_row: bool = False  # outputs are one element a row
    kinds: str = ""  # programs of several outputs: a letter for each, see row_loops.py

    def kind(self, out: int) -> str:
        """What output number `out` has: e an element for each element, r one for each row."""
        return self.kinds[out] if self.kinds else "r" if self.per_row else "e"


# From this cost on, a second copy of the body takes longer to compile than buffers take to fill.
_WORTH_BUFFERS = 16
# From this cost on, two threads compute for longer than memory takes: nothing to gain by streaming.
_STREAM_COST = 60
STREAM_STEP = 1024  # elements; a multiple of every kernel's step
_LARGE = 100  # from this cost on, the order of instructions decides what has to leave registers
_CELL = {1: "i8", 2: "i16", 4: "i32", 8: "i64", 16: "i128"}


def build(spec: LoopSpec, target: Target) -> str:
    """LLVM IR of the kernel `k`. Call within `scalar.tracing()`."""
    from .column_loops import ColumnKernel
    from .row_loops import RowKernel

    forms = {"reduce": RowKernel, "columns": ColumnKernel}
    kernel = forms.get(spec.form, LoopKernel)(spec, target)
    with kernel.b.kernel():
        kernel.emit()
    text = kernel.b.module()
    return text + PLAIN if _is_plain(kernel) else text


def _is_plain(kernel: LoopKernel) -> bool:
    """Does LLVM's level 0 give the same code? It does not make loads parts of instructions,
    which where they are few for all there is to compute costs less than a twentieth."""
    one_loop = kernel.spec.form in ("flat", "nest", "stream")
    return one_loop and kernel.weight < _LARGE and 9 * kernel.b.reloads <= 2 * kernel.weight


class Row:
    """Where the operands of the current row start, and what is known to be the same all along
    it."""

    def __init__(self, pointers: list[str], strides: list[tuple[str, ...]]) -> None:
        self.pointers = pointers
        self.strides = strides  # per operand: byte strides of the loops inside the row, outer first
        self.uniform: dict[Expr, str] = {}  # scalar values
        self.splats: dict[int, dict[Expr, str]] = {}  # the same by lanes


class LoopKernel:
    """What the forms share: the lowered graphs, leaves, addresses, elementwise loops."""

    def __init__(self, spec: LoopSpec, target: Target) -> None:
        self.spec = spec
        self.target = target
        self.b = Builder(target)
        self.extra_roots: list[Expr] = []
        self.roots = self._prepare(move_signs(lower(list(spec.roots))))
        self.flat_roots = [e for r in self.roots for e in (r if isinstance(r, tuple) else (r,))]
        self.nodes = scalar.topological([*self.flat_roots, *self.extra_roots])
        self.eager = self.nodes
        if any(n.op == "rarely" for n in self.nodes):
            self.eager = scalar.topological([*self.flat_roots, *self.extra_roots], rare=False)
        self.operands = spec.outs + spec.ins
        self.levels = find_levels(self.nodes, self._is_uniform_input)
        self.passes = passes(self.nodes, self.levels)
        self.b.company = find_company(self.nodes, self.levels)
        self.lanes = self._choose_lanes()
        simple = all(not dt.is_complex(o.dtype) and o.access != "g" for o in self.operands)
        self.masked = target.masked and simple and llvm.maskable(self.eager) and self.lanes > 1
        self.weight = llvm.cost(self.eager)
        if spec.form in ("flat", "nest", "stream"):  # one loop: nothing else needs the registers
            self.b.keeps = target.registers * 3 // 4
        self.unroll = 4 if self.weight < 12 else 2 if self.weight < 60 and self.lanes > 1 else 1

    def emit(self) -> None:
        """The kernel's body."""
        forms = {"flat": self.flat, "stream": self.stream, "nest": self.nest}
        forms.get(self.spec.form, lambda: emit_tiles(self))()

    def _prepare(self, roots: list[Expr | Pair]) -> list[Expr | Pair]:
        """The lowered graphs as this form wants them."""
        return roots

    # ---- choices ---------------------------------------------------------------------------------

    def _choose_lanes(self) -> int:
        if any(n.op == "extern" for n in self.eager):
            return 1
        strided = [o for o in self.operands if o.access == "g"]
        if any(dt.is_complex(o.dtype) for o in strided):
            return 1
        cheap = self.spec.form != "nest" or llvm.cost(self.eager) < 8
        if cheap and any(o.access == "g" for o in self.spec.outs):
            return 1  # taking a vector apart costs more than it saves
        if llvm.divides_integers(self.nodes, 8) and self.target.name not in ("avx512", "neon"):
            return 1  # no instructions between 64-bit integers and floats
        sizes = [dt.INFO[n.dtype].size for n in self.eager if n.dtype]
        sizes += [dt.INFO[dt.COMPLEX_PART.get(o.dtype, o.dtype)].size for o in self.operands]
        lanes = max(1, self.target.vector_bytes // self._widest(sizes))
        return min(lanes, 16) if strided else lanes

    def _widest(self, sizes: list[int]) -> int:
        """Bytes of the elements that fill a vector."""
        return max(sizes)

    def _is_uniform_input(self, n: Expr) -> bool:
        if n.op == "position":
            return False
        index = n.value[0] if n.op == "input_part" else n.value
        return (self.spec.ins[index].access in "s0" and self.spec.form != "columns") or (
            self.spec.ins[index].access == "s"
        )

    # ---- leaves ----------------------------------------------------------------------------------

    def _scalar_leaf(self, row: Row):
        em = Emitter(self.b, 1)
        outs = len(self.spec.outs)

        def leaf(n: Expr) -> str | None:
            if n.op == "input":
                return em.load(n.dtype, row.pointers[outs + n.value])
            if n.op == "input_part":
                index, part = n.value
                return em.load_pair(self.spec.ins[index].dtype, row.pointers[outs + index])[part]
            if n.op == "count":
                return em.cast(self.count, "i64", n.dtype)
            if n.op == "reduce":
                raise AssertionError("a reduction is computed by its pass")
            return None

        return em, leaf

    def _settle(self, row: Row, depth: int) -> None:
        """Compute, once for the row, every uniform value that needs `depth` passes."""
        wanted = [
            n
            for n in self.nodes
            if self.levels[n] == (depth, False)
            and n.op not in ("reduce", "const")
            and n not in row.uniform
        ]
        em, leaf = self._scalar_leaf(row)
        em.graph(wanted, leaf, row.uniform)

    def _known(self, row: Row, lanes: int) -> dict[Expr, str]:
        """The row's uniform values in `lanes` lanes, to start emitting elements from."""
        splats = row.splats.setdefault(lanes, {})
        em = Emitter(self.b, lanes)
        needed = {a for n in self.nodes if self.levels[n][1] or n.op == "reduce" for a in n.args}
        needed.update(self.flat_roots)
        for n, value in row.uniform.items():
            if n in needed and n not in splats and n.op != "const":
                splats[n] = em.splat(value, n.dtype)
        return dict(splats)

    def _element_leaf(
        self, em: Emitter, row: Row, at: list[str], mask: str | None, position: str | None
    ):
        """Leaves for the elements whose operand addresses are `at`."""
        outs = len(self.spec.outs)
        pairs: dict[int, tuple[str, str]] = {}

        def leaf(n: Expr) -> str | None:
            if n.op == "input":
                return self._load(em, row, outs + n.value, at, mask)
            if n.op == "input_part":
                index, part = n.value
                if index not in pairs:
                    pairs[index] = em.load_pair(self.spec.ins[index].dtype, at[outs + index])
                return pairs[index][part]
            if n.op == "position":
                return em.numbers(position)  # type: ignore[arg-type]
            return None

        return leaf

    def _load(self, em: Emitter, row: Row, k: int, at: list[str], mask: str | None) -> str:
        dtype, access = self.operands[k]
        if access == "g" and em.lanes > 1:
            return em.load_strided(dtype, at[k], row.strides[k][-1])
        if access in "0b":  # the same element for all lanes
            return em.splat(Emitter(self.b, 1).load(dtype, at[k]), dtype)
        return em.load(dtype, at[k], mask)

    def _advance(self, row: Row, index: str, which: int = -1) -> list[str]:
        """Operand addresses `index` steps along one of the row's loops."""
        result = []
        for (dtype, access), pointer, strides in zip(
            self.operands, row.pointers, row.strides, strict=True
        ):
            if access == "s" or not strides:
                result.append(pointer)
            elif which == -1 and access == "c":
                result.append(self.b.offset(pointer, index, _CELL[dt.INFO[dtype].size]))
            elif which == -1 and access in "0b":
                result.append(pointer)
            else:
                result.append(self.b.offset(pointer, self.b.mul(index, strides[which])))
        return result

    # ---- elements --------------------------------------------------------------------------------

    def _store(self, em: Emitter, known: dict, leaf, at: list[str], mask: str | None) -> None:
        values = em.graph(self.flat_roots, leaf, known)
        position = 0
        for k, (root, out) in enumerate(zip(self.roots, self.spec.outs, strict=True)):
            if isinstance(root, tuple):
                em.store_pair((values[position], values[position + 1]), out.dtype, at[k])
                position += 2
                continue
            if out.access == "g" and em.lanes > 1:
                em.store_strided(values[position], out.dtype, at[k], self.out_steps[k])
            else:
                em.store(values[position], out.dtype, at[k], mask)
            position += 1

    def _elements(self, row: Row, begin: str, end: str, position: str | None = None) -> None:
        """Compute and store the elements [begin, end) of a row."""
        if self.masked:
            wide, known = Emitter(self.b, self.lanes), self._known(row, self.lanes)
            with self.b.blocks(begin, end, self.lanes) as (block, mask):
                self._element_block(wide, row, dict(known), block.index, mask, position)
        elif self.lanes > 1 and self.weight >= _WORTH_BUFFERS:
            self._buffered_elements(row, begin, end, position)
        else:
            self._whole_elements(row, begin, end, position)

    def _whole_elements(self, row: Row, begin: str, end: str, position: str | None) -> None:
        """Whole vectors, then element by element: the body is there twice or more."""
        step = self.lanes * self.unroll
        wide, narrow = Emitter(self.b, self.lanes), Emitter(self.b, 1)
        known = self._known(row, self.lanes)
        last_known = known if self.lanes == 1 else self._known(row, 1)
        with self.b.loop(begin, self.b.sub(end, step - 1), step) as main:
            for u in range(self.unroll):
                i = self.b.add(main.index, u * self.lanes)
                self._element_block(wide, row, dict(known), i, None, position)
        if step > 1:
            with self.b.loop(main.index, end) as tail:
                self._element_block(narrow, row, dict(last_known), tail.index, None, position)

    def _buffered_elements(self, row: Row, begin: str, end: str, position: str | None) -> None:
        """Whole vectors; what is left goes through buffers, so that a costly body is there once."""
        b, lanes = self.b, self.lanes
        wide, known = Emitter(b, lanes), self._known(row, lanes)
        moving = [k for k, o in enumerate(self.operands) if o.access in "cg"]
        buffers = [b.stack(f"[{lanes} x {self._word_of(k)}]") for k in moving]
        rest = b.emit(f"and i64 {b.sub(end, begin)}, {lanes - 1}")
        whole, is_rest = b.sub(end, rest), b.less("0", rest)
        carry = [("i64", begin), ("i64", whole), ("i64", position or "0")]
        carry += [("ptr", row.pointers[k]) for k in moving]
        carry += [("i64", self._step_of(row, k)) for k in moving]
        with b.loop("0", b.select(is_rest, "i64", "2", "1"), 1, carry) as turn:
            start, stop, base, *places = turn.values
            here = self._moved(row, moving, places)
            with b.loop(start, stop, lanes) as main:
                where = base if position is not None else None
                self._element_block(wide, here, dict(known), main.index, None, where)
            first = b.emit(f"icmp eq i64 {turn.index}, 0")
            with b.when(b.emit(f"and i1 {first}, {is_rest}")):
                for k, buffer in zip(moving, buffers, strict=True):
                    b.store(f"[{lanes} x {self._word_of(k)}]", "zeroinitializer", buffer)
                self._copy(row, moving, whole, rest, buffers, out=False)
            sizes = [str(dt.INFO[self.operands[k].dtype].size) for k in moving]
            turn.next("0", str(lanes), b.add(base, whole), *buffers, *sizes)
        self._copy(row, [k for k in moving if k < len(self.spec.outs)], whole, rest, buffers, True)

    def _moved(self, row: Row, moving: list[int], places: list[str]) -> Row:
        """The row, with other pointers and steps of the operands that move."""
        pointers, strides = list(row.pointers), list(row.strides)
        for n, k in enumerate(moving):
            pointers[k] = places[n]
            strides[k] = (*strides[k][:-1], places[n + len(moving)])
        here = Row(pointers, strides)
        here.uniform, here.splats = row.uniform, row.splats
        return here

    def _copy(
        self, row: Row, which: list[int], first: str, count: str, buffers: list[str], out: bool
    ) -> None:
        """Copy elements from `first` on into the buffers, or (out) from them."""
        b = self.b
        with b.loop("0", count) as one:
            at = self._advance(row, b.add(first, one.index))
            for k, buffer in zip(which, buffers, strict=False):
                cell, kept = self._word_of(k), b.offset(buffer, one.index, self._word_of(k))
                source, to = (kept, at[k]) if out else (at[k], kept)
                b.store(cell, b.load(cell, source), to)

    def _word_of(self, k: int) -> str:
        """An integer of the size of an operand's elements."""
        return _CELL[dt.INFO[self.operands[k].dtype].size]

    def _step_of(self, row: Row, k: int) -> str:
        """Bytes from an element of an operand to the next along the lanes."""
        dtype, access = self.operands[k]
        return row.strides[k][-1] if access == "g" else str(dt.INFO[dtype].size)

    def _element_block(self, em, row, known, index, mask, position) -> None:
        at = self._advance(row, index)
        where = self.b.add(position, index) if position is not None else index
        leaf = self._element_leaf(em, row, at, mask, where)
        self.out_steps = [row.strides[k][-1] for k in range(len(self.spec.outs))]
        self._store(em, known, leaf, at, mask)

    # ---- forms without reductions ----------------------------------------------------------------

    def flat(self) -> None:
        """Elements [begin, end) of contiguous operands."""
        pointers = [self.b.argument(k) for k in range(len(self.operands))]
        row = Row(pointers, [("0",)] * len(pointers))
        self.count = "%end"
        self._settle(row, 0)
        self._elements(row, "%begin", "%end")

    def stream(self) -> None:
        """Elements [begin, end) of contiguous operands, STREAM_STEP of them or a multiple, the
        outputs aligned to vectors. Their stores don't read what they replace from memory, and leave
        the caches to what is read."""
        b, step = self.b, self.lanes * self.unroll
        pointers = [b.argument(k) for k in range(len(self.operands))]
        row = Row(pointers, [("0",)] * len(pointers))
        self.count = "%end"
        self._settle(row, 0)
        wide, known = Emitter(b, self.lanes, streams=True), self._known(row, self.lanes)
        with b.loop("%begin", "%end", step) as main:
            for u in range(self.unroll):
                at = b.add(main.index, u * self.lanes)
                self._element_block(wide, row, dict(known), at, None, None)
        b.fence()  # before other threads are told

    def nest(self) -> None:
        """Rows [begin, end); desc: inner size, then (row stride, inner stride) of each operand,
        in bytes."""
        pointers = [self.b.argument(k) for k in range(len(self.operands))]
        size = self.b.size(0)
        steps = [
            (self.b.size(1 + 2 * k), self.b.size(2 + 2 * k)) for k in range(len(self.operands))
        ]
        self.count = size
        with self.b.loop("%begin", "%end") as rows:
            at = [
                self.b.offset(p, self.b.mul(rows.index, s[0]))
                for p, s in zip(pointers, steps, strict=True)
            ]
            row = Row(at, [(s[1],) for s in steps])
            self._settle(row, 0)
            self._elements(row, "0", size, self.b.mul(rows.index, size))


def can_stream(spec: LoopSpec, target: Target) -> bool:
    """Is there a stream kernel of this flat program, and is the program bound by memory?"""
    if not target.has_streams:
        return False
    flat = LoopKernel(spec, target)
    smallest = min(dt.INFO[o.dtype].size for o in spec.outs)
    real = not any(dt.is_complex(o.dtype) for o in flat.operands)
    return real and flat.lanes * smallest >= 16 and flat.weight < _STREAM_COST


def grain(nodes: int) -> int:
    """Elements below which splitting over threads costs more than it gains."""
    return 32768 if nodes < 8 else 16384


__all__ = ["STREAM_STEP", "LoopSpec", "Operand", "Pair", "build", "can_stream", "grain"]
