"""The derivative programs of a loop op, from its body or from the rule given on its record."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core import LoopOp
from ..kernels import scalar
from ..kernels.lazy import cache
from ..kernels.lazy import derive as rules
from ..kernels.scalar import Expr
from .identity import identify
from .program import MOST_OPERANDS, POINTWISE, REDUCTION, ROWS
from .promotion import Promote

if TYPE_CHECKING:
    from .program import LoopRecord

_G, _OUT = 200, 201  # stand-ins while the derivative's structure is worked out
_stand_ins = itertools.count(1000)  # for operands that a derivative does not read


class _Shape(NamedTuple):
    """What a derivative looks like, whatever the types: all there is to know before it compiles."""

    zero: bool = False
    identity: bool = False  # it is the cotangent itself
    mask: int = 0  # of the operands it reads
    with_out: bool = False  # it reads the output
    reduces: bool = False
    counts: bool = False  # it reads the number of reduced elements


_ZERO = _Shape(zero=True)


def derive(record: LoopRecord, op: LoopOp) -> tuple[list, list[int]]:
    """Per operand: its derivative op (None zero, True the cotangent itself) and what it reads.

    Of a pointwise step (`sign`, `floor`) every derivative is an op that makes zeros: the result
    has a history, so who asks for a gradient gets one.
    """
    custom = getattr(op, "vjp", None)
    shapes = _derivative_shapes(record, custom)
    if record.form == POINTWISE and all(shape.zero for shape in shapes):
        shapes = [
            _ZERO if record.fixed.get(name) in ("bool", "i64") else _Shape()
            for name in record.names[: record.operands]
        ]
    made = [
        _make_derivative(record, i, _graph_of(record, custom, i), shape)
        for i, shape in enumerate(shapes)
    ]
    return [rule for rule, _ in made], [mask for _, mask in made]


def _graph_of(record: LoopRecord, custom: Callable | None, i: int) -> Callable:
    return _custom_graph(record, custom, i) if custom is not None else _auto_graph(record, i)


def _derivative_shapes(record: LoopRecord, custom: Callable | None) -> list[_Shape]:
    """What each operand's derivative looks like: noted on disk, for tracing it takes the
    compiler."""
    key = _derivative_key(record, custom)
    found = cache.recall(key) if key is not None else None
    width = len(_Shape._fields)
    if found is not None and len(found[1]) == width * record.operands:
        rows = zip(*[iter(found[1])] * width, strict=True)
        # bool again: derived bodies hold on to these, and 1 would be another body than True
        return [_Shape(bool(z), bool(i), m, bool(o), bool(r), bool(c)) for z, i, m, o, r, c in rows]
    shapes = [
        _derivative_shape(record, _graph_of(record, custom, i), i) for i in range(record.operands)
    ]
    if key is not None:
        cache.remember(key, [], [int(fact) for shape in shapes for fact in shape])
    return shapes


def _derivative_key(record: LoopRecord, custom: Callable | None) -> str | None:
    if record.identity is None:
        record.identity = identify(record) or ""
    rule = identify(custom)
    return f"derive {record.identity} {rule}" if record.identity and rule else None


def _derivative_shape(record: LoopRecord, graph: Callable, i: int) -> _Shape:
    if record.fixed.get(record.names[i]) in ("bool", "i64"):
        return _ZERO
    found: set[int] = set()
    reduces = wants_count = False
    zero = identity = True
    for kind in "fc":
        if kind not in record.accepts and not (kind == "f" and "c" not in record.accepts):
            continue
        with scalar.tracing():
            root = _structure(record, graph, kind)
            if root is None:
                continue
            zero = False
            nodes = scalar.topological([root])
            identity = identity and root.op == "input" and root.value == _G
            found |= {n.value for n in nodes if n.op == "input"}
            reduces = reduces or any(n.op == "reduce" for n in nodes)
            wants_count = wants_count or any(n.op == "count" for n in nodes)
    if zero:
        return _ZERO
    if identity:
        return _Shape(identity=True)
    mask = sum(1 << k for k in range(record.operands) if k in found)
    return _Shape(False, False, mask, _OUT in found, reduces, wants_count)


def _make_derivative(record: LoopRecord, i: int, graph: Callable, shape: _Shape) -> tuple[Any, int]:
    if shape.zero:
        return None, 0
    if shape.identity:
        return True, 0
    used = [k for k in range(record.operands) if shape.mask >> k & 1]
    reads = len(used) + 1 + shape.with_out
    if record.linear and i > 0 and 0 in used and reads > MOST_OPERANDS:
        return _derive_premultiplied(record, i, graph, used[1:], shape.with_out)
    made = _derived_op(record, i, graph, used, *shape[3:])
    return made, shape.mask | (1 << 30 if shape.with_out else 0)


def _derive_premultiplied(
    record: LoopRecord, i: int, graph: Callable, used: list[int], with_out: bool
) -> tuple[Any, int]:
    """The derivative as an op of (cotangent * operand 0) and the rest, which are no more than
    before.

    An op that is itself a derivative is linear in its operand 0, the cotangent before; so
    derivatives of any order stay within the operands a loop op may have.
    """

    def at_one(operands: list, *rest: Any) -> Any:
        return graph([scalar.const(1, rest[1].dtype), *operands[1:]], *rest)

    mask = sum(1 << k for k in used) | 1 | (1 << 29) | (1 << 30 if with_out else 0)
    return _derived_op(record, i, at_one, used, with_out, False, False), mask


def _structure(record: LoopRecord, graph: Callable, kind: str) -> Expr | None:
    """The derivative's graph over double-precision stand-ins."""
    main = "f64" if kind == "f" else "c128"
    operands = [
        scalar.input(k, record.fixed.get(n, main))
        for k, n in enumerate(record.names[: record.operands])
    ]
    scalars = [
        scalar.input(100 + k, "i64" if n in record.integers else "f64")
        for k, n in enumerate(record.names[record.operands :])
    ]
    return graph(operands, scalars, None, None)


