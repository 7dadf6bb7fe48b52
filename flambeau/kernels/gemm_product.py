"""A matrix product as its planners see it, and how it is shared over threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .element import Element
from .plan import ceil_div, round_up
from .target import Target

# A task should be worth a wake-up of another thread: some microseconds of multiply-adds.
TASK_WORK = 1 << 18


class Product(NamedTuple):
    """One batch of products; strides in elements."""

    dtype: str
    m: int
    n: int
    k: int
    a: tuple[int, int]
    b: tuple[int, int]
    c_row: int
    c_column: int
    flags: int
    batch: tuple[int, int, int, int]
    threads: int
    target: Target
    swapped: bool = False  # A and B have changed places
    pairs: bool = False  # two steps of the sum are packed as one

    @property
    def steps(self) -> int:
        """Steps of the sum, as packed."""
        return ceil_div(self.k, 2) if self.pairs else self.k

    def element(self) -> Element:
        return Element(self.dtype, self.target)


def batch_bytes(p: Product, size: int) -> dict[str, int]:
    """A desc's strides of the batch."""
    _, a, b, c = p.batch
    return {"a_batch": a * size, "b_batch": b * size, "c_batch": c * size}


def find_arguments(p: Product) -> dict[str, int]:
    """Which arguments of the kernel A and B are."""
    return {"a_argument": 2 if p.swapped else 1, "b_argument": 1 if p.swapped else 2}


def choose_grain(p: Product, tasks: int, work: int) -> int:
    """Tasks in a chunk: all of them when there is too little to share."""
    if p.threads == 1 or tasks * work < TASK_WORK:
        return tasks
    return max(1, min(tasks // (4 * p.threads), ceil_div(TASK_WORK, max(work, 1))))


def choose_blocks(
    p: Product, rows: int, widths: Sequence[int], tallest: int, packing: tuple[float, float]
) -> tuple[int, int, int]:
    """Rows and columns of blocks of C, and of `widths` (the widest first) the columns of a tile.

    Blocks are tall enough to reuse a panel of B, and shared out evenly over the threads, for which
    tiles may be narrower. `packing`: what each block costs besides, in panels of B for its rows and
    panels of A for its columns.
    """
    down = ceil_div(p.m, rows)
    least = ceil_div(down, tallest // rows)
    if p.threads == 1:
        return ceil_div(down, least) * rows, round_up(p.n, widths[0]), widths[0]
    found = []
    for columns in widths:
        across = ceil_div(p.n, columns)
        for m_tasks in range(least, min(down, least + p.threads) + 1):
            for n_tasks in range(1, min(across, 4 * p.threads) + 1):
                m_panels, n_panels = ceil_div(down, m_tasks), ceil_div(across, n_tasks)
                tasks = ceil_div(down, m_panels) * ceil_div(across, n_panels) * p.batch[0]
                longest = ceil_div(tasks, p.threads) * m_panels * n_panels * columns
                # More tasks read more panels, but let a late thread be helped out.
                cost = longest * (1 + 0.004 * tasks + 0.3 / tasks)
                cost *= 1 + packing[0] / n_panels + packing[1] / m_panels
                cost *= 0.92 + 0.08 * widths[0] / columns  # a narrow tile loads more for its work
                found.append((cost, m_panels * rows, n_panels * columns, columns))
    return min(found)[1:]
