"""Writing through indices: whole rows by number, and single elements along a dimension.

`put` copies bits, the other modes combine what is there with what comes (add, mul, amin, amax).
Results do not depend on the number of threads: a place belongs to one thread, which takes its
values in order. Kernels do nothing once the flag is set: a check runs before them.
"""

from __future__ import annotations

from collections.abc import Callable

from . import dtypes as dt
from . import lower, scalar
from .copy_run import copy_run
from .gather import _BITS, ALONG_FIELDS, each_element, each_index, each_line, load_row, wrapping
from .ir import Builder
from .llvm import Emitter
from .plan import Fields, KernelSource
from .scalar import Expr
from .target import Target

# table[o][index[i]][m] = combine(itself, values[o][i][m]); the chunk is a range of rows of
# the table or, with by_outer, of o.
PUT_FIELDS = Fields(
    "outer count rows inner by_outer table_outer table_row table_inner "
    "values_outer values_step values_inner"
)


def _multiply(a: Expr, b: Expr) -> Expr:
    return a & b if a.dtype == "bool" else a * b


_BLOCK = 2048  # indices looked through at once for rows of a chunk

COMBINE: dict[str, Callable[[Expr, Expr], Expr]] = {
    "add": lambda a, b: a | b if a.dtype == "bool" else a + b,
    "mul": _multiply,
    "amin": scalar.minimum,
    "amax": scalar.maximum,
}


def rows_source(mode: str, dtype: str, target: Target) -> KernelSource:
    """Rows by number; args table, values, index, flag; desc PUT_FIELDS."""
    kind = _kind(mode, dtype)
    key = f"scatter_rows:{mode}:{kind}:{target.name}"
    return KernelSource(key, lambda: _build_rows(mode, dtype, target), "rows")


def along_source(mode: str, dtype: str, target: Target) -> KernelSource:
    """Elements along a dimension; args table, values, index, flag; desc ALONG_FIELDS."""
    kind = _kind(mode, dtype)
    key = f"scatter_along:{mode}:{kind}:{target.name}"
    return KernelSource(key, lambda: _build_along(mode, dtype, target), "scatter")


def _kind(mode: str, dtype: str) -> str:
    return str(dt.INFO[dtype].size) if mode == "put" else dtype


# ---- combining -----------------------------------------------------------------------------------


