"""What a search tries: proposals, sketches, candidates, and trials, which are candidates with what became of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cache, cached_property
from itertools import chain
from random import Random
from typing import Any, Protocol

from archlang.cost import NetCost, cost
from archlang.ir.graph import Graph
from archlang.records import record

Picks = Mapping[str, Any]
"""What tells a candidate from the others of its space, as JSON can hold it. In a space of choices: decision -> index of
the alternative that is taken."""

Metrics = Mapping[str, float]


@record(frozen=True, slots=True)
class Sketch:
    """What is known of a candidate before its network is built.

    picks: canonical. digest: equal only for equal networks. amounts: params, macs, flops. features: whatever else the
    search had summed over the parts of the network.
    """

    picks: Picks
    digest: str
    amounts: Metrics
    features: Sequence[float] = ()


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

    def sketch(self, picks: Picks) -> Sketch:
        """What is known of the candidate at once. Raises ArchError where the picks do not fit together."""
        ...

    def graph(self, picks: Picks) -> Graph:
        """The network. Raises ArchError where the picks do not fit together."""
        ...

    def source(self, picks: Picks, name: str, header: list[str]) -> str:
        """The network as .arch text under comment lines."""
        ...


def sketch_of(picks: Picks, graph: Graph) -> Sketch:
    """The sketch of a network that is there already."""
    return Sketch(picks, graph.digest, amounts(cost(graph)))


def amounts(found: NetCost) -> dict[str, float]:
    """What adds up over the parts of a network: params, macs, flops."""
    return asdict(found.total)


@record(frozen=True, slots=True)
class Proposal:
    """What a strategy asks for. parent: the trial that it was made from. story: one line on how.

    fidelity: how much of a whole evaluation it is to get, over 0 and up to 1. A promotion proposes the picks of an
    earlier trial, its parent, at a higher fidelity.
    """

    picks: Picks
    parent: int | None
    story: str
    fidelity: float = 1.0


class Candidate:
    """A network to be evaluated.

    graph: the network, built when it is first asked for. amounts: what is known of it without. static: the metrics
    that the graph alone tells, the amounts and peak_memory: the bytes of activations alive at once in the int8 model.
    fidelity: how much of a whole evaluation it gets. parent: the trial that it was made from. features: see `Sketch`.
    picks: of the candidate, where it comes from a search.
    """

    def __init__(
        self,
        trial: int,
        graph: Graph | Callable[[], Graph],
        amounts: Metrics,
        fidelity: float = 1.0,
        parent: int | None = None,
        features: Sequence[float] = (),
        picks: Picks | None = None,
    ) -> None:
        self.trial, self.amounts, self.fidelity, self.parent = trial, amounts, fidelity, parent
        self.features = features
        self.picks: Picks = {} if picks is None else picks
        self._graph = graph

    @cached_property
    def graph(self) -> Graph:
        return self._graph if isinstance(self._graph, Graph) else self._graph()

    @cached_property
    def static(self) -> Metrics:
        if "peak_memory" in self.amounts:
            return self.amounts
        return {**self.amounts, "peak_memory": cost(self.graph).peak_memory_int8_bytes}

    def shipped(self) -> Candidate:
        """As it is sent to another process. Scopes hold values of the language that cannot be pickled; only the
        numbers matter there."""
        graph = Graph(self.graph.name, self.graph.nodes, self.graph.outputs)
        return Candidate(self.trial, graph, self.static, self.fidelity, self.parent, picks=dict(self.picks))


class Status(StrEnum):
    """running: begun. done: evaluated whole. rejected: a constraint broke, the rest was not evaluated. failed: an
    error, which `reason` tells."""

    RUNNING = "running"
    DONE = "done"
    REJECTED = "rejected"
    FAILED = "failed"


@record(frozen=True)
class Trial:
    """One candidate and what became of it.

    digest: of the network, equal only for equal ones; None where the picks made none. passed_over: why earlier
    proposals for this trial were dropped -> how many. seconds: that the evaluation took. fidelity: how much of a whole
    evaluation it got; the same picks may come again at another one.
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
    fidelity: float = 1.0

    @cached_property
    def key(self) -> str:
        """The picks as text, by which they are told apart. They are canonical."""
        return key_of(self.picks)

    def ended(self, outcome: Outcome, seconds: float = 0.0) -> Trial:
        """The trial with what became of it."""
        ended = object.__new__(Trial)  # `dataclasses.replace` takes many times as long
        ended.__dict__.update(
            self.__dict__, status=outcome.status, metrics=outcome.metrics, reason=outcome.reason, seconds=seconds
        )
        return ended

    @property
    def whole(self) -> bool:
        """Whether it was evaluated in full, so that its metrics may stand beside those of others."""
        return self.fidelity == 1


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@cache
def _quoted(key: str) -> str:
    return json.dumps(key)


def identity_of(picks: Picks) -> Hashable:
    """Equal for equal canonical picks, and made in a fraction of the time of their text."""
    found = tuple(chain.from_iterable(picks.items()))
    try:
        hash(found)
    except TypeError:  # lists within
        return key_of(picks)
    return found


def key_of(picks: Picks) -> str:
    """The picks as text: JSON, sorted, without spaces."""
    if set(map(type, picks.values())) <= {int}:  # in a third of the encoder's time
        return "{" + ",".join([f"{_quoted(name)}:{index}" for name, index in sorted(picks.items())]) + "}"
    return _encode(picks)


@dataclass(frozen=True)
class Outcome:
    """What an evaluation ended with."""

    status: Status
    metrics: Metrics
    reason: str = ""
