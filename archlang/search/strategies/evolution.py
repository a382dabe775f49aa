"""Regularized evolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from archlang.search.objective import Objective
from archlang.search.strategies.kinds import Count, Share
from archlang.search.trial import Proposal, Space, Trial


@dataclass(frozen=True)
class Evolution:
    """Regularized (ageing) evolution, Real et al., arXiv:1802.01548, algorithm 1.

    The last `population` trials live. `sample` of them, drawn at random, compete; the fittest, changed in one
    decision, is the next candidate. With the probability `crossover` it is first crossed with the second fittest.
    With several objectives the fittest is the one of the best Pareto rank, the least crowded among equals.
    """

    population: Count = 30
    sample: Count = 10
    crossover: Share = 0.0

    def ask(self, space: Space, objective: Objective, history: Sequence[Trial], rng: Random) -> Proposal:
        if len(history) < self.population:
            return Proposal(space.sample(rng), None, "sampled")
        rivals = _drawn(history[-self.population :], self.sample, rng)
        order = objective.fittest([trial.metrics for trial in rivals], 2 if self.crossover else 1)
        parent = rivals[order[0]]
        if len(rivals) > 1 and rng.random() < self.crossover:
            return _child(space, parent, rivals[order[1]], rng)
        picks, story = space.mutate(parent.picks, rng)
        return Proposal(picks, parent.id, story)


def _drawn(trials: Sequence[Trial], count: int, rng: Random) -> list[Trial]:
    """Some of them, each as likely as any other: `Random.sample`, in a fifth of its time."""
    left, random = [*trials], rng.random
    return [left.pop(int(random() * len(left))) for _ in range(min(count, len(left)))]


def _child(space: Space, a: Trial, b: Trial, rng: Random) -> Proposal:
    picks, story = space.mutate(space.crossover(a.picks, b.picks, rng), rng)
    return Proposal(picks, a.id, f"crossed with trial {b.id}; {story}")
