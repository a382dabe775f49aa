"""Lays the modules of a foreign state dict along the layers of a graph.

What both sides share is the kind of each layer, and the order of evaluation. A module is evaluated as one piece, so
each module of the tree covers a run of consecutive layers of ours: its parts are put into an order in which the kinds
of their layers are those of the run. What that leaves open is settled by evidence, never by chance:

- parts with the same layers whose places depend on one another stand in the order of their numbers, or of the file;
- such parts in parallel branches are told apart by their names alone, unless the caller trusts the order of the file;
- of several orders, that is taken in which more names agree, then in which more parts with numbers (conv1, conv2) are
  computed from one another, then in which more that are neighbours in the file are.

What is still open then is an `Ambiguity`.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise, permutations

from archlang.checkpoint.layers import Kind, Layer, Ours
from archlang.checkpoint.tree import Part

MOST_ORDERS = 64
"""More orders than this of the parts of one module are not compared: they cannot be told apart."""

MOST_ALIKE = 5
"""So many parts that are alike are tried in every order."""

MOST_STEPS = 50_000
"""So long an order of the parts of one module is searched for."""


class Misfit(Exception):
    """No order of the parts of a module gives the order of evaluation. path: of the module."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True)
class Pair:
    """A layer of ours and the foreign one that it is. how: `only`, `name` or `order`; why: in words."""

    ours: Layer
    theirs: Layer
    how: str
    why: str


