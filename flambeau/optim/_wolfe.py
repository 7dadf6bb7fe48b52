"""A line search for the strong Wolfe conditions (Nocedal and Wright, algorithms 3.5 and 3.6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DECREASE, CURVATURE = 1e-4, 0.9
MAX_CALLS = 25
SHORTEST = 1e-9


@dataclass
class Point:
    """What is known at a length along the direction; `slope` is the derivative by the length."""

    length: Any
    loss: float
    gradient: Any
    slope: Any


def search_strong_wolfe(
    evaluate: Callable[[Any], tuple[float, Any]],
    direction: Any,
    length: Any,
    loss: float,
    gradient: Any,
    slope: Any,
) -> tuple[Point, int]:
    """Find a length where the loss is lower by enough and the slope flatter by enough.

    Args:
        evaluate: gives loss and gradient at a length.
        direction: a direction of descent.
        length: the first length to try.
        loss, gradient, slope: those at length 0.

    Returns:
        The point found, and how often `evaluate` was called.
    """
    search = _Search(evaluate, direction, Point(0, loss, gradient.clone(), slope))
    bracket, found = search.bracket(length)
    if not found:
        search.zoom(bracket)
    return min(bracket, key=lambda point: point.loss), search.calls


class _Search:
    def __init__(self, evaluate: Callable, direction: Any, start: Point) -> None:
        self.evaluate, self.direction, self.start = evaluate, direction, start
        self.calls = 0
        self.rounds = 0

    def try_length(self, length: Any) -> Point:
        self.calls += 1
        loss, gradient = self.evaluate(length)
        return Point(length, loss, gradient, gradient.dot(self.direction))

    def is_too_high(self, point: Point) -> bool:
        start = self.start
        return bool(point.loss > start.loss + DECREASE * point.length * start.slope)

    def is_flat(self, point: Point) -> bool:
        return bool(abs(point.slope) <= -CURVATURE * self.start.slope)

    def bracket(self, length: Any) -> tuple[list[Point], bool]:
        """Go further until two points enclose a minimum, or one satisfies the conditions."""
        before, here = self.start, self.try_length(length)
        while self.rounds < MAX_CALLS:
            if self.is_too_high(here) or (self.rounds > 1 and here.loss >= before.loss):
                return [before, here], False
            if self.is_flat(here):
                return [here], True
            if here.slope >= 0:
                return [before, here], False
            nearest = here.length + 0.01 * (here.length - before.length)
            length = _find_minimum(before, here, (nearest, here.length * 10))
            before, here = here, self.try_length(length)
            self.rounds += 1
        return [self.start, here], False

    def zoom(self, bracket: list[Point]) -> None:
        """Narrow the bracket, in place, until its lower end satisfies the conditions."""
        largest = self.direction.abs().max()
        stalled = False
        while self.rounds < MAX_CALLS:
            low, high = sorted(range(2), key=lambda i: bracket[i].loss)
            if abs(bracket[1].length - bracket[0].length) * largest < SHORTEST:
                return
            length, stalled = _keep_inside(_find_minimum(bracket[0], bracket[1]), bracket, stalled)
            point = self.try_length(length)
            self.rounds += 1
            if self.is_too_high(point) or point.loss >= bracket[low].loss:
                bracket[high] = point
                continue
            done = self.is_flat(point)
            if not done and point.slope * (bracket[high].length - bracket[low].length) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = point
            if done:
                return


def _keep_inside(length: Any, bracket: list[Point], stalled: bool) -> tuple[Any, bool]:
    """Move a length near an end inwards, at the second time; return it and whether it was near."""
    least, most = sorted(point.length for point in bracket)
    margin = 0.1 * (most - least)
    if min(most - length, length - least) >= margin:
        return length, False
    if not (stalled or length >= most or length <= least):
        return length, True
    nearer_end = abs(length - most) < abs(length - least)
    return (most - margin if nearer_end else least + margin), False


def _find_minimum(a: Point, b: Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """The minimum of the cubic through two points with their slopes, within bounds."""
    least, most = bounds or sorted((a.length, b.length))
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.length - b.length)
    square = d1**2 - a.slope * b.slope
    if not square >= 0:
        return (least + most) / 2
    left, right = (a, b) if a.length <= b.length else (b, a)
    d2 = math.sqrt(square) if isinstance(square, float) else square.sqrt()
    part = (right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2)
    return min(max(right.length - (right.length - left.length) * part, least), most)
