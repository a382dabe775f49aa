"""How large a space is, and whether its alternatives fit.

The proof (`archlang.lower.proof`) elaborates all alternatives at once and counts them on the way, exactly. Only where
too many combinations of decisions are read in several places, as in a cell that stands fifteen times, the count
is found otherwise: the product over independent decisions of the sum over their alternatives of what each wakes.
Decisions that put something to sleep only together are counted together; what several wake only together is found in
spaces small enough to be walked through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from archlang.errors import ArchError, Diagnostic, Label
from archlang.lower import Decision
from archlang.lower.proof import fault, prove
from archlang.lower.session import LIMITS
from archlang.lower.values import show
from archlang.lower.ways import Finding, place_of
from archlang.source import Span
from archlang.syntax.printer import print_expr

if TYPE_CHECKING:
    from archlang.search.space import Space

MAX_JOINT = 20_000
"""The most combinations that are tried for decisions that depend on each other."""

MAX_STEPS = 500_000
"""The most steps of elaboration that counting may take, all candidates together."""

MAX_WALK = 300
"""Spaces up to this size are counted by visiting every candidate."""


def alternative(decision: Decision, index: int) -> str:
    """An alternative as it is written, or the range's value."""
    return show(decision.values[index]) if decision.values else print_expr(decision.node.items[index])


@dataclass(frozen=True)
class Extent:
    """decisions: how many there are under any condition, as far as they were met. size: how many candidates fit; None
    where counting them would take too much work. errors: of those that do not,
    each with the decisions that it takes. proved: no other combination breaks. weight: no candidate's decisions have
    more combinations, taken by themselves; None where that is not known."""

    decisions: int
    size: int | None
    errors: tuple[ArchError, ...]
    proved: bool
    weight: int | None


def explore(space: Space) -> Extent:
    proof = prove(space.net, space.args, space.memo)
    errors = tuple(_told(space, finding) for finding in proof.findings)
    size, met = proof.size, set(proof.keys)
    if size is None and proof.proved and not errors:
        explorer = _Explorer(space)
        size = explorer.total()
        met |= set(explorer.met)
    return Extent(len(met), size, errors, proof.proved, proof.weight)


def _told(space: Space, finding: Finding) -> ArchError:
    """The finding with the decisions that it takes, marked where they stand."""
    told = [(space.memo.decisions[key], finding.picks[key]) for key in _decisive(space, finding)]
    first, *rest = finding.error.diagnostics
    labels = tuple(Label(_place(decision, index), f"{decision.label} is this") for decision, index in told)
    combination = ", ".join(f"{decision.label} = {alternative(decision, index)}" for decision, index in told)
    trace = (*first.trace, combination) if told else first.trace
    known = {(label.span.start, label.span.end) for label in first.labels} | {_extent_of(first)}
    labels = tuple(label for label in labels if (label.span.start, label.span.end) not in known)
    return ArchError([replace(first, labels=(*first.labels, *labels), trace=trace), *rest])


def _decisive(space: Space, finding: Finding) -> list[str]:
    """The decisions of which another alternative would do; where there is none, those that lead to another error."""
    if finding.after:
        return []
    others = {key: list(_others(space, finding, key)) for key in finding.picks}
    place = place_of(finding.error)
    fits = [key for key, errors in others.items() if any(error is None for error in errors)]
    return fits or [
        key for key, errors in others.items() if any(error and place_of(error) != place for error in errors)
    ]


def _others(space: Space, finding: Finding, key: str) -> Iterator[ArchError | None]:
    """What comes of the other alternatives of one decision."""
    for index in range(space.memo.decisions[key].count):
        if index != finding.picks[key]:
            yield fault(space.net, space.args, {**finding.picks, key: index}, space.memo)


def _extent_of(diagnostic: Diagnostic) -> tuple[int, int]:
    return (diagnostic.span.start, diagnostic.span.end) if diagnostic.span else (0, 0)


def _place(decision: Decision, index: int) -> Span:
    """Where the alternative stands; of a range, where the range does."""
    return decision.span if decision.values else decision.node.items[index].span


class _TooLarge(Exception):
    """Counting would take more work than the limits allow."""


