"""What the lowering of an op must know beyond its attributes and the types of its inputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from archlang.backends.source.regions import enclosing_block
from archlang.ir.graph import Graph, Node
from archlang.ir.types import TensorType
from archlang.ops.activation import HardSigmoid, Relu, Relu6, Sigmoid, Softmax
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d
from archlang.ops.join import Add, Concat, Mean, Mul
from archlang.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d, Pool2d
from archlang.ops.regularize import Dropout, DropPath
from archlang.ops.shape import Flatten, Movement
from archlang.ops.window import Window, windows


class Padding(Enum):
    """How a window's padding is written: one of Keras' names; by hand; or by hand only where the window has strides."""

    VALID = "valid"
    SAME = "same"
    HAND = "hand"
    HAND_IF_STRIDED = "hand if strided"


@dataclass(frozen=True)
class Place:
    """padding: for all instances of the place in its block. nonnegative: whether the input is, so that zeros never win
    in max pooling. is_vector: whether global pooling is flattened afterwards, and may drop the axes of size 1.
    columns: of the network, for the joins that may take a single one.
    """

    padding: Padding = Padding.VALID
    nonnegative: bool = False
    is_vector: bool = False
    columns: int = 0


def places(graph: Graph) -> dict[int, Place]:
    paddings, flattened = _paddings(graph), flattened_pools(graph)
    nonnegative = _nonnegative_places(graph)
    columns = max((len(n.inputs) for n in graph.nodes if isinstance(n.op, Mean) and n.op.single_column), default=0)
    found = {}
    for i, node in enumerate(graph.nodes):
        where = enclosing_block(graph, node.name)
        found[i] = Place(paddings.get(where, Padding.VALID), nonnegative[where], i in flattened, columns)
    return found


# ---- padding ---------------------------------------------------------------------------------------------------------


def op_windows(op: Conv2d | Pool2d, x: TensorType) -> tuple[Window, Window]:
    dilation = op.dilation if isinstance(op, Conv2d) else (1, 1)
    size, out = (x.height, x.width), op.infer(x)
    return windows(size, op.kernel, op.stride, op.padding, (out.height, out.width), dilation)


def is_sliced(op: Conv2d, x: TensorType) -> bool:
    """Whether the strides are taken by slicing: Keras has none with dilation, nor different ones channel by channel."""
    dilated = max(op.dilation) > 1 and max(op.stride) > 1
    return dilated or (op.is_depthwise(x) and op.stride[0] != op.stride[1])


def _paddings(graph: Graph) -> dict[tuple[str, str], Padding]:
    """One way of padding for each place in a block, so that its instances can share a function."""
    nodes: dict[tuple[str, str], list[Node]] = defaultdict(list)
    for node in graph.nodes:
        if isinstance(node.op, Conv2d | Pool2d):
            nodes[enclosing_block(graph, node.name)].append(node)
    return {where: _common([(n.op, graph.input_types(n)[0]) for n in found]) for where, found in nodes.items()}


def _common(found: list[tuple[Op, TensorType]]) -> Padding:
    ops = [(op, x) for op, x in found if isinstance(op, Conv2d | Pool2d)]
    ways = [list(_ways(op, x)) for op, x in ops]
    for way in (Padding.VALID, Padding.SAME):
        if all(way in possible for possible in ways):
            return way
    strided = all(op.stride != (1, 1) or Padding.SAME in possible for (op, _), possible in zip(ops, ways, strict=True))
    convolutions = all(isinstance(op, Conv2d) and not is_sliced(op, x) for op, x in ops)
    varied = len({op.stride for op, _ in ops}) > 1
    return Padding.HAND_IF_STRIDED if strided and varied and convolutions else Padding.HAND


def _ways(op: Conv2d | Pool2d, x: TensorType) -> Iterator[Padding]:
    """Keras' names that say the op's padding."""
    if isinstance(op, Conv2d) and is_sliced(op, x):
        if not any(op.padding):
            yield Padding.VALID
        return
    rows, columns = op_windows(op, x)
    if isinstance(op, AvgPool2d) and op.count_pad and any(op.padding):
        return
    if rows.is_valid and columns.is_valid:
        yield Padding.VALID
    if rows.is_same and columns.is_same and not (isinstance(op, AvgPool2d) and _is_uneven(rows, columns)):
        yield Padding.SAME


def _is_uneven(rows: Window, columns: Window) -> bool:
    """Then Keras on PyTorch repeats the image's edge in average pooling, and counts it (3.15); the others do not."""
    return rows.before != rows.after or columns.before != columns.after


# ---- ranges ----------------------------------------------------------------------------------------------------------

_NEVER_NEGATIVE = (Relu, Relu6, Sigmoid, HardSigmoid, Softmax)

_KEEP_SIGN = (MaxPool2d, AvgPool2d, GlobalAvgPool, Add, Mul, Mean, Concat, Dropout, DropPath, Movement)


def _nonnegative_places(graph: Graph) -> dict[tuple[str, str], bool]:
    """Whether the first input is never negative, in all instances of a place."""
    values: list[bool] = []
    found: dict[tuple[str, str], bool] = {}
    for node in graph.nodes:
        inputs = [values[i] for i in node.inputs]
        keeps = isinstance(node.op, _KEEP_SIGN) and bool(inputs) and all(inputs)
        values.append(isinstance(node.op, _NEVER_NEGATIVE) or keeps)
        where = enclosing_block(graph, node.name)
        found[where] = found.get(where, True) and all(inputs)
    return found


# ---- global pooling --------------------------------------------------------------------------------------------------


def flattened_pools(graph: Graph) -> set[int]:
    """Global poolings of images that only flattening reads, a dropout perhaps between them; and those flattenings."""
    readers: dict[int, list[int]] = defaultdict(list)
    for i, node in enumerate(graph.nodes):
        for j in node.inputs:
            readers[j].append(i)
    outputs = {output.value for output in graph.outputs}
    found: set[int] = set()
    for i, node in enumerate(graph.nodes):
        if isinstance(node.op, GlobalAvgPool) and graph.input_types(node)[0].is_image:
            ends = _flattenings(graph, i, readers, outputs)
            found |= {i, *ends} if ends else set()
    return found


def _flattenings(graph: Graph, value: int, readers: Mapping[int, list[int]], outputs: set[int]) -> set[int]:
    """The nodes that flatten the value; none where something else reads it too."""
    if value in outputs:
        return set()
    found: set[int] = set()
    for reader in readers[value]:
        op = graph.nodes[reader].op
        ends = {reader} if isinstance(op, Flatten) else set()
        if isinstance(op, Dropout):
            ends = _flattenings(graph, reader, readers, outputs)
        if not ends:
            return set()
        found |= ends
    return found
