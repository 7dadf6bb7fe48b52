"""Connectionist temporal classification, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence

from .. import core
from ..core import Tensor
from ..kernels.lazy import ctc as planner
from .creation import tensor
from .plans import planned
from .record import primitive

_INT64 = core.dtypes[5]
_GRAIN = 1 << 12  # states, at least, that a thread goes through


class Alignment:
    """Where the rows of a batch are: lengths, where labels begin, and the sizes of what is kept."""

    def __init__(
        self,
        shape: Sequence[int],
        lengths: Sequence[int],
        label_lengths: Sequence[int],
        starts: Sequence[int],
        blank: int,
        zero_infinity: bool,
    ) -> None:
        times, rows, classes = shape
        padding = planner.PADDING
        self.rows, self.times = rows, times
        self.width = -(-(2 * max(label_lengths, default=0) + 1) // padding) * padding
        values = {"times": times, "rows": rows, "classes": classes, "width": self.width}
        values |= {"blank": blank, "zero_infinity": int(zero_infinity)}
        numbers = [*planner.FACTS.pack(**values), *lengths, *label_lengths, *starts]
        self.facts = tensor(numbers, dtype=_INT64)

    def run(self, dtype: core.dtype, backward: bool, *buffers: Tensor) -> None:
        """Run a pass; raise RuntimeError for a label that is no class."""
        grain = max(1, _GRAIN // max(1, self.times * self.width))
        plan = planned(
            ("ctc", dtype.code, self.rows, grain, backward),
            lambda threads: planner.plan(dtype.short, self.rows, grain, backward),
        )
        lines = core.empty((self.rows, planner.LINES, self.width + 2), dtype)
        states = core.empty((self.rows, self.width), _INT64)
        wrong = core.empty((1,), _INT64).fill_(0)
        plan.run(*buffers, self.facts, lines, states, wrong)
        if core.read_flag(wrong):
            raise RuntimeError("ctc_loss: a label is out of range of the classes")


@primitive(register=False, name="ctc_loss")
def align(log_probs: Tensor, labels: Tensor, alignment: Alignment) -> tuple[Tensor, Tensor]:
    """The losses (N) of log-probabilities (T, N, C), and the logarithms alpha."""
    x, labels = core.contiguous_plain(log_probs), core.contiguous_plain(labels)
    a = alignment
    losses = core.empty((a.rows,), x.dtype)
    alpha = core.empty((a.rows, a.times, a.width + 2), x.dtype)
    if a.rows:
        a.run(x.dtype, False, losses, alpha, x, labels)
    return losses, alpha


@align.vjp
def _align_vjp(g, log_probs, labels, alignment, out):
    return _align_backward(g[0], *out, log_probs, labels, alignment), None


@primitive(register=False, name="ctc_loss_backward")
def _align_backward(g, losses, alpha, log_probs, labels, alignment):
    """The gradient by the log-probabilities."""
    x, labels = core.contiguous_plain(log_probs), core.contiguous_plain(labels)
    made = core.empty(x.shape, x.dtype)
    if made.numel():
        g = core.contiguous_plain(g)
        alignment.run(x.dtype, True, made, g, losses, alpha, x, labels)
    return made


@_align_backward.vjp
def _align_backward_vjp(g):
    raise RuntimeError("derivative for _ctc_loss_backward is not implemented")
