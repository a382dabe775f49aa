"""What one elaboration shares: decisions, the memo of block instances, and the limits that keep it finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from archlang.errors import fail
from archlang.lower.region import Region
from archlang.lower.values import Builtin, Made, NetValue, Value
from archlang.records import record
from archlang.source import Source, Span
from archlang.syntax import tree

MAX_DEPTH = 48
MAX_STEPS = 500_000
MAX_OPS = 50_000
MAX_REPEAT = 10_000
MAX_WEIGHT = 200_000
MAX_NESTING = 100
MAX_INTEGER = 2**63

_STEPS_OF_AN_OP = 4
_PARTS_OF_A_STEP = 10
"""How much work an op is, and the weighing of a value, beside the evaluation of an expression."""


LIMITS = ("E0107", "E0401", "E0402", "E0403")
"""Codes of programs that take too much work: they are not elaborated again in search of more."""


@dataclass(frozen=True)
class Decision:
    """A place where the program chooses. key: line:column of the place (with the mentions that led there).

    node: the choice; span: it, or the mention of a `choice`. count: how many alternatives; values: what they are, where
    they are those of a range. label: for people, `k in row 2`.
    """

    key: str
    count: int
    label: str
    node: tree.Choice
    span: Span
    values: tuple[Value, ...] = ()


@dataclass
class Memo:
    """Block instances by what they were called with; shared by elaborations of the same program.

    decisions: all that were ever met, by key. settings: one of each of those that are equal, for what they remember.
    metrics: of the nets whose metrics were asked for (`Net.params`), which are elaborated once for that.
    """

    regions: dict[Any, list[Region]] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    settings: dict[Defaults, Defaults] = field(default_factory=dict)
    metrics: dict[NetValue, Mapping[str, int]] = field(default_factory=dict)


class Session:
    """One elaboration. picks: decision key -> index; a decision that is not in it is left to `choose`.

    trace: the decisions that were read, in order. entry: the file that keys of decisions leave out.
    """

    def __init__(
        self,
        picks: Mapping[str, int] | None = None,
        memo: Memo | None = None,
        choose: Callable[[Decision], int] = lambda decision: 0,
    ) -> None:
        self.picks = dict(picks or {})
        self.choose = choose
        self.memo = memo or Memo()
        self.trace: dict[str, int] = {}
        self.depth = 0
        self.steps = 0
        self.entry: Source | None = None
        self.evaluating: list[str] = []
        self._weights: dict[int, tuple[Value, int, int]] = {}
        self._reads: list[dict[str, int]] = []
        self._unshared: list[bool] = []

    def spend(self, span: Span, amount: int = 1) -> None:
        """Count work. Raises ArchError at the limit, so that no program runs for ever."""
        self.steps += amount
        if self.steps > MAX_STEPS:
            raise fail("E0401", f"the program takes more than {MAX_STEPS:,} steps to elaborate", span)

    def weigh(self, value: Value, parts: Iterable[Value], span: Span) -> None:
        """Note how many parts a compound value has, all levels together, and how many levels. Raises ArchError at the
        limits.

        The value is kept, so that its identity stays its own.
        """
        weight, nesting, count = 1, 0, 0
        for part in parts:
            _, more, levels = self._weights.get(id(part), (None, 1, 0))
            weight, nesting, count = weight + more, max(nesting, levels), count + 1
        self.spend(span, 1 + count // _PARTS_OF_A_STEP)
        if weight > MAX_WEIGHT:
            raise fail("E0403", f"this value has more than {MAX_WEIGHT:,} parts", span)
        if nesting >= MAX_NESTING:
            raise fail("E0403", f"this value is nested deeper than {MAX_NESTING} levels", span)
        self._weights[id(value)] = (value, weight, nesting + 1)

    def settled(self, defaults: Defaults) -> Defaults:
        """The settings that are equal to these and were met first."""
        return self.memo.settings.setdefault(defaults, defaults)

    def spend_op(self, span: Span) -> None:
        """Count an op of the network."""
        self.spend(span, _STEPS_OF_AN_OP)

    def decide(self, decision: Decision, per_repeat: bool) -> int:
        """The picked index. per_repeat: the key names a repeat, so that the region around it is no one else's."""
        self.memo.decisions[decision.key] = decision
        index = self.pick(decision.key)
        if not 0 <= index < decision.count:
            raise fail("E0501", f"decision {decision.label} has no alternative {index}", decision.span)
        self._read(decision.key, index)
        if per_repeat:
            self._unshared = [True] * len(self._unshared)
        return index

    def pick(self, key: str) -> int:
        """The picked index of a decision that was met before, by this elaboration or another with the same memo."""
        if key not in self.picks:
            self.picks[key] = self.choose(self.memo.decisions[key])
        return self.picks[key]

    def _read(self, key: str, index: int) -> None:
        self.trace[key] = index
        if self._reads:
            self._reads[-1][key] = index

    def region(self, key: Any, build: Callable[[], Region], span: Span) -> Region:
        """The region for `key`, built unless one was built before under the same decisions."""
        known = self.memo.regions.setdefault(key, [])
        for region in known:
            if all(self.pick(k) == index for k, index in region.reads.items()):
                for k, index in region.reads.items():
                    self._read(k, index)
                self.spend(span, region.ops)
                return region
        self._reads.append({})
        self._unshared.append(False)
        try:
            with self.deeper(span):
                region = build()
        finally:
            reads, unshared = self._reads.pop(), self._unshared.pop()
            if self._reads:
                self._reads[-1].update(reads)
        region.reads.update(reads)
        if not unshared:
            known.append(region)
        return region

    @contextmanager
    def deeper(self, span: Span) -> Iterator[None]:
        """One block within another. Raises ArchError at the limit."""
        if self.depth >= MAX_DEPTH:
            help_ = "a block that calls itself must end: `if n == 1: ... else: ...`"
            raise fail("E0402", f"blocks call each other deeper than {MAX_DEPTH} levels", span, help=help_)
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1


