"""Places the boxes: each open box is laid out on its own, and is one big box in the one around it.

The order comes from `plan`. Coordinates are set here: each layer in turn comes as near to its neighbours' places, in
least squares, as the order and the sizes allow. The layout knows two axes: *along* is the way that the network runs,
*across* the other one; they become x and y at the end. `page.js` does the same in the HTML page, where boxes open
and close; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, zip_longest
from typing import TYPE_CHECKING

from archlang.draw.model import Box, Wire
from archlang.draw.plan import Bond, Plan, plan

if TYPE_CHECKING:
    Point = tuple[float, float]
    Ports = tuple[tuple[float, ...], tuple[float, ...]]
    Pull = tuple[int, float, float]  # an item, how strongly it pulls, and to which place beside it

LINE, NOTE_LINE = 13.0, 11.0
"""Sizes of the two fonts in px."""
PAD, GAP, LAYER_GAP, HEAD, BORDER_GAP = 12.0, 22.0, 24.0, 24.0, 14.0
MARK_GAP = 4.0
"""Between the title and the count, beside the space."""
LANE = 10.0
"""Width of a wire that passes through a layer."""
PORT = 18.0
"""The most that two wires are apart at a box."""
BEND, MOST_BEND = 0.16, 40.0
"""How much farther apart two layers are for each px that a wire between them moves sideways, and at most."""
SWEEPS = 6
SMALL = ("join", "terminal", "activation", "norm")
"""Kinds of boxes that are as narrow as their text."""


@dataclass(frozen=True)
class Route:
    """A wire as points from one box to another; arrow: whether it ends at a closed box. faint: of training only.

    earlier: whether it carries not the last result of a repeat, but one before it.
    """

    points: tuple[tuple[float, float], ...]
    arrow: bool
    faint: bool = False
    earlier: bool = False


@dataclass(frozen=True)
class Placed:
    """A box with its upper left corner in the one around it. children, routes: of a box that is open.

    entries, exits: where the wires cross the border, one for each value: from the left at the top and the bottom, or
    from the top at the left and the right where the drawing runs to the right.
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
    right: bool = False

    @property
    def is_open(self) -> bool:
        return bool(self.children)

    @property
    def across(self) -> float:
        return self.height if self.right else self.width

    @property
    def along(self) -> float:
        return self.width if self.right else self.height


def text_width(text: str, size: float, bold: bool = False) -> float:
    """An upper estimate, in px, that holds for the usual sans-serif fonts."""
    return sum(_width(char) for char in text) * size * (1.06 if bold else 1.0)


def _width(char: str) -> float:
    if char in "il.,'|:;!()[]/ jtfrI":
        return 0.36
    return 0.92 if char in "mwMW@%" else 1.0 if ord(char) > 0x2E7F else 0.72 if char.isupper() else 0.61


def place(box: Box, depth: int, right: bool = False) -> Placed:
    """The drawing of the network's box; blocks inside fewer than `depth` others are open. Raises OutsideError."""
    return _open(box, depth, right)


def label(box: Box) -> str:
    """The first line: the title, and how often the box is repeated."""
    return " ".join(part for part in (box.title, count_mark(box)) if part)


def count_mark(box: Box) -> str:
    """`x 4` where a box stands for several."""
    return f"x {box.count}" if box.count > 1 else ""


def second_line(box: Box) -> str:
    return " · ".join(part for part in (box.note, box.shape) if part)


def closed_size(box: Box) -> tuple[float, float]:
    """Width and height of a closed box."""
    lines = text_width(second_line(box), NOTE_LINE), text_width(box.carry, NOTE_LINE)
    width = max(label_width(box), *lines) + 2 * PAD
    return max(72.0, width), 42.0 + (15.0 if box.carry else 0.0)


def label_width(box: Box) -> float:
    """Of the first line, with the room before the count."""
    return text_width(label(box), LINE, bold=True) + (MARK_GAP if box.count > 1 else 0.0)


def closed_sizes(boxes: Sequence[Box]) -> list[tuple[float, float]]:
    """The sizes of the boxes of a scope while they are closed: of one width, which reads better, but for small ones."""
    sizes = [closed_size(box) for box in boxes]
    plain = [size[0] for box, size in zip(boxes, sizes, strict=True) if box.kind not in SMALL and not box.is_frame]
    width = max(plain, default=0.0)
    return [
        size if box.kind in SMALL else (max(width, size[0]), size[1]) for box, size in zip(boxes, sizes, strict=True)
    ]


