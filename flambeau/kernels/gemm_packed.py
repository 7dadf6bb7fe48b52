"""Large matrix products: operands packed into panels, then blocks of register tiles.

After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): a block of
A stays in the second-level cache, panels of B pass through, tiles of C stay in registers. Each task
packs the blocks of A that it needs beside its tiles; B is packed for all tasks, a part at a time,
or (where no other task reads it) by the task too. So what is packed never takes more than some MB.
"""

from __future__ import annotations

from types import SimpleNamespace

from .bfloat_pairs import FEATURE, Pairs, PairSums, emit_pack_pairs
from .element import Element
from .ir import Builder
from .pack import emit_pack
from .plan import Fields, KernelSource
from .target import Target
from .tile import ACCUMULATE, BIAS_COLUMN, BIAS_ROW, PACKED, Operands, call_tile, emit_tile

# A is packed as [panel][k][rows], B as [panel][k][columns]; every panel is padded to full width.
# k counts steps of the sum; what is packed holds `k_packed` of them, which is half with pairs.
PACK_FIELDS = Fields(
    "n k b_step b_column b_batch b_offset b_argument b_bytes k_packed k_chunk k_chunks n_chunk"
    " n_chunks"
)
# The workspace: B where it is packed for all (b_bytes for each product of a batch), then `scratch`
# bytes for each thread: a block of A, and of B where `own_b`.
TILE_FIELDS = Fields(
    "m n k c_row flags m_block n_block a_block k_block m_tasks n_tasks a_row a_step a_batch"
    " a_offset b_step b_column b_batch c_batch c_offset bias_offset b_bytes k_packed own_b"
    " scratch_at scratch scratch_b a_argument b_argument"
)
STRIP = 16  # steps of the sum that are packed for one panel before the next, where rows are long


