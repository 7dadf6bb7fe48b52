"""Reading through indices: whole rows by number, and single elements along a dimension.

Every kernel copies bits, so one kernel serves all types of a size. An index that is out of range
sets *flag to 1 and is skipped; the caller then raises. Strides in descs are in bytes.
"""

from __future__ import annotations

from collections.abc import Callable

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

    def bad() -> None:
        # Several threads may store the same 1: atomic so that it is no data race.
        b.do(f"store atomic i64 1, ptr {flag} monotonic, align 8")

    b.choose(ok, emit, bad)


def copy_bytes(b: Builder, to: str, source: str, count: str, size: int) -> None:
    """Copy `count` bytes, a multiple of the element's size, that do not overlap."""
    width = b.target.vector_bytes
    vector = f"<{width} x i8>"

    def by_vector() -> None:
        last = b.sub(count, width)
        with b.loop("0", last, width) as k:
            b.store(vector, b.load(vector, b.offset(source, k.index)), b.offset(to, k.index))
        # The last vector ends where the row ends and may overlap the one before it.
        b.store(vector, b.load(vector, b.offset(source, last)), b.offset(to, last))

    def by_element() -> None:
        bits = _BITS[size]
        with b.loop("0", count, size) as k:
            b.store(bits, b.load(bits, b.offset(source, k.index)), b.offset(to, k.index))

    b.choose(b.emit(f"icmp sge i64 {count}, {width}"), by_vector, by_element)


# ---- rows ----------------------------------------------------------------------------------------


def _build_take(size: int, target: Target) -> str:
    b = Builder(target)
    bits = _BITS[size]
    with b.kernel("take"):
        d = TAKE_FIELDS.load(b)
        out, table, index, flag = (b.argument(k) for k in range(4))
        block = b.mul(d.inner, size)
        first = b.emit(f"udiv i64 %begin, {d.count}")
        last = b.emit(f"udiv i64 {b.sub('%end', 1)}, {d.count}")
        with b.loop(first, b.add(last, 1)) as o:
            start = b.mul(o.index, d.count)
            low = b.max("0", b.sub("%begin", start))
            high = b.min(d.count, b.sub("%end", start))
            base = b.offset(table, b.mul(o.index, d.table_outer))
            to = b.offset(out, b.mul(start, block))

            def single() -> None:
                with b.loop(low, high) as i:
                    at, ok = load_index(b, b.offset(index, b.mul(i.index, 8)), d.rows, d.lowest)

                    def use() -> None:
                        value = b.load(bits, b.offset(base, b.mul(at, d.table_row)))
                        b.store(bits, value, b.offset(to, b.mul(i.index, size)))

                    if_in_range(b, ok, flag, use)

            def rows() -> None:
                with b.loop(low, high) as i:
                    at, ok = load_index(b, b.offset(index, b.mul(i.index, 8)), d.rows, d.lowest)
                    row = b.offset(base, b.mul(at, d.table_row))
                    target_row = b.offset(to, b.mul(i.index, block))
                    dense = b.emit(f"icmp eq i64 {d.table_inner}, {size}")

                    def strided() -> None:
                        with b.loop("0", d.inner) as m:
                            value = b.load(bits, b.offset(row, b.mul(m.index, d.table_inner)))
                            b.store(bits, value, b.offset(target_row, b.mul(m.index, size)))

                    def use() -> None:
                        b.choose(
                            dense, lambda: copy_bytes(b, target_row, row, block, size), strided
                        )

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
    b: Builder, d, at: tuple[str, str, str], columns: str, flag: str, emit: Callable[..., None]
) -> None:
    """For each index of some columns: emit(value address, table address)."""
    index, value, table = at

    def one(i: str, k: str) -> None:
        where = b.offset(index, b.add(b.mul(i, d.index_step), b.mul(k, d.index_column)))
        row, ok = load_index(b, where, d.rows, d.lowest)

        def use() -> None:
            v = b.offset(value, b.add(b.mul(i, d.value_step), b.mul(k, d.value_column)))
            t = b.offset(table, b.add(b.mul(row, d.table_row), b.mul(k, d.table_column)))
            emit(v, t)

        if_in_range(b, ok, flag, use)

    def single() -> None:
        with b.loop("0", d.count) as i:
            one(i.index, "0")

    def several() -> None:
        with b.loop("0", d.count) as i, b.loop("0", columns) as k:
            one(i.index, k.index)

    b.choose(b.emit(f"icmp eq i64 {columns}, 1"), single, several)


def _build_along(size: int, target: Target) -> str:
    b = Builder(target)
    bits = _BITS[size]
    with b.kernel("gather"):
        d = ALONG_FIELDS.load(b)
        out, table, index, flag = (b.argument(k) for k in range(4))

        def line(i: str, v: str, t: str, columns: str) -> None:
            def copy(to: str, source: str) -> None:
                b.store(bits, b.load(bits, source), to)

            each_element(b, d, (i, v, t), columns, flag, copy)

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
    with b.kernel("check"):
        d = OFFSET_FIELDS.load(b)
        index, flag = b.argument(2), b.argument(3)
        with b.loop("%begin", "%end") as i:
            _, ok = load_index(b, b.offset(index, b.mul(i.index, 8)), d.rows, d.lowest)
            if_in_range(b, ok, flag, lambda: None)
    return b.module()