def _closed(box: Box, size: tuple[float, float], right: bool) -> Placed:
    closed = Placed(box, 0, 0, *size, right=right)
    middle = closed.across / 2
    entries = _spread(len(box.inputs), closed.across)
    exits = (middle,) * len(box.outputs) if len(box.outputs) < 2 else _spread(len(box.outputs), closed.across)
    return replace(closed, entries=entries, exits=exits)


def _spread(count: int, across: float) -> tuple[float, ...]:
    step = min(PORT, across / (count + 1))
    return tuple(across / 2 + (i - (count - 1) / 2) * step for i in range(count))


def opens(box: Box, depth: int) -> bool:
    """Whether the children of a box are shown, where blocks may open `depth` deep."""
    return bool(box.children) and (box.is_frame or depth > 0)


def _open(box: Box, depth: int, right: bool) -> Placed:
    """A box with its children in it."""
    inner = [
        _open(child, depth - (child.kind == "block"), right) if opens(child, depth) else _closed(child, size, right)
        for child, size in zip(box.children, closed_sizes(box.children), strict=True)
    ]
    return _Scope(box, plan(box), inner, right).finish()


class _Scope:
    """The inside of one box. x: the place of each item across, its middle."""

    def __init__(self, box: Box, order: Plan, inner: list[Placed], right: bool) -> None:
        self.box, self.plan, self.inner, self.right = box, order, inner, right
        sizes = [placed.across for placed in inner]
        self.sizes = sizes + [LANE] * (order.items - len(inner))
        self.rank = {i: rank for rank, layer in enumerate(order.layers) for i in layer}
        self.x = _coordinates(order, self.sizes, [_ports(placed) for placed in inner])
        _straighten(order, self.sizes, self.x)

    def finish(self) -> Placed:
        """The box with the children at their places, the border around them, and the wires drawn."""
        framed = self.box.kind != "net"
        lead = HEAD if framed and self.right else 0.0
        head = _header(self.box) + 2 * PAD if framed else 0.0
        left, right = self.extent()
        across = max(right - left + 2 * PAD + lead, 0.0 if self.right else head)
        self.x = [x + (across + lead - left - right) / 2 for x in self.x]
        self.tops, self.bottoms = self.heights(HEAD if framed and not self.right else PAD)
        along = self.bottoms[-1] + (0.0 if self.plan.exits else BORDER_GAP)
        along = max(along, head if self.right else 0.0)
        children = tuple(self.moved(i, placed) for i, placed in enumerate(self.inner))
        size = (along, across) if self.right else (across, along)
        entries, exits = (tuple(self.x[i] for i in ports) for ports in (self.plan.entries, self.plan.exits))
        start = HEAD if framed and not self.right and _under_text(self.box, across, entries) else 0.0
        routes = self.routes(children, start, along)
        return Placed(self.box, 0, 0, *size, children, routes, entries, exits, self.right)

    def extent(self) -> tuple[float, float]:
        """The left and the right end of what is in the box."""
        left = min((x - size / 2 for x, size in zip(self.x, self.sizes, strict=True)), default=0.0)
        right = max((x + size / 2 for x, size in zip(self.x, self.sizes, strict=True)), default=0.0)
        return left, right

    def heights(self, top: float) -> tuple[list[float], list[float]]:
        """Where each layer begins and ends along; one without a box, such as that of the border, is flat and close."""
        tops, bottoms = [], []
        for layer, below in zip_longest(self.plan.layers, self.plan.layers[1:]):
            tops.append(top)
            bottoms.append(top + max((self.inner[i].along for i in layer if i < len(self.inner)), default=0.0))
            bare = self.is_bare(layer) or (below is not None and self.is_bare(below))
            top = bottoms[-1] + (BORDER_GAP if bare else LAYER_GAP) + self.bend(layer)
        return tops, bottoms

    def is_bare(self, layer: Sequence[int]) -> bool:
        return all(i >= len(self.inner) for i in layer)

    def bend(self, layer: Sequence[int]) -> float:
        """The room that the wires from a layer need to bend gently."""
        moves = [abs(self.x[i] - self.x[j]) for i in layer for j, *_ in self.plan.below[i]]
        return min(MOST_BEND, BEND * max(moves, default=0.0))

    def moved(self, i: int, placed: Placed) -> Placed:
        rank = self.rank[i]
        across = self.x[i] - placed.across / 2
        along = (self.tops[rank] + self.bottoms[rank] - placed.along) / 2
        x, y = (along, across) if self.right else (across, along)
        return replace(placed, x=x, y=y)

    def routes(self, children: Sequence[Placed], start: float, along: float) -> tuple[Route, ...]:
        boxes: dict[int, Placed] = dict(enumerate(children))
        return tuple(
            self.route(wire, chain, landing, (boxes.get(chain[0]), boxes.get(chain[-1])), (start, along))
            for wire, chain, landing in zip(self.box.wires, self.plan.wires, self.landings(children), strict=True)
        )

    def route(
        self,
        wire: Wire,
        chain: Sequence[int],
        landing: float,
        ends: tuple[Placed | None, Placed | None],
        border: tuple[float, float],
    ) -> Route:
        source, target = ends
        begin = (_left(source) + source.exits[wire.source_port], _far(source)) if source else None
        points = [begin or (self.x[chain[0]], border[0]), *self.through(chain, begin, landing)]
        points.append((landing, _near(target)) if target else (self.x[chain[-1]], border[1]))
        faint = any(end.box.training and not self.box.training for end in ends if end)
        earlier = source is not None and wire.source_port >= len(source.box.outputs) - source.box.earlier
        return Route(self.turned(points), target is not None and not target.is_open, faint, earlier)

    def through(self, chain: Sequence[int], begin: Point | None, landing: float) -> list[Point]:
        """Where a wire leaves and enters the layers that it visits: straight through each of them."""
        xs = [begin[0] if begin else self.x[chain[0]], *(self.x[i] for i in chain[1:-1]), landing]
        ranks = [self.rank[i] for i in chain]
        points = [(xs[0], self.bottoms[ranks[0]])]
        for x, rank in zip(xs[1:-1], ranks[1:-1], strict=True):
            points += [(x, self.tops[rank]), (x, self.bottoms[rank])]
        return [*points, (xs[-1], self.tops[ranks[-1]])]

    def turned(self, points: Sequence[Point]) -> tuple[Point, ...]:
        kept = [points[0], *(b for a, b in pairwise(points) if _apart(a, b))]
        return tuple((b, a) if self.right else (a, b) for a, b in kept)

    def landings(self, children: Sequence[Placed]) -> list[float]:
        """Where each wire meets its target: open boxes have a place for each, closed ones take them in the order in
        which they come, as straight as their distances allow."""
        found = [self.x[chain[-1]] for chain in self.plan.wires]
        arriving: dict[int, list[int]] = {}
        for i, chain in enumerate(self.plan.wires):
            if chain[-1] < len(children):
                arriving.setdefault(chain[-1], []).append(i)
        for end, wires in arriving.items():
            target = children[end]
            if target.is_open:
                for i in wires:
                    found[i] = _left(target) + target.entries[self.box.wires[i].target_port]
                continue
            leaves = {i: self.leaves(i, children) for i in wires}
            wires.sort(key=leaves.__getitem__)
            weights = [0.02 if self.plan.wires[i][-2] >= len(children) else 1.0 for i in wires]
            places = _along_side(_left(target), target.across, [leaves[i] for i in wires], weights)
            for i, x in zip(wires, places, strict=True):
                found[i] = x
        return found

    def leaves(self, wire: int, children: Sequence[Placed]) -> float:
        """Where the last piece of a wire begins."""
        item = self.plan.wires[wire][-2]
        if item >= len(children):
            return self.x[item]
        return _left(children[item]) + children[item].exits[self.box.wires[wire].source_port]


