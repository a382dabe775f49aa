"""Passes: plain functions Graph -> Graph, valid in, valid out. A backend's pipeline is a tuple of them."""

from collections.abc import Callable, Iterable

from archlang.ir.graph import Graph
from archlang.passes.dead_code import dead_code
from archlang.passes.fuse import fuse_activations, fuse_norms
from archlang.passes.inference import inference
from archlang.passes.merge_equal import merge_equal

Pass = Callable[[Graph], Graph]

PASSES: dict[str, Pass] = {
    "dead-code": dead_code,
    "inference": inference,
    "merge-equal": merge_equal,
    "fuse-norms": fuse_norms,
    "fuse-activations": fuse_activations,
}
"""Every pass by the name that `archlang ir --passes` takes."""


def run(graph: Graph, pipeline: Iterable[Pass]) -> Graph:
    for step in pipeline:
        graph = step(graph)
    return graph


__all__ = ["PASSES", "Pass", "dead_code", "fuse_activations", "fuse_norms", "inference", "merge_equal", "run"]
