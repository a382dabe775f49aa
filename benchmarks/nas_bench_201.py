"""`python -m benchmarks.nas_bench_201 TABLE [--column C...] [--strategy S...] [--seeds N]`: the best cell that each
strategy has found after so many evaluations, on NAS-Bench-201 (arXiv:2001.00326).

TABLE is a CSV file with the benchmark's own strings in its column `cell`. The space is zoo:nasbench201 with its
decisions laid out flat: each of six takes one of five operations, whatever the others are, so no network is built.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from archlang.ir.graph import Graph
from archlang.search.objective import Objective
from archlang.search.propose import Proposer
from archlang.search.strategies import make, parsed
from archlang.search.strategies.protocol import Choose
from archlang.search.trial import Picks, Sketch, Status, Trial, key_of

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ("0-1", "0-2", "1-2", "0-3", "1-3", "2-3")
SHOWN = (50, 100, 200, 300)
EVOLUTION = "evolution(population=30, sample=10)"
BASELINES = (
    "random",
    EVOLUTION,
    "local",
    "nsga2",
    "bayesian",
    "reinforce(learning_rate=0.01)",
    "ppo(learning_rate=0.01)",
    "tpe",
)
SLOW = {"reinforce(learning_rate=0.01)": 50, "ppo(learning_rate=0.01)": 50, "tpe": 50}
"""Searches, at most, of strategies that take long beside a table."""

RESAMPLED = 2000
"""Resamples of the bootstrap."""

Floats = NDArray[np.float64]
Table = dict[tuple[int, ...], float]


@dataclass(frozen=True)
class Cells:
    """The 15,625 cells: an operation for each edge."""

    name: str = "nasbench201"
    digest: str = "nasbench201"

    def sample(self, rng: Random) -> Picks:
        return {edge: rng.randrange(len(OPERATIONS)) for edge in EDGES}

    def decided(self, choose: Choose) -> Picks:
        return {edge: choose(edge, len(OPERATIONS)) for edge in EDGES}

    def mutate(self, picks: Picks, rng: Random) -> tuple[Picks, str]:
        edge = rng.choice(EDGES)
        index = (picks[edge] + 1 + rng.randrange(len(OPERATIONS) - 1)) % len(OPERATIONS)
        return {**picks, edge: index}, f"{edge}: {OPERATIONS[picks[edge]]} -> {OPERATIONS[index]}"

    def crossover(self, a: Picks, b: Picks, rng: Random) -> Picks:
        return {edge: rng.choice((a, b))[edge] for edge in EDGES}

    def canonical(self, picks: Picks) -> Picks:
        return picks

    def sketch(self, picks: Picks) -> Sketch:
        return Sketch(picks, key_of(picks), {})

    def graph(self, picks: Picks) -> Graph:
        raise NotImplementedError("cells are looked up, not built")

    def source(self, picks: Picks, name: str, header: list[str]) -> str:
        raise NotImplementedError("cells are looked up, not built")


@cache
def table(path: Path, column: str) -> Table:
    """Cell -> value of the column."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
        return {_cell(row["cell"]): float(row[column]) for row in csv.DictReader(file)}


def _cell(text: str) -> tuple[int, ...]:
    return tuple(OPERATIONS.index(name) for name in re.findall(r"\|?([a-z_0-9]+)~\d\|", text))


def bests(strategy: str, path: Path, column: str, trials: int, seed: int) -> list[float]:
    """The best value so far after each evaluation of a search, as `archlang search` would run it."""
    values, objective = table(path, column), Objective(maximize=(column,))
    asked = parsed(strategy)
    proposer = Proposer(Cells(), objective, make(asked.name, asked.arguments), seed, exact=False)
    history: list[Trial] = []
    found: list[float] = []
    for id in range(1, trials + 1):
        proposed = proposer.propose(id, history)
        assert proposed is not None
        value = values[tuple(proposed.trial.picks[edge] for edge in EDGES)]
        history.append(_done(proposed.trial, {column: value}))
        found.append(max(value, found[-1] if found else value))
    return found


