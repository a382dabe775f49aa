"""What the graph alone tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from archlang.cost import cost
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
    """Static metrics alone: thousands of candidates a second."""

    name = "cost"
    isolated = False
    metrics = STATIC

    def identity(self) -> dict[str, object]:
        return {"name": self.name}

    def prepare(self) -> Evaluate:
        return _evaluate


def _evaluate(candidate: Candidate) -> Iterator[Metrics]:
    yield candidate.static
