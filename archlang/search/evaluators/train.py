"""Trains briefly, compiles to int8 TFLite, and measures that file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from archlang import weights
from archlang.backend import Request, compile_graph
from archlang.data import Dataset, load_data
from archlang.device import transport
from archlang.device.infer import predict
from archlang.device.measure import bench
from archlang.errors import fail
from archlang.ir.graph import Graph
from archlang.search.evaluators.latency import predictor
from archlang.search.evaluators.protocol import Evaluate, Stage
from archlang.search.evaluators.setting import Setting
from archlang.search.fidelity import Reduce, reduced
from archlang.search.objective import STATIC
from archlang.search.quiet import Quiet
from archlang.search.trained import TrainedWeights
from archlang.search.trial import Candidate, Metrics
from archlang.train import Epoch, Recipe, TrainResult, check_classifier, check_fit, check_recipe, train

CALIBRATION_IMAGES = 128
MEASURE_SECS = 120.0
"""After which a measurement has hung."""
PATIENCE_SECS = 5.0
"""To wait for a calm device: what disturbs it may be the other workers, who do not pause."""

_NEUTRAL = ("folder", "train_threads", "trusted", "keep", "shared", "part")
"""Settings that do not change what a candidate is worth."""


@dataclass(frozen=True)
class TrainEvaluator:
    """Latency and size of the int8 model first, with fresh weights, since they do not depend on the weights' values;
    then training, and the accuracy of the float network (`accuracy`) and of the int8 file (`accuracy_int8`).

    Accuracies are those on a fifth of the training images, which is held out; the test images stay unseen.
    folder: the run's, where its processes agree on being quiet and where trained weights are kept. train_threads:
    PyTorch's, of each process; small networks gain little from more than one, several workers gain more.
    table: a latency table, by which latency is predicted instead of measured. int8: whether `accuracy_int8` is wanted.
    reduce: what a candidate of a lower fidelity has less of; latency and size are those of the whole network always.
    inherit: a child starts from its parent's weights. keep: whether the trained weights are kept. shared: where the
    processes agree on being quiet, if it is not the folder. part: of the evaluation, which is done.
    """

    data: str
    folder: Path
    recipe: Recipe
    device: str = "host"
    threads: int = 1
    runs: int = 30
    min_secs: float = 0.3
    train_threads: int = 1
    trusted: bool = False
    table: str | None = None
    int8: bool = True
    reduce: Reduce = "epochs"
    inherit: bool = False
    keep: bool = True
    shared: Path | None = None
    part: Literal["whole", "measure", "train"] = "whole"

    name = "train"
    isolated = True

    @classmethod
    def of(
        cls,
        setting: Setting,
        *,
        reduce: Reduce = "epochs",
        inherit: bool = False,
        keep: bool = True,
        int8: bool = True,
        runs: int = 30,
        min_secs: float = 0.3,
        train_threads: int = 1,
    ) -> TrainEvaluator:
        """Raises ArchError where the search has no data, or a setting cannot be; OutsideError without the device."""
        if setting.data is None:
            help = "give --data digits, or write `data digits` in the search; --evaluator cost needs none"
            raise fail("E1211", "this search trains its candidates, and has no data", help=help)
        if inherit and not keep:
            raise fail("E1202", "the evaluator `train` cannot inherit weights that are not kept", help="keep=true")
        check_recipe(setting.recipe)
        if setting.latency_table is None and not setting.elsewhere:
            transport.get(setting.device)
        return cls(
            setting.data,
            setting.folder,
            setting.recipe,
            setting.device,
            setting.threads,
            runs,
            min_secs,
            train_threads,
            setting.trusted,
            setting.latency_table,
            int8,
            reduce,
            inherit,
            keep,
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*STATIC, "flash", "latency", "accuracy", *(("accuracy_int8",) if self.int8 else ()))

    def identity(self) -> dict[str, object]:
        settings = {key: value for key, value in asdict(self).items() if key not in _NEUTRAL}
        return {"name": self.name, **settings}

    def prepare(self) -> Evaluate:
        return _Session(self).evaluate

    def stages(self) -> tuple[Stage, ...]:
        """Measuring, which needs the device, and training, which does not: the device is free for others meanwhile."""
        gpus = 1 if self.recipe.device == "cuda" else 0
        training = Stage(self, "", self.train_threads, gpus, self.inherit)
        if self.table is not None or self.device == transport.HOST:
            return (training,)
        measuring = Stage(replace(self, part="measure"), self.device)
        return (measuring, replace(training, evaluator=replace(self, part="train")))

    def placed(self, folder: Path, shared: Path) -> TrainEvaluator:
        """With its files in `folder`, on a machine whose evaluations agree by those in `shared`."""
        return replace(self, folder=folder, shared=shared)


class _Session:
    """One worker's data, fitted to the input shapes that came up."""

    def __init__(self, settings: TrainEvaluator) -> None:
        import torch

        torch.set_num_threads(settings.train_threads)
        self.settings = settings
        self.quiet = Quiet(settings.shared or settings.folder)
        self.latency = None if settings.part == "train" else latency_of(settings, self.quiet)
        self.data = load_data(settings.data, trusted=settings.trusted).held_out()
        self.kept = TrainedWeights(settings.folder / "weights") if settings.keep else None
        self._fitted: dict[tuple[int, ...], Dataset] = {}

    def evaluate(self, candidate: Candidate) -> Iterator[Metrics]:
        yield candidate.static
        graph = candidate.graph
        check_classifier(graph)
        data = self._fit(graph)
        check_fit(graph, data)
        if self.latency is not None:
            yield from self._measured(self.latency, graph, data)
        if self.settings.part != "measure":
            yield from self._trained(candidate)

    def _measured(self, latency: Latency, graph: Graph, data: Dataset) -> Iterator[Metrics]:
        values = weights.initial(graph, self.settings.recipe.seed)
        model = int8_model(graph, values, calibration_images(data))
        yield {"flash": len(model)}
        yield {"latency": latency(graph, model)}

    def _trained(self, candidate: Candidate) -> Iterator[Metrics]:
        graph, recipe = reduced(candidate.graph, self.settings.recipe, candidate.fidelity, self.settings.reduce)
        data = self._fit(graph)
        with self.quiet.working():
            result = self._train(candidate, graph, recipe, data)
            yield {"accuracy": result.accuracy}
            if self.settings.int8:
                model = int8_model(graph, result.weights, calibration_images(data))
                yield {"accuracy_int8": accuracy_of(model, data)}

    def _train(self, candidate: Candidate, graph: Graph, recipe: Recipe, data: Dataset) -> TrainResult:
        start = None
        if self.settings.inherit and self.kept is not None and candidate.parent is not None:
            start = self.kept.inherited(candidate.parent, graph, f"{recipe.seed}/{candidate.trial}")
        result = train(graph, data, recipe, start, progress=self._pause)
        if self.kept is not None:
            self.kept.keep(candidate.trial, graph, result.weights)
        return result

    def _fit(self, graph: Graph) -> Dataset:
        shape = graph.nodes[graph.inputs[0]].type.shape
        if shape not in self._fitted:
            self._fitted[shape] = self.data.fitted(shape)
        return self._fitted[shape]

    def _pause(self, epoch: Epoch) -> None:
        self.quiet.pause()


