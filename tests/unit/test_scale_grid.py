"""Grids of coefficients: found by an evaluator, kept on disk, gone on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

import archlang
from archlang.device.predict.features import kernels
from archlang.device.predict.model import fit
from archlang.device.predict.table import Identity, Measured, Table
from archlang.errors import ArchError
from archlang.ir.graph import Graph
from archlang.scale import EFFICIENTNET, Ladder, Scalable, Scales, grid, latency
from archlang.scale import scalable as scalable_net
from archlang.scale.ladder import family
from archlang.scale.points import Asked, Points, distinct, evaluated, plan, scales_of
from archlang.search.driver import SearchResult, run
from archlang.search.evaluators import Setting
from archlang.search.trial import Candidate

NET = """\
net Net(classes=10):
  default conv(norm=bn, act=relu)
  input 1x16x16
  conv(16, 3)
  conv(32, 3, s=2) * 2
  gap -> linear(classes)
"""

calls: list[str] = []


def likes_depth(candidate: Candidate) -> Mapping[str, float]:
    """Best for the deepest: the most convolutions; of these for the widest."""
    calls.append(candidate.graph.digest)
    deep = sum(node.op.name == "conv" for node in candidate.graph.nodes)
    return {"accuracy": deep + candidate.amounts["params"] / 1e9}


def stops(candidate: Candidate) -> Mapping[str, float]:
    """As Ctrl-C in the middle of the third point."""
    if len(calls) == 2:
        raise KeyboardInterrupt
    return likes_depth(candidate)


def fails(candidate: Candidate) -> Mapping[str, float]:
    raise ValueError("no images")


@pytest.fixture
def net() -> Scalable:
    found = archlang.loads(NET)
    return scalable_net(found.value)


@pytest.fixture(autouse=True)
def _no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions are called in this process, where their calls are counted."""
    calls.clear()
    monkeypatch.setattr("archlang.search.evaluators.FunctionEvaluator.isolated", False)


def searched(net: Scalable, folder: Path, function: str, resume: bool = False, **changes: Any) -> SearchResult:
    asked = replace(Asked(f"{__name__}:{function}", Setting(folder)), **changes)
    return run(plan(points(net), asked), resume)


def points(net: Scalable) -> Points:
    return Points(net, tuple(distinct(net, grid(0.1, 0.05))))


def test_the_best_point_is_found_and_every_point_kept(net: Scalable, tmp_path: Path) -> None:
    result = searched(net, tmp_path, "likes_depth")
    assert result.progress.best is not None
    best = scales_of(result.progress.best.picks)
    deepest = max(scales.depth for scales in points(net).points)
    assert len(calls) == result.progress.finished == len(points(net).points)
    assert -(-2 * best.depth // 1) == -(-2 * deepest // 1)  # as many repeats as the deepest has
    assert set(evaluated(result.plan)) == set(points(net).points)


def test_networks_that_rounding_makes_equal_are_evaluated_once(net: Scalable) -> None:
    all_points = grid(0.05, 0.05)
    found = distinct(net, [*all_points, Scales()])
    digests = [net.graph(scales).digest for scales in found]
    assert len(set(digests)) == len(digests) < len(all_points)
    assert net.graph(Scales()).digest not in digests


def test_an_interrupted_grid_goes_on_where_it_stopped(net: Scalable, tmp_path: Path) -> None:
    stopped = searched(net, tmp_path, "stops")
    assert stopped.interrupted
    assert len(calls) == 2
    before = list(calls)
    calls.append("the third")  # so that it does not stop again
    result = searched(net, tmp_path, "stops", resume=True)
    assert result.progress.finished == len(points(net).points)
    assert not set(before) & set(calls[3:])


def test_a_seed_draws_the_same_points(net: Scalable, tmp_path: Path) -> None:
    drawn = []
    for i, seed in enumerate((1, 1, 2)):
        result = searched(net, tmp_path / str(i), "likes_depth", seed=seed, trials=4)
        drawn.append(set(evaluated(result.plan)))
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(each) for each in drawn] == [4, 4, 4]


