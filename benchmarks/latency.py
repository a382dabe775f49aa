"""Does `bench` agree with itself? It is repeated on a small and on a medium model; no other program should run.

    python -m benchmarks latency           # 20 tries of each, about four minutes
    python -m benchmarks.latency --tries 5 # each try on its own line, with its ratio to the reference

Rows: the share of tries whose median is within 5 % of the median of all tries, which is to be 95 % or more, and the
farthest try; beside them the same for the mean of one process's runs, which is what other tools tell. Results are never
taken from the cache.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import archlang
from archlang.backend import Request, compile_graph
from archlang.device import BenchResult
from benchmarks.measure import Result

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "small": ("zoo:mobilenet_v2:w050", {"res": 96}),
    "medium": ("zoo:mobilenet_v2", {}),
}
WITHIN = 0.05
TRIES = {2: 2, 9: 20}
"""By the number of runs that the other benchmarks are asked for."""


@dataclass(frozen=True)
class Agreement:
    """Of tries with each other. share: in percent, of those within 5 % of the median of all. farthest: in percent."""

    share: float
    farthest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Agreement:
        middle = statistics.median(values)
        off = [abs(value / middle - 1) for value in values]
        return cls(100 * sum(each <= WITHIN for each in off) / len(off), 100 * max(off))


def results(runs: int) -> Iterator[Result]:
    for name, (spec, overrides) in MODELS.items():
        found = tries(compiled(spec, overrides), TRIES.get(runs, runs))
        ours = Agreement.of([each.median_ms for each in found])
        first_means = [statistics.fmean(each.samples_ms[: each.processes[0].runs]) for each in found]
        theirs = Agreement.of(first_means)
        yield Result(f"bench {name}: tries within 5 %", ours.share, "one process's mean", theirs.share, unit="%")
        yield Result(f"bench {name}: farthest try", ours.farthest, "one process's mean", theirs.farthest, 5.0, "%")


def compiled(spec: str, overrides: dict[str, Any]) -> bytes:
    return compile_graph(archlang.load(spec, **overrides).graph, "tflite", Request(quantize="int8")).data


def tries(model: bytes, count: int) -> list[BenchResult]:
    return [archlang.bench(model) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--tries", type=int, default=20)
    count = parser.parse_args().tries
    for name, (spec, overrides) in MODELS.items():
        model, found = compiled(spec, overrides), []
        for _ in range(count):
            result = archlang.bench(model)
            found.append(result)
            raw = f", {result.raw_median_ms:.4f} before correction" if result.corrected else ""
            print(f"{name} {result.median_ms:.4f} ms, ratio {result.ratio or 0:.3f}, {result.attempts} attempts{raw}")
        print(f"{name} medians: {Agreement.of([each.median_ms for each in found])}")
        print(f"{name} ratios: {Agreement.of([each.ratio or 0.0 for each in found])}")


if __name__ == "__main__":
    main()
