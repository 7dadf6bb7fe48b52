"""Update rules applied to the rows that a sparse gradient holds."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from flambeau.ops.sparse.tensor import keys_of

from ._fused import fused_update


def update_rows(
    rule: Callable, param: Any, grad: Any, states: list, scalars: dict[str, Any]
) -> None:
    """`fused_update` of a parameter and its state tensors where `grad`, coalesced, has rows.

    The rule's operands are (param, gradient, *states); it gives new values for all but the second.
    """
    rows, values = keys_of(grad), grad._values()
    split = grad.sparse_dim()
    tables = [_by_row(tensor, split) for tensor in (param, *states)]
    parts = [table.index_select(0, rows) for table in tables]
    operands = [[parts[0]], [values], *([part] for part in parts[1:])]
    fused_update(rule, operands, scalars, (0, *range(2, len(operands))))
    for tensor, table, part in zip((param, *states), tables, parts, strict=True):
        table.index_copy_(0, rows, part)
        if table.untyped_storage() != tensor.untyped_storage():  # reshaping had to copy
            tensor.copy_(table.view(tensor.shape))


def _by_row(tensor: Any, split: int) -> Any:
    """A dense tensor with its first `split` dimensions as one."""
    if split == 1:
        return tensor.detach()
    return tensor.detach().reshape(prod(tensor.shape[:split]), *tensor.shape[split:])
