"""What a network makes a device do: its kernels, each with the figures that its time depends on.

A kernel is one op as a runtime executes it, with what is fused into it. The same walk serves a search that asks for
thousands of predictions a second, so it makes no new Graph as the passes do, and remembers each kernel that it met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.ir.graph import Graph, Node
from archlang.ir.types import TensorType
from archlang.ops.activation import Relu, Relu6
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.join import Add, Mean, Mul
from archlang.ops.norm import BatchNorm, Scale
from archlang.ops.pool import AvgPool2d, MaxPool2d
from archlang.ops.shape import Zero

Floats = NDArray[np.float64]
Shape = tuple[int, ...]

EXECUTIONS = ("compiled", "eager")
"""How a runtime takes a network. compiled: what no output needs is gone, norms and activations are fused (TFLite, ONNX
Runtime). eager: every op of the source runs as it is written (PyTorch), whether an output needs it or not."""


@dataclass(frozen=True)
class Kernel:
    """One op as it is executed, batch 1.

    kind: the op's name; convolutions are told apart. then: what is fused into it. window: positions under a kernel
    or a pooling window. macs: multiply-accumulates. weights: elements of its arrays.
    """

    kind: str
    then: tuple[str, ...]
    inputs: tuple[Shape, ...]
    output: Shape
    window: int = 1
    stride: int = 1
    macs: int = 0
    weights: int = 0

    @cached_property
    def _hash(self) -> int:
        return hash((self.kind, self.then, self.inputs, self.output, self.window, self.stride, self.weights))

    def __hash__(self) -> int:
        return self._hash

    @property
    def moved(self) -> int:
        """Elements of activations that it reads and writes."""
        return sum(map(prod, self.inputs)) + prod(self.output)

    @property
    def work(self) -> tuple[int, int, int]:
        """What its time grows with: MACs, elements moved, elements of weights."""
        return self.macs, self.moved, self.weights

    @cached_property
    def place(self) -> Floats:
        """Where it is among the kernels of its kind: octaves of its sizes. Near kernels are about as efficient."""
        channels_in = max(shape[0] for shape in self.inputs) if self.inputs else 1
        side = prod(self.output[1:])
        figures = (self.macs + 1, channels_in, self.output[0], side, self.window**2, self.stride**4)
        return np.log2(np.array(figures, dtype=np.float64))

    def __str__(self) -> str:
        shapes = " and ".join("x".join(map(str, shape)) for shape in self.inputs)
        window = f" {_root(self.window)}" if self.window > 1 else ""
        return f"{self.kind}{window} of {shapes} to {'x'.join(map(str, self.output))}"

    def as_json(self) -> list[Any]:
        shapes = [list(shape) for shape in self.inputs], list(self.output)
        return [self.kind, list(self.then), *shapes, self.window, self.stride, self.macs, self.weights]

    @classmethod
    def from_json(cls, values: list[Any]) -> Kernel:
        kind, then, inputs, output, *figures = values
        return cls(str(kind), tuple(then), tuple(map(tuple, inputs)), tuple(output), *map(int, figures))


Kernels = Counter[Kernel]
"""How often a network runs each kernel."""


@dataclass(frozen=True)
class Ends:
    """What is undecided at the ends of a piece of a network, where a kernel may span two pieces. Adds up.

    norms_first, activations_first: those that alone read an input, and may be part of an earlier piece's kernel.
    takes_norm, takes_activation: outputs whose kernels could take one. (Both of images: nothing follows the vector
    that a classifier makes.) hidden: inputs that nothing reads (what made them may be dead), outputs that are zero
    (a later sum may drop them), norms and activations that alone read an input that is no image.
    """

    norms_first: int = 0
    takes_norm: int = 0
    activations_first: int = 0
    takes_activation: int = 0
    hidden: int = 0

    @property
    def decided(self) -> bool:
        """Whether the kernels of the pieces together are those of the whole network."""
        norms = self.norms_first and self.takes_norm
        activations = self.activations_first and self.takes_activation
        return not (self.hidden or norms or activations)


@dataclass(frozen=True)
class Executed:
    """What a runtime executes for a network, or for a piece of one."""

    kernels: Kernels
    ends: Ends


def kernels(graph: Graph, execution: str = "compiled") -> Kernels:
    """The kernels that a runtime executes for the graph. execution: one of `EXECUTIONS`."""
    return _WALKS[execution](graph).kernels


def executed_piece(graph: Graph, execution: str = "compiled") -> Executed:
    """The kernels of a piece of a network: its inputs are values of earlier pieces, its outputs what later ones may
    read. Where the sum of the pieces' ends is decided, their kernels together are those of the whole network."""
    return _WALKS[execution](graph)