@dataclass(frozen=True)
class Ambiguity:
    """Layers of ours, and those of the file, that may belong together in more than one way.

    parallel: they are alike, and in branches that run side by side.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    why: str
    parallel: bool = False


@dataclass(frozen=True)
class Evidence:
    """What orders may be taken from. file_order: whether the file keeps the order of registration (one that is sorted
    by name does not). trusted: whether that order counts for parallel branches too."""

    file_order: bool
    trusted: bool = False


@dataclass(frozen=True)
class Tile:
    """A part of the shape `signature` at the layers `run`."""

    signature: int
    run: range


@dataclass(frozen=True)
class Reason:
    how: str
    why: str


Seats = list[tuple[Part, range, Reason]]
"""Each part of a module, the layers that it covers, and why these."""


Score = tuple[int, int, int]
"""How many parts agree with ours by name, with their numbers, with the order of the file. More is better."""


@dataclass
class Best:
    """An order of the parts of a module."""

    score: Score
    seats: Seats
    open: list[Ambiguity] = field(default_factory=list)


@dataclass
class Alignment:
    """Made by `align`: what was settled, and what was not."""

    pairs: list[Pair] = field(default_factory=list)
    ambiguities: list[Ambiguity] = field(default_factory=list)


def align(tree: Part, ours: Ours, evidence: Evidence, squeezed: bool = False) -> Alignment:
    """Every layer of ours with a layer of the tree, which must have as many. Raises Misfit where there is no order.

    squeezed: whether axes of length 1 are passed over when kinds are compared.
    """
    found = Alignment()
    _Aligner(ours, evidence, squeezed, found).settle(tree, 0, Reason("only", "the only one of its shape"))
    return found


class _Aligner:
    def __init__(self, ours: Ours, evidence: Evidence, squeezed: bool, found: Alignment) -> None:
        self.ours, self.evidence, self.squeezed, self.found = ours, evidence, squeezed, found
        self.hashes = _Hashes()
        self.sums = [0]
        for layer in ours.layers:
            self.sums.append(self.sums[-1] + self.hashes.of(self.kind(layer)))
        self.names = _Names(ours)
        self.fits = cache(self._fits)
        self.best = cache(self._best)
        self.signature = cache(self._signature)

    def kind(self, layer: Layer) -> Kind:
        return layer.squeezed if self.squeezed else layer.kind

    def total(self, part: Part) -> int:
        """A number that is equal for equal collections of layers."""
        return sum(self.hashes.of(self.kind(layer)) for layer in part.layers)

    def _signature(self, part: Part) -> int:
        """A number that is equal for trees of the same form with the same layers."""
        if part.layer is not None:
            return self.hashes.of(self.kind(part.layer))
        return hash((self.total(part), *sorted(self.signature(child) for child in part.children)))

    def settle(self, part: Part, start: int, reason: Reason) -> None:
        """Pair the layers of a part with ours from `start` on."""
        if not self.fits(part, start):
            raise Misfit(part.path)
        if part.layer is not None:
            self.found.pairs.append(Pair(self.ours.layers[start], part.layer, reason.how, reason.why))
            return
        best = self.best(part, start)
        self.found.ambiguities += best.open
        for child, run, why in best.seats:
            self.settle(child, run.start, why if why.how != "only" else reason)

    def _fits(self, part: Part, start: int) -> bool:
        """Whether there is an order of the part, and of all below, that gives our layers from `start` on."""
        stop = start + part.size
        if stop >= len(self.sums) or self.sums[stop] - self.sums[start] != self.total(part):
            return False
        return part.layer is not None or next(self.orders(part, start), None) is not None

    def orders(self, part: Part, start: int) -> Iterator[tuple[Tile, ...]]:
        """Every order of a module's parts that gives our layers from `start` on; parts of one signature are alike."""
        if part.fixed:
            yield from self.as_written(part, start)
            return
        one_of = {self.signature(child): child for child in part.children}
        left = Counter(self.signature(child) for child in part.children)
        stack: list[tuple[int, dict[int, int], tuple[Tile, ...]]] = [(start, dict(left), ())]
        for _ in range(MOST_STEPS):
            if not stack:
                return
            at, remaining, tiles = stack.pop()
            if not remaining:
                yield tiles
            for signature in reversed(remaining):
                child = one_of[signature]
                if self.fits(child, at):
                    fewer = {key: count - (key == signature) for key, count in remaining.items()}
                    fewer = {key: count for key, count in fewer.items() if count}
                    run = range(at, at + child.size)
                    stack.append((run.stop, fewer, (*tiles, Tile(signature, run))))
        raise Misfit(part.path)

    def as_written(self, part: Part, start: int) -> Iterator[tuple[Tile, ...]]:
        """The order of a part whose order is fixed, if it fits."""
        tiles: list[Tile] = []
        for child in part.children:
            at = tiles[-1].run.stop if tiles else start
            if not self.fits(child, at):
                return
            tiles.append(Tile(self.signature(child), range(at, at + child.size)))
        yield tuple(tiles)

    def _best(self, part: Part, start: int) -> Best:
        """The best order of the parts; where others are as good, that is an ambiguity."""
        if part.layer is not None:
            return Best((0, 0, 0), [])
        found: list[Best] = []
        for tiles in self.orders(part, start):
            found.append(self.judged(part, tiles))
            if len(found) > MOST_ORDERS:
                break
        found.sort(key=lambda best: best.score, reverse=True)
        first = found[0]
        equal = [other for other in found[1:] if other.score == first.score]
        if equal and not self.evidence.trusted:
            first.open.append(self.differing(part, first.seats, equal[0].seats))
        return first

    def judged(self, part: Part, tiles: Sequence[Tile]) -> Best:
        """An order with its score, that of all below included, and with what it leaves open."""
        runs: dict[int, list[range]] = defaultdict(list)
        for tile in tiles:
            runs[tile.signature].append(tile.run)
        groups: dict[int, list[Part]] = defaultdict(list)
        for child in part.children:
            groups[self.signature(child)].append(child)
        seats: Seats = []
        unsettled: list[tuple[Seats, Ambiguity]] = []
        for signature, children in groups.items():
            assigned, ambiguity = self.assigned(part, children, runs[signature])
            seats += assigned
            unsettled += [(assigned, ambiguity)] if ambiguity else []
        open_: list[Ambiguity] = []
        for group, ambiguity in unsettled:
            seats, settled = self.rearranged(part, seats, group) if ambiguity.parallel else (seats, False)
            open_ += [] if settled else [ambiguity]
        below = [self.best(child, run.start).score for child, run, _ in seats]
        names, numbers, filed = map(sum, zip(self.score(part, seats), *below, strict=True))
        return Best((names, numbers, filed), sorted(seats, key=lambda seat: seat[1].start), open_)

    def rearranged(self, part: Part, seats: Seats, group: Seats) -> tuple[Seats, bool]:
        """The seats with a group of parts that are alike in the order that scores best, if one does."""
        if len(group) > MOST_ALIKE:
            return seats, False
        rest = [seat for seat in seats if seat[0] not in {child for child, _, _ in group}]
        told = Reason("order", "the parts with numbers follow upon one another so")
        scored = []
        for children in permutations(child for child, _, _ in group):
            placed = [(child, run, told) for child, (_, run, _) in zip(children, group, strict=True)]
            scored.append((self.score(part, [*rest, *placed]), [*rest, *placed]))
        scored.sort(key=lambda item: item[0], reverse=True)
        return (scored[0][1], True) if scored[0][0] > scored[1][0] else (seats, False)

    def assigned(self, part: Part, children: list[Part], runs: list[range]) -> tuple[Seats, Ambiguity | None]:
        """Parts that are alike, each with its run; a guess where evidence is missing."""
        inside = f" in `{part.path}`" if part.path else ""
        if len(children) == 1:
            return [(children[0], runs[0], Reason("only", f"the only one of its shape{inside}"))], None
        named = self.by_names(part, children, runs)
        if named is not None:
            told = [Reason("name", f"both are called `{name}`{inside}") for _, _, name in named]
            return [(child, run, why) for (child, run, _), why in zip(named, told, strict=True)], None
        ranked, ranking = self.ranked(children)
        chained = all(self.ours.before(a, b) for a, b in pairwise(runs))
        if ranking and (chained or self.evidence.trusted):
            what = f"of {len(children)} alike{inside}, in the order of {ranking}"
            told = [Reason("order", f"`{child.path}` is number {i} {what}") for i, child in enumerate(ranked, 1)]
            return list(zip(ranked, runs, told, strict=True)), None
        why = "they are in parallel branches" if not chained else "neither numbers nor the order of the file tell which"
        guess = [(child, run, Reason("order", "a guess")) for child, run in zip(ranked, runs, strict=True)]
        return guess, Ambiguity(self.told(runs), tuple(child.path for child in children), why, not chained)

    def ranked(self, children: list[Part]) -> tuple[list[Part], str]:
        """Parts that are alike in their order, and what that is taken from: nothing where evidence is missing, or
        where numbers and file contradict each other."""
        filed = sorted(children, key=lambda child: child.order)
        numbers = [child.number for child in children]
        if None in numbers or len({number[0] for number in numbers if number}) > 1:
            return filed, "the file" if self.evidence.file_order else ""
        numbered = sorted(children, key=lambda child: child.number or ("", 0))
        contradicted = self.evidence.file_order and numbered != filed
        return numbered, "" if contradicted else "their numbers"

    def by_names(self, part: Part, children: list[Part], runs: list[range]) -> list[tuple[Part, range, str]] | None:
        """Each run with the part that is called as ours is there, where that holds for all."""
        whole = range(min(run.start for run in runs), max(run.stop for run in runs))
        names = [self.names.of(run, whole) for run in runs]
        found: list[tuple[Part, range, str]] = []
        for run, own in zip(runs, names, strict=True):
            fitting = [child for child in children if _segments(child, part) & own]
            if len(fitting) != 1:
                return None
            found.append((fitting[0], run, min(_segments(fitting[0], part) & own)))
        return found if len({child.path for child, _, _ in found}) == len(children) else None

    def agreeing(self, part: Part, seats: Seats) -> int:
        """How many parts are called as ours are."""
        whole = range(min(run.start for _, run, _ in seats), max(run.stop for _, run, _ in seats))
        return sum(bool(_segments(child, part) & self.names.of(run, whole)) for child, run, _ in seats)

    def score(self, part: Part, seats: Seats) -> Score:
        """How much agrees: names; parts with a number that are computed from the one with the number before; parts that
        are computed from the one before them in the file, where that keeps the order of registration."""
        families: dict[str, list[tuple[int, range]]] = defaultdict(list)
        for child, run, _ in seats:
            if child.number:
                families[child.number[0]].append((child.number[1], run))
        numbers = sum(self.following(family) for family in families.values())
        filed = self.following([(child.order, run) for child, run, _ in seats]) if self.evidence.file_order else 0
        return self.agreeing(part, seats), numbers, filed

    def following(self, ranked: list[tuple[int, range]]) -> int:
        """How many runs are computed from the one with the rank before."""
        runs = [run for _, run in sorted(ranked, key=lambda item: item[0])]
        return sum(self.ours.before(a, b) for a, b in pairwise(runs))

    def differing(self, part: Part, seats: Seats, other: Seats) -> Ambiguity:
        """What two orders that are as good as each other put into different places."""
        elsewhere = {child.path: run for child, run, _ in other}
        moved = [(child, run) for child, run, _ in seats if elsewhere[child.path] != run]
        why = f"the parts of `{part.path}` fit in more than one order" if part.path else "the parts fit in more orders"
        return Ambiguity(self.told([run for _, run in moved]), tuple(child.path for child, _ in moved), why)

    def told(self, runs: Sequence[range]) -> tuple[str, ...]:
        return tuple(self.names.common(run) for run in runs)


