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
import math
import re
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random

from archlang.ir.graph import Graph
from archlang.search.objective import Objective
from archlang.search.propose import Proposer
from archlang.search.strategies import make, parsed
from archlang.search.strategies.protocol import Choose
from archlang.search.trial import Picks, Sketch, Status, Trial, key_of

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ("0-1", "0-2", "1-2", "0-3", "1-3", "2-3")
SHOWN = (50, 100, 200, 300)
BASELINES = ("random", "evolution(population=30, sample=10)", "local", "nsga2", "tpe", "bayesian")

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
class Curve:
    """Mean best after 1, 2, ... evaluations over seeds, and half the width of its 95 % confidence interval.
    seconds: CPU, of one search."""

    strategy: str
    column: str
    seeds: int
    mean: tuple[float, ...]
    half: tuple[float, ...]
    seconds: float


def curve(strategy: str, path: Path, column: str, seeds: int, trials: int, workers: int = 1) -> Curve:
    run = partial(_timed, strategy, path, column, trials)
    if workers == 1:
        found = [run(seed) for seed in range(seeds)]
    else:
        with ProcessPoolExecutor(workers) as pool:
            found = list(pool.map(run, range(seeds), chunksize=4))
    columns = list(zip(*(best for best, _ in found), strict=True))
    seconds = sum(spent for _, spent in found) / seeds
    means, halves = zip(*map(_interval, columns), strict=True)
    return Curve(strategy, column, seeds, means, halves, seconds)


def _timed(strategy: str, path: Path, column: str, trials: int, seed: int) -> tuple[list[float], float]:
    start = time.process_time()
    return bests(strategy, path, column, trials, seed), time.process_time() - start


def _interval(values: Sequence[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)
    return mean, 1.96 * math.sqrt(variance / len(values))


# figures


def markdown(curves: Sequence[Curve]) -> str:
    """A table: the mean best after so many evaluations, and its confidence interval."""
    end = len(curves[0].mean)
    trials = sorted({end, *(count for count in SHOWN if count < end)})
    lines = ["| column | strategy | " + " | ".join(map(str, trials)) + " | CPU s |", "|---" * (len(trials) + 3) + "|"]
    for each in curves:
        cells = [f"{each.mean[count - 1]:.2f} ± {each.half[count - 1]:.2f}" for count in trials]
        lines.append(" | ".join(["| " + each.column, f"`{each.strategy}`", *cells, f"{each.seconds:.2f} |"]))
    return "\n".join(lines) + "\n"


_COLORS = ("#999999", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_LEFT, _TOP, _WIDTH, _HEIGHT = 60, 20, 520, 320


def svg(curves: Sequence[Curve]) -> str:
    """A plot of one column: mean best over evaluations, with confidence bands."""
    trials = len(curves[0].mean)
    first = min(20, trials) - 1
    low = min(each.mean[first] - each.half[first] for each in curves)
    high = max(each.mean[-1] + each.half[-1] for each in curves)

    def point(trial: int, value: float) -> str:
        y = _TOP + _HEIGHT * (1 - (value - low) / (high - low or 1))
        return f"{_LEFT + _WIDTH * (trial - first) / max(trials - 1 - first, 1):.1f},{y:.1f}"

    parts = [_axes(first, trials, low, high, curves[0].column)]
    for number, each in enumerate(curves):
        color, steps = _COLORS[number % len(_COLORS)], range(first, trials)
        upper = [point(i, each.mean[i] + each.half[i]) for i in steps]
        lower = [point(i, each.mean[i] - each.half[i]) for i in reversed(steps)]
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
    parts.append(f'<text x="{_LEFT + 8}" y="{_TOP + 6}">mean best {column}</text>')
    return "\n".join(parts)


def main() -> None:
    arguments = _arguments()
    out: Path | None = arguments.out
    for column in arguments.column or ["cifar10_val"]:
        run = partial(curve, path=arguments.table, column=column, seeds=arguments.seeds, trials=arguments.trials)
        curves = [run(strategy, workers=arguments.workers) for strategy in arguments.strategy or BASELINES]
        print(markdown(curves), flush=True)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            (out / f"nas_bench_201_{column}.svg").write_text(svg(curves))
            (out / f"nas_bench_201_{column}.json").write_text(json.dumps([vars(each) for each in curves]) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.nas_bench_201", description=__doc__)
    parser.add_argument("table", type=Path, metavar="TABLE", help="a CSV file, which may be compressed (.gz)")
    parser.add_argument("--column", action="append", metavar="C", help="what is to be large; cifar10_val by default")
    parser.add_argument("--strategy", action="append", metavar="S", help="such as 'evolution(population=30)'")
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, metavar="DIR", help="for the plot (SVG) and the curves (JSON)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
