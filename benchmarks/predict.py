"""How well latency is predicted from few measurements, beside what MACs or counts of operators tell.

    python -m benchmarks predict           # on this machine: ten minutes of measuring, then fifty networks more
    python -m benchmarks.predict cells.csv [--train 50 900] [--draws 20] [--columns gold_6226_ms ...]

The first measures int8 TFLite of a MnasNet-like space at 224x224, with the commands that a user would give; no other
program should run.

The second is on the cells of NAS-Bench-201. The file (.csv or .csv.gz) has a column `cell` with the benchmark's own
strings, `|nor_conv_3x3~0|+|...`, and one or more columns `NAME_ms` with latencies in milliseconds, such as those that
HELP (arXiv:2106.08630) published. For each column, and for the cells with and without `none`, the table gives
Spearman's correlation and the mean relative error on all cells that were not trained on: mean over the draws of the
training cells, and its 95 % interval.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.device.predict.features import EXECUTIONS, Kernels, kernels
from archlang.device.predict.model import LatencyModel, Sample, fit_samples
from archlang.lower import default_net
from archlang.search.space import Space
from archlang.spec import module_of, split
from benchmarks.measure import Result

Floats = NDArray[np.float64]
Model = Callable[["Cells", NDArray[np.int64]], Floats]
"""(cells, indices of those to train on) -> predicted latency of every cell, ms."""

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
SPACE = Path(__file__).parents[1] / "specs/spaces/nasbench201.arch"


BUDGETS = {2: ("30s", "2", "zoo:digits"), 9: ("10m", "50", "zoo:mnas_space")}
"""By the number of runs that the other benchmarks are asked for: how long to measure, how many networks to validate
with, and of which space."""


def results(runs: int) -> Iterator[Result]:
    """Builds a table of this machine, and validates it."""
    budget, count, space = BUDGETS[runs]
    chosen = ("--space", space, *(("--pick", "r=224") if space == "zoo:mnas_space" else ()), "--quantize", "int8")
    with TemporaryDirectory() as folder:
        table = f"{folder}/table.json"
        _bench("--build-table", "-o", table, "--budget", budget, *chosen)
        found = _bench("--validate", table, "-n", count, *chosen)
    yield from judged(found)


def _bench(*arguments: str) -> dict[str, Any]:
    """What `archlang bench` says. Its progress is shown, where stderr is a terminal."""
    command = [sys.executable, "-m", "archlang", "bench", *arguments, "--json"]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return answer


def judged(found: dict[str, Any]) -> Iterator[Result]:
    """found: as `bench --validate --json` has it. MACs are given the line that fits the very networks they are judged
    on."""
    from scipy.stats import spearmanr

    measured = np.array([pair["measured_ms"] for pair in found["pairs"]])
    macs = np.array([pair["macs"] for pair in found["pairs"]], float)
    slope, intercept = np.polyfit(macs, measured, 1, w=1 / measured)
    errors = np.abs((slope * macs + intercept) / measured - 1)
    peer, within = "MACs alone", 100 * float(np.mean(errors <= 0.10))
    yield Result("predict: networks within 10 %", 100 * found["within_10"], peer, within, unit="%")
    yield Result("predict: mean relative error", 100 * found["mape"], peer, 100 * float(errors.mean()), unit="%")
    yield Result("predict: Spearman", found["spearman"], peer, float(spearmanr(macs, measured)[0]), unit="")
    yield Result(
        "predict: within the interval", 100 * found["covered"], "what it is to hold", 100 * found["level"], unit="%"
    )
    seconds = 1000 / found["times_faster"]
    yield Result("predict: for each second of measuring", seconds, limit=1.0)


# the cells of NAS-Bench-201


def operations(cell: str) -> tuple[int, ...]:
    """The operation of each of the six edges, by the place in `OPERATIONS`, in the order of the string."""
    return tuple(OPERATIONS.index(name) for name in re.findall(r"([a-z]\w+)~\d", cell))


def nasbench_space() -> tuple[Space, list[str]]:
    """The space, and its decisions in the order of the benchmark's edges."""
    module = module_of(split(str(SPACE)))
    space = Space(default_net(module))
    space.lowered({})
    places = sorted(tuple(map(int, key.split(":"))) for key in space.memo.decisions)
    return space, [f"{line}:{column}" for line, column in places]


@dataclass(frozen=True)
class Cells:
    """edges (n, 6). executed: the kernels of each cell's network, by how a runtime executes it. ms (n)."""

    edges: NDArray[np.int64]
    executed: dict[str, list[Kernels]]
    ms: Floats

    def rows(self, chosen: NDArray[np.bool_]) -> Cells:
        executed = {
            key: [each for each, take in zip(all_, chosen, strict=True) if take] for key, all_ in self.executed.items()
        }
        return Cells(self.edges[chosen], executed, self.ms[chosen])


