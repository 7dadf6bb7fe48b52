"""Plans for matrix products: which kernel, which blocks, how many tasks."""

from __future__ import annotations

from math import isqrt

from . import gemm_direct, gemm_dot, gemm_inner, gemm_parts, gemm_stream
from .bfloat_pairs import multiplies_pairs
from .element import Element
from .gemm_packed_plan import plan_packed
from .gemm_product import (
    TASK_WORK,
    Product,
    batch_bytes,
    choose_blocks,
    choose_grain,
    find_arguments,
)
from .plan import Phase, Plan, ceil_div, round_up
from .target import Target, host
from .tile import ACCUMULATE, BIAS_COLUMN, BIAS_ROW, RELU

DOT_WORK = 1 << 16  # the same where memory, not arithmetic, is the bound
# Up to this size of B (bytes of one product) reading it in place beats packing.
DIRECT_BYTES = 1 << 17
FEW_ROWS = 16  # that do not pay for packing
DOT_ROWS, MOST_DOT_ROWS = 8, 64
DOT_BYTES = 1 << 20  # of the smaller operand, which is read again for some columns of the larger
# B is read in place by so many rows of A at least; by more where a panel and A stay in the cache.
IN_PLACE_ROWS = 64
PANEL_BYTES, A_BYTES = 1 << 18, 1 << 19
FAR_A_BYTES, SHORT_SUM = 1 << 22, 256
PAIRS_WORK = 1 << 16  # multiply-adds from which packing pairs pays
FEW_PAIRS_WORK = 1 << 12  # the same where pairs of A are read in place
INNER_PART = 1 << 15  # terms of an inner product that are worth a task
STREAM_BYTES = 1 << 17  # a matrix larger than this is read row by row, not by blocks of columns
PART_BYTES = 1 << 11  # of one row of A: a part of a long sum
LEFT_BYTES = 1 << 19  # of a part of A, which is read again for every panel of B


def plan_gemm(
    dtype: str,
    m: int,
    n: int,
    k: int,
    a_strides: tuple[int, int],
    b_strides: tuple[int, int],
    c_strides: tuple[int, int],
    threads: int,
    *,
    bias: str | None = None,
    activation: str | None = None,
    accumulate: bool = False,
    batch: tuple[int, int, int, int] = (1, 0, 0, 0),
    swapped: bool = False,
    target: Target | None = None,
) -> Plan:
    """C (m, n) = A (m, k) @ B (k, n) [+ C] [+ bias], [relu]; args: C, A, B, bias, workspace.

    `swapped`: args hold B before A.

    Strides are in elements and arbitrary, but the columns of C lie side by side. `bias` is
    'column' (n numbers) or 'row' (m numbers); `batch` is (count, strides of A, B and C).
    """
    if c_strides[1] != 1 and n != 1:
        raise ValueError(f"gemm: columns of the result must lie side by side, got {c_strides}")
    if activation not in (None, "relu") or bias not in (None, "column", "row"):
        raise ValueError(f"gemm: unknown activation {activation!r} or bias {bias!r}")
    if m == 0 or n == 0 or batch[0] == 0:
        return Plan((), 0)
    flags = ACCUMULATE if accumulate else 0
    flags |= {None: 0, "column": BIAS_COLUMN, "row": BIAS_ROW}[bias]
    flags |= RELU if activation else 0
    p = Product(
        dtype, m, n, k, a_strides, b_strides, c_strides[0], 1, flags, batch, threads,
        target or host(), swapped,
    )  # fmt: skip
    return _choose(_as_row(p))


def _as_row(p: Product) -> Product:
    """A product with one column as its transpose, a product with one row."""
    return p if p.n != 1 or p.m == 1 or p.c_row != 1 else _swap(p)


def _swap(p: Product) -> Product:
    """The transposed product, C^T = B^T @ A^T."""
    swapped = {0: 0, BIAS_COLUMN: BIAS_ROW, BIAS_ROW: BIAS_COLUMN}[
        p.flags & (BIAS_COLUMN | BIAS_ROW)
    ]
    flags = p.flags & (ACCUMULATE | RELU) | swapped
    count, a_batch, b_batch, c_batch = p.batch
    return p._replace(
        m=p.n,
        n=p.m,
        a=(p.b[1], p.b[0]),
        b=(p.a[1], p.a[0]),
        c_row=p.c_column,
        c_column=p.c_row,
        flags=flags,
        batch=(count, b_batch, a_batch, c_batch),
        swapped=not p.swapped,
    )


