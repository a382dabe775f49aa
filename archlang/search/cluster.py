"""Candidates evaluated on the machines of a Ray cluster.

    driver, the store's only writer --Work--> task, in a process of Ray's --pipe--> `pool.Workers`, the trainer's
                                    <-Answer--

The trainer has a process of its own there, as without a cluster, so that a candidate that crashes, hangs or takes too
much memory ends alike and for the same reason. What Ray tells of is the end of machines and of its own processes. That
is no fault of the candidate's: it is evaluated again.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from platform import node
from typing import Any

from archlang import __version__
from archlang.errors import ArchError, OutsideError, missing_extra
from archlang.files import write_whole
from archlang.search.evaluators.protocol import Evaluator, Stage, stages_of
from archlang.search.objective import Objective
from archlang.search.pool import Finished, Workers
from archlang.search.trained import TrainedWeights
from archlang.search.trial import Candidate, Metrics, Outcome, Status
from archlang.stderr import silenced

LOCAL = "local"
"""The address of a cluster that is started here, for one search."""

CHECK_SECS = 5.0
"""How often the machines are counted while nothing finishes."""

REACH_SECS = 10.0
"""How long a cluster's head may take to answer."""

GRACE_SECS = 60.0
"""How long a search waits for a machine with the device that it lost."""

LOG_BYTES = 1 << 16
"""Of what a trainer has printed, so much comes back with each candidate."""

_NAMESPACE = "archlang-search"
"""By which a connection is known to be ours, and not that of a program that uses us."""

_DEATHS = {
    "NodeDiedError": ("was lost with its machine", 5),
    "ObjectLostError": ("was lost with its machine", 5),
    "OutOfMemoryError": ("was ended by Ray: its machine was out of memory", 2),
    "WorkerCrashedError": ("died with its process of Ray's", 2),
    "TaskCancelledError": ("was cancelled", 2),
}
"""Ray's error -> what has become of a worker, and how often a candidate is tried in all."""


@dataclass(frozen=True)
class Setup:
    """What all tasks of a stage need. token: of the search. folder: from where it was started."""

    token: str
    number: int
    stage: Stage
    objective: Objective
    timeout_secs: float
    folder: Path
    version: str = __version__


@dataclass(frozen=True)
class Work:
    """What a task gets. inherited: its parent's trained weights, as their file."""

    candidate: Candidate
    inherited: bytes | None = None


@dataclass(frozen=True)
class Answer:
    """What a task gives back. end: an error is one that makes all evaluation there impossible. weights: the trained
    ones, as their file. log: what was printed."""

    end: Finished | ArchError | OutsideError
    machine: str
    weights: bytes | None = None
    log: bytes = b""


@dataclass(frozen=True)
class _Run:
    """A candidate on its way. stage: that it is in. metrics, seconds: of the stages before. deaths: of its workers."""

    candidate: Candidate
    stage: int = 0
    metrics: Metrics = field(default_factory=dict)
    seconds: float = 0.0
    deaths: tuple[str, ...] = ()


