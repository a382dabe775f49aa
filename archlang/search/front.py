"""Pareto dominance. A point is a tuple of values that are all to be large."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import itemgetter

from archlang.search.trial import Trial

Point = tuple[float, ...]


def dominates(a: Point, b: Point) -> bool:
    """Whether a is nowhere worse than b and somewhere better."""
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def ranks(points: Sequence[Point]) -> list[int]:
    """0 for the points that none dominates, 1 for those that only points of rank 0 dominate, and so on (NSGA-II's
    non-dominated sorting, Deb et al. 2002)."""
    rank = [-1] * len(points)
    level, left = 0, list(range(len(points)))
    while left:
        best = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        for i in best:
            rank[i] = level
        left = [i for i in left if rank[i] < 0]
        level += 1
    return rank


def crowding(points: Sequence[Point]) -> list[float]:
    """NSGA-II's crowding distance: per objective the gap between a point's neighbours over the whole range, summed;
    infinite at the ends."""
    distance = [0.0] * len(points)
    for axis in range(len(points[0]) if points else 0):
        order = sorted(range(len(points)), key=lambda i: points[i][axis])
        low, high = points[order[0]][axis], points[order[-1]][axis]
        distance[order[0]] = distance[order[-1]] = float("inf")
        if high > low:
            for before, i, after in zip(order, order[1:], order[2:], strict=False):
                distance[i] += (points[after][axis] - points[before][axis]) / (high - low)
    return distance


def best_first(points: Sequence[Point], count: int) -> list[int]:
    """The places of the `count` best points: by rank, the less crowded first among equals (NSGA-II), else in order."""
    if count == 1 and len(points[0]) == 2:  # one of the two ends, which nothing crowds
        ends = (max(points), max(points, key=itemgetter(1, 0)))
        return [min(map(points.index, ends))]
    found: list[int] = []
    left = list(range(len(points)))
    while left and len(found) < count:
        front = undominated([points[i] for i in left])
        members = [left[i] for i in front]
        spread = _spread_of([points[i] for i in members])
        found += [members[i] for i in sorted(range(len(members)), key=spread.__getitem__, reverse=True)]
        left = [i for i in left if i not in members]
    return found[:count]


def _spread_of(front: Sequence[Point]) -> list[float]:
    """The crowding distances of points none of which dominates another. Different pairs have one order for both of
    their values, as they rise in the one and fall in the other."""
    if len(front[0]) != 2 or len(set(front)) < len(front):
        return crowding(front)
    distance = [math.inf] * len(front)
    order = sorted(range(len(front)), key=front.__getitem__)
    (low, high_second), (high, low_second) = front[order[0]], front[order[-1]]
    for before, i, after in zip(order, order[1:], order[2:], strict=False):
        (x, y), (next_x, next_y) = front[before], front[after]
        distance[i] = (next_x - x) / (high - low) + (y - next_y) / (high_second - low_second)
    return distance


def undominated(points: Sequence[Point]) -> list[int]:
    """The places of the points that no other dominates."""
    if points and len(points[0]) == 2:
        return _undominated_pairs(points)
    order = sorted(range(len(points)), key=points.__getitem__, reverse=True)
    front: list[int] = []
    for i in order:  # what dominates a point comes before it
        if not any(dominates(points[j], points[i]) for j in front):
            front.append(i)
    return sorted(front)


def _undominated_pairs(points: Sequence[Point]) -> list[int]:
    """One pass from the largest first value down: a point stands where its second value is a new largest one."""
    best: Point = ()
    front: list[int] = []
    for i in sorted(range(len(points)), key=points.__getitem__, reverse=True):
        point = points[i]
        if not best or point[1] > best[1] or point == best:
            best = point
            front.append(i)
    return sorted(front)


class Front:
    """The trials that no other dominates, in the order of the first objective, best first. Of equal points the first
    one stays."""

    def __init__(self, point: Callable[[Trial], Point]) -> None:
        self._point = point
        self._points: list[Point] = []  # ascending
        self._trials: list[Trial] = []

    def add(self, trial: Trial) -> bool:
        """Whether the trial is on the front now."""
        point = self._point(trial)
        place = bisect_left(self._points, point)
        if self._is_dominated(point, place):
            return False
        self._drop_dominated(point, place)
        place = bisect_left(self._points, point)
        self._points.insert(place, point)
        self._trials.insert(place, trial)
        return True

    def _is_dominated(self, point: Point, place: int) -> bool:
        """By an equal point too. place: of the first one that is not smaller: those before it cannot dominate."""
        if len(point) == 2:  # the second values fall along the front, so the next one has the largest that matters
            return place < len(self._points) and self._points[place][1] >= point[1]
        return any(other == point or dominates(other, point) for other in self._points[place:])

    def _drop_dominated(self, point: Point, place: int) -> None:
        """Only points before `place` can be dominated; of pairs only those right before it."""
        if len(point) == 2:
            first = place
            while first and self._points[first - 1][1] <= point[1]:
                first -= 1
            del self._points[first:place], self._trials[first:place]
            return
        kept = [i for i, other in enumerate(self._points) if i >= place or not dominates(point, other)]
        if len(kept) < len(self._points):
            self._points = [self._points[i] for i in kept]
            self._trials = [self._trials[i] for i in kept]

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(reversed(self._trials))