def _segments(child: Part, part: Part) -> frozenset[str]:
    """The names that a part has below its module, those left out that tell nothing: bare numbers."""
    below = child.path.removeprefix(part.path).strip(".").split(".")
    return frozenset(name for name in below if not name.isdigit())


class _Hashes:
    """A random number a kind: sums over layers are equal where the layers are, and else but once in 2**63 times."""

    def __init__(self) -> None:
        self.numbers: dict[Kind, int] = {}
        self.random = random.Random(0)

    def of(self, kind: Kind) -> int:
        if kind not in self.numbers:
            self.numbers[kind] = self.random.getrandbits(63)
        return self.numbers[kind]


class _Names:
    """What runs of our layers are called. Names that were made by counting tell nothing, and are left out."""

    def __init__(self, ours: Ours) -> None:
        self.paths = [layer.name.split(".") for layer in ours.layers]

    def common(self, run: range) -> str:
        """The path that the layers of a run share."""
        return ".".join(self._common(run)) or f"{'.'.join(self.paths[run.start])} ..."

    def _common(self, run: range) -> list[str]:
        first, last = min(self.paths[i] for i in run), max(self.paths[i] for i in run)
        shared = next(
            (k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
        )
        return first[:shared]

    def of(self, run: range, whole: range) -> frozenset[str]:
        """The names of a run below the path that all of `whole` shares."""
        below = self._common(run)[len(self._common(whole)) :]
        return frozenset(name for name in below if not _counted(name))


def _counted(name: str) -> bool:
    """Whether the lowering may have made the name by counting: `conv2`, `layer3`, `0`."""
    return name[-1:].isdigit()
