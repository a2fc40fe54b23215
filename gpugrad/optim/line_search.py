"""A line search for quasi-Newton methods."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Point(NamedTuple):
    """A step length, and the loss, its gradient and its slope along the direction there."""

    t: float
    loss: float
    grad: Any
    slope: float


class StrongWolfe:
    """Finds a step length that fulfils the strong Wolfe conditions (Nocedal and Wright, 2006, algorithms 3.5 and 3.6).

    It brackets one, and then narrows the bracket; every trial is where a cubic through two points is least.

    Parameters
    ----------
    evaluate : callable
        The `Point` of a step length.
    start : Point
        Of length 0.
    tolerance : float
        A bracket that is shorter is not narrowed.
    most : int
        Trials after the first.

    Attributes
    ----------
    calls : int
        Points evaluated so far.

    Examples
    --------
    >>> from gpugrad.optim.line_search import Point, StrongWolfe
    >>> search = StrongWolfe(lambda t: Point(t, (t - 3) ** 2, None, 2 * (t - 3)), Point(0.0, 9.0, None, -6.0), 1e-9, 20)
    >>> search.run(0.1).t, search.calls
    (1.0, 2)
    """

    sufficient_decrease, curvature = 1e-4, 0.9

    def __init__(self, evaluate: Callable[[float], Point], start: Point, tolerance: float, most: int) -> None:
        self._evaluate, self._start, self._tolerance, self._most = evaluate, start, tolerance, most
        self.calls = 0

    def run(self, t: float) -> Point:
        """The best point found, from a first trial at `t`."""
        previous, point = self._start, self._at(t)
        while self.calls <= self._most:
            if self._too_high(point) or (self.calls > 2 and point.loss >= previous.loss):
                break
            if self._flat(point):
                return point
            if point.slope >= 0:
                break
            bounds = point.t + 0.01 * (point.t - previous.t), point.t * 10
            previous, point = point, self._at(minimum_of_cubic(previous, point, bounds))
        else:
            previous = self._start
        return self._narrowed([previous, point])

    def _at(self, t: float) -> Point:
        self.calls += 1
        return self._evaluate(t)

    def _too_high(self, point: Point) -> bool:
        return point.loss > self._start.loss + self.sufficient_decrease * point.t * self._start.slope

    def _flat(self, point: Point) -> bool:
        return abs(point.slope) <= -self.curvature * self._start.slope

    def _narrowed(self, ends: list[Point]) -> Point:
        """The best point between two ends."""
        ends.sort(key=lambda end: end.loss)  # the lower one first
        was_near = False
        while self.calls <= self._most and abs(ends[1].t - ends[0].t) >= self._tolerance:
            left, right = sorted(end.t for end in ends)
            t, margin = minimum_of_cubic(ends[0], ends[1]), 0.1 * (right - left)
            near = min(right - t, t - left) < margin
            if near and (was_near or not left < t < right):  # near an end twice, or at it: keep away
                t = right - margin if right - t < t - left else left + margin
                near = False
            was_near = near
            point = self._at(t)
            if self._too_high(point) or point.loss >= ends[0].loss:
                ends[1] = point
                ends.sort(key=lambda end: end.loss)
                continue
            if self._flat(point):
                return point
            ends = [point, ends[0] if point.slope * (ends[1].t - ends[0].t) >= 0 else ends[1]]
        return ends[0]


def minimum_of_cubic(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two points with their slopes is least (Nocedal and Wright, 3.59), within bounds."""
    left, right = (a, b) if a.t <= b.t else (b, a)
    lowest, highest = bounds or (left.t, right.t)
    if left.t == right.t:
        return lowest
    mean = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = mean * mean - a.slope * b.slope
    if not square >= 0:
        return (lowest + highest) / 2
    root = math.sqrt(square)
    denominator = right.slope - left.slope + 2 * root
    if denominator == 0:
        return (lowest + highest) / 2
    t = right.t - (right.t - left.t) * ((right.slope + root - mean) / denominator)
    return min(max(t, lowest), highest)
