"""A net piece by piece: each statement, row of a table and repeat is elaborated by itself, from the state before it.

A search looks at thousands of candidates that differ in few decisions. What a piece becomes depends on nothing but the
state before it and the decisions that it reads, so it is elaborated once for each of these, and a candidate is the
sequence of its pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from archlang.collector import paused
from archlang.errors import ArchError
from archlang.ir.graph import Graph
from archlang.ir.types import TensorType
from archlang.lower.body import Body
from archlang.lower.depth import deep
from archlang.lower.module import Module
from archlang.lower.nets import begun
from archlang.lower.region import Region, standalone
from archlang.lower.session import Decision, Defaults, Memo, Session
from archlang.lower.values import NetValue, Scope, Tensor, Value
from archlang.source import Span
from archlang.syntax import tree

Choose = Callable[[Decision], int]

_OPEN = (tree.Table, tree.For, tree.If, tree.Stage)
"""Statements that do nothing after the statements, rows or repeats within them."""


@dataclass(frozen=True)
class Part:
    """What is still to be elaborated. In the same state, parts with equal keys do the same. names: that it mentions.

    prefix: of the modules that it makes.
    """

    key: Any
    run: Callable[[], None] = field(compare=False)
    names: frozenset[str] = field(compare=False)
    prefix: str = field(compare=False)


@dataclass(frozen=True)
class State:
    """Where a net stands between two pieces.

    types: of the tensors that later parts may need; they are numbered from 0. names: those that later parts mention.
    kinds: the types of their values, since 1 is equal to true. claimed: modules that the source gives a name.
    body: what goes on from here.
    """

    body: PieceBody
    agenda: tuple[Part, ...]
    types: tuple[TensorType, ...]
    flow: Tensor | None
    outputs: tuple[tuple[str, Tensor], ...]
    defaults: Defaults
    names: tuple[tuple[str, Value], ...]
    kinds: tuple[type, ...]
    claimed: frozenset[str]


@dataclass(frozen=True)
class Piece:
    """What a part became. reads: the decisions that it read, key -> index, in order.

    region: its ops, which take tensors of the types `before`; None at the start of a net. after: the state that it
    leads to; None after the last piece. fault: the error that it made instead.
    """

    reads: Mapping[str, int]
    region: Region | None = None
    before: tuple[TensorType, ...] = ()
    after: State | None = None
    fault: ArchError | None = None

    @property
    def graph(self) -> Graph:
        """The ops as a network of their own; what they take from earlier pieces are its inputs."""
        assert self.region is not None
        return standalone(self.region, self.before)


class Pieces:
    """The pieces of a net with the given arguments."""

    def __init__(self, net: NetValue, args: Mapping[str, Value], memo: Memo) -> None:
        self.net, self.args, self.memo = net, args, memo

    def start(self, picks: Mapping[str, int], choose: Choose) -> Piece:
        """The net before its first statement. Reads the decisions in its parameters."""
        session = Session(picks, self.memo, choose)
        try:
            with paused(), deep(self.net.decl.name.span):
                body = begun(self.net, self.args, session, PieceBody)
                after = body.open(self.net)
        except ArchError as error:
            return Piece(session.trace, fault=error)
        return Piece(session.trace, after=after)

    def next(self, state: State, picks: Mapping[str, int], choose: Choose) -> Piece:
        """The next piece. A decision that `picks` leaves open is left to `choose`."""
        session = Session(picks, self.memo, choose)
        session.entry = self.net.module.source
        try:
            with paused(), deep(self.net.decl.name.span):
                region, after = state.body.go_on(state, session)
        except ArchError as error:
            return Piece(session.trace, fault=error)
        return Piece(session.trace, region, state.types, after)


class PieceBody(Body):
    """A body that is left after every part, and entered again in the state before another one.

    tail: whether the part does nothing after what is elaborated now, which can be a part of its own then.
    """

    tail = False

    def __init__(
        self, session: Session, scope: Scope | Module, defaults: Defaults, inputs: Sequence[TensorType]
    ) -> None:
        super().__init__(session, scope, defaults, inputs)
        self.free: set[str] = set()
        self.claimed: set[str] = set()

    def open(self, net: NetValue) -> State:
        """The state before the first statement."""
        assert isinstance(self.scope, Scope)
        self.declared, self.own = net, self.scope
        self.mentioned: frozenset[str] = frozenset()
        self.pushed: list[Part] = []
        closures = [stmt for stmt in net.decl.suite.body if isinstance(stmt, tree.FnDef)]
        self.always = frozenset[str]().union(*map(_names, closures))
        self._push_suite(net.decl.suite)
        return self._state(tuple(self.pushed), ())

    def go_on(self, state: State, session: Session) -> tuple[Region, State | None]:
        """Elaborate the first part of the agenda: its ops, and the state after it, None where it was the last."""
        self.session = session
        self._enter(state)
        part, *rest = state.agenda
        self.pushed, self.mentioned, self.prefix, self.tail = [], part.names, part.prefix, True
        part.run()
        agenda = (*self.pushed, *rest)
        if not agenda:
            self.conclude(self.declared)
            return self.region(self.declared.name, [tensor for _, tensor in self.outputs]), None
        live = list(dict.fromkeys(self._tensors(agenda)))
        return self.region(self.declared.name, live), self._state(agenda, live)

    def _enter(self, state: State) -> None:
        self.scope = self.own
        self.own.names.clear()
        self.own.names.update(state.names)
        self.types, self.inputs, self.steps = list(state.types), len(state.types), []
        self.flow, self.outputs, self.defaults = state.flow, list(state.outputs), state.defaults
        self.counts, self.names, self.scopes = {}, set(state.claimed), {}
        self.free, self.claimed = set(), set(state.claimed)
        self.residuals = self.residual = self.ops = 0
        self.locals, self.aux, self.expectations = {}, [], []
        self.repeat, self.deciding, self.mentions = "", "", ()

    def _kept(self, agenda: Sequence[Part]) -> dict[str, Value]:
        """The names that later parts mention."""
        mentioned = self.always.union(*(part.names for part in agenda))
        return {name: value for name, value in self.own.names.items() if name in mentioned}

    def _tensors(self, agenda: Sequence[Part]) -> Iterator[Tensor]:
        """What later parts may need of what was computed."""
        if self.flow is not None:
            yield self.flow
        for _, tensor in self.outputs:
            yield tensor
        for value in self._kept(agenda).values():
            yield from _tensors_in(value)

    def _state(self, agenda: tuple[Part, ...], live: Sequence[Tensor]) -> State:
        numbers = {tensor.ref: i for i, tensor in enumerate(live)}
        kept = {name: _numbered(value, numbers) for name, value in self._kept(agenda).items()}
        return State(
            self,
            agenda,
            tuple([tensor.type for tensor in live]),
            _numbered(self.flow, numbers),
            tuple([(name, _numbered(tensor, numbers)) for name, tensor in self.outputs]),
            self.defaults,
            tuple(kept.items()),
            tuple(map(type, kept.values())),
            frozenset(self.claimed),
        )

    # names: those that nobody gave are numbered anew in every piece, and never in the way of another

    def fresh(self, kind: str) -> str:
        name = super().fresh(kind)
        self.free.add(name)
        return name

    def _claim(self, name: str, span: Span) -> str:
        path = super()._claim(name, span)
        if name not in self.free and not name.isdigit():
            self.claimed.add(path)
        return path

    # what becomes a part of its own

    def suite(self, suite: tree.Suite) -> None:
        if self.tail:
            self._push_suite(suite)
        else:
            super().suite(suite)

    def _push_suite(self, suite: tree.Suite) -> None:
        self.pushed += [Part(id(stmt), partial(self.stmt, stmt), _names(stmt), self.prefix) for stmt in suite.body]

    def rest(self, parts: Iterable[tuple[Any, Callable[[], None]]]) -> None:
        if self.tail:
            self.pushed += [Part(key, run, self.mentioned, self.prefix) for key, run in parts]
        else:
            super().rest(parts)

    def stmt(self, stmt: tree.Stmt) -> None:
        before, self.tail = self.tail, self.tail and isinstance(stmt, _OPEN)
        super().stmt(stmt)
        self.tail = before


def _names(node: tree.Node) -> frozenset[str]:
    return frozenset(part.id for part in node.walk() if isinstance(part, tree.Name))


def _tensors_in(value: Value) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _tensors_in(item)


def _numbered(value: Value, numbers: Mapping[int, int]) -> Value:
    """The value with its tensors numbered anew."""
    if isinstance(value, Tensor):
        return Tensor(numbers[value.ref], value.type)
    return tuple(_numbered(item, numbers) for item in value) if isinstance(value, tuple) else value
