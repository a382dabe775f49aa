"""What the graph alone tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from archlang.device.predict import LatencyModel, table
from archlang.errors import fail
from archlang.search.evaluators.protocol import Evaluate
from archlang.search.objective import STATIC
from archlang.search.trial import Candidate, Metrics


@dataclass(frozen=True)
class CostEvaluator:
    """Static metrics alone: thousands of candidates a second. latency: a latency table, its file or its device, by
    which latency is predicted as well. peak_memory: whether it is wanted; it takes a graph, the others do not."""

    latency: str | None = None
    peak_memory: bool = True

    name = "cost"
    isolated = False

    @property
    def metrics(self) -> tuple[str, ...]:
        return STATIC if self.latency is None else (*STATIC, "latency")

    def identity(self) -> dict[str, object]:
        return {"name": self.name} if self.latency is None else {"name": self.name, "latency": self.latency}

    def prepare(self) -> Evaluate:
        evaluate = _static if self.peak_memory else _amounts
        return evaluate if self.latency is None else partial(_with_latency, table.find(self.latency).model, evaluate)


def _amounts(candidate: Candidate) -> Iterator[Metrics]:
    yield candidate.amounts


def _static(candidate: Candidate) -> Iterator[Metrics]:
    yield candidate.static


def _with_latency(model: LatencyModel, evaluate: Evaluate, candidate: Candidate) -> Iterator[Metrics]:
    """Raises ArchError where the network holds an op that was never measured."""
    yield from evaluate(candidate)
    predicted = model.predict(candidate.graph)
    if predicted.ms is None:
        raise fail("E1015", f"no latency is predicted: never measured: {predicted.unknown[0]}")
    yield {"latency": predicted.ms}
