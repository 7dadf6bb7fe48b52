"""Loop programs with data: from an op and a type to kernel text, launches and the oracle's
answer."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

from flambeau.core import LoopOp
from flambeau.kernels import cdialect, oracle, scalar
from flambeau.kernels import dtypes as dt
from flambeau.kernels.loops import LoopSpec, Operand
from flambeau.kernels.scalar import Expr
from tests.cdialect.harness import (
    MEMORY,
    Launcher,
    arguments,
    base_of,
    element_strides,
    from_bf16,
    to_bf16,
)
from tests.kernels.loop_ops import trace

POINTWISE, REDUCTION, ROWS = 0, 1, 2
# Relative errors: expansions of f32 are right to an ulp or two, but bodies may cancel after them.
TOLERANCE = {"f16": 4e-3, "bf16": 3e-2, "f32": 3e-4, "f64": 1e-9, "c64": 3e-4, "c128": 1e-9}


class Program(NamedTuple):
    """A kernel and what its launches need."""

    name: str
    form: str
    op: LoopOp
    code: int
    text: str
    spec: LoopSpec
    rank: int


def make_program(op: LoopOp, code: int, form: str, index: int) -> Program | None:
    """The kernel of an op for operands of one type; None if it refuses the type."""
    record = op.record
    with scalar.tracing():
        found = trace(record, code)
        if found is None:
            return None
        root, stored, result = found
        ins = [
            Operand(s, _access(form, k, index) if k < record.operands else "s")
            for k, s in enumerate(stored)
        ]
        out = Operand(result, "g" if form == "nest" and index % 5 == 4 else "c")
        spec = LoopSpec(form, (out,), tuple(ins), (root,), record.form == REDUCTION)
        name = f"k{index}_{form}_{dt.BY_CODE[code].name}"
        rank = {"flat": 1, "nest": 2 + index % 2, "reduce": 1 + index % 2, "columns": 1}[form]
        numbers = len(stored) - record.operands
        text = cdialect.kernel(spec, name, scalars=numbers, rank=rank)
    return Program(name, form, op, code, text, spec, rank)


def _access(form: str, k: int, index: int) -> str:
    """Operand layouts in turn, so that all classes meet all kinds of op."""
    if form in ("flat", "columns"):
        return "s" if form == "flat" and k and index % 3 == 2 else "c"
    if form == "reduce":
        return "0" if k and index % 3 == 1 else ("g" if index % 3 == 2 else "c")
    return "cg0"[(index + k) % 3]


# ---- data ----------------------------------------------------------------------------------------


def draw(
    dtype: str, shape: tuple[int, ...], rng: np.random.Generator, special: bool = True
) -> np.ndarray:
    """Values as they lie in memory; floats with NaN, infinities and zeros of both signs if
    `special`."""
    count = int(np.prod(shape))
    kind = dt.kind(dtype)
    if kind == "b":
        return rng.integers(0, 2, shape).astype(np.bool_)
    if kind in "iu":
        return rng.integers(0 if kind == "u" else -6, 7, shape).astype(MEMORY[dtype])
    x = rng.standard_normal(count) * rng.choice([0.3, 1, 4], count)
    if kind == "c":
        return (x + 1j * rng.standard_normal(count)).astype(MEMORY[dtype]).reshape(shape)
    if count >= 30 and special:
        x[[3, 7, 11, 19, 23]] = [np.nan, np.inf, -np.inf, 0.0, -0.0]
    if dtype == "bf16":
        return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).reshape(shape)
    return x.astype(MEMORY[dtype]).reshape(shape)


def lay_out(
    dtype: str,
    access: str,
    shape: tuple[int, ...],
    rows: int,
    rng: np.random.Generator,
    special: bool = True,
) -> np.ndarray:
    """An array of the index space's shape with the strides of its access class."""
    if access == "s":
        return np.broadcast_to(draw(dtype, (1,), rng), shape)
    if access == "c":
        return draw(dtype, shape, rng, special)
    if access == "0":
        narrow = (*shape[:rows], *(1 for _ in shape[rows:])) if rows else (*shape[:-1], 1)
        return np.broadcast_to(draw(dtype, narrow, rng), shape)
    wide = draw(dtype, (*shape[:-1], 2 * shape[-1] + 1), rng, special)
    return wide[..., 1::2]


def shapes(program: Program) -> list[tuple[int, ...]]:
    """Index spaces to run: none, one, odd, and more elements than any schedule has threads."""
    if program.form == "flat":
        return [(0,), (1,), (33,), (1000,)]
    if program.form == "nest":
        return [(0, 3, 4)[: program.rank], (5, 3, 7)[: program.rank], (13, 11, 9)[: program.rank]]
    rows = [(1, 1), (3, 5), (2, 0 if _sums_nothing(program) else 3), (7, 2)]
    spans = [(1, 1), (1, 33), (3, 5), (2, 70)]
    heads = [r[: program.rank] for r in rows]
    result = [(*h, *s) for h, s in zip(heads, spans, strict=True)]
    return [*result, (*heads[1], 1, 0)] if _sums_nothing(program) else result


def _sums_nothing(program: Program) -> bool:
    """May the program run over nothing? NumPy knows no maximum of it."""
    nodes = scalar.topological(program.spec.roots)
    return not any(n.op == "reduce" and n.value[-3:] in ("max", "min") for n in nodes)


# ---- running -------------------------------------------------------------------------------------


class Run(NamedTuple):
    """Data of one index space."""

    shape: tuple[int, ...]
    arrays: list[object]  # out, operands, numbers
    expected: np.ndarray


