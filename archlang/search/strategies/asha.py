"""Successive halving."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from archlang.search.objective import Objective
from archlang.search.strategies.evolution import Evolution
from archlang.search.strategies.kinds import Count, Several
from archlang.search.strategies.protocol import Strategy
from archlang.search.trial import Proposal, Space, Trial, key_of

_PATIENCE = 0.8
"""With this probability a promotion is proposed: one that is under way already, or has failed, does not come into the
history, and must not be proposed for ever."""


@dataclass(frozen=True)
class Asha:
    """Asynchronous successive halving, Li et al., arXiv:1810.05934, on top of a strategy.

    `of` proposes candidates at the lowest of `rungs` fidelities, and learns from that rung, where all can be compared.
    The best `1 / reduction` of each rung are evaluated again at `reduction` times its fidelity, up to a whole
    evaluation. A promotion goes before a new candidate, the highest first.
    """

    of: Strategy = field(default_factory=Evolution)
    reduction: Several = 3
    rungs: Count = 3

    @property
    def needs_decisions(self) -> bool:
        return getattr(self.of, "needs_decisions", False)

    @property
    def fidelities(self) -> tuple[float, ...]:
        """The lowest first; the last is 1."""
        return tuple(self.reduction**-rung for rung in reversed(range(self.rungs)))

    def ask(self, space: Space, objective: Objective, history: Sequence[Trial], rng: Random) -> Proposal:
        rungs = [[trial for trial in history if trial.fidelity == fidelity] for fidelity in self.fidelities]
        for trial, fidelity in self._promotable(rungs, objective):
            if rng.random() < _PATIENCE:
                return Proposal(trial.picks, trial.id, f"promoted to fidelity {fidelity:.3g}", fidelity)
        found = self.of.ask(space, objective, rungs[0], rng)
        return Proposal(found.picks, found.parent, found.story, self.fidelities[0])

    def _promotable(self, rungs: Sequence[Sequence[Trial]], objective: Objective) -> Iterator[tuple[Trial, float]]:
        """The best of each rung that are not in the next one, from the highest rung down, the best first."""
        for lower in reversed(range(self.rungs - 1)):
            above = {key_of(trial.picks) for trial in rungs[lower + 1]}
            for trial in self._best(rungs[lower], objective):
                if key_of(trial.picks) not in above:
                    yield trial, self.fidelities[lower + 1]

    def _best(self, rung: Sequence[Trial], objective: Objective) -> list[Trial]:
        count = len(rung) // self.reduction
        if not count:
            return []
        fitness = objective.fitness([trial.metrics for trial in rung])
        order = sorted(range(len(rung)), key=lambda i: fitness[i], reverse=True)
        return [rung[i] for i in order[:count]]
