"""Splitting a tensor along a dimension into views."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from .. import core
from ..core import Tensor
from .dims import wrap
from .record import alias, function

ALL = (slice(None),) * 64  # as many whole dimensions as are wanted


def narrow_plain(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` positions of a dimension from `start`, all in range; a view."""
    part = slice(start, start + length)
    return core.basic_index(input, (*ALL[:dim], part) if dim else part)


def cut(input: Tensor, dim: int, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Consecutive parts of these sizes."""
    return core.cut_views(input, dim, list(sizes))


def _sized(name: str, input: Tensor, dim: Any) -> int:
    if not input.ndim:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")
    return wrap(name, dim, input.ndim)


@function("split", method=True, shortcut=True)
def split(
    tensor: Tensor, split_size_or_sections: Any = None, dim: int = 0, **named: Any
) -> tuple[Tensor, ...]:
    """Parts of a size (the last may be smaller), or of the sizes in a list.

    >>> import flambeau as torch
    >>> [t.tolist() for t in torch.arange(5).split(2)]
    [[0, 1], [2, 3], [4]]
    """
    size = named.get("split_size", split_size_or_sections)
    if isinstance(size, tuple | list):
        return split_with_sizes(tensor, size, dim)
    d = _sized("split", tensor, dim)
    n = tensor.shape[d]
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if size == 0:
        if n:
            raise RuntimeError(
                f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}"
            )
        return (core.alias(tensor),)
    sizes = [min(size, n - k) for k in range(0, n, size)] or [0]
    return cut(tensor, d, sizes)


@function("split_with_sizes", method=True)
def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive parts of the given sizes, which add up to the dimension's."""
    d = _sized("split", input, dim)
    sizes = [int(n) for n in split_sizes]
    if any(n < 0 for n in sizes):
        raise RuntimeError(
            "split_with_sizes expects split_sizes have only non-negative entries, but got "
            f"split_sizes={sizes}"
        )
    if sum(sizes) != input.shape[d]:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {input.shape[d]} (input "
            "tensor's size at "
            f"dimension {d}), but got split_sizes={sizes}"
        )
    return cut(input, d, sizes)


@function("chunk", method=True, shortcut=True)
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of one size (the last may be smaller).

    >>> import flambeau as torch
    >>> [t.tolist() for t in torch.arange(5).chunk(3)]
    [[0, 1], [2, 3], [4]]
    """
    d = _sized("chunk", input, dim)
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[d]
    size = -(-n // chunks)
    if size == 0:
        return cut(input, d, [0] * chunks)
    return split(input, size, d)


@function("tensor_split", method=True)
def tensor_split(
    input: Tensor, indices_or_sections: Any = None, dim: int = 0, **named: Any
) -> tuple[Tensor, ...]:
    """As many parts as a number says, sizes differing by at most 1; or parts between positions.

    >>> import flambeau as torch
    >>> [t.tolist() for t in torch.arange(5).tensor_split(2)]
    [[0, 1, 2], [3, 4]]
    """
    where = named.get("indices", named.get("sections", indices_or_sections))
    d = _sized("tensor_split", input, dim)
    if isinstance(where, Tensor):
        where = _split_places(where)
    if not isinstance(where, tuple | list):
        return cut(input, d, _even_sizes(input.shape[d], where))
    return _cut_at(input, d, where)


def _split_places(where: Tensor) -> Any:
    if where.dtype.name != "int64" or where.ndim > 1:
        raise RuntimeError(
            "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or "
            "one-dimensional tensor of "
            f"dtype long, but got {where.ndim} dims and dtype {where.dtype.name}"
        )
    return where.tolist()


def _even_sizes(n: int, sections: int) -> list[int]:
    if sections <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {sections}")
    return [n // sections + (k < n % sections) for k in range(sections)]


def _cut_at(input: Tensor, dim: int, places: Sequence[int]) -> tuple[Tensor, ...]:
    n = input.shape[dim]
    edges = [0, *places, n]
    parts = []
    for k, (start, stop) in enumerate(itertools.pairwise(edges)):
        stop = n if k == len(places) else stop
        start, stop, _ = slice(start, stop).indices(n)
        parts.append(narrow_plain(input, dim, start, max(0, stop - start)))
    return tuple(parts)


def _directed(name: str, rank: int, dim: int) -> None:
    def op(input: Tensor, indices_or_sections: Any = None, **named: Any) -> tuple[Tensor, ...]:
        where = named.get("indices", named.get("sections", indices_or_sections))
        if input.ndim < rank:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {rank} dimension(s), but got a "
                f"tensor with {input.ndim} dimensions!"
            )
        d = 0 if name == "hsplit" and input.ndim == 1 else dim
        if isinstance(where, int):
            n = input.shape[d]
            if where <= 0 or n % where:
                raise RuntimeError(
                    f"torch.{name} attempted to split along dimension {d}, but the size of the "
                    f"dimension {n} is not "
                    f"divisible by the split_size {where}!"
                )
        return tensor_split(input, where, d)

    op.__name__ = name
    op.__doc__ = f"tensor_split along dimension {dim}; a number of parts must divide its size."
    function(name, method=True)(op)


_directed("hsplit", 1, 1)
_directed("vsplit", 2, 0)
_directed("dsplit", 3, 2)

for _name, _op in {"split": split, "split_with_sizes": split_with_sizes, "chunk": chunk}.items():
    alias(f"unsafe_{_name}", _op, method=True)
