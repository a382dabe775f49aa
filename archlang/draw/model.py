"""Graph -> a tree of boxes: what a drawing shows, before anything has a place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from archlang.cost import cost
from archlang.draw import labels
from archlang.ir.graph import Graph, Node, Scope, op_text
from archlang.ops.base import Cost, Op
from archlang.passes.fuse import fuse
from archlang.source import Span

FRAMES = ("repeat", "sequence", "stage")
"""Kinds of scope that are a frame around their steps; a block is a box that opens."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A value that goes from one box to a sibling. An end that is None is the border of the box around them.

    ports: which output of the source, or of the border's inputs (source None), and which input of the target, or of
    the border's outputs (target None) it is.
    """

    source: str | None
    target: str | None
    source_port: int = 0
    target_port: int = 0


@dataclass(frozen=True)
class Detail:
    """What a closer look at a box shows.

    ops: the ops with all attributes that are not at their default. takes: the shapes of the inputs. arrays: its
    parameters with their shapes, PyTorch's layout. place, offset, line: where it is written, and the text there.
    """

    ops: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    arrays: tuple[str, ...] = ()
    place: str = ""
    offset: int = 0
    line: str = ""


@dataclass(frozen=True)
class Box:
    """An op with its norm and activation, an instance of a block, a frame, or the network.

    path: the scope's path or the node's name, unique in a drawing. kind: of the op, or of the scope, or `net`.
    title, note: the first line of text, and the beginning of the second. shape: of what it makes.
    cost: of all that it stands for. names: the nodes that it stands for. inputs, outputs: the values that cross its
    border, in order. look: the ops of a box without children; equal for boxes that are written equally.
    slots: of a cell, the name of each input.

    count: how many in a chain it stands for, the last of which is shown; `each` is then a frame with all of them.
    carry: what becomes of the inputs from one of them to the next, where there are several. earlier: how many of the
    outputs, the last ones, are results of the one before the last, or of one still before it.
    training: whether only training needs it (an auxiliary head).
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
    look: tuple[Op, ...] = ()
    detail: Detail = Detail()
    slots: tuple[str, ...] = ()
    training: bool = False
    children: tuple[Box, ...] = ()
    wires: tuple[Wire, ...] = ()
    count: int = 1
    carry: str = ""
    earlier: int = 0
    each: Box | None = None

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
    found = cost(graph)
    merged = fuse(graph, _rides)
    build = _Builder(merged, {layer.name: layer.cost for layer in found.layers})
    net = build.box("", "net", name or graph.name, range(len(merged.nodes)))
    return build.with_outputs(replace(net, cost=found.total))


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
    values: Mapping[str, int] = field(init=False)
    needed: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.readers = [[] for _ in self.graph.nodes]
        for i, node in enumerate(self.graph.nodes):
            for j in node.inputs:
                self.readers[j].append(i)
        for output in self.graph.outputs:
            self.readers[output.value].append(len(self.graph.nodes))
        self.scopes = _contiguous(self.graph)
        self.varying = _varying(self.scopes.values())
        self.values = {part.name: i for i, node in enumerate(self.graph.nodes) for part in (node, *node.fused)}
        self.needed = _needed(self.graph)

    @property
    def named_inputs(self) -> bool:
        """Whether the inputs' names matter: a single one is just the input."""
        return len(self.graph.inputs) > 1

    def box(self, path: str, kind: str, title: str, members: Sequence[int], scope: Scope | None = None) -> Box:
        """The box of the nodes `members`, with its children."""
        inside = set(members)
        used = tuple(dict.fromkeys(j for i in members for j in self.graph.nodes[i].inputs if j not in inside))
        made = tuple(i for i in members if any(j not in inside for j in self.readers[i]))
        children = self.children(path, members)
        box = Box(
            path,
            kind,
            title,
            self.arguments(scope) if scope and scope.kind == "block" else "",
            str(self.graph.nodes[made[-1] if made else members[-1]].type) if members else "",
            sum((child.cost for child in children), Cost()),
            tuple(name for child in children for name in child.names),
            used,
            made,
            slots=self.slots(scope, used) if scope else (),
            training=all(child.training for child in children),
            children=children,
            wires=wires(children, used, made),
        )
        return replace(box, detail=self.detail(scope.span if scope else None, used))

    def with_outputs(self, net: Box) -> Box:
        """The network's box with a terminal for each of its outputs."""
        owner = {value: (child.path, port) for child in net.children for port, value in enumerate(child.outputs)}
        children, inner = list(net.children), [wire for wire in net.wires if wire.target is not None]
        for output in self.graph.outputs:
            path = f"{output.name} (output)"  # unlike any node's name
            shape, note = str(self.graph.nodes[output.value].type), "in training only" if output.aux else ""
            end = Box(path, "terminal", output.name, note, shape, Cost(), (), (output.value,), (), training=output.aux)
            children.append(replace(end, detail=Detail(takes=(shape,))))
            source, port = owner[output.value]
            inner.append(Wire(source, path, port, 0))
        return replace(net, children=tuple(children), wires=tuple(inner), outputs=())

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
            return self.box(path, "block", scope.source or path, members, scope)
        frame = self.box(path, scope.kind, path.rpartition(".")[2], members, scope)
        return frame.children[0] if len(frame.children) == 1 else frame

    def arguments(self, scope: Scope) -> str:
        """The arguments that set the instances of a block apart, or the first three where nothing does."""
        simple = [(name, value) for name, value in scope.arguments if isinstance(value, int | str | tuple)]
        telling = [item for item in simple if item[0] in self.varying[scope.source]] or simple[:3]
        return ", ".join(f"{name}={_short(value)}" for name, value in telling[:4])

    def slots(self, scope: Scope, used: Sequence[int]) -> tuple[str, ...]:
        """What a cell calls the values that enter it; the first name where one value enters twice."""
        names = {self.values.get(value): name for name, value in reversed(scope.inputs)}
        return tuple(names.get(value, "") for value in used)

    def detail(self, span: Span | None, used: Sequence[int]) -> Detail:
        takes = tuple(str(self.graph.nodes[value].type) for value in used)
        return replace(_place(span), takes=takes)

    def leaf(self, i: int) -> Box:
        node = self.graph.nodes[i]
        parts = (node, *node.fused)
        types = self.graph.input_types(node)
        used = tuple(dict.fromkeys(node.inputs))
        detail = replace(
            self.detail(node.span, used),
            ops=tuple(op_text(part.op) for part in parts),
            takes=tuple(str(type_) for type_ in types),
            arrays=tuple(_arrays(node, lambda part: types if part is node else (node.type,))),
        )
        return Box(
            node.name,
            labels.kind(node.op),
            node.name if node.op.name == "input" and self.named_inputs else labels.title(node.op, types),
            " + ".join(labels.title(part.op, types) for part in node.fused),
            str(node.type),
            sum((self.costs.get(part.name, Cost()) for part in parts), Cost()),
            tuple(part.name for part in parts),
            used,
            (i,) if self.readers[i] else (),
            look=tuple(part.op for part in parts),
            detail=detail,
            training=i not in self.needed,
        )


