"""From a `search` in a file and options to a plan; the real space, the real evaluators, the winners."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

import archlang
from archlang.errors import ArchError, OutsideError
from archlang.search.driver import run
from archlang.search.evaluators import CostEvaluator, TrainEvaluator
from archlang.search.plan import Options, plan_of
from archlang.search.space import SearchSpec, load_search
from archlang.search.strategies.evolution import Evolution
from archlang.search.strategies.random import RandomSearch
from archlang.search.trial import Status
from archlang.search.winners import described, scaled
from archlang.train import Recipe

TEXT = """
choice K = {3, 5}

net Tiny(classes=10):
  default conv(norm=bn, act=relu)
  input 1x8x8
  conv({8, 12, 16}, K)
  conv({16, 24}, K, s=2)
  {skip, conv(24, 1)}
  gap -> linear(classes)

search digits over Tiny:
  data digits
  require params <= 9k
  maximize accuracy
  minimize latency
  method evolution(population=6, sample=3, trials=5, seed=2)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.arch"
    path.write_text(TEXT)
    return path


@pytest.fixture
def spec(file: Path) -> SearchSpec:
    return load_search(str(file), {})


def test_the_file_says_what_and_the_options_change_it(spec: SearchSpec) -> None:
    plan, notes = plan_of(spec, Options())
    assert (plan.trials, plan.seed, plan.strategy) == (5, 2, Evolution(6, 3))
    assert isinstance(plan.evaluator, TrainEvaluator)
    assert (plan.evaluator.data, plan.device, plan.folder, notes) == ("digits", "host", Path("runs", "digits"), [])
    options = Options(trials=7, seed=9, strategy="evolution(sample=2)", data="npz:a.npz", folder=Path("x"))
    plan, notes = plan_of(spec, options)
    assert (plan.trials, plan.seed, plan.strategy, plan.folder) == (7, 9, Evolution(6, 2), Path("x"))
    assert isinstance(plan.evaluator, TrainEvaluator)
    assert plan.evaluator.data == "npz:a.npz"
    assert plan_of(spec, Options(strategy="random"))[0].strategy == RandomSearch()


def test_the_cost_evaluator_says_what_stands_for_what(spec: SearchSpec) -> None:
    plan, notes = plan_of(spec, Options(evaluator="cost"))
    assert plan.evaluator == CostEvaluator(peak_memory=False), "nothing asks for it"
    assert (plan.objective.maximize, plan.objective.minimize, plan.device) == (("params",), ("macs",), "")
    assert len(notes) == 2


def test_fidelities_that_are_the_same_are_told(spec: SearchSpec) -> None:
    asha = Options(strategy="asha(reduction=3, rungs=3)", recipe=Recipe(epochs=3))
    told = "of 3 epochs there are not 3 different fidelities: give --epochs 5, or reduce=resolution"
    assert plan_of(spec, asha)[1] == [told]
    for options in (replace(asha, recipe=Recipe(epochs=5)), replace(asha, evaluator="train(reduce=channels)")):
        assert plan_of(spec, options)[1] == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (Options(evaluator="guess"), "E1205"),
        (Options(strategy="anneal"), "E1201"),
        (Options(strategy="evolution(population=six)"), "E1201"),
        (Options(strategy="evolution(6)"), "E1201"),
        (Options(strategy="__import__('os').system('false')"), "E1201"),
        (Options(strategy="evolution(size=6)"), "E1202"),
        (Options(trials=0), "E1202"),
        (Options(workers=0), "E1202"),
    ],
)
def test_wrong_options(spec: SearchSpec, options: Options, code: str) -> None:
    with pytest.raises(ArchError, match=code):
        plan_of(spec, options)


def test_training_needs_data_and_a_device_that_is_there(spec: SearchSpec) -> None:
    with pytest.raises(ArchError, match="E1211"):
        plan_of(replace(spec, data=None), Options())
    with pytest.raises(OutsideError, match="no device `pixel6-cpu`"):
        plan_of(replace(spec, device="pixel6-cpu"), Options())
    assert plan_of(replace(spec, device="pixel6-cpu"), Options(device="host"))[0].device == "host"


def test_a_reward_that_reads_what_is_not_known(file: Path) -> None:
    file.write_text(TEXT.replace("minimize latency", "reward acuracy * 2"))
    with pytest.raises(ArchError, match="acuracy"):
        plan_of(load_search(str(file), {}), Options())


