"""What a strategy is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol, TypeGuard

from archlang.search.objective import Objective
from archlang.search.trial import Picks, Proposal, Space, Trial

Choose = Callable[[str, int], int]
"""The key of a decision and how many alternatives it has -> which one is taken."""


class Strategy(Protocol):
    """A strategy keeps no state: its proposal follows from the history and the generator, so that a search that was
    killed goes on as if it had not been. What is expensive to derive from a history may be kept for the next call."""

    def ask(self, space: Space, objective: Objective, history: Sequence[Trial], rng: Random) -> Proposal:
        """The next proposal. history: the trials that were evaluated whole, in order."""
        ...


class Decisions(Space, Protocol):
    """A space of choices: its candidates are made decision by decision."""

    def decided(self, choose: Choose) -> Picks:
        """The candidate that `choose` makes; it is asked for every decision once, in the order in which they are
        met."""
        ...


def has_decisions(space: Any) -> TypeGuard[Decisions]:
    return hasattr(space, "decided")


class Kept:
    """Something derived from the history, kept from one call to the next as long as the history only grows."""

    def __init__(self) -> None:
        self._space: Space | None = None
        self._objective: Objective | None = None
        self._seen: list[Trial] = []
        self._value: Any = None

    def grown(self, space: Space, objective: Objective, history: Sequence[Trial], fresh: Callable[[], Any]) -> Any:
        """What was derived from the beginning of this history, or what `fresh` gives for none. The caller brings it up
        to date, so that it is the same however often it was asked."""
        same = self._space is space and self._objective is objective
        if not (same and list(history[: len(self._seen)]) == self._seen):
            self._value = fresh()
        self._space, self._objective, self._seen = space, objective, list(history)
        return self._value
