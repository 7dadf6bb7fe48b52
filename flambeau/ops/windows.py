"""Windows: strided parts of a tensor, and how gradients are put into them and taken out again.

A window is (shape, strides, offset), in elements, relative to a tensor's first element. It is given
for the strides the tensor had in the forward pass; gradients are row-major, so windows are
translated first.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import NamedTuple

from .. import core
from ..core import Tensor
from .convert import fill_plain
from .factory import dense_strides
from .record import primitive

Ints = tuple[int, ...]
Geometry = tuple[Ints, Ints, int]


class Window(NamedTuple):
    """A window of a row-major tensor."""

    shape: Ints
    strides: Ints
    offset: int
    overlapping: bool


@lru_cache(maxsize=4096)
def translate(in_shape: Ints, in_strides: Ints, geometry: Geometry) -> Window | None:
    """The same elements as a window of a row-major tensor of in_shape, or None."""
    shape, strides, offset = geometry
    if 0 in shape:
        return Window(shape, strides, 0, False)
    dense = dense_strides(in_shape)
    if in_strides == dense:
        inside = offset >= 0 and offset + _reach(shape, strides) < prod(in_shape)
        return Window(shape, strides, offset, _overlaps(shape, strides)) if inside else None
    start = _position(in_shape, in_strides, offset)
    if start is None:
        return None
    low, high = list(start), list(start)
    moved = []
    for n, step in zip(shape, strides, strict=True):
        if n == 1:
            moved.append(step)
            continue
        there = _position(in_shape, in_strides, offset + step)
        if there is None:
            return None
        delta = [b - a for a, b in zip(start, there, strict=True)]
        for d, c in enumerate(delta):
            low[d] += min(c, 0) * (n - 1)
            high[d] += max(c, 0) * (n - 1)
        moved.append(sum(c * s for c, s in zip(delta, dense, strict=True)))
    inside = all(a >= 0 and b < n for a, b, n in zip(low, high, in_shape, strict=True))
    if not inside or min(moved, default=0) < 0:
        return None
    new_offset = sum(i * s for i, s in zip(start, dense, strict=True))
    return Window(shape, tuple(moved), new_offset, _overlaps(shape, tuple(moved)))


def _position(shape: Ints, strides: Ints, address: int) -> list[int] | None:
    """The index of the element at an address, where the strides give every address one index."""
    index = [0] * len(shape)
    span = None
    for d in sorted(range(len(shape)), key=lambda d: strides[d], reverse=True):
        n, step = shape[d], strides[d]
        if n == 1 or step == 0:  # a repeated element counts as its first
            continue
        if span is not None and step * (n - 1) >= span:
            return None
        span = step
        index[d], address = divmod(address, step)
        if index[d] >= n:
            return None
    return index if address == 0 else None


def _overlaps(shape: Ints, strides: Ints) -> bool:
    """May two elements of a window be the same one?"""
    reach = 0
    for step, n in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if step <= reach:
            return True
        reach += step * (n - 1)
    return False


def positions(in_shape: Ints, in_strides: Ints, geometry: Geometry) -> Tensor:
    """Row-major positions, in a tensor of in_shape, of a window's elements; -1 beside it."""
    from .sequences import arange

    shape, strides, offset = geometry
    low = min(offset, 0)
    reach = 1 + max(_reach(shape, strides) + offset, _reach(in_shape, in_strides)) - low
    memory = core.empty((reach,), _INT64)
    fill_plain(memory, -1)
    numbers = core.view(arange(prod(in_shape)), in_shape)
    firsts = tuple(slice(0, 1) if s == 0 else slice(None) for s in in_strides)
    own = core.restride(memory, in_shape, in_strides, -low)
    if in_shape:
        own, numbers = core.basic_index(own, firsts), core.basic_index(numbers, firsts)
    core.copy_plain(own, numbers)
    return core.contiguous_plain(core.restride(memory, shape, strides, offset - low))


_INT64 = core.dtypes[5]


def _reach(shape: Ints, strides: Ints) -> int:
    return sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if 0 not in shape else 0


def zeros_plain(shape: Ints, dtype: core.dtype) -> Tensor:
    """A new tensor of zeros."""
    return fill_plain(core.empty(shape, dtype), 0)


# ---- the gradient of a strided view --------------------------------------------------------------


