"""Accuracies predicted from those of a sample of sub-networks of a supernet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from archlang.errors import fail
from archlang.search.evaluators.cost import CostEvaluator
from archlang.search.evaluators.protocol import Evaluate
from archlang.search.evaluators.setting import Setting
from archlang.search.space import Space
from archlang.search.trial import Candidate, Metrics
from archlang.supernet.predictor import Predictor, load


@dataclass(frozen=True)
class PredictorEvaluator:
    """The accuracy that the predictor in `file` expects, beside what `cost` tells: thousands of candidates a second."""

    file: Path
    space: Space
    cost: CostEvaluator

    name = "predictor"
    isolated = False
    instant = True

    @classmethod
    def of(cls, setting: Setting, *, file: str) -> PredictorEvaluator:
        """file: what `archlang supernet predictor` wrote for the space that is searched. Raises ArchError where it is
        for another one."""
        if not isinstance(setting.space, Space):
            raise fail("E1214", "a predictor is for a net with choices in it, and this search mutates one without")
        table = setting.latency_table or setting.known_table
        cost = CostEvaluator(table, "peak_memory" in setting.mentioned)
        found = cls(Path(file).expanduser(), setting.space, cost)
        found._predictor  # noqa: B018  # told before anything is begun
        return found

    @cached_property
    def _predictor(self) -> Predictor:
        return load(self.file, self.space.digest)

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*self.cost.metrics, "accuracy")

    def identity(self) -> dict[str, object]:
        content = hashlib.sha256(self.file.read_bytes()).hexdigest()
        return {**self.cost.identity(), "name": self.name, "predictor": content}

    def prepare(self) -> Evaluate:
        measure = self.cost.prepare()

        def evaluate(candidate: Candidate) -> Iterator[Metrics]:
            yield from measure(candidate)
            yield {"accuracy": float(self._predictor.accuracies([candidate.picks])[0])}

        return evaluate
