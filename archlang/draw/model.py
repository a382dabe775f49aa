"""Graph -> a tree of boxes: what a drawing shows, before anything has a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from archlang.cost import cost
from archlang.draw import labels
from archlang.ir.graph import Graph, Node, Scope
from archlang.ops.base import Cost
from archlang.passes.fuse import fuse

FRAMES = ("repeat", "sequence", "stage")
"""Kinds of scope that are a frame around their steps; a block is a box that opens."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A value that goes from one box to a sibling. An end that is None is the border of the box around them.

    ports: which value of the border's `inputs` (source None) or `outputs` (target None) it is.
    """

    source: str | None
    target: str | None
    source_port: int = 0
    target_port: int = 0


@dataclass(frozen=True)
class Box:
    """An op with its norm and activation, an instance of a block, a frame, or the network.

    path: the scope's path or the node's name, unique in a drawing. kind: of the op, or of the scope, or `net`.
    title, note: the two lines of text. shape: of what it makes. count: how many equal ones in a chain it stands for;
    params and macs count all of them. names: the nodes that it stands for. inputs, outputs: the values that cross
    its border, in order.
    """

    path: str
    kind: str
    title: str
    note: str
    shape: str
    cost: Cost
    names: tuple[str, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    count: int = 1
    children: tuple[Box, ...] = ()
    wires: tuple[Wire, ...] = ()

    @property
    def is_frame(self) -> bool:
        return self.kind in FRAMES or self.kind == "net"

    def walk(self) -> Iterator[Box]:
        """This box and all in it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


def tree(graph: Graph, name: str = "") -> Box:
    """The boxes of a network, repeats not yet folded. name: what the drawing is called."""
    merged = fuse(graph, _rides)
    build = _Builder(merged, {layer.name: layer.cost for layer in cost(graph).layers})
    return build.with_outputs(build.box("", "net", name or graph.name, range(len(merged.nodes))))


def _rides(producer: Node, node: Node) -> bool:
    """Whether a node is part of its producer's box: a norm or an activation, written in the same body."""
    if producer.op.name == "input" or producer.name.rpartition(".")[0] != node.name.rpartition(".")[0]:
        return False
    return node.op.elementwise or node.op.training_only or node.op.name == "bn"