def _arrays(node: Node, types: Callable[[Node], tuple[Any, ...]]) -> Iterator[str]:
    """`weight 64x3x7x7` for each array of a node and of what is fused into it."""
    for part in (node, *node.fused):
        prefix = "" if part is node else f"{part.op.name}."
        for name, param in part.op.params(*types(part)).items():
            yield f"{prefix}{name} {'x'.join(map(str, param.shape))}"


def _place(span: Span | None) -> Detail:
    """The first line of the place in the source."""
    if span is None:
        return Detail()
    place = f"{span.source.name}:{span.line}"
    return Detail(place=place, offset=span.start, line=span.source.line(span.line).strip())


def _short(value: Any) -> str:
    return str(value) if len(str(value)) <= 16 else str(value)[:15] + "…"


def _needed(graph: Graph) -> frozenset[int]:
    """The nodes that an output reads, auxiliary ones aside; all where there are only those."""
    main = [output.value for output in graph.outputs if not output.aux]
    stack = main or [output.value for output in graph.outputs]
    found: set[int] = set()
    while stack:
        i = stack.pop()
        if i not in found:
            found.add(i)
            stack += graph.nodes[i].inputs
    return frozenset(found)


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


def _varying(scopes: Iterable[Scope]) -> dict[str, frozenset[str]]:
    """Block -> the arguments that are not the same in all of its instances."""
    seen: dict[str, dict[str, set[str]]] = {}
    for scope in scopes:
        values = seen.setdefault(scope.source, {})
        for name, value in scope.arguments:
            values.setdefault(name, set()).add(str(value))
    return {source: frozenset(n for n, found in values.items() if len(found) > 1) for source, values in seen.items()}


def wires(children: Sequence[Box], used: Sequence[int], made: Sequence[int]) -> tuple[Wire, ...]:
    """The wires inside a box whose border the values `used` and `made` cross; a value may go straight through."""
    owner = {value: (child.path, port) for child in children for port, value in enumerate(child.outputs)}
    entry = {value: (None, port) for port, value in enumerate(used)}
    source = entry | owner
    found = [
        Wire(source[value][0], child.path, source[value][1], port)
        for child in children
        for port, value in enumerate(child.inputs)
    ]
    ends = [Wire(source[value][0], None, source[value][1], port) for port, value in enumerate(made)]
    return tuple(found + ends)
