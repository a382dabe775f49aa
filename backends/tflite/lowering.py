"""From the Graph to a float TFLite model: a table, op class -> emitter, and the walk that reads it."""

from __future__ import annotations

from collections.abc import Callable

from archlang.backends.tflite import convolution, elementwise, movement, pooling, schema, sequence, transposed
from archlang.backends.tflite.model import Model, Tensor
from archlang.backends.tflite.site import Growing, Site, shape_of
from archlang.errors import fail
from archlang.ir.graph import Graph, Node
from archlang.ops.activation import (
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Relu,
    Relu6,
    Rescale,
    Sigmoid,
    Softmax,
    Swish,
    Tanh,
)
from archlang.ops.attention import Attention, ClassToken, PosEmbed
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear, RadialBasis
from archlang.ops.join import Add, Concat, Mean, Mul
from archlang.ops.norm import BatchNorm, L2Norm, LayerNorm, LocalResponseNorm, Scale
from archlang.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d
from archlang.ops.regularize import Dropout, DropPath
from archlang.ops.shape import Crop, Flatten, Input, Shift, Shuffle, Slice, Subsample, Take, Tokens, Upsample, Zero
from archlang.weights import Weights

Emitter = Callable[[Site], int]
"""Emits a node's operators and returns the tensor that holds its value."""


def _as_it_is(site: Site) -> int:
    return site.x


LOWERINGS: dict[type[Op], Emitter] = {
    Conv2d: convolution.conv,
    ConvTranspose2d: transposed.conv_transpose,
    Linear: convolution.linear,
    RadialBasis: elementwise.radial_basis,
    BatchNorm: convolution.batch_norm,
    Scale: convolution.scale,
    LayerNorm: elementwise.layer_norm,
    L2Norm: elementwise.l2_norm,
    LocalResponseNorm: elementwise.local_response_norm,
    Relu: elementwise.unary(schema.RELU),
    Relu6: elementwise.unary(schema.RELU6),
    LeakyRelu: elementwise.leaky_relu,
    Rescale: elementwise.rescale,
    Sigmoid: elementwise.unary(schema.LOGISTIC),
    Tanh: elementwise.unary(schema.TANH),
    Swish: elementwise.swish,
    HardSigmoid: elementwise.hard_sigmoid,
    HardSwish: elementwise.unary(schema.HARD_SWISH),
    Gelu: elementwise.unary(schema.GELU),
    Softmax: elementwise.softmax,
    MaxPool2d: pooling.max_pool,
    AvgPool2d: pooling.average_pool,
    GlobalAvgPool: pooling.global_average,
    Add: elementwise.join(schema.ADD),
    Mul: elementwise.join(schema.MUL),
    Mean: elementwise.mean,
    Concat: movement.concat,
    Flatten: movement.flatten,
    Slice: movement.slice_channels,
    Shuffle: movement.shuffle,
    Upsample: movement.upsample,
    Subsample: movement.subsample,
    Crop: movement.crop,
    Shift: movement.shift,
    Zero: movement.zero,
    Tokens: movement.tokens,
    Take: movement.take,
    ClassToken: sequence.class_token,
    PosEmbed: sequence.position_embedding,
    Attention: sequence.attention,
    Dropout: _as_it_is,
    DropPath: _as_it_is,
}

UNSUPPORTED: dict[type[Op], str] = {}
"""Ops that TFLite cannot express, with the reason."""


def _even_size(op: Op) -> str:
    even = isinstance(op, LocalResponseNorm) and op.size % 2 == 0
    return "its window reaches equally far to both sides, so `size` must be odd" if even else ""


def _larger_eps(op: Op) -> str:
    larger = isinstance(op, L2Norm) and op.eps > 1e-6
    return "it takes no length for less than 1e-6, so `eps` must not be larger" if larger else ""


REFUSED: dict[type[Op], Callable[[Op], str]] = {
    ConvTranspose2d: transposed.square_stride,
    LocalResponseNorm: _even_size,
    L2Norm: _larger_eps,
}
"""Attributes that TFLite cannot express: op class -> the reason, empty where there is none."""


def lower(graph: Graph, weights: Weights) -> Model:
    """The network as a float32 model with batch 1, its names being the network's. Raises ArchError, with the place in
    the source, where TFLite cannot do what a node asks for."""
    return _Walk(graph, weights).model()


