"""What a search wants: constraints, objectives, a reward."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from archlang.errors import fail, nearest
from archlang.search.front import Point, best_first, crowding, ranks
from archlang.search.trial import Candidate, Metrics

Reward = Callable[[Metrics], float]

METRICS = ("accuracy", "latency", "params", "macs", "flops", "peak_memory", "flash", "energy")
"""The metrics that the language knows: accuracy 0..1, latency in ms, energy in mJ, memory in bytes, else counts."""

STATIC = ("params", "macs", "flops", "peak_memory")
"""Those that a graph alone tells."""

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
    "~": lambda value, limit: abs(value - limit) <= 0.01 * abs(limit),
}


@dataclass(frozen=True)
class Constraint:
    """`metric op limit`, such as params <= 6000000. `~` is 'within 1 %'."""

    metric: str
    op: str
    limit: float

    def holds(self, metrics: Metrics) -> bool:
        """Whether the metric, where it is known, keeps to the limit."""
        return self.metric not in metrics or _OPERATORS[self.op](metrics[self.metric], self.limit)

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {self.limit:g}"


@dataclass(frozen=True)
class Objective:
    """All constraints must hold; then the reward is to be large, or each of `maximize` and small each of `minimize`.

    With a reward, `maximize` and `minimize` say only what the front is about.
    """

    require: tuple[Constraint, ...] = ()
    maximize: tuple[str, ...] = ()
    minimize: tuple[str, ...] = ()
    reward: Reward | None = None

    def broken(self, metrics: Metrics) -> Constraint | None:
        """The first constraint that the metrics known so far break."""
        return next((constraint for constraint in self.require if not constraint.holds(metrics)), None)

    def broken_at_once(self, candidate: Candidate) -> Constraint | None:
        """The first constraint that the network alone breaks. Peak memory needs the graph, and comes last."""
        broken = self.broken(candidate.amounts)
        wanted = broken is None and any(constraint.metric == "peak_memory" for constraint in self.require)
        return self.broken(candidate.static) if wanted else broken

    def point(self, metrics: Metrics) -> Point:
        """The objectives, all to be large."""
        if not self._signs:
            return (self._reward(metrics),)
        return tuple([sign * metrics[name] for name, sign in self._signs])

    def worth(self, metrics: Metrics) -> Point:
        """What is to be large: the reward alone where there is one, else each objective."""
        return self.point(metrics) if self.reward is None else (self._reward(metrics),)

    @cached_property
    def _signs(self) -> tuple[tuple[str, int], ...]:
        return (*((name, 1) for name in self.maximize), *((name, -1) for name in self.minimize))

    def needs(self, metric: str) -> bool:
        """Whether the metric is asked for. A reward that does not say what it reads may read everything."""
        read = self.reward is not None and metric in getattr(self.reward, "names", (metric,))
        return read or metric in self.axes or any(constraint.metric == metric for constraint in self.require)

    @property
    def axes(self) -> tuple[str, ...]:
        return (*self.maximize, *self.minimize)

    @property
    def mentioned(self) -> tuple[str, ...]:
        """Every metric that is asked for, each once; those that a reward reads as far as it says so."""
        required = (constraint.metric for constraint in self.require)
        return tuple(dict.fromkeys((*required, *self.axes, *sorted(getattr(self.reward, "names", ())))))

    def fitness(self, group: Sequence[Metrics]) -> list[float]:
        """A number for each member of a group, the larger the better: the reward, the only objective, or the Pareto
        rank within the group with the crowding distance deciding between equal ranks (NSGA-II)."""
        if self.reward is not None:
            return [self._reward(metrics) for metrics in group]
        points = [self.point(metrics) for metrics in group]
        if len(self.axes) == 1:
            return [point[0] for point in points]
        levels = ranks(points)
        return [
            c / (1 + c) - level if math.isfinite(c) else 1.0 - level
            for c, level in zip(_spread(points, levels), levels, strict=True)
        ]

    def as_json(self) -> dict[str, Any]:
        """What a run's database keeps of it: all but the reward, which is a function."""
        require = [[constraint.metric, constraint.op, constraint.limit] for constraint in self.require]
        return {"require": require, "maximize": list(self.maximize), "minimize": list(self.minimize)}

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Objective:
        """What `as_json` gave, without a reward."""
        require = tuple(Constraint(*each) for each in kept.get("require", ()))
        return cls(require, tuple(kept.get("maximize", ())), tuple(kept.get("minimize", ())))

    def fittest(self, group: Sequence[Metrics], count: int = 1) -> list[int]:
        """The places of the `count` fittest of a group, the fittest first; of equal ones the first."""
        if self.reward is None and len(self._signs) == 2:  # as `point` says, at once
            (first, sign), (second, other) = self._signs
            return best_first([(sign * metrics[first], other * metrics[second]) for metrics in group], count)
        if self.reward is None and len(self._signs) > 2:
            return best_first([self.point(metrics) for metrics in group], count)
        fitness = self.fitness(group)
        return sorted(range(len(group)), key=lambda i: -fitness[i])[:count]

    def best(self, front: Sequence[Metrics]) -> int:
        """Which of the front is best: by the reward, else by the objective that is named first."""
        if self.reward is not None:
            rewards = self.fitness(front)
            return rewards.index(max(rewards))
        firsts = [self.point(metrics)[0] for metrics in front]
        return firsts.index(max(firsts))

    def _reward(self, metrics: Metrics) -> float:
        """The reward; not a number counts as the worst."""
        assert self.reward is not None
        try:
            value = float(self.reward(metrics))
        except (ZeroDivisionError, OverflowError, ValueError, TypeError):
            return -math.inf
        return -math.inf if math.isnan(value) else value


