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
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from archlang.errors import ArchError, fail
from archlang.ir.graph import Scope as GraphScope
from archlang.ir.types import TensorType
from archlang.lower.body import Body
from archlang.lower.module import Module
from archlang.lower.nets import elaborated, lower
from archlang.lower.region import Region
from archlang.lower.session import MAX_OPS, Decision, Defaults, Memo, Session
from archlang.lower.steps import shape_of
from archlang.lower.values import Applied, Block, NetValue, Scope, Tensor, Value
from archlang.ops.base import Op
from archlang.source import Span
from archlang.syntax import tree

MAX_WORK = 1_500_000
"""Expressions that one pass of the proof evaluates at most."""

MAX_SHARED = 2_000
"""The most combinations of decisions that are read in several places: they are counted one by one."""

MAX_PASSES = 12


class Unproved(Exception):
    """The proof needs more work than the limit."""


def place_of(error: ArchError) -> Any:
    """What makes two errors of a space one: several combinations lead to it, in words that name their sizes."""
    return error.diagnostics[0].code, error.diagnostics[0].span


class _DeadEnd(Exception):
    """Nothing can be said from here on: an error, which has been noted, left no value."""


class _Unknown(TensorType):
    """The type of a value that an error left unknown. Whoever asks for its shape gives up in silence."""

    @property
    def shape(self) -> tuple[int, ...]:
        raise _DeadEnd

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


UNKNOWN = Tensor(0, object.__new__(_Unknown))


@dataclass(frozen=True)
class Finding:
    """An error, and the decisions that led there on one way. after: other errors came before it on this way."""

    error: ArchError
    picks: Mapping[str, int]
    conflicts: frozenset[str]
    after: bool

    @property
    def doubt(self) -> tuple[int, bool]:
        """Of several ways to an error the one with the least is told."""
        return len(self.conflicts), self.after


@dataclass(frozen=True)
class Proof:
    """findings: errors that candidates really have, with their picks. proved: no other combination breaks.

    size: how many candidates, told apart by the decisions that they read; None where that needs too much work.
    keys: every decision that some candidate reads, in the order of the source as far as it was met.
    """

    findings: tuple[Finding, ...]
    proved: bool
    size: int | None
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _State:
    """What a body holds between two statements, to be put back. key: what of it can still matter."""

    key: Any
    held: tuple[Any, ...]
    ops: int


@dataclass(slots=True)
class _Outcome:
    """One result of a piece of the program, merged from all ways that lead to an equal one.

    picks: those of one of the ways. touched: decisions that some way read. count: how many ways.
    tracked: decisions that must be remembered.
    """

    value: Value
    state: _State | None
    picks: dict[str, int]
    conflicts: frozenset[str]
    touched: frozenset[str]
    tracked: Mapping[str, int]
    count: int

    @property
    def ops(self) -> int:
        if self.state is not None:
            return self.state.ops
        return self.value.ops if isinstance(self.value, Region) else 0


@dataclass(slots=True)
class _Fork:
    """A point where the way parts: which of the options is being followed."""

    options: Sequence[Any]
    index: int = 0


class _Path:
    """One way through a piece of the program. outer: the way of the piece around it."""

    def __init__(self, trail: list[_Fork], outer: _Path | None, start: _Outcome) -> None:
        self.trail, self.outer, self.position = trail, outer, 0
        self.picks = dict(start.picks)
        self.conflicts, self.touched = start.conflicts, start.touched
        self.tracked, self.count = start.tracked, start.count

    def chain(self) -> Iterator[_Path]:
        path: _Path | None = self
        while path is not None:
            yield path
            path = path.outer

    def take(self, picks: Mapping[str, int]) -> None:
        clashes = [key for key, index in picks.items() if self.picks.setdefault(key, index) != index]
        if clashes:
            self.conflicts |= frozenset(clashes)

    def outcome(self, value: Value, state: _State | None) -> _Outcome:
        return _Outcome(value, state, self.picks, self.conflicts, self.touched, self.tracked, self.count)


