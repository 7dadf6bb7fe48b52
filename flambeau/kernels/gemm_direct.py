"""Matrix products that read A in place, and B too where its columns lie side by side.

For small sizes: one phase, no copies but those of a B whose columns are apart.
"""

from __future__ import annotations

from types import SimpleNamespace

from .bfloat_pairs import FEATURE, Pairs, PairSums, emit_pack_pairs
from .element import Element
from .ir import Builder
from .pack import emit_pack
from .plan import Fields, KernelSource
from .target import Target
from .tile import BIAS_COLUMN, BIAS_ROW, STRIDED, Operands, emit_tile, tile_shape

FIELDS = Fields(
    "m n k a_row a_step b_step b_column c_row flags m_block n_block m_tasks n_tasks"
    " a_batch b_batch c_batch panel pack scratch a_argument b_argument"
)


def source(dtype: str, target: Target, pairs: bool = False) -> KernelSource:
    """The kernel; its desc is FIELDS, args C, A, B, bias, workspace.

    `pairs`: operands are bfloat16, the sum takes two steps at a time. They are even in number and
    side by side in A, whose a_step is of two; B is always packed.
    """
    key = f"gemm_direct:{dtype}:{target.name}" + ":pairs" * pairs
    return KernelSource(key, lambda: _build(dtype, target, pairs), "direct")


def row_choices(target: Target, element: Element) -> list[int]:
    """The tile heights compiled, the largest first."""
    rows = tile_shape(target, element)[0]
    return sorted({rows, rows // 2, 1}, reverse=True)


def _build(dtype: str, target: Target, pairs: bool) -> str:
    b = Builder(target, FEATURE) if pairs else Builder(target)
    c = Element(dtype, target)
    of = Operands(Pairs(target), Pairs(target), PairSums(target)) if pairs else None
    of = of or Operands(c, c.compute, c)
    emit_tiles(b, of)
    if pairs:
        emit_pack_pairs(b, "pack", ahead=True)
    else:
        emit_pack(b, "pack", c, ahead=True)
    with b.kernel("direct"):
        _emit_tasks(b, of, 2 if pairs else 1)
    return b.module()


def emit_tiles(b: Builder, of: Operands) -> None:
    """Define the tiles that `emit_panel` calls; it wants a function `pack` too."""
    vectors = tile_shape(b.target, of.a)[1]
    for rows in row_choices(b.target, of.a):
        for width in range(1, vectors + 1):
            emit_tile(b, f"tile{rows}x{width}", of, rows, width, STRIDED)


def _emit_tasks(b: Builder, of: Operands, per_step: int) -> None:
    d = FIELDS.load(b)
    c, bias, workspace = (b.argument(k) for k in (0, 3, 4))
    a, bb = b.argument(d.a_argument), b.argument(d.b_argument)
    scratch = b.offset(workspace, b.mul("%thread", d.scratch))
    packing = b.emit(f"icmp ne i64 {d.pack}, 0")
    with b.loop("%begin", "%end") as task:
        grid = b.mul(d.m_tasks, d.n_tasks)
        batch, rest = b.divide(task.index, grid)
        down, across = b.divide(rest, d.n_tasks)
        m0, n0 = b.mul(down, d.m_block), b.mul(across, d.n_block)
        m1, n1 = b.min(b.add(m0, d.m_block), d.m), b.min(b.add(n0, d.n_block), d.n)
        at = SimpleNamespace(
            a=b.offset(a, b.mul(batch, d.a_batch)),
            b=b.offset(bb, b.mul(batch, d.b_batch)),
            c=b.offset(c, b.mul(batch, d.c_batch)),
            bias=bias,
            scratch=scratch,
            packing=packing,
            depth=d.k,
            steps=b.emit(f"udiv i64 {d.k}, {per_step}"),
        )
        with b.loop(n0, n1, d.panel) as j:
            emit_panel(b, of, d, at, (m0, m1), (j.index, n1))


def emit_panel(b: Builder, of: Operands, d, at, rows, columns) -> None:
    """Call all row tiles against one panel of B.

    d: a_row, a_step, b_step, b_column, b_batch, c_row, flags, panel; at: a, b, c, bias, scratch,
    packing, depth (of the sum), steps (of the tiles, as many unless they take pairs); rows and
    columns: (first, end).
    """
    (m0, m1), (j, n1) = rows, columns
    heights, vectors = row_choices(b.target, of.a), tile_shape(b.target, of.a)[1]
    lanes, size = of.c.lanes, of.c.size
    count = b.min(d.panel, b.sub(n1, j))
    used = b.emit(f"udiv i64 {b.add(count, lanes - 1)}, {lanes}")
    direct = b.offset(at.b, b.mul(j, d.b_column))
    width = b.mul(used, lanes)
    # What is packed next: the next panel where columns are long, else this one of the next product.
    ahead = b.select(b.less(d.b_step, d.b_column), "i64", b.mul(width, d.b_column), d.b_batch)

    def pack_panel() -> list[str]:
        b.do(
            f"call void @pack(i64 {at.depth}, ptr {direct}, i64 {d.b_step}, i64 {d.b_column}, "
            f"i64 {count}, ptr {at.scratch}, i64 {width}, i64 {ahead})"
        )
        return [at.scratch, b.mul(width, of.b.size)]

    panel, step = b.choose(at.packing, pack_panel, lambda: [direct, d.b_step], ["ptr", "i64"])
    column = b.emit(f"and i64 {d.flags}, {BIAS_COLUMN}")
    by_row = b.emit(f"and i64 {d.flags}, {BIAS_ROW}")
    column_at = b.select(b.emit(f"icmp ne i64 {column}, 0"), "i64", b.mul(j, size), "0")
    row_step = b.select(b.emit(f"icmp ne i64 {by_row}, 0"), "i64", str(size), "0")
    bias = b.offset(at.bias, column_at)

    def run(i: str, height: int, left: str) -> None:
        a_at = b.offset(at.a, b.mul(i, d.a_row))
        c_at = b.offset(at.c, b.add(b.mul(i, d.c_row), b.mul(j, size)))
        bias_at = b.offset(bias, b.mul(i, row_step))

        def call(w: int):
            return lambda: b.do(
                f"call void @tile{height}x{w}(i64 {at.steps}, ptr {a_at}, i64 {d.a_row}, "
                f"i64 {d.a_step}, ptr {panel}, i64 {step}, ptr {c_at}, i64 {d.c_row}, i64 {left}, "
                f"i64 {count}, i64 {d.flags}, ptr {bias_at})"
            )

        b.switch(used, [(w, call(w)) for w in range(1, vectors + 1)])

    _emit_rows(b, m0, m1, heights, run)


def _emit_rows(b: Builder, m0: str, m1: str, heights: list[int], run) -> None:
    """Tiles of full height, then one of the least height that holds the rows left."""
    tall = heights[0]
    count = b.sub(m1, m0)
    whole = b.add(m0, b.sub(count, b.emit(f"urem i64 {count}, {tall}")))
    with b.loop(m0, whole, tall) as i:
        run(i.index, tall, str(tall))
    left = b.sub(m1, whole)

    def tail(k: int) -> None:
        if k + 1 == len(heights):
            with b.when(b.less("0", left)):
                run(whole, heights[k], left)
            return
        fits = b.less(str(heights[k + 1]), left)
        b.choose(fits, lambda: run(whole, heights[k], left), lambda: tail(k + 1))

    tail(0)