def _eager(graph: Graph) -> Executed:
    read = {j for node in graph.nodes for j in node.inputs} | {output.value for output in graph.outputs}
    found = Counter(
        _kernel(node.op, (), tuple(graph.nodes[i].type for i in node.inputs), node.type)
        for node in graph.nodes
        if node.inputs and not node.op.training_only
    )
    return Executed(found, Ends(hidden=sum(i not in read for i in graph.inputs)))


def _compiled(graph: Graph) -> Executed:
    """As the passes `inference`, `drop_zeros`, `fuse_norms` and `fuse_activations` have it, in one walk."""
    nodes = graph.nodes
    reads, stands_for = _without_identities(graph)
    results = [stands_for[output.value] for output in graph.outputs if not output.aux]
    uses = _uses(reads, results)
    groups: dict[int, _Group] = {}
    for i, node in enumerate(nodes):
        if not uses[i] or not reads[i]:
            continue
        first = reads[i][0]
        head, then = groups.get(first, (i, ()))
        if len(reads[i]) == 1 and first in groups and uses[first] == 1 and _fuses(nodes[head].op, then, node.op):
            del groups[first]
            groups[i] = head, (*then, node.op)
        else:
            groups[i] = i, ()
    found = Counter(
        _kernel(nodes[head].op, then, tuple(nodes[j].type for j in reads[head]), nodes[i].type)
        for i, (head, then) in groups.items()
    )
    return Executed(found, _ends(nodes, reads, uses, results, groups))


_Group = tuple[int, tuple[Op, ...]]
"""The node that a kernel begins with, and the ops that are fused into it."""


def _ends(
    nodes: Sequence[Node], reads: list[tuple[int, ...]], uses: list[int], results: list[int], groups: dict[int, _Group]
) -> Ends:
    inputs = {i for i, sources in enumerate(reads) if not sources}
    unary = [(reads[head][0], nodes[head].op) for head, _ in groups.values() if len(reads[head]) == 1]
    first = [(nodes[i].type, op) for i, op in unary if i in inputs and uses[i] == 1]
    last = [groups[i] for i in results if uses[i] == 1 and i in groups and _is_image(nodes[i].type)]
    return Ends(
        norms_first=sum(isinstance(op, BatchNorm) for x, op in first if _is_image(x)),
        takes_norm=sum(_takes_norm(nodes[head].op, then) for head, then in last),
        activations_first=sum(isinstance(op, _ACTIVATIONS) for x, op in first if _is_image(x)),
        takes_activation=sum(_takes_activation(nodes[head].op, then) for head, then in last),
        hidden=sum(not uses[i] for i in inputs)
        + sum(isinstance(nodes[i].op, Zero) for i in results)
        + sum(isinstance(op, (BatchNorm, *_ACTIVATIONS)) for x, op in first if not _is_image(x)),
    )


def _is_image(x: TensorType) -> bool:
    return len(x.shape) == 3


_WALKS: dict[str, Callable[[Graph], Executed]] = {"compiled": _compiled, "eager": _eager}


