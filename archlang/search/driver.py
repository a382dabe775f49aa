"""The loop of a search: propose, evaluate, write down, until the trials are used up."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archlang.collector import sparing
from archlang.errors import fail
from archlang.search import pool as pools
from archlang.search.bundle import Bundle
from archlang.search.evaluators import Evaluator
from archlang.search.front import Front
from archlang.search.objective import Objective
from archlang.search.pool import Finished, Pool
from archlang.search.propose import Proposer, candidate_of
from archlang.search.quiet import only_one
from archlang.search.store import Store
from archlang.search.strategies import Strategy
from archlang.search.trial import Candidate, Space, Status, Trial
from archlang.search.winners import Winners, Written, entry, write_front

DATABASE = "search.db"
PUBLISH_SECS = 5.0
REPORT_SECS = 0.1


@dataclass(frozen=True)
class Plan:
    """A search to be run in `folder`.

    objective: in metrics that the evaluator gives. timeout_secs: for one candidate, where it has its own process.
    cluster: the address of a Ray cluster. workers: candidates at once; 0 for as many as the cluster has room for.
    command: the search as it was called, for the winners' headers. bundle: the files that the search was read from.
    """

    space: Space
    objective: Objective
    strategy: Strategy
    evaluator: Evaluator
    folder: Path
    trials: int = 100
    seed: int = 0
    workers: int = 1
    cluster: str | None = None
    timeout_secs: float = 900.0
    command: str = "archlang search"
    device: str = ""
    bundle: Bundle | None = None

    def identity(self) -> dict[str, Any]:
        """What must not change when a run is resumed."""
        return {
            "space": self.space.digest,
            "seed": self.seed,
            "strategy": repr(self.strategy),
            "evaluator": self.evaluator.identity(),
            "objective": repr(replace(self.objective, reward=None)),
        }

    def description(self) -> dict[str, Any]:
        """What a report tells of the run, and how it reads the space again."""
        return {
            "goals": self.objective.as_json(),
            "bundle": None if self.bundle is None else self.bundle.as_json(),
            "name": self.space.name,
            "device": self.device,
            "workers": self.workers,
        }


@dataclass(frozen=True)
class Progress:
    """Where a search stands. rate: candidates a second in this session. best: of the front. last: that has ended."""

    finished: int
    trials: int
    failed: int
    rejected: int
    running: int
    rate: float
    seconds: float
    front: tuple[Trial, ...]
    best: Trial | None
    last: Trial | None = None

    @property
    def seconds_left(self) -> float | None:
        return (self.trials - self.finished) / self.rate if self.rate else None


@dataclass(frozen=True)
class SearchResult:
    """How a search ended. exhausted: nothing new was found before the trials were used up. written: the front."""

    plan: Plan
    progress: Progress
    exhausted: bool
    interrupted: bool
    written: Written

    def as_json(self) -> dict[str, Any]:
        """The fields that `search --json` promises, and how it ended."""
        folder, space, end = self.plan.folder, self.plan.space, self.progress
        front = {trial.id: entry(folder, space, trial, self.written) for trial in end.front}
        return {
            "run": str(folder),
            "trials": end.finished,
            "failed": end.failed,
            "rejected": end.rejected,
            "best": None if end.best is None else front[end.best.id],
            "front": [*front.values()],
            "candidates_per_second": end.rate,
            "seconds": end.seconds,
            "exhausted": self.exhausted,
            "interrupted": self.interrupted,
        }


def run(plan: Plan, resume: bool = False, progress: Callable[[Progress], None] = lambda _: None) -> SearchResult:
    """Run the search, or go on with it. Ctrl-C ends it early, with what was finished.

    Raises ArchError where the folder holds another run, or another process works in it; OutsideError where nothing
    can be evaluated.
    """
    database = plan.folder / DATABASE
    _check_folder(plan.folder, database, resume)
    with _joined(plan) as workers:
        return _run(replace(plan, workers=workers), database, resume, progress)


@contextmanager
def _joined(plan: Plan) -> Iterator[int]:
    """While the plan's cluster is joined, if there is one: how many candidates are evaluated at once."""
    if plan.cluster is None:
        yield plan.workers
        return
    from archlang.search.cluster import joined

    with joined(plan.cluster, plan.evaluator, plan.workers) as workers:
        yield workers


