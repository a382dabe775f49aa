"""Proves that every combination of a space's choices fits, before any network is built.

The net is elaborated for all alternatives at once, with types alone: no ops are kept. After every statement, row and
repeat the states that are reached are merged where they agree in all that can still matter: the types of the tensors,
and the values whose names occur again. So the work grows with the number of different shapes, not of candidates.

Merging forgets which alternatives led to a state. That is sound for decisions that are read once. One that is read
again, in a block that stands twice, may be tried with both alternatives at a time: such a finding has a conflict
in its picks, and the proof is repeated with that decision remembered in the states (counterexample-guided refinement).
What remains is elaborated for real with its picks: an error is reported only when a candidate has it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

from archlang.errors import ArchError, fail
from archlang.ir.graph import Scope as GraphScope
from archlang.ir.types import TensorType
from archlang.lower.body import Body
from archlang.lower.module import Module
from archlang.lower.nets import elaborated, lower
from archlang.lower.region import Region
from archlang.lower.session import MAX_OPS, Defaults, Memo, Session
from archlang.lower.values import Applied, Block, NetValue, Scope, Tensor, Value
from archlang.lower.ways import START, DeadEnd, Finding, Merged, Outcome, Path, State, Unproved, Ways, plain, typed
from archlang.ops.base import Op
from archlang.source import Span
from archlang.syntax import tree

MAX_WORK = 2_000_000
"""Expressions that one pass of the proof evaluates at most."""

MAX_SHARED = 2_000
"""The most combinations of decisions that are read in several places: they are counted one by one."""

MAX_PASSES = 12


class _Unknown(TensorType):
    """The type of a value that an error left unknown. Whoever asks for its shape gives up in silence."""

    @property
    def shape(self) -> tuple[int, ...]:
        raise DeadEnd

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


UNKNOWN = Tensor(0, object.__new__(_Unknown))


@dataclass(frozen=True)
class Proof:
    """findings: errors that candidates really have, with their picks. proved: no other combination breaks.

    size: how many candidates, told apart by the decisions that they read; None where that needs too much work.
    weight: the largest product, over the candidates, of the numbers of alternatives of their decisions, or more.
    keys: every decision that some candidate reads, in the order of the source as far as it was met.
    """

    findings: tuple[Finding, ...]
    proved: bool
    size: int | None
    keys: tuple[str, ...]
    weight: int | None = None


def _defined(stmt: tree.Assign | tree.Flow | tree.Input) -> list[tree.Name]:
    targets = stmt.targets if isinstance(stmt, tree.Assign) else (stmt.name,)
    return [target for target in targets if isinstance(target, tree.Name)]


def _meanings(scope: Scope | Module, names: frozenset[str]) -> Any:
    """What names mean within a body: the values of those that are not the file's."""
    found = []
    while isinstance(scope, Scope):
        found += [(name, plain(value)) for name, value in scope.names.items() if name in names]
        scope = scope.parent
    return tuple(found)


def _no_scope() -> GraphScope:
    raise AssertionError("a proof makes no scopes")