def test_runs_are_numbered(spec: SearchSpec) -> None:
    for name in ("digits", "digits-2", "digits-3"):
        plan, _ = plan_of(spec, Options(evaluator="cost", trials=1))
        assert plan.folder == Path("runs", name)
        run(plan)
    assert plan_of(spec, Options(evaluator="cost", resume=True))[0].folder == Path("runs", "digits-3")


def test_winners_are_files_that_load_and_cost_what_was_said(spec: SearchSpec) -> None:
    options = Options(evaluator="cost", trials=30, folder=Path("out"), command="archlang search\n tiny.arch")
    result = run(plan_of(spec, options)[0])
    assert result.progress.failed == 0
    document = json.loads(Path("out/front.json").read_text())
    assert document == result.as_json()["front"]
    for entry in document:
        path = Path(entry["arch"])
        net = archlang.load(str(path))
        assert net.cost().total.params == entry["metrics"]["params"] <= 9000
        assert net.cost().total.macs == entry["metrics"]["macs"]
        assert net.graph.digest == entry["digest"]
        first, second, *_ = path.read_text().splitlines()
        assert first.startswith(f"# found by: archlang search tiny.arch   (trial {entry['trial']} of 30, seed 2")
        assert second.startswith(f"# {scaled(entry['metrics']['params'])} params | ")
        assert "{" not in path.read_text()
    table = list(csv.DictReader(Path("out/front.csv").read_text().splitlines()))
    assert [int(row["trial"]) for row in table] == [entry["trial"] for entry in document]
    assert result.as_json()["best"] == document[0]


def test_a_winner_that_is_surpassed_goes(spec: SearchSpec) -> None:
    largest = replace(spec, maximize=("params",), minimize=())
    winners = []
    for trials in (1, 40):
        plan, _ = plan_of(largest, Options(evaluator="cost", folder=Path("out"), strategy="random", trials=trials))
        run(plan, resume=trials > 1)
        winners.append([path.stem for path in Path("out/front").iterdir()])
        assert len(json.loads(Path("out/front.json").read_text())) == 1
    assert winners[0] == ["Tiny_001"]
    assert len(winners[1]) == 1
    assert winners[0] != winners[1]


def test_candidates_are_trained_compiled_and_measured(spec: SearchSpec) -> None:
    recipe = Recipe(epochs=2, batch_size=32, lr=0.3)
    plan, _ = plan_of(spec, Options(trials=2, recipe=recipe, folder=Path("out")))
    result = run(plan)
    assert (result.progress.finished, result.progress.failed) == (2, 0), result.progress.last
    best = result.progress.best
    assert best is not None
    assert set(best.metrics) == set(plan.evaluator.metrics)
    assert 0.3 < best.metrics["accuracy"] <= 1
    assert abs(best.metrics["accuracy_int8"] - best.metrics["accuracy"]) < 0.1
    assert 0 < best.metrics["latency"] < 50
    assert best.metrics["flash"] > best.metrics["params"]
    assert "on host" in (Path("out/front") / f"Tiny_{best.id:03d}.arch").read_text().splitlines()[1]


def test_what_misses_its_latency_is_not_trained(spec: SearchSpec) -> None:
    hard = replace(spec, require=(("latency", "<=", 1e-9),))
    plan, _ = plan_of(hard, Options(trials=1, folder=Path("out")))
    result = run(plan)
    assert result.progress.rejected == 1
    assert result.progress.last is not None
    assert result.progress.last.status is Status.REJECTED
    assert "not latency <= 1e-09" in result.progress.last.reason
    assert result.progress.front == ()
    assert result.as_json()["best"] is None


def test_a_file_cannot_have_code_run_as_data(spec: SearchSpec) -> None:
    plan, _ = plan_of(replace(spec, data="os:getcwd"), Options(trials=1, folder=Path("out")))
    with pytest.raises(ArchError, match="E0906"):
        run(plan)


def test_metrics_for_a_person() -> None:
    metrics = {"params": 3_900_000, "macs": 310e6, "accuracy": 0.742, "latency": 71.3, "flops": 1, "novelty": 2.0}
    assert " | ".join(described(metrics, "pixel6-cpu")) == (
        "accuracy 0.742 | latency 71.3 ms on pixel6-cpu | 3.9M params | 310M macs | novelty 2"
    )
    assert [scaled(value) for value in (0, 999, 1000, 1.5e9)] == ["0", "999", "1k", "1.5G"]
