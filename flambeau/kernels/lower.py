"""Lowering: elementary functions become machine operations, complex numbers become pairs.

After `lower`, a graph holds only operations a backend has an instruction for, plus `extern` calls
into
the C library where mathlib has no expansion for the type.
"""

from __future__ import annotations

from collections.abc import Set

from . import dtypes as dt
from . import scalar
from .elementary import ROUGH
from .lazy import mathlib
from .scalar import Expr, node

Pair = tuple[Expr, Expr]


def lower(roots: list[Expr]) -> list[Expr | Pair]:
    """Machine-level graphs of the roots; a complex root becomes (real part, imaginary part)."""
    image: dict[Expr, Expr] = {}
    rough = find_rough_calls(roots)
    return split_complex([expand_calls(root, image, rough) for root in roots])


def find_rough_calls(roots: list[Expr]) -> set[Expr]:
    """The calls that may be inexact in the last third of float32's digits.

    They end in outputs of half types, and on the way there is nothing that makes relative errors
    larger: no sum (it may cancel), no argument of another function.
    """
    if not any(_is_narrowing(root) for root in roots):
        return set()
    nodes = scalar.topological(roots)
    exact = {root for root in roots if not _is_narrowing(root)}
    for n in reversed(nodes):
        narrows = _is_narrowing(n)
        passed = n.op in _KEEPS_RELATIVE_ERRORS and (narrows or n not in exact)
        kept = n.args[1:] if n.op == "select" else n.args
        exact.update(a for a in n.args if not (passed and a in kept))
    return {n for n in nodes if n.op == "call" and n.dtype == "f32" and n not in exact}


_KEEPS_RELATIVE_ERRORS = ("mul", "div", "neg", "abs", "copysign", "select", "cast", "detach")


def _is_narrowing(n: Expr) -> bool:
    return n.op == "cast" and n.dtype in ("f16", "bf16") and n.args[0].dtype == "f32"


def move_signs(roots: list[Expr | Pair]) -> list[Expr | Pair]:
    """Outputs that are a bfloat16 operand but for its sign, as integers: twice the lanes, and
    nothing to round."""
    return [_move_sign(r) if isinstance(r, Expr) else r for r in roots]


def _move_sign(root: Expr) -> Expr:
    if root.op != "cast" or root.dtype != "bf16" or root.args[0].op not in _SIGNS:
        return root
    change = root.args[0]
    stored = [a.args[0] for a in change.args if a.op == "cast"]
    if len(stored) < len(change.args) or any(a.op != "input" or a.dtype != "bf16" for a in stored):
        return root
    bits = [node("bitcast", (a,), "i16") for a in stored]
    sign = scalar.const(-(2**15), "i16")
    if change.op == "copysign":
        sign = node("and", (node("xor", (bits[0], bits[1]), "i16"), sign), "i16")
    elif change.op == "abs":
        sign = node("and", (bits[0], sign), "i16")
    return node("bitcast", (node("xor", (bits[0], sign), "i16"),), "bf16")


_SIGNS = ("neg", "abs", "copysign")


def expand_calls(root: Expr, image: dict[Expr, Expr], rough: Set[Expr] = frozenset()) -> Expr:
    """Replace calls by their expansions until none is left that has one."""
    for current in scalar.topological([root]):
        if current not in image:
            args = tuple(image[a] for a in current.args)
            if current.op == "call":
                image[current] = _expand(current, args, image, current in rough)
            else:
                image[current] = _with_args(current, args)
    return image[root]


def _with_args(current: Expr, args: tuple[Expr, ...]) -> Expr:
    if args == current.args:
        return current
    if current.op in ("real", "imag"):  # let the constructors fold real(complex(a, b))
        return scalar.real(args[0]) if current.op == "real" else scalar.imag(args[0])
    return node(current.op, args, current.dtype, current.value)


def _expand(current: Expr, args: tuple[Expr, ...], image: dict[Expr, Expr], rough: bool) -> Expr:
    function = mathlib.FUNCTIONS[current.value]
    dtype = args[0].dtype
    body = function.expand.get(ROUGH) if rough else None
    body = body or function.expand.get("complex" if dt.is_complex(dtype) else dtype)
    if body is not None:
        return expand_calls(body(*args), image)
    if dt.is_complex(dtype) or function.libm is None:
        raise TypeError(f"{function.name} has no definition for {dtype}")
    if dtype not in ("f32", "f64"):
        raise TypeError(f"{function.name} expects a floating-point argument, got {dtype}")
    return node("extern", args, dtype, function.libm + ("f" if dtype == "f32" else ""))


def split_complex(roots: list[Expr]) -> list[Expr | Pair]:
    """Rewrite complex arithmetic over pairs of reals."""
    if not any(dt.is_complex(n.dtype) for n in scalar.topological(roots)):
        return roots  # type: ignore[return-value]

    def visit(current: Expr, args: tuple) -> Expr | Pair:
        if current.op in ("real", "imag"):
            return args[0][0 if current.op == "real" else 1]
        if not dt.is_complex(current.dtype):
            return _with_args(current, args)
        return _PAIRS[current.op](current, *args)  # type: ignore[operator]

    return scalar.rebuild(roots, visit)


def _input_pair(current: Expr) -> Pair:
    part = dt.COMPLEX_PART[current.dtype]
    return tuple(node("input_part", (), part, (current.value, k)) for k in (0, 1))  # type: ignore


def _const_pair(current: Expr) -> Pair:
    part = dt.COMPLEX_PART[current.dtype]
    return scalar.const(current.value.real, part), scalar.const(current.value.imag, part)


def _mul_pair(_: Expr, a: Pair, b: Pair) -> Pair:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _div_pair(_: Expr, a: Pair, b: Pair) -> Pair:
    """Smith's method: scale by the larger part so that nothing overflows early."""
    swap = scalar.compare("lt", abs(b[0]), abs(b[1]))
    big = scalar.where(swap, b[1], b[0])
    small = scalar.where(swap, b[0], b[1])
    zero = scalar.const(0, b[0].dtype)
    ratio = scalar.where(scalar.eq(big, 0), zero, small / big)
    denominator = big + small * ratio
    re = scalar.where(swap, a[0] * ratio + a[1], a[0] + a[1] * ratio)
    im = scalar.where(swap, a[1] * ratio - a[0], a[1] - a[0] * ratio)
    return re / denominator, im / denominator


def _reduce_pair(current: Expr, a: Pair) -> Pair:
    if current.value != "add":
        raise TypeError(f"reduce.{current.value} is not defined for complex numbers")
    return tuple(node("reduce", (p,), p.dtype, "add") for p in a)  # type: ignore


def _count_pair(current: Expr) -> Pair:
    part = dt.COMPLEX_PART[current.dtype]
    return scalar.count(part), scalar.const(0, part)


_PAIRS = {
    "count": _count_pair,
    "input": _input_pair,
    "const": _const_pair,
    "complex": lambda _, re, im: (re, im),
    "add": lambda _, a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda _, a, b: (a[0] - b[0], a[1] - b[1]),
    "mul": _mul_pair,
    "div": _div_pair,
    "neg": lambda _, a: (-a[0], -a[1]),
    "select": lambda _, c, a, b: (scalar.where(c, a[0], b[0]), scalar.where(c, a[1], b[1])),
    "detach": lambda _, a: a,
    "reduce": _reduce_pair,
}
