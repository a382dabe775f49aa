"""How large a space is, and whether its alternatives fit: found by elaborating, exact for conditional decisions too.

A decision may wake others: an operator its own parameters, a repeat count the repeats. The count is the product over
independent decisions of the sum over their alternatives of what each alternative wakes. Decisions that put something
to sleep only together are counted together. What several wake only together, as in `if a and b: conv({4, 8}, 3)`, is
found in spaces small enough to be walked through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from archlang.errors import ArchError, fail
from archlang.lower import Decision
from archlang.lower.values import show
from archlang.syntax.printer import print_expr

if TYPE_CHECKING:
    from archlang.search.space import Space

MAX_JOINT = 20_000
"""The most combinations that are tried for decisions that depend on each other."""

MAX_WALK = 300
"""Spaces up to this size are counted by visiting every candidate."""


def alternative(decision: Decision, index: int) -> str:
    """An alternative as it is written, or the range's value."""
    return show(decision.values[index]) if decision.values else print_expr(decision.node.items[index])


@dataclass(frozen=True)
class Extent:
    """decisions: how many there are under any condition. size: how many candidates. errors: what does not fit."""

    decisions: int
    size: int
    errors: tuple[ArchError, ...]


def explore(space: Space) -> Extent:
    """Raises ArchError where not even the first alternatives fit."""
    explorer = _Explorer(space)
    size = explorer.count({}, None)
    if size <= MAX_WALK:
        size = explorer.walk()
    return Extent(len(explorer.met), size, tuple(explorer.errors.values()))


class _Explorer:
    """met: all decisions seen so far. errors: of alternatives that do not fit, by decision and index."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.met: dict[str, None] = {}
        self.errors: dict[tuple[str, int], ArchError] = {}

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
            key, index = next(reversed(fixed.items()), ("", 0))
            active = self._try(fixed, key, index) if fixed else self._active({})
            if active is None:
                continue
            opened = next((k for k in active if k not in fixed), None)
            if opened is None:
                visited += 1
            else:
                queue += [{**fixed, opened: i} for i in range(self._decision(opened).count)]
        return visited

    def _active(self, fixed: Mapping[str, int]) -> Mapping[str, int]:
        trace = self.space.lowered(fixed).trace
        self.met.update(dict.fromkeys(trace))
        return trace

    def _alternatives(self, fixed: Mapping[str, int], key: str) -> list[Mapping[str, int] | None]:
        """The active decisions under each alternative of `key`; None for one that does not fit."""
        return [self._try({**fixed, key: index}, key, index) for index in range(self._decision(key).count)]

    def _try(self, fixed: Mapping[str, int], key: str, index: int) -> Mapping[str, int] | None:
        try:
            return self._active(fixed)
        except ArchError as error:
            decision = self._decision(key)
            self.errors.setdefault((key, index), error.expanded(f"{decision.label} = {alternative(decision, index)}"))
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
        combinations = list(product(*(range(self._decision(key).count) for key in group)))
        if len(combinations) > MAX_JOINT:
            raise fail("E0505", "too many decisions depend on each other to be counted", self._decision(group[0]).span)
        total = 0
        for picks in combinations:
            chosen = {**fixed, **dict(zip(group, picks, strict=True))}
            trace = self._try(chosen, group[0], picks[0])
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
