"""Scalar graphs evaluated on vectors, inside kernels written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .ir import Builder
from .llvm import Emitter
from .lower import expand_calls
from .scalar import Expr, node


def evaluate(
    b: Builder, lanes: int, dtype: str, body: Callable[..., Sequence[Expr]], *values: str
) -> list[str]:
    """What `body` computes of vectors (or scalars, lanes 1) of one element type."""
    inputs = [node("state", (), dtype, ("value", k)) for k in range(len(values))]
    image: dict[Expr, Expr] = {}
    roots = [expand_calls(root, image) for root in body(*inputs)]
    return Emitter(b, lanes).graph(roots, lambda n: None, dict(zip(inputs, values, strict=True)))