class _ProofSession(Session):
    """Follows every way. remember: decisions that are kept apart in the states."""

    def __init__(self, memo: Memo, remember: frozenset[str], work: int) -> None:
        super().__init__(memo=memo)
        self.remember, self.work = remember, work
        self.findings: dict[Any, Finding] = {}
        self.again: set[str] = set()
        self.met: dict[str, None] = {}
        self.repeat = ""
        self._names: dict[int, tuple[tree.Node, frozenset[str]]] = {}
        self._pinned: dict[int, tuple[tree.Node, frozenset[str]]] = {}
        self._flows: dict[int, tuple[tree.Node, bool]] = {}
        self._chooses: dict[int, tuple[tree.Node, bool]] = {}
        self._regions: dict[Any, list[_Outcome]] = {}
        self._path = _Path([], None, _START)

    def spend(self, span: Span, amount: int = 1) -> None:
        self.work -= amount
        if self.work < 0:
            raise Unproved

    # ways

    def ways(self, start: _Outcome) -> Iterator[_Path]:
        """Every way through a piece that begins at `start`: the caller runs the piece once for each."""
        outer, trail = self._path, list[_Fork]()
        try:
            while True:
                self._path = _Path(trail, outer, start)
                yield self._path
                while trail and trail[-1].index + 1 == len(trail[-1].options):
                    trail.pop()
                if not trail:
                    return
                trail[-1].index += 1
        finally:
            self._path = outer

    def follow(self, run: Callable[[], None]) -> bool:
        """Go one way to its end; an error is noted. Whether the end was reached."""
        try:
            run()
            return True
        except ArchError as error:
            self.note(error)
        except _DeadEnd:
            pass
        self._path.count = 0
        return False

    def expanding(self, compute: Callable[[], Any], step: Callable[[], str]) -> Any:
        """What `compute` gives; the errors that it notes tell the step of the expansion that led there."""
        known = dict(self.findings)
        try:
            return compute()
        except ArchError as error:
            raise error.expanded(step()) from None
        finally:
            for place, finding in self.findings.items():
                if known.get(place) is not finding:
                    self.findings[place] = replace(finding, error=finding.error.expanded(step()))

    def fork(self, options: Callable[[], Sequence[Any]]) -> Any:
        """The option of this way. They are found once, when the first way arrives here."""
        path = self._path
        if path.position == len(path.trail):
            found = options()
            self._path = path
            if not found:
                raise _DeadEnd
            path.trail.append(_Fork(found))
        parting = path.trail[path.position]
        path.position += 1
        return parting.options[parting.index]

    def outcome(self, options: Callable[[], Sequence[_Outcome]]) -> _Outcome:
        """One of the outcomes of a piece; its decisions become those of this way."""
        found: _Outcome = self.fork(options)
        path = self._path
        self._meet(found.touched)
        path.take(found.picks)
        path.conflicts |= found.conflicts
        path.touched |= found.touched
        path.tracked = found.tracked
        path.count *= found.count
        return found

    @property
    def tracked(self) -> Mapping[str, int]:
        return self._path.tracked

    def fresh(self) -> _Outcome:
        """The beginning of a piece in the middle of this way."""
        return _Outcome(None, None, {}, frozenset(), frozenset(), self._path.tracked, 1)

    def _meet(self, keys: frozenset[str]) -> None:
        for path in self._path.chain():
            self.again |= keys & path.touched

    def note(self, error: ArchError) -> None:
        picks: dict[str, int] = {}
        conflicts: set[str] = set()
        for path in self._path.chain():
            conflicts |= path.conflicts
            conflicts.update(key for key, index in path.picks.items() if picks.setdefault(key, index) != index)
        after = any(path.count == 0 for path in self._path.chain())
        finding = Finding(error, picks, frozenset(conflicts), after)
        place = place_of(error)
        known = self.findings.get(place)
        if known is None or finding.doubt < known.doubt:
            self.findings[place] = finding

    def broken(self, error: ArchError) -> None:
        """Note an error and go on: this way is no candidate any more."""
        self.note(error)
        self._path.count = 0

    # what bodies ask

    def decide(self, decision: Decision, per_repeat: bool) -> int:
        key = decision.key
        self.memo.decisions[key] = decision
        self.met[key] = None
        path = self._path
        if key in path.tracked:
            return path.tracked[key]
        index: int = self.fork(lambda: range(decision.count))
        self._meet(frozenset((key,)))
        path.take({key: index})
        path.touched |= {key}
        if key in self.remember:
            path.tracked = {**path.tracked, key: index}
        return index

    def region(self, key: Any, build: Callable[[], Region], span: Span) -> Region:
        """One of the regions that the block may become: they differ in the types of their outputs."""
        full = (key, self.repeat, frozenset(self.tracked.items()))
        if full not in self._regions:
            with self.deeper(span):
                self._regions[full] = self._built(build)
        region: Region = self.outcome(lambda: self._regions[full]).value
        return region

    def remembered(self, place: Any, compute: Callable[[], Any]) -> Any:
        """One of the values of a computation, which are found once for all ways that come to the same place."""
        full = (place, frozenset(self.tracked.items()))
        if full not in self._regions:
            self._regions[full] = self._built(compute)
        return self.outcome(lambda: self._regions[full]).value

    def _built(self, build: Callable[[], Any]) -> list[_Outcome]:
        found = _Merged()
        for path in self.ways(self.fresh()):
            self.follow(lambda path=path: found.add(path.outcome(build(), None)))  # type: ignore[misc]
        return found.outcomes

    def reads_flow(self, node: tree.Node) -> bool:
        if id(node) not in self._flows:
            self._flows[id(node)] = (node, any(isinstance(part, tree.FlowValue) for part in node.walk()))
        return self._flows[id(node)][1]

    def names_in(self, node: tree.Node) -> frozenset[str]:
        """Every name that occurs in a piece of the source."""
        if id(node) not in self._names:
            names = frozenset(part.id for part in node.walk() if isinstance(part, tree.Name))
            self._names[id(node)] = (node, names)
        return self._names[id(node)][1]

    def pinned_in(self, suite: tree.Suite) -> frozenset[str]:
        """Names that functions and steps written with `_` read when they are called, wherever that is."""
        if id(suite) not in self._pinned:
            late = [node for node in suite.walk() if _is_late(node)]
            self._pinned[id(suite)] = (suite, frozenset[str]().union(*map(self.names_in, late)))
        return self._pinned[id(suite)][1]

    def chooses(self, suite: tree.Suite, scope: Scope | Module) -> bool:
        """Whether a decision may be met in a body: only then its states are worth merging."""
        if id(suite) not in self._chooses:
            module = scope
            while isinstance(module, Scope):
                module = module.parent
            self._chooses[id(suite)] = (suite, may_choose(suite, module))
        return self._chooses[id(suite)][1]


