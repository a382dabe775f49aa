"""Passes that only TFLite needs."""

from __future__ import annotations

from dataclasses import replace

from archlang.ir.graph import Graph, Node, rewrite
from archlang.ops.activation import HardSigmoid, Relu, Relu6, Rescale
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.join import Add, Mean
from archlang.ops.norm import BatchNorm, Scale
from archlang.ops.pool import GlobalAvgPool
from archlang.ops.shape import Flatten, Zero
from archlang.passes import dead_code
from archlang.passes.fuse import FuseRule, activation_fits, fuse, norm_fits


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


def fuse_all(graph: Graph) -> Graph:
    """Make each op part of the one before it where one of `FITS` says so, all in one walk."""
    return fuse(graph, lambda producer, node: any(fits(producer, node) for fits in FITS))


def _affine_activation_fits(producer: Node, node: Node) -> bool:
    """relu and relu6 behind those ops, too, whose last operator here takes an activation."""
    fits = isinstance(producer.op, BatchNorm | Scale | Mean) and not producer.fused
    return fits and isinstance(node.op, Relu | Relu6)


def _scale_fits(producer: Node, node: Node) -> bool:
    """Factors, one for all channels or one for each, are multiplied into the weights of the layer before them."""
    return isinstance(node.op, Rescale | Scale) and _is_linear_so_far(producer)


def _hard_sigmoid_fits(producer: Node, node: Node) -> bool:
    """relu6(x + 3) / 6: the bias of the layer before it takes the 3, and its activation is relu6."""
    return isinstance(node.op, HardSigmoid) and _is_linear_so_far(producer)


def _is_linear_so_far(producer: Node) -> bool:
    """Whether it is a layer with weights, and all that was fused into it can be multiplied into them."""
    fused = all(isinstance(part.op, BatchNorm | Rescale | Scale) for part in producer.fused)
    return isinstance(producer.op, Conv2d | Linear) and fused


def _flatten_fits(producer: Node, node: Node) -> bool:
    """A mean of an image that only a Flatten reads is a vector at once."""
    return isinstance(node.op, Flatten) and isinstance(producer.op, GlobalAvgPool)


FITS: tuple[FuseRule, ...] = (
    norm_fits,
    activation_fits,
    _scale_fits,
    _hard_sigmoid_fits,
    _affine_activation_fits,
    _flatten_fits,
)
