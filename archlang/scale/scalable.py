"""A network whose depth, width and resolution are parameters: its own, or those that a rewrite gave it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from archlang.cost import cost
from archlang.errors import ArchError, fail
from archlang.ir.graph import Graph
from archlang.lower import Memo, Module, NetValue, default_net, lower
from archlang.lower.module import Imported
from archlang.lower.values import Value
from archlang.scale.coefficients import DIMENSIONS, Scales
from archlang.scale.knobs import Knob, knobs_of
from archlang.scale.rewrite import EDITS, PROBES, SIDES, Edit, Refused, channel_multiples, written
from archlang.search.mutations import Subject, normal_text
from archlang.search.mutations.mutate import settled
from archlang.search.mutations.normal import shared_loader
from archlang.search.mutations.roles import Role, Use
from archlang.source import Source, Span
from archlang.syntax import parse, tree
from archlang.syntax.printer import print_expr

MOST_NOTES = 6
"""Places of one kind that are told."""


@dataclass(frozen=True)
class Scalable:
    """text: a file of its own, the net last, its defaults being the original. knobs: the parameter of each dimension.
    refused: why the other dimensions cannot be scaled. notes: what stays as it is, each with its line."""

    text: str
    net: NetValue
    knobs: Mapping[str, Knob]
    refused: Mapping[str, ArchError]
    notes: tuple[str, ...] = ()
    original: Graph | None = field(default=None, repr=False, compare=False)
    _memo: Memo = field(default_factory=Memo, repr=False, compare=False)
    _graphs: dict[tuple[Value, ...], Graph] = field(default_factory=dict, repr=False, compare=False)

    @property
    def scaled(self) -> tuple[str, ...]:
        """The dimensions that have a parameter."""
        return tuple(name for name in DIMENSIONS if name in self.knobs)

    def require(self, scales: Scales) -> None:
        """Raises ArchError E1404 where a dimension is to grow that cannot be scaled."""
        for name in scales.grown:
            if name in self.refused:
                raise self.refused[name]

    def arguments(self, scales: Scales) -> dict[str, int | float]:
        """The values of the parameters under these multipliers."""
        return {knob.name: knob.at(getattr(scales, name)) for name, knob in self.knobs.items()}

    def graph(self, scales: Scales) -> Graph:
        """The scaled network. Raises ArchError where it does not fit together."""
        args = self.arguments(scales)
        key = tuple(args.values())
        if key not in self._graphs:
            try:
                found = lower(self.net, args, memo=self._memo).graph
            except ArchError as error:
                raise error.expanded(f"`{self.net.name}` with {scales}") from None
            self._graphs[key] = _without_scopes(found)
        return self._graphs[key]

    def checked(self) -> Scalable:
        """This, whose unscaled member is the original network."""
        assert self.original is not None
        assert self.graph(Scales()).digest == self.original.digest, "the unscaled member is another network"
        return self


def _without_scopes(graph: Graph) -> Graph:
    """The network alone: hundreds of them are kept."""
    return Graph(graph.name, graph.nodes, graph.outputs)


def scalable(
    net: NetValue,
    args: Mapping[str, Value] | None = None,
    mapped: Mapping[str, str] | None = None,
    fixed: Sequence[str] = (),
) -> Scalable:
    """The net with a parameter for each dimension, by a rewrite where it has none. mapped: dimension -> the parameter
    that scales it. fixed: dimensions that stay as they are and need none.

    Raises ArchError E1403 for a parameter that is none, E1405 where the net has choices, or overrides by `with`.
    """
    args = dict(args or {})
    original = lower(net, args)
    if original.trace:
        help = "scale one of its networks: `archlang search` writes them as files"
        raise fail("E1405", f"`{net.label or net.name}` has choices: it is a space", net.decl.name.span, help=help)
    if net.overrides:
        help = "write what `with` overrides into the `default` lines of a net of its own"
        raise fail("E1405", f"`{net.label or net.name}` overrides defaults by `with`", net.decl.name.span, help=help)
    knobs = {d: _rounded(net, args, original.graph, d, knob) for d, knob in knobs_of(net, args, mapped or {}).items()}
    subject = Subject(normal_text(net, args))
    places = _Places(net, subject)
    edits, refused = _edits(subject, places, [d for d in DIMENSIONS if d not in knobs and d not in fixed])
    program = written(subject, list(edits.values()))
    found = default_net(shared_loader().link(program, None))
    text = settled(program, lower(found))
    value = default_net(shared_loader().link(parse(Source(f"<{net.name}>", text)), None))
    knobs = {d: knobs.get(d) or edits[d].knob for d in DIMENSIONS if d in knobs or d in edits}
    notes = tuple(note for d, edit in edits.items() for note in places.left(d, edit))
    return Scalable(text, value, knobs, refused, notes, original.graph).checked()


def _rounded(net: NetValue, args: Mapping[str, Value], graph: Graph, dimension: str, knob: Knob) -> Knob:
    """The knob in such steps that the net fits together: sides that can be halved, channels that heads divide."""
    if not isinstance(knob.base, int):
        return knob
    for multiple in {"width": channel_multiples(graph), "resolution": SIDES}.get(dimension, ()):
        coarser = replace(knob, multiple=multiple)
        if all(_fits(net, {**args, knob.name: coarser.at(probe)}) for probe in PROBES):
            return coarser
    return knob


def _fits(net: NetValue, args: Mapping[str, Value]) -> bool:
    try:
        return bool(lower(net, args).graph.nodes)
    except ArchError:
        return False


def _edits(subject: Subject, places: _Places, missing: Sequence[str]) -> tuple[dict[str, Edit], dict[str, ArchError]]:
    edits: dict[str, Edit] = {}
    refused: dict[str, ArchError] = {}
    for dimension in missing:
        try:
            edits[dimension] = EDITS[dimension](subject)
        except Refused as error:
            refused[dimension] = fail(
                "E1404",
                f"the {dimension} cannot be scaled: {error.message}",
                places.span(error.node),
                help=_HELP.format(dimension),
            )
    return edits, refused


_HELP = "leave the {0} as it is (`--fix {0}`), or name a parameter of the net that scales it: `--param {0}=NAME`"


class _Places:
    """Where parts of a subject stand in the files that it was made from."""

    def __init__(self, net: NetValue, subject: Subject) -> None:
        self.net, self.subject = net, subject

    def span(self, node: tree.Node | None) -> Span:
        """The place of the statement around the node; the net's name where that is not to be found."""
        line = self.subject.line_of.get(id(node)) if node is not None else None
        if line is not None:
            owner = self._definition(line.of.name.id)
            same = next((each for each in owner.walk() if each == line.stmt), None) if owner is not None else None
            if same is not None:
                return same.span
        return self.net.decl.name.span

    def _definition(self, name: str) -> tree.Node | None:
        if name == self.net.decl.name.id:
            return self.net.decl
        module: Module = self.net.module
        for _ in range(MOST_FILES):
            found = module.names.get(name)
            if isinstance(found, Imported):
                module, name = found.module, found.name
                continue
            return getattr(found, "decl", None)
        return None

    def left(self, dimension: str, edit: Edit) -> Iterator[str]:
        """What stays as it is: the values that the outputs need, and those within blocks."""
        told = [self._told(use.node, _FITS[dimension]) for use in edit.left if not isinstance(use.node, tree.Blank)]
        told += [
            self._told(use.node, f"it is within `{use.where.name.id}`")
            for use in self.subject.uses
            if self._in_block(use, _ROLES.get(dimension))
        ]
        yield from told[:MOST_NOTES]
        if len(told) > MOST_NOTES:
            yield f"and {len(told) - MOST_NOTES} more places that are not scaled with the {dimension}"

    def _told(self, node: tree.Expr, why: str) -> str:
        return f"{self.span(node)}: `{print_expr(node)}` stays as it is: {why}"

    def _in_block(self, use: Use, role: Role | None) -> bool:
        written_out = isinstance(use.node, tree.Number) and id(use.node) in self.subject.line_of
        return use.role is role and isinstance(use.where, tree.BlockDef) and written_out


MOST_FILES = 20

_ROLES = {"width": Role.WIDTH, "depth": Role.REPEATS}
_FITS = {"width": "the outputs need it", "depth": "more of it does not fit"}


def amounts(graph: Graph) -> dict[str, int]:
    """params, macs and flops of a network."""
    total = cost(graph).total
    return {"params": total.params, "macs": total.macs, "flops": total.flops}
