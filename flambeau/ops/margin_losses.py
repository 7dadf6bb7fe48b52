"""Losses of classes against a margin: of one class a row, and of lists of classes."""

from __future__ import annotations

from .. import core
from ..core import Tensor
from ..kernels import scalar
from ..kernels.lazy import margin_lists
from ..kernels.scalar import count, reduce, where
from .plans import planned
from .promotion import Promote
from .record import primitive, reduction


@reduction(promote=Promote.BOOL, dim=None, register=False, accepts="ui", integers=("end",))
def outside(input, *, end):
    """Is any element not in 0 .. end - 1?"""
    return reduce.any((input < 0) | (input >= scalar.cast(end, input.dtype)))


def _excess(input, target, margin):
    """max(0, margin - x_t + x) of every class but t."""
    zero = scalar.const(0, input.dtype)
    hit = scalar.eq(scalar.position(), target)
    gap = margin - reduce.add(where(hit, input, zero)) + input
    return where(hit | (gap < 0), zero, gap)


_OPTIONS = {"register": False, "accepts": "f", "over": ("input",), "fixed": {"target": "i64"}}


@reduction(name="multi_margin_loss", **_OPTIONS)
def class_margin(input, target, *, margin):
    """sum_{j != t} max(0, margin - x_t + x_j) / C."""
    return reduce.add(_excess(input, target, margin)) / count(input.dtype)


@reduction(name="multi_margin_loss", **_OPTIONS)
def squared_class_margin(input, target, *, margin):
    """sum_{j != t} max(0, margin - x_t + x_j)^2 / C."""
    excess = _excess(input, target, margin)
    return reduce.add(excess * excess) / count(input.dtype)


@primitive(register=False, name="multilabel_margin_loss")
def list_margin(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Of scores (N, C) and lists of classes (N, C), each ended by -1: the losses (N), and their
    slopes (N, C), which are constant piece by piece.
    """
    x, lists = core.contiguous_plain(input), core.contiguous_plain(target)
    rows, classes = x.shape
    loss, slopes = core.empty((rows,), x.dtype), core.empty((rows, classes), x.dtype)
    wrong = core.empty((1,), core.dtypes[5]).fill_(0)
    if x.numel() == 0:
        return loss.fill_(0), slopes
    plan = planned(
        ("margin_lists", x.dtype.code, rows, classes),
        lambda threads: margin_lists.plan(x.dtype.short, rows, classes, threads),
    )
    plan.run(loss, slopes, x, lists, wrong)
    if core.read_flag(wrong):
        raise RuntimeError(f"multilabel_margin_loss: a target is out of range: {classes} classes")
    return loss, slopes


@list_margin.vjp
def _list_margin_vjp(g, out):
    return g[0].unsqueeze(1) * out[1].detach(), None
