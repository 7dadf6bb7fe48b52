"""Which elements a place between elements is read from, and how much each of them counts.

Bodies in the language of kernels: a coordinate of a grid, in [-1, 1], becomes along its axis a few
taps, each an element's number with a weight and the derivative of the weight by the coordinate.
"""

from __future__ import annotations

from typing import NamedTuple

from .axis_maps import cubic_coefficients
from .scalar import Expr, cast, const, eq, floor, rint, trunc, where

# Of an axis: place = (coordinate + 1) * scale + shift; the last element; for reflection the lower
# edge and twice the distance of the edges.
PARAMETERS = ("scale", "shift", "last", "low", "period")
TAPS = {"nearest": 1, "bilinear": 2, "bicubic": 4}


class Axis(NamedTuple):
    """The parameters of an axis."""

    scale: Expr
    shift: Expr
    last: Expr
    low: Expr
    period: Expr


def parameters(size: int, align: bool) -> tuple[float, ...]:
    """The values of PARAMETERS for an axis of `size` elements."""
    edges = (0, size - 1) if align else (-0.5, size - 0.5)
    scale, shift = ((size - 1) / 2, 0.0) if align else (size / 2, -0.5)
    return scale, shift, float(size - 1), float(edges[0]), 2.0 * (edges[1] - edges[0])


def axis_taps(
    mode: str,
    padding: str,
    coordinate: Expr,
    *numbers: Expr,
    number: str = "i64",
    paired: bool = False,
) -> list[Expr]:
    """For each tap: its element (a `number`, 0 where there is none), whether there is one, its
    weight and the derivative of that.

    `paired`: the two taps of mode bilinear are always neighbours inside; there are two elements.
    """
    axis = Axis(*numbers)
    place = (coordinate + 1) * axis.scale + axis.shift
    if mode == "bicubic":
        return _cubic(number, padding, place, axis)
    place, turn = _bring_inside(padding, place, axis)
    if mode == "nearest":
        return _tap(number, rint(place), axis, const(1, place.dtype), const(0, place.dtype))
    low = floor(place)
    part, slope = place - low, turn * axis.scale
    if paired:
        return _pair(number, low, 1 - part, part, axis)
    return [
        *_tap(number, low, axis, 1 - part, -slope),
        *_tap(number, low + 1, axis, part, slope),
    ]


def _tap(number: str, at: Expr, axis: Axis, weight: Expr, slope: Expr) -> list[Expr]:
    inside = (at >= 0) & (at <= axis.last)
    return [cast(where(inside, at, 0), number), inside, weight, slope]


def _pair(number: str, low: Expr, weight: Expr, other: Expr, axis: Axis) -> list[Expr]:
    """Two neighbours, of which one or none may count. They have no derivatives."""
    base = where(low > 0, where(low < axis.last - 1, low, axis.last - 1), 0)
    both, none = eq(low, base), const(0, low.dtype)
    below, above = eq(low + 1, base), eq(low, base + 1)
    at = cast(base, number)
    left = where(both, weight, where(below, other, none))
    right = where(both, other, where(above, weight, none))
    return [at, both | below, left, none, at + 1, both | above, right, none]


def _cubic(number: str, padding: str, place: Expr, axis: Axis) -> list[Expr]:
    low = floor(place)
    weights = cubic_coefficients(place - low)
    slopes = _cubic_slopes(place - low)
    taps: list[Expr] = []
    for k, (weight, slope) in enumerate(zip(weights, slopes, strict=True)):
        at, _ = _bring_inside(padding, low + (k - 1), axis)
        taps += _tap(number, at, axis, weight, slope * axis.scale)
    return taps


def _cubic_slopes(t: Expr, a: float = -0.75) -> tuple[Expr, ...]:
    """Derivatives of `cubic_coefficients`."""

    def near(x: Expr) -> Expr:
        return (3 * (a + 2) * x - 2 * (a + 3)) * x

    def far(x: Expr) -> Expr:
        return (3 * a * x - 10 * a) * x + 8 * a

    return far(t + 1), near(t), -near(1 - t), -far(2 - t)


def _bring_inside(padding: str, place: Expr, axis: Axis) -> tuple[Expr, Expr]:
    """The place that stands for a place, and the derivative of the first by the second."""
    one = const(1, place.dtype)
    if padding == "zeros":
        return place, one
    if padding == "reflection":
        place, one = _reflect(place, axis)
    inside = (place > 0) & (place < axis.last)
    # NaN counts as 0.
    bounded = where(place > 0, where(place < axis.last, place, axis.last), 0)
    return bounded, where(inside, one, 0)


def _reflect(place: Expr, axis: Axis) -> tuple[Expr, Expr]:
    """A zigzag between the edges."""
    at = place - axis.low
    away = abs(at)
    rest = away - trunc(away / axis.period) * axis.period
    falling = rest > axis.period * 0.5
    mirrored = where(falling, axis.period - rest, rest)
    sign = where((at < 0) ^ falling, const(-1, at.dtype), 1)
    # Edges that meet leave one place.
    flat = axis.period <= 0
    return where(flat, 0, mirrored + axis.low), where(flat, 0, sign)