def _apart(a: Point, b: Point) -> bool:
    return abs(a[0] - b[0]) > 0.01 or abs(a[1] - b[1]) > 0.01


def _left(placed: Placed) -> float:
    return placed.y if placed.right else placed.x


def _near(placed: Placed) -> float:
    return placed.x if placed.right else placed.y


def _far(placed: Placed) -> float:
    return _near(placed) + placed.along


def _along_side(left: float, width: float, xs: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Places along the side of a box, near the given ones and not too near to each other."""
    step = min(PORT, width / (len(xs) + 1))
    margin = min(step, 14.0)
    low, high = left + margin, left + width - margin
    spaced = _spaced([min(max(x, low), high) for x in xs], weights, [step] * (len(xs) - 1))
    rest = len(xs) - 1
    return [min(max(x, low + i * step), high - (rest - i) * step) for i, x in enumerate(spaced)]


def _header(box: Box) -> float:
    return label_width(box) + text_width(f"   {header_note(box)}", NOTE_LINE)


def header_note(box: Box) -> str:
    """What stands at the right end of an open box's header."""
    return " · ".join(part for part in (box.carry, second_line(box)) if part)


def _under_text(box: Box, across: float, entries: Sequence[float]) -> bool:
    """Whether a wire that enters at the top would run through the header's text."""
    left = PAD + label_width(box) + 4
    right = across - PAD - text_width(header_note(box), NOTE_LINE) - 4
    return any(not left <= x <= right for x in entries)


def _ports(placed: Placed) -> Ports:
    """Where wires enter and leave an open box, from its middle; closed ones take them anywhere."""
    if not placed.is_open:
        return (), ()
    middle = placed.across / 2
    return tuple(x - middle for x in placed.entries), tuple(x - middle for x in placed.exits)


def _coordinates(order: Plan, sizes: Sequence[float], ports: Sequence[Ports]) -> list[float]:
    """The place of every item across: sweeps down and up, the last one down."""
    x = [0.0] * order.items
    above = [[_pull_of(ports, item, bond, 0) for bond in bonds] for item, bonds in enumerate(order.above)]
    below = [[_pull_of(ports, item, bond, 1) for bond in bonds] for item, bonds in enumerate(order.below)]
    for layer in order.layers:
        _settle(order, layer, sizes, x, [0.0] * len(layer))
    for _ in range(SWEEPS):
        for layer in order.layers[1:]:
            _pull(order, layer, sizes, x, above)
        for layer in reversed(order.layers[:-1]):
            _pull(order, layer, sizes, x, below)
    for layer in order.layers[1:]:
        _pull(order, layer, sizes, x, above)
    return x


def _pull_of(ports: Sequence[Ports], item: int, bond: Bond, side: int) -> Pull:
    """side: 0 where the wire enters the item from above, 1 where it leaves it."""
    other, weight, own_port, other_port = bond
    return other, weight, _offset(ports, other, other_port, 1 - side) - _offset(ports, item, own_port, side)


def _offset(ports: Sequence[Ports], item: int, port: int, side: int) -> float:
    return ports[item][side][port] if item < len(ports) and ports[item][side] else 0.0


def _pull(
    order: Plan, layer: Sequence[int], sizes: Sequence[float], x: list[float], near: Sequence[Sequence[Pull]]
) -> None:
    """Set the places of a layer: each item where its wires to the next layer on one side want it."""
    wanted = []
    for item in layer:
        total = sum(weight for _, weight, _ in near[item])
        places = ((x[other] + offset) * weight for other, weight, offset in near[item])
        wanted.append(sum(places) / total if total else x[item])
    _settle(order, layer, sizes, x, wanted)


def _settle(order: Plan, layer: Sequence[int], sizes: Sequence[float], x: list[float], wanted: Sequence[float]) -> None:
    distances = [_distance(order, sizes, a, b) for a, b in pairwise(layer)]
    weights = [order.weights[item] for item in layer]
    for item, place in zip(layer, _spaced(wanted, weights, distances), strict=True):
        x[item] = place


def _distance(order: Plan, sizes: Sequence[float], a: int, b: int) -> float:
    """The least distance of two neighbours of a layer, middle to middle."""
    lanes = a >= order.boxes and b >= order.boxes
    return (sizes[a] + sizes[b]) / 2 + (LANE if lanes else GAP)


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


def _straighten(order: Plan, sizes: Sequence[float], x: list[float]) -> None:
    """Give each long wire one column, its outermost, where the others leave room for it."""
    beside = {}
    for layer in order.layers:
        for left, item, right in zip([-1, *layer[:-1]], layer, [*layer[1:], -1], strict=True):
            beside[item] = left, right
    for trunk in order.trunks:
        columns = sorted({x[item] for item in trunk}, key=lambda place: (-abs(place), place))
        for place in (columns[0], columns[-1]):
            if all(_fits(order, sizes, x, item, place, beside[item]) for item in trunk):
                for item in trunk:
                    x[item] = place
                break


def _fits(
    order: Plan, sizes: Sequence[float], x: list[float], item: int, place: float, beside: tuple[int, int]
) -> bool:
    left, right = beside
    return (left < 0 or place - x[left] >= _distance(order, sizes, left, item) - 0.01) and (
        right < 0 or x[right] - place >= _distance(order, sizes, item, right) - 0.01
    )
