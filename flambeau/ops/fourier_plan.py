"""Plans of Fourier transforms: which steps, in which order, with which tables.

A length is a product of radices, each one pass over a block's rows. Blocks are as many lines (or
columns) as a vector has lanes. Where lines are few or long, a line is a matrix of n1 rows and n2
columns itself: its columns are transformed, multiplied by roots of unity, and then its rows, whose
coefficients come out as columns (Cooley and Tukey, 1965; Bailey, 1990).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import core
from ..kernels import fourier_fields as fields
from ..kernels.lazy import fourier
from ..kernels.plan import ceil_div, round_up
from .fourier_lengths import (
    COMPLEX,
    FROM_HALF,
    MOST_ROWS,
    MOVES,
    NEAR,
    TO_HALF,
    inner_length,
    radices,
    reads_columns,
    split,
    spread,
    writes_columns,
)
from .fourier_program import Geometry, Program, Target, target_of
from .fourier_tables import roots, turn_roots
from .plans import find_kernel

_MOST_COLUMN_ROWS = 1 << 13  # longer columns are turned into lines
_GRAIN = 25000  # cycles worth another thread
_FETCHED = 1 << 17  # the most bytes of a line to ask for before the line is wanted
_SHORT_LINE = 128  # bytes of lines that the processor prefetches itself
_TWICE = 1 << 14  # a line's table of roots as long as this is made of two
_LONG = 1 << 12  # a line of this length may be worth several threads


def can_plan(kind: int, n: int, dtype: str) -> bool:
    """Is there a plan for this length (or must Bluestein's detour make one)?"""
    odd, n = n % 2, inner_length(kind, n)
    if radices(n) is not None and n <= MOST_ROWS:
        return True
    return (kind == COMPLEX or not odd) and split(n, target_of(dtype).width) is not None


def suits(g: Geometry) -> bool:
    """Are there kernels for the layout? Where not, contiguous lines will do."""
    matrix = splits(g)
    if g.columns:
        n = inner_length(g.kind, g.n)
        narrow = 2 * g.lanes < target_of(g.dtype).width and n > 8
        return not (matrix or narrow or n > _MOST_COLUMN_ROWS)
    if g.kind != COMPLEX and g.n % 2:  # a few long lines are better complex ones
        return not splits(g._replace(kind=COMPLEX))
    needed = g.n // 2 + 1 if g.kind == FROM_HALF else g.n
    return not matrix or (g.have == needed and g.outer == 1)


def splits(g: Geometry) -> bool:
    """Is each line better a matrix than one lane of a block?"""
    t = target_of(g.dtype)
    n = inner_length(g.kind, g.n)
    matrix = split(n, t.width)
    if matrix is None or (g.kind != COMPLEX and (g.n % 2 or n < 2 * t.width)):
        return False
    whole = radices(n)
    if whole is None or n > MOST_ROWS:
        return True
    if g.columns:
        return False
    cycles = ceil_div(g.lanes, t.width) * n * (whole[0] * spread(n) + 2 * MOVES)
    return cycles > g.lanes * matrix[0]


# ---- programs ------------------------------------------------------------------------------------


def _scales(g: Geometry, factor: float = 1.0) -> dict[str, Any]:
    scale = g.scale * factor
    flipped = g.conjugate and g.kind != FROM_HALF
    return {"scale_real": float(scale), "scale_imaginary": float(-scale if flipped else scale)}


def _lines(what: str, line: int) -> str:
    """The step that loads or stores lines so far from each other."""
    return f"{what}_lines" if line > _SHORT_LINE else f"{what}_short_lines"


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


def _whole_lines(g: Geometry) -> Program:
    """A line is one lane."""
    p = Program(g)
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
                _lines("load", g.input_step), g.have, whole, parts=2 * g.have,
                line=g.input_step, row=p.t.row, **p.parts(swapped),
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


def _load_reals(p: Program, g: Geometry, n: int) -> None:
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
            _lines("load", g.input_step), rows, 0, parts=g.have, line=g.input_step,
            row=2 * apart, real=0, imaginary=apart,
        )  # fmt: skip
    p.rows = max(p.rows, n)
    if g.n % 2:
        p.rows = max(n + 1, t.width)


