"""The NumPy interpreter of scalar graphs: what every backend's results are compared with.

Correctness over speed: functions of float32 are computed in float64 and rounded once, sums of
float32 run in float64. Importing this module imports NumPy, so nothing on the run-time path does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from . import dtypes as dt
from .oracle_math import FORMULAS
from .scalar import Expr, rebuild

NUMPY: dict[str, type] = {
    "bool": np.bool_,
    "u8": np.uint8,
    "u16": np.uint16,
    "u32": np.uint32,
    "u64": np.uint64,
    "i8": np.int8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
    "f16": np.float16,
    "f32": np.float32,
    "f64": np.float64,
    "c64": np.complex64,
    "c128": np.complex128,
}


def evaluate(
    roots: Sequence[Expr],
    inputs: Sequence[np.ndarray],
    axes: tuple[int, ...] = (),
    count: int | None = None,
) -> list[np.ndarray]:
    """The values of `roots`, input k being `inputs[k]`; reductions run over `axes` and keep them.

    The inputs broadcast against each other; a per-row input has size 1 along `axes`. Without
    inputs, `count` elements along axis 0 are meant. The arrays returned have the types of the
    roots, and the shape that broadcasting and the kept axes give them.

        >>> from flambeau.kernels import scalar
        >>> with scalar.tracing():
        ...     x = scalar.input(0, "f32")
        ...     evaluate([x / scalar.reduce.add(x)], [np.float32([1, 3])], axes=(0,))[0]
        array([0.25, 0.75], dtype=float32)
    """
    arrays = [np.asarray(value) for value in inputs]
    if arrays or count is None:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
    else:
        shape = (count,)
    frame = _Frame(arrays, shape, tuple(axis % len(shape) for axis in axes), count)
    with np.errstate(all="ignore"):
        return rebuild(list(roots), frame.visit)


class _Frame:
    """One evaluation: the operands, the shape they broadcast to and the axes reduced over."""

    def __init__(self, inputs: list, shape: tuple, axes: tuple, count: int | None) -> None:
        self.inputs = inputs
        self.shape = shape
        self.axes = axes
        self.count = math.prod(shape[axis] for axis in axes) if count is None else count

    def visit(self, node: Expr, args: tuple) -> np.ndarray:
        """The value of one node from those of its arguments."""
        if node.dtype not in NUMPY:
            raise TypeError(f"oracle: NumPy has no {node.dtype} (bfloat16); bodies compute in f32")
        if node.op in _OPERATIONS:
            value = _OPERATIONS[node.op](node, *args)
        else:
            value = getattr(self, f"_{node.op}")(node, *args)
        wanted = np.dtype(NUMPY[node.dtype])
        value = np.asarray(value)
        return value if value.dtype == wanted else value.astype(wanted)

    def _input(self, node: Expr) -> np.ndarray:
        array = self.inputs[node.value]
        if array.dtype != NUMPY[node.dtype]:
            raise TypeError(
                f"oracle: input {node.value} is {array.dtype}, the graph expects {node.dtype}"
            )
        return array

    def _count(self, node: Expr) -> int:
        return self.count

    def _position(self, node: Expr) -> np.ndarray:
        kept = [n if axis in self.axes else 1 for axis, n in enumerate(self.shape)]
        return np.arange(math.prod(kept), dtype=np.int64).reshape(kept)

    def _reduce(self, node: Expr, x: np.ndarray) -> np.ndarray:
        full = list(np.broadcast_shapes(x.shape, (1,) * len(self.shape)))
        for axis in self.axes:
            full[axis] = self.shape[axis]
        x = np.broadcast_to(x, full)
        if node.value in ("argmax", "argmin"):
            return self._find(node.value, x)
        # a half or single sum is carried in double; integers wrap in their own type
        carried = np.dtype({"f": np.float64, "c": np.complex128}.get(x.dtype.kind, x.dtype))
        if node.value in ("add", "mul") and x.dtype != np.bool_:
            reducer = np.add if node.value == "add" else np.multiply
            return reducer.reduce(x.astype(carried), axis=self.axes, keepdims=True, dtype=carried)
        return _PLAIN_REDUCERS[node.value].reduce(x, axis=self.axes, keepdims=True)

    def _find(self, kind: str, x: np.ndarray) -> np.ndarray:
        kept = [1 if axis in self.axes else n for axis, n in enumerate(x.shape)]
        others = [axis for axis in range(x.ndim) if axis not in self.axes]
        rows = x.transpose(*others, *self.axes).reshape(*(x.shape[a] for a in others), -1)
        return getattr(np, kind)(rows, axis=-1).reshape(kept)


_PLAIN_REDUCERS = {
    "add": np.logical_or,  # of bool
    "mul": np.logical_and,
    "max": np.maximum,
    "min": np.minimum,
    "or": np.logical_or,
    "and": np.logical_and,
}


# ---- operations ----------------------------------------------------------------------------------


def _const(node: Expr) -> np.ndarray:
    return np.array(node.value, NUMPY[node.dtype])


def _divide(node: Expr, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if dt.kind(node.dtype) in "fc":
        return a / b
    quotient = a // np.where(b == 0, 1, b)
    # NumPy rounds down: step back towards zero where the signs differ and something is left
    quotient = quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype)
    return np.where(b == 0, a.dtype.type(0), quotient)


def _remainder(node: Expr, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(b == 0, a.dtype.type(0), np.fmod(a, np.where(b == 0, 1, b).astype(b.dtype)))


def _fma(node: Expr, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a b + c. float32 in float64, where the product is exact (so two roundings, rarely felt);
    float64 with the product's error carried along (Dekker), right to the last bit but in ties."""
    if node.dtype != "f64":
        return a.astype(np.float64) * b + c
    plain = a * b + c
    product, low = _exact_product(a, b)
    total = product + c
    share = total - product
    error = (product - (total - share)) + (c - share)
    exact = total + (error + low)
    # splitting overflows above 2**996 and loses bits of products near the subnormals
    size = np.abs(product)
    usable = (np.abs(a) < 2.0**996) & (np.abs(b) < 2.0**996) & (size < 2.0**1020)
    return np.where(usable & (size > 2.0**-960) & np.isfinite(exact), exact, plain)


