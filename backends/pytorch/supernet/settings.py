"""Tables of what the decisions of a space set, found from candidates, and checked against all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

from archlang.search.space import Picks

Values = Mapping[int, Any]
"""Number of a candidate -> the value there; candidates that have no use for it are left out."""


MOST = 6
"""Of how many decisions a table has levels at most."""


class Unsettled(Exception):
    """The value follows from no few decisions."""


@dataclass(frozen=True)
class Table:
    """keys: of the decisions. values: nested lists, a level for each decision in its order; a level whose decision is
    not active, or makes no difference, is left out; None where nothing uses the value."""

    keys: tuple[str, ...]
    values: Any

    def at(self, picks: Mapping[str, int]) -> Any:
        values = self.values
        for key in self.keys:
            if isinstance(values, list) and key in picks:
                values = values[picks[key]]
        return values


@dataclass
class Learner:
    """Finds tables. picks: of all candidates. counts: key -> how many alternatives."""

    picks: Sequence[Picks]
    counts: Mapping[str, int]

    def table(self, values: Values) -> Table:
        """The smallest table that gives the values. Raises Unsettled where there is none."""
        keys = self._needed(values)
        while True:
            for order in permutations(keys):
                with suppress(Unsettled):
                    return Table(order, _compressed(self._level(values, order)))
            waking = [other for key in keys for other in self.condition(key) if other not in keys]
            if not waking:
                raise Unsettled
            keys = [*dict.fromkeys(waking), *keys]

    def _needed(self, values: Values) -> list[str]:
        """Decisions that together say what the value is: the best first, then without what is not needed."""
        for size in (0, 1):
            for some in combinations(self.counts, size):
                if self._wrong(values, some) == 0 and self._active(values, some):
                    return list(some)
        keys: list[str] = []
        while self._wrong(values, keys):
            before, others = self._wrong(values, keys), [key for key in self.counts if key not in keys]
            if len(keys) == MOST or not others:
                raise Unsettled
            best = min(others, key=lambda key: self._wrong(values, [*keys, key]))
            if self._wrong(values, [*keys, best]) == before and keys:
                raise Unsettled
            keys.append(best)
        for key in list(keys):
            if self._wrong(values, [k for k in keys if k != key]) == 0:
                keys.remove(key)
        return sorted(keys, key=list(self.counts).index)

    def _active(self, values: Values, keys: Sequence[str]) -> bool:
        return all(key in self.picks[i] for i in values for key in keys)

    def _wrong(self, values: Values, keys: Sequence[str]) -> int:
        """How many candidates have another value than most with the same picks."""
        groups: dict[tuple[int | None, ...], dict[str, int]] = {}
        for i, value in values.items():
            counts = groups.setdefault(tuple(self.picks[i].get(key) for key in keys), {})
            counts[repr(value)] = counts.get(repr(value), 0) + 1
        return sum(sum(counts.values()) - max(counts.values()) for counts in groups.values())

    def _level(self, values: Values, keys: Sequence[str]) -> Any:
        found = {repr(value): value for value in values.values()}
        if not keys:
            if len(found) > 1:
                raise Unsettled
            return next(iter(found.values()), None)
        key, *others = keys
        there = [key in self.picks[i] for i in values]
        if not any(there):
            return self._level(values, others)
        if not all(there):
            raise Unsettled
        return [
            self._level({i: value for i, value in values.items() if self.picks[i][key] == k}, others)
            for k in range(self.counts[key])
        ]

    def missing(self, values: Values, table: Table) -> Iterator[Picks]:
        """Picks for what no candidate shows yet: of one that uses the value, with others of the table's decisions."""
        seen = {tuple(self.picks[i].get(key) for key in table.keys) for i in values}
        for combination in _combinations([self.counts[key] for key in table.keys]):
            if combination not in seen:
                yield {**self.picks[next(iter(values))], **dict(zip(table.keys, combination, strict=True))}

    def condition(self, key: str) -> dict[str, tuple[int, ...]]:
        """When the decision is active: other decisions, each with the alternatives that it must take."""
        values = {i: key in picks for i, picks in enumerate(self.picks)}
        others = {k: count for k, count in self.counts.items() if k != key}
        needed = Learner(self.picks, others)._needed(values)
        sets = {k: tuple(sorted({p[k] for i, p in enumerate(self.picks) if values[i]})) for k in needed}
        for i, picks in enumerate(self.picks):
            if values[i] != all(picks.get(k) in allowed for k, allowed in sets.items()):
                raise Unsettled
        return sets


def _combinations(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    if not counts:
        yield ()
        return
    for first in range(counts[0]):
        for rest in _combinations(counts[1:]):
            yield (first, *rest)


def _compressed(values: Any) -> Any:
    """Without levels that make no difference."""
    if not isinstance(values, list):
        return values
    inner = [_compressed(value) for value in values]
    distinct = {repr(value): value for value in inner if value is not None}
    return next(iter(distinct.values())) if len(distinct) == 1 else inner


# ---- modules by patterns ---------------------------------------------------------------------------------------------


def patterns(wanted: Sequence[str], universe: Sequence[str]) -> list[str]:
    """Patterns that match the wanted names and no others of the universe, as few as their numbers allow."""
    left, found = list(wanted), []
    while left:
        best = max(_candidates(left[0]), key=lambda p: _covers(p, wanted, universe))
        found.append(best)
        left = [name for name in left if not _matches(best, name)]
    return found


def _covers(pattern: str, wanted: Sequence[str], universe: Sequence[str]) -> int:
    matched = {name for name in universe if _matches(pattern, name)}
    return len(matched) if matched <= set(wanted) else -1


def _matches(pattern: str, name: str) -> bool:
    """`*` stands for a number."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", r"\d+"), name) is not None


def _candidates(name: str) -> Iterator[str]:
    """The name, and with `*` for some of its numbers; those that say more come first."""
    yield name
    pieces = re.split(r"(\d+)", name)
    numbers = range(1, len(pieces), 2)
    for size in range(1, len(numbers) + 1):
        for some in combinations(numbers, size):
            yield "".join("*" if k in some else piece for k, piece in enumerate(pieces))
