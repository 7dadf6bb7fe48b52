"""Vectors of one element type, for the kernels written by hand: products, convolution, pooling.

A *cell* is what one multiply-accumulate chain keeps in registers: one vector for real types, two
for complex ones (products with the real and with the imaginary part of the scalar factor).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from . import dtypes as dt
from .half import converts_half, float_to_half, half_to_float
from .ir import Builder, float_bits, suffix
from .target import Target

_BYTES = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "half": 2, "float": 4, "double": 8}


class Tail(NamedTuple):
    """The first `parts` parts of a vector; `mask` where the target has masked memory access."""

    parts: str
    mask: str | None


class Element:
    """One element type on one target: how it is loaded, stored, multiplied and added.

    Half types are computed in float32, bool in bytes with `and` for product and `or` for sum.
    """

    def __init__(self, dtype: str, target: Target) -> None:
        info = dt.INFO[dtype]
        self.dtype, self.target, self.kind = dtype, target, info.kind
        self.size = info.size
        self.complex = info.kind == "c"
        part = dt.INFO[dt.COMPLEX_PART.get(dtype, dtype)]
        self.stored = "i8" if info.kind == "b" else part.llvm  # of one part, in memory
        self.part = dt.INFO[dt.opmath(part.name)].llvm if part.kind == "f" else self.stored
        self.floating = part.kind == "f"
        self.cells = 2 if self.complex else 1
        self.width = target.vector_bytes // _BYTES[self.part]  # parts in a vector
        self.lanes = self.width // self.cells  # elements in a vector
        self.vector = f"<{self.width} x {self.part}>"
        self.zero = "zeroinitializer"
        self.masked = target.masked or (target.name == "avx2" and _BYTES[self.stored] in (4, 8))

    @property
    def compute(self) -> Element:
        """The element type values have in registers and in workspaces."""
        return self if dt.opmath(self.dtype) == self.dtype else Element("f32", self.target)

    # ---- memory ----------------------------------------------------------------------------------

    def tail(self, b: Builder, count: str) -> Tail:
        """For vectors of which only the first `count` elements (any number) are to be touched."""
        parts = b.mul(count, self.cells)
        return Tail(parts, b.lanes_below(parts, self.width) if self.masked else None)

    def load(self, b: Builder, pointer: str, tail: Tail | None = None) -> str:
        """A vector in the compute type, zeros beyond the tail."""
        raw = f"<{self.width} x {self.stored}>"
        align = _BYTES[self.stored]
        if tail is None:
            value = b.load(raw, pointer, align)
        elif tail.mask is not None:
            value = b.masked_load(self.stored, self.width, pointer, tail.mask, align)
        else:
            buffer = b.stack(raw)
            b.store(raw, "zeroinitializer", buffer, 64)
            self._copy_parts(b, buffer, pointer, tail.parts)
            value = b.load(raw, buffer, 64)
        return self.widen(b, value, self.width)

    def store(self, b: Builder, value: str, pointer: str, tail: Tail | None = None) -> None:
        """Store a vector of the compute type, only the elements before the tail's end."""
        raw = f"<{self.width} x {self.stored}>"
        align = _BYTES[self.stored]
        value = self.narrow(b, value, self.width)
        if tail is None:
            b.store(raw, value, pointer, align)
        elif tail.mask is not None:
            b.masked_store(self.stored, self.width, value, pointer, tail.mask, align)
        else:
            buffer = b.stack(raw)
            b.store(raw, value, buffer, 64)
            self._copy_parts(b, pointer, buffer, tail.parts)

    def hand_over(self, b: Builder, value: str, pointer: str, far: str | None) -> None:
        """Store a vector that another thread reads next, aligned; `far`: see Builder.hand_over."""
        raw, align = f"<{self.width} x {self.stored}>", self.width * _BYTES[self.stored]
        b.hand_over(raw, self.narrow(b, value, self.width), pointer, align, far)

    def _copy_parts(self, b: Builder, to: str, source: str, count: str) -> None:
        size = _BYTES[self.stored]
        with b.loop("0", b.max("0", b.min(count, str(self.width)))) as k:
            at = b.mul(k.index, size)
            b.store(
                self.stored, b.load(self.stored, b.offset(source, at), size), b.offset(to, at), size
            )

    @property
    def gathers(self) -> bool:
        """Does one instruction load vectors of elements that lie apart?"""
        return self.target.gather and self.compute is self and _BYTES[self.stored] >= 4

    def gather(self, b: Builder, pointer: str, numbers: str, mask: str) -> str:
        """The real elements with the given numbers (i32) from a pointer; zeros beside the mask.

        For types that are computed in as they are stored.
        """
        lanes = self.width
        at = b.emit(f"getelementptr {self.part}, ptr {pointer}, <{lanes} x i32> {numbers}")
        return b.intrinsic(
            f"llvm.masked.gather.v{lanes}{suffix(self.part)}.v{lanes}p0",
            self.vector,
            (f"<{lanes} x ptr>", at),
            ("i32", str(self.size)),
            (f"<{lanes} x i1>", mask),
            (self.vector, self.zero),
        )

    def load_parts(self, b: Builder, pointer: str) -> list[str]:
        """One element as scalars of the compute type: [value], or [real, imaginary]."""
        size = _BYTES[self.stored]
        found = []
        for k in range(self.cells):
            raw = b.load(self.stored, b.offset(pointer, k * size), size)
            found.append(self.widen(b, raw, 1))
        return found

    def store_parts(self, b: Builder, parts: Sequence[str], pointer: str) -> None:
        """Store one element given as scalars of the compute type."""
        size = _BYTES[self.stored]
        for k, part in enumerate(parts):
            b.store(self.stored, self.narrow(b, part, 1), b.offset(pointer, k * size), size)

    def copy_one(self, b: Builder, source: str, to: str, into: Element) -> None:
        """*to = *source, one element, stored as `into` (this type or its compute type)."""
        into.store_parts(b, self.load_parts(b, source), to)

    # ---- conversion between the stored and the compute type --------------------------------------

    def widen(self, b: Builder, value: str, lanes: int) -> str:
        """From the stored type to the compute type."""
        if self.dtype == "f16" and not converts_half(self.target):
            return half_to_float(b, value, lanes)
        if self.dtype == "f16":
            return b.emit(f"fpext {_vec('half', lanes)} {value} to {_vec('float', lanes)}")
        if self.dtype == "bf16":
            bits = _vec("i32", lanes)
            wide = b.emit(f"zext {_vec('i16', lanes)} {value} to {bits}")
            high = b.emit(f"shl {bits} {wide}, {_const('i32', 16, lanes)}")
            return b.emit(f"bitcast {bits} {high} to {_vec('float', lanes)}")
        return value

    def narrow(self, b: Builder, value: str, lanes: int) -> str:
        """From the compute type to the stored type, to nearest even."""
        if self.dtype == "f16" and not converts_half(self.target):
            return float_to_half(b, value, lanes)
        if self.dtype == "f16":
            return b.emit(f"fptrunc {_vec('float', lanes)} {value} to {_vec('half', lanes)}")
        if self.dtype == "bf16":
            return self._round_bfloat(b, value, lanes)
        return value

    def _round_bfloat(self, b: Builder, value: str, lanes: int) -> str:
        floats, bits = _vec("float", lanes), _vec("i32", lanes)
        raw = b.emit(f"bitcast {floats} {value} to {bits}")
        high = b.emit(f"lshr {bits} {raw}, {_const('i32', 16, lanes)}")
        odd = b.emit(f"and {bits} {high}, {_const('i32', 1, lanes)}")
        bias = b.emit(f"add {bits} {odd}, {_const('i32', 0x7FFF, lanes)}")
        rounded = b.emit(f"add {bits} {raw}, {bias}")
        top = b.emit(f"lshr {bits} {rounded}, {_const('i32', 16, lanes)}")
        is_nan = b.emit(f"fcmp uno {floats} {value}, {value}")
        # Rounding up could carry a NaN into infinity: give the quiet NaN instead.
        quiet = _const("i32", 0x7FC0, lanes)
        chosen = b.emit(f"select {_vec('i1', lanes)} {is_nan}, {bits} {quiet}, {bits} {top}")
        return b.emit(f"trunc {bits} {chosen} to {_vec('i16', lanes)}")

    # ---- arithmetic on vectors of the compute type -----------------------------------------------

    def splat(self, b: Builder, scalar: str) -> str:
        """A scalar part in every lane."""
        return b.splat(scalar, self.part, self.width)

    def broadcast(self, b: Builder, pointer: str) -> list[str]:
        """One element, each of its parts in every lane: the scalar factor of `multiply_add`."""
        return [self.splat(b, part) for part in self.load_parts(b, pointer)]

    def multiply_add(
        self, b: Builder, factor: Sequence[str], vector: str, cell: Sequence[str]
    ) -> list[str]:
        """The cell after adding factor * vector."""
        return [self._fma(b, f, vector, c) for f, c in zip(factor, cell, strict=True)]

    def finish(self, b: Builder, cell: Sequence[str]) -> str:
        """The sum of products that a cell holds, as one vector of elements."""
        if not self.complex:
            return cell[0]
        # cell[1] holds imag(a) * (re, im) pairs; its contribution is (-im, re).
        swap = [k ^ 1 for k in range(self.width)]
        turned = b.shuffle(cell[1], cell[1], self.vector, swap)
        negated = b.emit(f"fneg {self.vector} {turned}")
        picks = [k if k % 2 else self.width + k for k in range(self.width)]
        return self.add(b, cell[0], b.shuffle(turned, negated, self.vector, picks))

    def empty_cell(self) -> list[str]:
        """A cell that holds zero."""
        return [self.zero] * self.cells

    def _fma(self, b: Builder, x: str, y: str, z: str) -> str:
        return fma(b, self.kind, self.part, self.width, x, y, z)

    def add(self, b: Builder, x: str, y: str) -> str:
        """x + y (bool: or)."""
        op = "fadd" if self.floating else "or" if self.kind == "b" else "add"
        return b.emit(f"{op} {self.vector} {x}, {y}")

    def add_parts(self, b: Builder, x: Sequence[str], y: Sequence[str]) -> list[str]:
        """x + y for elements given as scalars."""
        op = "fadd" if self.floating else "or" if self.kind == "b" else "add"
        return [b.emit(f"{op} {self.part} {u}, {v}") for u, v in zip(x, y, strict=True)]

    def multiply_add_parts(
        self, b: Builder, x: Sequence[str], y: Sequence[str], z: Sequence[str]
    ) -> list[str]:
        """x * y + z for elements given as scalars."""
        if not self.complex:
            return [fma(b, self.kind, self.part, 1, x[0], y[0], z[0])]
        real = fma(b, "f", self.part, 1, x[0], y[0], z[0])
        minus = b.emit(f"fneg {self.part} {x[1]}")
        real = fma(b, "f", self.part, 1, minus, y[1], real)
        imag = fma(b, "f", self.part, 1, x[0], y[1], z[1])
        return [real, fma(b, "f", self.part, 1, x[1], y[0], imag)]

    def relu(self, b: Builder, x: str) -> str:
        """max(x, 0), NaN where x is NaN."""
        if self.kind in "ub":
            return x
        test = "fcmp olt" if self.floating else "icmp slt"
        negative = b.emit(f"{test} {self.vector} {x}, {self.zero}")
        return b.emit(
            f"select <{self.width} x i1> {negative}, {self.vector} {self.zero}, {self.vector} {x}"
        )

    def relu_parts(self, b: Builder, parts: Sequence[str]) -> list[str]:
        """max(x, 0) of one real element."""
        if self.kind in "ub" or self.complex:
            return list(parts)
        zero = zero_of(self.part)
        test = "fcmp olt" if self.floating else "icmp slt"
        negative = b.emit(f"{test} {self.part} {parts[0]}, {zero}")
        return [b.select(negative, self.part, zero, parts[0])]

    def zero_parts(self) -> list[str]:
        """One element equal to zero, as scalars."""
        return [zero_of(self.part)] * self.cells

    def sum_lanes(self, b: Builder, cell: Sequence[str]) -> list[str]:
        """The sum of all elements of a vector of *elementwise* products, as scalars."""
        width = self.width
        names = {"float": "f32", "double": "f64"}
        for_floats = self.floating
        suffix = f"v{width}{names.get(self.part, self.part)}"
        if for_floats:
            name = f"llvm.vector.reduce.fadd.{suffix}"
            b.declare(name, f"declare {self.part} @{name}({self.part}, {self.vector})")
            zero = float_bits(0.0, self.part)
            return [
                b.emit(f"call reassoc {self.part} @{name}({self.part} {zero}, {self.vector} {v})")
                for v in cell
            ]
        word = "or" if self.kind == "b" else "add"
        return [
            b.intrinsic(f"llvm.vector.reduce.{word}.{suffix}", self.part, (self.vector, cell[0]))
        ]


