"""Register tiles: the inner kernels of matrix products and convolutions.

A tile keeps rows x vectors of the result in registers and adds, for each step of the summed index,
one column of A (scalars, broadcast) times one row of B (vectors).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .element import Element, Tail
from .ir import Builder
from .target import Target

ACCUMULATE, BIAS_COLUMN, RELU, BIAS_ROW = 1, 2, 4, 8  # bits of a tile's flags

PARAMETERS = [
    ("i64", "%depth"),
    ("ptr", "%a"),
    ("i64", "%a_row"),  # bytes from one row of A to the next
    ("i64", "%a_step"),  # bytes from one step of the sum to the next
    ("ptr", "%b"),
    ("i64", "%b_step"),
    ("ptr", "%c"),
    ("i64", "%c_row"),
    ("i64", "%rows"),  # rows and columns of C to store, at most the tile's
    ("i64", "%columns"),
    ("i64", "%flags"),
    ("ptr", "%bias"),
]


# Where steps of the sum are not evenly spaced: %table holds, for each, the byte offsets in A and B.
TABLE_PARAMETERS = [("ptr", "%table") if p[1] == "%a_step" else p for p in PARAMETERS]

# Steps and rows of A anywhere: %table and %row_table hold their byte offsets; B evenly spaced.
INDEXED_PARAMETERS = [("ptr", "%row_table") if p[1] == "%a_row" else p for p in TABLE_PARAMETERS]

# How a tile finds its operands.
STRIDED, PACKED, TABLE, INDEXED = "strided", "packed", "table", "indexed"
_PARAMETERS_OF = {TABLE: TABLE_PARAMETERS, INDEXED: INDEXED_PARAMETERS}


def tile_shape(target: Target, element: Element) -> tuple[int, int]:
    """(rows, vectors) of the widest general tile that leaves registers for the operands."""
    registers = 32 if target.name in ("avx512", "neon") else 16
    rows, vectors = (8, 3) if registers == 32 else (6, 2)
    return (rows // 2, vectors) if element.complex else (rows, vectors)


def call_tile(b: Builder, name: str, vectors: int, used: str, arguments: str) -> None:
    """Call the tile that is as wide as the vectors in use: `name` with their number behind it."""

    def call(width: int) -> Callable[[], object]:
        return lambda: b.do(f"call void @{name}{width}({arguments})")

    b.switch(used, [(width, call(width)) for width in range(1, vectors + 1)])


class Operands:
    """The element types of A and B as they lie in memory, and of C; all with one compute type."""

    def __init__(self, a: Element, b: Element, c: Element) -> None:
        self.a, self.b, self.c = a, b, c


def emit_tile(b: Builder, name: str, of: Operands, rows: int, vectors: int, mode: str) -> None:
    """Define `void name(...)`, parameters as the mode has them: C = A @ B with its epilogue.

    PACKED: A holds `rows` scalars a step, B `vectors` vectors a step, both padded with zeros; else
    rows of A beyond the last are read from the last, and B is read up to its last column only.
    """
    with b.function(name, _PARAMETERS_OF.get(mode, PARAMETERS), "internal", "noinline"):
        tail = of.c.tail(b, b.sub("%columns", (vectors - 1) * of.c.lanes))
        if vectors > 1:
            _prefetch_result(b, of.c, rows, vectors)
        cells = sum_tile(b, of, rows, vectors, tail, mode)
        values = [of.c.finish(b, cell) for cell in cells]
        store_tile(b, of.c, values, rows, vectors, tail)


def _prefetch_result(b: Builder, c: Element, rows: int, vectors: int) -> None:
    """Ask for the tile of C, which is written, and often read, after the sum."""
    for r in range(rows):
        row = b.offset("%c", b.mul(str(r), "%c_row"))
        for j in range(vectors):
            b.prefetch(b.offset(row, j * c.lanes * c.size))


_ROWS_AHEAD, _STEPS_AHEAD = 8, 8


def _prefetch_operands(b: Builder, of: Operands, rows: int, vectors: int, at) -> None:
    """Ask for A of the tile below (one row a step: a line holds some steps) and for B further on.

    The tile below may be the first one of the next product. Nothing waits for A yet, and rows that
    lie a power of two apart would push each other out of the first-level cache.
    """
    step, a_at, b_at = at
    row = b.add(b.emit(f"and i64 {step}, {_ROWS_AHEAD - 1}"), rows)
    b.prefetch(b.offset(b.offset("%a", a_at), b.mul(row, "%a_row")), 2)
    further = b.offset(b_at, b.mul("%b_step", _STEPS_AHEAD))
    for j in range(vectors):
        b.prefetch(b.offset(further, j * of.b.width * (of.b.size // of.b.cells)))


def sum_tile(
    b: Builder, of: Operands, rows: int, vectors: int, tail: Tail, mode: str
) -> list[Sequence[str]]:
    """The product's cells, row by row."""
    cells = of.a.cells
    count = rows * vectors * cells
    starts, a_step, b_step = _addresses(b, of, rows, vectors, mode)
    carry = [(of.c.vector, of.c.zero)] * count + [("i64", "0"), ("ptr", "%b")]
    masked_tail = tail if mode != PACKED and of.b.masked else None
    with b.loop("0", "%depth", carry=carry) as step:
        *flat, a_at, b_at = step.values
        if mode == TABLE:
            entry = b.offset("%table", b.mul(step.index, 16))
            a_at, b_at = (
                b.load("i64", entry, 8),
                b.offset("%b", b.load("i64", b.offset(entry, 8), 8)),
            )
        elif mode == INDEXED:
            a_at = b.load("i64", b.offset("%table", step.index, "i64"), 8)
        row_of_b = [
            of.b.load(
                b,
                b.offset(b_at, j * of.b.width * (of.b.size // of.b.cells)),
                masked_tail if j == vectors - 1 else None,
            )
            for j in range(vectors)
        ]
        if mode == STRIDED and vectors > 1:
            _prefetch_operands(b, of, rows, vectors, (step.index, a_at, b_at))
        out: list[str] = []
        for r in range(rows):
            factor = of.a.broadcast(b, starts(r, a_at))
            for j in range(vectors):
                at = (r * vectors + j) * cells
                out += of.c.multiply_add(b, factor, row_of_b[j], flat[at : at + cells])
        a_next = "0" if mode in _PARAMETERS_OF else b.add(a_at, a_step)
        step.next(*out, a_next, "%b" if mode == TABLE else b.offset(b_at, b_step))
    flat = step.values[:count]
    return [flat[k : k + cells] for k in range(0, count, cells)]


def _addresses(
    b: Builder, of: Operands, rows: int, vectors: int, mode: str
) -> tuple[Callable[[int, str], str], str, str]:
    """Where row r of A is at an offset; bytes a step of A and of B."""
    if mode == PACKED:
        a_step = str(rows * of.a.size)
        b_step = str(vectors * of.b.lanes * of.b.size)
        return lambda r, at: b.offset(b.offset("%a", at), r * of.a.size), a_step, b_step
    last = b.sub("%rows", "1")
    numbers = [b.min(str(r), last) for r in range(rows)]
    if mode == INDEXED:
        offsets = [b.load("i64", b.offset("%row_table", r, "i64"), 8) for r in numbers]
    else:
        offsets = [b.mul(r, "%a_row") for r in numbers]
    starts = [b.offset("%a", offset) for offset in offsets]
    return lambda r, at: b.offset(starts[r], at), "%a_step", "%b_step"


def store_tile(
    b: Builder, c: Element, values: list[str], rows: int, vectors: int, tail: Tail
) -> None:
    """Write a tile, with the epilogue of PARAMETERS: fast where it is whole and C or a bias at
    most is added, else with care.
    """
    full_width = b.emit(f"icmp eq i64 %columns, {vectors * c.lanes}")
    full_height = b.emit(f"icmp eq i64 %rows, {rows}")
    whole = b.emit(f"and i1 {full_width}, {full_height}")
    simple = b.emit(f"icmp ule i64 %flags, {BIAS_COLUMN}")
    steps = [j * c.lanes * c.size for j in range(vectors)]

    def store_whole(added: Callable[[int, str], str | None]) -> None:
        for r in range(rows):
            row = b.offset("%c", b.mul(str(r), "%c_row"))
            for j in range(vectors):
                to, value = b.offset(row, steps[j]), values[r * vectors + j]
                more = added(j, to)
                c.store(b, value if more is None else c.add(b, value, more), to)

    def add_bias() -> None:
        bias = [c.load(b, b.offset("%bias", step)) for step in steps]
        store_whole(lambda j, to: bias[j])

    def store_simple() -> None:
        cases = [
            (0, lambda: store_whole(lambda j, to: None)),
            (ACCUMULATE, lambda: store_whole(lambda j, to: c.load(b, to))),
            (BIAS_COLUMN, add_bias),
        ]
        b.switch("%flags", cases)

    def store_careful() -> None:
        _store_with_epilogue(b, c, values, rows, vectors, tail, full_width)

    b.choose(b.emit(f"and i1 {whole}, {simple}"), store_simple, store_careful)


def _store_with_epilogue(
    b: Builder, c: Element, values: list[str], rows: int, vectors: int, tail: Tail, full: str
) -> None:
    zeros = b.global_constant(f"[{vectors * c.lanes * c.size} x i8]", "zeroinitializer")
    accumulate, column, relu, row = (_flag(b, bit) for bit in (1, 2, 4, 8))
    c_from = b.select(accumulate, "ptr", "%c", zeros)
    c_step = b.select(accumulate, "i64", "%c_row", "0")
    columns = b.select(column, "ptr", "%bias", zeros)
    by_row = b.select(row, "ptr", "%bias", zeros)
    row_step = b.select(row, "i64", str(c.size), "0")
    at = [j * c.lanes * c.size for j in range(vectors)]
    edge = [None] * (vectors - 1) + [tail]
    added = [_load_edge(b, c, b.offset(columns, at[j]), edge[j], full) for j in range(vectors)]
    for r in range(rows):
        with b.when(b.less(str(r), "%rows")):
            bias = c.broadcast(b, b.offset(by_row, b.mul(str(r), row_step)))
            if c.complex:
                bias = [_interleave(b, c, bias)]
            for j in range(vectors):
                old = b.offset(b.offset(c_from, b.mul(str(r), c_step)), at[j])
                value = c.add(b, values[r * vectors + j], _load_edge(b, c, old, edge[j], full))
                value = c.add(b, c.add(b, value, added[j]), bias[0])
                if not c.complex:
                    value = b.select(relu, c.vector, c.relu(b, value), value)
                to = b.offset(b.offset("%c", b.mul(str(r), "%c_row")), at[j])
                _store_edge(b, c, value, to, edge[j], full)


def _flag(b: Builder, bit: int) -> str:
    return b.emit(f"icmp ne i64 {b.emit(f'and i64 %flags, {bit}')}, 0")


def _interleave(b: Builder, c: Element, parts: Sequence[str]) -> str:
    picks = [k if k % 2 == 0 else c.width + k for k in range(c.width)]
    return b.shuffle(parts[0], parts[1], c.vector, picks)


def _load_edge(b: Builder, c: Element, pointer: str, tail: Tail | None, full: str) -> str:
    if tail is None or tail.mask is not None:
        return c.load(b, pointer, tail)
    return b.choose(
        full, lambda: [c.load(b, pointer)], lambda: [c.load(b, pointer, tail)], [c.vector]
    )[0]


def _store_edge(
    b: Builder, c: Element, value: str, pointer: str, tail: Tail | None, full: str
) -> None:
    if tail is None or tail.mask is not None:
        c.store(b, value, pointer, tail)
    else:
        b.choose(full, lambda: c.store(b, value, pointer), lambda: c.store(b, value, pointer, tail))