class _Combine:
    """Emits *place = f(*place, *value) for one or several adjacent elements."""

    def __init__(self, b: Builder, mode: str, dtype: str) -> None:
        self.b, self.mode, self.dtype = b, mode, dtype
        self.size = dt.INFO[dtype].size
        if mode == "put":
            return
        with scalar.tracing():
            wide = dt.opmath(dtype)
            operands = [scalar.cast(scalar.input(k, dtype), wide) for k in (0, 1)]
            root = scalar.cast(COMBINE[mode](*operands), dtype)
            (self.root,) = lower.lower([root])

    def element(self, value: str, place: str) -> None:
        """One element."""
        if self.mode == "put":
            bits = _BITS[self.size]
            self.b.store(bits, self.b.load(bits, value), place)
        else:
            self._lanes(value, place, 1)

    def row(self, values: str, places: str, count: str) -> None:
        """`count` adjacent elements."""
        b = self.b
        if self.mode == "put":
            copy_run(b, places, values, b.mul(count, self.size), self.size)
            return
        lanes = max(1, b.target.vector_bytes // self.size)
        if dt.is_complex(self.dtype) or self.dtype == "bool":
            lanes = 1
        whole = b.emit(f"and i64 {count}, {-lanes}")
        if lanes > 1:
            with b.loop("0", whole, lanes) as k:
                at = b.mul(k.index, self.size)
                self._lanes(b.offset(values, at), b.offset(places, at), lanes)
        with b.loop(whole if lanes > 1 else "0", count) as k:
            at = b.mul(k.index, self.size)
            self._lanes(b.offset(values, at), b.offset(places, at), 1)

    def _lanes(self, value: str, place: str, lanes: int) -> None:
        emitter = Emitter(self.b, lanes)
        pointers = (place, value)
        if dt.is_complex(self.dtype):
            pairs = [emitter.load_pair(self.dtype, p) for p in pointers]

            def part(e: Expr) -> str | None:
                return pairs[e.value[0]][e.value[1]] if e.op == "input_part" else None

            real, imag = emitter.graph(list(self.root), part, {})  # type: ignore[arg-type]
            emitter.store_pair((real, imag), self.dtype, place)
            return
        loaded = [emitter.load(self.dtype, p) for p in pointers]

        def leaf(e: Expr) -> str | None:
            return loaded[e.value] if e.op == "input" else None

        (result,) = emitter.graph([self.root], leaf, {})  # type: ignore[list-item]
        emitter.store(result, self.dtype, place)


# ---- kernels -------------------------------------------------------------------------------------


def _unless_flagged(b: Builder, flag: str):
    return b.when(b.emit(f"icmp eq i64 {b.load('i64', flag, 8)}, 0"))


def _build_rows(mode: str, dtype: str, target: Target) -> str:
    b = Builder(target)
    with b.kernel("rows"):
        d = PUT_FIELDS.load(b)
        table, values, index, flag = (b.argument(k) for k in range(4))
        combine = _Combine(b, mode, dtype)
        with _unless_flagged(b, flag):
            outer_chunk = b.emit(f"icmp ne i64 {d.by_outer}, 0")
            low = b.select(outer_chunk, "i64", "0", "%begin")
            size = b.sub(b.select(outer_chunk, "i64", d.rows, "%end"), low)
            first = b.select(outer_chunk, "i64", "%begin", "0")
            last = b.select(outer_chunk, "i64", "%end", d.outer)
            single = b.emit(f"icmp eq i64 {d.inner}, 1")
            same = [
                b.emit(f"icmp eq i64 {s}, {combine.size}") for s in (d.table_inner, d.values_inner)
            ]
            dense = b.emit(f"and i1 {same[0]}, {same[1]}")

            def write(o: str, i: str, at: str) -> None:
                place = b.offset(table, b.add(b.mul(o, d.table_outer), b.mul(at, d.table_row)))
                steps = b.add(b.mul(o, d.values_outer), b.mul(i, d.values_step))
                _emit_row(b, combine, d, (b.offset(values, steps), place), single, dense)

            def all_rows() -> None:
                b.choose(single, all_elements, all_long_rows)

            def all_long_rows() -> None:
                with b.loop(first, last) as o, b.loop("0", d.count) as i:
                    write(o.index, i.index, row_at(i.index))

            def all_elements() -> None:
                with b.loop(first, last) as o:
                    value = b.offset(values, b.mul(o.index, d.values_outer))
                    at = (index, value, b.offset(table, b.mul(o.index, d.table_outer)))
                    each_index(b, "0", at, ("8", d.values_step, "0"), d.count, element)

            def element(row: str, value: str, place: str, state: str) -> str:
                row = b.add(row, b.emit(f"and i64 {b.emit(f'ashr i64 {row}, 63')}, {d.rows}"))
                combine.element(value, b.offset(place, b.mul(row, d.table_row)))
                return state

            def own_rows() -> None:
                own = b.stack(f"[{_BLOCK} x i64]")
                with b.loop("0", d.count, _BLOCK) as block:
                    end = b.min(b.add(block.index, _BLOCK), d.count)
                    found = _list_own(b, own, (block.index, end), row_at, low, size)
                    with b.loop(first, last) as o, b.loop("0", found) as k:
                        i = b.load("i64", b.offset(own, b.mul(k.index, 8)), 8)
                        write(o.index, i, row_at(i))

            def row_at(i: str) -> str:
                return load_row(b, b.offset(index, b.mul(i, 8)), d.rows)

            everything = b.emit(f"icmp eq i64 {size}, {d.rows}")
            b.choose(everything, all_rows, own_rows)
    return b.module()


def _list_own(
    b: Builder, own: str, places: tuple[str, str], row_at: Callable[[str], str], low: str, size: str
) -> str:
    """List the indices among `places` whose row is one of low..low+size-1; how many there are.

    Listed first, without branches, because a branch on whose row it is could not be predicted.
    """
    with b.loop(*places, carry=[("i64", "0")]) as i:
        (found,) = i.values
        b.store("i64", i.index, b.offset(own, b.mul(found, 8)), 8)
        mine = b.emit(f"icmp ult i64 {b.sub(row_at(i.index), low)}, {size}")
        i.next(b.add(found, b.emit(f"zext i1 {mine} to i64")))
    return i.values[0]


def _emit_row(
    b: Builder, combine: _Combine, d, pair: tuple[str, str], single: str, dense: str
) -> None:
    value, place = pair

    def strided() -> None:
        with b.loop("0", d.inner) as m:
            combine.element(
                b.offset(value, b.mul(m.index, d.values_inner)),
                b.offset(place, b.mul(m.index, d.table_inner)),
            )

    def several() -> None:
        b.choose(dense, lambda: combine.row(value, place, d.inner), strided)

    b.choose(single, lambda: combine.element(value, place), several)


def _build_along(mode: str, dtype: str, target: Target) -> str:
    b = Builder(target)
    with b.kernel("scatter"):
        d = ALONG_FIELDS.load(b)
        table, values, index, flag = (b.argument(k) for k in range(4))
        combine = _Combine(b, mode, dtype)
        wrap = wrapping(b, d)

        def run(count: str, at: tuple[str, str, str], steps: tuple[str, str, str]) -> None:
            def write(row: str, value: str, place: str, state: str) -> str:
                # in range: a check ran before
                combine.element(value, b.offset(place, b.mul(row, d.table_row)))
                return state

            each_index(b, wrap, at, steps, count, write)

        with _unless_flagged(b, flag):

            def line(i: str, v: str, t: str, columns: str) -> None:
                each_element(b, d, (i, v, t), columns, run)

            each_line(b, d, (index, values, table), line)
    return b.module()
