"""Candidates without elaboration: a decision diagram over the pieces of a net, which grows where a search goes.

From the state between two pieces a tree of the decisions that the next one reads leads to what the piece costs and to
the state after it. States are shared, so the diagram of a space of 10^13 networks has some thousand pieces, each
elaborated once; a candidate is a walk through it, and its costs are a sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b

import numpy as np

from archlang.cost import cost
from archlang.errors import ArchError
from archlang.ir.graph import Graph
from archlang.ir.types import TensorType
from archlang.lower import Decision, Memo, NetValue
from archlang.lower.pieces import Piece, Pieces, State
from archlang.lower.region import Region, Step
from archlang.lower.values import Value
from archlang.records import record

Choose = Callable[[Decision], int]

Measure = Callable[[Graph], tuple[float, ...]]
"""What is known of a piece's network: numbers that add up over the pieces, as many for each, which float64 holds."""

AMOUNTS = ("params", "macs", "flops")


def nothing(graph: Graph) -> tuple[float, ...]:
    """The measure where nothing more than `AMOUNTS` is wanted."""
    return ()


class _Fork:
    """A decision that is read. ways: what each alternative leads to, None where nobody went yet."""

    __slots__ = ("key", "ways")

    def __init__(self, key: str, count: int) -> None:
        self.key = key
        self.ways: list[_Node] = [None] * count


class _Leaf:
    """The end of a piece. reads: the decisions on the way to it. row: where the diagram keeps its amounts.
    content: equal for pieces with equal ops."""

    __slots__ = ("content", "next", "reads", "row")

    def __init__(self, reads: dict[str, int], row: int, content: bytes, next: _Entry | None) -> None:
        self.reads, self.row, self.content, self.next = reads, row, content, next


class _Fault:
    """The end of a walk where the decisions do not fit."""

    __slots__ = ("error",)

    def __init__(self, error: ArchError) -> None:
        self.error = error


_Node = _Fork | _Leaf | _Fault | None


class Path:
    """The pieces of a candidate, in their order."""

    def __init__(self, leaves: Sequence[_Leaf]) -> None:
        self.leaves = leaves

    @cached_property
    def readers(self) -> Mapping[str, tuple[int, int]]:
        """Of each decision the first and the last piece that reads it."""
        found: dict[str, tuple[int, int]] = {}
        for i, leaf in enumerate(self.leaves):
            for key in leaf.reads:
                found[key] = (found[key][0] if key in found else i, i)
        return found

    @cached_property
    def places(self) -> Mapping[_Entry | None, int]:
        """Of each beginning of a piece, but the first, which piece begins there."""
        return {leaf.next: i for i, leaf in enumerate(self.leaves, 1)}

    @cached_property
    def reads(self) -> dict[str, int]:
        """The decisions that are read, in order."""
        found: dict[str, int] = {}
        for leaf in self.leaves:
            found.update(leaf.reads)
        return found


class _Entry:
    """The beginning of a piece. state: before it; None at the start of the net."""

    __slots__ = ("node", "state")

    def __init__(self, state: State | None) -> None:
        self.state = state
        self.node: _Node = None


@record(frozen=True, slots=True)
class Walk:
    """A candidate. trace: its active decisions, in the order in which they are read or in that of the picks that it was
    made from. amounts: params, macs, flops.

    digest: equal only for equal networks. (Equal networks may differ in it, where their source is cut differently.)
    path: the pieces. features: of `Measure`, summed over them.
    """

    trace: dict[str, int]
    amounts: dict[str, float]
    digest: str
    path: Path
    features: list[float]


MAX_PIECES = 100_000
"""Pieces that are remembered at most; then the diagram begins anew."""


