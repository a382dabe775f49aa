"""How much memory activations need: lifetimes in the order of evaluation.

A value lives from the op that makes it to the last op that reads it, and an op's inputs and output are alive together.
Ops that TFLite computes in several operators make the values between them, too. What a runtime adds is not counted:
gaps between the buffers that it places, scratch space of its kernels, its own records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from archlang.ir.graph import Graph, Node
from archlang.ops.activation import HardSigmoid, Relu, Relu6, Swish
from archlang.ops.attention import Attention
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.join import Add, Mean, Mul
from archlang.ops.norm import BatchNorm
from archlang.ops.pool import AvgPool2d, MaxPool2d
from archlang.ops.shape import Flatten
from archlang.ops.window import has_name, windows

FLOAT32, INT8 = 4, 1
"""Bytes an element."""


def peak_memory(graph: Graph, element_bytes: int = FLOAT32) -> int:
    """The most bytes of activations that are alive at once, batch 1, without weights.

    A norm behind a convolution or a linear layer, and a relu or relu6 behind any op, is part of that op where nothing
    else reads in between, as all runtimes have it; a flattened image is the image. An image with padding that is
    neither SAME nor VALID is copied with its padding first. With `INT8`, ops that stay float in an int8 model
    (`Op.keeps_float`) read and make four bytes an element, and the conversions around them are values too. Inputs are
    alive from the start, outputs to the end.
    """
    draft = _Draft(graph, element_bytes)
    outputs = draft.outputs()
    return most_alive(draft.sizes, draft.reads, outputs)


def most_alive(sizes: Sequence[int], reads: Sequence[Sequence[int]], outputs: Iterable[int]) -> int:
    """The largest sum of the sizes of values that are alive at once.

    sizes: of the values, in the order in which they are made. reads: the values that each is made from. outputs: those
    that live to the end.
    """
    last = list(range(len(sizes)))
    for i, read in enumerate(reads):
        for j in read:
            last[j] = i
    for i in outputs:
        last[i] = len(sizes)
    dying: list[int] = [0] * (len(sizes) + 1)
    for i, size in zip(last, sizes, strict=True):
        dying[i] += size
    alive = peak = 0
    for size, freed in zip(sizes, dying, strict=False):
        alive += size
        peak = max(peak, alive)
        alive -= freed
    return peak


@dataclass
class _Draft:
    """The values of a network in order: its nodes, but for those that are part of another, what they make on the way,
    and conversions.

    sizes: in bytes. reads: what each value is made from. place: node -> its value. converted: value -> the same with
    the other kind of elements.
    """

    graph: Graph
    element_bytes: int
    sizes: list[int] = field(default_factory=list)
    reads: list[tuple[int, ...]] = field(default_factory=list)
    is_float: list[bool] = field(default_factory=list)
    place: dict[int, int] = field(default_factory=dict)
    converted: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        nodes, uses, place = self.graph.nodes, self.graph.uses(), self.place
        for i in self.graph.inputs:
            place[i] = self.add(nodes[i].type.size, ())
        for i, node in enumerate(nodes):
            if not node.inputs:
                continue
            first = node.inputs[0]
            place[i] = place[first] if _rides(node.op, nodes[first].op, uses[first]) else self.made_by(node)

    def made_by(self, node: Node) -> int:
        keeps_float = node.op.keeps_float and self.element_bytes == INT8
        reads = tuple([self.across(self.place[j], keeps_float) for j in node.inputs])
        way = _ON_THE_WAY.get(type(node.op))
        if way is not None:
            reads = way(self, node, reads)
        return self.add(node.type.size, reads, keeps_float)

    def add(self, elements: int, reads: tuple[int, ...], is_float: bool = False) -> int:
        self.sizes.append(elements * (FLOAT32 if is_float else self.element_bytes))
        self.reads.append(reads)
        self.is_float.append(is_float)
        return len(self.sizes) - 1

    def across(self, value: int, wanted_float: bool) -> int:
        """The value as floats or as integers; converted once, whoever reads it."""
        if self.is_float[value] == wanted_float:
            return value
        if value not in self.converted:
            elements = self.sizes[value] // (FLOAT32 if self.is_float[value] else self.element_bytes)
            self.converted[value] = self.add(elements, (value,), wanted_float)
        return self.converted[value]

    def outputs(self) -> list[int]:
        return [self.across(self.place[output.value], False) for output in self.graph.outputs]


def _rides(op: Op, producer: Op, uses: int) -> bool:
    """Whether an op makes no value of its own. uses: how many read the producer's."""
    if op.training_only or isinstance(op, Flatten):
        return True
    if uses != 1 or producer.name == "input":
        return False
    if isinstance(op, BatchNorm):
        return isinstance(producer, (Conv2d, Linear))
    return isinstance(op, (Relu, Relu6))


# ---- values on the way: what an op's last step reads, once those before it have made theirs --------------------------

_Reads = tuple[int, ...]


def _padded(draft: _Draft, node: Node, reads: _Reads) -> _Reads:
    """A copy of the image with its padding around it, where the padding has no name."""
    op = node.op
    assert isinstance(op, (Conv2d, MaxPool2d, AvgPool2d))
    if not any(op.padding):
        return reads
    x = draft.graph.nodes[node.inputs[0]].type
    dilation = op.dilation if isinstance(op, Conv2d) else (1, 1)
    rows, columns = windows(x.shape[1:], op.kernel, op.stride, op.padding, node.type.shape[1:], dilation)
    counts = isinstance(op, AvgPool2d) and op.count_pad
    if has_name(rows, columns) and not counts:
        return reads
    height, width = (w.size + w.before + w.after for w in (rows, columns))
    return (draft.add(x.channels * height * width, reads),)


def _with_sigmoid(draft: _Draft, node: Node, reads: _Reads) -> _Reads:
    return (*reads, draft.add(node.type.size, reads))


def _clipped(draft: _Draft, node: Node, reads: _Reads) -> _Reads:
    return (draft.add(node.type.size, reads),)


def _two_at_a_time(draft: _Draft, node: Node, reads: _Reads) -> _Reads:
    total = reads[0]
    for other in reads[1:-1]:
        total = draft.add(node.type.size, (total, other))
    return total, reads[-1]


def _summed(draft: _Draft, node: Node, reads: _Reads) -> _Reads:
    return (draft.add(node.type.size, _two_at_a_time(draft, node, reads)),)


def _attended(draft: _Draft, node: Node, reads: _Reads) -> _Reads:
    """Queries, keys and values; the scores, and their softmax, for each head; what they mix."""
    assert isinstance(node.op, Attention)
    size, scores = node.type.size, node.op.heads * node.type.shape[0] ** 2
    q, k, v = (draft.add(size, reads) for _ in range(3))
    shares = draft.add(scores, (draft.add(scores, (q, k)),))
    return (draft.add(size, (shares, v)),)


_ON_THE_WAY: dict[type[Op], Callable[[_Draft, Node, _Reads], _Reads]] = {
    Conv2d: _padded,
    MaxPool2d: _padded,
    AvgPool2d: _padded,
    Swish: _with_sigmoid,
    HardSigmoid: _clipped,
    Add: _two_at_a_time,
    Mul: _two_at_a_time,
    Mean: _summed,
    Attention: _attended,
}
