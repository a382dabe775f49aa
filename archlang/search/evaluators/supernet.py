"""What a supernet that was trained before says: accuracies with inherited weights, as they are or trained further."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from archlang.data import Dataset
from archlang.errors import fail
from archlang.ir.graph import Graph
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
from archlang.search.fidelity import reduced
from archlang.search.objective import STATIC
from archlang.search.quiet import Quiet
from archlang.search.space import Space
from archlang.search.trained import TrainedWeights
from archlang.search.trial import Candidate, Metrics
from archlang.train import Recipe, TrainResult, check_classifier, train
from archlang.train.network import load_torch

if TYPE_CHECKING:
    from archlang.supernet.cut import Cut

INT8 = "accuracy_int8"

_OF_THE_MODEL = ("flash", "latency", INT8)
"""Metrics of the int8 file, which is compiled where a search asks for one of them."""


@dataclass(frozen=True)
class SupernetEvaluator:
    """Accuracy of a candidate cut out of the supernet in `file`, its BatchNorm statistics taken anew from
    `recalibration` training images; the int8 file's metrics where the search asks for them.

    Accuracies are those on a fifth of the training images, which is held out; the test images stay unseen.
    model: how the int8 file is measured, the data, and the recipe by which a candidate is trained further, alone, for
    `epochs`: with none it is judged as it is cut. wanted: the int8 file's metrics that the search asks for.
    """

    file: Path
    space: Space
    model: TrainEvaluator
    recalibration: int
    epochs: int = 0
    wanted: tuple[str, ...] = ()

    name = "supernet"

    @classmethod
    def of(
        cls,
        setting: Setting,
        *,
        file: str,
        recalibration: int = 512,
        epochs: int = 0,
        keep: bool = True,
        runs: int = 30,
        min_secs: float = 0.3,
        train_threads: int = 1,
    ) -> SupernetEvaluator:
        """file: what `archlang supernet` wrote for the space that is searched. keep: whether weights that were trained
        further are kept. runs, min_secs: of a latency's measurement. Raises ArchError where it is of another space, the
        search has no data, or no decisions."""
        if not isinstance(setting.space, Space):
            raise fail("E1214", "a supernet is of a net with choices in it, and this search mutates one without")
        if recalibration < 1:
            raise fail("E1202", "the evaluator `supernet` takes its statistics from at least one image")
        if epochs < 0:
            raise fail("E1202", f"the evaluator `supernet` cannot train for {epochs} epochs", help="0 does not train")
        model = TrainEvaluator.of(setting, keep=keep, runs=runs, min_secs=min_secs, train_threads=train_threads)
        wanted = tuple(metric for metric in _OF_THE_MODEL if metric in setting.mentioned)
        space = Space(setting.space.net, setting.space.args)  # what it remembers cannot be sent to a worker
        found = cls(Path(file).expanduser(), space, model, recalibration, epochs, wanted)
        found._check()
        return found

    def _check(self) -> None:
        from archlang.supernet.checkpoint import check_space

        check_space(self.file, self.space)

    @property
    def isolated(self) -> bool:
        return self.epochs > 0

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*STATIC, "accuracy", *self.wanted)

    @property
    def recipe(self) -> Recipe:
        """Of the training of a candidate."""
        return replace(self.model.recipe, epochs=self.epochs)

    def identity(self) -> dict[str, object]:
        content = hashlib.sha256(self.file.read_bytes()).hexdigest()
        about: dict[str, object] = {"data": self.model.data, "recalibration": self.recalibration}
        if self.epochs:
            about["recipe"] = asdict(self.recipe)
        if "latency" in self.wanted:
            model = self.model
            about |= {"device": model.device, "threads": model.threads, "runs": model.runs, "table": model.table}
        return {"name": self.name, "supernet": content, **about}

    def prepare(self) -> Evaluate:
        torch = load_torch()
        if self.epochs:
            torch.set_num_threads(self.model.train_threads)
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
        self.quiet = Quiet(model.shared or model.folder)
        self.latency: Latency | None = latency_of(model, self.quiet) if "latency" in settings.wanted else None
        self.kept = TrainedWeights(model.folder / "weights") if settings.epochs and model.keep else None

    def evaluate(self, candidate: Candidate) -> Iterator[Metrics]:
        yield candidate.static
        wanted = self.settings.wanted
        if not self.settings.epochs:
            yield {"accuracy": self.judge.accuracy(candidate.picks)}
            if wanted:
                yield self._of_the_model(self.net.cut(candidate.picks), wanted)
            return
        self.judge.select(candidate.picks)
        cut = self.net.cut(candidate.picks)
        before = tuple(name for name in wanted if name != INT8)  # they do not depend on the weights' values
        if before:
            yield self._of_the_model(cut, before)
        result = self._trained(candidate, cut)
        yield {"accuracy": result.accuracy}
        if INT8 in wanted:
            yield self._of_the_model(replace(cut, weights=result.weights), (INT8,))

    def _trained(self, candidate: Candidate, cut: Cut) -> TrainResult:
        """The sub-network trained further, alone."""
        graph, recipe = reduced(cut.graph, self.settings.recipe, candidate.fidelity, "epochs")
        with self.quiet.working():
            result = train(graph, self._fitted(graph), recipe, cut.weights, lambda epoch: self.quiet.pause())
        if self.kept is not None:
            self.kept.keep(candidate.trial, graph, result.weights)
        return result

    def _of_the_model(self, cut: Cut, wanted: tuple[str, ...]) -> Metrics:
        """Metrics of the int8 file of a sub-network, whose BatchNorm statistics are its own."""
        data = self._fitted(cut.graph)
        model = int8_model(cut.graph, cut.weights, calibration_images(data))
        found = {"flash": float(len(model))}
        if self.latency is not None and "latency" in wanted:
            found["latency"] = self.latency(cut.graph, model)
        if INT8 in wanted:
            found[INT8] = accuracy_of(model, data)
        return {name: found[name] for name in wanted}

    def _fitted(self, graph: Graph) -> Dataset:
        return self.data.fitted(graph.nodes[graph.inputs[0]].type.shape)