def _run(plan: Plan, database: Path, resume: bool, progress: Callable[[Progress], None]) -> SearchResult:
    plan.folder.mkdir(parents=True, exist_ok=True)
    with only_one(plan.folder / ".lock") as alone:
        if not alone:
            raise fail("E1209", f"another process is searching in {plan.folder}", help="wait for it, or give --run")
        with Store(database, durable=plan.evaluator.isolated) as store:
            window = _begin(plan, store, resume)
            return _Search(plan, store, window, progress).run()


def _check_folder(folder: Path, database: Path, resume: bool) -> None:
    if resume and not database.is_file():
        raise fail("E1207", f"there is no search to go on with in {folder}", help="leave out --resume to begin one")
    if database.exists() and not resume:
        raise fail(
            "E1208", f"{folder} holds a search already", help="go on with it with --resume, or give another --run"
        )
    if folder.exists() and not folder.is_dir():
        raise fail("E1207", f"{folder} is not a folder")


def _begin(plan: Plan, store: Store, resume: bool) -> int:
    """Write down what run this is, or check that it is the same. The window of the run."""
    identity = json.loads(json.dumps(plan.identity()))
    facts = store.facts()
    if not facts:
        window = 1 if plan.workers == 1 else 2 * plan.workers
        facts = {**plan.description(), **identity, "window": window}
        store.describe({**facts, "trials": plan.trials, "command": plan.command})
        store.log("started", plan.command)
        return window
    changed = [key for key, value in identity.items() if facts.get(key) != value]
    if changed:
        raise fail(
            "E1210",
            f"the search in {plan.folder} was begun with another {' and '.join(changed)}",
            help="give the same file and options, or begin anew in another --run",
        )
    store.describe({"trials": plan.trials, "command": plan.command})
    store.log("resumed", plan.command)
    return int(facts["window"])


