"""The order of a drawing: which layer each box of a scope is in, and where in it, before anything has a size.

Layers and crossings are those of a layered drawing (Sugiyama, Tagawa and Toda, 1981); the order within the layers
comes from fast-sugiyama. A plan does not depend on the boxes' sizes, so that one serves whether they are open or
closed, and scopes that are wired alike share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

from archlang.draw.model import Box
from archlang.errors import missing_extra

Edge = tuple[int, int]
Bond = tuple[int, float, int, int]
"""An item that another one is wired to: how much the wire wants to be straight, and its port at either end."""
Bonds = tuple[Bond, ...]
Joint = tuple[int, int, int, int]
"""A wire as numbers: source, its port, target, its port; -1 is the border."""


@dataclass(frozen=True)
class Plan:
    """Items are numbered: the boxes, then the places where values enter, where they leave, and the *lanes*, which are
    the places where a wire passes a layer. All wires of a value share its lanes until they turn off.

    layers: the items of each, from the left. weights: how much an item wants its place. above, below: what it is wired
    to in the layers beside its own. wires: the items that each of the box's wires visits. trunks: the lanes of each
    value, longest first.
    """

    boxes: int
    entries: tuple[int, ...]
    exits: tuple[int, ...]
    layers: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...]
    above: tuple[Bonds, ...]
    below: tuple[Bonds, ...]
    wires: tuple[tuple[int, ...], ...]
    trunks: tuple[tuple[int, ...], ...]

    @property
    def items(self) -> int:
        return len(self.above)


def plan(box: Box) -> Plan:
    """The plan of what is inside a box. Raises OutsideError where the extra `draw` is missing."""
    _library()  # a plan may be known already
    places: dict[str | None, int] = {child.path: i for i, child in enumerate(box.children)} | {None: -1}
    joints = tuple((places[w.source], w.source_port, places[w.target], w.target_port) for w in box.wires)
    training = tuple(child.training and not box.training for child in box.children)
    return _plan(training, len(box.inputs), len(box.outputs), joints)


@lru_cache(maxsize=1024)
def _plan(training: tuple[bool, ...], inputs: int, outputs: int, joints: tuple[Joint, ...]) -> Plan:
    return _Planner(training, inputs, outputs).plan(joints)


@dataclass
class _Planner:
    """training: for each box, whether only training needs it. aside: the boxes off the main way."""

    training: tuple[bool, ...]
    inputs: int
    outputs: int
    aside: frozenset[int] = frozenset()
    ranks: list[int] = field(default_factory=list)
    edges: dict[Edge, Edge] = field(default_factory=dict)
    lanes: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    @property
    def boxes(self) -> int:
        return len(self.training)

    @property
    def entries(self) -> range:
        return range(self.boxes, self.boxes + self.inputs)

    @property
    def exits(self) -> range:
        return range(self.boxes + self.inputs, self.boxes + self.inputs + self.outputs)

    def plan(self, joints: Sequence[Joint]) -> Plan:
        ends = [self.ends(joint) for joint in joints]
        self.ranks = _ranks(self.exits.stop, ends, self.exits, set(self.entries))
        self.aside = _aside(ends, {i for i, training in enumerate(self.training) if training})
        reach: dict[tuple[int, int], int] = {}
        for (a, b), joint in zip(ends, joints, strict=True):
            reach[a, joint[1]] = max(reach.get((a, joint[1]), 0), self.ranks[b])
        for (source, port), last in reach.items():
            self.trunk(source, port, last)
        wires = tuple(self.wire(a, joint[1], b) for (a, b), joint in zip(ends, joints, strict=True))
        for wire, joint in zip(wires, joints, strict=True):
            for a, b in pairwise(wire):
                self.edges.setdefault((a, b), (joint[1], joint[3]))
        above, below = self.neighbours()
        trunks = sorted((tuple(lane) for lane in self.lanes.values() if lane), key=len, reverse=True)
        return Plan(
            self.boxes,
            tuple(self.entries),
            tuple(self.exits),
            self.layers(),
            tuple(self.weight(item) for item in range(len(self.ranks))),
            tuple(self.bonds(i, near) for i, near in enumerate(above)),
            tuple(self.bonds(i, near) for i, near in enumerate(below)),
            wires,
            tuple(trunks),
        )

    def ends(self, joint: Joint) -> Edge:
        source, source_port, target, target_port = joint
        return (
            source if source >= 0 else self.entries[source_port],
            target if target >= 0 else self.exits[target_port],
        )

    def trunk(self, source: int, port: int, last: int) -> None:
        """A lane for a value in each layer between its source and the last that takes it."""
        first = self.ranks[source] + 1
        self.lanes[source, port] = list(range(len(self.ranks), len(self.ranks) + last - first))
        self.ranks += range(first, last)

    def wire(self, source: int, port: int, target: int) -> tuple[int, ...]:
        passed = self.ranks[target] - self.ranks[source] - 1
        return (source, *self.lanes[source, port][:passed], target)

    def layers(self) -> tuple[tuple[int, ...], ...]:
        layers: list[list[int]] = [[] for _ in range(max(self.ranks, default=0) + 1)]
        for item in _order(len(self.ranks), list(self.edges)):
            layers[self.ranks[item]].append(item)
        return tuple(map(tuple, layers))

    def neighbours(self) -> tuple[list[list[int]], list[list[int]]]:
        above: list[list[int]] = [[] for _ in self.ranks]
        below: list[list[int]] = [[] for _ in self.ranks]
        for a, b in self.edges:
            above[b].append(a)
            below[a].append(b)
        return above, below

    def bonds(self, item: int, near: Sequence[int]) -> Bonds:
        return tuple((other, self.bond(item, other, len(near)), *self.ports(item, other)) for other in near)

    def ports(self, item: int, other: int) -> Edge:
        """The port of the wire between two items at either of them."""
        if (item, other) in self.edges:
            return self.edges[item, other]
        source, target = self.edges[other, item]
        return target, source

    def bond(self, item: int, other: int, neighbours: int) -> float:
        """How much a wire wants to be straight. Boxes hold each other and lanes follow, as beside a residual branch;
        where many meet, as after an inception's branches, all count; what is aside moves nothing."""
        if self.is_thin(item) and self.is_thin(other):
            return 4.0
        if other in self.aside and item not in self.aside:
            return 1e-3
        return 1e-4 if (self.is_thin(item) or self.is_thin(other)) and neighbours <= 2 else 1.0

    def is_thin(self, item: int) -> bool:
        return item >= self.boxes

    def weight(self, item: int) -> float:
        return 1e-4 if self.is_thin(item) else 1e-3 if item in self.aside else 1.0