class Cluster:
    """The pool of a search (`pool.Pool`). An attempt that was given up for lost is not looked at again, so that each
    candidate ends once."""

    at_once = False

    def __init__(
        self, address: str, evaluator: Evaluator, objective: Objective, count: int, timeout_secs: float, folder: Path
    ) -> None:
        self.capacity = count
        self._ray = connect(address, count)
        self._folder, self._kept = folder, TrainedWeights(folder / "weights")
        self._stages = stages_of(evaluator)
        # A reward is a function of this process, and only the constraints are needed there.
        constraints, self._token = Objective(require=objective.require), uuid.uuid4().hex
        self._setups = [
            self._ray.put(Setup(self._token, number, stage, constraints, timeout_secs, Path.cwd()))
            for number, stage in enumerate(self._stages)
        ]
        self._task = self._ray.remote(max_retries=0)(_task)
        self._runs: dict[Any, _Run] = {}
        self._whole_since = time.monotonic()
        for stage in self._stages:
            if _lacks(stage, self._resources()):
                raise OutsideError(f"no machine of the cluster has the device `{stage.device}`: {_offer(stage.device)}")

    def submit(self, candidate: Candidate) -> None:
        self._begin(_Run(candidate.shipped()))

    def wait(self) -> list[Finished]:
        finished: list[Finished] = []
        while not finished:
            done, _ = self._ray.wait(list(self._runs), num_returns=1, timeout=CHECK_SECS)
            if not done:
                self._check_machines()
            finished = [end for ref in done if (end := self._ended(ref, self._runs.pop(ref))) is not None]
        return finished

    def close(self) -> None:
        for ref in self._runs:
            with suppress(Exception):  # it has ended, or the cluster is gone
                self._ray.cancel(ref, force=True)
        with suppress(Exception):
            self._tidy()

    def _tidy(self) -> None:
        """Remove what the trainers have written on their machines."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task = self._ray.remote(num_cpus=0, max_retries=0)(_remove)
        places = [NodeAffinitySchedulingStrategy(machine["NodeID"], soft=True) for machine in self._alive()]
        refs = [task.options(scheduling_strategy=place).remote(_shared(self._token)) for place in places]
        self._ray.wait(refs, num_returns=len(refs), timeout=CHECK_SECS)

    def _begin(self, run: _Run) -> None:
        stage = self._stages[run.stage]
        resources = {stage.device: 1} if stage.device else None
        task = self._task.options(num_cpus=stage.cpus, num_gpus=stage.gpus, resources=resources)
        self._runs[task.remote(self._setups[run.stage], self._work(run.candidate, stage))] = run

    def _work(self, candidate: Candidate, stage: Stage) -> Work:
        if not stage.inherits or candidate.parent is None:
            return Work(candidate)
        path = self._kept.path(candidate.parent)
        return Work(candidate, path.read_bytes() if path.exists() else None)

    def _ended(self, ref: Any, run: _Run) -> Finished | None:
        """What has become of a candidate; None where it goes on, in its next stage or on another machine."""
        from ray.exceptions import LocalRayletDiedError, RayError, RayTaskError

        try:
            answer: Answer = self._ray.get(ref)
        except LocalRayletDiedError as error:
            raise OutsideError("Ray has ended on this machine; go on with --resume once it is there again") from error
        except RayTaskError as error:
            raise OutsideError(f"a machine of the cluster cannot run archlang: {error.cause!r:.300}") from error
        except RayError as error:
            return self._died(run, error)
        self._keep(run, answer)
        if isinstance(answer.end, ArchError):
            raise answer.end
        if isinstance(answer.end, OutsideError):
            raise OutsideError(f"{answer.end} (on the machine {answer.machine})")
        return self._after(run, answer.end)

    def _after(self, run: _Run, end: Finished) -> Finished | None:
        metrics, seconds = {**run.metrics, **end.outcome.metrics}, run.seconds + end.seconds
        if end.outcome.status is Status.DONE and run.stage + 1 < len(self._stages):
            self._begin(replace(run, stage=run.stage + 1, metrics=metrics, seconds=seconds))
            return None
        deaths = "; ".join(
            [*(f"{death}, and it was evaluated again" for death in run.deaths), *filter(None, [end.died])]
        )
        return Finished(end.trial, replace(end.outcome, metrics=metrics), seconds, deaths)

    def _died(self, run: _Run, error: Exception) -> Finished | None:
        """Ray could not finish the task: the candidate is evaluated again, or failed where that is of no use."""
        names = [kind.__name__ for kind in type(error).__mro__]
        known = next((_DEATHS[name] for name in names if name in _DEATHS), None)
        what, tries = known or (f"could not work ({names[0]})", 2)
        run = replace(run, deaths=(*run.deaths, what))
        if len(run.deaths) < tries:
            self._begin(run)
            return None
        reason = f"the worker {what}" + (f", {tries} times" if tries > 1 else "")
        outcome = Outcome(Status.FAILED, run.metrics, reason)
        return Finished(run.candidate.trial, outcome, run.seconds, "; ".join(run.deaths))

    def _keep(self, run: _Run, answer: Answer) -> None:
        """Write down what came back beside the outcome."""
        if answer.weights is not None:
            self._kept.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._kept.path(run.candidate.trial), answer.weights)
        if answer.log:
            with open(self._folder / "workers.log", "ab") as file:
                file.write(f"[{answer.machine}, trial {run.candidate.trial}]\n".encode() + answer.log)

    def _check_machines(self) -> None:
        """Raises OutsideError where what is to be done has had no machine for a while."""
        resources = self._resources()
        lacking = [stage for run in self._runs.values() if _lacks(stage := self._stages[run.stage], resources)]
        if not lacking:
            self._whole_since = time.monotonic()
        elif time.monotonic() - self._whole_since > GRACE_SECS:
            device = lacking[0].device
            raise OutsideError(
                f"the machine with the device `{device}` is lost: {_offer(device)}, and go on with --resume"
            )

    def _resources(self) -> dict[str, float]:
        """What the machines that are alive have, all together."""
        found: dict[str, float] = {}
        for machine in self._alive():
            for name, amount in machine["Resources"].items():
                found[name] = found.get(name, 0.0) + amount
        return found

    def _alive(self) -> list[dict[str, Any]]:
        return [machine for machine in self._ray.nodes() if machine["Alive"]]


def _lacks(stage: Stage, resources: Mapping[str, float]) -> bool:
    return bool(stage.device) and resources.get(stage.device, 0.0) < 1


def _offer(device: str) -> str:
    return f"start Ray where it is attached with  ray start --resources='{{\"{device}\": 1}}'"


# the connection


def connect(address: str, workers: int = 0) -> Any:
    """The module `ray`, connected to the cluster; LOCAL starts one, with room for so many workers.

    Raises OutsideError where Ray is missing or there is no such cluster.
    """
    if address != LOCAL:
        _show_token()
    try:
        import ray
    except ImportError as error:
        raise missing_extra("a search on a cluster", "ray") from error
    if ray.is_initialized():
        return ray
    _reach(address)
    settings: dict[str, Any] = {}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody has asked for it
        settings = {"num_cpus": max(workers, os.cpu_count() or 1), "include_dashboard": False}
    try:
        with nullcontext() if address == LOCAL else silenced():  # else each of twenty attempts is a line
            ray.init(address, namespace=_NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, **settings)
    except Exception as error:  # of Ray, of gRPC, of the operating system
        text = str(error).strip().splitlines()
        message = f"cannot join the Ray cluster `{address}`: {text[0] if text else repr(error)}"
        raise OutsideError(message if _token() else f"{message}; {_NO_TOKEN}") from error
    return ray


_NO_TOKEN = "where it asks for a token, copy ~/.ray/auth_token from its head node or set RAY_AUTH_TOKEN"


def _token() -> bool:
    """Whether there is a token for clusters that ask for one, in a place where Ray looks for it."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(path).is_file() if path else (Path.home() / ".ray" / "auth_token").is_file()