@dataclass
class _Builder:
    graph: Graph
    costs: Mapping[str, Cost]
    readers: list[list[int]] = field(init=False)
    varying: Mapping[str, frozenset[str]] = field(init=False)
    scopes: Mapping[str, Scope] = field(init=False)

    def __post_init__(self) -> None:
        self.readers = [[] for _ in self.graph.nodes]
        for i, node in enumerate(self.graph.nodes):
            for j in node.inputs:
                self.readers[j].append(i)
        for output in self.graph.outputs:
            self.readers[output.value].append(len(self.graph.nodes))
        self.scopes = _contiguous(self.graph)
        self.varying = _varying(self.scopes.values())

    def box(self, path: str, kind: str, title: str, members: Sequence[int], note: str = "") -> Box:
        """The box of the nodes `members`, with its children."""
        inside = set(members)
        used = dict.fromkeys(j for i in members for j in self.graph.nodes[i].inputs if j not in inside)
        made = tuple(i for i in members if any(j not in inside for j in self.readers[i]))
        children = self.children(path, members)
        wires = _wires(children, tuple(used), made)
        last = self.graph.nodes[made[-1] if made else members[-1]]
        total = sum((child.cost for child in children), Cost())
        names = tuple(name for child in children for name in child.names)
        return Box(
            path, kind, title, note, str(last.type), total, names, tuple(used), made, children=children, wires=wires
        )

    def with_outputs(self, net: Box) -> Box:
        """The network's box with a terminal for each of its outputs."""
        owner = {value: (child.path, port) for child in net.children for port, value in enumerate(child.outputs)}
        children, wires = list(net.children), [wire for wire in net.wires if wire.target is not None]
        for output in self.graph.outputs:
            path = f"{output.name} (output)"  # unlike any node's name
            shape, note = str(self.graph.nodes[output.value].type), "in training only" if output.aux else ""
            children.append(Box(path, "terminal", output.name, note, shape, Cost(), (), (output.value,), ()))
            source, port = owner[output.value]
            wires.append(Wire(source, path, port, 0))
        return replace(net, children=tuple(children), wires=tuple(wires), outputs=())

    def children(self, path: str, members: Sequence[int]) -> tuple[Box, ...]:
        boxes: list[Box] = []
        for scope, group in groupby(members, lambda i: self.scope_below(path, self.graph.nodes[i].name)):
            nodes = list(group)
            boxes += [self.leaf(i) for i in nodes] if scope is None else [self.scope(scope, nodes)]
        return tuple(boxes)

    def scope_below(self, path: str, name: str) -> str | None:
        """The outermost scope inside `path` that a node belongs to."""
        at = name.find(".", len(path) + 1 if path else 0)
        while at >= 0:
            if name[:at] in self.scopes:
                return name[:at]
            at = name.find(".", at + 1)
        return None

    def scope(self, path: str, members: list[int]) -> Box:
        scope = self.scopes[path]
        if scope.kind == "block":
            return self.box(path, "block", scope.source or path, members, self.arguments(scope))
        frame = self.box(path, scope.kind, path.rpartition(".")[2], members)
        return frame.children[0] if len(frame.children) == 1 else frame

    def arguments(self, scope: Scope) -> str:
        """The arguments that set the instances of a block apart, or the first three where nothing does."""
        simple = [(name, value) for name, value in scope.arguments if isinstance(value, int | str | tuple)]
        telling = [item for item in simple if item[0] in self.varying[scope.source]] or simple[:3]
        return ", ".join(f"{name}={_short(value)}" for name, value in telling[:4])

    def leaf(self, i: int) -> Box:
        node = self.graph.nodes[i]
        parts = (node, *node.fused)
        types = self.graph.input_types(node)
        made = (i,) if self.readers[i] else ()
        total = sum((self.costs.get(part.name, Cost()) for part in parts), Cost())
        note = " + ".join(labels.title(part.op, types) for part in node.fused)
        names = tuple(part.name for part in parts)
        used = tuple(dict.fromkeys(node.inputs))
        text = labels.title(node.op, types)
        return Box(node.name, labels.kind(node.op), text, note, str(node.type), total, names, used, made)


def _short(value: Any) -> str:
    return str(value) if len(str(value)) <= 16 else str(value)[:15] + "…"


def _contiguous(graph: Graph) -> dict[str, Scope]:
    """The scopes whose nodes are neighbours in the order of evaluation; drawn as boxes the others would make cycles."""
    places: dict[str, list[int]] = {}
    for i, node in enumerate(graph.nodes):
        path = node.name
        while "." in path:
            path = path.rpartition(".")[0]
            if path in graph.scopes:
                places.setdefault(path, []).append(i)
    return {path: graph.scopes[path] for path, found in places.items() if found[-1] - found[0] + 1 == len(found)}


def _varying(scopes: Any) -> dict[str, frozenset[str]]:
    """Block -> the arguments that are not the same in all of its instances."""
    seen: dict[str, dict[str, set[str]]] = {}
    for scope in scopes:
        values = seen.setdefault(scope.source, {})
        for name, value in scope.arguments:
            values.setdefault(name, set()).add(str(value))
    return {source: frozenset(n for n, found in values.items() if len(found) > 1) for source, values in seen.items()}


def _wires(children: Sequence[Box], used: tuple[int, ...], made: tuple[int, ...]) -> tuple[Wire, ...]:
    owner = {value: (child.path, port) for child in children for port, value in enumerate(child.outputs)}
    wires = []
    for child in children:
        for port, value in enumerate(child.inputs):
            source, at = owner.get(value, (None, 0))
            wires.append(Wire(source, child.path, used.index(value) if source is None else at, port))
    for port, value in enumerate(made):
        source, at = owner[value]
        wires.append(Wire(source, None, at, port))
    return tuple(wires)