@primitive(register=False)
def embed(g: Tensor, in_shape: Ints, in_strides: Ints, geometry: Geometry) -> Tensor:
    """Zeros of in_shape with g added into the window `geometry` of a tensor with in_strides."""
    window = translate(in_shape, in_strides, geometry)
    if window is not None and not window.overlapping:
        whole = zeros_plain(in_shape, g.dtype)
        core.copy_plain(core.restride(whole, window.shape, window.strides, window.offset), g)
        return whole
    return _accumulate(g, in_shape, positions(in_shape, in_strides, geometry))


def _accumulate(g: Tensor, in_shape: Ints, at: Tensor) -> Tensor:
    """Zeros of in_shape with g added at row-major positions, which may repeat."""
    from .scatter import add_rows_plain

    flat, values = core.view(at, (-1,)), core.view(core.contiguous_plain(g), (-1,))
    whole = zeros_plain((1 + prod(in_shape),), g.dtype)  # one more: where -1 lands
    add_rows_plain("as_strided", whole, flat, values)
    return core.view(core.clone_plain(core.restride(whole, (prod(in_shape),), (1,), 0)), in_shape)


@embed.vjp
def _(g, in_shape, in_strides, geometry):
    return extract(g, in_shape, in_strides, geometry)


def extract(whole: Tensor, in_shape: Ints, in_strides: Ints, geometry: Geometry) -> Tensor:
    """The window `geometry` (for in_strides) of a tensor of in_shape; gradients flow through."""
    from .views import contiguous

    window = translate(in_shape, in_strides, geometry)
    whole = contiguous(whole)
    if window is not None:
        return core.restride(whole, window.shape, window.strides, window.offset)
    return _take_positions(whole, in_shape, in_strides, geometry)


@primitive(register=False)
def _take_positions(whole: Tensor, in_shape: Ints, in_strides: Ints, geometry: Geometry) -> Tensor:
    """The elements of a window that no strides describe; zero beside the tensor."""
    from .gather import take_rows_plain

    padded = zeros_plain((1 + prod(in_shape),), whole.dtype)
    core.copy_plain(core.restride(padded, (prod(in_shape),), (1,), 0), core.view(whole, (-1,)))
    at = positions(in_shape, in_strides, geometry)
    return core.view(take_rows_plain("as_strided", padded, core.view(at, (-1,))), geometry[0])


@_take_positions.vjp
def _(g, in_shape, in_strides, geometry):
    return embed(g, in_shape, in_strides, geometry)


# ---- in-place writes through views ---------------------------------------------------------------


def take_slice(grad: Tensor, base_geometry: Tensor, view_geometry: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of a base, and a copy of the part of it that belongs to a view."""
    from .views import clone

    shape, strides, _ = core.geometry_of(base_geometry)
    return grad, clone(extract(grad, shape, strides, core.geometry_of(view_geometry)))


def put_slice(
    whole: Tensor, part: Tensor | None, base_geometry: Tensor, view_geometry: Tensor
) -> Tensor:
    """The gradient of a base with a view's part replaced; None is zero."""
    shape, strides, _ = core.geometry_of(base_geometry)
    return replace(whole, part, shape, strides, core.geometry_of(view_geometry))


@primitive(register=False)
def replace(
    whole: Tensor, part: Tensor | None, in_shape: Ints, in_strides: Ints, geometry: Geometry
) -> Tensor:
    """A row-major copy of `whole` whose window holds `part`, or zeros for None."""
    window = translate(in_shape, in_strides, geometry)
    if window is None:
        return _replace_positions(whole, part, positions(in_shape, in_strides, geometry))
    made = core.empty(in_shape, whole.dtype)
    core.copy_plain(made, whole)
    hole = core.restride(made, window.shape, window.strides, window.offset)
    if part is None:
        fill_plain(hole, 0)
    else:
        core.copy_plain(hole, part)
    return made


def _replace_positions(whole: Tensor, part: Tensor | None, at: Tensor) -> Tensor:
    from .scatter import put_rows_plain

    padded = zeros_plain((1 + whole.numel(),), whole.dtype)
    body = core.view(core.restride(padded, (whole.numel(),), (1,), 0), whole.shape)
    core.copy_plain(body, whole)
    values = zeros_plain(at.shape, whole.dtype) if part is None else core.contiguous_plain(part)
    put_rows_plain("as_strided", padded, core.view(at, (-1,)), core.view(values, (-1,)))
    return core.clone_plain(body)


@replace.vjp
def _(g, part, in_shape, in_strides, geometry):
    g_whole = replace(g, None, in_shape, in_strides, geometry)
    if part is None:
        return g_whole
    return g_whole, extract(g, in_shape, in_strides, geometry)