def prepare(program: Program, shape: tuple[int, ...], graph: Expr, with_oracle: bool = True) -> Run:
    """Draw inputs, make room for the output, ask the oracle. Call within `scalar.tracing()`."""
    rng = np.random.default_rng(zlib.crc32(f"{program.name}{shape}".encode()))
    record, spec = program.op.record, program.spec
    columns = program.form == "columns"
    rows = program.rank if program.form in ("reduce", "columns") else 0
    # what is the same all along a row may cancel to nothing, and infinity times nothing is NaN
    special = not (rows and any(o.access == "0" for o in spec.ins))
    operands = []
    for name, o in zip(record.names, spec.ins[: record.operands], strict=False):
        # NaN has no integer to be read as
        finite = record.fixed.get(name) == "i64"
        x = lay_out(
            *(o.dtype, o.access, _turned(shape, columns), 0 if columns else rows, rng),
            special=special and not finite,
        )
        operands.append(np.moveaxis(x, -1, 0) if columns else x)
    numbers = _numbers(program)
    kept = shape[:rows] if spec.per_row else shape
    out = lay_out(spec.outs[0].dtype, spec.outs[0].access, _turned(kept, columns), 0, rng)
    out = np.moveaxis(out, -1, 0) if columns else out
    expected = np.empty(0)
    if with_oracle:
        axes = (rows, rows + 1) if rows else ()
        inputs = [*operands, *(np.asarray(v) for v in numbers)]
        expected = ask_oracle(graph, inputs, [o.dtype for o in spec.ins], axes)
        expected = np.broadcast_to(expected, (*kept, 1, 1) if spec.per_row else shape).reshape(kept)
    return Run(shape, [out, *operands, *numbers], expected)


def _turned(shape: tuple[int, ...], columns: bool) -> tuple[int, ...]:
    """The shape in memory: in the columns form the rows are adjacent."""
    return (*shape[1:], shape[0]) if columns else shape


def _numbers(program: Program) -> list[object]:
    record = program.op.record
    names = record.names[record.operands :]
    defaults = dict(zip(names[len(names) - len(record.defaults) :], record.defaults, strict=True))
    result = []
    for name, o in zip(names, program.spec.ins[record.operands :], strict=True):
        value = defaults.get(name, 1)
        value = value if isinstance(value, bool | int | float) else 1
        value = abs(value) if dt.kind(o.dtype) == "u" else value
        result.append(MEMORY[o.dtype](value))
    return result


def ask_oracle(graph: Expr, inputs: list, types: list[str], axes: tuple[int, ...]) -> np.ndarray:
    """The oracle's value; NumPy has no bfloat16, so such inputs go in as float32."""

    def visit(n: Expr, args: tuple) -> Expr:
        if n.op == "input" and n.dtype == "bf16":
            return scalar.input(n.value, "f32")
        if n.op == "cast" and "bf16" in (n.dtype, n.args[0].dtype):
            return scalar.cast(args[0], "f32" if n.dtype == "bf16" else n.dtype)
        return scalar.node(n.op, args, n.dtype, n.value) if args else n

    (plain,) = scalar.rebuild([graph], visit)
    arrays = [from_bf16(x) if t == "bf16" else x for x, t in zip(inputs, types, strict=True)]
    return oracle.evaluate([plain], arrays, axes)[0]


def launch(
    program: Program, launcher: Launcher, run: Run, schedule: tuple[int, int, int]
) -> np.ndarray:
    """Run the kernel once; the output, fresh."""
    record, spec = program.op.record, program.spec
    reduces = program.form in ("reduce", "columns")
    out = fresh_like(run.arrays[0])
    arrays = [out, *run.arrays[1:]]
    outer, inner = run.shape[-2:] if reduces else (1, 1)
    head = run.shape[: program.rank]
    sizes = {f"n{d}": n for d, n in enumerate(head) if d}
    sizes |= {"n": int(np.prod(run.shape)), "rows": int(np.prod(head))}
    sizes |= {"outer": outer, "inner": inner, "count": outer * inner}
    strides = [element_strides(a) for a in arrays[: 1 + record.operands]]
    numbers = len(spec.ins) - record.operands
    values = arguments(spec, arrays, sizes, strides, scalars=numbers, rank=program.rank)
    blocks, threads, backwards = schedule
    launcher(
        program.name, values, blocks=blocks, threads=threads,
        meets=not cdialect.is_barrier_free(spec), backwards=bool(backwards),
    )  # fmt: skip
    return out


def fresh_like(out: np.ndarray) -> np.ndarray:
    """Memory of its own in the same layout, filled with what no kernel writes."""
    base = np.full_like(base_of(out), 77)
    offset = out.ctypes.data - base_of(out).ctypes.data if out.size else 0
    return np.ndarray(out.shape, out.dtype, base.data, offset, out.strides)


def assert_right(program: Program, got: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Equal for integers and bool; near, with NaN and infinities in the same places, for the
    rest."""
    dtype = program.spec.outs[0].dtype
    if dtype == "bf16":
        got, expected = from_bf16(got), from_bf16(to_bf16(expected))
    if dtype not in TOLERANCE:
        np.testing.assert_array_equal(got, expected, err_msg=what)
        return
    wide = np.complex128 if dt.is_complex(dtype) else np.float64
    finite = np.abs(expected[np.isfinite(expected)])
    scale = min(float(finite.max(initial=1.0)), 20.0)
    near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype] * scale}
    np.testing.assert_allclose(got.astype(wide), expected.astype(wide), err_msg=what, **near)
