"""The flat IR: typed SSA. A node makes one value, which is named by the node's index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from archlang.ir.types import TensorType
from archlang.ops.base import Op
from archlang.records import record
from archlang.source import Span


@record(frozen=True, slots=True)
class Node:
    """One op and the value that it makes.

    name: the dotted module path; parameters are called `name.weight` and so on, in every backend.
    fused: elementwise ops and normalisations that a pass has made part of this node, in order of evaluation; they
    keep their own names, and so their own parameters. `type` is the value's type after them.
    """

    op: Op
    inputs: tuple[int, ...]
    type: TensorType
    name: str
    span: Span | None = None
    fused: tuple[Node, ...] = ()


@record(frozen=True, slots=True)
class Output:
    """A result of the network. aux: exists in training only (GoogLeNet's auxiliary classifiers)."""

    name: str
    value: int
    aux: bool = False


@record(frozen=True, slots=True)
class Scope:
    """A part of the source that became a part of the Graph: all nodes whose name begins with its path.

    kind: `block` (an instance of a block or cell), `repeat` (numbered instances below it), `sequence` (numbered ops
    below it: a projection), `stage` (steps under a name).
    source: the block's name. arguments: what it was called with. names: the numbers that its body gave names to.
    label: how a diagnostic calls it. inputs: of a cell, the name of each and the node whose value it is.
    """

    kind: str
    source: str = ""
    arguments: tuple[tuple[str, Any], ...] = ()
    names: tuple[tuple[str, Any], ...] = ()
    label: str = ""
    doc: str = ""
    span: Span | None = None
    inputs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Graph:
    """A network: nodes in order of evaluation, each after its inputs.

    scopes: path -> Scope for every dotted prefix of a node's name that stands for a part of the source.
    """

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    scopes: Mapping[str, Scope] = field(default_factory=dict)
    doc: str = ""

    @property
    def inputs(self) -> tuple[int, ...]:
        """The values that are inputs of the network."""
        return tuple(i for i, node in enumerate(self.nodes) if node.op.name == "input")

    def input_types(self, node: Node) -> tuple[TensorType, ...]:
        return tuple(self.nodes[i].type for i in node.inputs)

    def uses(self) -> list[int]:
        """How often each value is read, outputs counted."""
        counts = [0] * len(self.nodes)
        for node in self.nodes:
            for i in node.inputs:
                counts[i] += 1
        for output in self.outputs:
            counts[output.value] += 1
        return counts

    def modules(self) -> Iterator[tuple[Node, tuple[TensorType, ...]]]:
        """Every node and every fused one, with the types of its inputs."""
        for node in self.nodes:
            yield node, self.input_types(node)
            for part in node.fused:
                yield part, (node.type,)

    @property
    def digest(self) -> str:
        """Equal exactly for equal networks: independent of names, places in the source and the order of evaluation."""
        return _digest(self)


def op_text(op: Op) -> str:
    """The op with the attributes that are not at their default: `conv{c=32, s=(2, 2)}`."""
    parts = []
    for f in fields(op):
        value = getattr(op, f.name)
        if value != f.default:
            parts.append(f"{f.metadata.get('short', f.name)}={value!r}")
    return f"{op.name}{{{', '.join(parts)}}}" if parts else op.name


def _digest(graph: Graph) -> str:
    """Hash of the nodes numbered in depth-first order from the inputs and outputs, each after its inputs."""
    import hashlib  # takes a while to load, and few need a digest

    number: dict[int, int] = {}
    lines: list[str] = []
    for root in (*graph.inputs, *(output.value for output in graph.outputs)):
        stack = [root]
        while stack:
            i = stack[-1]
            if i in number:
                stack.pop()
                continue
            missing = [j for j in graph.nodes[i].inputs if j not in number]
            if missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            number[i] = len(number)
            node = graph.nodes[i]
            ops = " + ".join(op_text(part.op) for part in (node, *node.fused))
            lines.append(f"{ops}({','.join(str(number[j]) for j in node.inputs)})")
    lines += [f"output {number[output.value]} {output.aux}" for output in graph.outputs]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def rewrite(graph: Graph, step: Callable[[int, Node, list[int]], Node | int | None]) -> Graph:
    """A new graph, made node by node; the frame of most passes.

    step(index, node, new) sees the old node, and the map from old values to new ones so far. It returns a node with
    *old* inputs to keep (or change) it, an old value to stand in its place, or None to drop it.
    """
    new: list[int] = []
    nodes: list[Node] = []
    for i, node in enumerate(graph.nodes):
        result = step(i, node, new)
        if result is None:
            new.append(-1)
        elif isinstance(result, int):
            new.append(new[result])
        else:
            inputs = tuple(new[j] for j in result.inputs)
            assert -1 not in inputs, f"{node.name} reads a value that was dropped"
            new.append(len(nodes))
            if inputs != result.inputs:  # `replace` takes three times as long
                result = Node(result.op, inputs, result.type, result.name, result.span, result.fused)
            nodes.append(result)
    outputs = tuple(replace(output, value=new[output.value]) for output in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs)
