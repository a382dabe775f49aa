"""The protocol of a measurement: reference and candidate in turns, in several processes, until it is calm.

    reference, candidate, reference, candidate, reference, candidate, reference

A process has its own memory layout, so one alone is not enough; the median is over the runs of several. In each of them
the two models take turns of some milliseconds; where the device's tool knows one model only, each turn is a process.
The reference on both sides of a candidate tells how fast the device was at that moment. Turns that met the usual speed
count as they are: undisturbed medians vary by 2 % and their ratios to the reference by 1.9 %, so that dividing gains
nothing. While the reference is slow, there is waiting, as long as patience lasts; then there is more measuring, and at
last each turn is divided by how much slower the reference was. That is exact where a clock is slower, and rough where
another process has a part of the core: with one that made the reference 1.58 times slower, nine networks took 1.34
(MobileNetV3) to 1.63 times (ShuffleNetV2) their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, median

import numpy as np

from archlang.device.reference import Speeds, usual
from archlang.device.runner import CALM
from archlang.device.transport import Sampled, Settings, Transport, interleaves

PROCESSES = 3
"""Of the candidate, in one attempt."""

NOISY = 0.10
"""IQR / median above which a result is called noisy."""

AGAIN = 0.25
"""IQR / median above which a model is measured again."""

ATTEMPTS = 3

LEAST_CALM = 2
"""Processes that must have met the usual speed."""

REFERENCE_SECS = 0.1

WELL_KNOWN = 6
"""Measurements of the reference after which the usual speed of a device is known."""


@dataclass(frozen=True)
class Statistics:
    """Quantiles of samples, by linear interpolation between order statistics. iqr: third minus first quartile."""

    median: float
    p10: float
    p90: float
    iqr: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Statistics:
        p10, p25, middle, p75, p90 = np.percentile(samples, (10, 25, 50, 75, 90)).tolist()
        return cls(middle, p10, p90, p75 - p25)

    @property
    def spread(self) -> float:
        """IQR / median, the measure of noise; 0 where both are 0."""
        return self.iqr / self.median if self.median else 0.0


@dataclass(frozen=True)
class Turn:
    """Runs of the candidate between two turns of the reference. process: the number of the one that they are from.
    around_ms: medians of the reference before and after it; none without one."""

    attempt: int
    sampled: Sampled
    around_ms: tuple[float, ...] = ()
    process: int = 0

    @cached_property
    def median_ms(self) -> float:
        return median(self.sampled.samples_ms)

    @cached_property
    def spread(self) -> float:
        return Statistics.of(self.sampled.samples_ms).spread

    @property
    def ratio(self) -> float | None:
        """To the reference, which is taken to have changed evenly between its two measurements."""
        return self.median_ms / fmean(self.around_ms) if self.around_ms else None

    def slowdown(self, usual_ms: float) -> float:
        """How many times slower than usual the device was; 1 without a reference."""
        return fmean(self.around_ms) / usual_ms if self.around_ms else 1.0

    def is_calm(self, usual_ms: float) -> bool:
        return self.spread <= AGAIN and all(ms <= CALM * usual_ms for ms in self.around_ms)


@dataclass(frozen=True)
class Reading:
    """A latency, of the turns that count: all of them, where too few met the usual speed. corrected: each is divided by
    its slowdown. usual_ms: of the reference; 0 without one."""

    turns: tuple[Turn, ...]
    corrected: bool
    usual_ms: float

    @classmethod
    def of(cls, turns: Sequence[Turn], usual_ms: float, least: int = LEAST_CALM) -> Reading:
        """Those count that met the usual speed by the reference, and by the fastest of them: a slow moment may lie
        between two measurements of the reference. least: how many processes they must be from."""
        calm = [turn for turn in turns if turn.is_calm(usual_ms)]
        fastest = usual([turn.median_ms for turn in calm]) if calm else 0.0
        counting = tuple(turn for turn in calm if turn.median_ms <= CALM * fastest)
        if len({turn.process for turn in counting}) >= least:
            return cls(counting, False, usual_ms)
        return cls(tuple(turns), bool(turns[0].around_ms), usual_ms)

    @cached_property
    def statistics(self) -> Statistics:
        by = {id(turn): turn.slowdown(self.usual_ms) if self.corrected else 1.0 for turn in self.turns}
        return Statistics.of([ms / by[id(turn)] for turn in self.turns for ms in turn.sampled.samples_ms])

    @property
    def ratio(self) -> float | None:
        """To the reference: the median over the turns."""
        ratios = [turn.ratio for turn in self.turns if turn.ratio is not None]
        return median(ratios) if ratios else None

    @property
    def acceptable(self) -> bool:
        return not self.corrected and self.statistics.spread <= AGAIN

    @property
    def noisy(self) -> bool:
        return self.corrected or self.statistics.spread > NOISY


@dataclass(frozen=True)
class Measured:
    """What came out. turns: all of them, in their order; reading: of all attempts together. references_ms: the median
    of each turn of the reference. waited_secs: for the device to be undisturbed."""

    turns: tuple[Turn, ...]
    reading: Reading
    references_ms: tuple[float, ...]
    waited_secs: float = 0.0

    @property
    def attempts(self) -> int:
        return self.turns[-1].attempt


Told = Callable[[int], None]
"""Is called after each process, with how many have ended."""


@dataclass(frozen=True)
class Plan:
    """What to measure, and how. settings: for all processes of an attempt together. reference: the file. speeds: what
    the reference took before. attempts: the most of them. patience_secs: for how long to wait in all, in processes that
    hold both models, while the device is slower than usual."""

    model: Path
    settings: Settings
    processes: int = PROCESSES
    reference: Path | None = None
    speeds: Speeds | None = None
    told: Told = lambda done: None
    attempts: int = ATTEMPTS
    patience_secs: float = 0.0

    @property
    def share(self) -> Settings:
        """What one process has to do of it; each warms up anew."""
        settings = self.settings
        runs, seconds = -(-settings.runs // self.processes), settings.min_secs / self.processes
        return replace(settings, runs=runs, min_secs=seconds, profile=False)

    @property
    def reference_share(self) -> Settings:
        seconds = min(REFERENCE_SECS, self.share.min_secs)
        return replace(self.share, min_secs=seconds, warmup_secs=min(self.share.warmup_secs, seconds / 2))


def measure(way: Transport, plan: Plan) -> Measured:
    """Attempts until what they give together is acceptable. Raises as `Transport.run` does."""
    run = (_InOneProcess if plan.reference is not None and interleaves(way) else _InOneEach)(way, plan)
    for attempt in range(1, plan.attempts + 1):
        run.turns(attempt)
        reading = Reading.of(run.done, run.usual_ms, min(LEAST_CALM, plan.processes))
        if reading.acceptable:
            break
    if plan.speeds is not None:
        plan.speeds.add(run.speeds_ms)
    return Measured(tuple(run.done), reading, tuple(run.references_ms), run.waited_secs)


class _Run:
    """The measurement as it goes on. speeds_ms: what is to be remembered of the reference."""

    def __init__(self, way: Transport, plan: Plan) -> None:
        self.way, self.plan = way, plan
        self.before = [ms for _, ms in plan.speeds.known()] if plan.speeds is not None else []
        self.references_ms: list[float] = []
        self.done: list[Turn] = []
        self.waited_secs = 0.0
        self._count = self._candidates = 0

    @property
    def speeds_ms(self) -> list[float]:
        return self.references_ms

    @property
    def usual_ms(self) -> float:
        known = [*self.before, *self.speeds_ms]
        return usual(known) if known and self.plan.reference is not None else 0.0

    def turns(self, attempt: int) -> None:
        for _ in range(self.plan.processes):
            profile = self.plan.settings.profile and not self.done
            self._candidate(attempt, replace(self.plan.share, profile=profile))
            self._candidates += 1

    def _candidate(self, attempt: int, share: Settings) -> None:
        raise NotImplementedError

    def _process(self, model: Path, settings: Settings) -> Sampled:
        sampled = self.way.run(model, settings)
        self._count += 1
        self.plan.told(self._count)
        return sampled


class _InOneProcess(_Run):
    """Both models in each process, in turns of some milliseconds."""

    def __init__(self, way: Transport, plan: Plan) -> None:
        super().__init__(way, plan)
        self._speeds_ms: list[float] = []

    @property
    def speeds_ms(self) -> list[float]:
        """Of each process its usual one."""
        return self._speeds_ms

    def _candidate(self, attempt: int, share: Settings) -> None:
        patience = max(0.0, self.plan.patience_secs - self.waited_secs)
        share = replace(share, reference=self.plan.reference, usual_ms=self.usual_ms, patience_secs=patience)
        sampled = self._process(self.plan.model, share)
        references, start = sampled.references_ms, 0
        self.waited_secs += sampled.waited_secs
        for i, count in enumerate(sampled.stretches):
            if not count:
                continue  # it waited
            own = replace(sampled, samples_ms=sampled.samples_ms[start : start + count], stretches=(), references_ms=())
            once = own if start == 0 else replace(own, warmup_runs=0, ops=None)
            self.done.append(Turn(attempt, once, references[i : i + 2], self._candidates))
            start += count
        self.references_ms += references
        self._speeds_ms.append(usual(references))


class _InOneEach(_Run):
    """A process for each turn of either model."""

    def turns(self, attempt: int) -> None:
        if not self.references_ms:
            self._first_references()
        super().turns(attempt)

    def _candidate(self, attempt: int, share: Settings) -> None:
        sampled = self._process(self.plan.model, share)
        before = self.references_ms[-1:]
        self._reference()
        around = (*before, *self.references_ms[-1:]) if before else ()
        self.done.append(Turn(attempt, sampled, around, self._candidates))

    def _first_references(self) -> None:
        """One; several on a device whose usual speed is hardly known yet: one of them may meet it."""
        unknown = self.plan.speeds is not None and len(self.before) < WELL_KNOWN
        for _ in range(WELL_KNOWN if unknown else 1):
            self._reference()

    def _reference(self) -> None:
        if self.plan.reference is not None:
            sampled = self._process(self.plan.reference, self.plan.reference_share)
            self.references_ms.append(median(sampled.samples_ms))
