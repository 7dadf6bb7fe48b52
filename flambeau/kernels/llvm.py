"""LLVM emission of lowered scalar graphs, over any number of lanes."""

from __future__ import annotations

import struct

from . import dtypes as dt
from . import half
from .graph_emitter import GraphEmitter
from .ir import Builder, float_bits, suffix
from .scalar import Expr

_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_INTEGER = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
_ROUNDING = ("sqrt", "floor", "ceil", "trunc", "rint")
_KNOWS_CONSTANTS = ("mul", "div", "rem", "shl", "shr")  # of integers: quicker by known numbers
_FLOAT_COMPARE = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}


class Emitter(GraphEmitter):
    """Emits graphs of scalars as operations on `lanes` elements at once.

    `streams`: it stores past the caches, to aligned addresses.
    """

    def __init__(self, builder: Builder, lanes: int, streams: bool = False) -> None:
        self.b = builder
        self.lanes = lanes
        self.streams = streams
        self._keeps = True  # constants may stay in registers: not those that are rarely used

    # ---- types and constants ---------------------------------------------------------------------

    def type(self, dtype: str) -> str:
        """LLVM type of a value of this element type."""
        return self._vector(dt.INFO[dtype].llvm)

    def _vector(self, element: str) -> str:
        return f"<{self.lanes} x {element}>" if self.lanes > 1 else element

    def constant(self, value, dtype: str) -> str:
        """A constant in every lane."""
        info = dt.INFO[dtype]
        if dtype == "bf16":
            text = str(_bf16_bits(value))
        elif info.kind == "f":
            text = float_bits(value, info.llvm)
        elif info.kind == "b":
            text = "true" if value else "false"
        else:
            text = str(int(value))
        return f"splat ({info.llvm} {text})" if self.lanes > 1 else text

    def _hold(self, value, dtype: str) -> str:
        """The same in a register, or in memory, where the builder wants it there."""
        text, info = self.constant(value, dtype), dt.INFO[dtype]
        made = info.kind == "b" or value == 0 or (value == -1 and info.kind != "f")  # of nothing
        if self.lanes == 1 or not self.b.keeps or made:
            return text
        registers = -(-self.lanes * info.size // self.b.target.vector_bytes)
        return self.b.constant_vector(self._vector(info.llvm), text, registers, self._keeps)

    def splat(self, value: str, dtype: str) -> str:
        """A scalar in every lane."""
        return self.b.splat(value, dt.INFO[dtype].llvm, self.lanes)

    # ---- operations ------------------------------------------------------------------------------

    def operation(self, e: Expr, args: list[str]) -> str:  # noqa: C901 (a table)
        """One node, its arguments already emitted."""
        kind = dt.kind(e.args[0].dtype) if e.args else dt.kind(e.dtype)
        t = self.type(e.args[0].dtype if e.args else e.dtype)
        op = e.op
        if kind == "f" or op not in _KNOWS_CONSTANTS:
            args = [
                self._hold(a.value, a.dtype) if a.op == "const" else known
                for a, known in zip(e.args, args, strict=True)
            ]
        if op in _FLOAT and kind == "f":
            return self.b.emit(f"{_FLOAT[op]} {t} {args[0]}, {args[1]}")
        if op in _INTEGER:
            return self.b.emit(f"{_INTEGER[op]} {t} {args[0]}, {args[1]}")
        if op in ("div", "rem"):
            return self._integer_division(e, args)
        if op in ("shl", "shr"):
            return self._shift(e, args)
        if op == "cmp":
            return self._compare(e, args)
        if op == "select":
            return self._select(e, args)
        if op == "neg":
            return self.b.emit(
                f"fneg {t} {args[0]}" if kind == "f" else f"sub {t} {self._zero(e)}, {args[0]}"
            )
        if op == "not":
            ones = self.constant(True, "bool") if kind == "b" else self.constant(-1, e.dtype)
            return self.b.emit(f"xor {t} {args[0]}, {ones}")
        if op == "abs":
            return self._absolute(e, args[0])
        if op in _ROUNDING or op in ("fma", "copysign"):
            return self._float_intrinsic(op, e.dtype, args)
        if op == "cast":
            return self.cast(args[0], e.args[0].dtype, e.dtype)
        if op == "bitcast":
            return self.b.emit(f"bitcast {t} {args[0]} to {self.type(e.dtype)}")
        if op == "extern":
            return self._extern(e, args)
        if op == "detach":
            return args[0]
        if op == "ldexp":
            return self._ldexp(e, args)
        raise NotImplementedError(f"no LLVM emission for {op}")

    # ---- single operations -----------------------------------------------------------------------

    def _zero(self, e: Expr) -> str:
        return self.constant(0, e.dtype)

    def _suffix(self, dtype: str) -> str:
        name = suffix(dt.INFO[dtype].llvm)
        return f"v{self.lanes}{name}" if self.lanes > 1 else name

    def _float_intrinsic(self, op: str, dtype: str, args: list[str]) -> str:
        t = self.type(dtype)
        return self.b.intrinsic(f"llvm.{op}.{self._suffix(dtype)}", t, *((t, a) for a in args))

    def _ldexp(self, e: Expr, args: list[str]) -> str:
        t, i = self.type(e.dtype), self.type("i32")
        name = f"llvm.ldexp.{self._suffix(e.dtype)}.{self._suffix('i32')}"
        return self.b.intrinsic(name, t, (t, args[0]), (i, args[1]))

    def _absolute(self, e: Expr, a: str) -> str:
        t = self.type(e.dtype)
        if dt.is_float(e.dtype):
            return self.b.intrinsic(f"llvm.fabs.{self._suffix(e.dtype)}", t, (t, a))
        return self.b.intrinsic(f"llvm.abs.{self._suffix(e.dtype)}", t, (t, a), ("i1", "false"))

    def _compare(self, e: Expr, args: list[str]) -> str:
        dtype = e.args[0].dtype
        t, p = self.type(dtype), e.value
        if dt.is_float(dtype):
            return self.b.emit(f"fcmp {_FLOAT_COMPARE[p]} {t} {args[0]}, {args[1]}")
        sign = "" if p in ("eq", "ne") else ("s" if dt.kind(dtype) == "i" else "u")
        return self.b.emit(f"icmp {sign}{p} {t} {args[0]}, {args[1]}")

    def _select(self, e: Expr, args: list[str]) -> str:
        t = self.type(e.dtype)
        return self.b.emit(f"select {self.type('bool')} {args[0]}, {t} {args[1]}, {t} {args[2]}")

    def rarely(self, e: Expr, leaf, known: dict[Expr, str]) -> str:
        """A branch around the slow value, taken when no lane asks for it; around those of the
        node's company as well."""
        company, bit = self.b.company.get(e, [e]), self.type("bool")
        condition, quick = known[e.args[0]], self.graph([n.args[1] for n in company], leaf, known)
        types = [self.type(n.dtype) for n in company]

        def compute() -> list[str]:
            kept, self._keeps = self._keeps, False
            slow = self.graph([n.args[2] for n in company], leaf, dict(known))
            self._keeps = kept
            return [
                self.b.emit(f"select {bit} {condition}, {t} {s}, {t} {q}")
                for t, s, q in zip(types, slow, quick, strict=True)
            ]

        values = self.b.choose(self.any_lane(condition), compute, lambda: quick, types, rare=True)
        known.update(zip(company, values, strict=True))
        return known[e]

    def any_lane(self, condition: str) -> str:
        """i1: does a bool hold in any lane?"""
        if self.lanes == 1:
            return condition
        name = f"llvm.vector.reduce.or.v{self.lanes}i1"
        return self.b.intrinsic(name, "i1", (self.type("bool"), condition))

    def _integer_division(self, e: Expr, args: list[str]) -> str:
        """Never traps: x / 0 is 0, and the smallest integer / -1 wraps."""
        t, bit = self.type(e.dtype), self.type("bool")
        a, b = args
        signed = dt.kind(e.dtype) == "i"
        zero, one = self.constant(0, e.dtype), self.constant(1, e.dtype)
        is_zero = self.b.emit(f"icmp eq {t} {b}, {zero}")
        unsafe = is_zero
        if signed:
            minus_one = self.b.emit(f"icmp eq {t} {b}, {self.constant(-1, e.dtype)}")
            unsafe = self.b.emit(f"or {bit} {is_zero}, {minus_one}")
        safe = self.b.emit(f"select {bit} {unsafe}, {t} {one}, {t} {b}")
        if self.lanes > 1:
            quotient = self._vector_quotient(e.dtype, a, safe)
            result = quotient
            if e.op == "rem":
                product = self.b.emit(f"mul {t} {quotient}, {safe}")
                result = self.b.emit(f"sub {t} {a}, {product}")
        else:
            result = self.b.emit(f"{'s' if signed else 'u'}{e.op} {t} {a}, {safe}")
        if signed:
            wrapped = self.b.emit(f"sub {t} {zero}, {a}") if e.op == "div" else zero
            result = self.b.emit(f"select {bit} {minus_one}, {t} {wrapped}, {t} {result}")
        return self.b.emit(f"select {bit} {is_zero}, {t} {zero}, {t} {result}")

    def _vector_quotient(self, dtype: str, a: str, b: str) -> str:
        """a / b rounded towards zero for b other than 0 and -1, by floating-point division.

        With p bits of precision a quotient of numbers below 2**(p - 1) is never rounded up to the
        next integer: that is further away than a * 2**-p / b.
        """
        size = dt.INFO[dtype].size
        if size < 8:
            return self._quotient_by(dtype, "f32" if size < 4 else "f64", a, b)
        t = self.type(dtype)
        both = self.b.emit(f"or {t} {self._magnitude(dtype, a)}, {self._magnitude(dtype, b)}")
        wide = self.b.emit(f"icmp uge {t} {both}, {self.constant(1 << 52, dtype)}")
        return self.b.choose(
            self.any_lane(wide),
            lambda: [self._wide_quotient(dtype, a, b)],
            lambda: [self._quotient_by(dtype, "f64", a, b)],
            [t],
            rare=True,
        )[0]

    def _quotient_by(self, dtype: str, real: str, a: str, b: str) -> str:
        x, y = self.cast(a, dtype, real), self.cast(b, dtype, real)
        return self.cast(self.b.emit(f"fdiv {self.type(real)} {x}, {y}"), real, dtype)

    def _magnitude(self, dtype: str, a: str) -> str:
        """|a| as an unsigned number."""
        if dt.kind(dtype) == "u":
            return a
        t = self.type(dtype)
        return self.b.intrinsic(f"llvm.abs.{self._suffix(dtype)}", t, (t, a), ("i1", "false"))

    def _wide_quotient(self, dtype: str, a: str, b: str) -> str:
        """Of 64-bit integers: two quotients rounded down a little, then at most one more."""
        t, bit = self.type("u64"), self.type("bool")
        x, y = self._magnitude(dtype, a), self._magnitude(dtype, b)
        total, rest = self.constant(0, "u64"), x
        for _ in range(2):
            ratio = self.b.emit(
                f"fdiv {self.type('f64')} {self.cast(rest, 'u64', 'f64')}, "
                f"{self.cast(y, 'u64', 'f64')}"
            )
            below = self.b.emit(
                f"fmul {self.type('f64')} {ratio}, {self.constant(1 - 2.0**-51, 'f64')}"
            )
            part = self.cast(below, "f64", "u64")
            total = self.b.emit(f"add {t} {total}, {part}")
            rest = self.b.emit(f"sub {t} {rest}, {self.b.emit(f'mul {t} {part}, {y}')}")
        more = self.b.emit(f"icmp uge {t} {rest}, {y}")
        total = self.b.emit(f"add {t} {total}, {self.b.emit(f'zext {bit} {more} to {t}')}")
        if dt.kind(dtype) == "u":
            return total
        signs = self.b.emit(f"xor {t} {a}, {b}")
        negative = self.b.emit(f"icmp slt {t} {signs}, {self.constant(0, 'i64')}")
        minus = self.b.emit(f"sub {t} {self.constant(0, 'u64')}, {total}")
        return self.b.emit(f"select {bit} {negative}, {t} {minus}, {t} {total}")

    def _shift(self, e: Expr, args: list[str]) -> str:
        """Amounts outside 0..bits-1 shift everything out, as in PyTorch."""
        t, bit = self.type(e.dtype), self.type("bool")
        bits = dt.INFO[e.dtype].size * 8
        signed = dt.kind(e.dtype) == "i"
        name = "shl" if e.op == "shl" else ("ashr" if signed else "lshr")
        if e.args[1].op == "const" and 0 <= e.args[1].value < bits:
            return self.b.emit(f"{name} {t} {args[0]}, {args[1]}")
        last = self.constant(bits - 1, e.dtype)
        wild = self.b.emit(f"icmp ugt {t} {args[1]}, {last}")
        amount = self.b.emit(f"select {bit} {wild}, {t} {last}, {t} {args[1]}")
        shifted = self.b.emit(f"{name} {t} {args[0]}, {amount}")
        if name == "ashr":
            return shifted
        return self.b.emit(f"select {bit} {wild}, {t} {self.constant(0, e.dtype)}, {t} {shifted}")

    def _extern(self, e: Expr, args: list[str]) -> str:
        element = dt.INFO[e.dtype].llvm
        types = ", ".join([element] * len(args))
        self.b.declare(e.value, f"declare {element} @{e.value}({types})")
        if self.lanes == 1:
            return self.b.emit(
                f"call {element} @{e.value}({', '.join(f'{element} {a}' for a in args)})"
            )
        vector, result = self.type(e.dtype), "poison"
        for lane in range(self.lanes):
            picks = [self.b.emit(f"extractelement {vector} {a}, i32 {lane}") for a in args]
            one = self.b.emit(
                f"call {element} @{e.value}({', '.join(f'{element} {p}' for p in picks)})"
            )
            result = self.b.emit(f"insertelement {vector} {result}, {element} {one}, i32 {lane}")
        return result

    # ---- conversions -----------------------------------------------------------------------------

    def cast(self, value: str, source: str, target: str) -> str:
        """Convert between real element types (bool, integers, floats)."""
        if source == target:
            return value
        if source == "bf16":
            return self.cast(self._from_bf16(value), "f32", target)
        if target == "bf16":
            return half.float_to_bfloat(self.b, self.cast(value, source, "f32"), self.lanes)
        a, b = dt.INFO[source], dt.INFO[target]
        if "f16" in (source, target) and "f32" not in (source, target):
            return self.cast(self.cast(value, source, "f32"), "f32", target)
        if b.kind == "b":
            if a.kind == "f":
                return self.b.emit(
                    f"fcmp une {self.type(source)} {value}, {self.constant(0, source)}"
                )
            return self.b.emit(f"icmp ne {self.type(source)} {value}, {self.constant(0, source)}")
        if a.kind == "f" and b.kind == "f":
            return self._resize(value, source, target)
        if a.kind == "f":
            return self._float_to_integer(value, source, target)
        if b.kind == "f":
            return self._convert("sitofp" if a.kind == "i" else "uitofp", value, source, target)
        if a.kind != "b" and a.size == b.size:
            return value
        if a.kind == "b" or a.size < b.size:
            return self._convert("sext" if a.kind == "i" else "zext", value, source, target)
        return self._convert("trunc", value, source, target)

    def _resize(self, value: str, source: str, target: str) -> str:
        """Between float types; halves by integer arithmetic where LLVM would call a library."""
        if "f16" in (source, target) and not half.converts_half(self.b.target):
            convert = half.half_to_float if source == "f16" else half.float_to_half
            return convert(self.b, value, self.lanes)
        wider = dt.INFO[source].size < dt.INFO[target].size
        return self._convert("fpext" if wider else "fptrunc", value, source, target)

    def _convert(self, op: str, value: str, source: str, target: str) -> str:
        return self.b.emit(f"{op} {self.type(source)} {value} to {self.type(target)}")

    def _float_to_integer(self, value: str, source: str, target: str) -> str:
        # Out-of-range results are whatever the machine gives; freeze keeps them from being poison.
        if target == "u64":
            wide = self._convert("fptoui", value, source, "u64")
            return self.b.emit(f"freeze {self.type('u64')} {wide}")
        middle = "i64" if target in ("i64", "u32") else "i32"
        wide = self._convert("fptosi", value, source, middle)
        wide = self.b.emit(f"freeze {self.type(middle)} {wide}")
        return self.cast(wide, middle, target)

    def _from_bf16(self, value: str) -> str:
        wide = self.b.emit(f"zext {self.type('i16')} {value} to {self.type('i32')}")
        shifted = self.b.emit(f"shl {self.type('i32')} {wide}, {self.constant(16, 'i32')}")
        return self.b.emit(f"bitcast {self.type('i32')} {shifted} to {self.type('f32')}")

    # ---- memory ----------------------------------------------------------------------------------

    def load(self, dtype: str, pointer: str, mask: str | None = None) -> str:
        """`lanes` adjacent elements of a real type."""
        info = dt.INFO[dtype]
        element = "i8" if info.kind == "b" else info.llvm
        if mask is not None:
            value = self.b.masked_load(element, self.lanes, pointer, mask, info.size)
        elif element == "half" and self.lanes == 1:
            return self._load_half(pointer)
        else:
            value = self.b.load(self._vector(element), pointer, info.size)
        if info.kind != "b":
            return value
        t = self.type("u8")
        return self.b.emit(f"icmp ne {t} {value}, {self.constant(0, 'u8')}")

    def _load_half(self, pointer: str) -> str:
        """One half, by way of an integer: into a vector's lowest lane it would be inserted, and
        wait for what was in the others."""
        wide = self.b.emit(f"zext i16 {self.b.load('i16', pointer, 2)} to i32")
        pair = self.b.emit(f"bitcast i32 {wide} to <2 x half>")
        return self.b.emit(f"extractelement <2 x half> {pair}, i32 0")

    def store(self, value: str, dtype: str, pointer: str, mask: str | None = None) -> None:
        """Store `lanes` adjacent elements of a real type."""
        info = dt.INFO[dtype]
        element = info.llvm
        if info.kind == "b":
            value = self.b.emit(f"zext {self.type('bool')} {value} to {self.type('u8')}")
            element = "i8"
        if mask is not None:
            self.b.masked_store(element, self.lanes, value, pointer, mask, info.size)
        elif self.streams:
            self.b.stream(self._vector(element), value, pointer, self.lanes * info.size)
        else:
            self.b.store(self._vector(element), value, pointer, info.size)

    def load_pair(self, dtype: str, pointer: str) -> tuple[str, str]:
        """Adjacent complex elements as (real parts, imaginary parts)."""
        part = dt.INFO[dt.COMPLEX_PART[dtype]]
        if self.lanes == 1:
            second = self.b.offset(pointer, 1, part.llvm)
            return self.b.load(part.llvm, pointer, part.size), self.b.load(
                part.llvm, second, part.size
            )
        t = f"<{2 * self.lanes} x {part.llvm}>"
        both = self.b.load(t, pointer, part.size)
        even = self.b.shuffle(both, "poison", t, range(0, 2 * self.lanes, 2))
        return even, self.b.shuffle(both, "poison", t, range(1, 2 * self.lanes, 2))

    def store_pair(self, values: tuple[str, str], dtype: str, pointer: str) -> None:
        """Store adjacent complex elements."""
        part = dt.INFO[dt.COMPLEX_PART[dtype]]
        if self.lanes == 1:
            self.b.store(part.llvm, values[0], pointer, part.size)
            self.b.store(part.llvm, values[1], self.b.offset(pointer, 1, part.llvm), part.size)
            return
        t = f"<{self.lanes} x {part.llvm}>"
        order = [k // 2 + (k % 2) * self.lanes for k in range(2 * self.lanes)]
        both = self.b.shuffle(values[0], values[1], t, order)
        self.b.store(f"<{2 * self.lanes} x {part.llvm}>", both, pointer, part.size)

    def load_strided(self, dtype: str, pointer: str, step: str) -> str:
        """`lanes` elements of a real type that lie `step` bytes apart."""
        info = dt.INFO[dtype]
        element = "i8" if info.kind == "b" else info.llvm
        t = self._vector(element)
        value = "poison"
        for lane, at in enumerate(self._places(pointer, step)):
            one = self.b.load(element, at, info.size)
            value = self.b.emit(f"insertelement {t} {value}, {element} {one}, i32 {lane}")
        if info.kind != "b":
            return value
        return self.b.emit(f"icmp ne {t} {value}, zeroinitializer")

    def store_strided(self, value: str, dtype: str, pointer: str, step: str) -> None:
        """Store `lanes` elements of a real type `step` bytes apart."""
        info = dt.INFO[dtype]
        element, t = info.llvm, self.type(dtype)
        if info.kind == "b":
            value = self.b.emit(f"zext {t} {value} to {self.type('u8')}")
            element, t = "i8", self.type("u8")
        for lane, at in enumerate(self._places(pointer, step)):
            one = self.b.emit(f"extractelement {t} {value}, i32 {lane}")
            self.b.store(element, one, at, info.size)

    def _places(self, pointer: str, step: str) -> list[str]:
        """The lanes' addresses, in groups of four that the machine's addressing modes cover."""
        double, triple = self.b.mul(step, 2), self.b.mul(step, 3)
        places = []
        for _ in range(0, self.lanes, 4):
            places += [pointer, *(self.b.offset(pointer, s) for s in (step, double, triple))]
            pointer = self.b.offset(pointer, self.b.mul(step, 4))
        return places[: self.lanes]

    def numbers(self, first: str) -> str:
        """first, first + 1, ... (i64), one a lane."""
        if self.lanes == 1:
            return first
        t = self.type("i64")
        iota = "<" + ", ".join(f"i64 {k}" for k in range(self.lanes)) + ">"
        return self.b.emit(f"add {t} {self.b.splat(first, 'i64', self.lanes)}, {iota}")


def _bf16_bits(value: float) -> int:
    """The upper half of the float32, to nearest even."""
    bits = int(float_bits(value, "float"), 16)  # of the double that has the float's value
    single = struct.unpack(
        "<I", struct.pack("<f", struct.unpack("<d", struct.pack("<Q", bits))[0])
    )[0]
    return 0x7FC0 if value != value else (single + 0x7FFF + ((single >> 16) & 1)) >> 16


def maskable(nodes: list[Expr]) -> bool:
    """May lanes beyond the end be computed on zeros and thrown away? Not where work is done lane
    by lane."""
    return not any(n.op in ("extern", "input_part") or dt.is_complex(n.dtype) for n in nodes)


def divides_integers(nodes: list[Expr], size: int = 0) -> bool:
    """Is there a division of integers (of that many bytes)?"""
    return any(
        n.op in ("div", "rem")
        and not dt.is_float(n.dtype)
        and (not size or dt.INFO[n.dtype].size == size)
        for n in nodes
    )


def cost(nodes: list[Expr]) -> int:
    """A rough count of instructions a lane needs, to choose unrolling and parallel grain."""
    weights = {"div": 4, "sqrt": 4, "extern": 40, "rem": 8, "input": 0, "const": 0}
    return sum(weights.get(n.op, 1) for n in nodes)
