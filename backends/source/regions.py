"""The Graph's scopes as a tree of regions, each with what flows in and out of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from archlang.backends.source.layer import Layer
from archlang.ir.graph import Graph, Scope


class Form(Enum):
    """What a region becomes: a class of its own, an nn.Sequential, or (where neither can be) a container whose
    members the enclosing forward calls one by one."""

    CLASS = "class"
    CHAIN = "chain"
    OPEN = "open"


@dataclass
class Region:
    """All nodes below one dotted path. inputs, outputs: values of the Graph read from outside, or by the outside.

    A value that stands for several inputs of a cell is there several times.
    input_names: what the source calls the inputs, none where it has no names for them.
    """

    path: str
    scope: Scope | None = None
    children: dict[str, Region | int] = field(default_factory=dict)
    nodes: list[int] = field(default_factory=list)
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    input_names: tuple[str, ...] = ()
    form: Form = Form.CLASS

    @property
    def block(self) -> str:
        """The block or cell that the region is an instance of, empty where it is none."""
        return self.scope.source if self.scope and self.scope.kind == "block" else ""

    def merge_inputs(self) -> None:
        """Take a value that stands for several inputs once only, under the first of its names."""
        names = dict(reversed(list(zip(self.inputs, self.input_names, strict=True)))) if self.input_names else {}
        self.inputs = tuple(dict.fromkeys(self.inputs))
        self.input_names = tuple(names[value] for value in self.inputs) if names else ()

    def below(self) -> Iterator[Region]:
        """The regions in this one, innermost first."""
        for child in self.children.values():
            if isinstance(child, Region):
                yield from child.below()
                yield child


def enclosing_block(graph: Graph, path: str) -> tuple[str, str]:
    """The block that the path stands in, and the rest of the path within it; an empty block where it is in none."""
    parts = path.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        scope = graph.scopes.get(".".join(parts[:depth]))
        if scope and scope.kind == "block" and scope.source:
            return scope.source, ".".join(parts[depth:])
    return "", path


Layers = Mapping[int, Layer | None]
"""Each node as a member of nn.Sequential; None where it cannot be one."""


def region_tree(graph: Graph, members: Layers) -> Region:
    """The root region, with forms and flows set."""
    root = Region("", graph.scopes.get(""))
    for i, node in enumerate(graph.nodes):
        if node.op.name != "input":
            _insert(root, graph, i, node.name.split("."))
    readers = _readers(graph)
    for region in (*root.below(), root):
        _set_flows(region, graph, readers)
        if region is not root:
            region.form = _form(region, graph, members)
    _repeat_inputs(root, graph)
    root.inputs = graph.inputs
    root.outputs = tuple(output.value for output in graph.outputs)
    return root


def _insert(root: Region, graph: Graph, node: int, parts: list[str]) -> None:
    region = root
    region.nodes.append(node)
    for depth, part in enumerate(parts[:-1]):
        path = ".".join(parts[: depth + 1])
        child = region.children.setdefault(part, Region(path, graph.scopes.get(path)))
        assert isinstance(child, Region), f"{path} is both an op and a group of ops"
        child.nodes.append(node)
        region = child
    region.children[parts[-1]] = node


def _readers(graph: Graph) -> list[list[int]]:
    """The nodes that read each value; the number of nodes stands for the network's outputs."""
    readers: list[list[int]] = [[] for _ in graph.nodes]
    for i, node in enumerate(graph.nodes):
        for j in node.inputs:
            readers[j].append(i)
    for output in graph.outputs:
        readers[output.value].append(len(graph.nodes))
    return readers


def _set_flows(region: Region, graph: Graph, readers: list[list[int]]) -> None:
    inside = set(region.nodes)
    read = (j for i in region.nodes for j in graph.nodes[i].inputs)
    region.inputs = tuple(dict.fromkeys(j for j in read if j not in inside))
    _name_inputs(region, graph)
    region.outputs = tuple(i for i in region.nodes if any(reader not in inside for reader in readers[i]))


def _name_inputs(region: Region, graph: Graph) -> None:
    """Put a cell's inputs into the order of its declaration."""
    declared = {
        node: (position, name) for position, (name, node) in enumerate(region.scope.inputs if region.scope else ())
    }
    known = [declared.get(graph.nodes[value].name) for value in region.inputs]
    found = [(*place, value) for place, value in zip(known, region.inputs, strict=True) if place]
    if found and len(found) == len(region.inputs):
        region.input_names = tuple(name for _, name, _ in sorted(found))
        region.inputs = tuple(value for _, _, value in sorted(found))


def _repeat_inputs(root: Region, graph: Graph) -> None:
    """A cell that is called with one value for several inputs takes it several times, where other instances take
    several values: so they can share a class."""
    values = {node.name: i for i, node in enumerate(graph.nodes)}
    known = {(region.block, region.input_names) for region in root.below() if region.input_names}
    for region in root.below():
        declared = region.scope.inputs if region.scope and region.input_names else ()
        taken = [(name, values[node]) for name, node in declared if values.get(node) in region.inputs]
        if len(taken) > len(region.inputs) and (region.block, tuple(name for name, _ in taken)) in known:
            region.input_names = tuple(name for name, _ in taken)
            region.inputs = tuple(value for _, value in taken)


def _form(region: Region, graph: Graph, members: Layers) -> Form:
    if not is_convex(region.nodes, graph):
        return Form.OPEN
    if not all(name.isdigit() for name in region.children):
        return Form.CLASS
    return Form.CHAIN if _is_chain(region, graph, members) else Form.OPEN


def is_convex(nodes: list[int], graph: Graph) -> bool:
    """Whether nothing that flows out of the nodes flows back into them, so that they can run in one go."""
    inside, after = set(nodes), set[int]()
    for i in range(nodes[0], nodes[-1] + 1):
        reads_after = any(j in after for j in graph.nodes[i].inputs)
        if i in inside and reads_after:
            return False
        if i not in inside and (reads_after or any(j in inside for j in graph.nodes[i].inputs)):
            after.add(i)
    return True


def _is_chain(region: Region, graph: Graph, members: Layers) -> bool:
    """Whether the members, called 0, 1, 2, ..., hand one value on from each to the next."""
    if list(region.children) != [str(n) for n in range(len(region.children))] or len(region.inputs) != 1:
        return False
    value = region.inputs[0]
    for child in region.children.values():
        inputs, outputs = _member_flow(child, graph, members)
        if inputs != (value,) or len(outputs) != 1:
            return False
        value = outputs[0]
    return region.outputs == (value,)


def _member_flow(child: Region | int, graph: Graph, members: Layers) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(child, Region):
        return (child.inputs, child.outputs) if child.form is not Form.OPEN else ((), ())
    return (graph.nodes[child].inputs, (child,)) if members[child] else ((), ())