def _derived_op(
    record: LoopRecord,
    i: int,
    graph: Callable,
    used: list[int],
    with_out: bool,
    reduces: bool,
    count: bool,
) -> LoopOp:
    kept = [record.names[k] for k in used]
    scalars = list(record.names[record.operands :])
    names = [_unused("g", kept + scalars), *kept]
    if with_out:
        names.append(_unused("out", names + scalars))
    as_scalar = count and not reduces
    total = record.operands

    def body(*handles: Expr) -> Expr:
        g, rest = handles[0], list(handles[1:])
        like = g.dtype
        # Stand-ins have numbers of their own: derivatives nest, and equal inputs are one node.
        operands = [
            rest.pop(0)
            if k in used
            else scalar.input(next(_stand_ins), record.fixed.get(record.names[k], like))
            for k in range(total)
        ]
        out = rest.pop(0) if with_out else None
        result = graph(
            operands, rest[: len(scalars)], g, out, rest[len(scalars)] if as_scalar else None
        )
        return result if result is not None else scalar.const(0, g.dtype)

    parameters = names + scalars + ([_unused("count", names + scalars)] if as_scalar else [])
    made = type(record)(
        ROWS if reduces else POINTWISE,
        _by_position(body, len(names), parameters),
        name=f"{record.name}_vjp{i}",
        promote=Promote.EACH,
        accepts="buifc" if "c" in record.accepts else "buif",
        fixed={n: record.fixed[n] for n in names if n in record.fixed},
        integers=[s for s in scalars if s in record.integers],
        operands=len(names),
        names=parameters,
        uniform=[
            n
            for n in kept
            if n in (record.uniform if record.promote is Promote.EACH else record.over)
        ],
        count=as_scalar,
        doc=f"Derivative of {record.name} with respect to {record.names[i]}.",
    )
    made.linear = not reduces
    return made.make_op()


def _by_position(body: Callable, operands: int, parameters: list[str]) -> Callable:
    """The body taking its scalars by keyword, as records call it."""

    def call(*args: Expr, **scalars: Expr) -> Expr:
        return body(*args, *(scalars[p] for p in parameters[operands:]))

    return call


def _forward(record: LoopRecord, operands: list[Expr], scalars: list[Expr]) -> Expr:
    return record.body(
        *operands, **dict(zip(record.names[record.operands :], scalars, strict=True))
    )


def _row_inputs(record: LoopRecord, extra: list[Expr | None]) -> frozenset[int]:
    """Inputs with one value a row: cotangent and output of a reduction. Anything else may
    broadcast, and
    the core sums its gradient over the broadcast dimensions."""
    if record.form != REDUCTION:
        return frozenset()
    return frozenset(_leaf_index(e) for e in extra if e is not None)


def _unused(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _leaf_index(e: Expr) -> int:
    while e.op != "input":
        e = e.args[0]
    return e.value


def _auto_graph(record: LoopRecord, i: int) -> Callable:
    """The derivative from the body; called with g=None it works on stand-ins."""

    def graph(operands, scalars, g, out, count=None) -> Expr | None:
        root = _forward(record, operands, scalars)
        structure = g is None
        g = g if g is not None else scalar.input(_G, root.dtype)
        if g.dtype != root.dtype:
            g = scalar.cast(g, root.dtype)
        rows = _row_inputs(record, [g, out])
        result = rules.vjp([root], [g], [operands[i]], rows)[0]
        if result is None:
            return None
        stand_in = (
            out if out is not None else (scalar.input(_OUT, root.dtype) if structure else None)
        )
        if stand_in is not None:
            result = _use_output(result, root, stand_in, len(operands), force=not structure)
        return _replace_count(result, count)

    return graph


def _use_output(result: Expr, root: Expr, out: Expr, operands: int, force: bool) -> Expr:
    """Read the saved output instead of recomputing it, where that leaves fewer operands to save."""

    def visit(n: Expr, args: tuple) -> Expr:
        return out if n is root else scalar.with_args(n, args)

    (replaced,) = scalar.rebuild([result], visit)
    before = {
        n.value for n in scalar.topological([result]) if n.op == "input" and n.value < operands
    }
    after = {
        n.value for n in scalar.topological([replaced]) if n.op == "input" and n.value < operands
    }
    return replaced if force or len(after) < len(before) else result


def _replace_count(result: Expr, count: Expr | None) -> Expr:
    if count is None:
        return result

    def visit(n: Expr, args: tuple) -> Expr:
        return scalar.cast(count, n.dtype) if n.op == "count" else scalar.with_args(n, args)

    return scalar.rebuild([result], visit)[0]


def _custom_graph(record: LoopRecord, custom: Callable, i: int) -> Callable:
    """The derivative given on the record: vjp(g, operands, out) -> a cotangent or a tuple."""
    code = custom.__code__
    wanted = list(code.co_varnames[1 : code.co_argcount])

    def graph(operands, scalars, g, out, count=None) -> Expr | None:
        root = None
        if g is None or "out" in wanted:
            root = _forward(record, operands, scalars) if out is None else out
        g = g if g is not None else scalar.input(_G, root.dtype)  # type: ignore[union-attr]
        values = dict(zip(record.names, [*operands, *scalars], strict=True))
        if "out" in wanted:
            values["out"] = out if out is not None else scalar.input(_OUT, root.dtype)  # type: ignore[union-attr]
        result = custom(g, *(values[w] for w in wanted))
        if isinstance(result, tuple):
            result = result[i]
        return None if result is None else _replace_count(result, count)

    return graph
