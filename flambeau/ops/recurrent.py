"""One layer of a recurrent network, in one direction, over all its steps."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from .. import core
from ..core import Tensor
from ..kernels.lazy import recurrent as planner
from .matmul import product
from .plans import planned
from .record import primitive

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class Layout(NamedTuple):
    """Where step t of row b of the batch lies: row start[t] + b * row_step of `rows` rows."""

    batch: int
    steps: int
    row_step: int
    rows: int
    table: Tensor  # start of each step, then rows of the batch in each step
    shape: tuple[int, ...]  # the leading sizes of tensors in this layout
    turned: bool  # whether the batch comes first in memory

    def flatten(self, t: Tensor) -> Tensor:
        """(T, N, *), or packed rows, as (rows, *)."""
        t = core.contiguous_plain(t.transpose(0, 1) if self.turned else t)
        return t.view(self.rows, t.shape[-1])

    def restore(self, t: Tensor) -> Tensor:
        """The inverse of `flatten`."""
        t = t.view(*self.shape, t.shape[-1])
        return t.transpose(0, 1) if self.turned else t


@lru_cache(maxsize=64)
def _tabulate(starts: tuple[int, ...], sizes: tuple[int, ...]) -> Tensor:
    from .creation import tensor

    return tensor([*starts, *sizes], dtype=core.dtypes[5])


def _lay_out(input: Tensor, sizes: tuple[int, ...] | None) -> Layout:
    if sizes is not None:
        starts = (0, *accumulate(sizes[:-1]))
        rows = input.shape[0]
        table = _tabulate(starts, sizes)
        return Layout(sizes[0], len(sizes), 1, rows, table, (rows,), False)
    steps, batch = input.shape[:2]
    turned = not input.is_contiguous() and input.transpose(0, 1).is_contiguous()
    step = 1 if turned else batch
    table = _tabulate(tuple(t * step for t in range(steps)), (batch,) * steps)
    shape = (batch, steps) if turned else (steps, batch)
    return Layout(batch, steps, steps if turned else 1, steps * batch, table, shape, turned)


def _join_biases(mode: str, bias_ih: Tensor | None, bias_hh: Tensor | None, hidden: int):
    """What is added to the gates' input part, and what to the hidden part of a GRU's new gate."""
    if bias_ih is None or bias_hh is None:
        return None, None
    if mode != "GRU":
        return bias_ih + bias_hh, None
    joined = bias_ih.clone()
    joined[: 2 * hidden].add_(bias_hh[: 2 * hidden])
    return joined, bias_hh[2 * hidden :]


def _check(mode: str, shape: tuple[int, ...], **tensors: Tensor | None) -> None:
    for name, t in tensors.items():
        if t is not None and tuple(t.shape) != shape:
            raise RuntimeError(f"{mode}: expected {name} of shape {shape}, got {tuple(t.shape)}")


def _problem(mode, reverse, weight_hh, layout, biased, keep):
    hidden = weight_hh.shape[1]
    return (
        mode, weight_hh.dtype.short, hidden, layout.batch, layout.steps, layout.row_step, reverse,
        biased, keep,
    )  # fmt: skip


@primitive(register=False)
def recur(
    input, hidden, memory, weight_ih, weight_hh, bias_ih, bias_hh, mode, reverse, sizes, keep, redo
):
    """Outputs of all steps, final h and c, and what the derivative reads: (gates, h and c before
    each step, the reset part of a GRU's new gate), None where the mode has no such thing.

    input (T, N, I), or packed rows with `sizes`; hidden and memory (N, H); weights and biases as
    PyTorch stacks them. `redo(gradients, tensors)` gives the derivative in recorded ops.
    """
    layout = _lay_out(input, sizes)
    width = weight_hh.shape[1]
    rows = (GATES[mode] * width,)
    _check(mode, (layout.batch, width), hidden=hidden, memory=memory)
    _check(mode, (*rows, width), weight_hh=weight_hh)
    _check(mode, (*rows, input.shape[-1]), weight_ih=weight_ih)
    _check(mode, rows, bias_ih=bias_ih, bias_hh=bias_hh)
    first, second = _join_biases(mode, bias_ih, bias_hh, width)
    gates = product(layout.flatten(input), weight_ih, False, True, first, False, mode)
    like = weight_hh.dtype
    shape = (layout.rows, width)
    out = core.empty(shape, like)
    kept_h, kept_c, reset = (
        core.empty(shape, like) if wanted else None
        for wanted in (keep, keep and memory is not None, keep and mode == "GRU")
    )
    h, c = _writable(hidden, hidden), None if memory is None else _writable(memory, memory)
    problem = _problem(mode, reverse, weight_hh, layout, second is not None, keep)
    plan = planned(
        ("recur", problem),
        lambda threads: planner.plan_forward(planner.Recurrence(*problem), threads),
    )
    plan.run(
        gates, out, h, c, core.contiguous_plain(weight_hh), second, kept_h, kept_c, reset,
        layout.table,
    )  # fmt: skip
    return layout.restore(out), h, c, gates if keep else None, kept_h, kept_c, reset


@recur.vjp
def _recur_vjp(
    g, input, hidden, memory, weight_ih, weight_hh, bias_ih, bias_hh, mode, reverse, sizes, redo,
    out, needs,
):  # fmt: skip
    tensors = (input, hidden, memory, weight_ih, weight_hh, bias_ih, bias_hh)
    if core.grad_enabled():
        return redo(g[:3], tensors, mode, reverse, sizes)
    _, h, _, gates, kept_h, kept_c, reset = out
    layout = _lay_out(input, sizes)
    dout = _writable(None, kept_h) if g[0] is None else layout.flatten(g[0])
    dh, dc = (
        None if state is None else _writable(grad, state)
        for grad, state in ((g[1], h), (g[2], memory))
    )
    dgates = core.empty(tuple(gates.shape), gates.dtype)
    dhidden = core.empty(tuple(gates.shape), gates.dtype) if mode == "GRU" else None
    problem = _problem(mode, reverse, weight_hh, layout, False, True)
    plan = planned(
        ("recur_vjp", problem),
        lambda threads: planner.plan_backward(planner.Recurrence(*problem), threads),
    )
    plan.run(
        gates, dout, dh, dc, core.contiguous_plain(weight_hh), dgates, dhidden, kept_h, kept_c,
        reset, layout.table,
    )  # fmt: skip
    dhidden = dgates if dhidden is None else dhidden
    grads = [
        lambda: layout.restore(product(dgates, weight_ih)),
        lambda: dh,
        lambda: dc,
        lambda: product(dgates, layout.flatten(input), True),
        lambda: product(dhidden, kept_h, True),
        lambda: dgates.sum(0),
        lambda: dhidden.sum(0),
    ]
    found = [make for make, t in zip(grads, tensors, strict=True) if t is not None]
    return tuple(make() if need else None for make, need in zip(found, needs, strict=True))


def _writable(grad: Tensor | None, like: Tensor) -> Tensor:
    """A row-major copy, or zeros."""
    fresh = core.empty(tuple(like.shape), like.dtype)
    return fresh.zero_() if grad is None else core.copy_(fresh, grad)
