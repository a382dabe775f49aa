"""The ways through a program with choices: which alternatives are followed, and what is merged where they meet.

A piece of the program is run once for each way through it. At a decision, or at a piece within that has several
outcomes, the way parts; the next run repeats the choices before and takes the next option (`Ways.ways`, `Ways.fork`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from archlang.errors import ArchError
from archlang.lower.module import Module
from archlang.lower.region import Region
from archlang.lower.session import Decision, Memo, Session
from archlang.lower.values import Applied, Scope, Tensor, Value
from archlang.source import Span
from archlang.syntax import tree

WAY = 40
"""What following one way costs besides its evaluations."""


class Unproved(Exception):
    """The proof needs more work than the limit."""


def place_of(error: ArchError) -> Any:
    """What makes two errors of a space one: several combinations lead to it, in words that name their sizes."""
    return error.diagnostics[0].code, error.diagnostics[0].span


class DeadEnd(Exception):
    """Nothing can be said from here on: an error, which has been noted, left no value."""


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


@dataclass(frozen=True, slots=True)
class State:
    """What a body holds between two statements, to be put back. key: what of it can still matter."""

    key: Any
    held: tuple[Any, ...]
    ops: int


@dataclass(slots=True)
class Outcome:
    """One result of a piece of the program, merged from all ways that lead to an equal one.

    picks: those of one of the ways. touched: decisions that some way read. count: how many ways.
    weight: the largest product, over the ways, of the numbers of alternatives of their decisions.
    tracked: decisions that must be remembered.
    """

    value: Value
    state: State | None
    picks: dict[str, int]
    conflicts: frozenset[str]
    touched: frozenset[str]
    tracked: Mapping[str, int]
    count: int
    weight: int = 1

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


class Path:
    """One way through a piece of the program. outer: the way of the piece around it."""

    def __init__(self, trail: list[_Fork], outer: Path | None, start: Outcome) -> None:
        self.trail, self.outer, self.position = trail, outer, 0
        self.picks = dict(start.picks)
        self.conflicts, self.touched = start.conflicts, set(start.touched)
        self.tracked, self.count, self.weight = start.tracked, start.count, start.weight

    def chain(self) -> Iterator[Path]:
        path: Path | None = self
        while path is not None:
            yield path
            path = path.outer

    def take(self, picks: Mapping[str, int]) -> None:
        clashes = [key for key, index in picks.items() if self.picks.setdefault(key, index) != index]
        if clashes:
            self.conflicts |= frozenset(clashes)

    def outcome(self, value: Value, state: State | None) -> Outcome:
        touched = frozenset(self.touched)
        return Outcome(value, state, self.picks, self.conflicts, touched, self.tracked, self.count, self.weight)


class Ways(Session):
    """An elaboration that follows every way. remember: decisions that are kept apart in the states."""

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
        self._regions: dict[Any, list[Outcome]] = {}
        self._path = Path([], None, START)

    def spend(self, span: Span, amount: int = 1) -> None:
        self.work -= amount
        if self.work < 0:
            raise Unproved

    # ways

    def ways(self, start: Outcome) -> Iterator[Path]:
        """Every way through a piece that begins at `start`: the caller runs the piece once for each."""
        outer, trail = self._path, list[_Fork]()
        try:
            while True:
                self._path = Path(trail, outer, start)
                self.work -= WAY
                if self.work < 0:
                    raise Unproved
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
        except DeadEnd:
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
                raise DeadEnd
            path.trail.append(_Fork(found))
        parting = path.trail[path.position]
        path.position += 1
        return parting.options[parting.index]

    def outcome(self, options: Callable[[], Sequence[Outcome]]) -> Outcome:
        """One of the outcomes of a piece; its decisions become those of this way."""
        found: Outcome = self.fork(options)
        path = self._path
        self._meet(found.touched)
        path.take(found.picks)
        path.conflicts |= found.conflicts
        path.touched |= found.touched
        path.tracked = found.tracked
        path.count *= found.count
        path.weight *= found.weight
        return found

    @property
    def tracked(self) -> Mapping[str, int]:
        return self._path.tracked

    def fresh(self) -> Outcome:
        """The beginning of a piece in the middle of this way."""
        return Outcome(None, None, {}, frozenset(), frozenset(), self._path.tracked, 1)

    def _meet(self, keys: frozenset[str]) -> None:
        for path in self._path.chain():
            self.again |= keys & path.touched

    def taken(self) -> dict[str, int]:
        """The alternatives on this way, those of the pieces around it included."""
        picks: dict[str, int] = {}
        for path in self._path.chain():
            picks = {**path.picks, **picks}
        return picks

    def note(self, error: ArchError) -> None:
        picks = self.taken()
        conflicts: set[str] = set()
        for path in self._path.chain():
            conflicts |= path.conflicts
            conflicts.update(key for key, index in path.picks.items() if picks[key] != index)
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
        path.touched.add(key)
        path.weight *= decision.count
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

    def _built(self, build: Callable[[], Any]) -> list[Outcome]:
        found = Merged()
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


START = Outcome(None, None, {}, frozenset(), frozenset(), {}, 1)


class Merged:
    """Outcomes, equal ones merged. Of two ways to one outcome the picks are kept that have no conflicts, and the
    larger network, so that its size is bounded for all."""

    def __init__(self) -> None:
        self._found: dict[Any, Outcome] = {}

    @property
    def outcomes(self) -> list[Outcome]:
        return list(self._found.values())

    def add(self, new: Outcome) -> None:
        value = new.value.types if isinstance(new.value, Region) else plain(new.value)
        key = (value, new.state and new.state.key, frozenset(new.tracked.items()))
        old = self._found.get(key)
        if old is None:
            self._found[key] = new
            return
        kept = min(old, new, key=lambda outcome: (len(outcome.conflicts), outcome.count == 0, -outcome.ops))
        self._found[key] = replace(
            kept,
            touched=old.touched | new.touched,
            count=old.count + new.count,
            weight=max(old.weight, new.weight),
        )


def typed(arguments: Iterable[tuple[str, Value]]) -> Any:
    return tuple([(name, plain(value)) for name, value in arguments])


def plain(value: Value) -> Any:
    """What of a value can matter to shapes: of a tensor its type. Numbers of different types are told apart."""
    if isinstance(value, Tensor):
        return value.type
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if isinstance(value, bool | int | float):
        return type(value), value
    if isinstance(value, Applied):
        return value.callee, plain(value.args), typed(value.kwargs), value.again, value.taken
    return value
