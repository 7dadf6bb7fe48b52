"""Large matrix products: both operands packed into panels, then blocks of register tiles.

After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): blocks of A
stay in the second-level cache, panels of B pass through, tiles of C stay in registers.
"""

from __future__ import annotations

from .bfloat_pairs import FEATURE, Pairs, PairSums, emit_pack_pairs
from .element import Element
from .ir import Builder
from .pack import emit_pack
from .plan import Fields, KernelSource
from .target import Target
from .tile import ACCUMULATE, BIAS_COLUMN, BIAS_ROW, PACKED, Operands, call_tile, emit_tile

# A is packed as [panel][k][rows], B as [panel][k][columns]; every panel is padded to full width.
PACK_FIELDS = Fields(
    "m n k a_row a_step b_step b_column b_panels a_panels a_batch b_batch a_at b_at a_bytes b_bytes"
    " a_argument b_argument a_offset b_offset"
)
TILE_FIELDS = Fields(
    "m n k c_row flags m_block n_block k_block m_tasks n_tasks c_batch c_offset a_at b_at"
    " a_bytes b_bytes"
)


def packed_shape(target: Target, element: Element) -> tuple[int, int]:
    """(rows, vectors) of the tile for packed operands."""
    registers = 32 if target.name in ("avx512", "neon") else 16
    rows, vectors = (8, 3) if registers == 32 else (6, 2)
    return (rows // 2, vectors) if element.complex else (rows, vectors)


def sources(dtype: str, target: Target, pairs: bool) -> tuple[KernelSource, KernelSource]:
    """The packing kernel (args C, A, B, bias, workspace, distance) and the tile kernel (the same
    args).

    `pairs`: operands are bfloat16 and packed two steps at a time; the tiles' k counts pairs.
    """
    key = f"gemm_packed:{dtype}:{target.name}" + ":pairs" * pairs

    def build() -> str:
        return _build_pairs(target) if pairs else _build(dtype, target)

    return KernelSource(key, build, "pack_operands"), KernelSource(key, build, "tiles")


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    c = Element(dtype, target)
    rows = packed_shape(target, c)[0]
    emit_pack(b, "pack_b", c, shared=True)
    emit_pack(b, "pack_a", c, rows, shared=True)
    return _emit_kernels(b, Operands(c.compute, c.compute, c), 1)


def _build_pairs(target: Target) -> str:
    b = Builder(target, FEATURE)
    c, pairs = PairSums(target), Pairs(target)
    emit_pack_pairs(b, "pack_b")
    emit_pack_pairs(b, "pack_a", packed_shape(target, c)[0])
    return _emit_kernels(b, Operands(pairs, pairs, c), 2)


def _emit_kernels(b: Builder, of: Operands, per_step: int) -> str:
    """Both kernels; `per_step`: steps of the sum that are packed as one."""
    rows, vectors = packed_shape(b.target, of.c)
    for width in range(1, vectors + 1):
        emit_tile(b, f"tile{width}", of, rows, width, PACKED)
    with b.kernel("pack_operands"):
        _emit_packing(b, of.c, rows, vectors, per_step)
    with b.kernel("tiles"):
        _emit_blocks(b, of, rows, vectors)
    return b.module()


def _emit_packing(b: Builder, c: Element, rows: int, vectors: int, per_step: int) -> None:
    """Task: one panel of B, or (after those) one of A; the batch is the slowest index."""
    d = PACK_FIELDS.load(b)
    columns = vectors * c.lanes
    workspace, far = b.argument(4), b.load("i64", b.argument(5), 8)
    a = b.offset(b.argument(d.a_argument), d.a_offset)
    bb = b.offset(b.argument(d.b_argument), d.b_offset)
    panels = b.add(d.a_panels, d.b_panels)
    steps = b.emit(f"udiv i64 {b.add(d.k, per_step - 1)}, {per_step}")
    with b.loop("%begin", "%end") as task:
        batch, panel = b.divide(task.index, panels)
        a_of = b.offset(a, b.mul(batch, d.a_batch))
        b_of = b.offset(bb, b.mul(batch, d.b_batch))

        def pack_b() -> None:
            j = b.mul(panel, columns)
            count = b.min(str(columns), b.sub(d.n, j))
            width = b.mul(b.emit(f"udiv i64 {b.add(count, c.lanes - 1)}, {c.lanes}"), c.lanes)
            to = b.offset(workspace, b.add(d.b_at, b.mul(batch, d.b_bytes)))
            to = b.offset(to, b.mul(b.mul(j, steps), c.compute.size))
            b.do(
                f"call void @pack_b(i64 {d.k}, ptr {b.offset(b_of, b.mul(j, d.b_column))}, "
                f"i64 {d.b_step}, i64 {d.b_column}, i64 {count}, ptr {to}, i64 {width}, i64 {far})"
            )

        def pack_a() -> None:
            i = b.mul(b.sub(panel, d.b_panels), rows)
            count = b.min(str(rows), b.sub(d.m, i))
            to = b.offset(workspace, b.add(d.a_at, b.mul(batch, d.a_bytes)))
            to = b.offset(to, b.mul(b.mul(i, steps), c.compute.size))
            b.do(
                f"call void @pack_a(i64 {d.k}, ptr {b.offset(a_of, b.mul(i, d.a_row))}, "
                f"i64 {d.a_step}, i64 {d.a_row}, i64 {count}, ptr {to}, i64 {rows}, i64 {far})"
            )

        b.choose(b.less(panel, d.b_panels), pack_b, pack_a)
    b.fence()


def _emit_blocks(b: Builder, of: Operands, rows: int, vectors: int) -> None:
    """Task: one block of C; k blocks outermost, then panels of B, then panels of A."""
    d = TILE_FIELDS.load(b)
    c = b.offset(b.argument(0), d.c_offset)
    bias, workspace = b.argument(3), b.argument(4)
    columns = vectors * of.c.lanes
    with b.loop("%begin", "%end") as task:
        batch, rest = b.divide(task.index, b.mul(d.m_tasks, d.n_tasks))
        down, across = b.divide(rest, d.n_tasks)
        m0, n0 = b.mul(down, d.m_block), b.mul(across, d.n_block)
        m1, n1 = b.min(b.add(m0, d.m_block), d.m), b.min(b.add(n0, d.n_block), d.n)
        a_of = b.offset(workspace, b.add(d.a_at, b.mul(batch, d.a_bytes)))
        b_of = b.offset(workspace, b.add(d.b_at, b.mul(batch, d.b_bytes)))
        c_of = b.offset(c, b.mul(batch, d.c_batch))
        with b.loop("0", d.k, d.k_block) as p:
            depth = b.min(d.k_block, b.sub(d.k, p.index))
            flags = _flags_of_block(b, d, p.index, depth)
            with b.loop(n0, n1, columns) as j, b.loop(m0, m1, rows) as i:
                _emit_tile_call(b, of, d, (a_of, b_of, c_of, bias), (i, j, p), depth, flags, rows)


def _flags_of_block(b: Builder, d, p: str, depth: str) -> str:
    """Later blocks of k add to the first; only the last applies bias and activation."""
    first = b.emit(f"icmp eq i64 {p}, 0")
    last = b.emit(f"icmp eq i64 {b.add(p, depth)}, {d.k}")
    adding = b.select(first, "i64", b.emit(f"and i64 {d.flags}, {ACCUMULATE}"), str(ACCUMULATE))
    final = b.select(last, "i64", b.emit(f"and i64 {d.flags}, {~ACCUMULATE}"), "0")
    return b.emit(f"or i64 {adding}, {final}")


def _emit_tile_call(b, of, d, bases, at, depth, flags, rows) -> None:
    a_of, b_of, c_of, bias = bases
    i, j, p = (loop.index for loop in at)
    c, size = of.c, of.a.size
    vectors = packed_shape(c.target, c)[1]
    columns = vectors * c.lanes
    count = b.min(b.sub(d.n, j), str(columns))
    used = b.emit(f"udiv i64 {b.add(count, c.lanes - 1)}, {c.lanes}")
    width = b.mul(used, c.lanes)
    a_at = b.offset(a_of, b.mul(b.add(b.mul(i, d.k), b.mul(p, rows)), size))
    b_at = b.offset(b_of, b.mul(b.add(b.mul(j, d.k), b.mul(p, width)), size))
    c_at = b.offset(c_of, b.add(b.mul(i, d.c_row), b.mul(j, c.size)))
    left = b.min(str(rows), b.sub(d.m, i))
    column = b.emit(f"icmp ne i64 {b.emit(f'and i64 {d.flags}, {BIAS_COLUMN}')}, 0")
    by_row = b.emit(f"icmp ne i64 {b.emit(f'and i64 {d.flags}, {BIAS_ROW}')}, 0")
    bias_at = b.select(column, "i64", b.mul(j, c.size), "0")
    bias_at = b.select(by_row, "i64", b.mul(i, c.size), bias_at)
    call_tile(
        b, "tile", vectors, used,
        f"i64 {depth}, ptr {a_at}, i64 0, i64 0, ptr {b_at}, i64 0, ptr {c_at}, i64 {d.c_row}, "
        f"i64 {left}, i64 {count}, i64 {flags}, ptr {b.offset(bias, bias_at)}",
    )  # fmt: skip
