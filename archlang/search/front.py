"""Pareto dominance. A point is a tuple of values that are all to be large."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


class Front:
    """The trials that no other dominates, in the order of the first objective, best first. Of equal points the first
    one stays."""

    def __init__(self, point: Callable[[Trial], Point]) -> None:
        self._point = point
        self._members: list[tuple[Point, Trial]] = []

    def add(self, trial: Trial) -> bool:
        """Whether the trial is on the front now."""
        point = self._point(trial)
        if any(other == point or dominates(other, point) for other, _ in self._members):
            return False
        self._members = [(other, member) for other, member in self._members if not dominates(point, other)]
        self._members.append((point, trial))
        self._members.sort(key=lambda member: member[0], reverse=True)
        return True

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(trial for _, trial in self._members)
