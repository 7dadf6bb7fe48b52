"""Copies between two layouts of elements of one size: rows, reversed rows, repeats, transposes.

The core reduces a copy to two dimensions and repeats the kernel over the others. Bits are copied,
so one kernel serves all types of a size. Strides are in bytes and may be negative (flips) or, in
the source, zero (repeats).
"""

from __future__ import annotations

from types import SimpleNamespace

from .copy_run import copy_run
from .element import transpose
from .gather import _BITS
from .ir import Builder
from .plan import Fields, KernelSource
from .target import Target

# element (row, column) is at row * *_row + column * *_column; the chunk is a range of rows.
COPY_FIELDS = Fields("columns dst_row src_row dst_column src_column")

_LINE = 64  # bytes of a cache line: tiles are visited so that whole lines are used at once
_SCALAR_BLOCK = 128


def rows_source(size: int, target: Target) -> KernelSource:
    """Row after row; args destination, source; desc COPY_FIELDS; tasks rows."""
    key = f"copy_rows:{size}:{target.name}"
    return KernelSource(key, lambda: _build_rows(size, target), "copy_rows")


def tiles_source(size: int, target: Target) -> KernelSource:
    """A transpose: the source's rows are adjacent, the destination's columns; args as for rows."""
    key = f"copy_tiles:{size}:{target.name}"
    return KernelSource(key, lambda: _build_tiles(size, target), "copy_tiles")


# ---- rows ----------------------------------------------------------------------------------------


def _build_rows(size: int, target: Target) -> str:
    b = Builder(target)
    with b.kernel("copy_rows"):
        d = COPY_FIELDS.load(b)
        out, source = b.argument(0), b.argument(1)
        forms = [
            (size, _copy_row),
            (0, _repeat_element),
            (-size, _copy_reversed),
        ]

        def each_row(emit) -> None:
            with b.loop("%begin", "%end") as row:
                to = b.offset(out, b.mul(row.index, d.dst_row))
                emit(b, to, b.offset(source, b.mul(row.index, d.src_row)), d, size)

        def by_stride() -> None:
            cases = [(step, lambda emit=emit: each_row(emit)) for step, emit in forms]
            b.switch(d.src_column, [*cases, (1 << 62, lambda: each_row(_copy_strided))])

        adjacent = b.emit(f"icmp eq i64 {d.dst_column}, {size}")
        b.choose(adjacent, by_stride, lambda: each_row(_copy_strided))
    return b.module()


def _copy_row(b: Builder, to: str, source: str, d: SimpleNamespace, size: int) -> None:
    copy_run(b, to, source, b.mul(d.columns, size), size)


