"""The union of a space: every site that some candidate has, and every form that it takes.

Found by the proof that a space fits (`archlang.lower.proof`): it elaborates all alternatives at once, and here it
notes the ops that it meets by their sites. What is forgotten where states merge is which alternatives come together,
so a form may be noted that no candidate takes, never the other way: no candidate has more than its union. What the
instances of a block hold is noted once for equal arguments and inputs, and put in place of each in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from archlang.errors import fail
from archlang.ir.graph import Graph
from archlang.ir.graph import Scope as GraphScope
from archlang.ir.types import TensorType
from archlang.lower.module import Module
from archlang.lower.nets import Lowered, elaborated
from archlang.lower.proof import MAX_WORK, ProofBody, reached
from archlang.lower.region import Region, flatten
from archlang.lower.session import Decision, Defaults, Memo, Session
from archlang.lower.values import Applied, Block, NetValue, Scope, Tensor, Value, is_step
from archlang.lower.ways import Ways, plain, typed
from archlang.ops.base import Op, Param
from archlang.records import record
from archlang.search.space import Space
from archlang.source import Span
from archlang.supernet.names import readable
from archlang.supernet.sites import SitedBody, SitedSession, Tokens


@record(frozen=True)
class Variant:
    """One form that a site takes: the op, and the types of what it is given."""

    op: Op
    inputs: tuple[TensorType, ...]


@dataclass(frozen=True)
class Site:
    """A place of the program. variants: in the order in which they are met. span: of one of the steps."""

    name: str
    variants: tuple[Variant, ...]
    span: Span

    @property
    def op(self) -> type[Op]:
        """The class that all of its ops have."""
        return type(self.variants[0].op)


@dataclass
class _Contents:
    """What a body can hold, all ways together: names relative to it.

    ops: name -> its variants; calls: name -> the blocks that may stand there, by what they are made with."""

    ops: dict[str, dict[Variant, Span]] = field(default_factory=dict)
    calls: dict[str, dict[Hashable, None]] = field(default_factory=dict)
    order: dict[str, None] = field(default_factory=dict)


class _UnionWays(Ways):
    """within: the contents of the body that is elaborated. parts: what is held by a call, by what it is made with;
    several bodies, where its parameters' defaults choose. contexts: decision -> those that were taken when it was first
    met. of_steps: decisions that have a step among their alternatives."""

    def __init__(self, memo: Memo, tokens: Tokens) -> None:
        super().__init__(memo, frozenset(), MAX_WORK)
        self.tokens = tokens
        self.root = self.within = _Contents()
        self.bodies: dict[Hashable, _Contents] = {}
        self.parts: dict[Hashable, dict[Hashable, _Contents]] = {}
        self.contexts: dict[str, dict[str, int]] = {}
        self.of_steps: set[str] = set()

    def decide(self, decision: Decision, per_repeat: bool) -> int:
        if decision.key not in self.contexts:
            self.contexts[decision.key] = self.taken()
        return super().decide(decision, per_repeat)


class _UnionBody(SitedBody, ProofBody):
    """Follows every way, and notes what it meets."""

    session: _UnionWays

    def __init__(
        self, session: Session, scope: Scope | Module, defaults: Defaults, inputs: Sequence[TensorType]
    ) -> None:
        super().__init__(session, scope, defaults, inputs)
        self.contents = self.session.within
        self.making: Hashable = None

    def claimable(self, path: str) -> bool:
        return True

    def chosen(self, decision: Decision, index: int, item: Any) -> Value:
        value = super().chosen(decision, index, item)
        if is_step(value):
            self.session.of_steps.add(decision.key)
        return value

    def added(self, op: Op, type_: TensorType, tensors: Sequence[Tensor], span: Span, label: str) -> Tensor:
        path = self._claim(label or self.fresh(op.name), span)
        self.contents.order[path] = None
        variant = Variant(op, tuple([tensor.type for tensor in tensors]))
        self.contents.ops.setdefault(path, {}).setdefault(variant, span)
        return super().added(op, type_, tensors, span, "")

    def applied(self, step: Applied, tensors: tuple[Tensor, ...], span: Span, label: str) -> Value:
        if not isinstance(step.callee, Block | NetValue):
            return super().applied(step, tensors, span, label)
        types = tuple([tensor.type for tensor in tensors])
        made = (step.callee, plain(step.args), typed(step.kwargs), step.again, types, self.defaults, self.repeat)
        before, self.making = self.making, made
        try:
            return super().applied(step, tensors, span, label)
        finally:
            self.making = before

    def _instance(self, key: Any, build: Callable[[], Region], step: Applied) -> Region:
        body = self.session.bodies.setdefault((key, self.repeat), _Contents())
        self.session.parts.setdefault(self.making, {})[key, self.repeat] = body
        before, self.session.within = self.session.within, body
        try:
            return super()._instance(key, build, step)
        finally:
            self.session.within = before

    def _add_call(self, region: Region, tensors: Any, name: str, instance: Any, span: Span) -> Value:
        name = name or self.fresh(region.name)
        path = self._claim(name, span)
        self.contents.order[path] = None
        self.contents.calls.setdefault(path, {})[self.making] = None
        return super()._add_call(region, tensors, name, instance, span)


@dataclass(frozen=True)
class Union:
    """All that the candidates of a space are made of.

    sites: by name, in the order of the program. contexts: every decision by its key, with some picks under which it is
    met, as far as that is known. of_steps: those that choose among steps. names, tokens: see `archlang.supernet.sites`.
    """

    space: Space
    sites: Mapping[str, Site]
    contexts: Mapping[str, Mapping[str, int]]
    of_steps: frozenset[str]
    names: Mapping[str, str]
    tokens: Tokens
    memo: Memo

    def graph(self, picks: Mapping[str, int]) -> Graph:
        """A candidate whose nodes are called by their sites; else node for node `space.graph(picks)`.

        Of a decision that `picks` leaves open it takes the first alternative. Raises ArchError where the picks do not
        fit together.
        """
        return self.lowered(picks)[0]

    def lowered(
        self, picks: Mapping[str, int], choose: Callable[[Decision], int] = lambda decision: 0
    ) -> tuple[Graph, dict[str, int]]:
        """A candidate as by `graph`, and the decisions that it reads, in order. choose: takes those that are open."""
        found = self._elaborated(picks, choose)
        return self._renamed(found.graph), dict(found.trace)

    def whole(self, picks: Mapping[str, int]) -> Graph:
        """A candidate as by `graph`, with the nodes that no output needs."""
        found = self._elaborated(picks, lambda decision: 0)
        return self._renamed(flatten(found.region, found.outputs, found.region.name, found.doc))

    def _elaborated(self, picks: Mapping[str, int], choose: Callable[[Decision], int]) -> Lowered:
        session = SitedSession(self.tokens, picks, self.memo, choose)
        return elaborated(self.space.net, self.space.args, session, SitedBody)

    def _renamed(self, graph: Graph) -> Graph:
        nodes = tuple([replace(node, name=self.names[node.name]) for node in graph.nodes])
        scopes = {self.names[path]: self._fed(scope) for path, scope in graph.scopes.items() if path in self.names}
        return replace(graph, nodes=nodes, scopes=scopes)

    def _fed(self, scope: GraphScope) -> GraphScope:
        """The scope with the sites that feed a cell."""
        return replace(scope, inputs=tuple([(name, self.names.get(node, node)) for name, node in scope.inputs]))

    @cached_property
    def params(self) -> dict[str, Param]:
        """Every shared array by its full name."""
        from archlang.supernet.sharing import shared

        return {f"{site.name}.{local}": param for site in self.sites.values() for local, param in shared(site).items()}


def union(space: Space) -> Union:
    """The union of a space. Raises ArchError E1301 where it takes too much work to find, and located ones for what
    cannot share its weights."""
    from archlang.supernet.sharing import check

    tokens, memo = Tokens(), Memo(decisions=space.memo.decisions)
    session = _UnionWays(memo, tokens)
    found = reached(session, space.net, space.args, _UnionBody)
    if found is None:
        help_ = "let fewer choices decide about the existence of others"
        raise fail("E1301", f"`{space.name}` is too large to be followed", space.net.decl.name.span, help=help_)
    held = list(_unfolded(session, session.root, ""))
    names = readable([path for path, _ in held], tokens)
    sites = {names[path]: Site(names[path], tuple(ops), next(iter(ops.values()))) for path, ops in held}
    check(sites.values())
    memo = Memo(decisions=space.memo.decisions)
    return Union(space, sites, session.contexts, frozenset(session.of_steps), names, tokens, memo)


def _unfolded(session: _UnionWays, contents: _Contents, prefix: str) -> Iterator[tuple[str, dict[Variant, Span]]]:
    """Every op with its whole path, what the calls hold put in their place."""
    for path in contents.order:
        if path in contents.ops:
            yield prefix + path, contents.ops[path]
        made = contents.calls.get(path, {})
        merged = _merged([body for key in made for body in session.parts[key].values()])
        yield from _unfolded(session, merged, f"{prefix}{path}.")


def _merged(bodies: Sequence[_Contents]) -> _Contents:
    """Several bodies that may stand at one place as one."""
    if len(bodies) == 1:
        return bodies[0]
    merged = _Contents()
    for body in bodies:
        merged.order.update(body.order)
        for path, ops in body.ops.items():
            merged.ops.setdefault(path, {}).update(ops)
        for path, made in body.calls.items():
            merged.calls.setdefault(path, {}).update(made)
    return merged
