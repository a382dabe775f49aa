"""Places the boxes: each open box is laid out on its own, top to bottom, and is one big box in the one around it.

The layers and the order within each come from fast-sugiyama (Sugiyama, Tagawa and Toda, 1981). Its distances are for
nodes of one size, so the coordinates are set here: each layer in turn comes as near to its neighbours' places, in
least squares, as the order and the widths allow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise, zip_longest
from typing import TYPE_CHECKING

from archlang.draw.model import Box, Wire
from archlang.errors import missing_extra

if TYPE_CHECKING:
    Point = tuple[float, float]
    Order = list[list["_Item"]]

LINE, NOTE_LINE = 13.0, 11.0
"""Sizes of the two fonts in px."""
PAD, GAP, LAYER_GAP, HEAD, BORDER_GAP = 12.0, 22.0, 24.0, 24.0, 14.0
LANE = 10.0
"""Width of a wire that passes through a layer."""
_SWEEPS = 6


@dataclass(frozen=True)
class Route:
    """A wire as points from the bottom of one box to the top of another; arrow: whether it ends at a box."""

    points: tuple[tuple[float, float], ...]
    arrow: bool


@dataclass(frozen=True)
class Placed:
    """A box with its upper left corner in the one around it. children, routes: of a box that is open.

    entries, exits: where the wires cross the top and the bottom border, from the left, one for each value.
    """

    box: Box
    x: float
    y: float
    width: float
    height: float
    children: tuple[Placed, ...] = ()
    routes: tuple[Route, ...] = ()
    entries: tuple[float, ...] = ()
    exits: tuple[float, ...] = ()

    @property
    def is_open(self) -> bool:
        return bool(self.children)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """An upper estimate, in px, that holds for the usual sans-serif fonts."""
    return sum(_width(char) for char in text) * size * (1.06 if bold else 1.0)


def _width(char: str) -> float:
    if char in "il.,'|:;!()[]/ jtfrI":
        return 0.36
    return 0.92 if char in "mwMW@%" else 1.0 if ord(char) > 0x2E7F else 0.72 if char.isupper() else 0.61


def place(box: Box, depth: int) -> Placed:
    """The drawing of the network's box; blocks inside fewer than `depth` others are open. Raises OutsideError."""
    return _open(box, depth)


def label(box: Box) -> str:
    """The first line: the title, and how often the box is repeated."""
    return f"{box.title} x {box.count}" if box.count > 1 else box.title


def second_line(box: Box) -> str:
    return " · ".join(part for part in (box.note, box.shape) if part)


def _closed(box: Box) -> Placed:
    lines = text_width(label(box), LINE, bold=True), text_width(second_line(box), NOTE_LINE)
    return _boxed(box, max(72.0, max(lines) + 2 * PAD), 42.0)


def _boxed(box: Box, width: float, height: float) -> Placed:
    middle = width / 2
    entries = _spread(len(box.inputs), middle, min(18.0, width / (len(box.inputs) + 1)))
    return Placed(box, 0, 0, width, height, entries=entries, exits=(middle,) * len(box.outputs))


def _spread(count: int, middle: float, step: float) -> tuple[float, ...]:
    return tuple(middle + (i - (count - 1) / 2) * step for i in range(count))


@dataclass(eq=False)
class _Item:
    """What stands in a layer: a box, the place where a value crosses the border, or a wire that passes."""

    index: int
    rank: int
    width: float
    placed: Placed | None = None
    x: float = 0.0
    above: list[_Item] = field(default_factory=list)
    below: list[_Item] = field(default_factory=list)

    @property
    def is_lane(self) -> bool:
        return self.placed is None


def _open(box: Box, depth: int) -> Placed:
    """A box with its children in it."""
    inner = [_open(c, depth - (c.kind == "block")) if opens(c, depth) else _closed(c) for c in box.children]
    scope = _Scope(box, _even(inner))
    layers = scope.layers()
    _coordinates(layers)
    _straighten(scope.lanes.values(), layers)
    return scope.finish(layers)


def opens(box: Box, depth: int) -> bool:
    """Whether the children of a box are shown, where blocks may open `depth` deep."""
    return bool(box.children) and (box.is_frame or depth > 0)