def _repeat_element(b: Builder, to: str, source: str, d: SimpleNamespace, size: int) -> None:
    bits, lanes = _BITS[size], max(1, b.target.vector_bytes // size)
    value = b.load(bits, source)
    whole = b.emit(f"and i64 {d.columns}, {-lanes}")
    if lanes > 1:
        vector = b.splat(value, bits, lanes)
        with b.loop("0", whole, lanes) as k:
            b.store(f"<{lanes} x {bits}>", vector, b.offset(to, b.mul(k.index, size)))
    with b.loop(whole if lanes > 1 else "0", d.columns) as k:
        b.store(bits, value, b.offset(to, b.mul(k.index, size)))


def _copy_reversed(b: Builder, to: str, source: str, d: SimpleNamespace, size: int) -> None:
    _reverse_by(b, to, source, d, size, b.target.vector_bytes // size)


def _reverse_by(
    b: Builder, to: str, source: str, d: SimpleNamespace, size: int, lanes: int
) -> None:
    """By vectors of so many elements, or by shorter ones where a row has fewer."""
    if lanes < 2:
        _copy_strided(b, to, source, d, size)
        return
    bits = _BITS[size]
    vector = f"<{lanes} x {bits}>"

    def one(at: str) -> None:
        first = b.offset(source, b.mul(b.add(at, lanes - 1), -size))
        turned = b.shuffle(b.load(vector, first), "poison", vector, range(lanes - 1, -1, -1))
        b.store(vector, turned, b.offset(to, b.mul(at, size)))

    def vectors() -> None:
        last = b.sub(d.columns, lanes)
        with b.loop("0", last, lanes) as k:
            one(k.index)
        one(last)  # may overlap the one before it

    fits = b.emit(f"icmp sge i64 {d.columns}, {lanes}")
    b.choose(fits, vectors, lambda: _reverse_by(b, to, source, d, size, lanes // 4))


def _copy_strided(b: Builder, to: str, source: str, d: SimpleNamespace, size: int) -> None:
    _strided_run(b, to, source, d.columns, d.dst_column, d.src_column, size)


def _strided_run(
    b: Builder, to: str, source: str, count: str, to_step: str, source_step: str, size: int
) -> None:
    """Element by element, four at a time."""
    bits = _BITS[size]

    def one(at: str) -> None:
        value = b.load(bits, b.offset(source, b.mul(at, source_step)))
        b.store(bits, value, b.offset(to, b.mul(at, to_step)))

    whole = b.emit(f"and i64 {count}, -4")
    with b.loop("0", whole, 4) as k:
        for u in range(4):
            one(b.add(k.index, u))
    with b.loop(whole, count) as k:
        one(k.index)


# ---- transposes ----------------------------------------------------------------------------------


def tile_side(size: int, target: Target) -> int:
    """Rows and columns of the square that is transposed in registers; 0 where that does not pay."""
    if size == 16:
        return 0
    # Narrow elements are unpacked in vectors of 16 bytes, whose shuffles are single instructions.
    return 16 // size if size < 4 else target.vector_bytes // size


def _build_tiles(size: int, target: Target) -> str:
    b = Builder(target)
    side = tile_side(size, target)
    with b.kernel("copy_tiles"):
        d = COPY_FIELDS.load(b)
        d.out, d.source = b.argument(0), b.argument(1)
        rows = b.emit(f"icmp sge i64 {b.sub('%end', '%begin')}, {max(side, 1)}")
        columns = b.emit(f"icmp sge i64 {d.columns}, {max(side, 1)}")
        whole = b.emit(f"and i1 {rows}, {columns}") if side else "false"
        tiles = lambda: _tile_blocks(b, d, size, side) if side else None
        b.choose(whole, tiles, lambda: _narrow_blocks(b, d, size))
    return b.module()


def _tile_blocks(b: Builder, d: SimpleNamespace, size: int, side: int) -> None:
    """All tiles; the last ones of each direction are moved back so that they are whole."""
    block = max(side, _LINE // size)
    last_row, last_column = b.sub("%end", side), b.sub(d.columns, side)
    with b.loop("%begin", "%end", block) as rows, b.loop("0", d.columns, block) as columns:
        row_end = b.min(b.add(rows.index, block), "%end")
        column_end = b.min(b.add(columns.index, block), d.columns)
        with b.loop(rows.index, row_end, side) as r, b.loop(columns.index, column_end, side) as c:
            _tile(b, d, size, side, b.min(r.index, last_row), b.min(c.index, last_column))


def _tile(b: Builder, d: SimpleNamespace, size: int, side: int, row: str, column: str) -> None:
    vector = f"<{side} x {_BITS[size]}>"
    source = b.offset(d.source, b.add(b.mul(row, size), b.mul(column, d.src_column)))
    lines = [b.load(vector, b.offset(source, b.mul(d.src_column, j))) for j in range(side)]
    turned = _unpack(b, lines, vector, side) if size < 4 else transpose(b, lines, vector, side)
    to = b.offset(d.out, b.add(b.mul(row, d.dst_row), b.mul(column, size)))
    for j, line in enumerate(turned):
        b.store(vector, line, b.offset(to, b.mul(d.dst_row, j)))


def _unpack(b: Builder, rows: list[str], vector: str, side: int) -> list[str]:
    """The transpose by interleaving row i with row i + side/2, log2(side) times."""
    half = side // 2
    low = [k // 2 + side * (k % 2) for k in range(side)]
    high = [half + k for k in low]
    for _ in range(side.bit_length() - 1):
        rows = [
            b.shuffle(rows[i], rows[i + half], vector, picks)
            for i in range(half)
            for picks in (low, high)
        ]
    return rows


def _narrow_blocks(b: Builder, d: SimpleNamespace, size: int) -> None:
    """Few rows or few columns; those of two to four adjacent channels by shuffles."""
    rows = b.sub("%end", "%begin")
    split = b.emit(f"icmp eq i64 {d.src_column}, {b.mul(rows, size)}")
    merge = b.emit(f"icmp eq i64 {d.dst_row}, {b.mul(d.columns, size)}")
    channels = b.select(split, "i64", rows, b.select(merge, "i64", d.columns, "0"))

    def shuffled(n: int) -> None:
        b.choose(split, lambda: _split_channels(b, d, size, n), lambda: _merge(b, d, size, n))

    cases = [(n, lambda n=n: shuffled(n)) for n in (2, 3, 4)] if size < 16 else []
    b.switch(channels, [*cases, (1 << 62, lambda: _scalar_blocks(b, d, size))])


def _channel_vector(b: Builder, size: int) -> tuple[int, str]:
    """Lanes and type of the vectors that channels are shuffled in."""
    lanes = (16 if size < 4 else b.target.vector_bytes) // size
    return lanes, f"<{lanes} x {_BITS[size]}>"


def _split_channels(b: Builder, d: SimpleNamespace, size: int, n: int) -> None:
    """n adjacent channels for each column, to n rows."""
    lanes, vector = _channel_vector(b, size)
    first = b.offset(d.source, b.mul("%begin", size))
    whole = b.emit(f"and i64 {d.columns}, {-lanes}")
    with b.loop("0", whole, lanes) as c:
        at = b.offset(first, b.mul(c.index, n * size))
        mixed = [b.load(vector, b.offset(at, k * lanes * size)) for k in range(n)]
        for k in range(n):
            line = _select_lanes(b, mixed, vector, [k + n * lane for lane in range(lanes)])
            row = b.offset(d.out, b.mul(b.add("%begin", k), d.dst_row))
            b.store(vector, line, b.offset(row, b.mul(c.index, size)))
    for k in range(n):
        row = b.add("%begin", k)
        to = b.offset(d.out, b.add(b.mul(row, d.dst_row), b.mul(whole, size)))
        source = b.offset(first, b.add(b.mul(whole, n * size), k * size))
        _strided_run(b, to, source, b.sub(d.columns, whole), str(size), str(n * size), size)


def _merge(b: Builder, d: SimpleNamespace, size: int, n: int) -> None:
    """n columns, each a line of the source, to rows of n adjacent channels."""
    lanes, vector = _channel_vector(b, size)
    whole = b.add("%begin", b.emit(f"and i64 {b.sub('%end', '%begin')}, {-lanes}"))
    lines = [b.offset(d.source, b.mul(d.src_column, k)) for k in range(n)]
    with b.loop("%begin", whole, lanes) as r:
        parts = [b.load(vector, b.offset(line, b.mul(r.index, size))) for line in lines]
        to = b.offset(d.out, b.mul(r.index, n * size))
        for k in range(n):
            places = [k * lanes + lane for lane in range(lanes)]  # among the merged elements
            picks = [(p % n) * lanes + p // n for p in places]
            b.store(vector, _select_lanes(b, parts, vector, picks), b.offset(to, k * lanes * size))
    for k, line in enumerate(lines):
        to = b.offset(d.out, b.add(b.mul(whole, n * size), k * size))
        source = b.offset(line, b.mul(whole, size))
        _strided_run(b, to, source, b.sub("%end", whole), str(n * size), str(size), size)


def _select_lanes(b: Builder, vectors: list[str], vector: str, picks: list[int]) -> str:
    """The lanes `picks` of the vectors one after the other, by shuffles of two."""
    lanes = len(picks)
    result = vectors[0]
    chosen = [p if p < lanes else 0 for p in picks]
    for k, other in enumerate(vectors[1:], 1):
        inside = [p // lanes == k for p in picks]
        before = chosen if k == 1 else range(lanes)
        mask = [
            lanes + p % lanes if i else c for p, i, c in zip(picks, inside, before, strict=True)
        ]
        result = b.shuffle(result, other, vector, mask)
    return result


def _scalar_blocks(b: Builder, d: SimpleNamespace, size: int) -> None:
    """Few rows or few columns: element by element, in blocks that stay in the nearest cache."""
    with b.loop("%begin", "%end", _SCALAR_BLOCK) as rows:
        count = b.min(str(_SCALAR_BLOCK), b.sub("%end", rows.index))
        with b.loop("0", d.columns, _SCALAR_BLOCK) as columns:
            end = b.min(b.add(columns.index, _SCALAR_BLOCK), d.columns)
            with b.loop(columns.index, end) as c:
                to = b.add(b.mul(rows.index, d.dst_row), b.mul(c.index, size))
                source = b.add(b.mul(rows.index, size), b.mul(c.index, d.src_column))
                _strided_run(
                    b, b.offset(d.out, to), b.offset(d.source, source), count, d.dst_row,
                    str(size), size,
                )  # fmt: skip
