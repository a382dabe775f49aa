"""Block instances as networks of their own: cut out of a Graph by the scopes that the source left there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archlang.ir.graph import Graph, Node, Output
from archlang.ops.shape import Input

_UNITS = ("block", "stage")


@dataclass(frozen=True)
class Block:
    """path: the scope that it came from. graph: its inputs are the values that it reads from outside."""

    path: str
    graph: Graph


def blocks(graph: Graph) -> Iterator[Block]:
    """The outermost instances of blocks and stages, each once."""
    for path in _outermost(graph):
        cut = _cut(graph, path)
        if cut is not None:
            yield Block(path, cut)


def _outermost(graph: Graph) -> list[str]:
    units = {path for path, scope in graph.scopes.items() if scope.kind in _UNITS}
    return [path for path in graph.scopes if path in units and not any(above in units for above in _above(path))]


def _above(path: str) -> Iterator[str]:
    """Every scope that the path is in."""
    parts = path.split(".")
    return (".".join(parts[:i]) for i in range(1, len(parts)))


def _cut(graph: Graph, path: str) -> Graph | None:
    """The nodes below a path; None where an input of the network is among them, or nothing outside reads them."""
    inside = [i for i, node in enumerate(graph.nodes) if node.name.startswith(f"{path}.")]
    if any(not graph.nodes[i].inputs for i in inside):
        return None
    members = set(inside)
    sources = list(dict.fromkeys(j for i in inside for j in graph.nodes[i].inputs if j not in members))
    results = sorted(_read_outside(graph, members))
    if not results:
        return None
    number = {old: new for new, old in enumerate([*sources, *inside])}
    inputs = [Node(Input(graph.nodes[j].type.shape), (), graph.nodes[j].type, f"x{n}") for n, j in enumerate(sources)]
    nodes = [_renumbered(graph.nodes[i], number) for i in inside]
    outputs = tuple(Output(f"y{n}", number[i]) for n, i in enumerate(results))
    return Graph(graph.name, (*inputs, *nodes), outputs)


def _read_outside(graph: Graph, members: set[int]) -> set[int]:
    found = {output.value for output in graph.outputs if not output.aux}
    for i, node in enumerate(graph.nodes):
        if i not in members:
            found.update(node.inputs)
    return found & members


def _renumbered(node: Node, number: dict[int, int]) -> Node:
    inputs = tuple(number[j] for j in node.inputs)
    return Node(node.op, inputs, node.type, node.name, node.span, node.fused)