def _without_identities(graph: Graph) -> tuple[list[tuple[int, ...]], list[int]]:
    """What each node reads, and which node stands for each: ops of training and sums with zeros are gone."""
    stands_for: list[int] = []
    reads: list[tuple[int, ...]] = []
    for i, node in enumerate(graph.nodes):
        kept = _summands(graph, node) if isinstance(node.op, Add) else node.inputs
        inputs = tuple(stands_for[j] for j in kept)
        same = node.op.training_only or (isinstance(node.op, Add) and len(inputs) == 1)
        stands_for.append(inputs[0] if same else i)
        reads.append(inputs)
    return reads, stands_for


def _summands(graph: Graph, node: Node) -> tuple[int, ...]:
    kept = tuple(j for j in node.inputs if not isinstance(graph.nodes[j].op, Zero)) or node.inputs[:1]
    shaped = any(graph.nodes[j].type == node.type for j in kept)
    return kept if shaped else node.inputs  # otherwise a zero gives the sum its shape


def _uses(reads: list[tuple[int, ...]], results: list[int]) -> list[int]:
    """How often each value is read by what an output needs; 0 where none needs it."""
    uses = [0] * len(reads)
    for i in results:
        uses[i] += 1
    for i in range(len(reads) - 1, -1, -1):
        if uses[i]:
            for j in reads[i]:
                uses[j] += 1
    return uses


_WITH_NORM = (Conv2d, Linear)
_WITH_ACTIVATION = (Conv2d, Linear, Add, Mul, AvgPool2d, MaxPool2d, BatchNorm, Scale, Mean)
_ACTIVATIONS = (Relu, Relu6)


def _fuses(head: Op, then: tuple[Op, ...], op: Op) -> bool:
    """Whether a runtime makes `op` part of the kernel that `head` begins."""
    if isinstance(op, BatchNorm):
        return _takes_norm(head, then)
    return isinstance(op, _ACTIVATIONS) and _takes_activation(head, then)


def _takes_norm(head: Op, then: tuple[Op, ...]) -> bool:
    return isinstance(head, _WITH_NORM) and not then


def _takes_activation(head: Op, then: tuple[Op, ...]) -> bool:
    return isinstance(head, _WITH_ACTIVATION) and not any(part.elementwise for part in then)


_MET: dict[Hashable, Kernel] = {}
_MOST_MET = 100_000


def _kernel(op: Op, then: tuple[Op, ...], inputs: tuple[TensorType, ...], output: TensorType) -> Kernel:
    key = (op, then, inputs, output)
    found = _MET.get(key)
    if found is None:
        if len(_MET) >= _MOST_MET:
            _MET.clear()
        found = _MET[key] = _made(op, then, inputs, output)
    return found


def _made(op: Op, then: tuple[Op, ...], inputs: tuple[TensorType, ...], output: TensorType) -> Kernel:
    weights = sum(prod(param.shape) for param in op.params(*inputs).values())
    window = getattr(op, "kernel", (1, 1))
    return Kernel(
        kind=_kind(op, inputs),
        then=tuple(part.name for part in then),
        inputs=tuple(x.shape for x in inputs),
        output=output.shape,
        window=prod(window) if isinstance(window, tuple) else int(window),
        stride=max(_pair(getattr(op, "stride", 1))),
        macs=op.cost(inputs, output).macs,
        weights=weights,
    )


def _kind(op: Op, inputs: tuple[TensorType, ...]) -> str:
    """The op's name. The algorithms for convolutions differ so much that each is a kind of its own."""
    if not isinstance(op, Conv2d):
        return op.name
    if op.is_depthwise(inputs[0]):
        return "depthwise"
    if op.groups > 1:
        return "grouped conv"
    return "pointwise" if op.kernel == (1, 1) else "conv"


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _root(window: int) -> str:
    side = round(window**0.5)
    return f"{side}x{side}" if side * side == window else f"{window}"