def _even(inner: list[Placed]) -> list[Placed]:
    """Closed boxes of one width, which reads better; joins and terminals stay small."""
    small = ("join", "terminal", "activation", "norm")
    plain = [p.width for p in inner if not p.is_open and p.box.kind not in small]
    width = max(plain, default=0.0)
    return [p if p.is_open or p.box.kind in small else _boxed(p.box, width, p.height) for p in inner]


class _Scope:
    """The inside of one box: its items, and the wires between them as pairs of items."""

    def __init__(self, box: Box, inner: list[Placed]) -> None:
        self.box = box
        self.items = [_Item(i, 0, placed.width, placed) for i, placed in enumerate(inner)]
        self.of = {placed.box.path: item for placed, item in zip(inner, self.items, strict=True)}
        self.entries = [self._port() for _ in box.inputs]
        self.exits = [self._port() for _ in box.outputs]

    def _port(self) -> _Item:
        item = _Item(len(self.items), 0, LANE)
        self.items.append(item)
        return item

    def ends(self, wire: Wire) -> tuple[_Item, _Item]:
        source = self.of[wire.source] if wire.source is not None else self.entries[wire.source_port]
        target = self.of[wire.target] if wire.target is not None else self.exits[wire.target_port]
        return source, target

    def edges(self) -> list[tuple[int, int]]:
        return list(dict.fromkeys((a.index, b.index) for a, b in map(self.ends, self.box.wires)))

    def layers(self) -> Order:
        """The items by layer, from the left, with an item in each layer that a wire passes."""
        edges = self.edges()
        ranks = _ranks(len(self.items), edges, {item.index for item in self.exits})
        for item in self.items:
            item.rank = ranks[item.index]
        self.lanes: dict[tuple[int, int], list[_Item]] = {}
        for a, b in edges:
            self._route(self.items[a], self.items[b])
        order = _order([item.rank for item in self.items], self._short_edges())
        layers: Order = [[] for _ in range(max((item.rank for item in self.items), default=0) + 1)]
        for index in order:
            layers[self.items[index].rank].append(self.items[index])
        return layers

    def _route(self, a: _Item, b: _Item) -> None:
        chain = [a]
        for rank in range(a.rank + 1, b.rank):
            lane = self._port()
            lane.rank = rank
            chain.append(lane)
        chain.append(b)
        self.lanes[a.index, b.index] = chain[1:-1]
        for upper, lower in pairwise(chain):
            upper.below.append(lower)
            lower.above.append(upper)

    def _short_edges(self) -> list[tuple[int, int]]:
        return [(item.index, other.index) for item in self.items for other in item.below]

    def finish(self, layers: Order) -> Placed:
        """The box with the children at their places, the border around them, and the wires drawn."""
        left = min(item.x - item.width / 2 for layer in layers for item in layer)
        right = max(item.x + item.width / 2 for layer in layers for item in layer)
        framed = self.box.kind != "net"
        head = _header(self.box) if framed else 0.0
        middle, half = self._middle(left, right)
        width = max(2 * half + 2 * PAD, head + 2 * PAD)
        shift = width / 2 - middle
        tops, bottoms = _heights(layers, HEAD if framed else PAD)
        places = {
            item.index: _moved(item.placed, item.x + shift, tops[item.rank], bottoms[item.rank])
            for layer in layers
            for item in layer
            if item.placed
        }
        for item in self.items:
            item.x += shift
        height = bottoms[-1] + (0.0 if self.exits else BORDER_GAP)
        routes = self._routes(places, tops, bottoms, height)
        entries, exits = tuple(item.x for item in self.entries), tuple(item.x for item in self.exits)
        children = tuple(places[item.index] for item in self.of.values())
        return Placed(self.box, 0, 0, width, height, children, routes, entries, exits)

    def _middle(self, left: float, right: float) -> tuple[float, float]:
        """The middle of the box and half the width of what is in it. Where it costs little room, the wires that enter
        and leave are in the middle, so that they go straight down through a chain of open boxes."""
        half = (right - left) / 2
        ports = [item.x for item in (*self.entries, *self.exits)]
        off = sum(ports) / len(ports) - (left + right) / 2 if ports else 0.0
        off = max(-0.3 * half, min(0.3 * half, off))
        return (left + right) / 2 + off, half + abs(off)

    def _routes(
        self, places: Mapping[int, Placed], tops: list[float], bottoms: list[float], height: float
    ) -> tuple[Route, ...]:
        landing = self._landings(places)
        routes = []
        for wire in self.box.wires:
            a, b = self.ends(wire)
            source, target = places.get(a.index), places.get(b.index)
            start = (source.x + source.exits[wire.source_port], source.y + source.height) if source else (a.x, HEAD)
            end = (landing[wire], target.y) if target else (b.x, height)
            middle = [p for lane in self.lanes[a.index, b.index] for p in _through(lane, tops, bottoms)]
            before = [] if source else list(_through(a, tops, bottoms))
            after = [] if target else list(_through(b, tops, bottoms))
            routes.append(Route((start, *before, *middle, *after, end), target is not None))
        return tuple(routes)

    def _landings(self, places: Mapping[int, Placed]) -> dict[Wire, float]:
        """Where each wire meets its target's top: open boxes have a place for each, closed ones take them in the
        order in which they come, as steeply as their distances allow."""
        found: dict[Wire, float] = {}
        arriving: dict[str, list[Wire]] = {}
        for wire in self.box.wires:
            if wire.target is not None:
                arriving.setdefault(wire.target, []).append(wire)
        for path, wires in arriving.items():
            target = places[self.of[path].index]
            if target.is_open:
                found |= {wire: target.x + target.entries[wire.target_port] for wire in wires}
                continue
            wires.sort(key=lambda wire: self._leaves(wire, places))
            xs = [self._leaves(wire, places) for wire in wires]
            weights = [0.02 if self._last(wire).is_lane else 1.0 for wire in wires]
            found |= dict(zip(wires, _along_top(target, xs, weights), strict=True))
        return found

    def _leaves(self, wire: Wire, places: Mapping[int, Placed]) -> float:
        """Where the last piece of a wire begins."""
        item = self._last(wire)
        source = places.get(item.index)
        return source.x + source.exits[wire.source_port] if source else item.x

    def _last(self, wire: Wire) -> _Item:
        a, b = self.ends(wire)
        lanes = self.lanes[a.index, b.index]
        return lanes[-1] if lanes else a


