"""Plans of Fourier transforms: which steps, in which order, with which tables.

A length is a product of radices, each one pass over a block's rows. Blocks are as many lines (or
columns) as a vector has lanes. Where lines are few or long, a line is a matrix of n1 rows and n2
columns itself: its columns are transformed, multiplied by roots of unity, and then its rows, whose
coefficients come out as columns (Cooley and Tukey, 1965; Bailey, 1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from .. import core
from ..kernels import fourier_fields as fields
from ..kernels.lazy import fourier
from ..kernels.lazy import target as targets
from ..kernels.plan import ceil_div, round_up
from .fourier_tables import prime_roots, roots, turn_roots, twiddles
from .plans import find_kernel

COMPLEX, TO_HALF, FROM_HALF = 0, 1, 2  # to complex; real to half the coefficients, and back

# About how many cycles a pass of a radix takes for a row.
_COSTS = {2: 6, 3: 7, 4: 7, 5: 8, 6: 9, 7: 10, 8: 9, 9: 11, 10: 11, 12: 12, 15: 15, 16: 13}
GREATEST_PRIME = 200  # a longer prime's pass takes more than Bluestein's detour
_MOVES = 14  # cycles to bring a row in and out
_ROWS = 1 << 15  # the most rows of a block
_MOST_COLUMN_ROWS = 1 << 13  # longer columns are turned into lines
_GRAIN = 60000  # cycles worth another thread
_NEAREST, _NEAR = 1 << 15, 1 << 19  # bytes of a processor's own caches
_LONG = 1 << 12  # a line of this length may be worth several threads


class Geometry(NamedTuple):
    """A transform over one dimension, of `outer` times `lanes` lines. Strides are in bytes.

    Lines are `columns` apart by one element, or lie one after the other, `line` apart. `have` is
    how many elements of the input's lines there are; more are zero.
    """

    kind: int
    dtype: str  # of a part: f32 or f64
    n: int  # the length; of the real side, if there is one
    have: int
    outer: int
    lanes: int
    columns: bool
    input_outer: int
    input_step: int  # from line to line, or from row to row of columns
    output_outer: int
    output_step: int
    backward: bool
    scale: float
    conjugate: bool  # the input (real results) or the result (others)


class Target(NamedTuple):
    """Sizes that depend on the machine."""

    size: int  # of a part
    width: int  # parts of a vector

    @property
    def row(self) -> int:
        """Bytes of a row of a buffer."""
        return 2 * self.width * self.size


@lru_cache(maxsize=4)
def _target(dtype: str) -> Target:
    size = 4 if dtype == "f32" else 8
    return Target(size, targets.host().vector_bytes // size)


# ---- factors -------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def radices(n: int) -> tuple[int, tuple[int, ...]] | None:
    """(cycles a row, radices) of the cheapest passes; None where a prime factor is too great."""
    if n == 1:
        return 0, ()
    best = None
    for radix, cost in _COSTS.items():
        if n % radix == 0 and (rest := radices(n // radix)) is not None:
            found = rest[0] + cost, (*rest[1], radix)
            best = found if best is None or found < best else best
    if best is not None:
        return best[0], tuple(sorted(best[1], key=lambda r: (r in _COSTS, r)))
    prime = next((p for p in range(11, GREATEST_PRIME, 2) if n % p == 0), 0)
    if not prime:
        return None
    rest = radices(n // prime)
    return rest and (rest[0] + 10 + prime, (prime, *rest[1]))


@lru_cache(maxsize=1024)
def split(n: int, width: int) -> tuple[int, int, int] | None:
    """(cycles, n1, n2) of the cheapest way to make a matrix of a line; None where there is none."""
    best = None
    for n1 in _divisors(n):
        n2 = n // n1
        if max(n1, n2) > _ROWS or (first := radices(n1)) is None or (second := radices(n2)) is None:
            continue
        cycles = n1 * ceil_div(n2, width) * (first[0] * _spread(n1) + _MOVES)
        cycles += n2 * ceil_div(n1, width) * (second[0] * _spread(n2) + _MOVES + 4)
        found = int(cycles), n1, n2
        best = found if best is None or found < best else best
    return best


def _spread(rows: int) -> float:
    """How much longer passes take because two buffers of so many rows are not near."""
    near = 4 * rows * targets.host().vector_bytes
    return 1.0 if near <= _NEAREST else 1.4 if near <= _NEAR else 4.0


def _divisors(n: int) -> Sequence[int]:
    small = [d for d in range(2, int(n**0.5) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)})


def reads_columns(n: int) -> bool:
    """Can the first pass of a length read columns itself?"""
    found = radices(n)
    return found is not None and found[1] != () and found[1][0] in _COSTS


def writes_columns(n: int) -> bool:
    """Can the last pass of a length write columns itself?"""
    found = radices(n)
    return found is not None and found[1] != () and found[1][-1] in _COSTS


def inner_length(kind: int, n: int) -> int:
    """The length of the complex transform that one of n makes."""
    return n if kind == COMPLEX or n % 2 else n // 2


def can_plan(kind: int, n: int, dtype: str) -> bool:
    """Is there a plan for this length (or must Bluestein's detour make one)?"""
    odd, n = n % 2, inner_length(kind, n)
    if radices(n) is not None and n <= _ROWS:
        return True
    return (kind == COMPLEX or not odd) and split(n, _target(dtype).width) is not None


def suits(g: Geometry) -> bool:
    """Are there kernels for the layout? Where not, contiguous lines will do."""
    matrix = splits(g)
    if g.columns:
        n = inner_length(g.kind, g.n)
        narrow = 2 * g.lanes < _target(g.dtype).width and n > 8
        return not (matrix or narrow or n > _MOST_COLUMN_ROWS)
    if g.kind != COMPLEX and g.n % 2:  # a few long lines are better complex ones
        return not splits(g._replace(kind=COMPLEX))
    needed = g.n // 2 + 1 if g.kind == FROM_HALF else g.n
    return not matrix or (g.have == needed and g.outer == 1)


def splits(g: Geometry) -> bool:
    """Is each line better a matrix than one lane of a block?"""
    t = _target(g.dtype)
    n = inner_length(g.kind, g.n)
    matrix = split(n, t.width)
    if matrix is None or (g.kind != COMPLEX and (g.n % 2 or n < 2 * t.width)):
        return False
    whole = radices(n)
    if whole is None or n > _ROWS:
        return True
    if g.columns:
        return False
    cycles = ceil_div(g.lanes, t.width) * n * (whole[0] * _spread(n) + 2 * _MOVES)
    return cycles > g.lanes * matrix[0]


ROWS, COLUMNS, TURNED = "rows", "columns", "turned"  # of fourier_radix.Pass
_NO_ENDS = {name: 0 for name in fields.ENDS.names if name not in fields.RADIX.names}

# ---- programs ------------------------------------------------------------------------------------


class _Program:
    """The records of a block, and the tables they need."""

    def __init__(self, g: Geometry) -> None:
        self.g, self.t = g, _target(g.dtype)
        self.records: list[tuple] = []
        self.tables: list[core.Tensor] = []
        self.at = fields.FIRST  # the buffer that holds the rows now
        self.rows = 0  # of the buffers
        self.sums = 0  # bytes

    def add(self, name: str, which: Sequence = (), **values: Any) -> None:
        """One step; `which` pass of a radix."""
        key = "fourier", name, self.g.dtype, *which
        code = find_kernel(key, lambda: fourier.step_source(name, self.g.dtype, which))
        form = fields.RECORDS[name]
        words = [{"code": code, **values}[field] for field in form.names]
        self.records.append((*words, *[0] * (fields.RECORD_LENGTH - len(words))))

    def table(self, values: core.Tensor) -> int:
        """Keep a table; its address."""
        self.tables.append(values)
        return values.data_ptr()

    def parts(self, swapped: bool) -> dict[str, Any]:
        """Where a row's real and imaginary parts are."""
        vector = self.t.row // 2
        return {"real": vector, "imaginary": 0} if swapped else {"real": 0, "imaginary": vector}

    def load(self, name: str, rows: int, whole: int, **values: Any) -> None:
        """Bring rows in; zeros up to `whole`."""
        self.rows = max(self.rows, whole, rows, self.t.width // 2)
        self.add(name, target=self.at, rows=rows, **values)
        if rows < whole:
            self.clear(rows * self.t.row, whole * self.t.row)

    def clear(self, begin: int, end: int, apart: int = 0) -> None:
        """Vectors of zeros in the buffer that holds the rows now, from byte to byte."""
        self.add("clear", target=self.at, begin=begin, end=end, apart=apart or self.t.row // 2)

    def transform(self, n: int, reads: dict | None = None, writes: dict | None = None) -> None:
        """All passes of a length. With `reads` the first one reads columns, with `writes` the last
        one writes them: the fields of ENDS for it."""
        found = radices(n)
        assert found is not None
        columns, stride = n, 1
        for radix in found[1]:
            columns //= radix
            short = radix in _COSTS
            last = columns == 1 and short
            given: dict[str, Any] = {"roots": 0, "twiddles": 0}
            if not last:
                given["twiddles"] = self.table(twiddles(columns, radix, not short, self.g.dtype))
            if not short:
                given["roots"] = self.table(prime_roots(radix, self.g.dtype))
                self.sums = max(self.sums, (radix // 2) * 2 * self.t.row)
            which: Sequence = ()
            if short:
                source = COLUMNS if reads and stride == 1 else ROWS
                target = (TURNED if writes["turns"] else COLUMNS) if writes and last else ROWS
                given |= {**_NO_ENDS, **(reads or {}), **(writes or {})}
                which = radix, not last, source, target
            self.add(
                "radix" if short else "prime", which, source=self.at, target=self.other,
                columns=columns, stride=stride, radix=radix, **given,
            )  # fmt: skip
            self.at = self.other
            stride *= radix
        self.rows = max(self.rows, n)

    @property
    def other(self) -> int:
        """The buffer that is free."""
        return fields.FIRST + fields.SECOND - self.at

    def turn(self, half: int, **values) -> None:
        """Between half the coefficients of real numbers and those of their pairs."""
        backward = self.g.kind == FROM_HALF
        table = self.table(turn_roots(half, backward, self.g.dtype))
        self.rows = max(self.rows, half + 1)
        self.add(
            "turn", source=self.at, target=self.other, half=half, twiddles=table,
            backward=backward, **values,
        )  # fmt: skip
        self.at = self.other

    @property
    def work(self) -> int:
        """Bytes of the buffers."""
        return 2 * self._buffer + round_up(self.sums, 64)

    @property
    def _buffer(self) -> int:
        return (self.rows + 2) * self.t.row

    def pack(self, **values) -> tuple:
        """The BLOCK with its records."""
        head = fields.BLOCK.pack(
            second=self._buffer, sums=2 * self._buffer, records=len(self.records),
            width=self.t.width, **values,
        )  # fmt: skip
        return (*head, *(word for record in self.records for word in record))


def _scales(g: Geometry, factor: float = 1.0) -> dict[str, Any]:
    scale = g.scale * factor
    flipped = g.conjugate and g.kind != FROM_HALF
    return {"scale_real": float(scale), "scale_imaginary": float(-scale if flipped else scale)}


def _reads(row: int, conjugate: bool) -> dict[str, Any]:
    """The fields of a first pass that reads columns."""
    return {"input_row": row, "sign": -1.0 if conjugate else 1.0}


def _writes(row: int, g: Geometry, conjugate: bool) -> dict[str, Any]:
    """The fields of a last pass that writes columns. The backward transform is the conjugate of
    the conjugate's forward one."""
    found = _scales(g)
    if conjugate:
        found["scale_imaginary"] *= -1.0
    return {"output_row": row, "turns": 0, "turn_row": 0, **found}


def _whole_lines(g: Geometry) -> _Program:
    """A line is one lane."""
    p = _Program(g)
    n = inner_length(g.kind, g.n)
    if g.kind == COMPLEX and g.columns and g.have == n and reads_columns(n) and writes_columns(n):
        p.transform(n, _reads(g.input_step, g.backward), _writes(g.output_step, g, g.backward))
        return p
    if g.kind == TO_HALF:
        _load_reals(p, g, n)
    else:
        whole = g.n // 2 + 1 if g.kind == FROM_HALF else n
        swapped = g.kind == COMPLEX and g.backward
        if g.columns:
            p.load("load_columns", g.have, whole, row=g.input_step, **p.parts(swapped))
        else:
            p.load(
                "load_lines", g.have, whole, parts=2 * g.have, line=g.input_step, row=p.t.row,
                **p.parts(swapped),
            )  # fmt: skip
    if g.kind == FROM_HALF:
        sign = -1.0 if g.conjugate else 1.0
        if g.n % 2:
            p.rows = max(p.rows, n, p.t.width)
            p.add("mirror", target=p.at, rows=n, sign=sign)
        else:
            p.turn(n, sign=sign, **p.parts(True))
    p.transform(n)
    if g.kind == FROM_HALF:
        _store_reals(p, g)
    else:
        _store_rows(p, g, n)
    return p


def _load_reals(p: _Program, g: Geometry, n: int) -> None:
    """Pairs of numbers as complex ones; numbers of an odd length each with a zero."""
    t, vector = p.t, p.t.row // 2
    apart = t.row if g.n % 2 else vector
    if g.have < g.n:
        p.clear(0, n * t.row)
    elif g.n % 2:
        p.clear(vector, n * t.row, apart)
    if g.columns:
        p.load("load_reals", g.have, 0, row=g.input_step, apart=apart)
    else:
        rows = ceil_div(g.have, 2)
        p.load(
            "load_lines", rows, 0, parts=g.have, line=g.input_step, row=2 * apart, real=0,
            imaginary=apart,
        )  # fmt: skip
    p.rows = max(p.rows, n)
    if g.n % 2:
        p.rows = max(n + 1, t.width)


def _store_reals(p: _Program, g: Geometry) -> None:
    """The reverse, of transforms whose real and imaginary parts have changed places."""
    vector = p.t.row // 2
    apart = p.t.row if g.n % 2 else vector
    places: dict[str, Any] = {"real": vector, "imaginary": vector + p.t.row if g.n % 2 else 0}
    if g.columns:
        p.add(
            "store_reals", source=p.at, rows=g.n, row=g.output_step, apart=apart,
            scale_real=float(g.scale), **places,
        )  # fmt: skip
    else:
        p.add(
            "store_lines", source=p.at, rows=ceil_div(g.n, 2), parts=g.n, line=g.output_step,
            row=2 * apart, **places, **_scales(g),
        )  # fmt: skip


def _store_rows(p: _Program, g: Geometry, n: int) -> None:
    swapped, rows, factor = g.kind == COMPLEX and g.backward, n, 1.0
    if g.kind == TO_HALF:
        rows = g.n // 2 + 1
        if g.n % 2 == 0:
            p.turn(n, sign=1.0, **p.parts(False))
            factor = 0.5
    if g.columns:
        p.add(
            "store_columns", source=p.at, rows=rows, row=g.output_step, **p.parts(swapped),
            **_scales(g, factor), turns=0, turn_row=0,
        )  # fmt: skip
    else:
        p.add(
            "store_lines", source=p.at, rows=rows, parts=2 * rows, line=g.output_step,
            row=p.t.row, **p.parts(swapped), **_scales(g, factor),
        )  # fmt: skip


class Transform(NamedTuple):
    """A plan for the core, and the tables whose addresses are in it."""

    plan: core.Plan
    tables: tuple[core.Tensor, ...]


def make_plan(g: Geometry, threads: int) -> Transform:
    """The plan of a transform; can_plan must hold for its length."""
    return _plan_matrices(g, threads) if splits(g) else _plan_blocks(g, threads)


def _plan_blocks(g: Geometry, threads: int) -> Transform:
    p = _whole_lines(g)
    t = p.t
    n = inner_length(g.kind, g.n)
    across = ceil_div(g.lanes, t.width)
    if g.columns:
        real, pair = t.width * t.size, 2 * t.width * t.size
        inside = real if g.kind == TO_HALF else pair
        outside = real if g.kind == FROM_HALF else pair
    else:
        inside, outside = t.width * g.input_step, t.width * g.output_step
    block = p.pack(
        across=across, input_outer=g.input_outer, input_block=inside,
        output_outer=g.output_outer, output_block=outside, lanes=g.lanes,
    )  # fmt: skip
    work = round_up(p.work, 64)
    phase = fields.PHASE.pack(input=1, input_at=0, output=0, output_at=0, work=0, work_step=work)
    passes = radices(n)
    cycles = n * ((passes[0] if passes else 0) + 2 * _MOVES)
    phases = [_phase(False, (*phase, *block), across * g.outer, cycles, threads)]
    return Transform(core.Plan(phases, work * threads, threads), tuple(p.tables))


def _phase(nested: bool, desc: tuple, tasks: int, cycles: int, threads: int) -> tuple:
    address = find_kernel(("fourier loop", nested), lambda: fourier.loop_source(nested))
    grain = tasks if threads == 1 else min(tasks, max(1, ceil_div(_GRAIN, max(cycles, 1))))
    return address, desc, tasks, grain


# ---- lines as matrices ---------------------------------------------------------------------------


class _Section(NamedTuple):
    """One part of the way of a line: from a place to a place, in blocks."""

    program: _Program
    source: int  # 0 the input, 1 the result, 2 and 3 between
    target: int
    blocks: int
    input_block: int
    output_block: int
    lanes: int


def _sections(g: Geometry) -> tuple[list[_Section], int, int]:
    """The sections of one line, and the sizes of the two places between."""
    t = _target(g.dtype)
    n = inner_length(g.kind, g.n)
    matrix = split(n, t.width)
    assert matrix is not None, f"no matrix for lines of {n}"
    _, n1, n2 = matrix
    pair = 2 * t.size
    line = n2 * pair + (64 if n2 * pair % 1024 == 0 else 0)
    swap_in = (g.backward and g.kind == COMPLEX) or g.kind == FROM_HALF
    source, target = 0, 1
    sections: list[_Section] = []
    if g.kind == FROM_HALF:
        sections.append(_turn_section(g, n, 0, 3))
        source = 3
    if g.kind == TO_HALF:
        target = 3

    ends = reads_columns(n1) and writes_columns(n2)
    table, table_row = _line_twiddles(n1, n2, t, g.dtype)
    first = _Program(g)
    turn = {
        "scale_real": 1.0, "scale_imaginary": 1.0, "turns": first.table(table),
        "turn_row": table_row,
    }  # fmt: skip
    if not ends:
        first.load("load_columns", n1, n1, row=n2 * pair, **first.parts(swap_in))
    turns = writes_columns(n1)
    first.transform(
        n1, _reads(n2 * pair, swap_in) if ends else None,
        {"output_row": line, **turn} if turns else None,
    )  # fmt: skip
    if not turns:
        first.add("store_turned", source=first.at, rows=n1, row=line, **first.parts(False), **turn)
    sections.append(
        _Section(first, source, 2, ceil_div(n2, t.width), t.width * pair, t.width * pair, n2)
    )
    second = _Program(g)
    second.load("load_lines", n2, n2, parts=2 * n2, line=line, row=t.row, **second.parts(False))
    plain = g._replace(scale=1.0, conjugate=False) if g.kind == TO_HALF else g
    second.transform(n2, None, _writes(n1 * pair, plain, swap_in) if ends else None)
    if not ends:
        second.add(
            "store_columns", source=second.at, rows=n2, row=n1 * pair, **second.parts(swap_in),
            turns=0, turn_row=0, **_scales(plain),
        )  # fmt: skip
    sections.append(
        _Section(second, 2, target, ceil_div(n1, t.width), t.width * line, t.width * pair, n1)
    )
    if g.kind == TO_HALF:
        sections.append(_turn_section(g, n, 3, 1))
    between = round_up(n1 * line, 64)
    return sections, between, round_up((n + t.width) * pair, 64)


def _turn_section(g: Geometry, half: int, source: int, target: int) -> _Section:
    p = _Program(g)
    table = p.table(turn_roots(half, g.kind == FROM_HALF, g.dtype))
    scales: dict[str, Any] = {"scale_real": 1.0, "scale_imaginary": 1.0}
    p.add(
        "turn_line", half=half, twiddles=table, backward=g.kind == FROM_HALF,
        sign=-1.0 if g.conjugate and g.kind == FROM_HALF else 1.0,
        **(_scales(g, 0.5) if g.kind == TO_HALF else scales),
    )  # fmt: skip
    return _Section(p, source, target, 1, 0, 0, 1)


def _line_twiddles(n1: int, n2: int, t: Target, dtype: str) -> tuple[core.Tensor, int]:
    """exp(-2 pi i j k / n) by rows k < n1, for blocks of columns j < n2; bytes of a row."""
    columns = round_up(n2, t.width)
    return roots(n1, columns, n1 * n2, t.width, dtype), columns * 2 * t.size


def _plan_matrices(g: Geometry, threads: int) -> Transform:
    """Lines must not be columns: `lanes` of them lie `input_step` apart."""
    sections, between, after = _sections(g)
    work = round_up(max(s.program.work for s in sections), 64)
    n = inner_length(g.kind, g.n)
    matrix = split(n, _target(g.dtype).width)
    cycles = matrix[0] if matrix else 0
    if g.lanes >= 2 * threads or n < _LONG or threads == 1:
        phases, space = _nest(g, sections, work, between, after, cycles, threads)
    else:
        phases, space = _share(g, sections, work, between, after, cycles, threads)
    tables = tuple(table for s in sections for table in s.program.tables)
    return Transform(core.Plan(phases, space, threads), tables)


def _nest(g, sections, work, between, after, cycles, threads) -> tuple[list, int]:
    """Every thread takes whole lines through all sections."""
    head = len(fields.NEST.names) + len(fields.SECTION.names) * len(sections)
    tables: list = []
    blocks: list = []
    for s in sections:
        at = head + len(blocks)
        tables += fields.SECTION.pack(input=s.source, output=s.target, blocks=s.blocks, at=at)
        blocks += s.program.pack(
            across=s.blocks, input_outer=0, input_block=s.input_block, output_outer=0,
            output_block=s.output_block, lanes=s.lanes,
        )  # fmt: skip
    step = work + between + after
    nest = fields.NEST.pack(
        sections=len(sections), input_line=g.input_step, output_line=g.output_step, work=0,
        work_step=step, between=work, after=work + between,
    )  # fmt: skip
    phase = _phase(True, (*nest, *tables, *blocks), g.lanes, cycles, threads)
    return [phase], step * threads


def _share(g, sections, work, between, after, cycles, threads) -> tuple[list, int]:
    """Every section is done by all threads before the next."""
    places = {0: (1, 0, g.input_step), 1: (0, 0, g.output_step)}
    places[2] = 2, work * threads, between
    places[3] = 2, work * threads + between * g.lanes, after
    phases = []
    for s in sections:
        (source, input_at, input_outer), (target, output_at, output_outer) = (
            places[s.source], places[s.target],
        )  # fmt: skip
        phase = fields.PHASE.pack(
            input=source, input_at=input_at, output=target, output_at=output_at, work=0,
            work_step=work,
        )  # fmt: skip
        block = s.program.pack(
            across=s.blocks, input_outer=input_outer, input_block=s.input_block,
            output_outer=output_outer, output_block=s.output_block, lanes=s.lanes,
        )  # fmt: skip
        tasks = s.blocks * g.lanes
        phases.append(_phase(False, (*phase, *block), tasks, cycles // s.blocks, threads))
    return phases, work * threads + (between + after) * g.lanes
