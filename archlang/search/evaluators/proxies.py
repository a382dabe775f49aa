"""Zero-cost proxies in the place of training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from archlang.data import Dataset, load_data
from archlang.errors import fail, nearest
from archlang.ir.graph import Graph
from archlang.search.evaluators.latency import predictor
from archlang.search.evaluators.protocol import Evaluate
from archlang.search.evaluators.setting import Setting
from archlang.search.objective import STATIC
from archlang.search.proxies import PROXIES, Batches
from archlang.search.trial import Candidate, Metrics
from archlang.train import check_classifier

BATCHES = 2
"""ZiCo needs two to see how gradients differ; the other proxies take the first."""


@dataclass(frozen=True)
class ProxyEvaluator:
    """Proxies of an untrained network (`archlang.search.proxies`), in seconds and without labels where there are none.

    data: of which the batches are; None: normally distributed noise with random labels. batch: images in each.
    proxies: which, cheapest first. table: a latency table, by which latency is predicted as well.
    """

    data: str | None = None
    trusted: bool = False
    batch: int = 32
    seed: int = 0
    proxies: tuple[str, ...] = tuple(PROXIES)
    table: str | None = None

    name = "proxy"
    isolated = True

    @classmethod
    def of(
        cls,
        setting: Setting,
        *,
        only: str = "+".join(PROXIES),
        batch: int = 32,
        images: Literal["data", "noise"] = "data",
    ) -> ProxyEvaluator:
        """only: proxies joined by `+`. images: `noise` where the search's data are not wanted."""
        names = tuple(name.strip() for name in only.split("+"))
        for name in names:
            if name not in PROXIES:
                raise fail("E1202", f"there is no proxy `{name}`", help=nearest(name, PROXIES))
        if batch < 2:
            raise fail("E1202", f"the evaluator `proxy` cannot take a batch of {batch}", help="at least two images")
        data = setting.data if images == "data" else None
        return cls(data, setting.trusted, batch, setting.recipe.seed, names, setting.latency_table)

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*STATIC, *(("latency",) if self.table else ()), *self.proxies)

    def identity(self) -> dict[str, object]:
        return {"name": self.name, **{key: value for key, value in asdict(self).items() if key != "trusted"}}

    def prepare(self) -> Evaluate:
        import torch

        torch.set_num_threads(1)
        data = load_data(self.data, trusted=self.trusted) if self.data is not None else None
        predict = predictor(self.table) if self.table else None

        def evaluate(candidate: Candidate) -> Iterator[Metrics]:
            yield candidate.static
            graph = candidate.graph
            if predict is not None:
                yield {"latency": predict(graph)}
            check_classifier(graph)
            batches = batches_of(graph, data, self.batch, self.seed)
            for name in self.proxies:
                yield {name: PROXIES[name](graph, batches)}

        return evaluate


def batches_of(graph: Graph, data: Dataset | None, size: int, seed: int) -> Batches:
    """Batches that fit the network: of the training images, or noise with labels at random."""
    generator = np.random.default_rng(seed)
    shape = graph.nodes[graph.inputs[0]].type.shape
    if data is None:
        classes = next(graph.nodes[output.value].type.channels for output in graph.outputs if not output.aux)
        images = generator.standard_normal((BATCHES, size, *shape), np.float32)
        return Batches(images, generator.integers(classes, size=(BATCHES, size)), seed)
    chosen = generator.permutation(len(data.y_train))[: BATCHES * size]
    if len(chosen) < BATCHES * size:
        raise fail("E1202", f"{data.name} has no {BATCHES} batches of {size} images", help="a smaller `batch`")
    few = Dataset(data.name, data.x_train[chosen], data.y_train[chosen], data.x_test[:1], data.y_test[:1], data.classes)
    x = few.fitted(shape).x_train
    return Batches(x.reshape(BATCHES, size, *shape), few.y_train.reshape(BATCHES, size), seed)
