"""What changed between two networks: the source, the cost, the layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from typing import TYPE_CHECKING

from archlang.cost import NetCost
from archlang.ir.graph import Graph, op_text
from archlang.syntax.parser import parse
from archlang.syntax.printer import print_program

if TYPE_CHECKING:
    from archlang.net import Net


@dataclass(frozen=True)
class Figure:
    """One figure of the cost of both networks. change: in percent, None where it was 0 and no longer is."""

    name: str
    before: int
    after: int

    @property
    def change(self) -> float | None:
        if self.before:
            return 100 * (self.after - self.before) / self.before
        return None if self.after else 0.0


@dataclass(frozen=True)
class Layer:
    """An op: its name, itself with its attributes, the shape that it makes."""

    name: str
    op: str
    output: str


@dataclass(frozen=True)
class Change:
    """A layer that is new (before None), gone (after None), or another one at the same place."""

    before: Layer | None
    after: Layer | None

    @property
    def kind(self) -> str:
        """`added`, `removed` or `changed`."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


@dataclass(frozen=True)
class Difference:
    """source: a unified diff of the formatted texts, a line each. unchanged: how many layers are the same.

    equal: whether both are the same network, names and places in the source aside.
    """

    source: tuple[str, ...]
    cost: tuple[Figure, ...]
    layers: tuple[Change, ...]
    unchanged: int
    equal: bool


def diff(before: Net, after: Net) -> Difference:
    """What changed from one network to the other. Layers are aligned by op, attributes and shape, not by name."""
    one, two = _layers(before.graph), _layers(after.graph)
    changes, unchanged = _align(one, two)
    equal = before.graph.digest == after.graph.digest
    return Difference(_source(before, after), _figures(before.cost(), after.cost()), changes, unchanged, equal)


def _source(before: Net, after: Net) -> tuple[str, ...]:
    """The unified diff of both files as the formatter would leave them."""
    one, two = (print_program(parse(net.module.source)).splitlines() for net in (before, after))
    return tuple(unified_diff(one, two, before.spec, after.spec, lineterm=""))


def _figures(one: NetCost, two: NetCost) -> tuple[Figure, ...]:
    return (
        Figure("params", one.total.params, two.total.params),
        Figure("macs", one.total.macs, two.total.macs),
        Figure("flops", one.total.flops, two.total.flops),
        Figure("activation_bytes", one.activation_bytes, two.activation_bytes),
        Figure("peak_memory_bytes", one.peak_memory_bytes, two.peak_memory_bytes),
    )


def _layers(graph: Graph) -> list[Layer]:
    return [Layer(node.name, op_text(node.op), str(node.type)) for node in graph.nodes]


def _align(one: Sequence[Layer], two: Sequence[Layer]) -> tuple[tuple[Change, ...], int]:
    """The changes in order, and the number of layers that are the same."""
    matcher = SequenceMatcher(None, [_line(a) for a in one], [_line(b) for b in two], autojunk=False)
    changes: list[Change] = []
    unchanged = 0
    for tag, a1, a2, b1, b2 in matcher.get_opcodes():
        if tag == "equal":
            unchanged += a2 - a1
        else:
            changes += _paired(one[a1:a2], two[b1:b2])
    return tuple(changes), unchanged


def _line(layer: Layer) -> tuple[str, str]:
    return layer.op, layer.output


def _paired(one: Sequence[Layer], two: Sequence[Layer]) -> Iterator[Change]:
    """The layers of a stretch that differs, matched where they are of the same kind of op."""
    matcher = SequenceMatcher(None, [_kind(a) for a in one], [_kind(b) for b in two], autojunk=False)
    for tag, a1, a2, b1, b2 in matcher.get_opcodes():
        if tag == "equal":
            yield from (Change(a, b) for a, b in zip(one[a1:a2], two[b1:b2], strict=True))
            continue
        yield from (Change(a, None) for a in one[a1:a2])
        yield from (Change(None, b) for b in two[b1:b2])


def _kind(layer: Layer) -> str:
    return layer.op.partition("{")[0]
