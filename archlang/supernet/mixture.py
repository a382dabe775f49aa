"""All alternatives of some decisions at once, weighted: the relaxation of DARTS (arXiv:1806.09055, section 2.2).

A candidate is elaborated in which these decisions are left open. An expression that meets one is evaluated for each of
its alternatives (and all combinations, where it meets several); what they make, tensors of one shape, is joined by a
`Mixture`. Each call is joined by itself, so an edge with eight operations costs eight, not eight times those before it.
What an open decision gives that is no tensor, such as the index of an input, stays open until a call reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from archlang.errors import ArchError, fail
from archlang.ir.graph import Graph
from archlang.ir.types import TensorType
from archlang.lower.module import Module
from archlang.lower.nets import elaborated
from archlang.lower.region import Region
from archlang.lower.session import Decision, Defaults, Memo, Session
from archlang.lower.values import Applied, Closure, Scope, Tensor, Value, again, is_step
from archlang.ops.base import Op, ShapeError
from archlang.records import record
from archlang.source import Span
from archlang.supernet.sites import SitedBody, SitedSession
from archlang.supernet.union import Union
from archlang.syntax import tree

Way = Mapping[str, int]
"""Open decision -> the alternative."""


@record(frozen=True)
class Mixture(Op):
    """The sum of tensors of one shape, weighted by the product of the weights of the alternatives of each."""

    ways: tuple[tuple[tuple[str, int], ...], ...]

    def infer(self, *xs: TensorType) -> TensorType:
        if any(x != xs[0] for x in xs):
            shapes = " and ".join(dict.fromkeys(map(str, xs)))
            raise ShapeError(f"the alternatives give {shapes}, which cannot be mixed", code="E1310")
        return xs[0]


@dataclass(frozen=True, eq=False)
class _Open:
    """A value that depends on open decisions: what each way through them gives."""

    ways: tuple[tuple[Way, Value], ...]

    def __str__(self) -> str:
        return "a value of an open decision"


@dataclass(frozen=True, eq=False)
class _OpenStep(Closure):
    """A step that depends on open decisions."""

    ways: tuple[tuple[Way, Value], ...] = ()

    def again(self) -> _OpenStep:
        return replace(self, ways=tuple((way, again(step)) for way, step in self.ways))


class _MixedSession(SitedSession):
    """keys: the decisions that are left open. way: their alternatives on the way that is followed now. read: those that
    were asked for lately."""

    def __init__(self, union: Union, keys: frozenset[str], picks: Mapping[str, int]) -> None:
        super().__init__(union.tokens, picks, Memo(decisions=union.memo.decisions))
        self.keys = keys
        self.way: dict[str, int] = {}
        self.read: set[str] = set()

    def decide(self, decision: Decision, per_repeat: bool) -> int:
        if decision.key not in self.keys:
            return super().decide(decision, per_repeat)
        self.read.add(decision.key)
        return self.way.setdefault(decision.key, 0)

    def region(self, key: Any, build: Callable[[], Region], span: Span) -> Region:
        """Built anew: what a body becomes depends on the way, too."""
        with self.deeper(span):
            return build()


class _MixedBody(SitedBody):
    """depth: how many expressions are being evaluated, one within the other. applications: what calls made."""

    session: _MixedSession

    def __init__(
        self, session: Session, scope: Scope | Module, defaults: Defaults, inputs: Sequence[TensorType]
    ) -> None:
        super().__init__(session, scope, defaults, inputs)
        self.depth = 0
        self.applications: dict[Any, Value] = {}

    def claimable(self, path: str) -> bool:
        """A site may stand in the network several times, in several forms."""
        return True

    # the ways through an expression

    def eval(self, node: tree.Expr) -> Value:
        if self.depth and not isinstance(node, tree.Call):
            return super().eval(node)
        return self.every(lambda: super(_MixedBody, self).eval(node), node.span)

    def _call(self, node: tree.Call, label: str = "") -> Value:
        return self.every(lambda: super(_MixedBody, self)._call(node, label), node.span)

    def _unit(self, stmt: tree.Table, cells: Any, row: tree.Row, i: int) -> Any:
        return self.every(lambda: super(_MixedBody, self)._unit(stmt, cells, row, i), row.span)

    def every(self, compute: Callable[[], Value], span: Span) -> Value:
        """What `compute` gives on every way: a mixture of tensors, or an open value.

        Within another expression a value that is no tensor is left to that one: it follows the ways.
        """
        outer = dict(self.session.way)
        with self._deeper():
            first = compute()
        if self.session.way.keys() == outer.keys() or (self.depth and not _tensors(first)):
            return first
        ways = [(self._own(outer), first)]
        waiting = list(self._others(outer))
        try:
            while waiting:
                self.session.way = dict(waiting.pop())
                known = dict(self.session.way)
                with self._deeper():
                    ways.append(({}, compute()))
                ways[-1] = (self._own(outer), ways[-1][1])
                waiting += self._others(known)
        finally:
            self.session.way = outer
        return self._joined(ways, span)

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def _own(self, outer: Way) -> Way:
        return {key: index for key, index in self.session.way.items() if key not in outer}

    def _others(self, known: Way) -> Iterator[Way]:
        """The ways that part from this one at a decision which is not known yet."""
        way = dict(known)
        for key, index in self.session.way.items():
            if key not in known:
                count = self.session.memo.decisions[key].count
                yield from ({**way, key: other} for other in range(1, count))
                way[key] = index

    def _joined(self, ways: Sequence[tuple[Way, Value]], span: Span) -> Value:
        values = [value for _, value in ways]
        if all(isinstance(value, Tensor) for value in values):
            op = Mixture(tuple(tuple(way.items()) for way, _ in ways))
            return self.emit(op, values, span, self.fresh("mixture"))
        if all(_tensors(value) for value in values) and len({len(value) for value in values}) == 1:
            return tuple(self._joined([(way, value[i]) for way, value in ways], span) for i in range(len(values[0])))
        if all(map(is_step, values)):
            return _OpenStep(tree.Number(span, "0"), self.scope, (), tuple(ways))
        return _Open(tuple(ways))

    def lookup(self, name: str, span: Span) -> Value:
        value = super().lookup(name, span)
        return self._followed(value) if isinstance(value, _Open) else value

    def _followed(self, value: _Open) -> Value:
        """What an open value is on this way."""
        ways = list(value.ways)
        while True:
            self.session.read.update(ways[0][0])
            undecided = next((key for key in ways[0][0] if key not in self.session.way), None)
            if undecided is not None:
                self.session.way[undecided] = 0
            ways = [(way, found) for way, found in ways if self._agrees(way)]
            if undecided is None and len(ways) == 1:
                return ways[0][1]

    def _agrees(self, way: Way) -> bool:
        return all(self.session.way.get(key, index) == index for key, index in way.items())

    # steps

    def apply(self, step: Value, tensors: tuple[Tensor, ...], span: Span, label: str = "") -> Value:
        if not isinstance(step, _OpenStep):
            return super().apply(step, tensors, span, label)
        return self._each_way(step, lambda part: self.apply(part, tensors, span, label), span)

    def _each_way(self, step: _OpenStep, run: Callable[[Value], Value], span: Span) -> Value:
        ways, outer = [], dict(self.session.way)
        try:
            for way, part in step.ways:
                self.session.way = outer
                if self._agrees(way):
                    self.session.way = {**outer, **way}
                    ways.append(({key: way[key] for key in way if key not in outer}, run(part)))
        finally:
            self.session.way = outer
        return ways[0][1] if len(ways) == 1 else self._joined(ways, span)

    def _advance(self, unit: Any, row: tree.Row, name: str) -> None:
        if not isinstance(unit, _OpenStep):
            super()._advance(unit, row, name)
            return
        start = self.flow

        def run(part: Value) -> Value:
            self.flow = start
            super(_MixedBody, self)._advance(part, row, name)
            return self.flow

        self.flow = self._each_way(unit, run, row.span)

    def applied(self, step: Applied, tensors: tuple[Tensor, ...], span: Span, label: str) -> Value:
        """Equal calls at one place are one, though several ways lead there: unless the way matters within it."""
        place = (self.prefix, label, *[frame.key for frame in self.frames])
        key = (step.key, step.taken, tuple([tensor.ref for tensor in tensors]), place, self.defaults)
        if key in self.applications:
            return self.applications[key]
        before, self.session.read = self.session.read, set()
        result = super().applied(step, tensors, span, label)
        if not self.session.read & self.session.way.keys():
            self.applications[key] = result
        self.session.read |= before
        return result

    def naming(self, name: Callable[[], str]) -> str:
        return ""


def _tensors(value: Value) -> bool:
    """Whether a value is a tensor, or several."""
    if isinstance(value, tuple):
        return bool(value) and all(isinstance(item, Tensor) for item in value)
    return isinstance(value, Tensor)


def mixed(union: Union, keys: frozenset[str], picks: Mapping[str, int]) -> Graph:
    """The network of `picks` with some decisions left open; nodes are called by their sites.

    A decision that `picks` leaves open, as the alternatives of another may wake it, takes its first alternative.
    Raises ArchError where alternatives differ in shape, or in more than steps and what these are given.
    """
    session = _MixedSession(union, keys, picks)
    graph = elaborated(union.space.net, union.space.args, session, _MixedBody).graph
    return replace(
        graph, nodes=tuple([replace(node, name=union.names.get(node.name, node.name)) for node in graph.nodes])
    )


def mixable(union: Union, picks: Mapping[str, int]) -> tuple[str, ...]:
    """The decisions that can be left open, each by itself, all else being as in `picks`."""
    return tuple(key for key in union.contexts if _fault(union, key, picks) is None)


def _fault(union: Union, key: str, picks: Mapping[str, int]) -> ArchError | None:
    decision = union.memo.decisions[key]
    try:
        graph = mixed(union, frozenset((key,)), {**picks, **union.contexts[key]})
    except ArchError as error:
        return error
    if not any(isinstance(node.op, Mixture) for node in graph.nodes):
        return fail("E1310", "nothing reads them", decision.span)
    return None


def check(union: Union, keys: Sequence[str], picks: Mapping[str, int]) -> None:
    """Raise ArchError E1310 for the first decision that cannot be left open, where it stands."""
    for key in keys:
        if key not in union.contexts:
            raise fail("E1307", f"`{union.space.name}` has no decision {key}", union.space.net.decl.name.span)
        error = _fault(union, key, picks)
        if error is not None:
            decision, why = union.memo.decisions[key], error.diagnostics[0].message
            raise fail("E1310", f"the alternatives of {decision.label} cannot be mixed: {why}", decision.span)
