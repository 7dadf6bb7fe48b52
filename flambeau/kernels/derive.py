"""The symbolic derivative: reverse mode over scalar graphs, reductions included.

Complex cotangents follow PyTorch: for a real loss L and z = x + iy the cotangent of z is
dL/dx + i dL/dy, so a holomorphic f passes on g * conj(f'(z)).

Nodes live on two levels. A *per-element* node has a value for each element the loop runs over; a
*per-row* node (a reduction, a constant, an input named in `row_inputs`, and what is computed from
those alone) has one value for all. Where a per-element node uses a per-row one, the cotangent
of the latter is the sum over the elements, `reduce.add`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import dtypes as dt
from . import scalar
from .mathlib import FUNCTIONS
from .scalar import Expr, const, eq, reduce, where


def vjp(
    outputs: Sequence[Expr],
    cotangents: Sequence[Expr | None],
    inputs: Sequence[Expr],
    row_inputs: frozenset[int] = frozenset(),
) -> list[Expr | None]:
    """Cotangents of `inputs` from those of `outputs`; None where the derivative is zero everywhere.

    `row_inputs` are the indices of the input nodes that hold one value per row, cotangent inputs of
    per-row outputs among them. In a program without reductions and row inputs nothing is summed.

        >>> from flambeau.kernels import derive, mathlib, scalar
        >>> with scalar.tracing():
        ...     x, g = scalar.input(0, "f32"), scalar.input(1, "f32")
        ...     derive.vjp([mathlib.exp(x)], [g], [x])
        [mul(in1:f32, call[exp](in0:f32))]
    """
    levels = _Levels(row_inputs)
    sums = _Accumulator(levels)
    for output, g in zip(outputs, cotangents, strict=True):
        if g is not None and _differentiable(output.dtype):
            sums.put(output, g, from_element=levels.per_element(g))
    wanted = _dependent(outputs, inputs)
    targets = set(inputs)
    for current in reversed(scalar.topological(list(outputs))):
        if current not in wanted or not current.args or (g := sums.get(current)) is None:
            continue
        per_element = levels.per_element(current)
        for arg, share in zip(current.args, _pull(current, g, levels), strict=True):
            if arg not in wanted or not _differentiable(arg.dtype):
                continue
            if share is NotImplemented:
                raise _missing(current)
            if share is not None:
                sums.put(arg, share, from_element=per_element)
        if current not in targets:
            sums.drop(current)
    return [sums.get(x) for x in inputs]


def _differentiable(dtype: str) -> bool:
    return dt.kind(dtype) in "fc"


def _dependent(outputs: Sequence[Expr], inputs: Sequence[Expr]) -> set[Expr]:
    """Nodes on a path from an input to an output."""
    found = set(inputs)
    for current in scalar.topological(list(outputs)):
        if any(arg in found for arg in current.args):
            found.add(current)
    return found


# ---- levels --------------------------------------------------------------------------------------


class _Levels:
    """Which nodes are per-element."""

    def __init__(self, row_inputs: frozenset[int]) -> None:
        self._row_inputs = row_inputs
        self._known: dict[Expr, bool] = {}

    def per_element(self, x: Expr) -> bool:
        """Does x differ from element to element of a row?"""
        if x not in self._known:
            for current in self._unknown(x):
                self._known[current] = self._decide(current)
        return self._known[x]

    def _unknown(self, x: Expr) -> list[Expr]:
        order: list[Expr] = []
        stack = [(x, False)]
        while stack:
            current, ready = stack.pop()
            if ready:
                order.append(current)
            elif current not in self._known:
                stack.append((current, True))
                stack.extend((arg, False) for arg in current.args)
        return order

    def _decide(self, x: Expr) -> bool:
        if x.op == "input":
            return x.value not in self._row_inputs
        if x.op == "reduce":
            return False
        return x.op == "position" or any(self._known[arg] for arg in x.args)


class _Accumulator:
    """Cotangents while they are being summed; those a row collects from its elements apart."""

    def __init__(self, levels: _Levels) -> None:
        self._levels = levels
        self._direct: dict[Expr, Expr] = {}
        self._spread: dict[Expr, Expr] = {}  # of per-row nodes, to be summed yet

    def put(self, node: Expr, share: Expr, from_element: bool) -> None:
        """Add a contribution; `from_element` if the node passing it on is per-element."""
        crossing = from_element and not self._levels.per_element(node)
        table = self._spread if crossing else self._direct
        table[node] = plus(table[node], share) if node in table else share

    def get(self, node: Expr) -> Expr | None:
        """The cotangent so far."""
        if node in self._spread:
            total = _sum_over_elements(self._spread.pop(node), self._levels)
            self.put(node, total, from_element=False)
        return self._direct.get(node)

    def drop(self, node: Expr) -> None:
        """Forget a cotangent that has been passed on."""
        self._direct.pop(node, None)


def _sum_over_elements(x: Expr, levels: _Levels) -> Expr:
    """reduce.add(x) with per-row factors moved out, so that less is computed per element."""
    if not levels.per_element(x):
        return times(x, _count(x.dtype))
    if x.op == "neg":
        return scalar.neg(_sum_over_elements(x.args[0], levels))
    if x.op == "mul":
        for factor, rest in (x.args, x.args[::-1]):
            if not levels.per_element(factor):
                return times(_sum_over_elements(rest, levels), factor)
    if x.op == "div" and not levels.per_element(x.args[1]):
        return scalar.div(_sum_over_elements(x.args[0], levels), x.args[1])
    return reduce.add(x)


# ---- arithmetic on cotangents --------------------------------------------------------------------


def times(g: Expr, factor: Expr) -> Expr:
    """g * factor, within the mask of g: where(c, 0, g) stays 0 if factor is infinite."""
    if g.op == "select":
        condition, a, b = g.args
        if scalar.is_const(b, 0):
            return where(condition, times(a, factor), b)
        if scalar.is_const(a, 0):
            return where(condition, a, times(b, factor))
    if g.op == "const" and dt.is_float(g.dtype) and g.value == 0:
        return g
    return scalar.mul(g, factor)


def over(g: Expr, divisor: Expr) -> Expr:
    """g / divisor, masked as in `times`."""
    if g.op == "select":
        condition, a, b = g.args
        if scalar.is_const(b, 0):
            return where(condition, over(a, divisor), b)
        if scalar.is_const(a, 0):
            return where(condition, a, over(b, divisor))
    return scalar.div(g, divisor)


def minus(g: Expr) -> Expr:
    """-g, masked as in `times`."""
    if g.op == "select":
        condition, a, b = g.args
        if scalar.is_const(b, 0):
            return where(condition, minus(a), b)
        if scalar.is_const(a, 0):
            return where(condition, a, minus(b))
    return scalar.neg(g)


def plus(a: Expr, b: Expr) -> Expr:
    """a + b; two cotangents masked by one condition become one."""
    if a.op == "select" and b.op == "select" and a.args[0] is b.args[0]:
        condition, a1, a2 = a.args
        _, b1, b2 = b.args
        masked = [scalar.is_const(x, 0) for x in (a1, a2, b1, b2)]
        if (masked[0] or masked[1]) and (masked[2] or masked[3]):
            return where(condition, _plus_known(a1, b1), _plus_known(a2, b2))
    return scalar.add(a, b)


def _plus_known(a: Expr, b: Expr) -> Expr:
    if scalar.is_const(a, 0):
        return b
    return a if scalar.is_const(b, 0) else plus(a, b)


def _zero(like: Expr) -> Expr:
    return const(0, like.dtype)


def _signed(g: Expr, x: Expr) -> Expr:
    """g * sign(x), zero where x is."""
    return where(x > 0, g, where(x < 0, minus(g), _zero(g)))


def _count(dtype: str) -> Expr:
    """How many elements a row has, as a number of this type."""
    return scalar.cast(scalar.count(dt.COMPLEX_PART.get(dtype, dtype)), dtype)


# ---- rules ---------------------------------------------------------------------------------------


def _pull(node: Expr, g: Expr, levels: _Levels) -> list[Expr | None]:
    """One contribution per argument of the node."""
    if node.op == "reduce":
        return [_pull_reduce(node, g, levels)]
    rule = _RULES.get(node.op)
    return [None] * len(node.args) if rule is None else rule(node, g, *node.args)


def _pull_mul(node: Expr, g: Expr, a: Expr, b: Expr) -> list[Expr | None]:
    if a is b:
        return [times(times(g, const(2, g.dtype)), scalar.conj(a)), None]
    return [times(g, scalar.conj(b)), times(g, scalar.conj(a))]


def _pull_div(node: Expr, g: Expr, a: Expr, b: Expr) -> list[Expr | None]:
    share = over(g, scalar.conj(b))
    return [share, minus(times(share, scalar.conj(node)))]


def _pull_select(node: Expr, g: Expr, condition: Expr, a: Expr, b: Expr) -> list[Expr | None]:
    return [None, where(condition, g, _zero(g)), where(condition, _zero(g), g)]


def _pull_cast(node: Expr, g: Expr, a: Expr) -> list[Expr | None]:
    return [scalar.cast(g, a.dtype) if dt.is_float(a.dtype) else None]


def _pull_call(node: Expr, g: Expr, *args: Expr) -> list[Expr | None]:
    function = FUNCTIONS[node.value]
    if function.partials is None:
        raise _missing(node)
    partials = function.partials(node, *args)
    return [p if p in (None, NotImplemented) else times(g, scalar.conj(p)) for p in partials]


def _missing(node: Expr) -> NotImplementedError:
    return NotImplementedError(f"the derivative of {node.value} is not implemented")


def _pull_complex(node: Expr, g: Expr, re: Expr, im: Expr) -> list[Expr | None]:
    return [scalar.real(g), scalar.imag(g)]


_RULES: dict[str, Callable[..., list[Expr | None]]] = {
    "add": lambda node, g, a, b: [g, g],
    "sub": lambda node, g, a, b: [g, minus(g)],
    "mul": _pull_mul,
    "div": _pull_div,
    "neg": lambda node, g, a: [minus(g)],
    "fma": lambda node, g, a, b, c: [times(g, b), times(g, a), g],
    "abs": lambda node, g, a: [_signed(g, a)],
    "sqrt": lambda node, g, a: [over(times(g, const(0.5, g.dtype)), node)],
    "copysign": lambda node, g, a, b: [
        _signed(times(g, scalar.copysign(const(1, b.dtype), b)), a),
        None,
    ],
    "select": _pull_select,
    "cast": _pull_cast,
    "complex": _pull_complex,
    "real": lambda node, g, z: [scalar.make_complex(g, _zero(g))],
    "imag": lambda node, g, z: [scalar.make_complex(_zero(g), g)],
    "call": _pull_call,
}


def _pull_reduce(node: Expr, g: Expr, levels: _Levels) -> Expr | None:
    (x,) = node.args
    if not levels.per_element(x):
        return _pull_reduce_of_row(node, g, x)
    if node.value == "add":
        return g
    if node.value == "mul":
        return _pull_product(node, g, x)
    if node.value in ("max", "min"):
        ties = scalar.cast(eq(x, node), g.dtype)
        return times(over(g, reduce.add(ties)), ties)
    return None


def _pull_reduce_of_row(node: Expr, g: Expr, x: Expr) -> Expr | None:
    """All elements are one value x: count * x, x ** count, or x itself."""
    number, one = _count(g.dtype), const(1, g.dtype)
    if node.value == "add":
        return times(g, number)
    if node.value == "mul":
        partial = where(eq(x, 0), where(eq(number, 1), one, _zero(g)), number * node / x)
        return times(g, scalar.conj(partial))
    return g if node.value in ("max", "min") else None


def _pull_product(node: Expr, g: Expr, x: Expr) -> Expr:
    """g * (product of the others): out / x; for an only zero, the product without it.

    Derivatives of this again are right where no element is zero.
    """
    is_zero = eq(x, 0)
    real = dt.COMPLEX_PART.get(x.dtype, x.dtype)
    zeros = reduce.add(scalar.cast(is_zero, real))
    rest = reduce.mul(where(is_zero, const(1, x.dtype), x))
    at_zero = where(eq(zeros, 1), rest, _zero(x))
    elsewhere = where(eq(zeros, 0), node / x, _zero(x))
    return times(g, scalar.conj(where(is_zero, at_zero, elsewhere)))
