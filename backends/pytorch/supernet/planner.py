"""One class for each block of a space: its constructor makes the largest of everything, its forward runs what is
active."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from archlang.backends.pytorch.supernet.builder import Builder
from archlang.backends.pytorch.supernet.candidates import Candidate
from archlang.backends.pytorch.supernet.dynamics import Dynamics
from archlang.backends.pytorch.supernet.elastic import Rigid
from archlang.backends.pytorch.supernet.planned import Planned, base, first_sites
from archlang.backends.pytorch.supernet.union import Column, Conflict, Rows, collected, united
from archlang.backends.source.groups import class_name, groups
from archlang.backends.source.layer import Layer
from archlang.backends.source.names import (
    RESERVED_CLASSES,
    pascal_case,
    unique,
    unique_class,
)
from archlang.backends.source.regions import Region
from archlang.errors import fail
from archlang.ir.graph import Graph, Node, Scope
from archlang.supernet.union import Union as SiteUnion


class Planner:
    """union: of the sites. naming: see naming.Naming."""

    def __init__(self, candidates: Sequence[Candidate], union: SiteUnion, naming: Any) -> None:
        self.candidates, self.naming = candidates, naming
        self.order, self.sites = first_sites(union), union.sites
        name = candidates[0].graph.name
        self.root, self.graph = united_tree(candidates)
        self.planned: list[Planned] = []
        self.layers: dict[str, Layer] = {}
        self.class_of: dict[str, Planned] = {}
        self.callers: dict[str, tuple[Rows, Dynamics]] = {}
        self.names = {*RESERVED_CLASSES}
        self.network = unique(pascal_case(name), self.names)
        self.names.add(self.network)

    def run(self) -> list[Planned]:
        for group in groups(self.root, self.graph):
            self._plan([region.path for region in group], group[0])
        self._finish([""], self.root, self.network)
        return self.planned

    def _plan(self, paths: list[str], region: Region) -> None:
        try:
            self._finish(paths, region)
        except Conflict as conflict:
            split = self._split(paths)
            if len(split) == 1:
                raise self._refused(paths[0], str(conflict)) from conflict
            for part in split:
                self._plan(part, region)

    def _refused(self, path: str, reason: str) -> Exception:
        scopes = (c.classes[path].scope for c in self.candidates if path in c.classes)
        span = next((scope.span for scope in scopes if scope), None)
        return fail("E0803", f"readable source cannot be written for `{path or self.network}`: {reason}", span)

    def _split(self, paths: list[str]) -> list[list[str]]:
        found: dict[Any, list[str]] = {}
        for path in paths:
            rows = collected([path], self.candidates)
            names = frozenset((name, self._kind(layer)) for row in rows.rows for name, (layer, _) in row.items.items())
            found.setdefault((names, len(rows.rows[0].channels)), []).append(path)
        return list(found.values())

    def _kind(self, layer: Layer) -> Any:
        return self.layers[layer.module].kind if layer.kind.startswith("class ") else layer.kind

    # ---- a class ----

    def _finish(self, paths: list[str], region: Region, network: str = "") -> None:
        rows = collected(paths, self.candidates)
        union = united(rows, self.order)
        name = network or unique_class(self._class_name(region), self.names)
        builder = Builder(self, name, rows, union)
        try:
            planned = builder.build()
        except Rigid as rigid:
            raise self._refused(paths[0], str(rigid)) from rigid
        self.names.add(name)
        self.planned.append(planned)
        planned.arguments = [] if network else self._passable(planned)
        for k, path in enumerate(planned.paths):
            self.class_of[path] = planned
            arguments = tuple(parameter.argument(k) for parameter in planned.plan.parameters)
            self.layers[path] = Layer(
                f"class {name}", name, arguments, stateful=_stateful(planned), outputs=len(union.outputs)
            )

    def _class_name(self, region: Region) -> str:
        name = class_name(region, self.graph)
        return f"{name}Block" if name == self.network else name

    # ---- who tells ----

    def _passable(self, planned: Planned) -> list[str]:
        """The settings that every caller can compute from what it knows itself."""
        names = [name for name, known in planned.dynamics.used.items() if known.kind == "setting"]
        return [name for name in names if all(self._knows(path, planned, name) for path in planned.paths)]

    def _knows(self, path: str, planned: Planned, name: str) -> bool:
        parent = path.rpartition(".")[0]
        local = path.rpartition(".")[2]
        if parent not in self.callers:
            there = any(parent in candidate.classes for candidate in self.candidates)
            rows = collected([parent], self.candidates) if there else Rows()
            self.callers[parent] = (rows, base(rows))
        rows, known = self.callers[parent]
        if not any(local in row.items for row in rows.rows):
            return False
        column = self.mapped(rows, parent, path, planned, name)
        return column is not None and known.find(column) is not None

    def mapped(self, rows: Rows, parent: str, path: str, planned: Planned, name: str) -> Column | None:
        """A variable of a class by the rows of its caller, None where those do not say it."""
        column: list[Any] = [None] * len(rows.rows)
        for (where, number), row in rows.at.items():
            inner = planned.rows.at.get((path, number)) if where == parent else None
            if inner is None:
                continue
            value = planned.dynamics.known[name].column[inner]
            if column[row] is not None and column[row] != value:
                return None
            column[row] = value
        return tuple(column)


def _stateful(planned: Planned) -> bool:
    return any(attribute.layer.stateful for attribute in planned.plan.body.attributes)


def united_tree(candidates: Sequence[Candidate]) -> tuple[Region, Graph]:
    """The regions of all candidates in one tree, and a graph of all their nodes, for names."""
    nodes: dict[str, int] = {}
    listed: list[Node] = []
    scopes: dict[str, Scope] = {}
    root = Region("")
    for candidate in candidates:
        scopes = {**candidate.graph.scopes, **scopes}
        for node in candidate.graph.nodes:
            if node.name not in nodes:
                nodes[node.name] = len(listed)
                listed.append(node)
        _merge(root, candidate.root, candidate, nodes)
    return root, Graph(candidates[0].graph.name, tuple(listed), (), scopes, candidates[0].graph.doc)


def _merge(into: Region, region: Region, candidate: Candidate, nodes: Mapping[str, int]) -> None:
    into.scope, into.form = into.scope or region.scope, region.form
    for name, child in region.children.items():
        if isinstance(child, Region):
            inner = into.children.setdefault(name, Region(child.path))
            assert isinstance(inner, Region)
            _merge(inner, child, candidate, nodes)
        else:
            into.children.setdefault(name, nodes[candidate.graph.nodes[child].name])
    into.nodes = list(_nodes(into))


def _nodes(region: Region) -> Iterator[int]:
    for child in region.children.values():
        if isinstance(child, Region):
            yield from child.nodes
        else:
            yield child
