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


def medians(functions: Sequence[Callable[[], object]], runs: int, warmup: int = 1) -> list[float]:
    """The median time of each function in milliseconds. They take turns, so that a slow moment of the machine hits
    all of them; the first `warmup` rounds are not counted."""
    times: list[list[float]] = [[] for _ in functions]
    for round_number in range(warmup + runs):
        for taken, function in zip(times, functions, strict=True):
            start = time.perf_counter()
            function()
            if round_number >= warmup:
                taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]
