"""The `reduction` argument of losses."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from ... import core

if TYPE_CHECKING:
    from flambeau import Tensor


def resolve_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """Translate the deprecated arguments `size_average` and `reduce` into a `reduction`."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        resolved = "none"
    else:
        resolved = "sum" if size_average is False else "mean"
    core.not_replayable()
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{resolved}' "
        "instead.",
        stacklevel=4,
    )
    return resolved


def reduce_loss(loss: Tensor, reduction: str) -> Tensor:
    """Apply "none", "mean" or "sum" to the losses of the elements.

    Errors:
        ValueError: another word.
    """
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction")
