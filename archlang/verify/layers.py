"""Which layer of a file is wrong: each is computed from what the file itself made before it.

So an error shows where it arises and not in all that comes after, and the noise of quantization does not add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from archlang.evaluate import guided
from archlang.evaluate.rules import ELEMENTWISE
from archlang.ir.graph import Graph, Node
from archlang.ops.activation import Activation
from archlang.ops.norm import BatchNorm
from archlang.passes import inference
from archlang.runtimes import ModelFile
from archlang.runtimes.model import Array
from archlang.weights import Weights


@dataclass(frozen=True)
class Tolerance:
    """What a layer may differ by: a share of its values' deviation, and so many steps of its tensor (both as root mean
    squares)."""

    share: float
    steps: float = 0.0


@dataclass(frozen=True)
class Deviation:
    """A layer that is not what its inputs make. share: the difference by the values' deviation."""

    node: Node
    share: float


@dataclass(frozen=True)
class Followed:
    """A file that was followed layer by layer. first: the first layer that is wrong; None where none is. compared: how
    many could be: those whose tensors are called like them. worst: the largest share of any of them."""

    first: Deviation | None
    compared: int
    worst: float


@dataclass
class _Follower:
    """Is told of the float values in order, compares them with the file's, and puts the file's in their place."""

    ends: Mapping[int, _End]
    tolerance: Tolerance
    shares: list[float] = field(default_factory=list)
    first: Deviation | None = None

    def __call__(self, i: int, node: Node, value: Array) -> Array:
        end = self.ends.get(i)
        if end is None or end.values.shape != value.shape:
            return value
        share, wrong = self.compared(value, end)
        self.shares.append(share)
        if wrong and self.first is None:
            self.first = Deviation(end.layer, share)
        return end.values

    def compared(self, wanted: Array, end: _End) -> tuple[float, bool]:
        """The difference by the values' deviation, or by their size where they are constant, and whether it is too
        much. Where the float network makes infinities there is nothing to compare."""
        if not np.isfinite(wanted).all():
            return 0.0, False
        difference = _size(end.values - wanted)
        deviation = float(wanted.std()) or _size(wanted)
        steps = self.tolerance.steps * max(end.step, end.bias_step)
        wrong = not difference <= max(self.tolerance.share * deviation, steps)
        return difference / deviation if deviation else float(wrong), wrong


def _size(x: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(x))))


def followed(
    graph: Graph, weights: Weights, model: ModelFile, inputs: Sequence[Array], tolerance: Tolerance
) -> Followed:
    """What becomes of the layers on one sample. inputs: an array for each of the graph's inputs.

    Raises OutsideError where the runtime cannot show the values.
    """
    plain = inference(graph)
    names = {node.name for node in plain.nodes} | {output.name for output in plain.outputs}
    tensors = model.layers(fed(plain, model, inputs), names)
    follower = _Follower(_Ends(plain, weights, model, tensors).found(), tolerance)
    guided(graph, weights, inputs, follower)
    return Followed(follower.first, len(follower.shares), max(follower.shares, default=0.0))


def fed(graph: Graph, model: ModelFile, inputs: Sequence[Array]) -> list[Array]:
    """The graph's inputs as the file wants them: in its order, with its batch, images with channels where they belong.

    Names decide which is which; where the file has others, the order does.
    """
    named = dict(zip((graph.nodes[i].name for i in graph.inputs), inputs, strict=True))
    names = [port.name for port in model.inputs]
    ordered = [named[name] for name in names] if set(names) == set(named) else inputs
    return [_placed(x, port.shape[0], model.channels_last) for x, port in zip(ordered, model.inputs, strict=True)]


def _placed(x: Array, batch: int, channels_last: bool) -> Array:
    placed = np.moveaxis(x, 0, -1) if x.ndim == 3 and channels_last else x
    return np.broadcast_to(placed[None], (batch, *placed.shape))


