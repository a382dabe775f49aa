"""One node where several compute the same."""

from __future__ import annotations

from archlang.ir.graph import Graph, Node, rewrite
from archlang.ops.join import Add, Mul
from archlang.ops.shape import Input
from archlang.passes.dead_code import dead_code

_EITHER_WAY = (Add, Mul)
"""Ops of two inputs that compute the same, to the last bit, in either order; of three, sums round differently."""


def merge_equal(graph: Graph) -> Graph:
    """The first of all nodes with one op, one set of attributes and the same inputs stands for the others (the cells of
    NASNet apply relu and pools to a value again and again). Nodes with arrays of their own are left alone."""
    seen: dict[tuple[object, ...], int] = {}

    def step(i: int, node: Node, new: list[int]) -> Node | int:
        if isinstance(node.op, Input) or node.op.params(*graph.input_types(node)):
            return node
        inputs = [new[j] for j in node.inputs]
        if len(inputs) == 2 and isinstance(node.op, _EITHER_WAY):
            inputs.sort()
        key = (node.op, node.fused, *inputs)
        return node if (first := seen.setdefault(key, i)) == i else first

    return dead_code(rewrite(graph, step))