def _done(trial: Trial, metrics: dict[str, float]) -> Trial:
    return Trial(trial.id, trial.picks, trial.digest, trial.parent, trial.origin, Status.DONE, metrics)


@dataclass(frozen=True)
class Run:
    """One search. steps: each trial that was better than all before, and its value. seconds: CPU."""

    strategy: str
    column: str
    trials: int
    seed: int
    steps: tuple[tuple[int, float], ...]
    seconds: float

    def bests(self) -> list[float]:
        """The best value so far after each trial."""
        ends = [trial for trial, _ in self.steps[1:]] + [self.trials + 1]
        return [value for (begin, value), end in zip(self.steps, ends, strict=True) for _ in range(end - begin)]


def run(strategy: str, path: Path, column: str, trials: int, seed: int) -> Run:
    start = time.process_time()
    found = bests(strategy, path, column, trials, seed)
    steps = tuple((i + 1, value) for i, value in enumerate(found) if not i or value > found[i - 1])
    return Run(strategy, column, trials, seed, steps, round(time.process_time() - start, 3))


class Runs:
    """The searches that were done, a line of JSON each in a file, so that what is stopped goes on where it was."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._done: dict[tuple[str, str, int, int], Run] = {}
        if file is not None and file.exists():
            lines = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
            file.write_text("".join(lines))  # without what a stopped run was writing
            for line in lines:
                self._keep(_read(line))

    def _keep(self, each: Run) -> None:
        self._done[each.strategy, each.column, each.trials, each.seed] = each

    def of(self, strategy: str, path: Path, column: str, trials: int, seeds: int, workers: int = 1) -> list[Run]:
        """The searches of a strategy; those that are missing are done now."""
        keys = [(strategy, column, trials, seed) for seed in range(seeds)]
        missing = [seed for seed, key in enumerate(keys) if key not in self._done]
        search = partial(run, strategy, path, column, trials)
        with ProcessPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
            for each in map(search, missing) if pool is None else pool.map(search, missing):
                self._keep(each)
                self._write(each)
        return [self._done[key] for key in keys]

    def _write(self, each: Run) -> None:
        if self._file is not None:
            with open(self._file, "a") as file:
                file.write(json.dumps(vars(each)) + "\n")


def _read(line: str) -> Run:
    found = json.loads(line)
    return Run(**{**found, "steps": tuple((trial, value) for trial, value in found["steps"])})


@dataclass(frozen=True)
class Curve:
    """Mean best after 1, 2, ... evaluations over seeds, and the ends of its 95 % confidence interval, by the bootstrap.
    best: of all cells. seconds: CPU, of one search."""

    strategy: str
    column: str
    seeds: int
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    best: float
    seconds: float


def curve(runs: Sequence[Run], best: float) -> Curve:
    found = np.array([each.bests() for each in runs])
    low, high = _interval(found)
    seconds = sum(each.seconds for each in runs) / len(runs)
    first = runs[0]
    means = tuple(found.mean(axis=0).tolist())
    return Curve(first.strategy, first.column, len(runs), means, low, high, best, seconds)


def _interval(found: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Percentiles of the means of resampled searches. found: a row for each search."""
    count = len(found)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLED)
    low, high = np.percentile(drawn @ found / count, (2.5, 97.5), axis=0)
    return tuple(low.tolist()), tuple(high.tolist())


# figures


