"""Steps that bring lines or columns of complex numbers into a block's rows, and write them back.

*Lines* lie one after the other and are transposed on the way; *columns* lie side by side. Real and
imaginary parts change places where a step is told so: the backward transform is the forward one of
numbers whose parts are exchanged.
"""

from __future__ import annotations

from . import fourier_fields as fields
from .element import Element
from .fourier_vectors import Vectors, load_record, state
from .ir import Builder


def emit_load_lines(b: Builder, element: Element) -> None:
    """The step: rows from lines of `rows` complex numbers, of which `parts` parts are there."""
    v = Vectors(b, element)
    d = load_record(b, fields.LOAD_LINES)
    source, target, lanes = state(b, "input"), state(b, d.target), state(b, "lanes")
    group, vector = _group(element)
    with b.loop("0", lanes, group) as g:
        lines = _line_pointers(b, source, d.line, g.index, lanes, group)
        here = b.offset(target, b.mul(g.index, element.size))
        with b.loop("0", d.rows, group) as at:
            start = b.max(b.min(at.index, b.sub(d.rows, group)), "0")
            tail = element.tail(b, b.sub(d.parts, b.mul(start, 2)))
            byte = b.mul(start, 2 * element.size)
            values = [element.load(b, b.offset(line, byte), tail) for line in lines]
            row = b.offset(here, b.mul(start, 2 * v.bytes))
            for value in _transpose(b, values, vector, element.width):
                for first, offset in ((0, d.real), (1, d.imaginary)):
                    half = b.shuffle(value, value, vector, range(first, element.width, 2))
                    b.store(_half(element), half, b.offset(row, offset), v.bytes // 2)
                row = b.offset(row, 2 * v.bytes)


def emit_store_lines(b: Builder, element: Element) -> None:
    """The step: lines of `rows` complex numbers from rows, scaled."""
    v = Vectors(b, element)
    d = load_record(b, fields.STORE_LINES)
    source, output, lanes = state(b, d.source), state(b, "output"), state(b, "lanes")
    group, vector = _group(element)
    scale = _scale(v, d)
    order = [k // 2 + group * (k % 2) for k in range(element.width)]
    with b.loop("0", lanes, group) as g:
        lines = _line_pointers(b, output, d.line, g.index, lanes, group)
        here = b.offset(source, b.mul(g.index, element.size))
        with b.loop("0", d.rows, group) as at:
            start = b.max(b.min(at.index, b.sub(d.rows, group)), "0")
            tail = element.tail(b, b.mul(b.sub(d.rows, start), 2))
            row = b.offset(here, b.mul(start, 2 * v.bytes))
            values = []
            for _ in range(group):
                halves = [
                    b.load(_half(element), b.offset(row, offset), v.bytes // 2)
                    for offset in (d.real, d.imaginary)
                ]
                both = b.shuffle(halves[0], halves[1], _half(element), order)
                values.append(v.mul(both, scale))
                row = b.offset(row, 2 * v.bytes)
            byte = b.mul(start, 2 * element.size)
            turned = _transpose(b, values, vector, element.width)
            for line, value in zip(lines, turned, strict=True):
                element.store(b, value, b.offset(line, byte), tail)


def emit_load_columns(b: Builder, element: Element) -> None:
    """The step: rows from columns of complex numbers; zeros beyond the last column."""
    v = Vectors(b, element)
    d = load_record(b, fields.LOAD_COLUMNS)
    source, target, lanes = state(b, "input"), state(b, d.target), state(b, "lanes")
    tails = _two_tails(b, element, lanes)
    with b.loop("0", d.rows) as r:
        from_ = b.offset(source, b.mul(r.index, d.row))
        row = b.offset(target, b.mul(r.index, 2 * v.bytes))
        low = element.load(b, from_, tails[0])
        high = element.load(b, b.offset(from_, v.bytes), tails[1])
        for first, offset in ((0, d.real), (1, d.imaginary)):
            picks = range(first, 2 * element.width, 2)
            v.store_part(b.shuffle(low, high, v.type, picks), b.offset(row, offset))


def emit_store_columns(b: Builder, element: Element, twiddled: bool) -> None:
    """The step: columns from rows, scaled; each first times its twiddle where there are any."""
    v = Vectors(b, element)
    d = load_record(b, fields.STORE_COLUMNS)
    source, output, lanes = state(b, d.source), state(b, "output"), state(b, "lanes")
    tails = _two_tails(b, element, lanes)
    scale = _scale(v, d)
    table = b.offset(d.twiddles, b.mul(state(b, "block"), 2 * v.bytes)) if twiddled else ""
    interleave = [k // 2 + element.width * (k % 2) for k in range(2 * element.width)]
    with b.loop("0", d.rows) as r:
        row = b.offset(source, b.mul(r.index, 2 * v.bytes))
        to = b.offset(output, b.mul(r.index, d.row))
        if twiddled:
            factor = v.load(b.offset(table, b.mul(r.index, d.twiddle_row)))
            x = v.multiply(v.load(row), factor)
        else:
            x = v.load_part(b.offset(row, d.real)), v.load_part(b.offset(row, d.imaginary))
        for k, tail in enumerate(tails):
            picks = interleave[k * element.width : (k + 1) * element.width]
            value = v.mul(b.shuffle(*x, v.type, picks), scale)
            element.store(b, value, b.offset(to, k * v.bytes), tail)


def emit_load_pairs(b: Builder, element: Element) -> None:
    """The step: rows from columns of real numbers: even ones are real parts, odd ones imaginary."""
    v = Vectors(b, element)
    d = load_record(b, fields.LOAD_PAIRS)
    source, target = state(b, "input"), state(b, d.target)
    tail = element.tail(b, state(b, "lanes"))
    with b.loop("0", b.mul(d.rows, 2)) as r:
        value = element.load(b, b.offset(source, b.mul(r.index, d.row)), tail)
        v.store_part(value, b.offset(target, b.mul(r.index, v.bytes)))


def emit_store_pairs(b: Builder, element: Element) -> None:
    """The step: columns of real numbers from rows: the real part and then the imaginary one."""
    v = Vectors(b, element)
    d = load_record(b, fields.STORE_PAIRS)
    source, output = state(b, d.source), state(b, "output")
    tail = element.tail(b, state(b, "lanes"))
    scale = element.splat(b, _narrow(b, element, d.scale_real))
    with b.loop("0", d.rows) as r:
        row = b.offset(source, b.mul(r.index, 2 * v.bytes))
        to = b.offset(output, b.mul(b.mul(r.index, 2), d.row))
        for offset in (d.real, d.imaginary):
            value = v.mul(v.load_part(b.offset(row, offset)), scale)
            element.store(b, value, to, tail)
            to = b.offset(to, d.row)


def emit_clear(b: Builder, element: Element) -> None:
    """The step: rows of zeros, where the input ends before the transform does."""
    v = Vectors(b, element)
    d = load_record(b, fields.CLEAR)
    target = state(b, d.target)
    with b.loop(d.from_row, d.rows) as r:
        row = b.offset(target, b.mul(r.index, 2 * v.bytes))
        v.store(("zeroinitializer", "zeroinitializer"), row)


# ---- parts ---------------------------------------------------------------------------------------


def _group(element: Element) -> tuple[int, str]:
    """How many complex numbers make a vector: lines that are transposed at a time."""
    return element.width // 2, element.vector


def _half(element: Element) -> str:
    return f"<{element.width // 2} x {element.part}>"


def _line_pointers(
    b: Builder, base: str, line: str, first: str, lanes: str, group: int
) -> list[str]:
    """Where the lines of a group begin. Those past the last are the last one again: what is read
    twice is written twice."""
    last = b.sub(lanes, 1)
    return [b.offset(base, b.mul(b.min(b.add(first, k), last), line)) for k in range(group)]


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


def _two_tails(b: Builder, element: Element, lanes: str) -> tuple:
    """For the two vectors that hold one complex number of each lane."""
    parts = b.mul(lanes, 2)
    return element.tail(b, parts), element.tail(b, b.max(b.sub(parts, element.width), "0"))


def _scale(v: Vectors, d) -> str:
    """The factors of real and imaginary parts, alternating."""
    b, element = v.b, v.element
    factors = [element.splat(b, _narrow(b, element, x)) for x in (d.scale_real, d.scale_imaginary)]
    picks = [k + element.width * (k % 2) for k in range(element.width)]
    return b.shuffle(factors[0], factors[1], v.type, picks)


def _narrow(b: Builder, element: Element, number: str) -> str:
    return number if element.part == "double" else b.emit(f"fptrunc double {number} to float")
