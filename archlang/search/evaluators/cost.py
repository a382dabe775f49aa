"""What the graph alone tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial

from archlang.cost import cost
from archlang.device.predict import LatencyModel, table
from archlang.errors import fail
from archlang.ir.graph import Graph
from archlang.search.evaluators.protocol import Evaluate
from archlang.search.objective import STATIC
from archlang.search.trial import Candidate, Metrics


def static_metrics(graph: Graph) -> dict[str, float]:
    """params, macs, flops, and peak_memory: the bytes of activations alive at once in the int8 model."""
    found = cost(graph)
    return {**asdict(found.total), "peak_memory": found.peak_memory_int8_bytes}


@dataclass(frozen=True)
class CostEvaluator:
    """Static metrics alone: thousands of candidates a second. latency: a latency table, its file or its device, by
    which latency is predicted as well."""

    latency: str | None = None

    name = "cost"
    isolated = False

    @property
    def metrics(self) -> tuple[str, ...]:
        return STATIC if self.latency is None else (*STATIC, "latency")

    def identity(self) -> dict[str, object]:
        return {"name": self.name} if self.latency is None else {"name": self.name, "latency": self.latency}

    def prepare(self) -> Evaluate:
        return _evaluate if self.latency is None else partial(_with_latency, table.find(self.latency).model)


def _evaluate(candidate: Candidate) -> Iterator[Metrics]:
    yield candidate.static


def _with_latency(model: LatencyModel, candidate: Candidate) -> Iterator[Metrics]:
    """Raises ArchError where the network holds an op that was never measured."""
    yield candidate.static
    predicted = model.predict(candidate.graph)
    if predicted.ms is None:
        raise fail("E1015", f"no latency is predicted: never measured: {predicted.unknown[0]}")
    yield {"latency": predicted.ms}
