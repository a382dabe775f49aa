"""What a search would be: how large, how much of it keeps to the constraints, how long it may take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from random import Random
from statistics import median

from archlang.errors import ArchError
from archlang.search.driver import DATABASE, Plan
from archlang.search.evaluate import evaluated
from archlang.search.space import Space
from archlang.search.store import Store
from archlang.search.trial import Candidate, Status

DRAWN = 200
"""Candidates that are drawn to see how many keep to what is known at once."""

TIMED = 10
"""Of them, that are evaluated where that is cheap."""


@dataclass(frozen=True)
class Preview:
    """decisions, log10_size: of a space of choices, where it can be counted. fitting: how many of `drawn` candidates
    lower, and keep to the constraints that a network alone tells. seconds_each: that a candidate takes one worker, by
    earlier trials in the same folder or by a few that were tried; None where nobody knows yet."""

    decisions: int | None
    log10_size: float | None
    drawn: int
    fitting: int
    seconds_each: float | None

    def seconds(self, plan: Plan) -> float | None:
        """That the whole search may take."""
        return None if self.seconds_each is None else self.seconds_each * plan.trials / (plan.workers or 1)


def preview(plan: Plan) -> Preview:
    """Look at a search without beginning it. Raises ArchError where nothing can be drawn."""
    space = plan.space if isinstance(plan.space, Space) else None
    fitting = [each for each in _drawn(plan) if plan.objective.broken_at_once(each) is None]
    return Preview(
        decisions=None if space is None else space.decisions,
        log10_size=None if space is None else space.log10_size,
        drawn=DRAWN,
        fitting=len(fitting),
        seconds_each=_remembered(plan) or _tried(plan, fitting[:TIMED]),
    )


def _drawn(plan: Plan) -> list[Candidate]:
    """Candidates at random, without those that do not fit together."""
    rng, found = Random(plan.seed), []
    for _ in range(DRAWN):
        try:
            picks = plan.space.sample(rng)
            found.append(Candidate(0, partial(plan.space.graph, picks), plan.space.sketch(picks).amounts))
        except ArchError:
            continue
    return found


def _remembered(plan: Plan) -> float | None:
    """The middle of what trials of this folder took."""
    database = plan.folder / DATABASE
    if not database.is_file():
        return None
    with Store.reading(database) as store:
        taken = [trial.seconds for trial in store.trials() if trial.status is Status.DONE and trial.whole]
    return median(taken) if taken else None


def _tried(plan: Plan, candidates: list[Candidate]) -> float | None:
    """What a few take here, where an evaluation needs no process of its own: those train, or run code that may fail."""
    if plan.evaluator.isolated or not candidates:
        return None
    evaluate = plan.evaluator.prepare()
    begun = time.perf_counter()
    for candidate in candidates:
        evaluated(evaluate, plan.objective, candidate)
    return (time.perf_counter() - begun) / len(candidates)
