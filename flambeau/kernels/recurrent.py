"""Plans for recurrent layers: which rows of the batch go together, and where things lie."""

from __future__ import annotations

from typing import NamedTuple

from . import recurrent_steps
from .element import Element
from .plan import Phase, Plan, ceil_div, round_up
from .recurrent_cells import CELLS
from .target import Target, host
from .tile import tile_shape

TASK_WORK = 1 << 18
NEAR_BYTES = 1 << 19  # weights up to this size stay in a core's second-level cache
FAR_TILES = 8  # tiles of rows that share each read of larger weights


class Recurrence(NamedTuple):
    """One layer in one direction.

    At step t the rows of the batch that take part are the first size[t] (a table gives row[t] and
    size[t]); row b of the batch is row row[t] + b * row_step of the tensors that have one row for
    each step and row of the batch. `keep`: whether what the backward pass reads is written.
    """

    mode: str
    dtype: str
    hidden: int
    batch: int
    steps: int
    row_step: int
    reverse: bool
    biased: bool
    keep: bool


def _rows(batch: int, threads: int, most: int, tiles: int) -> tuple[int, int]:
    """Rows of a task, at most so many tiles but a share for each thread; and rows of a tile."""
    rounds = ceil_div(batch, most * tiles * threads)
    rows = ceil_div(batch, threads * rounds)
    return rows, ceil_div(rows, ceil_div(rows, most))


def plan_forward(p: Recurrence, threads: int, target: Target | None = None) -> Plan:
    """args: gates (their input part, replaced by their values), out, state of h and c, weight_hh,
    bias of the new gate, h and c before each step, reset part of the new gate, table, workspace.
    The states are replaced by the final ones.
    """
    return _plan(p, threads, target or host(), backward=False)


def plan_backward(p: Recurrence, threads: int, target: Target | None = None) -> Plan:
    """args: gates, gradients of out, of h and c, weight_hh, gradients of the gates with respect to
    their input and their hidden part, h and c before each step, reset part of the new gate, table,
    workspace. The gradients of the final states are replaced by those of the initial ones.
    """
    return _plan(p, threads, target or host(), backward=True)


def _plan(p: Recurrence, threads: int, target: Target, backward: bool) -> Plan:
    element = Element(p.dtype, target)
    cell = CELLS[p.mode]
    lanes, size = element.lanes, element.size
    most, vectors = tile_shape(target, element)
    work = p.steps * p.batch * cell.gates * p.hidden * p.hidden
    sharing = threads if work >= 2 * TASK_WORK else 1
    columns = vectors * lanes
    gates = cell.gates * p.hidden
    state_row = (round_up(p.hidden, lanes) + lanes) * size
    grads_row = (round_up(gates, lanes) + lanes) * size
    # Forward: weight_hh^T in one or two runs of columns; backward: weight_hh as it is.
    runs = [p.hidden] if backward else cell.runs(p.hidden)
    depth = gates if backward else p.hidden
    packed = round_up(depth * sum(round_up(run, lanes) for run in runs) * size, 64)
    tiles = 1 if packed <= NEAR_BYTES else FAR_TILES
    rows, height = _rows(p.batch, sharing, most, tiles)
    scratch = round_up(rows * (3 * state_row + grads_row), 64) + 64
    panels = [ceil_div(run, columns) for run in runs]
    desc = recurrent_steps.FIELDS.pack(
        hidden=p.hidden, batch=p.batch, steps=p.steps, reverse=p.reverse, row_step=p.row_step,
        biased=p.biased, keep=p.keep, rows=rows, state_row=state_row, grads_row=grads_row,
        packed=packed, scratch=scratch, panels=panels[0],
    )  # fmt: skip
    pack, steps = recurrent_steps.sources(p.mode, p.dtype, target, height, backward)
    count = sum(panels)
    return Plan(
        (
            Phase(pack, desc, count, count if sharing == 1 else max(1, count // (2 * threads))),
            Phase(steps, desc, ceil_div(p.batch, rows), p.batch if sharing == 1 else 1),
        ),
        packed + scratch * threads,
    )