def _exact_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    product = a * b
    (ah, al), (bh, bl) = _split(a), _split(b)
    return product, al * bl - (((product - ah * bh) - al * bh) - ah * bl)


def _split(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wide = a * 134217729.0  # 2**27 + 1
    high = wide - (wide - a)
    return high, a - high


_COMPARE = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


def _cast(node: Expr, a: np.ndarray) -> np.ndarray:
    target = NUMPY[node.dtype]
    if a.dtype.kind != "f" or dt.kind(node.dtype) not in "iu":
        return a.astype(target)
    low, high = dt.integer_limits(node.dtype)
    inside = (a > low - 1.0) & (a < high + 1.0)
    # -2**63 - 1.0 rounds to -2**63, itself representable: let it in
    inside |= a == float(low)
    whole: np.ndarray = np.where(inside, a, a.dtype.type(0)).astype(target)
    whole = np.where(a <= low, target(low), whole)
    return np.where((a > 0) & ~inside, target(high), whole)


def _bitcast(node: Expr, a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a).view(NUMPY[node.dtype]).reshape(a.shape)


def _complex(node: Expr, re: np.ndarray, im: np.ndarray) -> np.ndarray:
    re, im = np.broadcast_arrays(re, im)
    result: np.ndarray = np.empty(re.shape, NUMPY[node.dtype])
    result.real, result.imag = re, im  # re + 1j * im would turn inf into NaN
    return result


def _call(node: Expr, *args: np.ndarray) -> np.ndarray:
    """Functions of half and single precision are computed in double and rounded once."""
    wide = np.complex128 if dt.is_complex(node.dtype) else np.float64
    args = tuple(np.asarray(a).astype(wide) for a in args)
    if node.value in FORMULAS:
        return FORMULAS[node.value](*args)
    return _expanded(node.value, args)


def _extern(node: Expr, *args: np.ndarray) -> np.ndarray:
    """A function of the C library, by its name for float32 (with an f) or float64."""
    name = node.value if node.value in FORMULAS else node.value.removesuffix("f")
    return FORMULAS[name](*(a.astype(np.float64) for a in args))


def _expanded(name: str, args: tuple) -> np.ndarray:
    """A function without a formula of its own: its float64 expansion, interpreted."""
    from . import scalar
    from .mathlib import FUNCTIONS

    with scalar.tracing():
        handles = [scalar.input(k, "f64") for k in range(len(args))]
        return evaluate([FUNCTIONS[name].expand["f64"](*handles)], args)[0]


_OPERATIONS: dict[str, Callable] = {
    "const": _const,
    "add": lambda node, a, b: a + b,
    "sub": lambda node, a, b: a - b,
    "mul": lambda node, a, b: a * b,
    "div": _divide,
    "rem": _remainder,
    "neg": lambda node, a: -a,
    "abs": lambda node, a: np.abs(a),
    "fma": _fma,
    "cmp": lambda node, a, b: _COMPARE[node.value](a, b),
    "and": lambda node, a, b: a & b,
    "or": lambda node, a, b: a | b,
    "xor": lambda node, a, b: a ^ b,
    "shl": lambda node, a, b: np.left_shift(a, b),
    "shr": lambda node, a, b: np.right_shift(a, b),
    "not": lambda node, a: ~a,
    "select": lambda node, c, a, b: np.where(c, a, b),
    "rarely": lambda node, c, quick, slow: np.where(c, slow, quick),
    "cast": _cast,
    "bitcast": _bitcast,
    "complex": _complex,
    "real": lambda node, a: a.real,
    "imag": lambda node, a: a.imag,
    "call": _call,
    "extern": _extern,
    "sqrt": lambda node, a: np.sqrt(a),
    "floor": lambda node, a: np.floor(a),
    "ceil": lambda node, a: np.ceil(a),
    "trunc": lambda node, a: np.trunc(a),
    "rint": lambda node, a: np.rint(a),
    "copysign": lambda node, a, b: np.copysign(a, b),
    "detach": lambda node, a: a,
}