class _Search:
    """The state of a running search.

    A strategy sees, for trial i, the trials up to i - window: all of them have finished by then, in whatever order
    the workers were. So what is proposed depends on the seed alone, not on how fast a worker is.
    """

    def __init__(self, plan: Plan, store: Store, window: int, progress: Callable[[Progress], None]) -> None:
        self.plan, self.store, self.window, self.report = plan, store, window, progress
        self.proposer = Proposer(plan.space, plan.objective, plan.strategy, plan.seed, plan.evaluator.isolated)
        self.front = Front(lambda trial: plan.objective.point(trial.metrics))
        self.trials: dict[int, Trial] = {}
        self.begun: set[int] = set()
        self.written: Written = {}
        self.at_once = False
        self.instant = getattr(plan.evaluator, "instant", False)
        self.counts: Counter[Status] = Counter()
        self.history: list[Trial] = []
        self.seen_to = 0
        self.finished_here = 0
        self.exhausted = False
        self.started = self.published = time.monotonic()
        self.reported = 0.0
        self.publish_after = PUBLISH_SECS
        self.last: Trial | None = None
        self.front_changed = False

    def run(self) -> SearchResult:
        self._restore()
        pool: Pool | None = None
        interrupted = False
        try:
            if self._unfinished():
                self.report(self._progress())
                pool = self._pool()
                self.at_once = pool.at_once
                self.started = time.monotonic()
                with sparing() if self.instant else nullcontext():
                    self._loop(pool)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            if pool is not None:
                pool.close()
        self.store.log("interrupted" if interrupted else "finished", f"{self._count()} trials")
        self._publish()
        self.report(self._progress())
        return SearchResult(self.plan, self._progress(), self.exhausted, interrupted, self.written)

    def _pool(self) -> Pool:
        plan = self.plan
        return pools.make(plan.evaluator, plan.objective, plan.workers, plan.timeout_secs, plan.folder, plan.cluster)

    def _restore(self) -> None:
        """Take over what an earlier session has written down."""
        for trial in self.store.trials():
            self._keep(trial)
            if trial.status is Status.DONE and trial.whole:
                self.front.add(trial)
        self.begun = {trial.id for trial in self._running()}
        self.proposer.remember(self.trials.values())

    def _keep(self, trial: Trial) -> None:
        """Put the trial in the place of what was known of it."""
        before = self.trials.get(trial.id)
        if before is not None:
            self.counts[before.status] -= 1
        self.counts[trial.status] += 1
        self.trials[trial.id] = trial

    def _unfinished(self) -> bool:
        return len(self.trials) < self.plan.trials or self.counts[Status.RUNNING] > 0

    def _running(self) -> list[Trial]:
        return [trial for trial in self.trials.values() if trial.status is Status.RUNNING]

    def _loop(self, pool: Pool) -> None:
        waiting = self._running()
        busy: set[int] = set()
        while True:
            while len(busy) < pool.capacity and (candidate := self._again(waiting) or self._next()) is not None:
                pool.submit(candidate)
                busy.add(candidate.trial)
            if not busy:
                return
            for finished in pool.wait():
                if finished.trial in busy:  # what comes twice is stored once
                    busy.remove(finished.trial)
                    self._record(finished)

    def _again(self, waiting: list[Trial]) -> Candidate | None:
        """A candidate that was being evaluated when the run was killed."""
        if not waiting:
            return None
        trial = waiting.pop(0)
        return candidate_of(self.plan.space, trial)

    def _next(self) -> Candidate | None:
        """The next new candidate; None where there is none now."""
        while not self.exhausted and len(self.trials) < self.plan.trials:
            id = len(self.trials) + 1
            if not self._see(id - self.window):
                return None
            proposed = self.proposer.propose(id, self.history)
            if proposed is None:
                self.exhausted = True
                self.store.log("exhausted", f"nothing new after {id - 1} trials")
                return None
            self._keep(proposed.trial)
            if proposed.candidate is None:
                self.store.add(proposed.trial)
                self._tell(proposed.trial)
            else:
                self._begin(proposed.trial)
                return proposed.candidate
        return None

    def _begin(self, trial: Trial) -> None:
        """Write down that it is being evaluated, unless it will be written whole in a moment."""
        if not self.at_once:
            self.store.add(trial)
            self.begun.add(trial.id)

    def _see(self, last: int) -> bool:
        """Whether all trials up to `last` have finished; then the history reaches to there."""
        while self.seen_to < last:
            trial = self.trials[self.seen_to + 1]
            if trial.status is Status.RUNNING:
                return False
            self.seen_to += 1
            if trial.status is Status.DONE:
                self.history.append(trial)
        return True

    def _record(self, finished: Finished) -> None:
        outcome = finished.outcome
        if finished.died:
            self.store.log("worker", f"trial {finished.trial}: the worker {finished.died}")
        trial = self.trials[finished.trial].ended(outcome, finished.seconds)
        if trial.id in self.begun:
            self.store.finish(trial.id, outcome, trial.seconds)
        else:
            self.store.add(trial, together=self.instant)
        self._keep(trial)
        if trial.status is Status.DONE and trial.whole:
            self.front_changed |= self.front.add(trial)
        self._tell(trial)

    def _tell(self, trial: Trial) -> None:
        self.finished_here += 1
        self.last = trial
        if self.front_changed and time.monotonic() - self.published > self.publish_after:
            self._publish()
        if time.monotonic() - self.reported > REPORT_SECS:
            self.reported = time.monotonic()
            self.store.commit()  # what a user has seen is not lost
            self.report(self._progress())

    def _publish(self) -> None:
        """Write the front's files; a large one less often, so that it takes a tenth of the time at most."""
        plan, began = self.plan, time.monotonic()
        winners = Winners(
            plan.command, plan.trials, plan.seed, plan.device, self.trials, plan.objective.axes, plan.bundle
        )
        write_front(plan.folder, plan.space, self.front.trials, winners, self.written)
        self.published, self.front_changed = time.monotonic(), False
        self.publish_after = max(PUBLISH_SECS, 10 * (self.published - began))

    def _count(self) -> int:
        return len(self.trials) - self.counts[Status.RUNNING]

    def _progress(self) -> Progress:
        front = self.front.trials
        seconds = time.monotonic() - self.started
        best = front[self.plan.objective.best([trial.metrics for trial in front])] if front else None
        return Progress(
            finished=self._count(),
            trials=self.plan.trials,
            failed=self.counts[Status.FAILED],
            rejected=self.counts[Status.REJECTED],
            running=self.counts[Status.RUNNING],
            rate=self.finished_here / seconds if seconds and self.finished_here else 0.0,
            seconds=seconds,
            front=front,
            best=best,
            last=self.last,
        )