class Diagram:
    """The candidates of a net. Decisions are noted in `memo`."""

    def __init__(
        self,
        net: NetValue,
        args: Mapping[str, Value],
        memo: Memo,
        measure: Measure = nothing,
    ) -> None:
        """measure: what is to be known of a piece beside `AMOUNTS`."""
        self._pieces, self._memo, self._measure = Pieces(net, args, memo), memo, measure
        self._forget()

    def _forget(self) -> None:
        self._start = _Entry(None)
        self._entries: dict[State, _Entry] = {}
        self._regions: dict[int, tuple[Region, bytes]] = {}
        self._rows: dict[tuple[bytes, tuple[TensorType, ...]], int] = {}
        self._amounts = np.zeros((0, 0))
        self._leaves = 0

    def walk(self, picks: Mapping[str, int], choose: Choose = lambda decision: 0) -> Walk:
        """The candidate that `picks` mean; decisions that they leave open are left to `choose`.

        Raises ArchError where the picks do not fit together, or name an alternative that is not there.
        """
        self._make_room()
        leaves: list[_Leaf] = []
        trace: dict[str, int] = {}
        entry: _Entry | None = self._start
        while entry is not None:
            leaf = self._leaf_at(entry, picks, trace, choose)
            leaves.append(leaf)
            entry = leaf.next
        return self._walked(leaves, trace)

    def beside(self, picks: Mapping[str, int], path: Path, key: str, index: int, choose: Choose) -> Walk:
        """The candidate with another alternative of one of its active decisions. picks: all of these; path: of it.

        The pieces before the first that reads the decision, and those that come again after the last, are taken over.
        Decisions that this wakes are left to `choose`. Raises ArchError where they do not fit together.
        """
        self._make_room()
        settled = {**picks, key: index}
        near = path.leaves
        if near[0] is not self._start.node or key not in path.readers:
            return self.walk(settled, choose)
        first, last = path.readers[key]
        leaves = [*near[:first]]
        trace: dict[str, int] = {}
        entry = leaves[-1].next if leaves else self._start
        behind = len(near)
        while entry is not None:
            leaf = self._leaf_at(entry, settled, trace, choose)
            leaves.append(leaf)
            entry = leaf.next
            place = path.places.get(entry, 0)
            if place > last:
                behind = place
                leaves += near[place:]
                break
        if any(old not in trace for leaf in near[first:behind] for old in leaf.reads):
            return self._walked(leaves, Path(leaves).reads)
        settled.update(trace)
        return self._walked(leaves, settled)

    def _make_room(self) -> None:
        if self._leaves >= MAX_PIECES:
            self._forget()

    def _walked(self, leaves: list[_Leaf], trace: dict[str, int]) -> Walk:
        params, macs, flops, *features = self._sums(leaves)
        amounts: dict[str, float] = {"params": int(params), "macs": int(macs), "flops": int(flops)}
        return Walk(trace, amounts, _digest(leaves), Path(leaves), features)

    def _sums(self, leaves: list[_Leaf]) -> list[float]:
        """Of the pieces' numbers; the start has none."""
        found: list[float] = self._amounts.take([leaf.row for leaf in leaves[1:]], axis=0).sum(axis=0).tolist()
        return found

    def _leaf_at(self, entry: _Entry, picks: Mapping[str, int], trace: dict[str, int], choose: Choose) -> _Leaf:
        node = entry.node
        while type(node) is _Fork:
            key = node.key
            index = trace.get(key)
            if index is None:
                index = picks.get(key)
                if index is None:
                    index = choose(self._memo.decisions[key])
                trace[key] = index
            node = node.ways[index] if 0 <= index < len(node.ways) else None
        if node is None:
            node = self._explored(entry, picks, trace, choose)
        if type(node) is _Fault:
            raise node.error
        assert type(node) is _Leaf
        return node

    def _explored(
        self, entry: _Entry, picks: Mapping[str, int], trace: dict[str, int], choose: Choose
    ) -> _Leaf | _Fault:
        """Elaborate the piece for these picks, and note it."""
        settled = {**picks, **trace}
        if entry.state is None:
            piece = self._pieces.start(settled, choose)
        else:
            piece = self._pieces.next(entry.state, settled, choose)
        if piece.fault is not None:
            return _Fault(piece.fault)  # with its expansion, which belongs to this candidate alone
        trace.update(piece.reads)
        leaf = self._leaf(piece)
        self._note(entry, dict(piece.reads), leaf)
        return leaf

    def _leaf(self, piece: Piece) -> _Leaf:
        following = None if piece.after is None else self._entries.setdefault(piece.after, _Entry(piece.after))
        reads = dict(piece.reads)
        if piece.region is None:
            return _Leaf(reads, 0, b"", following)
        self._leaves += 1
        content = self._content(piece.region)
        return _Leaf(reads, self._measured(piece, content), content, following)

    def _measured(self, piece: Piece, content: bytes) -> int:
        """The row of what it costs. Equal ops on tensors of equal types are measured once."""
        key = (content, piece.before)
        known = self._rows.get(key)
        if known is None:
            graph = piece.graph
            total = cost(graph).total
            self._put_row(len(self._rows), (total.params, total.macs, total.flops, *self._measure(graph)))
            known = self._rows[key] = len(self._rows)
        return known

    def _put_row(self, row: int, amounts: Sequence[float]) -> None:
        if row >= len(self._amounts):
            larger = np.zeros((max(64, 2 * row), len(amounts)))
            larger[: len(self._amounts)] = self._amounts if row else 0
            self._amounts = larger
        self._amounts[row] = amounts

    def _note(self, entry: _Entry, reads: dict[str, int], leaf: _Leaf) -> None:
        """Put the leaf at the end of the path of its decisions."""
        place: tuple[_Entry | _Fork, int] = (entry, 0)
        while True:
            node = _at(place)
            if node is None and reads:
                key = next(iter(reads))
                node = _Fork(key, self._memo.decisions[key].count)
                _put(place, node)
            if not isinstance(node, _Fork):
                break
            place = (node, reads.pop(node.key))
        _put(place, leaf)

    def _content(self, region: Region) -> bytes:
        """Eight bytes that are equal for regions with equal ops, in every process, and for no others that are met."""
        known = self._regions.get(id(region))
        if known is not None:
            return known[1]
        steps = [
            (step.op if isinstance(step, Step) else self._content(step.region), step.inputs, step.residual)
            for step in region.steps
        ]
        aux = [value for _, value in region.aux]
        text = repr((steps, region.outputs, aux, region.residuals))
        content = blake2b(text.encode(), digest_size=8).digest()
        self._regions[id(region)] = (region, content)  # kept, so that its identity stays its own
        return content


def _digest(leaves: Sequence[_Leaf]) -> str:
    return blake2b(b"".join([leaf.content for leaf in leaves]), digest_size=16).hexdigest()


def _at(place: tuple[_Entry | _Fork, int]) -> _Node:
    holder, index = place
    return holder.ways[index] if isinstance(holder, _Fork) else holder.node


def _put(place: tuple[_Entry | _Fork, int], node: _Node) -> None:
    holder, index = place
    if isinstance(holder, _Fork):
        holder.ways[index] = node
    else:
        holder.node = node