def _is_late(node: tree.Node) -> bool:
    if isinstance(node, tree.Assign):
        return any(isinstance(part, tree.FlowValue) for part in node.walk())
    return isinstance(node, tree.FnDef)


def may_choose(node: tree.Node, module: Module) -> bool:
    """Whether a choice stands in a piece of the source, or in something of the file that it names."""
    seen: set[tuple[int, str]] = set()
    waiting: list[tuple[tree.Node, Module]] = [(node, module)]
    while waiting:
        found, where = waiting.pop()
        for part in found.walk():
            if isinstance(part, tree.Choice):
                return True
            if isinstance(part, tree.Name) and (id(where), part.id) not in seen:
                seen.add((id(where), part.id))
                waiting += where.definitions(part.id)
    return False


_START = _Outcome(None, None, {}, frozenset(), frozenset(), {}, 1)


class _Merged:
    """Outcomes, equal ones merged. Of two ways to one outcome the picks are kept that have no conflicts, and the
    larger network, so that its size is bounded for all."""

    def __init__(self) -> None:
        self._found: dict[Any, _Outcome] = {}

    @property
    def outcomes(self) -> list[_Outcome]:
        return list(self._found.values())

    def add(self, new: _Outcome) -> None:
        value = new.value.types if isinstance(new.value, Region) else plain(new.value)
        key = (value, new.state and new.state.key, frozenset(new.tracked.items()))
        old = self._found.get(key)
        if old is None:
            self._found[key] = new
            return
        kept = new if (len(new.conflicts), -new.ops) < (len(old.conflicts), -old.ops) else old
        touched, count = old.touched | new.touched, old.count + new.count
        self._found[key] = _Outcome(kept.value, kept.state, kept.picks, kept.conflicts, touched, new.tracked, count)


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


def _typed(arguments: Iterable[tuple[str, Value]]) -> Any:
    return tuple([(name, plain(value)) for name, value in arguments])


def _no_scope() -> GraphScope:
    raise AssertionError("a proof makes no scopes")


def plain(value: Value) -> Any:
    """What of a value can matter to shapes: of a tensor its type. Numbers of different types are told apart."""
    if isinstance(value, Tensor):
        return value.type
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if isinstance(value, bool | int | float):
        return type(value), value
    if isinstance(value, Applied):
        return value.callee, plain(value.args), _typed(value.kwargs), value.again
    return value


