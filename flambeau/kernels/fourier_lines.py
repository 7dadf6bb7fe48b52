"""Steps that bring lines or columns of complex numbers into a block's rows, and write them back.

*Lines* lie one after the other and are transposed on the way; *columns* lie side by side. Real and
imaginary parts change places where a step is told so: the backward transform is the forward one of
numbers whose parts are exchanged.
"""

from __future__ import annotations

from . import fourier_fields as fields
from .element import Element
from .fourier_vectors import (
    Vectors,
    interleaved,
    load_record,
    narrow,
    prefetch,
    scales,
    state,
    two_tails,
)
from .ir import Builder


def emit_load_lines(b: Builder, element: Element, long: bool) -> None:
    """The step: rows from lines of `rows` complex numbers, of which `parts` parts are there.

    The next block's part of `long` lines is asked for early: a line is too short for a prefetcher
    to find it.
    """
    v = Vectors(b, element)
    d = load_record(b, fields.LOAD_LINES)
    source, target, lanes = state(b, "input"), state(b, d.target), state(b, "lanes")
    group, lines = element.width // 2, _line_pointers(b, source, d.line, lanes, element.width)
    next_ = b.mul(d.line, element.width)
    with b.loop("0", d.rows, group) as block:
        start = b.max(b.min(block.index, b.sub(d.rows, group)), "0")
        tail = element.tail(b, b.sub(d.parts, b.mul(start, 2)))
        byte = b.mul(start, 2 * element.size)
        halves = []
        for some in (lines[:group], lines[group:]):
            values = []
            for line in some:
                at = b.offset(line, byte)
                if long:
                    prefetch(b, b.offset(at, next_), False)
                values.append(element.load(b, at, tail))
            halves.append(_transpose(b, values, v.type, element.width))
        row = b.offset(target, b.mul(start, d.row))
        for low, high in zip(*halves, strict=True):
            for first, offset in ((0, d.real), (1, d.imaginary)):
                picks = range(first, 2 * element.width, 2)
                v.store_part(b.shuffle(low, high, v.type, picks), b.offset(row, offset))
            row = b.offset(row, d.row)


def emit_store_lines(b: Builder, element: Element, long: bool) -> None:
    """The step: lines of `rows` complex numbers, of which `parts` parts are wanted, scaled."""
    v = Vectors(b, element)
    d = load_record(b, fields.STORE_LINES)
    source, output, lanes = state(b, d.source), state(b, "output"), state(b, "lanes")
    group, lines = element.width // 2, _line_pointers(b, output, d.line, lanes, element.width)
    scale = scales(v, d)
    interleave = interleaved(element)
    next_ = b.mul(d.line, element.width)
    with b.loop("0", d.rows, group) as block:
        start = b.max(b.min(block.index, b.sub(d.rows, group)), "0")
        tail = element.tail(b, b.sub(d.parts, b.mul(start, 2)))
        row = b.offset(source, b.mul(start, d.row))
        halves: list[list[str]] = [[], []]
        for _ in range(group):
            x = v.load_part(b.offset(row, d.real)), v.load_part(b.offset(row, d.imaginary))
            for half, picks in zip(halves, interleave, strict=True):
                half.append(v.mul(b.shuffle(*x, v.type, picks), scale))
            row = b.offset(row, d.row)
        byte = b.mul(start, 2 * element.size)
        turned = [y for half in halves for y in _transpose(b, half, v.type, element.width)]
        for line, value in zip(lines, turned, strict=True):
            at = b.offset(line, byte)
            if long:
                prefetch(b, b.offset(at, next_), True)
            element.store(b, value, at, tail)


def emit_load_columns(b: Builder, element: Element) -> None:
    """The step: rows from columns of complex numbers; zeros beyond the last column."""
    v = Vectors(b, element)
    d = load_record(b, fields.LOAD_COLUMNS)
    source, target, lanes = state(b, "input"), state(b, d.target), state(b, "lanes")
    tails = two_tails(b, element, lanes)
    with b.loop("0", d.rows) as r:
        from_ = b.offset(source, b.mul(r.index, d.row))
        row = b.offset(target, b.mul(r.index, 2 * v.bytes))
        low = element.load(b, from_, tails[0])
        high = element.load(b, b.offset(from_, v.bytes), tails[1])
        for first, offset in ((0, d.real), (1, d.imaginary)):
            picks = range(first, 2 * element.width, 2)
            v.store_part(b.shuffle(low, high, v.type, picks), b.offset(row, offset))


