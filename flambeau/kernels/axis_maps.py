"""Linear maps along one axis of a plane: interpolation, means of windows, and their transposes.

A map has a row for each output: the inputs it is made of and their weights. Only its name and sizes
are kept; rows are made when a kernel is planned.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import NamedTuple

Row = list[tuple[int, float]]  # (input, weight)


class AxisMap(NamedTuple):
    """A map from `size` elements to `out`, or with `flipped` its transpose, back to `size`."""

    kind: str
    size: int
    out: int
    options: tuple = ()
    flipped: bool = False

    @property
    def inputs(self) -> int:
        """Elements of the axis it is applied to."""
        return self.out if self.flipped else self.size

    @property
    def outputs(self) -> int:
        """Elements it gives."""
        return self.size if self.flipped else self.out

    def flip(self) -> AxisMap:
        """The transposed map."""
        return self._replace(flipped=not self.flipped)

    def rows(self) -> list[Row]:
        """For each output its inputs with their weights; each input once."""
        rows = _BUILDERS[self.kind](self.size, self.out, *self.options)
        merged = [_merge(row) for row in rows]
        return _transpose(merged, self.size) if self.flipped else merged


def _merge(row: Row) -> Row:
    total: dict[int, float] = {}
    for source, weight in row:
        total[source] = total.get(source, 0.0) + weight
    return list(total.items())


def _transpose(rows: list[Row], size: int) -> list[Row]:
    back: list[Row] = [[] for _ in range(size)]
    for i, row in enumerate(rows):
        for source, weight in row:
            back[source].append((i, weight))
    return back


# ---- interpolation -------------------------------------------------------------------------------


def _same(size: int, out: int) -> list[Row]:
    return [[(i, 1.0)] for i in range(out)]


def _single(x: float) -> float:
    """x rounded to float32."""
    return struct.unpack("f", struct.pack("f", x))[0]


def _nearest(size: int, out: int, factor: float | None, exact: bool) -> list[Row]:
    ratio = _single(1 / factor if factor else size / out)
    shift = 0.5 if exact else 0.0
    places = [math.floor(_single(_single(i + shift) * ratio)) for i in range(out)]
    return [[(min(place, size - 1), 1.0)] for place in places]


def _ratio(size: int, out: int, factor: float | None, align: bool) -> float:
    if align:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return 1 / factor if factor else size / out


def _place(i: int, ratio: float, align: bool, cubic: bool) -> float:
    """Where output i is in the input."""
    if align:
        return i * ratio
    at = (i + 0.5) * ratio - 0.5
    return at if cubic else max(at, 0.0)


def _linear(size: int, out: int, factor: float | None, align: bool) -> list[Row]:
    ratio = _ratio(size, out, factor, align)
    rows = []
    for i in range(out):
        at = _place(i, ratio, align, False)
        low = min(int(at), size - 1)
        high = min(low + 1, size - 1)
        t = min(max(at - low, 0.0), 1.0)
        rows.append([(low, 1 - t), (high, t)])
    return rows


def cubic_coefficients(t, a: float = -0.75) -> tuple:
    """Weights of the four neighbours of a place t beyond the second; t a number or a tensor."""

    def near(x: float) -> float:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: float) -> float:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return far(t + 1), near(t), near(1 - t), far(2 - t)


def _cubic(size: int, out: int, factor: float | None, align: bool) -> list[Row]:
    ratio = _ratio(size, out, factor, align)
    rows = []
    for i in range(out):
        at = _place(i, ratio, align, True)
        low = math.floor(at)
        weights = cubic_coefficients(at - low)
        rows.append([(min(max(low - 1 + k, 0), size - 1), w) for k, w in enumerate(weights)])
    return rows


def _antialias(size: int, out: int, factor: float | None, align: bool, cubic: bool) -> list[Row]:
    """A triangle or cubic filter as wide as the reduction."""
    ratio = _ratio(size, out, factor, align)
    support = (2.0 if cubic else 1.0) * max(ratio, 1.0)
    inverse = 1 / ratio if ratio >= 1 else 1.0
    rows = []
    for i in range(out):
        centre = ratio * (i + 0.5)
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), size)
        weights = [_filter((j + low - centre + 0.5) * inverse, cubic) for j in range(high - low)]
        total = sum(weights) or 1.0
        rows.append([(low + j, w / total) for j, w in enumerate(weights)])
    return rows


def _filter(x: float, cubic: bool) -> float:
    x = abs(x)
    if not cubic:
        return 1 - x if x < 1 else 0.0
    a = -0.5
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


# ---- means ---------------------------------------------------------------------------------------


def _adaptive(size: int, out: int) -> list[Row]:
    """Means of windows that share the axis out evenly."""
    bounds = [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]
    return [[(k, 1 / (high - low)) for k in range(low, high)] for low, high in bounds]


def _window(
    size: int, out: int, kernel: int, stride: int, padding: int, include: bool, divisor: float
) -> list[Row]:
    """Means of sliding windows; divisor: what to divide by instead of counting, or 0."""
    rows = []
    for i in range(out):
        start = i * stride - padding
        low, high = max(start, 0), min(start + kernel, size)
        count = min(start + kernel, size + padding) - start if include else high - low
        by = divisor or max(count, 1)
        rows.append([(k, 1 / by) for k in range(low, high)])
    return rows


_BUILDERS: dict[str, Callable[..., list[Row]]] = {
    "same": _same,
    "nearest": _nearest,
    "linear": _linear,
    "cubic": _cubic,
    "antialias": _antialias,
    "adaptive": _adaptive,
    "window": _window,
}
