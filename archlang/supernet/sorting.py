"""Channels in the order of their importance, for when a part of them is to do (once-for-all, arXiv:1908.09791).

A narrower network takes the first channels of what is shared. So the channels that matter most are put first: those
that the layers behind them weigh most, by the sum of the absolute weights. What is added, normalised or convolved
depthwise moves with them, so that every sub-network that takes all of them computes what it did.

This module imports PyTorch: whoever needs it imports it in a function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import torch
from torch import Tensor

from archlang.ir.graph import Graph, Node
from archlang.ir.types import TensorType
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.join import Add, Mean, Mul
from archlang.ops.norm import BatchNorm, L2Norm, Scale
from archlang.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d
from archlang.ops.shape import Crop, Flatten, Shift, Subsample, Upsample, Zero
from archlang.supernet.net import SuperNet
from archlang.supernet.train.drawing import drawn
from archlang.supernet.train.protocol import Open

SAMPLES = 64
"""Sub-networks that are looked at to see which channels belong together."""

_KEEPING: tuple[type[Op], ...] = (
    *(BatchNorm, Scale, L2Norm, Add, Mul, Mean, MaxPool2d, AvgPool2d, GlobalAvgPool),
    *(Crop, Shift, Subsample, Upsample, Zero),
)
"""Ops that do the same with every channel: their outputs' channels are in the order of their inputs'."""


@dataclass
class _Group:
    """Values whose channels are in one order. sizes: their numbers of channels. written, read: the arrays along whose
    dimension the channels lie, (site, local name) -> dimension; of those that are read the weights tell the importance.
    """

    sizes: set[int] = field(default_factory=set)
    fixed: bool = False
    written: dict[tuple[str, str], int] = field(default_factory=dict)
    read: dict[tuple[str, str], int] = field(default_factory=dict)

    def take(self, other: _Group) -> None:
        self.sizes |= other.sizes
        self.fixed |= other.fixed
        self.written |= other.written
        self.read |= other.read


def sort_channels(net: SuperNet, open: Open, seed: int = 0) -> int:
    """Put the most important channels first, in place; how many groups of channels were sorted.

    open: the alternatives that were taken until now. The sub-networks of these compute what they did: where some take
    the first 64 of 96 channels, as `SAMPLES` that are drawn show, those stay the first 64. Channels stay in their
    order, too, where an op minds it, such as a concatenation.
    """
    rng = Random(seed)
    graphs = [net.union.graph(net.largest())]
    graphs += [net.union.graph(drawn(net.space, open, rng)) for _ in range(SAMPLES)]
    arrays = net.state_dict(keep_vars=True)
    count = 0
    for group in _groups(graphs):
        if not group.fixed and _is_whole(group, arrays):
            count += _sort(group, arrays)
    return count


def _groups(graphs: Iterable[Graph]) -> Iterator[_Group]:
    found = _Found()
    for graph in graphs:
        for node in graph.nodes:
            found.note(graph, node)
        for output in graph.outputs:
            found.of(graph.nodes[output.value].name).fixed = True
    yield from found.all()


class _Found:
    """Groups by the names of their values, merged as values turn out to belong together."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._groups: dict[str, _Group] = {}

    def of(self, name: str) -> _Group:
        return self._groups.setdefault(self._root(name), _Group())

    def all(self) -> Iterable[_Group]:
        return self._groups.values()

    def _root(self, name: str) -> str:
        while (parent := self._parents.get(name, name)) != name:
            name = parent
        return name

    def _join(self, a: str, b: str) -> None:
        a, b = self._root(a), self._root(b)
        if a != b:
            self.of(a).take(self.of(b))
            self._parents[b] = a
            del self._groups[b]

    def note(self, graph: Graph, node: Node) -> None:
        """A node: which values' channels it keeps in their order, and along what its arrays have them."""
        types = graph.input_types(node)
        sources = [graph.nodes[i].name for i in node.inputs]
        self.of(node.name).sizes.add(node.type.channels)
        if _is_mixing(node):
            self._read(node, types, sources[0])
        elif _is_keeping(node, types):
            for source in sources:
                self._join(node.name, source)
            self.of(node.name).written |= {(node.name, local): 0 for local in node.op.params(*types)}
        else:
            for name in (node.name, *sources):
                self.of(name).fixed = True

    def _read(self, node: Node, types: tuple[TensorType, ...], source: str) -> None:
        """A layer that reads every channel for each of its own: it has one order for all that it may ever read."""
        self._join(f"{node.name} reads", source)
        self.of(source).read[node.name, "weight"] = 1
        self.of(node.name).written |= {(node.name, local): 0 for local in node.op.params(*types)}


def _is_mixing(node: Node) -> bool:
    return isinstance(node.op, Linear) or (isinstance(node.op, Conv2d) and node.op.groups == 1)


def _is_keeping(node: Node, types: tuple[TensorType, ...]) -> bool:
    op = node.op
    if isinstance(op, Conv2d):
        return op.groups == op.channels == types[0].channels
    if isinstance(op, Flatten):
        return types[0].size == types[0].channels
    equal = all(type_.channels == node.type.channels for type_ in types)
    return equal and bool(types) and (op.elementwise or isinstance(op, _KEEPING))


def _is_whole(group: _Group, arrays: Mapping[str, Tensor]) -> bool:
    """Whether the arrays have equally many channels, and some sub-network takes all of them."""
    places = [*group.written.items(), *group.read.items()]
    return all(arrays[".".join(name)].shape[axis] == max(group.sizes) for name, axis in places)


def _sort(group: _Group, arrays: Mapping[str, Tensor]) -> bool:
    """Whether there was anything to sort by."""
    readers = [(arrays[".".join(name)], axis) for name, axis in group.read.items()]
    if not readers or not group.written:
        return False
    importance = sum(weight.detach().abs().transpose(0, axis).flatten(1).sum(1) for weight, axis in readers)
    assert isinstance(importance, Tensor)
    bands = [torch.arange(*band, device=importance.device) for band in pairwise((0, *sorted(group.sizes)))]
    order = torch.cat([band[torch.argsort(importance[band], descending=True, stable=True)] for band in bands])
    with torch.no_grad():
        for name, axis in (*group.written.items(), *group.read.items()):
            array = arrays[".".join(name)]
            array.copy_(array.index_select(axis, order))
    return True