def packed_shape(target: Target, element: Element) -> tuple[int, int]:
    """(rows, vectors) of the tile for packed operands."""
    registers = 32 if target.name in ("avx512", "neon") else 16
    rows, vectors = (8, 3) if registers == 32 else (6, 2)
    return (rows // 2, vectors) if element.complex else (rows, vectors)


def sources(dtype: str, target: Target, pairs: bool) -> tuple[KernelSource, KernelSource]:
    """The kernel that packs B (args C, A, B, bias, workspace, distance) and the one of the tiles
    (the same args).

    `pairs`: operands are bfloat16 and packed two steps at a time.
    """
    key = f"gemm_packed:{dtype}:{target.name}" + ":pairs" * pairs

    def build() -> str:
        return _build_pairs(target) if pairs else _build(dtype, target)

    return KernelSource(key, build, "pack_shared"), KernelSource(key, build, "tiles")


def _build(dtype: str, target: Target) -> str:
    b = Builder(target)
    c = Element(dtype, target)
    emit_pack(b, "pack_b", c, shared=True)
    emit_pack(b, "pack_a", c, packed_shape(target, c)[0])
    return _Packed(b, Operands(c.compute, c.compute, c), 1).build()


def _build_pairs(target: Target) -> str:
    b = Builder(target, FEATURE)
    c, pairs = PairSums(target), Pairs(target)
    emit_pack_pairs(b, "pack_b", shared=True)
    emit_pack_pairs(b, "pack_a", packed_shape(target, c)[0])
    return _Packed(b, Operands(pairs, pairs, c), 2).build()


class _Packed:
    """Both kernels; `per_step`: steps of the sum that are packed as one."""

    def __init__(self, b: Builder, of: Operands, per_step: int) -> None:
        self.b, self.of, self.per_step = b, of, per_step
        self.rows, self.vectors = packed_shape(b.target, of.c)
        self.columns = self.vectors * of.c.lanes

    def build(self) -> str:
        b = self.b
        for width in range(1, self.vectors + 1):
            emit_tile(b, f"tile{width}", self.of, self.rows, width, PACKED)
        with b.kernel("pack_shared"):
            self._emit_shared_packing()
        with b.kernel("tiles"):
            self._emit_blocks()
        return b.module()

    def packed(self, steps: str) -> str:
        """What so many steps of the sum are packed as."""
        if self.per_step == 1:
            return steps
        b = self.b
        return b.emit(f"udiv i64 {b.add(steps, self.per_step - 1)}, {self.per_step}")

    def whole_vectors(self, count: str) -> str:
        b, lanes = self.b, self.of.c.lanes
        return b.mul(b.emit(f"udiv i64 {b.add(count, lanes - 1)}, {lanes}"), lanes)

    # ---- packing ---------------------------------------------------------------------------------

    def _emit_shared_packing(self) -> None:
        """Task: some steps of the sum of some panels; the batch is the slowest index."""
        b = self.b
        d = PACK_FIELDS.load(b)
        far = b.load("i64", b.argument(5), 8)
        start = b.offset(b.argument(d.b_argument), d.b_offset)
        with b.loop("%begin", "%end") as task:
            batch, rest = b.divide(task.index, b.mul(d.k_chunks, d.n_chunks))
            down, across = b.divide(rest, d.n_chunks)
            k0, n0 = b.mul(down, d.k_chunk), b.mul(across, d.n_chunk)
            self._pack_columns(
                d, b.offset(start, b.mul(batch, d.b_batch)), (k0, b.min(b.add(k0, d.k_chunk), d.k)),
                (n0, b.min(b.add(n0, d.n_chunk), d.n)),
                b.offset(b.argument(4), b.mul(batch, d.b_bytes)), d.k_packed, far,
            )  # fmt: skip
        b.fence()

    def _pack_columns(self, d, source: str, steps, columns, to: str, k_packed: str, far: str):
        """Panels of B (of which the workspace holds k_packed steps), some steps of the sum."""
        b, size = self.b, self.of.b.size
        (k0, k1), (n0, n1) = steps, columns
        with b.loop(n0, n1, self.columns) as j:
            count = b.min(str(self.columns), b.sub(n1, j.index))
            width = self.whole_vectors(count)
            at = b.offset(source, b.add(b.mul(j.index, d.b_column), b.mul(k0, d.b_step)))
            place = b.add(b.mul(j.index, k_packed), b.mul(self.packed(k0), width))
            b.do(
                f"call void @pack_b(i64 {b.sub(k1, k0)}, ptr {at}, i64 {d.b_step}, "
                f"i64 {d.b_column}, i64 {count}, ptr {b.offset(to, b.mul(place, size))}, "
                f"i64 {width}, i64 {far})"
            )

    def _pack_rows(self, d, source: str, rows: str, depth: str, to: str) -> None:
        """A block of A: panel by panel, or in strips where the rows of A lie side by side."""
        b, size = self.b, self.of.a.size
        steps = self.packed(depth)
        by_rows = b.less(d.a_row, d.a_step)
        strip = b.select(by_rows, "i64", str(STRIP), b.max(depth, "1"))
        with b.loop("0", depth, strip) as k, b.loop("0", rows, self.rows) as i:
            at = b.offset(source, b.add(b.mul(i.index, d.a_row), b.mul(k.index, d.a_step)))
            place = b.add(b.mul(i.index, steps), b.mul(self.packed(k.index), self.rows))
            b.do(
                f"call void @pack_a(i64 {b.min(strip, b.sub(depth, k.index))}, ptr {at}, "
                f"i64 {d.a_step}, i64 {d.a_row}, i64 {b.min(str(self.rows), b.sub(rows, i.index))},"
                f" ptr {b.offset(to, b.mul(place, size))}, i64 {self.rows})"
            )

    # ---- tiles -----------------------------------------------------------------------------------

    def _emit_blocks(self) -> None:
        """Task: one block of C; blocks of k outermost, then blocks of A, then panels of B."""
        b = self.b
        d = TILE_FIELDS.load(b)
        a = b.offset(b.argument(d.a_argument), d.a_offset)
        bb, workspace = b.argument(d.b_argument), b.argument(4)
        c, bias = b.offset(b.argument(0), d.c_offset), b.offset(b.argument(3), d.bias_offset)
        own = b.emit(f"icmp ne i64 {d.own_b}, 0")
        scratch = b.offset(workspace, b.add(d.scratch_at, b.mul("%thread", d.scratch)))
        with b.loop("%begin", "%end") as task:
            batch, rest = b.divide(task.index, b.mul(d.m_tasks, d.n_tasks))
            down, across = b.divide(rest, d.n_tasks)
            m0, n0 = b.mul(down, d.m_block), b.mul(across, d.n_block)
            m1, n1 = b.min(b.add(m0, d.m_block), d.m), b.min(b.add(n0, d.n_block), d.n)
            at = SimpleNamespace(
                a=b.offset(a, b.mul(batch, d.a_batch)),
                c=b.offset(c, b.mul(batch, d.c_batch)),
                bias=bias,
                packed_a=scratch,
            )
            b_of = b.offset(bb, b.mul(batch, d.b_batch))
            shared = b.offset(workspace, b.mul(batch, d.b_bytes))
            own_b = b.offset(scratch, d.scratch_b)
            with b.loop("0", d.k, d.k_block) as p:
                depth = b.min(d.k_block, b.sub(d.k, p.index))

                def pack_own(depth: str = depth, p: str = p.index) -> list[str]:
                    source = b.offset(b_of, b.add(b.mul(p, d.b_step), b.mul(n0, d.b_column)))
                    self._pack_columns(
                        d, source, ("0", depth), ("0", b.sub(n1, n0)), own_b, self.packed(depth),
                        "0",
                    )  # fmt: skip
                    return [own_b, self.packed(depth), "0", n0]

                at.b, at.b_depth, at.b_first, at.b_column = b.choose(
                    own, pack_own, lambda p=p.index: [shared, d.k_packed, self.packed(p), "0"],
                    ["ptr", "i64", "i64", "i64"],
                )  # fmt: skip
                at.flags = self._flags_of_block(d, p.index, depth)
                with b.loop(m0, m1, d.a_block) as block:
                    i1 = b.min(b.add(block.index, d.a_block), m1)
                    rows_at = b.add(b.mul(block.index, d.a_row), b.mul(p.index, d.a_step))
                    source = b.offset(at.a, rows_at)
                    self._pack_rows(d, source, b.sub(i1, block.index), depth, at.packed_a)
                    at.depth, at.first_row = self.packed(depth), block.index
                    with b.loop(n0, n1, self.columns) as j, b.loop(block.index, i1, self.rows) as i:
                        self._emit_tile_call(d, at, i.index, j.index, i1)

    def _flags_of_block(self, d, p: str, depth: str) -> str:
        """Later blocks of k add to the first; only the last applies bias and activation."""
        b = self.b
        first = b.emit(f"icmp eq i64 {p}, 0")
        last = b.emit(f"icmp eq i64 {b.add(p, depth)}, {d.k}")
        adding = b.select(first, "i64", b.emit(f"and i64 {d.flags}, {ACCUMULATE}"), str(ACCUMULATE))
        final = b.select(last, "i64", b.emit(f"and i64 {d.flags}, {~ACCUMULATE}"), "0")
        return b.emit(f"or i64 {adding}, {final}")

    def _emit_tile_call(self, d, at: SimpleNamespace, i: str, j: str, last_row: str) -> None:
        b, c, size = self.b, self.of.c, self.of.a.size
        count = b.min(b.sub(d.n, j), str(self.columns))
        width = self.whole_vectors(count)
        a_at = b.offset(at.packed_a, b.mul(b.mul(b.sub(i, at.first_row), at.depth), size))
        place = b.add(b.mul(b.sub(j, at.b_column), at.b_depth), b.mul(at.b_first, width))
        b_at = b.offset(at.b, b.mul(place, size))
        c_at = b.offset(at.c, b.add(b.mul(i, d.c_row), b.mul(j, c.size)))
        left = b.min(str(self.rows), b.sub(last_row, i))
        column = b.emit(f"icmp ne i64 {b.emit(f'and i64 {d.flags}, {BIAS_COLUMN}')}, 0")
        by_row = b.emit(f"icmp ne i64 {b.emit(f'and i64 {d.flags}, {BIAS_ROW}')}, 0")
        bias_at = b.select(column, "i64", b.mul(j, c.size), "0")
        bias_at = b.select(by_row, "i64", b.mul(i, c.size), bias_at)
        used = b.emit(f"udiv i64 {width}, {c.lanes}")
        call_tile(
            b, "tile", self.vectors, used,
            f"i64 {at.depth}, ptr {a_at}, i64 0, i64 0, ptr {b_at}, i64 0, ptr {c_at}, "
            f"i64 {d.c_row}, i64 {left}, i64 {count}, i64 {at.flags}, "
            f"ptr {b.offset(at.bias, bias_at)}",
        )  # fmt: skip
