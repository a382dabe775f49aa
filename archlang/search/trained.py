"""What trained candidates leave behind: their weights, for children to start from."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from archlang import weights
from archlang.ir.graph import Graph
from archlang.ir.text import parse_graph, print_graph
from archlang.source import Source

if TYPE_CHECKING:
    from archlang.weights import Weights


class TrainedWeights:
    """A folder of safetensors files, one a trial, each with its network's text in the metadata."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, trial: int) -> Path:
        return self.folder / f"{trial:05d}.safetensors"

    def keep(self, trial: int, graph: Graph, values: Weights) -> None:
        """Write a trial's weights, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        weights.save(values, self.path(trial), {"graph": print_graph(graph), "digest": graph.digest})

    def read(self, trial: int) -> tuple[Graph, Weights] | None:
        """The network that was trained, which a lower fidelity makes smaller, and its weights; None where there are
        none. Raises ArchError where the file is damaged."""
        path = self.path(trial)
        if not path.exists():
            return None
        from safetensors import safe_open

        values = weights.load(path)
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {})["graph"]
        return parse_graph(Source(str(path), text)), values

    def inherited(self, parent: int, graph: Graph, seed: str) -> Weights | None:
        """Weights for `graph` to start from, out of its parent's; None where the parent left none."""
        from archlang.search.inherit import inherit

        found = self.read(parent)
        if found is None:
            return None
        started: Weights = inherit(*found, graph, Random(seed))[0]
        return started
