"""Transforms of n = 2 h real numbers from complex ones of length h, and back.

With z[j] = x[2 j] + i x[2 j + 1], E[k] = Z[k] + conj(Z[h - k]), D[k] = Z[k] - conj(Z[h - k]) and
u = -i exp(-2 pi i k / n),

    2 X[k] = E[k] + u D[k],    2 X[h - k] = conj(E[k] - u D[k]);

the same with conj(u) leads from X back to Z. Coefficients 0 and h of X are real and belong to
Z[0].
"""

from __future__ import annotations

from collections.abc import Callable

from . import fourier_fields as fields
from .element import Element
from .fourier_vectors import Complex, Vectors, load_record, narrow, state
from .ir import Builder


def emit_turn(b: Builder, element: Element) -> None:
    """The step: from rows to rows. `sign` is -1 where the input's conjugate is meant."""
    v = Vectors(b, element)
    d = load_record(b, fields.TURN)
    source, target = state(b, d.source), state(b, d.target)
    sign = element.splat(b, narrow(b, element, d.sign))
    row = 2 * v.bytes

    def write(value: Complex, number: str) -> None:
        at = b.offset(target, b.mul(number, row))
        v.store_part(value[0], b.offset(at, d.real))
        v.store_part(value[1], b.offset(at, d.imaginary))

    first = v.load(source)
    last = v.load_part(b.offset(source, b.mul(d.half, row)))
    _turn_ends(v, d, first, last, write)
    middle = b.add(b.emit(f"lshr i64 {d.half}, 1"), 1)
    with b.loop("1", middle) as k:
        other = b.sub(d.half, k.index)
        x = v.load(b.offset(source, b.mul(k.index, row)))
        y = v.load(b.offset(source, b.mul(other, row)))
        x, y = (x[0], v.mul(x[1], sign)), (y[0], v.mul(y[1], sign))
        twice = b.mul(k.index, 2)
        factor = v.broadcast(d.twiddles, twice), v.broadcast(d.twiddles, b.add(twice, 1))
        even = v.add(x[0], y[0]), v.sub(x[1], y[1])
        odd = v.multiply((v.sub(x[0], y[0]), v.add(x[1], y[1])), factor)
        write((v.add(even[0], odd[0]), v.add(even[1], odd[1])), k.index)
        write((v.sub(even[0], odd[0]), v.sub(odd[1], even[1])), other)


def _turn_ends(v: Vectors, d, first: Complex, last: str, write: Callable) -> None:
    """Forward: coefficients 0 and h, twice; backward: Z[0] from their real parts."""
    b = v.b

    def forward() -> None:
        for number, value in (("0", v.add(*first)), (d.half, v.sub(*first))):
            write((v.add(value, value), "zeroinitializer"), number)

    def backward() -> None:
        write((v.add(first[0], last), v.sub(first[0], last)), "0")

    b.choose(b.emit(f"icmp eq i64 {d.backward}, 0"), forward, backward)


def emit_turn_line(b: Builder, element: Element) -> None:
    """The step: from one line to another, by vectors of neighbours; h is at least a vector's
    complex numbers twice."""
    v = Vectors(b, element)
    d = load_record(b, fields.TURN_LINE)
    source, target = state(b, "input"), state(b, "output")
    group, width, size = element.width // 2, element.width, 2 * element.size
    scale = [narrow(b, element, x) for x in (d.scale_real, d.scale_imaginary)]
    wide = [element.splat(b, x) for x in scale]
    scales = b.shuffle(wide[0], wide[1], v.type, [k + width * (k % 2) for k in range(width)])
    signs = _conjugate(v, element.splat(b, narrow(b, element, d.sign)))
    minus = _conjugate(v, v.constant(-1.0))

    _turn_line_ends(v, d, source, target, scale)
    middle = b.add(b.emit(f"lshr i64 {d.half}, 1"), 1)
    with b.loop("1", middle, group) as k:
        start = b.min(k.index, b.sub(middle, group))
        start = b.max(start, "1")
        other = b.sub(b.sub(d.half, start), group - 1)
        backwards = [2 * (group - 1 - p // 2) + p % 2 for p in range(width)]
        x = b.load(v.type, b.offset(source, b.mul(start, size)), element.size)
        y = b.load(v.type, b.offset(source, b.mul(other, size)), element.size)
        y = b.shuffle(y, y, v.type, backwards)
        x, y = v.mul(x, signs), v.mul(v.mul(y, signs), minus)
        even, odd = v.add(x, y), v.sub(x, y)
        w = b.load(v.type, b.offset(d.twiddles, b.mul(start, size)), element.size)
        odd = _multiply(v, odd, w)
        low, high = v.add(even, odd), v.mul(v.sub(even, odd), minus)
        high = b.shuffle(high, high, v.type, backwards)
        for value, at in ((low, start), (high, other)):
            to = b.offset(target, b.mul(at, size))
            b.store(v.type, v.mul(value, scales), to, element.size)


def _turn_line_ends(v: Vectors, d, source: str, target: str, scale: list[str]) -> None:
    b, part, size = v.b, v.element.part, v.element.size
    first = [b.load(part, b.offset(source, k * size), size) for k in range(2)]
    last = b.load(part, b.offset(source, b.mul(d.half, 2 * size)), size)

    def op(name: str, x: str, y: str) -> str:
        return b.emit(f"{name} {part} {x}, {y}")

    def write(number: str, re: str, im: str) -> None:
        to = b.offset(target, b.mul(number, 2 * size))
        b.store(part, op("fmul", re, scale[0]), to, size)
        b.store(part, op("fmul", im, scale[1]), b.offset(to, size), size)

    def forward() -> None:
        for number, name in (("0", "fadd"), (d.half, "fsub")):
            value = op(name, *first)
            write(number, op("fadd", value, value), f"{0.0:e}")

    def backward() -> None:
        write("0", op("fadd", first[0], last), op("fsub", first[0], last))

    b.choose(b.emit(f"icmp eq i64 {d.backward}, 0"), forward, backward)


def _conjugate(v: Vectors, sign: str) -> str:
    """1 for real parts, `sign` for imaginary ones."""
    width = v.element.width
    return v.b.shuffle(v.constant(1.0), sign, v.type, [k + width * (k % 2) for k in range(width)])


def _multiply(v: Vectors, x: str, w: str) -> str:
    """Products of complex numbers that lie interleaved."""
    b, width = v.b, v.element.width
    real = b.shuffle(w, w, v.type, [k - k % 2 for k in range(width)])
    imaginary = b.shuffle(w, w, v.type, [k - k % 2 + 1 for k in range(width)])
    swapped = b.shuffle(x, x, v.type, [k ^ 1 for k in range(width)])
    crossed = v.mul(v.mul(swapped, imaginary), v.negate(_conjugate(v, v.constant(-1.0))))
    return v.fma(x, real, crossed)
