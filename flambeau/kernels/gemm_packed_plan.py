"""Plans for products of which both operands are packed: which parts, and where they lie."""

from __future__ import annotations

from typing import NamedTuple

from . import gemm_packed
from .element import Element
from .gemm_product import Product, batch_bytes, choose_blocks, choose_grain, find_arguments
from .plan import Phase, Plan, ceil_div, round_up
from .tile import ACCUMULATE, BIAS_COLUMN

K_BLOCK, M_BLOCK = 384, 192
A_BLOCK_BYTES = 3 << 17  # of A as a task packs it: what stays in a second-level cache
SHARED_BYTES = 3 << 21  # of B packed for all tasks; more is packed and multiplied in parts
# Each task packs the B of its product, up to so many bytes, where products are so many.
OWN_BATCH, OWN_BYTES = 4, 1 << 19


def plan_packed(p: Product, element: Element) -> Plan:
    """Tiles of packed operands; where B is packed for all tasks, in parts: packing, then tiles."""
    rows, vectors = gemm_packed.packed_shape(p.target, element)
    shape = _Packing.of(p, element, rows, vectors * element.lanes)
    if shape.own_b:
        phase, workspace = _tile_phase(p, element, shape, (0, 0), rows)
        return Plan((phase,), workspace)
    phases: list[Phase] = []
    workspace = 0
    for n0 in range(0, p.n, shape.n_part):
        for k0 in range(0, p.k, shape.k_part):
            part = _part(p, min(shape.n_part, p.n - n0), k0, min(shape.k_part, p.k - k0))
            phases.append(_pack_phase(part, element, shape, (k0, n0)))
            phase, size = _tile_phase(part, element, shape, (k0, n0), rows)
            phases.append(phase)
            workspace = max(workspace, size)
    return Plan(tuple(phases), workspace)


