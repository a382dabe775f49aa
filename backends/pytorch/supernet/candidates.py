"""Candidates of a space as trees of regions and as bodies of classes, all in the same forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from archlang.backends.pytorch.lowering import LOWERINGS, UNSUPPORTED, as_module, pads_by_hand
from archlang.backends.source.body import Body, Lowered, build_body, open_circles
from archlang.backends.source.layer import Argument, Layer, Texts
from archlang.backends.source.layout import Expression, call, flat, joined
from archlang.backends.source.regions import Form, Region, enclosing_block, is_convex, region_tree
from archlang.errors import fail
from archlang.ir.graph import Graph
from archlang.ir.types import TensorType
from archlang.ops.base import Op
from archlang.ops.shape import Zero
from archlang.search.space import Picks, Space
from archlang.supernet.union import Union

RANDOM = 60
"""How many candidates are drawn beside those that are made."""

Forms = dict[str, Form]
"""Path of a region -> what it becomes."""


@dataclass
class Candidate:
    """picks: the active decisions. graph: its nodes are named by their sites. classes: path -> a region that becomes a
    class, the network's own under an empty path; bodies: what such a class does here."""

    picks: Mapping[str, int]
    graph: Graph
    root: Region
    members: Mapping[int, Layer | None]
    layers: Mapping[int, Layer]
    classes: dict[str, Region] = field(default_factory=dict)
    bodies: dict[str, Body] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    nodes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = {node.name: i for i, node in enumerate(self.graph.nodes)}

    def type_of(self, path: str, result: int = 0) -> TensorType | None:
        """The type of what the node or the class at the path makes."""
        if path in self.nodes:
            return self.graph.nodes[self.nodes[path]].type
        region = self.classes.get(path)
        return self.graph.nodes[region.outputs[result]].type if region else None


@dataclass(frozen=True)
class Ends:
    """The picks of the smallest and of the largest network of a space."""

    smallest: Picks
    largest: Picks


def drawn(union: Union, ends: Ends, seed: int = 0) -> list[Picks]:
    """Candidates that show what each decision does: large ones that together have every step, around each of them those
    that differ in one decision, and some at random; every set of active decisions once."""
    space, rng = union.space, Random(seed)
    whole = ends.largest
    most = max((space.memo.decisions[key].count for key in union.of_steps), default=1)
    bases = [whole, ends.smallest]
    steps = [{**whole, **dict.fromkeys(union.of_steps, k)} for k in range(most)]
    bases += [_to_the_end(space, picks, last=True) for picks in steps]
    found = [*bases, *(_to_the_end(space, picks, last=False) for picks in steps)]
    for base in bases[:1] + bases[2:]:
        for key, index in base.items():
            count = space.memo.decisions[key].count
            found.append(
                with_picks(space, {**whole, **base, key: (index + rng.randrange(1, max(2, count))) % count}, rng)
            )
    found += [dict(space.sample(rng)) for _ in range(RANDOM)]
    return list({tuple(sorted(picks.items())): picks for picks in found}.values())


def with_picks(space: Space, picks: Mapping[str, int], rng: Random) -> Picks:
    """The candidate with these decisions, as far as they are active; the others are drawn. An index beyond the last
    alternative means the last."""

    def choose(key: str, count: int) -> int:
        return min(picks[key], count - 1) if key in picks else rng.randrange(count)

    return dict(space.decided(choose))


def _to_the_end(space: Space, picks: Mapping[str, int], last: bool) -> Picks:
    """The candidate with these decisions; the others take all their last alternative, or all their first."""

    def choose(key: str, count: int) -> int:
        return min(picks.get(key, count if last else 0), count - 1)

    return dict(space.decided(choose))


def observed(graphs: Iterable[tuple[Picks, Graph]]) -> list[Candidate]:
    """The candidates with the bodies of all classes; equal paths have equal forms in all of them."""
    pairs = list(graphs)
    by_hand = {place for _, graph in pairs for place in _padded_by_hand(graph)}
    known: Known = {}
    candidates = [_candidate(picks, graph, by_hand, known) for picks, graph in pairs]
    _set_forms(candidates)
    for candidate in candidates:
        _set_bodies(candidate)
    return candidates


Known = dict[tuple[Op, tuple[TensorType, ...], bool], tuple[Layer, Layer | None]]
"""Op, types of its inputs and whether it is padded by hand -> its layer, and the layer as a member of a chain."""