class ProofBody(Body):
    """A body that follows every way and keeps types only.

    live: names that may be read again before the current statement ends; after: when it has ended.
    """

    session: Ways

    def __init__(
        self, session: Session, scope: Scope | Module, defaults: Defaults, inputs: Sequence[TensorType]
    ) -> None:
        super().__init__(session, scope, defaults, inputs)
        self.own = scope
        self.live: frozenset[str] = frozenset()
        self.after: frozenset[str] = frozenset()
        self.pinned: frozenset[str] = frozenset()
        self.now: State | None = None
        self.open: bool | None = None

    # pieces

    def sequence(self, value: Value, parts: Iterable[Callable[[Value], Value]]) -> Value:
        if not self.open:
            return super().sequence(value, parts)
        found = self.session.outcome(lambda: self._through(value, parts))
        self._put_back(found.state)
        return found.value

    def piece(self, compute: Callable[[], Value]) -> Value:
        """The value of a computation, its outcomes merged."""
        return self.sequence(None, [lambda _before: compute()])

    def _through(self, value: Value, parts: Iterable[Callable[[Value], Value]]) -> list[Outcome]:
        first = self.session.fresh()
        first.value, first.state = value, self._state()
        states = [first]
        for part in parts:
            found = Merged()
            for state in states:
                for path in self.session.ways(state):
                    self._put_back(state.state)
                    self.now = None
                    self.session.follow(lambda: self._arrive(found, path, part(state.value)))  # noqa: B023
            states = found.outcomes
        return states

    def _arrive(self, found: Merged, path: Path, value: Value) -> None:
        found.add(path.outcome(value, self._state()))

    def _state(self) -> State:
        names = dict(self.own.names) if isinstance(self.own, Scope) else {}
        kept = self.live | self.pinned
        live = tuple([(name, plain(value)) for name, value in names.items() if name in kept])
        given = None if self.given is None else tuple(self.given)
        outputs, claimed = tuple(self.outputs), frozenset(self.names)
        changed = (names, self.flow, given, self.defaults, claimed, outputs, tuple(self.aux), self.residuals)
        stacked = (self.prefix, self.residual, self.deciding, self.mentions, self.repeat)
        shapes = tuple([(name, tensor.type) for name, tensor in outputs])
        key = (frozenset(live), plain(self.flow), plain(given), self.defaults, claimed, shapes)
        self.now = State(key, (*changed, *stacked), self.ops)
        return self.now

    def _put_back(self, state: State | None) -> None:
        """What statements change in a body, and what an error may leave changed."""
        assert state is not None
        if state is self.now:
            return
        names, self.flow, given, self.defaults, claimed, outputs, aux, self.residuals, *stacked = state.held
        self.prefix, self.residual, self.deciding, self.mentions, self.repeat = stacked
        self.given = None if given is None else list(given)
        self.names, self.outputs, self.aux = set(claimed), list(outputs), list(aux)
        if isinstance(self.own, Scope):
            self.own.names.clear()
            self.own.names.update(names)
        self.ops, self.now = state.ops, state

    # statements

    def suite(self, suite: tree.Suite) -> None:
        if self.open is None:
            self.open, self.pinned = self.session.chooses(suite, self.scope), self.session.pinned_in(suite)
        if self.open:
            self._open_suite(suite)
            return
        for stmt in suite.body:
            self._recovering(stmt)

    def _recovering(self, stmt: tree.Stmt) -> None:
        """Elaborate a statement. After an error what it would have made is unknown."""
        if self.session.follow(lambda: super(ProofBody, self).stmt(stmt)):
            return
        assert isinstance(self.own, Scope)
        if not isinstance(stmt, tree.Assign | tree.Default | tree.Aux):
            self.flow = UNKNOWN
        for part in stmt.walk():
            if isinstance(part, tree.Assign | tree.Flow | tree.Input):
                self.own.names.update((name.id, UNKNOWN) for name in _defined(part))

    def apart(self, node: tree.Node, part: tuple[Any, ...], compute: Callable[[], Any]) -> Any:
        """A table's cells: their alternatives are found once for all states in which their names mean the same."""
        if not self.open:
            return compute()
        names = self.session.names_in(node)
        flow = self.flow if self.session.reads_flow(node) else None
        place = (id(node), part, self.repeat, self.mentions, plain(flow), _meanings(self.scope, names))
        return self.session.remembered(place, compute)

    def _apply_call(self, step: Applied, tensors: tuple[Tensor, ...], span: Span, label: str) -> Value:
        """An instance of a block: what it can become is found once for equal arguments and types."""
        if not (self.open and isinstance(step.callee, Block)):
            return super()._apply_call(step, tensors, span, label)
        self._check_inputs(step.callee, len(tensors), step.span)
        types = tuple(tensor.type for tensor in tensors)
        place = (step.callee, plain(step.args), typed(step.kwargs), step.again, types, self.defaults, self.repeat)
        block = step.callee
        region = self.session.remembered(place, lambda: self.block_region(block, step, tensors)[0])
        return self._add_call(region, tensors, label, _no_scope, step.span)

    def naming(self, name: Callable[[], str]) -> str:
        return ""

    def complain(self, error: ArchError, likely: Tensor) -> Tensor:
        self.session.broken(error)
        return likely

    def expanding(self, compute: Callable[[], Any], step: Callable[[], str]) -> Any:
        return self.session.expanding(compute, step)

    def lookup(self, name: str, span: Span) -> Value:
        value = super().lookup(name, span)
        if value is UNKNOWN:
            raise DeadEnd
        return value

    def _open_suite(self, suite: tree.Suite) -> None:
        live, after = self.live, self.after
        rest = after
        parts: list[Callable[[Value], None]] = []
        for stmt in reversed(suite.body):
            parts.insert(0, self._part(stmt, rest))
            rest = rest | self.session.names_in(stmt)
        try:
            self.sequence(None, parts)
        finally:
            self.live, self.after = live, after

    def _part(self, stmt: tree.Stmt, rest: frozenset[str]) -> Callable[[Value], None]:
        within = rest | self.session.names_in(stmt)
        lines = isinstance(stmt, tree.If | tree.Stage | tree.Aux)

        def run(_before: Value) -> None:
            self.live, self.after = within, rest if lines else within
            self._recovering(stmt)
            self.live = rest

        return run

    def stmt(self, stmt: tree.Stmt) -> None:
        """A branch of a group: one line of it after the other, each from the same value."""
        if self.open:
            self.piece(lambda: self._recovering(stmt))
        else:
            self._recovering(stmt)

    def _flow_step(self, value: Tensor | None, node: tree.Expr, label: str) -> Value:
        if value is UNKNOWN:
            raise DeadEnd
        if self.open and isinstance(node, tree.Pipe):
            return self.piece(lambda: super(ProofBody, self)._flow_step(value, node, label))
        return super()._flow_step(value, node, label)

    # types instead of ops

    def add(self, op: Op, type_: TensorType, tensors: Sequence[Tensor], span: Span, label: str = "") -> Tensor:
        if label:
            self._claim(label, span)
        self._grow(1, span)
        return Tensor(0, type_)

    def _grow(self, ops: int, span: Span) -> None:
        self.ops += ops
        if self.ops > MAX_OPS:
            raise fail("E0401", f"the network has more than {MAX_OPS:,} ops", span)

    def _add_call(
        self, region: Region, tensors: tuple[Tensor, ...], name: str, instance: Callable[[], GraphScope], span: Span
    ) -> Value:
        if name:
            self._claim(name, span)
        self._grow(region.ops, span)
        outputs = tuple(Tensor(0, type_) for type_ in region.types)
        return outputs[0] if len(outputs) == 1 else outputs

    def fresh(self, kind: str) -> str:
        """Names that nobody gave are always free."""
        return ""

    def _claim(self, name: str, span: Span) -> str:
        return name if "?" in self.prefix else super()._claim(name, span)

    @contextmanager
    def within(self, name: str, scope: GraphScope, sequence: bool = False) -> Iterator[None]:
        before = self.prefix
        self.prefix = f"{self._claim(name, scope.span)}." if name and scope.span else "?"
        try:
            yield
        finally:
            self.prefix = before

    def block_region(self, block: Block, step: Applied, tensors: tuple[Tensor, ...]) -> tuple[Region, Scope]:
        before, self.session.repeat = self.session.repeat, self.repeat
        try:
            return super().block_region(block, step, tensors)
        finally:
            self.session.repeat = before