def fma(b: Builder, kind: str, part: str, width: int, x: str, y: str, z: str) -> str:
    """x * y + z on scalars or vectors of a part; fused where the target can."""
    vector = _vec(part, width)
    if kind == "b":
        return b.emit(f"or {vector} {b.emit(f'and {vector} {x}, {y}')}, {z}")
    if kind in "iu":
        return b.emit(f"add {vector} {b.emit(f'mul {vector} {x}, {y}')}, {z}")
    if b.target.name == "sse":  # would become a library call
        return b.emit(f"fadd {vector} {b.emit(f'fmul {vector} {x}, {y}')}, {z}")
    suffix = {"float": "f32", "double": "f64"}[part]
    name = f"llvm.fma.v{width}{suffix}" if width > 1 else f"llvm.fma.{suffix}"
    return b.intrinsic(name, vector, (vector, x), (vector, y), (vector, z))


def transpose(b: Builder, rows: Sequence[str], llvm_type: str, width: int) -> list[str]:
    """A square of `width` vectors of `width` lanes, transposed in registers."""
    rows, distance = list(rows), 1
    while distance < width:
        low = [k if not k & distance else (k ^ distance) + width for k in range(width)]
        high = [(k | distance) if not k & distance else k + width for k in range(width)]
        for i in range(width):
            if not i & distance:
                x, y = rows[i], rows[i | distance]
                rows[i] = b.shuffle(x, y, llvm_type, low)
                rows[i | distance] = b.shuffle(x, y, llvm_type, high)
        distance *= 2
    return rows


def transpose_sum(b: Builder, element: Element, vectors: Sequence[str]) -> str:
    """One vector whose lane k is the sum of the lanes of vector k; zeros for vectors not given."""
    width = element.width
    rows, distance = [*vectors, *["zeroinitializer"] * (width - len(vectors))], 1
    while distance < width:
        low = [k if not k & distance else (k ^ distance) + width for k in range(width)]
        high = [(k | distance) if not k & distance else k + width for k in range(width)]
        following = []
        for x, y in zip(rows[::2], rows[1::2], strict=True):
            if x == y == "zeroinitializer":
                following.append("zeroinitializer")
                continue
            left = b.shuffle(x, y, element.vector, low)
            following.append(element.add(b, left, b.shuffle(x, y, element.vector, high)))
        rows, distance = following, distance * 2
    return rows[0]


def zero_of(part: str) -> str:
    """The constant zero of a scalar type."""
    return float_bits(0.0, part) if part in ("float", "double", "half") else "0"


def _vec(element: str, lanes: int) -> str:
    return f"<{lanes} x {element}>" if lanes > 1 else element


def _const(element: str, value: int, lanes: int) -> str:
    return f"splat ({element} {value})" if lanes > 1 else str(value)
