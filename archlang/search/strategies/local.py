"""Local search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from archlang.search.objective import Objective
from archlang.search.strategies.kinds import Count
from archlang.search.strategies.protocol import Kept
from archlang.search.trial import Proposal, Space, Trial


@dataclass
class _Climb:
    """Where a climb stands. current: the trial whose neighbours are tried; failures: of them, since it was reached."""

    read: int = 0
    current: Trial | None = None
    failures: int = 0
    initial: list[Trial] = field(default_factory=list)


@dataclass(frozen=True)
class LocalSearch:
    """Hill climbing (White et al., arXiv:2005.02960, found it hard to beat on small spaces).

    After `initial` random candidates the best of them is changed in one decision at a time, and the first better one
    takes its place. After `patience` neighbours that are not better a new climb begins from a random candidate. With
    several objectives, better is what dominates.
    """

    initial: Count = 10
    patience: Count = 30

    _kept: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def ask(self, space: Space, objective: Objective, history: Sequence[Trial], rng: Random) -> Proposal:
        climb: _Climb = self._kept.grown(space, objective, history, _Climb)
        for trial in history[climb.read :]:
            self._read(climb, objective, trial)
        climb.read = len(history)
        if climb.current is None or climb.failures >= self.patience:
            return Proposal(space.sample(rng), None, "sampled")
        picks, story = space.mutate(climb.current.picks, rng)
        return Proposal(picks, climb.current.id, story)

    def _read(self, climb: _Climb, objective: Objective, trial: Trial) -> None:
        if len(climb.initial) < self.initial:
            climb.initial.append(trial)
            if len(climb.initial) == self.initial:
                fitness = objective.fitness([each.metrics for each in climb.initial])
                climb.current = climb.initial[fitness.index(max(fitness))]
            return
        assert climb.current is not None
        before, now = objective.fitness([climb.current.metrics, trial.metrics])
        if now > before or climb.failures >= self.patience:
            climb.current, climb.failures = trial, 0
        else:
            climb.failures += 1
