"""The experiment on NAS-Bench-201: what it counts, and that it goes on where it was."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
import pytest

from benchmarks import nas_bench_201 as experiment
from benchmarks.nas_bench_201 import EDGES, OPERATIONS, Run, Runs, curve, markdown, svg

PATTERN = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of all cells; the value is how many edges have the 3x3 convolution, and a bit of chance."""
    rng, lines = Random(0), ["cell,value"]
    for picks in product(OPERATIONS, repeat=len(EDGES)):
        lines.append(f"{PATTERN.format(*picks)},{picks.count('nor_conv_3x3') + rng.random() / 2:.4f}")
    file = tmp_path_factory.mktemp("cells") / "cells.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_the_best_so_far(cells: Path) -> None:
    found = experiment.bests("random", cells, "value", 30, 0)
    assert found == sorted(found)
    whole = experiment.run("random", cells, "value", 30, 0)
    assert whole.bests() == found
    assert len(whole.steps) == len(set(found))


def test_what_was_searched_is_not_searched_again(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "searches.jsonl"
    first = Runs(file).of("local", cells, "value", 20, 3)
    file.write_text(file.read_text() + '{"strategy": "lo')  # the run is killed while it writes
    asked: list[int] = []
    run = experiment.run

    def counted(strategy: str, path: Path, column: str, trials: int, seed: int) -> Run:
        asked.append(seed)
        return run(strategy, path, column, trials, seed)

    monkeypatch.setattr(experiment, "run", counted)
    again = Runs(file).of("local", cells, "value", 20, 5)
    assert asked == [3, 4]
    assert again[:3] == first
    assert [json.loads(line)["seed"] for line in file.read_text().splitlines()] == [0, 1, 2, 3, 4]
    assert [each.bests() for each in again] == [experiment.bests("local", cells, "value", 20, i) for i in range(5)]


def test_the_interval_is_that_of_a_mean() -> None:
    """Beside the normal distribution's, for many searches."""
    values = np.random.default_rng(0).standard_normal(400)
    found = curve([Run("s", "c", 1, i, ((1, float(each)),), 0.5) for i, each in enumerate(values)], 9.0)
    half = 1.96 * values.std() / 20
    assert found.mean[0] == pytest.approx(values.mean())
    # Percentiles of 2,000 resamples scatter by some 5 % of the half width.
    assert found.low[0] == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high[0] == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert found.seconds == 0.5


def test_the_table_and_the_plot(cells: Path) -> None:
    curves = [curve(Runs(None).of(name, cells, "value", 120, 2), 6.5) for name in ("random", "local")]
    head, _, *rows = markdown(curves).splitlines()
    assert [cell.strip() for cell in head.split("|")[1:-1]] == [
        "column",
        "strategy",
        "searches",
        "50",
        "100",
        "120",
        "CPU s",
    ]
    assert [row.split("|")[2].strip() for row in rows] == ["`random`", "`local`"]
    assert f"{curves[1].mean[-1]:.2f} (" in rows[1]
    assert svg(curves).count("<polyline") == 2