@record(frozen=True)
class Defaults:
    """What `default` lines set: (built-in's name or block, parameter) -> value. forced: set by `with`, which wins."""

    values: tuple[tuple[tuple[Any, str], Value], ...] = ()
    forced: tuple[tuple[tuple[Any, str], Value], ...] = ()

    def find(self, keys: tuple[Any, ...], name: str) -> tuple[bool, Value]:
        """Whether something is set for the parameter of one of `keys` (the nearest kin first), and what."""
        for table in self._tables:
            for key in keys:
                if (key, name) in table:
                    return True, table[key, name]
        return False, None

    def settings(self, callee: Builtin, again: bool) -> dict[str, Value]:
        """What holds for the arguments of a built-in that are not given: what is set, or its own defaults.

        Required ones for which nothing is set are not there. again: in a repeat, without what is marked `once`.
        """
        known = self._settings.get((callee, again))
        if known is None:
            known = self._settings[callee, again] = {}
            keys = (callee.name, *callee.like)
            for param in callee.params:
                found, value = (False, None) if param.once and again else self.find(keys, param.name)
                if found or not param.required:
                    known[param.name] = value if found else param.default
        return known

    @cached_property
    def made(self) -> dict[Any, Made]:
        """Built-ins by what they were called with under these settings."""
        return {}

    @cached_property
    def _settings(self) -> dict[tuple[Builtin, bool], dict[str, Value]]:
        return {}

    @cached_property
    def _tables(self) -> list[dict[tuple[Any, str], Value]]:
        """Both as tables, those that are not empty: what was set last holds."""
        return [dict(table) for table in (self.forced, self.values) if table]

    def set(self, key: Any, values: Mapping[str, Value]) -> Defaults:
        kept = tuple(item for item in self.values if not (item[0][0] == key and item[0][1] in values))
        return Defaults((*kept, *(((key, name), value) for name, value in values.items())), self.forced)

    def force(self, key: Any, values: Mapping[str, Value]) -> Defaults:
        return Defaults(self.values, (*self.forced, *(((key, name), value) for name, value in values.items())))