def _choose(p: Product) -> Plan:
    element = p.element()
    found = None if element.complex else _choose_for_few(p, element) or _choose_pairs(p, element)
    if found is not None:
        return found
    work = p.m * p.n * p.k
    if _has_long_sum(p, element):
        return _plan_parts(p, element)
    if _converts_often(p, element):
        return plan_packed(p, element)
    columns_apart = p.b[1] != 1 or not element.masked or element.compute is not element
    small = p.k * p.n * element.compute.size <= DIRECT_BYTES or p.m <= FEW_ROWS
    if element.complex or (small and not (columns_apart and work > 8 * TASK_WORK)):
        return _plan_direct(p, element)
    if not columns_apart and _reads_in_place(p, element):
        return _plan_direct(p, element)
    if _packs_panels(p, element):
        return _plan_direct(p, element, pack=True)
    return plan_packed(p, element)


def _choose_for_few(p: Product, element: Element) -> Plan | None:
    """For few rows or columns: sums along vectors, or one row against a stream of rows."""
    if p.a[1] == 1 and p.b[0] == 1:
        if p.m == 1 and p.n == 1:
            return _plan_inner(p, element)
        rows = _dot_rows(p, element)
        if p.m <= rows and p.b[1] != 1:
            return _plan_dot(p, element)
        if p.n <= rows and p.a[0] != 1 and p.m > p.n and p.k >= 2 * element.lanes:
            return _plan_dot(_swap(p), element)
    streamed = p.k > 0 and p.m == 1 and p.b[1] == 1
    if streamed and p.n * p.k * element.size > STREAM_BYTES and p.n >= 64:
        return _plan_stream(p, element)
    return None


def _choose_pairs(p: Product, element: Element) -> Plan | None:
    """For bfloat16 where the machine multiplies pairs."""
    if p.dtype != "bf16" or p.m == 1 or not multiplies_pairs(p.target):
        return None
    work = p.m * p.n * p.k
    p = p._replace(pairs=True)
    in_place = p.a[1] == 1 and p.k % 2 == 0
    if in_place and work >= FEW_PAIRS_WORK and _packs_panels(p, element):
        return _plan_direct(p, element, pack=True)
    return plan_packed(p, element) if work >= PAIRS_WORK else None


def _converts_often(p: Product, element: Element) -> bool:
    """Whether tiles of a half type had better read operands that are float32 already."""
    work = p.m * p.n * p.k
    large = p.batch[0] * work >= TASK_WORK and work >= TASK_WORK >> 3
    return element.compute is not element and p.m > FEW_ROWS and large


