"""How a benchmark is measured, and what it gives."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """Medians of one benchmark, in milliseconds where `unit` says nothing else.

    peer: what it was measured beside, in the same run; `theirs` is its median. limit: what ours may be at most.
    """

    name: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    limit: float | None = None
    unit: str = "ms"

    @property
    def ratio(self) -> float | None:
        """How many times as much the peer takes."""
        return None if self.theirs is None else self.theirs / self.ours


Clock = Callable[[], float]


def medians(
    functions: Sequence[Callable[[], object]], runs: int, warmup: int = 1, clock: Clock = time.perf_counter
) -> list[float]:
    """The median time of each function in milliseconds. They take turns, so that a slow moment of the machine hits
    all of them; the first `warmup` rounds are not counted. clock: `time.process_time` for work on one thread that is
    compared to a few percent: it stands still while other processes have the processor."""
    times: list[list[float]] = [[] for _ in functions]
    for round_number in range(warmup + runs):
        for taken, function in zip(times, functions, strict=True):
            start = clock()
            function()
            if round_number >= warmup:
                taken.append(1000 * (clock() - start))
    return [statistics.median(taken) for taken in times]
