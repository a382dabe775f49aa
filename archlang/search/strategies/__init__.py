"""Strategies: which candidate is next. Each is one file behind one method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from random import Random
from typing import Any, Protocol

from archlang.errors import fail, nearest
from archlang.search.objective import Objective
from archlang.search.strategies.evolution import Evolution
from archlang.search.strategies.random import RandomSearch
from archlang.search.trial import Proposal, Space, Trial


class Strategy(Protocol):
    """A strategy keeps no state: its proposal follows from the history and the generator, so that a search that was
    killed goes on as if it had not been."""

    def ask(self, space: Space, objective: Objective, history: Sequence[Trial], rng: Random) -> Proposal:
        """The next proposal. history: the trials that were evaluated whole, in order."""
        ...


STRATEGIES: dict[str, Callable[..., Strategy]] = {"random": RandomSearch, "evolution": Evolution}
"""Frozen dataclasses; their fields are the arguments of `method` in the language."""


def make(name: str, arguments: Mapping[str, Any]) -> Strategy:
    """The strategy called `name`. Raises ArchError where there is none, or it does not take an argument."""
    if name not in STRATEGIES:
        raise fail("E1201", f"there is no search strategy `{name}`", help=nearest(name, STRATEGIES))
    known = {field.name: field.type for field in fields(STRATEGIES[name])}  # type: ignore[arg-type]
    for key, value in arguments.items():
        if key not in known:
            raise fail(
                "E1202", f"the strategy `{name}` takes no `{key}`", help=nearest(key, (*known, "trials", "seed"))
            )
        if not _fits(value, str(known[key])):
            raise fail("E1202", f"`{key}` of the strategy `{name}` cannot be {value!r}", help=_NEEDED[str(known[key])])
    return STRATEGIES[name](**arguments)


_NEEDED = {"int": "a whole number from 1", "float": "a number from 0 to 1"}


def _fits(value: Any, type_: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) and value >= 1 if type_ == "int" else 0 <= value <= 1


__all__ = ["STRATEGIES", "Strategy", "make"]
