"""Scalar graphs in the C dialect: one statement a value, in the words of the prelude."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from . import dtypes as dt
from .graph_emitter import GraphEmitter
from .scalar import Expr, Number

_ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_BITS = {"and": "&", "or": "|", "xor": "^"}
_COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_FUNCTIONS = ("sqrt", "floor", "ceil", "trunc", "rint", "fma", "abs", "copysign", "ldexp")


def storage(dtype: str) -> str:
    """The C type an element has in memory; of a complex number, each of its parts."""
    dtype = dt.COMPLEX_PART.get(dtype, dtype)
    return {"bool": "u8", "f16": "f16s", "bf16": "u16"}.get(dtype, dtype)


def register(dtype: str) -> str:
    """The C type of a value: a half number is a float that was rounded."""
    return {"f16": "f32", "bf16": "f32"}.get(dtype, dtype)


def read(dtype: str, pointer: str, at: str) -> str:
    """The expression that loads an element of a real type."""
    if dtype in dt.OPMATH:
        return f"LOAD_{dtype}({pointer}, {at})"
    return f"{pointer}[{at}] != 0" if dtype == "bool" else f"{pointer}[{at}]"


def _unsigned(dtype: str) -> str:
    """Where integer arithmetic is done: unsigned, so that it wraps, and no narrower than C
    promotes to."""
    return "u64" if dt.INFO[dtype].size == 8 else "u32"


class ScalarEmitter(GraphEmitter):
    """Statements of one function, indented; values are `const` variables."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._depth = 0
        self._count = 0

    # ---- text ------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Append a line."""
        self.lines.append("  " * self._depth + text)

    @contextmanager
    def indented(self) -> Iterator[None]:
        """Append what follows one level deeper."""
        self._depth += 1
        yield
        self._depth -= 1

    def fresh(self, stem: str = "x") -> str:
        """A name not used before in this function."""
        self._count += 1
        return f"{stem}{self._count}"

    def value(self, dtype: str, text: str) -> str:
        """Append a constant of this type; its name."""
        name = self.fresh()
        self.line(f"const {register(dtype)} {name} = {text};")
        return name

    def store(self, dtype: str, pointer: str, at: str, value: str) -> None:
        """Store an element of a real type."""
        if dtype in dt.OPMATH:
            self.line(f"STORE_{dtype}({pointer}, {at}, (f32){value});")
        else:
            self.line(f"{pointer}[{at}] = {value};")

    # ---- operations ------------------------------------------------------------------------------

    def constant(self, value: Number, dtype: str) -> str:
        """A literal; floats are written so that they read back exactly."""
        kind = dt.kind(dtype)
        if kind == "f":
            return _float_literal(float(value), register(dtype))  # type: ignore[arg-type]
        if kind == "b":
            return "true" if value else "false"
        return _integer_literal(int(value), dtype)  # type: ignore[arg-type]

    def operation(self, e: Expr, args: list[str]) -> str:
        """One node."""
        if e.op == "detach":
            return args[0]
        return self.value(e.dtype, self._expression(e, args))

    def _expression(self, e: Expr, args: list[str]) -> str:
        source = e.args[0].dtype
        kind, op = dt.kind(source), e.op
        if op in _FUNCTIONS and kind == "f":
            return f"{register(source)}_{op}({', '.join(args)})"
        if op == "extern":
            return f"{e.dtype}_{_plain_name(e)}({', '.join(args)})"
        if op == "cmp":
            return f"{args[0]} {_COMPARE[e.value]} {args[1]}"
        if op == "select":
            return f"{args[0]} ? {args[1]} : {args[2]}"
        if op == "rarely":
            return f"{args[0]} ? {args[2]} : {args[1]}"
        if op == "cast":
            return self._cast(args[0], source, e.dtype)
        if op == "bitcast":
            return _bitcast(args[0], source, e.dtype)
        if op in _BITS:
            return f"{args[0]} {_BITS[op]} {args[1]}"
        if kind == "f":
            return f"-{args[0]}" if op == "neg" else f"{args[0]} {_ARITHMETIC[op]} {args[1]}"
        if op == "not":
            return f"!{args[0]}" if kind == "b" else f"({e.dtype})~{args[0]}"
        return _integer_expression(e, args)

    def _cast(self, x: str, source: str, target: str) -> str:
        kind = dt.kind(source)
        if target in dt.OPMATH:
            return f"ROUND_{target}((f32){x})"
        if dt.kind(target) == "b":
            return f"{x} != 0"
        if kind != "f" or dt.kind(target) == "f":
            return f"({target}){x}"
        if target == "u64":
            return f"u64_from_{register(source)}({x})"
        # narrow integers wrap from a wide one, as on the CPU
        middle = "i64" if target in ("i64", "u32") else "i32"
        return f"({target}){middle}_from_{register(source)}({x})"