def _candidate(picks: Picks, graph: Graph, by_hand: set[tuple[str, str]], known: Known) -> Candidate:
    layers: dict[int, Layer] = {}
    members: dict[int, Layer | None] = {}
    for i, node in enumerate(graph.nodes):
        if type(node.op) in UNSUPPORTED:
            raise fail("E0803", f"PyTorch cannot do `{node.op.name}`: {UNSUPPORTED[type(node.op)]}", node.span)
        if node.op.name != "input":
            key = (node.op, graph.input_types(node), bool(by_hand) and enclosing_block(graph, node.name) in by_hand)
            if key not in known:
                layer = _LOWERINGS[type(node.op)](*key)
                known[key] = (layer, as_module(node.op, layer))
            layers[i], members[i] = known[key]
    return Candidate(picks, graph, region_tree(graph, members), members, layers)


def _zero(op: Zero, xs: Sequence[TensorType], by_hand: bool) -> Layer:
    """Of any stride the same layer, so that a stride can be told."""

    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        stride = flat(arguments["stride"] or "1")
        step = f"::{stride}" if stride.isidentifier() or stride.isdigit() else f":: {stride}"  # as formatters write it
        return call("torch.zeros_like", joined(*inputs, "" if stride == "1" else f"[:, :, {step}, {step}]"))

    return Layer(
        "zero", apply=apply, call_arguments=(Argument(op.stride, label="stride", role="stride"),), weight="light"
    )


_LOWERINGS: dict[type[Op], Callable[[Any, Sequence[TensorType], bool], Layer]] = {**LOWERINGS, Zero: _zero}


LAYERS: Mapping[type[Op], Callable[[Any, Sequence[TensorType], bool], Layer]] = {**LOWERINGS, Zero: _zero}
"""As `LOWERINGS`, with what a space may change in one layer."""


def _padded_by_hand(graph: Graph) -> set[tuple[str, str]]:
    return {enclosing_block(graph, node.name) for node in graph.nodes if pads_by_hand(node.op)}


# ---- forms -----------------------------------------------------------------------------------------------------------


def _set_forms(candidates: list[Candidate]) -> None:
    """The same form for a path wherever it is met: the most open one that any candidate needs."""
    forms: Forms = {}
    while True:
        before = dict(forms)
        for candidate in candidates:
            for region in candidate.root.below():
                region.form = forms.get(region.path, Form.CLASS)
                region.form = forms[region.path] = _form(region, candidate)
            open_circles(candidate.root, candidate.graph)
            forms.update((region.path, region.form) for region in candidate.root.below() if region.form is Form.OPEN)
        if forms == before:
            return


def _form(region: Region, candidate: Candidate) -> Form:
    if region.form is Form.OPEN or not is_convex(region.nodes, candidate.graph):
        return Form.OPEN
    if not any(name[0].isdigit() for name in region.children):
        return Form.CLASS
    return Form.CHAIN if _is_chain(region, candidate) else Form.OPEN


def _is_chain(region: Region, candidate: Candidate) -> bool:
    """Whether the members hand one value on from each to the next; none of them has weights without being a class."""
    if len(region.inputs) != 1:
        return False
    value = region.inputs[0]
    for child in region.children.values():
        flow = _flow(child, candidate)
        if flow is None or flow[0] != (value,) or len(flow[1]) != 1:
            return False
        value = flow[1][0]
    return region.outputs == (value,)


def _flow(child: Region | int, candidate: Candidate) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    if isinstance(child, Region):
        return None if child.form is Form.OPEN else (child.inputs, child.outputs)
    member = candidate.members[child]
    return None if member is None or member.stateful else (candidate.graph.nodes[child].inputs, (child,))


# ---- bodies ----------------------------------------------------------------------------------------------------------


def _set_bodies(candidate: Candidate) -> None:
    regions = {region.path: region for region in candidate.root.below() if region.form is Form.CLASS}
    for region in regions.values():
        _take_all(region, candidate)
    classes = {path: instance_layer(region) for path, region in regions.items()}
    lowered = Lowered(candidate.graph, candidate.layers, candidate.members, classes)
    chains = (region for region in candidate.root.below() if region.form is Form.CHAIN)
    candidate.chains = {region.path: tuple(region.children) for region in chains}
    candidate.classes = {**regions, "": candidate.root}
    candidate.bodies = {path: build_body(region, lowered) for path, region in candidate.classes.items()}


def _take_all(region: Region, candidate: Candidate) -> None:
    """A cell takes all its inputs, in the order of its declaration, also those that this candidate does not read."""
    declared = region.scope.inputs if region.scope else ()
    values = [candidate.nodes.get(node) for _, node in declared]
    if declared and set(region.inputs) <= set(values) and None not in values:
        region.inputs = tuple(value for value in values if value is not None)
        region.input_names = tuple(name for name, _ in declared)


def instance_layer(region: Region) -> Layer:
    """Stands for a class that is not written yet."""
    return Layer(f"class {region.path}", region.path, stateful=True, outputs=len(region.outputs))
