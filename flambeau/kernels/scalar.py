"""Scalar expressions: the language op bodies are written in.

A body is an ordinary Python function over handles (`lambda x, y: exp(x) * y`). Calling it with
`Expr`
handles records a graph; the interpreters (LLVM, C dialect, NumPy oracle, derivative) walk that
graph.
Nodes are interned, so equal subexpressions are one node and identity is equality.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from . import dtypes as dt

Number = bool | int | float | complex


class Expr:
    """One node: an operation, its arguments, its type, and a value for constants and leaves."""

    __slots__ = ("args", "dtype", "op", "value")

    def __init__(self, op: str, args: tuple[Expr, ...], dtype: str, value: Any) -> None:
        self.op = op
        self.args = args
        self.dtype = dtype
        self.value = value

    # fmt: off
    def __add__(self, other): return add(self, other)
    def __radd__(self, other): return add(other, self)
    def __sub__(self, other): return sub(self, other)
    def __rsub__(self, other): return sub(other, self)
    def __mul__(self, other): return mul(self, other)
    def __rmul__(self, other): return mul(other, self)
    def __truediv__(self, other): return div(self, other)
    def __rtruediv__(self, other): return div(other, self)
    def __neg__(self): return neg(self)
    def __abs__(self): return absolute(self)
    def __lt__(self, other): return compare("lt", self, other)
    def __le__(self, other): return compare("le", self, other)
    def __gt__(self, other): return compare("gt", self, other)
    def __ge__(self, other): return compare("ge", self, other)
    def __and__(self, other): return bitwise("and", self, other)
    def __rand__(self, other): return bitwise("and", other, self)
    def __or__(self, other): return bitwise("or", self, other)
    def __ror__(self, other): return bitwise("or", other, self)
    def __xor__(self, other): return bitwise("xor", self, other)
    def __invert__(self): return invert(self)
    def __lshift__(self, other): return bitwise("shl", self, other)
    def __rshift__(self, other): return bitwise("shr", self, other)
    # fmt: on

    # Python's == must stay identity here (nodes live in dictionaries): write eq(x, y).
    def __bool__(self) -> bool:
        raise TypeError("a scalar handle has no truth value in a body: use where(condition, a, b)")

    def __repr__(self) -> str:
        if self.op == "const":
            return f"{self.value!r}:{self.dtype}"
        if self.op == "input":
            return f"in{self.value}:{self.dtype}"
        head = self.op if self.value is None else f"{self.op}[{self.value}]"
        return f"{head}({', '.join(map(repr, self.args))})"


# One compilation at a time: the intern table belongs to whoever holds the lock.
_lock = threading.RLock()
_table: dict[tuple, Expr] = {}
_depth = 0


def _forget_other_threads() -> None:
    """In a forked child: whoever held the lock is not here."""
    global _lock, _depth
    _lock, _depth = threading.RLock(), 0
    _table.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)


@contextmanager
def tracing():
    """Hold the intern table; it is emptied when the outermost user leaves."""
    global _depth
    with _lock:
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
            if _depth == 0:
                _table.clear()


def node(op: str, args: tuple[Expr, ...], dtype: str, value: Any = None) -> Expr:
    """The interned node; constants are keyed by their bits so that -0.0 is not 0.0."""
    mark = repr(value) if op == "const" else value
    key = (op, args, dtype, mark)
    found = _table.get(key)
    if found is None:
        found = _table[key] = Expr(op, args, dtype, value)
    return found


def const(value: Number, dtype: str) -> Expr:
    """A constant of the given type; integers wrap, as they do in memory."""
    kind = dt.kind(dtype)
    if kind == "b":
        value = bool(value)
    elif kind in "iu":
        low, high = dt.integer_limits(dtype)
        value = (int(value) - low) % (high - low + 1) + low  # type: ignore[arg-type]
    elif kind == "f":
        value = float(value)  # type: ignore[arg-type]
    else:
        value = complex(value)
    return node("const", (), dtype, value)


def input(index: int, dtype: str) -> Expr:
    """The element of operand `index`."""
    return node("input", (), dtype, index)


def count(dtype: str) -> Expr:
    """How many elements the reduction runs over."""
    return node("count", (), dtype)


def position() -> Expr:
    """Position of the element along the reduced axes, in row-major order (int64)."""
    return node("position", (), "i64")


def is_const(x: Any, value: Number | None = None) -> bool:
    """Is x a constant node (of that value)?"""
    return isinstance(x, Expr) and x.op == "const" and (value is None or x.value == value)


def lift(x: Expr | Number, like: str) -> Expr:
    """A handle: Python numbers become constants of type `like`."""
    return x if isinstance(x, Expr) else const(x, like)


def _pair(a: Expr | Number, b: Expr | Number) -> tuple[Expr, Expr]:
    """Both as handles of one type; bool meets a number, a real meets a complex, else types must
    agree.
    """
    if not isinstance(a, Expr):
        a = _weak(a, b.dtype)  # type: ignore[union-attr]
    if not isinstance(b, Expr):
        b = _weak(b, a.dtype)
    if a.dtype == b.dtype:
        return a, b
    rank = {"b": 0, "u": 1, "i": 2, "f": 3, "c": 4}
    ra, rb = rank[dt.kind(a.dtype)], rank[dt.kind(b.dtype)]
    if ra == rb or (min(ra, rb) > 0 and max(ra, rb) < 4):
        raise TypeError(f"scalar body mixes {a.dtype} and {b.dtype}: use cast(x, dtype)")
    return (cast(a, b.dtype), b) if ra < rb else (a, cast(b, a.dtype))


def _weak(value: Number, dtype: str) -> Expr:
    if isinstance(value, complex) and dtype in dt.COMPLEX_OF:
        dtype = dt.COMPLEX_OF[dtype]
    elif isinstance(value, float) and dt.kind(dtype) in "biu":
        raise TypeError(f"scalar body mixes {dtype} with the float {value}: cast first")
    elif dtype == "bool" and not isinstance(value, bool):
        raise TypeError("scalar body mixes bool with a number: cast first")
    return const(value, dtype)


# ---- arithmetic, with the simplifications that keep derivatives small
# -------------------------------


def add(a: Expr | Number, b: Expr | Number) -> Expr:
    """a + b; on bool, or."""
    a, b = _pair(a, b)
    if a.dtype == "bool":
        return bitwise("or", a, b)
    if a.op == "const" and b.op == "const":
        return const(a.value + b.value, a.dtype)
    # x + 0.0 turns -0.0 into 0.0; derivatives are full of zeros, and nothing else would notice.
    if is_const(a, 0):
        return b
    if is_const(b, 0):
        return a
    if b.op == "neg":
        return sub(a, b.args[0])
    return node("add", (a, b), a.dtype)


def sub(a: Expr | Number, b: Expr | Number) -> Expr:
    """a - b."""
    a, b = _pair(a, b)
    if a.op == "const" and b.op == "const":
        return const(a.value - b.value, a.dtype)
    if is_const(b, 0):
        return a
    if is_const(a, 0) and dt.kind(a.dtype) != "f":
        return neg(b)
    if b.op == "neg":
        return add(a, b.args[0])
    return node("sub", (a, b), a.dtype)


def mul(a: Expr | Number, b: Expr | Number) -> Expr:
    """a * b; on bool, and."""
    a, b = _pair(a, b)
    if a.dtype == "bool":
        return bitwise("and", a, b)
    if a.op == "const" and b.op == "const":
        return const(a.value * b.value, a.dtype)
    for x, y in ((a, b), (b, a)):
        if is_const(x, 1):
            return y
        if is_const(x, -1):
            return neg(y)
        if is_const(x, 0) and dt.kind(x.dtype) in "iu":
            return x
    if a.op == "neg" and b.op == "neg":
        return mul(a.args[0], b.args[0])
    return node("mul", (a, b), a.dtype)


def div(a: Expr | Number, b: Expr | Number) -> Expr:
    """a / b on floats and complex; on integers the quotient towards zero (0 where b is 0)."""
    a, b = _pair(a, b)
    if is_const(b, 1):
        return a
    if a.op == "const" and b.op == "const" and b.value != 0 and dt.kind(a.dtype) in "fc":
        return const(a.value / b.value, a.dtype)
    return node("div", (a, b), a.dtype)


def rem(a: Expr | Number, b: Expr | Number) -> Expr:
    """Remainder with the sign of a (C's fmod and %); 0 where an integer b is 0."""
    a, b = _pair(a, b)
    if dt.is_float(a.dtype):
        return call("fmod", a, b)
    return node("rem", (a, b), a.dtype)


def neg(a: Expr) -> Expr:
    """-a."""
    if a.op == "const":
        return const(-a.value, a.dtype)
    if a.op == "neg":
        return a.args[0]
    return node("neg", (a,), a.dtype)


def fma(a: Expr | Number, b: Expr | Number, c: Expr | Number) -> Expr:
    """a * b + c with one rounding; for real floats."""
    like = next(x.dtype for x in (a, b, c) if isinstance(x, Expr))
    a, b, c = lift(a, like), lift(b, like), lift(c, like)
    return node("fma", (a, b, c), like)


def absolute(a: Expr) -> Expr:
    """|a|; the modulus, a real number, for complex a."""
    if a.op == "const":
        return const(abs(a.value), dt.COMPLEX_PART.get(a.dtype, a.dtype))
    if dt.is_complex(a.dtype):
        return call("hypot", real(a), imag(a))
    if dt.kind(a.dtype) in "bu":
        return a
    return node("abs", (a,), a.dtype)


def compare(predicate: str, a: Expr | Number, b: Expr | Number) -> Expr:
    """a <predicate> b as bool: lt le gt ge eq ne; NaN compares unequal to everything."""
    if not isinstance(a, Expr) and not isinstance(b, Expr):
        raise TypeError("compare needs at least one handle")
    a, b = _pair(a, b)
    if a.dtype in dt.OPMATH:  # no machine compares halves
        a, b = cast(a, dt.OPMATH[a.dtype]), cast(b, dt.OPMATH[b.dtype])
    if dt.is_complex(a.dtype):
        if predicate not in ("eq", "ne"):
            raise TypeError("complex numbers have no order")
        join = "and" if predicate == "eq" else "or"
        parts = compare(predicate, real(a), real(b)), compare(predicate, imag(a), imag(b))
        return bitwise(join, *parts)
    return node("cmp", (a, b), "bool", predicate)


def eq(a, b) -> Expr:
    """a equals b."""
    return compare("eq", a, b)


def ne(a, b) -> Expr:
    """a differs from b."""
    return compare("ne", a, b)


def bitwise(op: str, a: Expr | Number, b: Expr | Number) -> Expr:
    """and, or, xor on bool and integers; shl, shr (arithmetic for signed) on integers."""
    a, b = _pair(a, b)
    if a.dtype == "bool" and op in ("and", "or"):
        for x, y in ((a, b), (b, a)):
            if x.op == "const":
                return (y if x.value else x) if op == "and" else (x if x.value else y)
    return node(op, (a, b), a.dtype)


def invert(a: Expr) -> Expr:
    """~a."""
    if a.op == "const":
        return const(not a.value if a.dtype == "bool" else ~a.value, a.dtype)
    return node("not", (a,), a.dtype)


def where(condition: Expr | bool, a: Expr | Number, b: Expr | Number) -> Expr:
    """a where the condition holds, else b."""
    if not isinstance(a, Expr) and not isinstance(b, Expr):
        raise TypeError(
            "where needs a handle in one branch to know its type: use const(value, dtype)"
        )
    a, b = _pair(a, b)
    if not isinstance(condition, Expr):
        return a if condition else b
    if condition.op == "const":
        return a if condition.value else b
    if a is b:
        return a
    if condition.dtype != "bool":
        condition = ne(condition, 0)
    return node("select", (condition, a, b), a.dtype)


def rarely(condition: Expr, slow: Expr, quick: Expr) -> Expr:
    """slow where the condition holds, else quick; `slow` is skipped while no lane asks for it.

    For what a fast formula cannot do, such as huge angles. Nothing but `slow` may need `slow`'s own
    nodes to be quick: they are computed again wherever else they are used.
    """
    return node("rarely", (condition, quick, slow), quick.dtype)


def cast(a: Expr | Number, dtype: str) -> Expr:
    """a converted to another type, as C converts; float to integer saturates, NaN becomes 0."""
    if not isinstance(a, Expr):
        return const(a, dtype)
    if a.dtype == dtype:
        return a
    if dtype == "bool":
        return ne(a, const(0, a.dtype))
    if a.op == "const" and not (isinstance(a.value, float) and not math.isfinite(a.value)):
        value = (
            a.value.real if isinstance(a.value, complex) and not dt.is_complex(dtype) else a.value
        )
        if dt.kind(dtype) in "iu":
            value = int(value)
        exact = dtype == "f64" or a.dtype in dt.OPMATH or isinstance(value, bool | int)
        if dt.kind(dtype) in "iuc" or exact:
            return const(value, dtype)
    if dt.is_complex(a.dtype) and not dt.is_complex(dtype):
        return cast(real(a), dtype)
    if dt.is_complex(dtype):
        part = dt.COMPLEX_PART[dtype]
        if dt.is_complex(a.dtype):
            return make_complex(cast(real(a), part), cast(imag(a), part))
        return make_complex(cast(a, part), const(0, part))
    return node("cast", (a,), dtype)


def bitcast(a: Expr, dtype: str) -> Expr:
    """The same bits read as another type of the same size."""
    return node("bitcast", (a,), dtype)


# ---- complex -------------------------------------------------------------------------------------


def make_complex(re: Expr, im: Expr) -> Expr:
    """re + i im."""
    if re.op == "const" and im.op == "const":
        return const(complex(re.value, im.value), dt.COMPLEX_OF[re.dtype])
    return node("complex", (re, im), dt.COMPLEX_OF[re.dtype])


def real(a: Expr) -> Expr:
    """Real part; a real number is its own."""
    if not dt.is_complex(a.dtype):
        return a
    if a.op == "const":
        return const(a.value.real, dt.COMPLEX_PART[a.dtype])
    return a.args[0] if a.op == "complex" else node("real", (a,), dt.COMPLEX_PART[a.dtype])


def imag(a: Expr) -> Expr:
    """Imaginary part; zero for a real number."""
    if not dt.is_complex(a.dtype):
        return const(0, a.dtype)
    if a.op == "const":
        return const(a.value.imag, dt.COMPLEX_PART[a.dtype])
    return a.args[1] if a.op == "complex" else node("imag", (a,), dt.COMPLEX_PART[a.dtype])


def conj(a: Expr) -> Expr:
    """Complex conjugate; a real number is its own."""
    if not dt.is_complex(a.dtype):
        return a
    if a.op == "const":
        return const(a.value.conjugate(), a.dtype)
    return make_complex(real(a), neg(imag(a)))


# ---- functions -----------------------------------------------------------------------------------


def call(name: str, *args: Expr) -> Expr:
    """An elementary function of the mathematical library, by name."""
    return node("call", args, args[0].dtype, name)


def unary(op: str, a: Expr) -> Expr:
    """A machine operation on floats: sqrt floor ceil trunc rint."""
    return node(op, (a,), a.dtype)


def sqrt(a: Expr) -> Expr:
    """Square root."""
    return call("sqrt", a) if dt.is_complex(a.dtype) else unary("sqrt", a)


def _round(op: str, a: Expr) -> Expr:
    return unary(op, a) if dt.is_float(a.dtype) else a


def floor(a: Expr) -> Expr:
    """Largest integer not above a."""
    return _round("floor", a)


def ceil(a: Expr) -> Expr:
    """Smallest integer not below a."""
    return _round("ceil", a)


def trunc(a: Expr) -> Expr:
    """a without its fraction."""
    return _round("trunc", a)


def rint(a: Expr) -> Expr:
    """The nearest integer, ties to even."""
    return _round("rint", a)


def copysign(a: Expr | Number, b: Expr) -> Expr:
    """|a| with the sign of b."""
    a, b = _pair(a, b)
    return node("copysign", (a, b), a.dtype)


def isnan(a: Expr) -> Expr:
    """Is a (or one of its parts) not a number?"""
    if dt.is_complex(a.dtype):
        return isnan(real(a)) | isnan(imag(a))
    return ne(a, a) if dt.is_float(a.dtype) else const(False, "bool")


def isinf(a: Expr) -> Expr:
    """Is a (or one of its parts) infinite?"""
    if dt.is_complex(a.dtype):
        return isinf(real(a)) | isinf(imag(a))
    return eq(absolute(a), math.inf) if dt.is_float(a.dtype) else const(False, "bool")


def isfinite(a: Expr) -> Expr:
    """Is a neither infinite nor NaN?"""
    if dt.is_complex(a.dtype):
        return isfinite(real(a)) & isfinite(imag(a))
    return compare("lt", absolute(a), math.inf) if dt.is_float(a.dtype) else const(True, "bool")


def maximum(a: Expr | Number, b: Expr | Number) -> Expr:
    """The larger of a and b; NaN if either is."""
    a, b = _pair(a, b)
    if a.dtype == "bool":
        return a | b
    larger = where(compare("gt", a, b), a, b)  # NaN in b is taken by the else slot
    return where(isnan(a), a, larger) if dt.is_float(a.dtype) and a.op != "const" else larger


def minimum(a: Expr | Number, b: Expr | Number) -> Expr:
    """The smaller of a and b; NaN if either is."""
    a, b = _pair(a, b)
    if a.dtype == "bool":
        return a & b
    smaller = where(compare("lt", a, b), a, b)
    return where(isnan(a), a, smaller) if dt.is_float(a.dtype) and a.op != "const" else smaller


# ---- reductions ----------------------------------------------------------------------------------


class _Reduce:
    """Reductions over the axes a loop program runs along: `reduce.add(x)` and its kin."""

    @staticmethod
    def add(x: Expr) -> Expr:
        """Sum."""
        return _reduction("add", x)

    @staticmethod
    def mul(x: Expr) -> Expr:
        """Product."""
        return _reduction("mul", x)

    @staticmethod
    def max(x: Expr) -> Expr:
        """Maximum; NaN if any element is."""
        return _reduction("max", x)

    @staticmethod
    def min(x: Expr) -> Expr:
        """Minimum; NaN if any element is."""
        return _reduction("min", x)

    @staticmethod
    def any(x: Expr) -> Expr:
        """Is any element true?"""
        return _reduction("or", cast(x, "bool"))

    @staticmethod
    def all(x: Expr) -> Expr:
        """Is every element true?"""
        return _reduction("and", cast(x, "bool"))

    @staticmethod
    def argmax(x: Expr) -> Expr:
        """Position (int64) of the first maximum; a NaN counts as the maximum."""
        return node("reduce", (x,), "i64", "argmax")

    @staticmethod
    def argmin(x: Expr) -> Expr:
        """Position (int64) of the first minimum; a NaN counts as the minimum."""
        return node("reduce", (x,), "i64", "argmin")


reduce = _Reduce()


def _reduction(kind: str, x: Expr) -> Expr:
    return node("reduce", (x,), x.dtype, kind)


def detach(x: Expr) -> Expr:
    """x, with a derivative of zero: for terms whose derivatives are known to cancel."""
    return node("detach", (x,), x.dtype)


# ---- walking -------------------------------------------------------------------------------------


def topological(roots: list[Expr] | tuple[Expr, ...], rare: bool = True) -> list[Expr]:
    """Every node the roots depend on, arguments first, each once; `rare`: also what `rarely`
    skips."""
    order: list[Expr] = []
    seen: set[Expr] = set()
    stack: list[Expr | None] = list(reversed(roots))
    while stack:
        current = stack.pop()
        if current is None:  # what lies below has all its arguments
            order.append(stack.pop())  # type: ignore[arg-type]
        elif current not in seen:
            seen.add(current)
            if not current.args:
                order.append(current)
                continue
            args = current.args if rare or current.op != "rarely" else current.args[:2]
            stack += (current, None, *reversed(args))
    return order


def with_args(e: Expr, args: tuple) -> Expr:
    """The node with other arguments: itself if they are its own."""
    return e if args == e.args else node(e.op, args, e.dtype, e.value)


def rebuild(roots: list[Expr], visit: Callable[[Expr, tuple], Any]) -> list[Any]:
    """The images of the roots when each node maps to `visit(node, images of its arguments)`."""
    image: dict[Expr, Any] = {}
    for current in topological(roots):
        image[current] = visit(current, tuple(image[arg] for arg in current.args))
    return [image[root] for root in roots]
