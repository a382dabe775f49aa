"""What a search tries: proposals, candidates, and trials, which are candidates with what became of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Protocol

from archlang.ir.graph import Graph

Picks = dict[str, int]
"""Decision -> index of the alternative that is taken."""

Metrics = Mapping[str, float]


class Space(Protocol):
    """What the search needs of a search space."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    def sample(self, rng: Random) -> Picks:
        """Every decision at random."""
        ...

    def mutate(self, picks: Picks, rng: Random) -> tuple[Picks, str]:
        """One decision changed, and a line that says which."""
        ...

    def crossover(self, a: Picks, b: Picks, rng: Random) -> Picks:
        """Each decision from one of two parents."""
        ...

    def canonical(self, picks: Picks) -> Picks:
        """The decisions that matter under these picks, sorted: equal for equal networks."""
        ...

    def graph(self, picks: Picks) -> Graph:
        """The network. Raises ArchError where the picks do not fit together."""
        ...

    def source(self, picks: Picks, name: str, header: list[str]) -> str:
        """The network as .arch text under comment lines."""
        ...


@dataclass(frozen=True)
class Proposal:
    """What a strategy asks for. parent: the trial that it was made from. story: one line on how."""

    picks: Picks
    parent: int | None
    story: str


@dataclass(frozen=True)
class Candidate:
    """A network to be evaluated. static: the metrics that the graph alone tells."""

    trial: int
    graph: Graph
    static: Metrics


class Status(StrEnum):
    """running: begun. done: evaluated whole. rejected: a constraint broke, the rest was not evaluated. failed: an
    error, which `reason` tells."""

    RUNNING = "running"
    DONE = "done"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True)
class Trial:
    """One candidate and what became of it.

    digest: of the graph; None where the picks made none. passed_over: why earlier proposals for this trial were
    dropped -> how many. seconds: that the evaluation took.
    """

    id: int
    picks: Picks
    digest: str | None
    parent: int | None
    origin: str
    status: Status = Status.RUNNING
    metrics: Metrics = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0
    passed_over: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The picks as text, by which they are told apart. They are canonical."""
        return key_of(self.picks)


def key_of(picks: Picks) -> str:
    return json.dumps(picks, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Outcome:
    """What an evaluation ended with."""

    status: Status
    metrics: Metrics
    reason: str = ""
