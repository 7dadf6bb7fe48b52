"""Reading through indices: whole rows by number, and single elements along a dimension.

Every kernel copies bits, so one kernel serves all types of a size. An index that is out of range
sets *flag to 1 and is skipped; the caller then raises. Strides in descs are in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .copy_run import copy_run
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target

# out is row-major: [outer][count][inner]; the table's strides are given.
TAKE_FIELDS = Fields("outer count rows lowest table_outer table_row inner table_inner")
# Lines along the indexed dimension: `columns` adjacent lines for each combination of `rank` outer
# dimensions, whose size and strides (index, value, table) follow these fields.
ALONG_FIELDS = Fields(
    "rank columns count rows lowest index_column value_column table_column "
    "index_step value_step table_row"
)
OUTER_FIELDS = 4
OFFSET_FIELDS = Fields("rows lowest stride first")

_AHEAD = 8  # rows: how many indices ahead memory is asked for

_BITS = {1: "i8", 2: "i16", 4: "i32", 8: "i64", 16: "i128"}


def take_source(size: int, target: Target) -> KernelSource:
    """Rows by number; args out, table, index, flag; desc TAKE_FIELDS; tasks outer * count."""
    return KernelSource(f"take:{size}:{target.name}", lambda: _build_take(size, target), "take")


def along_source(size: int, target: Target) -> KernelSource:
    """Elements along a dimension; args out, table, index, flag; desc ALONG_FIELDS; tasks lines."""
    key = f"gather_along:{size}:{target.name}"
    return KernelSource(key, lambda: _build_along(size, target), "gather")


def offset_source(target: Target) -> KernelSource:
    """offsets (+)= index * stride; args offsets, index, flag; desc OFFSET_FIELDS; tasks indices."""
    return KernelSource(f"offsets:{target.name}", lambda: _build_offsets(target), "offsets")


def check_source(target: Target) -> KernelSource:
    """Only the check; args any, any, index, flag; desc OFFSET_FIELDS; tasks indices."""
    return KernelSource(f"check:{target.name}", lambda: _build_check(target), "check")


# ---- pieces --------------------------------------------------------------------------------------


def load_index(b: Builder, address: str, rows: str, lowest: str) -> tuple[str, str]:
    """The index at an address, counted from the start; is it in lowest..rows-1?"""
    raw = b.load("i64", address, 8)
    above = b.emit(f"icmp sge i64 {raw}, {lowest}")
    below = b.emit(f"icmp slt i64 {raw}, {rows}")
    negative = b.emit(f"icmp slt i64 {raw}, 0")
    wrapped = b.select(negative, "i64", b.add(raw, rows), raw)
    return wrapped, b.emit(f"and i1 {above}, {below}")


def if_in_range(b: Builder, ok: str, flag: str, emit: Callable[[], None]) -> None:
    """Emit the use of an index that is in range; otherwise raise the flag."""

    b.choose(ok, emit, lambda: raise_flag(b, flag))


def wrapping(b: Builder, d) -> str:
    """What negative indices are increased by: the rows, where they count from the end."""
    return b.select(b.emit(f"icmp slt i64 {d.lowest}, 0"), "i64", d.rows, "0")


def load_row(b: Builder, address: str, wrap: str) -> str:
    """The index at an address, counted from the start (negative, or too large, if out of range)."""
    raw = b.load("i64", address, 8)
    negative = b.emit(f"ashr i64 {raw}, 63")
    return b.add(raw, b.emit(f"and i64 {negative}, {wrap}"))


def each_index(
    b: Builder, wrap: str, at: Sequence[str], steps: Sequence[str], count: str,
    emit: Callable[[str, str, str, str], str], state: str = "0",
) -> str:  # fmt: skip
    """state = emit(row, value address, table address of row 0, state) for `count` indices.

    at, steps: index, value, table. Where indices are adjacent and none is negative, an element
    costs little more than its loads and its store.
    """
    adjacent = b.emit(f"icmp eq i64 {steps[0]}, 8")
    tight = b.emit(f"and i1 {adjacent}, {b.emit(f'icmp eq i64 {wrap}, 0')}")
    index, value, table = at
    unroll = 4
    whole = b.emit(f"and i64 {count}, {-unroll}")

    def quick() -> list[str]:
        def turn(i: Any, times: int) -> None:
            values = i.values
            for u in range(times):
                row = b.load("i64", b.offset(index, b.add(i.index, u), "i64"), 8)
                moved = [b.offset(p, s) for p, s in zip(values, steps[1:], strict=False)]
                values = [*moved, emit(row, *values)]
            i.next(*values)

        types, start = ("ptr", "ptr", "i64"), (value, table, state)
        with b.loop("0", whole, unroll, carry=list(zip(types, start, strict=True))) as i:
            turn(i, unroll)
        with b.loop(whole, count, carry=list(zip(types, i.values, strict=True))) as i:
            turn(i, 1)
        return [i.values[2]]

    def general() -> list[str]:
        with b.loop("0", count, carry=[*[("ptr", p) for p in at], ("i64", state)]) as i:
            row = load_row(b, i.values[0], wrap)
            moved = [b.offset(p, s) for p, s in zip(i.values, steps, strict=False)]
            i.next(*moved, emit(row, i.values[1], i.values[2], i.values[3]))
        return [i.values[3]]

    return b.choose(tight, quick, general, ["i64"])[0]


def read_elements(
    b: Builder, size: int, rows: str, wrap: str, table_row: str, at: Sequence[str],
    steps: Sequence[str], count: str, flag: str,
) -> None:  # fmt: skip
    """Copy the elements that `count` indices name; at, steps: index, value, table.

    Branches would cost more than the work: an index that is out of range reads the last row (there
    is one: kernels are not run on empty tables), and the flag is raised at the end.
    """
    bits = _BITS[size]
    last = b.sub(rows, 1)

    def copy(unit: bool) -> Callable[[str, str, str, str], str]:
        def emit(row: str, value: str, table: str, bad: str) -> str:
            safe = b.intrinsic("llvm.umin.i64", "i64", ("i64", row), ("i64", last))
            source = (
                b.offset(table, safe, bits) if unit else b.offset(table, b.mul(safe, table_row))
            )
            b.store(bits, b.load(bits, source), value)
            return b.emit(f"or i64 {bad}, {b.emit(f'xor i64 {row}, {safe}')}")

        return emit

    def run(unit: bool) -> list[str]:
        return [each_index(b, wrap, at, steps, count, copy(unit))]

    dense = b.emit(f"icmp eq i64 {table_row}, {size}")
    (bad,) = b.choose(dense, lambda: run(True), lambda: run(False), ["i64"])
    with b.when(b.emit(f"icmp ne i64 {bad}, 0")):
        raise_flag(b, flag)


def raise_flag(b: Builder, flag: str) -> None:
    """Set the flag; several threads may, so it is atomic."""
    b.do(f"store atomic i64 1, ptr {flag} monotonic, align 8")


def _prefetch(b: Builder, base: str, index: str, d) -> None:
    """Ask for a row that is needed soon; an address out of range does no harm."""
    name = "llvm.prefetch.p0"
    b.declare(name, f"declare void @{name}(ptr, i32, i32, i32)")
    row = b.offset(base, b.mul(index, d.table_row))
    b.do(f"call void @{name}(ptr {row}, i32 0, i32 3, i32 1)")


# ---- rows ----------------------------------------------------------------------------------------


def _build_take(size: int, target: Target) -> str:
    b = Builder(target)
    bits = _BITS[size]
    with b.kernel("take"):
        d = TAKE_FIELDS.load(b)
        out, table, index, flag = (b.argument(k) for k in range(4))
        block, wrap = b.mul(d.inner, size), wrapping(b, d)
        first = b.emit(f"udiv i64 %begin, {d.count}")
        last = b.emit(f"udiv i64 {b.sub('%end', 1)}, {d.count}")
        with b.loop(first, b.add(last, 1)) as o:
            start = b.mul(o.index, d.count)
            low = b.max("0", b.sub("%begin", start))
            high = b.min(d.count, b.sub("%end", start))
            base = b.offset(table, b.mul(o.index, d.table_outer))
            to = b.offset(out, b.mul(start, block))

            def single() -> None:
                at = b.offset(index, b.mul(low, 8)), b.offset(to, b.mul(low, size)), base
                steps, count = ("8", str(size), "0"), b.sub(high, low)
                read_elements(b, size, d.rows, wrap, d.table_row, at, steps, count, flag)

            def rows() -> None:
                dense = b.emit(f"icmp eq i64 {d.table_inner}, {size}")
                last = b.sub(high, 1)
                with b.loop(low, high) as i:
                    at, ok = load_index(b, b.offset(index, b.mul(i.index, 8)), d.rows, d.lowest)
                    row = b.offset(base, b.mul(at, d.table_row))
                    target_row = b.offset(to, b.mul(i.index, block))
                    ahead = b.mul(b.min(b.add(i.index, _AHEAD), last), 8)
                    _prefetch(b, base, b.load("i64", b.offset(index, ahead), 8), d)

                    def strided(row=row, target_row=target_row) -> None:
                        with b.loop("0", d.inner) as m:
                            value = b.load(bits, b.offset(row, b.mul(m.index, d.table_inner)))
                            b.store(bits, value, b.offset(target_row, b.mul(m.index, size)))

                    def use(row=row, target_row=target_row, strided=strided) -> None:
                        b.choose(dense, lambda: copy_run(b, target_row, row, block, size), strided)

                    if_in_range(b, ok, flag, use)

            b.choose(b.emit(f"icmp eq i64 {d.inner}, 1"), single, rows)
    return b.module()


# ---- elements along a dimension ------------------------------------------------------------------


def each_line(b: Builder, d, bases: tuple[str, str, str], emit: Callable[..., None]) -> None:
    """For the lines begin..end: emit(index, value, table addresses of the first column, columns).

    The lines of one combination of outer dimensions are adjacent columns and handled together.
    """
    first = b.emit(f"udiv i64 %begin, {d.columns}")
    last = b.emit(f"udiv i64 {b.sub('%end', 1)}, {d.columns}")
    with b.loop(first, b.add(last, 1)) as unit:
        start = b.mul(unit.index, d.columns)
        low = b.max("0", b.sub("%begin", start))
        high = b.min(d.columns, b.sub("%end", start))
        carry = [("i64", unit.index), *[("ptr", base) for base in bases]]
        with b.loop("0", d.rank, carry=carry) as level:
            rest, *addresses = level.values
            field = b.add(b.mul(level.index, OUTER_FIELDS), len(ALONG_FIELDS.names))
            size, *steps = (_desc(b, b.add(field, k)) for k in range(OUTER_FIELDS))
            k = b.emit(f"urem i64 {rest}, {size}")
            moved = [b.offset(a, b.mul(k, step)) for a, step in zip(addresses, steps, strict=True)]
            level.next(b.emit(f"udiv i64 {rest}, {size}"), *moved)
        columns = (d.index_column, d.value_column, d.table_column)
        at = [
            b.offset(a, b.mul(low, step)) for a, step in zip(level.values[1:], columns, strict=True)
        ]
        emit(*at, b.sub(high, low))


def _desc(b: Builder, index: str) -> str:
    return b.load("i64", b.offset("%desc", b.mul(index, 8)), 8)


def each_element(
    b: Builder, d, at: tuple[str, str, str], columns: str, emit: Callable[..., None]
) -> None:
    """For each index of some columns: emit(count, addresses, steps) for runs of indices.

    The runs go along the dimension for single columns, else across the columns.
    """
    steps = (d.index_step, d.value_step, "0")
    across = (d.index_column, d.value_column, d.table_column)

    def several() -> None:
        carry = [("ptr", at[0]), ("ptr", at[1])]
        with b.loop("0", d.count, carry=carry) as i:
            emit(columns, (*i.values, at[2]), across)
            i.next(b.offset(i.values[0], d.index_step), b.offset(i.values[1], d.value_step))

    single = b.emit(f"icmp eq i64 {columns}, 1")
    b.choose(single, lambda: emit(d.count, at, steps), several)


def _build_along(size: int, target: Target) -> str:
    b = Builder(target)
    with b.kernel("gather"):
        d = ALONG_FIELDS.load(b)
        out, table, index, flag = (b.argument(k) for k in range(4))
        wrap = wrapping(b, d)

        def run(count: str, at: tuple[str, str, str], steps: tuple[str, str, str]) -> None:
            read_elements(b, size, d.rows, wrap, d.table_row, at, steps, count, flag)

        def line(i: str, v: str, t: str, columns: str) -> None:
            each_element(b, d, (i, v, t), columns, run)

        each_line(b, d, (index, out, table), line)
    return b.module()


# ---- offsets of several indices, and checks ------------------------------------------------------


def _build_offsets(target: Target) -> str:
    b = Builder(target)
    with b.kernel("offsets"):
        d = OFFSET_FIELDS.load(b)
        offsets, index, flag = (b.argument(k) for k in range(3))
        fresh = b.emit(f"icmp ne i64 {d.first}, 0")
        with b.loop("%begin", "%end") as i:
            place = b.mul(i.index, 8)
            at, ok = load_index(b, b.offset(index, place), d.rows, d.lowest)
            to = b.offset(offsets, place)

            def use() -> None:
                moved = b.mul(at, d.stride)
                total = b.add(moved, b.select(fresh, "i64", "0", b.load("i64", to, 8)))
                b.store("i64", total, to, 8)

            if_in_range(b, ok, flag, use)
    return b.module()


def _build_check(target: Target) -> str:
    b = Builder(target)
    lanes = max(2, target.vector_bytes // 8)
    vector = f"<{lanes} x i64>"
    with b.kernel("check"):
        d = OFFSET_FIELDS.load(b)
        index, flag = b.argument(2), b.argument(3)
        span = b.sub(d.rows, d.lowest)

        def outside(at: str, lanes: int) -> str:
            kind = f"<{lanes} x i64>" if lanes > 1 else "i64"
            raw = b.load(kind, b.offset(index, b.mul(at, 8)), 8)
            moved = b.emit(f"sub {kind} {raw}, {b.splat(d.lowest, 'i64', lanes)}")
            test = b.emit(f"icmp uge {kind} {moved}, {b.splat(span, 'i64', lanes)}")
            bits = f"<{lanes} x i1>" if lanes > 1 else "i1"
            return b.emit(f"zext {bits} {test} to {kind}")

        whole = b.add("%begin", b.emit(f"and i64 {b.sub('%end', '%begin')}, {-lanes}"))
        with b.loop("%begin", whole, lanes, carry=[(vector, "zeroinitializer")]) as i:
            i.next(b.emit(f"or {vector} {i.values[0]}, {outside(i.index, lanes)}"))
        found = b.intrinsic(f"llvm.vector.reduce.or.v{lanes}i64", "i64", (vector, i.values[0]))
        with b.loop(whole, "%end", carry=[("i64", found)]) as i:
            i.next(b.emit(f"or i64 {i.values[0]}, {outside(i.index, 1)}"))
        with b.when(b.emit(f"icmp ne i64 {i.values[0]}, 0")):
            raise_flag(b, flag)
    return b.module()
