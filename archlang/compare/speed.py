"""Latency of several files, measured in turns: what disturbs the machine for a while disturbs all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from archlang.device import bench
from archlang.device.measure import NOISY, Statistics

ROUNDS = 3


@dataclass(frozen=True)
class Latency:
    """In milliseconds, over the runs of all rounds. noisy: the interquartile range is over a tenth of the median."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    iqr_ms: float
    runs: int
    runtime: str
    noisy: bool


def latencies(
    paths: Sequence[Path],
    threads: int = 1,
    device: str = "host",
    runs: int = 50,
    min_secs: float = 1.0,
    told: Callable[[int, int], None] = lambda done, all_: None,
) -> list[Latency]:
    """Of each file, by the protocol of `bench`, with a part of the runs in each of three rounds.

    told(done, all): called after each measurement. Raises as `device.bench` does.
    """
    samples: list[list[float]] = [[] for _ in paths]
    runtimes = [""] * len(paths)
    each, seconds = -(-runs // ROUNDS), min_secs / ROUNDS
    for turn in range(ROUNDS):
        for i, path in enumerate(paths):
            result = bench(path, threads, device, each, seconds, processes=1, compare=None)
            samples[i] += result.samples_ms
            runtimes[i] = result.runtime
            told(turn * len(paths) + i + 1, ROUNDS * len(paths))
    return [_latency(ms, runtime) for ms, runtime in zip(samples, runtimes, strict=True)]


def _latency(samples: list[float], runtime: str) -> Latency:
    found = Statistics.of(samples)
    return Latency(found.median, found.p10, found.p90, found.iqr, len(samples), runtime, found.spread > NOISY)