def markdown(curves: Sequence[Curve]) -> str:
    """A table: the mean best after so many evaluations, and its confidence interval."""
    end = len(curves[0].mean)
    trials = sorted({end, *(count for count in SHOWN if count < end)})
    heads = ["column", "strategy", "searches", *map(str, trials), "CPU s"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for each in curves:
        cells = [f"{each.mean[i]:.2f} ({each.low[i]:.2f} to {each.high[i]:.2f})" for i in (t - 1 for t in trials)]
        row = [each.column, f"`{each.strategy}`", str(each.seeds), *cells, f"{each.seconds:.2f}"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


_COLORS = ("#999999", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_LEFT, _TOP, _WIDTH, _HEIGHT = 60, 30, 520, 320


def svg(curves: Sequence[Curve]) -> str:
    """A plot of one column: mean best over evaluations, with confidence bands."""
    trials = len(curves[0].mean)
    first = min(20, trials) - 1
    low, high = min(each.low[first] for each in curves), curves[0].best

    def point(trial: int, value: float) -> str:
        y = _TOP + _HEIGHT * (1 - (value - low) / (high - low or 1))
        return f"{_LEFT + _WIDTH * (trial - first) / max(trials - 1 - first, 1):.1f},{y:.1f}"

    parts = ['<rect width="100%" height="100%" fill="white"/>', _axes(first, trials, low, high, curves[0].column)]
    parts.append(f'<path d="M{_LEFT},{_TOP}H{_LEFT + _WIDTH}" stroke="black" stroke-dasharray="4"/>')
    for number, each in enumerate(curves):
        color, steps = _COLORS[number % len(_COLORS)], range(first, trials)
        upper = [point(i, each.high[i]) for i in steps]
        lower = [point(i, each.low[i]) for i in reversed(steps)]
        line = [point(i, each.mean[i]) for i in steps]
        parts.append(f'<polygon points="{" ".join(upper + lower)}" fill="{color}" opacity="0.15"/>')
        parts.append(f'<polyline points="{" ".join(line)}" fill="none" stroke="{color}" stroke-width="1.6"/>')
        y = _TOP + _HEIGHT - 18 * (len(curves) - number)
        parts.append(f'<text x="{_LEFT + _WIDTH - 240}" y="{y}" fill="{color}">{each.strategy}</text>')
    style = 'font-family="sans-serif" font-size="12"'
    size = f'viewBox="0 0 {_LEFT + _WIDTH + 20} {_TOP + _HEIGHT + 50}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(parts) + "\n</svg>\n"


def _axes(first: int, trials: int, low: float, high: float, column: str) -> str:
    bottom, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    parts = [f'<path d="M{_LEFT},{_TOP}V{bottom}H{right}" fill="none" stroke="black"/>']
    for step in range(5):
        value, y = low + (high - low) * step / 4, bottom - _HEIGHT * step / 4
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{value:.2f}</text>')
        trial, x = first + 1 + (trials - 1 - first) * step / 4, _LEFT + _WIDTH * step / 4
        parts.append(f'<text x="{x:.0f}" y="{bottom + 18}" text-anchor="middle">{trial:.0f}</text>')
    parts.append(f'<text x="{_LEFT + _WIDTH / 2}" y="{bottom + 38}" text-anchor="middle">evaluations</text>')
    parts.append(f'<text x="{_LEFT + 8}" y="{_TOP - 8}">mean best {column}; dashed: the best of all cells</text>')
    return "\n".join(parts)


def main() -> None:
    arguments = _arguments()
    out: Path | None = arguments.out
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    runs = Runs(None if out is None else out / "searches.jsonl")
    wanted = dict.fromkeys(arguments.strategy, arguments.seeds) if arguments.strategy else _baselines(arguments.seeds)
    for column in arguments.column or ["cifar10_val"]:
        best = max(table(arguments.table, column).values())
        found = [
            runs.of(strategy, arguments.table, column, arguments.trials, seeds, arguments.workers)
            for strategy, seeds in wanted.items()
        ]
        curves = [curve(each, best) for each in found]
        print(markdown(curves), flush=True)
        if out is not None:
            (out / f"nas_bench_201_{column}.svg").write_text(svg(curves))
            (out / f"nas_bench_201_{column}.json").write_text(json.dumps([vars(each) for each in curves]) + "\n")


def _baselines(seeds: int) -> dict[str, int]:
    """The strategies and how often each searches."""
    return {strategy: min(seeds, SLOW.get(strategy, seeds)) for strategy in BASELINES}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.nas_bench_201", description=__doc__)
    parser.add_argument("table", type=Path, metavar="TABLE", help="a CSV file, which may be compressed (.gz)")
    parser.add_argument("--column", action="append", metavar="C", help="what is to be large; cifar10_val by default")
    parser.add_argument("--strategy", action="append", metavar="S", help="such as 'evolution(population=30)'")
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="for the plots (SVG), the curves (JSON) and what was searched, which is not searched again",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
