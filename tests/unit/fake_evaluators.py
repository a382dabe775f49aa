"""Evaluators for tests: one that leaves a trace, one that misbehaves. And a search as a process that can be killed."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from archlang.errors import OutsideError, fail
from archlang.search.driver import Plan, run
from archlang.search.evaluators import Evaluate
from archlang.search.evaluators.protocol import Stage
from archlang.search.objective import STATIC, Constraint, Objective
from archlang.search.strategies import make
from archlang.search.trial import Candidate, Metrics
from tests.unit.fake_space import FakeSpace


@dataclass(frozen=True)
class TracingEvaluator:
    """Static metrics, after a while; a line in `trace` for every evaluation."""

    trace: Path
    secs: float = 0.0

    name = "tracing"
    isolated = False
    metrics: ClassVar[tuple[str, ...]] = STATIC

    def identity(self) -> dict[str, object]:
        return {"name": self.name}

    def prepare(self) -> Evaluate:
        return self._evaluate

    def _evaluate(self, candidate: Candidate) -> Iterator[Metrics]:
        with open(self.trace, "a") as file:
            file.write(f"{candidate.trial}\n")
        time.sleep(self.secs * (candidate.trial % 3))
        yield candidate.static


@dataclass(frozen=True)
class IsolatedEvaluator(TracingEvaluator):
    """The same in processes of their own."""

    isolated = True


@dataclass(frozen=True)
class LocatedEvaluator(TracingEvaluator):
    """Each line tells where: the process that looks after the worker, and Ray's own on that machine. A stage of another
    evaluator on a cluster: first what takes the device, then the rest."""

    device: str = ""
    part: str = "whole"

    isolated = True
    metrics: ClassVar[tuple[str, ...]] = (*STATIC, "latency", "accuracy")

    def stages(self) -> tuple[Stage, ...]:
        if not self.device:
            return (Stage(self),)
        return (Stage(replace(self, part="measure"), self.device), Stage(replace(self, part="train")))

    def _evaluate(self, candidate: Candidate) -> Iterator[Metrics]:
        with open(self.trace, "a") as file:
            file.write(f"{candidate.trial} {os.getppid()} {os.environ.get('RAY_RAYLET_PID')} {self.part}\n")
        time.sleep(self.secs)
        yield candidate.static
        if self.part != "train":
            yield {"latency": candidate.static["macs"] / 1000}
        if self.part != "measure":
            yield {"accuracy": 1 / candidate.static["params"]}


@dataclass(frozen=True)
class FaultyEvaluator:
    """Does what `faults` says for a trial: crash, exit, hang, raise, error, outside, nan, forget; else the cost."""

    faults: tuple[tuple[int, str], ...] = ()
    broken_start: str = ""

    name = "faulty"
    isolated = True
    metrics = (*STATIC, "accuracy")

    def identity(self) -> dict[str, object]:
        return {"name": self.name}

    def prepare(self) -> Evaluate:
        if self.broken_start == "outside":
            raise OutsideError("there is no such thing here")
        if self.broken_start == "error":
            raise fail("E0901", "there is no data set `x`")
        if self.broken_start == "crash":
            os._exit(7)
        return self._evaluate

    def _evaluate(self, candidate: Candidate) -> Iterator[Metrics]:
        fault = dict(self.faults).get(candidate.trial, "")
        yield candidate.static
        if fault == "crash":
            ctypes.string_at(0)
        if fault == "exit":
            os._exit(5)
        if fault == "kill":
            os.kill(os.getpid(), 9)
        if fault == "hang":
            time.sleep(1000)
        if fault == "raise":
            raise RuntimeError("the disk is full")
        if fault == "error":
            raise fail("E1102", "the loss is nan in epoch 1")
        if fault == "outside":
            raise OutsideError("the device is gone")
        yield {"accuracy": float("nan") if fault == "nan" else 0.5 + candidate.trial / 100}


def plan_of(folder: Path, trials: int, workers: int = 1, secs: float = 0.0, isolated: bool = False) -> Plan:
    """A search with a deterministic evaluator: the same seed must give the same run."""
    objective = Objective((Constraint("params", "<=", 12000),), ("params",), ("macs", "peak_memory"))
    strategy = make("evolution", {"population": 12, "sample": 4})
    evaluator = (IsolatedEvaluator if isolated else TracingEvaluator)(folder / "trace", secs)
    return Plan(FakeSpace(bad=12), objective, strategy, evaluator, folder, trials, 3, workers)


def main() -> None:
    folder, trials, workers, secs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    folder.mkdir(exist_ok=True)
    plan = plan_of(folder, trials, workers, secs, "--isolated" in sys.argv)
    if "--cluster" in sys.argv:
        plan = replace(plan, cluster=sys.argv[sys.argv.index("--cluster") + 1])
    result = run(plan, resume="--resume" in sys.argv)
    print("interrupted" if result.interrupted else "finished", flush=True)