def _along_top(target: Placed, xs: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Places along the top of a box, near the given ones and not too near to each other."""
    step = min(18.0, target.width / (len(xs) + 1))
    margin = min(step, 14.0)
    low, high = target.x + margin, target.x + target.width - margin
    spaced = _spaced([min(max(x, low), high) for x in xs], weights, [step] * (len(xs) - 1))
    rest = len(xs) - 1
    return [min(max(x, low + i * step), high - (rest - i) * step) for i, x in enumerate(spaced)]


def _through(lane: _Item, tops: list[float], bottoms: list[float]) -> tuple[Point, Point]:
    return (lane.x, tops[lane.rank]), (lane.x, bottoms[lane.rank])


def _moved(placed: Placed, x: float, top: float, bottom: float) -> Placed:
    y = (top + bottom - placed.height) / 2
    return replace(placed, x=x - placed.width / 2, y=y)


def _header(box: Box) -> float:
    return text_width(label(box), LINE, bold=True) + text_width(f"   {second_line(box)}", NOTE_LINE)


def _heights(layers: Order, top: float) -> tuple[list[float], list[float]]:
    """Top and bottom of each layer; a layer without a box, such as that of the border, is flat and close."""
    tops, bottoms = [], []
    for layer, below in zip_longest(layers, layers[1:]):
        tops.append(top)
        bottoms.append(top + max((item.placed.height for item in layer if item.placed), default=0.0))
        bare = all(item.is_lane for item in layer) or (below and all(item.is_lane for item in below))
        top = bottoms[-1] + (BORDER_GAP if bare else LAYER_GAP)
    return tops, bottoms


def _ranks(count: int, edges: Sequence[tuple[int, int]], last: set[int]) -> list[int]:
    """The layer of each item: as high as its inputs allow; what leaves the box is in the last one. Edges must come in
    the order of evaluation of their targets, but for the last ones."""
    into: dict[int, list[int]] = {}
    for a, b in edges:
        into.setdefault(b, []).append(a)
    ranks = [0] * count
    for item in range(count):
        if item not in last:
            ranks[item] = max((ranks[a] + 1 for a in into.get(item, ())), default=0)
    if any(into.get(item) for item in last):
        deepest = max(ranks) + 1
        for item in last:
            ranks[item] = deepest
    return ranks


def _order(ranks: Sequence[int], edges: list[tuple[int, int]]) -> list[int]:
    """All items such that those of one layer come from left to right with few crossings."""
    try:
        from fast_sugiyama import from_edges
    except ImportError as error:
        raise missing_extra("drawing", "draw") from error
    order: list[int] = []
    if edges:
        layouts = from_edges(edges, minimum_length=1, dummy_vertices=False, ranking_type="up", check_layout=False)
        components = [sorted(positions, key=lambda item: (item[1][0], item[0])) for positions, *_ in layouts]
        components.sort(key=lambda component: min(int(index) for index, _ in component))
        order = [int(index) for component in components for index, _ in component]
    known = set(order)
    return order + [index for index in range(len(ranks)) if index not in known]


def _coordinates(layers: Order) -> None:
    """Set `x` of every item: sweeps down and up, the last one down."""
    for layer in layers:
        _settle(layer, [0.0] * len(layer), [1.0] * len(layer))
    for _ in range(_SWEEPS):
        for layer in layers[1:]:
            _pull(layer, _from_above)
        for layer in reversed(layers[:-1]):
            _pull(layer, _from_below)
    for layer in layers[1:]:
        _pull(layer, _from_above)


def _from_above(item: _Item) -> list[tuple[float, float]]:
    return [(other.x, _bond(item, other, len(item.above))) for other in item.above]


def _from_below(item: _Item) -> list[tuple[float, float]]:
    return [(other.x, _bond(item, other, len(item.below))) for other in item.below]


def _pull(layer: list[_Item], neighbours: Callable[[_Item], list[tuple[float, float]]]) -> None:
    """Set the places of a layer. neighbours: the places that an item's wires want for it, with weights."""
    wanted, weights = [], []
    for item in layer:
        near = neighbours(item)
        total = sum(weight for _, weight in near)
        wanted.append(sum(x * weight for x, weight in near) / total if near else item.x)
        weights.append(0.02 if item.is_lane else 1.0)
    _settle(layer, wanted, weights)


def _bond(a: _Item, b: _Item, neighbours: int) -> float:
    """How much an edge wants to be vertical: boxes hold each other and lanes follow, as beside a residual branch; where
    many meet, as after an inception's branches, all count."""
    if a.is_lane and b.is_lane:
        return 4.0
    return 0.01 if (a.is_lane or b.is_lane) and neighbours <= 2 else 1.0


def _settle(layer: list[_Item], wanted: Sequence[float], weights: Sequence[float]) -> None:
    distances = [_distance(a, b) for a, b in pairwise(layer)]
    for item, x in zip(layer, _spaced(wanted, weights, distances), strict=True):
        item.x = x


def _distance(a: _Item, b: _Item) -> float:
    """The least distance of two neighbours of a layer, middle to middle."""
    return (a.width + b.width) / 2 + (LANE if a.is_lane and b.is_lane else GAP)


def _spaced(wanted: Sequence[float], weights: Sequence[float], distances: Sequence[float]) -> list[float]:
    """The places nearest to the wanted ones, in weighted least squares, that keep the order and the distances.

    Taking the distances off turns it into isotonic regression, which pooling adjacent violators solves.
    """
    offsets = list(accumulate(distances, initial=0.0))
    pools: list[tuple[float, float, int]] = []
    for x, offset, weight in zip(wanted, offsets, weights, strict=False):
        mean, mass, size = x - offset, weight, 1
        while pools and pools[-1][0] > mean:
            before, heavier, more = pools.pop()
            mean = (before * heavier + mean * mass) / (heavier + mass)
            mass, size = mass + heavier, size + more
        pools.append((mean, mass, size))
    means = [mean for mean, _, size in pools for _ in range(size)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]


def _straighten(lanes: Iterable[list[_Item]], layers: Order) -> None:
    """Give each long wire one column, its outermost, where the others leave room for it."""
    for chain in sorted(lanes, key=len, reverse=True):
        columns = sorted({item.x for item in chain}, key=abs, reverse=True)
        for x in columns[:1] + columns[-1:]:
            if all(_fits(item, x, layers[item.rank]) for item in chain):
                for item in chain:
                    item.x = x
                break


def _fits(item: _Item, x: float, layer: list[_Item]) -> bool:
    at = layer.index(item)
    left = layer[at - 1] if at else None
    right = layer[at + 1] if at + 1 < len(layer) else None
    return (left is None or x - left.x >= _distance(left, item) - 0.01) and (
        right is None or right.x - x >= _distance(item, right) - 0.01
    )
