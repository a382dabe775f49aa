"""Trains briefly, compiles to int8 TFLite, and measures that file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archlang import weights
from archlang.backend import Request, compile_graph
from archlang.data import Dataset, load_data
from archlang.device import transport
from archlang.device.infer import predict
from archlang.device.measure import bench
from archlang.ir.graph import Graph
from archlang.search.evaluators.protocol import Evaluate
from archlang.search.objective import STATIC
from archlang.search.quiet import Quiet
from archlang.search.trial import Candidate, Metrics
from archlang.train import Epoch, Recipe, check_fit, train

CALIBRATION_IMAGES = 128
MEASURE_SECS = 120.0
"""After which a measurement has hung."""


@dataclass(frozen=True)
class TrainEvaluator:
    """Latency and size of the int8 model first, with fresh weights, since they do not depend on the weights' values;
    then training, and the accuracy of the float network (`accuracy`) and of the int8 file (`accuracy_int8`).

    Accuracies are those on a fifth of the training images, which is held out; the test images stay unseen.
    folder: where the processes of one search agree on being quiet. train_threads: PyTorch's, of each process; small
    networks gain little from more than one, several workers gain more.
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

    name = "train"
    isolated = True
    metrics = (*STATIC, "flash", "latency", "accuracy", "accuracy_int8")

    def identity(self) -> dict[str, object]:
        settings = {
            key: value for key, value in asdict(self).items() if key not in ("folder", "train_threads", "trusted")
        }
        return {"name": self.name, **settings}

    def prepare(self) -> Evaluate:
        return _Session(self).evaluate


class _Session:
    """One worker's data, fitted to the input shapes that came up."""

    def __init__(self, settings: TrainEvaluator) -> None:
        import torch

        torch.set_num_threads(settings.train_threads)
        self.settings = settings
        self.quiet = Quiet(settings.folder)
        transport.get(settings.device)  # an unknown device ends the search at once
        self.data = load_data(settings.data, trusted=settings.trusted).held_out()
        self._fitted: dict[tuple[int, ...], Dataset] = {}

    def evaluate(self, candidate: Candidate) -> Iterator[Metrics]:
        graph = candidate.graph
        data = self._fit(graph)
        check_fit(graph, data)
        yield candidate.static
        calibration = data.x_train[:CALIBRATION_IMAGES]
        model = int8_model(graph, weights.initial(graph, self.settings.recipe.seed), calibration)
        yield {"flash": len(model), "latency": self._latency(model)}
        with self.quiet.working():
            trained = train(graph, data, self.settings.recipe, progress=self._pause)
            yield {"accuracy": trained.accuracy}
            model = int8_model(graph, trained.weights, calibration)
            right = predict(model, data.x_test).reshape(len(data.y_test), -1).argmax(1) == data.y_test
        yield {"flash": len(model), "accuracy_int8": float(right.mean())}

    def _fit(self, graph: Graph) -> Dataset:
        shape = graph.nodes[graph.inputs[0]].type.shape
        if shape not in self._fitted:
            self._fitted[shape] = self.data.fitted(shape)
        return self._fitted[shape]

    def _pause(self, epoch: Epoch) -> None:
        self.quiet.pause()

    def _latency(self, model: bytes) -> float:
        """Median latency in milliseconds, while the other workers are quiet."""
        with self.quiet.measuring():
            return bench(
                model,
                threads=self.settings.threads,
                device=self.settings.device,
                runs=self.settings.runs,
                min_secs=self.settings.min_secs,
                timeout_secs=MEASURE_SECS,
            ).median_ms


def int8_model(graph: Graph, values: weights.Weights, calibration: NDArray[np.float32]) -> bytes:
    """The .tflite file of the graph with these weights."""
    return compile_graph(graph, "tflite", Request(values, "int8", calibration)).data
