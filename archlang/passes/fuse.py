"""Makes a normalisation or an activation part of the node that feeds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from archlang.ir.graph import Graph, Node, rewrite
from archlang.ops.activation import Relu, Relu6
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.join import Add, Mul
from archlang.ops.norm import BatchNorm
from archlang.ops.pool import AvgPool2d, MaxPool2d

FuseRule = Callable[[Node, Node], bool]
"""rule(producer, consumer): whether the consumer may become part of the producer."""


def fuse(graph: Graph, rule: FuseRule) -> Graph:
    """Merge each one-input node into its producer where `rule` allows it and nothing else reads the producer.

    The producer takes the consumer's place: the merged value is the consumer's.
    """
    uses = graph.uses()
    merged: dict[int, Node] = {}
    absorbed: set[int] = set()
    for i, node in enumerate(graph.nodes):
        if len(node.inputs) != 1 or uses[node.inputs[0]] != 1:
            continue
        producer = merged.get(node.inputs[0], graph.nodes[node.inputs[0]])
        if rule(producer, node):
            merged[i] = replace(
                producer, fused=(*producer.fused, replace(node, inputs=()), *node.fused), type=node.type
            )
            absorbed.add(node.inputs[0])

    def step(i: int, node: Node, new: list[int]) -> Node | None:
        return None if i in absorbed else merged.get(i, node)

    return rewrite(graph, step)


def norm_fits(producer: Node, node: Node) -> bool:
    """A BatchNorm behind a convolution or linear layer."""
    return isinstance(node.op, BatchNorm) and isinstance(producer.op, Conv2d | Linear) and not producer.fused


def fuse_norms(graph: Graph) -> Graph:
    """Fold BatchNorm into the convolution or linear layer before it (`weights.folded` gives the arrays)."""
    return fuse(graph, norm_fits)


_WITH_ACTIVATION = (Conv2d, Linear, Add, Mul, AvgPool2d, MaxPool2d)


def activation_fits(producer: Node, node: Node) -> bool:
    """relu or relu6 behind an op that has no activation yet."""
    if not isinstance(node.op, Relu | Relu6) or not isinstance(producer.op, _WITH_ACTIVATION):
        return False
    return not any(part.op.elementwise for part in producer.fused)


def fuse_activations(graph: Graph) -> Graph:
    """Fuse relu and relu6 into the op before them, as TFLite's kernels do. An op takes one activation at most."""
    return fuse(graph, activation_fits)
