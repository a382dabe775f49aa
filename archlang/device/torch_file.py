"""The generated PyTorch module as a file that can be measured: its source, and what its inputs are."""

from __future__ import annotations

from pathlib import Path

from archlang.backend import Request, compile_graph
from archlang.ir.graph import Graph

SUFFIX = ".py"

_FACTS = """

# for `archlang bench`: the network's class, and the shapes of its inputs, batch first
MEASURED = {name!r}
INPUTS = {shapes!r}
"""


def write(graph: Graph, name: str, path: Path) -> None:
    """Write the module with fresh weights, in inference mode as it is measured. name: of the network."""
    source = compile_graph(graph, "pytorch", Request()).data.decode()
    shapes = [(1, *graph.nodes[i].type.shape) for i in graph.inputs]
    path.write_text(source + _FACTS.format(name=name, shapes=shapes), encoding="utf-8")
