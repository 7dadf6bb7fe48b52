"""Products with a long sum and few tiles of results: the sum in parts, from several threads.

Each part is a product that reads its operands in place (as `gemm_direct`) and leaves its results in
the workspace; they are added up in order, so that the number of threads does not matter.
"""

from __future__ import annotations

from types import SimpleNamespace

from .element import Element
from .gemm_direct import emit_panel, emit_tiles
from .ir import Builder
from .pack import emit_pack
from .plan import Fields, KernelSource
from .target import Target
from .tile import BIAS_COLUMN, BIAS_ROW, PARAMETERS, Operands, store_tile

# The workspace holds [product][part] results of `result` bytes, rows of `result_row` bytes; then
# for each thread a packed panel of B.
FIELDS = Fields(
    "m n k a_row a_step b_step b_column c_row flags part parts a_batch b_batch c_batch"
    " result result_row scratch_at scratch panel pack a_argument b_argument"
)


def sources(dtype: str, target: Target) -> tuple[KernelSource, KernelSource]:
    """The parts' kernel and the one that adds them; desc FIELDS, args C, A, B, bias, workspace."""
    key = f"gemm_parts:{dtype}:{target.name}"

    def build() -> str:
        return _build(dtype, target)

    return KernelSource(key, build, "parts"), KernelSource(key, build, "totals")


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    c = Element(dtype, target)
    of = Operands(c, c.compute, c.compute)
    emit_tiles(b, of)
    emit_pack(b, "pack", c, ahead=True)
    _emit_add(b, c)
    with b.kernel("parts"):
        _emit_parts(b, of)
    with b.kernel("totals"):
        _emit_totals(b, c)
    return b.module()


def _emit_parts(b: Builder, of: Operands) -> None:
    """Task: one part of the sum of one product of the batch."""
    d = FIELDS.load(b)
    workspace = b.argument(4)
    a, bb = b.argument(d.a_argument), b.argument(d.b_argument)
    scratch = b.offset(workspace, b.add(d.scratch_at, b.mul("%thread", d.scratch)))
    packing = b.emit(f"icmp ne i64 {d.pack}, 0")
    steps = SimpleNamespace(**vars(d) | {"c_row": d.result_row, "flags": "0"})
    with b.loop("%begin", "%end") as task:
        batch, part = b.divide(task.index, d.parts)
        first = b.mul(part, d.part)
        depth = b.min(d.part, b.sub(d.k, first))
        at = SimpleNamespace(
            depth=depth,
            steps=depth,
            a=b.offset(a, b.add(b.mul(batch, d.a_batch), b.mul(first, d.a_step))),
            b=b.offset(bb, b.add(b.mul(batch, d.b_batch), b.mul(first, d.b_step))),
            c=b.offset(workspace, b.mul(task.index, d.result)),
            bias=workspace,
            scratch=scratch,
            packing=packing,
        )
        with b.loop("0", d.n, d.panel) as j:
            emit_panel(b, of, steps, at, ("0", d.m), (j.index, d.n))


def _emit_add(b: Builder, c: Element) -> None:
    """Define `void add(tile.PARAMETERS)`: one vector of C is the sum of %depth of them at %a."""
    with b.function("add", PARAMETERS, "internal", "noinline"):
        tail = c.tail(b, "%columns")
        with b.loop("0", "%depth", carry=[(c.vector, c.zero)]) as part:
            more = c.compute.load(b, b.offset("%a", b.mul(part.index, "%a_step")))
            part.next(c.add(b, part.values[0], more))
        store_tile(b, c, list(part.values), 1, 1, tail)


def _emit_totals(b: Builder, c: Element) -> None:
    """Task: one row of one product of the batch."""
    d = FIELDS.load(b)
    lanes, size = c.lanes, c.compute.size
    out, bias, workspace = (b.argument(k) for k in (0, 3, 4))
    column = b.emit(f"icmp ne i64 {b.emit(f'and i64 {d.flags}, {BIAS_COLUMN}')}, 0")
    by_row = b.emit(f"icmp ne i64 {b.emit(f'and i64 {d.flags}, {BIAS_ROW}')}, 0")
    with b.loop("%begin", "%end") as task:
        batch, i = b.divide(task.index, d.m)
        sums = b.offset(workspace, b.mul(b.mul(batch, d.parts), d.result))
        sums = b.offset(sums, b.mul(i, d.result_row))
        to = b.offset(out, b.add(b.mul(batch, d.c_batch), b.mul(i, d.c_row)))
        with b.loop("0", d.n, lanes) as j:
            bias_at = b.select(column, "i64", b.mul(j.index, c.size), "0")
            bias_at = b.select(by_row, "i64", b.mul(i, c.size), bias_at)
            count = b.min(str(lanes), b.sub(d.n, j.index))
            b.do(
                f"call void @add(i64 {d.parts}, ptr {b.offset(sums, b.mul(j.index, size))}, i64 0, "
                f"i64 {d.result}, ptr null, i64 0, ptr {b.offset(to, b.mul(j.index, c.size))}, "
                f"i64 0, i64 1, i64 {count}, i64 {d.flags}, ptr {b.offset(bias, bias_at)})"
            )