class _Explorer:
    """met: all decisions seen so far. steps: of elaboration, that are left."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.met: dict[str, None] = {}
        self.steps = MAX_STEPS

    def total(self) -> int | None:
        """How many candidates there are; None where that takes too much work."""
        try:
            size = self.count({}, None)
            return self.walk() if size <= MAX_WALK else size
        except _TooLarge:
            return None

    def count(self, fixed: Mapping[str, int], among: Iterable[str] | None) -> int:
        """Candidates that agree with `fixed`, counting only the decisions `among` those open (None: all)."""
        active = self._active(fixed)
        wanted = None if among is None else set(among)
        opened = [key for key in active if key not in fixed and (wanted is None or key in wanted)]
        under = {key: self._alternatives(fixed, key) for key in opened}
        owners: dict[str, set[str]] = {key: set() for key in opened}
        for key, traces in under.items():
            for other in opened:
                if any(trace is not None and other not in trace for trace in traces):
                    owners[other].add(key)
        roots = [key for key in opened if not owners[key]]
        groups = _joined(roots, owners)
        return prod(self._group(fixed, group, opened, owners, under) for group in groups)

    def walk(self) -> int:
        """The number of candidates, each visited: decisions are settled one at a time as they are met."""
        queue: list[dict[str, int]] = [{}]
        visited = 0
        while queue and visited <= MAX_JOINT:
            fixed = queue.pop()
            active = self._try(fixed)
            if active is None:
                continue
            opened = next((k for k in active if k not in fixed), None)
            if opened is None:
                visited += 1
            else:
                queue += [{**fixed, opened: i} for i in range(self._decision(opened).count)]
        return visited

    def _active(self, fixed: Mapping[str, int]) -> Mapping[str, int]:
        lowered = self.space.lowered(fixed)
        self.steps -= lowered.steps
        if self.steps < 0:
            raise _TooLarge
        self.met.update(dict.fromkeys(lowered.trace))
        return lowered.trace

    def _alternatives(self, fixed: Mapping[str, int], key: str) -> list[Mapping[str, int] | None]:
        """The active decisions under each alternative of `key`; None for one that does not fit."""
        return [self._try({**fixed, key: index}) for index in range(self._decision(key).count)]

    def _try(self, fixed: Mapping[str, int]) -> Mapping[str, int] | None:
        try:
            return self._active(fixed)
        except ArchError as error:
            if error.diagnostics[0].code in LIMITS:
                raise _TooLarge from error
            self.steps -= MAX_STEPS // 5_000
            return None

    def _decision(self, key: str) -> Decision:
        return self.space.memo.decisions[key]

    def _group(
        self,
        fixed: Mapping[str, int],
        group: Sequence[str],
        opened: Sequence[str],
        owners: Mapping[str, set[str]],
        under: Mapping[str, list[Mapping[str, int] | None]],
    ) -> int:
        """Candidates of decisions that must be counted together, and of all that they wake."""
        if len(group) == 1 and self._is_plain(group[0], opened, owners, under[group[0]]):
            return sum(trace is not None for trace in under[group[0]])
        owned = {key for key in opened if owners[key] & set(group)}
        if prod(self._decision(key).count for key in group) > MAX_JOINT:
            raise _TooLarge
        total = 0
        for picks in product(*(range(self._decision(key).count) for key in group)):
            chosen = {**fixed, **dict(zip(group, picks, strict=True))}
            trace = self._try(chosen)
            if trace is None:
                continue
            among = [key for key in trace if key in owned or (key not in opened and key not in chosen)]
            total += self.count(chosen, among) if among else 1
        return total

    def _is_plain(
        self,
        key: str,
        opened: Sequence[str],
        owners: Mapping[str, set[str]],
        traces: Sequence[Mapping[str, int] | None],
    ) -> bool:
        """Whether a decision wakes nothing and puts nothing to sleep."""
        if any(key in owners[other] for other in opened):
            return False
        awake = set(self.space.lowered({}).trace) | set(opened)
        return all(trace is None or set(trace) <= awake | set(traces[0] or ()) for trace in traces)


def _joined(roots: Sequence[str], owners: Mapping[str, set[str]]) -> list[list[str]]:
    """The roots in groups: two belong together where something depends on both."""
    group_of = {root: {root} for root in roots}
    for depends in owners.values():
        together = [root for root in roots if root in depends]
        for other in together[1:]:
            if group_of[other] is not group_of[together[0]]:
                merged = group_of[together[0]] | group_of[other]
                for member in merged:
                    group_of[member] = merged
    unique = {id(group): group for group in group_of.values()}
    return [sorted(group, key=list(roots).index) for group in unique.values()]
