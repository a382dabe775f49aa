"""A run as its database tells it: the trials, what they were to reach, and the space that they are from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from archlang.errors import ArchError, fail
from archlang.search.bundle import Bundle
from archlang.search.driver import DATABASE
from archlang.search.front import Front
from archlang.search.objective import Objective
from archlang.search.space import SearchSpec, search_of
from archlang.search.store import Store
from archlang.search.trial import Space, Status, Trial
from archlang.spec import values
from archlang.syntax import tree


@dataclass(frozen=True)
class Run:
    """facts: what the database says of the whole run. events: kind and text, in order.

    spec: the search as it was written, read again from the text that the database keeps; None where it keeps none, as
    of a space that another program made. search: its text.
    """

    folder: Path
    facts: Mapping[str, Any]
    trials: Sequence[Trial]
    events: Sequence[tuple[str, str]]
    spec: SearchSpec | None
    search: str
    objective: Objective

    @property
    def space(self) -> Space | None:
        return None if self.spec is None else self.spec.space

    @cached_property
    def done(self) -> list[Trial]:
        """What may stand on the front: evaluated in full, with every metric that is an objective."""
        axes = set(self.objective.axes)
        return [
            trial for trial in self.trials if trial.status is Status.DONE and trial.whole and axes <= {*trial.metrics}
        ]

    @cached_property
    def front(self) -> tuple[Trial, ...]:
        """The trials that no other dominates, best first."""
        if not self.objective.axes and self.objective.reward is None:
            return ()
        front = Front(lambda trial: self.objective.point(trial.metrics))
        for trial in self.done:
            front.add(trial)
        return front.trials

    @cached_property
    def best(self) -> Trial | None:
        front = self.front
        return front[self.objective.best([trial.metrics for trial in front])] if front else None

    @cached_property
    def by_id(self) -> dict[int, Trial]:
        return {trial.id: trial for trial in self.trials}


def read(folder: Path) -> Run:
    """The run in `folder`. Raises ArchError where there is none, or its database is damaged."""
    database = folder / DATABASE
    if not database.is_file():
        raise fail("E1207", f"there is no search in {folder}", help="`archlang search FILE --run DIR` makes one")
    with Store.reading(database) as store:
        facts, trials, events = store.facts(), store.trials(), store.events()
    spec, search = _search(facts.get("bundle"))
    return Run(folder, facts, trials, events, spec, search, _objective(facts, spec))


def _search(bundle: Any) -> tuple[SearchSpec | None, str]:
    """The search again, and its text. None where that is not kept, or this version of the language does not take it."""
    if not isinstance(bundle, dict):
        return None, ""
    try:
        kept = Bundle(**bundle)
        module = kept.module()
        searches = (item for item in module.program.items if isinstance(item, tree.SearchDef))
        item = next(item for item in searches if item.name.id == kept.search)
        return search_of(module, item, values(module, kept.overrides)), item.span.text
    except (ArchError, TypeError, StopIteration):
        return None, ""


def _objective(facts: Mapping[str, Any], spec: SearchSpec | None) -> Objective:
    """What the run was to reach, in the metrics that its evaluator gives."""
    objective = Objective.of_json(facts.get("goals", {}))
    return objective if spec is None else replace(objective, reward=spec.reward)