def emit_store_columns(b: Builder, element: Element, turned: bool) -> None:
    """The step: columns from rows, scaled; each first times its twiddle where there are any."""
    v = Vectors(b, element)
    d = load_record(b, fields.STORE_COLUMNS)
    source, output, lanes = state(b, d.source), state(b, "output"), state(b, "lanes")
    tails = two_tails(b, element, lanes)
    scale = scales(v, d)
    table = b.offset(d.turns, b.mul(state(b, "block"), 2 * v.bytes)) if turned else ""
    interleave = interleaved(element)
    with b.loop("0", d.rows) as r:
        row = b.offset(source, b.mul(r.index, 2 * v.bytes))
        to = b.offset(output, b.mul(r.index, d.row))
        if turned:
            factor = v.load(b.offset(table, b.mul(r.index, d.turn_row)))
            x = v.multiply(v.load(row), factor)
        else:
            x = v.load_part(b.offset(row, d.real)), v.load_part(b.offset(row, d.imaginary))
        for k, tail in enumerate(tails):
            value = v.mul(b.shuffle(*x, v.type, interleave[k]), scale)
            element.store(b, value, b.offset(to, k * v.bytes), tail)


def emit_load_reals(b: Builder, element: Element) -> None:
    """The step: vectors, `apart` bytes from each other in the buffer, from columns of real
    numbers."""
    v = Vectors(b, element)
    d = load_record(b, fields.LOAD_REALS)
    source, target = state(b, "input"), state(b, d.target)
    tail = element.tail(b, state(b, "lanes"))
    with b.loop("0", d.rows) as r:
        value = element.load(b, b.offset(source, b.mul(r.index, d.row)), tail)
        v.store_part(value, b.offset(target, b.mul(r.index, d.apart)))


def emit_store_reals(b: Builder, element: Element) -> None:
    """The step: columns of real numbers, scaled. Number 2 j lies `real` bytes from twice `apart`
    times j, the next one `imaginary` bytes."""
    v = Vectors(b, element)
    d = load_record(b, fields.STORE_REALS)
    source, output = state(b, d.source), state(b, "output")
    tail = element.tail(b, state(b, "lanes"))
    scale = element.splat(b, narrow(b, element, d.scale_real))
    with b.loop("0", d.rows) as r:
        half = b.emit(f"lshr i64 {r.index}, 1")
        odd = b.emit(f"trunc i64 {r.index} to i1")
        at = b.add(b.mul(half, b.mul(d.apart, 2)), b.select(odd, "i64", d.imaginary, d.real))
        value = v.mul(v.load_part(b.offset(source, at)), scale)
        element.store(b, value, b.offset(output, b.mul(r.index, d.row)), tail)


def emit_clear(b: Builder, element: Element) -> None:
    """The step: vectors of zeros, from byte to byte, `apart` bytes from each other."""
    v = Vectors(b, element)
    d = load_record(b, fields.CLEAR)
    target = state(b, d.target)
    with b.loop(d.begin, d.end, d.apart) as at:
        v.store_part("zeroinitializer", b.offset(target, at.index))


def emit_mirror(b: Builder, element: Element) -> None:
    """The step: all coefficients of real numbers, of which there are `rows`, from the first half.

    `sign` is -1 where the half's conjugate is meant. Real and imaginary parts change places.
    """
    v = Vectors(b, element)
    d = load_record(b, fields.MIRROR)
    rows = state(b, d.target)
    sign = element.splat(b, narrow(b, element, d.sign))
    x = v.load(rows)
    v.store(("zeroinitializer", x[0]), rows)
    half = b.emit(f"lshr i64 {d.rows}, 1")
    with b.loop("1", b.add(half, 1)) as k:
        row = b.offset(rows, b.mul(k.index, 2 * v.bytes))
        real, imaginary = v.load(row)
        imaginary = v.mul(imaginary, sign)
        v.store((imaginary, real), row)
        other = b.offset(rows, b.mul(b.sub(d.rows, k.index), 2 * v.bytes))
        v.store((v.negate(imaginary), real), other)


# ---- parts ---------------------------------------------------------------------------------------


def _line_pointers(b: Builder, base: str, line: str, lanes: str, width: int) -> list[str]:
    """Where the lines of a block begin. Those past the last are the last one again: what is read
    twice is written twice."""
    found = [base]
    for k in range(1, width):
        there = b.less(str(k), lanes)
        found.append(b.offset(found[-1], b.select(there, "i64", line, "0")))
    return found


def _transpose(b: Builder, values: list[str], vector: str, width: int) -> list[str]:
    """A square of complex numbers transposed, one vector a line: by interleaving halves."""
    count = len(values)
    low = [_pick(p, width) for p in range(width)]
    high = [_pick(p + width, width) for p in range(width)]
    turns = count.bit_length() - 1
    for _ in range(turns):
        following = []
        for k in range(count // 2):
            x, y = values[k], values[k + count // 2]
            following += [b.shuffle(x, y, vector, low), b.shuffle(x, y, vector, high)]
        values = following
    return values


def _pick(part: int, width: int) -> int:
    """The part of (x, y) that part number `part` of their interleaved complex numbers is."""
    number, inside = divmod(part, 2)
    which, element = number % 2, number // 2
    return which * width + 2 * element + inside
