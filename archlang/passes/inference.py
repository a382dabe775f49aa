"""The network as it is in evaluation mode."""

from __future__ import annotations

from dataclasses import replace

from archlang.ir.graph import Graph, Node, rewrite
from archlang.ops.join import Mean
from archlang.passes.dead_code import dead_code


def inference(graph: Graph) -> Graph:
    """Without training-only ops (dropout, stochastic depth), drop-path, and training-only outputs (auxiliary heads)."""

    def step(i: int, node: Node, new: list[int]) -> Node | int:
        if node.op.training_only:
            return node.inputs[0]
        return replace(node, op=Mean()) if isinstance(node.op, Mean) else node

    kept = tuple(output for output in graph.outputs if not output.aux)
    return dead_code(rewrite(replace(graph, outputs=kept), step))
