"""NSGA-II."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from archlang.search.objective import Objective
from archlang.search.strategies.kinds import Several, Share
from archlang.search.strategies.protocol import Kept
from archlang.search.trial import Proposal, Space, Trial


@dataclass
class _Generations:
    """parents: the survivors so far, the best first. read: how many trials were parents or their children."""

    parents: list[Trial] = field(default_factory=list)
    read: int = 0


@dataclass(frozen=True)
class Nsga2:
    """The elitist genetic algorithm for fronts, Deb et al. 2002.

    Of the parents and `population` children the best Pareto ranks survive, of the last rank the least crowded. Two
    binary tournaments choose who is crossed, with the probability `crossover`; then decisions are changed, one at
    least. A candidate that breaks a constraint has no children: whatever the graph alone tells is checked
    before a proposal is accepted, and what is rejected later does not come into the history.
    """

    population: Several = 40
    crossover: Share = 0.9
    mutation: Share = 0.0

    _kept: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def ask(self, space: Space, objective: Objective, history: Sequence[Trial], rng: Random) -> Proposal:
        state: _Generations = self._kept.grown(space, objective, history, _Generations)
        while len(history) >= state.read + self.population:
            children = history[state.read : state.read + self.population]
            state.parents = survivors(objective, [*state.parents, *children], self.population)
            state.read += self.population
        if not state.parents:
            return Proposal(space.sample(rng), None, "sampled")
        return self._child(space, state.parents, rng)

    def _child(self, space: Space, parents: Sequence[Trial], rng: Random) -> Proposal:
        """mutation: the probability of each further change."""
        first, second = _tournament(parents, rng), _tournament(parents, rng)
        picks, stories = first.picks, []
        if first is not second and rng.random() < self.crossover:
            picks = space.crossover(first.picks, second.picks, rng)
            stories.append(f"crossed with trial {second.id}")
        while not stories or rng.random() < self.mutation:
            picks, story = space.mutate(picks, rng)
            stories.append(story)
        return Proposal(picks, first.id, "; ".join(stories))


def survivors(objective: Objective, trials: Sequence[Trial], count: int) -> list[Trial]:
    """The best, in their order: by rank, then by crowding distance; by one value where there is one objective."""
    fitness = objective.fitness([trial.metrics for trial in trials])
    order = sorted(range(len(trials)), key=lambda i: fitness[i], reverse=True)
    return [trials[i] for i in order[:count]]


def _tournament(parents: Sequence[Trial], rng: Random) -> Trial:
    """The better of two; parents are sorted."""
    return parents[min(rng.randrange(len(parents)), rng.randrange(len(parents)))]