def _store_reals(p: Program, g: Geometry) -> None:
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
            _lines("store", g.output_step), source=p.at, rows=ceil_div(g.n, 2), parts=g.n,
            line=g.output_step, row=2 * apart, **places, **_scales(g),
        )  # fmt: skip


def _store_rows(p: Program, g: Geometry, n: int) -> None:
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
            _lines("store", g.output_step), source=p.at, rows=rows, parts=2 * rows,
            line=g.output_step, row=p.t.row, **p.parts(swapped), **_scales(g, factor),
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
    cycles = n * ((passes[0] if passes else 0) + 2 * MOVES)
    phases = [_phase(False, (*phase, *block), across * g.outer, cycles, threads)]
    return Transform(core.Plan(phases, work * threads, threads), tuple(p.tables))


def _phase(nested: bool, desc: tuple, tasks: int, cycles: int, threads: int) -> tuple:
    address = find_kernel(("fourier loop", nested), lambda: fourier.loop_source(nested))
    grain = tasks if threads == 1 else min(tasks, max(1, ceil_div(_GRAIN, max(cycles, 1))))
    return address, desc, tasks, grain


# ---- lines as matrices ---------------------------------------------------------------------------


class _Section(NamedTuple):
    """One part of the way of a line: from a place to a place, in blocks."""

    program: Program
    source: int  # 0 the input, 1 the result, 2 and 3 between
    target: int
    blocks: int
    input_block: int
    output_block: int
    lanes: int


def _sections(g: Geometry) -> tuple[list[_Section], int, int]:
    """The sections of one line, and the sizes of the two places between."""
    t = target_of(g.dtype)
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
    turns = writes_columns(n1)
    first = Program(g)
    turn = _line_roots(first, n1, n2, t, turns and n >= _TWICE)
    if not ends:
        first.load("load_columns", n1, n1, row=n2 * pair, **first.parts(swap_in))
    first.transform(
        n1, _reads(n2 * pair, swap_in) if ends else None,
        {"output_row": line, **turn} if turns else None,
    )  # fmt: skip
    if not turns:
        first.add("store_turned", source=first.at, rows=n1, row=line, **first.parts(False), **turn)
    sections.append(
        _Section(first, source, 2, ceil_div(n2, t.width), t.width * pair, t.width * pair, n2)
    )
    second = Program(g)
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
    p = Program(g)
    table = p.table(turn_roots(half, g.kind == FROM_HALF, g.dtype))
    scales: dict[str, Any] = {"scale_real": 1.0, "scale_imaginary": 1.0}
    p.add(
        "turn_line", half=half, twiddles=table, backward=g.kind == FROM_HALF,
        sign=-1.0 if g.conjugate and g.kind == FROM_HALF else 1.0,
        **(_scales(g, 0.5) if g.kind == TO_HALF else scales),
    )  # fmt: skip
    return _Section(p, source, target, 1, 0, 0, 1)


def _line_roots(p: Program, n1: int, n2: int, t: Target, twice: bool) -> dict[str, Any]:
    """The fields of a pass that multiplies by exp(-2 pi i j k / n) for rows k < n1 and blocks of
    columns j < n2. A long table is the product of two short ones."""
    columns, n, dtype = round_up(n2, t.width), n1 * n2, p.g.dtype
    found = {"scale_real": 1.0, "scale_imaginary": 1.0, "turn_row": columns * 2 * t.size}
    if not twice:
        return {"turns": p.table(roots(n1, 1, columns, n, t.width, dtype)), **found}
    shift = (n1.bit_length() + 1) // 2
    fine = p.table(roots(1 << shift, 1, columns, n, t.width, dtype))
    rest = ceil_div(n1, 1 << shift)
    coarse = p.table(roots(rest, 1 << shift, columns, n, t.width, dtype))
    return {"turns": fine, "coarse": coarse, "shift": shift, **found}


def _plan_matrices(g: Geometry, threads: int) -> Transform:
    """Lines must not be columns: `lanes` of them lie `input_step` apart."""
    sections, between, after = _sections(g)
    work = round_up(max(s.program.work for s in sections), 64)
    n = inner_length(g.kind, g.n)
    matrix = split(n, target_of(g.dtype).width)
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
    line = min(g.input_step, g.output_step)
    nest = fields.NEST.pack(
        sections=len(sections), input_line=g.input_step, output_line=g.output_step,
        fetched=line if line <= _FETCHED and g.lanes * line > NEAR else 0, work=0,
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