def _spread(points: Sequence[Point], levels: Sequence[int]) -> list[float]:
    """Crowding distance of each point among those of its rank."""
    found = [0.0] * len(points)
    for level in set(levels):
        members = [i for i, other in enumerate(levels) if other == level]
        for i, distance in zip(members, crowding([points[i] for i in members]), strict=True):
            found[i] = distance
    return found


STAND_INS = {"accuracy": "params", "latency": "macs", "energy": "macs", "flash": "params"}
"""What stands for a metric where only static ones are known: capacity and work, the baselines of zero-cost proxies."""


def restricted(objective: Objective, known: Iterable[str], evaluator: str) -> tuple[Objective, list[str]]:
    """The objective in metrics that the evaluator gives, and a line for each change.

    An objective that is not known is replaced by its stand-in, a constraint dropped. Raises ArchError where a metric
    is known to nobody, or nothing to optimise is left.
    """
    names = set(known)
    mentioned = {*objective.axes, *(constraint.metric for constraint in objective.require)}
    for name in sorted(mentioned - names - set(METRICS)):
        raise fail("E1203", f"there is no metric `{name}`", help=nearest(name, (*METRICS, *names)))
    notes = [
        f"`{evaluator}` does not give `{name}`: {_instead(name, names, objective)}"
        for name in sorted(mentioned - names)
    ]
    maximize = _replaced(objective.maximize, names)
    minimize = tuple(name for name in _replaced(objective.minimize, names) if name not in maximize)
    require = tuple(constraint for constraint in objective.require if constraint.metric in names)
    if objective.reward is not None:
        objective.reward(dict.fromkeys(names, 1.0))  # says where it reads a metric that is not known
    result = replace(objective, require=_cheapest_first(require), maximize=maximize, minimize=minimize)
    if not result.axes and result.reward is None:
        raise fail(
            "E1204",
            "the search says nothing to optimise",
            help="write `maximize accuracy`, `minimize latency` or a `reward`",
        )
    return result, notes


def _replaced(wanted: tuple[str, ...], names: set[str]) -> tuple[str, ...]:
    found = (name if name in names else STAND_INS.get(name, "") for name in wanted)
    return tuple(dict.fromkeys(name for name in found if name in names))


def _instead(name: str, names: set[str], objective: Objective) -> str:
    stand_in = STAND_INS.get(name, "")
    if name in objective.axes and stand_in in names:
        return f"`{stand_in}` stands for it"
    return "it is left out"


def _cheapest_first(constraints: Iterable[Constraint]) -> tuple[Constraint, ...]:
    order = {name: i for i, name in enumerate(STATIC)}
    return tuple(sorted(constraints, key=lambda constraint: order.get(constraint.metric, len(order))))
