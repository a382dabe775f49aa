"""Where candidates are evaluated: in this process, or in processes of their own that may die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from archlang.errors import ArchError, OutsideError
from archlang.search.evaluate import described, evaluated
from archlang.search.evaluators import Evaluator
from archlang.search.objective import Objective
from archlang.search.trial import Candidate, Outcome, Status


@dataclass(frozen=True)
class Finished:
    """An evaluation's end. died: the worker's end, where it was the worker that ended."""

    trial: int
    outcome: Outcome
    seconds: float
    died: str = ""


@dataclass(frozen=True)
class Ready:
    """A worker's first word: it has loaded what it needs."""


class Pool(Protocol):
    """A place for `capacity` candidates at once. at_once: evaluated when they are submitted, before anything else."""

    capacity: int
    at_once: bool

    def submit(self, candidate: Candidate) -> None:
        """Begin an evaluation. There must be room."""
        ...

    def wait(self) -> list[Finished]:
        """Those that have finished, once one has. Raises what makes all evaluation impossible."""
        ...

    def close(self) -> None:
        """Stop at once, whatever is running."""
        ...


class Inline:
    """Evaluates in this process, at `submit`."""

    capacity = 1
    at_once = True

    def __init__(self, evaluator: Evaluator, objective: Objective) -> None:
        self._evaluate, self._objective = evaluator.prepare(), objective
        self._finished: list[Finished] = []

    def submit(self, candidate: Candidate) -> None:
        start = time.perf_counter()
        outcome = evaluated(self._evaluate, self._objective, candidate)
        self._finished.append(Finished(candidate.trial, outcome, time.perf_counter() - start))

    def wait(self) -> list[Finished]:
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        pass


class Workers:
    """Evaluates in processes, which print to `log`.

    One that crashes, or takes longer than `timeout_secs` for a candidate, is replaced.
    """

    at_once = False

    def __init__(self, evaluator: Evaluator, objective: Objective, count: int, timeout_secs: float, log: Path) -> None:
        self.capacity = count
        # A reward is a function of this process, and only the constraints are needed there.
        self._work = (evaluator, Objective(require=objective.require), log)
        self._timeout = timeout_secs
        self._workers = [_Worker(self._work) for _ in range(count)]
        self._queue: deque[Candidate] = deque()

    def submit(self, candidate: Candidate) -> None:
        self._queue.append(candidate.shipped())
        self._hand_out()

    def wait(self) -> list[Finished]:
        finished: list[Finished] = []
        while not finished:
            self._hand_out()
            watched: list[Any] = [item for worker in self._workers for item in (worker.connection, worker.sentinel)]
            wait(watched, timeout=self._next_deadline())
            finished = [end for i in range(len(self._workers)) if (end := self._look_at(i)) is not None]
        return finished

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()

    def _hand_out(self) -> None:
        for worker in self._workers:
            if self._queue and worker.ready and worker.candidate is None:
                worker.give(self._queue.popleft())

    def _next_deadline(self) -> float | None:
        begun = [worker.begun for worker in self._workers if worker.candidate is not None]
        return max(0.0, min(begun) + self._timeout - time.monotonic()) if begun else None

    def _look_at(self, i: int) -> Finished | None:
        """What has become of a worker's candidate. A dead worker is replaced."""
        worker = self._workers[i]
        message = worker.message()
        if isinstance(message, Outcome):
            return worker.take(message)
        if isinstance(message, OutsideError | ArchError):
            raise message
        if worker.candidate is not None and time.monotonic() - worker.begun > self._timeout:
            return self._replace(i, f"took longer than {self._timeout:g} s")
        return self._replace(i, worker.end()) if worker.dead and message is None else None

    def _replace(self, i: int, reason: str) -> Finished | None:
        worker = self._workers[i]
        worker.kill()
        if worker.candidate is None and not worker.ready:
            raise OutsideError(f"a worker of the search cannot start: it {reason}")
        self._workers[i] = _Worker(self._work)
        if worker.candidate is None:
            return None
        return worker.take(Outcome(Status.FAILED, {}, f"the worker {reason}"), died=reason)


Message = Outcome | ArchError | OutsideError | Ready


class _Worker:
    """A process, and what it is busy with."""

    def __init__(self, work: tuple[Evaluator, Objective, Path]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, *work), daemon=True)
        self._process.start()
        theirs.close()
        self.candidate: Candidate | None = None
        self.ready = False
        self.begun = 0.0

    @property
    def sentinel(self) -> int:
        return self._process.sentinel

    @property
    def dead(self) -> bool:
        return not self._process.is_alive()

    def give(self, candidate: Candidate) -> None:
        self.candidate, self.begun = candidate, time.monotonic()
        with suppress(OSError):  # it is dead, which `wait` will see
            self.connection.send(candidate)

    def message(self) -> Message | None:
        """What the process has said; None where it has said nothing."""
        try:
            if not self.connection.poll():
                return None
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            return None
        self.ready = True
        return message

    def take(self, outcome: Outcome, died: str = "") -> Finished:
        assert self.candidate is not None
        finished = Finished(self.candidate.trial, outcome, time.monotonic() - self.begun, died)
        self.candidate = None
        return finished

    def end(self) -> str:
        """How it died."""
        self._process.join()
        code = self._process.exitcode or 0
        if code == -signal.SIGKILL:
            return "was killed (SIGKILL): out of memory?"
        return f"died ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _work(connection: Connection, evaluator: Evaluator, objective: Objective, log: Path) -> None:
    """A worker process: prepares once, says so, then evaluates what it is sent. What libraries print goes to `log`."""
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent stops its workers
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        evaluate = evaluator.prepare()
    except (ArchError, OutsideError) as error:
        connection.send(error)
        return
    except Exception as error:
        connection.send(OutsideError(f"the evaluator `{evaluator.name}` cannot start: {described(error)}"))
        return
    connection.send(Ready())
    while True:
        try:
            candidate = connection.recv()
        except EOFError:
            return
        connection.send(evaluated(evaluate, objective, candidate))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def make(
    evaluator: Evaluator,
    objective: Objective,
    workers: int,
    timeout_secs: float,
    folder: Path,
    cluster: str | None = None,
) -> Pool:
    """The cluster's machines where one is named; processes where the evaluator wants them, or several candidates are
    to be evaluated at once. What takes less time than the way to another process is done here. folder: the run's."""
    if getattr(evaluator, "instant", False):
        return Inline(evaluator, objective)
    if cluster is not None:
        from archlang.search.cluster import Cluster

        return Cluster(cluster, evaluator, objective, workers, timeout_secs, folder)
    if workers > 1 or evaluator.isolated:
        return Workers(evaluator, objective, workers, timeout_secs, folder / "workers.log")
    return Inline(evaluator, objective)