class _Walk:
    def __init__(self, graph: Graph, weights: Weights) -> None:
        self.graph, self.weights = graph, weights
        self.growing = Growing()
        self.values: list[int] = []
        """The tensor that holds each value."""
        self.layouts: list[tuple[int, int, int] | None] = []
        """(C, H, W) of each flattened image that still lies in the order H, W, C."""
        self.free = order_is_free(graph)
        self.positive = never_negative(graph)

    def model(self) -> Model:
        for i, node in enumerate(self.graph.nodes):
            self.values.append(self.place(i, node))
            self.layouts.append(self.layout(i, node))
        nodes = self.graph.nodes
        inputs = tuple((nodes[i].name, self.values[i]) for i in self.graph.inputs)
        outputs = self.outputs()
        return Model(self.graph.name, tuple(self.growing.tensors), tuple(self.growing.operators), inputs, outputs)

    def place(self, i: int, node: Node) -> int:
        """Emit the node; the tensor that holds its value, called as the node."""
        if isinstance(node.op, Input):
            return self.growing.tensor(Tensor(node.name, shape_of(node.type)))
        if isinstance(node.op, Flatten) and self.free[i]:
            return self.values[node.inputs[0]]
        first = len(self.growing.tensors)
        value = self.emitter(node)(self.site(node))
        if value >= first:
            self.growing.rename(value, node.name)
        return value

    def emitter(self, node: Node) -> Emitter:
        kind = type(node.op)
        refuse = REFUSED.get(kind)
        reason = UNSUPPORTED.get(kind, "") or (refuse(node.op) if refuse else "")
        if reason or kind not in LOWERINGS:
            detail = f": {reason}" if reason else ""
            raise fail("E0803", f"TFLite cannot do `{node.op.name}`{detail}", node.span)
        if kind is MaxPool2d and self.positive[node.inputs[0]]:
            return pooling.max_pool_of_positive
        return LOWERINGS[kind]

    def site(self, node: Node) -> Site:
        inputs = tuple(self.values[j] for j in node.inputs)
        layout = self.layouts[node.inputs[0]]
        return Site(self.growing, node, inputs, self.graph.input_types(node), self.weights, layout)

    def layout(self, i: int, node: Node) -> tuple[int, int, int] | None:
        if isinstance(node.op, Flatten) and self.free[i]:
            shape = self.graph.nodes[node.inputs[0]].type.shape
            return (shape[0], shape[1], shape[2]) if len(shape) == 3 else None
        return self.layouts[node.inputs[0]] if node.op.elementwise else None

    def outputs(self) -> tuple[tuple[str, int], ...]:
        """The results. One that no operator has made, or that is a result already, becomes a copy."""
        made = {op.output for op in self.growing.operators}
        found: list[tuple[str, int]] = []
        for output in self.graph.outputs:
            value = self.values[output.value]
            if value not in made or value in (index for _, index in found):
                value = self.copy(output.value)
            found.append((output.name, value))
        return tuple(found)

    def copy(self, value: int) -> int:
        node, x = self.graph.nodes[value], self.values[value]
        site = Site(self.growing, node, (x,), (node.type,), self.weights)
        return site.emit(schema.RESHAPE, (x, site.indices(site.shape)), site.shape)


def order_is_free(graph: Graph) -> list[bool]:
    """For each value, whether all that read it are linear layers, perhaps behind elementwise ops: then the order of
    its elements may be any, if the weights follow."""
    free = [node.type.is_vector for node in graph.nodes]
    for output in graph.outputs:
        free[output.value] = False
    for i in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[i]
        follows = isinstance(node.op, Linear) or (node.op.elementwise and free[i])
        for j in node.inputs:
            free[j] = free[j] and follows
    return free


_POSITIVE = (Relu, Relu6, Sigmoid, HardSigmoid, Softmax)
_KEEPS_SIGN = (
    *(MaxPool2d, AvgPool2d, GlobalAvgPool, Add, Mul, Mean, Concat, Flatten, Slice, Shuffle, Upsample, Subsample),
    L2Norm,
    *(Crop, Shift, Zero, Tokens, Take, Dropout, DropPath),
)


def never_negative(graph: Graph) -> list[bool]:
    """For each value, whether none of its elements can be negative."""
    found: list[bool] = []
    for node in graph.nodes:
        last = (node, *node.fused)[-1].op
        kept = isinstance(node.op, _KEEPS_SIGN) and all(found[j] for j in node.inputs)
        found.append(isinstance(last, _POSITIVE) or kept)
    return found
