"""Measuring what a latency table is made of: within a budget of time, and such that a killed campaign goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, TextIO

from archlang.device.predict import choose
from archlang.device.predict.blocks import blocks
from archlang.device.predict.choose import Option
from archlang.device.predict.features import Kernel, Kernels, kernels
from archlang.device.predict.model import LEAST_SAMPLES, Sample, fit_samples
from archlang.device.predict.table import Identity, Measured, Table, read
from archlang.errors import ArchError, fail
from archlang.ir.graph import Graph

NETWORKS = 240
"""Networks drawn from the space to choose from, their block instances beside them."""

_SMOOTHED = 5

BLOCKS = 400
TARGETS = 120
"""Networks drawn to judge the choice by."""

REFERENCE_EVERY = 8
"""After so many measurements the reference network is measured again: the machine may have become slower."""

MOST_FAILURES = 10
"""Candidates one after the other that cannot be compiled or run."""


@dataclass(frozen=True)
class Reading:
    """A measured latency: median and interquartile range, ms."""

    ms: float
    iqr_ms: float
    runtime: str


@dataclass(frozen=True)
class Campaign:
    """What to measure, how, and for how long.

    identity: its runtime is filled in by the first measurement. draw: a random network of the space. measure: the
    latency of a network; raises ArchError where this one cannot be measured, OutsideError where none can.
    budget_secs: for all measuring, that of earlier sessions counted. path: of the table; what is measured is kept
    beside it until the table is written.
    """

    identity: Identity
    draw: Callable[[Random], Graph]
    measure: Callable[[Graph], Reading]
    path: Path
    budget_secs: float
    seed: int = 0
    execution: str = "compiled"
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Progress:
    """Where a campaign stands. label: what was measured last."""

    networks: int
    blocks: int
    failed: int
    seconds: float
    budget_secs: float
    label: str


@dataclass(frozen=True)
class Candidate:
    """Something to be measured."""

    label: str
    graph: Graph
    option: Option


Report = Callable[[Progress], None]


def build(campaign: Campaign, report: Report = lambda _: None) -> Table:
    """Measure until the budget is used up, fit, and write the table; a table that is there already is extended.

    Raises ArchError where the file holds another table, or too little could be measured; OutsideError where the
    device fails: what was measured until then is kept, and the same call goes on.
    """
    log = _Log.opened(campaign)
    with log:
        _measure(campaign, log, report)
    table = _table(campaign, log)
    table.write(campaign.path)
    log.path.unlink()
    return table


def _measure(campaign: Campaign, log: _Log, report: Report) -> None:
    candidates = _candidates(campaign)
    references = [each for each in candidates if not each.option.alone]
    done = {each.digest for each, _ in log.rows}
    waiting = [each for each in candidates if each.graph.digest not in done]
    failures = 0
    while log.seconds < campaign.budget_secs and waiting and references:
        queue = references if log.reference_is_due else waiting
        try:
            reading, seconds = _timed(campaign, log, queue[0])
        except ArchError:
            queue.pop(0)
            log.failed, failures = log.failed + 1, failures + 1
            if failures >= MOST_FAILURES:
                raise
            continue
        failures = 0
        if queue is references:
            log.reference(reading.ms)
        else:
            log.add(waiting.pop(0), reading, seconds)
            report(_progress(campaign, log, log.rows[-1][0].label))


def _timed(campaign: Campaign, log: _Log, candidate: Candidate) -> tuple[Reading, float]:
    start = campaign.clock()
    try:
        reading = campaign.measure(candidate.graph)
    finally:
        log.seconds += campaign.clock() - start
    log.runs_on(reading.runtime)
    return reading, campaign.clock() - start


def _progress(campaign: Campaign, log: _Log, label: str) -> Progress:
    networks = sum(not each.alone for each, _ in log.rows)
    return Progress(networks, len(log.rows) - networks, log.failed, log.seconds, campaign.budget_secs, label)


# what to measure


def _candidates(campaign: Campaign) -> list[Candidate]:
    """Networks and block instances, the most telling first; the first one is a network."""
    rng = Random(campaign.seed)
    networks = _drawn(campaign, rng)
    instances = _instances(networks, campaign.execution)
    targets = [kernels(campaign.draw(rng), campaign.execution) for _ in range(TARGETS)]
    every = [*networks, *rng.sample(instances, min(BLOCKS, len(instances)))]
    ranked = choose.order([each.option for each in every], targets, len(every))
    first = next(i for i in ranked if not every[i].option.alone)
    return [every[first], *(every[i] for i in ranked if i != first)]


def _drawn(campaign: Campaign, rng: Random) -> list[Candidate]:
    found: dict[str, Candidate] = {}
    for number in range(NETWORKS):
        graph = campaign.draw(rng)
        option = Option(kernels(graph, campaign.execution), False)
        found.setdefault(graph.digest, Candidate(f"network {number + 1}", graph, option))
    return list(found.values())


def _instances(networks: list[Candidate], execution: str) -> list[Candidate]:
    found: dict[str, Candidate] = {}
    for network in networks:
        for block in blocks(network.graph):
            option = Option(kernels(block.graph, execution), True)
            label = f"block {block.path} of {network.label}"
            if option.kernels:
                found.setdefault(block.graph.digest, Candidate(label, block.graph, option))
    return list(found.values())


# what was measured


class _Log:
    """The measurements of a campaign, each on disk before the next begins: a line each of JSON."""

    def __init__(self, identity: Identity, path: Path) -> None:
        self.identity, self.path = identity, path
        self.rows: list[tuple[Measured, Kernels]] = []
        self.references: list[float] = []
        self.seconds = 0.0
        self.failed = 0
        self._file: TextIO | None = None

    @classmethod
    def opened(cls, campaign: Campaign) -> _Log:
        """With what an earlier session has left."""
        log = cls(campaign.identity, campaign.path.with_name(campaign.path.name + ".part"))
        if campaign.path.exists():
            log._take_over(read(campaign.path))
        if log.path.exists():
            log._read()
        return log

    def __enter__(self) -> _Log:
        try:
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise fail("E0608", f"cannot write {self.path}: {error.strerror}") from error
        if self._file.tell() == 0:
            self._write({"identity": asdict(self.identity)})
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()

    @property
    def reference_is_due(self) -> bool:
        return len(self.references) * REFERENCE_EVERY <= len(self.rows)

    def runs_on(self, runtime: str) -> None:
        if self.identity.runtime not in ("", runtime):
            raise fail("E1013", f"{self.path.stem} was begun with {self.identity.runtime}, here runs {runtime}")
        self.identity = replace(self.identity, runtime=runtime)

    def reference(self, ms: float) -> None:
        self.references.append(ms)
        self._write({"reference_ms": ms, "runtime": self.identity.runtime, "seconds": self.seconds})

    def add(self, candidate: Candidate, reading: Reading, seconds: float) -> None:
        alone, digest, ms = candidate.option.alone, candidate.graph.digest, reading.ms
        row = Measured(digest, alone, candidate.label, ms, reading.iqr_ms, self.references[-1], seconds)
        self.rows.append((row, candidate.option.kernels))
        counted = [[kernel.as_json(), count] for kernel, count in candidate.option.kernels.items()]
        self._write({"measured": asdict(row), "kernels": counted, "seconds": self.seconds})

    def _write(self, document: dict[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(document) + "\n")
        self._file.flush()

    def _take_over(self, table: Table) -> None:
        self._same(asdict(table.identity))
        samples = table.model.samples
        self.rows = [(row, sample.kernels) for row, sample in zip(table.measured, samples, strict=True)]
        self.references = [row.reference_ms for row in table.measured[::REFERENCE_EVERY]]
        self.seconds = table.seconds

    def _read(self) -> None:
        for line in _documents(self.path):
            if "identity" in line:
                self._same(line["identity"])
            elif "reference_ms" in line:
                self.references.append(line["reference_ms"])
                self.identity = replace(self.identity, runtime=line["runtime"])
            else:
                counted = Kernels({Kernel.from_json(kernel): count for kernel, count in line["kernels"]})
                self.rows.append((Measured(**line["measured"]), counted))
            self.seconds = line.get("seconds", self.seconds)

    def _same(self, told: dict[str, Any]) -> None:
        """Raise ArchError unless measurements of that identity may stand beside those to come."""
        own = asdict(self.identity)
        changed = [name for name, value in own.items() if value and told[name] and told[name] != value]
        if changed:
            raise fail(
                "E1013",
                f"{self.path.stem} was begun with another {' and '.join(changed)}",
                help="write this table to another file with -o, or delete that one",
            )
        self.identity = replace(self.identity, runtime=told["runtime"] or self.identity.runtime)


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log; the last one may be half written."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


def _table(campaign: Campaign, log: _Log) -> Table:
    if len(log.rows) < LEAST_SAMPLES:
        what = f"{len(log.rows)} measurements in {log.seconds:.0f} s are too few for a latency model"
        raise fail("E1011", what, help="give a larger --budget; the same command goes on")
    drift = _drift([row.reference_ms for row, _ in log.rows])
    samples = [Sample(used, row.ms / slower, row.alone) for (row, used), slower in zip(log.rows, drift, strict=True)]
    model = fit_samples(samples, campaign.execution)
    return Table(log.identity, tuple(row for row, _ in log.rows), model.as_json())


def _drift(references: Sequence[float]) -> list[float]:
    """How many times slower than usual the device was at each measurement. A running median over `_SMOOTHED`
    measurements of the reference keeps lasting changes, and drops what was slow in one of them alone."""
    groups = [list(group) for _, group in groupby(references)]
    values = [group[0] for group in groups]
    smooth = [median(_around(values, i)) for i in range(len(values))]
    usual = median(references)
    return [ms / usual for ms, group in zip(smooth, groups, strict=True) for _ in group]


def _around(values: list[float], i: int) -> list[float]:
    """An odd number of values, `_SMOOTHED` away from the ends: their median is one of them, and a step stays."""
    half = _SMOOTHED // 2
    low, high = max(i - half, 0), min(i + half + 1, len(values))
    if (high - low) % 2 == 0:
        low, high = (low, high - 1) if i - low < high - 1 - i else (low + 1, high)
    return values[low:high]
