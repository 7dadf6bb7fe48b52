"""Butterflies: short transforms in registers, and the passes that make long ones of them.

A pass of radix r is one step of Stockham's algorithm, decimating in frequency: with n = r m rows
left to combine and a stride s,

    y[q + s (r p + k)] = w^(p k) sum_j x[q + s (p + m j)] u^(j k),   w = exp(-2 pi i / n),
                                                                     u = exp(-2 pi i / r),

for p < m and q < s. Every row is a vector of real and one of imaginary parts, of as many lines.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from . import fourier_fields as fields
from .element import Element
from .fourier_vectors import (
    Complex,
    Vectors,
    fetch_next,
    interleaved,
    load_record,
    narrow,
    scales,
    state,
    two_tails,
)
from .ir import Builder

ROWS, COLUMNS, TURNED = "rows", "columns", "turned"  # TURNED: columns times roots of unity
TURNED_TWICE = "turned twice"  # by a root for the low bits of the row's number, one for the rest

# ---- transforms in registers ---------------------------------------------------------------------


def transform(v: Vectors, x: Sequence[Complex]) -> list[Complex]:
    """The forward transform of a few complex vectors."""
    n = len(x)
    if n in _SHORT:
        return _SHORT[n](v, x)
    rows = next((r for r in (4, 3, 2, 5) if n % r == 0), n)
    return _odd(v, x) if rows == n else _by_factors(v, x, rows)


def _two(v: Vectors, x: Sequence[Complex]) -> list[Complex]:
    (a, b), (c, d) = x
    return [(v.add(a, c), v.add(b, d)), (v.sub(a, c), v.sub(b, d))]


def _four(v: Vectors, x: Sequence[Complex]) -> list[Complex]:
    (a, b), (c, d) = _two(v, [x[0], x[2]]), _two(v, [x[1], x[3]])
    first, third = _two(v, [a, c])
    second = v.add(b[0], d[1]), v.sub(b[1], d[0])
    fourth = v.sub(b[0], d[1]), v.add(b[1], d[0])
    return [first, second, third, fourth]


def _eight(v: Vectors, x: Sequence[Complex]) -> list[Complex]:
    even, odd = _four(v, x[0::2]), _four(v, x[1::2])
    up, down = v.constant(math.sqrt(0.5)), v.constant(-math.sqrt(0.5))
    low, high = [_two(v, [even[0], odd[0]])[0]], [_two(v, [even[0], odd[0]])[1]]
    (er, ei), (o_r, oi) = even[1], odd[1]
    plus, minus = v.add(o_r, oi), v.sub(oi, o_r)
    low.append((v.fma(up, plus, er), v.fma(up, minus, ei)))
    high.append((v.fma(down, plus, er), v.fma(down, minus, ei)))
    (er, ei), (o_r, oi) = even[2], odd[2]
    low.append((v.add(er, oi), v.sub(ei, o_r)))
    high.append((v.sub(er, oi), v.add(ei, o_r)))
    (er, ei), (o_r, oi) = even[3], odd[3]
    plus, minus = v.add(o_r, oi), v.sub(oi, o_r)
    low.append((v.fma(up, minus, er), v.fma(down, plus, ei)))
    high.append((v.fma(down, minus, er), v.fma(up, plus, ei)))
    return low + high


def _odd(v: Vectors, x: Sequence[Complex]) -> list[Complex]:
    """An odd length directly: sums and differences of x[j] and x[n - j] halve the products."""
    n = len(x)
    half = n // 2
    sums = [(v.add(x[j][0], x[-j][0]), v.add(x[j][1], x[-j][1])) for j in range(1, half + 1)]
    rests = [(v.sub(x[j][0], x[-j][0]), v.sub(x[j][1], x[-j][1])) for j in range(1, half + 1)]
    total = x[0]
    for s in sums:
        total = v.add(total[0], s[0]), v.add(total[1], s[1])
    out = [total] * n
    for k in range(1, half + 1):
        even, odd = x[0], ("", "")
        for j in range(1, half + 1):
            root = cmath.rect(1.0, 2 * math.pi * (j * k % n) / n)
            cosine, sine = v.constant(root.real), v.constant(root.imag)
            plus, minus = sums[j - 1], rests[j - 1]
            even = v.fma(cosine, plus[0], even[0]), v.fma(cosine, plus[1], even[1])
            if j == 1:
                odd = v.mul(sine, minus[0]), v.mul(sine, minus[1])
            else:
                odd = v.fma(sine, minus[0], odd[0]), v.fma(sine, minus[1], odd[1])
        out[k] = v.add(even[0], odd[1]), v.sub(even[1], odd[0])
        out[n - k] = v.sub(even[0], odd[1]), v.add(even[1], odd[0])
    return out


_SHORT = {1: lambda v, x: list(x), 2: _two, 4: _four, 8: _eight}


def _by_factors(v: Vectors, x: Sequence[Complex], rows: int) -> list[Complex]:
    """n = rows * columns by Cooley and Tukey's recursion."""
    n = len(x)
    columns = n // rows
    parts = [transform(v, x[j::columns]) for j in range(columns)]
    out: list[Complex] = [x[0]] * n
    for k in range(rows):
        turned = [_turn(v, parts[j][k], j * k, n) for j in range(columns)]
        out[k::rows] = transform(v, turned)
    return out


