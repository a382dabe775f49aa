"""The search that anyone can repeat: its space, its plot, its verdict; as a whole in `make test-all`."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import archlang
from archlang.search.space import load_search
from benchmarks.plot import Axes, Series, svg, terminal
from benchmarks.search_demo import SPACE, Judged, speed_up

POINTS = ((1.0, 97.0), (2.0, 98.5), (3.0, 98.0), (0.5, 95.0))


def test_the_space_begins_at_mobilenet_v2() -> None:
    space = load_search(str(SPACE)).space
    assert space.graph({}).digest == archlang.load(f"{SPACE}:MobileNetV2Small").graph.digest


def test_it_is_the_papers_network_but_for_what_small_images_change() -> None:
    small = archlang.load(f"{SPACE}:MobileNetV2Small.w050", res=224, channels=3, classes=1000)
    paper = archlang.load("zoo:mobilenet_v2:w050")
    assert small.cost().total.params == paper.cost().total.params


def judged(name: str, found: bool, accuracy: float, latency: float) -> Judged:
    return Judged(name, found, accuracy, latency, 1000)


def test_the_speed_up_is_at_the_accuracy_of_the_best_baseline() -> None:
    baselines = [judged("w1", False, 0.98, 3.0), judged("w2", False, 0.98, 2.0), judged("w3", False, 0.97, 1.0)]
    found = [judged("a", True, 0.979, 0.5), judged("b", True, 0.985, 1.6), judged("c", True, 0.98, 1.0)]
    best, fastest = speed_up([*baselines, *found])
    assert (best.name, fastest and fastest.name) == ("w2", "c")
    assert speed_up([*baselines, found[0]]) == (baselines[1], None)


def test_the_front_of_a_series() -> None:
    assert Series("s", "o", "red", POINTS).front == [(0.5, 95.0), (1.0, 97.0), (2.0, 98.5)]


def test_the_plots_show_every_point_where_it_is() -> None:
    series = [
        Series("a < b", "o", "#f00", POINTS),
        Series("c", "*", "#00f", ((1.5, 99.0),)),
        Series("d", "x", "#0f0", ()),
    ]
    root = ElementTree.fromstring(svg(series, ("ms", "%")))
    dots = [each for each in root if each.tag.endswith("circle")]
    assert len(dots) == 5
    axes = Axes.of(series)
    xs = [float(dot.attrib["cx"]) for dot in dots]
    assert sorted(xs) == [xs[i] for i in (3, 0, 4, 1, 2)]  # by latency
    assert float(dots[4].attrib["cy"]) == min(float(dot.attrib["cy"]) for dot in dots)
    assert all(0 < share < 1 for point in POINTS for share in axes.share(point))
    text = terminal(series, ("ms", "%"))
    frame = [line.split("|", 1)[1] for line in text.splitlines() if "|" in line]
    assert sum(line.count("o") for line in frame) == 4
    star = next(i for i, line in enumerate(frame) if "*" in line)
    assert star < min(i for i, line in enumerate(frame) if "o" in line)


def test_an_axis_begins_where_the_points_do() -> None:
    def left(*xs: float) -> float:
        return Axes.of([Series("s", "o", "red", tuple((x, 90.0 + x) for x in xs))]).low[0]

    assert left(0.05, 0.29) == 0.0
    assert left(3.0, 6.0, 5.0) == 0.0
    assert left(3.2, 6.0) == pytest.approx(3.06)
    assert left(4.0) == 0.0


@pytest.mark.slow
def test_the_whole_in_little(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend")
    command = [sys.executable, "-m", "benchmarks.search_demo", "--quick", "--folder", str(tmp_path)]
    first = subprocess.run(command, capture_output=True, text=True, check=True, cwd=SPACE.parents[2])
    assert "the best MobileNetV2 is mobilenet_v2_w0" in first.stdout
    document = json.loads((tmp_path / "result.json").read_text())
    assert {"mobilenet_v2_w025", "mobilenet_v2_w035"} < {each["name"] for each in document["nets"]}
    second = subprocess.run(command, capture_output=True, text=True, check=True, cwd=SPACE.parents[2])
    assert f"{len(document['nets'])} of them done" in second.stdout