class _Packing(NamedTuple):
    """What is packed at a time; none of it goes by the number of threads, so that results do not
    either.
    """

    step: int  # bytes of a step of the sum in one row or column, as packed
    columns: int  # of a panel of B
    own_b: bool  # each task packs its B
    k_block: int  # steps of the sum of a tile
    k_part: int  # steps of the sum, and columns of B, that are packed for all tasks
    n_part: int
    a_block: int  # rows of A that a task packs

    @staticmethod
    def of(p: Product, element: Element, rows: int, columns: int) -> _Packing:
        step = 2 if p.pairs else element.compute.size
        k_block = k_part = p.k
        # Partial sums of half types must not be rounded.
        adds = element.compute is element
        if adds:
            most = K_BLOCK * 4 // step
            k_block = ceil_div(p.k, ceil_div(p.k, most))
        a_block = A_BLOCK_BYTES // (k_block * step) // rows * rows
        own = p.batch[0] >= OWN_BATCH and p.batch[2] != 0
        wide = round_up(p.n, columns)
        if own:
            n_part = min(wide, max(1, OWN_BYTES // (k_block * step * columns)) * columns)
        else:
            limit = SHARED_BYTES // (p.batch[0] if p.batch[2] else 1)
            if adds:
                k_part = min(p.k, max(2, limit // (wide * step * k_block)) * k_block)
            most = max(1, limit // (k_part * step * columns)) * columns
            n_part = round_up(ceil_div(p.n, ceil_div(p.n, most)), columns)
        return _Packing(
            step, columns, own, k_block, k_part, n_part, max(rows, min(a_block, M_BLOCK))
        )


def _part(p: Product, n: int, k0: int, k: int) -> Product:
    """Some columns, over some steps of the sum."""
    flags = p.flags
    if k0 + k < p.k:
        flags &= ACCUMULATE
    if k0 > 0:
        flags |= ACCUMULATE
    return p._replace(n=n, k=k, flags=flags)


def _pack_phase(p: Product, element: Element, shape: _Packing, at: tuple[int, int]) -> Phase:
    """B of a part, from step and column `at` on."""
    size, count = element.size, p.batch[0] if p.batch[2] else 1
    if p.b[1] <= p.b[0]:  # long rows are read together, else long columns
        k_chunk, n_chunk = gemm_packed.STRIP, 16 * shape.columns
    else:
        k_chunk, n_chunk = 32 * gemm_packed.STRIP, shape.columns
    k_chunks, n_chunks = ceil_div(p.k, k_chunk), ceil_div(p.n, n_chunk)
    desc = gemm_packed.PACK_FIELDS.pack(
        n=p.n, k=p.k, b_step=p.b[0] * size, b_column=p.b[1] * size, b_batch=p.batch[2] * size,
        b_offset=(at[0] * p.b[0] + at[1] * p.b[1]) * size, b_argument=1 if p.swapped else 2,
        b_bytes=_shared_bytes(p, element, shape) if count > 1 else 0, k_packed=p.steps,
        k_chunk=k_chunk, k_chunks=k_chunks, n_chunk=n_chunk, n_chunks=n_chunks,
    )  # fmt: skip
    tasks = count * k_chunks * n_chunks
    grain = max(1, tasks // (4 * p.threads)) if p.threads > 1 else tasks
    return Phase(gemm_packed.sources(p.dtype, p.target, p.pairs)[0], desc, tasks, grain)


def _shared_bytes(p: Product, element: Element, shape: _Packing) -> int:
    return round_up(round_up(p.n, element.lanes) * round_up(p.k, 2) * shape.step, 64)


def _tile_phase(
    p: Product, element: Element, shape: _Packing, at: tuple[int, int], rows: int
) -> tuple[Phase, int]:
    """The tiles of a part, and what they need of the workspace."""
    size = element.size
    m_block, n_block = p.m, shape.n_part
    if not shape.own_b:
        m_block, n_block, _ = choose_blocks(p, rows, [shape.columns], M_BLOCK, (0.2, 0.0))
    m_tasks, n_tasks = ceil_div(p.m, m_block), ceil_div(p.n, n_block)
    of_batch = p.batch[2] != 0 and not shape.own_b
    b_bytes = 0 if shape.own_b else _shared_bytes(p, element, shape)
    block_bytes = round_up(min(shape.k_block, p.k), 2) * shape.step
    scratch_b = round_up(min(shape.a_block, round_up(m_block, rows)) * block_bytes, 64)
    scratch = scratch_b + shape.own_b * round_up(min(n_block, p.n), shape.columns) * block_bytes
    desc = gemm_packed.TILE_FIELDS.pack(
        m=p.m, n=p.n, k=p.k, c_row=p.c_row * size, flags=p.flags, m_block=m_block, n_block=n_block,
        a_block=shape.a_block, k_block=shape.k_block, m_tasks=m_tasks, n_tasks=n_tasks,
        a_row=p.a[0] * size, a_step=p.a[1] * size, a_offset=at[0] * p.a[1] * size,
        b_step=p.b[0] * size, b_column=p.b[1] * size, c_offset=at[1] * size,
        bias_offset=at[1] * size if p.flags & BIAS_COLUMN else 0, k_packed=p.steps,
        b_bytes=b_bytes if of_batch else 0, own_b=shape.own_b, scratch=round_up(scratch, 64),
        scratch_at=b_bytes * (p.batch[0] if of_batch else 1), scratch_b=scratch_b,
        **batch_bytes(p, size), **find_arguments(p),
    )  # fmt: skip
    tasks = p.batch[0] * m_tasks * n_tasks
    grain = choose_grain(p, tasks, m_block * n_block * p.k) if shape.own_b else 1
    phase = Phase(gemm_packed.sources(p.dtype, p.target, p.pairs)[1], desc, tasks, grain)
    return phase, b_bytes * (p.batch[0] if of_batch else 1) + round_up(scratch, 64) * p.threads