def _turn(v: Vectors, x: Complex, k: int, n: int) -> Complex:
    """x exp(-2 pi i k / n)."""
    eighths, rest = divmod(8 * (k % n), n)
    if rest == 0:
        re, im = x
        if eighths % 2:
            half = v.constant(math.sqrt(0.5))
            re, im = v.mul(half, v.add(re, im)), v.mul(half, v.sub(im, re))
        for _ in range(eighths // 2):
            re, im = im, v.negate(re)
        return re, im
    root = cmath.rect(1.0, -2 * math.pi * (k % n) / n)
    return v.multiply(x, (v.constant(root.real), v.constant(root.imag)))


# ---- passes --------------------------------------------------------------------------------------


class Pass(NamedTuple):
    """Which pass of a radix: without twiddles it is the last, with one column."""

    radix: int = 0
    twiddled: bool = False
    source: str = ROWS
    target: str = ROWS


def emit_radix(b: Builder, element: Element, which: Pass) -> None:
    """The step: a pass of one radix, from rows or columns to rows or columns."""
    v = Vectors(b, element)
    d = load_record(b, fields.ENDS)
    radix, reads, writes = which.radix, which.source != ROWS, which.target != ROWS
    row = 2 * v.bytes
    source = state(b, "input") if reads else state(b, d.source)
    target = state(b, "output") if writes else state(b, d.target)
    step = (d.input_row if reads else row), (d.output_row if writes else row)
    tails = two_tails(b, element, state(b, "lanes")) if reads or writes else ()
    load, store = v.load, v.store
    if reads:
        sign = element.splat(b, narrow(b, element, d.sign))
        load = partial(_load_column, v, tails, sign)
    if writes:
        store = partial(_store_column, v, tails, scales(v, d))
    block = b.mul(state(b, "block"), row)
    turns, coarse = b.offset(d.turns, block), b.offset(d.coarse, block)
    mask = b.sub(b.emit(f"shl i64 1, {d.shift}"), 1)
    apart = b.mul(b.mul(d.columns, d.stride), step[0])  # between rows that one butterfly reads
    near = b.mul(d.stride, step[1])  # between those that it writes
    with b.loop("0", d.columns) as p:
        from_ = b.offset(source, b.mul(p.index, b.mul(d.stride, step[0])))
        to = b.offset(target, b.mul(p.index, b.mul(near, radix)))
        table = b.offset(d.twiddles, b.mul(p.index, 2 * (radix - 1) * element.size))
        with b.loop("0", d.stride) as q:
            x, at = [], b.offset(from_, b.mul(q.index, step[0]))
            for _ in range(radix):
                x.append(load(at))
                at = b.offset(at, apart)
            at = b.offset(to, b.mul(q.index, step[1]))
            for k, y in enumerate(transform(v, x)):
                if which.twiddled and k:
                    root = v.broadcast(table, 2 * k - 2), v.broadcast(table, 2 * k - 1)
                    y = v.multiply(y, root)
                number = b.add(q.index, b.mul(d.stride, k)) if writes else ""
                if which.target == TURNED_TWICE:
                    high = b.emit(f"lshr i64 {number}, {d.shift}")
                    y = v.multiply(y, v.load(b.offset(coarse, b.mul(high, d.turn_row))))
                    number = b.emit(f"and i64 {number}, {mask}")
                if which.target in (TURNED, TURNED_TWICE):
                    y = v.multiply(y, v.load(b.offset(turns, b.mul(number, d.turn_row))))
                store(y, at)
                at = b.offset(at, near)


def _load_column(v: Vectors, tails: tuple, sign: str, at: str) -> Complex:
    """A row of columns; the imaginary parts times a sign."""
    b, element = v.b, v.element
    fetch_next(v, at, False)
    low = element.load(b, at, tails[0])
    high = element.load(b, b.offset(at, v.bytes), tails[1])
    real, imaginary = (
        b.shuffle(low, high, v.type, range(first, 2 * element.width, 2)) for first in (0, 1)
    )
    return real, v.mul(imaginary, sign)


def _store_column(v: Vectors, tails: tuple, factors: str, y: Complex, at: str) -> None:
    """A row of columns, scaled."""
    b, element = v.b, v.element
    fetch_next(v, at, True)
    for k, (tail, picks) in enumerate(zip(tails, interleaved(element), strict=True)):
        value = v.mul(b.shuffle(y[0], y[1], v.type, picks), factors)
        element.store(b, value, b.offset(at, k * v.bytes), tail)


TILE = 4  # coefficients, and as many counted from the end, that a prime's pass sums at a time


def emit_prime(b: Builder, element: Element) -> None:
    """The step: a pass of any odd radix from 11, directly; its cosines and sines are in tables."""
    v = Vectors(b, element)
    d = load_record(b, fields.RADIX)
    source, target, sums = state(b, d.source), state(b, d.target), state(b, "sums")
    row = 2 * v.bytes
    half = b.emit(f"lshr i64 {d.radix}, 1")
    near = b.mul(d.stride, row)
    apart = b.mul(d.columns, near)
    with b.loop("0", d.columns) as p:
        from_ = b.offset(source, b.mul(p.index, near))
        to = b.offset(target, b.mul(p.index, b.mul(near, d.radix)))
        table = b.offset(d.twiddles, b.mul(p.index, b.mul(d.radix, 2 * element.size)))
        with b.loop("0", near, row) as q:
            x, y = b.offset(from_, q.index), b.offset(to, q.index)
            first = v.load(x)
            total = _fold(v, x, apart, d.radix, half, sums, first)
            v.store(total, y)
            with b.loop("0", half, TILE) as k:
                start = b.min(k.index, b.sub(half, TILE))
                even, odd = _sum_tile(v, d.roots, sums, half, start, first)
                for i in range(TILE):
                    _write_two(v, y, near, table, d.radix, b.add(start, i + 1), even[i], odd[i])


def _fold(
    v: Vectors, x: str, apart: str, radix: str, half: str, sums: str, first: Complex
) -> Complex:
    """Write the sums and differences of x[j] and x[n - j]; the sum of all."""
    b = v.b
    with b.loop("0", half, carry=[(v.type, first[0]), (v.type, first[1])]) as j:
        low = v.load(b.offset(x, b.mul(b.add(j.index, 1), apart)))
        high = v.load(b.offset(x, b.mul(b.sub(b.sub(radix, 1), j.index), apart)))
        at = b.offset(sums, b.mul(j.index, 4 * v.bytes))
        plus = v.add(low[0], high[0]), v.add(low[1], high[1])
        v.store(plus, at)
        v.store((v.sub(low[0], high[0]), v.sub(low[1], high[1])), b.offset(at, 2 * v.bytes))
        j.next(v.add(j.values[0], plus[0]), v.add(j.values[1], plus[1]))
    return j.values[0], j.values[1]


def _sum_tile(
    v: Vectors, roots: str, sums: str, half: str, start: str, first: Complex
) -> tuple[list[Complex], list[Complex]]:
    """Sums of cosines times sums, and of sines times differences, for TILE coefficients."""
    b, size = v.b, v.element.size
    initial = [(v.type, part) for _ in range(TILE) for part in first]
    initial += [(v.type, "zeroinitializer")] * (2 * TILE)
    line = b.mul(half, size)
    with b.loop("0", half, carry=initial) as j:
        at = b.offset(sums, b.mul(j.index, 4 * v.bytes))
        plus, minus = v.load(at), v.load(b.offset(at, 2 * v.bytes))
        cosines = b.offset(b.offset(roots, b.mul(b.mul(j.index, 2), line)), b.mul(start, size))
        sines = b.offset(cosines, line)
        values = []
        for i in range(TILE):
            cosine = v.broadcast(cosines, i)
            values += [v.fma(cosine, plus[c], j.values[2 * i + c]) for c in range(2)]
        for i in range(TILE):
            sine = v.broadcast(sines, i)
            values += [v.fma(sine, minus[c], j.values[2 * (TILE + i) + c]) for c in range(2)]
        j.next(*values)
    pairs = [(j.values[2 * i], j.values[2 * i + 1]) for i in range(2 * TILE)]
    return pairs[:TILE], pairs[TILE:]


def _write_two(
    v: Vectors, y: str, near: str, table: str, radix: str, k: str, even: Complex, odd: Complex
) -> None:
    """Coefficients k and n - k, each times its twiddle."""
    b = v.b
    low = v.add(even[0], odd[1]), v.sub(even[1], odd[0])
    high = v.sub(even[0], odd[1]), v.add(even[1], odd[0])
    for number, value in ((k, low), (b.sub(radix, k), high)):
        twice = b.mul(number, 2)
        factor = v.broadcast(table, twice), v.broadcast(table, b.add(twice, 1))
        v.store(v.multiply(value, factor), b.offset(y, b.mul(number, near)))