def _plain_name(e: Expr) -> str:
    return str(e.value).removesuffix("f") if e.dtype == "f32" else str(e.value)


def _bitcast(x: str, source: str, target: str) -> str:
    if "f" not in (dt.kind(source), dt.kind(target)):
        return f"({target}){x}"
    return x if source == target else f"{target}_of_{source}({x})"


def _integer_expression(e: Expr, args: list[str]) -> str:
    """Integers wrap; x / 0 is 0; a shift by more than the width shifts everything out."""
    t, wide = e.dtype, _unsigned(e.dtype)
    signed, op, a = dt.kind(t) == "i", e.op, args[0]
    minus = f"({t})(0u - ({wide}){a})"
    if op == "neg":
        return minus
    if op == "abs":
        return f"{a} < 0 ? {minus} : {a}"
    b = args[1]
    if op in ("add", "sub", "mul"):
        return f"({t})(({wide}){a} {_ARITHMETIC[op]} ({wide}){b})"
    if op in ("div", "rem"):
        overflow = f"{b} == -1 ? {minus if op == 'div' else f'({t})0'} : " if signed else ""
        return f"{b} == 0 ? ({t})0 : {overflow}({t})({a} {'/' if op == 'div' else '%'} {b})"
    bits = dt.INFO[t].size * 8
    if e.args[1].op == "const" and 0 <= e.args[1].value < bits:
        return f"({t})({a} >> {b})" if op == "shr" else f"({t})(({wide}){a} << {b})"
    inside = f"({wide}){b} < {bits}u"
    if op == "shl":
        return f"{inside} ? ({t})(({wide}){a} << {b}) : ({t})0"
    if op == "shr":
        return f"{inside} ? ({t})({a} >> {b}) : ({t})({f'{a} < 0 ? -1 : 0' if signed else '0'})"
    raise NotImplementedError(f"no C for {op} on {t}")


def _float_literal(value: float, dtype: str) -> str:
    if dtype == "f32":
        value = _round_to_float(value)
    if value != value:
        return f"{dtype}_NAN"
    if math.isinf(value):
        return f"(-{dtype}_INF)" if value < 0 else f"{dtype}_INF"
    text = f"{value:.9g}" if dtype == "f32" else repr(value)
    if "." not in text and "e" not in text:
        text += ".0"
    text += "f" if dtype == "f32" else ""
    return f"({text})" if text.startswith("-") else text


def _round_to_float(value: float) -> float:
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def _integer_literal(value: int, dtype: str) -> str:
    if dtype in ("i64", "u64"):
        macro = "I64_C" if dtype == "i64" else "U64_C"
        if value >= 0:
            return f"{macro}({value})"
        return f"(-{macro}({-value - 1}) - 1)" if value == -(2**63) else f"(-{macro}({-value}))"
    if value == -(2**31):
        return "(-2147483647 - 1)"
    if dtype == "u32":
        return f"{value}u"
    return f"({value})" if value < 0 else str(value)
