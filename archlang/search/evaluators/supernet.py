"""What a supernet that was trained before says: accuracies with inherited weights, without a training of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from archlang.errors import fail
from archlang.search.evaluators.protocol import Evaluate
from archlang.search.evaluators.setting import Setting
from archlang.search.evaluators.train import (
    Latency,
    TrainEvaluator,
    accuracy_of,
    calibration_images,
    int8_model,
    latency_of,
)
from archlang.search.objective import STATIC
from archlang.search.quiet import Quiet
from archlang.search.space import Space
from archlang.search.trial import Candidate, Metrics
from archlang.train import check_classifier
from archlang.train.network import load_torch

if TYPE_CHECKING:
    from archlang.supernet.cut import Cut

_OF_THE_MODEL = ("flash", "latency", "accuracy_int8")
"""Metrics of the int8 file, which is compiled where a search asks for one of them."""


@dataclass(frozen=True)
class SupernetEvaluator:
    """Accuracy of a candidate cut out of the supernet in `file`, its BatchNorm statistics taken anew from
    `recalibration` training images; the int8 file's metrics where the search asks for them.

    Accuracies are those on a fifth of the training images, which is held out; the test images stay unseen.
    model: how the int8 file is measured, and the data. wanted: its metrics that the search asks for.
    """

    file: Path
    space: Space
    model: TrainEvaluator
    recalibration: int
    wanted: tuple[str, ...] = ()

    name = "supernet"
    isolated = False

    @classmethod
    def of(
        cls,
        setting: Setting,
        *,
        file: str,
        recalibration: int = 512,
        runs: int = 30,
        min_secs: float = 0.3,
    ) -> SupernetEvaluator:
        """file: what `archlang supernet` wrote for the space that is searched. runs, min_secs: of a latency's
        measurement. Raises ArchError where it is of another space, the search has no data, or no decisions."""
        if not isinstance(setting.space, Space):
            raise fail("E1214", "a supernet is of a net with choices in it, and this search mutates one without")
        if recalibration < 1:
            raise fail("E1202", "the evaluator `supernet` takes its statistics from at least one image")
        model = TrainEvaluator.of(setting, keep=False, runs=runs, min_secs=min_secs)
        wanted = tuple(metric for metric in _OF_THE_MODEL if metric in setting.mentioned)
        space = Space(setting.space.net, setting.space.args)  # what it remembers cannot be sent to a worker
        found = cls(Path(file).expanduser(), space, model, recalibration, wanted)
        found._check()
        return found

    def _check(self) -> None:
        from archlang.supernet.checkpoint import check_space

        check_space(self.file, self.space)

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*STATIC, "accuracy", *self.wanted)

    def identity(self) -> dict[str, object]:
        content = hashlib.sha256(self.file.read_bytes()).hexdigest()
        about: dict[str, object] = {"data": self.model.data, "recalibration": self.recalibration}
        if "latency" in self.wanted:
            model = self.model
            about |= {"device": model.device, "threads": model.threads, "runs": model.runs, "table": model.table}
        return {"name": self.name, "supernet": content, **about}

    def prepare(self) -> Evaluate:
        load_torch()
        return _Session(self).evaluate


class _Session:
    """The supernet with its images, loaded once."""

    def __init__(self, settings: SupernetEvaluator) -> None:
        from archlang.supernet.checkpoint import load
        from archlang.supernet.judge import Judge, load_images

        self.settings, model = settings, settings.model
        self.net = load(settings.file, settings.space)
        graph = settings.space.graph(self.net.picks)
        check_classifier(graph)
        self.data = load_images(model.data, graph, trusted=model.trusted)
        self.judge = Judge(self.net, self.data, settings.recalibration)
        self.latency: Latency | None = None
        if "latency" in settings.wanted:
            self.latency = latency_of(model, Quiet(model.folder))

    def evaluate(self, candidate: Candidate) -> Iterator[Metrics]:
        yield candidate.static
        yield {"accuracy": self.judge.accuracy(candidate.picks)}
        if self.settings.wanted:
            yield self._of_the_model(self.net.cut(candidate.picks))

    def _of_the_model(self, cut: Cut) -> Metrics:
        """The metrics of the int8 file of a sub-network, which has been recalibrated."""
        data = self.data.fitted(cut.graph.nodes[cut.graph.inputs[0]].type.shape)
        model = int8_model(cut.graph, cut.weights, calibration_images(data))
        found = {"flash": float(len(model))}
        if self.latency is not None:
            found["latency"] = self.latency(cut.graph, model)
        if "accuracy_int8" in self.settings.wanted:
            found["accuracy_int8"] = accuracy_of(model, data)
        return {name: found[name] for name in self.settings.wanted}
