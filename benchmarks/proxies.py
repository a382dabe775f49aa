"""Zero-cost proxies beside parameters and MACs: how well each ranks the cells of NAS-Bench-201 (arXiv:2001.00326).

    python -m benchmarks.proxies cells.csv [--cells 200] [--column cifar10_val]

The file (.csv or .csv.gz) has a column `cell` with the benchmark's own strings, and a column of accuracies. The table
gives Spearman's rank correlation with the accuracy over cells drawn evenly at random, and its 95 % interval from 1,000
bootstrap samples. Batches are of noise: the benchmark's images do not ship.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from archlang.cost import cost
from archlang.ir.graph import Graph
from archlang.search.evaluators.proxies import batches_of
from archlang.search.proxies import PROXIES
from benchmarks.predict import nasbench_space, operations

BASELINES = ("params", "macs")


def main() -> None:
    arguments = _arguments()
    cells = _sampled(arguments.table, arguments.column, arguments.cells, arguments.seed)
    space, keys = nasbench_space()
    rows = []
    for cell, accuracy in cells:
        graph = space.graph(dict(zip(keys, operations(cell), strict=True)))
        rows.append({"accuracy": accuracy, **scores(graph, arguments.batch, arguments.seed)})
        if arguments.lines:
            print(json.dumps({"cell": cell, **rows[-1]}), flush=True)
    for name, (rank, low, high) in correlations(rows).items():
        print(f"{name:10} {rank:6.3f}  [{low:.3f}, {high:.3f}]")


def correlations(rows: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float, float]]:
    """Column -> its Spearman correlation with `accuracy`, and the ends of the 95 % bootstrap interval."""
    accuracy = np.array([row["accuracy"] for row in rows])
    generator = np.random.default_rng(0)
    draws = generator.integers(len(rows), size=(1000, len(rows)))
    found = {}
    for name in (*BASELINES, *PROXIES):
        values = np.array([row[name] for row in rows])
        low, high = np.percentile([spearman(values[draw], accuracy[draw]) for draw in draws], (2.5, 97.5))
        found[name] = (spearman(values, accuracy), float(low), float(high))
    return found


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def scores(graph: Graph, batch: int, seed: int) -> dict[str, float]:
    """The network's parameters, MACs and proxies."""
    total = cost(graph).total
    batches = batches_of(graph, None, batch, seed)
    return {
        "params": total.params,
        "macs": total.macs,
        **{name: proxy(graph, batches) for name, proxy in PROXIES.items()},
    }


def _sampled(path: Path, column: str, count: int, seed: int) -> list[tuple[str, float]]:
    """Cells with their accuracy, drawn without replacement."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
        rows = [(row["cell"], float(row[column])) for row in csv.DictReader(file)]
    return Random(seed).sample(rows, min(count, len(rows)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.proxies", description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--column", default="cifar10_val")
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lines", action="store_true", help="a JSON line for each cell")
    return parser.parse_args()


if __name__ == "__main__":
    main()
