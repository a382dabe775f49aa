"""The decisions of a supernet: what each is about, and the choices that make the largest and the smallest network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from archlang.errors import ArchError
from archlang.ir.graph import Graph, Node
from archlang.ops.conv import Conv2d, ConvTranspose2d
from archlang.search.extent import alternative
from archlang.search.space import Space, Walked
from archlang.supernet.union import Union

Kind = Literal["kernel", "expansion", "width", "depth", "resolution", "operator", "connection", "other"]


@dataclass(frozen=True)
class Choice:
    """A decision of a space. key: as in picks. label: for people. alternatives: as the source writes them.

    kind: `resolution` of the input; `operator`: which step stands there; `depth`: how many repeats; `connection`: what
    reads what; `kernel` sizes; `expansion`: channels within a block; `width`: channels between blocks; or `other`.
    """

    key: str
    label: str
    alternatives: tuple[str, ...]
    kind: Kind


def choices(union: Union) -> tuple[Choice, ...]:
    """Every decision that some candidate meets, in the order in which they are met."""
    decisions = union.space.memo.decisions
    found = []
    for key in union.contexts:
        decision = decisions[key]
        alternatives = tuple(alternative(decision, i) for i in range(decision.count))
        found.append(Choice(key, decision.label, alternatives, kind(union, key)))
    return tuple(found)


def kind(union: Union, key: str) -> Kind:
    """What a decision is about: told by what its alternatives change in a network where it is met."""
    variants = list(_variants(union, key))
    if any(_sizes(graph) != _sizes(variants[0]) for graph in variants[1:]):
        return "resolution"
    if key in union.of_steps:
        return "operator"
    for graph in variants[1:]:
        found = _difference(variants[0], graph)
        if found is not None:
            return found
    return "other"


def _variants(union: Union, key: str) -> Iterator[Graph]:
    """The network of each alternative, all else equal."""
    for index in range(union.space.memo.decisions[key].count):
        try:
            yield union.whole({**union.contexts[key], key: index})
        except ArchError:  # it takes other alternatives elsewhere
            continue


def _sizes(graph: Graph) -> list[tuple[int, ...]]:
    return [graph.nodes[i].type.shape for i in graph.inputs]


def _difference(first: Graph, second: Graph) -> Kind | None:
    """What a decision changed, if that can be told."""
    known, other = ({node.name: node for node in graph.nodes} for graph in (first, second))
    if _repeats(first) != _repeats(second):
        return "depth"
    pairs = [(known[name], node) for name, node in other.items() if name in known]
    if any(_kernel(a) != _kernel(b) for a, b in pairs):
        return "kernel"
    changed = {a.name for a, b in pairs if a.type.channels != b.type.channels}
    if changed:
        return "expansion" if _inside(first, changed) else "width"
    wired = known.keys() == other.keys() and any(_sources(first, a) != _sources(second, b) for a, b in pairs)
    return "connection" if wired else None


def _repeats(graph: Graph) -> set[str]:
    """The paths of all repeats: numbered parts of a `repeat`."""
    repeats = {path for path, scope in graph.scopes.items() if scope.kind == "repeat"}
    paths = {node.name.rsplit(".", depth)[0] for node in graph.nodes for depth in range(1, node.name.count(".") + 1)}
    return {path for path in paths if path.rpartition(".")[0] in repeats}


def _kernel(node: Node) -> tuple[int, int] | None:
    return node.op.kernel if isinstance(node.op, Conv2d | ConvTranspose2d) else None


def _sources(graph: Graph, node: Node) -> list[str]:
    return [graph.nodes[i].name for i in node.inputs]


def _inside(graph: Graph, changed: set[str]) -> bool:
    """Whether all that reads the changed nodes stands in the same block instance."""
    for node in graph.nodes:
        for i in node.inputs:
            source = graph.nodes[i].name
            block = _block(graph, source)
            if source in changed and not (block and node.name.startswith(block)):
                return False
    return not any(graph.nodes[output.value].name in changed for output in graph.outputs)


def _block(graph: Graph, name: str) -> str:
    """How the names in the outermost block instance around a node begin; "" for a node in none."""
    parts = name.split(".")
    for depth in range(1, len(parts)):
        scope = graph.scopes.get(path := ".".join(parts[:depth]))
        if scope is not None and scope.kind == "block":
            return f"{path}."
    return ""


# ---- the largest and the smallest ------------------------------------------------------------------------------------


def largest(space: Space) -> Walked:
    """The candidate of the most MACs, of the most parameters among equals; see `_best`."""
    return _best(space, lambda macs, params: (macs, params))


def smallest(space: Space) -> Walked:
    """The candidate of the fewest MACs, of the fewest parameters among equals; see `_best`."""
    return _best(space, lambda macs, params: (-macs, -params))


MAX_ROUNDS = 10


def _best(space: Space, score: Callable[[float, float], tuple[float, float]]) -> Walked:
    """Decisions are set one after the other to their best alternative, until none changes: where no alternative is
    better or worse depending on others, this is the best of all."""
    best = space.canonical({})
    for _ in range(MAX_ROUNDS):
        before = dict(best)
        for key in list(best):
            best = max([best, *_moved(space, best, key)], key=lambda picks: score(*_amounts(picks)))
        if dict(best) == before:
            break
    return best


def _amounts(picks: Walked) -> tuple[float, float]:
    return picks.sketch.amounts["macs"], picks.sketch.amounts["params"]


def _moved(space: Space, picks: Mapping[str, int], key: str) -> Iterator[Walked]:
    """The neighbours that differ in one decision. What one wakes takes its first alternatives."""
    if key not in picks:
        return
    for index in range(space.memo.decisions[key].count):
        if index != picks[key]:
            try:
                yield space.canonical({**picks, key: index})
            except ArchError:
                continue
