"""Passes that only TFLite needs."""

from __future__ import annotations

from dataclasses import replace

from archlang.ir.graph import Graph, Node, rewrite
from archlang.ops.activation import Relu, Relu6
from archlang.ops.join import Add, Mean
from archlang.ops.norm import BatchNorm, Scale
from archlang.ops.shape import Zero
from archlang.passes import dead_code
from archlang.passes.fuse import fuse


def drop_zeros(graph: Graph) -> Graph:
    """Sums without the summands that are zero (the `none` of NAS-Bench-201's cells)."""

    def step(i: int, node: Node, new: list[int]) -> Node | int:
        if not isinstance(node.op, Add):
            return node
        kept = tuple(j for j in node.inputs if not isinstance(graph.nodes[j].op, Zero)) or node.inputs[:1]
        if all(graph.nodes[j].type != node.type for j in kept):
            return node  # the zero gives the sum its shape
        return kept[0] if len(kept) == 1 else replace(node, inputs=kept)

    return dead_code(rewrite(graph, step))


def fuse_affine_activations(graph: Graph) -> Graph:
    """Fuse relu and relu6 into those ops, too, whose last operator here takes an activation."""

    def rule(producer: Node, node: Node) -> bool:
        fits = isinstance(producer.op, BatchNorm | Scale | Mean) and not producer.fused
        return fits and isinstance(node.op, Relu | Relu6)

    return fuse(graph, rule)
