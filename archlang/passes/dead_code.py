"""Removes what no output needs."""

from __future__ import annotations

from archlang.ir.graph import Graph, Node, rewrite


def dead_code(graph: Graph) -> Graph:
    """Keep the nodes that an output reads, directly or not, and all inputs."""
    live = {output.value for output in graph.outputs}
    for i in range(len(graph.nodes) - 1, -1, -1):
        if i in live:
            live.update(graph.nodes[i].inputs)

    if len(live) == len(graph.nodes):
        return graph

    def step(i: int, node: Node, new: list[int]) -> Node | None:
        return node if i in live or node.op.name == "input" else None

    return rewrite(graph, step)