class _ProofBody(Body):
    """A body that follows every way and keeps types only.

    live: names that may be read again before the current statement ends; after: when it has ended.
    """

    session: _ProofSession

    def __init__(
        self, session: Session, scope: Scope | Module, defaults: Defaults, inputs: Sequence[TensorType]
    ) -> None:
        super().__init__(session, scope, defaults, inputs)
        self.own = scope
        self.live: frozenset[str] = frozenset()
        self.after: frozenset[str] = frozenset()
        self.pinned: frozenset[str] = frozenset()
        self.now: _State | None = None
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

    def _through(self, value: Value, parts: Iterable[Callable[[Value], Value]]) -> list[_Outcome]:
        first = self.session.fresh()
        first.value, first.state = value, self._state()
        states = [first]
        for part in parts:
            found = _Merged()
            for state in states:
                for path in self.session.ways(state):
                    self._put_back(state.state)
                    self.now = None
                    self.session.follow(lambda: self._arrive(found, path, part(state.value)))  # noqa: B023
            states = found.outcomes
        return states

    def _arrive(self, found: _Merged, path: _Path, value: Value) -> None:
        found.add(path.outcome(value, self._state()))

    def _state(self) -> _State:
        names = dict(self.own.names) if isinstance(self.own, Scope) else {}
        kept = self.live | self.pinned
        live = tuple([(name, plain(value)) for name, value in names.items() if name in kept])
        given = None if self.given is None else tuple(self.given)
        outputs, claimed = tuple(self.outputs), frozenset(self.names)
        changed = (names, self.flow, given, self.defaults, claimed, outputs, tuple(self.aux), self.residuals)
        stacked = (self.prefix, self.residual, self.deciding, self.mentions, self.repeat)
        shapes = tuple([(name, tensor.type) for name, tensor in outputs])
        key = (frozenset(live), plain(self.flow), plain(given), self.defaults, claimed, shapes)
        self.now = _State(key, (*changed, *stacked), self.ops)
        return self.now

    def _put_back(self, state: _State | None) -> None:
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
        if self.session.follow(lambda: super(_ProofBody, self).stmt(stmt)):
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
        place = (step.callee, plain(step.args), _typed(step.kwargs), step.again, types, self.defaults, self.repeat)
        block = step.callee
        region = self.session.remembered(place, lambda: self.block_region(block, step, tensors)[0])
        return self._add_call(region, tensors, label, _no_scope, step.span)

    def complain(self, error: ArchError, likely: Tensor) -> Tensor:
        self.session.broken(error)
        return likely

    def expanding(self, compute: Callable[[], Any], step: Callable[[], str]) -> Any:
        return self.session.expanding(compute, step)

    def lookup(self, name: str, span: Span) -> Value:
        value = super().lookup(name, span)
        if value is UNKNOWN:
            raise _DeadEnd
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
            raise _DeadEnd
        if self.open and isinstance(node, tree.Pipe):
            return self.piece(lambda: super(_ProofBody, self)._flow_step(value, node, label))
        return super()._flow_step(value, node, label)

    # types instead of ops

    def emit(self, op: Op, tensors: Sequence[Tensor], span: Span, label: str = "") -> Tensor:
        type_ = shape_of(op, [tensor.type for tensor in tensors], span)
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
        session = _ProofSession(memo, remember, MAX_WORK)
        outcomes = _all(session, net, args)
        if outcomes is None:
            return Proof((), False, None, tuple(session.met))
        clashing = frozenset[str]().union(*(finding.conflicts for finding in session.findings.values()))
        if clashing <= remember:
            return _concluded(session, outcomes, net, args)
        remember |= clashing
    return Proof((), False, None, tuple(session.met))


def _all(session: _ProofSession, net: NetValue, args: Mapping[str, Value]) -> list[_Outcome] | None:
    """What the whole net can become; None where that needs too much work."""
    found = _Merged()
    try:
        with _deep_stack():
            for path in session.ways(_START):
                session.follow(
                    lambda path=path: found.add(path.outcome(elaborated(net, args, session, _ProofBody).region, None)),  # type: ignore[misc]
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


def _concluded(session: _ProofSession, outcomes: list[_Outcome], net: NetValue, args: Mapping[str, Value]) -> Proof:
    findings = tuple(session.findings.values())
    real = tuple(found for found in findings if not found.picks or fault(net, args, found.picks, session.memo))
    size = None if len(real) < len(findings) else _size(session, outcomes, net, args)
    return Proof(real, len(real) == len(findings), size, tuple(session.met))


def fault(net: NetValue, args: Mapping[str, Value], picks: Mapping[str, int], memo: Memo) -> ArchError | None:
    """The error of one candidate, elaborated for real; None where it fits."""
    try:
        lower(net, args, picks, memo)
    except ArchError as error:
        return error
    return None


def _size(session: _ProofSession, outcomes: list[_Outcome], net: NetValue, args: Mapping[str, Value]) -> int | None:
    """How many ways there are: exact once every decision that is read again is remembered."""
    shared = frozenset(session.again) | session.remember
    if prod(session.memo.decisions[key].count for key in shared) > MAX_SHARED:
        return None
    if shared != session.remember:
        session = _ProofSession(session.memo, shared, MAX_WORK)
        counted = _all(session, net, args)
        if counted is None or not session.again <= shared:
            return None
        outcomes = counted
    return sum(outcome.count for outcome in outcomes)
