"""How a benchmark is measured, and what it gives."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """Medians of one benchmark, in milliseconds.

    peer: what it was measured beside, in the same run; `peer_ms` is its median. limit_ms: what ours may take at most.
    """

    name: str
    ours_ms: float
    peer: str = ""
    peer_ms: float | None = None
    limit_ms: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times longer the peer takes."""
        return None if self.peer_ms is None else self.peer_ms / self.ours_ms


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