def from_file(model: ModelFile, y: Array) -> Array:
    """The first sample of a batch, channels first."""
    return np.moveaxis(y[0], -1, 0) if y.ndim == 4 and model.channels_last else y[0]


class _Ends:
    """Which node's value each of the file's tensors holds: it is called like the first of the ops that became one
    operator, and holds what the last of them makes."""

    def __init__(
        self, graph: Graph, weights: Weights, model: ModelFile, tensors: Mapping[str, tuple[Array, float]]
    ) -> None:
        self.graph, self.weights, self.model, self.tensors = graph, weights, model, tensors
        self.results = {output.value: output.name for output in graph.outputs}
        self.steps = dict(zip(graph.inputs, (port.scale for port in model.inputs), strict=True))
        self.readers: list[list[int]] = [[] for _ in graph.nodes]
        for i, node in enumerate(graph.nodes):
            for j in node.inputs:
                self.readers[j].append(i)

    def found(self) -> dict[int, _End]:
        """By node."""
        ends = {}
        for i, node in enumerate(self.graph.nodes):
            name = self.tensor(i)
            if name in self.tensors and node.op.name != "input":
                values, step = self.tensors[name]
                parts = self.parts(i)
                end = _End(node, from_file(self.model, values), step, self.bias_step([part[0] for part in parts]))
                ends.update(dict.fromkeys(parts[-1], end))
                self.steps.update(dict.fromkeys(parts[-1], step))
        return ends

    def bias_step(self, parts: Sequence[int]) -> float:
        """Biases are multiples of the input's step times the weight's: coarse where a large input meets small ones.
        An upper bound for all channels; 0 where the input is not quantized, and for layers without weights."""
        layer = self.graph.nodes[parts[0]]
        weight = self.weights.get(f"{layer.name}.weight")
        if weight is None or not layer.inputs:
            return 0.0
        gains = (self.gain(self.graph.nodes[i]) for i in parts[1:])
        return self.step_before(layer) * float(np.abs(weight).max()) * prod(gains) / 127

    def step_before(self, node: Node) -> float:
        """Of the nearest value before a node whose tensor is known; ops between keep it."""
        i = node.inputs[0]
        while i not in self.steps and self.graph.nodes[i].inputs:
            i = self.graph.nodes[i].inputs[0]
        return self.steps.get(i, 0.0)

    def gain(self, node: Node) -> float:
        """The largest factor of a BatchNorm; 1 for another op."""
        if not isinstance(node.op, BatchNorm):
            return 1.0
        deviation = np.sqrt(self.weights[f"{node.name}.running_var"] + node.op.eps)
        return float(np.abs(self.weights[f"{node.name}.weight"] / deviation).max())

    def tensor(self, i: int) -> str:
        """A result may be called as the output is."""
        return self.results[i] if self.results.get(i) in self.tensors else self.graph.nodes[i].name

    def parts(self, i: int) -> list[list[int]]:
        """A node, and the elementwise ops after it that have no tensor of their own; equal ones stand together."""
        parts = [[i]]
        while after := self.joined(parts[-1]):
            parts.append(after)
        return parts

    def joined(self, nodes: Sequence[int]) -> list[int]:
        """The readers of equal nodes, where they can have become part of the same operator: one, or several that all
        do the same without parameters."""
        readers = [j for i in nodes for j in self.readers[i]]
        ops = [self.graph.nodes[j].op for j in readers]
        same = len(ops) == 1 or (len(ops) > 1 and isinstance(ops[0], Activation) and all(op == ops[0] for op in ops))
        if not same or type(ops[0]) not in ELEMENTWISE or any(i in self.results for i in nodes):
            return []
        return [] if any(self.tensor(j) in self.tensors for j in readers) else readers


@dataclass(frozen=True)
class _End:
    """A tensor of the file. layer: whose name it bears. values: channels first, without a batch. step, bias_step: what
    the values, and the biases before them, are multiples of; 0 for floats."""

    layer: Node
    values: Array
    step: float
    bias_step: float