def read(path: Path) -> tuple[list[str], dict[str, Floats]]:
    """The cells, and every column whose name ends in `_ms`."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.endswith("_ms")]
    return [row["cell"] for row in rows], {name: np.array([float(row[name]) for row in rows]) for name in names}


def executed(edges: NDArray[np.int64], executions: Sequence[str] = EXECUTIONS) -> dict[str, list[Kernels]]:
    """The kernels of each cell's network. Networks of equal kernels share one object."""
    space, keys = nasbench_space()
    shared: dict[object, Kernels] = {}

    def network(execution: str, row: tuple[int, ...]) -> Kernels:
        alike = (execution, tuple(sorted(row)) if execution == "eager" else row)  # what is read by whom matters not
        if alike not in shared:
            each = kernels(space.graph(dict(zip(keys, row, strict=True))), execution)
            shared[alike] = shared.setdefault(frozenset(each.items()), each)
        return shared[alike]

    return {execution: [network(execution, tuple(row)) for row in edges.tolist()] for execution in executions}


# the models


def ours(cells: Cells, train: NDArray[np.int64]) -> Floats:
    """The execution, too, is found from the training cells."""
    models = [
        fit_samples([Sample(networks[i], float(cells.ms[i])) for i in train], execution)
        for execution, networks in cells.executed.items()
    ]
    best = min(models, key=lambda model: float(np.abs(model.held_out).mean()))
    return np.array([ms for ms, _, _ in predicted(best, cells)])


def predicted(model: LatencyModel, cells: Cells) -> list[tuple[float, float, float]]:
    """(ms, low, high) of every cell. Cells of equal kernels are predicted once."""
    networks = cells.executed[model.execution]
    unique = {id(network): network for network in networks}
    found = dict(zip(unique, model.predict_kernels(list(unique.values())), strict=True))
    nan = float("nan")
    answers = [found[id(network)] for network in networks]
    return [(p.ms or nan, p.low_ms or nan, p.high_ms or nan) for p in answers]


def counts_non_negative(cells: Cells, train: NDArray[np.int64]) -> Floats:
    """Linear in how often each operation occurs, coefficients not negative, least squares of relative errors."""
    from scipy.optimize import nnls

    columns = _counts(cells.edges)
    coefficients, _ = nnls(columns[train] / cells.ms[train, None], np.ones(len(train)))
    return np.asarray(columns @ coefficients)


def macs_alone(cells: Cells, train: NDArray[np.int64]) -> Floats:
    """Linear in the multiply-accumulates: what FLOPs tell of latency."""
    macs = np.array(
        [sum(n * k.macs for k, n in network.items()) for network in next(iter(cells.executed.values()))], float
    )
    slope, intercept = np.polyfit(macs[train], cells.ms[train], 1)
    return np.asarray(slope * macs + intercept)


MODELS: dict[str, Model] = {"MACs": macs_alone, "counts": counts_non_negative, "archlang": ours}


def _counts(edges: NDArray[np.int64]) -> Floats:
    """How often each operation but `none` occurs, and a constant."""
    counts = [(edges == i).sum(1) for i in range(1, len(OPERATIONS))]
    return np.stack([*counts, np.ones(len(edges))], 1).astype(float)


# the table


def scores(cells: Cells, model: Model, count: int, draws: int) -> Iterator[tuple[float, float]]:
    """Spearman and mean relative error in per cent on the rest, for each draw of the training cells."""
    from scipy.stats import spearmanr

    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(cells.ms))
        train, rest = order[:count], order[count:]
        found = model(cells, train)[rest]
        yield float(spearmanr(found, cells.ms[rest])[0]), 100 * float(np.abs(found / cells.ms[rest] - 1).mean())


def interval(values: Sequence[float]) -> str:
    """Mean, and half the width of its 95 % interval."""
    half = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{np.mean(values):.4f} ± {half:.4f}"


def main() -> None:
    arguments = _arguments()
    names, columns = read(arguments.csv)
    edges = np.array([operations(name) for name in names])
    networks = executed(edges, arguments.execution)
    whole = (edges != 0).all(1)
    print(f"{'column':20} {'cells':10} {'train':>5}  {'model':10} {'Spearman':18} {'MAPE, %':18}")
    for column in arguments.columns or columns:
        every = Cells(edges, networks, columns[column])
        for title, cells in (("no none", every.rows(whole)), ("all", every)):
            for count in arguments.train:
                for name, model in MODELS.items():
                    rank, error = zip(*scores(cells, model, count, arguments.draws), strict=True)
                    print(
                        f"{column:20} {title:10} {count:5}  {name:10} {interval(rank):18} {interval(error):18}",
                        flush=True,
                    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.predict", description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("--train", type=int, nargs="+", default=(50, 900), help="how many cells to train on")
    parser.add_argument("--draws", type=int, default=20, help="of the training cells")
    parser.add_argument("--execution", nargs="+", choices=EXECUTIONS, default=EXECUTIONS, help="how devices may run it")
    parser.add_argument("--columns", nargs="+", help="all whose name ends in _ms by default")
    return parser.parse_args()


if __name__ == "__main__":
    main()
