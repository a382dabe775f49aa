"""Networks and trainings made smaller: what a candidate of a lower fidelity is judged by.

All of it is pure: Graph -> Graph. Names stay, so that weights can be told; scopes go, since they say what the source
said of the whole network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import gcd, lcm
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from archlang.errors import fail
from archlang.ir.graph import Graph, Node
from archlang.ir.types import TensorType
from archlang.ops.attention import Attention
from archlang.ops.base import Op, ShapeError
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear, RadialBasis
from archlang.ops.join import Concat, Join
from archlang.ops.pool import Pool2d
from archlang.ops.shape import Crop, Flatten, Input, Shuffle, Slice, Tokens
from archlang.train import Recipe

Reduce = Literal["epochs", "resolution", "channels"]
"""What there is less of at a lower fidelity."""


def reduced(graph: Graph, recipe: Recipe, fidelity: float, reduce: Reduce) -> tuple[Graph, Recipe]:
    """The network and its training at this fidelity, over 0 and up to 1: so much of the epochs, of the image's height
    and width, or of the channels. Raises ArchError where the network cannot be made so small."""
    if fidelity == 1:
        return graph, recipe
    if reduce == "epochs":
        return graph, replace(recipe, epochs=epochs_at(fidelity, recipe.epochs))
    return (at_resolution if reduce == "resolution" else with_channels)(graph, fidelity), recipe


def epochs_at(fidelity: float, epochs: int) -> int:
    """So much of the epochs; one at least."""
    return max(1, round(fidelity * epochs))


# smaller images


def at_resolution(graph: Graph, share: float) -> Graph:
    """The network on images of `share` of the height and width; on the smallest larger ones where it does not fit."""
    shapes = [graph.nodes[i].type.shape for i in graph.inputs]
    if not all(len(shape) == 3 for shape in shapes):
        raise fail("E1213", f"{graph.name} has an input that is no image, and cannot have a smaller one")
    least = max(1, round(share * max(shape[1] for shape in shapes)))
    whole = max(shape[1] for shape in shapes)
    for side in range(least, whole):
        try:
            return _at(graph, side / whole)
        except ShapeError:
            continue
    return graph


def _at(graph: Graph, share: float) -> Graph:
    """Raises ShapeError where an op does not take what comes out of the smaller image."""
    nodes: list[Node] = []
    for node in graph.nodes:
        xs = tuple(nodes[i].type for i in node.inputs)
        nodes.append(_node(node, _resized(node, graph.input_types(node), xs, share), xs))
    return replace(graph, nodes=tuple(nodes), scopes={})


def _resized(node: Node, before: tuple[TensorType, ...], xs: tuple[TensorType, ...], share: float) -> Op:
    """The op with the sizes that it names changed in the same way as the image."""
    op = node.op
    if isinstance(op, Input):
        channels, height, width = op.shape
        return replace(op, shape=(channels, max(1, round(height * share)), max(1, round(width * share))))
    if isinstance(op, Crop):
        height, width = op.height + xs[0].height - before[0].height, op.width + xs[0].width - before[0].width
        return replace(op, height=max(1, height), width=max(1, width))
    if isinstance(op, Pool2d | Conv2d) and op.kernel == before[0].shape[1:] and not any(op.padding):
        return replace(op, kernel=(xs[0].height, xs[0].width))  # what covers the whole image still does
    return op


# fewer channels


def with_channels(graph: Graph, share: float) -> Graph:
    """The network with `share` of the channels of every layer, but for its inputs and outputs.

    Channels that must stay together (of a sum, of a depthwise convolution) are kept together, and where channels are
    counted in groups or heads, whole groups are. A group that does not divide its channels any more becomes a smaller
    one. Raises ArchError E1213 where a network holds what cannot be followed.
    """
    channels = _Channels(graph)
    kept = channels.kept(share)
    nodes: list[Node] = []
    try:
        for i, node in enumerate(graph.nodes):
            xs = tuple(nodes[j].type for j in node.inputs)
            nodes.append(_node(node, _narrowed(node, graph.input_types(node), xs, channels, kept, i), xs))
    except ShapeError as error:
        raise fail("E1213", f"{graph.name} cannot have fewer channels: {error.message}", node.span) from error
    return replace(graph, nodes=tuple(nodes), scopes={})


def _narrowed(
    node: Node,
    before: tuple[TensorType, ...],
    xs: tuple[TensorType, ...],
    channels: _Channels,
    kept: NDArray[np.bool_],
    i: int,
) -> Op:
    """The op with the channels that it names changed to those that are kept."""
    op = node.op
    if isinstance(op, Conv2d):
        count = channels.count(i, kept)
        if op.is_depthwise(before[0]) and op.channels == before[0].channels:
            return replace(op, channels=count, groups=xs[0].channels)
        return replace(op, channels=count, groups=gcd(op.groups, count, xs[0].channels))
    if isinstance(op, ConvTranspose2d):
        return replace(op, channels=channels.count(i, kept))
    if isinstance(op, Linear | RadialBasis):
        return replace(op, features=channels.count(i, kept))
    if isinstance(op, Slice):
        start = int(kept[channels.of(node.inputs[0])[: op.start]].sum())
        return replace(op, start=start, stop=start + channels.count(i, kept))
    if isinstance(op, Shuffle):
        return replace(op, groups=gcd(op.groups, xs[0].channels))
    if isinstance(op, Attention):
        return replace(op, heads=gcd(op.heads, xs[0].channels))
    return op


class _Channels:
    """Every channel of every value, and which of them are the same: a sum's channel is that of each of its terms, a
    depthwise convolution's that of its input. One is kept, or not, everywhere.

    A channel is a number; equal ones have found each other in `_parent` (union-find).
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._parent = np.zeros(0, np.int64)
        self._values: list[NDArray[np.int64]] = []
        self._made: list[NDArray[np.int64]] = []
        self._whole: list[tuple[NDArray[np.int64], int]] = []
        self._fixed: list[NDArray[np.int64]] = []
        for node in graph.nodes:
            self._values.append(self._value(node, [self._values[i] for i in node.inputs]))
        self._fixed += [self._values[output.value] for output in graph.outputs]

    def of(self, value: int) -> NDArray[np.int64]:
        """The channels of a value, in their order."""
        return self._root(self._values[value])

    def count(self, value: int, kept: NDArray[np.bool_]) -> int:
        return int(kept[self.of(value)].sum())

    def kept(self, share: float) -> NDArray[np.bool_]:
        """Channel -> whether it is kept. Of channels that are made by the same layers, spread evenly, so many that
        `share` is kept, and that groups stay whole where there is room for one of each."""
        kept = np.ones(len(self._parent), bool)
        fixed = {int(root) for values in self._fixed for root in self._root(values)}
        units = self._units()
        for members in self._families():
            if fixed.isdisjoint(members):
                unit = lcm(*(units.get(member, 1) for member in members))
                kept[members] = _spread(len(members), _rounded(len(members) * share, unit, len(members)))
        return kept

    def _families(self) -> list[list[int]]:
        """The channels that are made by the same layers, together; each in order."""
        makers: dict[int, list[int]] = {}
        for maker, values in enumerate(self._made):
            for root in dict.fromkeys(self._root(values).tolist()):
                makers.setdefault(root, []).append(maker)
        families: dict[tuple[int, ...], list[int]] = {}
        for root, key in makers.items():
            families.setdefault(tuple(key), []).append(root)
        return list(families.values())

    def _units(self) -> dict[int, int]:
        """Channel -> of how many kept ones there must be a multiple."""
        units: dict[int, int] = {}
        for values, unit in self._whole:
            for root in self._root(values).tolist():
                units[root] = lcm(units.get(root, 1), unit)
        return units

    # what an op does to channels

    def _value(self, node: Node, xs: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        op, count = node.op, node.type.channels
        if isinstance(op, Input):
            return self._fix(self._new(count))
        if isinstance(op, Conv2d | ConvTranspose2d | Linear | RadialBasis):
            return self._made_by(op, xs[0], count)
        if isinstance(op, Concat) and op.axis == "channels":
            return np.concatenate(xs)
        if isinstance(op, Slice):
            return self._layer(xs[0][op.start : op.stop])  # a family of its own, of which something is kept
        if isinstance(op, Shuffle):
            return self._grouped(xs[0], op.groups).reshape(op.groups, -1).T.reshape(-1)
        if isinstance(op, Attention):
            return self._grouped(xs[0], op.heads)
        if isinstance(op, Join | Concat):
            return self._same(xs)
        if len(xs) == 1 and len(xs[0]) == count and not isinstance(op, Tokens | Flatten):
            return xs[0]
        return self._folded(node, xs, count)

    def _made_by(self, op: Op, x: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        groups = getattr(op, "groups", 1)
        if groups == len(x) == count and groups > 1:
            return x
        made = self._layer(self._new(count))
        if groups > 1:
            self._grouped(x, groups)
            self._grouped(made, groups)
        return made

    def _layer(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        self._made.append(x)
        return x

    def _folded(self, node: Node, xs: list[NDArray[np.int64]], count: int) -> NDArray[np.int64]:
        """Channels that are counted together with places (`flatten`), or with one another (`tokens`)."""
        if isinstance(node.op, Flatten):
            return np.repeat(xs[0], count // len(xs[0]))
        if len(xs[0]) == count:
            return xs[0]
        for x in xs:
            self._fix(x)
        return self._fix(self._new(count))

    def _same(self, xs: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
        first, *others = xs
        for other in others:
            while ((a := self._root(first)) != (b := self._root(other))).any():
                self._parent[np.maximum(a, b)] = np.minimum(a, b)
        return first

    def _grouped(self, x: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
        self._whole.append((x, groups))
        return x

    def _fix(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        self._fixed.append(x)
        return x

    def _new(self, count: int) -> NDArray[np.int64]:
        made = np.arange(len(self._parent), len(self._parent) + count)
        self._parent = np.concatenate([self._parent, made])
        return made

    def _root(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        found = self._parent[values]
        while ((above := self._parent[found]) != found).any():
            found = above
        return found


def _rounded(count: float, unit: int, most: int) -> int:
    """A multiple of `unit` near `count`, where `most` is one too; one channel at least."""
    unit = unit if most % unit == 0 else 1
    return min(most, max(unit, round(count / unit) * unit))


def _spread(count: int, kept: int) -> NDArray[np.bool_]:
    """Which of `count` stay, `kept` of them, evenly spread, so that a part of them keeps its share."""
    steps = np.arange(count + 1) * kept // count
    return np.asarray(steps[1:] > steps[:-1])


def _node(node: Node, op: Op, xs: tuple[TensorType, ...]) -> Node:
    """The node on inputs of other types. Raises ShapeError where it does not take them."""
    return Node(op, node.inputs, op.infer(*xs), node.name, node.span, node.fused)
