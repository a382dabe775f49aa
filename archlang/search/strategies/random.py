"""Random search: the baseline that every strategy must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from archlang.search.objective import Objective
from archlang.search.trial import Proposal, Space, Trial


@dataclass(frozen=True)
class RandomSearch:
    """Every decision at random, each time."""

    def ask(self, space: Space, objective: Objective, history: Sequence[Trial], rng: Random) -> Proposal:
        return Proposal(space.sample(rng), None, "sampled")