def test_a_metric_that_nobody_gives(net: Scalable, tmp_path: Path) -> None:
    with pytest.raises(ArchError) as caught:
        plan(points(net), Asked("cost", Setting(tmp_path)))
    assert caught.value.diagnostics[0].code == "E1407"
    assert "`flops`" in caught.value.diagnostics[0].help


def test_an_evaluator_that_always_fails_says_why(net: Scalable, tmp_path: Path) -> None:
    result = searched(net, tmp_path, "fails")
    assert result.progress.best is None
    assert result.progress.last is not None
    assert "no images" in result.progress.last.reason


def test_a_table_of_results_is_looked_up_by_the_coefficients(net: Scalable, tmp_path: Path) -> None:
    rows = [f"{s.depth:g}/{s.width:g}/{s.resolution:g},{s.depth * 10 - s.width:g}" for s in points(net).points]
    table = tmp_path / "results.csv"
    table.write_text("\n".join(["point,top1", *rows]) + "\n")
    evaluator = f"table(file='{table}', pattern='{{1}}/{{2}}/{{3}}', accuracy=top1)"
    result = run(plan(points(net), Asked(evaluator, Setting(tmp_path / "run"))))
    assert result.progress.best is not None
    assert scales_of(result.progress.best.picks) == max(points(net).points, key=lambda s: s.depth * 10 - s.width)


def test_a_point_is_a_program_of_its_own(net: Scalable, tmp_path: Path) -> None:
    result = searched(net, tmp_path, "likes_depth", trials=3)
    (entry,) = result.as_json()["front"]
    assert archlang.load(entry["arch"]).graph.digest == entry["digest"]


# ---- by latency ------------------------------------------------------------------------------------------------------


def made_up_ms(graph: Graph, execution: str) -> float:
    """Of a processor that is made up."""
    found = kernels(graph, execution)
    return float(0.02 + sum(n * (0.005 + (kernel.macs + 9 * kernel.moved) ** 0.9 / 1e6) for kernel, n in found.items()))


@pytest.fixture
def table(net: Scalable, tmp_path: Path) -> Path:
    """A latency table of that processor, fitted to networks of other proportions than those of a family."""
    rng = Random(0)
    drawn = [Scales(rng.uniform(0.8, 4), rng.uniform(0.8, 3), rng.uniform(0.8, 3)) for _ in range(24)]
    known = [(graph, made_up_ms(graph, "compiled")) for graph in map(net.graph, drawn)]
    model = fit(known, "compiled")
    measured = tuple(Measured(graph.digest, False, "", ms, 0.0, 1.0, 1.0) for graph, ms in known)
    path = tmp_path / "table.json"
    Table(Identity("made-up", "", "", 1, "none", "", ""), measured, model.as_json()).write(path)
    return path


def test_members_double_the_predicted_latency(net: Scalable, table: Path) -> None:
    ladder = Ladder(net, EFFICIENTNET, latency.predicted(str(table)))
    members = family(ladder, 3)
    for phi, member in enumerate(members):
        predicted = member.metrics["latency"] / members[0].metrics["latency"]
        # 16 channels become 24 and two repeats three: such steps leave more than a larger net's would
        assert predicted == pytest.approx(2**phi, rel=0.12)
        made = made_up_ms(net.graph(member.scales), "compiled")
        assert member.metrics["latency"] == pytest.approx(made, rel=0.15)


def test_what_was_measured_is_not_measured_again(net: Scalable, monkeypatch: pytest.MonkeyPatch) -> None:
    files = []

    def fake(quantize: str, options: object, graph: Graph) -> float:
        files.append(graph.digest)
        return made_up_ms(graph, "compiled")

    monkeypatch.setattr(latency, "_measured", fake)
    meter = latency.measured("host", 1, "none", None)
    ladder = Ladder(net, EFFICIENTNET, meter)
    members = family(ladder, 3)
    assert len(set(files)) == len(files) < 40
    assert json.dumps([member.as_json() for member in members])


@pytest.mark.slow
def test_latency_is_measured_on_this_machine(net: Scalable) -> None:
    pytest.importorskip("ai_edge_litert")
    meter = latency.measured("host", 1, "int8", None, runs=5, min_secs=0.02)
    small, large = meter.of(net.graph(Scales())), meter.of(net.graph(Scales(3.0, 3.0, 3.0)))
    assert 0 < small < large
