"""Taking a sub-network out of its supernet: an ordinary network that computes the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archlang import weights
from archlang.files import write_whole
from archlang.ir.graph import Graph
from archlang.weights import Array

if TYPE_CHECKING:
    from archlang.supernet.net import Active, SuperNet


@dataclass(frozen=True)
class Cut:
    """A sub-network by itself. text: its .arch source. weights: its arrays by the names of `graph`."""

    text: str
    weights: Mapping[str, Array]
    graph: Graph

    def save(self, path: Path) -> tuple[Path, Path]:
        """Write the source as `path`, and the weights beside it as .safetensors; where both are."""
        beside = path.with_suffix(".safetensors")
        write_whole(path, self.text.encode())
        weights.save(self.weights, beside)
        return path, beside


def cut(net: SuperNet, active: Active, name: str) -> Cut:
    """The sub-network `active`, called `name`: exact copies of the parts that it takes, smaller kernels with their
    transformation applied, BatchNorm statistics that were taken for it instead of the shared ones."""
    graph = net.space.graph(active.picks)
    arrays = net.arrays(active)
    found: dict[str, Array] = {}
    for (node, _), (sited, _) in zip(graph.modules(), active.graph.modules(), strict=True):
        for local, array in arrays.get(sited.name, {}).items():
            found[f"{node.name}.{local}"] = np.array(array.detach().cpu().numpy(), np.float32)
    return Cut(net.space.source(active.picks, name), found, graph)