def _dot_rows(p: Product, element: Element) -> int:
    """Rows of the smaller operand up to which dot products beat packing the larger one.

    What packing costs goes with the larger operand, and is shared by the rows: where that is far
    from the processor, more of them are needed.
    """
    far = max(p.m, p.n) * p.k * element.size
    if p.dtype == "bf16" and multiplies_pairs(p.target):
        return 4 if far <= DOT_BYTES << 2 else 12
    near = min(p.m, p.n) * p.k * element.size <= DOT_BYTES
    return max(DOT_ROWS, min(MOST_DOT_ROWS, isqrt(far // 1800))) if near else DOT_ROWS


def _reads_in_place(p: Product, element: Element) -> bool:
    """Whether tiles do best without copies, though B is large: its columns lie side by side."""
    if p.m <= IN_PLACE_ROWS:
        return True
    vectors = gemm_direct.tile_shape(p.target, element)[1]
    panel = p.k * _panel_columns(p.n, element.lanes, vectors) * element.size
    whole_lines = p.b[0] * element.size % p.target.vector_bytes == 0
    # Columns of A lie in a line each: fewer of them stay.
    most = A_BYTES if p.a[1] == 1 else A_BYTES // 2
    return whole_lines and panel <= PANEL_BYTES and p.m * p.k * element.size <= most


def _packs_panels(p: Product, element: Element) -> bool:
    """Whether A is best read in place, by the panels of B one after the other, each packed in the
    second-level cache: no more than a panel is written, and tiles take the whole sum.
    """
    if element.compute is not element and not p.pairs:  # what is packed is converted but once
        return False
    vectors = gemm_direct.tile_shape(p.target, element)[1]
    panel = p.k * _panel_columns(p.n, element.lanes, vectors) * element.size
    a_bytes = p.m * p.k * element.size
    # A short sum leaves little time to fetch a tile's rows from further away.
    return panel <= PANEL_BYTES and a_bytes <= (FAR_A_BYTES if p.k > SHORT_SUM else A_BYTES)


def _plan_dot(p: Product, element: Element) -> Plan:
    columns = gemm_dot.dot_shape(p.target)[1]
    per_column = p.m * max(p.k, 16)
    wanted = min(4 * p.threads, p.batch[0] * p.n * per_column // DOT_WORK) if p.threads > 1 else 1
    blocks = max(1, min(ceil_div(wanted, p.batch[0]), ceil_div(p.n, columns)))
    n_block = round_up(ceil_div(p.n, blocks), columns)
    n_tasks = ceil_div(p.n, n_block)
    size = element.size
    desc = gemm_dot.FIELDS.pack(
        m=p.m, n=p.n, k=p.k, a_row=p.a[0] * size, b_column=p.b[1] * size, c_row=p.c_row * size,
        c_column=p.c_column * size, flags=p.flags, n_block=n_block, n_tasks=n_tasks,
        **batch_bytes(p, size), **find_arguments(p),
    )  # fmt: skip
    tasks = p.batch[0] * n_tasks
    grain = choose_grain(p, tasks, p.m * n_block * p.k)
    return Plan((Phase(gemm_dot.source(p.dtype, p.target), desc, tasks, grain),), 0)


def _plan_inner(p: Product, element: Element) -> Plan:
    most = ceil_div(p.k, INNER_PART) if p.threads > 1 else 1
    part = max(1, ceil_div(p.k, max(1, min(most, 4 * p.threads))))
    parts = max(1, ceil_div(p.k, part))
    desc = gemm_inner.FIELDS.pack(
        k=p.k, part=part, parts=parts, flags=p.flags, **batch_bytes(p, element.size),
        **find_arguments(p),
    )  # fmt: skip
    tasks = p.batch[0] * parts
    first, second = gemm_inner.sources(p.dtype, p.target)
    grain = 1 if parts > 1 else choose_grain(p, tasks, p.k)
    return Plan(
        (Phase(first, desc, tasks, grain), Phase(second, desc, p.batch[0], p.batch[0])),
        tasks * element.compute.size,
    )


def _has_long_sum(p: Product, element: Element) -> bool:
    """Whether there are few results, so that threads had better share the sum."""
    rows, vectors = gemm_direct.tile_shape(p.target, element)
    lanes, part = element.lanes, PART_BYTES // element.compute.size
    if element.complex or p.batch[0] > 4 or p.k < max(4 * part, 8 * max(p.m, p.n)):
        return False
    if p.m > LEFT_BYTES // PART_BYTES and p.n > vectors * lanes:
        return False
    return 2 * p.m * p.n >= round_up(p.m, rows) * round_up(p.n, lanes)


def _plan_parts(p: Product, element: Element) -> Plan:
    """Results of the parts of the sum, then their totals."""
    size, inner = element.size, element.compute.size
    vectors = gemm_direct.tile_shape(p.target, element)[1]
    panel = _panel_columns(p.n, element.lanes, vectors)
    pack = _packs(p, element)
    part = PART_BYTES // inner
    parts = ceil_div(p.k, part)
    row = round_up(p.n, element.lanes) * inner
    scratch_at = round_up(p.batch[0] * parts * p.m * row, 64)
    scratch = round_up(part * panel * inner, 64) + 64 if pack else 0
    desc = gemm_parts.FIELDS.pack(
        m=p.m, n=p.n, k=p.k, a_row=p.a[0] * size, a_step=p.a[1] * size, b_step=p.b[0] * size,
        b_column=p.b[1] * size, c_row=p.c_row * size, flags=p.flags, part=part, parts=parts,
        result=p.m * row, result_row=row, scratch_at=scratch_at, scratch=scratch, panel=panel,
        pack=pack, **batch_bytes(p, size), **find_arguments(p),
    )  # fmt: skip
    first, second = gemm_parts.sources(p.dtype, p.target)
    tasks = p.batch[0] * parts
    grain = choose_grain(p, tasks, p.m * p.n * part)
    rows = p.batch[0] * p.m
    return Plan(
        (
            Phase(first, desc, tasks, grain),
            Phase(second, desc, rows, max(1, min(rows, DOT_WORK // (parts * p.n)))),
        ),
        scratch_at + scratch * p.threads,
    )


def _packs(p: Product, element: Element) -> bool:
    """Whether panels of B are copied before they are read."""
    partial = p.n % element.lanes != 0 and not element.masked
    return p.b[1] != 1 or partial or element.compute is not element


def _plan_stream(p: Product, element: Element) -> Plan:
    size = element.size
    least = (
        4096 // element.compute.size
    )  # columns whose sums fit the first-level cache, and rows long enough
    tasks = 1 if p.threads == 1 else 2 * p.threads
    n_block = max(least, round_up(ceil_div(p.n, tasks), element.lanes))
    n_block = min(n_block, 4 * least)
    n_tasks = ceil_div(p.n, n_block)
    scratch = round_up(n_block * 4, 64) if element.compute is not element else 0
    desc = gemm_stream.FIELDS.pack(
        n=p.n, k=p.k, a_step=p.a[1] * size, b_step=p.b[0] * size, flags=p.flags,
        n_block=n_block, n_tasks=n_tasks, scratch=scratch, **batch_bytes(p, size),
        **find_arguments(p),
    )  # fmt: skip
    kernel = gemm_stream.source(p.dtype, p.target)
    return Plan((Phase(kernel, desc, p.batch[0] * n_tasks, 1),), scratch * p.threads)


def _panel_columns(n: int, lanes: int, vectors: int) -> int:
    """Columns of a panel: as even as whole vectors allow."""
    used = ceil_div(n, lanes)
    return ceil_div(used, ceil_div(used, vectors)) * lanes


def _plan_direct(p: Product, element: Element, pack: bool = False) -> Plan:
    rows, vectors = gemm_direct.tile_shape(p.target, element)
    size, compute = element.size, element.compute
    pack = pack or _packs(p, element)
    panels = [_panel_columns(p.n, element.lanes, count) for count in (vectors, 2)]
    m_block, n_block, panel = _share(p, rows, panels, pack)
    m_tasks, n_tasks = ceil_div(p.m, m_block), ceil_div(p.n, n_block)
    step = size if p.pairs else compute.size
    scratch = round_up(p.k * panel * step, 64) + 64 if pack else 0
    desc = gemm_direct.FIELDS.pack(
        m=p.m, n=p.n, k=p.k, a_row=p.a[0] * size, a_step=p.a[1] * size * (2 if p.pairs else 1),
        b_step=p.b[0] * size, b_column=p.b[1] * size, c_row=p.c_row * size, flags=p.flags,
        m_block=m_block, n_block=n_block, m_tasks=m_tasks, n_tasks=n_tasks, panel=panel, pack=pack,
        scratch=scratch, **batch_bytes(p, size), **find_arguments(p),
    )  # fmt: skip
    tasks = p.batch[0] * m_tasks * n_tasks
    grain = choose_grain(p, tasks, m_block * n_block * p.k)
    kernel = gemm_direct.source(p.dtype, p.target, p.pairs)
    return Plan((Phase(kernel, desc, tasks, grain),), scratch * p.threads)


def _share(p: Product, rows: int, panels: list[int], pack: bool) -> tuple[int, int, int]:
    """Rows and columns of a task, so that every thread gets an equal part when it pays, and the
    columns of a panel.
    """
    work = p.m * p.n * p.k
    panel = panels[0]
    if p.threads == 1 or p.batch[0] >= 2 * p.threads or work < 2 * TASK_WORK:
        return p.m, p.n, panel
    if pack and work >= 8 * TASK_WORK:  # B is packed once for each block of rows
        return choose_blocks(p, rows, panels, round_up(p.m, rows), (0.0, 16.0 / rows))
    pieces = p.threads * (1 if work < 8 * TASK_WORK else 4)
    down, across = ceil_div(p.m, rows), ceil_div(p.n, panel)
    wide = p.n > p.m and across >= p.threads  # B is read once, by parts
    if (pack and across > 1) or down < p.threads or wide:
        return p.m, ceil_div(across, min(across, pieces)) * panel, panel
    return ceil_div(down, min(down, pieces)) * rows, p.n, panel
