"""What changed between two networks: the source, the cost, the layers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from itertools import groupby
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
    """An op: its name, itself with its attributes, the shape that it makes, and the path of the block that it is in."""

    name: str
    op: str
    output: str
    block: str = ""


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
    """What changed from one network to the other.

    Layers are aligned by op, attributes and shape, not by name: first whole instances of blocks, then what is left
    between them layer by layer. Of several equal ones the last counts as added, so that names stay together.
    """
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
    return [Layer(node.name, op_text(node.op), str(node.type), _block(graph, node.name)) for node in graph.nodes]


def _block(graph: Graph, name: str) -> str:
    """The path of the outermost block that a node is in."""
    parts = name.split(".")
    paths = (".".join(parts[:end]) for end in range(1, len(parts)))
    return next((path for path in paths if path in graph.scopes and graph.scopes[path].kind == "block"), "")


def _align(one: Sequence[Layer], two: Sequence[Layer]) -> tuple[tuple[Change, ...], int]:
    """The changes in order, and the number of layers that are the same."""
    before, after = _units(one), _units(two)
    changes: list[Change] = []
    unchanged = 0
    for tag, a1, a2, b1, b2 in _opcodes([_lines(unit) for unit in before], [_lines(unit) for unit in after]):
        gone, new = _flat(before[a1:a2]), _flat(after[b1:b2])
        if tag == "equal":
            unchanged += len(gone)
            continue
        found, same = _align_layers(gone, new)
        changes += found
        unchanged += same
    return tuple(changes), unchanged


def _units(layers: Sequence[Layer]) -> list[tuple[Layer, ...]]:
    """Instances of blocks, and the layers outside of them one by one."""
    groups = groupby(enumerate(layers), lambda item: item[1].block or item[0])
    return [tuple(layer for _, layer in group) for _, group in groups]


def _flat(units: Sequence[tuple[Layer, ...]]) -> list[Layer]:
    return [layer for unit in units for layer in unit]


def _lines(unit: Sequence[Layer]) -> tuple[tuple[str, str], ...]:
    return tuple((layer.op, layer.output) for layer in unit)


def _align_layers(one: Sequence[Layer], two: Sequence[Layer]) -> tuple[list[Change], int]:
    changes: list[Change] = []
    unchanged = 0
    for tag, a1, a2, b1, b2 in _opcodes([_lines([a]) for a in one], [_lines([b]) for b in two]):
        if tag == "equal":
            unchanged += a2 - a1
        else:
            changes += _paired(one[a1:a2], two[b1:b2])
    return changes, unchanged


Opcode = tuple[str, int, int, int, int]


def _opcodes(one: Sequence[Hashable], two: Sequence[Hashable]) -> list[Opcode]:
    """difflib's opcodes. What is added or removed before equal items slides behind them."""
    matcher = SequenceMatcher(None, one, two, autojunk=False)
    found: list[Opcode] = []
    waiting = list(reversed(matcher.get_opcodes()))
    while waiting:
        tag, a1, a2, b1, b2 = waiting.pop()
        by = 0
        if tag in ("insert", "delete") and waiting and waiting[-1][0] == "equal":
            _, c1, c2, d1, d2 = waiting.pop()
            side, start, end = (two, b1, b2) if tag == "insert" else (one, a1, a2)
            while by < c2 - c1 and side[start + by] == side[end + by]:
                by += 1
            waiting.append(("equal", c1 + by, c2, d1 + by, d2))
        found += [("equal", a1, a1 + by, b1, b1 + by), (tag, a1 + by, a2 + by, b1 + by, b2 + by)]
    return [code for code in found if code[1] < code[2] or code[3] < code[4]]


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
