"""A program that is to be mutated: its tree, what its elaboration knows of it, and what its parts are called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from archlang.ir.graph import Graph
from archlang.ir.types import TensorType
from archlang.lower import Lowered, Memo, Module, default_net, lower
from archlang.search.mutations.normal import opened, shared_loader
from archlang.search.mutations.roles import Definition, Roles, Use, roles_of
from archlang.source import Source, Span
from archlang.syntax import parse, tree

JOINS = ("concat", "add", "mul", "mean")


@dataclass(frozen=True)
class Line:
    """A statement of a body. suite: it stands in. of: the definition. branch: it is one of a group that joins.
    nested: the groups and conditions around it, the innermost last."""

    stmt: tree.Stmt
    suite: tree.Suite
    of: Definition
    branch: bool = False
    nested: tuple[tree.Stmt, ...] = ()

    @property
    def index(self) -> int:
        return next(i for i, stmt in enumerate(self.suite.body) if stmt is self.stmt)


@dataclass(frozen=True)
class Place:
    """A part of the source that became a part of the graph. nodes: the indices of its nodes, first and one past last;
    None where they do not follow on each other."""

    span: Span
    path: str
    nodes: range


class Subject:
    """A program in its closed form, `text`, and all that mutations ask about it.

    Raises ArchError where it is none, or its net does not fit together.
    """

    def __init__(self, text: str, memo: Memo | None = None) -> None:
        self.text = text
        self.memo = memo or Memo()
        self.program = opened(parse(Source("<program>", text)))
        self.module: Module = shared_loader().link(self.program, None)

    @cached_property
    def lowered(self) -> Lowered:
        return lower(default_net(self.module), memo=self.memo)

    @property
    def graph(self) -> Graph:
        return self.lowered.graph

    @cached_property
    def roles(self) -> Roles:
        return roles_of(self.module)

    @property
    def name(self) -> str:
        return default_net(self.module).name

    @cached_property
    def uses(self) -> list[Use]:
        """The literals with a role that may matter: not those of blocks that no row or line came to."""
        return [use for use in self.roles.uses if not isinstance(use.where, tree.BlockDef) or self.is_used(use.where)]

    def is_used(self, item: Definition) -> bool:
        """Whether anything in the graph comes from a definition."""
        return any(_covers(item.span, place.span) for place in self.places)

    # the source

    @cached_property
    def definitions(self) -> list[Definition]:
        return [item for item in self.program.items if isinstance(item, Definition)]

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name that stands anywhere in the program."""
        return frozenset(n.id for item in self.program.items for n in item.walk() if isinstance(n, tree.Name))

    @cached_property
    def lines(self) -> list[Line]:
        """Every statement of what became a part of the network, but for heads that exist in training alone."""
        found: list[Line] = []
        for item in self.definitions:
            if isinstance(item, tree.BlockDef | tree.NetDef) and self.is_used(item):
                found += _lines(item.suite, item)
        return found

    @cached_property
    def line_of(self) -> dict[int, Line]:
        """The innermost statement of every node, by the node's identity."""
        found: dict[int, Line] = {}
        for line in self.lines:  # those around come first
            for node in line.stmt.walk():
                found[id(node)] = line
        return found

    # what became of it

    @cached_property
    def places(self) -> list[Place]:
        """The scopes and nodes that come from the text of this program."""
        graph, source = self.graph, self.program.source
        extents: dict[str, list[int]] = {}
        for i, node in enumerate(graph.nodes):
            path = node.name
            while path:
                known = extents.setdefault(path, [i, i + 1])
                known[1] = i + 1
                path = path.rpartition(".")[0]
        found = [
            Place(scope.span, path, range(*extents[path]))
            for path, scope in graph.scopes.items()
            if scope.span is not None and scope.span.source is source and path in extents
        ]
        found += [
            Place(node.span, node.name, range(i, i + 1))
            for i, node in enumerate(graph.nodes)
            if node.span is not None and node.span.source is source
        ]
        return sorted(found, key=lambda place: (place.span.start, -place.span.end))

    def places_in(self, node: tree.Node) -> list[Place]:
        """The parts of the graph that come from within `node`, in all instances."""
        start, end = node.span.start, node.span.end
        return [place for place in self.places if start <= place.span.start and place.span.end <= end]

    def called(self, node: tree.Node) -> str:
        """What a part of the program is called: as the module that it became, with its block's name before it."""
        line = self.line_of.get(id(node))
        if line is None:
            owner = next((item for item in self.definitions if any(each is node for each in item.walk())), None)
            return owner.name.id if owner is not None else self.name
        around = [place for place in self.places if _covers(place.span, node.span)]
        around = [place for place in around if _covers(line.stmt.span, place.span)]
        around = [place for place in around if self._op(place) != "flatten"] or around
        inside = self.places_in(node)
        found = max(around, key=lambda place: place.span.start, default=None) or next(iter(inside), None)
        found = found or next(iter(self.places_in(line.stmt)), None)
        return self._label(line, found)

    def _op(self, place: Place) -> str:
        """The op of a place that is one node: `gap -> linear` flattens, but is called as its linear layer."""
        node = self.graph.nodes[place.nodes.start]
        return node.op.name if node.name == place.path else ""

    def _label(self, line: Line, place: Place | None) -> str:
        owner = line.of.name.id
        if place is None:
            return f"{owner}, line {line.stmt.span.line}" if line.of is not self.definitions[-1] else owner
        if isinstance(line.of, tree.NetDef):
            return place.path
        return f"{owner}.{place.path.rpartition('.')[2]}"

    def is_last(self, node: tree.Node) -> bool:
        """Whether what comes out of a part is what the network gives, such as the scores of a classifier."""
        given = {output.value for output in self.graph.outputs}
        return any(place.nodes.stop - 1 in given for place in self.places_in(node))

    def types(self, node: tree.Node) -> tuple[TensorType, TensorType] | None:
        """What comes into the first instance of a part, and what goes out; None where it became nothing."""
        places = self.places_in(node)
        if not places:
            return None
        first = min(places, key=lambda place: place.nodes.start)
        prefix = first.path.rpartition(".")[0]
        mine = [place for place in places if place.path.rpartition(".")[0] == prefix] or [first]
        begin, end = first.nodes.start, max(place.nodes.stop for place in mine)
        graph = self.graph
        reads = [i for node_ in graph.nodes[begin:end] for i in node_.inputs if i < begin]
        return (graph.nodes[reads[0]].type if reads else graph.nodes[begin].type), graph.nodes[end - 1].type


def _covers(outer: Span, inner: Span) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


def _lines(
    suite: tree.Suite, of: Definition, branch: bool = False, nested: tuple[tree.Stmt, ...] = ()
) -> Iterator[Line]:
    for stmt in suite.body:
        yield Line(stmt, suite, of, branch, nested)
        if isinstance(stmt, tree.Aux):
            continue
        joins = isinstance(stmt, tree.Group) and group_name(stmt) in JOINS
        passes_on = branch and isinstance(stmt, tree.If | tree.For)
        for inner in _suites(stmt):
            yield from _lines(inner, of, joins or passes_on, (*nested, stmt))


def _suites(stmt: tree.Stmt) -> list[tree.Suite]:
    if isinstance(stmt, tree.If):
        return [case.suite for case in stmt.cases]
    suite = getattr(stmt, "suite", None)
    return [suite] if isinstance(suite, tree.Suite) else []


def group_name(stmt: tree.Group) -> str:
    """`residual` of `residual(drop=0.1) -> relu:`."""
    head = stmt.head
    while isinstance(head, tree.Pipe):
        head = head.left
    name = head.function if isinstance(head, tree.Call) else head
    return name.id if isinstance(name, tree.Name) else ""