Latency = Callable[[Graph, bytes], float]
"""A network and its int8 model -> milliseconds."""


def latency_of(settings: TrainEvaluator, quiet: Quiet) -> Latency:
    if settings.table is not None:
        predict = predictor(settings.table)
        return lambda graph, model: predict(graph)
    transport.get(settings.device)  # an unknown device ends the search at once
    return partial(_measured, settings, quiet)


def _measured(settings: TrainEvaluator, quiet: Quiet, graph: Graph, model: bytes) -> float:
    """Median latency in milliseconds, while the other workers are quiet."""
    with quiet.measuring():
        return bench(
            model,
            threads=settings.threads,
            device=settings.device,
            runs=settings.runs,
            min_secs=settings.min_secs,
            timeout_secs=MEASURE_SECS,
            patience_secs=PATIENCE_SECS,
        ).median_ms


def calibration_images(data: Dataset) -> NDArray[np.float32]:
    """Some training images from all over the data, which may be sorted by class."""
    count = min(CALIBRATION_IMAGES, len(data.x_train))
    return data.x_train[np.linspace(0, len(data.x_train) - 1, count).astype(np.int64)]


def int8_model(graph: Graph, values: weights.Weights, calibration: NDArray[np.float32]) -> bytes:
    """The .tflite file of the graph with these weights."""
    return compile_graph(graph, "tflite", Request(values, "int8", calibration)).data


def accuracy_of(model: bytes, data: Dataset) -> float:
    """Share of the test images that the file labels right."""
    found = predict(model, data.x_test).reshape(len(data.y_test), -1).argmax(1)
    return float((found == data.y_test).mean())
