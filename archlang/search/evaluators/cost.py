"""What the graph alone tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

from archlang.device.predict import LatencyModel, table
from archlang.errors import fail
from archlang.search.diagram import Measure
from archlang.search.evaluators.protocol import Evaluate
from archlang.search.evaluators.setting import Setting
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
    instant = True

    @classmethod
    def of(cls, setting: Setting) -> CostEvaluator:
        return cls(setting.latency_table or setting.known_table)

    @property
    def metrics(self) -> tuple[str, ...]:
        return STATIC if self.latency is None else (*STATIC, "latency")

    def identity(self) -> dict[str, object]:
        return {"name": self.name} if self.latency is None else {"name": self.name, "latency": self.latency}

    @property
    def measure(self) -> Measure | None:
        """What the search is to sum over the parts of a network: latency follows from it without a graph."""
        return None if self.latency is None else self._model.features

    @cached_property
    def _model(self) -> LatencyModel:
        assert self.latency is not None
        return table.find(self.latency).model

    def prepare(self) -> Evaluate:
        evaluate = _static if self.peak_memory else _amounts
        return evaluate if self.latency is None else partial(_with_latency, self._model, evaluate)


def _amounts(candidate: Candidate) -> Iterator[Metrics]:
    yield candidate.amounts


def _static(candidate: Candidate) -> Iterator[Metrics]:
    yield candidate.static


def _with_latency(model: LatencyModel, evaluate: Evaluate, candidate: Candidate) -> Iterator[Metrics]:
    """Raises ArchError where the network holds an op that was never measured."""
    yield from evaluate(candidate)
    sums = candidate.features
    summed = model.from_features(sums) if sums and model.exact(sums) else None
    predicted = summed if summed is not None and summed.ms is not None else model.predict(candidate.graph)
    if predicted.ms is None:
        raise fail("E1015", f"no latency is predicted: never measured: {predicted.unknown[0]}")
    yield {"latency": predicted.ms}