def _show_token() -> None:
    """Have Ray show the token that there is. `ray start` asks for it, from Ray 2.60 on, where one was ever made on the
    machine, and `ray.init` shows none unless it is told to; a cluster that asks for none does not mind."""
    if _token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _reach(address: str) -> None:
    """Raises OutsideError where nothing answers there. Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECS).close()
    except (OSError, OverflowError) as error:
        raise OutsideError(f"cannot join the Ray cluster `{address}`: {error}") from error


def disconnect() -> None:
    """Leave the cluster, where it was joined here."""
    import ray

    with suppress(Exception):  # it is gone
        if ray.is_initialized() and ray.get_runtime_context().namespace == _NAMESPACE:
            ray.shutdown()


@contextmanager
def joined(address: str, evaluator: Evaluator, workers: int) -> Iterator[int]:
    """While the cluster is joined: how many candidates are evaluated at once, as many as it has room for where
    `workers` is 0."""
    ray = connect(address, workers)
    try:
        yield workers or _room(ray.cluster_resources(), stages_of(evaluator)[-1])
    finally:
        disconnect()


def _room(resources: Mapping[str, float], stage: Stage) -> int:
    """How often there is what the stage takes."""
    wanted = {"CPU": stage.cpus, "GPU": stage.gpus}
    return max(1, min(int(resources.get(name, 0.0) // amount) for name, amount in wanted.items() if amount))


# on the cluster's machines


def _task(setup: Setup, work: Work) -> Answer:
    """Evaluate a candidate here. The trainer stays for the next one."""
    machine = node()
    try:
        if setup.version != __version__:
            raise OutsideError(f"archlang is of version {__version__} there, and {setup.version} here")
        return _trainer(setup).answer(work, machine)
    except (ArchError, OutsideError) as error:
        if setup.number in _trainers:
            _trainers.pop(setup.number).close()
        return Answer(error, machine)


def _shared(token: str) -> Path:
    """The folder of a search on a machine of the cluster."""
    return Path(tempfile.gettempdir(), f"archlang-{token}")


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


class _Trainer:
    """A process that evaluates, in folders of this machine: one for itself, one where all agree on being quiet."""

    def __init__(self, setup: Setup) -> None:
        self.token = setup.token
        shared = _shared(setup.token)
        folder = shared / f"{os.getpid()}-{setup.number}"
        folder.mkdir(parents=True, exist_ok=True)
        self._kept, self._log, self._told = TrainedWeights(folder / "weights"), folder / "log", 0
        evaluator = setup.stage.placed(folder, shared)
        self._pool = Workers(evaluator, setup.objective, 1, setup.timeout_secs, self._log)

    def answer(self, work: Work, machine: str) -> Answer:
        candidate = work.candidate
        places = [self._kept.path(trial) for trial in (candidate.parent, candidate.trial) if trial is not None]
        if work.inherited is not None:
            places[0].parent.mkdir(exist_ok=True)
            places[0].write_bytes(work.inherited)
        self._pool.submit(candidate)
        (finished,) = self._pool.wait()
        weights = places[-1].read_bytes() if places[-1].exists() else None
        for place in places:
            place.unlink(missing_ok=True)
        return Answer(finished, machine, weights, self._printed())

    def _printed(self) -> bytes:
        """What was printed since the last time."""
        with open(self._log, "rb") as file:
            file.seek(self._told)
            text = file.read()
        self._told += len(text)
        return text[-LOG_BYTES:]

    def close(self) -> None:
        self._pool.close()


_trainers: dict[int, _Trainer] = {}
"""Those of this process of Ray's, by the number of their stage."""


def _trainer(setup: Setup) -> _Trainer:
    known = _trainers.get(setup.number)
    if known is not None and known.token == setup.token:
        return known
    if known is not None:
        known.close()
    with suppress(OSError):  # files are named from where the search was started, if that is there
        os.chdir(setup.folder)
    made = _trainers[setup.number] = _Trainer(setup)
    return made