def prove(net: NetValue, args: Mapping[str, Value], memo: Memo) -> Proof:
    """Whether every combination of the alternatives of `net` fits, and how many there are.

    Of a net without choices: all of its independent errors.
    """
    remember: frozenset[str] = frozenset()
    for _ in range(MAX_PASSES):
        session = Ways(memo, remember, MAX_WORK)
        outcomes = reached(session, net, args)
        if outcomes is None:
            return Proof((), False, None, tuple(session.met))
        clashing = frozenset[str]().union(*(finding.conflicts for finding in session.findings.values()))
        if clashing <= remember:
            return _concluded(session, outcomes, net, args)
        remember |= clashing
    return Proof((), False, None, tuple(session.met))


def reached(
    session: Ways, net: NetValue, args: Mapping[str, Value], kind: type[ProofBody] = ProofBody
) -> list[Outcome] | None:
    """What the whole net can become; None where that needs too much work."""
    found = Merged()
    try:
        with _deep_stack():
            for path in session.ways(START):
                session.follow(
                    lambda path=path: found.add(path.outcome(elaborated(net, args, session, kind).region, None)),  # type: ignore[misc]
                )
    except (Unproved, RecursionError):
        return None
    return found.outcomes


@contextmanager
def _deep_stack() -> Iterator[None]:
    """Room for blocks within blocks up to their limit: a proof takes some twenty frames for each."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 10_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _concluded(session: Ways, outcomes: list[Outcome], net: NetValue, args: Mapping[str, Value]) -> Proof:
    findings = tuple(session.findings.values())
    real = tuple(found for found in findings if not found.picks or fault(net, args, found.picks, session.memo))
    counted = _counted(session, outcomes, net, args)
    size = None if counted is None or len(real) < len(findings) else sum(outcome.count for outcome in counted)
    weight = max((outcome.weight for outcome in counted or outcomes), default=1)
    return Proof(real, len(real) == len(findings), size, tuple(session.met), weight)


def fault(net: NetValue, args: Mapping[str, Value], picks: Mapping[str, int], memo: Memo) -> ArchError | None:
    """The error of one candidate, elaborated for real; None where it fits."""
    try:
        lower(net, args, picks, memo)
    except ArchError as error:
        return error
    return None


def _counted(session: Ways, outcomes: list[Outcome], net: NetValue, args: Mapping[str, Value]) -> list[Outcome] | None:
    """Outcomes whose counts are exact: every decision that is read again is remembered."""
    shared = frozenset(session.again) | session.remember
    if prod(session.memo.decisions[key].count for key in shared) > MAX_SHARED:
        return None
    if shared == session.remember:
        return outcomes
    session = Ways(session.memo, shared, MAX_WORK)
    counted = reached(session, net, args)
    return counted if session.again <= shared else None