def _ranks(count: int, edges: Sequence[Edge], exits: range, entries: set[int]) -> list[int]:
    """The layer of each item: as high as its inputs allow, but what has no inputs close to what it feeds; what leaves
    the box is in the last layer. Boxes are numbered in the order of evaluation."""
    into: dict[int, list[int]] = {}
    out: dict[int, list[int]] = {}
    for a, b in edges:
        into.setdefault(b, []).append(a)
        out.setdefault(a, []).append(b)
    ranks = [0] * count
    for item in range(count):
        if item not in exits:
            ranks[item] = max((ranks[a] + 1 for a in into.get(item, ())), default=0)
    if any(into.get(item) for item in exits):
        deepest = max(ranks) + 1
        for item in exits:
            ranks[item] = deepest
    for item in range(count):
        if item not in into and item in out and item not in entries:
            ranks[item] = max(0, min(ranks[b] for b in out[item]) - 1)
    return ranks


def _aside(edges: Sequence[Edge], training: set[int]) -> frozenset[int]:
    """The items off the main way: those of training, and where a way forks in two the shorter branch, such as the
    projection beside a residual branch."""
    into: dict[int, set[int]] = {}
    out: dict[int, set[int]] = {}
    for a, b in edges:
        into.setdefault(b, set()).add(a)
        out.setdefault(a, set()).add(b)
    items = sorted({*into, *out})
    length = dict.fromkeys(items, 0)
    for item in reversed(_sorted(items, into)):
        length[item] = max((length[b] + 1 for b in out.get(item, ())), default=0)
    found = set(training)
    for item in _sorted(items, into):
        ways = [
            (a in found, len(out[a]) == 2 and max(length[b] for b in out[a]) > length[item]) for a in into.get(item, ())
        ]
        if ways and all(aside or shorter for aside, shorter in ways):
            found.add(item)
    return frozenset(found)


def _sorted(items: Sequence[int], into: Mapping[int, set[int]]) -> list[int]:
    """The items such that each comes after what feeds it."""
    found: dict[int, None] = {}
    stack = list(reversed(items))
    while stack:
        item = stack[-1]
        missing = [a for a in into.get(item, ()) if a not in found]
        stack += missing
        if not missing:
            found[stack.pop()] = None
    return list(found)


def _library() -> Any:
    try:
        from fast_sugiyama import from_edges
    except ImportError as error:
        raise missing_extra("drawing", "draw") from error
    return from_edges


def _order(count: int, edges: list[Edge]) -> list[int]:
    """All items such that those of one layer come from left to right with few crossings."""
    order: dict[int, None] = {}
    if edges:
        layouts = _library()(edges, minimum_length=1, dummy_vertices=False, ranking_type="up", check_layout=False)
        components = [sorted(positions, key=lambda item: (item[1][0], item[0])) for positions, *_ in layouts]
        components.sort(key=lambda component: min(int(index) for index, _ in component))
        order = {int(index): None for component in components for index, _ in component}
    return [*order, *(item for item in range(count) if item not in order)]


def numbers(plan: Plan) -> Mapping[str, object]:
    """The plan as JSON."""
    return {
        "boxes": plan.boxes,
        "entries": plan.entries,
        "exits": plan.exits,
        "layers": plan.layers,
        "weights": plan.weights,
        "above": plan.above,
        "below": plan.below,
        "wires": plan.wires,
        "trunks": plan.trunks,
    }
